//! Functions that a function of Python code makes each time it runs, made without running it.
//!
//! Such a function has the code that the outer one was compiled with, and variables of its own to share with it. To whoever
//! looks it is one that the outer function has made.

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use pyo3::{Bound, Python, ffi};

use super::instance::Function;
use super::{Owned, Raised, Result};

/// A function of another function, with `N` variables of that.
pub(crate) struct Nested<const N: usize> {
    code: Owned,
    namespace: Owned,
    qualified_name: Owned,
}

impl<const N: usize> Nested<N> {
    /// The function of this name; nothing where the outer function has none that uses exactly these of its variables, in
    /// the order of the alphabet. `namespace` is that of the outer function.
    pub(crate) fn of(
        outer: &Function,
        namespace: &Bound<'_, PyAny>,
        name: &str,
        variables: [&str; N],
    ) -> PyResult<Option<Self>> {
        let py = namespace.py();
        let constants: Bound<'_, PyTuple> = outer.code().any(py).getattr("co_consts")?.cast_into()?;
        // SAFETY: constants of a code object that is alive; the type is compared only.
        let is_code = |constant: &Bound<'_, PyAny>| unsafe { ffi::PyCode_Check(constant.as_ptr()) } != 0;
        for code in constants.iter().filter(is_code) {
            if code.getattr("co_name")?.extract::<String>()? == name {
                let used: Vec<String> = code.getattr("co_freevars")?.extract()?;
                let outer_name: String = outer.object().any(py).getattr("__qualname__")?.extract()?;
                let qualified_name = PyString::intern(py, &format!("{outer_name}.<locals>.{name}"));
                return Ok((used == variables).then(|| Self {
                    code: code.into(),
                    namespace: namespace.clone().into(),
                    qualified_name: qualified_name.into_any().into(),
                }));
            }
        }
        Ok(None)
    }

    /// Makes one, with the values of the variables.
    pub(crate) fn make(&self, _: Python<'_>, values: [&Owned; N]) -> Result<Owned> {
        let (code, namespace, name) = (self.code.as_ptr(), self.namespace.as_ptr(), self.qualified_name.as_ptr());
        // SAFETY: a code object, the dictionary of a module and a string, which are alive.
        let function = unsafe { Owned::from_returned(ffi::PyFunction_NewWithQualName(code, namespace, name))? };
        if N > 0 {
            // SAFETY: a new tuple of that length, filled below before anyone sees it.
            let closure = unsafe { Owned::from_returned(ffi::PyTuple_New(N as ffi::Py_ssize_t))? };
            for (index, value) in values.into_iter().enumerate() {
                // SAFETY: the value is alive; the index is below the length, the slot is empty, and the reference is its own.
                unsafe {
                    let cell = Owned::from_returned(ffi::PyCell_New(value.as_ptr()))?;
                    ffi::PyTuple_SET_ITEM(closure.as_ptr(), index as ffi::Py_ssize_t, cell.into_ptr());
                }
            }
            // SAFETY: a new function, and a tuple of as many cells as its code uses.
            if unsafe { ffi::PyFunction_SetClosure(function.as_ptr(), closure.as_ptr()) } < 0 {
                return Err(Raised);
            }
        }
        Ok(function)
    }
}
