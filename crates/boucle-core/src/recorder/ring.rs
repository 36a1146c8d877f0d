//! The ring of one thread: the last steps it ran, 32 bytes each.
//!
//! ```text
//! word 0     process of the thread that has it
//! word 1     threads that have had it
//! word 8     head: how many steps were ever written
//! word 9     what runs now                            (see `live`)
//! word 512   names of its threads, slots              (see `rings`)
//! then       sums of its steps                        (see `tally`)
//! then the entries, a power of two of them:
//!
//! word 0   start                                     stamp
//! word 1   duration (low half), wait (high half)     stamps as 32-bit floats: 24 bits of precision at any length
//! word 2   actor, what woke it
//! word 3   code, whereabouts
//! ```
//!
//! # Protocol
//!
//! The owner stores the four words of an entry, then publishes it by storing `head`. A reader loads `head`, copies
//! entries, and loads `head` again: whatever the owner may have begun to overwrite by then is thrown away, and that is
//! everything older than the capacity, and one more: the entry that is next in line may be half written. A release
//! fence before the words and an acquire fence after copying them make sure that who sees a new word also sees the head
//! that announced it. All words are atomics, so that a race is a stale value at worst; on x86-64 the compiler makes plain
//! moves of them.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::words::{Own, Words, halves, pair};
use crate::clock::Stamp;

/// 64-bit words of an entry.
const WORDS: usize = 4;

/// Where the parts of a thread's segment begin, in words.
pub(super) const CLAIM: usize = 0;
pub(super) const OWNER_COUNT: usize = 1;
const HEAD: usize = 8;
pub(super) const LIVE: usize = 9;
pub(super) const OWNERS: usize = 512;
pub(super) const TALLY: usize = OWNERS + super::rings::REMEMBERED_OWNERS * super::words::TEXT_SLOT;
const ENTRIES: usize = TALLY + super::tally::SIZE;

/// The words of a segment for at least this many steps, rounded up to a power of two.
pub(super) fn size(steps: usize) -> usize {
    ENTRIES + steps.max(2).next_power_of_two() * WORDS
}

/// What made an item ready: a step of the same thread, by the low bits of its sequence number, or something outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WokenBy(pub u32);

impl WokenBy {
    /// Nothing that was recorded.
    pub const UNKNOWN: Self = Self(u32::MAX);
    /// A timer whose deadline came.
    pub const TIMER: Self = Self(u32::MAX - 1);
    /// A report of the kernel.
    pub const IO: Self = Self(u32::MAX - 2);
    /// Another thread.
    pub const THREAD: Self = Self(u32::MAX - 3);

    /// The step with this sequence number. Once in four thousand million steps the number falls on one of the constants
    /// above, and it is not known what woke a step.
    #[inline]
    pub fn step(sequence: u64) -> Self {
        let low = sequence as u32;
        if low >= Self::THREAD.0 { Self::UNKNOWN } else { Self(low) }
    }
}

/// Where a step left its code: the offset of the instruction, whether it awaited there, and whether it was the first
/// step of its actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts(u32);

impl Whereabouts {
    const FIRST: u32 = 1 << 31;
    const AWAITED: u32 = 1 << 30;
    const RETURNED: u32 = 1 << 29;
    const OFFSET: u32 = Self::RETURNED - 1;

    /// Nothing is known.
    pub const UNKNOWN: Self = Self(0);
    /// The code ran to its end.
    pub const RETURNED_HERE: Self = Self(Self::RETURNED);

    /// The code awaits at this offset, whose unit is the face's own.
    #[inline]
    pub fn awaiting(offset: u32) -> Self {
        Self(Self::AWAITED | (offset & Self::OFFSET))
    }

    /// The same, in the first step of its actor.
    #[inline]
    #[must_use]
    pub fn first_step(self, first: bool) -> Self {
        Self(self.0 | if first { Self::FIRST } else { 0 })
    }

    /// Whether it was the first step of its actor.
    pub fn is_first(self) -> bool {
        self.0 & Self::FIRST != 0
    }

    /// Where it awaits.
    pub fn awaited_at(self) -> Option<u32> {
        (self.0 & Self::AWAITED != 0).then_some(self.0 & Self::OFFSET)
    }

    /// Whether the code ran to its end.
    pub fn returned(self) -> bool {
        self.0 & Self::RETURNED != 0
    }
}

/// A step as the loop saw it. Actors and code are numbers of the face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawStep {
    /// When it began.
    pub start: Stamp,
    /// How long it held the processor, in stamps.
    pub duration: f32,
    /// How long the actor had been ready before, in stamps.
    pub waited: f32,
    /// Who ran.
    pub actor: u32,
    /// What made the actor ready.
    pub woken_by: WokenBy,
    /// The code that ran last.
    pub code: u32,
    /// Where that code was left.
    pub whereabouts: Whereabouts,
}

impl RawStep {
    fn encode(&self) -> [u64; WORDS] {
        [
            self.start.0,
            pair(self.duration.to_bits(), self.waited.to_bits()),
            pair(self.actor, self.woken_by.0),
            pair(self.code, self.whereabouts.0),
        ]
    }

    fn decode(words: [u64; WORDS]) -> Self {
        let [(duration, waited), (actor, woken_by), (code, whereabouts)] = [1, 2, 3].map(|word| halves(words[word]));
        Self {
            start: Stamp(words[0]),
            duration: f32::from_bits(duration),
            waited: f32::from_bits(waited),
            actor,
            woken_by: WokenBy(woken_by),
            code,
            whereabouts: Whereabouts(whereabouts),
        }
    }
}

/// The last steps of one thread.
#[derive(Debug)]
pub struct Ring {
    entries: &'static [[AtomicU64; WORDS]],
    /// How many steps were ever written. The next goes to this index, modulo the capacity.
    head: &'static AtomicU64,
    words: Own,
}

/// What a reader got.
#[derive(Debug)]
pub struct Reading {
    /// The sequence number of the first step.
    pub first: u64,
    /// The steps, oldest first.
    pub steps: Vec<RawStep>,
    /// How many steps since the asked-for one had been overwritten.
    pub lost: u64,
}

impl Ring {
    /// The ring in these words, as many as [`size`] says.
    pub(super) fn on(words: Own) -> Self {
        let (entries, _) = words[ENTRIES..].as_chunks();
        debug_assert!(entries.len().is_power_of_two());
        Self { entries, head: &words[HEAD], words }
    }

    /// How many steps it keeps, counting the one that is being written.
    pub fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// The sequence number of the next step.
    #[inline]
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }

    /// Writes a step down. Only the thread that owns the ring may call this: two writers would mix their steps up.
    #[inline]
    pub fn write(&self, step: &RawStep) {
        let head = self.head.load(Ordering::Relaxed);
        fence(Ordering::Release);
        let entry = &self.entries[head as usize & (self.entries.len() - 1)];
        for (word, value) in entry.iter().zip(step.encode()) {
            word.store(value, Ordering::Relaxed);
        }
        self.head.store(head + 1, Ordering::Release);
    }

    /// How many of the steps that were ever written are gone.
    pub fn overwritten(&self) -> u64 {
        self.head().saturating_sub(self.capacity() as u64)
    }

    /// Copies the steps from sequence number `from` on, as far as they are still here. Any thread may call this.
    pub fn read(&self, from: u64) -> Reading {
        read(&self.words, from)
    }
}

/// How many steps a segment keeps; 0 if it is none.
fn capacity(words: &impl Words) -> u64 {
    let entries = words.count().saturating_sub(ENTRIES) / WORDS;
    if entries == 0 { 0 } else { 1 << entries.ilog2() }
}

/// How many steps were ever written into a segment.
pub(super) fn head(words: &impl Words) -> u64 {
    words.word(HEAD)
}

/// The words of an entry's place in a segment.
fn place(sequence: u64, capacity: u64) -> usize {
    ENTRIES + (sequence & (capacity - 1)) as usize * WORDS
}

/// Copies the steps from sequence number `from` on, as far as they are still there.
pub(super) fn read(words: &impl Words, from: u64) -> Reading {
    let capacity = capacity(words);
    let head = head(words);
    fence(Ordering::Acquire);
    let oldest = head.saturating_sub(capacity).max(from).min(head);
    let mut steps = copy(words, oldest..head, capacity);
    fence(Ordering::Acquire);
    let intact = self::head(words).saturating_add(1).saturating_sub(capacity);
    let torn = intact.saturating_sub(oldest).min(steps.len() as u64);
    steps.drain(..torn as usize);
    let first = head - steps.len() as u64;
    Reading { first, steps, lost: first.saturating_sub(from) }
}

/// How many steps are copied at a time.
const BLOCK: u64 = 512;

/// Copies steps, which may be torn. None are there where the words end too early.
fn copy(words: &impl Words, sequences: std::ops::Range<u64>, capacity: u64) -> Vec<RawStep> {
    let mut steps = Vec::with_capacity((sequences.end - sequences.start) as usize);
    let mut buffer = [0; BLOCK as usize * WORDS];
    let mut next = sequences.start;
    while next < sequences.end {
        // Up to the end of the block, of the ring and of what was asked for.
        let count = (BLOCK - next % BLOCK).min(capacity - next % capacity).min(sequences.end - next);
        let block = &mut buffer[..count as usize * WORDS];
        if !words.copy(place(next, capacity), block) {
            return Vec::new();
        }
        steps.extend(block.as_chunks().0.iter().map(|entry| RawStep::decode(*entry)));
        next += count;
    }
    steps
}

/// A sequence number from which on every step is found that began at `since` or later, at most `most` steps ago.
pub(super) fn since(words: &impl Words, since: Stamp, most: u64) -> u64 {
    let capacity = capacity(words);
    let mut from = head(words);
    let oldest = from.saturating_sub(capacity.min(most));
    while from > oldest {
        from = from.saturating_sub(BLOCK).max(oldest);
        // If it is overwritten just now, the one before it in time was older too.
        if words.word(place(from, capacity)) < since.0 {
            break;
        }
    }
    from
}

/// The last step of an actor before a sequence number, among the `most` before it.
pub(super) fn last_of(words: &impl Words, actor: u32, before: u64, most: u64) -> Option<RawStep> {
    let capacity = capacity(words);
    let head = head(words);
    let mut end = before.min(head);
    let oldest = head.saturating_sub(capacity.min(most));
    while end > oldest {
        let begin = end.saturating_sub(BLOCK).max(oldest);
        let found = copy(words, begin..end, capacity).into_iter().rev().find(|step| step.actor == actor);
        if found.is_some() {
            return found;
        }
        end = begin;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(steps: usize) -> Ring {
        Ring::on(super::super::mapping::for_test(size(steps)))
    }

    fn step(number: u32) -> RawStep {
        RawStep {
            start: Stamp(u64::from(number) * 10),
            duration: 3.0,
            waited: 2.0,
            actor: number,
            woken_by: WokenBy::step(u64::from(number)),
            code: number,
            whereabouts: Whereabouts::awaiting(number).first_step(number == 0),
        }
    }

    /// Writes so many steps into a ring of four and reads from `from`.
    #[track_caller]
    fn check(written: u32, from: u64, read: std::ops::Range<u32>, lost: u64) {
        let ring = ring(4);
        (0..written).for_each(|number| ring.write(&step(number)));
        let reading = ring.read(from);
        assert_eq!(reading.steps, read.clone().map(step).collect::<Vec<_>>());
        assert_eq!((reading.first, reading.lost), (u64::from(read.start), lost));
    }

    #[test]
    fn steps_come_out_as_they_went_in() {
        check(3, 0, 0..3, 0);
        check(3, 2, 2..3, 0);
        check(3, 3, 3..3, 0);
    }

    #[test]
    fn a_full_ring_overwrites_its_oldest_and_counts_them() {
        check(10, 0, 7..10, 7);
        check(10, 4, 7..10, 3);
        check(10, 8, 8..10, 0);
    }

    #[test]
    fn what_began_since_a_time_is_found_from_the_end() {
        let ring = ring(1 << 14);
        (0..40_000).for_each(|number| ring.write(&step(number)));
        for asked in [0, 100, 300_000, 390_000, 399_990, 500_000] {
            let from = since(&ring.words, Stamp(asked), u64::MAX);
            let expected = (40_000 - (1 << 14)).max(asked / 10).min(40_000);
            assert!(from <= expected && from + BLOCK >= expected, "{asked}: {from}");
            assert!(since(&ring.words, Stamp(asked), 10) >= 39_990);
        }
    }

    #[test]
    fn the_last_step_of_an_actor_is_found_if_it_is_still_there() {
        let ring = ring(1 << 12);
        (0..10_000).for_each(|number| ring.write(&step(number % 5_000)));
        let found = |actor, before| last_of(&ring.words, actor, before, u64::MAX).map(|step| step.actor);
        assert_eq!([found(4_999, 10_000), found(1_000, 10_000), found(900, 10_000)], [Some(4_999), Some(1_000), None]);
        assert_eq!([found(4_000, 9_001), found(4_000, 9_000)], [Some(4_000), None]);
        assert_eq!(last_of(&ring.words, 4_000, 10_000, 100), None);
    }

    #[test]
    fn words_that_are_no_ring_hold_no_step() {
        for count in [0, 8, HEAD + 1, ENTRIES, ENTRIES + 3, ENTRIES + 11] {
            let words = super::super::mapping::for_test(ENTRIES + 16);
            words[HEAD].store(u64::MAX, Ordering::Relaxed);
            let words: Own = &words[..count];
            assert!(read(&words, 0).steps.len() <= 2);
            since(&words, Stamp(0), u64::MAX);
        }
    }

    #[test]
    fn a_cause_never_reads_as_something_else() {
        assert_eq!(WokenBy::step(u64::from(u32::MAX) - 3), WokenBy::UNKNOWN);
        assert_eq!(WokenBy::step(1 << 32 | 7), WokenBy(7));
    }

    #[test]
    fn a_reader_never_sees_a_torn_step() {
        let ring = std::sync::Arc::new(ring(64));
        let writer = {
            let ring = std::sync::Arc::clone(&ring);
            std::thread::spawn(move || (0..200_000).for_each(|number| ring.write(&step(number))))
        };
        while !writer.is_finished() {
            let reading = ring.read(0);
            for (offset, read) in reading.steps.iter().enumerate() {
                assert_eq!(*read, step(reading.first as u32 + offset as u32));
            }
        }
        writer.join().unwrap();
    }
}
