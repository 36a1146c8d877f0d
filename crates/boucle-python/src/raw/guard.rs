//! The border of every slot: panics and errors in, Python exceptions out.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PySystemError;
use pyo3::{PyErr, Python, ffi};

use super::Owned;
use super::call::Sent;

/// Says that a Python exception is set. It carries nothing: the interpreter has the exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raised;

/// The result of what can raise.
pub(crate) type Result<T> = std::result::Result<T, Raised>;

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        // SAFETY: an error of `PyO3` was made by this thread under the GIL, in code that runs inside of a slot.
        error.restore(unsafe { Python::assume_attached() });
        Self
    }
}

#[expect(clippy::unused_self, reason = "whoever takes an exception gives up the token that says there is one")]
impl Raised {
    /// Takes the exception back from the interpreter, for `PyO3`, which must put it back: when it drops an error inside of
    /// a slot it does not know that the GIL is held, and puts the drop off.
    pub(crate) fn take(self, py: Python<'_>) -> PyErr {
        PyErr::take(py).unwrap_or_else(|| PySystemError::new_err("an error was reported without an exception"))
    }

    /// Reports the exception where it cannot be raised, as in a destructor.
    pub(crate) fn report_unraisable(self, _: Python<'_>, object: &Owned) {
        // SAFETY: an exception is set, and the object is alive.
        unsafe { ffi::PyErr_WriteUnraisable(object.as_ptr()) };
    }

    /// Takes the exception back from the interpreter, with its traceback.
    pub(crate) fn take_value(self, py: Python<'_>) -> Owned {
        match fetch(py) {
            Some(exception) => exception,
            None => Self::from(self.take(py)).take_value(py),
        }
    }

    /// Raises an exception that was taken back, unchanged.
    pub(crate) fn put_back(_: Python<'_>, exception: Owned) -> Self {
        // SAFETY: an exception that is alive, whose reference is given away, and so are those of its type and traceback.
        unsafe {
            #[cfg(Py_3_12)]
            ffi::PyErr_SetRaisedException(exception.into_ptr());
            #[cfg(not(Py_3_12))]
            {
                let class: *mut ffi::PyObject = exception.type_ptr().cast();
                ffi::Py_INCREF(class);
                let traceback = ffi::PyException_GetTraceback(exception.as_ptr());
                ffi::PyErr_Restore(class, exception.into_ptr(), traceback);
            }
        }
        Self
    }
}

/// Does work that must be done also after a failure, and only without an exception set; then raises what had failed.
pub(crate) fn afterwards(py: Python<'_>, result: Result<()>, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let raised = result.err().map(|raised| raised.take_value(py));
    work()?;
    raised.map_or(Ok(()), |exception| Err(Raised::put_back(py, exception)))
}

/// The exception that is set, with its traceback; it is set no longer.
fn fetch(_: Python<'_>) -> Option<Owned> {
    // SAFETY: the references that the interpreter gives are ours.
    unsafe {
        #[cfg(Py_3_12)]
        return Owned::from_returned(ffi::PyErr_GetRaisedException()).ok();
        #[cfg(not(Py_3_12))]
        {
            let (mut class, mut value, mut traceback) =
                (std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
            ffi::PyErr_Fetch(&raw mut class, &raw mut value, &raw mut traceback);
            ffi::PyErr_NormalizeException(&raw mut class, &raw mut value, &raw mut traceback);
            let traceback = Owned::from_returned(traceback).ok();
            drop(Owned::from_returned(class));
            let value = Owned::from_returned(value).ok()?;
            if let Some(traceback) = traceback {
                ffi::PyException_SetTraceback(value.as_ptr(), traceback.as_ptr());
            }
            Some(value)
        }
    }
}

/// The exception of an error of `PyO3`.
pub(crate) fn value_of(py: Python<'_>, error: PyErr) -> Owned {
    Raised::from(error).take_value(py)
}

/// Drops an error of `PyO3`, at once.
pub(crate) fn discard(py: Python<'_>, error: PyErr) {
    drop(value_of(py, error));
}

/// What a slot can return, and which value says that it raised.
pub(crate) trait SlotValue {
    /// The C type.
    type C;
    /// The value that says that an exception is set.
    const ERROR: Self::C;
    /// The value of success.
    fn into_c(self) -> Self::C;
}

impl SlotValue for Owned {
    type C = *mut ffi::PyObject;
    const ERROR: Self::C = std::ptr::null_mut();
    fn into_c(self) -> Self::C {
        self.into_ptr()
    }
}

impl SlotValue for Option<Owned> {
    type C = *mut ffi::PyObject;
    const ERROR: Self::C = std::ptr::null_mut();
    fn into_c(self) -> Self::C {
        self.map_or(std::ptr::null_mut(), Owned::into_ptr)
    }
}

impl SlotValue for () {
    type C = std::ffi::c_int;
    const ERROR: Self::C = -1;
    fn into_c(self) -> Self::C {
        0
    }
}

impl SlotValue for Sent {
    type C = (ffi::PySendResult, *mut ffi::PyObject);
    const ERROR: Self::C = (ffi::PySendResult::PYGEN_ERROR, std::ptr::null_mut());
    fn into_c(self) -> Self::C {
        match self {
            Self::Yielded(object) => (ffi::PySendResult::PYGEN_NEXT, object.into_ptr()),
            Self::Returned(object) => (ffi::PySendResult::PYGEN_RETURN, object.into_ptr()),
        }
    }
}

/// Runs the body of a slot. `name` is the slot's, for the message of an internal error.
#[inline]
pub(crate) fn guard<R: SlotValue>(name: &'static str, body: impl FnOnce(Python<'_>) -> Result<R>) -> R::C {
    let run = || {
        inject(name);
        // SAFETY: the interpreter calls slots with the GIL held.
        body(unsafe { Python::assume_attached() })
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => value.into_c(),
        Ok(Err(Raised)) => R::ERROR,
        Err(panic) => {
            raise_panic(name, panic.as_ref());
            R::ERROR
        }
    }
}

/// Runs the body of a slot that cannot raise, such as a destructor: a panic is reported as unraisable.
#[inline]
pub(crate) fn guard_infallible(name: &'static str, body: impl FnOnce()) {
    let run = || {
        inject(name);
        body();
    };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        raise_panic(name, panic.as_ref());
        // SAFETY: the GIL is held and an exception is set.
        unsafe { ffi::PyErr_WriteUnraisable(std::ptr::null_mut()) };
    }
}

#[cold]
fn raise_panic(name: &'static str, panic: &(dyn Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    let text = format!("internal error in {name}: {message}; please report it, it is a bug of boucle");
    // SAFETY: slots run under the GIL.
    PySystemError::new_err(text).restore(unsafe { Python::assume_attached() });
}

/// Panics if the tests asked this slot to.
#[cfg(feature = "panic-injection")]
fn inject(name: &'static str) {
    let mut armed = ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if armed.as_deref() == Some(name) {
        *armed = None;
        drop(armed);
        panic!("injected");
    }
}

#[cfg(not(feature = "panic-injection"))]
#[inline]
fn inject(_: &'static str) {}

/// The slot that panics next.
#[cfg(feature = "panic-injection")]
pub(crate) static ARMED: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);
