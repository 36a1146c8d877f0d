//! Weak containers of `weakref`, from inside: `WeakSet` and `WeakValueDictionary`, for who does natively what they do.
//!
//! Before 3.14 a container puts off what dies while somebody iterates over it, and takes it out at its next change. That is
//! left to its own code. From 3.14 on it is iterated over in a copy, and puts nothing off.

use pyo3::prelude::*;

use crate::raw::instance::Places;
use crate::raw::{Owned, Result};

/// A class of weak containers: where an instance has what is in it.
pub(crate) struct WeakContainer {
    class: Owned,
    /// The container of references, and the function that takes a dead one out of it.
    content: Places<2>,
    /// The dead ones that are put off; nothing where none are.
    put_off: Option<Places<1>>,
}

impl WeakContainer {
    /// The class of this name in `weakref`.
    pub(crate) fn of(weakref: &Bound<'_, PyModule>, class: &str) -> PyResult<Self> {
        let (py, class) = (weakref.py(), weakref.getattr(class)?);
        let puts_off = class.call0()?.hasattr(PUT_OFF)?;
        Ok(Self {
            content: Places::of(py, &class, ["data", "_remove"])?,
            put_off: puts_off.then(|| Places::of(py, &class, [PUT_OFF])).transpose()?,
            class: class.into(),
        })
    }

    /// Whether something is exactly of this class, and has put nothing off.
    pub(crate) fn is_up_to_date(&self, py: Python<'_>, container: &Owned) -> Result<bool> {
        if container.type_ptr().cast() != self.class.as_ptr() {
            return Ok(false);
        }
        let Some(place) = &self.put_off else { return Ok(true) };
        Ok(!place.get(py, container, 0)?.any(py).is_truthy()?)
    }

    /// The container of references.
    pub(crate) fn data(&self, py: Python<'_>, container: &Owned) -> Result<Owned> {
        self.content.get(py, container, 0)
    }

    /// What takes a dead reference out.
    pub(crate) fn remove(&self, py: Python<'_>, container: &Owned) -> Result<Owned> {
        self.content.get(py, container, 1)
    }
}

const PUT_OFF: &str = "_pending_removals";
