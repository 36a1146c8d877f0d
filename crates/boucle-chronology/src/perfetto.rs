//! A recorded run as a Perfetto trace (`.pftrace`), for <https://ui.perfetto.dev> and its SQL.
//!
//! One thread for each of the run's threads, with a slice for each step; a track for each task, below that of its parent,
//! with a slice for each wait and each step; a counter of how many were ready. Perfetto chooses colours by the names of
//! slices, so the state stands first in them: `running`, `waiting for run1`, `BLOCK sleep app.py:41`. From a block a flow
//! leads to each victim's next step; its stack, cause and advice are with it.
//!
//! # Invariants
//!
//! * Events are in order of time, and on each track slices neither overlap nor nest, as no task runs on two threads at
//!   once.
//! * A flow connects one culprit's step with one victim's: a flow cannot fork.
//! * Waits shorter than a microsecond are left out, unless they are a victim's: nearly every step has one.
//!
//! The six messages needed are written by hand; a protobuf library would be many times as much code.

mod message;

use crate::analysis::{Analysis, Starvation, is_task};
use crate::layout::{Layout, Subject};
use crate::model::{Chronology, Nanos, StepId, ThreadId};
use crate::{advice, label, name, quantity, sentence};
use message::Message;
use std::collections::HashMap;

/// All tasks have a track, within reason.
const TASKS_MAX: usize = 100_000;
/// Flows of one block: more arrows than that nobody follows.
const FLOWS_MAX: usize = 200;
const SHORTEST_WAIT: Nanos = 1_000;

/// The one sequence of packets.
const SEQUENCE: u64 = 1;
const PROCESS: u64 = 1;
/// Any number will do, as long as process and main thread have the same.
const PROCESS_ID: u64 = 1;

mod field {
    pub(super) const PACKET: u64 = 1;
    // Of a packet.
    pub(super) const TIMESTAMP: u64 = 8;
    pub(super) const SEQUENCE: u64 = 10;
    pub(super) const TRACK_EVENT: u64 = 11;
    pub(super) const INTERNED: u64 = 12;
    pub(super) const SEQUENCE_FLAGS: u64 = 13;
    pub(super) const TRACK_DESCRIPTOR: u64 = 60;
    pub(super) const FIRST_ON_SEQUENCE: u64 = 87;
    // Of a track descriptor.
    pub(super) const UUID: u64 = 1;
    pub(super) const TRACK_NAME: u64 = 2;
    pub(super) const OF_PROCESS: u64 = 3;
    pub(super) const OF_THREAD: u64 = 4;
    pub(super) const PARENT: u64 = 5;
    pub(super) const COUNTER: u64 = 8;
    pub(super) const CHILD_ORDERING: u64 = 11;
    pub(super) const RANK: u64 = 12;
    // Of a process and a thread.
    pub(super) const PID: u64 = 1;
    pub(super) const PROCESS_NAME: u64 = 6;
    pub(super) const TID: u64 = 2;
    pub(super) const THREAD_NAME: u64 = 5;
    // Of an event.
    pub(super) const ANNOTATION: u64 = 4;
    pub(super) const TYPE: u64 = 9;
    pub(super) const NAME_ID: u64 = 10;
    pub(super) const TRACK: u64 = 11;
    pub(super) const COUNTER_VALUE: u64 = 30;
    pub(super) const FLOW: u64 = 47;
    pub(super) const LAST_OF_FLOW: u64 = 48;
    pub(super) const CALLSTACK: u64 = 55;
    // Of an annotation, of a frame of a callstack, of an interned name.
    pub(super) const ANNOTATION_NAME: u64 = 10;
    pub(super) const ANNOTATION_TEXT: u64 = 6;
    pub(super) const FRAMES: u64 = 1;
    pub(super) const FUNCTION: u64 = 1;
    pub(super) const FILE: u64 = 2;
    pub(super) const LINE: u64 = 3;
    pub(super) const EVENT_NAMES: u64 = 2;
    pub(super) const INTERNED_ID: u64 = 1;
    pub(super) const INTERNED_NAME: u64 = 2;
}

const SLICE_BEGIN: u64 = 1;
const SLICE_END: u64 = 2;
const COUNTER: u64 = 4;
const EXPLICIT_ORDER: u64 = 3;
/// The state of the sequence begins here, and this packet needs it.
const FIRST_PACKET: u64 = 1 | 2;
const LATER_PACKET: u64 = 2;

/// What happens at a moment, before it is written.
#[derive(Clone, Copy)]
enum Happening {
    WaitBegins,
    WaitEnds,
    Ready,
    StepBegins,
    StepEnds,
}

/// The trace.
pub fn draw(chronology: &Chronology, analysis: &Analysis) -> Vec<u8> {
    let mut trace = Trace {
        chronology,
        analysis,
        written: Message::default(),
        is_first: true,
        names: HashMap::new(),
        ready: vec![0; chronology.threads.len()],
        flows: flows(analysis),
    };
    trace.describe_tracks();
    for (time, step, happening) in happenings(chronology, analysis) {
        trace.write(time, step, happening);
    }
    trace.written.finish()
}

struct Trace<'a> {
    chronology: &'a Chronology,
    analysis: &'a Analysis,
    written: Message,
    is_first: bool,
    /// The names of slices so far, by their ids.
    names: HashMap<String, u64>,
    /// By thread, how many are ready.
    ready: Vec<u64>,
    flows: HashMap<StepId, Vec<u64>>,
}

/// By victim's step, the flows that end at it. A flow's id is that of the culprit's starvation and the victim's place in it.
fn flows(analysis: &Analysis) -> HashMap<StepId, Vec<u64>> {
    let mut flows: HashMap<StepId, Vec<u64>> = HashMap::new();
    for (index, starvation) in analysis.starvations.iter().enumerate() {
        for (place, victim) in starvation.victims.iter().take(FLOWS_MAX).enumerate() {
            flows.entry(victim.step).or_default().push(flow(index, place));
        }
    }
    flows
}

fn flow(starvation: usize, victim: usize) -> u64 {
    (starvation * FLOWS_MAX + victim) as u64 + 1
}

/// Everything in order of time; what happens at once, as it happens on each track.
fn happenings(chronology: &Chronology, analysis: &Analysis) -> Vec<(Nanos, StepId, Happening)> {
    let mut happenings = Vec::with_capacity(chronology.steps.len() * 5);
    for (index, step) in chronology.steps.iter().enumerate() {
        let id = StepId(index as u32);
        let since = analysis.waits.since(id);
        let is_seen = step.start - since >= SHORTEST_WAIT || !analysis.culprits(id).is_empty();
        // A callback that carries a wake and the task that it wakes are ready as one.
        if !analysis.waits.carried_a_wake(id) {
            happenings.push((since, id, Happening::Ready));
        }
        if is_seen && is_task(chronology, step.actor) {
            happenings.push((since, id, Happening::WaitBegins));
            happenings.push((step.start, id, Happening::WaitEnds));
        }
        happenings.push((step.start, id, Happening::StepBegins));
        happenings.push((step.end(), id, Happening::StepEnds));
    }
    // Stable: each track's are in order already.
    happenings.sort_by_key(|&(time, ..)| time);
    happenings
}

impl Trace<'_> {
    fn describe_tracks(&mut self) {
        let mut process = Message::default();
        process.number(field::PID, PROCESS_ID);
        process.text(field::PROCESS_NAME, &name::shown(&self.chronology.program));
        let mut track = Message::default();
        track.number(field::UUID, PROCESS);
        track.message(field::OF_PROCESS, &process);
        track.number(field::CHILD_ORDERING, EXPLICIT_ORDER);
        self.descriptor(&track);
        for index in 0..self.chronology.threads.len() {
            self.describe_thread(ThreadId(index as u32));
        }
        let layout = Layout::outline(self.chronology, self.analysis, TASKS_MAX, 0);
        for (rank, lane) in layout.lanes.iter().enumerate() {
            let Subject::Task(actor) = lane.subject else { continue };
            let parent = self.chronology.actors[actor.index()].parent;
            let mut track = Message::default();
            track.number(field::UUID, self.task_track(actor.index()));
            track.number(field::PARENT, parent.map_or(PROCESS, |parent| self.task_track(parent.index())));
            track.text(field::TRACK_NAME, &format!("{} ({})", lane.name, lane.caption));
            track.number(field::RANK, rank as u64);
            track.number(field::CHILD_ORDERING, EXPLICIT_ORDER);
            self.descriptor(&track);
        }
    }

    fn describe_thread(&mut self, id: ThreadId) {
        let mut thread = Message::default();
        thread.number(field::PID, PROCESS_ID);
        thread.number(field::TID, PROCESS_ID + u64::from(id.0));
        let called = name::shown(&self.chronology.threads[id.index()].name);
        thread.text(field::THREAD_NAME, &format!("processor: {called}"));
        let mut track = Message::default();
        track.number(field::UUID, Self::thread_track(id));
        track.message(field::OF_THREAD, &thread);
        self.descriptor(&track);
        let mut track = Message::default();
        track.number(field::UUID, self.ready_track(id));
        track.number(field::PARENT, PROCESS);
        track.text(field::TRACK_NAME, &format!("ready on {called}"));
        track.message(field::COUNTER, &Message::default());
        self.descriptor(&track);
    }

    fn thread_track(id: ThreadId) -> u64 {
        PROCESS + 1 + u64::from(id.0)
    }

    fn ready_track(&self, id: ThreadId) -> u64 {
        Self::thread_track(id) + self.chronology.threads.len() as u64
    }

    fn task_track(&self, actor: usize) -> u64 {
        (2 * self.chronology.threads.len() + actor) as u64 + PROCESS + 1
    }

    fn descriptor(&mut self, track: &Message) {
        let mut packet = Message::default();
        packet.message(field::TRACK_DESCRIPTOR, track);
        self.packet(packet);
    }

    fn write(&mut self, time: Nanos, id: StepId, happening: Happening) {
        let step = &self.chronology.steps[id.index()];
        let thread = step.thread;
        let task = is_task(self.chronology, step.actor).then(|| self.task_track(step.actor.index()));
        match happening {
            Happening::WaitBegins => {
                let name = self.wait_name(id);
                let track = task.expect("only a task's waits are drawn");
                self.begin(time, track, name, Message::default());
            }
            Happening::WaitEnds => self.end(time, task.expect("only a task's waits are drawn")),
            Happening::Ready => self.count(time, thread, 1),
            Happening::StepBegins => {
                if !self.analysis.waits.carried_a_wake(id) {
                    self.count(time, thread, -1);
                }
                let (on_thread, on_task) = self.step_names(id);
                let details = self.details(id, task.is_none());
                self.begin(time, Self::thread_track(thread), on_thread, details);
                if let Some(track) = task {
                    let details = self.details(id, true);
                    self.begin(time, track, on_task, details);
                }
            }
            Happening::StepEnds => {
                self.end(time, Self::thread_track(thread));
                if let Some(track) = task {
                    self.end(time, track);
                }
            }
        }
    }

    fn wait_name(&self, id: StepId) -> String {
        match self.analysis.culprits(id).first() {
            None => "waiting".to_owned(),
            Some(longest) => {
                let culprit = self.analysis.starvations[longest.starvation].actor;
                format!("waiting for {}", sentence::actor(self.chronology, culprit))
            }
        }
    }

    /// The names of a step's slices on its thread and on its task.
    fn step_names(&self, id: StepId) -> (String, String) {
        let actor = sentence::actor(self.chronology, self.chronology.steps[id.index()].actor);
        match self.analysis.starvation_by(id) {
            None => (actor, "running".to_owned()),
            Some(starvation) => {
                let what = self.block_name(starvation);
                (format!("BLOCK {actor}{what}"), format!("BLOCK{what}"))
            }
        }
    }

    /// The cause and the place of a block, as far as they are known, each after a space.
    fn block_name(&self, starvation: &Starvation) -> String {
        let mut what = String::new();
        if let Some(cause) = sentence::cause(starvation.place()) {
            what = format!(" {cause}");
        }
        if let Some(place) = starvation.place().place {
            let place = &self.chronology.places[place.index()];
            let file = name::escaped(name::file_name(&place.file));
            what = if place.line == 0 { format!("{what} {file}") } else { format!("{what} {file}:{}", place.line) };
        }
        what
    }

    /// What a slice says besides its name; with the ends of flows where `flows` says so.
    fn details(&self, id: StepId, flows: bool) -> Message {
        let step = &self.chronology.steps[id.index()];
        let mut event = Message::default();
        if let Some(piece) = label::piece_in_full(self.chronology, step, |path| path) {
            annotate(&mut event, "ran", &piece);
        }
        for &flow in self.flows.get(&id).filter(|_| flows).into_iter().flatten() {
            event.fixed(field::LAST_OF_FLOW, flow);
        }
        let Ok(index) = self.analysis.starvations.binary_search_by_key(&id, |starvation| starvation.step) else {
            return event;
        };
        let starvation = &self.analysis.starvations[index];
        for place in (0..starvation.victims.len().min(FLOWS_MAX)).filter(|_| flows) {
            event.fixed(field::FLOW, flow(index, place));
        }
        annotate(&mut event, "held the processor", &quantity::precise(starvation.duration));
        annotate(&mut event, "had to wait", &quantity::grouped(starvation.victim_count as u64));
        let place = starvation.place();
        if let Some(cause) = sentence::cause(place) {
            annotate(&mut event, "cause", &cause);
        }
        if let Some(advice) = advice::at(self.chronology, place) {
            annotate(&mut event, "advice", advice);
        }
        let mut callstack = Message::default();
        // Perfetto's callstacks begin with the outermost frame.
        for &frame in place.stack.iter().rev() {
            let place = &self.chronology.places[frame.index()];
            let mut frame = Message::default();
            frame.text(field::FUNCTION, &name::shown(&place.function));
            frame.text(field::FILE, &name::escaped(&place.file));
            frame.number(field::LINE, u64::from(place.line));
            callstack.message(field::FRAMES, &frame);
        }
        if !place.stack.is_empty() {
            event.message(field::CALLSTACK, &callstack);
        }
        event
    }

    fn count(&mut self, time: Nanos, thread: ThreadId, change: i8) {
        let ready = &mut self.ready[thread.index()];
        *ready = ready.saturating_add_signed(change.into());
        let mut event = Message::default();
        event.number(field::TYPE, COUNTER);
        event.number(field::COUNTER_VALUE, *ready);
        event.number(field::TRACK, self.ready_track(thread));
        self.event(time, &event, None);
    }

    fn begin(&mut self, time: Nanos, track: u64, name: String, mut event: Message) {
        let next = self.names.len() as u64 + 1;
        let id = *self.names.entry(name.clone()).or_insert(next);
        event.number(field::TYPE, SLICE_BEGIN);
        event.number(field::TRACK, track);
        event.number(field::NAME_ID, id);
        self.event(time, &event, (id == next).then_some((id, name)));
    }

    fn end(&mut self, time: Nanos, track: u64) {
        let mut event = Message::default();
        event.number(field::TYPE, SLICE_END);
        event.number(field::TRACK, track);
        self.event(time, &event, None);
    }

    /// Writes an event, with a name that is new.
    fn event(&mut self, time: Nanos, event: &Message, name: Option<(u64, String)>) {
        let mut packet = Message::default();
        packet.number(field::TIMESTAMP, time);
        packet.message(field::TRACK_EVENT, event);
        if let Some((id, name)) = name {
            let mut entry = Message::default();
            entry.number(field::INTERNED_ID, id);
            entry.text(field::INTERNED_NAME, &name);
            let mut interned = Message::default();
            interned.message(field::EVENT_NAMES, &entry);
            packet.message(field::INTERNED, &interned);
        }
        self.packet(packet);
    }

    fn packet(&mut self, mut packet: Message) {
        let is_first = std::mem::replace(&mut self.is_first, false);
        packet.number(field::SEQUENCE, SEQUENCE);
        packet.number(field::SEQUENCE_FLAGS, if is_first { FIRST_PACKET } else { LATER_PACKET });
        if is_first {
            packet.number(field::FIRST_ON_SEQUENCE, 1);
        }
        self.written.message(field::PACKET, &packet);
    }
}

fn annotate(event: &mut Message, name: &str, text: &str) {
    let mut annotation = Message::default();
    annotation.text(field::ANNOTATION_NAME, name);
    annotation.text(field::ANNOTATION_TEXT, text);
    event.message(field::ANNOTATION, &annotation);
}
