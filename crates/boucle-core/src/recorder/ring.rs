//! The ring of one thread: the last steps it ran, 32 bytes each.
//!
//! ```text
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

use crate::clock::Stamp;

/// 64-bit words of an entry.
const WORDS: usize = 4;

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
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [
            self.start.0,
            pair(self.duration.to_bits(), self.waited.to_bits()),
            pair(self.actor, self.woken_by.0),
            pair(self.code, self.whereabouts.0),
        ]
    }

    fn decode(words: [u64; WORDS]) -> Self {
        let low = |word: u64| word as u32;
        let high = |word: u64| (word >> 32) as u32;
        Self {
            start: Stamp(words[0]),
            duration: f32::from_bits(low(words[1])),
            waited: f32::from_bits(high(words[1])),
            actor: low(words[2]),
            woken_by: WokenBy(high(words[2])),
            code: low(words[3]),
            whereabouts: Whereabouts(high(words[3])),
        }
    }
}

/// The last steps of one thread.
#[derive(Debug)]
pub struct Ring {
    entries: Box<[[AtomicU64; WORDS]]>,
    /// How many steps were ever written. The next goes to this index, modulo the capacity.
    head: AtomicU64,
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
    /// A ring for at least this many steps, rounded up to a power of two. Its memory is taken from the system page by
    /// page, as it is written.
    pub fn with_capacity(steps: usize) -> Self {
        let zeroed = Box::<[[AtomicU64; WORDS]]>::new_zeroed_slice(steps.max(2).next_power_of_two());
        // SAFETY: an atomic integer is valid for every bit pattern, so zeroed memory holds initialised entries.
        let entries = unsafe { zeroed.assume_init() };
        Self { entries, head: AtomicU64::new(0) }
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

    /// Copies the steps from sequence number `from` on, as far as they are still here. Any thread may call this.
    pub fn read(&self, from: u64) -> Reading {
        let capacity = self.entries.len() as u64;
        let head = self.head.load(Ordering::Acquire);
        let oldest = head.saturating_sub(capacity).max(from).min(head);
        let mut steps: Vec<_> = (oldest..head)
            .map(|sequence| {
                let entry = &self.entries[sequence as usize & (self.entries.len() - 1)];
                RawStep::decode(std::array::from_fn(|word| entry[word].load(Ordering::Relaxed)))
            })
            .collect();
        fence(Ordering::Acquire);
        let intact = (self.head.load(Ordering::Relaxed) + 1).saturating_sub(capacity);
        let torn = intact.saturating_sub(oldest).min(steps.len() as u64);
        steps.drain(..torn as usize);
        let first = head - steps.len() as u64;
        Reading { first, steps, lost: first.saturating_sub(from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let ring = Ring::with_capacity(4);
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
    fn a_cause_never_reads_as_something_else() {
        assert_eq!(WokenBy::step(u64::from(u32::MAX) - 3), WokenBy::UNKNOWN);
        assert_eq!(WokenBy::step(1 << 32 | 7), WokenBy(7));
    }

    #[test]
    fn a_reader_never_sees_a_torn_step() {
        let ring = std::sync::Arc::new(Ring::with_capacity(64));
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
