//! Water marks: when a protocol is told to pause writing, and to resume.
//!
//! What asyncio's `_FlowControlMixin` does, for every transport that has something to write.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::report::{self, Parties};
use crate::imports;
use crate::raw::{Args, Owned, Result, vector};

/// What asyncio takes where nothing is said: 64 KiB.
const DEFAULT_HIGH: usize = 64 * 1024;

/// After so many writes to a connection that is gone, each further one is worth a line in the log.
const LOST_WRITES_BEFORE_WARNING: u32 = 5;

/// The water marks of a transport.
pub(crate) struct Flow {
    high: Cell<usize>,
    low: Cell<usize>,
    /// Whether the protocol was told to pause.
    paused: Cell<bool>,
}

impl Default for Flow {
    fn default() -> Self {
        Self { high: Cell::new(DEFAULT_HIGH), low: Cell::new(DEFAULT_HIGH / 4), paused: Cell::default() }
    }
}

impl Flow {
    /// More than so many bytes make the protocol pause.
    #[inline]
    pub(crate) fn high(&self) -> usize {
        self.high.get()
    }

    /// Whether the protocol was told to pause.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// `(low, high)`.
    pub(crate) fn limits(&self, py: Python<'_>) -> Result<Owned> {
        Ok((self.low.get(), self.high.get()).into_pyobject(py)?.into_any().into())
    }

    /// Sets the marks from the arguments of `set_write_buffer_limits(high=None, low=None)`.
    pub(crate) fn set_limits(&self, py: Python<'_>, args: Args<'_>) -> Result<()> {
        let [high, low] = args.named(py, "set_write_buffer_limits", ["high", "low"])?;
        let number = |given: Option<Owned>| given.map(|given| given.any(py).extract::<i64>()).transpose();
        let (high, low) = (number(high)?, number(low)?);
        let (high, low) = marks(high, low, DEFAULT_HIGH as i64)?;
        self.high.set(high as usize);
        self.low.set(low as usize);
        Ok(())
    }

    /// So many bytes wait now, more than before: the protocol may have to pause.
    #[inline]
    pub(crate) fn grew(&self, py: Python<'_>, size: usize, parties: impl FnOnce() -> Option<Parties>) -> Result<()> {
        if size <= self.high.get() || self.paused.replace(true) {
            return Ok(());
        }
        tell(py, parties(), &imports::get(py).pause_writing, "protocol.pause_writing() failed")
    }

    /// So many bytes wait now, fewer than before: the protocol may go on.
    #[inline]
    pub(crate) fn shrank(&self, py: Python<'_>, size: usize, parties: impl FnOnce() -> Option<Parties>) -> Result<()> {
        if size > self.low.get() || !self.paused.replace(false) {
            return Ok(());
        }
        tell(py, parties(), &imports::get(py).resume_writing, "protocol.resume_writing() failed")
    }
}

/// `(high, low)` as asyncio takes them: what is not given follows from the other, or from the default. Raises `ValueError`
/// where they do not fit.
pub(crate) fn marks(high: Option<i64>, low: Option<i64>, default_high: i64) -> Result<(i64, i64)> {
    let high = high.unwrap_or_else(|| low.map_or(default_high, |low| low.saturating_mul(4)));
    let low = low.unwrap_or_else(|| high.div_euclid(4));
    if !(high >= low && low >= 0) {
        return Err(PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0")).into());
    }
    Ok((high, low))
}

#[cold]
fn tell(py: Python<'_>, parties: Option<Parties>, name: &Owned, message: &str) -> Result<()> {
    let Some(parties) = parties else { return Ok(()) };
    let Some(protocol) = &parties.protocol else { return Ok(()) };
    match vector::method(py, protocol, name, &[]) {
        Ok(_) => Ok(()),
        Err(raised) => {
            let exception = report::catch(py, raised)?;
            report::tell(py, &parties, message, &exception)
        }
    }
}

/// A write to a socket that is gone: counts it, and warns when it happens again and again.
pub(crate) fn lost_write(py: Python<'_>, lost: &Cell<u32>) -> Result<()> {
    lost_write_to(py, lost, "socket.send() raised exception.")
}

/// The same, of something else than a socket: with this warning.
pub(crate) fn lost_write_to(py: Python<'_>, lost: &Cell<u32>, warning: &str) -> Result<()> {
    if lost.get() >= LOST_WRITES_BEFORE_WARNING {
        report::warn(py, warning)?;
    }
    lost.set(lost.get() + 1);
    Ok(())
}
