//! System calls on a socket that does not block.
//!
//! The descriptor is a number: it belongs to whoever made the socket, a Python object for one. The face says when it is
//! closed, and calls nothing here afterwards. `WouldBlock` and `Interrupted` are outcomes, not errors.

use std::cell::Cell;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::slice;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

use crate::{Error, Result};

/// The most pieces that one call sends: more is an error to the kernel.
pub const MOST_PIECES: usize = 1024;

/// The number of the family of IPv4.
pub const INET: i32 = libc::AF_INET;

/// The number of the family of IPv6.
pub const INET6: i32 = libc::AF_INET6;

/// The number of the family of Unix sockets.
pub const UNIX: i32 = libc::AF_UNIX;

/// What says of a type of sockets that they do not block.
pub const NON_BLOCKING: i32 = libc::SOCK_NONBLOCK;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many bytes went through; none at all is the end of what can be read.
    Done(usize),
    /// Not now: wait until the descriptor is ready.
    WouldBlock,
    /// A signal came first: try again.
    Interrupted,
}

impl Outcome {
    pub(crate) fn of(call: &'static str, result: rustix::io::Result<usize>) -> Result<Self> {
        match result {
            Ok(count) => Ok(Self::Done(count)),
            Err(Errno::AGAIN) => Ok(Self::WouldBlock),
            Err(Errno::INTR) => Ok(Self::Interrupted),
            Err(errno) => Err(Error::os(call, errno)),
        }
    }
}

/// The descriptor as the kernel interface wants it.
pub(crate) fn borrow(fd: RawFd) -> Result<BorrowedFd<'static>> {
    if fd < 0 {
        return Err(Error::os("socket", Errno::BADF));
    }
    // SAFETY: the number is used for one call, which neither closes nor keeps what it names; one that names nothing is
    // refused by the kernel.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Whom a socket is connected to, as a person would write it: `10.0.0.3:5432`, the path of a Unix socket. `None` for a
/// descriptor that is no socket, or whose peer has no name.
pub fn peer(fd: RawFd) -> Option<String> {
    let address = rustix::net::getpeername(borrow(fd).ok()?).ok()??;
    if let Ok(address) = std::net::SocketAddr::try_from(address.clone()) {
        return Some(address.to_string());
    }
    let address = rustix::net::SocketAddrUnix::try_from(address).ok()?;
    let path = address.path_bytes()?;
    Some(String::from_utf8_lossy(path).into_owned())
}

/// The address of a socket's own end, where it is one of IP.
pub fn own_address(fd: RawFd) -> Option<SocketAddr> {
    rustix::net::getsockname(borrow(fd).ok()?).ok()?.try_into().ok()
}

/// The address of a socket's peer, where it is one of IP.
pub fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    rustix::net::getpeername(borrow(fd).ok()?).ok()??.try_into().ok()
}

/// Whether a descriptor is a socket.
pub fn is_socket(fd: RawFd) -> bool {
    borrow(fd).is_ok_and(|fd| rustix::net::sockopt::socket_type(fd).is_ok())
}

/// Receives into `buffer`.
pub fn receive(fd: RawFd, buffer: &mut [u8]) -> Result<Outcome> {
    let received = rustix::net::recv(borrow(fd)?, buffer, RecvFlags::empty()).map(|(count, _)| count);
    Outcome::of("recv", received)
}

/// The same. With `cut`, notes there whether the bytes came with something else, as descriptors do through a Unix socket:
/// the kernel ends a read behind those, whatever else is there. What comes with them is thrown away, as `recv` does.
#[inline]
pub fn receive_noting(fd: RawFd, buffer: &mut [u8], cut: Option<&Cell<bool>>) -> Result<Outcome> {
    if cut.is_none() {
        return receive(fd, buffer);
    }
    let part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the part is ours alone, of this length, and alive.
    unsafe { receive_parts(fd, &mut [part], cut) }
}

/// Receives into `first`, which nobody has written yet, and into `second` what does not fit there. With the outcome comes
/// what of `first` was written. `cut` is that of [`receive_noting`].
pub fn receive_in_two<'a>(
    fd: RawFd,
    first: &'a mut [MaybeUninit<u8>],
    second: &mut [u8],
    cut: Option<&Cell<bool>>,
) -> Result<(Outcome, &'a mut [u8])> {
    let mut parts = [
        libc::iovec { iov_base: first.as_mut_ptr().cast(), iov_len: first.len() },
        libc::iovec { iov_base: second.as_mut_ptr().cast(), iov_len: second.len() },
    ];
    // SAFETY: both parts are ours alone, of these lengths, and alive.
    let outcome = unsafe { receive_parts(fd, &mut parts, cut) }?;
    let count = if let Outcome::Done(count) = outcome { count.min(first.len()) } else { 0 };
    // SAFETY: the kernel fills the first part before the second, so it has written so many bytes of it.
    Ok((outcome, unsafe { slice::from_raw_parts_mut(first.as_mut_ptr().cast(), count) }))
}

/// Receives into several parts, one after the other.
///
/// # Safety
///
/// The parts are memory that may be written to, and that nobody else looks at.
unsafe fn receive_parts(fd: RawFd, parts: &mut [libc::iovec], cut: Option<&Cell<bool>>) -> Result<Outcome> {
    let fd = borrow(fd)?.as_raw_fd();
    let returned = match cut {
        // SAFETY: the kernel only writes to the parts. Nobody can tell `readv` of a socket from a `recv` without flags.
        None => unsafe { libc::readv(fd, parts.as_ptr(), parts.len() as libc::c_int) },
        Some(cut) => {
            // SAFETY: a structure of numbers and pointers, of which zeros say that there is nothing.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_iov = parts.as_mut_ptr();
            message.msg_iovlen = parts.len() as _;
            // SAFETY: the kernel only writes to the parts and to the structure, which has no room for anything else.
            let returned = unsafe { libc::recvmsg(fd, &raw mut message, 0) };
            cut.set(returned > 0 && message.msg_flags & libc::MSG_CTRUNC != 0);
            returned
        }
    };
    let received = usize::try_from(returned)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    Outcome::of("recv", received)
}

/// Whether a read would not block: something is there, or the end, or an error.
pub fn is_readable(fd: RawFd) -> Result<bool> {
    let mut byte = [0_u8; 1];
    let peeked = rustix::net::recv(borrow(fd)?, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    Ok(!matches!(peeked, Err(Errno::AGAIN)))
}

/// Sends bytes, in one segment where they fit. A peer that is gone is an error, not a signal.
pub fn send(fd: RawFd, bytes: &[u8]) -> Result<Outcome> {
    Outcome::of("send", rustix::net::send(borrow(fd)?, bytes, SendFlags::NOSIGNAL))
}

/// Sends several pieces as one. Of more than [`MOST_PIECES`] the first are sent.
pub fn send_pieces(fd: RawFd, pieces: &[IoSlice<'_>]) -> Result<Outcome> {
    let pieces = &pieces[..pieces.len().min(MOST_PIECES)];
    let mut nothing: [MaybeUninit<u8>; 0] = [];
    let mut control = SendAncillaryBuffer::new(&mut nothing);
    Outcome::of("sendmsg", rustix::net::sendmsg(borrow(fd)?, pieces, &mut control, SendFlags::NOSIGNAL))
}

/// Says that nothing more will be sent.
pub fn end_sending(fd: RawFd) -> Result<()> {
    rustix::net::shutdown(borrow(fd)?, Shutdown::Write).map_err(|errno| Error::os("shutdown", errno))
}

/// Sends small segments at once, rather than collecting them until the former one is acknowledged. Does nothing to a socket
/// that is not TCP's.
pub fn set_no_delay(fd: RawFd) -> Result<()> {
    match rustix::net::sockopt::set_tcp_nodelay(borrow(fd)?, true) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOPROTOOPT) => Ok(()),
        Err(errno) => Err(Error::os("setsockopt", errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::SendAncillaryMessage;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// What comes of so many bytes, with room for five and four more: how many came, and both parts.
    #[track_caller]
    fn check(sent: &[u8], count: usize, first: &[u8], second: &[u8]) {
        for cut in [None, Some(&Cell::new(true))] {
            check_one(sent, count, first, second, cut);
        }
    }

    #[track_caller]
    fn check_one(sent: &[u8], count: usize, first: &[u8], second: &[u8], cut: Option<&Cell<bool>>) {
        let (mut one, other) = UnixStream::pair().unwrap();
        one.write_all(sent).unwrap();
        drop(one);
        let (mut memory, mut rest) = ([MaybeUninit::uninit(); 5], [0; 4]);
        let (outcome, written) = receive_in_two(other.as_raw_fd(), &mut memory, &mut rest, cut).unwrap();
        assert_eq!((outcome, &*written), (Outcome::Done(count), first));
        assert_eq!(&rest[..count.saturating_sub(5)], second);
        assert_ne!(cut.map(Cell::get), Some(true), "nothing came with the bytes");
    }

    #[test]
    fn what_does_not_fit_into_the_first_part_is_in_the_second() {
        check(b"", 0, b"", b"");
        check(b"abc", 3, b"abc", b"");
        check(b"abcde", 5, b"abcde", b"");
        check(b"abcdefg", 7, b"abcde", b"fg");
        check(b"abcdefghijkl", 9, b"abcde", b"fghi");
    }

    #[test]
    fn what_ends_a_read_early_is_noted() {
        let (one, other) = UnixStream::pair().unwrap();
        let with = [one.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&with)));
        rustix::net::sendmsg(&one, &[IoSlice::new(b"before")], &mut control, SendFlags::empty()).unwrap();
        (&one).write_all(b"behind").unwrap();
        let (cut, mut memory) = (Cell::new(false), [0; 20]);
        let mut received = || receive_noting(other.as_raw_fd(), &mut memory, Some(&cut)).map(|done| (done, cut.get()));
        assert_eq!(received(), Ok((Outcome::Done(6), true)));
        assert_eq!(received(), Ok((Outcome::Done(6), false)));
    }

    #[test]
    fn nothing_is_written_where_nothing_has_come() {
        let (one, other) = UnixStream::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        let received =
            |fd| receive_in_two(fd, &mut [MaybeUninit::uninit(); 5], &mut [0; 4], None).map(|(outcome, _)| outcome);
        assert_eq!(received(other.as_raw_fd()), Ok(Outcome::WouldBlock));
        drop(one);
        assert!(received(-1).is_err());
    }
}
