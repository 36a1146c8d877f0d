//! What a program does that it hardly means to do.
//!
//! Each finding needs to be sure rather than complete: what is told here, a person looks for in their code.
//!
//! * A *busy loop* is an actor that makes itself ready [`SPINS_MIN`] times in a row, for steps so short that they can do
//!   no more than look, while next to nothing else happens on its thread.
//! * Callbacks *pile up* where turns become longer and longer since each makes more ready than it runs. Turns are not
//!   recorded, but follow: what is ready when one begins runs in it.
//! * Timers are *late* for no visible reason if no step held the processor since their deadline.
//!
//! What was written while a step blocked, and so not sent, cannot be told: the recorder does not record writes.

use super::occupancy::Occupancy;
use super::readiness::Readiness;
use crate::model::{ActorId, Chronology, Left, Nanos, PlaceId, StepId, ThreadId, Wake};
use std::collections::HashMap;
use std::ops::Range;

/// From how many steps on one that makes itself ready is a busy loop.
const SPINS_MIN: usize = 1_000;
/// Nearly all steps of a busy loop are at most so long; longer ones do some work between yielding.
const SPIN_MAX: Nanos = 50_000;
/// Of a busy loop's steps at most this part is longer, as where the operating system took the processor away, and at
/// most so many steps of others are between them.
const OTHERS: usize = 10;
/// A turn of fewer steps is no pile.
const PILE_MIN: usize = 100;
/// A pile has so many times more steps than the turn from which it grew.
const PILE_GROWTH: usize = 8;
/// In at least so many turns it became larger than ever before: one that adds much at once is no growth.
const PILE_TURNS: usize = 4;

/// Something a program hardly means to do. `sentence::lint` tells it, `advice::lint` what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lint {
    /// What it is.
    pub kind: LintKind,
    /// The thread on which it happened.
    pub thread: ThreadId,
    /// Whose busy loop it is; of what piled up, one of the kind that is most frequent.
    pub actor: Option<ActorId>,
    /// Where, if known.
    pub place: Option<PlaceId>,
    /// When it began.
    pub start: Nanos,
    /// How long it went on.
    pub duration: Nanos,
    /// How many steps a busy loop made, how many were ready at once in the end, or how many timers were late.
    pub count: usize,
    /// How long a busy loop held the processor, how long the longest turn took, or how late the latest timer was.
    pub time: Nanos,
}

/// The kinds of lints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LintKind {
    /// A task that yields with `sleep(0)` over and over while nothing else happens: it waits by computing.
    BusyLoop,
    /// Each turn makes more callbacks ready than it runs.
    PileUp,
    /// Timers that were late by more than the threshold while no step held the processor.
    LateTimers,
}

pub(super) fn of(chronology: &Chronology, threshold: Nanos, waits: &Readiness) -> Vec<Lint> {
    let mut lints = busy_loops(chronology);
    lints.extend(piles(chronology, threshold));
    lints.extend(late_timers(chronology, threshold, waits));
    lints.sort_by_key(|lint| lint.start);
    lints
}

/// Steps of one actor, each of which made the next one ready.
struct Chain {
    first: StepId,
    last: StepId,
    steps: usize,
    long_steps: usize,
    busy: Nanos,
}

fn busy_loops(chronology: &Chronology) -> Vec<Lint> {
    let mut lints = Vec::new();
    let mut chains: Vec<Option<Chain>> = chronology.actors.iter().map(|_| None).collect();
    // By thread, how many steps there were that did not make themselves ready; and by step, how many until then.
    let mut others = vec![0; chronology.threads.len()];
    let mut others_until = Vec::with_capacity(chronology.steps.len());
    for (index, step) in chronology.steps.iter().enumerate() {
        let id = StepId(index as u32);
        let chain = &mut chains[step.actor.index()];
        let on_this_thread = |last: StepId| chronology.steps[last.index()].thread == step.thread;
        let goes_on =
            chain.as_mut().filter(|chain| step.woken_by == Wake::Step(chain.last) && on_this_thread(chain.last));
        others[step.thread.index()] += usize::from(goes_on.is_none());
        others_until.push(others[step.thread.index()]);
        let long_steps = usize::from(step.duration > SPIN_MAX);
        if let Some(chain) = goes_on {
            chain.last = id;
            chain.steps += 1;
            chain.long_steps += long_steps;
            chain.busy += step.duration;
        } else {
            let done = chain.replace(Chain { first: id, last: id, steps: 1, long_steps, busy: step.duration });
            lints.extend(done.and_then(|done| busy_loop(chronology, &done, &others_until)));
        }
    }
    lints.extend(chains.into_iter().flatten().filter_map(|chain| busy_loop(chronology, &chain, &others_until)));
    lints
}

fn busy_loop(chronology: &Chronology, chain: &Chain, others_until: &[usize]) -> Option<Lint> {
    let (first, last) = (&chronology.steps[chain.first.index()], &chronology.steps[chain.last.index()]);
    let others = others_until[chain.last.index()] - others_until[chain.first.index()];
    if chain.steps < SPINS_MIN || chain.long_steps.max(others) > chain.steps / OTHERS {
        return None;
    }
    // The last step may have left the loop.
    let awaited = if let Left::Awaited(place) = first.left { Some(place) } else { None };
    Some(Lint {
        kind: LintKind::BusyLoop,
        thread: first.thread,
        actor: Some(first.actor),
        place: last.resumed.or(awaited),
        start: first.start,
        duration: last.end() - first.start,
        count: chain.steps,
        time: chain.busy,
    })
}

/// The steps of one turn: what was ready when it began.
#[derive(Clone)]
struct Turn {
    steps: Vec<StepId>,
    start: Nanos,
    end: Nanos,
}

/// Turns that have more steps than the first, and none of which has less than half of the steps of one before it.
struct Growth {
    first: usize,
    start: Nanos,
    largest: Turn,
    /// How often a turn was larger than all before it.
    records: usize,
}

fn piles(chronology: &Chronology, threshold: Nanos) -> Vec<Lint> {
    let mut lints = Vec::new();
    let mut turns: Vec<Option<Turn>> = vec![None; chronology.threads.len()];
    let mut growths: Vec<Option<Growth>> = chronology.threads.iter().map(|_| None).collect();
    for (index, step) in chronology.steps.iter().enumerate() {
        let turn = &mut turns[step.thread.index()];
        let begun = Turn { steps: vec![StepId(index as u32)], start: step.start, end: step.end() };
        match turn {
            Some(turn) if step.ready_since() <= turn.start => {
                turn.steps.push(StepId(index as u32));
                turn.end = step.end();
            }
            _ => {
                if let Some(turn) = turn.replace(begun) {
                    lints.extend(
                        grow(&mut growths[step.thread.index()], turn)
                            .and_then(|growth| pile(chronology, threshold, &growth)),
                    );
                }
            }
        }
    }
    for (growth, turn) in growths.iter_mut().zip(turns) {
        let done = turn.and_then(|turn| grow(growth, turn));
        lints.extend(done.iter().chain(growth.as_ref()).filter_map(|growth| pile(chronology, threshold, growth)));
    }
    lints
}

/// Adds a turn. Returns the growth that ended with it.
fn grow(growth: &mut Option<Growth>, turn: Turn) -> Option<Growth> {
    let steps = turn.steps.len();
    match growth {
        Some(growing) if steps > growing.first && 2 * steps >= growing.largest.steps.len() => {
            if steps > growing.largest.steps.len() {
                growing.largest = turn;
                growing.records += 1;
            }
            None
        }
        _ => growth.replace(Growth { first: steps, start: turn.start, largest: turn, records: 0 }),
    }
}

fn pile(chronology: &Chronology, threshold: Nanos, growth: &Growth) -> Option<Lint> {
    let largest = &growth.largest;
    let count = largest.steps.len();
    let grown = count >= PILE_MIN.max(PILE_GROWTH * growth.first) && growth.records >= PILE_TURNS;
    if !grown || largest.end - largest.start <= threshold {
        return None;
    }
    let step = |id: &StepId| &chronology.steps[id.index()];
    let mut kinds: HashMap<&str, usize> = HashMap::new();
    let kind = |id: &StepId| chronology.actors[step(id).actor.index()].function.as_str();
    for id in &largest.steps {
        *kinds.entry(kind(id)).or_default() += 1;
    }
    let of_most = largest.steps.iter().find(|id| 2 * kinds[kind(id)] > count);
    Some(Lint {
        kind: LintKind::PileUp,
        thread: step(&largest.steps[0]).thread,
        actor: of_most.map(|id| step(id).actor),
        place: of_most.and_then(|id| step(id).resumed),
        start: growth.start,
        duration: largest.end - growth.start,
        count,
        time: largest.end - largest.start,
    })
}

fn late_timers(chronology: &Chronology, threshold: Nanos, waits: &Readiness) -> Vec<Lint> {
    let steps = Occupancy::of(chronology, |_| true);
    // By thread, the last of them, which later timers may still join.
    let mut lints: Vec<Lint> = Vec::new();
    let mut last: Vec<Option<usize>> = vec![None; chronology.threads.len()];
    for (index, step) in chronology.steps.iter().enumerate().filter(|(_, step)| step.woken_by == Wake::Timer) {
        let span = waits.since(StepId(index as u32))..step.start;
        let late = span.end - span.start;
        if late <= threshold || late - steps.held(step.thread, &span) <= threshold {
            continue;
        }
        let last = &mut last[step.thread.index()];
        match last.map(|last| &mut lints[last]) {
            Some(lint) if span.start < lint.start + lint.duration => join(lint, &span),
            _ => {
                *last = Some(lints.len());
                lints.push(Lint {
                    kind: LintKind::LateTimers,
                    thread: step.thread,
                    actor: None,
                    place: None,
                    start: span.start,
                    duration: late,
                    count: 1,
                    time: late,
                });
            }
        }
    }
    lints
}

/// Another late timer at about the same time. It began later than those before it, but may have been due earlier.
fn join(lint: &mut Lint, span: &Range<Nanos>) {
    let start = lint.start.min(span.start);
    lint.duration = span.end - start;
    lint.start = start;
    lint.count += 1;
    lint.time = lint.time.max(span.end - span.start);
}
