//! The starvations as they happen, the newest first.

use boucle_chronology::Nanos;
use boucle_chronology::quantity::{count, grouped, plain, precise, short};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::cells::{self, Column};
use super::{headings, put};
use crate::incidents::Incident;
use crate::view::{Focus, View};

pub(super) fn draw(view: &View, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let columns = columns(view, area.width as usize);
    let mut head = headings(&columns, view);
    head.spans.insert(0, Span::raw("  "));
    let mut y = put(&head, area.y, area, buffer);
    if view.incidents.is_empty() {
        let threshold = plain(view.analysis.threshold);
        put(&Line::styled(format!("  none: no step over {threshold} so far"), view.theme.quiet()), y, area, buffer);
    }
    let height = (area.bottom() - y) as usize;
    let chosen = (view.focus == Focus::Starvations).then(|| view.chosen_incident());
    let first = chosen.map_or(0, |chosen| (chosen + 1).saturating_sub(height));
    for (position, incident) in view.incidents.newest_first().enumerate().skip(first).take(height) {
        let mut line = line(view, incident, &columns);
        if chosen == Some(position) {
            line.spans[0] = Span::raw("› ");
            line = line.style(view.theme.chosen());
        }
        y = put(&line, y, area, buffer);
    }
}

/// The columns: when, held, task, place, cause, victims; the last ones go where it is narrow.
fn columns(view: &View, width: usize) -> Vec<Column> {
    let number = if view.incidents.is_empty() { String::new() } else { grouped(view.incidents.len() as u64) };
    let mut columns = vec![
        Column::left(format!("blocked {number}"), 12),
        Column::left("for", 10),
        Column::left("task", (width / 6).clamp(8, 24)),
    ];
    let rest = width.saturating_sub(2 + columns.iter().map(|column| column.width + 1).sum::<usize>());
    match rest {
        0..10 => {}
        10..25 => columns.push(Column::position("place", rest - 1)),
        25..60 => {
            columns.push(Column::position("place", rest * 2 / 5 - 1));
            columns.push(Column::left("cause", rest / 4 - 1));
            columns.push(Column::left("victims", rest - rest * 2 / 5 - rest / 4 - 1));
        }
        _ => {
            columns.push(Column::position("place", rest * 2 / 5 - 1));
            columns.push(Column::left("cause", 22));
            columns.push(Column::left("victims", rest - rest * 2 / 5 - 24));
        }
    }
    columns
}

fn line(view: &View, incident: &Incident, columns: &[Column]) -> Line<'static> {
    let texts = [
        incident.task.clone(),
        place(incident),
        incident.cause().unwrap_or("-").to_owned(),
        victims(incident, view.snapshot.now),
    ];
    let mut spans = vec![Span::raw("  ")];
    let style = view.theme.blocking();
    if incident.counting {
        // One text over both columns.
        let both = Column::left("", columns[0].width + 1 + columns[1].width);
        spans.push(Span::styled(both.cell(&format!("{} and counting", precise(incident.duration))), style));
    } else {
        spans.push(Span::raw(columns[0].cell(&cells::ago(view.snapshot.now, incident.end()))));
        spans.push(Span::styled(columns[1].cell(&precise(incident.duration)), style));
    }
    spans.extend(columns[2..].iter().zip(texts).map(|(column, text)| Span::raw(column.cell(&text))));
    Line::from(spans)
}

fn place(incident: &Incident) -> String {
    match incident.small_steps {
        0 => cells::spot(incident).unwrap_or_else(|| incident.coroutine.clone()),
        steps => count(steps as u64, "step"),
    }
}

/// Who had to wait, in short: `run2 1.0 s +3`.
fn victims(incident: &Incident, now: Nanos) -> String {
    match (incident.victim_count, incident.victims.first()) {
        (0, _) if !incident.is_settled(now) => String::new(),
        (0, _) => "nobody".to_owned(),
        (number, None) => format!("{} waiting", grouped(number as u64)),
        (1, Some((name, waited))) => format!("{name} {}", short(*waited)),
        (number, Some((name, waited))) => format!("{name} {} +{}", short(*waited), grouped(number as u64 - 1)),
    }
}
