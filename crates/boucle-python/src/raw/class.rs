//! Native classes: a Rust value behind a Python object's header.
//!
//! ```text
//! Instance<T>:  PyObject header | T
//! ```
//!
//! A class implements [`Class`] and describes itself with a [`Builder`]. Its methods take [`This`], a borrowed instance.
//! The value is reached by shared reference only, for a method may be entered again from the Python it calls: fields
//! that change are cells.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::{Python, ffi};

use super::guard::{guard, guard_infallible};
use super::{ObjectCell, Owned, Result};

/// A native class. The value of an instance is `Self`.
pub(crate) trait Class: Sized + 'static {
    /// The class of this value.
    fn class() -> &'static TypeCell;
}

/// A Python object whose class is native.
#[repr(C)]
pub(crate) struct Instance<T> {
    header: ffi::PyObject,
    pub(super) value: T,
}

/// Holds a class once it is made.
pub(crate) struct TypeCell(AtomicPtr<ffi::PyTypeObject>);

impl TypeCell {
    /// A cell without a class.
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The class; null before the module is initialised.
    #[inline]
    pub(crate) fn get(&self) -> *mut ffi::PyTypeObject {
        self.0.load(Ordering::Relaxed)
    }
}

/// A borrowed instance of a class.
pub(crate) struct This<'a, T>(NonNull<Instance<T>>, PhantomData<&'a T>);

impl<T> Clone for This<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for This<'_, T> {}

impl<T> Deref for This<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the instance is alive for 'a and its value was initialised when it was made.
        unsafe { &self.0.as_ref().value }
    }
}

impl<'a, T: Class> This<'a, T> {
    /// The instance that a slot was called on.
    ///
    /// # Safety
    ///
    /// `ptr` is an instance of the class or of a subclass, alive for 'a.
    pub(crate) unsafe fn from_ptr(ptr: *mut ffi::PyObject) -> Self {
        // SAFETY: by this function's contract it is not null.
        Self(unsafe { NonNull::new_unchecked(ptr.cast()) }, PhantomData)
    }

    /// The instance behind a reference, if its class is exactly this one.
    #[inline]
    pub(crate) fn exactly(object: &'a Owned) -> Option<Self> {
        // SAFETY: its type was compared.
        (object.type_ptr() == T::class().get()).then(|| unsafe { Self::from_ptr(object.as_ptr()) })
    }

    /// A reference to the instance.
    pub(crate) fn to_owned(self) -> Owned {
        // SAFETY: the instance is alive, and the GIL is held: `This` exists only in a slot.
        unsafe { Owned::from_borrowed(self.0.cast()) }
    }

    /// The object, for a call into C that borrows it.
    pub(crate) fn as_ptr(self) -> *mut ffi::PyObject {
        self.0.as_ptr().cast()
    }

    /// The instance seen as one of a class whose value `U` is the first field of this one's.
    ///
    /// # Safety
    ///
    /// `T` is `repr(C)` and its first field is a `U`.
    pub(crate) unsafe fn base<U>(self) -> This<'a, U> {
        This(self.0.cast(), PhantomData)
    }
}

/// Passes what an object refers to on to the garbage collector.
pub(crate) struct Visit {
    function: ffi::visitproc,
    arg: *mut c_void,
    result: c_int,
}

impl Visit {
    /// Visits an object.
    pub(crate) fn object(&mut self, object: &Owned) {
        self.ptr(object.as_ptr());
    }

    /// Visits the content of a cell.
    pub(crate) fn cell(&mut self, cell: &ObjectCell) {
        self.ptr(cell.as_ptr());
    }

    fn ptr(&mut self, object: *mut ffi::PyObject) {
        if self.result == 0 && !object.is_null() {
            // SAFETY: the collector passed the function and its argument for this traversal; the object is alive.
            self.result = unsafe { (self.function)(object, self.arg) };
        }
    }
}

/// What the garbage collector needs of a class.
pub(crate) trait Collected: Class + Default {
    /// Visits every object the value holds a reference to.
    fn traverse(&self, visit: &mut Visit);
    /// Drops every reference that could be part of a cycle.
    fn clear(&self);
}

/// Collects what a class is made of, and makes it.
pub(crate) struct Builder<T> {
    name: &'static CStr,
    flags: u64,
    slots: Vec<ffi::PyType_Slot>,
    methods: Vec<ffi::PyMethodDef>,
    properties: Vec<ffi::PyGetSetDef>,
    members: Vec<ffi::PyMemberDef>,
    base: *mut ffi::PyTypeObject,
    class: PhantomData<T>,
}

impl<T: Class> Builder<T> {
    /// A class with this name, module first.
    pub(crate) fn new(name: &'static CStr) -> Self {
        Self {
            name,
            flags: ffi::Py_TPFLAGS_DEFAULT,
            slots: Vec::new(),
            methods: Vec::new(),
            properties: Vec::new(),
            members: Vec::new(),
            base: ptr::null_mut(),
            class: PhantomData,
        }
    }

    /// A class that only native code makes instances of.
    pub(crate) fn without_constructor(mut self) -> Self {
        self.flags |= ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
        self
    }

    /// A class that native classes or Python classes derive from.
    pub(crate) fn subclassable(mut self) -> Self {
        self.flags |= ffi::Py_TPFLAGS_BASETYPE;
        self
    }

    /// The class it derives from.
    ///
    /// # Safety
    ///
    /// `T` is `repr(C)` and its first field is the base's value.
    pub(crate) unsafe fn derived_from<B: Class>(mut self) -> Self {
        self.base = B::class().get();
        self
    }

    /// Its documentation.
    pub(crate) fn doc(self, doc: &'static CStr) -> Self {
        self.slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast())
    }

    /// Its methods.
    pub(crate) fn methods(mut self, methods: impl IntoIterator<Item = ffi::PyMethodDef>) -> Self {
        self.methods.extend(methods);
        self
    }

    /// Its properties.
    pub(crate) fn properties(mut self, properties: impl IntoIterator<Item = ffi::PyGetSetDef>) -> Self {
        self.properties.extend(properties);
        self
    }

    /// A slot of the C API.
    pub(crate) fn slot(mut self, slot: c_int, function: *mut c_void) -> Self {
        self.slots.push(ffi::PyType_Slot { slot, pfunc: function });
        self
    }

    /// Instances can be referred to weakly; `offset` is that of a [`WeakList`] in the value.
    pub(crate) fn weakly_referenced(mut self, offset: usize) -> Self {
        self.members.push(ffi::PyMemberDef {
            name: c"__weaklistoffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: (offset_of!(Instance<T>, value) + offset) as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: ptr::null(),
        });
        self
    }

    /// Makes the class and keeps it for [`Class::class`].
    pub(crate) fn build(mut self, py: Python<'_>) -> Result<Owned> {
        // CPython keeps pointers to these tables for as long as the class lives: as long as the process.
        self.methods.push(ffi::PyMethodDef::zeroed());
        self.properties.push(ffi::PyGetSetDef::default());
        // SAFETY: all fields of a member definition are numbers and pointers, for which zero is valid: it ends the table.
        self.members.push(unsafe { std::mem::zeroed() });
        let methods = self.methods.leak().as_mut_ptr();
        let properties = self.properties.leak().as_mut_ptr();
        let members = self.members.leak().as_mut_ptr();
        self.slots.extend([
            ffi::PyType_Slot { slot: ffi::Py_tp_methods, pfunc: methods.cast() },
            ffi::PyType_Slot { slot: ffi::Py_tp_getset, pfunc: properties.cast() },
            ffi::PyType_Slot { slot: ffi::Py_tp_members, pfunc: members.cast() },
            ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() },
        ]);
        let mut spec = ffi::PyType_Spec {
            name: self.name.as_ptr(),
            basicsize: size_of::<Instance<T>>() as c_int,
            itemsize: 0,
            flags: self.flags as c_uint,
            slots: self.slots.as_mut_ptr(),
        };
        // SAFETY: the specification is complete: sizes are those of the instance, tables and slots end with zeros, and
        // the tables live for ever. A base is a class made before.
        let class = unsafe {
            if self.base.is_null() {
                Owned::from_returned(ffi::PyType_FromSpec(&raw mut spec))?
            } else {
                let bases = Owned::from_returned(ffi::PyTuple_Pack(1, self.base))?;
                Owned::from_returned(ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()))?
            }
        };
        T::class().0.store(class.clone().into_ptr().cast(), Ordering::Relaxed);
        let _ = py;
        Ok(class)
    }
}

impl<T: Collected> Builder<T> {
    /// Instances are made by Python and take part in garbage collection.
    pub(crate) fn collected(mut self) -> Self {
        self.flags |= ffi::Py_TPFLAGS_HAVE_GC;
        self.slot(ffi::Py_tp_new, new::<T> as *mut c_void)
            .slot(ffi::Py_tp_dealloc, dealloc_collected::<T> as *mut c_void)
            .slot(ffi::Py_tp_traverse, traverse::<T> as *mut c_void)
            .slot(ffi::Py_tp_clear, clear::<T> as *mut c_void)
    }
}

/// A value's list of weak references.
#[repr(transparent)]
pub(crate) struct WeakList(std::cell::UnsafeCell<*mut ffi::PyObject>);

impl Default for WeakList {
    fn default() -> Self {
        Self(std::cell::UnsafeCell::new(ptr::null_mut()))
    }
}

impl WeakList {
    /// Whether there is a weak reference.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: CPython changes the field under the GIL, which is held.
        unsafe { (*self.0.get()).is_null() }
    }
}

unsafe extern "C" fn new<T: Collected>(
    class: *mut ffi::PyTypeObject,
    _args: *mut ffi::PyObject,
    _kwargs: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guard("tp_new", |_| {
        let value = T::default();
        // SAFETY: the interpreter calls this with a class that derives from ours and so has an allocator. The memory it
        // returns has room for an instance; the value in it is written before anyone reads it, for nothing between the
        // two calls runs Python.
        unsafe {
            let alloc = ffi::PyType_GetSlot(class, ffi::Py_tp_alloc);
            let alloc: ffi::allocfunc = std::mem::transmute(alloc);
            let instance = Owned::from_returned(alloc(class, 0))?;
            ptr::write(&raw mut (*instance.as_ptr().cast::<Instance<T>>()).value, value);
            Ok(instance)
        }
    })
}

unsafe extern "C" fn dealloc_collected<T: Collected>(object: *mut ffi::PyObject) {
    // SAFETY: the interpreter calls this once, when the last reference is gone. The object leaves the collector before
    // its value is dropped, which may run Python; its memory is given back by the class's own function; a heap type is
    // held by its instances.
    guard_infallible("tp_dealloc", || unsafe {
        let class = ffi::Py_TYPE(object);
        ffi::PyObject_GC_UnTrack(object.cast());
        ptr::drop_in_place(&raw mut (*object.cast::<Instance<T>>()).value);
        let free = ffi::PyType_GetSlot(class, ffi::Py_tp_free);
        let free: ffi::freefunc = std::mem::transmute(free);
        free(object.cast());
        ffi::Py_DECREF(class.cast());
    });
}

unsafe extern "C" fn traverse<T: Collected>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    let mut visit = Visit { function: visit, arg, result: 0 };
    guard_infallible("tp_traverse", || {
        // SAFETY: the collector calls this with an instance. Its class is a heap type, which its instances hold.
        unsafe {
            visit.ptr(ffi::Py_TYPE(object).cast());
            (*object.cast::<Instance<T>>()).value.traverse(&mut visit);
        }
    });
    visit.result
}

unsafe extern "C" fn clear<T: Collected>(object: *mut ffi::PyObject) -> c_int {
    guard("tp_clear", |_| {
        // SAFETY: the collector calls this with an instance.
        unsafe { (*object.cast::<Instance<T>>()).value.clear() };
        Ok(())
    })
}
