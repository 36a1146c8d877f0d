//! `Job`: one call in a thread of an executor, as the executor's code sees it, which takes it for a future of its own.
//!
//! It is a `concurrent.futures.Future` in what an item of work, the executor's `shutdown` and asyncio's callbacks ask of
//! one. Nobody waits for it, for nobody but them gets it: a condition to wait on is what it does without.
//!
//! # Invariants
//!
//! * It is done once, and says so to the loop right then.

use std::cell::Cell;

use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{ffi, intern};

use super::usual::{self, Known};
use crate::future::attributes::only_argument;
use crate::loop_core::LoopCore;
use crate::raw::call::raise;
use crate::raw::class::{Builder, Collected, Finalized, MaybeInstance, Visit};
use crate::raw::freelist::Freelist;
use crate::raw::{Args, Class, ObjectCell, Owned, Raised, Result, This, TypeCell, method, unary, vector};

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// In the queue.
    #[default]
    Pending,
    /// In a thread.
    Running,
    /// Cancelled, and in the queue.
    Cancelled,
    /// Cancelled, and taken out of the queue.
    Notified,
    /// Done, with a result.
    Returned,
    /// Done, with an exception.
    Failed,
}

impl State {
    fn is_done(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// The word that a `concurrent.futures.Future` has for it.
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Cancelled => "CANCELLED",
            Self::Notified => "CANCELLED_AND_NOTIFIED",
            Self::Returned | Self::Failed => "FINISHED",
        }
    }
}

/// One call in a thread of an executor.
#[derive(Default)]
pub(crate) struct Job {
    core: MaybeInstance<LoopCore>,
    /// The future that is to come to the same.
    destination: ObjectCell,
    /// The result or the exception.
    outcome: ObjectCell,
    state: Cell<State>,
}

static JOB: TypeCell = TypeCell::new();
static JOBS: Freelist = Freelist::new();

impl Class for Job {
    fn class() -> &'static TypeCell {
        &JOB
    }
}

impl Collected for Job {
    fn traverse(&self, visit: &mut Visit) {
        for cell in [self.core.object(), &self.destination, &self.outcome] {
            visit.cell(cell);
        }
    }

    fn clear(&self) {
        drop((self.core.replace(None), self.destination.take(), self.outcome.take()));
    }
}

impl Finalized for Job {
    fn freelist() -> &'static Freelist {
        &JOBS
    }
}

/// Makes the class.
pub(crate) fn initialise(py: Python<'_>) -> Result<Owned> {
    Builder::<Job>::new(c"boucle._boucle.Job")
        .doc(c"One call in a thread of an executor, in the place of a concurrent.futures.Future.")
        .finalized()
        .slot(ffi::Py_tp_repr, unary!(Job, "__repr__", repr))
        .methods(methods())
        .without_constructor()
        .build(py)
}

/// Makes a job, and has a future of the loop come to what it comes to.
pub(super) fn make(py: Python<'_>, core: This<'_, LoopCore>, future: Owned) -> Result<Owned> {
    let (core, destination) = (MaybeInstance::new(core), ObjectCell::new(future));
    JOBS.make_collected(py, || Job { core, destination, ..Job::default() })
}

/// Hands what a job came to to the loop of the future that it is chained to, as asyncio's `_call_set_state` does.
fn tell(py: Python<'_>, this: This<'_, Job>) -> Result<()> {
    let (Some(core), Some(future)) = (this.core.object().get(), this.destination.get()) else { return Ok(()) };
    let Some(known) = usual::looked_up(py) else { return Ok(()) };
    hand_over(py, this, known, &core, &future).or_else(|raised| {
        let exception = raised.take_value(py);
        if !exception.any(py).is_instance_of::<PyException>() {
            return Err(Raised::put_back(py, exception));
        }
        let details = PyDict::new(py);
        details.set_item("exc_info", exception.any(py))?;
        let arguments = ("exception calling callback for %r", this.to_owned().any(py).to_owned());
        known.logger.any(py).call_method("error", arguments, Some(&details))?;
        Ok(())
    })
}

fn hand_over(py: Python<'_>, this: This<'_, Job>, known: &Known, core: &Owned, future: &Owned) -> Result<()> {
    if vector::method(py, core, intern!(py, "is_closed"), &[])?.any(py).is_truthy()? {
        return Ok(());
    }
    let arguments = [known.set_state.object(), future, &this.to_owned()];
    vector::method(py, core, intern!(py, "call_soon_threadsafe"), &arguments).map(drop)
}

/// Whether a thread is to make the call. It is asked once, by the item of work.
fn set_running_or_notify_cancel(_: Python<'_>, this: This<'_, Job>) -> Result<bool> {
    match this.state.get() {
        State::Pending => this.state.set(State::Running),
        State::Cancelled => this.state.set(State::Notified),
        _ => return Err(PyRuntimeError::new_err("Future in unexpected state").into()),
    }
    Ok(this.state.get() == State::Running)
}

/// Notes what a job came to.
fn settle(py: Python<'_>, this: This<'_, Job>, state: State, outcome: Owned) -> Result<()> {
    if this.state.get().is_done() {
        let text = format!("{}: {}", this.state.get().word(), text(py, this)?);
        let Some(known) = usual::looked_up(py) else { return Ok(()) };
        return Err(raise(py, &known.invalid_state.any(py).call1((text,))?.into()));
    }
    this.state.set(state);
    drop(this.outcome.replace(Some(outcome)));
    tell(py, this)
}

fn set_result(py: Python<'_>, this: This<'_, Job>, args: Args<'_>) -> Result<()> {
    settle(py, this, State::Returned, only_argument(args, "set_result")?)
}

fn set_exception(py: Python<'_>, this: This<'_, Job>, args: Args<'_>) -> Result<()> {
    settle(py, this, State::Failed, only_argument(args, "set_exception")?)
}

/// Cancels a job that no thread has taken. Whether it is cancelled.
fn cancel(py: Python<'_>, this: This<'_, Job>) -> Result<bool> {
    match this.state.get() {
        State::Running | State::Returned | State::Failed => return Ok(false),
        State::Cancelled | State::Notified => return Ok(true),
        State::Pending => this.state.set(State::Cancelled),
    }
    tell(py, this)?;
    Ok(true)
}

fn cancelled(_: Python<'_>, this: This<'_, Job>) -> Result<bool> {
    Ok(matches!(this.state.get(), State::Cancelled | State::Notified))
}

fn running(_: Python<'_>, this: This<'_, Job>) -> Result<bool> {
    Ok(this.state.get() == State::Running)
}

fn done(_: Python<'_>, this: This<'_, Job>) -> Result<bool> {
    Ok(this.state.get().is_done())
}

/// What a job returned, where asyncio's function that copies it to a future may be done without.
pub(crate) fn result_to_copy(py: Python<'_>, job: &Owned) -> Option<Owned> {
    let returned = This::<Job>::exactly(job).filter(|job| job.state.get() == State::Returned)?;
    usual::looked_up(py).filter(|known| known.copies_as_written(py)).and_then(|_| returned.outcome.get())
}

fn exception(_: Python<'_>, this: This<'_, Job>) -> Result<Option<Owned>> {
    Ok(if this.state.get() == State::Failed { this.outcome.get() } else { None })
}

fn result(_: Python<'_>, this: This<'_, Job>) -> Result<Option<Owned>> {
    Ok(if this.state.get() == State::Returned { this.outcome.get() } else { None })
}

/// What a `concurrent.futures.Future` says of itself.
fn text(py: Python<'_>, this: This<'_, Job>) -> PyResult<String> {
    let class = |outcome: Option<Owned>| match outcome {
        Some(outcome) => outcome.any(py).get_type().name().map(|name| name.to_string()),
        None => Ok(String::new()),
    };
    let state = match this.state.get() {
        State::Pending => "pending".to_owned(),
        State::Running => "running".to_owned(),
        State::Cancelled | State::Notified => "cancelled".to_owned(),
        State::Returned => format!("finished returned {}", class(this.outcome.get())?),
        State::Failed => format!("finished raised {}", class(this.outcome.get())?),
    };
    Ok(format!("<Future at {:#x} state={state}>", this.as_ptr() as usize))
}

fn repr(py: Python<'_>, this: This<'_, Job>) -> Result<Owned> {
    Ok(text(py, this)?.into_pyobject(py).map_err(PyErr::from)?.into_any().into())
}

fn methods() -> [ffi::PyMethodDef; 9] {
    [
        method!(
            Job,
            "set_running_or_notify_cancel",
            set_running_or_notify_cancel,
            "set_running_or_notify_cancel($self, /)\n--\n\nWhether the call is to be made. Raises RuntimeError where that was asked before."
        ),
        method!(Job, "set_result", args set_result, "set_result($self, result, /)\n--\n\nNotes what the call returned. Raises InvalidStateError if it is done."),
        method!(Job, "set_exception", args set_exception, "set_exception($self, exception, /)\n--\n\nNotes what the call raised. Raises InvalidStateError if it is done."),
        method!(
            Job,
            "cancel",
            cancel,
            "cancel($self, /)\n--\n\nCancels a call that was not begun. Whether it is cancelled."
        ),
        method!(Job, "cancelled", cancelled, "cancelled($self, /)\n--\n\nWhether it was cancelled."),
        method!(Job, "running", running, "running($self, /)\n--\n\nWhether a thread is at it."),
        method!(Job, "done", done, "done($self, /)\n--\n\nWhether it is over."),
        method!(Job, "exception", exception, "exception($self, /)\n--\n\nWhat the call raised, None where it did not."),
        method!(Job, "result", result, "result($self, /)\n--\n\nWhat the call returned, None where it did not."),
    ]
}
