//! What `get_extra_info` answers: the kernel is asked when the transport is made, and what it said is written for Python
//! when somebody asks. Most connections end without that.
//!
//! # Invariants
//!
//! * Either `extra` of the transport is a dictionary, or `socket` here is what it will be written of.

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::StreamTransport;
use crate::addresses;
use crate::imports;
use crate::raw::guard::discard;
use crate::raw::{ObjectCell, Owned, Result, This};
use crate::sock::plain;

/// What is known of a connection and not written yet.
#[derive(Default)]
pub(super) struct Known {
    /// The socket, which is shown also after the transport has closed it.
    pub(super) socket: ObjectCell,
    addresses: Cell<Option<(SocketAddr, SocketAddr)>>,
}

/// What a transport is told of its connection when it is made.
pub(crate) enum Given {
    Nothing,
    /// Whom an accepted connection is with.
    Peer(SocketAddr),
    /// A dictionary.
    Extra(Owned),
}

/// The addresses of a connection's ends, own and peer's, where they are of IP and nobody has changed what would say them.
fn addresses(
    py: Python<'_>,
    sock: &Owned,
    fd: RawFd,
    peer: Option<SocketAddr>,
) -> Result<Option<(SocketAddr, SocketAddr)>> {
    if !imports::get(py).transport_socket.holds(py) {
        return Ok(None);
    }
    let Some(own) = plain::own_address(py, sock, fd)? else { return Ok(None) };
    let peer = if peer.is_some() { peer } else { plain::peer_address(py, sock, fd)? };
    Ok(peer.map(|peer| (own, peer)))
}

/// Asks what there is to know of a connection that a transport is made for.
pub(super) fn look(
    py: Python<'_>,
    this: This<'_, StreamTransport>,
    sock: &Owned,
    fd: RawFd,
    given: Given,
    is_of_ip: bool,
) -> Result<()> {
    let peer = match &given {
        Given::Peer(peer) => Some(*peer),
        _ => None,
    };
    if is_of_ip
        && !matches!(given, Given::Extra(_))
        && let Some(addresses) = addresses(py, sock, fd, peer)?
    {
        drop(this.known.socket.replace(Some(sock.clone())));
        this.known.addresses.set(Some(addresses));
        return Ok(());
    }
    let extra = match given {
        Given::Extra(extra) => extra.any(py).cast::<PyDict>().map_err(PyErr::from)?.copy()?,
        _ => PyDict::new(py),
    };
    if let Some(peer) = peer {
        extra.set_item(intern!(py, "peername"), addresses::format(py, peer)?.any(py))?;
    }
    describe(py, sock, fd, &extra)?;
    drop(this.extra.replace(Some(extra.into_any().into())));
    Ok(())
}

/// The dictionary, which is written now if it was not yet.
pub(super) fn extra(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<Option<Owned>> {
    if let (Some(sock), Some((own, peer))) = (this.known.socket.get(), this.known.addresses.get()) {
        let extra = PyDict::new(py);
        extra.set_item(intern!(py, "socket"), plain::shown(py, &sock)?.any(py))?;
        extra.set_item(intern!(py, "sockname"), addresses::format(py, own)?.any(py))?;
        extra.set_item(intern!(py, "peername"), addresses::format(py, peer)?.any(py))?;
        set_extra(py, this, Some(extra.into_any().into()))?;
    }
    Ok(this.extra.get())
}

/// Sets the dictionary.
pub(super) fn set_extra(_: Python<'_>, this: This<'_, StreamTransport>, extra: Option<Owned>) -> Result<()> {
    this.known.addresses.set(None);
    drop((this.known.socket.take(), this.extra.replace(extra)));
    Ok(())
}

/// Fills in what `get_extra_info` answers, as asyncio does.
pub(crate) fn describe(py: Python<'_>, sock: &Owned, fd: RawFd, extra: &Bound<'_, PyDict>) -> Result<()> {
    extra.set_item(intern!(py, "socket"), plain::shown(py, sock)?.any(py))?;
    let ask = |name: &Bound<'_, PyString>| match sock.any(py).call_method0(name) {
        Ok(answer) => Ok::<Owned, PyErr>(answer.into()),
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            discard(py, error);
            Ok(Owned::none(py))
        }
        Err(error) => Err(error),
    };
    let written = |address: Option<SocketAddr>| address.map(|address| addresses::format(py, address)).transpose();
    let own = written(plain::own_address(py, sock, fd)?)?.map_or_else(|| ask(intern!(py, "getsockname")), Ok)?;
    extra.set_item(intern!(py, "sockname"), own.any(py))?;
    if !extra.contains(intern!(py, "peername"))? {
        let peer = written(plain::peer_address(py, sock, fd)?)?.map_or_else(|| ask(intern!(py, "getpeername")), Ok)?;
        extra.set_item(intern!(py, "peername"), peer.any(py))?;
    }
    Ok(())
}
