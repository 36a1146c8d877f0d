//! Flow control: between which sizes of a buffer its source is paused.

use std::cell::Cell;

use pyo3::intern;
use pyo3::prelude::*;

use super::{SSLProtocol, callbacks, names};
use crate::imports;
use crate::raw::args::Arg;
use crate::raw::{Args, Owned, Result, This, vector};
use crate::transport::flow;

/// Default high-water marks in KiB, as asyncio's.
pub(super) const READ_KIB: i64 = 256;
pub(super) const WRITE_KIB: i64 = 512;

/// The sizes at which a source is paused, and at which it goes on.
#[derive(Default)]
pub(super) struct Marks {
    high: Cell<i64>,
    low: Cell<i64>,
}

impl Marks {
    /// Sets both; what is not given follows from the other, or from the default.
    pub(super) fn set(&self, high: Option<i64>, low: Option<i64>, kib: i64) -> Result<()> {
        let (high, low) = flow::marks(high, low, kib * 1024)?;
        self.high.set(high);
        self.low.set(low);
        Ok(())
    }

    /// Low and high, as Python is told.
    pub(super) fn both(&self) -> (i64, i64) {
        (self.low.get(), self.high.get())
    }

    /// What a source that is paused or not has to do with so many bytes buffered: pause, go on, or nothing.
    fn verdict(&self, size: usize, paused: bool) -> Option<Verdict> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        if size >= self.high.get() && !paused {
            Some(Verdict::Pause)
        } else if size <= self.low.get() && paused {
            Some(Verdict::Resume)
        } else {
            None
        }
    }
}

enum Verdict {
    Pause,
    Resume,
}

/// The arguments of `set_write_buffer_limits(high=None, low=None)`.
pub(super) fn limits(py: Python<'_>, args: Args<'_>) -> Result<(Option<i64>, Option<i64>)> {
    let (mut high, mut low) = (args.get(0).map(Arg::to_owned), args.get(1).map(Arg::to_owned));
    for (name, value) in args.keywords() {
        if name.is(&Owned::from(intern!(py, "high").clone().into_any())) {
            high = Some(value.to_owned());
        } else if name.is(&Owned::from(intern!(py, "low").clone().into_any())) {
            low = Some(value.to_owned());
        } else {
            return Err(pyo3::exceptions::PyTypeError::new_err("the limits are high and low").into());
        }
    }
    Ok((limit(py, high)?, limit(py, low)?))
}

/// A limit: a number, which may be infinite.
fn limit(py: Python<'_>, value: Option<Owned>) -> Result<Option<i64>> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(None) };
    let value = value.any(py);
    if value.is_instance_of::<pyo3::types::PyFloat>() {
        #[expect(clippy::cast_possible_truncation, reason = "an infinite limit becomes the largest there is")]
        return Ok(Some(value.extract::<f64>()? as i64));
    }
    Ok(Some(value.extract()?))
}

/// How many bytes a BIO holds.
fn pending(py: Python<'_>, bio: Option<Owned>) -> Result<usize> {
    match bio {
        Some(bio) => {
            let size = names::ssl(py).pending.get(py, &bio)?;
            Ok(size.small_int().and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX))
        }
        None => Ok(0),
    }
}

/// How many encrypted bytes wait to be handed down.
pub(super) fn outgoing_size(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<usize> {
    pending(py, this.outgoing.get())
}

/// How many bytes wait to be written: plain ones, and encrypted ones.
pub(super) fn write_buffer_size(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<usize> {
    Ok(outgoing_size(py, this)? + this.backlog_size.get())
}

/// How many encrypted bytes wait to be read.
pub(super) fn read_buffer_size(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<usize> {
    pending(py, this.incoming.get())
}

/// Tells the application to stop writing, or to go on. `empty` says that nothing encrypted is left.
pub(super) fn control_app_writing(py: Python<'_>, this: This<'_, SSLProtocol>, empty: bool) -> Result<()> {
    let paused = this.app_writing_paused.get();
    let size = if empty { this.backlog_size.get() } else { write_buffer_size(py, this)? };
    match this.outgoing_marks.verdict(size, paused) {
        Some(Verdict::Pause) => {
            this.app_writing_paused.set(true);
            tell(py, this, intern!(py, "pause_writing"))
        }
        Some(Verdict::Resume) => {
            this.app_writing_paused.set(false);
            tell(py, this, intern!(py, "resume_writing"))
        }
        None => Ok(()),
    }
}

fn tell(py: Python<'_>, this: This<'_, SSLProtocol>, name: &Bound<'_, pyo3::types::PyString>) -> Result<()> {
    let Some(protocol) = this.app_protocol.get() else { return Ok(()) };
    let Err(raised) = callbacks::in_context(py, this, || vector::method(py, &protocol, name, &[]).map(drop)) else {
        return Ok(());
    };
    let exception = raised.take_value(py);
    if imports::ends_the_program(py, &exception) {
        return Err(crate::raw::Raised::put_back(py, exception));
    }
    callbacks::report(py, this, &format!("protocol.{name}() failed"), &exception, this.app_transport.get().as_ref())
}

/// Tells the lower transport to stop reading, or to go on.
pub(super) fn control_ssl_reading(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    let paused = this.ssl_reading_paused.get();
    let verdict = this.incoming_marks.verdict(read_buffer_size(py, this)?, paused);
    let (name, now) = match verdict {
        Some(Verdict::Pause) => (intern!(py, "pause_reading"), true),
        Some(Verdict::Resume) => (intern!(py, "resume_reading"), false),
        None => return Ok(()),
    };
    let Some(lower) = this.lower.get() else { return Ok(()) };
    this.ssl_reading_paused.set(now);
    vector::method(py, &lower, name, &[]).map(drop)
}
