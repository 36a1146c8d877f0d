//! Steps longer than the threshold: who held the processor, and who had to wait for it.

use super::places::{self, HeldPlace};
use super::readiness::Readiness;
use crate::model::{ActorId, Cause, Chronology, Nanos, StepId};
use std::cmp::Reverse;
use std::collections::HashMap;

/// How many victims are kept in all, as long as each starvation can keep [`VICTIMS_EACH`].
const VICTIMS_IN_ALL: usize = 1_000_000;
/// How many victims each starvation keeps at least.
const VICTIMS_EACH: usize = 5;
/// The part of the threshold below which a wait makes no victim.
const NEGLIGIBLE: Nanos = 100;

/// A step longer than the threshold: the culprit, and its victims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Starvation {
    /// The step that held the processor.
    pub step: StepId,
    /// Who ran it.
    pub actor: ActorId,
    /// When it began.
    pub start: Nanos,
    /// How long it held the processor.
    pub duration: Nanos,
    /// What it did at the first of its places; unknown where no watchdog saw it, and no processor for a stall alone.
    pub cause: Cause,
    /// Where it spent its time. There is at least one place, and the first is the culprit's: where it held the
    /// processor for longest.
    pub places: Vec<HeldPlace>,
    /// For how long of that time it was seen without a processor.
    pub withheld: Nanos,
    /// Those that were ready and had to wait, the longest wait first. Not all where there are very many.
    pub victims: Vec<Victim>,
    /// How many had to wait.
    pub victim_count: usize,
}

/// An actor that was ready while a culprit held the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Who had to wait.
    pub actor: ActorId,
    /// The step that could not begin.
    pub step: StepId,
    /// How long it waited for this culprit.
    pub waited: Nanos,
}

/// For whom a step had to wait: the other side of a [`Victim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The index of the starvation in [`Analysis::starvations`](super::Analysis::starvations).
    pub starvation: usize,
    /// How long the step had to wait for it.
    pub waited: Nanos,
}

/// The starvations, and the stalls: steps that a watchdog only saw without a processor. It takes care of the others: as
/// long as a step has not had a processor for longer than the threshold, it is not seen with one.
pub(super) fn of(chronology: &Chronology, threshold: Nanos, waits: &Readiness) -> (Vec<Starvation>, Vec<Starvation>) {
    long_steps(chronology, threshold, waits).into_iter().partition(|long| long.cause != Cause::NoProcessor)
}

/// How many victims each of `number` culprits keeps.
pub(super) fn victims_kept(number: usize) -> usize {
    (VICTIMS_IN_ALL / number.max(1)).max(VICTIMS_EACH)
}

fn long_steps(chronology: &Chronology, threshold: Nanos, waits: &Readiness) -> Vec<Starvation> {
    let mut starvations = Vec::new();
    // By thread, its starvations as indices into the list of all.
    let mut of_thread: Vec<Vec<usize>> = vec![Vec::new(); chronology.threads.len()];
    for (index, step) in chronology.steps.iter().enumerate() {
        if step.duration > threshold {
            of_thread[step.thread.index()].push(starvations.len());
            starvations.push(Starvation::without_victims(chronology, StepId(index as u32)));
        }
    }
    let kept = victims_kept(starvations.len());
    let least = (threshold / NEGLIGIBLE).max(1);
    for (index, step) in chronology.steps.iter().enumerate() {
        let id = StepId(index as u32);
        if waits.carried_a_wake(id) {
            continue;
        }
        let since = waits.since(id);
        let of_thread = &of_thread[step.thread.index()];
        let first = of_thread.partition_point(|&culprit| starvations[culprit].end() <= since);
        for &culprit in &of_thread[first..] {
            let culprit = &mut starvations[culprit];
            if culprit.start >= step.start {
                break;
            }
            let waited = culprit.end().min(step.start) - culprit.start.max(since);
            if waited >= least {
                culprit.add(Victim { actor: step.actor, step: id, waited }, kept);
            }
        }
    }
    for starvation in &mut starvations {
        starvation.keep_longest_waits(kept);
    }
    starvations
}

/// By step, for whom it had to wait.
pub(super) fn culprits(starvations: &[Starvation]) -> HashMap<StepId, Vec<Culprit>> {
    let mut culprits: HashMap<StepId, Vec<Culprit>> = HashMap::new();
    for (index, starvation) in starvations.iter().enumerate() {
        for victim in &starvation.victims {
            let culprit = Culprit { starvation: index, waited: victim.waited };
            culprits.entry(victim.step).or_default().push(culprit);
        }
    }
    for culprits in culprits.values_mut() {
        culprits.sort_by_key(|culprit| Reverse(culprit.waited));
    }
    culprits
}

impl Starvation {
    /// When it ended.
    pub fn end(&self) -> Nanos {
        self.start + self.duration
    }

    /// The place at which it held the processor for longest.
    pub fn place(&self) -> &HeldPlace {
        &self.places[0]
    }

    /// Whether a watchdog saw what it did. If not, its only place is where it resumed.
    pub fn seen(&self) -> bool {
        self.cause != Cause::Unknown || self.places.iter().any(|place| place.seen)
    }

    fn without_victims(chronology: &Chronology, id: StepId) -> Starvation {
        let step = &chronology.steps[id.index()];
        let places = places::of(chronology, id);
        let withheld = places.iter().map(|place| place.withheld).sum();
        Starvation {
            step: id,
            actor: step.actor,
            start: step.start,
            duration: step.duration,
            cause: places[0].cause,
            places,
            withheld,
            victims: Vec::new(),
            victim_count: 0,
        }
    }

    fn add(&mut self, victim: Victim, kept: usize) {
        self.victim_count += 1;
        self.victims.push(victim);
        if self.victims.len() >= 2 * kept {
            self.keep_longest_waits(kept);
        }
    }

    fn keep_longest_waits(&mut self, kept: usize) {
        self.victims.sort_unstable_by_key(|victim| (Reverse(victim.waited), victim.step));
        self.victims.truncate(kept);
    }
}
