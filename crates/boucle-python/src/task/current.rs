//! Who `asyncio.current_task()` finds: the task that steps.
//!
//! Up to 3.13 `_asyncio` keeps a dictionary from loops to tasks; from 3.14 on the thread's state, behind a function. Both are
//! private, so this file is the only one that knows them; where they are missing, importing boucle fails.
//!
//! # Invariants
//!
//! * While a task steps, it is the current one of its loop, and of nobody else's.
//! * Between two steps of queued tasks a loop of ours leaves the former one in place (nobody where it is done, which as
//!   a value reads like no entry), for the next replaces it. It is dropped before anything else runs or could see it: see
//!   `loop_core::run`.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Task, as_future};
use crate::raw::{GilOnce, Owned, Result, This};

/// The way that this Python has.
enum Current {
    /// A dictionary from loops to tasks.
    Dictionary(Py<PyDict>),
    /// A function that replaces the current task of a loop and returns the former one.
    Swap(Owned),
}

static CURRENT: GilOnce<Current> = GilOnce::new();

/// Finds out which way this Python has.
pub(super) fn initialise(py: Python<'_>) -> Result<()> {
    let asyncio = py.import("_asyncio")?;
    let current = if cfg!(Py_3_14) {
        Current::Swap(asyncio.getattr("_swap_current_task")?.into())
    } else {
        Current::Dictionary(asyncio.getattr("_current_tasks")?.cast_into::<PyDict>().map_err(PyErr::from)?.unbind())
    };
    CURRENT.set(py, current);
    Ok(())
}

/// Makes `task` the current one of a loop, nothing if `None`, whoever was before. Returns who was.
pub(crate) fn swap(py: Python<'_>, owner: &Owned, task: Option<&Owned>) -> Result<Option<Owned>> {
    match CURRENT.get(py) {
        Current::Dictionary(dictionary) => {
            let dictionary = dictionary.bind(py);
            let former = dictionary.get_item(owner.any(py))?.map(Owned::from);
            match task {
                Some(task) => dictionary.set_item(owner.any(py), task.any(py))?,
                None if former.is_some() => dictionary.del_item(owner.any(py))?,
                None => {}
            }
            Ok(former)
        }
        Current::Swap(swap) => {
            let none = Owned::none(py);
            let former = swap.any(py).call1((owner.any(py), task.unwrap_or(&none).any(py)))?;
            Ok((!former.is_none()).then(|| former.into()))
        }
    }
}

/// Says that nobody is the current one any more: whoever was is a queued task that has stepped.
#[inline]
pub(crate) fn forget(py: Python<'_>, owner: &Owned) -> Result<()> {
    match CURRENT.get(py) {
        Current::Dictionary(dictionary) => Ok(dictionary.bind(py).del_item(owner.any(py))?),
        Current::Swap(_) => swap(py, owner, None).map(drop),
    }
}

/// Makes a queued task the current one, or nobody if it is `None`: whoever was is a queued task that has stepped.
#[inline]
pub(crate) fn replace(py: Python<'_>, owner: &Owned, task: &Owned) -> Result<()> {
    match CURRENT.get(py) {
        Current::Dictionary(dictionary) => Ok(dictionary.bind(py).set_item(owner.any(py), task.any(py))?),
        Current::Swap(_) => swap(py, owner, Some(task)).map(drop),
    }
}

/// Makes a task the current one of its loop. Raises where another one is.
pub(super) fn enter(py: Python<'_>, this: This<'_, Task>) -> Result<()> {
    let Some(owner) = as_future(this).owner().object().get() else { return Ok(()) };
    let task = this.to_owned();
    let Some(former) = swap(py, &owner, Some(&task))? else { return Ok(()) };
    drop(swap(py, &owner, Some(&former))?);
    let (task, former) = (task.any(py).repr()?.to_string(), former.any(py).repr()?.to_string());
    let text = format!("Cannot enter into task {task} while another task {former} is being executed.");
    Err(PyRuntimeError::new_err(text).into())
}

/// Says that a task has stepped.
pub(super) fn leave(py: Python<'_>, this: This<'_, Task>) -> Result<()> {
    let Some(owner) = as_future(this).owner().object().get() else { return Ok(()) };
    swap(py, &owner, None).map(drop)
}
