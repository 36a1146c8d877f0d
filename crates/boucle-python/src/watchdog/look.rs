//! One look at a thread whose step does not return: where it is, and what holds it there.
//!
//! Whether code that runs is Python's or C's is told by its instruction: Python's moves while processor time passes. A
//! thread that has no processor at the moment does not move either, so it is looked at until it has used some.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use boucle_chronology::{Cause, Origin, Place, stays};
use boucle_core::clock::{self, Stamp, Tick};
use boucle_core::futex;

use super::kernel::{Activity, Call};
use super::running::{self, RunningLoop};
use super::system_calls;
use crate::directory;
use crate::stacks::{Frame, Holder, RawFrame, Reader, Refusal, Stack};

/// How long a thread is left alone that did not get on since the last look.
const BLINK: Duration = Duration::from_micros(100);

/// How long a thread is looked at that gets no processor at all.
const LONGEST_IDLE: Duration = Duration::from_millis(2);

/// How long one is looked at that gets some: beside others it has turns of a few milliseconds.
const LONGEST: Duration = Duration::from_millis(30);

/// How often it is looked at: a short loop of Python's is found at the same instruction, that which calls, most of the time.
const LOOKS: usize = 20;

/// How much processor time an instruction of Python's does not stay in place.
const STANDSTILL: Duration = Duration::from_micros(300);

/// How often frames are read again that changed meanwhile.
const ATTEMPTS: usize = 20;

/// What was seen.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// When.
    pub(super) at: Stamp,
    /// What held the thread. `NoProcessor` while it has none.
    pub(super) cause: Cause,
    /// More about it, or why there is no stack.
    pub(super) detail: String,
    /// Where the code was, the innermost place first.
    pub(super) stack: Vec<Place>,
}

/// Looks at a thread. `None` where it has ended.
pub(super) fn look(reader: &Result<Reader, Refusal>, running: &RunningLoop) -> Option<Look> {
    let eye = Eye { reader: reader.as_ref().ok(), running };
    let used = clock::processor_time(running.thread)?;
    let stack = eye.walk();
    let at = Stamp::now();
    let (cause, mut detail) = match Activity::of(running.thread)? {
        Activity::Waits(call) => eye.waiting(call),
        Activity::WaitsElsewhere => (Cause::Unknown, String::new()),
        Activity::Runs => eye.computing(used, stack.as_ref())?,
    };
    let stack = eye.places(stack);
    let cause = if waits_for_a_child(cause, &stack) { Cause::Child } else { cause };
    if let (Err(refusal), true) = (reader, detail.is_empty()) {
        detail = format!("no stack: {refusal}");
    }
    Some(Look { at, cause, detail, stack })
}

/// Whether a wait for a pipe is `subprocess`'s for what a child writes.
fn waits_for_a_child(cause: Cause, stack: &[Place]) -> bool {
    cause == Cause::File && stack.iter().any(|place| place.file.ends_with("/subprocess.py"))
}

/// Sleeps for a moment.
fn blink(time: Duration) {
    futex::wait(&AtomicU32::new(0), 0, Some(time));
}

struct Eye<'a> {
    reader: Option<&'a Reader>,
    running: &'a RunningLoop,
}

impl Eye<'_> {
    /// The frames now, as soon as two readings agree.
    fn walk(&self) -> Option<Stack> {
        let reader = self.reader?;
        (0..ATTEMPTS).find_map(|attempt| {
            if attempt > 0 {
                blink(BLINK / 5);
            }
            reader.walk(self.running.subject).ok()
        })
    }

    fn innermost(&self) -> Option<RawFrame> {
        self.reader?.walk(self.running.subject).ok()?.frames.first().copied()
    }

    /// Whether another thread has the GIL.
    fn gil_is_elsewhere(&self) -> Option<bool> {
        Some(match self.reader?.gil()? {
            Holder::Nobody => true,
            Holder::Thread(holder) => holder != self.running.subject,
        })
    }

    fn waiting(&self, call: Call) -> (Cause, String) {
        let (cause, detail) = system_calls::cause(call);
        // Who wants the GIL waits for it at most a switch interval long at a time.
        let has_timeout = call.arguments[3] != 0;
        let taken = || matches!(self.reader.and_then(Reader::gil), Some(Holder::Thread(_)));
        if call.number == libc::SYS_futex && has_timeout && self.gil_is_elsewhere() == Some(true) && taken() {
            return (Cause::Gil, String::new());
        }
        (cause, detail)
    }

    /// What a thread computes that had used `used` when its stack was read.
    fn computing(&self, used: Duration, stack: Option<&Stack>) -> Option<(Cause, String)> {
        if self.reader.and_then(Reader::is_collecting) == Some(true) && self.gil_is_elsewhere() == Some(false) {
            return Some((Cause::Collector, String::new()));
        }
        let first = stack.and_then(|stack| stack.frames.first().copied());
        let began = Tick::now();
        let mut passed = Duration::ZERO;
        let mut looks = 0;
        let patience = |passed: Duration| if passed.is_zero() { LONGEST_IDLE } else { LONGEST };
        while (looks < LOOKS || passed < STANDSTILL) && began.until(Tick::now()) < patience(passed) {
            let before = passed;
            passed = clock::processor_time(self.running.thread)?.saturating_sub(used);
            if first.is_some() && self.innermost() != first {
                return Some((Cause::Python, String::new()));
            }
            if passed > before {
                looks += 1;
                continue;
            }
            if let Activity::Waits(call) = Activity::of(self.running.thread)? {
                return Some(self.waiting(call));
            }
            blink(BLINK);
        }
        if passed.is_zero() {
            return Some((Cause::NoProcessor, String::new()));
        }
        if first.is_none() {
            return Some((Cause::Unknown, String::new()));
        }
        let detail = if self.gil_is_elsewhere() == Some(true) { "without the GIL" } else { "" };
        Some((Cause::Native, detail.to_owned()))
    }

    /// The frames of the step in words: those further in than the loop's own.
    fn places(&self, stack: Option<Stack>) -> Vec<Place> {
        let (Some(reader), Some(stack)) = (self.reader, stack) else { return Vec::new() };
        let root = running::root();
        let of_the_step =
            |stack: Stack| -> Vec<_> { stack.frames.into_iter().take_while(|frame| frame.code != root).collect() };
        // Where the thread goes on running, a code object may be gone again: then the frames are read anew.
        let mut frames = reader.describe_all(&of_the_step(stack));
        for _ in 1..ATTEMPTS {
            if frames.is_ok() {
                break;
            }
            let Some(stack) = self.walk() else { break };
            frames = reader.describe_all(&of_the_step(stack));
        }
        let place = |frame: Frame| {
            let origin = directory::origin(&frame.file);
            Place { function: frame.function, file: frame.file, line: frame.line, origin }
        };
        frames.into_iter().flatten().map(place).collect()
    }
}

/// The place to name.
pub(super) fn place(stack: &[Place]) -> Option<&Place> {
    stays::place(stack, |place| place.origin)
}

/// The innermost function, where that is in a library; empty where it is the user's own, whose name says nothing.
pub(super) fn called(stack: &[Place]) -> String {
    let library = stack.first().filter(|place| place.origin == Origin::Library);
    library.map_or_else(String::new, |place| place.function.clone())
}
