//! Since when the actor of each step had been ready.
//!
//! A step records when its actor was put into the ready queue. For a task that is often too late: asyncio wakes a
//! sleeping task by a timer *callback* that sets the result of a future, and only that result makes the task ready.
//! When the processor was held while the timer was due, the callback is late and the task seems to have waited for
//! nothing. The same holds for what a file descriptor, another thread or the end of a gathered task brings.
//!
//! So a callback that wakes a task *carries* the wake: the task has been ready since what made its carrier ready. A
//! carrier may itself have been woken by a carrier, as when a shielded future passes its result on.
//!
//! # Invariants
//!
//! * A carrier runs on the thread of its task and not longer than the threshold. A longer callback did work, and the
//!   task awaited its outcome. A callback that an earlier run of itself scheduled is a routine of its own: what woke
//!   that run woke no task.
//! * A task is not ready while it runs: it has been ready at the earliest since its step before ended.
//! * Chains are at most [`CARRIERS_MAX`] long, so that time is bounded; asyncio's own are shorter.

use super::is_task;
use crate::model::{Chronology, Nanos, Step, StepId, Wake};

/// How many callbacks one after the other are taken to carry one wake.
const CARRIERS_MAX: usize = 8;

/// Since when the actor of each step had been ready, and which steps only carried a wake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    since: Vec<Nanos>,
    carried: Vec<bool>,
}

impl Readiness {
    pub(super) fn of(chronology: &Chronology, threshold: Nanos) -> Readiness {
        let steps = &chronology.steps;
        let mut readiness = Readiness { since: Vec::with_capacity(steps.len()), carried: vec![false; steps.len()] };
        let mut ended = vec![0; chronology.actors.len()];
        for step in steps {
            let since = if is_task(chronology, step.actor) {
                let earliest = ended[step.actor.index()];
                ended[step.actor.index()] = step.end();
                readiness.follow_carriers(chronology, threshold, step).max(earliest)
            } else {
                step.ready_since()
            };
            readiness.since.push(since.min(step.start));
        }
        readiness
    }

    /// Since when the actor of `step` had been ready when the step began.
    pub fn since(&self, step: StepId) -> Nanos {
        self.since[step.index()]
    }

    /// Whether `step` is a callback that made a task ready: its wait is then told as the task's.
    pub fn carried_a_wake(&self, step: StepId) -> bool {
        self.carried[step.index()]
    }

    fn follow_carriers(&mut self, chronology: &Chronology, threshold: Nanos, task: &Step) -> Nanos {
        let mut woken = task;
        let mut since = task.ready_since();
        for _ in 0..CARRIERS_MAX {
            let Wake::Step(by) = woken.woken_by else { break };
            let carrier = &chronology.steps[by.index()];
            let did_work = is_task(chronology, carrier.actor) || carrier.duration > threshold;
            if did_work || carrier.actor == woken.actor || carrier.thread != task.thread {
                break;
            }
            self.carried[by.index()] = true;
            since = since.min(carrier.ready_since());
            woken = carrier;
        }
        since
    }
}
