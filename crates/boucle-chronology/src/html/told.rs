//! What a page says of a run in words: what each starvation did where, and what else was found.

use crate::analysis::{Analysis, Congestion, HeldPlace, Lint, Starvation};
use crate::findings::{self, Limits, Line};
use crate::model::{Cause, Chronology, Nanos};
use crate::{advice, name, sentence};
use serde::Serialize;
use std::cmp::Reverse;

/// How many starvations have their places in a page: the longest ones.
const DETAILED_MAX: usize = 2_000;
/// How many of the other findings there are of each kind.
const FOUND_MAX: usize = 500;
/// How many frames of a stack are kept, the innermost ones.
const FRAMES_MAX: usize = 40;
const LISTED: Limits = Limits { each: FOUND_MAX, places: 8, victims: 8 };

/// What is known of a starvation besides its step and victims.
#[derive(Serialize)]
pub(super) struct Detail {
    starvation: usize,
    sentence: String,
    cause: Option<String>,
    advice: Option<&'static str>,
    places: Vec<Spot>,
}

#[derive(Serialize)]
struct Spot {
    place: Option<u32>,
    held: Nanos,
    cause: Option<String>,
    sentence: Option<String>,
    /// Ids of places, the innermost frame first.
    stack: Vec<u32>,
    seen: bool,
}

/// Something that is told in a sentence, and where it is in the picture.
#[derive(Serialize)]
pub(super) struct Told {
    step: Option<u32>,
    start: Nanos,
    duration: Nanos,
    sentence: String,
    lines: Vec<String>,
    advice: Option<&'static str>,
}

/// The indices of the longest of some findings, in their order.
pub(super) fn longest<T>(found: &[T], most: usize, length: impl Fn(&T) -> Nanos) -> Vec<usize> {
    let mut longest: Vec<usize> = (0..found.len()).collect();
    longest.sort_by_key(|&index| Reverse(length(&found[index])));
    longest.truncate(most);
    longest.sort_unstable();
    longest
}

/// What the longest starvations did.
pub(super) fn details(chronology: &Chronology, analysis: &Analysis) -> Vec<Detail> {
    let detail = |index: usize| {
        let starvation = &analysis.starvations[index];
        let place = starvation.place();
        Detail {
            starvation: index,
            sentence: sentence::held_at(chronology, starvation),
            cause: sentence::cause(place),
            advice: advice::at(chronology, place),
            places: starvation.places.iter().map(|place| held(chronology, place)).collect(),
        }
    };
    longest(&analysis.starvations, DETAILED_MAX, |found| found.duration).into_iter().map(detail).collect()
}

fn held(chronology: &Chronology, place: &HeldPlace) -> Spot {
    Spot {
        place: place.place.map(|place| place.0),
        held: place.held,
        cause: sentence::cause(place),
        sentence: sentence::held_there(chronology, place, name::file_name),
        stack: place.stack.iter().take(FRAMES_MAX).map(|place| place.0).collect(),
        seen: place.seen,
    }
}

/// Where small steps added up.
pub(super) fn congestions(chronology: &Chronology, analysis: &Analysis) -> Vec<Told> {
    let told = |found: &Congestion| Told {
        step: None,
        start: found.start,
        duration: found.duration,
        sentence: sentence::together(found),
        lines: texts(findings::congestion_lines(chronology, found, &LISTED)),
        advice: Some(advice::CONGESTION),
    };
    all(&analysis.congestions, |found| found.busy, told)
}

/// The steps that the operating system made long.
pub(super) fn stalls(chronology: &Chronology, analysis: &Analysis) -> Vec<Told> {
    let told = |found: &Starvation| Told {
        step: Some(found.step.0),
        start: found.start,
        duration: found.duration,
        sentence: sentence::stalled(chronology, found),
        lines: texts(findings::long_step(chronology, found, &LISTED, name::file_name)),
        advice: advice::of(Cause::NoProcessor, "", ""),
    };
    all(&analysis.stalls, |found| found.duration, told)
}

/// What the program hardly means to do.
pub(super) fn lints(chronology: &Chronology, analysis: &Analysis) -> Vec<Told> {
    let told = |found: &Lint| Told {
        step: None,
        start: found.start,
        duration: found.duration,
        sentence: sentence::lint(chronology, found),
        lines: Vec::new(),
        advice: Some(advice::lint(found.kind)),
    };
    all(&analysis.lints, |found| found.duration, told)
}

fn all<T>(found: &[T], length: impl Fn(&T) -> Nanos, told: impl Fn(&T) -> Told) -> Vec<Told> {
    longest(found, FOUND_MAX, length).into_iter().map(|index| told(&found[index])).collect()
}

/// The lines but for the advice, which is told apart.
fn texts(lines: Vec<Line>) -> Vec<String> {
    let told = lines.into_iter().filter(|line| !matches!(line, Line::Advice(_)));
    told.map(|line| line.text().to_owned()).collect()
}
