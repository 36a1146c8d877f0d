//! What ties a transport: its loop, its watcher, the object whose descriptor it has, its protocol, and how it lets go.
//!
//! A transport that waits for its descriptor as long as that is ready ([`Tied`]) has one [`Ties`]; what is done with them
//! is the same for all.
//!
//! # Invariants
//!
//! * The protocol is told of the loss once: whoever schedules it or is about to tell has set `lost`.
//! * All callbacks of the protocol run in one context: the one in which the transport was made.
//! * The registration with the kernel ends before the object is closed, and that is closed once.

use std::cell::Cell;
use std::os::fd::RawFd;

use pyo3::intern;
use pyo3::prelude::*;

use super::report::{self, Parties};
use crate::imports;
use crate::loop_core::source::{Manner, Source, Watcher};
use crate::loop_core::{LoopCore, tasks};
use crate::raw::args::Arg;
use crate::raw::class::MaybeInstance;
use crate::raw::context::{self, Context};
use crate::raw::guard::afterwards;
use crate::raw::{Args, ObjectCell, Owned, Raised, Result, This, vector};
use crate::witness;

/// What ties a transport.
#[derive(Default)]
pub(crate) struct Ties {
    /// The loop, until the connection is lost.
    core: MaybeInstance<LoopCore>,
    watcher: MaybeInstance<Watcher>,
    /// The socket or the pipe, until the connection is lost.
    file: ObjectCell,
    protocol: ObjectCell,
    context: ObjectCell,
    fd: Cell<RawFd>,
    /// The number of the protocol's code, for the recorder; 0 before it is known.
    code: Cell<u32>,
    /// Whether it was closed, or is about to be.
    pub(super) closing: Cell<bool>,
    /// Whether the program wants nothing read for now.
    pub(super) paused: Cell<bool>,
    /// Whether the loss of the connection is scheduled, or told.
    lost: Cell<bool>,
}

/// A transport that has ties.
pub(super) trait Tied: Source {
    /// The ties.
    fn ties(&self) -> &Ties;
}

impl Ties {
    /// What the garbage collector has to visit.
    pub(super) fn cells(&self) -> [&ObjectCell; 5] {
        [self.core.object(), self.watcher.object(), &self.file, &self.protocol, &self.context]
    }

    /// Drops what can be part of a cycle. The loop and the watcher stay: the registration ends before the file is closed.
    pub(super) fn clear(&self) {
        drop((self.protocol.take(), self.context.take()));
    }

    /// The loop, until the connection is lost.
    pub(super) fn owner(&self) -> Option<Owned> {
        self.core.object().get()
    }

    /// The socket or the pipe, until the connection is lost.
    pub(super) fn file(&self) -> Option<Owned> {
        self.file.get()
    }

    /// Whether it has let go of its descriptor.
    pub(super) fn has_let_go(&self) -> bool {
        self.file.is_empty()
    }

    /// Takes the file away, or gives another one: for programs that close it themselves.
    pub(super) fn set_file(&self, file: Option<Owned>) {
        drop(self.file.replace(file));
    }

    /// The protocol, until the connection is lost.
    pub(super) fn protocol(&self) -> Option<Owned> {
        self.protocol.get()
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> RawFd {
        self.fd.get()
    }

    /// The descriptor, as Python has it.
    pub(super) fn fd_object(&self, py: Python<'_>) -> Result<Owned> {
        Ok(self.fd.get().into_pyobject(py).map_err(PyErr::from)?.into_any().into())
    }

    /// Whether what arrives is read.
    pub(super) fn is_reading(&self) -> bool {
        !self.closing.get() && !self.paused.get()
    }

    /// Whether the loss of the connection is scheduled, or told.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Whether the watcher waits to read, and to write.
    pub(super) fn waits(&self) -> (bool, bool) {
        self.watcher.with(|watcher| (watcher.wants_read(), watcher.wants_write())).unwrap_or_default()
    }

    /// Whether there is a loop, and it is open.
    pub(super) fn has_open_loop(&self, py: Python<'_>) -> Result<bool> {
        let Some(owner) = self.owner() else { return Ok(false) };
        Ok(!owner.any(py).call_method0(intern!(py, "is_closed"))?.is_truthy()?)
    }

    /// Whether the loop is in debug mode.
    pub(super) fn debug(&self) -> bool {
        self.core.with(|core| core.debug()) == Some(true)
    }

    /// The number of the code of the protocol's method of this name.
    pub(super) fn code(&self, py: Python<'_>, name: &Bound<'_, pyo3::types::PyString>) -> u32 {
        if self.code.get() == 0
            && let Some(protocol) = self.protocol.get()
        {
            self.code.set(witness::method(py, &protocol, name));
        }
        self.code.get()
    }
}

/// Ties a new transport.
pub(super) fn tie<T: Tied>(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, T>,
    file: Owned,
    fd: RawFd,
    protocol: Owned,
) -> Result<()> {
    let ties = this.ties();
    let context = Context::copy_current(py)?.into_object(py)?;
    let watcher = Watcher::make(py, this, fd, Manner::Levels)?;
    ties.fd.set(fd);
    drop(ties.watcher.replace(Some(watcher)));
    drop(ties.core.replace(Some(core.to_owned())));
    drop((ties.context.replace(Some(context)), ties.protocol.replace(Some(protocol))));
    ties.set_file(Some(file));
    Ok(())
}

/// Schedules what begins a connection, in asyncio's order: the protocol is told, reading starts (where there is something to
/// start), the waiter wakes up.
pub(super) fn begin<T: Tied>(py: Python<'_>, this: This<'_, T>, reads: bool, waiter: Option<&Owned>) -> Result<()> {
    let object = this.to_owned();
    if let Some(protocol) = this.ties().protocol() {
        let made: Owned = protocol.any(py).getattr(intern!(py, "connection_made"))?.into();
        soon(py, this, &made, &[&object])?;
    }
    if reads {
        let start: Owned = object.any(py).getattr(intern!(py, "_start_reading"))?.into();
        soon(py, this, &start, &[])?;
    }
    if let Some(waiter) = waiter {
        soon(py, this, &imports::get(py).set_result_unless_cancelled, &[waiter, &Owned::none(py)])?;
    }
    Ok(())
}

/// Schedules a call in the context of the connection.
pub(super) fn soon<T: Tied>(py: Python<'_>, this: This<'_, T>, function: &Owned, args: &[&Owned]) -> Result<()> {
    let context = this.ties().context.get();
    let scheduled = this.ties().core.with(|core| tasks::call_soon_with(py, core, function, args, context.as_ref()));
    scheduled.unwrap_or(Ok(()))
}

/// The beginning of a repr: the class, how far it is, the descriptor.
pub(super) fn words<T: Tied>(py: Python<'_>, this: This<'_, T>) -> Result<String> {
    let ties = this.ties();
    let class = this.to_owned().any(py).get_type().name()?.to_string();
    let state = match (ties.has_let_go(), ties.closing.get()) {
        (true, _) => " closed",
        (false, true) => " closing",
        (false, false) => "",
    };
    Ok(format!("<{class}{state} fd={}", ties.fd()))
}

/// Whom a report about this transport is about; nobody once the connection is lost.
pub(super) fn parties<T: Tied>(this: This<'_, T>) -> Option<Parties> {
    Some(Parties { owner: this.ties().owner()?, transport: this.to_owned(), protocol: this.ties().protocol() })
}

/// Runs `work` in the connection's context.
pub(super) fn in_context<T: Tied>(py: Python<'_>, this: This<'_, T>, work: impl FnOnce() -> Result<()>) -> Result<()> {
    // The garbage collector has taken it apart.
    if this.ties().context.is_empty() {
        return Ok(());
    }
    context::within(py, &this.ties().context, work)
}

/// A step has run. What a callback of the protocol raised in it is reported, and changes nothing: on asyncio it leaves the
/// step for the loop.
#[inline]
pub(super) fn survive<T: Tied>(py: Python<'_>, this: This<'_, T>, step: &str, result: Result<()>) -> Result<()> {
    let Err(raised) = result else { return Ok(()) };
    let exception = report::catch(py, raised)?;
    let Some(parties) = parties(this) else { return Ok(()) };
    let class = parties.transport.any(py).get_type().name()?;
    report::tell(py, &parties, &format!("Exception in callback {class}.{step}()"), &exception)
}

/// Says whether it waits to read.
pub(super) fn want_read<T: Tied>(this: This<'_, T>, wanted: bool) -> Result<()> {
    let (ties, object) = (this.ties(), this.to_owned());
    let told = ties.core.with(|core| ties.watcher.with(|watcher| watcher.want_read(core, &object, wanted)));
    told.flatten().unwrap_or(Ok(()))
}

/// Says whether it waits to write.
pub(super) fn want_write<T: Tied>(this: This<'_, T>, wanted: bool) -> Result<()> {
    let (ties, object) = (this.ties(), this.to_owned());
    let told = ties.core.with(|core| ties.watcher.with(|watcher| watcher.want_write(core, &object, wanted)));
    told.flatten().unwrap_or(Ok(()))
}

/// Begins to read: the protocol was told that the connection is there.
pub(super) fn start_reading<T: Tied>(_: Python<'_>, this: This<'_, T>) -> Result<()> {
    if this.ties().is_reading() { want_read(this, true) } else { Ok(()) }
}

/// `pause_reading()`.
pub(super) fn pause_reading<T: Tied>(py: Python<'_>, this: This<'_, T>) -> Result<()> {
    if !this.ties().is_reading() {
        return Ok(());
    }
    this.ties().paused.set(true);
    want_read(this, false)?;
    note(py, this, "%r pauses reading")
}

/// `resume_reading()`.
pub(super) fn resume_reading<T: Tied>(py: Python<'_>, this: This<'_, T>) -> Result<()> {
    if this.ties().closing.get() || !this.ties().paused.replace(false) {
        return Ok(());
    }
    want_read(this, true)?;
    note(py, this, "%r resumes reading")
}

/// `is_reading()`.
pub(super) fn is_reading<T: Tied>(_: Python<'_>, this: This<'_, T>) -> Result<bool> {
    Ok(this.ties().is_reading())
}

/// `is_closing()`.
pub(super) fn is_closing<T: Tied>(_: Python<'_>, this: This<'_, T>) -> Result<bool> {
    Ok(this.ties().closing.get())
}

/// `get_protocol()`.
pub(super) fn get_protocol<T: Tied>(_: Python<'_>, this: This<'_, T>) -> Result<Option<Owned>> {
    Ok(this.ties().protocol())
}

/// `set_protocol(protocol)`.
pub(super) fn set_protocol<T: Tied>(py: Python<'_>, this: This<'_, T>, args: Args<'_>) -> Result<()> {
    let [protocol] = args.named(py, "set_protocol", ["protocol"])?;
    this.ties().code.set(0);
    drop(this.ties().protocol.replace(protocol));
    Ok(())
}

/// `_call_connection_lost(exc)`.
pub(super) fn call_connection_lost<T: Tied>(py: Python<'_>, this: This<'_, T>, args: Args<'_>) -> Result<()> {
    let exception = args.get(0).map_or_else(|| Owned::none(py), Arg::to_owned);
    tell_lost(py, this, &exception)
}

/// In debug mode, says something in the log.
fn note<T: Tied>(py: Python<'_>, this: This<'_, T>, format: &str) -> Result<()> {
    if this.ties().debug() { report::debug(py, format, (this.to_owned().any(py),), None) } else { Ok(()) }
}

/// Schedules the loss of the connection, unless that was done.
pub(super) fn schedule_loss<T: Tied>(py: Python<'_>, this: This<'_, T>, exception: &Owned) -> Result<()> {
    if this.ties().lost.replace(true) {
        return Ok(());
    }
    end_watching(this.ties());
    let call: Owned = this.to_owned().any(py).getattr(intern!(py, "_call_connection_lost"))?.into();
    soon(py, this, &call, &[exception])
}

/// Loses the connection now, in a step of its own, unless that is scheduled.
pub(super) fn lose_now<T: Tied>(py: Python<'_>, this: This<'_, T>) -> Result<()> {
    if this.ties().lost.replace(true) {
        return Ok(());
    }
    tell_lost(py, this, &Owned::none(py))
}

/// Tells the protocol that the connection is lost, and lets go of everything.
pub(super) fn tell_lost<T: Tied>(py: Python<'_>, this: This<'_, T>, exception: &Owned) -> Result<()> {
    let told = match this.ties().protocol() {
        Some(protocol) if !this.ties().has_let_go() => {
            vector::method(py, &protocol, &imports::get(py).connection_lost, &[exception]).map(drop)
        }
        _ => Ok(()),
    };
    afterwards(py, told, || let_go(py, this.ties()))
}

fn let_go(py: Python<'_>, ties: &Ties) -> Result<()> {
    end_watching(ties);
    let closed = ties.file.take().map(|file| file.any(py).call_method0(intern!(py, "close")).map(drop));
    let content = (ties.protocol.take(), ties.core.replace(None), ties.watcher.replace(None));
    drop(content);
    closed.transpose()?;
    Ok(())
}

fn end_watching(ties: &Ties) {
    ties.core.with(|core| ties.watcher.with(|watcher| watcher.end(core)));
}

/// The last word of a transport that was forgotten: warns, and closes its file.
pub(super) fn finalize<T: Tied>(py: Python<'_>, this: This<'_, T>) {
    let warned = report::warn_of_unclosed(py, &this.to_owned());
    unraisable(py, this, warned);
    let closed = let_go(py, this.ties());
    unraisable(py, this, closed);
}

fn unraisable<T: Tied>(py: Python<'_>, this: This<'_, T>, result: Result<()>) {
    if result == Err(Raised) {
        Raised.report_unraisable(py, &this.to_owned());
    }
}
