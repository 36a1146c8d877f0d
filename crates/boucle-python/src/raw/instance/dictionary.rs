//! The attributes of an instance, looked up in its dictionary.

use std::ptr;

use pyo3::types::PyType;
use pyo3::{Bound, PyResult, Python, ffi};

use super::super::{Owned, Raised, Result};

/// Where the attributes of a class's instances are: in their dictionaries, by name.
#[derive(Clone, Copy)]
pub(crate) struct Layout<const N: usize>;

impl<const N: usize> Layout<N> {
    /// Any class will do.
    pub(crate) fn learn(_: Python<'_>, _: &Owned, _: &[Owned; N]) -> PyResult<Option<Self>> {
        Ok(Some(Self))
    }

    /// The attributes of an instance of exactly the class; nothing where they are elsewhere. `names` are those of the layout.
    #[expect(clippy::unused_self, reason = "the layout of later versions has places")]
    #[inline]
    pub(crate) fn view<'a>(self, _: Python<'_>, object: &Owned, names: &'a [Owned; N]) -> Option<View<'a, N>> {
        // SAFETY: the object is alive. What is returned is a reference of ours, or null with an exception.
        let dictionary = unsafe {
            let dictionary = ffi::PyObject_GenericGetDict(object.as_ptr(), ptr::null_mut());
            if dictionary.is_null() {
                ffi::PyErr_Clear();
                return None;
            }
            Owned::from_returned(dictionary).ok()?
        };
        // SAFETY: the object is alive.
        let exact = unsafe { ffi::PyDict_CheckExact(dictionary.as_ptr()) } != 0;
        exact.then_some(View { dictionary, names })
    }
}

/// The attributes of one instance.
pub(crate) struct View<'a, const N: usize> {
    dictionary: Owned,
    names: &'a [Owned; N],
}

impl<const N: usize> View<'_, N> {
    /// Whether the instance has no attributes of these names.
    #[inline]
    pub(crate) fn lacks(&self, names: &[&Owned]) -> bool {
        names.iter().all(|name| self.find(name).is_none())
    }

    /// Whether there is an attribute of the name at this place.
    #[inline]
    pub(crate) fn has(&self, place: usize) -> bool {
        self.find(&self.names[place]).is_some()
    }

    /// The attribute of the name at this place; nothing where there is none.
    #[inline]
    pub(crate) fn get(&self, place: usize) -> Option<Owned> {
        self.find(&self.names[place])
    }

    fn find(&self, name: &Owned) -> Option<Owned> {
        let mut value = ptr::null_mut();
        // SAFETY: a dictionary and a string, both alive. A string is hashable and compares without running Python, so
        // nothing is raised.
        unsafe {
            ffi::compat::PyDict_GetItemRef(self.dictionary.as_ptr(), name.as_ptr(), &raw mut value);
            Owned::from_returned(value).ok()
        }
    }

    /// Sets an attribute.
    #[inline]
    pub(crate) fn set(&self, place: usize, value: &Owned) -> Result<()> {
        let name = &self.names[place];
        // SAFETY: a dictionary, a string and an object, all alive.
        if unsafe { ffi::PyDict_SetItem(self.dictionary.as_ptr(), name.as_ptr(), value.as_ptr()) } < 0 {
            return Err(Raised);
        }
        Ok(())
    }
}

/// Whether [`has_attributes`] may be asked about instances of a class.
pub(crate) fn can_tell_attributes(_: Python<'_>, _: &Bound<'_, PyType>) -> PyResult<bool> {
    Ok(false)
}

/// Whether an instance may have attributes: as far as is known here, yes.
///
/// # Safety
///
/// [`can_tell_attributes`] says yes of its class.
#[inline]
pub(crate) unsafe fn has_attributes(_: &Owned) -> bool {
    true
}
