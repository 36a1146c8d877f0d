//! Calls with a few arguments, by the vector call: no tuple, and no bound method where there is a name.

use std::ptr;

use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{Python, ffi};

use super::{Owned, Result};

/// How many arguments a call has at most.
const MOST: usize = 4;

/// The arguments after one free place, which a bound method uses for its object.
fn placed(args: &[&Owned]) -> [*mut ffi::PyObject; MOST + 1] {
    let mut all = [ptr::null_mut(); MOST + 1];
    for (place, arg) in all[1..].iter_mut().zip(args) {
        *place = arg.as_ptr();
    }
    all
}

/// Calls `callable(*args)`, with at most four arguments.
#[inline]
pub(crate) fn call(_: Python<'_>, callable: &Owned, args: &[&Owned]) -> Result<Owned> {
    debug_assert!(args.len() <= MOST);
    let mut all = placed(args);
    // SAFETY: the arguments are alive during the call and stand behind a free place, which the flag says.
    unsafe {
        let count = args.len() | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        Owned::from_returned(ffi::PyObject_Vectorcall(
            callable.as_ptr(),
            all.as_mut_ptr().add(1),
            count,
            ptr::null_mut(),
        ))
    }
}

/// The name of a method: a string, interned.
pub(crate) trait Name {
    /// The string, for a call into C that borrows it.
    fn as_ptr(&self) -> *mut ffi::PyObject;
}

impl Name for Owned {
    fn as_ptr(&self) -> *mut ffi::PyObject {
        self.as_ptr()
    }
}

impl Name for Bound<'_, PyString> {
    fn as_ptr(&self) -> *mut ffi::PyObject {
        self.as_any().as_ptr()
    }
}

/// Calls `object.name(*args)`, with at most four arguments.
#[inline]
pub(crate) fn method(_: Python<'_>, object: &Owned, name: &impl Name, args: &[&Owned]) -> Result<Owned> {
    debug_assert!(args.len() <= MOST);
    let mut all = placed(args);
    all[0] = object.as_ptr();
    // SAFETY: the object and the arguments are alive during the call, the object first.
    unsafe {
        let count = 1 + args.len();
        Owned::from_returned(ffi::PyObject_VectorcallMethod(name.as_ptr(), all.as_ptr(), count, ptr::null_mut()))
    }
}
