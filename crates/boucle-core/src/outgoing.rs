//! What was written and not sent yet: a queue of pieces, and how much of the first is gone.
//!
//! A piece is whatever holds bytes. A Python face queues the program's own `bytes` objects, so that nothing is copied: but
//! small ones that wait beside each other are put together, for a place in the list, in the kernel's list and a turn of its
//! loop cost as much as the copy of some hundred bytes. A piece that leaves alone is never copied.
//!
//! # Invariants
//!
//! * No piece is empty, and `sent` is less than the length of the first.
//! * A piece that was sent or copied is handed out, for dropping one may run code that comes back here.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::RawFd;

use crate::Result;
use crate::pipe;
use crate::socket::{self, Outcome};

/// So many pieces are sent without a list of them on the heap.
const FEW: usize = 16;

/// Longer pieces are not put together with others.
const SMALL: usize = 512;

/// What is put together gets no longer than this.
const TOGETHER: usize = 16 * 1024;

/// The room that the first two get.
const ROOM: usize = 1024;

/// What waits in one place.
#[derive(Debug)]
enum Piece<P> {
    /// A piece as it was written.
    Whole(P),
    /// Small ones, put together.
    Together(Vec<u8>),
}

impl<P: AsRef<[u8]>> Piece<P> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(piece) => piece.as_ref(),
            Self::Together(bytes) => bytes,
        }
    }

    /// It was sent.
    #[inline]
    fn leave(self, done: &mut Gone<P>) {
        if let Self::Whole(piece) = self {
            done.put(piece);
        }
    }

    /// Whether a small piece of this length is put together with this one.
    fn takes(&self, len: usize) -> bool {
        match self {
            Self::Whole(piece) => piece.as_ref().len() <= SMALL,
            Self::Together(bytes) => bytes.len() + len <= TOGETHER,
        }
    }

    /// Appends. Returns the piece that this was until now.
    fn append(&mut self, content: &[u8]) -> Option<P> {
        if let Self::Together(bytes) = self {
            bytes.extend_from_slice(content);
            return None;
        }
        let mut together = Vec::with_capacity(ROOM);
        together.extend_from_slice(self.bytes());
        together.extend_from_slice(content);
        match std::mem::replace(self, Self::Together(together)) {
            Self::Whole(piece) => Some(piece),
            Self::Together(_) => None,
        }
    }
}

/// Pieces that wait to be sent.
#[derive(Debug)]
pub struct Outgoing<P> {
    pieces: VecDeque<Piece<P>>,
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
    /// Adds one.
    #[inline]
    pub fn put(&mut self, piece: P) {
        if self.first.is_none() {
            self.first = Some(piece);
        } else {
            self.rest.push(piece);
        }
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

    /// Whether one call offers the kernel all that waits, and more behind it.
    pub fn is_offered_whole(&self) -> bool {
        self.pieces.len() < socket::MOST_PIECES
    }

    /// Appends a piece. What is not needed any more, for it is empty or was copied, is handed out.
    #[inline]
    #[must_use = "dropping them may run code"]
    pub fn push(&mut self, piece: P) -> (Option<P>, Option<P>) {
        let len = piece.as_ref().len();
        if len == 0 {
            return (Some(piece), None);
        }
        self.len += len;
        if len <= SMALL
            && let Some(last) = self.pieces.back_mut()
            && last.takes(len)
        {
            let former = last.append(piece.as_ref());
            return (Some(piece), former);
        }
        self.pieces.push_back(Piece::Whole(piece));
        (None, None)
    }

    /// Takes everything out.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Tries once to send what waits, and `more` behind it, through a socket. What was sent of `more` is what was sent beyond
    /// [`Outgoing::len`]. The pieces that were sent are put to `done`.
    pub fn send(&mut self, fd: RawFd, more: &[u8], done: &mut Gone<P>) -> Result<Outcome> {
        self.leave(more, done, |bytes| socket::send(fd, bytes), |pieces| socket::send_pieces(fd, pieces))
    }

    /// Tries once to write what waits, as to a file. The pieces that were written are put to `done`.
    pub fn write(&mut self, fd: RawFd, done: &mut Gone<P>) -> Result<Outcome> {
        self.leave(&[], done, |bytes| pipe::write(fd, bytes), |pieces| pipe::write_pieces(fd, pieces))
    }

    fn leave(
        &mut self,
        more: &[u8],
        done: &mut Gone<P>,
        one: impl FnOnce(&[u8]) -> Result<Outcome>,
        several: impl FnOnce(&[IoSlice<'_>]) -> Result<Outcome>,
    ) -> Result<Outcome> {
        let outcome = match self.pieces.len() + usize::from(!more.is_empty()) {
            0 => return Ok(Outcome::Done(0)),
            1 => one(self.pieces.front().map_or(more, |piece| &piece.bytes()[self.sent..]))?,
            2..=FEW => {
                let mut few = [IoSlice::new(&[]); FEW];
                let count = self.slices(more, &mut few);
                several(&few[..count])?
            }
            many => {
                let mut slices = vec![IoSlice::new(&[]); many.min(socket::MOST_PIECES)];
                let count = self.slices(more, &mut slices);
                several(&slices[..count])?
            }
        };
        if let Outcome::Done(count) = outcome {
            self.advance(count.min(self.len), done);
        }
        Ok(outcome)
    }

    fn slices<'a>(&'a self, more: &'a [u8], slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        let more = Some(more).filter(|more| !more.is_empty());
        for (slice, bytes) in slices.iter_mut().zip(self.pieces.iter().map(Piece::bytes).chain(more)) {
            let begin = if count == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(&bytes[begin..]);
            count += 1;
        }
        count
    }

    /// Notes that the first `count` bytes were sent.
    fn advance(&mut self, count: usize, done: &mut Gone<P>) {
        self.len -= count;
        if self.len == 0 {
            self.sent = 0;
            while let Some(piece) = self.pieces.pop_front() {
                piece.leave(done);
            }
            return;
        }
        self.sent += count;
        while let Some(first) = self.pieces.front() {
            let len = first.bytes().len();
            if self.sent < len {
                break;
            }
            self.sent -= len;
            if let Some(piece) = self.pieces.pop_front() {
                piece.leave(done);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    /// Pieces that are never put together.
    const LARGE: [&[u8]; 3] = [&[b'a'; SMALL + 1], &[b'b'; SMALL + 2], &[b'c'; SMALL + 3]];

    fn filled(pieces: &[&'static [u8]]) -> Outgoing<&'static [u8]> {
        let mut outgoing = Outgoing::default();
        for piece in pieces {
            let _handed_out = outgoing.push(*piece);
        }
        outgoing
    }

    fn all<P>(gone: Gone<P>) -> Vec<P> {
        gone.first.into_iter().chain(gone.rest).collect()
    }

    /// What waits, one after the other.
    fn waiting(outgoing: &Outgoing<&'static [u8]>) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = outgoing.slices(&[], &mut slices);
        slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect()
    }

    #[test]
    fn pieces_leave_together_and_in_order() {
        for pieces in [[&b"head"[..], b"", b"body"], [LARGE[0], b"", LARGE[1]], [b"head", LARGE[0], b"tail"]] {
            let (one, mut other) = UnixStream::pair().unwrap();
            let mut outgoing = filled(&pieces);
            let whole = pieces.concat();
            assert_eq!(outgoing.send(one.as_raw_fd(), &[], &mut Gone::default()), Ok(Outcome::Done(whole.len())));
            assert!(outgoing.is_empty() && outgoing.pieces.is_empty());
            let mut read = vec![0; whole.len()];
            other.read_exact(&mut read).unwrap();
            assert_eq!(read, whole);
        }
    }

    #[test]
    fn what_was_sent_of_a_piece_is_not_sent_again() {
        let mut outgoing = filled(&LARGE);
        let mut done = Gone::default();
        outgoing.advance(SMALL + 3, &mut done);
        assert_eq!((outgoing.len(), all(done)), (2 * SMALL + 3, vec![LARGE[0]]));
        assert_eq!(waiting(&outgoing), [&LARGE[1][2..], LARGE[2]].concat());
    }

    #[test]
    fn small_pieces_are_put_together_where_the_last_one_is_small() {
        let mut outgoing = filled(&[b"abc"]);
        assert_eq!(outgoing.push(b"defg"), (Some(&b"defg"[..]), Some(&b"abc"[..])));
        assert_eq!(outgoing.push(b""), (Some(&b""[..]), None));
        assert_eq!(outgoing.push(b"h"), (Some(&b"h"[..]), None));
        let mut done = Gone::default();
        outgoing.advance(5, &mut done);
        assert_eq!((waiting(&outgoing), outgoing.len(), done.first.is_none()), (b"fgh".to_vec(), 3, true));
        assert_eq!(outgoing.push(b"i"), (Some(&b"i"[..]), None));
        assert_eq!(outgoing.push(LARGE[0]), (None, None));
        assert_eq!(outgoing.push(b"j"), (None, None));
        assert_eq!((waiting(&outgoing), outgoing.pieces.len()), ([b"fghi", LARGE[0], b"j"].concat(), 3));
        outgoing.advance(outgoing.len(), &mut done);
        assert_eq!((outgoing.pieces.len(), all(done)), (0, vec![LARGE[0], b"j"]));
    }

    #[test]
    fn what_is_put_together_has_a_limit() {
        let mut outgoing = Outgoing::default();
        let pieces = 2 * TOGETHER / SMALL + 1;
        for _ in 0..pieces {
            let _handed_out = outgoing.push(&LARGE[0][..SMALL]);
        }
        assert_eq!((outgoing.len(), outgoing.pieces.len()), (pieces * SMALL, 3));
    }

    #[test]
    fn pieces_are_written_to_what_is_no_socket() {
        let (mut end, pipe) = std::io::pipe().unwrap();
        let mut outgoing = filled(&LARGE[..2]);
        let mut done = Gone::default();
        assert_eq!(outgoing.write(pipe.as_raw_fd(), &mut done), Ok(Outcome::Done(2 * SMALL + 3)));
        let _handed_out = outgoing.push(b"tail");
        assert_eq!(outgoing.write(pipe.as_raw_fd(), &mut done), Ok(Outcome::Done(4)));
        let mut read = [0; 2 * SMALL + 7];
        end.read_exact(&mut read).unwrap();
        assert_eq!((read.to_vec(), all(done).len()), ([LARGE[0], LARGE[1], b"tail"].concat(), 3));
    }

    #[test]
    fn what_is_lent_leaves_behind_what_waits() {
        let many = [LARGE[0]; 20];
        for pieces in [&LARGE[..0], &LARGE[..1], &LARGE, &many] {
            let (one, mut other) = UnixStream::pair().unwrap();
            let mut outgoing = filled(pieces);
            let whole = [&pieces.concat(), &b"lent"[..]].concat();
            let mut done = Gone::default();
            assert_eq!(outgoing.send(one.as_raw_fd(), b"lent", &mut done), Ok(Outcome::Done(whole.len())));
            assert_eq!((outgoing.len(), outgoing.pieces.len(), all(done)), (0, 0, pieces.to_vec()));
            let mut read = vec![0; whole.len()];
            other.read_exact(&mut read).unwrap();
            assert_eq!(read, whole);
        }
    }

    #[test]
    fn a_full_socket_keeps_the_rest() {
        let (one, _other) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        let big = vec![0_u8; 1 << 24];
        let mut outgoing = Outgoing::default();
        for piece in [big.as_slice(), b"after"] {
            let _handed_out = outgoing.push(piece);
        }
        let mut done = Gone::default();
        let Ok(Outcome::Done(count)) = outgoing.send(one.as_raw_fd(), &[], &mut done) else {
            panic!("nothing was sent")
        };
        assert_eq!(outgoing.len(), (1 << 24) + 5 - count);
        while outgoing.send(one.as_raw_fd(), &[], &mut done) != Ok(Outcome::WouldBlock) {}
        assert!(done.first.is_none() && !outgoing.is_empty());
    }

    #[test]
    fn more_pieces_than_one_call_takes_leave_in_several() {
        let (one, other) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(move || std::io::copy(&mut &other, &mut std::io::sink()).unwrap());
        let mut outgoing = Outgoing::default();
        for _ in 0..=socket::MOST_PIECES {
            let _handed_out = outgoing.push(LARGE[0]);
        }
        assert!(!outgoing.is_offered_whole());
        let whole = outgoing.len();
        assert_eq!(
            outgoing.send(one.as_raw_fd(), &[], &mut Gone::default()),
            Ok(Outcome::Done(whole - LARGE[0].len()))
        );
        assert!(outgoing.is_offered_whole());
        assert_eq!(outgoing.send(one.as_raw_fd(), &[], &mut Gone::default()), Ok(Outcome::Done(LARGE[0].len())));
        drop(one);
        assert_eq!(reader.join().unwrap(), whole as u64);
    }
}
