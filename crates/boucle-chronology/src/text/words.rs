//! What is said above and below the lanes.

use super::canvas::{Canvas, Style};
use crate::analysis::Analysis;
use crate::findings::{self, Limits, Line};
use crate::model::Chronology;
use crate::quantity::count;
use crate::sentence;

const LISTED: Limits = Limits { each: 10, places: 5, victims: 3 };

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

/// What was found: when, who, where, who had to wait, and what to do about it.
pub(super) fn findings(canvas: &mut Canvas, width: usize, chronology: &Chronology, analysis: &Analysis) {
    for finding in findings::of(chronology, analysis, &LISTED) {
        canvas.line();
        let style = if finding.alarm { Style::Alarm } else { Style::Plain };
        canvas.paragraph(0, width, &finding.title, style);
        for line in &finding.lines {
            let style = if let Line::Code(_) = line { Style::Faint } else { Style::Plain };
            canvas.paragraph(2, width, line.text(), style);
        }
    }
}
