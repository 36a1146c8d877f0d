//! A class as it was written: whether calling a method of an instance by its name can only reach the native function that the
//! class was made with. Native code calls that function itself then.
//!
//! A program that puts another function into the class is noticed by the version that the interpreter gives the class. That
//! an instance has no function of its own is for the caller to know: it looks at the instance's dictionary.

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};
use pyo3::{ffi, intern};

use super::guard::discard;
use super::instance::{can_tell_attributes, has_attributes, version};
use super::{Class, GilOnce, Owned, This};

/// A class whose instances hold a `T`, and what it was made with.
pub(crate) struct AsWritten<T> {
    /// Null before it is learned.
    class: AtomicPtr<ffi::PyTypeObject>,
    /// The version of the class as of which its methods are those; 0 where they were not looked at, or are others.
    version: AtomicU32,
    made_with: GilOnce<MadeWith>,
    value: PhantomData<fn() -> T>,
}

struct MadeWith {
    class: Owned,
    /// The native methods, each with its name.
    methods: Vec<(Owned, Owned)>,
}

impl<T: Class> AsWritten<T> {
    /// Knows no class.
    pub(crate) const fn new() -> Self {
        Self {
            class: AtomicPtr::new(ptr::null_mut()),
            version: AtomicU32::new(0),
            made_with: GilOnce::new(),
            value: PhantomData,
        }
    }

    /// Learns the class, which is [`Class::class`] or derives from it. Nobody has changed it yet.
    pub(crate) fn learn(&self, py: Python<'_>, class: &Bound<'_, PyType>) -> PyResult<()> {
        let class: Owned = class.clone().into_any().into();
        // SAFETY: both are classes that are alive.
        let derives = unsafe { ffi::PyType_IsSubtype(class.as_ptr().cast(), T::class().get()) } != 0;
        assert!(derives, "another class");
        self.class.store(class.as_ptr().cast(), Ordering::Relaxed);
        self.made_with.set(py, MadeWith { methods: native_methods(py, &class)?, class });
        Ok(())
    }

    /// The instance behind a reference, if its class is exactly this one and as it was written.
    #[inline]
    pub(crate) fn instance<'a>(&self, py: Python<'_>, object: &'a Owned) -> Option<This<'a, T>> {
        let class = self.class.load(Ordering::Relaxed);
        if object.type_ptr() != class {
            return None;
        }
        // SAFETY: the type of an object that is alive.
        let version = unsafe { (*class).tp_version_tag };
        let is_known = version != 0 && version == self.version.load(Ordering::Relaxed);
        // SAFETY: the class was compared, which derives from that of the value.
        (is_known || self.look_up(py)).then(|| unsafe { This::from_ptr(object.as_ptr()) })
    }

    #[cold]
    fn look_up(&self, py: Python<'_>) -> bool {
        let made_with = self.made_with.get(py);
        let is_as_written = made_with.is_unchanged(py).unwrap_or_else(|error| {
            discard(py, error);
            false
        });
        // The look-ups have given the class a version, if it can have one.
        let version = if is_as_written { version(&made_with.class) } else { 0 };
        self.version.store(version, Ordering::Relaxed);
        is_as_written
    }
}

/// A class that Python code derives from a native one, to be used in its place: as [`AsWritten`], and of instances without
/// attributes. The native one has fields for what they usually have.
pub(crate) struct Heir<T>(AsWritten<T>);

impl<T: Class> Heir<T> {
    /// Knows no class.
    pub(crate) const fn new() -> Self {
        Self(AsWritten::new())
    }

    /// Learns the class, and gives it the methods of its native base as its own: the interpreter calls a native method without
    /// detours only where it belongs to exactly the class of the instance.
    pub(crate) fn learn(&self, py: Python<'_>, class: &Bound<'_, PyType>) -> PyResult<()> {
        own_methods::<T>(py, class)?;
        if can_tell_attributes(py, class)? { self.0.learn(py, class) } else { Ok(()) }
    }

    /// The instance behind a reference, if it is one of exactly this class, as that was written, without attributes.
    #[inline]
    pub(crate) fn instance<'a>(&self, py: Python<'_>, object: &'a Owned) -> Option<This<'a, T>> {
        // SAFETY: the class was learned, so its instances have their dictionary where it is expected.
        self.0.instance(py, object).filter(|_| unsafe { !has_attributes(object) })
    }
}

impl MadeWith {
    fn is_unchanged(&self, py: Python<'_>) -> PyResult<bool> {
        let class = self.class.any(py);
        let looks_up = intern!(py, "__getattribute__");
        if !class.getattr(looks_up)?.is(&py.get_type::<PyAny>().getattr(looks_up)?) {
            return Ok(false);
        }
        for (name, method) in &self.methods {
            if !class.getattr(name.any(py).cast::<PyString>()?)?.is(method.any(py)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The native methods that are a class's own, each with its name.
fn native_methods(py: Python<'_>, class: &Owned) -> PyResult<Vec<(Owned, Owned)>> {
    let own = PyDict::new(py);
    own.update(class.any(py).getattr(intern!(py, "__dict__"))?.cast()?)?;
    let methods = own.iter().map(|(name, value)| (name.into(), value.into()));
    Ok(methods.filter(|(_, value)| is_native_method(value)).collect())
}

fn is_native_method(object: &Owned) -> bool {
    object.type_ptr() == &raw mut ffi::PyMethodDescr_Type
}

/// Gives a class the methods of its native base as its own, but those that it has.
fn own_methods<T: Class>(py: Python<'_>, class: &Bound<'_, PyType>) -> PyResult<()> {
    // SAFETY: a class, which is alive: the module is initialised.
    let base = unsafe { Owned::from_borrowed(ptr::NonNull::new_unchecked(T::class().get().cast())) };
    let own = class.getattr(intern!(py, "__dict__"))?;
    for (name, method) in native_methods(py, &base)? {
        if own.contains(name.any(py))? {
            continue;
        }
        // SAFETY: a method of a native class, by its type; its definition lives for ever. The class is alive.
        let copy = unsafe {
            let definition = (*method.as_ptr().cast::<ffi::PyMethodDescrObject>()).d_method;
            Bound::from_owned_ptr_or_err(py, ffi::PyDescr_NewMethod(class.as_type_ptr(), definition))?
        };
        class.setattr(name.any(py).cast::<PyString>()?, copy)?;
    }
    Ok(())
}
