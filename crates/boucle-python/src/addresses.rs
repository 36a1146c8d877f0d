//! Addresses of IP: what Python writes as tuples, and the kernel as numbers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use boucle_core::socket;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString, PyTuple};

use crate::raw::guard::discard;
use crate::raw::{Owned, Result};

/// The most that Python takes for the flow of IPv6.
const LARGEST_FLOW: u32 = 0xf_ffff;

/// The length of an address of IPv4 in text.
const LONGEST_V4: usize = "255.255.255.255".len();

/// What kind of addresses a socket has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
    /// Unix paths and others: the socket object knows them.
    #[default]
    Other,
}

impl Family {
    /// The kind of a family's number.
    pub(crate) fn of(number: i32) -> Self {
        match number {
            socket::INET => Self::V4,
            socket::INET6 => Self::V6,
            _ => Self::Other,
        }
    }
}

/// The address that a tuple names in numbers; nothing where the socket object has to look at it.
pub(crate) fn parse(py: Python<'_>, family: Family, object: &Owned) -> Option<SocketAddr> {
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
    match family {
        Family::V4 if tuple.len() == 2 => Some(SocketAddr::V4(SocketAddrV4::new(host.parse().ok()?, port))),
        Family::V6 if (2..=4).contains(&tuple.len()) => {
            let flow = rest(2).filter(|flow| *flow <= LARGEST_FLOW)?;
            Some(SocketAddr::V6(SocketAddrV6::new(host.parse().ok()?, port, flow, rest(3)?)))
        }
        _ => None,
    }
}

/// What there is, unless Python has something to say against it: then the socket object is to hear it.
fn given<T>(py: Python<'_>, result: PyResult<T>) -> Option<T> {
    result.map_err(|error| discard(py, error)).ok()
}

/// The tuple that Python writes for an address.
pub(crate) fn format(py: Python<'_>, address: SocketAddr) -> Result<Owned> {
    Ok(match address {
        SocketAddr::V4(v4) => {
            let mut room = [0; LONGEST_V4];
            (dotted(*v4.ip(), &mut room), v4.port()).into_pyobject(py)?.into_any().into()
        }
        SocketAddr::V6(v6) => {
            (host(v6.ip()), v6.port(), v6.flowinfo(), v6.scope_id()).into_pyobject(py)?.into_any().into()
        }
    })
}

/// An address of IPv4 in text: a tenth of what formatting costs.
fn dotted(ip: Ipv4Addr, room: &mut [u8; LONGEST_V4]) -> &str {
    let mut length = 0;
    let mut write = |byte| {
        room[length] = byte;
        length += 1;
    };
    for (index, octet) in ip.octets().into_iter().enumerate() {
        if index > 0 {
            write(b'.');
        }
        for (smallest, unit) in [(100, 100), (10, 10), (0, 1)] {
            if octet >= smallest {
                write(b'0' + octet / unit % 10);
            }
        }
    }
    std::str::from_utf8(&room[..length]).expect("digits and dots are text")
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
        for octet in 0..=255 {
            let ip = Ipv4Addr::new(octet, 0, 10, 255 - octet);
            assert_eq!(dotted(ip, &mut [0; LONGEST_V4]), ip.to_string());
        }
    }
}
