//! What a recorded run means: who used the processor, who waited, and who starved whom.
//!
//! A starvation is a step longer than the threshold. Its victims are the actors of the same thread that were ready
//! while it ran; how long each of them waited for it is the overlap of its being ready with the step. Since when an
//! actor had been ready is not always what its step recorded, see [`Readiness`].
//!
//! # Invariants
//!
//! * Starvations are in order of start, and the victims of each with the longest wait first.
//! * An actor is a victim only of its own thread, never of itself while it runs, and only of the steps that began
//!   before its own.
//! * What became ready in the last moments of a long step did not starve: a wait of less than a hundredth of the
//!   threshold makes no victim. Otherwise each culprit's own done-callbacks would be its victims.
//! * Time and memory are bounded by the size of the chronology: of very many victims only those that waited longest
//!   are kept, and all are counted.
//!
//! Blame for many small steps that together kept others waiting is not assigned here; [`Analysis::waits`] has what it
//! takes.

mod readiness;

pub use readiness::Readiness;

use crate::model::{ActorId, ActorKind, Chronology, Nanos, StepId};
use std::collections::HashMap;

/// How many victims are kept in all, as long as each starvation can keep [`VICTIMS_EACH`].
const VICTIMS_IN_ALL: usize = 1_000_000;
/// How many victims each starvation keeps at least.
const VICTIMS_EACH: usize = 5;
/// The part of the threshold below which a wait makes no victim.
const NEGLIGIBLE: Nanos = 100;

/// What a recorded run means.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// A longer step is a starvation.
    pub threshold: Nanos,
    /// How long steps held the processor, all threads together.
    pub busy: Nanos,
    /// The part of the recording in which a thread was in a step, the mean of all threads; from 0 to 1.
    pub utilisation: f64,
    /// By thread, how it was used.
    pub threads: Vec<ThreadUse>,
    /// By actor, what it did and how it waited.
    pub actors: Vec<ActorUse>,
    /// The steps longer than the threshold, ordered by start.
    pub starvations: Vec<Starvation>,
    /// Since when the actor of each step had been ready.
    pub waits: Readiness,
    culprits: HashMap<StepId, Vec<Culprit>>,
}

/// How one thread was used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ThreadUse {
    /// How long it was in steps.
    pub busy: Nanos,
    /// The part of the recording in which it was in a step, from 0 to 1.
    pub utilisation: f64,
}

/// What one actor did and how it waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActorUse {
    /// How many steps it ran.
    pub steps: usize,
    /// How long it held the processor.
    pub busy: Nanos,
    /// Its longest step.
    pub longest_step: Nanos,
    /// How long it was ready without running.
    pub waited: Nanos,
    /// The longest of these waits.
    pub longest_wait: Nanos,
}

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
    /// The index of the starvation in [`Analysis::starvations`].
    pub starvation: usize,
    /// How long the step had to wait for it.
    pub waited: Nanos,
}

impl Analysis {
    /// What `chronology` means if a step may hold the processor for `threshold`.
    pub fn of(chronology: &Chronology, threshold: Nanos) -> Analysis {
        let waits = Readiness::of(chronology, threshold);
        let (threads, actors) = usage(chronology, &waits);
        let busy = threads.iter().map(|thread| thread.busy).fold(0, Nanos::saturating_add);
        let utilisation = threads.iter().map(|thread| thread.utilisation).sum::<f64>() / threads.len().max(1) as f64;
        let starvations = starvations(chronology, threshold, &waits);
        let culprits = culprits(&starvations);
        Analysis { threshold, busy, utilisation, threads, actors, starvations, waits, culprits }
    }

    /// For whom `step` had to wait, the longest wait first.
    pub fn culprits(&self, step: StepId) -> &[Culprit] {
        self.culprits.get(&step).map_or(&[], Vec::as_slice)
    }

    /// The starvation whose culprit is `step`.
    pub fn starvation_by(&self, step: StepId) -> Option<&Starvation> {
        let index = self.starvations.binary_search_by_key(&step, |starvation| starvation.step).ok()?;
        self.starvations.get(index)
    }

    /// How long culprits held the processor, all together.
    pub fn starved_time(&self) -> Nanos {
        self.starvations.iter().map(|starvation| starvation.duration).fold(0, Nanos::saturating_add)
    }

    /// The starvation with the longest step.
    pub fn longest_starvation(&self) -> Option<&Starvation> {
        // The first of equals: `max_by_key` would take the last.
        self.starvations.iter().rev().max_by_key(|starvation| starvation.duration)
    }
}

fn usage(chronology: &Chronology, waits: &Readiness) -> (Vec<ThreadUse>, Vec<ActorUse>) {
    let mut threads = vec![ThreadUse::default(); chronology.threads.len()];
    let mut actors = vec![ActorUse::default(); chronology.actors.len()];
    for (index, step) in chronology.steps.iter().enumerate() {
        threads[step.thread.index()].busy += step.duration;
        let waited = step.start - waits.since(StepId(index as u32));
        let actor = &mut actors[step.actor.index()];
        actor.steps += 1;
        actor.busy = actor.busy.saturating_add(step.duration);
        actor.longest_step = actor.longest_step.max(step.duration);
        actor.waited = actor.waited.saturating_add(waited);
        actor.longest_wait = actor.longest_wait.max(waited);
    }
    for thread in &mut threads {
        thread.utilisation = thread.busy as f64 / chronology.duration.max(1) as f64;
    }
    (threads, actors)
}

fn starvations(chronology: &Chronology, threshold: Nanos, waits: &Readiness) -> Vec<Starvation> {
    let mut starvations = Vec::new();
    // By thread, its starvations as indices into the list of all.
    let mut of_thread: Vec<Vec<usize>> = vec![Vec::new(); chronology.threads.len()];
    for (index, step) in chronology.steps.iter().enumerate() {
        if step.duration > threshold {
            of_thread[step.thread.index()].push(starvations.len());
            starvations.push(Starvation {
                step: StepId(index as u32),
                actor: step.actor,
                start: step.start,
                duration: step.duration,
                victims: Vec::new(),
                victim_count: 0,
            });
        }
    }
    let kept = (VICTIMS_IN_ALL / starvations.len().max(1)).max(VICTIMS_EACH);
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

fn culprits(starvations: &[Starvation]) -> HashMap<StepId, Vec<Culprit>> {
    let mut culprits: HashMap<StepId, Vec<Culprit>> = HashMap::new();
    for (index, starvation) in starvations.iter().enumerate() {
        for victim in &starvation.victims {
            let culprit = Culprit { starvation: index, waited: victim.waited };
            culprits.entry(victim.step).or_default().push(culprit);
        }
    }
    for culprits in culprits.values_mut() {
        culprits.sort_by_key(|culprit| std::cmp::Reverse(culprit.waited));
    }
    culprits
}

impl Starvation {
    /// When it ended.
    pub fn end(&self) -> Nanos {
        self.start + self.duration
    }

    fn add(&mut self, victim: Victim, kept: usize) {
        self.victim_count += 1;
        self.victims.push(victim);
        if self.victims.len() >= 2 * kept {
            self.keep_longest_waits(kept);
        }
    }

    fn keep_longest_waits(&mut self, kept: usize) {
        self.victims.sort_unstable_by_key(|victim| (std::cmp::Reverse(victim.waited), victim.step));
        self.victims.truncate(kept);
    }
}

/// Whether `actor` is a task.
pub(crate) fn is_task(chronology: &Chronology, actor: ActorId) -> bool {
    chronology.actors[actor.index()].kind == ActorKind::Task
}

/// How many tasks ran at least one step.
pub(crate) fn task_count(chronology: &Chronology, analysis: &Analysis) -> usize {
    let ran = |(actor, usage): &(usize, &ActorUse)| usage.steps > 0 && is_task(chronology, ActorId(*actor as u32));
    analysis.actors.iter().enumerate().filter(ran).count()
}
