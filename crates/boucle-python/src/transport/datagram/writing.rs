//! What leaves: at once, or when the kernel takes more.

use boucle_core::datagram;
use boucle_core::socket::{self, Outcome};
use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::super::payload::{self, Payload};
use super::super::{flow, report, ties};
use super::address;
use super::{DatagramTransport, fail};
use crate::errors::to_py_err;
use crate::imports;
use crate::raw::args::Arg;
use crate::raw::guard::value_of;
use crate::raw::{Args, Owned, Raised, Result, This, vector};

/// What a datagram that waits counts for beside its bytes, in Pythons that count its header.
const HEADER: usize = if cfg!(Py_3_13) { 8 } else { 0 };

/// Whether a datagram without bytes is one.
const SENDS_EMPTY: bool = cfg!(Py_3_13);

const FATAL: &str = "Fatal write error on datagram transport";

/// Why a call of the socket object has failed.
pub(super) enum Failure {
    /// The kernel does not take it now, or has nothing.
    NotNow,
    /// An error of the operating system: the protocol is told.
    System(Owned),
    /// Another one: the transport is closed.
    Other(Owned),
}

impl Failure {
    /// Which of them the exception that is set is. Those that end the program stay set.
    pub(super) fn of(py: Python<'_>, raised: Raised) -> Result<Self> {
        let exception = report::catch(py, raised)?;
        let value = exception.any(py);
        Ok(if value.is_instance_of::<PyBlockingIOError>() || value.is_instance_of::<PyInterruptedError>() {
            Self::NotNow
        } else if value.is_instance_of::<PyOSError>() {
            Self::System(exception)
        } else {
            Self::Other(exception)
        })
    }
}

/// `sendto(data, addr=None)`.
pub(super) fn send_to(py: Python<'_>, this: This<'_, DatagramTransport>, args: Args<'_>) -> Result<()> {
    let [data, addr] = args.named(py, "sendto", ["data", "addr"])?;
    // `None` as the data is a wrong type, not a missing argument.
    let Some(data) = data.or_else(|| args.get(0).map(Arg::to_owned)) else {
        return Err(PyTypeError::new_err("sendto() missing 1 required positional argument: 'data'").into());
    };
    payload::check(py, &imports::get(py).send_to, &this.to_owned(), &data)?;
    if !SENDS_EMPTY && !data.any(py).is_truthy()? {
        return Ok(());
    }
    let addr = target(py, this, addr)?;
    if this.ties.has_let_go() || (this.conn_lost.get() > 0 && this.has_address.get()) {
        return flow::lost_write(py, &this.conn_lost);
    }
    let payload = match Payload::of(data.clone()) {
        Ok(payload) => payload,
        Err(raised) => {
            let exception = report::catch(py, raised)?;
            return fail(py, this, &exception, FATAL);
        }
    };
    if this.waiting.borrow().is_empty() {
        match put(py, this, &data, &payload, &addr)? {
            None => return Ok(()),
            Some(Failure::NotNow) => ties::want_write(this, true)?,
            Some(Failure::System(exception)) => return tell(py, this, &exception),
            Some(Failure::Other(exception)) => return fail(py, this, &exception, FATAL),
        }
    }
    let kept = payload.keep(py)?;
    this.size.set(this.size.get() + kept.as_ref().len() + HEADER);
    this.waiting.borrow_mut().push_back((kept, addr));
    this.flow.grew(py, this.size.get(), || ties::parties(this))
}

/// Where a datagram goes: the address that was given, or the only one that there is. `None` where there is neither.
fn target(py: Python<'_>, this: This<'_, DatagramTransport>, addr: Option<Owned>) -> Result<Owned> {
    match this.address.get().filter(|_| this.has_address.get()) {
        None => Ok(addr.unwrap_or_else(|| Owned::none(py))),
        Some(only) => match addr {
            Some(addr) if !addr.is(&only) && !addr.any(py).eq(only.any(py))? => {
                let text = format!("Invalid address: must be None or {}", only.any(py).str()?.to_str()?);
                Err(PyValueError::new_err(text).into())
            }
            _ => Ok(only),
        },
    }
}

/// Tries to send one datagram, whose bytes are in the object `data`.
fn put(
    py: Python<'_>,
    this: This<'_, DatagramTransport>,
    data: &Owned,
    memory: &impl AsRef<[u8]>,
    addr: &Owned,
) -> Result<Option<Failure>> {
    // Python may run to find out where it goes, so the bytes are looked at afterwards.
    let outcome = if has_peer(py, this)? {
        socket::send(this.ties.fd(), memory.as_ref())
    } else if let Some(address) = address::parse(py, this, addr) {
        datagram::send_to(this.ties.fd(), memory.as_ref(), &address)
    } else {
        return put_by_object(py, this, data, addr);
    };
    Ok(match outcome {
        Ok(Outcome::Done(_)) => None,
        Ok(Outcome::WouldBlock | Outcome::Interrupted) => Some(Failure::NotNow),
        Err(error) => Some(Failure::System(value_of(py, to_py_err(&error)))),
    })
}

/// Through the socket object, which knows addresses of all kinds, and what to say about wrong ones.
fn put_by_object(
    py: Python<'_>,
    this: This<'_, DatagramTransport>,
    data: &Owned,
    addr: &Owned,
) -> Result<Option<Failure>> {
    let Some(sock) = this.ties.file() else { return Ok(None) };
    match sock.any(py).call_method1(intern!(py, "sendto"), (data.any(py), addr.any(py))) {
        Ok(_) => Ok(None),
        Err(error) => Failure::of(py, error.into()).map(Some),
    }
}

/// Whether the socket is connected, as `get_extra_info` has it.
fn has_peer(py: Python<'_>, this: This<'_, DatagramTransport>) -> Result<bool> {
    let Some(extra) = this.extra.get() else { return Ok(false) };
    let extra = extra.any(py);
    let Ok(extra) = extra.cast::<PyDict>() else { return Ok(false) };
    Ok(extra.get_item(intern!(py, "peername"))?.map_or(Ok(false), |peer| peer.is_truthy())?)
}

fn tell(py: Python<'_>, this: This<'_, DatagramTransport>, exception: &Owned) -> Result<()> {
    let Some(protocol) = this.ties.protocol() else { return Ok(()) };
    vector::method(py, &protocol, &imports::get(py).error_received, &[exception]).map(drop)
}

/// The descriptor is writable.
pub(super) fn ready(py: Python<'_>, this: This<'_, DatagramTransport>) -> Result<()> {
    while let Some((data, addr)) = next(this) {
        match put(py, this, data.object(), &data, &addr)? {
            None => {}
            Some(Failure::NotNow) => {
                this.size.set(this.size.get() + data.as_ref().len() + HEADER);
                this.waiting.borrow_mut().push_front((data, addr));
                break;
            }
            Some(Failure::System(exception)) => return tell(py, this, &exception),
            Some(Failure::Other(exception)) => return fail(py, this, &exception, FATAL),
        }
    }
    // May send more, which is queued.
    this.flow.shrank(py, this.size.get(), || ties::parties(this))?;
    if !this.waiting.borrow().is_empty() {
        return Ok(());
    }
    ties::want_write(this, false)?;
    if this.ties.closing.get() { lose(py, this) } else { Ok(()) }
}

fn lose(py: Python<'_>, this: This<'_, DatagramTransport>) -> Result<()> {
    this.conn_lost.set(this.conn_lost.get() + 1);
    ties::lose_now(py, this)
}

/// Takes the first datagram that waits.
fn next(this: This<'_, DatagramTransport>) -> Option<(crate::raw::bytes::Bytes, Owned)> {
    let (data, addr) = this.waiting.borrow_mut().pop_front()?;
    this.size.set(this.size.get() - data.as_ref().len() - HEADER);
    Some((data, addr))
}

/// How much the kernel has not taken.
pub(super) fn buffer_size(_: Python<'_>, this: This<'_, DatagramTransport>) -> Result<usize> {
    Ok(this.size.get())
}

/// `set_write_buffer_limits(high=None, low=None)`.
pub(super) fn set_limits(py: Python<'_>, this: This<'_, DatagramTransport>, args: Args<'_>) -> Result<()> {
    this.flow.set_limits(py, args)?;
    this.flow.grew(py, this.size.get(), || ties::parties(this))
}
