//! The top of the screen: which process, how busy its loop is, and whether it is blocked now.

use boucle_chronology::quantity::{count, grouped, percent, plain, precise, short};
use boucle_chronology::{Nanos, name};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::cells;
use crate::incidents::Incident;
use crate::pulse::Pulse;
use crate::source::Condition;
use crate::view::View;

/// Heights of a bar in eighths.
const BARS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// From this share on there is hardly time left.
const BUSY: f64 = 0.9;
/// From this share on it is worth a look.
const LIVELY: f64 = 0.6;

/// The lines: the process, its pulse, whether it is blocked, and by whom others were kept waiting.
pub(super) fn lines(view: &View, width: u16) -> Vec<Line<'static>> {
    let (verdict, story) = verdict(view);
    vec![title(view, width as usize), pulse(view, width as usize), verdict, story]
}

fn title(view: &View, width: usize) -> Line<'static> {
    let snapshot = &view.snapshot;
    let chronology = &snapshot.chronology;
    let mut facts = Vec::new();
    if !chronology.program.is_empty() {
        facts.push(name::shown(&chronology.program));
    }
    facts.extend(snapshot.pid.map(|pid| format!("pid {pid}")));
    facts.extend(chronology.recorded_by.split(", ").last().filter(|by| !by.is_empty()).map(name::shown));
    facts.extend(snapshot.uptime.map(|uptime| format!("up {}", short(uptime.as_nanos() as u64))));
    if chronology.threads.len() > 1 {
        facts.push(count(chronology.threads.len() as u64, "loop"));
    }
    let state = match (view.paused, snapshot.condition) {
        (_, Condition::Ended) => " ended ",
        (true, _) => " paused ",
        (false, Condition::Stopped) => " stopped ",
        (false, Condition::Alive) => "",
    };
    let room = width.saturating_sub(cells::width(state) + 13);
    let facts = name::fitted(&facts.join(" · "), room);
    let gap = " ".repeat(room - cells::width(&facts));
    Line::from(vec![
        Span::styled(" boucle top  ", view.theme.heading()),
        Span::raw(facts),
        Span::raw(gap),
        Span::styled(state, view.theme.alarm()),
    ])
}

fn pulse(view: &View, width: usize) -> Line<'static> {
    let snapshot = &view.snapshot;
    let pulse = Pulse::of(snapshot, (width / 4).clamp(5, 40));
    let style = |share: f64| match share {
        share if share >= BUSY => view.theme.blocking(),
        share if share >= LIVELY => view.theme.waiting(),
        _ => view.theme.running(),
    };
    let mut spans = vec![Span::raw(" "), Span::raw("busy ")];
    spans.push(Span::styled(format!("{:>6} ", percent(pulse.utilisation)), style(pulse.utilisation)));
    spans.extend(pulse.course.iter().map(|&share| Span::styled(BARS[(share * 8.0).round() as usize], style(share))));
    let window = format!(" {}  ", short(snapshot.chronology.duration));
    spans.push(Span::styled(window, view.theme.quiet()));
    spans.push(Span::raw(format!("{} steps/s", grouped(pulse.steps_a_second.round() as u64))));
    if let Some(ready) = snapshot.ready {
        let style = if ready > 0 { view.theme.waiting() } else { Style::new() };
        spans.push(Span::styled(format!("  {} ready", grouped(ready)), style));
    }
    let lost = snapshot.chronology.lost;
    let style = if lost > 0 { view.theme.waiting() } else { view.theme.quiet() };
    spans.push(Span::styled(format!("  {} lost", grouped(lost)), style));
    Line::from(spans)
}

/// The line to read: whether the loop is blocked now, and by whom. Below it who waits for that, or the last starvation.
fn verdict(view: &View) -> (Line<'static>, Line<'static>) {
    let snapshot = &view.snapshot;
    let theme = view.theme;
    let alarm = |text: &str| Line::styled(format!(" {text}"), theme.alarm());
    match (snapshot.condition, snapshot.pid) {
        (Condition::Ended, None) => return (alarm("the recording ends here"), last(view)),
        (Condition::Ended, Some(_)) => return (alarm("the process has ended: its last picture"), last(view)),
        (Condition::Stopped, _) => {
            return (alarm("the process is stopped, by a signal or a debugger: no code of it runs"), last(view));
        }
        (Condition::Alive, _) => {}
    }
    if let Some(incident) = view.incidents.counting() {
        return (alarm(&blocked(incident)), Line::styled(format!(" {}", kept_waiting(incident)), theme.waiting()));
    }
    let window = short(snapshot.chronology.duration);
    if snapshot.chronology.steps.is_empty() {
        return (Line::styled(format!(" idle: nothing ran in the last {window}"), theme.quiet()), last(view));
    }
    (Line::styled(" not blocked", theme.running()), last(view))
}

/// The last starvation, if there was one.
fn last(view: &View) -> Line<'static> {
    let Some(incident) = view.incidents.newest_first().next() else {
        let threshold = plain(view.analysis.threshold);
        return Line::styled(format!(" no step over {threshold} so far"), view.theme.quiet());
    };
    let when = match cells::ago(view.snapshot.now, incident.end()) {
        ago if ago == "now" => "until now".to_owned(),
        ago => ago,
    };
    let place = spot(incident);
    let held = precise(incident.duration);
    let what = match incident.small_steps {
        0 => format!("{} blocked for {held}{place}", incident.task),
        steps => format!("{} in {held}, most of {}", count(steps as u64, "small step"), incident.task),
    };
    let text = format!(" {when}: {what}{}", waited(incident, view.snapshot.now));
    Line::styled(text, view.theme.waiting())
}

/// What blocks: `BLOCKED 3.20 s and counting: run1 (rows) at report.py:41 [sleep]`.
fn blocked(incident: &Incident) -> String {
    let place = spot(incident);
    let cause = incident.cause().map_or_else(String::new, |cause| format!(" [{cause}]"));
    let coroutine =
        if incident.coroutine == incident.task { String::new() } else { format!(" ({})", incident.coroutine) };
    format!("BLOCKED {} and counting: {}{coroutine}{place}{cause}", precise(incident.duration), incident.task)
}

/// ` at report.py:41`, or ` from report.py:38 on` where nobody looked.
fn spot(incident: &Incident) -> String {
    match incident.spot().and_then(|spot| Some((spot.looked, spot.place.as_ref()?))) {
        None => String::new(),
        Some((true, place)) => format!(" at {}", cells::position(place)),
        Some((false, place)) => format!(" from {} on", cells::position(place)),
    }
}

/// Who waits meanwhile: `37 waiting, longest run2 3.1 s`.
fn kept_waiting(incident: &Incident) -> String {
    match (incident.victim_count, incident.victims.first()) {
        (0, _) => "nobody was ready when it began; who became ready since is known when it returns".to_owned(),
        (1, None) => "1 other was ready when it began, and waits".to_owned(),
        (number, None) => format!("{} others were ready when it began, and wait", grouped(number as u64)),
        (number, Some((name, waited))) => {
            format!("{} waiting, longest {name} {}", grouped(number as u64), short(*waited))
        }
    }
}

/// Who had to wait: `; run2 waited 1.0 s`, `; 37 waited, longest run2 1.0 s`.
fn waited(incident: &Incident, now: Nanos) -> String {
    match (incident.victim_count, incident.victims.first()) {
        (1, Some((name, waited))) => format!("; {name} waited {}", short(*waited)),
        (number, Some((name, waited))) => {
            format!("; {} waited, longest {name} {}", grouped(number as u64), short(*waited))
        }
        (_, None) if incident.is_settled(now) => "; nobody waited".to_owned(),
        (_, None) => String::new(),
    }
}
