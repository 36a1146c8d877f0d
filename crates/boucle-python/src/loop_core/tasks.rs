//! Tasks and futures of ours on a loop of ours: made without a Python-level call, and queued as they are.
//!
//! # Invariants
//!
//! * A task is queued without a handle only on a *plain* loop: one whose `call_soon` is ours. A program that replaces
//!   `call_soon`, on the instance, in a subclass or in the class, sees each call. The class says when it changes, by the
//!   version that the interpreter gives it; the instance, when an attribute of that name is set. For futures that are made for
//!   a program the same is true of `create_future`.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{ffi, intern};

use super::LoopCore;
use crate::future;
use crate::handle::Callback;
use crate::imports;
use crate::raw::args::Arg;
use crate::raw::call::{builtin_address, class_version};
use crate::raw::context::Context;
use crate::raw::guard::discard;
use crate::raw::{Args, Owned, Result, This, method, set_attribute, vector};
use crate::settings;
use crate::task::{self, Parts, Task};

/// The addresses of the C functions that are our `call_soon` and `create_future`.
static CALL_SOON: AtomicUsize = AtomicUsize::new(0);
static CREATE_FUTURE: AtomicUsize = AtomicUsize::new(0);

/// Finds out what our methods are, as bound methods show it.
pub(super) fn initialise(py: Python<'_>, class: &Owned) -> Result<()> {
    let bare = class.any(py).call_method1("__new__", (class.any(py),))?;
    for (name, ours) in [("call_soon", &CALL_SOON), ("create_future", &CREATE_FUTURE)] {
        let method: Owned = bare.getattr(name)?.into();
        ours.store(builtin_address(&method).unwrap_or(0), Ordering::Relaxed);
    }
    Ok(())
}

/// Whether `call_soon` is ours on this loop.
#[inline]
pub(crate) fn is_plain(py: Python<'_>, core: This<'_, LoopCore>) -> bool {
    let version = class_version(core);
    (version != 0 && core.plain.get() == version)
        || look_up(py, core, intern!(py, "call_soon"), &CALL_SOON, &core.plain)
}

/// Whether the method of this name is `ours` on this loop; notes for which version of the class it is.
#[cold]
fn look_up(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    name: &Bound<'_, PyString>,
    ours: &AtomicUsize,
    version: &Cell<u32>,
) -> bool {
    let is_ours = has_method(py, core, name, ours.load(Ordering::Relaxed));
    version.set(if is_ours { class_version(core) } else { 0 });
    is_ours
}

/// Whether the method of this name is the C function at an address; none is at 0.
pub(crate) fn has_method(py: Python<'_>, core: This<'_, LoopCore>, name: &Bound<'_, PyString>, address: usize) -> bool {
    let method = core.to_owned().any(py).getattr(name).map_err(|error| discard(py, error));
    address != 0 && method.is_ok_and(|method| builtin_address(&method.into()) == Some(address))
}

/// Whether a task of this loop may be queued without a handle.
#[inline]
pub(crate) fn takes_tasks(py: Python<'_>, core: This<'_, LoopCore>) -> bool {
    !core.debug() && is_plain(py, core)
}

/// What `call_soon` does, on a plain loop that is not in debug mode.
pub(crate) fn call_soon(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    callback: &Owned,
    argument: Option<&Owned>,
    context: &Context,
) -> Result<()> {
    core.check_open()?;
    core.push(handle(py, core, callback, argument, context)?);
    Ok(())
}

/// Calls `loop.call_soon(function, *args, context=context)`, for transports: natively on a plain loop.
pub(crate) fn call_soon_with(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    function: &Owned,
    args: &[&Owned],
    context: Option<&Owned>,
) -> Result<()> {
    if takes_tasks(py, core) {
        core.check_open()?;
        let args = args.iter().map(|arg| Arg::of(arg));
        let callback = Callback { function: Arg::of(function), args, context: context.cloned().map(Context::of) };
        core.push(callback.once(py, core)?);
        return Ok(());
    }
    let all = std::iter::once(function).chain(args.iter().copied()).map(|object| object.any(py));
    let all = PyTuple::new(py, all.collect::<Vec<_>>())?;
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "context"), context.map(|context| context.any(py)))?;
    core.to_owned().any(py).call_method(intern!(py, "call_soon"), all, Some(&keywords))?;
    Ok(())
}

/// A handle that calls `callback(argument)`.
pub(super) fn handle(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    callback: &Owned,
    argument: Option<&Owned>,
    context: &Context,
) -> Result<Owned> {
    let args = argument.map(Arg::of);
    Callback { function: Arg::of(callback), args: args.into_iter(), context: Some(context.clone()) }.once(py, core)
}

/// A handle that does what a queued task would.
pub(super) fn handle_of_step(py: Python<'_>, core: This<'_, LoopCore>, task: This<'_, Task>) -> Result<Owned> {
    let object = task.to_owned();
    let awaited = task.awaited();
    let callback = if awaited.is_some() { task::wakeup(py, &object) } else { task::step_callback(py, &object) }?;
    handle(py, core, &callback, awaited.as_ref(), &task::context(py, task)?)
}

/// Queues a task, to step or to wake up.
#[inline]
pub(crate) fn step_soon(core: This<'_, LoopCore>, task: This<'_, Task>) -> Result<()> {
    core.check_open()?;
    core.push(task.to_owned());
    Ok(())
}

/// Whether `create_future` is ours on this loop.
#[inline]
pub(crate) fn makes_futures(py: Python<'_>, core: This<'_, LoopCore>) -> bool {
    let version = class_version(core);
    (version != 0 && core.makes_futures.get() == version)
        || look_up(py, core, intern!(py, "create_future"), &CREATE_FUTURE, &core.makes_futures)
}

/// Calls `loop.create_future()`: natively where it is ours.
#[inline]
pub(crate) fn future_of(py: Python<'_>, core: This<'_, LoopCore>) -> Result<Owned> {
    if makes_futures(py, core) {
        return create_future(py, core);
    }
    vector::method(py, &core.to_owned(), intern!(py, "create_future"), &[])
}

fn create_future(py: Python<'_>, this: This<'_, LoopCore>) -> Result<Owned> {
    if settings::native_tasks() {
        return future::make(py, this);
    }
    Ok(imports::base_method(py, "create_future")?.any(py).call1((this.to_owned().any(py),))?.into())
}

/// Makes a task where there is no task factory. Everything else is asyncio's own method's.
fn create_task(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let by_factory = this.objects._task_factory.get().is_some_and(|factory| !factory.is_none());
    let parts = if by_factory || !settings::native_tasks() { None } else { parts(py, args)? };
    let Some(parts) = parts else {
        return args.forward(&imports::base_method(py, "create_task")?, &this.to_owned());
    };
    this.check_open()?;
    task::make(py, this, parts)
}

/// What the arguments of `create_task` say; nothing where they do not fit.
#[inline]
fn parts(py: Python<'_>, args: Args<'_>) -> Result<Option<Parts>> {
    let (Some(coroutine), 1) = (args.get(0), args.count()) else { return Ok(None) };
    let mut parts = Parts { coroutine: coroutine.to_owned(), name: None, context: None, eager: false };
    for (key, value) in args.keywords() {
        if key.is(&imports::get(py).name) {
            parts.name = (!value.is_none()).then(|| value.to_owned());
        } else if cfg!(Py_3_11) && key.is(&imports::get(py).context) {
            parts.context = Context::given(value);
        } else if cfg!(Py_3_14) && key.is(&imports::get(py).eager_start) {
            parts.eager = value.any(py).is_truthy()?;
        } else {
            return Ok(None);
        }
    }
    Ok(Some(parts))
}

pub(super) fn methods() -> [ffi::PyMethodDef; 2] {
    [
        method!(LoopCore, "create_future", create_future, "create_future($self, /)\n--\n\nA future of this loop."),
        method!(LoopCore, "create_task", args create_task, "create_task($self, coro, *, name=None, context=None, eager_start=None)\n--\n\nMakes a task of a coroutine. The keywords are those of this version of asyncio."),
    ]
}

/// The slot that sets attributes: it notices that one of these methods is replaced.
pub(super) fn set_attribute_slot() -> *mut c_void {
    set_attribute!(LoopCore, attribute_is_set)
}

fn attribute_is_set(py: Python<'_>, this: This<'_, LoopCore>, name: &Owned) {
    this.own_methods.set(0);
    this.executes.set(0);
    let is = |method: &Bound<'_, PyString>| name.any(py).eq(method).unwrap_or(true);
    if is(intern!(py, "call_soon")) || is(intern!(py, "create_future")) {
        this.plain.set(0);
        this.makes_futures.set(0);
    }
}
