//! The screen: the state of the loop on top, the table of tasks, the starvations below it, the keys at the bottom.
//!
//! Everything is drawn into a buffer of cells, line by line. What does not fit is left out in an order of its own: the
//! starvations before the tasks, columns from the least telling one on; the line that says whether the loop is blocked
//! stays to the last.

mod cells;
mod details;
mod header;
mod help;
mod starvations;
mod tasks;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget, Wrap};

use crate::view::{Focus, Panel, View};
use cells::Column;

/// From this height on the starvations have a place of their own.
const STARVATIONS_FROM: u16 = 10;

/// Draws the view.
pub fn draw(view: &View, area: Rect, buffer: &mut Buffer) {
    let header = header::lines(view, area.width);
    let footer = u16::from(area.height > 5);
    // In a very small window only the lines about blocking are left.
    let skipped = if area.height < 5 { 2 } else { 0 };
    let mut y = area.y;
    for line in header.iter().skip(skipped) {
        y = put(line, y, area, buffer);
    }
    let body = Rect { y, height: (area.bottom() - footer).saturating_sub(y), ..area };
    match &view.panel {
        Panel::Overview => overview(view, body, buffer),
        Panel::Task(name, function) => panel(details::task(view, name, function, body.width), view, body, buffer),
        Panel::Starvation(incident) => panel(details::starvation(view, incident, body.width), view, body, buffer),
        Panel::Help => panel(help::lines(view), view, body, buffer),
    }
    if footer > 0 {
        put(&keys(view, area.width), area.bottom() - 1, area, buffer);
    }
}

/// The screen as text, without colours and without spaces at the ends of lines.
pub fn plain(view: &View, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(view, area, &mut buffer);
    let mut text = String::new();
    for y in 0..height {
        // The cells behind a wide character are its own.
        let mut line = String::new();
        let mut x = 0;
        while x < width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            x += (boucle_chronology::name::width(symbol) as u16).max(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Writes a line, if it is within the area. Returns where the next one goes.
fn put(line: &Line<'_>, y: u16, area: Rect, buffer: &mut Buffer) -> u16 {
    if y < area.bottom() {
        buffer.set_style(Rect { y, height: 1, ..area }, line.style);
        buffer.set_line(area.x, y, line, area.width);
        return y + 1;
    }
    y
}

fn overview(view: &View, area: Rect, buffer: &mut Buffer) {
    let wanted = view.incidents.len() as u16;
    let mut below = 0;
    if area.height + 4 >= STARVATIONS_FROM {
        let least = if view.focus == Focus::Starvations { area.height / 2 } else { area.height / 3 };
        below = (wanted.max(1) + 1).min(least.max(area.height.saturating_sub(view.rows.len() as u16 + 2)));
    }
    let above = Rect { height: area.height - below, ..area };
    tasks::draw(view, above, buffer);
    starvations::draw(view, Rect { y: above.bottom(), height: below, ..area }, buffer);
}

/// A panel, scrolled. What is too long for a line goes on in the next.
fn panel(lines: Vec<Line<'static>>, view: &View, area: Rect, buffer: &mut Buffer) {
    let rows = |line: &Line| line.width().div_ceil(usize::from(area.width.max(1))).max(1);
    let height: usize = lines.iter().map(rows).sum();
    let last = u16::try_from(height).unwrap_or(u16::MAX).saturating_sub(area.height);
    let scroll = (view.scroll.min(last), 0);
    Paragraph::new(lines).wrap(Wrap { trim: false }).scroll(scroll).render(area, buffer);
}

/// The keys that do something here, as many as fit.
fn keys(view: &View, width: u16) -> Line<'static> {
    if view.typing {
        return Line::from(format!(" filter: {}▏  enter keep  esc clear", view.filter));
    }
    let keys: &[(&str, &str)] = match view.panel {
        Panel::Overview => &[
            ("q", "quit"),
            ("?", "help"),
            ("p", if view.paused { "go on" } else { "pause" }),
            ("enter", "details"),
            ("tab", if view.focus == Focus::Tasks { "starvations" } else { "tasks" }),
            ("/", "filter"),
            ("bwsln", "sort"),
        ],
        _ => &[("esc", "back"), ("↑ ↓", "scroll"), ("p", if view.paused { "go on" } else { "pause" }), ("^C", "quit")],
    };
    let mut spans = Vec::new();
    let mut used = 0;
    for (key, meaning) in keys {
        used += cells::width(key) + cells::width(meaning) + 3;
        if used > width as usize {
            break;
        }
        spans.push(Span::styled(format!(" {key}"), view.theme.heading()));
        spans.push(Span::raw(format!(" {meaning} ")));
    }
    Line::from(spans)
}

/// A line of headings, with an arrow at the one that orders.
fn headings(columns: &[Column], view: &View) -> Line<'static> {
    let cells = columns.iter().map(|column| Span::raw(column.heading_cell()));
    cells.collect::<Line>().style(view.theme.headings())
}
