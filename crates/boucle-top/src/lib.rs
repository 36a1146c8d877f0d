//! The live view of another process's event loop: who holds the processor, who waits, and who starved whom.
//!
//! A [`Source`] gives what happened in the last seconds, as a chronology: a running process by the memory its recorder
//! shares, or a recording that is played again. [`View`] keeps what a person looks at (the order of the table, the
//! filter, the starvations seen so far) and answers keys; [`screen`] draws it into a buffer of cells, which
//! [`terminal`] shows and `--once` prints.
//!
//! # Invariants
//!
//! * Nothing is asked of the watched process: it may be frozen, stopped or dead.
//! * What is drawn comes from one snapshot, so that the parts of a screen cannot disagree.
//! * A refresh costs no more than reading [`view::MOST_STEPS`] steps, and what is new: a busier loop is shown for a
//!   shorter time, and the screen says for how long.
//! * Each state is told by shape as well as by colour.
#![forbid(unsafe_code)]

pub mod incidents;
pub mod options;
pub mod process;
pub mod pulse;
pub mod replay;
pub mod rows;
pub mod screen;
pub mod source;
pub mod terminal;
pub mod theme;
pub mod view;
pub mod watched;

pub use options::{Mode, Options};
pub use replay::Replay;
pub use source::{Condition, Snapshot, Source, SourceError};
pub use view::View;
pub use watched::Watched;
