//! The sentences of a recorded run, so that all pictures use the same words.

use crate::analysis::{Analysis, Congestion, HeldPlace, Lint, LintKind, Starvation, Victim, task_count};
use crate::model::{ActorId, Cause, Chronology, Left};
use crate::quantity::{count, percent, plain, precise, short};
use crate::{label, name};

/// What happened, in one sentence: who held the processor, where and why, and who had to wait for it.
pub fn headline(chronology: &Chronology, analysis: &Analysis) -> String {
    match headline_parts(chronology, analysis) {
        (finding, None) => finding,
        (finding, Some(story)) => format!("{finding}; {story}"),
    }
}

/// The headline as what was found, and the story behind it if there is one.
pub(crate) fn headline_parts(chronology: &Chronology, analysis: &Analysis) -> (String, Option<String>) {
    let Some(longest) = analysis.longest_starvation() else {
        return without_starvation(chronology, analysis);
    };
    let held = held_at(chronology, longest);
    let waiting = if longest.victims.is_empty() && goes_on(chronology, longest) {
        "it has not returned, so who has to wait for it is not known yet".to_owned()
    } else {
        waiting(chronology, &longest.victims, longest.victim_count, "it")
    };
    match analysis.starvations.len() {
        1 => (held, Some(waiting)),
        number => {
            let number = count(number as u64, "starvation");
            let (starved, duration) = (precise(analysis.starved_time()), precise(chronology.duration));
            (format!("{number}, {starved} of {duration}"), Some(format!("the longest: {held}; {waiting}")))
        }
    }
}

/// Whether a step had not returned when it was recorded: those that wait for it have not run since.
fn goes_on(chronology: &Chronology, starvation: &Starvation) -> bool {
    let step = &chronology.steps[starvation.step.index()];
    step.left == Left::Unknown && step.end() == chronology.duration
}

/// Nobody starved anybody: but small steps may have come together, or the machine was busy.
fn without_starvation(chronology: &Chronology, analysis: &Analysis) -> (String, Option<String>) {
    let none = format!("no starvation (threshold {})", plain(analysis.threshold));
    // The first of equals: `max_by_key` would take the last.
    let worst = |congestion: &&Congestion| congestion.victims.first().map_or(0, |victim| victim.waited);
    if let Some(congestion) = analysis.congestions.iter().rev().max_by_key(worst) {
        let waiting = waiting(chronology, &congestion.victims, congestion.victim_count, "them");
        let story = format!("{}; {waiting}", together(congestion));
        return (format!("{none}, but many small steps"), Some(story));
    }
    if let Some(longest) = analysis.stalls.iter().rev().max_by_key(|stall| stall.duration) {
        return (none, Some(stalled(chronology, longest)));
    }
    let longest = analysis.lints.iter().rev().max_by_key(|lint| lint.duration);
    (none, longest.map(|longest| lint(chronology, longest)))
}

/// What was recorded, in one line: the program, how long, how much.
pub fn summary(chronology: &Chronology, analysis: &Analysis) -> Vec<String> {
    let mut facts = Vec::new();
    if !chronology.program.is_empty() {
        facts.push(name::shown(&chronology.program));
    }
    facts.push(precise(chronology.duration));
    facts.push(count(task_count(chronology, analysis) as u64, "task"));
    facts.push(count(chronology.steps.len() as u64, "step"));
    facts.push(format!("processor busy {}", percent(analysis.utilisation)));
    facts
}

/// What the recorder could not keep, if anything.
pub fn lost(chronology: &Chronology) -> Option<String> {
    match chronology.lost {
        0 => None,
        1 => Some("1 older step was overwritten before it could be kept".to_owned()),
        number => Some(format!("{} were overwritten before they could be kept", count(number, "older step"))),
    }
}

/// The culprit's part: `run1 held the processor for 1.00 s`.
pub fn held(chronology: &Chronology, starvation: &Starvation) -> String {
    let culprit = actor(chronology, starvation.actor);
    format!("{culprit} held the processor for {}", precise(starvation.duration))
}

/// The same with its place: `run1 held the processor for 1.00 s at starvation.py:12 (sleep)`. Where nobody watched:
/// `run1 held the processor for 1.00 s (resumed at starvation.py:7)`.
pub fn held_at(chronology: &Chronology, starvation: &Starvation) -> String {
    let held = held(chronology, starvation);
    let place = starvation.place();
    let position = place.place.map(|place| label::position(&chronology.places[place.index()], name::file_name));
    let cause = cause(place);
    match (position, cause) {
        (Some(position), cause) if place.seen => {
            let cause = cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
            format!("{held} at {position}{cause}")
        }
        (Some(position), Some(cause)) => format!("{held} ({cause}; resumed at {position})"),
        (Some(position), None) => format!("{held} (resumed at {position})"),
        (None, Some(cause)) => format!("{held} ({cause})"),
        (None, None) => held,
    }
}

/// What a step did at a place: `sleep`, `socket 10.0.0.3:5432`; `None` if that is not known.
pub fn cause(place: &HeldPlace) -> Option<String> {
    let word = place.cause.word();
    match (place.cause, place.detail.as_str()) {
        (Cause::Unknown, _) => None,
        (_, "") => Some(word.to_owned()),
        (_, detail) => Some(format!("{word} {}", name::shown(detail))),
    }
}

/// A place that a watchdog saw: `478 ms at shop.py:31 in report, sleep in pause (api.py:88)`. `None` for any other.
pub fn held_there(chronology: &Chronology, held: &HeldPlace, file: impl Fn(&str) -> &str) -> Option<String> {
    let id = held.place.filter(|_| held.seen)?;
    let place = &chronology.places[id.index()];
    let (position, function) = (label::position(place, &file), name::shown(&place.function));
    let inner = held.stack.first().map(|inner| &chronology.places[inner.index()]).filter(|inner| *inner != place);
    // Where it was when it had no processor is chance.
    let inner = inner.filter(|_| held.cause != Cause::NoProcessor);
    let inner = inner.map(|inner| format!("in {} ({})", name::shown(&inner.function), label::position(inner, &file)));
    let what = cause(held).into_iter().chain(inner).collect::<Vec<_>>().join(" ");
    let told = format!("{} at {position} in {function}", precise(held.held));
    let told = if what.is_empty() { told } else { format!("{told}, {what}") };
    let partly = held.withheld > 0 && held.cause != Cause::NoProcessor;
    Some(if partly { format!("{told}; {} of it without a processor", short(held.withheld)) } else { told })
}

/// A step that was long for want of a processor: `tick took 120 ms, since the operating system gave it no processor`.
pub fn stalled(chronology: &Chronology, stall: &Starvation) -> String {
    let (who, took) = (actor(chronology, stall.actor), precise(stall.duration));
    format!("{who} took {took}, since the operating system gave it no processor")
}

/// Small steps that add up: `11 steps held the processor for 100 ms together`.
pub fn together(congestion: &Congestion) -> String {
    let steps = count(congestion.steps as u64, "step");
    format!("{steps} held the processor for {} together", precise(congestion.busy))
}

/// What a program hardly means to do: `poller yielded 2,402 times in 33.6 ms at poll.py:12 without waiting for anything`.
pub fn lint(chronology: &Chronology, lint: &Lint) -> String {
    let time = precise(lint.time);
    let number = lint.count as u64;
    match lint.kind {
        LintKind::BusyLoop => {
            let who = lint.actor.map_or_else(|| "a callback".to_owned(), |id| actor(chronology, id));
            let at = lint.place.map(|place| label::position(&chronology.places[place.index()], name::file_name));
            let at = at.map(|at| format!(" at {at}")).unwrap_or_default();
            let (times, taken) = (count(number, "time"), precise(lint.duration));
            format!("{who} yielded {times} in {taken}{at} without waiting for anything")
        }
        LintKind::PileUp => {
            let most = lint.actor.map(|id| name::shown(&chronology.actors[id.index()].function));
            let most = most.map(|most| format!(", most of them {most}")).unwrap_or_default();
            let (ready, taken) = (count(number, "callback"), precise(lint.duration));
            format!("each turn made more ready than it ran, up to {ready} within {taken}{most}; the last took {time}")
        }
        LintKind::LateTimers if number == 1 => {
            format!("a timer was {time} late although no step held the processor")
        }
        LintKind::LateTimers => {
            format!("{} were up to {time} late although no step held the processor", count(number, "timer"))
        }
    }
}

/// A victim's part: `run2 was ready and waited 1.0 s for run1`.
pub fn waited(chronology: &Chronology, starvation: &Starvation, victim: &Victim) -> String {
    let culprit = actor(chronology, starvation.actor);
    let waiting = actor(chronology, victim.actor);
    // A callback may have to wait for another run of itself.
    let another = if victim.actor == starvation.actor { "another " } else { "" };
    format!("{another}{waiting} was ready and waited {} for {culprit}", short(victim.waited))
}

/// The same of what was told before: `run2 was ready and waited 1.0 s for it`, or `for them`.
pub fn waited_for(chronology: &Chronology, victim: &Victim, what: &str) -> String {
    format!("{} was ready and waited {} for {what}", actor(chronology, victim.actor), short(victim.waited))
}

/// Those of the victims that are not named, if any: `and 12 others had to wait`.
pub fn others(victim_count: usize, named: usize) -> Option<String> {
    match victim_count - named {
        0 => None,
        1 => Some("and 1 other had to wait".to_owned()),
        number => Some(format!("and {} had to wait", count(number as u64, "other"))),
    }
}

/// The name of an actor, as it may be shown.
pub(crate) fn actor(chronology: &Chronology, actor: ActorId) -> String {
    name::shown(&chronology.actors[actor.index()].name)
}

/// Who had to wait, in short: the one that waited longest, and how many others.
fn waiting(chronology: &Chronology, victims: &[Victim], victim_count: usize, what: &str) -> String {
    let Some(victim) = victims.first() else {
        return "nobody had to wait".to_owned();
    };
    let waited = waited_for(chronology, victim, what);
    let others = others(victim_count, 1).map(|others| format!(", {others}")).unwrap_or_default();
    format!("{waited}{others}")
}
