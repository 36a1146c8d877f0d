//! The starvations seen so far, those too that have left the window.
//!
//! A starvation that goes on is seen anew in each snapshot, a little longer each time; when it has ended its victims
//! come to light one by one, as they run. So the newest look at one replaces the older looks. Two looks are at the same
//! starvation if they overlap in time on the same thread, since steps of one thread never do.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use boucle_chronology::analysis::{Congestion, HeldPlace, Starvation};
use boucle_chronology::{ActorId, Analysis, Cause, Chronology, Nanos, Origin, Place, PlaceId, ThreadId, advice, name};

use crate::source::{Condition, Snapshot};

/// How many are kept.
const KEPT: usize = 1000;
/// Those who had to wait run one after the other when it is over. So soon after it nobody may have run yet.
const SETTLING: Nanos = 20_000_000;
/// How many victims are kept by name.
const VICTIMS_KEPT: usize = 20;

/// What kept others waiting for longer than the threshold, in words of its own: the chronology it was seen in is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The thread it happened in.
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
    /// 0 for one long step. Otherwise so many small steps, of which this task had the largest share.
    pub small_steps: usize,
    /// Where it held the processor, the longest first. Empty for small steps.
    pub spots: Vec<Spot>,
    /// Who was ready and had to wait, and how long: the longest first.
    pub victims: Vec<(String, Nanos)>,
    /// How many had to wait.
    pub victim_count: usize,
}

/// Where a step held the processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The line; where nobody `looked`, the one from which the step went on.
    pub place: Option<Place>,
    /// Whether a watchdog looked.
    pub looked: bool,
    /// How long it was there.
    pub held: Nanos,
    /// What it did there.
    pub cause: Cause,
    /// What it waited for, if known.
    pub detail: String,
    /// The frames, innermost first.
    pub stack: Vec<Place>,
}

impl Incident {
    /// When it ended, or was seen last.
    pub fn end(&self) -> Nanos {
        self.start + self.duration
    }

    /// Whether it is over for so long that those who had to wait are known.
    pub fn is_settled(&self, now: Nanos) -> bool {
        !self.counting && (self.victim_count > 0 || now > self.end() + SETTLING)
    }

    /// Where it held the processor for longest.
    pub fn spot(&self) -> Option<&Spot> {
        self.spots.first()
    }

    /// What held the processor, in a word or three.
    pub fn cause(&self) -> Option<&'static str> {
        match self.spot() {
            None => Some("many small steps"),
            Some(spot) => (spot.cause != Cause::Unknown).then(|| spot.cause.word()),
        }
    }
}

impl Spot {
    /// What helps.
    pub fn advice(&self) -> Option<&'static str> {
        let innermost = self.stack.first().filter(|place| place.origin == Origin::Library);
        advice::of(self.cause, &self.detail, innermost.map_or("", |place| &place.function))
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
        self.end();
        let long = analysis.starvations.iter().chain(&analysis.stalls).map(|long| of_a_step(snapshot, long));
        let small = analysis.congestions.iter().map(|small| of_small_steps(snapshot, small));
        let mut seen: Vec<_> = long.chain(small).collect();
        seen.sort_by_key(|incident| incident.start);
        for seen in seen {
            match self.all.iter_mut().rev().find(|known| known.is(&seen)) {
                Some(known) => *known = seen,
                None => self.all.push_back(seen),
            }
        }
        while self.all.len() > KEPT {
            self.all.pop_front();
        }
    }

    /// Nothing goes on any more, as far as it is known.
    pub fn end(&mut self) {
        for incident in &mut self.all {
            incident.counting = false;
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

impl Incident {
    /// Whether both are looks at the same thing.
    fn is(&self, other: &Self) -> bool {
        let kind = |incident: &Self| incident.small_steps > 0;
        self.thread == other.thread && kind(self) == kind(other) && self.start < other.end() && other.start < self.end()
    }
}

fn of_a_step(snapshot: &Snapshot, starvation: &Starvation) -> Incident {
    let chronology = &snapshot.chronology;
    let culprit = &chronology.actors[starvation.actor.index()];
    let counting = snapshot.runs(starvation.step) && snapshot.condition != Condition::Ended;
    let mut victims: Vec<_> = starvation.victims.iter().map(|victim| (victim.actor, victim.waited)).collect();
    let mut victim_count = starvation.victim_count;
    if counting {
        // Its victims have not run yet, so that no step tells of them.
        for &(actor, since) in &snapshot.waiting {
            victims.push((actor, chronology.duration.saturating_sub(since.max(starvation.start))));
            victim_count += 1;
        }
        victims.sort_by_key(|&(actor, waited)| (Reverse(waited), actor));
        victim_count = victim_count.max(snapshot.ready.unwrap_or(0) as usize);
    }
    Incident {
        thread: thread(chronology, chronology.steps[starvation.step.index()].thread),
        start: snapshot.moment(starvation.start),
        duration: starvation.duration,
        counting,
        task: name::shown(&culprit.name),
        coroutine: name::shown(&culprit.function),
        small_steps: 0,
        spots: starvation.places.iter().map(|held| spot(chronology, held)).collect(),
        victims: named(chronology, victims.into_iter()),
        victim_count,
    }
}

fn of_small_steps(snapshot: &Snapshot, congestion: &Congestion) -> Incident {
    let chronology = &snapshot.chronology;
    let culprit = congestion.shares.first().map(|share| &chronology.actors[share.actor.index()]);
    Incident {
        thread: thread(chronology, congestion.thread),
        start: snapshot.moment(congestion.start),
        duration: congestion.duration,
        counting: false,
        task: culprit.map_or_else(String::new, |culprit| name::shown(&culprit.name)),
        coroutine: culprit.map_or_else(String::new, |culprit| name::shown(&culprit.function)),
        small_steps: congestion.steps,
        spots: Vec::new(),
        victims: named(chronology, congestion.victims.iter().map(|victim| (victim.actor, victim.waited))),
        victim_count: congestion.victim_count,
    }
}

fn spot(chronology: &Chronology, held: &HeldPlace) -> Spot {
    let place = |id: &PlaceId| chronology.places[id.index()].clone();
    Spot {
        place: held.place.as_ref().map(place),
        looked: held.seen,
        held: held.held,
        cause: held.cause,
        detail: name::escaped(&held.detail),
        stack: held.stack.iter().map(place).collect(),
    }
}

fn named(chronology: &Chronology, victims: impl Iterator<Item = (ActorId, Nanos)>) -> Vec<(String, Nanos)> {
    victims.take(VICTIMS_KEPT).map(|(actor, waited)| (shown(chronology, actor), waited)).collect()
}

fn shown(chronology: &Chronology, actor: ActorId) -> String {
    name::shown(&chronology.actors[actor.index()].name)
}

fn thread(chronology: &Chronology, thread: ThreadId) -> String {
    name::shown(&chronology.threads[thread.index()].name)
}
