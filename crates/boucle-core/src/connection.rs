//! Connections: system calls that begin one, and that take one which somebody else began.
//!
//! The descriptor is a number, as in [`socket`](crate::socket).

use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use crate::socket::borrow;
use crate::{Error, Result};

/// Begins to connect. Whether that is done; where it is not, the descriptor is writable when it is.
pub fn connect(fd: RawFd, address: &SocketAddr) -> Result<bool> {
    match rustix::net::connect(borrow(fd)?, address) {
        Ok(()) => Ok(true),
        Err(Errno::INPROGRESS | Errno::ALREADY | Errno::AGAIN | Errno::INTR) => Ok(false),
        Err(errno) => Err(Error::os("connect", errno)),
    }
}

/// Takes a connection of a listening socket, which must not block: a descriptor that does not block, and whom it is with,
/// where that is an address of IP. Nothing where there is none, or where the peer has given up.
pub fn accept(fd: RawFd) -> Result<Option<(OwnedFd, Option<SocketAddr>)>> {
    match rustix::net::acceptfrom_with(borrow(fd)?, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok((connection, peer)) => Ok(Some((connection, peer.and_then(|peer| SocketAddr::try_from(peer).ok())))),
        Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => Ok(None),
        Err(errno) => Err(Error::os("accept", errno)),
    }
}

/// Whether [`accept`] would take a connection of a listening socket, or fail. The kernel makes a descriptor before it looks
/// whether there is a connection for it, so an `accept` that takes nothing costs ten times as much as this question.
pub fn may_accept(fd: RawFd) -> bool {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let Ok(listener) = borrow(fd) else { return true };
    poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&NOW)) != Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, socket_with};
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    fn client() -> OwnedFd {
        socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap()
    }

    #[test]
    fn a_connection_is_taken_once_with_the_address_of_its_client() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(accept(listener.as_raw_fd()).unwrap().is_none());
        assert!(!may_accept(listener.as_raw_fd()));
        let client = client();
        connect(client.as_raw_fd(), &listener.local_addr().unwrap()).unwrap();
        assert!(may_accept(listener.as_raw_fd()));
        let (_connection, peer) = accept(listener.as_raw_fd()).unwrap().expect("a connection that was begun");
        let own = SocketAddr::try_from(rustix::net::getsockname(&client).unwrap()).unwrap();
        assert_eq!(peer, Some(own));
        assert!(!may_accept(listener.as_raw_fd()));
        assert!(accept(listener.as_raw_fd()).unwrap().is_none());
    }

    #[test]
    fn nothing_is_taken_of_a_socket_that_does_not_listen() {
        assert!(matches!(accept(client().as_raw_fd()), Err(Error::Os { call: "accept", .. })));
        assert!(may_accept(client().as_raw_fd()));
        assert!(may_accept(-1));
    }

    #[test]
    fn an_address_of_another_family_is_refused() {
        let refused = connect(client().as_raw_fd(), &"[::1]:9".parse().unwrap());
        assert_eq!(refused, Err(Error::os("connect", Errno::AFNOSUPPORT)));
    }
}
