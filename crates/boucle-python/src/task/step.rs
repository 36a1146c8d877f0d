//! One step of a task: the coroutine is resumed, and what it yields or returns says what comes next.
//!
//! The order of what is done here, and each text, is that of `_asyncio`: a program sees both.

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Task, as_future, context, context_object, current, registry, step_callback, wakeup};
use crate::future::waiters::Waiter;
use crate::future::{self, Future, Outcome, outcome, soon};
use crate::imports;
use crate::mutation::Mutation;
use crate::raw::call::{Sent, resume};
use crate::raw::context::Thread;
use crate::raw::guard::{afterwards, discard, value_of};
use crate::raw::{Owned, Raised, Result, This};

/// The step of a queued task. What it waited for is done. The caller has made it the current task.
#[inline]
pub(crate) fn run_queued(py: Python<'_>, thread: Thread, this: This<'_, Task>) -> Result<()> {
    let result = this.context.run(py, thread, || match this.waiter.get() {
        None => step(py, this, None),
        Some(waiter) => match future::native(&waiter) {
            Some(future) => wake(py, this, future),
            None => step(py, this, None),
        },
    });
    // Most tasks run once, or wait for long after their first step. What runs often keeps its context until it is done.
    if !this.flags().has_run.replace(true) || !as_future(this).is_pending() {
        this.context.give_back(py);
    }
    result
}

/// What the callback `task_wakeup` does: the context is entered, `object` is done.
pub(super) fn wake_up(py: Python<'_>, this: This<'_, Task>, object: &Owned) -> Result<()> {
    current::enter(py, this)?;
    let result = match future::native(object) {
        Some(future) => wake(py, this, future),
        None => match object.any(py).call_method0(intern!(py, "result")) {
            Ok(_) => step(py, this, None),
            Err(error) => step(py, this, Some(value_of(py, error))),
        },
    };
    afterwards(py, result, || current::leave(py, this))
}

/// What the callback `task_step` does: the context is entered.
pub(super) fn step_once(py: Python<'_>, this: This<'_, Task>, exception: Option<Owned>) -> Result<()> {
    current::enter(py, this)?;
    let result = step(py, this, exception);
    afterwards(py, result, || current::leave(py, this))
}

/// Steps a task whose awaited future is done.
#[inline]
fn wake(py: Python<'_>, this: This<'_, Task>, future: This<'_, Future>) -> Result<()> {
    match outcome(py, future) {
        Ok(Outcome::Result(_)) => step(py, this, None),
        Ok(Outcome::Exception(exception)) => step(py, this, Some(exception)),
        Err(raised) => {
            let exception = raised.take_value(py);
            step(py, this, Some(exception))
        }
    }
}

/// The first step, made at once, inside of the code that creates the task.
pub(super) fn start_eagerly(py: Python<'_>, this: This<'_, Task>) -> Result<()> {
    if as_future(this).owner().object().is_empty() {
        return Ok(());
    }
    registry::enter(py, this);
    let result = current::within(py, this, || {
        let result = this.context.run(py, Thread::current(py), || step(py, this, None));
        this.context.give_back(py);
        result
    });
    afterwards(py, result, || {
        if !as_future(this).is_pending() {
            drop(this.coroutine.take());
        }
        Ok(())
    })
}

/// Resumes the coroutine, with an exception if there is one.
fn step(py: Python<'_>, this: This<'_, Task>, exception: Option<Owned>) -> Result<()> {
    let future = as_future(this);
    if !future.is_pending() {
        return Err(already_done(py, this, exception.as_ref()));
    }
    let mut exception = exception;
    if this.flags().must_cancel.get() {
        let cancels = match &exception {
            Some(exception) => exception.any(py).is_instance(&imports::get(py).cancelled_error.any(py))?,
            None => false,
        };
        if !cancels {
            exception = Some(future::make_cancelled_error(py, future)?);
        }
        this.flags().must_cancel.set(Mutation::MustCancelNotCleared.is_made());
    }
    drop(this.waiter.take());
    let Some(coroutine) = this.coroutine.get() else {
        return Err(PyRuntimeError::new_err("uninitialized Task object").into());
    };
    let sent = match exception {
        None => resume(py, &coroutine),
        Some(exception) => throw(py, &coroutine, exception),
    };
    match sent {
        Ok(Sent::Yielded(yielded)) => wait_for(py, this, &yielded),
        Ok(Sent::Returned(result)) => {
            this.links.leave();
            if this.flags().must_cancel.replace(false) {
                // Cancelled right before the coroutine ended.
                let message = future.cancel_message();
                future::cancel(py, future, message).map(drop)
            } else {
                future::set_result(py, future, result)
            }
        }
        Err(raised) => fail(py, this, raised),
    }
}

/// Throws an exception into a coroutine.
#[cold]
fn throw(py: Python<'_>, coroutine: &Owned, exception: Owned) -> Result<Sent> {
    let thrown = coroutine.any(py).call_method1(intern!(py, "throw"), (exception.any(py),));
    drop(exception);
    match thrown {
        Ok(yielded) => Ok(Sent::Yielded(yielded.into())),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyStopIteration>(py) => {
            let value = error.value(py).getattr(intern!(py, "value"))?.into();
            discard(py, error);
            Ok(Sent::Returned(value))
        }
        Err(error) => Err(error.into()),
    }
}

/// The coroutine raised.
#[cold]
fn fail(py: Python<'_>, this: This<'_, Task>, raised: Raised) -> Result<()> {
    let future = as_future(this);
    let exception = raised.take_value(py);
    let ends = imports::ends_the_program(py, &exception);
    this.links.leave();
    if exception.any(py).is_instance(&imports::get(py).cancelled_error.any(py))? {
        future.set_cancelled_error(exception);
        return future::cancel(py, future, None).map(drop);
    }
    future::set_exception(py, future, &exception)?;
    if ends {
        return Err(Raised::put_back(py, exception));
    }
    Ok(())
}

#[cold]
fn already_done(py: Python<'_>, this: This<'_, Task>, exception: Option<&Owned>) -> Raised {
    let text = || -> PyResult<String> {
        let task = this.to_owned().any(py).repr()?.to_string();
        let exception = match exception {
            Some(exception) => exception.any(py).repr()?.to_string(),
            None => "None".to_owned(),
        };
        Ok(format!("_step(): already done: {task} {exception}"))
    };
    match text() {
        Ok(text) => imports::invalid_state(py, &text),
        Err(error) => error.into(),
    }
}

/// The coroutine awaits: what it has yielded says what for.
#[inline]
fn wait_for(py: Python<'_>, this: This<'_, Task>, yielded: &Owned) -> Result<()> {
    if let Some(awaited) = future::native(yielded)
        && yielded.as_ptr() != this.as_ptr()
    {
        let same = as_future(this).owner().object().as_ptr() == awaited.owner().object().as_ptr();
        if !same {
            return refuse_other_loop(py, this, yielded);
        }
        if !awaited.take_blocking() {
            return refuse_plain_yield(py, this, yielded);
        }
        wake_when_done(py, this, awaited)?;
        drop(this.waiter.replace(Some(yielded.clone())));
        return pass_cancellation_on(py, this, yielded);
    }
    if yielded.is_none() {
        return soon::step_soon(py, this, None);
    }
    wait_for_foreign(py, this, yielded)
}

/// A task that was asked to cancel while it ran cancels what it now awaits.
#[inline]
fn pass_cancellation_on(py: Python<'_>, this: This<'_, Task>, awaited: &Owned) -> Result<()> {
    if this.flags().must_cancel.get()
        && super::attributes::cancel_awaited(py, awaited, as_future(this).cancel_message())?
    {
        this.flags().must_cancel.set(false);
    }
    Ok(())
}

/// Awaits what is not exactly a future or a task of ours, by asyncio's protocol.
#[cold]
fn wait_for_foreign(py: Python<'_>, this: This<'_, Task>, yielded: &Owned) -> Result<()> {
    let object = yielded.any(py);
    if yielded.as_ptr() == this.as_ptr() {
        let text = format!("Task cannot await on itself: {}", object.repr()?);
        return fail_soon(py, this, text);
    }
    let blocking = imports::attribute(&object, intern!(py, "_asyncio_future_blocking"))?;
    let Some(blocking) = blocking.filter(|blocking| !blocking.is_none()) else {
        let task = this.to_owned();
        if object.is_instance(&imports::get(py).generator.any(py))? {
            let text = format!(
                "yield was used instead of yield from for generator in task {} with {}",
                task.any(py).repr()?,
                object.repr()?
            );
            return fail_soon(py, this, text);
        }
        return fail_soon(py, this, format!("Task got bad yield: {}", object.repr()?));
    };
    let blocking = blocking.is_truthy()?;
    let owner = match imports::attribute(&object, intern!(py, "get_loop"))? {
        Some(get_loop) => get_loop.call0()?,
        None => object.getattr(intern!(py, "_loop"))?,
    };
    if owner.as_ptr() != as_future(this).owner().object().as_ptr() {
        return refuse_other_loop(py, this, yielded);
    }
    if !blocking {
        return refuse_plain_yield(py, this, yielded);
    }
    object.setattr(intern!(py, "_asyncio_future_blocking"), false)?;
    let task = this.to_owned();
    let keywords = PyDict::new(py);
    keywords.set_item("context", context_object(py, this)?.any(py))?;
    let callback = wakeup(py, &task)?;
    object.call_method(intern!(py, "add_done_callback"), (callback.any(py),), Some(&keywords))?;
    drop(this.waiter.replace(Some(yielded.clone())));
    pass_cancellation_on(py, this, yielded)
}

#[cold]
fn refuse_other_loop(py: Python<'_>, this: This<'_, Task>, yielded: &Owned) -> Result<()> {
    let (task, future) = (this.to_owned().any(py).repr()?.to_string(), yielded.any(py).repr()?.to_string());
    fail_soon(py, this, format!("Task {task} got Future {future} attached to a different loop"))
}

#[cold]
fn refuse_plain_yield(py: Python<'_>, this: This<'_, Task>, yielded: &Owned) -> Result<()> {
    let (task, future) = (this.to_owned().any(py).repr()?.to_string(), yielded.any(py).repr()?.to_string());
    fail_soon(py, this, format!("yield was used instead of yield from in task {task} with {future}"))
}

/// Throws a `RuntimeError` into the coroutine, soon.
#[cold]
fn fail_soon(py: Python<'_>, this: This<'_, Task>, text: String) -> Result<()> {
    // Called, not raised: an exception that is being handled is no context of it.
    let error: Owned = py.get_type::<PyRuntimeError>().call1((text,))?.into();
    let task = this.to_owned();
    let callback = step_callback(py, &task)?;
    soon::call_soon(py, as_future(this), &callback, Some(&error), &context(py, this)?)
}

/// Wakes a task up when a future is done.
#[inline]
fn wake_when_done(py: Python<'_>, task: This<'_, Task>, future: This<'_, Future>) -> Result<()> {
    if !future.is_pending() {
        return soon::step_soon(py, task, Some(future));
    }
    let object = task.to_owned();
    let waiter =
        if task.is_exact() { Waiter::Task(object) } else { Waiter::Callback(wakeup(py, &object)?, context(py, task)?) };
    future.add_waiter(waiter);
    Ok(())
}
