//! Random recordings that pass `Chronology::check`, with durations as a program has them: mostly microseconds, now and
//! then long enough to starve others, and samples of any step.

use boucle_chronology::{
    Actor, ActorId, ActorKind, Cause, Chronology, Left, Nanos, Origin, Place, PlaceId, Sample, Step, StepId, Thread,
    ThreadId, Wake,
};
use proptest::prelude::*;
use proptest::sample::Index;

/// A recording of up to `steps` steps.
pub(crate) fn chronology(steps: usize) -> impl Strategy<Value = Chronology> {
    let frame = (name(), name(), 0..1_000_000_u64, 0..1_000_u64);
    let threads = prop::collection::vec(name().prop_map(|name| Thread { name }), 1..4);
    let places = prop::collection::vec(place(), 0..6);
    let actors = prop::collection::vec(actor(), 1..10);
    let steps = prop::collection::vec(raw_step(), 0..steps);
    let samples = prop::collection::vec(raw_sample(), 0..30);
    (frame, threads, places, actors, steps, samples).prop_map(
        |((program, recorded_by, rest, lost), threads, places, actors, steps, samples)| {
            let actor_count = actors.len();
            let actors = actors.into_iter().map(|(mut actor, parent)| {
                actor.parent = parent.map(|parent| ActorId(parent.index(actor_count) as u32));
                actor
            });
            let actors = actors.collect();
            let chronology =
                Chronology { program, recorded_by, threads, places, actors, lost, ..Chronology::default() };
            with_samples(with_steps(chronology, steps, rest), samples)
        },
    )
}

/// A step before its ids are known to be in range: what it refers to is an index into whatever there is.
#[derive(Clone, Debug)]
struct RawStep {
    thread: Index,
    actor: Index,
    gap: Nanos,
    duration: Nanos,
    waited: Nanos,
    wake: u8,
    by: Index,
    resumed: Option<Index>,
    left: (u8, Index),
}

fn raw_step() -> impl Strategy<Value = RawStep> {
    let ids = (any::<Index>(), any::<Index>(), any::<Index>(), any::<Option<Index>>(), any::<Index>());
    let kinds = (0..8_u8, 0..4_u8);
    (ids, kinds, time(), time(), time()).prop_map(
        |((thread, actor, by, resumed, left_at), (wake, left), gap, duration, waited)| {
            let left = (left, left_at);
            RawStep { thread, actor, gap, duration, waited, wake, by, resumed, left }
        },
    )
}

fn with_steps(mut chronology: Chronology, raw: Vec<RawStep>, rest: Nanos) -> Chronology {
    let mut ends = vec![0; chronology.threads.len()];
    let mut last_start = 0;
    let places = chronology.places.len();
    let place = |index: Index| PlaceId(index.index(places) as u32);
    for raw in raw {
        let thread = raw.thread.index(ends.len());
        let start = ends[thread].max(last_start) + raw.gap;
        let before = chronology.steps.len();
        let step = Step {
            thread: ThreadId(thread as u32),
            actor: ActorId(raw.actor.index(chronology.actors.len()) as u32),
            start,
            duration: raw.duration,
            waited: raw.waited,
            woken_by: match raw.wake {
                0 => Wake::Unknown,
                1 => Wake::Timer,
                2 => Wake::Io,
                3 => Wake::Thread,
                _ if before == 0 => Wake::Unknown,
                // Mostly the step just before, as when a timer's callback wakes a task.
                4..=6 => Wake::Step(StepId(before as u32 - 1)),
                _ => Wake::Step(StepId(raw.by.index(before) as u32)),
            },
            resumed: raw.resumed.filter(|_| places > 0).map(place),
            left: match raw.left {
                (0, _) => Left::Unknown,
                (1, _) => Left::Returned,
                (_, index) if places > 0 => Left::Awaited(place(index)),
                _ => Left::Unknown,
            },
        };
        last_start = start;
        ends[thread] = step.end();
        chronology.steps.push(step);
    }
    chronology.duration = ends.into_iter().max().unwrap_or(0) + rest;
    assert_eq!(chronology.check(), Ok(()));
    chronology
}

/// A sample before its step and its places are known: both are indexes into whatever there is.
#[derive(Clone, Debug)]
struct RawSample {
    step: Index,
    at: Index,
    cause: Cause,
    detail: String,
    stack: Vec<Index>,
}

fn raw_sample() -> impl Strategy<Value = RawSample> {
    let cause = prop_oneof![
        2 => prop::sample::select(&Cause::WORDS[..]).prop_map(|(cause, _)| cause),
        1 => Just(Cause::NoProcessor),
    ];
    let detail = prop_oneof![2 => Just(String::new()), 1 => name()];
    let stack = prop::collection::vec(any::<Index>(), 0..4);
    (any::<Index>(), any::<Index>(), cause, detail, stack).prop_map(|(step, at, cause, detail, stack)| RawSample {
        step,
        at,
        cause,
        detail,
        stack,
    })
}

/// Mostly of the long steps, as a watchdog's are.
fn with_samples(mut chronology: Chronology, raw: Vec<RawSample>) -> Chronology {
    let mut longest: Vec<StepId> = (0..chronology.steps.len() as u32).map(StepId).collect();
    longest.sort_by_key(|id| std::cmp::Reverse(chronology.steps[id.index()].duration));
    longest.truncate(4);
    if longest.is_empty() {
        return chronology;
    }
    let places = chronology.places.len();
    for RawSample { step, at, cause, detail, stack } in raw {
        let id = longest[step.index(longest.len())];
        let step = &chronology.steps[id.index()];
        let at = step.start + at.index(step.duration as usize + 1) as Nanos;
        let stack = stack.into_iter().filter(|_| places > 0).map(|index| PlaceId(index.index(places) as u32));
        chronology.samples.push(Sample { step: id, at, cause, detail, stack: stack.collect() });
    }
    chronology.samples.sort_by_key(|sample| (sample.step, sample.at));
    assert_eq!(chronology.check(), Ok(()));
    chronology
}

fn time() -> impl Strategy<Value = Nanos> {
    prop_oneof![
        1 => Just(0),
        6 => 1_000..500_000_u64,
        2 => 500_000..60_000_000_u64,
        1 => 60_000_000..2_000_000_000_u64,
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{1,8}[0-9]{0,3}",
        1 => any::<String>(),
        1 => "[a-z<&\"\u{1b}\n作]{0,300}",
    ]
}

fn place() -> impl Strategy<Value = Place> {
    (name(), name(), any::<u32>(), any::<bool>()).prop_map(|(function, file, line, user)| {
        let origin = if user { Origin::User } else { Origin::Library };
        Place { function, file, line, origin }
    })
}

fn actor() -> impl Strategy<Value = (Actor, Option<Index>)> {
    (name(), name(), any::<bool>(), any::<Option<Index>>()).prop_map(|(name, function, task, parent)| {
        let kind = if task { ActorKind::Task } else { ActorKind::Callback };
        (Actor { kind, name, function, parent: None }, parent)
    })
}
