//! The bars of a lane.

use super::markup::{Anchor, Markup, text_width};
use super::{COLUMN, style, tooltip};
use crate::analysis::Analysis;
use crate::layout::{Lane, Layout, Segment, State, Subject};
use crate::model::Chronology;
use crate::{quantity, sentence};
use std::iter;

/// How a lane is built, in pixels from its top.
pub(super) struct Row {
    pub(super) height: usize,
    /// The top of a bar, and its height.
    bar: (usize, usize),
    /// The baseline of the name.
    pub(super) name: usize,
    /// The baseline of what is written below, if there is room for it.
    pub(super) caption: Option<usize>,
    /// The space between the threads and the tasks.
    pub(super) after_threads: usize,
}

pub(super) const ROOMY: Row = Row { height: 48, bar: (7, 20), name: 18, caption: Some(38), after_threads: 10 };
pub(super) const LOW: Row = Row { height: 20, bar: (3, 14), name: 14, caption: None, after_threads: 8 };

/// A bar that is narrower than this is hard to see, and is widened where there is room.
const NARROWEST: usize = 4;

pub(super) use crate::layout::State as Shape;

/// The bars of a lane whose upper left corner is at `origin`.
pub(super) fn draw(
    markup: &mut Markup,
    row: &Row,
    (left, top): (usize, usize),
    chronology: &Chronology,
    analysis: &Analysis,
    layout: &Layout,
    lane: &Lane,
) {
    let (bar, height) = (top + row.bar.0, row.bar.1);
    if let (Subject::Task(_), Some(first), Some(last)) = (lane.subject, lane.segments.first(), lane.segments.last()) {
        let (from, to, y) = (left + first.from * COLUMN, left + last.to * COLUMN, bar + height / 2);
        markup.raw(format_args!("<path class=\"awaiting\" d=\"M{from} {y}H{to}\"/>\n"));
    }
    let drawn: Vec<&Segment> = lane.drawn().collect();
    let mut free = 0;
    for (index, segment) in drawn.iter().enumerate() {
        let next = drawn.get(index + 1).map_or(layout.columns, |next| next.from) * COLUMN;
        let (x, width) = widened(segment.from * COLUMN, segment.to * COLUMN, free, next);
        free = x + width;
        let tooltip = tooltip::of(chronology, analysis, layout, lane.subject, segment);
        bar_of(markup, segment.state, &tooltip, (left + x, bar), (width, height));
        if let Some(text) = in_bar(chronology, analysis, row, lane.subject, segment) {
            let class = match segment.state {
                State::Ready => "in in-ready",
                State::Blocking => "in in-blocking",
                State::Running | State::Awaiting => "in in-running",
            };
            let middle = left + x + width / 2;
            if segment.state == State::Blocking {
                // Hatching behind letters makes them hard to read.
                let width = text_width(&text, style::IN_BAR) + 8;
                let x = middle - width / 2;
                markup.raw(format_args!(
                    "<rect class=\"blocking\" x=\"{x}\" y=\"{bar}\" width=\"{width}\" height=\"{height}\"/>\n"
                ));
            }
            markup.text(class, middle, bar + height / 2 + 4, Anchor::Middle, &text);
        }
    }
    if let Some(baseline) = row.caption {
        // A column less than it takes is a gap that is too small; see `Lane::labels`, which leaves one.
        let columns = |label: &str| text_width(label, style::CODE).div_ceil(COLUMN) + 3;
        let wanted = |segment: &Segment| {
            in_bar(chronology, analysis, row, lane.subject, segment).is_none_or(|text| !text.contains(&segment.label))
        };
        for placed in lane.labels(layout.columns + 3, columns, wanted) {
            // Two pixels to the right of where a line of the time axis may be.
            let x = left + placed.column * COLUMN + 2;
            markup.text("muted code", x, top + baseline, Anchor::Start, placed.label);
        }
    }
}

/// A bar of the legend, with the baseline of its text.
pub(super) fn sample(markup: &mut Markup, shape: Shape, x: usize, baseline: usize) {
    if shape == State::Awaiting {
        markup.raw(format_args!("<path class=\"awaiting\" d=\"M{x} {}h26\"/>\n", baseline - 4));
        return;
    }
    markup.raw(format_args!("<g>"));
    shapes(markup, shape, (x, baseline - 11), (26, 14));
    markup.raw(format_args!("</g>\n"));
}

/// The beginning and the width of a bar that is drawn between `free` and `next`.
fn widened(from: usize, to: usize, free: usize, next: usize) -> (usize, usize) {
    let width = to - from;
    if width >= NARROWEST {
        return (from, width);
    }
    // To the right if that does not touch the next bar, or else to the left, where the picture ends for example.
    if from + NARROWEST <= next {
        (from, NARROWEST)
    } else {
        let from = free.max(to.saturating_sub(NARROWEST)).min(from);
        (from, to - from)
    }
}

fn bar_of(markup: &mut Markup, state: State, tooltip: &str, origin: (usize, usize), size: (usize, usize)) {
    markup.group_begins(tooltip);
    shapes(markup, state, origin, size);
    markup.group_ends();
}

fn shapes(markup: &mut Markup, state: State, (x, y): (usize, usize), (width, height): (usize, usize)) {
    match state {
        State::Awaiting => {}
        State::Running => markup
            .raw(format_args!("<rect class=\"running\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>")),
        State::Blocking => markup.raw(format_args!(
            "<rect class=\"blocking\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>\
             <rect fill=\"url(#boucle-hatch)\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
        )),
        // The outline is drawn inside, so that it does not cover the neighbours.
        State::Ready => markup.raw(format_args!(
            "<rect class=\"ready\" x=\"{x}.5\" y=\"{}.5\" width=\"{}\" height=\"{}\"/>",
            y + 1,
            width - 1,
            height - 3
        )),
    }
}

/// What is written in a bar: the longest that fits.
fn in_bar(
    chronology: &Chronology,
    analysis: &Analysis,
    row: &Row,
    subject: Subject,
    segment: &Segment,
) -> Option<String> {
    let id = segment.step.filter(|_| segment.alone)?;
    let step = &chronology.steps[id.index()];
    let held = quantity::precise(step.duration);
    let texts = match (segment.state, subject) {
        (State::Blocking, Subject::Thread(_)) => vec![format!("{} · {held}", segment.label), held],
        (State::Blocking, Subject::Task(_)) => {
            let starvation = analysis.starvation_by(id);
            let doing = starvation.and_then(|starvation| sentence::cause(starvation.place()));
            let doing = doing.map(|doing| format!("{doing} · {held}"));
            let held_alone = format!("held the processor for {held}");
            iter::once(held_alone).chain(doing).chain([held]).collect()
        }
        (State::Ready, _) if !segment.label.is_empty() => {
            // Where there is no line for labels below, the bar has at least the time.
            let longest = analysis.culprits(id).first().filter(|_| row.caption.is_none());
            let waited = longest.map(|culprit| quantity::short(culprit.waited));
            iter::once(segment.label.clone()).chain(waited).collect()
        }
        (State::Running, Subject::Thread(_)) => vec![segment.label.clone()],
        (State::Running | State::Ready | State::Awaiting, _) => Vec::new(),
    };
    let room = ((segment.to - segment.from) * COLUMN).saturating_sub(10);
    let fits = |text: &String| !text.is_empty() && text_width(text, style::IN_BAR) <= room;
    texts.into_iter().find(|text| row.bar.1 >= 14 && fits(text))
}
