//! Where a long step of a recording spent its time: its [`stays`], in the recording's terms.

use crate::model::{Cause, Chronology, Nanos, PlaceId, Sample, StepId};
use crate::stays::{self, Look};

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

/// Where a step spent its time. There is one place at least.
pub(super) fn of(chronology: &Chronology, id: StepId) -> Vec<HeldPlace> {
    let step = &chronology.steps[id.index()];
    let samples = samples(chronology, id);
    let named = |sample: &Sample| stays::place(&sample.stack, |id| chronology.places[id.index()].origin).copied();
    let look = |sample: &Sample| {
        let place = named(sample).map(|id| &chronology.places[id.index()]);
        Look { at: sample.at, place, cause: sample.cause }
    };
    let looks: Vec<_> = samples.iter().map(look).collect();
    let stays = stays::of(&looks, step.start, step.end()).into_iter().map(|stay| {
        let stack = stay.stack.map(|look| &samples[look]);
        HeldPlace {
            place: stack.and_then(named).or(step.resumed),
            held: stay.held,
            withheld: stay.withheld,
            cause: stay.cause,
            detail: samples[stay.look].detail.clone(),
            stack: stack.map_or_else(Vec::new, |sample| sample.stack.clone()),
            seen: stack.is_some(),
        }
    });
    let resumed = HeldPlace {
        place: step.resumed,
        held: step.duration,
        withheld: 0,
        cause: Cause::Unknown,
        detail: String::new(),
        stack: Vec::new(),
        seen: false,
    };
    if samples.is_empty() { vec![resumed] } else { stays.collect() }
}

fn samples(chronology: &Chronology, id: StepId) -> &[Sample] {
    let first = chronology.samples.partition_point(|sample| sample.step < id);
    let of_step = &chronology.samples[first..];
    &of_step[..of_step.partition_point(|sample| sample.step == id)]
}
