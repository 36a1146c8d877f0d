//! Instances of classes that are written in Python, from inside: how they are made, their attributes, whom a weak reference refers to, which
//! code a function has.
//!
//! It is for who does natively what such a class would do, and has made sure that the class is as it was written.
//!
//! * [`Layout`]: where the attributes of a class's instances are. From 3.13 on they are read where the interpreter keeps them, beside the
//!   object (`inline`): looked up by name they cost more than the Python code that is done without. Before, they are looked
//!   up in the instance's dictionary (`dictionary`).
//! * [`has_attributes`]: whether an instance has any, where a native base has fields for all that it usually has.

#[cfg(not(Py_3_13))]
mod dictionary;
#[cfg(Py_3_13)]
mod inline;

#[cfg(not(Py_3_13))]
pub(crate) use dictionary::{Layout, can_tell_attributes, has_attributes};
#[cfg(Py_3_13)]
pub(crate) use inline::{Layout, can_tell_attributes, has_attributes};

use std::ptr::{self, NonNull};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::{Owned, Raised, Result};

/// Whom a weak reference refers to; nothing where that is gone, or where the object is not exactly a weak reference.
#[inline]
pub(crate) fn referent(_: Python<'_>, reference: &Owned) -> Option<Owned> {
    let mut object = ptr::null_mut();
    // SAFETY: the object is alive and its type is checked, so nothing is raised.
    unsafe {
        if ffi::PyWeakref_CheckRefExact(reference.as_ptr()) == 0 {
            return None;
        }
        ffi::compat::PyWeakref_GetRef(reference.as_ptr(), &raw mut object);
        Owned::from_returned(object).ok()
    }
}

/// A weak reference to an object, with a function that is called when that is gone.
pub(crate) fn refer_to(object: &Owned, gone: Option<&Owned>) -> Result<Owned> {
    let gone = gone.map_or(ptr::null_mut(), Owned::as_ptr);
    // SAFETY: both are alive; no function is null.
    unsafe { Owned::from_returned(ffi::PyWeakref_NewRef(object.as_ptr(), gone)) }
}

/// The number of a class as it is now, which the interpreter changes when the class changes; 0 where it has none.
#[inline]
pub(crate) fn version(class: &Owned) -> u32 {
    // SAFETY: the caller passes a class, which is alive.
    unsafe { (*class.as_ptr().cast::<ffi::PyTypeObject>()).tp_version_tag }
}

/// An instance that no constructor has seen: what `base.__new__(class, *args)` makes, of a class that derives from `base`.
pub(crate) fn bare(base: &Owned, class: &Owned, args: &Bound<'_, PyTuple>) -> Result<Owned> {
    let (base, class): (*mut ffi::PyTypeObject, _) = (base.as_ptr().cast(), class.as_ptr().cast());
    // SAFETY: the caller passes classes, which are alive; one that can have instances has this function, which takes a tuple
    // and no names.
    unsafe {
        match (*base).tp_new {
            Some(make) => Owned::from_returned(make(class, args.as_ptr(), ptr::null_mut())),
            None => Err(PyTypeError::new_err("this class has no instances").into()),
        }
    }
}

/// Calls the constructor of a class of C on an instance: what `class.__init__(object, *args)` does.
pub(crate) fn construct(class: &Owned, object: &Owned, args: &Bound<'_, PyTuple>) -> Result<()> {
    let class: *mut ffi::PyTypeObject = class.as_ptr().cast();
    // SAFETY: the caller passes a class and an instance of it, which are alive; the constructor takes a tuple and no names.
    let made = unsafe { (*class).tp_init.map(|init| init(object.as_ptr(), args.as_ptr(), ptr::null_mut())) };
    if made.unwrap_or(0) < 0 { Err(Raised) } else { Ok(()) }
}

/// An attribute that instances of a class keep at a place of its own, as `__slots__` makes it.
pub(crate) struct Member {
    descriptor: Owned,
    get: ffi::descrgetfunc,
    set: Option<ffi::descrsetfunc>,
}

impl Member {
    /// The attribute of this name.
    pub(crate) fn of(class: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        let descriptor: Owned = class.getattr(name)?.into();
        // SAFETY: the type of an object that is alive.
        let (get, set) = unsafe { ((*descriptor.type_ptr()).tp_descr_get, (*descriptor.type_ptr()).tp_descr_set) };
        let get = get.ok_or_else(|| PyTypeError::new_err(format!("'{name}' is no descriptor")))?;
        Ok(Self { descriptor, get, set })
    }

    /// The value in an instance.
    #[inline]
    pub(crate) fn get(&self, _: Python<'_>, object: &Owned) -> Result<Owned> {
        // SAFETY: all are alive; the descriptor checks the object's class itself.
        unsafe { Owned::from_returned((self.get)(self.descriptor.as_ptr(), object.as_ptr(), object.type_ptr().cast())) }
    }

    /// Sets it.
    #[inline]
    pub(crate) fn set(&self, _: Python<'_>, object: &Owned, value: &Owned) -> Result<()> {
        // SAFETY: as above.
        let set = self.set.map(|set| unsafe { set(self.descriptor.as_ptr(), object.as_ptr(), value.as_ptr()) });
        if set == Some(0) { Ok(()) } else { Err(Raised) }
    }
}

/// A method of a class of C that takes no arguments, called without looking its name up.
pub(crate) struct Ask {
    descriptor: Owned,
    call: ffi::PyCFunction,
}

impl Ask {
    /// The method of this name.
    pub(crate) fn of(class: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        let descriptor: Owned = class.getattr(name)?.into();
        // SAFETY: an object that is alive; one of exactly this type has this layout, and its definition is a static. What a
        // method without arguments is called by is of this type.
        let call = unsafe {
            (ffi::Py_IS_TYPE(descriptor.as_ptr(), &raw mut ffi::PyMethodDescr_Type) != 0)
                .then(|| *(*descriptor.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_method)
                .filter(|method| method.ml_flags == ffi::METH_NOARGS)
                .map(|method| method.ml_meth.PyCFunction)
        };
        let call = call.ok_or_else(|| PyTypeError::new_err(format!("'{name}' is no method of C without arguments")))?;
        Ok(Self { descriptor, call })
    }

    /// What it says of an instance of the class.
    #[inline]
    pub(crate) fn of_instance(&self, _: Python<'_>, object: &Owned) -> Result<Owned> {
        // SAFETY: the type of the descriptor was checked: it has this layout.
        let class = unsafe { (*self.descriptor.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_common.d_type };
        // SAFETY: both are alive.
        let fits = unsafe { ffi::PyObject_TypeCheck(object.as_ptr(), class) } != 0;
        assert!(fits, "not an instance of the method's class");
        // SAFETY: the method takes an instance of its class, which was checked, and no argument.
        unsafe { Owned::from_returned((self.call)(object.as_ptr(), ptr::null_mut())) }
    }
}

/// Attributes of the instances of a class, read by their places.
pub(crate) struct Places<const N: usize> {
    class: Owned,
    names: [Owned; N],
    /// Nothing where the interpreter keeps them elsewhere.
    layout: Option<Layout<N>>,
}

impl<const N: usize> Places<N> {
    /// Those of these names.
    pub(crate) fn of(py: Python<'_>, class: &Bound<'_, PyAny>, names: [&str; N]) -> PyResult<Self> {
        let class = class.clone().into();
        let names = names.map(|name| PyString::intern(py, name).into_any().into());
        Ok(Self { layout: Layout::learn(py, &class, &names)?, class, names })
    }

    /// The attribute at a place, of any object.
    #[inline]
    pub(crate) fn get(&self, py: Python<'_>, object: &Owned, place: usize) -> Result<Owned> {
        if object.type_ptr().cast() == self.class.as_ptr()
            && let Some(layout) = self.layout
            && let Some(found) = layout.view(py, object, &self.names).and_then(|view| view.get(place))
        {
            return Ok(found);
        }
        Ok(object.any(py).getattr(self.names[place].any(py).cast::<PyString>().map_err(PyErr::from)?)?.into())
    }
}

/// A function of Python code, and what it was made of.
pub(crate) struct Function {
    object: Owned,
    code: Owned,
    /// The defaults of its arguments, and of those that are given by name.
    defaults: [Option<Owned>; 2],
}

impl Function {
    /// The function; nothing where the object is none.
    pub(crate) fn of(object: Owned) -> Option<Self> {
        // SAFETY: the object is alive; what a function has is borrowed from it, and alive or null.
        let [code, defaults, by_name] = unsafe {
            if ffi::PyFunction_Check(object.as_ptr()) == 0 {
                return None;
            }
            made_of(&object).map(|part| NonNull::new(part).map(|part| Owned::from_borrowed(part)))
        };
        Some(Self { object, code: code?, defaults: [defaults, by_name] })
    }

    /// The code that it had.
    pub(crate) fn code(&self) -> &Owned {
        &self.code
    }

    /// The function.
    pub(crate) fn object(&self) -> &Owned {
        &self.object
    }

    /// Whether it has that code still, and those defaults.
    #[inline]
    pub(crate) fn is_unchanged(&self) -> bool {
        let had = self.defaults.each_ref().map(|part| part.as_ref().map_or(ptr::null_mut(), Owned::as_ptr));
        // SAFETY: a function, which is alive.
        unsafe { made_of(&self.object) == [self.code.as_ptr(), had[0], had[1]] }
    }
}

/// The code of a function, its defaults and those of arguments that are given by name; null where it has none.
///
/// # Safety
///
/// The object is a function.
#[inline]
unsafe fn made_of(function: &Owned) -> [*mut ffi::PyObject; 3] {
    // SAFETY: by this function's contract it has this layout.
    let function = unsafe { &*function.as_ptr().cast::<ffi::PyFunctionObject>() };
    [function.func_code, function.func_defaults, function.func_kwdefaults]
}
