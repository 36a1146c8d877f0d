//! What a recorded run means, as JSON for scripts.
//!
//! One object, its keys in this order. Times are in seconds, points in time from the start of the recording; what is
//! not known is `null`.
//!
//! ```text
//! program        what ran
//! recorded_by    what recorded it
//! duration       how long the recording lasted
//! threshold      a longer step is a starvation
//! steps          how many steps were recorded
//! lost           how many older steps were overwritten
//! utilisation    the part of the recording in which a step held the processor, 0 to 1
//! starvations    in order of start, each
//!   task           the culprit's name; for a callback its qualified name
//!   coroutine      the qualified name of what it ran
//!   file, line     where it held the processor for longest: the innermost line of the user's own code; where no
//!                  watchdog saw it, where the step resumed
//!   start          when it began
//!   duration       how long it held the processor
//!   cause          what it did there: "sleep", "socket", "Python code", ...; null where no watchdog saw it
//!   detail         what it waited for if that is known, such as the address of a socket; or null
//!   advice         what to do about it; null where nothing is known that helps
//!   seen           whether a watchdog saw it there
//!   without_processor  for how long of the duration it was seen without a processor
//!   places         where it spent that time, the longest first, each
//!     file, line     the place; null where the stack could not be read
//!     held           how long
//!     without_processor  for how long of that it was seen without a processor
//!     cause, detail  the same as above, of this place
//!     stack          the frames from the outermost to the innermost, each "function (file:line)"; empty where no
//!                    watchdog saw it
//!     seen           whether a watchdog saw it there
//!   victims        the longest wait first, each
//!     task           the name
//!     waited         how long it was ready while the culprit held the processor
//!   victim_count   how many victims there are; more than are listed if there are very many
//! stalls         steps that were long only because the operating system gave them no processor; nobody is to blame.
//!                As starvations are, but without an advice
//! congestions    where steps within the threshold together kept others waiting for longer than it, in order of start,
//!                each
//!   start          when the first that waited too long became ready
//!   duration       until the last of them began
//!   steps, busy    how many steps ran meanwhile, and how long they held the processor
//!   shares         whose steps these were, the longest first, each
//!     task, coroutine, steps, busy
//!   share_count    how many shares there are; more than are listed if there are very many
//!   victims, victim_count  as those of a starvation, each waited for all these steps
//! lints          what the program hardly means to do, in order of start, each
//!   kind           "busy loop", "pile-up" or "late timers"
//!   sentence       what it is
//!   advice         what to do about it
//!   task           whose it is, or null
//!   file, line     where, or null
//!   start, duration
//!   count          how many steps a busy loop made, callbacks were ready in the end, or timers were late
//! tasks          those that ran, in the order in which they were first recorded, each
//!   name           the name
//!   coroutine      the qualified name of the coroutine
//!   steps          how many steps it ran
//!   busy           how long it held the processor
//!   longest_step   the longest of these steps
//!   waited         how long it was ready without running
//!   longest_wait   the longest of these waits
//! ```
//!
//! Keys may be added, and are never renamed or given another meaning.

use crate::analysis::{self, Analysis, Congestion, HeldPlace, Lint, LintKind, Share, Starvation, Victim};
use crate::model::{ActorId, Cause, Chronology, Nanos, PlaceId};
use crate::{advice, sentence};
use serde::Serialize;

/// Of the victims and shares of a congestion so many are listed: a server that is always late has one of all its steps.
const LISTED_MAX: usize = 100;

#[derive(Serialize)]
struct Run<'a> {
    program: &'a str,
    recorded_by: &'a str,
    duration: f64,
    threshold: f64,
    steps: usize,
    lost: u64,
    utilisation: f64,
    starvations: Vec<Culprit<'a>>,
    stalls: Vec<Culprit<'a>>,
    congestions: Vec<Crowd<'a>>,
    lints: Vec<Habit<'a>>,
    tasks: Vec<Task<'a>>,
}

#[derive(Serialize)]
struct Culprit<'a> {
    task: &'a str,
    coroutine: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    start: f64,
    duration: f64,
    cause: Option<&'a str>,
    detail: Option<&'a str>,
    advice: Option<&'a str>,
    seen: bool,
    without_processor: f64,
    places: Vec<Spot<'a>>,
    victims: Vec<Sufferer<'a>>,
    victim_count: usize,
}

#[derive(Serialize)]
struct Spot<'a> {
    file: Option<&'a str>,
    line: Option<u32>,
    held: f64,
    without_processor: f64,
    cause: Option<&'a str>,
    detail: Option<&'a str>,
    stack: Vec<String>,
    seen: bool,
}

#[derive(Serialize)]
struct Crowd<'a> {
    start: f64,
    duration: f64,
    steps: usize,
    busy: f64,
    shares: Vec<Part<'a>>,
    share_count: usize,
    victims: Vec<Sufferer<'a>>,
    victim_count: usize,
}

#[derive(Serialize)]
struct Part<'a> {
    task: &'a str,
    coroutine: &'a str,
    steps: usize,
    busy: f64,
}

#[derive(Serialize)]
struct Habit<'a> {
    kind: &'static str,
    sentence: String,
    advice: &'static str,
    task: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    start: f64,
    duration: f64,
    count: usize,
}

#[derive(Serialize)]
struct Sufferer<'a> {
    task: &'a str,
    waited: f64,
}

#[derive(Serialize)]
struct Task<'a> {
    name: &'a str,
    coroutine: &'a str,
    steps: usize,
    busy: f64,
    longest_step: f64,
    waited: f64,
    longest_wait: f64,
}

/// The analysis as one JSON object, on several lines.
pub fn analysis_json(chronology: &Chronology, analysis: &Analysis) -> String {
    let run = Run {
        program: &chronology.program,
        recorded_by: &chronology.recorded_by,
        duration: seconds(chronology.duration),
        threshold: seconds(analysis.threshold),
        steps: chronology.steps.len(),
        lost: chronology.lost,
        utilisation: analysis.utilisation,
        starvations: analysis.starvations.iter().map(|starvation| culprit(chronology, starvation)).collect(),
        stalls: analysis.stalls.iter().map(|stall| culprit(chronology, stall)).collect(),
        congestions: analysis.congestions.iter().map(|congestion| crowd(chronology, congestion)).collect(),
        lints: analysis.lints.iter().map(|lint| habit(chronology, lint)).collect(),
        tasks: tasks(chronology, analysis),
    };
    serde_json::to_string_pretty(&run).expect("strings, finite numbers and lists are all valid JSON")
}

fn culprit<'a>(chronology: &'a Chronology, starvation: &'a Starvation) -> Culprit<'a> {
    let held = starvation.place();
    let (file, line) = position(chronology, held.place);
    let blamed = Some(held).filter(|_| starvation.cause != Cause::NoProcessor);
    Culprit {
        task: name(chronology, starvation.actor),
        coroutine: &chronology.actors[starvation.actor.index()].function,
        file,
        line,
        start: seconds(starvation.start),
        duration: seconds(starvation.duration),
        cause: starvation.seen().then(|| starvation.cause.word()),
        detail: blamed.and_then(detail),
        advice: blamed.and_then(|held| advice::at(chronology, held)),
        seen: held.seen,
        without_processor: seconds(starvation.withheld),
        places: starvation.places.iter().filter_map(|held| spot(chronology, starvation, held)).collect(),
        victims: sufferers(chronology, &starvation.victims),
        victim_count: starvation.victim_count,
    }
}

/// A place; none if nothing at all is known of it.
fn spot<'a>(chronology: &'a Chronology, starvation: &Starvation, held: &'a HeldPlace) -> Option<Spot<'a>> {
    let (file, line) = position(chronology, held.place);
    let seen = starvation.seen();
    let frame = |place: &PlaceId| {
        let place = &chronology.places[place.index()];
        format!("{} ({}:{})", place.function, place.file, place.line)
    };
    (seen || file.is_some()).then(|| Spot {
        file,
        line,
        held: seconds(held.held),
        without_processor: seconds(held.withheld),
        cause: seen.then(|| held.cause.word()),
        detail: detail(held),
        stack: held.stack.iter().rev().map(frame).collect(),
        seen: held.seen,
    })
}

fn crowd<'a>(chronology: &'a Chronology, congestion: &Congestion) -> Crowd<'a> {
    let part = |share: &Share| Part {
        task: name(chronology, share.actor),
        coroutine: &chronology.actors[share.actor.index()].function,
        steps: share.steps,
        busy: seconds(share.busy),
    };
    Crowd {
        start: seconds(congestion.start),
        duration: seconds(congestion.duration),
        steps: congestion.steps,
        busy: seconds(congestion.busy),
        shares: congestion.shares.iter().take(LISTED_MAX).map(part).collect(),
        share_count: congestion.shares.len(),
        victims: sufferers(chronology, &congestion.victims[..congestion.victims.len().min(LISTED_MAX)]),
        victim_count: congestion.victim_count,
    }
}

fn habit<'a>(chronology: &'a Chronology, found: &Lint) -> Habit<'a> {
    let (file, line) = position(chronology, found.place);
    Habit {
        kind: match found.kind {
            LintKind::BusyLoop => "busy loop",
            LintKind::PileUp => "pile-up",
            LintKind::LateTimers => "late timers",
        },
        sentence: sentence::lint(chronology, found),
        advice: advice::lint(found.kind),
        task: found.actor.map(|actor| name(chronology, actor)),
        file,
        line,
        start: seconds(found.start),
        duration: seconds(found.duration),
        count: found.count,
    }
}

fn sufferers<'a>(chronology: &'a Chronology, victims: &[Victim]) -> Vec<Sufferer<'a>> {
    let victim = |victim: &Victim| Sufferer { task: name(chronology, victim.actor), waited: seconds(victim.waited) };
    victims.iter().map(victim).collect()
}

fn name(chronology: &Chronology, actor: ActorId) -> &str {
    &chronology.actors[actor.index()].name
}

fn position(chronology: &Chronology, place: Option<PlaceId>) -> (Option<&str>, Option<u32>) {
    let place = place.map(|place| &chronology.places[place.index()]);
    (place.map(|place| place.file.as_str()), place.map(|place| place.line).filter(|&line| line > 0))
}

fn detail(held: &HeldPlace) -> Option<&str> {
    Some(held.detail.as_str()).filter(|detail| !detail.is_empty())
}

fn tasks<'a>(chronology: &'a Chronology, analysis: &Analysis) -> Vec<Task<'a>> {
    let ran = chronology
        .actors
        .iter()
        .zip(&analysis.actors)
        .enumerate()
        .filter(|(index, (_, usage))| usage.steps > 0 && analysis::is_task(chronology, ActorId(*index as u32)));
    ran.map(|(_, (actor, usage))| Task {
        name: &actor.name,
        coroutine: &actor.function,
        steps: usage.steps,
        busy: seconds(usage.busy),
        longest_step: seconds(usage.longest_step),
        waited: seconds(usage.waited),
        longest_wait: seconds(usage.longest_wait),
    })
    .collect()
}

/// JSON has one kind of number, and scripts expect seconds.
fn seconds(time: Nanos) -> f64 {
    time as f64 / 1e9
}
