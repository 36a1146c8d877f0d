//! The lines of a code object, decoded from a copy of its line table.
//!
//! Who resolves a place later, or from another process, has bytes and no interpreter to ask. There are two formats,
//! [`Format::Deltas`] until 3.10 and [`Format::Locations`] since 3.11; both are a list of ranges of instructions, one after
//! the other from offset 0 on, each with its line relative to the range before.
//!
//! # Invariants
//!
//! * Any bytes may come in: a table that ends early, or gives a line below 1, has no line there. Nothing panics.
//! * Offsets are in bytes, as `co_lines()` counts.

/// How a line table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Pairs of a length in bytes and a signed difference of lines: 3.10.
    Deltas,
    /// Entries of several forms, whose first byte alone has its highest bit set: 3.11 and newer.
    Locations,
}

/// The difference of lines that says: no line here.
const NO_LINE: i8 = -128;
/// The bytes of an instruction, in which the newer format counts.
const UNIT: u32 = 2;

/// The line of the instruction at an offset in bytes; none where the code is of no line, or the table does not reach.
pub fn line(format: Format, table: &[u8], first_line: u32, offset: u32) -> Option<u32> {
    match format {
        Format::Deltas => find(deltas(table), first_line, offset),
        Format::Locations => find(Locations { table }, first_line, offset),
    }
}

/// A range of instructions.
struct Range {
    /// Its length in bytes.
    length: u32,
    /// Its line, relative to the range before.
    delta: i32,
    /// Whether it has a line.
    lined: bool,
}

/// The line of the range in which an offset lies.
fn find(ranges: impl Iterator<Item = Range>, first_line: u32, offset: u32) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut end = 0;
    for range in ranges {
        line += i64::from(range.delta);
        end += u64::from(range.length);
        if u64::from(offset) < end {
            let line = u32::try_from(line).ok().filter(|line| *line > 0);
            return line.filter(|_| range.lined);
        }
    }
    None
}

fn deltas(table: &[u8]) -> impl Iterator<Item = Range> {
    table.chunks_exact(2).map(|pair| {
        let delta = pair[1].cast_signed();
        let lined = delta != NO_LINE;
        Range { length: pair[0].into(), delta: if lined { delta.into() } else { 0 }, lined }
    })
}

/// The entries of the newer format.
struct Locations<'a> {
    /// What has not been read.
    table: &'a [u8],
}

impl Iterator for Locations<'_> {
    type Item = Range;

    fn next(&mut self) -> Option<Range> {
        let (head, rest) = self.table.split_first()?;
        let size = rest.iter().take_while(|byte| **byte & 0x80 == 0).count();
        let (fields, rest) = rest.split_at(size);
        self.table = rest;
        let kind = head >> 3 & 15;
        let delta = match kind {
            11 => 1,
            12 => 2,
            13 | 14 => signed(fields),
            _ => 0,
        };
        Some(Range { length: u32::from(head & 7) * UNIT + UNIT, delta, lined: kind != 15 })
    }
}

/// A number of six bits a byte, the lowest first, each but the last marked; its lowest bit is the sign.
fn signed(fields: &[u8]) -> i32 {
    let mut value: u64 = 0;
    for (place, byte) in fields.iter().take(6).enumerate() {
        value |= u64::from(byte & 63) << (6 * place);
        if byte & 64 == 0 {
            break;
        }
    }
    let magnitude = i32::try_from(value >> 1).unwrap_or(0);
    if value & 1 == 1 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines of the instructions of a code object whose first line is 10.
    fn lines(format: Format, table: &[u8], instructions: u32) -> Vec<Option<u32>> {
        (0..instructions).map(|index| line(format, table, 10, index * UNIT)).collect()
    }

    #[test]
    fn pairs_are_lengths_in_bytes_and_differences_of_lines() {
        let table = [2, 0, 4, 3, 2, 256u16.wrapping_sub(2) as u8];
        let expected = [Some(10), Some(13), Some(13), Some(11), None];
        assert_eq!(lines(Format::Deltas, &table, 5), expected);
    }

    #[test]
    fn a_pair_without_a_line_leaves_the_line_as_it_was() {
        assert_eq!(lines(Format::Deltas, &[2, 1, 2, 128, 2, 1], 3), [Some(11), None, Some(12)]);
    }

    #[test]
    fn a_long_way_between_two_lines_takes_pairs_of_no_length() {
        assert_eq!(lines(Format::Deltas, &[2, 1, 0, 127, 0, 127, 2, 1], 2), [Some(11), Some(266)]);
    }

    #[test]
    fn an_entry_counts_instructions_and_says_its_form_in_its_first_byte() {
        // Short form on the same line; one line further; two further; no line; a long form, three lines back.
        let table =
            [0x80, 0x11, 0x80 | 11 << 3 | 1, 1, 2, 0x80 | 12 << 3, 1, 2, 0x80 | 15 << 3, 0x80 | 14 << 3, 7, 1, 2, 3];
        let expected = [Some(10), Some(11), Some(11), Some(13), None, Some(10), None];
        assert_eq!(lines(Format::Locations, &table, 7), expected);
    }

    #[test]
    fn a_difference_of_lines_takes_as_many_bytes_as_it_needs() {
        // 1000 further: 2000, in groups of six bits 16 and 31.
        assert_eq!(lines(Format::Locations, &[0x80 | 13 << 3, 64 | 16, 31], 1), [Some(1010)]);
    }

    #[test]
    fn what_gives_no_true_line_gives_none() {
        assert_eq!(line(Format::Deltas, &[2], 10, 0), None);
        assert_eq!(line(Format::Deltas, &[2, 236], 10, 0), None);
        assert_eq!(line(Format::Locations, &[], 10, 0), None);
        assert_eq!(line(Format::Locations, &[0x80 | 14 << 3, 64], 10, 0), Some(10));
    }

    proptest! {
        #[test]
        fn any_bytes_may_come_in(table in proptest::collection::vec(any::<u8>(), 0..64), first: u32, offset: u32) {
            for format in [Format::Deltas, Format::Locations] {
                prop_assert_ne!(line(format, &table, first, offset % 300), Some(0));
                prop_assert_ne!(line(format, &table, first, offset), Some(0));
            }
        }
    }
}
