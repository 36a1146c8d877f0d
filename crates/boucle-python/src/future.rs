//! `Future`: a result that will be there, and who waits for it.
//!
//! To every observer it is asyncio's: the same methods, private attributes and texts, and `__class__` says so. It works on
//! any loop, by the loop's `call_soon`; a loop of ours is reached without a Python-level call, see [`soon`].
//!
//! * [`waiters`]: who is told. [`awaiting`]: what `await` iterates. [`attributes`]: what Python reads and writes.
//!
//! # Invariants
//!
//! * A future leaves `Pending` once, and hands its waiters to the loop right then, in the order in which they came.
//! * A waiter without a context is a task of ours, which is woken without a callback, see `task`.
//! * What is rare (a message of cancellation, a traceback of debug mode) sits in a box of its own, so that a future is small.

pub(crate) mod attributes;
pub(crate) mod awaiting;
pub(crate) mod soon;
pub(crate) mod waiters;

use std::cell::Cell;
use std::mem::offset_of;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{ffi, intern};

use crate::imports;
use crate::loop_core::LoopCore;
use crate::mutation::Mutation;
use crate::raw::call::raise;
use crate::raw::class::{Attributes, Builder, Collected, Finalized, MaybeInstance, VALUE_AT, Visit, WeakList};
use crate::raw::freelist::Freelist;
use crate::raw::{Class, ObjectCell, Owned, Raised, Result, This, TypeCell, unary, vector};

/// How far a future is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Not done.
    #[default]
    Pending,
    /// Cancelled.
    Cancelled,
    /// Done, with a result.
    Finished,
    /// Done, with an exception.
    Failed,
}

/// A result that will be there.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Future {
    /// The loop; nothing before `__init__` has run.
    owner: MaybeInstance<LoopCore>,
    waiters: waiters::Waiters,
    /// The result or the exception.
    outcome: ObjectCell,
    rare: Cell<Option<Box<Rare>>>,
    attributes: Attributes,
    weak_references: WeakList,
    state: Cell<State>,
    /// Whether an exception was set that nobody has asked for.
    unretrieved: Cell<bool>,
    /// Whether it has just been yielded by its own iterator.
    blocking: Cell<bool>,
    /// What a task notes; here it takes no room.
    task: TaskFlags,
}

/// The flags of a task.
#[derive(Default)]
pub(crate) struct TaskFlags {
    /// Whether its next step throws `CancelledError` into the coroutine.
    pub(crate) must_cancel: Cell<bool>,
    /// Whether it is worth a report when the task is destroyed while it is pending.
    pub(crate) reports_destruction: Cell<bool>,
    /// Whether it has been run from the queue before.
    pub(crate) has_run: Cell<bool>,
}

/// What few futures have.
#[derive(Default)]
pub(crate) struct Rare {
    /// Where it was made, in debug mode.
    source_traceback: Option<Owned>,
    /// What was passed to `cancel`.
    cancel_message: Option<Owned>,
    /// The `CancelledError` that ended the task.
    cancelled_error: Option<Owned>,
    /// The traceback of the exception when it was set: each awaiting begins with it anew.
    traceback: Option<Owned>,
}

impl Rare {
    fn objects(&self) -> impl Iterator<Item = &Owned> {
        [&self.source_traceback, &self.cancel_message, &self.cancelled_error, &self.traceback].into_iter().flatten()
    }
}

static FUTURE: TypeCell = TypeCell::new();
static FUTURES: Freelist = Freelist::new();

/// Where a future keeps the first who waits for it, for who reads it from outside.
pub(crate) const FIRST_WAITER_AT: usize = VALUE_AT + offset_of!(Future, waiters) + waiters::FIRST_AT;

/// The address of the class.
pub(crate) fn class_address() -> usize {
    FUTURE.get() as usize
}

impl Class for Future {
    fn class() -> &'static TypeCell {
        &FUTURE
    }
}

impl Collected for Future {
    fn traverse(&self, visit: &mut Visit) {
        for cell in [self.owner.object(), &self.outcome, self.attributes.content()] {
            visit.cell(cell);
        }
        self.waiters.traverse(visit);
        let rare = self.rare.take();
        rare.iter().flat_map(|rare| rare.objects()).for_each(|object| visit.object(object));
        self.rare.set(rare);
    }

    fn clear(&self) {
        let waiters = self.waiters.take_all();
        let content =
            (self.owner.replace(None), self.outcome.take(), self.rare.take(), self.attributes.content().take());
        drop((waiters, content));
    }
}

impl Finalized for Future {
    const SPEAKS: bool = true;

    fn freelist() -> &'static Freelist {
        &FUTURES
    }

    fn has_last_word(&self) -> bool {
        self.unretrieved.get()
    }

    fn finalize(py: Python<'_>, this: This<'_, Self>) {
        report_unretrieved(py, this);
    }

    fn weak_references(&self) -> Option<&WeakList> {
        Some(&self.weak_references)
    }
}

/// Makes the classes.
pub(crate) fn initialise(py: Python<'_>) -> Result<Owned> {
    soon::initialise(py);
    awaiting::initialise(py)?;
    Builder::<Future>::new(c"boucle.Future")
        .doc(c"Future(*, loop=None)\n--\n\nasyncio.Future, natively: a result that will be there.")
        .subclassable()
        .finalized()
        .weakly_referenced(offset_of!(Future, weak_references))
        .with_attributes(offset_of!(Future, attributes))
        .slot(ffi::Py_tp_init, attributes::future_init())
        .slot(ffi::Py_tp_repr, unary!(Future, "__repr__", attributes::repr))
        .slot(ffi::Py_tp_iter, unary!(Future, "__iter__", awaiting::iterate))
        .awaited_in_place(unary!(Future, "await_in_place", awaiting::step_in_place, typed))
        .methods(attributes::methods())
        .properties(attributes::properties())
        .build(py)
}

/// Makes a future of a loop of ours.
pub(crate) fn make(py: Python<'_>, owner: This<'_, LoopCore>) -> Result<Owned> {
    let future = FUTURES.make_collected(py, || Future::of(owner))?;
    if owner.debug()
        && let Some(this) = This::<Future>::exactly(&future)
    {
        this.note_where_it_is_made(py)?;
    }
    Ok(future)
}

/// The future behind a reference to exactly a `Future` or a `Task`.
#[inline]
pub(crate) fn native(object: &Owned) -> Option<This<'_, Future>> {
    This::<Future>::exactly(object).or_else(|| crate::task::native(object).map(crate::task::as_future))
}

/// What a future came to.
pub(crate) enum Outcome {
    /// Its result.
    Result(Owned),
    /// Its exception, or the error that says that it was cancelled.
    Exception(Owned),
}

impl Future {
    /// The flags of the task that it is.
    #[inline]
    pub(crate) fn task_flags(&self) -> &TaskFlags {
        &self.task
    }

    /// How far it is.
    #[inline]
    pub(crate) fn state(&self) -> State {
        self.state.get()
    }

    /// Whether it is not done.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.state.get() == State::Pending
    }

    /// Its loop.
    #[inline]
    pub(crate) fn owner(&self) -> &MaybeInstance<LoopCore> {
        &self.owner
    }

    /// Whether its iterator has just yielded it. Says so once.
    #[inline]
    pub(crate) fn take_blocking(&self) -> bool {
        self.blocking.replace(false)
    }

    /// Gets its loop, and in debug mode notes where it was made.
    pub(crate) fn belong_to(&self, py: Python<'_>, owner: Owned) -> Result<()> {
        drop(self.owner.replace(Some(owner)));
        let debug = match (self.owner.with(|ours| ours.debug()), self.owner.object().get()) {
            (Some(debug), _) => debug,
            (None, Some(owner)) => owner.any(py).call_method0(intern!(py, "get_debug"))?.is_truthy()?,
            (None, None) => false,
        };
        if debug { self.note_where_it_is_made(py) } else { Ok(()) }
    }

    /// A future of a loop of ours.
    #[inline]
    pub(crate) fn of(owner: This<'_, LoopCore>) -> Self {
        Self { owner: MaybeInstance::new(owner), ..Self::default() }
    }

    /// Debug mode: notes where it is made.
    #[cold]
    pub(crate) fn note_where_it_is_made(&self, py: Python<'_>) -> Result<()> {
        let traceback = imports::source_traceback(py)?;
        self.change_rare(|rare| rare.source_traceback = Some(traceback));
        Ok(())
    }

    /// Changes what few futures have. `change` runs no Python.
    pub(crate) fn change_rare<R>(&self, change: impl FnOnce(&mut Rare) -> R) -> R {
        let mut rare = self.rare.take().unwrap_or_default();
        let result = change(&mut rare);
        self.rare.set(Some(rare));
        result
    }

    /// Reads what few futures have, or takes it; nothing where there is none. `look` runs no Python.
    fn look_at_rare<R>(&self, look: impl FnOnce(&mut Rare) -> Option<R>) -> Option<R> {
        let mut rare = self.rare.take()?;
        let result = look(&mut rare);
        self.rare.set(Some(rare));
        result
    }

    /// What was passed to `cancel`.
    pub(crate) fn cancel_message(&self) -> Option<Owned> {
        self.look_at_rare(|rare| rare.cancel_message.clone())
    }

    /// Keeps what was passed to `cancel`.
    pub(crate) fn set_cancel_message(&self, message: Option<Owned>) {
        if message.is_some() || self.cancel_message().is_some() {
            let former = self.change_rare(|rare| std::mem::replace(&mut rare.cancel_message, message));
            drop(former);
        }
    }

    /// Keeps the error that ended a task as cancelled: who asks for the result gets this one.
    pub(crate) fn set_cancelled_error(&self, error: Owned) {
        let former = self.change_rare(|rare| rare.cancelled_error.replace(error));
        drop(former);
    }

    /// Takes the error that ended a task as cancelled.
    pub(crate) fn take_cancelled_error(&self) -> Option<Owned> {
        self.look_at_rare(|rare| rare.cancelled_error.take())
    }

    fn has_cancelled_error(&self) -> bool {
        self.look_at_rare(|rare| rare.cancelled_error.as_ref().map(drop)).is_some()
    }

    /// Where it was made, in debug mode.
    pub(crate) fn source_traceback(&self) -> Option<Owned> {
        self.look_at_rare(|rare| rare.source_traceback.clone())
    }

    /// Raises what asyncio raises about an instance whose `__init__` has not run.
    #[inline]
    pub(crate) fn check_initialised(&self) -> Result<()> {
        if self.owner.object().is_empty() {
            return Err(PyRuntimeError::new_err("Future object is not initialized.").into());
        }
        Ok(())
    }

    /// Forgets everything, for an `__init__` that runs again.
    pub(crate) fn reset(&self) {
        let waiters = self.waiters.take_all();
        let content = (self.owner.replace(None), self.outcome.take(), self.rare.take());
        self.state.set(State::Pending);
        self.unretrieved.set(false);
        self.blocking.set(false);
        drop((waiters, content));
    }

    /// Nobody need ask for the exception any more.
    pub(crate) fn forget_unretrieved(&self) {
        self.unretrieved.set(false);
    }

    /// Adds one who waits. The future is pending.
    #[inline]
    pub(crate) fn add_waiter(&self, waiter: waiters::Waiter) {
        self.waiters.add(waiter);
    }

    #[inline]
    fn check_pending(&self, py: Python<'_>) -> Result<()> {
        if self.is_pending() { Ok(()) } else { Err(imports::invalid_state(py, "invalid state")) }
    }
}

/// Gives a future its result.
#[inline]
pub(crate) fn set_result(py: Python<'_>, this: This<'_, Future>, result: Owned) -> Result<()> {
    this.check_pending(py)?;
    drop(this.outcome.replace(Some(result)));
    this.state.set(State::Finished);
    tell(py, this)
}

/// Gives a future of any class its result, unless it was cancelled.
#[inline]
pub(crate) fn set_result_unless_cancelled(py: Python<'_>, future: &Owned, result: Owned) -> Result<()> {
    // A task takes no result from outside, and says so.
    match This::<Future>::exactly(future) {
        Some(native) if native.state() == State::Cancelled => Ok(()),
        Some(native) => set_result(py, native, result),
        None if vector::method(py, future, intern!(py, "cancelled"), &[])?.any(py).is_truthy()? => Ok(()),
        None => vector::method(py, future, intern!(py, "set_result"), &[&result]).map(drop),
    }
}

/// Gives a future its exception: an instance, or a class to make one of.
pub(crate) fn set_exception(py: Python<'_>, this: This<'_, Future>, exception: &Owned) -> Result<()> {
    this.check_pending(py)?;
    let mut exception = exception.any(py).to_owned();
    if is_exception_class(&exception) {
        exception = exception.call0()?;
        this.check_pending(py)?;
    }
    if !exception.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return Err(PyTypeError::new_err("invalid exception object").into());
    }
    if let Some(text) = refuses_stop_iteration(&exception) {
        if !cfg!(Py_3_13) {
            return Err(PyTypeError::new_err(text).into());
        }
        let instead = py.get_type::<PyRuntimeError>().call1((text,))?;
        instead.setattr(intern!(py, "__cause__"), &exception)?;
        instead.setattr(intern!(py, "__context__"), &exception)?;
        exception = instead;
    }
    let traceback = exception.getattr(intern!(py, "__traceback__"))?;
    if !traceback.is_none() {
        this.change_rare(|rare| rare.traceback = Some(traceback.into()));
    }
    drop(this.outcome.replace(Some(exception.into())));
    this.state.set(State::Failed);
    tell(py, this)?;
    this.unretrieved.set(true);
    Ok(())
}

/// Whether an object is a class of exceptions.
fn is_exception_class(object: &Bound<'_, PyAny>) -> bool {
    object
        .cast::<pyo3::types::PyType>()
        .is_ok_and(|class| class.is_subclass_of::<pyo3::exceptions::PyBaseException>().unwrap_or(false))
}

/// A `StopIteration` would end the generator that awaits.
fn refuses_stop_iteration(exception: &Bound<'_, PyAny>) -> Option<&'static str> {
    let refused = if cfg!(Py_3_13) {
        exception.is_instance_of::<PyStopIteration>()
    } else {
        exception.is_exact_instance_of::<PyStopIteration>()
    };
    refused.then_some("StopIteration interacts badly with generators and cannot be raised into a Future")
}

/// Cancels a future. Whether it was pending.
pub(crate) fn cancel(py: Python<'_>, this: This<'_, Future>, message: Option<Owned>) -> Result<bool> {
    this.unretrieved.set(false);
    if !this.is_pending() {
        return Ok(false);
    }
    this.state.set(State::Cancelled);
    this.set_cancel_message(message);
    tell(py, this)?;
    Ok(true)
}

/// Hands everybody who waits to the loop.
#[inline]
fn tell(py: Python<'_>, this: This<'_, Future>) -> Result<()> {
    let (first, further) = this.waiters.take_all();
    if let Some(waiter) = first {
        soon::tell(py, this, waiter)?;
    }
    match further {
        None => Ok(()),
        Some(mut further) => {
            if Mutation::WaitersReversed.is_made() {
                further.reverse();
            }
            further.into_iter().try_for_each(|waiter| soon::tell(py, this, waiter))
        }
    }
}

/// What a future came to. Raises `InvalidStateError` while it is pending.
#[inline]
pub(crate) fn outcome(py: Python<'_>, this: This<'_, Future>) -> Result<Outcome> {
    match this.state.get() {
        State::Finished => {
            this.unretrieved.set(false);
            Ok(Outcome::Result(this.outcome.get().unwrap_or_else(|| Owned::none(py))))
        }
        State::Failed => {
            this.unretrieved.set(Mutation::NeverRetrieved.is_made());
            let exception = this.outcome.get().unwrap_or_else(|| Owned::none(py));
            let traceback = this.look_at_rare(|rare| rare.traceback.take()).unwrap_or_else(|| Owned::none(py));
            exception.any(py).setattr(intern!(py, "__traceback__"), traceback.any(py))?;
            Ok(Outcome::Exception(exception))
        }
        State::Cancelled => Ok(Outcome::Exception(make_cancelled_error(py, this)?)),
        State::Pending => Err(imports::invalid_state(py, "Result is not set.")),
    }
}

/// The result. Raises the exception.
pub(crate) fn result(py: Python<'_>, this: This<'_, Future>) -> Result<Owned> {
    match outcome(py, this)? {
        Outcome::Result(result) => Ok(result),
        Outcome::Exception(exception) => Err(raise_outcome(py, this, &exception)),
    }
}

/// Raises what a future came to.
pub(crate) fn raise_outcome(py: Python<'_>, this: This<'_, Future>, exception: &Owned) -> Raised {
    // Before 3.11 the error that ended the task is the context, not the exception that is being handled.
    if !cfg!(Py_3_11) && this.has_cancelled_error() {
        return PyErr::from_value(exception.any(py).to_owned()).into();
    }
    raise(py, exception)
}

/// The error that says that a future was cancelled: the one that ended its task, or a new one with the message.
pub(crate) fn make_cancelled_error(py: Python<'_>, this: This<'_, Future>) -> Result<Owned> {
    if cfg!(Py_3_11)
        && let Some(error) = this.take_cancelled_error()
    {
        return Ok(error);
    }
    let message = this.cancel_message().filter(|message| !message.is_none());
    let error = imports::cancelled_error(py, message.as_ref())?;
    // Before 3.11 each who asks gets an error of its own, with the one that ended the task as its context.
    if let Some(saved) = this.look_at_rare(|rare| rare.cancelled_error.clone()) {
        error.any(py).setattr(intern!(py, "__context__"), saved.any(py))?;
    }
    Ok(error)
}

/// Says to the loop that an exception was never asked for.
fn report_unretrieved(py: Python<'_>, this: This<'_, Future>) {
    if !this.unretrieved.replace(false) {
        return;
    }
    let report = || -> PyResult<()> {
        let object = this.to_owned();
        let context = PyDict::new(py);
        let class = object.any(py).get_type().name()?;
        context.set_item("message", format!("{class} exception was never retrieved"))?;
        context.set_item("exception", this.outcome.get().as_ref().map(|exception| exception.any(py)))?;
        context.set_item("future", object.any(py))?;
        tell_exception_handler(py, this, &context)
    };
    if let Err(error) = report() {
        error.write_unraisable(py, None);
    }
}

/// Calls the loop's exception handler about a future, with where it was made.
pub(crate) fn tell_exception_handler(
    py: Python<'_>,
    this: This<'_, Future>,
    context: &Bound<'_, PyDict>,
) -> PyResult<()> {
    if let Some(traceback) = this.source_traceback() {
        context.set_item("source_traceback", traceback.any(py))?;
    }
    let Some(owner) = this.owner.object().get() else { return Ok(()) };
    owner.any(py).call_method1(intern!(py, "call_exception_handler"), (context,))?;
    Ok(())
}
