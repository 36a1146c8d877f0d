//! What loops did, in sums: for `loop.metrics()`, and for collectors of the whole process.
//!
//! Python gets plain values, and `boucle.metrics` makes of them what users see.
//!
//! # Invariants
//!
//! * A loop is not asked: its thread may be in the middle of a step that does not return.
//! * All values of a process are scaled alike, so that what has counted up never goes down.

use std::sync::OnceLock;

use boucle_core::clock::{Scale, Stamp};
use boucle_core::recorder::rings;
use boucle_core::recorder::tally::Totals;
use pyo3::ffi;
use pyo3::prelude::*;

use super::LoopCore;
use crate::raw::{Owned, Result, This, method};

/// Sums, as Python sees them: becomes a dict. Times in seconds.
#[derive(IntoPyObject)]
pub(crate) struct Sums {
    turns: u64,
    running: f64,
    idle: f64,
    gil: f64,
    overhead: f64,
    held: f64,
    waited: f64,
    /// Steps by their length: each slot's upper end, and how many.
    durations: Vec<(f64, u64)>,
    waits: Vec<(f64, u64)>,
    /// Each cause, how many starvations, how long they held the processor, how long their victims waited.
    starvations: Vec<(&'static str, u64, f64, f64)>,
    threshold: f64,
    overwritten: u64,
    ready: usize,
}

/// What a thread's loops did.
#[derive(IntoPyObject)]
pub(crate) struct ThreadSums {
    thread: String,
    sums: Sums,
}

/// How long a stamp is, measured once: a value that is scaled anew might go down.
fn scale() -> &'static Scale {
    static SCALE: OnceLock<Scale> = OnceLock::new();
    SCALE.get_or_init(Scale::measure)
}

impl Sums {
    fn of(totals: &Totals, overwritten: u64, ready: usize) -> Self {
        let scale = scale();
        let seconds = |stamps: u64| scale.seconds(stamps as f64);
        let slots = |slots: &mut dyn Iterator<Item = (f64, u64)>| {
            slots.map(|(end, count)| (scale.seconds(end), count)).collect::<Vec<_>>()
        };
        let starvations = totals
            .starvations()
            .map(|starved| (starved.cause.word(), starved.count, seconds(starved.held), seconds(starved.waited)));
        Self {
            turns: totals.turns(),
            running: seconds(totals.running()),
            idle: seconds(totals.idle()),
            gil: seconds(totals.resuming()),
            overhead: seconds(totals.overhead()),
            held: seconds(totals.held()),
            waited: seconds(totals.waited()),
            durations: slots(&mut totals.durations()),
            waits: slots(&mut totals.waits()),
            starvations: starvations.collect(),
            threshold: rings::threshold().as_secs_f64(),
            overwritten,
            ready,
        }
    }
}

/// What this loop did, and how much is ready now.
fn metrics(py: Python<'_>, this: This<'_, LoopCore>) -> Result<Owned> {
    let sums = Sums::of(&this.account.totals(Stamp::now()), this.account.overwritten(), this.turn.borrow().ready_len());
    Ok(sums.into_pyobject(py)?.into_any().into())
}

/// What all loops of this process did, by the thread that runs them now or ran them last.
pub(crate) fn of_process() -> Vec<ThreadSums> {
    let now = Stamp::now();
    rings::all()
        .iter()
        .map(|ring| {
            let ready = ring.live.running().map_or(0, |running| running.ready as usize);
            let thread = ring.owners().pop().map_or_else(String::new, |owner| owner.name);
            ThreadSums { thread, sums: Sums::of(&ring.totals(now), ring.ring.overwritten(), ready) }
        })
        .collect()
}

pub(super) fn methods() -> [ffi::PyMethodDef; 1] {
    [method!(LoopCore, "_metrics", metrics, "What this loop did, in sums: see boucle.metrics.")]
}
