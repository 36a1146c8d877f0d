//! Datagrams: system calls that carry an address along, on a socket that does not block.
//!
//! The descriptor is a number, as in [`socket`](crate::socket).

use std::net::SocketAddr;
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::socket::{Outcome, borrow};
use crate::{Error, Result};

/// Receives one datagram into `buffer`, and says who sent it where that is an address of IP. What does not fit is lost.
/// Never blocks, also where the socket would.
pub fn receive_from(fd: RawFd, buffer: &mut [u8]) -> Result<(Outcome, Option<SocketAddr>)> {
    match rustix::net::recvfrom(borrow(fd)?, buffer, RecvFlags::DONTWAIT) {
        Ok((count, _, sender)) => {
            let sender = sender.and_then(|sender| SocketAddr::try_from(sender).ok());
            Ok((Outcome::Done(count), sender))
        }
        Err(Errno::AGAIN) => Ok((Outcome::WouldBlock, None)),
        Err(Errno::INTR) => Ok((Outcome::Interrupted, None)),
        Err(errno) => Err(Error::os("recvfrom", errno)),
    }
}

/// Sends one datagram to an address.
pub fn send_to(fd: RawFd, bytes: &[u8], address: &SocketAddr) -> Result<Outcome> {
    Outcome::of("sendto", rustix::net::sendto(borrow(fd)?, bytes, SendFlags::NOSIGNAL, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    fn check(host: &str) {
        let (one, other) = (UdpSocket::bind((host, 0)).unwrap(), UdpSocket::bind((host, 0)).unwrap());
        let (from, to) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let mut buffer = [0; 8];
        assert_eq!(receive_from(other.as_raw_fd(), &mut buffer), Ok((Outcome::WouldBlock, None)));
        assert_eq!(send_to(one.as_raw_fd(), b"ab", &to), Ok(Outcome::Done(2)));
        assert_eq!(send_to(one.as_raw_fd(), b"", &to), Ok(Outcome::Done(0)));
        assert_eq!(receive_from(other.as_raw_fd(), &mut buffer), Ok((Outcome::Done(2), Some(from))));
        assert_eq!(&buffer[..2], b"ab");
        assert_eq!(receive_from(other.as_raw_fd(), &mut buffer), Ok((Outcome::Done(0), Some(from))));
    }

    #[test]
    fn a_datagram_arrives_with_the_address_of_its_sender() {
        check("127.0.0.1");
    }

    #[test]
    fn a_datagram_to_an_address_of_another_family_is_refused() {
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = send_to(one.as_raw_fd(), b"x", &"[::1]:9".parse().unwrap());
        assert_eq!(refused, Err(Error::os("sendto", Errno::AFNOSUPPORT)));
    }
}
