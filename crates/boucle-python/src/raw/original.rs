//! Whether a class of ours is as it was made: then its methods may be run without looking their names up.
//!
//! Python numbers a class, and gives it another number when the class or one of its bases changes. Who puts an attribute
//! into a class, if only for a while, gets the look-ups back for good.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::prelude::*;

use super::class::Attributes;
use super::instance::version;
use super::{Class, Owned, This};

/// The number that a class had when it was made; 0 where it had none.
pub(crate) struct Original(AtomicU32);

impl Original {
    /// Nothing is known of the class yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Notes that the class is complete.
    pub(crate) fn note(&self, py: Python<'_>, class: &Owned) -> PyResult<()> {
        // A look-up gives it a number.
        class.any(py).getattr("__repr__")?;
        self.0.store(version(class), Ordering::Relaxed);
        Ok(())
    }

    /// The instance, if it is one of exactly this class, whose methods nobody has replaced: neither in the class nor by
    /// `attributes` of its own.
    #[inline]
    pub(crate) fn instance<'a, T: Class>(
        &self,
        object: &'a Owned,
        attributes: impl FnOnce(&T) -> &Attributes,
    ) -> Option<This<'a, T>> {
        let this = This::<T>::exactly(object)?;
        let noted = self.0.load(Ordering::Relaxed);
        let same = noted != 0 && super::call::class_version(this) == noted;
        (same && attributes(&this).content().is_empty()).then_some(this)
    }
}
