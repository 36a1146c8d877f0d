//! The GIL: statics that it guards, and the one way to release it.

use std::cell::{RefCell, RefMut};
use std::sync::OnceLock;

use pyo3::exceptions::PyImportError;
use pyo3::{PyResult, Python, ffi};

/// A static that only the holder of the GIL gets at.
pub(crate) struct GilCell<T>(RefCell<T>);

// SAFETY: every access takes a `Python` token, so it happens under the GIL, by one thread at a time. No borrow outlives
// a release of the GIL: nothing that releases it is called while one is held (see the module doc of `raw`).
unsafe impl<T> Sync for GilCell<T> {}

impl<T> GilCell<T> {
    /// A cell.
    pub(crate) const fn new(content: T) -> Self {
        Self(RefCell::new(content))
    }

    /// The content. Nothing that runs Python may be called while it is borrowed.
    pub(crate) fn borrow<'a>(&'a self, _: Python<'a>) -> RefMut<'a, T> {
        self.0.borrow_mut()
    }
}

/// A static that is set once and that only the holder of the GIL gets at.
pub(crate) struct GilOnce<T>(OnceLock<UnderGil<T>>);

/// What only the holder of the GIL gets at.
struct UnderGil<T>(T);

// SAFETY: `GilOnce` hands the content out against a `Python` token only, so one thread at a time gets at it, under the
// GIL. It is never dropped: it sits in a static.
unsafe impl<T> Send for UnderGil<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for UnderGil<T> {}

impl<T> GilOnce<T> {
    /// Without a content.
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Sets the content, unless there is one.
    pub(crate) fn set(&self, _: Python<'_>, content: T) {
        self.0.set(UnderGil(content)).ok();
    }

    /// The content, for C code that keeps a pointer to it; nothing before it is set.
    pub(crate) fn get_static(&'static self, _: Python<'_>) -> Option<&'static T> {
        self.0.get().map(|content| &content.0)
    }

    /// The content.
    #[inline]
    pub(crate) fn get<'py>(&'py self, _: Python<'py>) -> &'py T {
        &self.0.get().expect("statics are set when the module is initialised, before anything can use them").0
    }
}

/// Refuses to be imported by a sub-interpreter: the statics of this crate hold objects of one interpreter.
pub(crate) fn refuse_sub_interpreters() -> PyResult<()> {
    // SAFETY: called while a module is imported, so the GIL is held.
    if unsafe { ffi::PyInterpreterState_Get() != ffi::PyInterpreterState_Main() } {
        return Err(PyImportError::new_err("boucle works in the main interpreter only, not in a sub-interpreter"));
    }
    Ok(())
}

/// Runs `work` with the GIL released. Only a wait that can block is worth it: releasing and taking it back costs 26 ns
/// when nobody wants it, and up to the switch interval, 5 ms, when somebody does.
pub(crate) fn released<R>(_: Python<'_>, work: impl Send + FnOnce() -> R) -> R {
    /// Takes the GIL back also if `work` panics.
    struct Retake(*mut ffi::PyThreadState);

    impl Drop for Retake {
        fn drop(&mut self) {
            // SAFETY: the thread state is the one this thread saved, and it is saved once.
            unsafe { ffi::PyEval_RestoreThread(self.0) }
        }
    }

    // SAFETY: the token proves that this thread holds the GIL. `work` is `Send`, so no reference to a Python object
    // enters it.
    let _retake = Retake(unsafe { ffi::PyEval_SaveThread() });
    work()
}
