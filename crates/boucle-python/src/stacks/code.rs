//! Code objects in words: names, files and lines, copied out of objects that may be gone the next moment.
//!
//! All objects of a kind are copied by one system call for all frames. At the end the code objects are looked at again: had
//! one been replaced meanwhile by another at the same address, its fields would point elsewhere.
//!
//! # Invariants
//!
//! * An object is what its type says, and its type is compared before anything else in it is believed.
//! * Nothing that is found makes a copy larger than [`LONGEST`].

use std::borrow::Cow;

use boucle_core::recorder::line_table::{self, Format};
use pyo3::ffi;

use super::copy::{number, word};
use super::memory::{Access, Piece, Unreadable};
use super::offsets::{BYTES, Offsets, SIZE, TEXT_LENGTH, TEXT_STATE, TYPE};
use super::{Frame, RawFrame, Rejected};

/// How much of an object is copied before its length is known.
const GUESS: usize = 192;
/// How long a name or a line table may be, in bytes.
const LONGEST: usize = 1 << 18;
/// The format of line tables.
const FORMAT: Format = if cfg!(Py_3_11) { Format::Locations } else { Format::Deltas };

/// What is known of a code object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Where its instructions begin, if they are part of it.
    pub(super) instructions: Option<usize>,
    /// How many bytes of instructions it has.
    pub(super) size: usize,
    /// The offset at which the program's part begins.
    pub(super) begins_at: isize,
    name: usize,
    file: usize,
    line_table: usize,
    first_line: u32,
}

/// Looks at code objects, each once; fails if one is none.
pub(super) fn heads(access: &Access, offsets: &Offsets, codes: &[usize]) -> Result<Vec<Head>, Unreadable> {
    let distinct = distinct(codes.iter().copied());
    let heads = heads_of_distinct(access, offsets, &distinct)?;
    Ok(codes.iter().filter_map(|code| distinct.binary_search(code).ok().map(|index| heads[index])).collect())
}

/// Addresses in order, each once: what many frames have in common is copied once.
fn distinct(addresses: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut distinct: Vec<_> = addresses.collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

fn heads_of_distinct(access: &Access, offsets: &Offsets, codes: &[usize]) -> Result<Vec<Head>, Unreadable> {
    let fields = &offsets.code;
    let last = [fields.name, fields.file, fields.first_line, fields.line_table, fields.instructions];
    let length = last.into_iter().fold(0, usize::max) + size_of::<usize>();
    let pieces: Vec<_> = codes.iter().map(|code| Piece { address: *code, length }).collect();
    let copies = copy(access, &pieces)?;
    let code_type = &raw const ffi::PyCode_Type as usize;
    let mut heads = Vec::with_capacity(codes.len());
    for (code, bytes) in codes.iter().zip(copies.parts(&pieces)) {
        let field = |offset| word(bytes, offset).ok_or(Unreadable);
        if field(TYPE)? != code_type {
            return Err(Unreadable);
        }
        let is_whole = fields.first_traceable.is_some();
        let begins_at = fields.first_traceable.map_or(Some(0), |offset| number(bytes, offset)).ok_or(Unreadable)?;
        heads.push(Head {
            instructions: if is_whole { Some(code.checked_add(fields.instructions).ok_or(Unreadable)?) } else { None },
            // Where the instructions are an object of their own this is its address, for now.
            size: if is_whole { field(SIZE)?.saturating_mul(2) } else { field(fields.instructions)? },
            begins_at: begins_at as isize * 2,
            name: field(fields.name)?,
            file: field(fields.file)?,
            line_table: field(fields.line_table)?,
            first_line: number(bytes, fields.first_line).and_then(|line| line.try_into().ok()).unwrap_or(0),
        });
    }
    if fields.first_traceable.is_none() {
        measure(access, &mut heads)?;
    }
    Ok(heads)
}

/// Replaces the addresses of instructions by their sizes.
fn measure(access: &Access, heads: &mut [Head]) -> Result<(), Unreadable> {
    let length = SIZE + size_of::<usize>();
    let pieces: Vec<_> = heads.iter().map(|head| Piece { address: head.size, length }).collect();
    for (head, bytes) in heads.iter_mut().zip(copy(access, &pieces)?.parts(&pieces)) {
        head.size = bytes_length(bytes)?;
    }
    Ok(())
}

/// Frames in words.
pub(super) fn describe(access: &Access, offsets: &Offsets, frames: &[RawFrame]) -> Result<Vec<Frame>, Rejected> {
    describe_codes(access, offsets, frames).map_err(|Unreadable| Rejected::Inconsistent)
}

fn describe_codes(access: &Access, offsets: &Offsets, frames: &[RawFrame]) -> Result<Vec<Frame>, Unreadable> {
    let codes: Vec<usize> = frames.iter().map(|frame| frame.code).collect();
    let before = heads(access, offsets, &codes)?;
    let addresses = distinct(before.iter().flat_map(|head| [head.name, head.file, head.line_table]));
    let pieces: Vec<_> = addresses.iter().copied().map(beginning).collect();
    let copies = copy(access, &pieces)?;
    let beginnings: Vec<_> = copies.parts(&pieces).collect();
    let object = |address: usize| {
        let index = addresses.binary_search(&address).map_err(|_| Unreadable)?;
        Ok(Object { access, offsets, address, beginning: beginnings[index] })
    };
    let mut described = Vec::with_capacity(frames.len());
    for (frame, head) in frames.iter().zip(&before) {
        if frame.instruction >= head.size {
            return Err(Unreadable);
        }
        let table = object(head.line_table)?;
        let line = line_table::line(FORMAT, &table.bytes()?, head.first_line, frame.instruction as u32);
        described.push(Frame {
            function: object(head.name)?.text()?,
            file: object(head.file)?.text()?,
            line: line.unwrap_or(head.first_line),
            first_line: head.first_line,
        });
    }
    if heads(access, offsets, &codes)? == before { Ok(described) } else { Err(Unreadable) }
}

/// What was in some pieces.
struct Copies(Vec<u8>);

impl Copies {
    /// What was in each of the same pieces.
    fn parts<'a>(&'a self, pieces: &'a [Piece]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0.as_slice();
        pieces.iter().map(move |piece| {
            let (part, after) = rest.split_at(piece.length);
            rest = after;
            part
        })
    }
}

/// Copies pieces.
fn copy(access: &Access, pieces: &[Piece]) -> Result<Copies, Unreadable> {
    let mut bytes = vec![0; pieces.iter().map(|piece| piece.length).sum()];
    access.read(pieces, &mut bytes)?;
    Ok(Copies(bytes))
}

/// The beginning of an object, as far as it is on the page on which it begins and as the fixed part needs it.
fn beginning(address: usize) -> Piece {
    let to_the_end_of_the_page = 4096 - address % 4096;
    Piece { address, length: GUESS.min(to_the_end_of_the_page).max(TEXT_STATE + 4) }
}

/// The length of a `bytes` object.
fn bytes_length(object: &[u8]) -> Result<usize, Unreadable> {
    let is_bytes = word(object, TYPE).ok_or(Unreadable)? == &raw const ffi::PyBytes_Type as usize;
    if is_bytes { word(object, SIZE).ok_or(Unreadable) } else { Err(Unreadable) }
}

/// An object of which the beginning is known.
struct Object<'a> {
    access: &'a Access,
    offsets: &'a Offsets,
    address: usize,
    beginning: &'a [u8],
}

impl Object<'_> {
    /// The content of a `bytes` object.
    fn bytes(&self) -> Result<Cow<'_, [u8]>, Unreadable> {
        self.content(BYTES, bytes_length(self.beginning)?)
    }

    /// A string.
    fn text(&self) -> Result<String, Unreadable> {
        let field = |offset| word(self.beginning, offset).ok_or(Unreadable);
        if field(TYPE)? != &raw const ffi::PyUnicode_Type as usize {
            return Err(Unreadable);
        }
        let state = number(self.beginning, TEXT_STATE).ok_or(Unreadable)?;
        let (width, is_compact, is_ascii) = (state >> 2 & 7, state >> 5 & 1 == 1, state >> 6 & 1 == 1);
        if !is_compact || !matches!(width, 1 | 2 | 4) {
            return Err(Unreadable);
        }
        let start = self.offsets.text[usize::from(!is_ascii)];
        let length = field(TEXT_LENGTH)?.checked_mul(width as usize).ok_or(Unreadable)?;
        let units = self.content(start, length)?;
        Ok(match width {
            1 => units.iter().map(|unit| char::from(*unit)).collect(),
            2 => units.as_chunks().0.iter().map(|unit| scalar(u16::from_ne_bytes(*unit).into())).collect(),
            _ => units.as_chunks().0.iter().map(|unit| scalar(u32::from_ne_bytes(*unit))).collect(),
        })
    }

    /// A part, copied now if it is not in the beginning.
    fn content(&self, start: usize, length: usize) -> Result<Cow<'_, [u8]>, Unreadable> {
        if length > LONGEST {
            return Err(Unreadable);
        }
        if let Some(known) = self.beginning.get(start..start + length) {
            return Ok(known.into());
        }
        let address = self.address.checked_add(start).ok_or(Unreadable)?;
        let mut bytes = vec![0; length];
        self.access.read(&[Piece { address, length }], &mut bytes)?;
        Ok(bytes.into())
    }
}

/// A character; a replacement for what is none, such as the undecodable bytes of a file's name.
fn scalar(unit: u32) -> char {
    char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
}
