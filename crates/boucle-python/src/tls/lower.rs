//! What the transport below calls: the methods of a `BufferedProtocol`.

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use super::{AppState, SSLProtocol, State, callbacks, handshake, pool, reading, shutdown, transport, writing};
use crate::future::attributes::only_argument;
use crate::raw::{Args, Owned, Raised, Result, This, method, vector};

fn connection_made(py: Python<'_>, this: This<'_, SSLProtocol>, args: Args<'_>) -> Result<()> {
    let lower = only_argument(args, "connection_made")?;
    drop(this.lower.replace(Some(lower.clone())));
    if this.app_closed.get() {
        // Closed before there was a connection: by a create_connection() that was cancelled, for one.
        return force_close(py, &lower, None);
    }
    handshake::start(py, this)
}

/// Ends the transport below at once.
pub(super) fn force_close(py: Python<'_>, lower: &Owned, exception: Option<Owned>) -> Result<()> {
    let exception = exception.unwrap_or_else(|| Owned::none(py));
    vector::method(py, lower, intern!(py, "_force_close"), &[&exception]).map(drop)
}

fn connection_lost(py: Python<'_>, this: This<'_, SSLProtocol>, args: Args<'_>) -> Result<()> {
    let exception = only_argument(args, "connection_lost")?;
    let backlog = this.backlog.take();
    this.backlog_size.set(0);
    this.conn_lost.set(this.conn_lost.get().saturating_add(1));
    if let Some(lent) = this.lent.take() {
        lent.give_back(py);
    }
    transport::mark_closed(this);
    let shaking_hands = this.state.get() == State::DoHandshake;
    this.state.set(State::Unwrapped);
    let (protocol, drain) = (this.app_protocol.take(), this.drain.get());
    let dropped = (this.lower.take(), this.app_transport.take(), backlog);
    if let Some(drain) = drain {
        vector::call(py, &drain, &[])?;
    }
    if !shaking_hands
        && matches!(this.app_state.get(), AppState::ConMade | AppState::Eof)
        && let Some(protocol) = protocol.as_ref()
    {
        this.app_state.set(AppState::ConLost);
        callbacks::lost_soon(py, this, protocol, &exception)?;
    }
    // Whoever waits is told that all is well, and finds no transport: aiohttp tells a lost handshake by that.
    callbacks::wake_waiter(py, this, Some(&exception).filter(|exception| !exception.is_none()))?;
    callbacks::cancel(py, this.shutdown_timer.take())?;
    callbacks::cancel(py, this.handshake_timer.take())?;
    if let Some(transport) = &dropped.1 {
        transport::let_go(transport);
    }
    drop((dropped, protocol));
    Ok(())
}

/// A `ConnectionAbortedError`.
pub(super) fn aborted(py: Python<'_>, text: &str) -> Result<Owned> {
    Ok(py.get_type::<pyo3::exceptions::PyConnectionAbortedError>().call1((text,))?.into())
}

fn get_buffer(py: Python<'_>, this: This<'_, SSLProtocol>, _: Args<'_>) -> Result<Owned> {
    let mut lent = lend(py, this)?;
    let view = lent.show();
    drop(this.lent.replace(Some(lent)));
    Ok(view)
}

fn lend(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<pool::Lent> {
    // A transport that found nothing to read asks again.
    this.lent.take().map_or_else(|| pool::Lent::take(py), Ok)
}

/// What `get_buffer` is for: lets `read` fill the buffer, and run no Python. [`filled`] or [`unfilled`] follows.
pub(crate) fn fill<R>(py: Python<'_>, this: This<'_, SSLProtocol>, read: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
    let lent = lend(py, this)?;
    let result = lent.memory().fill(py, read);
    drop(this.lent.replace(Some(lent)));
    Ok(result)
}

/// Nothing came: a connection that waits holds no buffer.
pub(crate) fn unfilled(py: Python<'_>, this: This<'_, SSLProtocol>) {
    if let Some(lent) = this.lent.take() {
        give_back(py, this, lent);
    }
}

/// The connection needs its buffer no more. One that Python has seen stays here.
fn give_back(py: Python<'_>, this: This<'_, SSLProtocol>, lent: pool::Lent) {
    if lent.is_shown {
        lent.make_whole();
        drop(this.lent.replace(Some(lent)));
    } else {
        lent.give_back(py);
    }
}

fn buffer_updated(py: Python<'_>, this: This<'_, SSLProtocol>, args: Args<'_>) -> Result<()> {
    filled(py, this, only_argument(args, "buffer_updated")?.any(py).extract::<usize>()?)
}

/// `buffer_updated(length)`.
pub(crate) fn filled(py: Python<'_>, this: This<'_, SSLProtocol>, length: usize) -> Result<()> {
    let Some(lent) = this.lent.take() else {
        return Err(PyRuntimeError::new_err("buffer_updated() without get_buffer()").into());
    };
    if length > crate::raw::buffer::CAPACITY {
        return Err(PyRuntimeError::new_err("more bytes than the buffer has").into());
    }
    let fed = match this.feed.get() {
        Some(feed) if !this.ended.get() => {
            lent.memory().lend(0, length);
            vector::call(py, &feed, &[lent.object()]).map(drop)
        }
        _ => Ok(()),
    };
    give_back(py, this, lent);
    fed?;
    if this.ended.get() {
        return Ok(());
    }
    match this.state.get() {
        State::DoHandshake => handshake::proceed(py, this),
        State::Wrapped => reading::read(py, this),
        State::Flushing => shutdown::flush(py, this),
        State::Shutdown => shutdown::say_goodbye(py, this),
        State::Unwrapped => Ok(()),
    }
}

/// Nothing comes any more. Whether the transport below is to stay open.
fn eof_received(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<bool> {
    this.eof_received.set(true);
    if let Some(lent) = this.lent.take() {
        lent.give_back(py);
    }
    let result = end_of_file(py, this);
    let Err(raised) = result else { return result };
    let exception = raised.take_value(py);
    if let Some(lower) = this.lower.get() {
        vector::method(py, &lower, intern!(py, "close"), &[])?;
    }
    Err(Raised::put_back(py, exception))
}

fn end_of_file(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<bool> {
    if callbacks::debug(py, this)? {
        callbacks::log(py, this, "%r received EOF")?;
    }
    match this.state.get() {
        State::DoHandshake => {
            let reset = py.get_type::<pyo3::exceptions::PyConnectionResetError>().call0()?;
            handshake::complete(py, this, Some(reset.into()))?;
        }
        State::Wrapped => {
            this.set_state(State::Flushing)?;
            if this.app_reading_paused.get() {
                return Ok(true);
            }
            shutdown::flush(py, this)?;
        }
        State::Flushing => {
            writing::write(py, this)?;
            if this.state.get() == State::Flushing {
                this.set_state(State::Shutdown)?;
                shutdown::say_goodbye(py, this)?;
            }
        }
        State::Shutdown => shutdown::say_goodbye(py, this)?,
        State::Unwrapped => {}
    }
    Ok(false)
}

fn pause_writing(_: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    this.ssl_writing_paused.set(true);
    Ok(())
}

fn resume_writing(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    this.ssl_writing_paused.set(false);
    match this.state.get() {
        State::Wrapped => writing::write_or_end(py, this),
        State::Flushing => shutdown::flush(py, this),
        _ => writing::process_outgoing(py, this),
    }
}

pub(super) fn methods() -> [ffi::PyMethodDef; 7] {
    [
        method!(SSLProtocol, "connection_made", args connection_made, "connection_made($self, transport, /)\n--\n\nStarts the handshake."),
        method!(SSLProtocol, "connection_lost", args connection_lost, "connection_lost($self, exc, /)\n--\n\nThe transport below is closed."),
        method!(SSLProtocol, "get_buffer", args get_buffer, "get_buffer($self, sizehint, /)\n--\n\nWhat to read into."),
        method!(SSLProtocol, "buffer_updated", args buffer_updated, "buffer_updated($self, nbytes, /)\n--\n\nSo many bytes were read."),
        method!(SSLProtocol, "eof_received", eof_received, "eof_received($self, /)\n--\n\nThe peer sends no more."),
        method!(
            SSLProtocol,
            "pause_writing",
            pause_writing,
            "pause_writing($self, /)\n--\n\nThe transport below has enough."
        ),
        method!(
            SSLProtocol,
            "resume_writing",
            resume_writing,
            "resume_writing($self, /)\n--\n\nThe transport below wants more."
        ),
    ]
}
