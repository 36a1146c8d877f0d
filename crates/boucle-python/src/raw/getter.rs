//! A property of a class that is written in C, read without looking its name up.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::instance::Member;
use super::{Owned, Result};

/// A property of this name.
pub(crate) struct Getter {
    name: Owned,
    /// The class whose instances it is read of natively, and how; nothing for a class that can be changed.
    native: Option<(Owned, Member)>,
}

impl Getter {
    /// The property of this name in `class`. Nobody can replace it there if the class cannot be changed.
    pub(crate) fn new(class: &Bound<'_, PyAny>, name: &'static str) -> PyResult<Self> {
        let kind = class.cast::<PyType>()?.as_type_ptr();
        // SAFETY: a class, which is alive.
        let cannot_change = unsafe { ffi::PyType_HasFeature(kind, ffi::Py_TPFLAGS_IMMUTABLETYPE) } != 0;
        let native = if cannot_change { Some((class.clone().into(), Member::of(class, name)?)) } else { None };
        Ok(Self { name: PyString::intern(class.py(), name).into_any().into(), native })
    }

    /// `object.name`.
    #[inline]
    pub(crate) fn get(&self, py: Python<'_>, object: &Owned) -> Result<Owned> {
        match &self.native {
            Some((class, member)) if object.type_ptr().cast() == class.as_ptr() => member.get(py, object),
            _ => Ok(object.any(py).getattr(self.name.any(py).cast::<PyString>().map_err(PyErr::from)?)?.into()),
        }
    }
}
