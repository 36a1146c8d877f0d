//! References to Python objects: owned ones, and fields that hold one.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use pyo3::{Borrowed, Bound, PyAny, Python, ffi};

use super::guard::{Raised, Result};

/// A strong reference to a Python object, dropped by a plain decrement.
///
/// It is neither `Send` nor `Sync`, so the thread that holds one is the thread that was handed it under the GIL, and it
/// cannot be carried into a section that has released the GIL.
#[repr(transparent)]
pub(crate) struct Owned(NonNull<ffi::PyObject>);

impl Owned {
    /// Takes over a reference that a C function returned; null means that it raised.
    ///
    /// # Safety
    ///
    /// `ptr` is null with an exception set, or a reference the caller owns. The GIL is held.
    pub(crate) unsafe fn from_returned(ptr: *mut ffi::PyObject) -> Result<Self> {
        NonNull::new(ptr).map(Self).ok_or(Raised)
    }

    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `ptr` is a reference the caller owns. The GIL is held.
    pub(crate) unsafe fn from_owned(ptr: NonNull<ffi::PyObject>) -> Self {
        Self(ptr)
    }

    /// Adds a reference to an object.
    ///
    /// # Safety
    ///
    /// `ptr` is an object that is alive. The GIL is held.
    pub(crate) unsafe fn from_borrowed(ptr: NonNull<ffi::PyObject>) -> Self {
        // SAFETY: by this function's contract.
        unsafe { ffi::Py_INCREF(ptr.as_ptr()) };
        Self(ptr)
    }

    /// The object, for a call into C that borrows it.
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Gives the reference away, to C code that takes it over.
    pub(crate) fn into_ptr(self) -> *mut ffi::PyObject {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// The object as `PyO3` knows it, for cold code.
    pub(crate) fn any<'a, 'py>(&'a self, py: Python<'py>) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: the reference is alive for 'a, and `py` proves that the GIL is held.
        unsafe { Borrowed::from_ptr(py, self.0.as_ptr()) }
    }

    /// The type of the object, for comparisons.
    pub(crate) fn type_ptr(&self) -> *mut ffi::PyTypeObject {
        // SAFETY: the object is alive.
        unsafe { ffi::Py_TYPE(self.0.as_ptr()) }
    }

    /// Whether both are the same object.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Whether it is `None`.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        // SAFETY: reading the address of a static of the running interpreter.
        self.0.as_ptr() == unsafe { ffi::Py_None() }
    }

    /// Whether nobody else holds a reference.
    pub(crate) fn is_unique(&self) -> bool {
        // SAFETY: the object is alive.
        unsafe { ffi::Py_REFCNT(self.0.as_ptr()) == 1 }
    }

    /// How many references there are.
    pub(crate) fn references(&self) -> isize {
        // SAFETY: the object is alive.
        unsafe { ffi::Py_REFCNT(self.0.as_ptr()) as isize }
    }

    /// Whether it is `False`.
    #[inline]
    pub(crate) fn is_false(&self) -> bool {
        // SAFETY: reading the address of a static of the running interpreter.
        self.0.as_ptr() == unsafe { ffi::Py_False() }
    }

    /// The value, if it is exactly an `int` that fits.
    #[inline]
    pub(crate) fn small_int(&self) -> Option<i64> {
        let mut overflow = 0;
        // SAFETY: the object is alive. The number of an exact `int` is read without running Python; one that does not fit is
        // reported by the flag, without an exception.
        unsafe {
            if ffi::PyLong_CheckExact(self.0.as_ptr()) == 0 {
                return None;
            }
            let value = ffi::PyLong_AsLongLongAndOverflow(self.0.as_ptr(), &raw mut overflow);
            (overflow == 0).then_some(value)
        }
    }

    /// `True`.
    pub(crate) fn truth(_: Python<'_>) -> Self {
        // SAFETY: a static of the interpreter; `Python` proves that the interpreter runs and the GIL is held.
        unsafe { Self::from_borrowed(NonNull::new_unchecked(ffi::Py_True())) }
    }

    /// `False`.
    pub(crate) fn falsehood(_: Python<'_>) -> Self {
        // SAFETY: a static of the interpreter; `Python` proves that the interpreter runs and the GIL is held.
        unsafe { Self::from_borrowed(NonNull::new_unchecked(ffi::Py_False())) }
    }

    /// `None`.
    pub(crate) fn none(_: Python<'_>) -> Self {
        // SAFETY: a static of the interpreter; `Python` proves that the interpreter runs and the GIL is held.
        unsafe { Self::from_borrowed(NonNull::new_unchecked(ffi::Py_None())) }
    }
}

impl Clone for Owned {
    fn clone(&self) -> Self {
        // SAFETY: the object is alive, and this thread holds the GIL: see the type's doc.
        unsafe { Self::from_borrowed(self.0) }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and this thread holds the GIL: see the type's doc.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) }
    }
}

impl From<Bound<'_, PyAny>> for Owned {
    fn from(bound: Bound<'_, PyAny>) -> Self {
        let ptr = bound.into_ptr();
        // SAFETY: a bound object is never null, and `into_ptr` gives its reference to us.
        Self(unsafe { NonNull::new_unchecked(ptr) })
    }
}

/// A field of a native object that holds a reference, or nothing.
///
/// Replacing hands the old content to the caller, who drops it when nothing of the object is borrowed.
pub(crate) struct ObjectCell(Cell<*mut ffi::PyObject>);

impl Default for ObjectCell {
    fn default() -> Self {
        Self(Cell::new(ptr::null_mut()))
    }
}

impl ObjectCell {
    /// A cell that holds a reference.
    pub(crate) fn new(content: Owned) -> Self {
        Self(Cell::new(content.into_ptr()))
    }

    /// Another reference to the content.
    pub(crate) fn get(&self) -> Option<Owned> {
        // SAFETY: the cell holds a reference, so the object is alive; the GIL is held, for cells sit in Python objects.
        NonNull::new(self.0.get()).map(|ptr| unsafe { Owned::from_borrowed(ptr) })
    }

    /// Replaces the content and returns the old one.
    #[must_use = "dropping what was replaced runs arbitrary Python: do it where nothing is borrowed"]
    pub(crate) fn replace(&self, content: Option<Owned>) -> Option<Owned> {
        let new = content.map_or(ptr::null_mut(), Owned::into_ptr);
        NonNull::new(self.0.replace(new)).map(Owned)
    }

    /// Takes the content out.
    #[must_use = "dropping what was taken runs arbitrary Python: do it where nothing is borrowed"]
    pub(crate) fn take(&self) -> Option<Owned> {
        self.replace(None)
    }

    /// Whether it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_null()
    }

    /// The content, for a call into C that borrows it; null where there is none. The caller makes sure that the cell is
    /// not emptied during the call.
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.get()
    }
}

impl Drop for ObjectCell {
    fn drop(&mut self) {
        // Nobody looks at the cell any more, so it keeps the address.
        drop(NonNull::new(*self.0.get_mut()).map(Owned));
    }
}
