//! The starvations seen so far, those too that have left the window.
//!
//! A starvation that goes on is seen anew in each snapshot, a little longer each time; when it has ended its victims
//! come to light one by one, as they run. So the newest look at one replaces the older looks. Two looks are at the same
//! starvation if they overlap in time on the same thread, since steps of one thread never do.

use std::collections::VecDeque;
use std::time::Duration;

use boucle_chronology::analysis::Starvation;
use boucle_chronology::{Analysis, Cause, Chronology, Nanos, Place, StepId, ThreadId, name};

use crate::source::{Condition, Snapshot};

/// How many are kept.
const KEPT: usize = 1000;
/// How many victims are kept by name.
const VICTIMS_KEPT: usize = 20;

/// A step over the threshold, in words of its own: the chronology it was seen in is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The thread it ran in.
    pub thread: String,
    /// When it began, in the source's time.
    pub start: Nanos,
    /// How long it held the processor, up to now if it still does.
    pub duration: Nanos,
    /// Whether it still does.
    pub counting: bool,
    /// The name of the task, as it may be shown.
    pub task: String,
    /// Its coroutine.
    pub coroutine: String,
    /// Where it held the processor; where nobody looked, the line from which it went on.
    pub place: Option<Place>,
    /// What held it; `None` where nobody looked.
    pub cause: Option<Cause>,
    /// What it waited for, if known.
    pub detail: String,
    /// The frames, innermost first, as they were seen last.
    pub stack: Vec<Place>,
    /// Who was ready and had to wait, and how long: the longest first.
    pub victims: Vec<(String, Nanos)>,
    /// How many had to wait.
    pub victim_count: usize,
}

impl Incident {
    /// When it ended, or was seen last.
    pub fn end(&self) -> Nanos {
        self.start + self.duration
    }

    /// Whether somebody looked where it held the processor.
    pub fn was_looked_at(&self) -> bool {
        !self.stack.is_empty()
    }
}

/// The starvations of a process, the oldest first.
#[derive(Debug, Default)]
pub struct Incidents {
    all: VecDeque<Incident>,
}

impl Incidents {
    /// Adds what a snapshot shows.
    pub fn update(&mut self, snapshot: &Snapshot, analysis: &Analysis) {
        for incident in &mut self.all {
            incident.counting = false;
        }
        for starvation in &analysis.starvations {
            let seen = incident(snapshot, starvation);
            let same =
                |known: &Incident| known.thread == seen.thread && known.start < seen.end() && seen.start < known.end();
            match self.all.iter_mut().rev().find(|known| same(known)) {
                Some(known) => *known = seen,
                None => self.all.push_back(seen),
            }
        }
        while self.all.len() > KEPT {
            self.all.pop_front();
        }
    }

    /// All of them, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Incident> {
        self.all.iter().rev()
    }

    /// The one at a position of [`newest_first`](Self::newest_first).
    pub fn get(&self, position: usize) -> Option<&Incident> {
        self.newest_first().nth(position)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The one that goes on, if one does: the longest of several.
    pub fn counting(&self) -> Option<&Incident> {
        self.all.iter().filter(|incident| incident.counting).max_by_key(|incident| incident.duration)
    }

    /// How far a snapshot has to reach back to show the whole of what goes on.
    pub fn reach(&self, now: Nanos) -> Duration {
        Duration::from_nanos(self.counting().map_or(0, |incident| now.saturating_sub(incident.start)))
    }
}

fn incident(snapshot: &Snapshot, starvation: &Starvation) -> Incident {
    let chronology = &snapshot.chronology;
    let culprit = &chronology.actors[starvation.actor.index()];
    let counting = snapshot.runs(starvation.step) && snapshot.condition != Condition::Ended;
    let sample = chronology.samples.iter().rfind(|sample| sample.step == starvation.step);
    let step = &chronology.steps[starvation.step.index()];
    let stack = sample.map_or(&[][..], |sample| &sample.stack);
    let mut victims: Vec<_> = starvation.victims.iter().map(|victim| (victim.actor, victim.waited)).collect();
    let mut victim_count = starvation.victim_count;
    if counting {
        // Its victims have not run yet, so that no step tells of them.
        for &(actor, since) in &snapshot.waiting {
            victims.push((actor, chronology.duration.saturating_sub(since.max(starvation.start))));
            victim_count += 1;
        }
        victims.sort_by_key(|&(actor, waited)| (std::cmp::Reverse(waited), actor));
        victim_count = victim_count.max(snapshot.ready.unwrap_or(0) as usize);
    }
    victims.truncate(VICTIMS_KEPT);
    Incident {
        thread: thread(chronology, step.thread),
        start: snapshot.moment(starvation.start),
        duration: starvation.duration,
        counting,
        task: name::shown(&culprit.name),
        coroutine: name::shown(&culprit.function),
        place: place(chronology, starvation.step),
        cause: sample.map(|sample| sample.cause),
        detail: sample.map_or_else(String::new, |sample| name::escaped(&sample.detail)),
        stack: stack.iter().map(|place| chronology.places[place.index()].clone()).collect(),
        victims: victims.into_iter().map(|(actor, waited)| (shown(chronology, actor), waited)).collect(),
        victim_count,
    }
}

fn shown(chronology: &Chronology, actor: boucle_chronology::ActorId) -> String {
    name::shown(&chronology.actors[actor.index()].name)
}

fn thread(chronology: &Chronology, thread: ThreadId) -> String {
    name::shown(&chronology.threads[thread.index()].name)
}

/// Where a step held the processor: where it resumed.
fn place(chronology: &Chronology, step: StepId) -> Option<Place> {
    let resumed = chronology.steps[step.index()].resumed?;
    Some(chronology.places[resumed.index()].clone())
}
