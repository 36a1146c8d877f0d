//! How futures and tasks reach their loop: `call_soon`, by the shortest way that a program cannot tell from it.
//!
//! * A loop that is not ours: its `call_soon`, called.
//! * A loop of ours whose `call_soon` a program has replaced, or that is in debug mode: the same.
//! * A loop of ours: a handle, queued; or, where a task of ours is to step, the task itself without a handle.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::waiters::Waiter;
use super::{Future, State};
use crate::executor;
use crate::imports;
use crate::loop_core::{LoopCore, tasks};
use crate::raw::call::{self, StoredArgs};
use crate::raw::context::Context;
use crate::raw::{ObjectCell, Owned, Result, This};
use crate::task::{self, Task};

/// Does `work` on the loop of a future, if that is ours and no program can tell it from `call_soon`.
#[inline]
fn natively<R>(py: Python<'_>, of: This<'_, Future>, work: impl FnOnce(This<'_, LoopCore>) -> R) -> Option<R> {
    of.owner.with(|core| tasks::takes_tasks(py, core).then(|| work(core))).flatten()
}

/// Calls `callback(argument)` soon on the loop of a future, in a context.
pub(crate) fn call_soon(
    py: Python<'_>,
    of: This<'_, Future>,
    callback: &Owned,
    argument: Option<&Owned>,
    context: &Context,
) -> Result<()> {
    if let Some(called) = natively(py, of, |core| tasks::call_soon(py, core, callback, argument, context)) {
        return called;
    }
    let Some(owner) = of.owner.object().get() else { return Ok(()) };
    let context = context.clone().into_object(py)?;
    let imports = imports::get(py);
    call::method_with_context(py, &imports.call_soon, &owner, callback, argument, &context, &imports.context_only)
        .map(drop)
}

/// Where asyncio's function is that sets the result of a timer's or a waiter's future: asked at each callback.
static SETTING_RESULT: AtomicUsize = AtomicUsize::new(0);

/// The same for the function that has a future come to what a job of an executor came to.
static SETTING_STATE: AtomicUsize = AtomicUsize::new(0);

/// Notes where that is, which lives for ever.
pub(crate) fn sets_state(function: &Owned) {
    SETTING_STATE.store(function.as_ptr() as usize, Ordering::Relaxed);
}

/// Notes where it is.
pub(super) fn initialise(py: Python<'_>) {
    let function = imports::get(py).setting_result.as_ref().map_or(0, |function| function.object().as_ptr() as usize);
    SETTING_RESULT.store(function, Ordering::Relaxed);
}

/// Does what a callback would do that sets the result of a future of ours unless it was cancelled. Nothing where it is
/// another callback.
#[inline]
pub(crate) fn instead_of(py: Python<'_>, callback: &ObjectCell, args: &StoredArgs) -> Option<Result<()>> {
    let callback = callback.as_ptr() as usize;
    if callback == SETTING_RESULT.load(Ordering::Relaxed) {
        set_result(py, args)
    } else if callback == SETTING_STATE.load(Ordering::Relaxed) {
        set_state(py, args)
    } else {
        None
    }
}

#[inline(never)]
fn set_result(py: Python<'_>, args: &StoredArgs) -> Option<Result<()>> {
    let (future, result) = two(py, args)?;
    let is_as_written = imports::get(py).setting_result.as_ref()?.is_unchanged();
    (is_as_written && is_plain(py, &future)).then(|| super::set_result_unless_cancelled(py, &future, result))
}

#[inline(never)]
fn set_state(py: Python<'_>, args: &StoredArgs) -> Option<Result<()>> {
    let (future, job) = two(py, args)?;
    let result = executor::result_to_copy(py, &job).filter(|_| is_plain(py, &future))?;
    // Of a future that somebody else has given a result, asyncio's function has a word to say.
    This::<Future>::exactly(&future).filter(|this| matches!(this.state(), State::Pending | State::Cancelled))?;
    Some(super::set_result_unless_cancelled(py, &future, result))
}

/// The arguments of a callback that has two.
fn two(py: Python<'_>, args: &StoredArgs) -> Option<(Owned, Owned)> {
    let args = args.content().get()?;
    let args = args.any(py).cast_exact::<PyTuple>().ok()?.to_owned();
    if args.len() != 2 {
        return None;
    }
    Some((args.get_item(0).ok()?.into(), args.get_item(1).ok()?.into()))
}

/// Whether an object is a future of ours to which nothing was added, on a loop that is reached natively. Where a program's own
/// `call_soon` is called, it is in the context of the callback.
fn is_plain(py: Python<'_>, future: &Owned) -> bool {
    let this = This::<Future>::exactly(future).filter(|this| this.attributes.content().is_empty());
    this.is_some_and(|this| natively(py, this, |_| ()).is_some())
}

/// Tells a waiter that the future is done.
#[inline]
pub(crate) fn tell(py: Python<'_>, future: This<'_, Future>, waiter: Waiter) -> Result<()> {
    match waiter {
        Waiter::Task(task) => match task::native(&task) {
            Some(this) => step_soon(py, this, Some(future)),
            None => Ok(()),
        },
        Waiter::Callback(callback, context) => call_soon(py, future, &callback, Some(&future.to_owned()), &context),
    }
}

/// Lets a task step soon: because `future`, which it awaits, is done, or because it begins or let others go first.
#[inline]
pub(crate) fn step_soon(py: Python<'_>, task: This<'_, Task>, future: Option<This<'_, Future>>) -> Result<()> {
    let of = task::as_future(task);
    if task.is_exact()
        && let Some(queued) = natively(py, of, |core| tasks::step_soon(core, task))
    {
        return queued;
    }
    let object = task.to_owned();
    let callback = if future.is_some() { task::wakeup(py, &object) } else { task::step_callback(py, &object) }?;
    let argument = future.map(This::to_owned);
    call_soon(py, of, &callback, argument.as_ref(), &task::context(py, task)?)
}
