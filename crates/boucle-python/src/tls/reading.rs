//! From the peer to the application.
//!
//! What a record holds is decrypted into a buffer of the [`pool`], and copied once, to a `bytes` of its size. `SSLObject`
//! is asked for more only while there is more: to be told that there is none costs an exception.

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PySlice};

use super::{SSLProtocol, State, callbacks, flow, names, pool, shutdown, writing};
use crate::raw::buffer::CAPACITY;
use crate::raw::method::IntoObject;
use crate::raw::{Owned, Raised, Result, This, vector};

/// The most that one record holds. With so much room a read takes all that is left of a record.
const RECORD: usize = 16 * 1024;

/// What came of a call into `SSLObject`.
pub(super) enum Progress<T> {
    /// It has done its work.
    Done(T),
    /// It needs more from the peer first.
    Again,
}

/// Enters `SSLObject`.
pub(super) fn enter(
    py: Python<'_>,
    this: This<'_, SSLProtocol>,
    step: impl FnOnce() -> Result<Owned>,
) -> Result<Progress<Owned>> {
    this.busy.set(true);
    let result = step();
    this.busy.set(false);
    let Err(raised) = result else { return result.map(Progress::Done) };
    let exception = raised.take_value(py);
    let ssl = names::ssl(py);
    if exception.type_ptr() == ssl.want_read.as_ptr().cast()
        || exception.any(py).is_instance(&ssl.want_read.any(py))?
        || exception.any(py).is_instance(&ssl.syscall_error.any(py))?
    {
        return Ok(Progress::Again);
    }
    Err(Raised::put_back(py, exception))
}

/// Decrypts into `target`, which has room for `room` bytes. How many bytes it were: 0 is the end.
fn decrypt(py: Python<'_>, this: This<'_, SSLProtocol>, room: usize, target: &Owned) -> Result<Progress<usize>> {
    let Some(read) = this.read.get() else { return Ok(Progress::Again) };
    let room = if room == CAPACITY { names::get(py).capacity.clone() } else { room.into_object(py)? };
    Ok(match enter(py, this, || vector::call(py, &read, &[&room, target]))? {
        Progress::Done(count) => {
            this.settled.set(true);
            Progress::Done(count.any(py).extract()?)
        }
        Progress::Again => Progress::Again,
    })
}

/// Whether nothing can follow a read that left room: a record is read whole, so what is left is in the BIO.
fn is_last(py: Python<'_>, this: This<'_, SSLProtocol>, count: usize, room: usize) -> Result<bool> {
    Ok(count < room && flow::read_buffer_size(py, this)? == 0)
}

/// Delivers what has come, and writes what waits.
pub(super) fn read(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    if !matches!(this.state.get(), State::Wrapped | State::Flushing) || this.busy.get() {
        return Ok(());
    }
    match callbacks::caught(py, read_and_write(py, this))? {
        Ok(()) => Ok(()),
        Err(exception) => callbacks::fatal_error(py, this, &exception, "Fatal error on SSL protocol"),
    }
}

fn read_and_write(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    let settled = this.settled.get();
    let ended = if this.app_closed.get() {
        shutdown::discard(py, this)?;
        false
    } else if this.app_reading_paused.get() {
        false
    } else if this.app_is_buffered.get() {
        read_into_buffer(py, this)?
    } else {
        read_copied(py, this)?
    };
    if ended {
        // close_notify
        callbacks::eof_received(py, this)?;
        shutdown::start(py, this)?;
    }
    if !settled {
        writing::settle(py, this)?;
    }
    writing::write(py, this)?;
    flow::control_ssl_reading(py, this)
}

/// Calls `data_received` with all there is. Whether the peer has ended.
fn read_copied(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<bool> {
    let scratch = pool::Lent::take(py)?;
    let read = decrypt_all(py, this, &scratch);
    scratch.give_back(py);
    let (data, ended) = read?;
    if let (Some(data), Some(protocol)) = (data, this.app_protocol.get()) {
        let received = intern!(py, "data_received");
        callbacks::in_context(py, this, || vector::method(py, &protocol, received, &[&data]))?;
    }
    Ok(ended)
}

fn decrypt_all(py: Python<'_>, this: This<'_, SSLProtocol>, scratch: &pool::Lent) -> Result<(Option<Owned>, bool)> {
    let memory = scratch.memory();
    let (mut filled, mut earlier) = (0, Vec::new());
    let ended = loop {
        if CAPACITY - filled < RECORD {
            memory.append_to(&mut earlier, filled);
            filled = 0;
        }
        let room = CAPACITY - filled;
        memory.lend(filled, room);
        match decrypt(py, this, room, scratch.object())? {
            Progress::Done(0) => break true,
            Progress::Done(count) => {
                filled += count;
                if is_last(py, this, count, room)? {
                    break false;
                }
            }
            Progress::Again => break false,
        }
    };
    if earlier.is_empty() {
        let data = if filled == 0 { None } else { Some(memory.bytes(py, filled)?) };
        return Ok((data, ended));
    }
    memory.append_to(&mut earlier, filled);
    Ok((Some(PyBytes::new(py, &earlier).into_any().into()), ended))
}

/// Reads into the application's buffer, until that is full or nothing is left. Whether the peer has ended.
fn read_into_buffer(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<bool> {
    let Some(protocol) = this.app_protocol.get() else { return Ok(false) };
    let size = flow::read_buffer_size(py, this)?.into_object(py)?;
    let get_buffer = intern!(py, "get_buffer");
    let target = callbacks::in_context(py, this, || vector::method(py, &protocol, get_buffer, &[&size]))?;
    let view = PyMemoryView::from(&target.any(py).to_owned())?;
    let wanted = view.getattr(intern!(py, "nbytes"))?.extract::<usize>()?;
    if wanted == 0 {
        return Err(PyRuntimeError::new_err("get_buffer() returned an empty buffer").into());
    }
    let (mut filled, mut ended) = (0, false);
    while filled < wanted {
        let room = wanted - filled;
        let place = if filled == 0 { target.clone() } else { rest(py, &view, filled)? };
        match decrypt(py, this, room, &place)? {
            Progress::Done(0) => {
                ended = true;
                break;
            }
            Progress::Done(count) => {
                filled += count;
                if is_last(py, this, count, room)? {
                    break;
                }
            }
            Progress::Again => break,
        }
    }
    if filled == wanted {
        callbacks::soon(py, this, intern!(py, "_do_read"))?;
    }
    if filled > 0 {
        let (count, updated) = (filled.into_object(py)?, intern!(py, "buffer_updated"));
        callbacks::in_context(py, this, || vector::method(py, &protocol, updated, &[&count]))?;
    }
    Ok(ended)
}

/// What follows the first bytes of a view.
fn rest(py: Python<'_>, view: &Bound<'_, PyMemoryView>, start: usize) -> Result<Owned> {
    let bytes = view.call_method1(intern!(py, "cast"), ("B",))?;
    let start = isize::try_from(start).unwrap_or(isize::MAX);
    Ok(bytes.get_item(PySlice::new(py, start, isize::MAX, 1))?.into())
}

/// Decrypts what has come and drops it. How many bytes it were.
pub(super) fn into_void(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<usize> {
    let scratch = pool::Lent::take(py)?;
    scratch.memory().lend(0, CAPACITY);
    let mut total = 0;
    let result = loop {
        match decrypt(py, this, CAPACITY, scratch.object()) {
            Ok(Progress::Done(count)) if count > 0 => total += count,
            Ok(_) => break Ok(total),
            Err(raised) => break Err(raised),
        }
    };
    scratch.give_back(py);
    let Err(raised) = result else { return result };
    let exception = raised.take_value(py);
    // Both sides have said goodbye.
    if exception.any(py).is_instance(&names::ssl(py).zero_return.any(py))? {
        return Ok(total);
    }
    Err(Raised::put_back(py, exception))
}
