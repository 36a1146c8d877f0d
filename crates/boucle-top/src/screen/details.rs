//! The details of one task, and of one starvation.

use std::cmp::Reverse;
use std::collections::HashMap;

use boucle_chronology::quantity::{count, plain, precise, short};
use boucle_chronology::{ActorId, Chronology, Step, StepId, Wake, label, name};
use ratatui::text::{Line, Span};

use super::cells::{self, Column};
use super::headings;
use crate::incidents::{Incident, Spot};
use crate::rows::Row;
use crate::theme::{glyph, word};
use crate::view::View;

/// How many of the longest waits are listed.
const WAITS: usize = 5;
/// How many of the last steps are listed.
const STEPS: usize = 200;
/// How many of those that woke a task are named.
const WAKERS: usize = 5;

/// A task: what it does, its longest waits, who woke it, its last steps.
pub(super) fn task(view: &View, name: &str, function: &str, width: u16) -> Vec<Line<'static>> {
    let mut lines = vec![title(view, "task", &format!("{name} · {function}"))];
    let Some(row) = view.row(name, function) else {
        lines.push(Line::raw("  it has ended, as far as it is known"));
        return lines;
    };
    let chronology = &view.snapshot.chronology;
    let own = |step: &StepId| Some(chronology.steps[step.index()].actor) == row.actor;
    let steps: Vec<StepId> = (0..chronology.steps.len() as u32).map(StepId).filter(own).collect();
    lines.extend(facts(view, &row));
    if !steps.is_empty() {
        lines.push(wakers(chronology, &steps));
        lines.extend(waits(view, &steps));
        lines.extend(last_steps(view, &steps, width));
    }
    lines
}

fn title(view: &View, kind: &str, text: &str) -> Line<'static> {
    Line::from(vec![Span::styled(format!(" {kind} "), view.theme.heading()), Span::raw(text.to_owned())])
}

fn facts(view: &View, row: &Row) -> Vec<Line<'static>> {
    let chronology = &view.snapshot.chronology;
    let place = row.place.as_ref().map_or_else(String::new, |place| format!(" at {}", cells::place(place)));
    let parent = row.actor.and_then(|actor| chronology.actors[actor.index()].parent);
    let parent = parent.map_or_else(String::new, |parent| format!("; created by {}", shown(chronology, parent)));
    let window = short(chronology.duration);
    let (busy, waited) = (cells::duration(row.busy), cells::duration(row.waited));
    let steps = count(row.steps as u64, "step");
    vec![
        Line::from(vec![
            Span::raw("  "),
            Span::styled(format!("{} {}", glyph(row.state), word(row.state)), view.theme.state(row.state)),
            Span::raw(format!("{place}{parent}")),
        ]),
        Line::raw(format!(
            "  last {window}: held the processor {busy} in {steps}, the longest {}",
            cells::duration(row.longest_step)
        )),
        Line::raw(format!("  ready and waiting {waited}, the longest {}", cells::duration(row.longest_wait))),
    ]
}

/// Who woke it, the most frequent first.
fn wakers(chronology: &Chronology, steps: &[StepId]) -> Line<'static> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for step in steps {
        *counts.entry(waker(chronology, &chronology.steps[step.index()])).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(name, count)| (Reverse(*count), name.clone()));
    let others = counts.len().saturating_sub(WAKERS);
    let mut named: Vec<_> = counts.iter().take(WAKERS).map(|(name, count)| format!("{name} {count}×")).collect();
    if others > 0 {
        named.push(count(others as u64, "other"));
    }
    Line::raw(format!("  woken by {}", named.join(", ")))
}

fn waker(chronology: &Chronology, step: &Step) -> String {
    match step.woken_by {
        Wake::Step(by) => shown(chronology, chronology.steps[by.index()].actor),
        Wake::Timer => "a timer".to_owned(),
        Wake::Io => "I/O".to_owned(),
        Wake::Thread => "another thread".to_owned(),
        Wake::Unknown => "(unknown)".to_owned(),
    }
}

/// Its longest waits, and for whom it waited.
fn waits(view: &View, steps: &[StepId]) -> Vec<Line<'static>> {
    let chronology = &view.snapshot.chronology;
    let waited = |step: StepId| chronology.steps[step.index()].start - view.analysis.waits.since(step);
    let mut longest: Vec<_> =
        steps.iter().map(|&step| (waited(step), step)).filter(|(waited, _)| *waited > 0).collect();
    longest.sort_by_key(|&(waited, step)| (Reverse(waited), step));
    if longest.is_empty() {
        return Vec::new();
    }
    let columns = [Column::left(" longest waits", 15), Column::right("waited", 9), Column::left("for", 50)];
    let mut lines = vec![Line::raw(""), headings(&columns, view)];
    for (waited, step) in longest.into_iter().take(WAITS) {
        let culprits: Vec<_> = view
            .analysis
            .culprits(step)
            .iter()
            .take(2)
            .map(|culprit| {
                let starvation = &view.analysis.starvations[culprit.starvation];
                format!("{} {}", shown(chronology, starvation.actor), short(culprit.waited))
            })
            .collect();
        let when = cells::ago(chronology.duration, chronology.steps[step.index()].start);
        let cells = [format!("  {when}"), precise(waited), culprits.join(", ")];
        lines.push(Line::raw(columns.iter().zip(cells).map(|(column, text)| column.cell(&text)).collect::<String>()));
    }
    lines
}

/// Its last steps, the newest first.
fn last_steps(view: &View, steps: &[StepId], width: u16) -> Vec<Line<'static>> {
    let chronology = &view.snapshot.chronology;
    let columns = [
        Column::left(" last steps", 15),
        Column::right("held", 9),
        Column::right("waited", 9),
        Column::left("woken by", 16),
        Column::left("lines", (width as usize).saturating_sub(53).max(7)),
    ];
    let mut lines = vec![Line::raw(""), headings(&columns, view)];
    for &id in steps.iter().rev().take(STEPS) {
        let step = &chronology.steps[id.index()];
        let runs = view.snapshot.runs(id);
        let piece = if width < 100 {
            label::piece(chronology, step)
        } else {
            label::piece_in_full(chronology, step, name::file_name).unwrap_or_default()
        };
        let cells = [
            format!("  {}", if runs { "running".to_owned() } else { cells::ago(chronology.duration, step.start) }),
            cells::duration(step.duration),
            cells::duration(step.start - view.analysis.waits.since(id)),
            waker(chronology, step),
            piece,
        ];
        let spans = columns.iter().zip(cells).enumerate().map(|(position, (column, text))| {
            let blocks = position == 1 && step.duration > view.analysis.threshold;
            Span::styled(column.cell(&text), if blocks { view.theme.blocking() } else { ratatui::style::Style::new() })
        });
        lines.push(spans.collect());
    }
    lines
}

fn shown(chronology: &Chronology, actor: ActorId) -> String {
    name::shown(&chronology.actors[actor.index()].name)
}

/// A starvation: how long, why, where it stood, and who had to wait.
pub(super) fn starvation(view: &View, opened: &Incident, width: u16) -> Vec<Line<'static>> {
    // The newest look at it, if there is one.
    let incident = view.incidents.newest_first().find(|known| known.start.abs_diff(opened.start) < 1_000_000);
    let incident = incident.unwrap_or(opened);
    let held = precise(incident.duration);
    let held = if incident.counting { format!("{held} and counting") } else { held };
    let when = cells::ago(view.snapshot.now, incident.start);
    let held = match incident.small_steps {
        0 => held,
        steps => format!("{held}, in {}", count(steps as u64, "small step")),
    };
    let mut lines = vec![
        title(view, "starvation", &format!("{} · {}", incident.task, incident.coroutine)),
        Line::from(vec![
            Span::raw("  held the processor for "),
            Span::styled(held, view.theme.blocking()),
            Span::raw(format!(", began {when}, in {} (threshold {})", incident.thread, plain(view.analysis.threshold))),
        ]),
    ];
    lines.extend(incident.spots.iter().flat_map(|spot| self::spot(view, spot)));
    lines.extend([Line::raw(""), Line::styled(" who was ready and had to wait", view.theme.heading())]);
    let columns = [Column::left("", (width as usize).saturating_sub(16).clamp(10, 40)), Column::right("", 9)];
    for (name, waited) in &incident.victims {
        lines.push(Line::raw(format!("  {}{}", columns[0].cell(name), columns[1].cell(&short(*waited)))));
    }
    match incident.victim_count - incident.victims.len() {
        0 if incident.victims.is_empty() => lines.push(Line::raw("  nobody")),
        0 => {}
        more => lines.push(Line::raw(format!("  and {}", count(more as u64, "other")))),
    }
    lines
}

fn in_full(place: &boucle_chronology::Place) -> String {
    let file = name::escaped(&place.file);
    let function = name::shown(&place.function);
    if place.line == 0 { format!("{file} in {function}") } else { format!("{file}:{} in {function}", place.line) }
}

/// Where it held the processor, what it did there, and what helps.
fn spot(view: &View, spot: &Spot) -> Vec<Line<'static>> {
    let place = spot.place.as_ref().map_or_else(|| "an unknown place".to_owned(), in_full);
    if !spot.looked {
        let hint = "  nobody looked where it stood: the process's own watchdog does, with BOUCLE_WATCH=50ms";
        return vec![Line::raw(format!("  it went on from {place}")), Line::styled(hint, view.theme.quiet())];
    }
    let detail = if spot.detail.is_empty() { String::new() } else { format!(" {}", spot.detail) };
    let mut lines = vec![
        Line::raw(""),
        Line::from(vec![
            Span::styled(format!(" {} at ", precise(spot.held)), view.theme.heading()),
            Span::raw(format!("{place}: {}{detail}", spot.cause.word())),
        ]),
    ];
    lines.extend(spot.advice().map(|advice| Line::raw(format!("  advice: {advice}"))));
    lines.extend(spot.stack.iter().map(|frame| Line::styled(format!("    {}", in_full(frame)), view.theme.quiet())));
    lines
}
