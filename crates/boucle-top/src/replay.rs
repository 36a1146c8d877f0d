//! A recording as a source: played again at the speed at which it happened.
//!
//! A cut through a recording shows what a viewer would have seen then: the step that ran is cut where the look was
//! taken, and those that were ready are known, since the recording tells when they ran.

use std::time::Duration;

use boucle_chronology::analysis::Readiness;
use boucle_chronology::{Analysis, Chronology, Left, Nanos, Sample, Step, StepId, Wake};
use boucle_core::clock::Tick;

use crate::source::{Condition, Snapshot, Source, SourceError};

/// A recording that is played.
#[derive(Debug)]
pub struct Replay {
    recording: Chronology,
    /// Since when the actor of each step had been ready.
    waits: Readiness,
    /// When it began to play; `None` if only its end is looked at.
    began: Option<Tick>,
}

impl Replay {
    /// Plays a recording that passes [`Chronology::check`], from now on. A step longer than `threshold` starves others.
    pub fn from_now(recording: Chronology, threshold: Nanos) -> Self {
        Self { began: Some(Tick::now()), ..Self::at_its_end(recording, threshold) }
    }

    /// The whole of a recording, as it was at its end.
    pub fn at_its_end(recording: Chronology, threshold: Nanos) -> Self {
        let waits = Analysis::of(&recording, threshold).waits;
        Self { recording, waits, began: None }
    }

    /// What a viewer would have seen at `now` of the time since `from`, and of the steps that lie partly in it.
    pub fn cut(&self, from: Nanos, now: Nanos) -> Snapshot {
        cut(&self.recording, &self.waits, from, now)
    }
}

impl Source for Replay {
    fn snapshot(&mut self, window: Duration) -> Result<Snapshot, SourceError> {
        let duration = self.recording.duration;
        let Some(began) = self.began else { return Ok(self.cut(0, duration)) };
        let now = Nanos::try_from(began.until(Tick::now()).as_nanos()).unwrap_or(duration).min(duration);
        let window = Nanos::try_from(window.as_nanos()).unwrap_or(Nanos::MAX);
        Ok(self.cut(now.saturating_sub(window), now))
    }
}

fn cut(recording: &Chronology, waits: &Readiness, from: Nanos, now: Nanos) -> Snapshot {
    let lies_within = |step: &Step| step.end() > from && step.start < now;
    let first = recording.steps.iter().filter(|step| lies_within(step)).map(|step| step.start).min();
    let from = first.map_or(from, |first| first.min(from)).min(now);
    let mut snapshot = Snapshot {
        now,
        condition: if now == recording.duration { Condition::Ended } else { Condition::Alive },
        chronology: Chronology {
            program: recording.program.clone(),
            recorded_by: recording.recorded_by.clone(),
            duration: now - from,
            threads: recording.threads.clone(),
            places: recording.places.clone(),
            actors: recording.actors.clone(),
            lost: recording.lost,
            ..Chronology::default()
        },
        ..Snapshot::default()
    };
    let mut ids = vec![None; recording.steps.len()];
    for (index, step) in recording.steps.iter().enumerate() {
        if lies_within(step) {
            ids[index] = Some(keep(step, from, now, &ids, &mut snapshot));
        } else if step.start >= now && !waits.carried_a_wake(StepId(index as u32)) {
            let since = waits.since(StepId(index as u32));
            if since < now {
                snapshot.waiting.push((step.actor, since.max(from) - from));
            }
        }
    }
    snapshot.ready = Some(snapshot.waiting.len() as u64);
    for sample in &recording.samples {
        if let (Some(step), true) = (ids[sample.step.index()], sample.at <= now) {
            snapshot.chronology.samples.push(Sample { step, at: sample.at - from, ..sample.clone() });
        }
    }
    snapshot
}

/// Adds a step, cut where the look was taken. Returns its number.
fn keep(step: &Step, from: Nanos, now: Nanos, ids: &[Option<StepId>], snapshot: &mut Snapshot) -> StepId {
    let id = StepId(snapshot.chronology.steps.len() as u32);
    let runs = step.end() > now;
    if runs {
        snapshot.running.push(id);
    }
    snapshot.chronology.steps.push(Step {
        start: step.start - from,
        duration: step.duration.min(now - step.start),
        left: if runs { Left::Unknown } else { step.left },
        woken_by: match step.woken_by {
            Wake::Step(by) => ids[by.index()].map_or(Wake::Unknown, Wake::Step),
            other => other,
        },
        ..step.clone()
    });
    id
}
