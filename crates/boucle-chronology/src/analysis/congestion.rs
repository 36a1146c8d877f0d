//! Many small steps that together keep others waiting: ten of 10 ms hurt as much as one of 100 ms.
//!
//! What a step waited is charged to the steps that ran meanwhile, each by its overlap. Where those within the threshold
//! come to more than the threshold, nobody starved the step, but it waited too long all the same. Waits of this kind
//! that overlap are one congestion.
//!
//! # Invariants
//!
//! * The congestions of a thread do not overlap, so that a step has a share in one of them at most.
//! * What starvations and stalls held is not charged here: a long wait for one of them is told there.

use super::occupancy::Occupancy;
use super::readiness::Readiness;
use super::starvation::{self, Victim};
use crate::model::{ActorId, Chronology, Nanos, StepId, ThreadId};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

/// A time in which steps within the threshold kept others waiting for longer than the threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Congestion {
    /// The thread whose steps had to queue.
    pub thread: ThreadId,
    /// When the first of those that waited too long became ready.
    pub start: Nanos,
    /// Until the last of them began.
    pub duration: Nanos,
    /// How many steps, none of them longer than the threshold, held the processor meanwhile.
    pub steps: usize,
    /// How long they held it, all together.
    pub busy: Nanos,
    /// Whose steps these were, the longest time first.
    pub shares: Vec<Share>,
    /// Those that were ready and waited for these steps for longer than the threshold, the longest wait first. Not all
    /// where there are very many.
    pub victims: Vec<Victim>,
    /// How many waited too long.
    pub victim_count: usize,
}

/// One actor's part of a congestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose part it is.
    pub actor: ActorId,
    /// How many steps it ran.
    pub steps: usize,
    /// How long they held the processor.
    pub busy: Nanos,
}

/// A wait for small steps.
struct Wait {
    span: Range<Nanos>,
    victim: Victim,
}

pub(super) fn of(chronology: &Chronology, threshold: Nanos, waits: &Readiness) -> Vec<Congestion> {
    let small = Occupancy::of(chronology, |step| step.duration <= threshold);
    let mut of_thread: Vec<Vec<Wait>> = chronology.threads.iter().map(|_| Vec::new()).collect();
    for (index, step) in chronology.steps.iter().enumerate() {
        let id = StepId(index as u32);
        let span = waits.since(id)..step.start;
        if span.end - span.start <= threshold || waits.carried_a_wake(id) {
            continue;
        }
        let waited = small.held(step.thread, &span);
        if waited > threshold {
            let victim = Victim { actor: step.actor, step: id, waited };
            of_thread[step.thread.index()].push(Wait { span, victim });
        }
    }
    let mut congestions = Vec::new();
    for (thread, mut of_thread) in of_thread.into_iter().enumerate() {
        of_thread.sort_by_key(|wait| wait.span.start);
        let overlapping = merged(of_thread);
        congestions.extend(overlapping.into_iter().map(|waits| shared(chronology, &small, thread, waits)));
    }
    let kept = starvation::victims_kept(congestions.len());
    for congestion in &mut congestions {
        congestion.victims.truncate(kept);
    }
    congestions.sort_by_key(|congestion| congestion.start);
    congestions
}

/// The waits, which are in order of their start, together with those that they overlap.
fn merged(waits: Vec<Wait>) -> Vec<Vec<Wait>> {
    let mut merged: Vec<Vec<Wait>> = Vec::new();
    let mut end = 0;
    for wait in waits {
        let until = wait.span.end;
        match merged.last_mut() {
            Some(last) if wait.span.start < end => last.push(wait),
            _ => merged.push(vec![wait]),
        }
        end = end.max(until);
    }
    merged
}

fn shared(chronology: &Chronology, small: &Occupancy, thread: usize, waits: Vec<Wait>) -> Congestion {
    let thread = ThreadId(thread as u32);
    let (start, end) = (waits[0].span.start, waits.iter().map(|wait| wait.span.end).max().unwrap_or(0));
    let steps = small.steps(thread, &(start..end));
    let mut shares: Vec<Share> = Vec::new();
    let mut known: HashMap<ActorId, usize> = HashMap::new();
    for id in steps {
        let step = &chronology.steps[id.index()];
        let share = *known.entry(step.actor).or_insert_with(|| {
            shares.push(Share { actor: step.actor, steps: 0, busy: 0 });
            shares.len() - 1
        });
        shares[share].steps += 1;
        shares[share].busy += step.end().min(end) - step.start.max(start);
    }
    shares.sort_by_key(|share| Reverse(share.busy));
    let mut victims: Vec<Victim> = waits.into_iter().map(|wait| wait.victim).collect();
    victims.sort_by_key(|victim| (Reverse(victim.waited), victim.step));
    Congestion {
        thread,
        start,
        duration: end - start,
        steps: steps.len(),
        busy: shares.iter().map(|share| share.busy).sum(),
        shares,
        victim_count: victims.len(),
        victims,
    }
}
