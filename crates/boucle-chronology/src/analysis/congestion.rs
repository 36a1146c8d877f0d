//! Many small steps that together keep others waiting: ten of 10 ms hurt as much as one of 100 ms.

use super::readiness::Readiness;
use super::starvation::Victim;
use crate::model::{ActorId, Chronology, Nanos, ThreadId};

/// A time in which steps within the threshold kept others waiting for longer than the threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Congestion {
    /// The thread whose steps had to queue.
    pub thread: ThreadId,
    /// When the first of those that waited too long became ready.
    pub start: Nanos,
    /// Until the last of them began.
    pub duration: Nanos,
    /// How many steps, none of them longer than the threshold, held the processor meanwhile.
    pub steps: usize,
    /// How long they held it, all together.
    pub busy: Nanos,
    /// Whose steps these were, the longest time first.
    pub shares: Vec<Share>,
    /// Those that were ready and waited for these steps for longer than the threshold, the longest wait first. Not all
    /// where there are very many.
    pub victims: Vec<Victim>,
    /// How many waited too long.
    pub victim_count: usize,
}

/// One actor's part of a congestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Whose part it is.
    pub actor: ActorId,
    /// How many steps it ran.
    pub steps: usize,
    /// How long they held the processor.
    pub busy: Nanos,
}

pub(super) fn of(_chronology: &Chronology, _threshold: Nanos, _waits: &Readiness) -> Vec<Congestion> {
    Vec::new()
}
