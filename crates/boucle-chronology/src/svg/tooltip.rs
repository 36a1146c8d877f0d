//! What a bar says when pointed at.

use crate::analysis::{Analysis, Victim};
use crate::findings::{self, Limits};
use crate::label;
use crate::layout::{Layout, Segment, State, Subject};
use crate::model::{Chronology, StepId};
use crate::quantity::{count, moment, precise, short};
use crate::sentence;

/// Culprits in one tooltip.
const NAMED_MAX: usize = 5;
const LISTED: Limits = Limits { each: 1, places: 5, victims: 5 };

/// The tooltip of a segment, on several lines.
pub(super) fn of(
    chronology: &Chronology,
    analysis: &Analysis,
    layout: &Layout,
    subject: Subject,
    segment: &Segment,
) -> String {
    let Some(id) = segment.step else { return String::new() };
    let step = &chronology.steps[id.index()];
    let mut lines = Vec::new();
    match segment.state {
        State::Ready => ready(&mut lines, chronology, analysis, id),
        State::Running | State::Blocking if !segment.alone => lines.push(several(layout, subject, chronology, segment)),
        State::Running | State::Blocking | State::Awaiting => {
            running(&mut lines, chronology, analysis, id);
            if let Some(starvation) = analysis.starvation_by(id) {
                let told = findings::long_step(chronology, starvation, &LISTED, |path| path);
                lines.extend(told.iter().map(|line| line.text().to_owned()));
                lines.extend(findings::advice(chronology, starvation).map(|advice| advice.text().to_owned()));
                return lines.join("\n");
            }
        }
    }
    lines.extend(label::piece_in_full(chronology, step, |path| path).filter(|_| segment.alone));
    lines.join("\n")
}

fn running(lines: &mut Vec<String>, chronology: &Chronology, analysis: &Analysis, id: StepId) {
    let step = &chronology.steps[id.index()];
    let name = sentence::actor(chronology, step.actor);
    let (at, held) = (moment(step.start, chronology.duration), precise(step.duration));
    let waited = step.start - analysis.waits.since(id);
    lines.push(format!("{name} held the processor for {held} at {at}, after waiting {}", short(waited)));
}

fn several(layout: &Layout, subject: Subject, chronology: &Chronology, segment: &Segment) -> String {
    let who = match subject {
        Subject::Thread(_) => String::new(),
        Subject::Task(actor) => format!("{}: ", sentence::actor(chronology, actor)),
    };
    let time = |column: usize| {
        let time = u128::from(layout.duration) * column as u128 / layout.columns as u128;
        moment(time as u64, layout.duration)
    };
    let steps = count(segment.steps as u64, "step");
    let (from, to) = (time(segment.from), time(segment.to));
    format!("{who}{steps} from {from} to {to}, which held the processor for {}", precise(segment.busy))
}

fn ready(lines: &mut Vec<String>, chronology: &Chronology, analysis: &Analysis, id: StepId) {
    let step = &chronology.steps[id.index()];
    for culprit in analysis.culprits(id).iter().take(NAMED_MAX) {
        let starvation = &analysis.starvations[culprit.starvation];
        let victim = Victim { actor: step.actor, step: id, waited: culprit.waited };
        lines.push(sentence::waited(chronology, starvation, &victim));
    }
    if lines.is_empty() {
        let waited = step.start - analysis.waits.since(id);
        let many = if analysis.congested(id).is_some() { " for many small steps" } else { "" };
        lines.push(format!("{} was ready and waited {}{many}", sentence::actor(chronology, step.actor), short(waited)));
    }
}
