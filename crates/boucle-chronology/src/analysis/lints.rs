//! What a program does that it hardly means to do.

use super::readiness::Readiness;
use crate::model::{ActorId, Chronology, Nanos, PlaceId, ThreadId};

/// Something a program hardly means to do. `sentence::lint` tells it, `advice::lint` what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lint {
    /// What it is.
    pub kind: LintKind,
    /// The thread on which it happened.
    pub thread: ThreadId,
    /// Who did it, as far as it was one actor.
    pub actor: Option<ActorId>,
    /// Where, if known.
    pub place: Option<PlaceId>,
    /// When it began.
    pub start: Nanos,
    /// How long it went on.
    pub duration: Nanos,
    /// How often it happened; for callbacks that pile up, how many were ready in the end.
    pub count: usize,
    /// The longest of its waits; for a busy loop, how long it held the processor.
    pub time: Nanos,
}

/// The kinds of lints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LintKind {
    /// A task that yields with `sleep(0)` over and over while nothing else happens: it waits by computing.
    BusyLoop,
    /// Each turn makes more callbacks ready than it runs.
    PileUp,
    /// Timers that were late by more than the threshold while no step held the processor.
    LateTimers,
}

pub(super) fn of(_chronology: &Chronology, _threshold: Nanos, _waits: &Readiness) -> Vec<Lint> {
    Vec::new()
}
