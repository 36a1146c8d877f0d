//! Reads the atoms of the format: numbers, strings and lists.
//!
//! # Invariants
//!
//! * Nothing is read past the end: what is missing is an error that names it.
//! * A list reserves room only after its count is known to fit into the bytes that remain.

use super::SHARED_STRING_MAX;
use super::checksum::crc32;
use super::error::{DecodeError, Problem};

/// The bytes, how far they are read, and the strings met so far.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
    shared: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, offset: 0, shared: Vec::new() }
    }

    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.take(1, what).map(|bytes| bytes[0])
    }

    pub(super) fn number(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let at = self.offset;
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::new(at, Problem::TooLarge { what }))
    }

    pub(super) fn signed(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        let number = self.number(what)?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn string(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let at = self.offset;
        let text = match self.number(what)? {
            0 => self.written_out(what)?,
            number => {
                let shared = usize::try_from(number - 1).ok().and_then(|index| self.shared.get(index));
                *shared.ok_or_else(|| {
                    let available = self.shared.len() as u64;
                    let claim = "a name is string";
                    DecodeError::new(at, Problem::NoSuch { claim, number, available, kind: "strings" })
                })?
            }
        };
        Ok(text.to_owned())
    }

    /// As many items as the count at the front says, each of at least `smallest` bytes. `item` is told the count.
    pub(super) fn list<T>(
        &mut self,
        what: &'static str,
        smallest: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(what, smallest)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self, count)?);
        }
        Ok(items)
    }

    /// A number of items of at least `smallest` bytes, of which the bytes that remain could hold as many.
    pub(super) fn count(&mut self, what: &'static str, smallest: usize) -> Result<usize, DecodeError> {
        let at = self.offset;
        let count = self.number(what)?;
        let remaining = self.remaining();
        match u32::try_from(count) {
            Ok(fitting) if fitting as usize <= remaining / smallest => Ok(fitting as usize),
            _ => Err(DecodeError::new(at, Problem::TooMany { what, count, remaining })),
        }
    }

    pub(super) fn magic(&mut self, magic: &[u8]) -> Result<(), DecodeError> {
        let found = &self.bytes[..self.bytes.len().min(magic.len())];
        if found == magic {
            self.offset = magic.len();
            return Ok(());
        }
        if !found.is_empty() && magic.starts_with(found) {
            return Err(DecodeError::new(found.len(), Problem::Truncated { what: "its first bytes" }));
        }
        let found = found.escape_ascii().to_string();
        Err(DecodeError::new(0, Problem::NotARecording { found }))
    }

    /// The checksum of all bytes before it, which are right, and the end.
    pub(super) fn checksum(&mut self) -> Result<(), DecodeError> {
        let at = self.offset;
        let computed = crc32(&self.bytes[..at]);
        let stored = self.take(4, "the checksum")?;
        let stated = stored.iter().rev().fold(0, |sum, &byte| sum << 8 | u32::from(byte));
        if stated != computed {
            return Err(DecodeError::new(at, Problem::Checksum { stated, computed }));
        }
        match self.remaining() {
            0 => Ok(()),
            bytes => Err(DecodeError::new(self.offset, Problem::Trailing { bytes })),
        }
    }

    fn written_out(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.count("bytes of text", 1)?;
        let at = self.offset;
        let bytes = self.take(length, what)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|wrong| DecodeError::new(at + wrong.valid_up_to(), Problem::NotText { what }))?;
        if length <= SHARED_STRING_MAX {
            self.shared.push(text);
        }
        Ok(text)
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.offset..];
        if length > rest.len() {
            return Err(DecodeError::new(self.bytes.len(), Problem::Truncated { what }));
        }
        self.offset += length;
        Ok(&rest[..length])
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }
}
