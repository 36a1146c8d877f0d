//! The watchdog: notices while a step goes on for too long, and says who, where and why.
//!
//! Two native threads. `boucle-watch` never touches Python, so it works while C code holds the GIL: it sleeps until the step
//! that runs has lasted for the threshold, looks at it, keeps what it saw as a sample, and again at growing distances.
//! `boucle-report` takes the GIL, whenever that can be had, to log and to call the user's hook.
//!
//! * [`watcher`]: when to look. [`look`], [`kernel`], [`system_calls`]: what is seen.
//! * [`incident`]: what is known of a step that starves others. [`text`]: what a person reads.
//! * [`reporter`]: who is told, and when. [`frequency`]: how often. [`annotations`]: what programs add.
//! * [`running`]: the loops that there are to look at. [`waiting`], and without the GIL [`queue`]: who waits in them.
//! * [`face`]: what Python calls.
//! * The bell, below, and the life of the two threads.
//!
//! # Invariants
//!
//! * Without a watch there is no thread, and a loop pays one load of the bell for each poll.
//! * While every loop sleeps, so do both threads: nothing wakes them up but a loop that does.
//! * No thread of ours is left when a process forks or ends: Python warns of forks in processes with several threads, and
//!   a thread that wants the GIL of an interpreter that has ended never gets it.
//! * No lock of ours is held while a thread is waited for, or while Python runs.

pub(crate) mod annotations;
pub(crate) mod face;
mod frequency;
mod incident;
mod kernel;
mod look;
mod queue;
mod reporter;
mod running;
mod system_calls;
mod text;
mod waiting;
mod watcher;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boucle_core::attendant::Attendant;
use boucle_core::futex;
use boucle_core::recorder::rings::ThreadRing;
use pyo3::prelude::*;

use crate::raw::{Owned, gil};
use crate::stacks::{Reader, Refusal};

/// How long a fork, or the end of the program, waits for a report that is on its way: a hook may take its time, or wait for
/// the very thread that waits for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The word that a loop looks at: whether somebody wants to be told that it passes.
static BELL: AtomicU32 = AtomicU32::new(QUIET);
/// Nobody.
const QUIET: u32 = 0;
/// The watcher sleeps for as long as all loops do.
const ASLEEP: u32 = 1;
/// The watcher has seen a step that it reported, and would know when it has returned.
const CURIOUS: u32 = 2;
/// The threads have ended for a fork; a loop that passes starts them again.
const SUSPENDED: u32 = 3;
/// The watcher is to end.
const ENDING: u32 = 4;

/// The shortest threshold of those who watch, in nanoseconds: a step is looked at from then on.
static LOOKED_AT: AtomicU64 = AtomicU64::new(u64::MAX);
/// The same of those who want reports.
static REPORTED: AtomicU64 = AtomicU64::new(u64::MAX);

/// Somebody who watches.
#[derive(Clone, Copy, Debug)]
struct Watch {
    id: u64,
    threshold: Duration,
    reports: bool,
}

#[derive(Default)]
struct Control {
    watches: Vec<Watch>,
    next_id: u64,
    reader: Option<Arc<Result<Reader, Refusal>>>,
    threads: Option<Threads>,
    /// Whether a fork is under way, or the program ends: nothing is started.
    is_closed: bool,
}

struct Threads {
    watcher: Attendant,
    reporter: Attendant,
}

static CONTROL: Mutex<Control> =
    Mutex::new(Control { watches: Vec::new(), next_id: 0, reader: None, threads: None, is_closed: false });

fn control() -> MutexGuard<'static, Control> {
    CONTROL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the threads, where somebody watches and they do not run yet.
fn start_threads(py: Python<'_>) {
    queue::prepare(py);
    let known = control().reader.clone();
    // It runs some Python, to see whether it reads right.
    let reader = known.unwrap_or_else(|| Arc::new(Reader::new(py)));
    control().start_threads(reader);
}

impl Control {
    fn set_thresholds(&self) {
        let shortest = |watches: &mut dyn Iterator<Item = &Watch>| {
            watches.map(|watch| watch.threshold.as_nanos() as u64).min().unwrap_or(u64::MAX)
        };
        LOOKED_AT.store(shortest(&mut self.watches.iter()), Ordering::Relaxed);
        REPORTED.store(shortest(&mut self.watches.iter().filter(|watch| watch.reports)), Ordering::Relaxed);
    }

    fn start_threads(&mut self, reader: Arc<Result<Reader, Refusal>>) {
        if self.watches.is_empty() || self.threads.is_some() || self.is_closed {
            return;
        }
        self.reader = Some(Arc::clone(&reader));
        BELL.store(QUIET, Ordering::SeqCst);
        reporter::open();
        let watcher = Attendant::start("boucle-watch", move || watcher::watch(&reader));
        let reporter = Attendant::start("boucle-report", reporter::report);
        // Where the system gives no threads there is no watchdog: the program is in worse trouble.
        match (watcher, reporter) {
            (Ok(watcher), Ok(reporter)) => self.threads = Some(Threads { watcher, reporter }),
            (watcher, reporter) => {
                end_watcher();
                reporter::close();
                for thread in [watcher, reporter].into_iter().flatten() {
                    thread.join(Duration::ZERO);
                }
            }
        }
    }
}

fn end_watcher() {
    BELL.store(ENDING, Ordering::SeqCst);
    futex::wake(&BELL);
}

/// Ends both threads and waits for them. Reports that are on their way are still made.
fn end_threads(py: Python<'_>, threads: Option<Threads>) {
    let Some(Threads { watcher, reporter }) = threads else { return };
    end_watcher();
    reporter::close();
    // A hook may be what ends the watch, or forks.
    let is_own = reporter.is_this_thread();
    gil::released(py, move || {
        watcher.join(PATIENCE);
        if !is_own {
            reporter.join(PATIENCE);
        }
    });
}

/// Begins to watch: steps that hold their loop for longer than `threshold` are looked at. With `reports` they are told of
/// too. Returns a number for [`stop`].
pub(crate) fn start(py: Python<'_>, threshold: Duration, reports: bool) -> u64 {
    let mut control = control();
    let id = control.next_id;
    control.next_id += 1;
    control.watches.push(Watch { id, threshold, reports });
    control.set_thresholds();
    if control.threads.is_some() {
        // A step that runs may have to be looked at earlier than was planned.
        call_watcher();
    } else if running::all().is_empty() {
        // The first loop starts them.
        BELL.store(SUSPENDED, Ordering::Relaxed);
    } else {
        drop(control);
        start_threads(py);
    }
    id
}

/// Ends a watch; nothing if it has ended.
pub(crate) fn stop(py: Python<'_>, id: u64) {
    let mut control = control();
    control.watches.retain(|watch| watch.id != id);
    control.set_thresholds();
    let threads = if control.watches.is_empty() { control.threads.take() } else { None };
    if control.watches.is_empty() && threads.is_none() {
        BELL.store(QUIET, Ordering::Relaxed);
    }
    drop(control);
    end_threads(py, threads);
}

/// Before a fork, and at the end of the program: ends the threads.
pub(crate) fn suspend(py: Python<'_>) {
    let mut control = control();
    control.is_closed = true;
    let threads = control.threads.take();
    drop(control);
    end_threads(py, threads);
}

/// After a fork, in the parent: a loop that passes starts the threads again.
pub(crate) fn resume() {
    let mut control = control();
    control.is_closed = false;
    let bell = if control.watches.is_empty() { QUIET } else { SUSPENDED };
    BELL.store(bell, Ordering::Relaxed);
}

/// The same in the child, which has inherited loops that it cannot run, and no threads.
pub(crate) fn resume_in_child(py: Python<'_>) {
    let mut control = control();
    // It reads this process's memory, so it must be made here.
    control.reader = None;
    drop(control);
    running::forget(py);
    reporter::forget();
    resume();
}

/// A loop begins to run in this thread. Its turn is at the address `turn` until it ends.
pub(crate) fn loop_begins(py: Python<'_>, ring: &Arc<ThreadRing>, object: Owned, turn: usize) {
    running::enter(py, ring, object, turn);
    loop_passes(py);
}

/// It runs no longer.
pub(crate) fn loop_ends(py: Python<'_>, ring: &Arc<ThreadRing>) {
    running::leave(py, ring);
    loop_passes(py);
}

/// A loop is about to poll, or has left a sleep: whoever waits for that is told.
#[inline]
pub(crate) fn loop_passes(py: Python<'_>) {
    match BELL.load(Ordering::Relaxed) {
        QUIET => {}
        SUSPENDED => start_threads(py),
        asked => ring(asked),
    }
}

/// Wakes the watcher up, if the bell says this.
#[cold]
fn ring(asked: u32) {
    if asked != ENDING && BELL.compare_exchange(asked, QUIET, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
        futex::wake(&BELL);
    }
}

/// Wakes the watcher up, whatever it waits for.
fn call_watcher() {
    for asked in [ASLEEP, CURIOUS] {
        ring(asked);
    }
    futex::wake(&BELL);
}

fn looked_at() -> Option<Duration> {
    Some(LOOKED_AT.load(Ordering::Relaxed)).filter(|&nanos| nanos != u64::MAX).map(Duration::from_nanos)
}

fn reported() -> Option<Duration> {
    Some(REPORTED.load(Ordering::Relaxed)).filter(|&nanos| nanos != u64::MAX).map(Duration::from_nanos)
}
