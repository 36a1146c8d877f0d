//! `call_soon` and its relatives: what is scheduled, and in which order.

use boucle_core::clock::{Stamp, Tick};
use boucle_core::recorder::WokenBy;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyList};
use pyo3::{ffi, intern};

use super::{Item, LoopCore, tasks};
use crate::handle::{self, Callback};
use crate::imports;
use crate::raw::args::Arg;
use crate::raw::context::Context;
use crate::raw::{Args, Owned, Result, This, method};
use crate::settings;
use crate::task;

impl LoopCore {
    /// Schedules an item, from whichever thread, and wakes the loop if it sleeps.
    #[expect(clippy::inline_always, reason = "a call would cost a quarter of it")]
    #[inline(always)]
    pub(super) fn push(&self, item: Item) {
        let since = if settings::recording() { Stamp::now() } else { Stamp::default() };
        let woken_by = if self.runs_elsewhere() { WokenBy::THREAD } else { self.woken_by() };
        self.turn.borrow_mut().push(item, since, woken_by);
        if self.asleep.get() {
            self.wake();
        }
    }

    /// Schedules a timer handle.
    fn push_at(&self, deadline: Tick, item: &Item) {
        let key = self.turn.borrow_mut().push_at(deadline, item.clone());
        handle::set_key(item, Some(key));
    }
}

/// The callback of a call `name(callback, *args, context=None)` whose first `skip` arguments are others. A call that does
/// not fit is handed on to asyncio's own method, which raises its own text.
macro_rules! callback_or_inherited {
    ($py:expr, $this:expr, $args:expr, $skip:expr, $name:literal) => {
        match ($args.split($skip), $args.only_keyword(|| &imports::get($py).context)) {
            (Some((function, args)), Some(context)) => {
                Callback { function, args, context: context.and_then(Context::given) }
            }
            _ => return $args.forward(&imports::base_method($py, $name)?, &$this.to_owned()),
        }
    };
}

fn call_soon(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let callback = callback_or_inherited!(py, this, args, 0, "call_soon");
    this.check_open()?;
    if this.debug() {
        check_thread(py, this)?;
        check_callback(py, this, callback.function, "call_soon")?;
    }
    let handle = callback.once(py, this)?;
    this.push(handle.clone());
    Ok(handle)
}

fn call_soon_threadsafe(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let callback = callback_or_inherited!(py, this, args, 0, "call_soon_threadsafe");
    this.check_open()?;
    if this.debug() {
        check_callback(py, this, callback.function, "call_soon_threadsafe")?;
    }
    let handle = callback.shared(py, this)?;
    this.push(handle.clone());
    Ok(handle)
}

fn call_later(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let callback = callback_or_inherited!(py, this, args, 1, "call_later");
    let Some(delay) = args.get(0) else {
        return args.forward(&imports::base_method(py, "call_later")?, &this.to_owned());
    };
    if let Some(delay) = delay.exact_float() {
        return schedule_at(py, this, callback, Tick::now().seconds() + delay, None);
    }
    if delay.is_none() {
        return args.forward(&imports::base_method(py, "call_later")?, &this.to_owned());
    }
    // Whatever can be added to a float will do: an int, a Fraction, a number of numpy's.
    let when = PyFloat::new(py, Tick::now().seconds()).add(delay.any(py))?;
    let seconds = when.extract()?;
    let given = (!when.is_exact_instance_of::<PyFloat>()).then(|| when.into());
    schedule_at(py, this, callback, seconds, given)
}

fn call_at(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let callback = callback_or_inherited!(py, this, args, 1, "call_at");
    let Some(when) = args.get(0).filter(|when| !when.is_none()) else {
        return args.forward(&imports::base_method(py, "call_at")?, &this.to_owned());
    };
    match when.exact_float() {
        Some(seconds) => schedule_at(py, this, callback, seconds, None),
        None => schedule_at(py, this, callback, when.any(py).extract()?, Some(when.to_owned())),
    }
}

fn schedule_at<'a>(
    py: Python<'_>,
    this: This<'_, LoopCore>,
    callback: Callback<'a, impl ExactSizeIterator<Item = Arg<'a>>>,
    when: f64,
    given: Option<Owned>,
) -> Result<Owned> {
    this.check_open()?;
    if this.debug() {
        check_thread(py, this)?;
        check_callback(py, this, callback.function, "call_at")?;
    }
    let handle = callback.at(py, this, when, given)?;
    this.push_at(Tick::at_or_after(when), &handle);
    Ok(handle)
}

/// Debug mode: refuses a call from a thread other than the loop's. The check is asyncio's.
#[cold]
fn check_thread(py: Python<'_>, this: This<'_, LoopCore>) -> Result<()> {
    this.to_owned().any(py).call_method0(intern!(py, "_check_thread"))?;
    Ok(())
}

/// Debug mode: refuses coroutines and what cannot be called. The check is asyncio's.
#[cold]
fn check_callback(py: Python<'_>, this: This<'_, LoopCore>, function: Arg<'_>, name: &str) -> Result<()> {
    this.to_owned().any(py).call_method1(intern!(py, "_check_callback"), (function.any(py), name))?;
    Ok(())
}

fn time(_: Python<'_>, _: This<'_, LoopCore>) -> Result<f64> {
    Ok(Tick::now().seconds())
}

fn stop(_: Python<'_>, this: This<'_, LoopCore>) -> Result<()> {
    this.stopping.set(true);
    Ok(())
}

/// Inherited code hands in a handle of its own, or one of ours.
fn add_callback(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<()> {
    if let Some(handle) = args.get(0).map(Arg::to_owned)
        && !imports::is_cancelled(py, &handle)?
    {
        this.push(handle);
    }
    Ok(())
}

fn add_callback_signalsafe(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<()> {
    add_callback(py, this, args)
}

fn write_to_self(_: Python<'_>, this: This<'_, LoopCore>) -> Result<()> {
    if this.asleep.get() {
        this.wake();
    }
    Ok(())
}

/// asyncio's timer handles announce their cancellation here; ours have left the timers by themselves.
fn timer_handle_cancelled(_: Python<'_>, _: This<'_, LoopCore>, _: Args<'_>) -> Result<()> {
    Ok(())
}

fn ready_append(_: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<()> {
    for handle in args.from(0) {
        this.push(handle.to_owned());
    }
    Ok(())
}

fn ready_clear(_: Python<'_>, this: This<'_, LoopCore>) -> Result<()> {
    let dropped = this.turn.borrow_mut().take_ready();
    super::gc::release_handles(dropped.iter().map(|ready| &ready.item));
    Ok(())
}

fn scheduled_clear(_: Python<'_>, this: This<'_, LoopCore>) -> Result<()> {
    let dropped = this.turn.borrow_mut().take_timers();
    super::gc::release_handles(dropped.items());
    Ok(())
}

fn list(py: Python<'_>, items: &[Owned]) -> Result<Owned> {
    Ok(PyList::new(py, items.iter().map(|item| item.any(py)))?.into_any().into())
}

/// Handles of what is ready. A queued task gets one now, which takes its place, so that it can be cancelled.
fn ready_handles(py: Python<'_>, this: This<'_, LoopCore>) -> Result<Owned> {
    let items: Vec<Owned> = this.turn.borrow().ready().cloned().collect();
    let mut handles = Vec::with_capacity(items.len());
    for item in &items {
        handles.push(match task::native(item) {
            Some(task) => tasks::handle_of_step(py, this, task)?,
            None => item.clone(),
        });
    }
    // Making handles may have run Python: only what still stands where it stood is replaced.
    let mut replaced = Vec::new();
    for (item, (former, handle)) in this.turn.borrow_mut().ready_mut().zip(items.iter().zip(&handles)) {
        if item.is(former) {
            replaced.push(std::mem::replace(item, handle.clone()));
        }
    }
    drop(replaced);
    list(py, &handles)
}

fn scheduled_handles(py: Python<'_>, this: This<'_, LoopCore>) -> Result<Owned> {
    let items: Vec<Owned> = this.turn.borrow().timers().cloned().collect();
    list(py, &items)
}

pub(super) fn methods() -> [ffi::PyMethodDef; 15] {
    [
        method!(LoopCore, "call_soon", args call_soon, "call_soon($self, callback, *args, context=None)\n--\n\nRun callback(*args) in the next turn, after what is ready."),
        method!(LoopCore, "call_soon_threadsafe", args call_soon_threadsafe, "call_soon_threadsafe($self, callback, *args, context=None)\n--\n\nLike call_soon, from any thread: wakes the loop."),
        method!(LoopCore, "call_later", args call_later, "call_later($self, delay, callback, *args, context=None)\n--\n\nRun callback(*args) after delay seconds."),
        method!(LoopCore, "call_at", args call_at, "call_at($self, when, callback, *args, context=None)\n--\n\nRun callback(*args) when loop.time() reaches when."),
        method!(LoopCore, "time", time, "time($self, /)\n--\n\nThe loop's clock in seconds: time.monotonic()."),
        method!(LoopCore, "stop", stop, "stop($self, /)\n--\n\nEnd run_forever after this turn."),
        method!(LoopCore, "_add_callback", args add_callback, "Schedules a handle, unless it was cancelled."),
        method!(LoopCore, "_add_callback_signalsafe", args add_callback_signalsafe, "The same."),
        method!(LoopCore, "_write_to_self", write_to_self, "Wakes a sleeping loop."),
        method!(LoopCore, "_timer_handle_cancelled", args timer_handle_cancelled, "Does nothing."),
        method!(LoopCore, "_ready_append", args ready_append, "Schedules handles."),
        method!(LoopCore, "_ready_clear", ready_clear, "Drops what is ready."),
        method!(LoopCore, "_ready_handles", ready_handles, "What is ready, oldest first."),
        method!(LoopCore, "_scheduled_clear", scheduled_clear, "Drops the pending timers."),
        method!(LoopCore, "_scheduled_handles", scheduled_handles, "The pending timers, in no particular order."),
    ]
}
