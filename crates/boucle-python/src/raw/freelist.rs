//! Instances that are made and freed all the time keep their memory: allocating one takes 3 ns.
//!
//! # Invariants
//!
//! * Only instances of exactly the class go to its list, so every block on it has the class's size.
//! * A heap type is held by each of its instances: taken when one is made, given back after its memory is.

use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicUsize};

use pyo3::{Python, ffi};

use super::class::{Class, Finalized, Instance};
use super::{Owned, Result};

// Of CPython's public API, as the function behind a macro, but not among `PyO3`'s declarations.
unsafe extern "C" {
    fn _PyObject_GC_New(class: *mut ffi::PyTypeObject) -> *mut ffi::PyObject;
}

/// How many blocks a list keeps. A thread that floods the loop makes about 25,000 handles before the loop gets the GIL;
/// with fewer blocks Python maps and unmaps memory for them each time, which costs 70 ns a handle. A handle has 80 bytes,
/// so a list holds 2.6 MB at most. Under the address sanitizer nothing is kept: it would not see the use of what was freed.
const CAPACITY: usize = if cfg!(sanitized) { 0 } else { 32_768 };

/// Blocks of memory for instances of one class: the last one that was kept, which begins with the address of the one before.
///
/// The GIL is the list's lock: atomics only make it a static, and no operation on one is divided by what others do.
pub(crate) struct Freelist {
    last: AtomicPtr<ffi::PyObject>,
    count: AtomicUsize,
}

impl Freelist {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self { last: AtomicPtr::new(ptr::null_mut()), count: AtomicUsize::new(0) }
    }

    /// Takes a block out.
    #[inline]
    fn pop(&self, _: Python<'_>) -> Option<NonNull<ffi::PyObject>> {
        let block = NonNull::new(self.last.load(Relaxed))?;
        // SAFETY: a block of the list is ours, and begins with the address of the one before.
        let former = unsafe { block.cast::<*mut ffi::PyObject>().read() };
        self.last.store(former, Relaxed);
        self.count.store(self.count.load(Relaxed) - 1, Relaxed);
        Some(block)
    }

    /// Makes an instance. The value is made in its place: `make_value` neither fails nor runs Python.
    #[inline]
    pub(crate) fn make<T: Class>(&self, py: Python<'_>, make_value: impl FnOnce() -> T) -> Result<Owned> {
        let block = self.pop(py);
        // SAFETY: the block has the size of an instance: it was one, or is allocated with that size. `PyObject_Init`
        // writes the header and takes a reference to the class; the value is written before anyone sees the instance.
        unsafe {
            let block = block.map_or_else(|| ffi::PyObject_Malloc(size_of::<Instance<T>>()).cast(), NonNull::as_ptr);
            if block.is_null() {
                return Owned::from_returned(ffi::PyErr_NoMemory());
            }
            let object = ffi::PyObject_Init(block, T::class().get());
            ptr::write(&raw mut (*object.cast::<Instance<T>>()).value, make_value());
            Owned::from_returned(object)
        }
    }

    /// Makes an instance that the garbage collector knows, as [`Freelist::make`] does.
    #[inline]
    pub(crate) fn make_collected<T: Finalized>(&self, py: Python<'_>, make_value: impl FnOnce() -> T) -> Result<Owned> {
        let block = self.pop(py);
        // SAFETY: a block of the list was an instance, with the collector's header before it, and is tracked by nobody.
        // A new one comes with its header written, from the collector, for a class that is garbage-collected. The value is
        // written before the collector can see the instance.
        unsafe {
            let object = match block {
                Some(block) => ffi::PyObject_Init(block.as_ptr(), T::class().get()),
                None => _PyObject_GC_New(T::class().get()),
            };
            let object = Owned::from_returned(object)?;
            ptr::write(&raw mut (*object.as_ptr().cast::<Instance<T>>()).value, make_value());
            ffi::PyObject_GC_Track(object.as_ptr().cast());
            Ok(object)
        }
    }

    /// Keeps the memory of an instance whose value has been dropped. Says whether there was room.
    ///
    /// # Safety
    ///
    /// `object` was an instance of exactly the class of this list; its value has been dropped and the collector does not
    /// track it. The GIL is held.
    #[inline]
    pub(crate) unsafe fn keep(&self, object: *mut ffi::PyObject) -> bool {
        let count = self.count.load(Relaxed);
        if count >= CAPACITY {
            return false;
        }
        // SAFETY: by this function's contract the memory is nobody's; it has the size of an instance, and more than a pointer's.
        unsafe { object.cast::<*mut ffi::PyObject>().write(self.last.load(Relaxed)) };
        self.last.store(object, Relaxed);
        self.count.store(count + 1, Relaxed);
        true
    }

    /// Drops an instance's value and keeps its memory.
    ///
    /// # Safety
    ///
    /// Called from the `tp_dealloc` of `T`, once per instance. The GIL is held.
    #[inline]
    pub(crate) unsafe fn free<T: Class>(&self, object: *mut ffi::PyObject) {
        // SAFETY: by this function's contract the instance is complete, ours alone and dropped once. Dropping may run
        // Python, so the list takes it only afterwards.
        unsafe {
            let class = ffi::Py_TYPE(object);
            ptr::drop_in_place(&raw mut (*object.cast::<Instance<T>>()).value);
            if !self.keep(object) {
                ffi::PyObject_Free(object.cast());
            }
            ffi::Py_DECREF(class.cast());
        }
    }
}
