//! A picture of a recorded run as one static SVG: for a README, a report, a notebook or paper.
//!
//! The headline is on top, then the processor, then the tasks below their parents. Each state has its own shape besides
//! its colour: running is a solid bar, blocking a hatched one, being ready an outlined one, awaiting a thin line. A step
//! past the threshold tints all lanes, so that a gap in one lane shows in which other its cause is. Below are the findings
//! in words, since a printed picture has no tooltips.
//!
//! # Invariants
//!
//! * No script, no external resource, nothing that depends on when or where it was drawn.
//! * At most 2,000 bars, whatever the recording.
//! * All text goes through `markup`, which escapes it.
//! * Colours follow the reader's light or dark scheme, on a background of their own: the page may have another.

mod bars;
mod list;
mod markup;
mod style;
mod tooltip;

use crate::analysis::Analysis;
use crate::findings::{self, Limits};
use crate::layout::{Lane, Layout, Subject};
use crate::model::Chronology;
use crate::{axis, name, quantity, sentence};
use bars::Row;
pub(crate) use markup::escaped;
use markup::{Anchor, Markup, text_width};

/// How wide, and of how many tasks.
#[derive(Clone, Copy, Debug)]
pub struct SvgOptions {
    /// Width in pixels; what is less than 640 counts as 640. The height follows from the lanes.
    pub width: usize,
    /// How many tasks have a lane at most.
    pub tasks: usize,
}

impl Default for SvgOptions {
    fn default() -> SvgOptions {
        SvgOptions { width: 960, tasks: 60 }
    }
}

const NARROWEST: usize = 640;
const WIDEST: usize = 4_000;
const TASKS_MAX: usize = 1_000;
const THREADS_MAX: usize = 8;
/// How many bars there are at most: what a browser draws at once.
const SEGMENTS_MAX: usize = 2_000;
/// Pixels of a column.
const COLUMN: usize = 2;
/// More lanes than this are drawn low and without the lines of code below them.
const ROOMY_LANES_MAX: usize = 20;

const MARGIN: usize = 24;
/// Between the names of the lanes and their bars.
const GAP: usize = 16;
const INDENT: usize = 14;
/// Deeper lanes are not indented further.
const INDENTED_MAX: usize = 6;
/// Pixels of a label of the time axis, with the space around it.
const TICK: usize = 80;

const LISTED: Limits = Limits { each: 5, places: 5, victims: 3 };

/// Where the parts of the picture are, in pixels.
struct Geometry {
    width: usize,
    /// Where the bars begin, and how wide all columns together are.
    left: usize,
    bars: usize,
    row: Row,
}

/// The picture.
pub fn draw(chronology: &Chronology, analysis: &Analysis, options: &SvgOptions) -> String {
    let width = options.width.clamp(NARROWEST, WIDEST);
    let mut layout = Layout::outline(chronology, analysis, options.tasks.min(TASKS_MAX), THREADS_MAX);
    let row = if layout.lanes.len() <= ROOMY_LANES_MAX { bars::ROOMY } else { bars::LOW };
    let left = MARGIN + gutter(&layout.lanes, &row, width) + GAP;
    let columns = (width - MARGIN - left) / COLUMN;
    layout.fill(chronology, analysis, columns, SEGMENTS_MAX);
    let geometry = Geometry { width, left, bars: columns * COLUMN, row };

    let mut markup = Markup::default();
    let mut y = title(&mut markup, &geometry, chronology, analysis);
    if !chronology.steps.is_empty() {
        y = lanes(&mut markup, &geometry, y, chronology, analysis, &layout);
        y = not_drawn(&mut markup, y, &layout);
        y = legend(&mut markup, y, analysis);
        y = list::draw(&mut markup, y, width - 2 * MARGIN, &findings::of(chronology, analysis, &LISTED));
    }
    framed(&geometry, y + MARGIN - 8, chronology, analysis, &markup.finish())
}

/// The frame around `body`: size, description, style and background.
fn framed(geometry: &Geometry, height: usize, chronology: &Chronology, analysis: &Analysis, body: &str) -> String {
    let width = geometry.width;
    let mut markup = Markup::default();
    markup.raw(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"boucle\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n"
    ));
    markup.element("title", &sentence::headline(chronology, analysis));
    let facts = sentence::summary(chronology, analysis).join(", ");
    markup.element("desc", &format!("The chronology of an event loop: {facts}."));
    markup.raw(format_args!("{}", style::STYLE));
    markup.raw(format_args!(
        "<rect class=\"page\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n",
        width - 1,
        height - 1
    ));
    markup.raw(format_args!("{body}</svg>\n"));
    markup.finish()
}

/// The headline and what was recorded; returns where they end.
fn title(markup: &mut Markup, geometry: &Geometry, chronology: &Chronology, analysis: &Analysis) -> usize {
    let room = geometry.width - 2 * MARGIN;
    let mut y = MARGIN + 14;
    let (finding, story) = sentence::headline_parts(chronology, analysis);
    let class = if analysis.starvations.is_empty() { "headline" } else { "headline alarm" };
    for line in markup::wrapped(&finding, style::HEADLINE, room) {
        markup.text(class, MARGIN, y, Anchor::Start, &line);
        y += 24;
    }
    for line in markup::wrapped(&story.unwrap_or_default(), style::STORY, room) {
        markup.text("story", MARGIN, y, Anchor::Start, &line);
        y += 21;
    }
    let mut facts = sentence::summary(chronology, analysis);
    facts.extend(chronology.steps.is_empty().then(|| "no step was recorded".to_owned()));
    facts.extend(sentence::lost(chronology));
    for line in markup::wrapped(&facts.join(" · "), style::FACTS, room) {
        markup.text("muted", MARGIN, y, Anchor::Start, &line);
        y += 20;
    }
    y - 6
}

/// The axis and all lanes; returns where they end.
fn lanes(
    markup: &mut Markup,
    geometry: &Geometry,
    y: usize,
    chronology: &Chronology,
    analysis: &Analysis,
    layout: &Layout,
) -> usize {
    let top = y + 28;
    let threads = layout.lanes.iter().filter(|lane| matches!(lane.subject, Subject::Thread(_))).count();
    let below_threads = top + threads * geometry.row.height;
    let bottom = top + layout.lanes.len() * geometry.row.height + geometry.row.after_threads;
    let panel = geometry.width - 2 * MARGIN + 16;
    markup.raw(format_args!(
        "<rect class=\"panel\" x=\"{}\" y=\"{top}\" width=\"{panel}\" height=\"{}\" rx=\"4\"/>\n",
        MARGIN - 8,
        below_threads - top
    ));
    time_axis(markup, geometry, top, bottom, layout);
    for band in &layout.blocked {
        let (x, width) = (geometry.left + band.start * COLUMN, (band.end - band.start) * COLUMN);
        let height = bottom - top;
        markup
            .raw(format_args!("<rect class=\"band\" x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/>\n"));
    }
    let mut y = top;
    for (index, lane) in layout.lanes.iter().enumerate() {
        if index == threads {
            y += geometry.row.after_threads;
        }
        name_of(markup, geometry, y, lane);
        bars::draw(markup, &geometry.row, (geometry.left, y), chronology, analysis, layout, lane);
        y += geometry.row.height;
    }
    bottom
}

/// The name of a lane, and below it its caption.
fn name_of(markup: &mut Markup, geometry: &Geometry, y: usize, lane: &Lane) {
    let x = MARGIN + indent(lane);
    let room = geometry.left - GAP - x;
    let class = if matches!(lane.subject, Subject::Thread(_)) { "name processor" } else { "name" };
    let path = name::escaped(&lane.file);
    let in_full = format!("{}\n{}\n{path}", lane.name, lane.caption);
    let shown = markup::cut(&lane.name, style::NAME, room);
    markup.explained(class, x, y + geometry.row.name, &shown, in_full.trim_end());
    if let Some(caption) = geometry.row.caption.filter(|_| !lane.caption.is_empty()) {
        let shown = markup::cut(&lane.caption, style::CODE, room);
        markup.explained("muted code", x, y + caption, &shown, in_full.trim_end());
    }
}

fn gutter(lanes: &[Lane], row: &Row, width: usize) -> usize {
    let needed = lanes.iter().map(|lane| {
        let caption = row.caption.map_or(0, |_| text_width(&lane.caption, style::CODE));
        indent(lane) + text_width(&lane.name, style::NAME).max(caption)
    });
    needed.max().unwrap_or(0).clamp(72, width / 4)
}

fn indent(lane: &Lane) -> usize {
    INDENT * lane.depth.min(INDENTED_MAX)
}

fn time_axis(markup: &mut Markup, geometry: &Geometry, top: usize, bottom: usize, layout: &Layout) {
    for tick in axis::ticks(layout.duration, geometry.bars / TICK) {
        let part = tick.time as f64 / layout.duration.max(1) as f64;
        let x = geometry.left + (part * geometry.bars as f64) as usize;
        markup.raw(format_args!("<path class=\"grid\" d=\"M{x}.5 {}V{bottom}\"/>\n", top - 6));
        // The last label would reach over the edge.
        let over = x + text_width(&tick.label, style::TICK) > geometry.width - MARGIN / 3;
        let anchor = if over { Anchor::End } else { Anchor::Start };
        let x = if anchor == Anchor::End { (geometry.left + geometry.bars).min(x + 4) } else { x };
        markup.text("muted tick", x, top - 12, anchor, &tick.label);
    }
}

/// How many lanes are left out, if any; returns where that ends.
fn not_drawn(markup: &mut Markup, mut y: usize, layout: &Layout) -> usize {
    for (number, thing) in [(layout.tasks_not_drawn, "more task"), (layout.threads_not_drawn, "more thread")] {
        if number > 0 {
            y += 20;
            let more = format!("… and {}, not drawn", quantity::count(number as u64, thing));
            markup.text("muted", MARGIN, y, Anchor::Start, &more);
        }
    }
    y
}

/// What the shapes mean; returns where that ends.
fn legend(markup: &mut Markup, y: usize, analysis: &Analysis) -> usize {
    let y = y + 30;
    let blocking = format!("blocking: past {}", quantity::plain(analysis.threshold));
    let mut x = MARGIN;
    for (shape, meaning) in [
        (bars::Shape::Running, "running"),
        (bars::Shape::Blocking, &blocking),
        (bars::Shape::Ready, "ready, had to wait"),
        (bars::Shape::Awaiting, "awaiting"),
    ] {
        bars::sample(markup, shape, x, y);
        markup.text("muted", x + 34, y, Anchor::Start, meaning);
        x += 34 + text_width(meaning, style::FACTS) + 24;
    }
    y
}
