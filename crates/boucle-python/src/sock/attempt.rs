//! The calls. Each is tried at once and again whenever the descriptor is ready; nothing says that it would block.
//!
//! On a plain socket `recv` and `send` are system calls of ours: a socket's own methods raise an exception to say that they
//! would block, and make room for all that was asked for. Whatever is unusual is left to the socket's method, so that errors
//! and their texts are Python's.

use boucle_core::socket::{self, Outcome};
use pyo3::exceptions::{PyBlockingIOError, PyInterruptedError, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyMemoryView, PySlice, PyTuple};

use super::{Kind, SocketOperation, plain};
use crate::connecting::usual::{connects_as_written, resolves_as_written};
use crate::errors::to_py_err;
use crate::imports;
use crate::raw::bytes::{self, Buffer};
use crate::raw::guard::discard;
use crate::raw::{Owned, Raised, Result, This, vector};

/// Tries the call. Nothing says that it would block.
pub(super) fn attempt(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<Option<Owned>> {
    let none = Owned::none(py);
    let Some(sock) = this.socket.get() else { return Ok(Some(none)) };
    let first = this.first.get().unwrap_or_else(|| none.clone());
    match this.kind.get() {
        Kind::Receive => receive(py, this, &sock, &first),
        Kind::ReceiveInto => receive_into(py, this, &sock, &first),
        Kind::ReceiveFrom => ask(py, &sock, intern!(py, "recvfrom"), &[&first]),
        Kind::ReceiveFromInto => {
            let given = this.second.get();
            let count = match given {
                Some(count) if count.any(py).is_truthy()? => count,
                _ => first.any(py).len()?.into_pyobject(py).map_err(PyErr::from)?.into_any().into(),
            };
            ask(py, &sock, intern!(py, "recvfrom_into"), &[&first, &count])
        }
        Kind::SendAll => send_all(py, this, &sock, &first),
        Kind::SendTo => {
            let address = this.second.get().unwrap_or(none);
            ask(py, &sock, intern!(py, "sendto"), &[&first, &address])
        }
        Kind::Connect => connect(py, this, &sock, &first),
        Kind::Accept => accept(py, &sock),
    }
}

/// Calls a method of the socket.
fn ask(
    py: Python<'_>,
    sock: &Owned,
    name: &Bound<'_, pyo3::types::PyString>,
    args: &[&Owned],
) -> Result<Option<Owned>> {
    let args = PyTuple::new(py, args.iter().map(|arg| arg.any(py)))?;
    match sock.any(py).call_method1(name, args) {
        Ok(result) => Ok(Some(result.into())),
        Err(error)
            if error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py) =>
        {
            discard(py, error);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The descriptor of a plain socket that is open.
fn descriptor(py: Python<'_>, this: This<'_, SocketOperation>, sock: &Owned) -> Result<Option<i32>> {
    if !this.is_plain.get() {
        return Ok(None);
    }
    Ok(Some(plain::descriptor(py, sock)?).filter(|fd| *fd >= 0))
}

/// What came of a system call; nothing where it would block or was interrupted.
fn through(outcome: boucle_core::Result<Outcome>) -> Result<Option<usize>> {
    match outcome.map_err(|error| to_py_err(&error))? {
        Outcome::Done(count) => Ok(Some(count)),
        Outcome::WouldBlock | Outcome::Interrupted => Ok(None),
    }
}

fn receive(py: Python<'_>, this: This<'_, SocketOperation>, sock: &Owned, count: &Owned) -> Result<Option<Owned>> {
    let wanted = if count.any(py).is_exact_instance_of::<PyInt>() { count.any(py).extract::<i64>().ok() } else { None };
    let wanted = wanted.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    let (Some(wanted), Some(fd)) = (wanted, descriptor(py, this, sock)?) else {
        return ask(py, sock, intern!(py, "recv"), &[count]);
    };
    let received = this.core.with(|core| {
        core.with_scratch(|scratch| {
            if wanted > scratch.len() {
                return Ok::<_, Raised>(None);
            }
            let outcome = socket::receive(fd, &mut scratch[..wanted]);
            let received = through(outcome)?;
            Ok(Some(received.map(|count| bytes::new(py, &scratch[..count])).transpose()?))
        })
    });
    match received.transpose()?.flatten() {
        Some(received) => Ok(received),
        None => ask(py, sock, intern!(py, "recv"), &[count]),
    }
}

fn receive_into(
    py: Python<'_>,
    this: This<'_, SocketOperation>,
    sock: &Owned,
    buffer: &Owned,
) -> Result<Option<Owned>> {
    if let Some(fd) = descriptor(py, this, sock)? {
        match bytes::lend(buffer, |memory| (!memory.is_empty()).then(|| socket::receive(fd, memory))) {
            Ok(Some(outcome)) => return through(outcome)?.map(|count| number(py, count)).transpose(),
            Ok(None) => {}
            // The socket's own method says what is wrong.
            Err(raised) => drop(raised.take_value(py)),
        }
    }
    ask(py, sock, intern!(py, "recv_into"), &[buffer])
}

fn number(py: Python<'_>, count: usize) -> Result<Owned> {
    Ok(count.into_pyobject(py).map_err(PyErr::from)?.into_any().into())
}

/// Sends, and counts. Done when everything is sent.
fn send_all(py: Python<'_>, this: This<'_, SocketOperation>, sock: &Owned, data: &Owned) -> Result<Option<Owned>> {
    let none = Owned::none(py);
    let start = this.sent.get();
    if let Some(fd) = descriptor(py, this, sock)?
        && let Some(memory) = this.sending.take().map_or_else(|| whole(py, data), |memory| Ok(Some(memory)))?
    {
        let outcome = through(socket::send(fd, &memory.bytes()[start..]));
        let length = memory.len();
        // It is held while the operation waits, so that a bytearray keeps its size.
        drop(this.sending.replace(Some(memory)));
        let sent = start + outcome?.unwrap_or(0);
        this.sent.set(sent);
        return Ok((sent == length).then_some(none));
    }
    if !this.handle.is_empty() {
        return send_rest(py, this, sock, data, start);
    }
    // As asyncio does it: what has been sent is compared with the length of the object, in its own items.
    let sent = match ask(py, sock, intern!(py, "send"), &[data])? {
        Some(sent) => sent.any(py).extract()?,
        None => 0_usize,
    };
    if sent == data.any(py).len()? {
        return Ok(Some(none));
    }
    this.sent.set(sent);
    drop(this.first.replace(Some(PyMemoryView::from(&data.any(py))?.into_any().into())));
    Ok(None)
}

/// Sends what is left of a view, by the socket's method.
fn send_rest(
    py: Python<'_>,
    this: This<'_, SocketOperation>,
    sock: &Owned,
    view: &Owned,
    start: usize,
) -> Result<Option<Owned>> {
    let length = view.any(py).len()?;
    let rest = view.any(py).get_item(PySlice::new(py, start as isize, length as isize, 1))?;
    let Some(sent) = ask(py, sock, intern!(py, "send"), &[&rest.into()])? else { return Ok(None) };
    let sent = start + sent.any(py).extract::<usize>()?;
    this.sent.set(sent);
    Ok((sent == length).then(|| Owned::none(py)))
}

/// The memory of an object whose length is a number of bytes.
fn whole(py: Python<'_>, data: &Owned) -> Result<Option<Buffer>> {
    let object = data.any(py);
    if !(object.is_exact_instance_of::<PyBytes>()
        || object.is_exact_instance_of::<pyo3::types::PyByteArray>()
        || object.is_exact_instance_of::<PyMemoryView>())
    {
        return Ok(None);
    }
    match Buffer::readable(data) {
        Ok(memory) if memory.len() == object.len()? => Ok(Some(memory)),
        Ok(_) => Ok(None),
        Err(raised) => {
            drop(raised.take_value(py));
            Ok(None)
        }
    }
}

/// Whether an address for the socket may be a name. One that is a number, and as asyncio would write it, is not resolved.
pub(super) fn needs_resolving(py: Python<'_>, this: This<'_, SocketOperation>, sock: &Owned) -> Result<bool> {
    let family = plain::family(py, sock)?;
    if family != socket::INET && family != socket::INET6 {
        return Ok(false);
    }
    let Some(address) = this.first.get() else { return Ok(true) };
    // A loop that resolves in its own way is asked.
    if !this.is_plain.get()
        || this.core.with(|core| connects_as_written(py, core)) != Some(true)
        || !resolves_as_written(py)
    {
        return Ok(true);
    }
    this.numbers.set(plain::numbers(py, family, &address)?);
    Ok(this.numbers.get().is_none())
}

fn connect(py: Python<'_>, this: This<'_, SocketOperation>, sock: &Owned, address: &Owned) -> Result<Option<Owned>> {
    if !this.connecting.replace(true) {
        let Some(numbers) = this.numbers.get() else { return ask(py, sock, intern!(py, "connect"), &[address]) };
        return plain::connect(py, sock, address, &numbers);
    }
    // The interrupted call goes on in the kernel; the descriptor is writable when it has ended.
    outcome(py, sock, address)
}

/// How a connection that was under way has ended; nothing where it has not.
pub(crate) fn outcome(py: Python<'_>, sock: &Owned, address: &Owned) -> Result<Option<Owned>> {
    let constants = imports::get(py);
    let error = vector::method(py, sock, &constants.getsockopt, &[&constants.sol_socket, &constants.so_error])?;
    let errno: i32 = error.any(py).extract()?;
    if errno == 0 {
        return Ok(Some(Owned::none(py)));
    }
    let text = format!("Connect call failed {}", address.any(py).str()?);
    let error = PyOSError::new_err((errno, text));
    if error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py) {
        discard(py, error);
        return Ok(None);
    }
    Err(error.into())
}

fn accept(py: Python<'_>, sock: &Owned) -> Result<Option<Owned>> {
    let Some(accepted) = ask(py, sock, intern!(py, "accept"), &[])? else { return Ok(None) };
    let connection = accepted.any(py).get_item(0)?;
    connection.call_method1(intern!(py, "setblocking"), (false,))?;
    let pair = (connection, accepted.any(py).get_item(1)?).into_pyobject(py)?;
    Ok(Some(pair.into_any().into()))
}
