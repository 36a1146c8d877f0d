//! Deriving from classes that are written in Python, so that `isinstance` and inherited methods work as they would.
//!
//! A Python class with `__slots__` adds a reference for each to what its base holds. A native class can derive from it where
//! that is one reference, and the value of its instances begins with it: the interpreter reads and writes it there.

use std::mem::offset_of;
use std::ptr;

use pyo3::ffi;

use super::class::{Builder, Collected, Instance};
use super::{ObjectCell, Owned};

impl<T: Collected> Builder<T> {
    /// The Python classes that it derives from, one or two, whose instances hold exactly one reference, in a slot of a base
    /// that they share. `slot` is the field that takes its place: the first one in memory.
    pub(crate) fn derived_from_python(mut self, bases: &[&Owned], slot: fn(&T) -> &ObjectCell) -> Self {
        let value = T::default();
        assert!(ptr::eq(ptr::from_ref(slot(&value)).cast(), &raw const value), "the slot is not the first field");
        for base in bases {
            let class: *mut ffi::PyTypeObject = base.as_ptr().cast();
            // SAFETY: the caller passes a class, which is alive.
            let size = unsafe { (*class).tp_basicsize } as usize;
            let expected = offset_of!(Instance<T>, value) + size_of::<ObjectCell>();
            assert_eq!(size, expected, "the base class has another layout");
        }
        let mut bases = bases.iter().map(|base| base.as_ptr().cast());
        self.base = bases.next().unwrap_or(ptr::null_mut());
        self.second_base = bases.next().unwrap_or(ptr::null_mut());
        self
    }
}
