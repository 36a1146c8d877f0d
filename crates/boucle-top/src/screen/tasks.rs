//! The table of tasks.

use boucle_chronology::ActorKind;
use boucle_chronology::quantity::grouped;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::cells::{self, Column};
use super::{headings, put};
use crate::rows::{Mark, Order, Row, State};
use crate::theme::{glyph, sign};
use crate::view::{Focus, View};

/// What a column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Name,
    Coroutine,
    Busy,
    LongestWait,
    LongestStep,
    Steps,
    Place,
}

pub(super) fn draw(view: &View, area: Rect, buffer: &mut Buffer) {
    let columns = columns(view, area.width as usize);
    let only: Vec<_> = columns.iter().map(|(_, column)| column.clone()).collect();
    let mut head = headings(&only, view);
    head.spans.insert(0, Span::raw("    "));
    let mut y = put(&head, area.y, area, buffer);
    if view.rows.is_empty() && y < area.bottom() {
        put(&Line::styled(nothing(view), view.theme.quiet()), y, area, buffer);
    }
    let height = (area.bottom() - y) as usize;
    let chosen = if view.focus == Focus::Tasks { view.chosen() } else { None };
    let first = chosen.map_or(0, |chosen| (chosen + 1).saturating_sub(height));
    for (position, row) in view.rows.iter().enumerate().skip(first).take(height) {
        let mut line = line(view, row, &columns);
        if chosen == Some(position) {
            line.spans[0] = Span::raw("›");
            line = line.style(view.theme.chosen());
        }
        y = put(&line, y, area, buffer);
    }
}

fn nothing(view: &View) -> String {
    if view.filter.is_empty() {
        "    no task ran".to_owned()
    } else {
        format!("    no task that ran has {:?} in its name: esc clears the filter", view.filter)
    }
}

/// The columns that fit, and their widths.
fn columns(view: &View, width: usize) -> Vec<(Content, Column)> {
    let heading = |text: &str, order| match (view.order == order, view.reversed) {
        (false, _) => text.to_owned(),
        (true, false) => format!("{text}▾"),
        (true, true) => format!("{text}▴"),
    };
    let name_width = (width / 5).clamp(10, 28);
    let count = if view.filter.is_empty() {
        grouped(view.rows.len() as u64)
    } else {
        format!("{} with {:?}", view.rows.len(), view.filter)
    };
    let name = format!("{} {count}", heading("task", Order::Name));
    let mut columns = vec![
        (Content::Name, Column::left(name, name_width)),
        (Content::Busy, Column::right(heading("busy", Order::Busy), 8)),
        (Content::LongestWait, Column::right(heading("max wait", Order::LongestWait), 9)),
    ];
    if width >= 50 {
        columns.push((Content::LongestStep, Column::right(heading("max step", Order::LongestStep), 9)));
    }
    if width >= 60 {
        columns.push((Content::Steps, Column::right(heading("steps", Order::Steps), 7)));
    }
    let used = 4 + columns.iter().map(|(_, column)| column.width + 1).sum::<usize>();
    let rest = width.saturating_sub(used);
    if rest >= 50 {
        let coroutine = (rest / 2 - 1).min(30);
        columns.insert(1, (Content::Coroutine, Column::left("coroutine", coroutine)));
        columns.push((Content::Place, Column::left("place", rest - coroutine - 2)));
    } else if rest >= 12 {
        columns.push((Content::Place, Column::left("place", rest - 1)));
    }
    columns
}

fn line(view: &View, row: &Row, columns: &[(Content, Column)]) -> Line<'static> {
    let theme = view.theme;
    // A callback that does nothing now has no state: it may run again.
    let callback = row.kind == ActorKind::Callback && row.state == State::Done;
    let mut spans = vec![
        Span::raw(" "),
        Span::styled(sign(row.mark), theme.mark(row.mark)),
        Span::styled(if callback { " " } else { glyph(row.state) }, theme.state(row.state)),
        Span::raw(" "),
    ];
    for (content, column) in columns {
        let style = style(view, row, *content);
        spans.push(Span::styled(column.cell(&text(row, *content)), style));
    }
    Line::from(spans)
}

fn text(row: &Row, content: Content) -> String {
    match content {
        Content::Name => row.name.clone(),
        Content::Coroutine if row.kind == ActorKind::Callback => "callback".to_owned(),
        Content::Coroutine => row.function.clone(),
        Content::Busy => cells::duration(row.busy),
        Content::LongestWait => cells::duration(row.longest_wait),
        Content::LongestStep => cells::duration(row.longest_step),
        Content::Steps => grouped(row.steps as u64),
        Content::Place => match &row.place {
            Some(place) => cells::place(place),
            None if row.kind == ActorKind::Callback => "callback".to_owned(),
            None => String::new(),
        },
    }
}

/// What is wrong stands out: a step, or a wait, over the threshold.
fn style(view: &View, row: &Row, content: Content) -> Style {
    let over = |duration| duration > view.analysis.threshold;
    match content {
        Content::Name => view.theme.state(row.state),
        Content::LongestStep if over(row.longest_step) => view.theme.mark(Mark::Blocks),
        Content::LongestWait if over(row.longest_wait) => view.theme.mark(Mark::Starves),
        _ => Style::new(),
    }
}
