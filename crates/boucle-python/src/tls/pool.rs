//! Buffers that connections share: each has one for the time of a read only.
//!
//! # Invariants
//!
//! * A buffer is in the pool or lent to one connection, never both. So a connection may hold one across a release of the
//!   GIL, while loops in other threads take theirs.
//! * What is in a buffer means nothing once it is given back.
//! * A buffer that Python has a view of is never lent to another connection.

use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::raw::buffer::{self, Buffer, CAPACITY};
use crate::raw::{GilCell, Owned, Result, This};

/// How many buffers are kept when nobody needs them. One loop needs two at a time: for what comes, and for what that
/// means.
const KEPT: usize = 4;

static POOL: GilCell<Vec<Lent>> = GilCell::new(Vec::new());

/// A buffer, and a view of all of it for Python code that fills it.
pub(super) struct Lent {
    buffer: Owned,
    view: Owned,
    /// Whether Python has the view, and may keep it: then the buffer stays with its connection.
    pub(super) is_shown: bool,
}

impl Lent {
    /// Takes a buffer, which is whole.
    pub(super) fn take(py: Python<'_>) -> Result<Self> {
        // The borrow ends with the statement.
        let kept = POOL.borrow(py).pop();
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let buffer = buffer::make(py)?;
        let view = PyMemoryView::from(&buffer.any(py).to_owned())?.into_any().into();
        Ok(Self { buffer, view, is_shown: false })
    }

    /// Has its window show all of it again.
    pub(super) fn make_whole(&self) {
        self.memory().lend(0, CAPACITY);
    }

    /// Gives it back.
    pub(super) fn give_back(self, py: Python<'_>) {
        self.make_whole();
        let mut pool = POOL.borrow(py);
        let superfluous = if pool.len() < KEPT && !self.is_shown {
            pool.push(self);
            None
        } else {
            Some(self)
        };
        drop(pool);
        drop(superfluous);
    }

    /// The object whose window is passed to calls.
    pub(super) fn object(&self) -> &Owned {
        &self.buffer
    }

    /// The view of all of it, for Python.
    pub(super) fn show(&mut self) -> Owned {
        self.is_shown = true;
        self.view.clone()
    }

    /// The memory.
    pub(super) fn memory(&self) -> This<'_, Buffer> {
        This::exactly(&self.buffer).expect("the pool holds buffers")
    }
}
