//! Addresses of IP: what Python writes as tuples, and the kernel as numbers.
//!
//! Most datagrams come from somebody who has sent one before, and go to whom the last one came from or went to. So some
//! senders and one receiver are remembered as both, and the same tuple is handed out again: tuples of strings and numbers
//! never change.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use boucle_core::datagram;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyTuple};

use super::DatagramTransport;
use crate::raw::guard::discard;
use crate::raw::{ObjectCell, Owned, Result, This};

/// The most that Python takes for the flow of IPv6.
const LARGEST_FLOW: u32 = 0xf_ffff;

/// What kind of addresses a socket has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
    /// Unix paths and others: the socket object knows them.
    #[default]
    Other,
}

impl Family {
    /// The kind of a family's number.
    pub(super) fn of(number: i32) -> Self {
        match number {
            datagram::IPV4 => Self::V4,
            datagram::IPV6 => Self::V6,
            _ => Self::Other,
        }
    }
}

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
const REMEMBERED: usize = 16;

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
    let tuple = object.any(py);
    let tuple = tuple.cast_exact::<PyTuple>().ok()?;
    // Of exactly the class, so that nothing of the tuple can change, or run.
    let host = given(py, tuple.get_borrowed_item(0))?;
    let host = host.cast_exact::<PyString>().ok()?;
    let host = given(py, host.to_str())?;
    let number = |index| -> Option<u32> {
        let item = given(py, tuple.get_borrowed_item(index))?;
        item.cast_exact::<PyInt>().ok()?;
        given(py, item.extract())
    };
    let port = u16::try_from(number(1)?).ok()?;
    let rest = |index| if index < tuple.len() { number(index) } else { Some(0) };
    let address = match this.family.get() {
        Family::V4 if tuple.len() == 2 => SocketAddr::V4(SocketAddrV4::new(host.parse().ok()?, port)),
        Family::V6 if (2..=4).contains(&tuple.len()) => {
            let flow = rest(2).filter(|flow| *flow <= LARGEST_FLOW)?;
            SocketAddr::V6(SocketAddrV6::new(host.parse().ok()?, port, flow, rest(3)?))
        }
        _ => return None,
    };
    this.receiver.remember(object, address);
    Some(address)
}

/// What there is, unless Python has something to say against it: then the socket object is to hear it.
fn given<T>(py: Python<'_>, result: PyResult<T>) -> Option<T> {
    result.map_err(|error| discard(py, error)).ok()
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
    let object: Owned = match address {
        SocketAddr::V4(v4) => (v4.ip().to_string(), v4.port()).into_pyobject(py)?.into_any().into(),
        SocketAddr::V6(v6) => {
            (host(v6.ip()), v6.port(), v6.flowinfo(), v6.scope_id()).into_pyobject(py)?.into_any().into()
        }
    };
    known.remember(&object, address);
    Ok(object)
}

/// An address of IPv6 as the C library writes it: one that holds an address of IPv4 ends with it.
fn host(ip: &Ipv6Addr) -> String {
    match (ip.segments(), ip.octets()) {
        ([0, 0, 0, 0, 0, 0, high, _], [.., a, b, c, d]) if high != 0 => format!("::{}", Ipv4Addr::new(a, b, c, d)),
        _ => ip.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) {
        assert_eq!(host(&text.parse().expect("an address of IPv6")), text);
    }

    #[test]
    fn addresses_are_written_as_the_c_library_writes_them() {
        for text in ["::", "::1", "::ffff:10.0.0.1", "::10.0.0.1", "::0.1.0.0", "fe80::1", "1:0:0:2::3", "1::2:0:0:3:0"]
        {
            check(text);
        }
    }
}
