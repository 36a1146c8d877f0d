//! The table of tasks: what each did in the last seconds, and what it does now.

use std::cmp::Reverse;

use boucle_chronology::{ActorId, ActorKind, Analysis, Left, Nanos, Place, StepId, name};

use crate::source::Snapshot;

/// One task, or a callback with all its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who it is in the snapshot; `None` for a task that did not run in its time.
    pub actor: Option<ActorId>,
    /// Whether it is a task.
    pub kind: ActorKind,
    /// The name, as it may be shown.
    pub name: String,
    /// The coroutine, or the function of a callback.
    pub function: String,
    /// What it does now.
    pub state: State,
    /// What is wrong with it.
    pub mark: Mark,
    /// How long it held the processor.
    pub busy: Nanos,
    /// Its longest step.
    pub longest_step: Nanos,
    /// How long it was ready without running.
    pub waited: Nanos,
    /// The longest of these waits.
    pub longest_wait: Nanos,
    /// How many steps it ran.
    pub steps: usize,
    /// Where its code is, or is left.
    pub place: Option<Place>,
}

impl Row {
    /// The same task, when it did not run in the time of the snapshot.
    #[must_use]
    pub fn at_rest(&self) -> Self {
        let kept = self.clone();
        Self { actor: None, mark: Mark::Fine, busy: 0, longest_step: 0, waited: 0, longest_wait: 0, steps: 0, ..kept }
    }
}

/// What a task does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It holds the processor.
    Running,
    /// It could run, and waits for the processor.
    Ready,
    /// It awaits something.
    Awaiting,
    /// It has returned, or is a callback that ran.
    Done,
}

/// What is wrong with a task, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// It held the processor for longer than the threshold.
    Blocks,
    /// It was ready, and had to wait for longer than the threshold.
    Starves,
    /// Nothing.
    Fine,
}

/// By what the table is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The busiest first.
    #[default]
    Busy,
    /// The longest wait first.
    LongestWait,
    /// The most steps first.
    Steps,
    /// The longest step first.
    LongestStep,
    /// By name, with its numbers in order.
    Name,
}

/// The rows of a snapshot, in no particular order: who ran or waited, of tasks and callbacks.
pub fn rows(snapshot: &Snapshot, analysis: &Analysis) -> Vec<Row> {
    let chronology = &snapshot.chronology;
    let mut last = vec![None; chronology.actors.len()];
    for (index, step) in chronology.steps.iter().enumerate() {
        last[step.actor.index()] = Some(StepId(index as u32));
    }
    let mut waiting = vec![None; chronology.actors.len()];
    for &(actor, since) in &snapshot.waiting {
        let earliest = waiting[actor.index()].map_or(since, |other: Nanos| other.min(since));
        waiting[actor.index()] = Some(earliest);
    }
    let mut rows = Vec::new();
    for (index, actor) in chronology.actors.iter().enumerate() {
        let usage = analysis.actors[index];
        if last[index].is_none() && waiting[index].is_none() {
            continue;
        }
        let waits = waiting[index].map_or(0, |since| chronology.duration.saturating_sub(since));
        let longest_wait = usage.longest_wait.max(waits);
        rows.push(Row {
            actor: Some(ActorId(index as u32)),
            kind: actor.kind,
            name: name::shown(&actor.name),
            function: name::shown(&actor.function),
            state: state(snapshot, actor.kind, last[index], waiting[index].is_some()),
            mark: mark(usage.longest_step, longest_wait, analysis.threshold),
            busy: usage.busy,
            longest_step: usage.longest_step,
            waited: usage.waited + waits,
            longest_wait,
            steps: usage.steps,
            place: last[index].and_then(|step| place(snapshot, step)).cloned(),
        });
    }
    rows
}

fn state(snapshot: &Snapshot, kind: ActorKind, last: Option<StepId>, waits: bool) -> State {
    if last.is_some_and(|step| snapshot.runs(step)) {
        return State::Running;
    }
    if waits {
        return State::Ready;
    }
    let returned = last.is_some_and(|step| snapshot.chronology.steps[step.index()].left == Left::Returned);
    if returned || kind == ActorKind::Callback { State::Done } else { State::Awaiting }
}

fn mark(longest_step: Nanos, longest_wait: Nanos, threshold: Nanos) -> Mark {
    if longest_step > threshold {
        Mark::Blocks
    } else if longest_wait > threshold {
        Mark::Starves
    } else {
        Mark::Fine
    }
}

/// Where a step is or left: what was seen of it while it ran, the await where it left, or the line where it resumed.
fn place(snapshot: &Snapshot, step: StepId) -> Option<&Place> {
    let recorded = &snapshot.chronology.steps[step.index()];
    let place = match recorded.left {
        Left::Awaited(place) if !snapshot.runs(step) => place,
        _ => recorded.resumed?,
    };
    snapshot.chronology.places.get(place.index())
}

/// Sorts rows, and keeps those whose name or coroutine contains `filter`.
pub fn arrange(rows: &mut Vec<Row>, order: Order, reversed: bool, filter: &str) {
    let filter = filter.to_lowercase();
    let matches = |text: &str| text.to_lowercase().contains(&filter);
    rows.retain(|row| filter.is_empty() || matches(&row.name) || matches(&row.function));
    match order {
        Order::Busy => rows.sort_by_key(|row| (Reverse(row.busy), row.actor.is_none(), row.actor)),
        Order::LongestWait => rows.sort_by_key(|row| (Reverse(row.longest_wait), row.actor.is_none(), row.actor)),
        Order::Steps => rows.sort_by_key(|row| (Reverse(row.steps), row.actor.is_none(), row.actor)),
        Order::LongestStep => rows.sort_by_key(|row| (Reverse(row.longest_step), row.actor.is_none(), row.actor)),
        Order::Name => rows.sort_by_cached_key(|row| (natural(&row.name), row.actor)),
    }
    if reversed {
        rows.reverse();
    }
}

/// A name in parts that compare as people expect: `Task-9` before `Task-10`.
fn natural(name: &str) -> Vec<(u64, String)> {
    let mut parts: Vec<(u64, String)> = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let (words, behind) = rest.split_at(text);
        let digits = behind.find(|character: char| !character.is_ascii_digit()).unwrap_or(behind.len());
        let (number, behind) = behind.split_at(digits);
        parts.push((0, words.to_lowercase()));
        parts.push((number.parse().unwrap_or(u64::MAX), String::new()));
        rest = behind;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let mut names = ["Task-10", "Task-9", "chat", "Task-9-b", "Accept"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["Accept", "chat", "Task-9", "Task-9-b", "Task-10"]);
    }
}
