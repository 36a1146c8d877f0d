//! The arguments of a call, as `METH_FASTCALL | METH_KEYWORDS` passes them.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::{Borrowed, ffi};

use super::Owned;

/// The arguments of one call. They are borrowed from the caller for its duration.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a> {
    positional: &'a [NonNull<ffi::PyObject>],
    /// The values of the keyword arguments; they follow the positional ones.
    values: &'a [NonNull<ffi::PyObject>],
    /// A tuple with their names; null where there are none.
    names: *mut ffi::PyObject,
    _call: PhantomData<&'a ()>,
}

/// One borrowed argument.
#[derive(Clone, Copy)]
pub(crate) struct Arg<'a>(NonNull<ffi::PyObject>, PhantomData<&'a ()>);

impl<'a> Arg<'a> {
    /// A reference of ours, to be passed on as an argument.
    pub(crate) fn of(object: &'a Owned) -> Self {
        // SAFETY: a reference is never null.
        Self(unsafe { NonNull::new_unchecked(object.as_ptr()) }, PhantomData)
    }

    /// A reference of our own.
    pub(crate) fn to_owned(self) -> Owned {
        // SAFETY: the caller keeps its arguments alive during the call, and the GIL is held in it.
        unsafe { Owned::from_borrowed(self.0) }
    }

    /// The argument as `PyO3` knows it, for cold code.
    pub(crate) fn any<'py>(self, py: Python<'py>) -> Borrowed<'a, 'py, PyAny> {
        // SAFETY: the caller keeps its arguments alive during the call; `py` proves that the GIL is held.
        unsafe { Borrowed::from_ptr(py, self.0.as_ptr()) }
    }

    /// Whether it is `None`.
    pub(crate) fn is_none(self) -> bool {
        // SAFETY: reading the address of a static of the running interpreter.
        self.0.as_ptr() == unsafe { ffi::Py_None() }
    }

    /// The value, if it is exactly a `float`.
    pub(crate) fn exact_float(self) -> Option<f64> {
        // SAFETY: the object is alive; its type is checked before the field is read.
        unsafe { (ffi::PyFloat_CheckExact(self.0.as_ptr()) != 0).then(|| ffi::PyFloat_AS_DOUBLE(self.0.as_ptr())) }
    }
}

impl<'a> Args<'a> {
    /// The arguments of a call.
    ///
    /// # Safety
    ///
    /// `args` points to `count` objects and then one for each name in the tuple `names`, which may be null; all stay
    /// alive for 'a. That is what the interpreter passes to a function of this calling convention.
    pub(crate) unsafe fn new(
        args: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Self {
        // SAFETY: by this function's contract. `NonNull` has the layout of a pointer, and no argument is null. A slice
        // of length zero needs a non-null pointer.
        unsafe {
            let args: *const NonNull<ffi::PyObject> =
                if args.is_null() { NonNull::dangling().as_ptr() } else { args.cast() };
            let keywords = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) };
            let positional = slice::from_raw_parts(args, count as usize);
            let values = slice::from_raw_parts(args.add(count as usize), keywords as usize);
            Self { positional, values, names, _call: PhantomData }
        }
    }

    /// A positional argument.
    pub(crate) fn get(&self, index: usize) -> Option<Arg<'a>> {
        self.positional.get(index).map(|&ptr| Arg(ptr, PhantomData))
    }

    /// A positional argument and those behind it.
    #[inline]
    pub(crate) fn split(&self, index: usize) -> Option<(Arg<'a>, impl ExactSizeIterator<Item = Arg<'a>> + use<'a>)> {
        let (&first, rest) = self.positional.get(index..)?.split_first()?;
        Some((Arg(first, PhantomData), rest.iter().map(|&ptr| Arg(ptr, PhantomData))))
    }

    /// The positional arguments from `index` on.
    pub(crate) fn from(&self, index: usize) -> impl ExactSizeIterator<Item = Arg<'a>> + use<'a> {
        self.positional[index.min(self.positional.len())..].iter().map(|&ptr| Arg(ptr, PhantomData))
    }

    /// The keyword argument `name`, if it is the only one. `None` says that there are others, or that the one there is
    /// has another name; `Some(None)` that there is none at all: then the name is not asked for.
    #[inline]
    #[expect(clippy::option_option, reason = "does it fit, and if so, is there one: callers match on both at once")]
    pub(crate) fn only_keyword<'n>(&self, name: impl FnOnce() -> &'n Owned) -> Option<Option<Arg<'a>>> {
        match self.values {
            [] => Some(None),
            [value] => {
                // SAFETY: the tuple of names has as many items as there are values: one.
                let given = unsafe { ffi::PyTuple_GET_ITEM(self.names, 0) };
                same_name(given, name()).then_some(Some(Arg(*value, PhantomData)))
            }
            _ => None,
        }
    }

    /// The keyword arguments, by name.
    pub(crate) fn keywords(&self) -> impl Iterator<Item = (Name, Arg<'a>)> + use<'a> {
        let names = self.names;
        self.values.iter().enumerate().map(move |(index, &value)| {
            // SAFETY: the tuple of names has as many items as there are values.
            let name = unsafe { ffi::PyTuple_GET_ITEM(names, index as ffi::Py_ssize_t) };
            (Name(name), Arg(value, PhantomData))
        })
    }

    /// The arguments of a function `name(*names)`, each of which may be given by position or by name. `None` counts as not
    /// given. Raises `TypeError` for too many, an unknown name or one that is given twice.
    pub(crate) fn named<const N: usize>(
        &self,
        py: Python<'_>,
        name: &str,
        names: [&str; N],
    ) -> super::Result<[Option<Owned>; N]> {
        let mut values = [const { None }; N];
        if self.positional.len() > N {
            let given = self.positional.len();
            return Err(PyTypeError::new_err(format!("{name}() takes at most {N} arguments ({given} given)")).into());
        }
        for (value, given) in values.iter_mut().zip(self.from(0)) {
            *value = Some(given.to_owned());
        }
        for (key, given) in self.keywords() {
            let text = key.text(py)?;
            let Some(index) = names.iter().position(|name| *name == text) else {
                let text = format!("{name}() got an unexpected keyword argument '{text}'");
                return Err(PyTypeError::new_err(text).into());
            };
            if values[index].replace(given.to_owned()).is_some() {
                let text = format!("{name}() got multiple values for argument '{text}'");
                return Err(PyTypeError::new_err(text).into());
            }
        }
        Ok(values.map(|value| value.filter(|value| !value.is_none())))
    }

    /// The arguments of a function that has these names; nothing where they do not fit.
    pub(crate) fn fitting<const N: usize>(&self, names: &[Owned; N]) -> Option<[Option<Arg<'a>>; N]> {
        let mut values = [None; N];
        if self.positional.len() > N {
            return None;
        }
        for (value, given) in values.iter_mut().zip(self.from(0)) {
            *value = Some(given);
        }
        for (key, given) in self.keywords() {
            let index = names.iter().position(|name| key.is_interned(name))?;
            if values[index].replace(given).is_some() {
                return None;
            }
        }
        Some(values)
    }

    /// How many positional arguments there are.
    pub(crate) fn count(&self) -> usize {
        self.positional.len()
    }

    /// Calls `function` with `first` and then all of these arguments, for the cold path that hands a call on. It takes them by
    /// value: a reference would have each call put them together in memory.
    #[cold]
    pub(crate) fn forward(self, function: &Owned, first: &Owned) -> super::Result<Owned> {
        let mut all = Vec::with_capacity(1 + self.positional.len() + self.values.len());
        all.push(first.as_ptr());
        all.extend(self.positional.iter().chain(self.values).map(|ptr| ptr.as_ptr()));
        // SAFETY: `all` holds one positional argument more than there were, then the values of the names; every object
        // is alive during the call.
        unsafe {
            let count = 1 + self.positional.len();
            Owned::from_returned(ffi::PyObject_Vectorcall(function.as_ptr(), all.as_ptr(), count, self.names))
        }
    }
}

/// The name of a keyword argument.
pub(crate) struct Name(*mut ffi::PyObject);

impl Name {
    /// Whether it is this one.
    #[inline]
    pub(crate) fn is(&self, name: &Owned) -> bool {
        same_name(self.0, name)
    }

    /// Whether it is this object: names in source code are interned. A name made otherwise is another object.
    #[inline]
    fn is_interned(&self, name: &Owned) -> bool {
        self.0 == name.as_ptr()
    }

    /// The name itself.
    fn text(&self, py: Python<'_>) -> super::Result<String> {
        // SAFETY: the interpreter keeps the names alive during the call.
        let name = unsafe { Borrowed::from_ptr(py, self.0) };
        Ok(name.extract()?)
    }
}

/// Whether a keyword has this name. Names in source code are interned, so the comparison of addresses nearly always
/// answers.
fn same_name(given: *mut ffi::PyObject, name: &Owned) -> bool {
    // SAFETY: both are `str` objects that are alive: keyword names always are, and `name` is ours.
    given == name.as_ptr() || unsafe { ffi::PyUnicode_Compare(given, name.as_ptr()) == 0 }
}
