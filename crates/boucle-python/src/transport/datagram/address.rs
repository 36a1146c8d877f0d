//! Whom datagrams come from and go to.
//!
//! Most datagrams come from somebody who has sent one before, and go to whom the last one came from or went to. So some
//! senders and one receiver are remembered as both, and the same tuple is handed out again: tuples of strings and numbers
//! never change.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use pyo3::prelude::*;

use super::DatagramTransport;
use crate::addresses;
use crate::raw::{ObjectCell, Owned, Result, This};

/// An address that is known as Python writes it and as the kernel does.
#[derive(Default)]
pub(super) struct Known {
    object: ObjectCell,
    address: Cell<Option<SocketAddr>>,
}

impl Known {
    /// What the garbage collector has to visit.
    pub(super) fn object(&self) -> &ObjectCell {
        &self.object
    }

    fn remember(&self, object: &Owned, address: SocketAddr) {
        self.address.set(Some(address));
        drop(self.object.replace(Some(object.clone())));
    }

    fn address_of(&self, object: &Owned) -> Option<SocketAddr> {
        if self.object.as_ptr() == object.as_ptr() { self.address.get() } else { None }
    }
}

/// So many senders are remembered: a power of two.
const REMEMBERED: usize = 32;

/// The addresses that datagrams came from: each has one place, which the last one that belongs there keeps.
#[derive(Default)]
pub(super) struct Senders {
    known: [Known; REMEMBERED],
    /// The place of the last one.
    last: Cell<usize>,
}

impl Senders {
    /// What the garbage collector has to visit.
    pub(super) fn objects(&self) -> impl Iterator<Item = &ObjectCell> {
        self.known.iter().map(Known::object)
    }

    /// The place of an address. Clients of one host differ in their ports, servers of one port in their hosts.
    fn place(&self, address: &SocketAddr) -> &Known {
        let host = match address.ip() {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        let place = (usize::from(address.port()) ^ usize::from(host)) % REMEMBERED;
        self.last.set(place);
        &self.known[place]
    }

    fn address_of(&self, object: &Owned) -> Option<SocketAddr> {
        self.known[self.last.get()].address_of(object)
    }
}

/// The address that a tuple names in numbers; nothing where the socket object has to look at it.
pub(super) fn parse(py: Python<'_>, this: This<'_, DatagramTransport>, object: &Owned) -> Option<SocketAddr> {
    if let Some(address) = this.senders.address_of(object).or_else(|| this.receiver.address_of(object)) {
        return Some(address);
    }
    let address = addresses::parse(py, this.family.get(), object)?;
    this.receiver.remember(object, address);
    Some(address)
}

/// The tuple that Python writes for the address of a sender.
pub(super) fn format(py: Python<'_>, this: This<'_, DatagramTransport>, address: Option<SocketAddr>) -> Result<Owned> {
    let Some(address) = address else { return Ok(Owned::none(py)) };
    let known = this.senders.place(&address);
    if known.address.get() == Some(address)
        && let Some(object) = known.object.get()
    {
        return Ok(object);
    }
    let object = addresses::format(py, address)?;
    known.remember(&object, address);
    Ok(object)
}
