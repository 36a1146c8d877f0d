//! Which tasks there are: what `asyncio.all_tasks()` answers, at no cost to those who never ask.
//!
//! asyncio registers each task in a set of weak references: 270 to 395 ns, more than creating a task and running it costs
//! here. But the set is only ever iterated, by `all_tasks()`, and hardly anybody calls that. So our tasks stand in a list
//! instead, linked through the tasks themselves: entering and leaving it is four stores. And the set, an object of a class
//! written in Python, is given a subclass as its class, whose `__iter__`, `__len__` and `__contains__` go on to the list.
//! It stays the same object: whoever did `from asyncio import all_tasks` long before boucle was imported, or holds the set
//! itself, sees our tasks too.
//!
//! Where the set is depends on the version of Python; `boucle._tasks` knows, and checks that `all_tasks()` sees a task.
//!
//! # Invariants
//!
//! * The list holds no references. A task leaves it when it is done, first thing when it is finalised or cleared, and at
//!   the latest before its memory is given back: whoever is in the list is alive.
//! * The list is touched under the GIL only. Iterating takes references to all of it first, and runs Python afterwards.
//!
//! # Rejected
//!
//! * `_asyncio._register_task` for each task: the cost above.
//! * Replacing `asyncio.all_tasks` by a function of our own: names imported before would not see it.

use std::mem::offset_of;

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::Task;
use crate::raw::list::{self, List};
use crate::raw::{GilCell, Owned, This};

static ALL: List<Task> = List::new();
static NEXT_SERIAL: GilCell<u64> = GilCell::new(1);

/// How many tasks were given a name when they were made, and so took no serial.
static NAMED: GilCell<u64> = GilCell::new(0);

/// Where a task stands in the list.
#[derive(Default)]
#[repr(transparent)]
pub(crate) struct Links(list::Links);

/// Enters the list, unless it is in it.
#[inline]
pub(super) fn enter(py: Python<'_>, task: This<'_, Task>) {
    ALL.enter(py, task);
}

impl list::Linked for Task {
    const OFFSET: usize = offset_of!(Task, links);

    fn links(&self) -> &list::Links {
        &self.links.0
    }
}

impl Links {
    /// Leaves the list, if it is in it.
    #[inline]
    pub(super) fn leave(&self) {
        List::<Task>::leave(&self.0);
    }
}

/// The number in the name of the next task that is given none.
#[inline]
pub(super) fn next_serial(py: Python<'_>) -> u64 {
    let mut next = NEXT_SERIAL.borrow(py);
    let serial = *next;
    *next += 1;
    serial
}

/// A task was made with a name.
pub(super) fn count_named(py: Python<'_>) {
    *NAMED.borrow(py) += 1;
}

/// How many tasks of ours this process has made.
pub(crate) fn made(py: Python<'_>) -> u64 {
    let numbered = *NEXT_SERIAL.borrow(py) - 1;
    numbered + *NAMED.borrow(py)
}

/// All tasks of ours that are not done, oldest first.
pub(crate) fn all(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let tasks: Vec<Owned> = ALL.all(py);
    PyList::new(py, tasks.iter().map(|task| task.any(py)))
}
