//! The recorded run of an event loop: who held the processor, when and for how long, and who was ready and had to wait.
//!
//! A face (Python or Rust) turns what the recorder wrote into a [`Chronology`]. From there everything is a pure
//! function: [`analysis`] finds starvations, their places and their victims, [`sentence`] tells them, [`advice`] says
//! what to do, [`text`], [`svg`] and [`html`] draw, [`perfetto`] and [`json`] serve other programs,
//! [`format`](mod@format) turns a chronology into bytes and back.
//!
//! # Invariants
//!
//! * No I/O and no clock: bytes and times come in as arguments, bytes and text go out.
//! * A picture states only what was recorded. What the recorder lost is counted and said.
//! * Every picture has its lanes from one [`layout`], so that they cannot disagree.
//! * A [`Chronology`] that is analysed or drawn passes [`Chronology::check`], as everything does that was decoded, and an
//!   [`Analysis`] is used with the chronology it is of. What does not may panic, and nothing else does.
#![forbid(unsafe_code)]

pub mod advice;
pub mod analysis;
mod axis;
mod findings;
pub mod format;
pub mod html;
pub mod json;
pub mod label;
pub mod layout;
pub mod model;
pub mod name;
pub mod part;
pub mod perfetto;
pub mod quantity;
pub mod sentence;
pub mod stays;
pub mod svg;
pub mod text;
mod wrap;

pub use analysis::Analysis;
pub use format::{DecodeError, decode, encode};
pub use layout::Layout;
pub use model::{
    Actor, ActorId, ActorKind, Cause, Chronology, Left, Nanos, Origin, Place, PlaceId, Sample, Step, StepId, Thread,
    ThreadId, Wake,
};
