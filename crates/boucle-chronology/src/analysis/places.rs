//! Where a long step spent its time: the places at which a watchdog saw it, and how long it held the processor at each.
//!
//! A watchdog looks at a step now and then, so a time at a place is an estimate: the step is cut in the middle between
//! two looks. The first look's stretch begins with the step, the last one's ends with it.
//!
//! # Invariants
//!
//! * A place is the innermost frame of the user's own code, or the innermost frame where there is none. Looks at the
//!   same file and line are one place.
//! * There is at least one place, and the times of all add up to the step. The longest come first, where the time for
//!   which the operating system gave no processor does not count: it is nobody's fault.
//! * A look that could not read the stack is taken to be where the look before it was, or else the one after it.

use crate::model::{Cause, Chronology, Nanos, Origin, PlaceId, Sample, StepId};
use std::cmp::Reverse;
use std::collections::HashMap;

/// A place at which a step held the processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPlace {
    /// The innermost frame of the user's own code; where the step resumed if it was not `seen`; `None` if neither is
    /// known.
    pub place: Option<PlaceId>,
    /// How long the step was there, all visits together.
    pub held: Nanos,
    /// For how long of that time it had no processor.
    pub withheld: Nanos,
    /// What it did there for the longest time; no processor only if nothing else was seen.
    pub cause: Cause,
    /// What it waited for where that is known, else empty: see [`Sample::detail`].
    pub detail: String,
    /// The frames when it did that, the innermost first; empty if they are not known.
    pub stack: Vec<PlaceId>,
    /// Whether a watchdog saw it there. If not, `place` is only where the step went on before it held the processor.
    pub seen: bool,
}

/// Where `step` spent its time.
pub(super) fn of(chronology: &Chronology, id: StepId) -> Vec<HeldPlace> {
    let step = &chronology.steps[id.index()];
    let samples = samples(chronology, id);
    let resumed = HeldPlace {
        place: step.resumed,
        held: step.duration,
        withheld: 0,
        cause: Cause::Unknown,
        detail: String::new(),
        stack: Vec::new(),
        seen: false,
    };
    if samples.is_empty() {
        return vec![resumed];
    }
    let stacks = stacks(samples);
    let mut groups: Vec<Group> = Vec::new();
    let mut known: HashMap<Option<(&str, u32)>, usize> = HashMap::new();
    for (index, sample) in samples.iter().enumerate() {
        let from = index.checked_sub(1).map_or(step.start, |before| middle(&samples[before], sample));
        let to = samples.get(index + 1).map_or(step.end(), |after| middle(sample, after));
        let place = innermost_of_the_user(chronology, stacks[index]);
        let line = place.map(|id| &chronology.places[id.index()]).map(|place| (place.file.as_str(), place.line));
        let group = *known.entry(line).or_insert_with(|| {
            groups.push(Group::at(place));
            groups.len() - 1
        });
        groups[group].add(index, sample.cause, to - from);
    }
    let mut places: Vec<HeldPlace> =
        groups.into_iter().map(|group| group.held(samples, &stacks, step.resumed)).collect();
    places.sort_by_key(|place| Reverse((place.cause != Cause::NoProcessor, place.held - place.withheld, place.held)));
    places
}

fn samples(chronology: &Chronology, id: StepId) -> &[Sample] {
    let first = chronology.samples.partition_point(|sample| sample.step < id);
    let of_step = &chronology.samples[first..];
    &of_step[..of_step.partition_point(|sample| sample.step == id)]
}

/// The stack of each sample, or that of a neighbour where it could not be read.
fn stacks(samples: &[Sample]) -> Vec<&[PlaceId]> {
    let first = samples.iter().find(|sample| !sample.stack.is_empty());
    let mut last = first.map_or(&[][..], |sample| &sample.stack);
    let mut stacks = Vec::with_capacity(samples.len());
    for sample in samples {
        if !sample.stack.is_empty() {
            last = &sample.stack;
        }
        stacks.push(last);
    }
    stacks
}

fn middle(before: &Sample, after: &Sample) -> Nanos {
    Nanos::midpoint(before.at, after.at)
}

fn innermost_of_the_user(chronology: &Chronology, stack: &[PlaceId]) -> Option<PlaceId> {
    let is_users = |id: &&PlaceId| chronology.places[id.index()].origin == Origin::User;
    stack.iter().find(is_users).or(stack.first()).copied()
}

/// The looks at one place.
struct Group {
    place: Option<PlaceId>,
    held: Nanos,
    /// By cause, how long it was that.
    causes: [Nanos; Cause::WORDS.len()],
    /// By cause, the longest stretch and the sample that saw it.
    longest: [Option<(Nanos, usize)>; Cause::WORDS.len()],
}

impl Group {
    fn at(place: Option<PlaceId>) -> Group {
        Group { place, held: 0, causes: [0; _], longest: [None; _] }
    }

    fn add(&mut self, sample: usize, cause: Cause, held: Nanos) {
        let cause = cause as usize;
        self.held += held;
        self.causes[cause] += held;
        if self.longest[cause].is_none_or(|(longest, _)| held > longest) {
            self.longest[cause] = Some((held, sample));
        }
    }

    fn held(self, samples: &[Sample], stacks: &[&[PlaceId]], resumed: Option<PlaceId>) -> HeldPlace {
        let withheld = self.causes[Cause::NoProcessor as usize];
        let seen = Cause::WORDS.iter().filter_map(|&(cause, _)| {
            let (_, sample) = self.longest[cause as usize]?;
            Some((cause != Cause::NoProcessor, self.causes[cause as usize], sample))
        });
        let longest = seen.rev().max_by_key(|(has_processor, held, _)| (*has_processor, *held));
        let (_, _, sample) = longest.expect("a group has the sample that made it");
        let Sample { cause, detail, .. } = &samples[sample];
        HeldPlace {
            place: self.place.or(resumed),
            held: self.held,
            withheld,
            cause: *cause,
            detail: detail.clone(),
            stack: stacks[sample].to_vec(),
            seen: self.place.is_some(),
        }
    }
}
