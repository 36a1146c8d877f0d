//! Writes the atoms of the format: bytes, numbers and strings.

use super::SHARED_STRING_MAX;
use std::collections::HashMap;

/// The bytes so far, and which strings they hold.
#[derive(Default)]
pub(super) struct Writer<'a> {
    bytes: Vec<u8>,
    shared: HashMap<&'a str, u64>,
}

impl<'a> Writer<'a> {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// A difference that may be negative: small ones of either sign become small numbers.
    pub(super) fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63) as u64);
    }

    pub(super) fn string(&mut self, text: &'a str) {
        if let Some(&number) = self.shared.get(text) {
            self.number(number);
            return;
        }
        if text.len() <= SHARED_STRING_MAX {
            let number = self.shared.len() as u64 + 1;
            self.shared.insert(text, number);
        }
        self.number(0);
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    pub(super) fn written(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
