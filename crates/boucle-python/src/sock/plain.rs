//! Sockets of exactly Python's class: what their methods do, without the class's own Python code and without exceptions
//! that only say "not now".
//!
//! A program can tell nothing apart: what is audited is audited, an error is the one that the method would raise, and a method
//! that somebody has put in the place of Python's is called.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use boucle_core::{connection, socket};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::addresses::{self, Family};
use crate::errors::to_py_err;
use crate::imports;
use crate::raw::args::Arg;
use crate::raw::instance::{bare, construct};
use crate::raw::{Owned, Result, vector};

/// Whether an object is exactly a `socket.socket`.
pub(crate) fn is_socket(py: Python<'_>, sock: &Owned) -> bool {
    sock.type_ptr().cast() == imports::get(py).socket.as_ptr()
}

/// The family of a socket, whatever its class.
pub(crate) fn family(py: Python<'_>, sock: &Owned) -> Result<i32> {
    let family = if is_socket(py, sock) {
        imports::get(py).socket_family.get(py, sock)?
    } else {
        sock.any(py).getattr(intern!(py, "family"))?.into()
    };
    Ok(family.any(py).extract()?)
}

/// Whether a method of the class is Python's.
fn is_pythons(py: Python<'_>, name: &Bound<'_, PyString>, original: &Owned) -> Result<bool> {
    Ok(imports::get(py).socket.any(py).getattr(name)?.is(original.any(py)))
}

/// Whether the method that connects is Python's.
pub(crate) fn connects_as_written(py: Python<'_>) -> Result<bool> {
    is_pythons(py, intern!(py, "connect"), &imports::get(py).socket_connect)
}

/// The address that a tuple names, where resolving it would give an equal tuple, and the socket's own method is Python's.
pub(super) fn numbers(py: Python<'_>, family: i32, address: &Owned) -> Result<Option<SocketAddr>> {
    if !connects_as_written(py)? {
        return Ok(None);
    }
    let parts = address.any(py).cast_exact::<PyTuple>().map_or(0, |tuple| tuple.len());
    Ok(match addresses::parse(py, Family::of(family), address) {
        Some(SocketAddr::V6(v6)) if parts != 4 || v6.flowinfo() != 0 => None,
        numbers => numbers,
    })
}

/// `sock.connect(address)`. Nothing says that the connection is under way.
pub(crate) fn connect(py: Python<'_>, sock: &Owned, address: &Owned, numbers: &SocketAddr) -> Result<Option<Owned>> {
    let event: Owned = PyString::intern(py, "socket.connect").into_any().into();
    vector::call(py, &imports::get(py).audit, &[&event, sock, address])?;
    let is_done = connection::connect(descriptor(py, sock)?, numbers).map_err(|error| to_py_err(&error))?;
    Ok(is_done.then(|| Owned::none(py)))
}

/// What `sock.getsockname()` says of a socket that has this descriptor. Nothing where its method has to say it.
pub(crate) fn own_address(py: Python<'_>, sock: &Owned, fd: RawFd) -> Result<Option<SocketAddr>> {
    let is_pythons = is_pythons(py, intern!(py, "getsockname"), &imports::get(py).socket_getsockname)?;
    Ok(if is_pythons && is_socket(py, sock) { socket::own_address(fd).filter(is_writable) } else { None })
}

/// `sock.getpeername()` likewise.
pub(crate) fn peer_address(py: Python<'_>, sock: &Owned, fd: RawFd) -> Result<Option<SocketAddr>> {
    let is_pythons = is_pythons(py, intern!(py, "getpeername"), &imports::get(py).socket_getpeername)?;
    Ok(if is_pythons && is_socket(py, sock) { socket::peer_address(fd).filter(is_writable) } else { None })
}

/// Whether we know how Python writes an address: the flow of IPv6 is the exception.
fn is_writable(address: &SocketAddr) -> bool {
    !matches!(address, SocketAddr::V6(v6) if v6.flowinfo() != 0)
}

/// `socket.socket(family, type, proto, fileno)`.
pub(crate) fn new(py: Python<'_>, parts: [&Owned; 4]) -> Result<Owned> {
    let constants = imports::get(py);
    if !constants.making_socket.holds(py) {
        return vector::call(py, &constants.socket, &parts);
    }
    let sock = bare(&constants.native_socket, &constants.socket, &PyTuple::empty(py))?;
    let args = PyTuple::new(py, parts.map(|part| part.any(py)))?;
    construct(&constants.native_socket, &sock, &args)?;
    constants.socket_files.set(py, &sock, &constants.zero)?;
    constants.socket_closed.set(py, &sock, &Owned::falsehood(py))?;
    Ok(sock)
}

/// `sock.close()`.
pub(crate) fn close(py: Python<'_>, sock: &Owned) -> Result<()> {
    let constants = imports::get(py);
    if !constants.closing_socket.is_class_of(py, sock) {
        sock.any(py).call_method0(intern!(py, "close"))?;
        return Ok(());
    }
    constants.socket_closed.set(py, sock, &Owned::truth(py))?;
    // Files that were made of it are to be closed first.
    if constants.socket_files.get(py, sock)?.any(py).le(0)? {
        vector::call(py, &constants.socket_close, &[sock])?;
    }
    Ok(())
}

/// `TransportSocket(sock)`.
pub(crate) fn shown(py: Python<'_>, sock: &Owned) -> Result<Owned> {
    let class = &imports::get(py).transport_socket;
    if !class.holds(py) {
        return vector::call(py, class.class(), &[sock]);
    }
    let shown = bare(class.class(), class.class(), &PyTuple::empty(py))?;
    imports::get(py).shown_socket.set(py, &shown, sock)?;
    Ok(shown)
}

/// `sock.fileno()`, whatever its class.
pub(crate) fn number(py: Python<'_>, sock: &Owned) -> Result<Owned> {
    let constants = imports::get(py);
    if constants.asked_socket.is_class_of(py, sock) {
        constants.socket_fileno.of_instance(py, sock)
    } else {
        vector::method(py, sock, &constants.fileno, &[])
    }
}

/// The same as a number of the kernel's.
pub(crate) fn descriptor(py: Python<'_>, sock: &Owned) -> Result<RawFd> {
    let number = number(py, sock)?;
    match number.small_int().and_then(|number| RawFd::try_from(number).ok()) {
        Some(fd) => Ok(fd),
        None => Ok(number.any(py).extract()?),
    }
}

/// Whether `sock.gettimeout()`, whatever its class, is zero.
pub(crate) fn never_blocks(py: Python<'_>, sock: &Owned) -> Result<bool> {
    let constants = imports::get(py);
    let timeout = if constants.asked_socket.is_class_of(py, sock) {
        constants.socket_timeout.of_instance(py, sock)?
    } else {
        vector::method(py, sock, &constants.gettimeout, &[])?
    };
    match Arg::of(&timeout).exact_float() {
        Some(seconds) => Ok(seconds == 0.0),
        None => Ok(timeout.any(py).eq(0)?),
    }
}

/// Whether [`accept`] would take a connection, or fail.
pub(crate) fn may_accept(py: Python<'_>, sock: &Owned) -> Result<bool> {
    Ok(connection::may_accept(descriptor(py, sock)?))
}

/// Whom an accepted connection is with.
pub(crate) enum Peer {
    Numbers(SocketAddr),
    /// What the socket's own method has said.
    Named(Owned),
}

impl Peer {
    /// The peer as Python writes it.
    pub(crate) fn written(self, py: Python<'_>) -> Result<Owned> {
        match self {
            Self::Numbers(address) => addresses::format(py, address),
            Self::Named(name) => Ok(name),
        }
    }
}

/// What `sock.accept()` returns for a socket of exactly Python's class, but that the new socket does not block. Nothing where
/// the call would block, was interrupted, or the peer has given up.
pub(crate) fn accept(py: Python<'_>, sock: &Owned) -> Result<Option<(Owned, Peer)>> {
    let accepted = connection::accept(descriptor(py, sock)?).map_err(|error| to_py_err(&error))?;
    let Some((connection, peer)) = accepted else { return Ok(None) };
    let constants = imports::get(py);
    let kind: i32 = constants.socket_type.get(py, sock)?.any(py).extract()?;
    let family = constants.socket_family.get(py, sock)?;
    // The type says that it does not block, and Python takes that into account.
    let kind: Owned = (kind | socket::NON_BLOCKING).into_pyobject(py).map_err(PyErr::from)?.into_any().into();
    let protocol = constants.socket_protocol.get(py, sock)?;
    let number: Owned = connection.as_raw_fd().into_pyobject(py).map_err(PyErr::from)?.into_any().into();
    let object = new(py, [&family, &kind, &protocol, &number])?;
    // It is the object's from here on.
    let _number = connection.into_raw_fd();
    let peer = match peer.filter(is_writable) {
        Some(peer) => Peer::Numbers(peer),
        None => Peer::Named(object.any(py).call_method0(intern!(py, "getpeername"))?.into()),
    };
    Ok(Some((object, peer)))
}
