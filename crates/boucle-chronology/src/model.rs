//! What a recorded run is made of: threads, actors, places, steps, and samples of the steps that went on for long.
//!
//! A step is one uninterrupted run of a callback, or of a task between two awaits. It names its actor, the thread that
//! ran it, how long the actor had been ready before, what made it ready, and the places where the code resumed and
//! left. Everything else (waits, starvations, utilisation) follows from steps and is computed in `analysis`.
//!
//! # Invariants
//!
//! * Steps are ordered by their start. Steps of one thread do not overlap.
//! * Samples are ordered by their step, and those of a step by their time, which is within the step.
//! * An id is an index into the vector of its kind and is in range; [`Chronology::check`] says where it is not.

use std::fmt;

/// A point in time or a duration, in nanoseconds. Points in time count from the start of the recording.
pub type Nanos = u64;

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The index into the vector of its kind.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index! {
    /// Names an [`Actor`].
    ActorId
}
index! {
    /// Names a [`Place`].
    PlaceId
}
index! {
    /// Names a [`Step`].
    StepId
}
index! {
    /// Names a [`Thread`].
    ThreadId
}

/// A recorded run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chronology {
    /// What ran, as a person would name it: `pieces.py`, `-m uvicorn app:app`.
    pub program: String,
    /// What recorded it: `boucle 0.1.0, CPython 3.13.0`.
    pub recorded_by: String,
    /// How long the recording lasted. No step ends later.
    pub duration: Nanos,
    /// The threads that ran steps.
    pub threads: Vec<Thread>,
    /// The places in the code that steps refer to.
    pub places: Vec<Place>,
    /// The tasks and callbacks that steps refer to.
    pub actors: Vec<Actor>,
    /// What ran, ordered by start.
    pub steps: Vec<Step>,
    /// What a watchdog saw of the steps that went on for long, ordered by step, then by time.
    pub samples: Vec<Sample>,
    /// How many older steps the recorder overwrote before they could be kept.
    pub lost: u64,
}

/// A thread that ran an event loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its name in the program, such as `MainThread`.
    pub name: String,
}

/// What runs: a task, or a callback that belongs to no task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Whether it is a task or a callback.
    pub kind: ActorKind,
    /// The name a user sees: `Task-3`, `run1`; for a callback its qualified name.
    pub name: String,
    /// The qualified name of the coroutine a task runs; for a callback its qualified name.
    pub function: String,
    /// The task whose step created this one, where known.
    pub parent: Option<ActorId>,
}

/// The two kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// A task: its steps are the pieces of a coroutine between two awaits.
    Task,
    /// A callback of `call_soon`, a timer or a file descriptor. Every run of it is one step.
    Callback,
}

/// A line of code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The qualified name of the function.
    pub function: String,
    /// The file, as the language's runtime names it.
    pub file: String,
    /// The line, from 1; 0 where it is unknown.
    pub line: u32,
    /// Whose code it is.
    pub origin: Origin,
}

/// Whose code a place is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The user's own code.
    User,
    /// The standard library or an installed package.
    Library,
}

/// One uninterrupted run of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The thread that ran it.
    pub thread: ThreadId,
    /// Who ran.
    pub actor: ActorId,
    /// When it began.
    pub start: Nanos,
    /// How long it held the processor.
    pub duration: Nanos,
    /// How long the actor had been ready when the step began.
    pub waited: Nanos,
    /// What made the actor ready.
    pub woken_by: Wake,
    /// Where the code went on: the await of the step before, or the first line of the function.
    pub resumed: Option<PlaceId>,
    /// Where the code left the processor.
    pub left: Left,
}

impl Step {
    /// When it ended.
    pub fn end(&self) -> Nanos {
        self.start.saturating_add(self.duration)
    }

    /// When the actor became ready.
    pub fn ready_since(&self) -> Nanos {
        self.start.saturating_sub(self.waited)
    }
}

/// What made an actor ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// An earlier step: it set a future's result, created the task or called `call_soon`.
    Step(StepId),
    /// A timer whose deadline came.
    Timer,
    /// A file descriptor that became ready.
    Io,
    /// Another thread.
    Thread,
    /// Nothing that was recorded: code outside any step, or a step that was overwritten.
    Unknown,
}

/// How a step left the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It awaited here.
    Awaited(PlaceId),
    /// It ran to its end, or raised.
    Returned,
    /// Not recorded.
    Unknown,
}

/// What a watchdog saw of a step while it went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The step.
    pub step: StepId,
    /// When it was looked at.
    pub at: Nanos,
    /// What held the processor then.
    pub cause: Cause,
    /// What it waited for where that is known: `10.0.0.3:5432` of a socket, the name of a system call. Else empty.
    pub detail: String,
    /// Where the code was, the innermost place first; empty where it could not be read.
    pub stack: Vec<PlaceId>,
}

/// What a step does that does not return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// It could not be found out.
    Unknown,
    /// It sleeps, as in `time.sleep`.
    Sleep,
    /// It waits for a socket.
    Socket,
    /// It waits for a file or a pipe.
    File,
    /// It waits for a lock.
    Lock,
    /// It waits for a child process.
    Child,
    /// It waits in another system call.
    SystemCall,
    /// It computes in Python.
    Python,
    /// It computes in C and holds the GIL.
    Native,
    /// It wants the GIL, which another thread holds.
    Gil,
    /// The garbage collector runs.
    Collector,
    /// It could run, but the operating system gave it no processor: nobody is to blame.
    NoProcessor,
}

impl Cause {
    /// All causes, with the words that stand for them in files and messages.
    pub const WORDS: [(Cause, &'static str); 12] = [
        (Cause::Unknown, "unknown"),
        (Cause::Sleep, "sleep"),
        (Cause::Socket, "socket"),
        (Cause::File, "file"),
        (Cause::Lock, "lock"),
        (Cause::Child, "child process"),
        (Cause::SystemCall, "system call"),
        (Cause::Python, "Python code"),
        (Cause::Native, "C code holding the GIL"),
        (Cause::Gil, "waiting for the GIL"),
        (Cause::Collector, "garbage collector"),
        (Cause::NoProcessor, "no processor"),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Cause::WORDS[self as usize].1
    }
}

/// What is wrong with a chronology: an id that names nothing, or steps out of order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inconsistent {
    /// The position of the faulty item in its vector.
    pub index: usize,
    /// What is wrong with it, in words.
    pub what: &'static str,
}

impl fmt::Display for Inconsistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (item {})", self.what, self.index)
    }
}

impl Chronology {
    /// Whether every id is in range and the steps are in order. Decoded input is checked once, so that no later code
    /// has to.
    pub fn check(&self) -> Result<(), Inconsistent> {
        let fault = |index, what| Err(Inconsistent { index, what });
        for (index, actor) in self.actors.iter().enumerate() {
            if actor.parent.is_some_and(|parent| parent.index() >= self.actors.len()) {
                return fault(index, "the parent of an actor does not exist");
            }
        }
        let mut ends = vec![0; self.threads.len()];
        let mut last_start = 0;
        for (index, step) in self.steps.iter().enumerate() {
            let Some(end) = ends.get_mut(step.thread.index()) else {
                return fault(index, "the thread of a step does not exist");
            };
            if step.actor.index() >= self.actors.len() {
                return fault(index, "the actor of a step does not exist");
            }
            let left = if let Left::Awaited(place) = step.left { Some(place) } else { None };
            if [step.resumed, left].into_iter().flatten().any(|place| place.index() >= self.places.len()) {
                return fault(index, "the place of a step does not exist");
            }
            if matches!(step.woken_by, Wake::Step(by) if by.index() >= index) {
                return fault(index, "a step is woken by itself or by a later one");
            }
            if step.start < last_start || step.start < *end {
                return fault(index, "a step begins before the one before it");
            }
            if step.start.checked_add(step.duration).is_none_or(|end| end > self.duration) {
                return fault(index, "a step ends after the recording");
            }
            last_start = step.start;
            *end = step.end();
        }
        self.check_samples()
    }

    fn check_samples(&self) -> Result<(), Inconsistent> {
        let mut last = (StepId(0), 0);
        for (index, sample) in self.samples.iter().enumerate() {
            let fault = |what| Err(Inconsistent { index, what });
            let Some(step) = self.steps.get(sample.step.index()) else {
                return fault("the step of a sample does not exist");
            };
            if sample.at < step.start || sample.at > step.end() {
                return fault("a sample is not within its step");
            }
            if (sample.step, sample.at) < last {
                return fault("a sample comes before the one before it");
            }
            if sample.stack.iter().any(|place| place.index() >= self.places.len()) {
                return fault("the place of a sample does not exist");
            }
            last = (sample.step, sample.at);
        }
        Ok(())
    }
}
