//! What arrives: one read a report, into the loop's scratch buffer and from there to the protocol.
//!
//! A read that does not fill the buffer has emptied the socket, so nobody asks the kernel again; unless the other side has
//! hung up, for then the end is still to be read, or the kernel ends reads early: before a byte out of band, and behind one
//! with which descriptors came.

use boucle_core::socket::{self, Outcome};
use pyo3::intern;
use pyo3::prelude::*;

use super::super::report;
use super::{StreamTransport, big, closing, feeding, parties};
use crate::errors::to_py_err;
use crate::imports;
use crate::loop_core::LoopCore;
use crate::loop_core::source::Watcher;
use crate::raw::bytes::{self, incoming};
use crate::raw::context;
use crate::raw::guard::value_of;
use crate::raw::{Owned, Raised, Result, This, vector};
use crate::streams;
use crate::tls::{self, SSLProtocol};

/// Runs `work` in the connection's context.
pub(super) fn in_context(
    py: Python<'_>,
    this: This<'_, StreamTransport>,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    // The garbage collector has taken it apart.
    if this.context.is_empty() {
        return Ok(());
    }
    context::within(py, &this.context, work)
}

/// The descriptor is readable.
#[inline]
pub(super) fn ready(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
) -> Result<()> {
    if this.conn_lost.get() > 0 {
        return Ok(());
    }
    let Some(protocol) = this.protocol.get() else { return Ok(()) };
    if this.buffered.get() {
        return fill_buffer(py, core, this, watcher, &protocol);
    }
    match Fed::of(py, core, &protocol) {
        Some(fed) => feed(py, core, this, watcher, &protocol, &fed),
        None => pass_on(py, core, this, watcher, &protocol),
    }
}

/// Reads into an object for the protocol.
#[inline]
fn pass_on(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    protocol: &Owned,
) -> Result<()> {
    let mut data = None;
    let outcome = match this.likely.get() {
        0 => receive(core, this, watcher, |content| data = Some(bytes::received(py, content))),
        likely => big::receive(py, core, this, watcher, likely, |first, rest| {
            data = Some(incoming::with_rest(py, first, rest));
        })?,
    };
    match data.transpose()? {
        Some(data) => call_data_received(py, this, protocol, &data),
        None => brought_nothing(py, core, this, watcher, protocol, outcome),
    }
}

/// Reads for a reader that is fed natively.
#[inline]
fn feed(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    protocol: &Owned,
    fed: &Fed,
) -> Result<()> {
    let mut taken = None;
    let big = if this.likely.get() == 0 { None } else { receive_big(py, core, this, watcher, fed, &mut taken)? };
    let outcome = big.unwrap_or_else(|| receive(core, this, watcher, |content| taken = Some(take(py, fed, content))));
    match taken.transpose()? {
        Some(Taken::Fed) => check(py, this, fed.tell(py), "Fatal error: protocol.data_received() call failed."),
        Some(Taken::Refused(raised)) => {
            check::<()>(py, this, Err(raised), "Fatal error: protocol.data_received() call failed.")
        }
        Some(Taken::Bytes(data, refusal)) => {
            drop(refusal);
            call_data_received(py, this, protocol, &data)
        }
        None => brought_nothing(py, core, this, watcher, protocol, outcome),
    }
}

/// One read after a big message, for a reader that is fed natively; nothing where that brings no advantage.
#[inline(never)]
fn receive_big(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    fed: &Fed,
    taken: &mut Option<Result<Taken>>,
) -> Result<Option<boucle_core::Result<Outcome>>> {
    let likely = this.likely.get();
    match fed {
        Fed::Own(fed) => match fed.expects(py, likely) {
            expected if big::is_big(expected) => {
                let take = |first, rest: &[u8]| *taken = Some(take_two(py, fed, first, rest));
                big::receive(py, core, this, watcher, expected, take).map(Some)
            }
            _ => Ok(None),
        },
        Fed::Asyncio(fed) => {
            let Some(array) = fed.empty_buffer() else { return Ok(None) };
            let take = |rest: &[u8]| *taken = Some(Ok(fed.extend(rest).map_or_else(Taken::Refused, |()| Taken::Fed)));
            Ok(big::receive_into(py, core, this, watcher, array, likely, take))
        }
    }
}

/// One read. `take` gets what it brought, if it brought something.
#[inline]
fn receive(
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    take: impl FnOnce(&[u8]),
) -> boucle_core::Result<Outcome> {
    core.with_scratch(|scratch| {
        let outcome = socket::receive_noting(this.fd.get(), scratch, watcher.cut());
        if let Ok(Outcome::Done(count @ 1..)) = outcome {
            big::note(this, watcher, count, scratch.len());
            take(&scratch[..count]);
        }
        outcome
    })
}

fn call_data_received(py: Python<'_>, this: This<'_, StreamTransport>, protocol: &Owned, data: &Owned) -> Result<()> {
    let received = vector::method(py, protocol, &imports::get(py).data_received, &[data]);
    check(py, this, received, "Fatal error: protocol.data_received() call failed.")
}

/// A read has brought nothing: the end, not yet, or an error.
fn brought_nothing(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    protocol: &Owned,
    outcome: boucle_core::Result<Outcome>,
) -> Result<()> {
    match outcome {
        Ok(Outcome::Done(_)) => at_eof(py, core, this, protocol),
        other => nothing_read(py, this, watcher, other),
    }
}

/// A reader that is fed natively.
enum Fed {
    Asyncio(feeding::Fed),
    Own(streams::Fed),
}

impl Fed {
    /// The reader behind a protocol, if there is one.
    #[inline]
    fn of(py: Python<'_>, core: This<'_, LoopCore>, protocol: &Owned) -> Option<Self> {
        match streams::reader_of(py, protocol) {
            Some(own) => Some(Self::Own(own)),
            None => feeding::reader_of(py, core, protocol).map(Self::Asyncio),
        }
    }

    /// Adds what was read; false where more is to be done than that. Raises where it cannot be added: then nothing has
    /// changed.
    #[inline]
    fn take(&self, py: Python<'_>, content: &[u8]) -> Result<bool> {
        match self {
            Self::Asyncio(fed) => fed.extend(content).map(|()| true),
            Self::Own(fed) => fed.take(py, content),
        }
    }

    /// What comes after that.
    #[inline]
    fn tell(&self, py: Python<'_>) -> Result<()> {
        match self {
            Self::Asyncio(fed) => fed.tell(py),
            Self::Own(fed) => fed.tell(py),
        }
    }
}

/// Where what was read is.
enum Taken {
    /// In the buffer of the reader, who is to be told.
    Fed,
    /// Partly in the buffer of the reader, which had no memory for the rest.
    Refused(Raised),
    /// In an object for the protocol; with the exception by which the reader's buffer refused it, which the protocol will
    /// raise itself.
    Bytes(Owned, Option<Owned>),
}

/// Takes what was read out of the loop's buffer.
#[inline]
fn take(py: Python<'_>, fed: &Fed, content: &[u8]) -> Result<Taken> {
    let refusal = match fed.take(py, content) {
        Ok(true) => return Ok(Taken::Fed),
        Ok(false) => None,
        Err(raised) => Some(raised.take_value(py)),
    };
    bytes::received(py, content).map(|data| Taken::Bytes(data, refusal))
}

/// Takes what was read in two parts, of which the second may be empty.
fn take_two(py: Python<'_>, fed: &streams::Fed, first: Owned, rest: &[u8]) -> Result<Taken> {
    let refusal = match fed.take_two(py, &first, rest) {
        Ok(true) => return Ok(Taken::Fed),
        Ok(false) => None,
        Err(raised) => Some(raised.take_value(py)),
    };
    incoming::with_rest(py, first, rest).map(|data| Taken::Bytes(data, refusal))
}

/// Reads straight into the protocol's own buffer.
fn fill_buffer(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    protocol: &Owned,
) -> Result<()> {
    // The protocol is not asked for a buffer in vain, as it would not be on asyncio.
    if watcher.is_doubtful() && !socket::is_readable(this.fd.get()).unwrap_or(true) {
        watcher.used_up_read();
        return Ok(());
    }
    // The two methods of our own TLS, without Python in between.
    if let Some(tls) = SSLProtocol::as_written(py, protocol) {
        return match tls::lower::fill(py, tls, |memory| receive_into(this, watcher, memory)) {
            Ok(Ok(Outcome::Done(0))) => at_eof(py, core, this, protocol),
            Ok(Ok(Outcome::Done(count))) => updated(py, this, tls::lower::filled(py, tls, count)),
            Ok(other) => {
                tls::lower::unfilled(py, tls);
                nothing_read(py, this, watcher, other)
            }
            Err(raised) => check::<()>(py, this, Err(raised), "Fatal error: protocol.get_buffer() call failed."),
        };
    }
    let buffer = match get_buffer(py, protocol) {
        Ok(buffer) => buffer,
        Err(raised) => {
            return check::<()>(py, this, Err(raised), "Fatal error: protocol.get_buffer() call failed.");
        }
    };
    // One that closed the connection meanwhile gets what is there all the same, as on asyncio: the socket is still open.
    let outcome = match bytes::lend(&buffer, |memory| receive_into(this, watcher, memory)) {
        Ok(outcome) => outcome,
        Err(raised) => {
            let refusal = refusal(py, this, &buffer, raised);
            return check::<()>(py, this, Err(refusal), "Fatal read error on socket transport");
        }
    };
    // It may have been replaced when it was asked for its buffer.
    let Some(protocol) = &this.protocol.get() else { return Ok(()) };
    match outcome {
        Ok(Outcome::Done(0)) => at_eof(py, core, this, protocol),
        Ok(Outcome::Done(count)) => {
            let count = count.into_pyobject(py).map_err(PyErr::from)?.into_any().into();
            let called = vector::method(py, protocol, &imports::get(py).buffer_updated, &[&count]);
            updated(py, this, called.map(drop))
        }
        other => nothing_read(py, this, watcher, other),
    }
}

/// Reads into memory of the protocol's, and notes whether more is to be read.
fn receive_into(
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    memory: &mut [u8],
) -> boucle_core::Result<Outcome> {
    let outcome = socket::receive_noting(this.fd.get(), memory, watcher.cut());
    if let Ok(Outcome::Done(count)) = outcome
        && !watcher.hung_up()
    {
        let is_all = count < memory.len() && !watcher.may_have_left_some();
        if is_all { watcher.used_up_read() } else { watcher.may_have_read_all() }
    }
    outcome
}

/// The protocol was told how much its buffer holds.
fn updated(py: Python<'_>, this: This<'_, StreamTransport>, returned: Result<()>) -> Result<()> {
    check(py, this, returned, "Fatal error: protocol.buffer_updated() call failed.")
}

/// An attempt to read brought nothing: not yet, or never again.
fn nothing_read(
    py: Python<'_>,
    this: This<'_, StreamTransport>,
    watcher: This<'_, Watcher>,
    outcome: boucle_core::Result<Outcome>,
) -> Result<()> {
    match outcome {
        Ok(Outcome::WouldBlock) => watcher.used_up_read(),
        Ok(Outcome::Interrupted | Outcome::Done(_)) => {}
        Err(error) => {
            let exception = value_of(py, to_py_err(&error));
            return closing::fail(py, this, &exception, "Fatal read error on socket transport");
        }
    }
    Ok(())
}

/// What `socket.recv_into` says of a buffer that cannot be written to.
#[cold]
fn refusal(py: Python<'_>, this: This<'_, StreamTransport>, buffer: &Owned, raised: Raised) -> Raised {
    let Some(sock) = this.socket.get() else { return raised };
    let own = raised.take_value(py);
    match sock.any(py).call_method1(intern!(py, "recv_into"), (buffer.any(py),)) {
        Ok(_) => Raised::put_back(py, own),
        Err(error) => error.into(),
    }
}

/// The buffer that the protocol offers, which must not be empty.
fn get_buffer(py: Python<'_>, protocol: &Owned) -> Result<Owned> {
    let any = (-1_i32).into_pyobject(py).map_err(PyErr::from)?.into_any().into();
    let buffer = vector::method(py, protocol, &imports::get(py).get_buffer, &[&any])?;
    if buffer.any(py).len()? == 0 {
        return Err(pyo3::exceptions::PyRuntimeError::new_err("get_buffer() returned an empty buffer").into());
    }
    Ok(buffer)
}

/// The other side has ended what it sends.
fn at_eof(py: Python<'_>, core: This<'_, LoopCore>, this: This<'_, StreamTransport>, protocol: &Owned) -> Result<()> {
    if core.debug() {
        report::debug(py, "%r received EOF", (this.to_owned().any(py),), None)?;
    }
    let keep_open = vector::method(py, protocol, &imports::get(py).eof_received, &[])
        .and_then(|answer| Ok(answer.any(py).is_truthy()?));
    match keep_open {
        // The protocol may go on writing, but there is nothing to read any more.
        Ok(true) => want(this, false),
        Ok(false) => closing::close(py, this),
        Err(raised) => check::<()>(py, this, Err(raised), "Fatal error: protocol.eof_received() call failed."),
    }
}

/// A callback of the protocol has returned. One that raised ends the connection.
#[inline]
fn check<T>(py: Python<'_>, this: This<'_, StreamTransport>, returned: Result<T>, message: &str) -> Result<()> {
    match returned.map(drop) {
        Ok(()) => Ok(()),
        Err(raised) => {
            let exception = report::catch(py, raised)?;
            closing::fail(py, this, &exception, message)
        }
    }
}

/// Begins to read: the protocol was told that the connection is there.
pub(super) fn start(_: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    want(this, is_reading(this))
}

/// Whether what arrives is read.
pub(super) fn is_reading(this: This<'_, StreamTransport>) -> bool {
    !this.closing.get() && !this.paused.get()
}

/// Tells the watcher whether to read.
pub(super) fn want(this: This<'_, StreamTransport>, wanted: bool) -> Result<()> {
    let object = this.to_owned();
    let told = this.core.with(|core| this.watcher.with(|watcher| watcher.want_read(core, &object, wanted)));
    told.flatten().unwrap_or(Ok(()))
}

/// `pause_reading()`.
pub(super) fn pause(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    if !is_reading(this) {
        return Ok(());
    }
    this.paused.set(true);
    want(this, false)?;
    note(py, this, "%r pauses reading")
}

/// `resume_reading()`.
pub(super) fn resume(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    if this.closing.get() || !this.paused.replace(false) {
        return Ok(());
    }
    want(this, true)?;
    note(py, this, "%r resumes reading")
}

/// In debug mode, says something in the log.
fn note(py: Python<'_>, this: This<'_, StreamTransport>, format: &str) -> Result<()> {
    match parties(this) {
        Some(parties) if this.core.with(|core| core.debug()) == Some(true) => {
            report::debug(py, format, (parties.transport.any(py),), None)
        }
        _ => Ok(()),
    }
}
