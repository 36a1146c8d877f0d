//! A copy of the memory that a walk goes through, which can be made again.
//!
//! The first walk finds out which pieces there are, one system call each. Later ones copy all of them by one call, in the
//! order in which they were found, so that what is looked at together was copied within microseconds; and at the end the
//! first of them once more, to see whether the thread has gone on meanwhile.

use super::memory::{Access, Piece, Unreadable};

/// The bytes of a page: one is mapped as a whole or not at all.
const PAGE: usize = 4096;

/// How many bytes are copied each time at most: more means that most of them are of no use any more.
const LARGEST: usize = 1 << 18;
/// How many pieces at most, for the same reason.
const MOST: usize = 1024;

/// Pieces of memory, and what was in them.
#[derive(Debug)]
pub(super) struct Copy<'a> {
    access: &'a Access,
    pieces: Vec<Piece>,
    /// What was in the pieces, one after the other.
    bytes: Vec<u8>,
    /// Where each begins in it.
    starts: Vec<usize>,
    /// How many of them are copied once more at the end, and what was in these then: nothing in a copy made piece by piece.
    twice: usize,
    afterwards: Vec<u8>,
    /// The one that was used last: the next is the same, or the one after it.
    last: usize,
}

impl<'a> Copy<'a> {
    /// An empty copy, of which so many of the first pieces are copied twice.
    pub(super) fn new(access: &'a Access, twice: usize) -> Self {
        let (pieces, bytes, starts) = Default::default();
        Self { access, pieces, bytes, starts, twice, afterwards: Vec::new(), last: 0 }
    }

    /// Copies the same pieces again; after a failure, or when they have become too many, none.
    pub(super) fn again(&mut self) -> Result<(), Unreadable> {
        if self.pieces.len() > MOST || self.bytes.len() > LARGEST {
            self.clear();
        }
        let (count, length) = (self.pieces.len(), self.bytes.len());
        self.pieces.extend_from_within(..self.twice.min(count));
        let all: usize = self.pieces.iter().map(|piece| piece.length).sum();
        self.bytes.resize(all, 0);
        let copied = self.access.read(&self.pieces, &mut self.bytes);
        self.pieces.truncate(count);
        self.afterwards = self.bytes.split_off(length);
        if copied.is_err() {
            self.clear();
        }
        copied
    }

    /// Forgets the pieces.
    pub(super) fn clear(&mut self) {
        self.pieces.clear();
        self.bytes.clear();
        self.starts.clear();
        self.afterwards.clear();
    }

    /// What was in the first pieces when all others had been copied; nothing if they were copied one by one.
    pub(super) fn afterwards(&self) -> &[u8] {
        &self.afterwards
    }

    /// The bytes from an address on, copied now if they have not been.
    pub(super) fn bytes(&mut self, address: usize, length: usize) -> Result<&[u8], Unreadable> {
        self.bytes_within(address, length, Piece { address, length })
    }

    /// The same; if they have to be copied, so are the pages in which they lie.
    pub(super) fn bytes_with_pages(&mut self, address: usize, length: usize) -> Result<&[u8], Unreadable> {
        let first = address / PAGE * PAGE;
        let end = address.checked_add(length).ok_or(Unreadable)?.next_multiple_of(PAGE);
        self.bytes_within(address, length, Piece { address: first, length: end - first })
    }

    fn bytes_within(&mut self, address: usize, length: usize, piece: Piece) -> Result<&[u8], Unreadable> {
        let start = match self.find(address, length) {
            Some(start) => start,
            None => self.add(piece)? + (address - piece.address),
        };
        self.bytes.get(start..start + length).ok_or(Unreadable)
    }

    /// Where the bytes of an address stand in the copy.
    fn find(&mut self, address: usize, length: usize) -> Option<usize> {
        let count = self.pieces.len();
        let indices = (self.last..count).chain(0..self.last.min(count));
        for index in indices {
            let piece = self.pieces[index];
            if let Some(within) = address.checked_sub(piece.address)
                && within.checked_add(length)? <= piece.length
            {
                self.last = index;
                return Some(self.starts[index] + within);
            }
        }
        None
    }

    /// Copies one more piece, and says where it begins in the copy.
    fn add(&mut self, piece: Piece) -> Result<usize, Unreadable> {
        let start = self.bytes.len();
        self.bytes.resize(start + piece.length, 0);
        let copied = self.access.read(&[piece], &mut self.bytes[start..]);
        if copied.is_err() {
            self.bytes.truncate(start);
            copied?;
        }
        // The rest was copied a while ago.
        self.afterwards.clear();
        self.pieces.push(piece);
        self.starts.push(start);
        Ok(start)
    }
}

/// The address that stands at an offset; none where there is too little.
pub(super) fn word(bytes: &[u8], offset: usize) -> Option<usize> {
    Some(usize::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The number of 32 bits that stands at an offset.
pub(super) fn number(bytes: &[u8], offset: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}
