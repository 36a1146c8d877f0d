//! The end: what waits is written, both sides say goodbye, and the transport below is closed.
//!
//! An application that has closed gets no more data. Its peer may not know yet and send on, and its goodbye comes after
//! what it has sent. So for a while what comes is dropped; from [`MOST_DISCARDED`] bytes on the connection ends without
//! the peer's goodbye, as a TCP connection does that is closed while the peer is sending. asyncio stops at once and reports
//! an `SSLError`, uvloop goes on until the timeout.

use pyo3::intern;
use pyo3::prelude::*;

use super::reading::Progress;
use super::{SSLProtocol, State, callbacks, flow, handshake, lower, names, reading, transport, writing};
use crate::raw::{Owned, Raised, Result, This, vector};
use crate::versions;

/// How many bytes may come for an application that has closed.
pub(super) const MOST_DISCARDED: usize = 256 * 1024;

/// The application closes.
pub(super) fn close(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    this.app_closed.set(true);
    if this.state.get() == State::Flushing {
        // The peer has ended, and perhaps everybody waits for this application to read on.
        return callbacks::soon(py, this, intern!(py, "_proceed"));
    }
    start(py, this)
}

/// Begins, because either side wants it.
pub(super) fn start(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    if this.is_over() {
        return Ok(());
    }
    transport::mark_closed(this);
    if this.state.get() == State::DoHandshake {
        return abort(py, this, None);
    }
    this.set_state(State::Flushing)?;
    set_timer(py, this)?;
    flush(py, this)
}

fn set_timer(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    let timer = callbacks::later(py, this, this.shutdown_timeout.get(), intern!(py, "_check_shutdown_timeout"))?;
    drop(this.shutdown_timer.replace(timer));
    Ok(())
}

/// The timer's callback.
pub(super) fn check_timeout(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    let (State::Flushing | State::Shutdown, Some(below)) = (this.state.get(), this.lower.get()) else {
        return Ok(());
    };
    let error = names::get(py).timeout_error.any(py).call1(("SSL shutdown timed out",))?;
    lower::force_close(py, &below, Some(error.into()))
}

/// Goes on after a pause.
pub(super) fn proceed(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    match this.state.get() {
        State::DoHandshake => handshake::proceed(py, this),
        State::Wrapped => reading::read(py, this),
        State::Flushing => flush(py, this),
        State::Shutdown => say_goodbye(py, this),
        State::Unwrapped => Ok(()),
    }
}

/// Delivers what is left and writes what waits; then it is time to say goodbye.
pub(super) fn flush(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    if this.busy.get() {
        return callbacks::soon(py, this, intern!(py, "_proceed"));
    }
    reading::read(py, this)?;
    // What is delivered may end it all. Without a peer nothing will help the backlog along.
    let waits = this.backlog_size.get() > 0 && !this.eof_received.get();
    if this.state.get() != State::Flushing || waits || this.ended.get() {
        return Ok(());
    }
    this.set_state(State::Shutdown)?;
    say_goodbye(py, this)
}

/// Says goodbye, and listens for the peer's.
pub(super) fn say_goodbye(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    if this.ended.get() {
        return Ok(());
    }
    if this.busy.get() {
        return callbacks::soon(py, this, intern!(py, "_proceed"));
    }
    match unwrap(py, this) {
        Ok(_) if this.ended.get() => Ok(()),
        Ok(Progress::Done(())) => {
            writing::process_outgoing(py, this)?;
            callbacks::eof_received(py, this)?;
            complete(py, this, None)
        }
        Ok(Progress::Again) => {
            writing::process_outgoing(py, this)?;
            flow::control_ssl_reading(py, this)
        }
        Err(raised) => {
            let exception = raised.take_value(py);
            if exception.any(py).is_instance(&names::ssl(py).error.any(py))? {
                complete(py, this, Some(exception))
            } else {
                Err(Raised::put_back(py, exception))
            }
        }
    }
}

fn unwrap(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<Progress<()>> {
    let (false, Some(sslobj)) = (this.eof_received.get(), this.sslobj.get()) else {
        return Ok(Progress::Done(()));
    };
    // Goodbye is refused while data is left to be read.
    discard(py, this)?;
    if this.ended.get() {
        return Ok(Progress::Again);
    }
    let step = || vector::method(py, &sslobj, intern!(py, "unwrap"), &[]);
    Ok(match reading::enter(py, this, step)? {
        Progress::Done(_) => Progress::Done(()),
        Progress::Again => Progress::Again,
    })
}

/// Drops what has come. Ends the connection when it is too much.
pub(super) fn discard(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    let Some(sslobj) = this.sslobj.get() else { return Ok(()) };
    let nothing = flow::read_buffer_size(py, this)? == 0
        && sslobj.any(py).call_method0(intern!(py, "pending"))?.extract::<usize>()? == 0;
    if nothing {
        return Ok(());
    }
    this.discarded.set(this.discarded.get() + reading::into_void(py, this)?);
    if this.discarded.get() <= MOST_DISCARDED || this.ended.get() {
        return Ok(());
    }
    this.ended.set(true);
    writing::write(py, this)?;
    complete(py, this, None)
}

/// It has ended, well or with an exception.
fn complete(py: Python<'_>, this: This<'_, SSLProtocol>, exception: Option<Owned>) -> Result<()> {
    let in_time = versions::get(py).flushes_in_time && exception.is_none();
    if !in_time {
        callbacks::cancel(py, this.shutdown_timer.take())?;
    } else if this.shutdown_timer.is_empty() {
        set_timer(py, this)?;
    }
    if let Some(exception) = exception {
        return callbacks::fatal_error(py, this, &exception, "Fatal error on transport");
    }
    this.ended.set(true);
    // What a full transport below has not taken yet it takes now.
    writing::process_outgoing(py, this)?;
    let (Some(owner), Some(below)) = (this.owner.get(), this.lower.get()) else { return Ok(()) };
    let close = below.any(py).getattr(intern!(py, "close"))?;
    owner.any(py).call_method1(intern!(py, "call_soon"), (close,))?;
    Ok(())
}

/// Ends at once.
pub(super) fn abort(py: Python<'_>, this: This<'_, SSLProtocol>, exception: Option<Owned>) -> Result<()> {
    this.app_closed.set(true);
    this.state.set(State::Unwrapped);
    match this.lower.get() {
        Some(below) => lower::force_close(py, &below, exception),
        None => Ok(()),
    }
}
