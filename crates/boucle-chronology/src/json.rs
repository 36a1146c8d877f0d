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
//!   file, line     where the step resumed
//!   start          when it began
//!   duration       how long it held the processor
//!   cause          what held it, once a watchdog can tell; null until then
//!   places         where it spent that time, each
//!     file, line     the place
//!     held           how long
//!     stack          the frames below it, the outermost first; empty until a watchdog can tell
//!   victims        the longest wait first, each
//!     task           the name
//!     waited         how long it was ready while the culprit held the processor
//!   victim_count   how many victims there are; more than are listed if there are very many
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

use crate::analysis::{self, Analysis, Starvation};
use crate::model::{ActorId, Chronology, Nanos};
use serde::Serialize;

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
    places: Vec<Spot<'a>>,
    victims: Vec<Victim<'a>>,
    victim_count: usize,
}

#[derive(Serialize)]
struct Spot<'a> {
    file: &'a str,
    line: Option<u32>,
    held: f64,
    stack: Vec<&'a str>,
}

#[derive(Serialize)]
struct Victim<'a> {
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
        tasks: tasks(chronology, analysis),
    };
    serde_json::to_string_pretty(&run).expect("strings, finite numbers and lists are all valid JSON")
}

fn culprit<'a>(chronology: &'a Chronology, starvation: &Starvation) -> Culprit<'a> {
    let name = |actor: ActorId| chronology.actors[actor.index()].name.as_str();
    let resumed = chronology.steps[starvation.step.index()].resumed;
    let place = resumed.map(|place| &chronology.places[place.index()]);
    let file = place.map(|place| place.file.as_str());
    let line = place.map(|place| place.line).filter(|&line| line > 0);
    let duration = seconds(starvation.duration);
    Culprit {
        task: name(starvation.actor),
        coroutine: &chronology.actors[starvation.actor.index()].function,
        file,
        line,
        start: seconds(starvation.start),
        duration,
        cause: None,
        places: file.map(|file| Spot { file, line, held: duration, stack: Vec::new() }).into_iter().collect(),
        victims: starvation
            .victims
            .iter()
            .map(|victim| Victim { task: name(victim.actor), waited: seconds(victim.waited) })
            .collect(),
        victim_count: starvation.victim_count,
    }
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
