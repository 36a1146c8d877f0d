//! From the application to the peer.
//!
//! # Invariants
//!
//! * What is in the backlog leaves it only when it is encrypted, so a write that must be repeated, because the peer
//!   renegotiates, is repeated with the same bytes.
//! * Small pieces are encrypted together, as one record; of large ones a slice at a time, so that the BIO stays small.
//! * While the lower transport has enough nothing is encrypted: what waits is counted once, as plain bytes. What has begun
//!   to go down goes down whole, as on asyncio: the application is paused when it writes more than that.

use std::collections::VecDeque;

use boucle_core::outgoing::Gone;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PySlice};

use super::reading::{Progress, enter};
use super::{SSLProtocol, State, callbacks, flow, names};
use crate::raw::{Owned, Result, This, vector};
use crate::transport::stream;

/// What fits into one record; smaller pieces are put together up to it.
const RECORD: usize = 16 * 1024;
/// The most that is encrypted before it goes down: four records. Below the size from which malloc maps memory anew.
const SLICE: usize = 4 * RECORD;
/// How many writes after the end are let pass in silence.
const SILENT_WRITES: u32 = 5;

/// Whether something is handed down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flush {
    #[default]
    Idle,
    UnderWay,
    /// Under way, and somebody wants another one.
    AndAgain,
}

/// The data of a write, as it will stay: the caller may change what it has given.
pub(super) fn frozen(py: Python<'_>, data: &Owned) -> Result<Owned> {
    let data = data.any(py);
    if data.is_exact_instance_of::<PyBytes>() {
        return Ok(data.to_owned().into());
    }
    if data.is_instance_of::<PyBytes>() || data.is_instance_of::<PyByteArray>() || data.is_instance_of::<PyMemoryView>()
    {
        return Ok(py.get_type::<PyBytes>().call1((data,))?.into());
    }
    let text = format!("data: expecting a bytes-like instance, got {}", data.get_type().name()?);
    Err(PyTypeError::new_err(text).into())
}

fn bytes_of(object: &Owned, py: Python<'_>) -> usize {
    object.any(py).cast::<PyBytes>().map_or(0, |bytes| bytes.as_bytes().len())
}

/// Whether frozen data is none.
pub(super) fn is_empty(py: Python<'_>, data: &Owned) -> bool {
    bytes_of(data, py) == 0
}

/// Whether a write is too late. Such writes are ignored; after a few the log says so.
pub(super) fn is_too_late(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<bool> {
    if !this.is_over() {
        return Ok(false);
    }
    if this.conn_lost.get() >= SILENT_WRITES {
        names::get(py).logger.any(py).call_method1(intern!(py, "warning"), ("SSL connection is closed",))?;
    }
    this.conn_lost.set(this.conn_lost.get().saturating_add(1));
    Ok(true)
}

/// Puts data into the backlog.
pub(super) fn append(py: Python<'_>, this: This<'_, SSLProtocol>, data: Owned) {
    let length = bytes_of(&data, py);
    if length > 0 {
        this.backlog_size.set(this.backlog_size.get() + length);
        this.backlog.borrow_mut().push_back(data);
    }
}

/// Writes what was appended, if the connection is that far.
pub(super) fn write_appended(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    if this.state.get() == State::Wrapped { write_or_end(py, this) } else { Ok(()) }
}

/// Writes. A failure ends the connection.
pub(super) fn write_or_end(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    match callbacks::caught(py, write(py, this))? {
        Ok(()) => Ok(()),
        Err(exception) => callbacks::fatal_error(py, this, &exception, "Fatal error on SSL protocol"),
    }
}

/// Encrypts what can be encrypted, and hands it down.
pub(super) fn write(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    let outer = this.all_goes_down.replace(this.goes_down());
    let result = encrypt(py, this).and_then(|encrypted| flush(py, this, encrypted));
    this.all_goes_down.set(outer);
    flow::control_app_writing(py, this, result?)
}

/// Encrypts the backlog, and hands down what does not fit. Whether there is something to be handed down for certain.
fn encrypt(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<bool> {
    let mut encrypted = false;
    while !this.busy.get()
        && this.goes_down()
        && let Some((piece, length)) = next_piece(py, this)?
    {
        let Some(write) = this.write.get() else { break };
        let Progress::Done(count) = enter(py, this, || vector::call(py, &write, &[&piece]))? else { break };
        let count = count.any(py).extract::<usize>()?.min(length);
        drop(advance(py, this, count));
        encrypted = true;
        if this.backlog_size.get() > 0 {
            flush(py, this, true)?;
            encrypted = false;
            if lower_is_closing(py, this)? {
                // The slice could not be sent: the connection is about to be lost, and the rest with it.
                break;
            }
        }
    }
    Ok(encrypted)
}

/// Frees what a handshake leaves behind. A client of TLS 1.3 gets tickets after it, for which OpenSSL makes ready to answer:
/// with a buffer of 17 KB, which it frees after the next write. An empty one sends nothing.
#[cold]
pub(super) fn settle(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    let (State::Wrapped, 0, false, Some(write)) =
        (this.state.get(), this.backlog_size.get(), this.busy.get(), this.write.get())
    else {
        return Ok(());
    };
    let nothing = PyBytes::new(py, &[]).into_any().into();
    enter(py, this, || vector::call(py, &write, &[&nothing])).map(drop)
}

fn lower_is_closing(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<bool> {
    let Some(lower) = this.lower.get() else { return Ok(true) };
    Ok(vector::method(py, &lower, intern!(py, "is_closing"), &[])?.any(py).is_truthy()?)
}

impl SSLProtocol {
    /// Whether the lower transport takes something. At the end it takes all there is: nothing comes back that could tell
    /// us when it wants more.
    fn goes_down(&self) -> bool {
        !self.ssl_writing_paused.get() || self.all_goes_down.get() || self.eof_received.get() || self.ended.get()
    }
}

/// What is encrypted next, and how many bytes it has.
fn next_piece(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<Option<(Owned, usize)>> {
    let start = this.written.get();
    let (front, together) = {
        let backlog = this.backlog.borrow();
        let Some(front) = backlog.front() else { return Ok(None) };
        let length = bytes_of(front, py) - start;
        let small = length < RECORD && backlog.get(1).is_some_and(|next| length + bytes_of(next, py) <= RECORD);
        (front.clone(), small.then(|| gather(py, &backlog, start)))
    };
    if let Some(together) = together {
        return Ok(Some((PyBytes::new(py, &together).into_any().into(), together.len())));
    }
    let length = bytes_of(&front, py) - start;
    if start == 0 && length <= SLICE {
        return Ok(Some((front, length)));
    }
    let length = length.min(SLICE);
    let bound = |place: usize| isize::try_from(place).unwrap_or(isize::MAX);
    let view = PyMemoryView::from(&front.any(py).to_owned())?;
    let slice = view.get_item(PySlice::new(py, bound(start), bound(start + length), 1))?;
    Ok(Some((slice.into(), length)))
}

/// The first pieces, put together as far as they fit into a record.
fn gather(py: Python<'_>, backlog: &VecDeque<Owned>, start: usize) -> Vec<u8> {
    let mut together = Vec::with_capacity(RECORD);
    let mut start = start;
    for piece in backlog {
        let piece = piece.any(py);
        let Ok(piece) = piece.cast::<PyBytes>() else { break };
        let piece = &piece.as_bytes()[start..];
        if together.len() + piece.len() > RECORD {
            break;
        }
        together.extend_from_slice(piece);
        start = 0;
    }
    together
}

/// So many bytes are encrypted. Returns what has left the backlog.
fn advance(py: Python<'_>, this: This<'_, SSLProtocol>, count: usize) -> Gone<Owned> {
    let mut backlog = this.backlog.borrow_mut();
    let mut left = Gone::default();
    this.backlog_size.set(this.backlog_size.get().saturating_sub(count));
    let mut written = this.written.get() + count;
    while let Some(length) = backlog.front().map(|front| bytes_of(front, py))
        && written >= length
    {
        written -= length;
        if let Some(piece) = backlog.pop_front() {
            left.put(piece);
        }
    }
    // An empty backlog was emptied meanwhile: the connection is lost.
    this.written.set(if backlog.is_empty() { 0 } else { written });
    left
}

/// Hands down what is encrypted, and tells the application whether it may go on.
pub(super) fn process_outgoing(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    let empty = flush(py, this, false)?;
    flow::control_app_writing(py, this, empty)
}

/// Hands down what is encrypted; `some` says that there is something. Whoever comes while that is under way has it done
/// again, so that the order is kept. Whether nothing is left for certain.
fn flush(py: Python<'_>, this: This<'_, SSLProtocol>, some: bool) -> Result<bool> {
    if this.flush.get() != Flush::Idle {
        this.flush.set(Flush::AndAgain);
        return Ok(false);
    }
    let mut some = some;
    let result = loop {
        this.flush.set(Flush::UnderWay);
        let result = hand_down(py, this, some);
        if result.is_err() || this.flush.get() != Flush::AndAgain {
            break result;
        }
        some = false;
    };
    this.flush.set(Flush::Idle);
    result
}

fn hand_down(py: Python<'_>, this: This<'_, SSLProtocol>, some: bool) -> Result<bool> {
    let (true, Some(lower), Some(drain)) = (this.goes_down(), this.lower.get(), this.drain.get()) else {
        return Ok(false);
    };
    // To drain nothing costs more than to ask.
    if !some && flow::outgoing_size(py, this)? == 0 {
        return Ok(true);
    }
    let data = vector::call(py, &drain, &[])?;
    stream::write(py, &lower, &data)?;
    Ok(true)
}
