//! The outbox: what a step has written and not sent yet. It leaves when the step returns, each transport's in one segment.
//!
//! A server writes the head and the body of an answer apart; sent together they cost one system call and one segment. No
//! program may notice, but by counting segments. So writing is put off only
//!
//! * inside of a step of the loop, on the loop's thread,
//! * while the step is younger than [`PATIENCE`]: one that works on has its bytes leave at each write,
//! * and as long as little waits, see `transport::stream::writing`.
//!
//! Whatever a program could learn from the transport sends first and answers then; so do the calls after which the step may
//! block on purpose: `StreamWriter.drain()`, `run_in_executor`, a fork.
//!
//! Rejected: sending at the end of the turn. It saves no more where each step serves one connection, and the first step's
//! bytes would wait for the last step of the batch.

use std::time::Duration;

use boucle_core::clock::{Scale, Stamp};
use pyo3::{Python, ffi};

use super::LoopCore;
use crate::raw::guard::afterwards;
use crate::raw::{Owned, Result, This, method};
use crate::transport::stream;

/// The age of a step from which on nothing is put off.
const PATIENCE: Duration = Duration::from_millis(1);

impl LoopCore {
    /// The loop begins to run, with stamps of this scale.
    pub(super) fn set_patience(&self, scale: &Scale) {
        self.patience.set(scale.stamps(PATIENCE) as u64);
    }

    /// A step begins.
    #[inline]
    pub(super) fn puts_off_since(&self, start: Stamp) {
        self.puts_off_until.set(Stamp(start.0 + self.patience.get()));
    }

    /// No step runs any more.
    pub(super) fn puts_nothing_off(&self) {
        self.puts_off_until.set(Stamp::default());
    }

    /// Whether what is written now may wait until the step returns.
    #[inline]
    pub(crate) fn may_put_off(&self) -> bool {
        !self.writes_at_once.get() && Stamp::now() < self.puts_off_until.get() && !self.runs_elsewhere()
    }

    /// A transport has something to send when the step returns. Said once a step.
    pub(crate) fn send_after_step(&self, transport: Owned) {
        self.outbox.borrow_mut().push(transport);
        self.has_unsent.set(true);
    }
}

/// Sends what was put off.
pub(super) fn send(py: Python<'_>, core: This<'_, LoopCore>) -> Result<()> {
    core.has_unsent.set(false);
    let mut transports = core.outbox.take();
    let mut result = Ok(());
    for transport in &transports {
        result = afterwards(py, result, || stream::send_now(py, transport));
    }
    // Dropping one may run code that writes to another: the list is handed back empty, unless there is a new one.
    transports.clear();
    let mut outbox = core.outbox.borrow_mut();
    if outbox.is_empty() {
        *outbox = transports;
    }
    result
}

/// After a step: sends what it wrote, whatever came of it. What is written from now on leaves at once, by a destructor for
/// one that runs when the step's handle goes: the next step may be far away.
#[inline]
pub(super) fn after_step(py: Python<'_>, core: This<'_, LoopCore>, result: Result<()>) -> Result<()> {
    core.puts_nothing_off();
    if core.has_unsent.get() { afterwards(py, result, || send(py, core)) } else { result }
}

/// Sends what was put off, for calls after which the step may block.
pub(crate) fn send_unsent(py: Python<'_>, core: This<'_, LoopCore>) -> Result<()> {
    if core.has_unsent.get() { send(py, core) } else { Ok(()) }
}

pub(super) fn methods() -> [ffi::PyMethodDef; 1] {
    [method!(LoopCore, "_send_unsent", send_unsent, "Sends what waits for the end of the step.")]
}
