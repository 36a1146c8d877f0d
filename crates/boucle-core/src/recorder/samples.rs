//! What watchdogs saw of the steps that went on for long: the last of it, for the whole process.
//!
//! Samples are rare, at most a hundred a second and only while a step starves others, so they may allocate and lock.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use boucle_chronology::{Cause, Place};

use crate::clock::Stamp;

/// How many are kept. A step of a minute makes about sixty.
const KEPT: usize = 8192;

/// One look at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSample {
    /// The ring of the thread, by its number in [`super::rings::all`].
    pub ring: u32,
    /// The sequence number that the step has in its ring once it has returned.
    pub sequence: u64,
    /// When it was looked at.
    pub at: Stamp,
    /// What held the processor.
    pub cause: Cause,
    /// What it waited for, if known.
    pub detail: String,
    /// Where the code was, the innermost place first.
    pub stack: Vec<Place>,
}

static SAMPLES: Mutex<VecDeque<RawSample>> = Mutex::new(VecDeque::new());

/// Keeps a sample, and lets go of the oldest.
pub fn keep(sample: RawSample) {
    let mut samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
    if samples.len() == KEPT {
        samples.pop_front();
    }
    samples.push_back(sample);
}

/// The samples that are kept, oldest first.
pub fn all() -> Vec<RawSample> {
    SAMPLES.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}
