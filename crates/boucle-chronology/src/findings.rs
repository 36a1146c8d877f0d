//! What is said below a picture: each starvation with where it happened, who had to wait and what to do about it; then
//! what small steps did together, what the machine did, and careless habits.
//!
//! The findings are words. How they look is the picture's.

use crate::analysis::{Analysis, Congestion, Lint, Share, Starvation, Victim};
use crate::model::{Cause, Chronology, Nanos};
use crate::quantity::{count, grouped, moment, precise};
use crate::{advice, label, name, sentence};
use std::cmp::Reverse;
use std::collections::HashMap;

/// How much is listed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of each kind the longest are listed, and counted are the others.
    pub(crate) each: usize,
    /// The same for the places of a step, and for who shared a time.
    pub(crate) places: usize,
    /// The same for the victims.
    pub(crate) victims: usize,
}

/// Something that was found, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) title: String,
    /// Whether somebody held the processor for too long.
    pub(crate) alarm: bool,
    pub(crate) lines: Vec<Line>,
}

/// A line below a title.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// About code: the piece that ran, a place.
    Code(String),
    /// Who had to wait.
    Victim(String),
    /// What to do about it.
    Advice(String),
}

impl Line {
    pub(crate) fn text(&self) -> &str {
        let (Line::Code(text) | Line::Victim(text) | Line::Advice(text)) = self;
        text
    }
}

/// What was found, of each kind the longest, in order of start.
pub(crate) fn of(chronology: &Chronology, analysis: &Analysis, limits: &Limits) -> Vec<Finding> {
    let at = |start, what: String| format!("at {}, {what}", moment(start, chronology.duration));
    let lines = |found: &Starvation| long_step(chronology, found, limits, name::file_name);
    let starvation = |found: &Starvation| Finding {
        title: at(found.start, sentence::held_at(chronology, found)),
        alarm: true,
        lines: lines(found).into_iter().chain(advice(chronology, found)).collect(),
    };
    let congestion = |found: &Congestion| Finding {
        title: at(found.start, sentence::together(found)),
        alarm: false,
        lines: congestion_lines(chronology, found, limits),
    };
    let no_processor = advice::of(Cause::NoProcessor, "", "").map(advised);
    let stall = |found: &Starvation| Finding {
        title: at(found.start, sentence::stalled(chronology, found)),
        alarm: false,
        lines: lines(found).into_iter().chain(no_processor.clone()).collect(),
    };
    let lint = |found: &Lint| Finding {
        title: at(found.start, sentence::lint(chronology, found)),
        alarm: false,
        lines: vec![advised(advice::lint(found.kind))],
    };
    let mut findings = longest(&analysis.starvations, limits.each, |found| found.duration, starvation);
    findings.extend(longest(&analysis.congestions, limits.each, |found| found.busy, congestion));
    findings.extend(longest(&analysis.stalls, limits.each, |found| found.duration, stall));
    findings.extend(longest(&analysis.lints, limits.each, |found| found.duration, lint));
    findings
}

/// What to do about a starvation.
pub(crate) fn advice(chronology: &Chronology, starvation: &Starvation) -> Option<Line> {
    advice::at(chronology, starvation.place()).map(advised)
}

/// Where a long step was, and who had to wait for it.
pub(crate) fn long_step(
    chronology: &Chronology,
    starvation: &Starvation,
    limits: &Limits,
    file: impl Fn(&str) -> &str + Copy,
) -> Vec<Line> {
    let step = &chronology.steps[starvation.step.index()];
    let mut lines: Vec<Line> = label::piece_in_full(chronology, step, file).map(Line::Code).into_iter().collect();
    let mut places = starvation.places.iter().filter_map(|held| sentence::held_there(chronology, held, file));
    lines.extend(places.by_ref().take(limits.places).map(Line::Code));
    match places.count() {
        0 => {}
        more => lines.push(Line::Code(format!("and {} more", count(more as u64, "place")))),
    }
    lines.extend(victims(&starvation.victims, starvation.victim_count, limits, |victim| match starvation.cause {
        Cause::NoProcessor => sentence::waited_for(chronology, victim, "it"),
        _ => sentence::waited(chronology, starvation, victim),
    }));
    lines
}

/// Whose steps a congestion was made of, and who had to wait for them.
pub(crate) fn congestion_lines(chronology: &Chronology, congestion: &Congestion, limits: &Limits) -> Vec<Line> {
    let shares = shares(chronology, congestion);
    let share = |(function, of): &(&str, Share)| {
        let (steps, busy) = (count(of.steps as u64, "step"), precise(of.busy));
        Line::Code(format!("{}: {steps}, {busy}", name::shown(function)))
    };
    let mut lines: Vec<Line> = shares.iter().take(limits.places).map(share).collect();
    if shares.len() > limits.places {
        let more = shares[limits.places..].iter().map(|(_, of)| of.steps).sum::<usize>();
        lines.push(Line::Code(format!("and {} of others", count(more as u64, "step"))));
    }
    let waited = |victim: &Victim| sentence::waited_for(chronology, victim, "them");
    lines.extend(victims(&congestion.victims, congestion.victim_count, limits, waited));
    lines.push(advised(advice::CONGESTION));
    lines
}

/// Who waited longest, each once, and how many others there are.
fn victims(all: &[Victim], count: usize, limits: &Limits, told: impl Fn(&Victim) -> String) -> Vec<Line> {
    let mut named: Vec<&Victim> = Vec::new();
    for victim in all {
        if named.len() < limits.victims && named.iter().all(|known| known.actor != victim.actor) {
            named.push(victim);
        }
    }
    let others = sentence::others(count, named.len());
    named.into_iter().map(told).chain(others).map(Line::Victim).collect()
}

/// The shares by what ran, since a hundred tasks that run one coroutine are one line of code; the longest first.
fn shares<'a>(chronology: &'a Chronology, congestion: &Congestion) -> Vec<(&'a str, Share)> {
    let mut shares: Vec<(&str, Share)> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    for share in &congestion.shares {
        let function = chronology.actors[share.actor.index()].function.as_str();
        let of_function = *known.entry(function).or_insert_with(|| {
            shares.push((function, Share { actor: share.actor, steps: 0, busy: 0 }));
            shares.len() - 1
        });
        shares[of_function].1.steps += share.steps;
        shares[of_function].1.busy += share.busy;
    }
    shares.sort_by_key(|(_, share)| Reverse(share.busy));
    shares
}

fn advised(advice: &str) -> Line {
    Line::Advice(format!("advice: {advice}"))
}

/// The longest of one kind in their order, and how many are left out.
fn longest<T>(all: &[T], most: usize, length: impl Fn(&T) -> Nanos, told: impl Fn(&T) -> Finding) -> Vec<Finding> {
    let mut listed: Vec<usize> = (0..all.len()).collect();
    listed.sort_by_key(|&index| Reverse(length(&all[index])));
    listed.truncate(most);
    listed.sort_unstable();
    let mut findings: Vec<Finding> = listed.into_iter().map(|index| told(&all[index])).collect();
    if all.len() > most {
        let title = format!("and {} that were not longer", grouped((all.len() - most) as u64));
        findings.push(Finding { title, alarm: false, lines: Vec::new() });
    }
    findings
}
