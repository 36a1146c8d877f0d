//! The transports of pipes, and of terminals and sockets that are used in one direction.
//!
//! * [`reading`]: the end that is read from. [`writing`]: the end that is written to.
//!
//! # Invariants
//!
//! * They are what subprocesses are spoken to with, so a write leaves at once, as on asyncio.
//! * The descriptor does not block, also for whoever else has it.

mod reading;
mod writing;

use std::os::fd::RawFd;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::ties::{self, Tied};
use crate::loop_core::LoopCore;
use crate::raw::{Args, Owned, Result, This};

/// Makes the two classes.
pub(crate) fn initialise(py: Python<'_>) -> Result<[Owned; 2]> {
    Ok([reading::initialise(py)?, writing::initialise(py)?])
}

/// `_make_read_pipe_transport(pipe, protocol, waiter=None, extra=None)`.
pub(super) fn make_reader(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let wanted = Wanted::of(py, args, "_make_read_pipe_transport")?;
    if wanted.kind == Kind::File {
        return Err(PyValueError::new_err("Pipe transport is for pipes/sockets only.").into());
    }
    reading::make(py, core, wanted)
}

/// `_make_write_pipe_transport(pipe, protocol, waiter=None, extra=None)`.
pub(super) fn make_writer(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let wanted = Wanted::of(py, args, "_make_write_pipe_transport")?;
    if wanted.kind == Kind::File {
        let text = "Pipe transport is only for pipes, sockets and character devices";
        return Err(PyValueError::new_err(text).into());
    }
    writing::make(py, core, wanted)
}

/// What a descriptor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pipe,
    Socket,
    /// A terminal, for one.
    Device,
    /// What is always ready: a regular file.
    File,
}

/// What a transport is to be made of.
struct Wanted {
    pipe: Owned,
    protocol: Owned,
    waiter: Option<Owned>,
    extra: Owned,
    fd: RawFd,
    kind: Kind,
}

impl Wanted {
    fn of(py: Python<'_>, args: Args<'_>, name: &str) -> Result<Self> {
        let [Some(pipe), Some(protocol), waiter, extra] =
            args.named(py, name, ["pipe", "protocol", "waiter", "extra"])?
        else {
            return Err(PyTypeError::new_err(format!("{name}() needs a pipe and a protocol")).into());
        };
        let extra = match extra {
            Some(extra) => extra.any(py).cast::<PyDict>().map_err(PyErr::from)?.copy()?,
            None => PyDict::new(py),
        };
        extra.set_item(intern!(py, "pipe"), pipe.any(py))?;
        let fd: RawFd = pipe.any(py).call_method0(intern!(py, "fileno"))?.extract()?;
        let mode = py.import("os")?.call_method1("fstat", (fd,))?.getattr("st_mode")?;
        let stat = py.import("stat")?;
        let is = |test| stat.call_method1(test, (&mode,))?.is_truthy();
        let kind = if is("S_ISFIFO")? {
            Kind::Pipe
        } else if is("S_ISSOCK")? {
            Kind::Socket
        } else if is("S_ISCHR")? {
            Kind::Device
        } else {
            Kind::File
        };
        Ok(Self { pipe, protocol, waiter, extra: extra.into_any().into(), fd, kind })
    }
}

/// Ties a new transport, and schedules its beginning. `reads` says whether it waits to read.
fn begin<T: Tied>(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, T>,
    wanted: Wanted,
    reads: bool,
) -> Result<()> {
    py.import("os")?.call_method1("set_blocking", (wanted.fd, false))?;
    ties::tie(py, core, this, wanted.pipe, wanted.fd, wanted.protocol)?;
    ties::begin(py, this, reads, wanted.waiter.as_ref())
}

/// How a repr goes on: whether it waits for its descriptor; without a loop, whether it is open.
fn state<T: Tied>(py: Python<'_>, this: This<'_, T>, waits: bool) -> Result<&'static str> {
    let ties = this.ties();
    Ok(match (ties.has_let_go(), ties.has_open_loop(py)?, waits) {
        (true, ..) => " closed",
        (false, false, _) => " open",
        (false, true, true) => " polling",
        (false, true, false) => " idle",
    })
}

/// `_pipe`.
fn get_pipe<T: Tied>(_: Python<'_>, this: This<'_, T>) -> Result<Option<Owned>> {
    Ok(this.ties().file())
}

/// Sets `_pipe`, for programs that close it themselves.
fn set_pipe<T: Tied>(_: Python<'_>, this: This<'_, T>, pipe: Option<Owned>) -> Result<()> {
    this.ties().set_file(pipe.filter(|pipe| !pipe.is_none()));
    Ok(())
}
