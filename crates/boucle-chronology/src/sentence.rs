//! The sentences of a recorded run, so that all pictures use the same words.

use crate::analysis::{Analysis, Starvation, Victim, task_count};
use crate::model::{ActorId, Chronology};
use crate::name;
use crate::quantity::{count, percent, plain, precise, short};

/// What happened, in one sentence: who held the processor, and who had to wait for it.
pub fn headline(chronology: &Chronology, analysis: &Analysis) -> String {
    match headline_parts(chronology, analysis) {
        (finding, None) => finding,
        (finding, Some(story)) => format!("{finding}; {story}"),
    }
}

/// The headline as what was found, and the story behind it if there is one.
pub(crate) fn headline_parts(chronology: &Chronology, analysis: &Analysis) -> (String, Option<String>) {
    let Some(longest) = analysis.longest_starvation() else {
        return (format!("no starvation (threshold {})", plain(analysis.threshold)), None);
    };
    let held = held(chronology, longest);
    let waiting = waiting(chronology, longest);
    match analysis.starvations.len() {
        1 => (held, Some(waiting)),
        number => {
            let number = count(number as u64, "starvation");
            let (starved, duration) = (precise(analysis.starved_time()), precise(chronology.duration));
            (format!("{number}, {starved} of {duration}"), Some(format!("the longest: {held}; {waiting}")))
        }
    }
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

/// A victim's part: `run2 was ready and waited 1.0 s for run1`.
pub fn waited(chronology: &Chronology, starvation: &Starvation, victim: &Victim) -> String {
    let culprit = actor(chronology, starvation.actor);
    let waiting = actor(chronology, victim.actor);
    // A callback may have to wait for another run of itself.
    let another = if victim.actor == starvation.actor { "another " } else { "" };
    format!("{another}{waiting} was ready and waited {} for {culprit}", short(victim.waited))
}

/// Those of the victims that are not named, if any: `and 12 others had to wait`.
pub fn others(starvation: &Starvation, named: usize) -> Option<String> {
    match starvation.victim_count - named {
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
fn waiting(chronology: &Chronology, starvation: &Starvation) -> String {
    let Some(victim) = starvation.victims.first() else {
        return "nobody had to wait".to_owned();
    };
    let waited = waited(chronology, starvation, victim);
    let others = others(starvation, 1).map(|others| format!(", {others}")).unwrap_or_default();
    format!("{waited}{others}")
}
