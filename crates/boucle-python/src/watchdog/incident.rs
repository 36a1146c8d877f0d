//! What is known of a step that starves others, from the first look that blames it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use boucle_chronology::{Place, stays};
use boucle_core::clock::Stamp;
use boucle_core::futex;
use boucle_core::watchdog::Identity;

use super::frequency::Permit;
use super::look::{self, Look};
use super::text::Stay;

/// Which step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// What runs, who, and since when.
    pub(super) identity: Identity,
    /// The number of its ring.
    pub(super) ring: u32,
    /// The address of what its loop has to run.
    pub(super) turn: usize,
}

/// A step that starves others.
#[derive(Debug)]
pub(super) struct Incident {
    /// Which step.
    pub(super) step: Step,
    /// What was seen of it.
    pub(super) seen: Look,
    /// How long it had held by then.
    pub(super) held: Duration,
    /// Whether a person is told.
    pub(super) permit: Permit,
    /// When the report was ready.
    pub(super) at: Stamp,
    /// Who has told of it: the word of a futex.
    told: AtomicU32,
}

/// Nobody yet.
const UNTOLD: u32 = 0;
/// Python, which got the GIL in time.
const BY_PYTHON: u32 = 1;
/// The watcher, in a line of its own.
const BY_WATCHER: u32 = 2;

impl Incident {
    /// An incident that nobody was told of.
    pub(super) fn new(step: Step, seen: Look, held: Duration, permit: Permit, at: Stamp) -> Self {
        Self { step, seen, held, permit, at, told: AtomicU32::new(UNTOLD) }
    }

    /// Waits at most `patience` for Python to take the report over. Whether it did; if not, it is the watcher's to tell.
    pub(super) fn wait_for_python(&self, patience: Duration) -> bool {
        futex::wait(&self.told, UNTOLD, Some(patience));
        self.told.compare_exchange(UNTOLD, BY_WATCHER, Ordering::SeqCst, Ordering::SeqCst).is_err()
    }

    /// Python has the GIL and takes the report over. Whether a line was written already.
    pub(super) fn take_over(&self) -> bool {
        let former = self.told.compare_exchange(UNTOLD, BY_PYTHON, Ordering::SeqCst, Ordering::SeqCst);
        futex::wake(&self.told);
        former == Err(BY_WATCHER)
    }

    /// Where it was.
    pub(super) fn place(&self) -> Option<&Place> {
        look::place(&self.seen.stack)
    }
}

/// Where a step that took `held` was, and why: the first is what it is blamed for. `nanos` makes nanoseconds of stamps.
pub(super) fn stays(looks: &[Look], start: Stamp, held: Duration, nanos: impl Fn(u64) -> u64) -> Vec<Stay> {
    let seen: Vec<_> =
        looks.iter().map(|one| stays::Look::at_stack(nanos(one.at.since(start)), &one.stack, one.cause)).collect();
    let told = stays::of(&seen, 0, held.as_nanos() as u64).into_iter().map(|stay| {
        let stack = stay.stack.map_or(&[][..], |look| &looks[look].stack);
        Stay {
            place: look::place(stack).cloned(),
            cause: stay.cause,
            detail: looks[stay.look].detail.clone(),
            called: look::called(stack),
            held: Duration::from_nanos(stay.held),
        }
    });
    told.collect()
}
