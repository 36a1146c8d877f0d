//! The attributes of an instance, read where the interpreter keeps them: in a row of places behind the object.
//!
//! ```text
//! dictionary or null | … | object … | capacity, size, embedded, valid: a byte each, 4 unused | place 0 | place 1 | …
//!    3 words before  |              ^ behind the size that the class says
//! ```
//!
//! All instances of a class share the names, so an attribute has the same place in each. The row is *valid* until the
//! instance gets a dictionary that does not share it.
//!
//! # Invariants
//!
//! * The layout is the interpreter's own and no part of its API. So it is tried on an instance made for that, attribute by
//!   attribute, and a class on which anything comes out otherwise is left alone.
//! * A place is written to only where the instance has no dictionary, which could have somebody who watches it.

use std::ptr::{self, NonNull};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};
use pyo3::{PyResult, Python, ffi};

use super::super::{Owned, Raised, Result};

/// Says that instances of a class have such a row.
const INLINE_VALUES: u64 = 1 << 2;

/// Says that the dictionary of instances is before them.
const MANAGED_DICTIONARY: u64 = 1 << 4;

/// Whether instances of a class that has a native base have a row too.
const HEIRS_HAVE_ROWS: bool = cfg!(Py_3_14);

/// Where the dictionary is, in words from the object on.
const DICTIONARY_AT: isize = -3;

/// What stands before the row.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    capacity: u8,
    size: u8,
    embedded: u8,
    valid: u8,
}

/// The bytes between the head and the row.
const ROW_AT: usize = size_of::<usize>();

/// Where the attributes of a class's instances are.
#[derive(Clone, Copy)]
pub(crate) struct Layout<const N: usize> {
    /// Where the head is, in bytes from the object on.
    head: usize,
    /// In which place of the row each attribute is.
    places: [u8; N],
}

impl<const N: usize> Layout<N> {
    /// Finds out where instances of a class keep the attributes of these names; nothing where the interpreter does otherwise
    /// than is known. Makes an instance without a constructor for it.
    pub(crate) fn learn(py: Python<'_>, class: &Owned, names: &[Owned; N]) -> PyResult<Option<Self>> {
        let (flags, size) = {
            let class: *mut ffi::PyTypeObject = class.as_ptr().cast();
            // SAFETY: the caller passes a class, which is alive.
            unsafe { ((*class).tp_flags, (*class).tp_basicsize) }
        };
        if cfg!(Py_3_16) || flags & INLINE_VALUES == 0 {
            return Ok(None);
        }
        let instance: Owned = class.any(py).call_method1("__new__", (class.any(py),))?.into();
        let layout = Self::try_on(py, &instance, names, size as usize);
        // What the class does when an instance is dropped must not find what was set here.
        instance.any(py).getattr("__dict__")?.call_method0("clear")?;
        layout
    }

    /// Finds out where an instance without attributes keeps those of these names. They are set afterwards.
    fn try_on(py: Python<'_>, instance: &Owned, names: &[Owned; N], size: usize) -> PyResult<Option<Self>> {
        let mut layout = Self { head: size, places: [0; N] };
        let known = View { object: instance, layout, names };
        let empty = known.head();
        if (empty.size, empty.embedded, empty.valid) != (0, 1, 1) || !known.dictionary().is_null() {
            return Ok(None);
        }
        for (index, name) in names.iter().enumerate() {
            let value: Owned = py.get_type::<PyAny>().call0()?.into();
            instance.any(py).setattr(name.any(py).cast::<PyString>()?, value.any(py))?;
            let head = Head { size: index as u8 + 1, ..empty };
            let row = 0..empty.capacity;
            let place = row.into_iter().find(|place| known.place(*place).is_some_and(|at| at == value.as_ptr()));
            let (Some(place), true) = (place, known.head() == head) else { return Ok(None) };
            layout.places[index] = place;
        }
        // Where one is deleted, its place is empty; and the dictionary is where it is expected once there is one.
        let known = View { object: instance, layout, names };
        instance.any(py).delattr(names[0].any(py).cast::<PyString>()?)?;
        let is_gone = known.head() == Head { size: N as u8 - 1, ..empty } && known.get(0).is_none();
        let dictionary = instance.any(py).getattr("__dict__")?;
        Ok((is_gone && known.dictionary() == dictionary.as_ptr()).then_some(layout))
    }

    /// The attributes of an instance of exactly the class; nothing where they are elsewhere. `names` are those of the layout.
    #[inline]
    pub(crate) fn view<'a>(self, _: Python<'_>, object: &'a Owned, names: &'a [Owned; N]) -> Option<View<'a, N>> {
        let view = View { object, layout: self, names };
        (view.head().valid == 1).then_some(view)
    }
}

/// The attributes of one instance.
pub(crate) struct View<'a, const N: usize> {
    object: &'a Owned,
    layout: Layout<N>,
    names: &'a [Owned; N],
}

impl<const N: usize> View<'_, N> {
    /// Whether the instance has no attributes of these names. It says so only of one that has no attributes but those of
    /// the layout.
    #[inline]
    pub(crate) fn lacks(&self, _: &[&Owned]) -> bool {
        let known = self.layout.places.iter().filter(|place| self.place(**place).is_some()).count();
        usize::from(self.head().size) == known
    }

    /// Whether there is an attribute of the name at this place. It is asked before anything can have changed.
    #[inline]
    pub(crate) fn has(&self, place: usize) -> bool {
        self.place(self.layout.places[place]).is_some()
    }

    /// The attribute of the name at this place; nothing where there is none.
    #[inline]
    pub(crate) fn get(&self, place: usize) -> Option<Owned> {
        if self.head().valid == 1 {
            let object = NonNull::new(self.place(self.layout.places[place])?)?;
            // SAFETY: the place holds a reference, so the object is alive.
            return Some(unsafe { Owned::from_borrowed(object) });
        }
        self.get_by_name(place)
    }

    /// The instance has got a dictionary meanwhile.
    #[cold]
    fn get_by_name(&self, place: usize) -> Option<Owned> {
        // SAFETY: both are alive.
        let value =
            unsafe { Owned::from_returned(ffi::PyObject_GetAttr(self.object.as_ptr(), self.names[place].as_ptr())) };
        // SAFETY: an exception, that there is no such attribute, is set.
        value.map_err(|Raised| unsafe { ffi::PyErr_Clear() }).ok()
    }

    /// Sets an attribute.
    #[inline]
    pub(crate) fn set(&self, place: usize, value: &Owned) -> Result<()> {
        let at = self.row(self.layout.places[place]);
        // SAFETY: a place of the row of an instance that is alive.
        let former = unsafe { *at };
        if self.head().valid == 1 && self.dictionary().is_null() && !former.is_null() {
            // SAFETY: the same; the place gets a reference, and the former one is ours then.
            unsafe {
                *at = value.clone().into_ptr();
                drop(Owned::from_returned(former));
            }
            return Ok(());
        }
        // SAFETY: all are alive.
        let status = unsafe { ffi::PyObject_SetAttr(self.object.as_ptr(), self.names[place].as_ptr(), value.as_ptr()) };
        if status < 0 { Err(Raised) } else { Ok(()) }
    }

    #[inline]
    fn head(&self) -> Head {
        // SAFETY: the class says that its instances have a row, which begins behind the size it says; they are alive.
        unsafe { ptr::read(self.object.as_ptr().byte_add(self.layout.head).cast()) }
    }

    #[inline]
    fn row(&self, place: u8) -> *mut *mut ffi::PyObject {
        // SAFETY: the row follows its head, and the place is one of it: `learn` has found it there.
        unsafe {
            self.object.as_ptr().byte_add(self.layout.head + ROW_AT).cast::<*mut ffi::PyObject>().add(place.into())
        }
    }

    /// What is in a place of the row.
    #[inline]
    fn place(&self, place: u8) -> Option<*mut ffi::PyObject> {
        // SAFETY: a place of the row of an instance that is alive.
        let content = unsafe { *self.row(place) };
        (!content.is_null()).then_some(content)
    }

    /// The instance's dictionary; null where it has none.
    #[inline]
    fn dictionary(&self) -> *mut ffi::PyObject {
        // SAFETY: a class with such rows says that the dictionary of its instances is before them.
        unsafe { dictionary(self.object) }
    }
}

/// The dictionary of an instance; null where it has none.
///
/// # Safety
///
/// Its class says that the dictionary of instances is before them.
#[inline]
unsafe fn dictionary(object: &Owned) -> *mut ffi::PyObject {
    // SAFETY: such instances have two words for the collector and two for themselves before them.
    unsafe { *object.as_ptr().cast::<*mut ffi::PyObject>().offset(DICTIONARY_AT) }
}

/// The head of the row of an instance.
///
/// # Safety
///
/// Its class says that instances have a row.
#[inline]
unsafe fn head_of(object: &Owned) -> Head {
    // SAFETY: the row begins behind the size that the class says.
    unsafe { ptr::read(object.as_ptr().byte_offset((*object.type_ptr()).tp_basicsize).cast()) }
}

/// Whether [`has_attributes`] knows of instances of a class that has a native base: it is tried on an instance of another
/// class with that base, which has no destructor.
pub(crate) fn can_tell_attributes(py: Python<'_>, class: &Bound<'_, PyType>) -> PyResult<bool> {
    let bases = (class.getattr("__base__")?,);
    let trial: Bound<'_, PyType> = class.get_type().call1(("Trial", bases, PyDict::new(py)))?.cast_into()?;
    let expected = MANAGED_DICTIONARY | if HEIRS_HAVE_ROWS { INLINE_VALUES } else { 0 };
    let are_as_expected = [&trial, class].into_iter().all(|class| {
        // SAFETY: classes, which are alive.
        let flags = unsafe { (*class.as_type_ptr()).tp_flags };
        flags & (INLINE_VALUES | MANAGED_DICTIONARY) == expected
    });
    if cfg!(Py_3_16) || !are_as_expected {
        return Ok(false);
    }
    let instance: Owned = trial.call0()?.into();
    // SAFETY: the class says so.
    let answer = || unsafe { has_attributes(&instance) };
    let at_first = answer();
    instance.any(py).setattr("attribute", 1)?;
    let with_one = answer();
    instance.any(py).delattr("attribute")?;
    let afterwards = HEIRS_HAVE_ROWS && answer();
    let its_own = instance.any(py).getattr("__dict__")?;
    // SAFETY: the class says that the dictionary of its instances is before them.
    let dictionary = unsafe { dictionary(&instance) };
    Ok(!at_first && with_one && !afterwards && dictionary == its_own.as_ptr())
}

/// Whether an instance has a dictionary, or something in its row, and so may have attributes.
///
/// # Safety
///
/// [`can_tell_attributes`] says yes of its class.
#[inline]
pub(crate) unsafe fn has_attributes(object: &Owned) -> bool {
    // SAFETY: by this function's contract: such a class says that the dictionary of instances is before them, and whether
    // they have a row.
    unsafe {
        !dictionary(object).is_null()
            || HEIRS_HAVE_ROWS && {
                let head = head_of(object);
                (head.size, head.embedded, head.valid) != (0, 1, 1)
            }
    }
}
