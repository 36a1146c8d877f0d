//! The turns: waits, collects, runs, and writes down what ran.
//!
//! The GIL is released around a sleep and around nothing else. While work is ready, Python code gives it up by itself when
//! another thread asks; a loop whose callbacks are all native would not, so it lets go once in a while. A loop that spins
//! before it sleeps (`BOUCLE_SPIN_US`) is asleep to everybody else.

use std::sync::Arc;
use std::time::Duration;

use boucle_core::clock::{Moment, Scale, Stamp, Tick};
use boucle_core::recorder::rings::Returned;
use boucle_core::recorder::tally::Times;
use boucle_core::recorder::{WokenBy, rings};
use boucle_core::turn::{Ready, Wait};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::{ffi, intern};

use super::{Item, LoopCore, forking, outbox, source, tasks};
use crate::handle::Handle;
use crate::raw::call::check_signals;
use crate::raw::context::Thread;
use crate::raw::guard::afterwards;
use crate::raw::{Args, Owned, Raised, Result, This, gil, method};
use crate::task::{self, Task, step};
use crate::witness::{self, Witness};
use crate::{errors, handle, imports, settings, viewer, watchdog};

/// How long a loop may run without a sleep before it offers the GIL to other threads.
const LONGEST_GRIP: Duration = Duration::from_millis(50);

/// Of the turns that do not enter the kernel, so many pass between two in which signals and the GIL are looked after.
const CHECKED_TURN: u64 = 64;

impl LoopCore {
    /// Whether the kernel may have something to report but a wake: a descriptor is watched, or a signal has a handler.
    #[inline]
    fn is_watching(&self) -> bool {
        self.handles_signals.get() || self.reactor.borrow().as_ref().is_some_and(super::watch::Reactor::watches_others)
    }
}

/// Runs turns until the loop is asked to stop.
fn run(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<()> {
    forking::check_process(this)?;
    let thread_name = args.get(0).map(|name| name.any(py).extract::<String>()).transpose()?.unwrap_or_default();
    let ring = settings::recording().then(|| rings::of_this_thread(&thread_name));
    let scale = Scale::measure();
    drop(this.ring.replace(ring.clone()));
    this.set_patience(&scale);
    if let Some(ring) = &ring {
        viewer::introduce(py);
        this.account.enter(ring, Stamp::now());
        watchdog::loop_begins(py, ring, this.to_owned(), this.turn.as_ptr() as usize);
    }
    this.last_end.set(Stamp::now());
    this.last_release.set(Stamp::now());
    // `PyO3` is told that the GIL is held: else it would put off what it drops during the run until some later call.
    let result = Python::attach(|py| {
        let thread = Thread::current(py);
        let result = loop {
            let result = turn(py, thread, this, ring.as_ref(), &scale);
            if result.is_err() || this.stopping.get() {
                break result;
            }
        };
        afterwards(py, result, || forget_current(py, this))
    });
    this.current.set(WokenBy::UNKNOWN);
    if let Some(ring) = this.ring.take() {
        watchdog::loop_ends(py, &ring);
    }
    result
}

/// One turn.
#[inline]
fn turn(
    py: Python<'_>,
    thread: Thread,
    this: This<'_, LoopCore>,
    ring: Option<&Arc<rings::ThreadRing>>,
    scale: &Scale,
) -> Result<()> {
    let watching = this.is_watching();
    let turns = this.turns.get() + 1;
    this.turns.set(turns);
    let is_checked = turns.is_multiple_of(CHECKED_TURN);
    let stamp = if !watching && !is_checked && this.turn.borrow_mut().goes_on() {
        if let Some(ring) = ring {
            ring.tally.next_turn();
        }
        this.last_end.get()
    } else {
        collect(py, this, ring, scale, watching, is_checked)?
    };
    run_batch(py, thread, this, ring, stamp)
}

/// Waits, and collects the batch of a turn. Returns when that was.
#[expect(clippy::inline_always, reason = "a call would cost a loop that watches something a thirtieth of its turn")]
#[inline(always)]
fn collect(
    py: Python<'_>,
    this: This<'_, LoopCore>,
    ring: Option<&Arc<rings::ThreadRing>>,
    scale: &Scale,
    watching: bool,
    is_checked: bool,
) -> Result<Stamp> {
    let has_left_over = watching && this.reactor.borrow().as_ref().is_some_and(super::watch::Reactor::has_left_over);
    let (wait, mut now) = {
        let turn = this.turn.borrow();
        let now = if turn.has_timers() { Moment::now() } else { Moment::default() };
        (turn.begin(now.tick, this.stopping.get() || has_left_over, watching), now)
    };
    // A turn that does not enter the kernel leaves the list where it is.
    let mut events = None;
    let (mut stamp, mut slept) = (this.last_end.get(), 0);
    // Python code looks after signals by itself, so a turn that does not enter the kernel need not always do it.
    let looks_around = wait != Wait::Skip || is_checked;
    if looks_around {
        release_current(py, this)?;
        watchdog::loop_passes(py);
    }
    match wait {
        Wait::Skip => {}
        Wait::Poll => {
            wait_for_events(py, this, ring, Duration::ZERO, events.insert(this.events.take()))?;
            stamp = Stamp::now();
        }
        Wait::Sleep(time) => {
            if let Some(ring) = ring {
                ring.live.fall_asleep();
            }
            let outcome = wait_for_events(py, this, ring, time, events.insert(this.events.take()));
            if let Some(ring) = ring {
                ring.live.wake_up();
                watchdog::loop_passes(py);
            }
            slept = outcome?;
            now = Moment::now();
            stamp = now.stamp;
        }
    }
    if let Some(ring) = ring {
        ring.tally.turn(stamp.since(this.last_end.get()), slept);
    }
    match events {
        None => this.turn.borrow_mut().collect(now, scale, stamp, []),
        Some(mut events) => {
            this.turn.borrow_mut().collect(now, scale, stamp, events.drain(..));
            this.events.replace(events);
        }
    }
    // Everything the kernel reported is queued by now: an exception of a signal handler loses nothing.
    if looks_around {
        loosen_grip(py, this, scale);
        check_signals(py)?;
    }
    Ok(stamp)
}

/// Lets other threads have the GIL, if the loop has kept it for long.
fn loosen_grip(py: Python<'_>, this: This<'_, LoopCore>, scale: &Scale) {
    let now = Stamp::now();
    if scale.nanos(now.since(this.last_release.get()) as f64) > LONGEST_GRIP.as_nanos() as u64 {
        gil::released(py, || {});
        this.last_release.set(now);
    }
}

/// Waits for the kernel, at most `time`, and appends the handles of what it reports. Returns how long it slept, until it
/// had the GIL again, if it is recorded.
fn wait_for_events(
    py: Python<'_>,
    this: This<'_, LoopCore>,
    ring: Option<&Arc<rings::ThreadRing>>,
    time: Duration,
    events: &mut Vec<Item>,
) -> Result<u64> {
    let Some(mut waiter) = this.reactor.borrow_mut().as_mut().map(|reactor| reactor.epoll.waiter()) else {
        return Err(PyRuntimeError::new_err("the loop was not initialised: call Loop.__init__ first").into());
    };
    let mut slept = 0;
    let outcome = if time.is_zero() {
        waiter.wait(time)
    } else {
        this.asleep.set(true);
        if let Some(ring) = ring {
            ring.tally.falls_asleep(Stamp::now());
        }
        let spin = settings::spin();
        let (outcome, woke) = gil::released(py, || {
            let outcome = match spin {
                None => waiter.wait(time),
                Some(spin) => waiter.spin_then_wait(spin, time),
            };
            (outcome, Stamp::now())
        });
        this.asleep.set(false);
        let now = Stamp::now();
        if let Some(ring) = ring {
            slept = ring.tally.wakes_up(woke, now);
        }
        this.last_release.set(now);
        outcome
    };
    if let Some(reactor) = this.reactor.borrow_mut().as_mut() {
        reactor.report(waiter, events);
    }
    // A signal ended the wait early: the caller looks after it, and the next turn waits for the rest of the time.
    outcome.map(|_| slept).map_err(|error| errors::to_py_err(&error).into())
}

/// Runs the batch of this turn. An exception leaves the rest queued.
#[inline]
fn run_batch(
    py: Python<'_>,
    thread: Thread,
    this: This<'_, LoopCore>,
    ring: Option<&Arc<rings::ThreadRing>>,
    stamp: Stamp,
) -> Result<()> {
    let mut start = stamp;
    loop {
        // The last step may have forked, and this may be the child: the rest of the batch is the parent's.
        if this.inherited.get() {
            leave_step(this);
            return Err(forking::refusal(&this));
        }
        let (next, left) = {
            let mut turn = this.turn.borrow_mut();
            (turn.pop(), turn.ready_len())
        };
        let Some(Ready { item, since, woken_by }) = next else { break };
        if let Some(task) = task::native(&item) {
            this.puts_off_since(if ring.is_some() { start } else { Stamp::now() });
            let result = run_task(py, thread, this, task, &item, ring, (&mut start, since, woken_by, left));
            this.steps.set(this.steps.get() + 1);
            if result.is_err() {
                leave_step(this);
                return result;
            }
            continue;
        }
        forget_current(py, this)?;
        let native = handle::taken(&item);
        let watcher = if native.is_some() { None } else { source::native(&item) };
        let cancelled = match native {
            Some(handle) => handle.is_cancelled(),
            None => watcher.is_none() && imports::is_cancelled(py, &item)?,
        };
        if cancelled {
            continue;
        }
        this.puts_off_since(if ring.is_some() { start } else { Stamp::now() });
        let result = match ring {
            None => run_item(py, thread, this, native, &item),
            Some(ring) => {
                let witness = match watcher {
                    Some(watcher) => Witness::Callback(source::code(py, watcher)),
                    None => Witness::of(py, native, &item),
                };
                ring.live.begin(start, witness.actor(), left);
                this.current.set(WokenBy::step(ring.ring.head()));
                let result = run_item(py, thread, this, native, &item);
                let (actor, code, whereabouts) = witness.after(py);
                let end = Stamp::now();
                ring.write(&Returned { times: Times { start, end, since }, actor, woken_by, code, whereabouts });
                start = end;
                result
            }
        };
        this.steps.set(this.steps.get() + 1);
        if result.is_err() {
            leave_step(this);
            return result;
        }
    }
    leave_step(this);
    if let Some(ring) = ring {
        ring.live.end();
    }
    this.last_end.set(start);
    Ok(())
}

/// No step runs any more.
fn leave_step(this: This<'_, LoopCore>) {
    this.current.set(WokenBy::UNKNOWN);
    this.puts_nothing_off();
}

/// A queued task that has stepped is the current one no longer, and other threads or handlers of signals may look. The next
/// queued task, if nothing else runs before, finds the word that there is none.
#[inline]
fn release_current(py: Python<'_>, this: This<'_, LoopCore>) -> Result<()> {
    if !this.current_task.is_told() {
        return Ok(());
    }
    if forgets_at_fork(this) { Err(forking::refusal(&this)) } else { this.current_task.release(py, this) }
}

/// Whether this process has inherited the loop, and Python, from 3.14 on, has forgotten that it runs, with its current task.
#[inline]
fn forgets_at_fork(this: This<'_, LoopCore>) -> bool {
    cfg!(Py_3_14) && this.inherited.get()
}

/// Leaves nothing of the queued tasks that have stepped: other code is about to run, which may enter a task of its own.
#[inline]
fn forget_current(py: Python<'_>, this: This<'_, LoopCore>) -> Result<()> {
    if !this.current_task.has_word() {
        return Ok(());
    }
    if forgets_at_fork(this) {
        this.current_task.was_forgotten();
        return Ok(());
    }
    this.current_task.forget(py, this)
}

/// Runs a queued task's step and writes it down. `ready` says when it starts, since when it was ready, why, and how many
/// items are left.
#[inline]
fn run_task(
    py: Python<'_>,
    thread: Thread,
    this: This<'_, LoopCore>,
    task: This<'_, Task>,
    item: &Item,
    ring: Option<&Arc<rings::ThreadRing>>,
    ready: (&mut Stamp, Stamp, WokenBy, usize),
) -> Result<()> {
    let Some(ring) = ring else { return outbox::after_step(py, this, step_task(py, thread, this, task, item)) };
    let (start, since, woken_by, left) = ready;
    let (actor, first) = witness::meet(py, task);
    ring.live.begin(*start, actor, left);
    this.current.set(WokenBy::step(ring.ring.head()));
    let result = outbox::after_step(py, this, step_task(py, thread, this, task, item));
    let (code, whereabouts) = witness::left_task(py, task);
    let end = Stamp::now();
    let times = Times { start: *start, end, since };
    ring.write(&Returned { times, actor, woken_by, code, whereabouts: whereabouts.first_step(first) });
    *start = end;
    result
}

#[inline]
fn step_task(
    py: Python<'_>,
    thread: Thread,
    this: This<'_, LoopCore>,
    task: This<'_, Task>,
    item: &Item,
) -> Result<()> {
    if forgets_at_fork(this) {
        return Err(forking::refusal(&this));
    }
    this.current_task.begin(py, this, item)?;
    let mut result = step::run_queued(py, thread, task);
    this.current_task.end();
    if result == Err(Raised) {
        let exception = Raised.take_value(py);
        forget_current(py, this)?;
        result = report_failure(py, this, task, exception);
    } else if !task::as_future(task).is_pending() || item.references() <= CURRENT_AND_ITEM {
        // It is done, or nobody but the two of us holds it: it must not live on as the current one.
        release_current(py, this)?;
    }
    result
}

/// How many references there are to a task that nobody holds, but for the dictionary of current tasks, where asyncio was told
/// of it, and the queue.
const CURRENT_AND_ITEM: isize = 2;

/// A step failed outside of the coroutine: the exception handler is told, as about any callback.
#[cold]
fn report_failure(py: Python<'_>, this: This<'_, LoopCore>, task: This<'_, Task>, exception: Owned) -> Result<()> {
    if imports::ends_the_program(py, &exception) {
        return Err(Raised::put_back(py, exception));
    }
    let object = task.to_owned();
    let callback = task::step_callback(py, &object)?;
    let handle = tasks::handle(py, this, &callback, None, &task::context(py, task)?)?;
    this.to_owned().any(py).call_method1(intern!(py, "_callback_failed"), (handle.any(py), exception.any(py)))?;
    Ok(())
}

/// Runs what is no task of ours. `native` is the item, if it is one of our handles.
#[expect(clippy::inline_always, reason = "a call would cost a fifth of it")]
#[inline(always)]
fn run_item(
    py: Python<'_>,
    thread: Thread,
    this: This<'_, LoopCore>,
    native: Option<This<'_, Handle>>,
    item: &Item,
) -> Result<()> {
    let Some(handle) = native.filter(|_| !this.debug()) else { return run_unusual(py, thread, this, item) };
    let result = outbox::after_step(py, this, handle::run_and_keep(py, thread, handle));
    // A handle that nobody else holds is about to go, with what it holds.
    if !item.is_unique() {
        handle.finish();
    }
    result
}

/// Runs what is no task in debug mode, and otherwise what is no handle of ours either.
#[inline(never)]
fn run_unusual(py: Python<'_>, thread: Thread, this: This<'_, LoopCore>, item: &Item) -> Result<()> {
    if this.debug() { run_watched(py, thread, this, item) } else { run_foreign(py, this, item) }
}

/// Runs what is neither a task nor a handle of ours: a watcher, or a handle that inherited code made.
fn run_foreign(py: Python<'_>, this: This<'_, LoopCore>, item: &Item) -> Result<()> {
    let result = match source::native(item) {
        Some(watcher) => source::run(py, this, watcher),
        None => item.any(py).call_method0(intern!(py, "_run")).map(drop).map_err(Into::into),
    };
    outbox::after_step(py, this, result)
}

/// Debug mode: the handle is known while it runs, and said to be slow if it was.
#[cold]
fn run_watched(py: Python<'_>, thread: Thread, this: This<'_, LoopCore>, item: &Item) -> Result<()> {
    drop(this.objects._current_handle.replace(Some(item.clone())));
    let before = Tick::now();
    let native = handle::native(item);
    let result = match native {
        Some(handle) => outbox::after_step(py, this, handle::run_and_keep(py, thread, handle)),
        None => run_foreign(py, this, item),
    };
    // An exception that ends the program is not for the log's code to see.
    let raised = result.err().map(|raised| raised.take_value(py));
    let held = before.until(Tick::now()).as_secs_f64();
    drop(this.objects._current_handle.replace(Some(Owned::none(py))));
    let logged = this.to_owned().any(py).call_method1(intern!(py, "_callback_ran"), (item.any(py), held));
    // Only now: the log shows the callback.
    if let Some(handle) = native {
        handle.finish();
    }
    if let Some(exception) = raised {
        return Err(Raised::put_back(py, exception));
    }
    logged?;
    Ok(())
}

pub(super) fn methods() -> [ffi::PyMethodDef; 1] {
    [method!(LoopCore, "_run", args run, "_run($self, thread_name, /)\n--\n\nRuns turns until stop() was called.")]
}
