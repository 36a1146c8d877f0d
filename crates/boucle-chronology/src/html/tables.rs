//! A chronology as the columns that a page carries.
//!
//! Times are in units, which are nanoseconds except in a recording of very many steps: there the last digits would be
//! the larger part of the page, and nobody sees them.
//!
//! ```text
//! actor.name, .function     texts
//! actor.task                1 for a task
//! actor.parent              0 for none, else an actor + 1
//! thread.name               text
//! place.function, .file     texts
//! place.line                0 where it is unknown
//! place.user                1 for the user's own code
//! lane.subject              a thread · 2, or an actor · 2 + 1
//! lane.depth                how many ancestors have a lane
//! lane.name, .caption, .file    texts
//! step.thread, .actor       ids
//! step.gap                  from the end of the step before on this thread to its start
//! step.duration             to its end
//! step.wake                 0 unknown, 1 timer, 2 descriptor, 3 thread; else 3 + how many steps ago its waker was
//! step.since                since when it was ready, as the difference to what one would guess, see `guess`
//! step.resumed              0 unknown, else a place + 1
//! step.left                 0 unknown, 1 returned, else a place + 2
//! starvation.step, .count   the culprit's step; how many victims it has
//! victim.starvation, .step, .waited    those that are kept, by starvation, the longest wait first
//! congested.step, .waited   the steps that waited too long for many small ones, and how long
//! ```
//!
//! # Invariants
//!
//! * Moments are rounded down and durations are their differences, so that steps do not overlap after rounding either.

use super::columns::{Columns, signed};
use crate::analysis::{Analysis, is_task};
use crate::layout::{Lane, Subject};
use crate::model::{Chronology, Left, Nanos, Step, StepId, Wake};
use crate::name;

/// Up to so many steps, times are in nanoseconds, above in tens of them.
const FINE_MAX: usize = 100_000;

/// How many nanoseconds a unit is.
pub(super) fn unit(chronology: &Chronology) -> Nanos {
    match chronology.steps.len() {
        0..=FINE_MAX => 1,
        _ => 10,
    }
}

/// Fills the columns.
pub(super) fn fill(columns: &mut Columns, chronology: &Chronology, analysis: &Analysis, lanes: &[Lane]) {
    names(columns, chronology);
    of_lanes(columns, lanes);
    steps(columns, chronology, analysis);
    starvations(columns, chronology, analysis);
    congested(columns, chronology, analysis);
}

fn names(columns: &mut Columns, chronology: &Chronology) {
    let (actors, places) = (&chronology.actors, &chronology.places);
    texts(columns, "actor.name", actors.iter().map(|actor| name::shown(&actor.name)));
    texts(columns, "actor.function", actors.iter().map(|actor| name::shown(&actor.function)));
    let tasks = (0..actors.len()).map(|index| u64::from(is_task(chronology, crate::ActorId(index as u32))));
    columns.column("actor.task", tasks);
    let parents = actors.iter().map(|actor| actor.parent.map_or(0, |parent| u64::from(parent.0) + 1));
    columns.column("actor.parent", parents);
    texts(columns, "thread.name", chronology.threads.iter().map(|thread| name::shown(&thread.name)));
    texts(columns, "place.function", places.iter().map(|place| name::shown(&place.function)));
    texts(columns, "place.file", places.iter().map(|place| name::escaped(&place.file)));
    columns.column("place.line", places.iter().map(|place| u64::from(place.line)));
    columns.column("place.user", places.iter().map(|place| u64::from(place.origin == crate::Origin::User)));
}

fn of_lanes(columns: &mut Columns, lanes: &[Lane]) {
    let subjects = lanes.iter().map(|lane| match lane.subject {
        Subject::Thread(thread) => u64::from(thread.0) * 2,
        Subject::Task(actor) => u64::from(actor.0) * 2 + 1,
    });
    columns.column("lane.subject", subjects);
    columns.column("lane.depth", lanes.iter().map(|lane| lane.depth as u64));
    texts(columns, "lane.name", lanes.iter().map(|lane| lane.name.clone()));
    texts(columns, "lane.caption", lanes.iter().map(|lane| lane.caption.clone()));
    texts(columns, "lane.file", lanes.iter().map(|lane| name::escaped(&lane.file)));
}

fn steps(columns: &mut Columns, chronology: &Chronology, analysis: &Analysis) {
    let steps = &chronology.steps;
    let unit = unit(chronology);
    columns.column("step.thread", steps.iter().map(|step| u64::from(step.thread.0)));
    columns.column("step.actor", steps.iter().map(|step| u64::from(step.actor.0)));
    let mut ends = vec![0; chronology.threads.len()];
    let gaps = steps.iter().map(|step| {
        let end = std::mem::replace(&mut ends[step.thread.index()], step.end() / unit);
        step.start / unit - end
    });
    columns.column("step.gap", gaps);
    columns.column("step.duration", steps.iter().map(|step| step.end() / unit - step.start / unit));
    columns.column("step.wake", steps.iter().enumerate().map(|(index, step)| wake(index, step)));
    columns.column("step.since", since(chronology, analysis, unit));
    columns.column("step.resumed", steps.iter().map(|step| step.resumed.map_or(0, |place| u64::from(place.0) + 1)));
    let left = steps.iter().map(|step| match step.left {
        Left::Unknown => 0,
        Left::Returned => 1,
        Left::Awaited(place) => u64::from(place.0) + 2,
    });
    columns.column("step.left", left);
}

fn wake(index: usize, step: &Step) -> u64 {
    match step.woken_by {
        Wake::Unknown => 0,
        Wake::Timer => 1,
        Wake::Io => 2,
        Wake::Thread => 3,
        Wake::Step(by) => 3 + (index - by.index()) as u64,
    }
}

/// Since when each step's actor was ready, as the difference to a guess: it makes these numbers small, since most of a
/// recording are tasks that a callback woke and descriptors that one poll reported.
fn since(chronology: &Chronology, analysis: &Analysis, unit: Nanos) -> Vec<u64> {
    // What was the last of each kind that no step woke.
    let mut last = [0; 4];
    let steps = chronology.steps.iter().enumerate();
    let differences = steps.map(|(index, step)| {
        let since = analysis.waits.since(StepId(index as u32)) / unit;
        let guess = match step.woken_by {
            Wake::Step(by) => {
                let waker = &chronology.steps[by.index()];
                if is_task(chronology, waker.actor) { waker.end() / unit } else { analysis.waits.since(by) / unit }
            }
            _ => std::mem::replace(&mut last[wake(index, step) as usize], since),
        };
        signed(since.wrapping_sub(guess) as i64)
    });
    differences.collect()
}

fn starvations(columns: &mut Columns, chronology: &Chronology, analysis: &Analysis) {
    let starvations = &analysis.starvations;
    let unit = unit(chronology);
    columns.column("starvation.step", starvations.iter().map(|starvation| u64::from(starvation.step.0)));
    columns.column("starvation.count", starvations.iter().map(|starvation| starvation.victim_count as u64));
    let victims = || {
        let indexed = starvations.iter().enumerate();
        indexed.flat_map(|(index, starvation)| starvation.victims.iter().map(move |victim| (index, victim)))
    };
    columns.column("victim.starvation", victims().map(|(index, _)| index as u64));
    columns.column("victim.step", victims().map(|(_, victim)| u64::from(victim.step.0)));
    columns.column("victim.waited", victims().map(|(_, victim)| victim.waited / unit));
}

fn congested(columns: &mut Columns, chronology: &Chronology, analysis: &Analysis) {
    let ids = (0..chronology.steps.len()).map(|index| StepId(index as u32));
    let congested: Vec<(StepId, Nanos)> = ids.filter_map(|id| Some((id, analysis.congested(id)?))).collect();
    columns.column("congested.step", congested.iter().map(|(id, _)| u64::from(id.0)));
    columns.column("congested.waited", congested.iter().map(|(_, waited)| waited / unit(chronology)));
}

fn texts(columns: &mut Columns, name: &'static str, texts: impl Iterator<Item = String>) {
    let numbers: Vec<u64> = texts.map(|text| columns.text(text)).collect();
    columns.column(name, numbers);
}
