//! A list that runs through the objects in it: entering and leaving is a few stores, and it holds no references.
//!
//! # Invariants
//!
//! * It is a circle through `head`. An object in it is alive: it leaves at the latest before its memory is given back, see
//!   [`super::class::Finalized::leave_lists`].
//! * It is touched under the GIL only: objects are, and `Python` proves it for the rest.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use pyo3::{Python, ffi};

use super::class::Class;
use super::{Owned, This};

/// Where an object stands in a list. It does not move while it is in one: it is part of a Python object.
#[derive(Default)]
pub(crate) struct Links {
    next: Cell<*const Links>,
    former: Cell<*const Links>,
    object: Cell<*mut ffi::PyObject>,
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

impl<T: Class> List<T> {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        let links =
            Links { next: Cell::new(ptr::null()), former: Cell::new(ptr::null()), object: Cell::new(ptr::null_mut()) };
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
    pub(crate) fn enter(&'static self, _: Python<'_>, object: This<'_, T>, links: impl FnOnce(&T) -> &Links) {
        let links = links(&object);
        if !links.object.get().is_null() {
            return;
        }
        let head = self.head();
        let last = head.former.get();
        links.object.set(object.as_ptr());
        links.next.set(head);
        links.former.set(last);
        head.former.set(links);
        // SAFETY: the last one in the list, or its head: alive by the invariants.
        unsafe { (*last).next.set(links) };
    }

    /// Leaves the list, if in it.
    #[inline]
    pub(crate) fn leave(links: &Links) {
        if links.object.replace(ptr::null_mut()).is_null() {
            return;
        }
        let (former, next) = (links.former.get(), links.next.get());
        // SAFETY: the neighbours are in the list, or its head: alive by the invariants.
        unsafe {
            (*former).next.set(next);
            (*next).former.set(former);
        }
    }

    /// References to all objects in the list, oldest first.
    pub(crate) fn all(&'static self, _: Python<'_>) -> Vec<Owned> {
        let head: *const Links = self.head();
        let mut all = Vec::new();
        // SAFETY: each one in the list is alive by the invariants, and nothing runs meanwhile that could change it.
        unsafe {
            let mut links = (*head).next.get();
            while links != head {
                if let Some(object) = NonNull::new((*links).object.get()) {
                    all.push(Owned::from_borrowed(object));
                }
                links = (*links).next.get();
            }
        }
        all
    }
}
