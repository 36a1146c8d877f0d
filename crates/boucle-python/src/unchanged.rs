//! Classes that are written in Python, and functions of theirs that are done natively: only while they are as they were
//! written.
//!
//! A class says when it changes, by the version that the interpreter gives it, so its functions are looked up once.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::raw::Owned;
use crate::raw::guard::discard;
use crate::raw::instance::{Function, version};

/// A class, and its functions that are done natively.
pub(crate) struct Unchanged {
    class: Owned,
    /// By name. Nothing where somebody had changed one before this module was imported.
    functions: Option<Vec<(Owned, Function)>>,
    /// The version of the class for which they were found as they were; 0 if they must be looked up.
    version: Cell<u32>,
}

impl Unchanged {
    /// Notes how a class of a module is.
    pub(crate) fn of<const N: usize>(module: &Bound<'_, PyModule>, class: &str, names: [&str; N]) -> PyResult<Self> {
        let class = module.getattr(class)?;
        let namespace = module.dict();
        let functions = names.map(|name| {
            let name = PyString::intern(module.py(), name);
            let function = class.getattr(&name).ok()?;
            let is_the_modules = function.getattr("__globals__").is_ok_and(|globals| globals.is(&namespace));
            let function = Function::of(function.into()).filter(|_| is_the_modules)?;
            Some((name.into_any().into(), function))
        });
        let functions = functions.into_iter().collect();
        Ok(Self { class: class.into(), functions, version: Cell::new(0) })
    }

    /// The class.
    pub(crate) fn class(&self) -> &Owned {
        &self.class
    }

    /// Whether an object is exactly of the class, and the class as it was written.
    #[inline]
    pub(crate) fn is_class_of(&self, py: Python<'_>, object: &Owned) -> bool {
        object.type_ptr().cast() == self.class.as_ptr() && self.holds(py)
    }

    /// Whether the class is as it was written.
    #[inline]
    pub(crate) fn holds(&self, py: Python<'_>) -> bool {
        let Some(functions) = &self.functions else { return false };
        let known = self.version.get();
        ((known != 0 && known == version(&self.class)) || self.look(py, functions))
            && functions.iter().all(|(_, function)| function.is_unchanged())
    }

    #[cold]
    fn look(&self, py: Python<'_>, functions: &[(Owned, Function)]) -> bool {
        let class = self.class.any(py);
        let is_there = |(name, function): &(Owned, Function)| {
            let found = name.any(py).cast::<PyString>().map_err(PyErr::from).and_then(|name| class.getattr(name));
            found.map_err(|error| discard(py, error)).is_ok_and(|found| found.is(function.object().any(py)))
        };
        let holds = functions.iter().all(is_there);
        // The look-ups have given the class a version, if it can have one.
        self.version.set(if holds { version(&self.class) } else { 0 });
        holds
    }
}
