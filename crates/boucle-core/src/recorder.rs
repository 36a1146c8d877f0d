//! The recorder: writes down each step, always, at the price of one stamp and one 32-byte entry.
//!
//! Each thread that runs loops has one [`Ring`], mapped when it first runs one and reused by its later loops; when the
//! thread ends another may take it over ([`rings`]). A face hands in a [`RawStep`] when a step returns. Names are not
//! in it: actors and code are numbers that the face gives out, and looks up again when somebody asks for the run
//! ([`chronicle`]). Beside its ring a thread has a [`tally`], whose sums outlive the steps that the ring forgets.
//!
//! # Invariants
//!
//! * No allocation and no system call per step.
//! * A ring is bounded and overwrites its oldest steps; a reader learns how many it missed.
//! * Any thread may read a ring while its owner writes. What was overwritten meanwhile is left out, never torn.

pub mod account;
pub mod chronicle;
pub mod directory;
pub mod line_table;
pub mod live;
pub mod recent;
pub mod ring;
pub mod rings;
pub mod samples;
pub mod tally;
pub mod viewer;
pub mod words;

mod header;
mod mapping;

pub use header::identify;
pub use ring::{RawStep, Reading, Ring, Whereabouts, WokenBy};
