//! Classes that are written in Python, and functions of theirs and of modules that are done natively: only while they are as
//! they were written.
//!
//! A class says when it changes, by the version that the interpreter gives it, so its functions are looked up once. A module
//! does not, and is asked each time.
//!
//! Whoever imports this module may have replaced them before: what is found is taken for the original only if the module made
//! it that it is looked for in.

use std::cell::Cell;

use pyo3::Borrowed;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyType};

use crate::raw::Owned;
use crate::raw::guard::discard;
use crate::raw::instance::{Function, version};

/// A class, and its functions that are done natively.
pub(crate) struct Unchanged {
    class: Owned,
    /// Nothing where somebody had changed one before this module was imported.
    attributes: Option<Vec<Attribute>>,
    /// Names that only its instances have.
    absent: Vec<Owned>,
    /// The version of the class for which they were found as they were; 0 if they must be looked up.
    version: Cell<u32>,
}

/// An attribute of a class.
struct Attribute {
    name: Owned,
    value: Owned,
    /// The same, where it is a function of Python code, which may get other code.
    function: Option<Function>,
}

impl Attribute {
    /// The attribute as it is. Nothing where it is a function of another module than that whose names are these, or an object
    /// that wraps one.
    fn of(class: &Bound<'_, PyAny>, namespace: &Bound<'_, PyAny>, name: &str) -> Option<Self> {
        let name = PyString::intern(class.py(), name);
        let value = class.getattr(&name).ok()?;
        let function = Function::of(value.clone().into());
        let is_own = match &function {
            Some(_) => value.getattr("__globals__").ok()?.is(namespace),
            None => is_of_c(&value),
        };
        if !is_own {
            return None;
        }
        Some(Self { name: name.into_any().into(), value: value.into(), function })
    }

    /// Whether it is there still.
    fn is_there(&self, py: Python<'_>, class: &Owned) -> bool {
        let name = self.name.any(py).cast::<PyString>().map_err(PyErr::from);
        let found = name.and_then(|name| class.any(py).getattr(name));
        found.map_err(|error| discard(py, error)).is_ok_and(|found| found.is(self.value.any(py)))
    }
}

/// Whether an object is a function or a method of C.
fn is_of_c(object: &Bound<'_, PyAny>) -> bool {
    let types = ["builtin_function_or_method", "method_descriptor", "wrapper_descriptor"];
    object.get_type().name().is_ok_and(|name| types.into_iter().any(|of_c| name == of_c))
}

impl Unchanged {
    /// Notes how a class of a module is.
    pub(crate) fn of<const N: usize>(module: &Bound<'_, PyModule>, class: &str, names: [&str; N]) -> PyResult<Self> {
        let class = module.getattr(class)?;
        let namespace = module.dict().into_any();
        let attributes = names.into_iter().map(|name| Attribute::of(&class, &namespace, name)).collect();
        Ok(Self { class: class.into(), attributes, absent: Vec::new(), version: Cell::new(0) })
    }

    /// The same, and that the class itself has no attributes of these names, which its instances have: such an attribute would
    /// be asked instead.
    pub(crate) fn without<const N: usize>(mut self, py: Python<'_>, names: [&str; N]) -> Self {
        self.absent.extend(names.map(|name| Owned::from(PyString::intern(py, name).into_any())));
        self
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
        let Some(attributes) = &self.attributes else { return false };
        let known = self.version.get();
        ((known != 0 && known == version(&self.class)) || self.look(py, attributes))
            && attributes.iter().filter_map(|attribute| attribute.function.as_ref()).all(Function::is_unchanged)
    }

    #[cold]
    fn look(&self, py: Python<'_>, attributes: &[Attribute]) -> bool {
        let holds = attributes.iter().all(|attribute| attribute.is_there(py, &self.class))
            && self.absent.iter().all(|name| self.lacks(py, name));
        // The look-ups have given the class a version, if it can have one.
        self.version.set(if holds { version(&self.class) } else { 0 });
        holds
    }

    fn lacks(&self, py: Python<'_>, name: &Owned) -> bool {
        let name = name.any(py).cast::<PyString>().map_err(PyErr::from);
        let found = name.and_then(|name| self.class.any(py).hasattr(name));
        found.map_err(|error| discard(py, error)).is_ok_and(|found| !found)
    }
}

/// Whether an object is a function or a class that one of the modules `homes` makes, a function of C, or the module that is
/// imported by its name, which is to end in `name`. What wraps a function may say that it is of the same module: which names
/// it uses it cannot say.
fn is_made_in(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    is_function: bool,
    homes: &[&str],
) -> PyResult<bool> {
    let py = object.py();
    if is_function {
        let namespace = object.getattr("__globals__")?;
        for home in homes {
            if py.import(*home)?.dict().is(&namespace) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if object.is_instance_of::<PyType>() {
        let home: String = object.getattr("__module__")?.extract()?;
        return Ok(homes.contains(&&*home));
    }
    if let Ok(module) = object.cast_exact::<PyModule>() {
        let full_name = module.name()?.to_string();
        let is_of_name = full_name.rsplit('.').next() == Some(&name.to_string());
        let modules = py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?;
        return Ok(is_of_name && modules.get_item(full_name)?.is_some_and(|imported| imported.is(object)));
    }
    Ok(object.is_exact_instance_of::<PyCFunction>())
}

/// A function of Python code that a module makes; nothing where somebody has put something else in its place.
pub(crate) fn function_of(module: &Bound<'_, PyModule>, name: &str) -> PyResult<Option<Function>> {
    let name = PyString::intern(module.py(), name);
    let object = module.getattr(&name)?;
    let Some(function) = Function::of(object.clone().into()) else { return Ok(None) };
    let home = module.name()?.to_string();
    Ok(is_made_in(&object, &name, true, &[&home])?.then_some(function))
}

/// The names in a module.
pub(crate) struct Namespace(Owned);

impl Namespace {
    /// Those of a module.
    pub(crate) fn of(module: &Bound<'_, PyModule>) -> Self {
        Self(module.dict().into_any().into())
    }

    /// What a name means now.
    #[inline]
    pub(crate) fn meaning<'py>(
        &self,
        py: Python<'py>,
        name: Borrowed<'_, 'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.0.any(py).cast::<PyDict>()?.get_item(name)
    }
}

/// Names in a module, and what they meant.
pub(crate) struct Names {
    namespace: Namespace,
    /// Nothing where somebody had changed one before.
    meanings: Option<Vec<Attribute>>,
}

impl Names {
    /// Notes what names in a module mean: modules, and functions and classes that are made in one of the modules `homes`.
    pub(crate) fn of<const N: usize>(module: &Bound<'_, PyModule>, homes: &[&str], names: [&str; N]) -> PyResult<Self> {
        let py = module.py();
        let mut meanings = Some(Vec::with_capacity(N));
        for name in names {
            let name = PyString::intern(py, name);
            let value = module.getattr(&name)?;
            let function = Function::of(value.clone().into());
            if !is_made_in(&value, &name, function.is_some(), homes)? {
                meanings = None;
            }
            if let Some(meanings) = &mut meanings {
                meanings.push(Attribute { name: name.into_any().into(), value: value.into(), function });
            }
        }
        Ok(Self { namespace: Namespace::of(module), meanings })
    }

    /// Whether they mean that.
    pub(crate) fn hold(&self, py: Python<'_>) -> bool {
        let is_there = |meaning: &Attribute| {
            let found = self.namespace.meaning(py, meaning.name.any(py));
            let found = found.map_err(|error| discard(py, error)).ok().flatten();
            found.is_some_and(|found| found.is(meaning.value.any(py)))
                && meaning.function.as_ref().is_none_or(Function::is_unchanged)
        };
        self.meanings.as_ref().is_some_and(|meanings| meanings.iter().all(is_there))
    }
}
