//! Where the picture comes from: the last seconds of an event loop, as often as they are asked for.

use std::fmt;
use std::time::Duration;

use boucle_chronology::{ActorId, Chronology, Nanos, StepId};

/// What can be watched.
pub trait Source {
    /// What happened in the last `window`, up to now. Longer where a step that began before still counts.
    fn snapshot(&mut self, window: Duration) -> Result<Snapshot, SourceError>;
}

/// The last seconds of a process.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What ran. A step that still runs ends with the chronology.
    pub chronology: Chronology,
    /// When the chronology ends: nanoseconds since a moment that is the same for all snapshots of a source.
    pub now: Nanos,
    /// The steps that still run.
    pub running: Vec<StepId>,
    /// How many items were ready when the running step began; not known while none runs.
    pub ready: Option<u64>,
    /// Who is ready and waits, as far as it is known, and since when.
    pub waiting: Vec<(ActorId, Nanos)>,
    /// The process, where there is one.
    pub pid: Option<u32>,
    /// How long the process has been running.
    pub uptime: Option<Duration>,
    /// How the process is.
    pub condition: Condition,
}

/// How a process is, as the operating system sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It runs, or could.
    #[default]
    Alive,
    /// A signal or a debugger stopped it: no code of it runs.
    Stopped,
    /// It has ended. The snapshot is its last.
    Ended,
}

/// Why there is no picture.
#[derive(Debug)]
pub struct SourceError(pub String);

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SourceError {}

impl Snapshot {
    /// When a point in time of the chronology was, in the time of [`now`](Self::now).
    pub fn moment(&self, time: Nanos) -> Nanos {
        (self.now + time).saturating_sub(self.chronology.duration)
    }

    /// Whether a step still runs.
    pub fn runs(&self, step: StepId) -> bool {
        self.running.contains(&step)
    }
}
