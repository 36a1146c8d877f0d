//! An event loop for Rust futures that shows what it did: the core under Python's `boucle.Loop`, without Python.
//!
//! One thread, many tasks; each keeps the processor until it awaits. A run can be recorded and drawn:
//!
//! ```
//! use boucle::{Recording, gather, run, sleep};
//! use std::time::Duration;
//!
//! let recording = Recording::start();
//! let both = run(async {
//!     gather!(async { sleep(Duration::from_millis(2)).await; 1 }, async { 2 })
//! });
//! assert_eq!(both, (1, 2));
//! assert_eq!(recording.chronology("example").actors[1].name, "Task-2");
//! ```
//!
//! * [`run`], [`EventLoop`]: start a loop.
//! * [`spawn`], [`spawn_named`], [`gather!`], [`JoinHandle`]: tasks.
//! * [`sleep()`], [`yield_now`]: let others run.
//! * [`Recording`]: the chronology of a run.
//!
//! There are no sockets yet.
//!
//! # Invariants
//!
//! * Futures and results need not be `Send`: they never leave the thread. A waker may be called from any thread.
//! * No cell of the loop is borrowed while a future is polled or dropped.
#![forbid(unsafe_code)]

mod event_loop;
mod gather;
mod names;
mod sleep;
mod task;

pub use boucle_chronology as chronology;
pub use event_loop::{EventLoop, run};
pub use names::Recording;
pub use sleep::{Sleep, YieldNow, sleep, yield_now};
pub use task::{JoinHandle, spawn, spawn_named};

#[doc(hidden)]
pub use gather::{Argument, SpawnArgument};
