//! What leaves: see `loop_core::outbox` for when.
//!
//! What is written is queued. Either the kernel has taken no more (*blocked*), and the rest goes when the descriptor is
//! writable; or nothing was tried yet (*put off*), and everything goes when the step returns, or before whatever a program
//! could learn from it. Large memory that may change leaves at once, behind what is queued: nothing of it is copied but what the
//! kernel does not take. The size of the buffer and the water marks count what the kernel did not take, so both send first.

use boucle_core::outgoing::Gone;
use boucle_core::socket::{self, Outcome};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;

use super::super::flow;
use super::super::payload::{self, Payload};
use super::super::report;
use super::{StreamTransport, closing, parties};
use crate::errors::to_py_err;
use crate::imports;
use crate::loop_core::LoopCore;
use crate::loop_core::source::Watcher;
use crate::raw::args::Arg;
use crate::raw::bytes::{Buffer, Bytes};
use crate::raw::guard::value_of;
use crate::raw::{Args, Owned, Raised, Result, This};
use crate::versions;

/// More is not put off.
const LARGE: usize = 64 * 1024;

/// From this length on, memory that may change is not put off either: the copy would cost as much as a system call.
const LENT: usize = 32 * 1024;

/// What is said of a connection that is given up because nothing can be sent.
const FATAL: &str = "Fatal write error on socket transport";

/// `write(data)`.
pub(super) fn write(py: Python<'_>, this: This<'_, StreamTransport>, args: Args<'_>) -> Result<()> {
    if let (Some(data), 1, None) = (args.get(0), args.count(), args.keywords().next()) {
        return write_one(py, this, data);
    }
    let [data] = args.named(py, "write", ["data"])?;
    let data = data.unwrap_or_else(|| Owned::none(py));
    write_one(py, this, Arg::of(&data))
}

/// The same, of something.
pub(super) fn write_one(py: Python<'_>, this: This<'_, StreamTransport>, data: Arg<'_>) -> Result<()> {
    let piece = match Bytes::exactly(data.to_owned()) {
        Ok(bytes) => Ok(bytes),
        Err(other) => {
            payload::check(py, &imports::get(py).write, &this.to_owned(), &other)?;
            Err(other)
        }
    };
    if this.eof.get() {
        return Err(PyRuntimeError::new_err("Cannot call write() after write_eof()").into());
    }
    if !this.empty_waiter.is_empty() {
        return Err(PyRuntimeError::new_err("unable to write; sendfile is in progress").into());
    }
    let payload = match piece {
        Ok(bytes) => Payload::Kept(bytes),
        Err(other) => match Buffer::readable(&other) {
            Ok(buffer) => Payload::Borrowed(buffer),
            Err(raised) => return refuse(py, this, raised),
        },
    };
    if payload.as_ref().is_empty() {
        return Ok(());
    }
    if this.conn_lost.get() > 0 {
        return flow::lost_write(py, &this.conn_lost);
    }
    match payload {
        Payload::Borrowed(buffer) if buffer.bytes().len() >= LENT && !this.blocked.get() => {
            write_lent(py, this, buffer)
        }
        payload => {
            queue(this, payload.keep(py)?);
            written(py, this, true)
        }
    }
}

/// Memory that is scattered cannot be sent: asyncio finds out when it tries, and gives the connection up.
#[cold]
fn refuse(py: Python<'_>, this: This<'_, StreamTransport>, raised: Raised) -> Result<()> {
    let exception = report::catch(py, raised)?;
    if this.conn_lost.get() > 0 {
        return flow::lost_write(py, &this.conn_lost);
    }
    send_put_off(py, this)?;
    closing::fail(py, this, &exception, FATAL)
}

/// `writelines(list_of_data)`.
pub(super) fn write_lines(py: Python<'_>, this: This<'_, StreamTransport>, args: Args<'_>) -> Result<()> {
    let [Some(lines)] = args.named(py, "writelines", ["list_of_data"])? else {
        return Err(PyTypeError::new_err("writelines() missing 1 required positional argument: 'list_of_data'").into());
    };
    if this.eof.get() {
        // Before 3.12 it is a `write` of all.
        let name = if cfg!(Py_3_12) { "writelines" } else { "write" };
        return Err(PyRuntimeError::new_err(format!("Cannot call {name}() after write_eof()")).into());
    }
    if !this.empty_waiter.is_empty() {
        return Err(PyRuntimeError::new_err("unable to writelines; sendfile is in progress").into());
    }
    // All of them before the first is queued: a wrong one raises, and nothing was written.
    let mut pieces = Vec::new();
    for line in lines.any(py).try_iter()? {
        pieces.push(Payload::of(line?.into())?.keep(py)?);
    }
    if pieces.iter().all(|piece| piece.as_ref().is_empty()) {
        return Ok(());
    }
    if this.conn_lost.get() > 0 {
        return flow::lost_write(py, &this.conn_lost);
    }
    for piece in pieces {
        queue(this, piece);
    }
    if this.blocked.get() && versions::get(py).writelines_tries {
        let tried = this.core.with(|core| this.watcher.with(|watcher| ready(py, core, this, watcher)));
        tried.flatten().unwrap_or(Ok(()))?;
        if !this.blocked.get() {
            return Ok(());
        }
    }
    written(py, this, versions::get(py).writelines_pauses)
}

fn queue(this: This<'_, StreamTransport>, piece: Bytes) {
    let handed_out = this.outgoing.borrow_mut().push(piece);
    drop(handed_out);
}

/// Something was queued: it waits for the descriptor, or for the end of the step, or leaves now. `pauses` says whether the
/// protocol may have to pause.
fn written(py: Python<'_>, this: This<'_, StreamTransport>, pauses: bool) -> Result<()> {
    let size = this.outgoing.borrow().len();
    if this.blocked.get() {
        return if pauses { this.flow.grew(py, size, || parties(this)) } else { Ok(()) };
    }
    let small = size < LARGE && size <= this.flow.high();
    if small && this.core.with(|core| core.may_put_off()) == Some(true) {
        if !this.put_off.replace(true) {
            this.core.with(|core| core.send_after_step(this.to_owned()));
        }
        return Ok(());
    }
    attempt(py, this, pauses)
}

/// Sends what was put off, before something that a program could learn from. Afterwards the buffer holds what the kernel
/// did not take.
pub(super) fn send_put_off(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    if this.put_off.replace(false) && !this.blocked.get() { attempt(py, this, true) } else { Ok(()) }
}

/// The first attempt to send what is queued.
fn attempt(py: Python<'_>, this: This<'_, StreamTransport>, pauses: bool) -> Result<()> {
    this.put_off.set(false);
    if this.outgoing.borrow().is_empty() {
        return Ok(());
    }
    if send(py, this)? { block_if_some_is_left(py, this, pauses) } else { Ok(()) }
}

/// After the first attempt: what the kernel did not take waits for the descriptor.
fn block_if_some_is_left(py: Python<'_>, this: This<'_, StreamTransport>, pauses: bool) -> Result<()> {
    let size = this.outgoing.borrow().len();
    if size == 0 {
        return Ok(());
    }
    this.blocked.set(true);
    want(this, true)?;
    if pauses { this.flow.grew(py, size, || parties(this)) } else { Ok(()) }
}

/// Sends what waits, and memory that may change behind it. Only what the kernel does not take of that is copied.
fn write_lent(py: Python<'_>, this: This<'_, StreamTransport>, buffer: Buffer) -> Result<()> {
    this.put_off.set(false);
    let waiting = this.outgoing.borrow().len();
    let tried = try_to_send(this, buffer.bytes());
    if let Ok(outcome) = &tried.outcome {
        let sent = if let Outcome::Done(count) = outcome { count.saturating_sub(waiting) } else { 0 };
        if sent < buffer.bytes().len() {
            queue(this, Bytes::copied(py, &buffer.bytes()[sent..])?);
        }
    }
    drop(buffer);
    if tried.end(py, this)? { block_if_some_is_left(py, this, true) } else { Ok(()) }
}

/// Tries once to send. Whether the connection still stands.
fn send(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<bool> {
    try_to_send(this, &[]).end(py, this)
}

/// An attempt to send.
struct Tried {
    /// How many bytes the kernel was offered, if that was all there was.
    offered: Option<usize>,
    outcome: boucle_core::Result<Outcome>,
}

/// Tries once to send what waits, and `more` behind it.
fn try_to_send(this: This<'_, StreamTransport>, more: &[u8]) -> Tried {
    let mut done = Gone::default();
    let mut outgoing = this.outgoing.borrow_mut();
    let offered = outgoing.is_offered_whole().then_some(outgoing.len() + more.len());
    let outcome = outgoing.send(this.fd.get(), more, &mut done);
    drop(outgoing);
    drop(done);
    Tried { offered, outcome }
}

impl Tried {
    /// What comes of it. Whether the connection still stands.
    fn end(self, py: Python<'_>, this: This<'_, StreamTransport>) -> Result<bool> {
        match self.outcome {
            Ok(Outcome::Done(count)) => {
                // The kernel took less than it was offered, and tells when it takes more.
                if self.offered.is_some_and(|offered| count < offered) {
                    this.watcher.with(|watcher| watcher.used_up_write());
                }
                Ok(true)
            }
            Ok(Outcome::WouldBlock) => {
                this.watcher.with(|watcher| watcher.used_up_write());
                Ok(true)
            }
            Ok(Outcome::Interrupted) => Ok(true),
            Err(error) => {
                let unsent = this.outgoing.borrow_mut().take();
                drop(unsent);
                this.blocked.set(false);
                want(this, false)?;
                let exception = value_of(py, to_py_err(&error));
                closing::fail(py, this, &exception, FATAL)?;
                if let Some(waiter) = this.empty_waiter.get() {
                    waiter.any(py).call_method1(intern!(py, "set_exception"), (exception.any(py),))?;
                }
                Ok(false)
            }
        }
    }
}

fn want(this: This<'_, StreamTransport>, wanted: bool) -> Result<()> {
    let object = this.to_owned();
    let told = this.core.with(|core| this.watcher.with(|watcher| watcher.want_write(core, &object, wanted)));
    told.flatten().unwrap_or(Ok(()))
}

/// The descriptor is writable.
pub(super) fn ready(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
) -> Result<()> {
    let before = this.outgoing.borrow().len();
    if this.conn_lost.get() > 0 || !this.blocked.get() || !send(py, this)? {
        return Ok(());
    }
    let size = this.outgoing.borrow().len();
    if size == before {
        return Ok(());
    }
    if size == 0 {
        this.blocked.set(false);
        watcher.want_write(core, &this.to_owned(), false)?;
    }
    // May write more, which is tried at once if nothing waits.
    this.flow.shrank(py, size, || parties(this))?;
    send_put_off(py, this)?;
    if this.conn_lost.get() > 0 || !this.outgoing.borrow().is_empty() {
        return Ok(());
    }
    if let Some(waiter) = this.empty_waiter.get() {
        waiter.any(py).call_method1(intern!(py, "set_result"), (py.None(),))?;
    }
    if this.closing.get() {
        if versions::get(py).counts_last_write(py)? {
            this.conn_lost.set(1);
        }
        closing::lose(py, this, None)
    } else if this.eof.get() {
        socket::end_sending(this.fd.get()).map_err(|error| to_py_err(&error).into())
    } else {
        Ok(())
    }
}

/// How many bytes the kernel has not taken.
pub(super) fn buffer_size(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<usize> {
    send_put_off(py, this)?;
    Ok(this.outgoing.borrow().len())
}

/// `write_eof()`.
pub(super) fn write_eof(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    if this.closing.get() || this.eof.get() {
        return Ok(());
    }
    send_put_off(py, this)?;
    if this.closing.get() {
        return Ok(());
    }
    this.eof.set(true);
    if this.outgoing.borrow().is_empty() {
        socket::end_sending(this.fd.get()).map_err(|error| to_py_err(&error))?;
    }
    Ok(())
}

/// `_make_empty_waiter()`: a future that is done when everything is sent. Nothing can be written meanwhile.
pub(super) fn make_empty_waiter(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<Owned> {
    if !this.empty_waiter.is_empty() {
        return Err(PyRuntimeError::new_err("Empty waiter is already set").into());
    }
    send_put_off(py, this)?;
    let Some(owner) = this.core.object().get() else {
        return Err(PyRuntimeError::new_err("the connection is closed").into());
    };
    let waiter: Owned = owner.any(py).call_method0(intern!(py, "create_future"))?.into();
    drop(this.empty_waiter.replace(Some(waiter.clone())));
    if this.outgoing.borrow().is_empty() {
        waiter.any(py).call_method1(intern!(py, "set_result"), (py.None(),))?;
    }
    Ok(waiter)
}

/// `set_write_buffer_limits(high=None, low=None)`.
pub(super) fn set_limits(py: Python<'_>, this: This<'_, StreamTransport>, args: Args<'_>) -> Result<()> {
    this.flow.set_limits(py, args)?;
    let size = buffer_size(py, this)?;
    this.flow.grew(py, size, || parties(this))
}

/// Forgets what was not sent.
pub(super) fn drop_unsent(this: This<'_, StreamTransport>) {
    let unsent = this.outgoing.borrow_mut().take();
    drop(unsent);
    this.blocked.set(false);
    this.put_off.set(false);
}
