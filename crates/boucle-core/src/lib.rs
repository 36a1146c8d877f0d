//! The event loop as data: what is ready, what is due, what the kernel reported, and what ran.
//!
//! A turn of the loop is three calls. Nothing in between needs a callback, an interpreter or a clock of the core's own:
//!
//! ```text
//! let wait = turn.begin(now, stopping);        // may we sleep, and for how long?
//! reactor.wait(wait, &mut events);             // the only place that blocks
//! turn.collect(now, events);                   // the batch: what was ready, then I/O as reported, then due timers
//! while let Some(entry) = turn.pop()  { .. }   // one at a time: an interrupt leaves the rest queued
//! ```
//!
//! A *face* runs the items: Python callbacks in `boucle-python`, Rust futures in `boucle`. The core is generic over
//! them, so the same turn runs under a simulated reactor, a virtual clock and a property test.
//!
//! # Invariants
//!
//! * No Python, and no callback into a face.
//! * Time is an argument everywhere but in [`clock`].
//! * Scheduling decisions (what runs, in which order, whether to poll or to sleep) are made here and nowhere else.

pub mod attendant;
pub mod clock;
pub mod connection;
pub mod datagram;
pub mod error;
pub mod futex;
pub mod heap;
pub mod inbox;
pub mod outgoing;
pub mod pipe;
pub mod process;
pub mod reactor;
pub mod recorder;
pub mod socket;
pub mod timers;
pub mod turn;
pub mod watchdog;

mod sync;

pub use error::{Error, Result};
