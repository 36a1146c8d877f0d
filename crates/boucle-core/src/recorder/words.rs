//! Words that others write meanwhile: how they are copied, and how a slot of several words is never seen half written.
//!
//! What the recorder keeps is a range of 64-bit words, written by one thread at a time and read by anybody: by other
//! threads of the process as atomics, by other processes as copies out of a file ([`Words`] is either). Nothing in it is
//! ever borrowed, and what a reader gets is checked before it is believed.
//!
//! # Protocol
//!
//! A slot begins with its *sequence*: 0 was never written, odd is being written. The writer makes it odd, stores the words,
//! and makes it even again; a reader whose two readings of it, before and after copying the words, are even and equal has a
//! slot that belongs together. A reader gives up after a few attempts: a process that was stopped while it wrote will not
//! go on for being waited for.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// How often a slot is read before it is given up.
const ATTEMPTS: usize = 4;

/// The bytes of a word.
const BYTES: usize = size_of::<u64>();

/// Words that may be written while they are copied.
pub trait Words {
    /// How many there are.
    fn count(&self) -> usize;

    /// Copies the words from `at` on, in any order. Says whether they are all there.
    fn copy(&self, at: usize, into: &mut [u64]) -> bool;

    /// One word; 0 where it is not there.
    fn word(&self, at: usize) -> u64 {
        let mut word = [0];
        if self.copy(at, &mut word) { word[0] } else { 0 }
    }
}

/// Words of this process.
pub type Own = &'static [AtomicU64];

impl Words for Own {
    fn count(&self) -> usize {
        self.len()
    }

    fn copy(&self, at: usize, into: &mut [u64]) -> bool {
        let Some(words) = at.checked_add(into.len()).and_then(|end| self.get(at..end)) else { return false };
        for (into, word) in into.iter_mut().zip(words) {
            *into = word.load(Ordering::Relaxed);
        }
        true
    }
}

/// Writes the words of a slot but its first. Only one thread at a time may.
#[inline]
pub fn write_slot(slot: &[AtomicU64], write: impl FnOnce(&[AtomicU64])) {
    let Some((sequence, words)) = slot.split_first() else { return };
    // One that was left odd is not taken for a whole one.
    let before = sequence.load(Ordering::Relaxed) & !1;
    sequence.store(before + 1, Ordering::Relaxed);
    fence(Ordering::Release);
    write(words);
    sequence.store(before + 2, Ordering::Release);
}

/// A slot of `N` words with its first; none where it was never written, or is being written all the time.
pub fn read_slot<const N: usize>(words: &impl Words, at: usize) -> Option<[u64; N]> {
    for _ in 0..ATTEMPTS {
        let before = words.word(at);
        if before == 0 {
            return None;
        }
        fence(Ordering::Acquire);
        let mut slot = [0; N];
        if !words.copy(at, &mut slot) {
            return None;
        }
        fence(Ordering::Acquire);
        if before.is_multiple_of(2) && words.word(at) == before {
            return Some(slot);
        }
    }
    None
}

/// Stores as many of the bytes as the words hold.
pub fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(BYTES)) {
        let mut padded = [0; BYTES];
        padded[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
}

/// The first `length` bytes of words.
pub fn bytes(words: &[u64], length: usize) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).take(length).collect()
}

/// Two halves as one word.
#[inline]
pub fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The halves of a word.
#[inline]
pub fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// The beginning of a text that is no longer than so many bytes, and ends with an ellipsis where it was cut.
pub fn shortened(text: &str, most: usize) -> std::borrow::Cow<'_, str> {
    const ELLIPSIS: char = '…';
    if text.len() <= most {
        return text.into();
    }
    let mut end = most - ELLIPSIS.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ELLIPSIS}", &text[..end]).into()
}

/// The words of a slot that holds a text.
pub const TEXT_SLOT: usize = 16;

/// The longest text in a slot, in bytes.
pub const LONGEST_TEXT: usize = (TEXT_SLOT - 3) * BYTES;

/// Writes a text and its key into a slot of [`TEXT_SLOT`] words. `note` is another 32 bits for the writer to use.
pub fn write_text(slot: &[AtomicU64], key: u64, note: u32, text: &str) {
    let text = shortened(text, LONGEST_TEXT);
    write_slot(slot, |words| {
        words[0].store(key, Ordering::Relaxed);
        words[1].store(pair(text.len() as u32, note), Ordering::Relaxed);
        store_bytes(&words[2..], text.as_bytes());
    });
}

/// The key, the note and the text of a slot.
pub fn read_text(words: &impl Words, at: usize) -> Option<(u64, u32, String)> {
    let slot = read_slot::<TEXT_SLOT>(words, at)?;
    let (length, note) = halves(slot[2]);
    let text = bytes(&slot[3..], length as usize);
    Some((slot[1], note, String::from_utf8_lossy(&text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(words: usize) -> Own {
        crate::recorder::mapping::for_test(words)
    }

    #[test]
    fn a_text_comes_out_as_it_went_in_and_a_long_one_is_cut_at_a_character() {
        let memory = memory(2 * TEXT_SLOT);
        assert_eq!(read_text(&memory, TEXT_SLOT), None);
        write_text(&memory[TEXT_SLOT..], 7, 8, "a name");
        assert_eq!(read_text(&memory, TEXT_SLOT), Some((7, 8, "a name".into())));
        write_text(&memory[TEXT_SLOT..], 9, 0, &"é".repeat(60));
        assert_eq!(read_text(&memory, TEXT_SLOT), Some((9, 0, "é".repeat(50) + "…")));
    }

    #[test]
    fn nothing_is_read_outside_of_the_words() {
        let memory = memory(TEXT_SLOT);
        memory[8].store(2, Ordering::Relaxed);
        assert_eq!(read_text(&memory, 8), None);
        assert!(!memory.copy(usize::MAX, &mut [0, 0]));
    }

    #[test]
    fn a_slot_whose_writer_stopped_in_between_is_not_read_and_can_be_written_again() {
        let memory = memory(TEXT_SLOT);
        write_text(memory, 1, 0, "whole");
        memory[0].store(3, Ordering::Relaxed);
        assert_eq!(read_text(&memory, 0), None);
        write_text(memory, 2, 0, "again");
        assert_eq!(read_text(&memory, 0), Some((2, 0, "again".into())));
    }

    #[test]
    fn a_reader_never_sees_a_torn_slot() {
        let memory = memory(TEXT_SLOT);
        let texts: Vec<String> = (0..10u8).map(|digit| char::from(b'0' + digit).to_string().repeat(90)).collect();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..200_000u64 {
                    write_text(memory, round % 10, 0, &texts[round as usize % 10]);
                }
            });
            while !writer.is_finished() {
                if let Some((key, _, text)) = read_text(&memory, 0) {
                    assert_eq!(text, texts[key as usize]);
                }
            }
        });
    }
}
