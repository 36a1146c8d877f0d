//! A list that runs through the objects in it: entering and leaving is a few stores, and it holds no references.
//!
//! # Invariants
//!
//! * It is a circle through `head`. An object in it is alive: it leaves at the latest before its memory is given back, see
//!   [`super::class::Finalized::leave_lists`].
//! * It is touched under the GIL only: objects are, and `Python` proves it for the rest.

use std::cell::Cell;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

use pyo3::{Python, ffi};

use super::class::{Class, Instance};
use super::{Owned, This};

/// Where an object stands in a list. It does not move while it is in one: it is part of a Python object.
pub(crate) struct Links {
    next: Cell<*const Links>,
    former: Cell<*const Links>,
}

impl Default for Links {
    fn default() -> Self {
        Self { next: Cell::new(ptr::null()), former: Cell::new(ptr::null()) }
    }
}

/// A class whose instances stand in a list.
pub(crate) trait Linked: Class {
    /// Where in a value its links are.
    const OFFSET: usize;
    /// The links of an instance: those at the offset.
    fn links(&self) -> &Links;
}

/// A list of instances of a class.
pub(crate) struct List<T> {
    head: Head,
    class: std::marker::PhantomData<T>,
}

struct Head(Links);

// SAFETY: under the GIL only, see the invariants.
unsafe impl Sync for Head {}
// SAFETY: the class is a name, nothing of it is held.
unsafe impl<T> Sync for List<T> {}

impl<T: Linked> List<T> {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        let links = Links { next: Cell::new(ptr::null()), former: Cell::new(ptr::null()) };
        Self { head: Head(links), class: std::marker::PhantomData }
    }

    /// The end of the circle, closed where it is not.
    fn head(&'static self) -> &'static Links {
        let head = &self.head.0;
        if head.next.get().is_null() {
            head.next.set(head);
            head.former.set(head);
        }
        head
    }

    /// Enters an object at the end, unless it is in the list.
    #[inline]
    pub(crate) fn enter(&'static self, _: Python<'_>, object: This<'_, T>) {
        let links = object.links();
        if !links.next.get().is_null() {
            return;
        }
        assert!(ptr::eq(links, Self::links_of(object.as_ptr())), "the links are not where the class says");
        let head = self.head();
        let last = head.former.get();
        links.next.set(head);
        links.former.set(last);
        head.former.set(links);
        // SAFETY: the last one in the list, or its head: alive by the invariants.
        unsafe { (*last).next.set(links) };
    }

    /// Leaves the list, if in it.
    #[inline]
    pub(crate) fn leave(links: &Links) {
        let (former, next) = (links.former.get(), links.next.replace(ptr::null()));
        if next.is_null() {
            return;
        }
        // SAFETY: the neighbours are in the list, or its head: alive by the invariants.
        unsafe {
            (*former).next.set(next);
            (*next).former.set(former);
        }
    }

    /// How far into an object its links are.
    const DISTANCE: usize = offset_of!(Instance<T>, value) + T::OFFSET;

    fn links_of(object: *mut ffi::PyObject) -> *const Links {
        object.cast::<u8>().wrapping_add(Self::DISTANCE).cast_const().cast()
    }

    /// The object that links in the list are of: `enter` has checked where they are.
    fn object_of(links: *const Links) -> *mut ffi::PyObject {
        links.cast_mut().cast::<u8>().wrapping_sub(Self::DISTANCE).cast()
    }

    /// References to all objects in the list, oldest first.
    pub(crate) fn all(&'static self, _: Python<'_>) -> Vec<Owned> {
        let head: *const Links = self.head();
        let mut all = Vec::new();
        // SAFETY: each one in the list is alive by the invariants, and nothing runs meanwhile that could change it.
        unsafe {
            let mut links = (*head).next.get();
            while links != head {
                all.push(Owned::from_borrowed(NonNull::new_unchecked(Self::object_of(links))));
                links = (*links).next.get();
            }
        }
        all
    }
}
