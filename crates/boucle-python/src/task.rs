//! `Task`: a coroutine that the loop runs, and the future of what it returns.
//!
//! A task of ours that waits on a loop of ours is queued as it is, without a handle, and steps without a Python-level call.
//! Everywhere else (another loop, a replaced `call_soon`, debug mode, a subclass) it steps by callbacks that look like
//! asyncio's: `Task.task_step` and `Task.task_wakeup`.
//!
//! * [`step`]: one step. [`registry`]: who is found by `all_tasks`. [`current`]: who is found by `current_task`.
//! * [`attributes`]: what Python reads, writes and calls.
//!
//! # Invariants
//!
//! * A task's value begins with its future's, so a method of `Future` works on a `Task`.
//! * While a task awaits a future, `waiter` is that future, until the task's next step begins.

pub(crate) mod attributes;
pub(crate) mod current;
pub(crate) mod registry;
pub(crate) mod step;

use std::cell::Cell;
use std::mem::offset_of;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{ffi, intern};

use crate::connecting;
use crate::future::{Future, TaskFlags, soon, tell_exception_handler};
use crate::imports;
use crate::loop_core::LoopCore;
use crate::raw::call::{bind_builtin, is_native_coroutine};
use crate::raw::class::{Builder, Collected, Finalized, VALUE_AT, Visit, WeakList};
use crate::raw::context::{Context, ContextCell};
use crate::raw::freelist::Freelist;
use crate::raw::{Class, GilOnce, ObjectCell, Owned, Result, This, TypeCell};

/// A coroutine that the loop runs.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Task {
    future: Future,
    coroutine: ObjectCell,
    context: ContextCell,
    /// What it awaits.
    waiter: ObjectCell,
    /// Its name, once somebody has given or asked for one.
    name: ObjectCell,
    /// Where it stands among all tasks.
    links: registry::Links,
    /// The number in its name, where it was given none.
    serial: Cell<u64>,
    /// How often it was asked to cancel, less how often that was taken back.
    cancel_requests: Cell<u32>,
    /// One more than its number in recordings; 0 before its first recorded step.
    number: Cell<u32>,
}

static TASK: TypeCell = TypeCell::new();
static TASKS: Freelist = Freelist::new();

/// Where a task keeps its number in recordings, plus one, for who reads it from outside.
pub(crate) const NUMBER_AT: usize = VALUE_AT + offset_of!(Task, number);

/// The address of the class.
pub(crate) fn class_address() -> usize {
    TASK.get() as usize
}

impl Class for Task {
    fn class() -> &'static TypeCell {
        &TASK
    }
}

impl Collected for Task {
    fn traverse(&self, visit: &mut Visit) {
        self.future.traverse(visit);
        for cell in [&self.coroutine, &self.waiter, &self.name] {
            visit.cell(cell);
        }
        self.context.traverse(visit);
    }

    fn clear(&self) {
        self.leave_lists();
        self.future.clear();
        drop((self.coroutine.take(), self.context.take(), self.waiter.take(), self.name.take()));
    }
}

impl Finalized for Task {
    const SPEAKS: bool = true;

    fn freelist() -> &'static Freelist {
        &TASKS
    }

    fn has_last_word(&self) -> bool {
        self.is_destroyed_pending() || self.future.has_last_word()
    }

    fn finalize(py: Python<'_>, this: This<'_, Self>) {
        report_destroyed(py, this);
        Future::finalize(py, as_future(this));
    }

    fn leave_lists(&self) {
        self.links.leave();
    }

    fn weak_references(&self) -> Option<&WeakList> {
        self.future.weak_references()
    }
}

/// Makes the class. `Future` has been made before.
pub(crate) fn initialise(py: Python<'_>) -> Result<Owned> {
    CALLBACKS.set(py, attributes::callbacks());
    current::initialise(py)?;
    // SAFETY: `Task` is `repr(C)` and its first field is a `Future`.
    let builder = unsafe { Builder::<Task>::new(c"boucle.Task").derived_from::<Future>() };
    builder
        .doc(c"Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\nasyncio.Task, natively: a coroutine that the loop runs.")
        .subclassable()
        .finalized()
        .slot(ffi::Py_tp_init, attributes::task_init())
        .methods(attributes::methods())
        .properties(attributes::properties())
        .build(py)
}

/// How asyncio would call a task back: to step, and to wake up.
static CALLBACKS: GilOnce<[ffi::PyMethodDef; 2]> = GilOnce::new();

/// The callback that lets a task step.
pub(crate) fn step_callback(py: Python<'_>, task: &Owned) -> Result<Owned> {
    bind_builtin(py, callback_definition(py, 0), task)
}

/// The callback that wakes a task up; its argument is the future that is done.
pub(crate) fn wakeup(py: Python<'_>, task: &Owned) -> Result<Owned> {
    bind_builtin(py, callback_definition(py, 1), task)
}

fn callback_definition(py: Python<'_>, index: usize) -> &'static ffi::PyMethodDef {
    CALLBACKS.get_static(py).map_or_else(|| unreachable!("the class is made first"), |definitions| &definitions[index])
}

/// The task behind a reference to exactly a `Task`.
#[inline]
pub(crate) fn native(object: &Owned) -> Option<This<'_, Task>> {
    This::<Task>::exactly(object)
}

/// The task behind a reference to a `Task` or to an object of a subclass.
pub(crate) fn of(object: &Owned) -> Option<This<'_, Task>> {
    This::<Task>::of(object)
}

/// Whether an object is a `Task` or of a subclass.
pub(crate) fn is_task(object: &Owned) -> bool {
    of(object).is_some()
}

/// The future that a task is.
#[inline]
pub(crate) fn as_future(task: This<'_, Task>) -> This<'_, Future> {
    // SAFETY: `Task` is `repr(C)` and its first field is a `Future`.
    unsafe { task.base() }
}

/// The context that a task runs in, for what is to run in the very same one.
pub(crate) fn context(py: Python<'_>, task: This<'_, Task>) -> Result<Context> {
    Ok(Context::of(context_object(py, task)?))
}

/// The context that a task runs in, as Python sees it; `None` before the task is initialised.
pub(crate) fn context_object(py: Python<'_>, task: This<'_, Task>) -> Result<Owned> {
    Ok(task.context.object(py)?.unwrap_or_else(|| Owned::none(py)))
}

/// What a task is made of.
pub(crate) struct Parts {
    /// The coroutine.
    pub(crate) coroutine: Owned,
    /// Its name; one with a number where there is none.
    pub(crate) name: Option<Owned>,
    /// The context it runs in; a copy of the current one where there is none.
    pub(crate) context: Option<Context>,
    /// Whether its first step is made at once.
    pub(crate) eager: bool,
}

/// Makes a task of a loop of ours.
pub(crate) fn make(py: Python<'_>, owner: This<'_, LoopCore>, parts: Parts) -> Result<Owned> {
    let task = TASKS.make_collected(py, || Task { future: Future::of(owner), ..Task::default() })?;
    if let Some(this) = native(&task) {
        if owner.debug() {
            as_future(this).note_where_it_is_made(py)?;
        }
        begin(py, this, parts)?;
    }
    Ok(task)
}

/// Gives a task its coroutine, and lets it step soon, or at once.
pub(crate) fn begin(py: Python<'_>, this: This<'_, Task>, parts: Parts) -> Result<()> {
    let Parts { coroutine, name, context, eager } = parts;
    if !is_native_coroutine(&coroutine) && !connecting::is_step(&coroutine) && !imports::is_coroutine(py, &coroutine)? {
        this.flags().reports_destruction.set(false);
        let text = format!("a coroutine was expected, got {}", coroutine.any(py).repr()?);
        return Err(pyo3::exceptions::PyTypeError::new_err(text).into());
    }
    let context = match context {
        // Before 3.15 asyncio takes it, and the first step fails.
        Some(context) if cfg!(Py_3_15) && !context.is_one() => {
            this.flags().reports_destruction.set(false);
            let text =
                format!("a contextvars.Context was expected, got {}", context.content().any(py).get_type().name()?);
            return Err(pyo3::exceptions::PyTypeError::new_err(text).into());
        }
        Some(context) => context,
        None => Context::copy_current(py)?,
    };
    match name {
        Some(name) => {
            registry::count_named(py);
            this.set_name(py, &name)?;
        }
        None => this.serial.set(registry::next_serial(py)),
    }
    let former = (this.coroutine.replace(Some(coroutine)), this.context.replace(Some(context)), this.waiter.take());
    this.flags().must_cancel.set(false);
    this.cancel_requests.set(0);
    this.flags().reports_destruction.set(true);
    drop(former);
    if eager && is_running(py, this)? {
        let started = step::start_eagerly(py, this);
        if cfg!(Py_3_15) && started.is_err() {
            this.flags().reports_destruction.set(false);
        }
        return started;
    }
    soon::step_soon(py, this, None)?;
    registry::enter(py, this);
    Ok(())
}

fn is_running(py: Python<'_>, this: This<'_, Task>) -> Result<bool> {
    let Some(owner) = as_future(this).owner().object().get() else { return Ok(false) };
    Ok(owner.any(py).call_method0(intern!(py, "is_running"))?.is_truthy()?)
}

impl Task {
    #[inline]
    fn flags(&self) -> &TaskFlags {
        self.future.task_flags()
    }

    /// What it awaits, or has awaited until now.
    pub(crate) fn awaited(&self) -> Option<Owned> {
        self.waiter.get()
    }

    /// Its coroutine.
    #[inline]
    pub(crate) fn coroutine(&self) -> &ObjectCell {
        &self.coroutine
    }

    /// Its number in recordings; nothing before its first recorded step.
    #[inline]
    pub(crate) fn number(&self) -> Option<u32> {
        self.number.get().checked_sub(1)
    }

    /// Gets its number.
    pub(crate) fn set_number(&self, number: u32) {
        self.number.set(number + 1);
    }

    /// Its name as it was given, or the number in it.
    pub(crate) fn name_or_serial(&self) -> std::result::Result<Owned, u64> {
        self.name.get().ok_or(self.serial.get())
    }

    fn set_name(&self, py: Python<'_>, name: &Owned) -> Result<()> {
        let name = name.any(py);
        let name: Owned = if name.is_exact_instance_of::<pyo3::types::PyString>() {
            name.to_owned().into()
        } else {
            name.str()?.into_any().into()
        };
        if let Some(number) = self.number() {
            crate::directory::rename(py, number, &name);
        }
        drop(self.name.replace(Some(name)));
        Ok(())
    }

    fn is_destroyed_pending(&self) -> bool {
        self.future.is_pending() && self.flags().reports_destruction.get()
    }
}

/// Says to the loop that a pending task was destroyed.
fn report_destroyed(py: Python<'_>, this: This<'_, Task>) {
    if !this.is_destroyed_pending() {
        return;
    }
    let report = || -> PyResult<()> {
        let context = PyDict::new(py);
        context.set_item("message", "Task was destroyed but it is pending!")?;
        context.set_item("task", this.to_owned().any(py))?;
        tell_exception_handler(py, as_future(this), &context)
    };
    if let Err(error) = report() {
        error.write_unraisable(py, None);
    }
}
