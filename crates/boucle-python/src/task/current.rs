//! Who `asyncio.current_task()` finds: the task that steps.
//!
//! Up to 3.13 `_asyncio` keeps a dictionary from loops to tasks; from 3.14 on the thread's state, behind a function. Both are
//! private, so this file is the only one that knows them; where they are missing, importing boucle fails.
//!
//! Few steps ask who they are, and an entry of the dictionary costs a fifteenth to a seventh of one. So a loop of ours
//! remembers who steps and tells the dictionary when somebody looks: a look-up begins with the hash of the loop, which is
//! ours ([`tell`]). Where another step follows one that was asked, asyncio is told at once, for tasks that ask do so again.
//!
//! ```text
//! begin   somebody steps            untold, or told at once
//! tell    somebody looks            untold -> told
//! end     it has stepped            untold -> nobody; told -> stale, until the next begins
//! release others may look           stale -> nobody
//! forget  other code runs           stale, nobody -> absent
//! ```
//!
//! # Invariants
//!
//! * While a task steps, it is the current one of its loop, and of nobody else's, for whoever looks a loop up.
//! * Between two steps of queued tasks a loop of ours leaves the former one in place (nobody where it is done, which as
//!   a value reads like no entry), for the next replaces it. It is dropped before anything else runs or could see it: see
//!   `loop_core::run`.
//!
//! Rejected: to write into the dictionary's entry itself, which needs the layout of dictionaries and saves less. The price:
//! who goes through `_current_tasks` without looking for a loop does not see who steps.

use std::cell::Cell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Task, as_future};
use crate::loop_core::LoopCore;
use crate::raw::guard::afterwards;
use crate::raw::{GilOnce, ObjectCell, Owned, Result, This, hash};

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

/// What a loop of ours knows of its current task, while it runs the queue.
#[derive(Default)]
pub(crate) struct CurrentTask {
    /// The task that steps, as long as asyncio has not been told of it.
    untold: ObjectCell,
    /// What asyncio was told.
    word: Cell<Word>,
}

/// What asyncio was told of the current task of a loop of ours.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Word {
    /// Nothing, as outside of a step.
    #[default]
    Absent,
    /// That there is none, which reads the same, but can be replaced at half the price.
    Nobody,
    /// The task that steps, or has stepped last.
    Somebody,
}

impl CurrentTask {
    /// Whether asyncio was told of a task.
    #[inline]
    pub(crate) fn is_told(&self) -> bool {
        self.word.get() == Word::Somebody
    }

    /// Whether asyncio was told anything.
    #[inline]
    pub(crate) fn has_word(&self) -> bool {
        self.word.get() != Word::Absent
    }

    /// Makes a queued task the current one, in the place of one that has stepped.
    #[inline]
    pub(crate) fn begin(&self, py: Python<'_>, owner: This<'_, LoopCore>, task: &Owned) -> Result<()> {
        if cfg!(not(Py_3_14)) && !self.is_told() && hash::is_native(owner) {
            drop(self.untold.replace(Some(task.clone())));
            return Ok(());
        }
        self.say(py, &owner.to_owned(), task, Word::Somebody)
    }

    /// Says that the task that stepped does so no longer. Whoever was told of it still is.
    #[inline]
    pub(crate) fn end(&self) {
        drop(self.untold.take());
    }

    /// Says that nobody is the current one any more: whoever was is a queued task that has stepped.
    #[inline(never)]
    pub(crate) fn release(&self, py: Python<'_>, owner: This<'_, LoopCore>) -> Result<()> {
        self.say(py, &owner.to_owned(), &Owned::none(py), Word::Nobody)
    }

    /// The same, and leaves nothing that would keep another task from being entered.
    #[inline(never)]
    pub(crate) fn forget(&self, py: Python<'_>, owner: This<'_, LoopCore>) -> Result<()> {
        self.word.set(Word::Absent);
        match CURRENT.get(py) {
            Current::Dictionary(dictionary) => Ok(dictionary.bind(py).del_item(owner.to_owned().any(py))?),
            Current::Swap(_) => swap(py, &owner.to_owned(), None).map(drop),
        }
    }

    /// Notes that asyncio has forgotten it by itself.
    pub(crate) fn was_forgotten(&self) {
        self.word.set(Word::Absent);
    }

    /// Makes a task the current one inside of the step of another, of which asyncio has not been told: returns that.
    fn nest(&self, task: &Owned) -> Option<Owned> {
        if self.untold.is_empty() { None } else { self.untold.replace(Some(task.clone())) }
    }

    /// Makes the outer task the current one again.
    fn unnest(&self, py: Python<'_>, owner: &Owned, outer: Owned) -> Result<()> {
        if self.untold.is_empty() {
            // Asyncio was told of the inner one.
            return self.say(py, owner, &outer, Word::Somebody);
        }
        drop(self.untold.replace(Some(outer)));
        Ok(())
    }

    /// Tells asyncio that a task, nobody if it is `None`, is the current one.
    fn say(&self, py: Python<'_>, owner: &Owned, task: &Owned, word: Word) -> Result<()> {
        match CURRENT.get(py) {
            Current::Dictionary(dictionary) => dictionary.bind(py).set_item(owner.any(py), task.any(py))?,
            Current::Swap(_) => drop(swap(py, owner, Some(task))?),
        }
        self.word.set(word);
        Ok(())
    }
}

/// Somebody asks for the hash of a loop: tells asyncio who steps, for it may be to look that up.
pub(crate) fn tell(py: Python<'_>, owner: This<'_, LoopCore>) -> Result<()> {
    let current = owner.current_task();
    let Some(task) = current.untold.take() else { return Ok(()) };
    let told = current.say(py, &owner.to_owned(), &task, Word::Somebody);
    if told.is_err() {
        drop(current.untold.replace(Some(task)));
    }
    told
}

/// Makes `task` the current one of a loop, nothing if `None`, whoever was before. Returns who was.
fn swap(py: Python<'_>, owner: &Owned, task: Option<&Owned>) -> Result<Option<Owned>> {
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

/// Does `work` with a task as the current one of its loop, inside of the step of another one or outside of any.
pub(super) fn within(py: Python<'_>, this: This<'_, Task>, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let future = as_future(this);
    let Some(owner) = future.owner().object().get() else { return Ok(()) };
    let task = this.to_owned();
    if let Some(outer) = future.owner().with(|core| core.current_task().nest(&task)).flatten() {
        let result = work();
        let unnest = |core: This<'_, LoopCore>| core.current_task().unnest(py, &owner, outer);
        return afterwards(py, result, || future.owner().with(unnest).unwrap_or(Ok(())));
    }
    let former = swap(py, &owner, Some(&task))?;
    let result = work();
    afterwards(py, result, || swap(py, &owner, former.as_ref()).map(drop))
}
