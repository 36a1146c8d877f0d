//! System calls on a descriptor that is read and written as a file, and does not block: a pipe, a terminal, a socket.
//!
//! The descriptor is a number, as in [`socket`](crate::socket).

use std::io::IoSlice;
use std::os::fd::RawFd;

use crate::socket::{MOST_PIECES, Outcome, borrow};
use crate::{Error, Result};

/// Reads into `buffer`.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Result<Outcome> {
    Outcome::of("read", rustix::io::read(borrow(fd)?, buffer))
}

/// Writes bytes. Where the other side is gone the process gets a signal, which Python ignores, and then the error.
pub fn write(fd: RawFd, bytes: &[u8]) -> Result<Outcome> {
    Outcome::of("write", rustix::io::write(borrow(fd)?, bytes))
}

/// Writes several pieces as one. Of more than [`MOST_PIECES`] the first are written.
pub fn write_pieces(fd: RawFd, pieces: &[IoSlice<'_>]) -> Result<Outcome> {
    Outcome::of("writev", rustix::io::writev(borrow(fd)?, &pieces[..pieces.len().min(MOST_PIECES)]))
}

/// Whether a terminal has said that its other side is gone.
pub fn is_gone_terminal(error: &Error) -> bool {
    matches!(error, Error::Os { errno: libc::EIO, .. })
}
