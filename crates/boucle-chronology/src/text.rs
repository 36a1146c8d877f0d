//! A picture of a recorded run for a terminal.
//!
//! Readable without colour: each state has its own glyph. With colour the glyphs are the same. Below each lane, where
//! they fit, are the lines of code that its steps ran; below the picture, each finding in words.
//!
//! # Invariants
//!
//! * No line is wider than asked for, and none ends in spaces.
//! * Escape sequences come from here only, never from a name, and only when colour is asked for.

mod canvas;
mod words;

use crate::analysis::Analysis;
use crate::layout::{Lane, Layout, State};
use crate::model::Chronology;
use crate::{axis, name, quantity};
use canvas::{Canvas, Style};

/// How wide, and whether in colour.
#[derive(Clone, Copy, Debug)]
pub struct TextOptions {
    /// Columns of the terminal; what is less than 60 counts as 60.
    pub width: usize,
    /// Whether to use the terminal's colours.
    pub colour: bool,
}

impl Default for TextOptions {
    fn default() -> TextOptions {
        TextOptions { width: 80, colour: false }
    }
}

const NARROWEST: usize = 60;
/// Nobody's terminal is wider, and the picture has to fit into memory.
const WIDEST: usize = 1_000;
const TASKS_MAX: usize = 40;
const THREADS_MAX: usize = 8;
/// More lanes than this are drawn without the lines of code below them.
const LABELLED_LANES_MAX: usize = 20;
/// Between the names of the lanes and their columns.
const GAP: usize = 3;
/// Deeper lanes are not indented further.
const INDENTED_MAX: usize = 4;
/// A label of the time axis with the space after it.
const TICK_COLUMNS: usize = 8;

/// The picture, with a line end after its last line.
pub fn draw(chronology: &Chronology, analysis: &Analysis, options: &TextOptions) -> String {
    let width = options.width.clamp(NARROWEST, WIDEST);
    let mut canvas = Canvas::new(options.colour);
    words::title(&mut canvas, width, chronology, analysis);
    if !chronology.steps.is_empty() {
        canvas.line();
        lanes(&mut canvas, width, chronology, analysis);
        canvas.line();
        legend(&mut canvas, width, analysis);
        words::findings(&mut canvas, width, chronology, analysis);
    }
    canvas.finish()
}

fn lanes(canvas: &mut Canvas, width: usize, chronology: &Chronology, analysis: &Analysis) {
    let mut layout = Layout::outline(chronology, analysis, TASKS_MAX, THREADS_MAX);
    let labelled = layout.lanes.len() <= LABELLED_LANES_MAX;
    let gutter = gutter(&layout.lanes, labelled, width);
    layout.fill(chronology, analysis, width - gutter - GAP, usize::MAX);

    time_axis(canvas, gutter + GAP, &layout);
    for lane in &layout.lanes {
        let indent = indent(lane);
        canvas.put(indent, &name::fitted(&lane.name, gutter - indent), Style::Name);
        for segment in &lane.segments {
            let glyphs = glyph(segment.state).repeat(segment.to - segment.from);
            canvas.put(gutter + GAP + segment.from, &glyphs, Style::Glyph(segment.state));
        }
        canvas.line();
        if labelled {
            caption_line(canvas, gutter, layout.columns, lane);
        }
    }
    for (number, thing) in [(layout.tasks_not_drawn, "task"), (layout.threads_not_drawn, "thread")] {
        if number > 0 {
            words::not_drawn(canvas, number, thing);
        }
    }
}

/// How many columns the names take: what they need, but less than a third of the picture.
fn gutter(lanes: &[Lane], labelled: bool, width: usize) -> usize {
    let needed = lanes.iter().map(|lane| {
        let caption = if labelled { name::width(&lane.caption) } else { 0 };
        indent(lane) + caption.max(name::width(&lane.name))
    });
    needed.max().unwrap_or(0).min(width * 3 / 10)
}

fn indent(lane: &Lane) -> usize {
    2 * lane.depth.min(INDENTED_MAX)
}

fn time_axis(canvas: &mut Canvas, offset: usize, layout: &Layout) {
    let mut free = 0;
    for tick in axis::ticks(layout.duration, layout.columns / TICK_COLUMNS) {
        let width = name::width(&tick.label);
        let column = layout.column(tick.time).min(layout.columns - width);
        if column >= free {
            canvas.put(offset + column, &tick.label, Style::Faint);
            free = column + width + 2;
        }
    }
    canvas.line();
}

/// Below a lane: its caption, and the pieces of code that it ran, as many as fit.
fn caption_line(canvas: &mut Canvas, gutter: usize, columns: usize, lane: &Lane) {
    let indent = indent(lane);
    canvas.put(indent, &name::fitted(&lane.caption, gutter - indent), Style::Faint);
    for placed in lane.labels(columns, name::width, |_| true) {
        canvas.put(gutter + GAP + placed.column, placed.label, Style::Faint);
    }
    if !canvas.at_line_start() {
        canvas.line();
    }
}

fn glyph(state: State) -> &'static str {
    match state {
        State::Awaiting => "─",
        State::Running => "█",
        State::Ready => "░",
        State::Blocking => "▓",
    }
}

fn legend(canvas: &mut Canvas, width: usize, analysis: &Analysis) {
    let past = format!("blocking (past {})", quantity::plain(analysis.threshold));
    let meanings = [
        (State::Running, "running"),
        (State::Blocking, past.as_str()),
        (State::Ready, "ready, had to wait"),
        (State::Awaiting, "awaiting"),
    ];
    let mut column = 0;
    for (state, meaning) in meanings {
        let taken = 2 + name::width(meaning);
        if column + taken > width {
            canvas.line();
            column = 0;
        }
        canvas.put(column, glyph(state), Style::Glyph(state));
        canvas.put(column + 2, meaning, Style::Plain);
        column += taken + GAP;
    }
    canvas.line();
}
