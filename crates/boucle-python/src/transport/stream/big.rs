//! Big messages: received straight into the object in which they are handed on.
//!
//! The way through the loop's buffer costs a copy, which is nothing next to the system call for a small message, and a fifth
//! of all that is done for one of 100 KiB. So after a big message the next one is expected: an object of its size gets what
//! comes, and the loop's buffer what does not fit.
//!
//! # Invariants
//!
//! * A read brings no more than one through the loop's buffer would.
//! * Who is used to small messages pays for a comparison.

use std::mem::MaybeUninit;

use boucle_core::socket::{self, Outcome};
use pyo3::prelude::*;

use super::StreamTransport;
use crate::loop_core::LoopCore;
use crate::loop_core::source::Watcher;
use crate::raw::bytes::incoming;
use crate::raw::{Owned, Result, This};

/// Of less, another block of memory each time costs as much as the copy: 16 KiB gain nothing.
const BIG: usize = 32 * 1024;

/// A read has brought so much, of what there was room for.
#[inline]
pub(super) fn note(this: This<'_, StreamTransport>, watcher: This<'_, Watcher>, count: usize, room: usize) {
    if count < room && !watcher.may_have_left_some() {
        watcher.used_up_read();
    }
    // Too large an object is cut in place, while of too small a one all is copied: of sizes that vary the larger counts.
    this.likely.set(if is_big(count) { count.max(this.likely.get() / 4 * 3) } else { 0 });
}

/// Whether so many bytes are worth an object of their own.
pub(super) fn is_big(count: usize) -> bool {
    count >= BIG
}

/// One read, whose first `expected` bytes become an object. `take` gets that and the rest, if it brought something.
#[inline(never)]
pub(super) fn receive(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    expected: usize,
    take: impl FnOnce(Owned, &[u8]),
) -> Result<boucle_core::Result<Outcome>> {
    core.with_scratch(|scratch| {
        let expected = expected.min(scratch.len());
        let (data, outcome) =
            incoming::filled(py, expected, |memory| attempt(this, watcher, memory, &mut scratch[expected..]))?;
        if let (Some(data), &Ok(Outcome::Done(count))) = (data, &outcome) {
            take(data, &scratch[expected..count.max(expected)]);
        }
        Ok(outcome)
    })
}

/// One read into an empty `bytearray`. `take` gets what comes after the first `expected` bytes, if it brought something.
/// Nothing is read where somebody has borrowed the array's memory.
pub(super) fn receive_into(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    array: &Owned,
    expected: usize,
    take: impl FnOnce(&[u8]),
) -> Option<boucle_core::Result<Outcome>> {
    core.with_scratch(|scratch| {
        let expected = expected.min(scratch.len());
        let filled = incoming::fill_array(py, array, expected, |memory| {
            attempt(this, watcher, memory, &mut scratch[expected..])
        });
        let outcome = match filled {
            Ok(outcome) => outcome,
            Err(raised) => {
                drop(raised.take_value(py));
                return None;
            }
        };
        if let Ok(Outcome::Done(count @ 1..)) = outcome {
            take(&scratch[expected..count.max(expected)]);
        }
        Some(outcome)
    })
}

/// One read into memory that nobody has written yet, and into `rest` what does not fit; with what was written.
fn attempt<'a>(
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    memory: &'a mut [MaybeUninit<u8>],
    rest: &mut [u8],
) -> (&'a mut [u8], boucle_core::Result<Outcome>) {
    let room = memory.len() + rest.len();
    match socket::receive_in_two(this.fd.get(), memory, rest, watcher.cut()) {
        Ok((outcome, written)) => {
            if let Outcome::Done(count @ 1..) = outcome {
                note(this, watcher, count, room);
            }
            (written, Ok(outcome))
        }
        Err(error) => (&mut [], Err(error)),
    }
}
