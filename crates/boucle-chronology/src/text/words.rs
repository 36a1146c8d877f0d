//! What is said above and below the lanes.

use super::canvas::{Canvas, Style};
use crate::analysis::{Analysis, Starvation};
use crate::model::Chronology;
use crate::quantity::{count, grouped, moment};
use crate::{label, name, sentence};

/// The longest starvations are listed, and counted are the others.
const STARVATIONS_MAX: usize = 10;
/// The same for the victims of each.
const VICTIMS_MAX: usize = 3;

/// What was recorded, what happened, and what is missing.
pub(super) fn title(canvas: &mut Canvas, width: usize, chronology: &Chronology, analysis: &Analysis) {
    let facts = sentence::summary(chronology, analysis).join(" · ");
    canvas.paragraph(0, width, &facts, Style::Name);
    let style = if analysis.starvations.is_empty() { Style::Plain } else { Style::Alarm };
    canvas.paragraph(0, width, &sentence::headline(chronology, analysis), style);
    if let Some(lost) = sentence::lost(chronology) {
        canvas.paragraph(0, width, &lost, Style::Plain);
    }
    if chronology.steps.is_empty() {
        canvas.paragraph(0, width, "no step was recorded", Style::Plain);
    }
}

/// How many lanes the picture leaves out.
pub(super) fn not_drawn(canvas: &mut Canvas, number: usize, thing: &str) {
    let more = format!("… and {}, not drawn", count(number as u64, &format!("more {thing}")));
    canvas.put(0, &more, Style::Faint);
    canvas.line();
}

/// Each starvation: when, who, where, and who had to wait.
pub(super) fn starvations(canvas: &mut Canvas, width: usize, chronology: &Chronology, analysis: &Analysis) {
    let mut listed: Vec<&Starvation> = analysis.starvations.iter().collect();
    listed.sort_by_key(|starvation| std::cmp::Reverse(starvation.duration));
    listed.truncate(STARVATIONS_MAX);
    listed.sort_by_key(|starvation| starvation.step);
    for starvation in &listed {
        canvas.line();
        let start = moment(starvation.start, chronology.duration);
        let held = format!("at {start}, {}", sentence::held(chronology, starvation));
        canvas.paragraph(0, width, &held, Style::Alarm);
        let step = &chronology.steps[starvation.step.index()];
        if let Some(piece) = label::piece_in_full(chronology, step, name::file_name) {
            canvas.paragraph(2, width, &piece, Style::Faint);
        }
        let victims = starvation.victims.iter().take(VICTIMS_MAX);
        let named = victims.len();
        for victim in victims {
            canvas.paragraph(2, width, &sentence::waited(chronology, starvation, victim), Style::Plain);
        }
        if let Some(others) = sentence::others(starvation, named) {
            canvas.paragraph(2, width, &others, Style::Plain);
        }
    }
    let shorter = analysis.starvations.len() - listed.len();
    if shorter > 0 {
        canvas.line();
        canvas.paragraph(0, width, &format!("and {} that were not longer", grouped(shorter as u64)), Style::Plain);
    }
}
