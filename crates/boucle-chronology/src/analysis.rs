//! What a recorded run means: who used the processor, who waited, and who starved whom.
//!
//! A starvation is a step longer than the threshold. Its victims are the actors of the same thread that were ready
//! while it ran; how long each of them waited for it is the overlap of its being ready with the step. Since when an
//! actor had been ready is not always what its step recorded, see [`Readiness`]. Where the step was, and what it did
//! there, is what a watchdog saw of it, see [`HeldPlace`].
//!
//! A step that was long only because the operating system gave its thread no processor is a *stall*: it has victims,
//! but nobody is to blame. Several steps below the threshold that together keep others waiting for longer than it are
//! a [`Congestion`]. What a program does that it hardly means to do is a [`Lint`].
//!
//! # Invariants
//!
//! * Starvations, stalls, congestions and lints are in order of start, and the victims of each with the longest wait
//!   first.
//! * An actor is a victim only of its own thread, never of itself while it runs, and only of the steps that began
//!   before its own.
//! * What became ready in the last moments of a long step did not starve: a wait of less than a hundredth of the
//!   threshold makes no victim. Otherwise each culprit's own done-callbacks would be its victims.
//! * Time and memory are bounded by the size of the chronology: of very many victims only those that waited longest
//!   are kept, and all are counted.

mod congestion;
mod lints;
mod occupancy;
mod places;
mod readiness;
mod starvation;

pub use congestion::{Congestion, Share};
pub use lints::{Lint, LintKind};
pub use places::HeldPlace;
pub use readiness::Readiness;
pub use starvation::{Culprit, Starvation, Victim};

use crate::model::{ActorId, ActorKind, Chronology, Nanos, StepId};
use std::collections::HashMap;

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
    /// The steps that were longer only because the operating system gave them no processor, ordered by start: nobody
    /// is to blame for them.
    pub stalls: Vec<Starvation>,
    /// Where many steps within the threshold together kept others waiting, ordered by start.
    pub congestions: Vec<Congestion>,
    /// What the program does that it hardly means to do, ordered by start.
    pub lints: Vec<Lint>,
    /// Since when the actor of each step had been ready.
    pub waits: Readiness,
    culprits: HashMap<StepId, Vec<Culprit>>,
    congested: HashMap<StepId, Nanos>,
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

impl Analysis {
    /// What `chronology` means if a step may hold the processor for `threshold`.
    pub fn of(chronology: &Chronology, threshold: Nanos) -> Analysis {
        let waits = Readiness::of(chronology, threshold);
        let (threads, actors) = usage(chronology, &waits);
        let busy = threads.iter().map(|thread| thread.busy).fold(0, Nanos::saturating_add);
        // An empty sum is -0.0.
        let utilisation = threads.iter().map(|thread| thread.utilisation).fold(0.0, |sum, one| sum + one);
        let utilisation = utilisation / threads.len().max(1) as f64;
        let (starvations, stalls) = starvation::of(chronology, threshold, &waits);
        let culprits = starvation::culprits(&starvations);
        let congestions = congestion::of(chronology, threshold, &waits);
        let victims = congestions.iter().flat_map(|congestion| &congestion.victims);
        let congested = victims.map(|victim| (victim.step, victim.waited)).collect();
        let lints = lints::of(chronology, threshold, &waits);
        Analysis {
            threshold,
            busy,
            utilisation,
            threads,
            actors,
            starvations,
            stalls,
            congestions,
            lints,
            waits,
            culprits,
            congested,
        }
    }

    /// For whom `step` had to wait, the longest wait first.
    pub fn culprits(&self, step: StepId) -> &[Culprit] {
        self.culprits.get(&step).map_or(&[], Vec::as_slice)
    }

    /// How long `step` had to wait for many small steps, if that was longer than the threshold.
    pub fn congested(&self, step: StepId) -> Option<Nanos> {
        self.congested.get(&step).copied()
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

    /// The starvation with the longest step: of those that differ by less than a hundredth, the first.
    pub fn longest_starvation(&self) -> Option<&Starvation> {
        let longest = self.starvations.iter().map(|starvation| starvation.duration).max()?;
        self.starvations.iter().find(|starvation| starvation.duration >= longest - longest / 100)
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

/// Whether `actor` is a task.
pub(crate) fn is_task(chronology: &Chronology, actor: ActorId) -> bool {
    chronology.actors[actor.index()].kind == ActorKind::Task
}

/// How many tasks ran at least one step.
pub(crate) fn task_count(chronology: &Chronology, analysis: &Analysis) -> usize {
    let ran = |(actor, usage): &(usize, &ActorUse)| usage.steps > 0 && is_task(chronology, ActorId(*actor as u32));
    analysis.actors.iter().enumerate().filter(ran).count()
}
