//! From rings to a chronology: sorts the steps of all threads into one run and gives numbers their meaning.
//!
//! # Invariants
//!
//! * A sample belongs to a step that is in the result, and lies within it.
//! * The result passes [`Chronology::check`]: steps are in order, those of a thread do not overlap (a duration is
//!   rounded to 24 bits, so it is cut where the next step begins), and no step is woken by a later one.

use std::collections::HashMap;

use boucle_chronology::{
    Actor, ActorId, Chronology, Left, Nanos, Place, PlaceId, Sample, Step, StepId, Thread, ThreadId, Wake,
};

use super::live::Running;
use super::ring::{RawStep, Reading, Whereabouts, WokenBy};
use super::rings::{Owner, ThreadRing};
use super::samples::RawSample;
use crate::clock::{Scale, Stamp};

/// What a face knows about the numbers it gave out.
pub trait Names {
    /// The actor with this number, without its parent.
    fn actor(&mut self, actor: u32) -> Actor;
    /// Where an actor's code begins.
    fn start(&mut self, actor: u32) -> Option<Place>;
    /// The place at an offset of a code.
    fn place(&mut self, code: u32, offset: u32) -> Option<Place>;
}

/// From where on to read each ring.
#[derive(Clone, Debug)]
pub struct Start {
    /// When the recording began.
    pub at: Stamp,
    /// The head of each ring that existed then, by the ring's address.
    heads: HashMap<usize, u64>,
}

impl Start {
    /// Begins a recording now.
    pub fn now() -> Self {
        let heads = super::rings::all().iter().map(|ring| (address(ring), ring.ring.head())).collect();
        Self { at: Stamp::now(), heads }
    }
}

fn address(ring: &std::sync::Arc<ThreadRing>) -> usize {
    std::sync::Arc::as_ptr(ring) as usize
}

/// Steps by their ring and the low half of their sequence number.
type StepIds = HashMap<(u32, u32), StepId>;

/// A step on its way: which ring and thread it came from.
struct Gathered {
    raw: RawStep,
    ring: u32,
    sequence: u64,
    thread: ThreadId,
}

/// The run between `start` and `end`, in every thread. `names` gives the numbers their meaning; `program` and
/// `recorded_by` are the chronology's.
pub fn chronicle(
    start: &Start,
    end: Stamp,
    names: &mut impl Names,
    program: String,
    recorded_by: String,
) -> Chronology {
    let scale = Scale::measure();
    let strand = |ring: std::sync::Arc<ThreadRing>| {
        let from = start.heads.get(&address(&ring)).copied().unwrap_or(0);
        Strand { reading: ring.ring.read(from), owners: ring.owners(), running: None, before: None }
    };
    let strands = super::rings::all().into_iter().map(strand).collect();
    let identity = Chronology { program, recorded_by, ..Chronology::default() };
    weave(Window { start: start.at, end, scale }, strands, super::samples::all(), names, identity)
}

/// What was read of one ring.
pub(super) struct Strand {
    pub(super) reading: Reading,
    pub(super) owners: Vec<Owner>,
    /// The step that has not returned, if it is to be shown as one that ends at the end.
    pub(super) running: Option<Running>,
    /// The step before of the same actor: where it left, the running one resumed.
    pub(super) before: Option<RawStep>,
}

/// The time that is shown.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) start: Stamp,
    pub(super) end: Stamp,
    pub(super) scale: Scale,
}

/// One run of several strands. `identity` is a chronology that says what ran and what recorded it.
pub(super) fn weave(
    window: Window,
    strands: Vec<Strand>,
    samples: Vec<RawSample>,
    names: &mut impl Names,
    identity: Chronology,
) -> Chronology {
    let Window { start, end, scale } = window;
    let mut chronology = Chronology { duration: scale.nanos(end.since(start) as f64), ..identity };
    let mut gathered = Vec::new();
    let mut before = Vec::new();
    for (number, strand) in strands.into_iter().enumerate() {
        before.extend(strand.before.filter(|step| step.start < start));
        gather(number as u32, strand, window, &mut chronology, &mut gathered);
    }
    gathered.sort_by_key(|step| step.raw.start);

    let mut meaning = Meaning {
        names,
        actors: HashMap::new(),
        places: HashMap::new(),
        starts: HashMap::new(),
        left_at: HashMap::new(),
    };
    for step in before {
        meaning.course(&step, &mut chronology.places);
    }
    let mut ids = StepIds::with_capacity(gathered.len());
    for step in &gathered {
        let id = StepId(chronology.steps.len() as u32);
        let woken_by = wake(step, &ids);
        let actor = meaning.actor(step.raw.actor, &mut chronology);
        if let (None, Wake::Step(by), true) =
            (chronology.actors[actor.index()].parent, woken_by, step.raw.whereabouts.is_first())
        {
            let parent = chronology.steps[by.index()].actor;
            if parent != actor {
                chronology.actors[actor.index()].parent = Some(parent);
            }
        }
        let (resumed, left) = meaning.course(&step.raw, &mut chronology.places);
        let nanos = |stamps: f32| scale.nanos(f64::from(stamps));
        chronology.steps.push(Step {
            thread: step.thread,
            actor,
            start: scale.nanos(step.raw.start.since(start) as f64),
            duration: nanos(step.raw.duration),
            waited: nanos(step.raw.waited),
            woken_by,
            resumed,
            left,
        });
        ids.insert((step.ring, step.sequence as u32), id);
    }
    cut_overlaps(&mut chronology);
    add_samples(&mut chronology, samples, window, &ids);
    chronology
}

/// Takes the steps of a strand that are within the window, and names their threads.
fn gather(number: u32, strand: Strand, window: Window, chronology: &mut Chronology, gathered: &mut Vec<Gathered>) {
    let Strand { reading, owners, running, .. } = strand;
    chronology.lost = chronology.lost.saturating_add(reading.lost);
    let running = running.map(|running| unfinished(running, window.end));
    let mut threads: HashMap<usize, ThreadId> = HashMap::new();
    for (index, raw) in reading.steps.into_iter().chain(running).enumerate() {
        let sequence = reading.first.wrapping_add(index as u64);
        if raw.start < window.start || raw.start > window.end {
            continue;
        }
        // The last owner that had begun by then.
        let owner = owners.partition_point(|owner| owner.from <= sequence).saturating_sub(1);
        let thread = *threads.entry(owner).or_insert_with(|| {
            let name = owners.get(owner).map_or_else(String::new, |owner| owner.name.clone());
            chronology.threads.push(Thread { name });
            ThreadId(chronology.threads.len() as u32 - 1)
        });
        gathered.push(Gathered { raw, ring: number, sequence, thread });
    }
}

/// A step that has not returned, as if it did at `end`.
fn unfinished(running: Running, end: Stamp) -> RawStep {
    RawStep {
        start: running.start,
        duration: end.since(running.start) as f32,
        waited: 0.0,
        actor: running.actor,
        woken_by: WokenBy::UNKNOWN,
        code: super::directory::UNKNOWN_CODE,
        whereabouts: Whereabouts::UNKNOWN,
    }
}

/// What woke a step: an earlier step of the same ring is named by the low half of its sequence number.
fn wake(step: &Gathered, ids: &StepIds) -> Wake {
    match step.raw.woken_by {
        WokenBy::TIMER => Wake::Timer,
        WokenBy::IO => Wake::Io,
        WokenBy::THREAD => Wake::Thread,
        WokenBy::UNKNOWN => Wake::Unknown,
        WokenBy(sequence) => ids.get(&(step.ring, sequence)).map_or(Wake::Unknown, |&id| Wake::Step(id)),
    }
}

/// Gives numbers their meaning, each once.
struct Meaning<'a, N> {
    names: &'a mut N,
    actors: HashMap<u32, ActorId>,
    places: HashMap<(u32, u32), Option<PlaceId>>,
    starts: HashMap<u32, Option<PlaceId>>,
    /// Where each actor was left last: there it resumes.
    left_at: HashMap<u32, PlaceId>,
}

impl<N: Names> Meaning<'_, N> {
    fn actor(&mut self, number: u32, chronology: &mut Chronology) -> ActorId {
        *self.actors.entry(number).or_insert_with(|| {
            chronology.actors.push(self.names.actor(number));
            ActorId(chronology.actors.len() as u32 - 1)
        })
    }

    fn start(&mut self, actor: u32, places: &mut Vec<Place>) -> Option<PlaceId> {
        *self.starts.entry(actor).or_insert_with(|| self.names.start(actor).map(|place| keep(places, place)))
    }

    fn place(&mut self, code: u32, offset: u32, places: &mut Vec<Place>) -> Option<PlaceId> {
        let known = self.places.entry((code, offset));
        *known.or_insert_with(|| self.names.place(code, offset).map(|place| keep(places, place)))
    }

    /// Where a step resumed and how it left.
    fn course(&mut self, raw: &RawStep, places: &mut Vec<Place>) -> (Option<PlaceId>, Left) {
        let resumed = if raw.whereabouts.is_first() {
            self.start(raw.actor, places)
        } else {
            self.left_at.get(&raw.actor).copied()
        };
        if raw.whereabouts.returned() {
            return (resumed, Left::Returned);
        }
        let awaited = raw.whereabouts.awaited_at().and_then(|offset| self.place(raw.code, offset, places));
        let Some(awaited) = awaited else {
            self.left_at.remove(&raw.actor);
            return (resumed, Left::Unknown);
        };
        self.left_at.insert(raw.actor, awaited);
        (resumed, Left::Awaited(awaited))
    }
}

/// Adds what was seen of the steps that are in the chronology.
fn add_samples(chronology: &mut Chronology, seen: Vec<RawSample>, window: Window, ids: &StepIds) {
    let mut known: HashMap<Place, PlaceId> = HashMap::new();
    let Chronology { steps, samples, places, .. } = chronology;
    for raw in seen {
        let Some(&id) = ids.get(&(raw.ring, raw.sequence as u32)) else { continue };
        let step = &steps[id.index()];
        if raw.at < window.start {
            continue;
        }
        let at = window.scale.nanos(raw.at.since(window.start) as f64).clamp(step.start, step.end());
        let stack = raw.stack.into_iter().map(|place| {
            let entry = known.entry(place);
            let place = entry.key().clone();
            *entry.or_insert_with(|| keep(places, place))
        });
        samples.push(Sample { step: id, at, cause: raw.cause, detail: raw.detail, stack: stack.collect() });
    }
    samples.sort_by_key(|sample| (sample.step, sample.at));
}

fn keep(places: &mut Vec<Place>, place: Place) -> PlaceId {
    places.push(place);
    PlaceId(places.len() as u32 - 1)
}

/// Cuts each step where the next one of its thread begins, and the last where the recording ends.
fn cut_overlaps(chronology: &mut Chronology) {
    let mut limits: Vec<Nanos> = vec![chronology.duration; chronology.threads.len()];
    for step in chronology.steps.iter_mut().rev() {
        let limit = &mut limits[step.thread.index()];
        step.start = step.start.min(*limit);
        step.duration = step.duration.min(*limit - step.start);
        *limit = step.start;
    }
}
