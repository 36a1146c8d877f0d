//! A property of a class that is written in C, read without looking its name up.

use std::ffi::{CStr, c_void};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::{Owned, Result};

/// A property of this name.
pub(crate) struct Getter {
    name: Owned,
    /// The class whose instances it is read of natively, and how; nothing for a class that is not written so.
    native: Option<Native>,
}

struct Native {
    class: Owned,
    get: ffi::getter,
    closure: *mut c_void,
}

impl Getter {
    /// The property of this name in `class`. Nobody can replace it there if the class cannot be changed.
    pub(crate) fn new(class: &Bound<'_, PyAny>, name: &'static str) -> Self {
        Self { name: PyString::intern(class.py(), name).into_any().into(), native: find(class, name) }
    }

    /// `object.name`.
    #[inline]
    pub(crate) fn get(&self, py: Python<'_>, object: &Owned) -> Result<Owned> {
        match &self.native {
            Some(native) if object.type_ptr().cast() == native.class.as_ptr() => {
                // SAFETY: the function that the class defines for its instances, with what it is to be passed.
                unsafe { Owned::from_returned((native.get)(object.as_ptr(), native.closure)) }
            }
            _ => Ok(object.any(py).getattr(self.name.any(py).cast::<PyString>().map_err(PyErr::from)?)?.into()),
        }
    }
}

/// How a class reads a property.
fn find(class: &Bound<'_, PyAny>, name: &str) -> Option<Native> {
    let kind: *mut ffi::PyTypeObject = class.cast::<pyo3::types::PyType>().ok()?.as_type_ptr();
    // SAFETY: a class, which is alive. Its table of properties ends with one without a name, and lives as long as it.
    unsafe {
        if ffi::PyType_HasFeature(kind, ffi::Py_TPFLAGS_IMMUTABLETYPE) == 0 {
            return None;
        }
        let mut property: *const ffi::PyGetSetDef = ffi::PyType_GetSlot(kind, ffi::Py_tp_getset).cast();
        while !property.is_null() && !(*property).name.is_null() {
            if CStr::from_ptr((*property).name).to_bytes() == name.as_bytes() {
                let get = (*property).get?;
                return Some(Native { class: class.clone().into(), get, closure: (*property).closure });
            }
            property = property.add(1);
        }
    }
    None
}
