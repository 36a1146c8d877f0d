//! Where everything is in a picture: the one layout that all pictures are drawn from.
//!
//! Time is cut into columns (a character of a terminal, two pixels of an SVG). A lane is the processor, one for each
//! thread, or a task; callbacks have no lane, they show in the processor's. A lane is covered by segments of columns
//! in one of four states. Before a task was first ready and after it returned there is nothing.
//!
//! # Invariants
//!
//! * The segments of a lane are in order, do not overlap, are not empty and end at the last column at the latest.
//! * What is shorter than a column gets one. Where several states meet in one column, the first of blocking, ready,
//!   running and awaiting is seen: a starvation is visible at any scale. To be seen before what is running, a wait
//!   needs to fill a column or to be a victim's: shorter ones come before nearly every step and say nothing.
//! * The number of lanes and of segments is bounded, whatever the chronology. Culprits and victims are drawn first,
//!   then what was busiest; what is not drawn is counted. Lanes with too many segments are drawn in wider columns.

mod cells;
mod labels;
mod lanes;

use crate::analysis::{Analysis, Starvation};
use crate::model::{ActorId, Cause, Chronology, Left, Nanos, StepId, ThreadId};
use crate::{label, name, quantity, sentence};
use cells::{Cells, Interval};
use std::ops::Range;

/// How fine a picture can be, and how much it can hold.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// How many columns the recording is wide.
    pub columns: usize,
    /// How many tasks have a lane at most.
    pub tasks: usize,
    /// How many threads have a lane at most.
    pub threads: usize,
    /// How many segments there are at most, awaiting ones not counted. Each lane has at least one.
    pub segments: usize,
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many columns the recording is wide.
    pub columns: usize,
    /// How long the recording lasted.
    pub duration: Nanos,
    /// From top to bottom: the threads, then the tasks, each below its parent.
    pub lanes: Vec<Lane>,
    /// How many tasks that ran have no lane.
    pub tasks_not_drawn: usize,
    /// How many threads that ran steps have no lane.
    pub threads_not_drawn: usize,
    /// The columns in which a step was past the threshold.
    pub blocked: Vec<Range<usize>>,
}

/// A line of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Whose line it is.
    pub subject: Subject,
    /// How far it is indented: how many of its ancestors have a lane.
    pub depth: usize,
    /// The name to show.
    pub name: String,
    /// What to write below the name: the coroutine that a task runs and its file, or how busy a thread is.
    pub caption: String,
    /// The path of the file of the coroutine, where known; empty for a thread.
    pub file: String,
    /// What it did.
    pub segments: Vec<Segment>,
}

/// Whose line a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A thread that runs an event loop.
    Thread(ThreadId),
    /// A task.
    Task(ActorId),
}

/// Columns of a lane in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What the columns show.
    pub state: State,
    /// From this column …
    pub from: usize,
    /// … to this, which is not part of it.
    pub to: usize,
    /// The longest step in it; for a wait, the step that ended it. `None` while awaiting.
    pub step: Option<StepId>,
    /// How many steps began in it.
    pub steps: usize,
    /// Whether it is about `step` alone: the others are none, or next to nothing of it.
    pub alone: bool,
    /// How long steps in it held the processor.
    pub busy: Nanos,
    /// What to write at it; empty if nothing.
    pub label: String,
}

/// What a lane shows. The greater hides the smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Suspended at an await.
    Awaiting,
    /// Holding the processor.
    Running,
    /// Ready to run, while something else held the processor.
    Ready,
    /// Holding the processor for longer than the threshold: the part of the step past it.
    Blocking,
}

impl Lane {
    /// The segments in which it was not just awaiting.
    pub(crate) fn drawn(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.state != State::Awaiting)
    }
}

impl Layout {
    /// The layout of `chronology` at `scale`.
    pub fn of(chronology: &Chronology, analysis: &Analysis, scale: &Scale) -> Layout {
        let mut layout = Layout::outline(chronology, analysis, scale.tasks, scale.threads);
        layout.fill(chronology, analysis, scale.columns, scale.segments);
        layout
    }

    /// The lanes without what is in them, for a picture that needs to know their names before it knows its columns.
    pub(crate) fn outline(chronology: &Chronology, analysis: &Analysis, tasks: usize, threads: usize) -> Layout {
        let threads = lanes::threads(chronology, analysis, threads);
        let tasks = lanes::tasks(chronology, analysis, tasks);
        Layout {
            columns: 1,
            duration: chronology.duration,
            lanes: threads.lanes.into_iter().chain(tasks.lanes).collect(),
            tasks_not_drawn: tasks.not_drawn,
            threads_not_drawn: threads.not_drawn,
            blocked: Vec::new(),
        }
    }

    /// Puts at most `segments` segments into the lanes, in `columns` columns.
    pub(crate) fn fill(&mut self, chronology: &Chronology, analysis: &Analysis, columns: usize, segments: usize) {
        self.columns = columns.max(1);
        let steps = lanes::steps(chronology, &self.lanes);
        let mut room = segments;
        let mut unfilled = self.lanes.len();
        for (lane, steps) in self.lanes.iter_mut().zip(&steps) {
            let mut cells = Cells::new(self.columns, chronology.duration);
            paint(&mut cells, lane.subject, chronology, analysis, steps);
            // What a lane leaves of its share is for those after it.
            lane.segments = cells.segments(room / unfilled);
            room = room.saturating_sub(lane.drawn().count());
            unfilled -= 1;
            for segment in &mut lane.segments {
                segment.label = label(chronology, analysis, lane.subject, segment);
            }
        }
        self.blocked = blocked(&self.lanes);
    }

    /// The column in which `time` is.
    pub fn column(&self, time: Nanos) -> usize {
        cells::column(time, self.columns, self.duration)
    }
}

fn paint(cells: &mut Cells, subject: Subject, chronology: &Chronology, analysis: &Analysis, steps: &[StepId]) {
    let step = |id: StepId| &chronology.steps[id.index()];
    if let (Subject::Task(_), Some(&first), Some(&last)) = (subject, steps.first(), steps.last()) {
        let last = step(last);
        let returned = last.left == Left::Returned;
        let until = if returned { last.end() } else { chronology.duration };
        cells.await_during(analysis.waits.since(first), until);
    }
    for &id in steps {
        let (start, end) = (step(id).start, step(id).end());
        cells.run(Interval { start, end, step: id });
    }
    if let Subject::Task(_) = subject {
        for &id in steps {
            let wait = Interval { start: analysis.waits.since(id), end: step(id).start, step: id };
            cells.wait(wait, !analysis.culprits(id).is_empty() || analysis.congested(id).is_some());
        }
    }
    for &id in steps {
        let (start, end) = (step(id).start, step(id).end());
        // A stall is nobody's fault, and drawn as any step.
        if end - start > analysis.threshold && analysis.starvation_by(id).is_some() {
            cells.block(Interval { start: start + analysis.threshold, end, step: id });
        }
    }
}

fn label(chronology: &Chronology, analysis: &Analysis, subject: Subject, segment: &Segment) -> String {
    let Some(id) = segment.step else { return String::new() };
    let step = &chronology.steps[id.index()];
    match (segment.state, subject) {
        (State::Ready, _) => match analysis.culprits(id) {
            [] => analysis.congested(id).map_or_else(String::new, |waited| {
                let waited = quantity::short(waited);
                format!("waited {waited} for many small steps")
            }),
            [longest, others @ ..] => {
                let culprit = sentence::actor(chronology, analysis.starvations[longest.starvation].actor);
                let waited = quantity::short(longest.waited);
                match others.len() {
                    0 => format!("waited {waited} for {culprit}"),
                    more => format!("waited {waited} for {culprit}, and for {more} more"),
                }
            }
        },
        (_, Subject::Thread(_)) => sentence::actor(chronology, step.actor),
        (State::Blocking, Subject::Task(_)) => match analysis.starvation_by(id).and_then(|long| seen(chronology, long))
        {
            Some(seen) => name::escaped(&format!("{}, {seen}", label::piece(chronology, step))),
            None => name::escaped(&label::piece(chronology, step)),
        },
        (_, Subject::Task(_)) => name::escaped(&label::piece(chronology, step)),
    }
}

/// What a culprit was seen doing, and at which line: `sleep at 12`; of another file than that in which it resumed,
/// `sleep at api.py:12`.
fn seen(chronology: &Chronology, starvation: &Starvation) -> Option<String> {
    let held = starvation.place();
    let place = &chronology.places[held.place.filter(|_| held.seen)?.index()];
    let resumed = chronology.steps[starvation.step.index()].resumed;
    let same_file = resumed.is_some_and(|resumed| chronology.places[resumed.index()].file == place.file);
    let at = if same_file { place.line.to_string() } else { label::position(place, name::file_name) };
    let cause = if held.cause == Cause::Unknown { "held" } else { held.cause.word() };
    Some(format!("{cause} at {at}"))
}

/// The columns in which some thread's lane is blocking.
fn blocked(lanes: &[Lane]) -> Vec<Range<usize>> {
    let mut ranges: Vec<_> = lanes
        .iter()
        .filter(|lane| matches!(lane.subject, Subject::Thread(_)))
        .flat_map(|lane| &lane.segments)
        .filter(|segment| segment.state == State::Blocking)
        .map(|segment| segment.from..segment.to)
        .collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
