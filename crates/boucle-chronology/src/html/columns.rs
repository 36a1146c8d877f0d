//! The data of a page: columns of numbers and a table of texts, deflated, as letters that HTML carries unchanged.
//!
//! A column is cut into planes, first the lowest byte of each number, then the next, as many as its largest number
//! needs. That is smaller than numbers of variable length once it is deflated, since the bytes of a plane are alike, and
//! a browser reads it in a loop without a branch. Inflated it is:
//!
//! ```text
//! length of the head in bytes   four bytes, the lowest first
//! head                          JSON, with `columns` (each name, count, planes) and `texts`, the length of the texts
//! columns                       one after the other, each its planes
//! texts                         one a line; the first is empty
//! ```
//!
//! # Invariants
//!
//! * A text is one line: what is put in went through `name`, which leaves no control character.
//! * Of equal texts there is one.

use serde::Serialize;
use std::collections::HashMap;

/// Above this level it takes twice the time for one per cent.
const LEVEL: u8 = 6;

/// Columns and texts so far.
#[derive(Default)]
pub(super) struct Columns {
    listed: Vec<Listed>,
    planes: Vec<u8>,
    texts: String,
    numbers: HashMap<String, u64>,
}

/// What the head says of a column.
#[derive(Serialize)]
struct Listed(&'static str, usize, usize);

#[derive(Serialize)]
struct Head<'a, T> {
    #[serde(flatten)]
    told: &'a T,
    columns: &'a [Listed],
    texts: usize,
}

impl Columns {
    /// Adds a column.
    pub(super) fn column(&mut self, name: &'static str, numbers: impl IntoIterator<Item = u64>) {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        let largest = numbers.iter().copied().max().unwrap_or(0);
        let planes = (u64::BITS - largest.leading_zeros()).div_ceil(8);
        for plane in 0..planes {
            self.planes.extend(numbers.iter().map(|number| (number >> (8 * plane)) as u8));
        }
        self.listed.push(Listed(name, numbers.len(), planes as usize));
    }

    /// The number of a text, which has no line break.
    pub(super) fn text(&mut self, text: String) -> u64 {
        if text.is_empty() {
            return 0;
        }
        let next = self.numbers.len() as u64 + 1;
        let texts = &mut self.texts;
        *self.numbers.entry(text).or_insert_with_key(|text| {
            texts.push('\n');
            texts.push_str(text);
            next
        })
    }

    /// Everything, below `head`, as letters.
    pub(super) fn finish(self, head: &impl Serialize) -> String {
        let head = Head { told: head, columns: &self.listed, texts: self.texts.len() };
        let head = serde_json::to_vec(&head).expect("strings, finite numbers and lists are all valid JSON");
        let mut bytes = (head.len() as u32).to_le_bytes().to_vec();
        bytes.reserve(head.len() + self.planes.len() + self.texts.len());
        bytes.extend(head);
        bytes.extend(self.planes);
        bytes.extend(self.texts.into_bytes());
        base64(&miniz_oxide::deflate::compress_to_vec_zlib(&bytes, LEVEL))
    }
}

/// A difference that may be negative: small ones of either sign become small numbers.
pub(super) fn signed(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

/// `bytes` in the letters of RFC 4648, padded.
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |index| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for letter in 0..4 {
            let shift = 18 - 6 * letter;
            let known = letter <= three.len();
            text.push(if known { LETTERS[(bits >> shift & 63) as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_those_of_the_standard() {
        let encoded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn a_column_has_as_many_planes_as_its_largest_number() {
        let mut columns = Columns::default();
        columns.column("a", [1, 0x0203]);
        columns.column("b", [0, 0]);
        columns.column("c", [u64::MAX]);
        assert_eq!(columns.planes, [&[1, 3, 0, 2][..], &[255; 8]].concat());
        assert_eq!(
            columns.listed.iter().map(|listed| (listed.1, listed.2)).collect::<Vec<_>>(),
            [(2, 2), (2, 0), (1, 8)]
        );
    }

    #[test]
    fn equal_texts_have_one_number() {
        let mut columns = Columns::default();
        let numbers = ["run1", "", "run2", "run1"].map(|text| columns.text(text.to_owned()));
        assert_eq!(numbers, [1, 0, 2, 1]);
        assert_eq!(columns.texts, "\nrun1\nrun2");
    }

    #[test]
    fn differences_of_either_sign_are_small() {
        assert_eq!([0, -1, 1, -2, i64::MIN].map(signed), [0, 1, 2, 3, u64::MAX]);
    }
}
