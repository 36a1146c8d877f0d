//! What was written and not sent yet: a queue of pieces, and how much of the first is gone.
//!
//! A piece is whatever holds bytes. A Python face queues the program's own `bytes` objects, so that nothing is copied.
//!
//! # Invariants
//!
//! * No piece is empty, and `sent` is less than the length of the first.
//! * A piece that was sent is handed out, for dropping one may run code that comes back here.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::RawFd;

use crate::Result;
use crate::pipe;
use crate::socket::{self, Outcome};

/// So many pieces are sent without a list of them on the heap.
const FEW: usize = 16;

/// Pieces that wait to be sent.
#[derive(Debug)]
pub struct Outgoing<P> {
    pieces: VecDeque<P>,
    /// How many bytes of the first piece were sent.
    sent: usize,
    len: usize,
}

/// Pieces that were sent: the first one without a list on the heap, since most writes are of one.
#[derive(Debug)]
pub struct Gone<P> {
    first: Option<P>,
    rest: Vec<P>,
}

impl<P> Default for Gone<P> {
    fn default() -> Self {
        Self { first: None, rest: Vec::new() }
    }
}

impl<P> Gone<P> {
    /// How many.
    #[inline]
    #[must_use]
    pub fn count(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }
}

impl<P> Extend<P> for Gone<P> {
    #[inline]
    fn extend<I: IntoIterator<Item = P>>(&mut self, pieces: I) {
        let mut pieces = pieces.into_iter();
        if self.first.is_none() {
            self.first = pieces.next();
        }
        self.rest.extend(pieces);
    }
}

impl<P> Default for Outgoing<P> {
    fn default() -> Self {
        Self { pieces: VecDeque::new(), sent: 0, len: 0 }
    }
}

impl<P: AsRef<[u8]>> Outgoing<P> {
    /// How many bytes wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a piece. An empty one is handed back.
    pub fn push(&mut self, piece: P) -> Option<P> {
        let len = piece.as_ref().len();
        if len == 0 {
            return Some(piece);
        }
        self.len += len;
        self.pieces.push_back(piece);
        None
    }

    /// Takes everything out.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Tries once to send what waits through a socket. The pieces that were sent are appended to `done`.
    pub fn send(&mut self, fd: RawFd, done: &mut impl Extend<P>) -> Result<Outcome> {
        self.leave(done, |bytes| socket::send(fd, bytes), |pieces| socket::send_pieces(fd, pieces))
    }

    /// Tries once to write what waits, as to a file. The pieces that were written are appended to `done`.
    pub fn write(&mut self, fd: RawFd, done: &mut impl Extend<P>) -> Result<Outcome> {
        self.leave(done, |bytes| pipe::write(fd, bytes), |pieces| pipe::write_pieces(fd, pieces))
    }

    fn leave(
        &mut self,
        done: &mut impl Extend<P>,
        one: impl FnOnce(&[u8]) -> Result<Outcome>,
        several: impl FnOnce(&[IoSlice<'_>]) -> Result<Outcome>,
    ) -> Result<Outcome> {
        let outcome = match self.pieces.len() {
            0 => return Ok(Outcome::Done(0)),
            1 => one(&self.pieces[0].as_ref()[self.sent..])?,
            2..=FEW => {
                let mut few = [IoSlice::new(&[]); FEW];
                let count = self.slices(&mut few);
                several(&few[..count])?
            }
            many => {
                let mut slices = vec![IoSlice::new(&[]); many.min(socket::MOST_PIECES)];
                let count = self.slices(&mut slices);
                several(&slices[..count])?
            }
        };
        if let Outcome::Done(count) = outcome {
            self.advance(count, done);
        }
        Ok(outcome)
    }

    fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let begin = if count == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(&piece.as_ref()[begin..]);
            count += 1;
        }
        count
    }

    /// Notes that the first `count` bytes were sent.
    fn advance(&mut self, count: usize, done: &mut impl Extend<P>) {
        self.len -= count;
        self.sent += count;
        while let Some(first) = self.pieces.front() {
            let len = first.as_ref().len();
            if self.sent < len {
                break;
            }
            self.sent -= len;
            done.extend(self.pieces.pop_front());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn filled(pieces: &[&'static [u8]]) -> Outgoing<&'static [u8]> {
        let mut outgoing = Outgoing::default();
        for piece in pieces {
            outgoing.push(*piece);
        }
        outgoing
    }

    #[test]
    fn pieces_leave_together_and_in_order() {
        let (one, mut other) = UnixStream::pair().unwrap();
        let mut outgoing = filled(&[b"head", b"", b"body"]);
        let mut done = Gone::default();
        assert_eq!(outgoing.send(one.as_raw_fd(), &mut done), Ok(Outcome::Done(8)));
        assert_eq!((outgoing.len(), done.count()), (0, 2));
        let mut read = [0; 8];
        other.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"headbody");
    }

    #[test]
    fn what_was_sent_of_a_piece_is_not_sent_again() {
        let mut outgoing = filled(&[b"abc", b"defg", b"h"]);
        let mut done = Vec::new();
        outgoing.advance(5, &mut done);
        assert_eq!((outgoing.len(), done), (3, vec![b"abc".as_slice()]));
        let mut slices = [IoSlice::new(&[]); 4];
        let count = outgoing.slices(&mut slices);
        let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
        assert_eq!(bytes, b"fgh");
    }

    #[test]
    fn pieces_are_written_to_what_is_no_socket() {
        let (mut end, pipe) = std::io::pipe().unwrap();
        let mut outgoing = filled(&[b"head", b"body"]);
        let mut done = Vec::new();
        assert_eq!(outgoing.write(pipe.as_raw_fd(), &mut done), Ok(Outcome::Done(8)));
        outgoing.push(b"tail");
        assert_eq!(outgoing.write(pipe.as_raw_fd(), &mut done), Ok(Outcome::Done(4)));
        let mut read = [0; 12];
        end.read_exact(&mut read).unwrap();
        assert_eq!((&read, done.len()), (b"headbodytail", 3));
    }

    #[test]
    fn a_full_socket_keeps_the_rest() {
        let (one, _other) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        let big = vec![0_u8; 1 << 24];
        let mut outgoing = Outgoing::default();
        outgoing.push(big.as_slice());
        outgoing.push(b"after");
        let mut done = Vec::new();
        let Ok(Outcome::Done(count)) = outgoing.send(one.as_raw_fd(), &mut done) else { panic!("nothing was sent") };
        assert_eq!(outgoing.len(), (1 << 24) + 5 - count);
        while outgoing.send(one.as_raw_fd(), &mut done) != Ok(Outcome::WouldBlock) {}
        assert!(done.is_empty() && !outgoing.is_empty());
    }

    #[test]
    fn more_pieces_than_one_call_takes_leave_in_several() {
        let (one, _other) = UnixStream::pair().unwrap();
        let mut outgoing = Outgoing::default();
        for _ in 0..=socket::MOST_PIECES {
            outgoing.push(b"x");
        }
        let mut done = Gone::default();
        assert_eq!(outgoing.send(one.as_raw_fd(), &mut done), Ok(Outcome::Done(socket::MOST_PIECES)));
        assert_eq!(outgoing.send(one.as_raw_fd(), &mut done), Ok(Outcome::Done(1)));
    }
}
