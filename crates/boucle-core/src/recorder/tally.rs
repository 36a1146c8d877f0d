//! What the loops of a thread have done, in sums: steps and waits by their length, where the time went, starvations.
//!
//! The ring forgets, a tally does not. The thread that runs the loops adds to it; any thread may read it at any time,
//! also while a step does not return.
//!
//! A length finds its slot by the bits of its float: the exponent and the first four bits of the mantissa number it, so
//! that there are sixteen slots in an octave, each 4 to 6 % wide, and counting is a shift and an addition.
//!
//! # Invariants
//!
//! * Only the ring's owner adds, by plain loads and stores of atomics. No allocation, no lock, no locked instruction, but
//!   where a step starved others.
//! * A sum never decreases, whoever looks whenever: a step that goes on is counted as far as it has come.
//! * Zeroed words are an empty tally: so a child of a fork begins with one.
//!
//! Times are stamps.

use std::sync::atomic::{AtomicU64, Ordering};

use boucle_chronology::Cause;

use super::live::Live;
use super::words::Own;
use crate::clock::Stamp;

/// Bits of a float below those that number a slot.
const SHIFT: u32 = 19;

/// A length of no stamps is counted as 1.0, so that slots begin at the bits of that.
const ONE: u32 = 1.0_f32.to_bits();

/// Slots for lengths up to 2^64 stamps.
const SLOTS: usize = 64 << (f32::MANTISSA_DIGITS - 1 - SHIFT);

const CAUSES: usize = Cause::WORDS.len();

/// How many starvations are remembered to be charged with the waits of their victims. A victim that waited for more of
/// them is charged to the last ones.
const REMEMBERED: usize = 16;

/// Sums that are words of a tally, by their position.
mod word {
    use super::{CAUSES, SLOTS};

    pub(super) const DURATIONS: usize = 0;
    pub(super) const WAITS: usize = DURATIONS + SLOTS;
    /// Time in steps that have returned.
    pub(super) const HELD: usize = WAITS + SLOTS;
    pub(super) const WAITED: usize = HELD + 1;
    pub(super) const IDLE: usize = WAITED + 1;
    pub(super) const RESUMING: usize = IDLE + 1;
    pub(super) const OVERHEAD: usize = RESUMING + 1;
    pub(super) const TURNS: usize = OVERHEAD + 1;
    /// Of each cause: how many starvations, how long they were, how long their victims waited for them.
    pub(super) const STARVATIONS: usize = TURNS + 1;
    pub(super) const STARVING: usize = STARVATIONS + CAUSES;
    pub(super) const STARVED: usize = STARVING + CAUSES;
    /// All of these.
    pub(super) const SUMS: usize = STARVED + CAUSES;

    // Further words, which are no sums.
    /// Since when the loop sleeps; 0 while it does not.
    pub(super) const ASLEEP_SINCE: usize = SUMS;
    /// The longest times in steps and asleep that somebody was told.
    pub(super) const TOLD_RUNNING: usize = ASLEEP_SINCE + 1;
    pub(super) const TOLD_IDLE: usize = TOLD_RUNNING + 1;
    /// The bits of the length from which a step starves others. As positive floats do, they compare as integers.
    pub(super) const LIMIT: usize = TOLD_IDLE + 1;
    /// The end of the last starvation: who has been ready since before is its victim.
    pub(super) const LAST_END: usize = LIMIT + 1;
    /// How many starvations were ever remembered, and the last of them: start, end and cause.
    pub(super) const REMEMBERED_COUNT: usize = LAST_END + 1;
    pub(super) const REMEMBERED: usize = REMEMBERED_COUNT + 1;
    pub(super) const COUNT: usize = REMEMBERED + 3 * super::REMEMBERED;
}

/// The words of a tally.
pub(super) const SIZE: usize = word::COUNT.next_multiple_of(512);

/// The sums of one thread.
#[derive(Debug)]
pub struct Tally(&'static [AtomicU64; SIZE]);

/// Adds, as only the owner may.
#[inline]
fn add(word: &AtomicU64, amount: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// The slot of a length.
#[inline]
fn slot(stamps: f32) -> usize {
    ((stamps + 1.0).to_bits().wrapping_sub(ONE) >> SHIFT) as usize & (SLOTS - 1)
}

/// The length at which a slot ends.
fn end_of(slot: usize) -> f64 {
    f64::from(f32::from_bits(ONE + ((slot as u32 + 1) << SHIFT)) - 1.0)
}

/// When a step began and ended, and since when its actor had been ready.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Its begin.
    pub start: Stamp,
    /// Its end.
    pub end: Stamp,
    /// Since when its actor was ready.
    pub since: Stamp,
}

impl Times {
    /// How long it held the processor, rounded to 24 bits.
    #[inline]
    pub fn duration(&self) -> f32 {
        self.end.since(self.start) as f32
    }

    /// How long its actor had been ready, rounded to 24 bits.
    #[inline]
    pub fn waited(&self) -> f32 {
        self.start.since(self.since) as f32
    }
}

impl Tally {
    /// The tally in these words, which are [`SIZE`].
    pub(super) fn on(words: Own) -> Self {
        Self(words.try_into().expect("who lays the segment out asks for so many"))
    }

    /// A step takes this many stamps before it starves others.
    pub fn set_limit(&self, stamps: f32) {
        self.0[word::LIMIT].store(stamps.to_bits().into(), Ordering::Relaxed);
    }

    /// Counts a step. Whether there is more to count: it starved others, or had to wait for one that did.
    #[inline]
    #[must_use]
    pub fn step(&self, times: &Times) -> bool {
        let duration = times.duration();
        add(&self.0[word::DURATIONS + slot(duration)], 1);
        add(&self.0[word::WAITS + slot(times.waited())], 1);
        add(&self.0[word::HELD], times.end.since(times.start));
        add(&self.0[word::WAITED], times.start.since(times.since));
        times.since.0 < self.0[word::LAST_END].load(Ordering::Relaxed) || self.is_starving(duration)
    }

    #[inline]
    fn is_starving(&self, duration: f32) -> bool {
        u64::from(duration.to_bits()) > self.0[word::LIMIT].load(Ordering::Relaxed)
    }

    /// Counts what a step had to do with starvations. `cause` says why it took so long, if it did.
    #[cold]
    pub fn starvation(&self, times: &Times, cause: impl FnOnce() -> Cause) {
        let (remembered, _) = self.0[word::REMEMBERED..].as_chunks::<3>();
        let remembered = &remembered[..REMEMBERED];
        for [start, end, cause] in remembered.iter().map(|it| it.each_ref().map(|word| word.load(Ordering::Relaxed))) {
            let overlap = end.min(times.start.0).saturating_sub(start.max(times.since.0));
            add(&self.0[word::STARVED + cause as usize], overlap);
        }
        if !self.is_starving(times.duration()) {
            return;
        }
        let cause = cause() as usize;
        add(&self.0[word::STARVATIONS + cause], 1);
        add(&self.0[word::STARVING + cause], times.end.since(times.start));
        let count = self.0[word::REMEMBERED_COUNT].load(Ordering::Relaxed);
        for (word, value) in
            remembered[count as usize % REMEMBERED].iter().zip([times.start.0, times.end.0, cause as u64])
        {
            word.store(value, Ordering::Relaxed);
        }
        self.0[word::REMEMBERED_COUNT].store(count + 1, Ordering::Relaxed);
        self.0[word::LAST_END].store(times.end.0, Ordering::Relaxed);
    }

    /// The loop goes to sleep.
    #[inline]
    pub fn falls_asleep(&self, at: Stamp) {
        self.0[word::ASLEEP_SINCE].store(at.0, Ordering::Relaxed);
    }

    /// The sleep ended, and some time later the loop could go on. Returns how long both took.
    #[inline]
    pub fn wakes_up(&self, woke: Stamp, went_on: Stamp) -> u64 {
        let since = Stamp(self.0[word::ASLEEP_SINCE].load(Ordering::Relaxed));
        self.0[word::ASLEEP_SINCE].store(0, Ordering::Relaxed);
        add(&self.0[word::IDLE], woke.since(since));
        add(&self.0[word::RESUMING], went_on.since(woke));
        went_on.since(since)
    }

    /// A turn begins to run its batch right after the last one.
    #[inline]
    pub fn next_turn(&self) {
        add(&self.0[word::TURNS], 1);
    }

    /// A turn begins to run its batch, so long after the last one, of which the loop has slept for a part.
    #[inline]
    pub fn turn(&self, between: u64, slept: u64) {
        self.next_turn();
        add(&self.0[word::OVERHEAD], between.saturating_sub(slept));
    }

    /// The sums, with what goes on `now`. `live` is that thread's, `last_start` when the step began that was written
    /// down last.
    pub fn read(&self, live: &Live, last_start: impl FnOnce() -> Option<Stamp>, now: Stamp) -> Totals {
        // First the words, then what goes on: a step that ends in between is missed this time, but never counted twice.
        let words: Box<[u64]> = self.0[..word::SUMS].iter().map(|word| word.load(Ordering::Acquire)).collect();
        let asleep = Stamp(self.0[word::ASLEEP_SINCE].load(Ordering::Relaxed));
        let running = live.running().filter(|running| last_start() != Some(running.start));
        let [held, idle] = [
            (word::TOLD_RUNNING, words[word::HELD] + running.map_or(0, |running| now.since(running.start))),
            (word::TOLD_IDLE, words[word::IDLE] + if asleep.0 == 0 { 0 } else { now.since(asleep) }),
        ]
        .map(|(told, time)| self.0[told].fetch_max(time, Ordering::Relaxed).max(time));
        Totals { words, running: held, idle }
    }
}

/// Sums, read at one moment, or the difference of two readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    words: Box<[u64]>,
    running: u64,
    idle: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Self { words: vec![0; word::SUMS].into(), running: 0, idle: 0 }
    }
}

/// What was counted of the starvations of one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Starved {
    /// Why the steps took so long.
    pub cause: Cause,
    /// How many there were.
    pub count: u64,
    /// How long they held the processor, together.
    pub held: u64,
    /// How long their victims waited for them, together.
    pub waited: u64,
}

impl Totals {
    /// Adds others, or takes them away.
    fn combine(&mut self, other: &Self, with: impl Fn(u64, u64) -> u64) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word = with(*word, *other);
        }
        self.running = with(self.running, other.running);
        self.idle = with(self.idle, other.idle);
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        self.combine(others, u64::wrapping_add);
    }

    /// Takes earlier ones away.
    pub fn remove(&mut self, earlier: &Self) {
        self.combine(earlier, u64::saturating_sub);
    }

    /// Time in steps, the one that goes on included.
    pub fn running(&self) -> u64 {
        self.running
    }

    /// Time asleep, the sleep that goes on included.
    pub fn idle(&self) -> u64 {
        self.idle
    }

    /// Time between the end of a sleep and the moment at which the loop could go on.
    pub fn resuming(&self) -> u64 {
        self.words[word::RESUMING]
    }

    /// Time of the loop's own between two batches.
    pub fn overhead(&self) -> u64 {
        self.words[word::OVERHEAD]
    }

    /// How many turns began.
    pub fn turns(&self) -> u64 {
        self.words[word::TURNS]
    }

    /// Time in the steps that have returned.
    pub fn held(&self) -> u64 {
        self.words[word::HELD]
    }

    /// Time that the steps' actors had been ready.
    pub fn waited(&self) -> u64 {
        self.words[word::WAITED]
    }

    /// The steps by how long they held the processor: for each slot that has some, the length at its end, and how many.
    pub fn durations(&self) -> impl Iterator<Item = (f64, u64)> {
        self.slots(word::DURATIONS)
    }

    /// The steps by how long their actors had been ready, in the same way.
    pub fn waits(&self) -> impl Iterator<Item = (f64, u64)> {
        self.slots(word::WAITS)
    }

    fn slots(&self, first: usize) -> impl Iterator<Item = (f64, u64)> {
        let slots = self.words[first..first + SLOTS].iter().enumerate();
        slots.filter(|&(_, &count)| count > 0).map(|(slot, &count)| (end_of(slot), count))
    }

    /// The starvations, by their causes.
    pub fn starvations(&self) -> impl Iterator<Item = Starved> {
        Cause::WORDS.iter().map(|&(cause, _)| Starved {
            cause,
            count: self.words[word::STARVATIONS + cause as usize],
            held: self.words[word::STARVING + cause as usize],
            waited: self.words[word::STARVED + cause as usize],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts steps, each `(start, end, since)`, with a limit of 100 stamps.
    fn tally(steps: &[(u64, u64, u64)]) -> Tally {
        let tally = Tally::on(super::super::mapping::for_test(SIZE));
        tally.set_limit(100.0);
        for &(start, end, since) in steps {
            let times = Times { start: Stamp(start), end: Stamp(end), since: Stamp(since) };
            if tally.step(&times) {
                tally.starvation(&times, || Cause::Sleep);
            }
        }
        tally
    }

    fn totals(tally: &Tally) -> Totals {
        tally.read(&Live::default(), || None, Stamp(10_000))
    }

    fn starved(steps: &[(u64, u64, u64)]) -> (u64, u64, u64) {
        let sleeping = totals(&tally(steps)).starvations().find(|starved| starved.cause == Cause::Sleep);
        sleeping.map(|starved| (starved.count, starved.held, starved.waited)).expect("each cause is counted")
    }

    #[test]
    fn a_length_lies_in_its_slot() {
        for stamps in [0.0_f32, 1.0, 7.0, 1000.0, 123_456.0, 3e9, 1e15] {
            let slot = slot(stamps);
            let begin = if slot == 0 { 0.0 } else { end_of(slot - 1) };
            assert!((begin..end_of(slot)).contains(&f64::from(stamps)), "{stamps} is not in slot {slot}");
            assert!(end_of(slot) + 1.0 <= (begin + 1.0) * 1.0626, "slot {slot} is too wide");
        }
    }

    #[test]
    fn steps_and_waits_are_summed() {
        let totals = totals(&tally(&[(10, 15, 8), (15, 25, 9), (25, 25, 25)]));
        assert_eq!((totals.held(), totals.waited()), (15, 8));
        assert_eq!(totals.durations().map(|(_, count)| count).sum::<u64>(), 3);
        assert_eq!(totals.waits().map(|(_, count)| count).sum::<u64>(), 3);
    }

    #[test]
    fn a_victim_is_charged_with_what_it_waited_for_the_starvation() {
        assert_eq!(starved(&[(1000, 1100, 1000), (1100, 1110, 1000)]), (0, 0, 0), "the limit itself is no starvation");
        assert_eq!(starved(&[(1000, 1200, 1000)]), (1, 200, 0));
        assert_eq!(starved(&[(1000, 1200, 1000), (1200, 1210, 900)]), (1, 200, 200), "ready before it began");
        assert_eq!(starved(&[(1000, 1200, 1000), (1200, 1210, 1150)]), (1, 200, 50), "ready while it ran");
        assert_eq!(starved(&[(1000, 1200, 1000), (1200, 1210, 1200)]), (1, 200, 0), "ready after it");
    }

    #[test]
    fn a_victim_of_two_is_charged_with_both() {
        assert_eq!(starved(&[(1000, 1200, 1000), (1200, 1500, 1000), (1510, 1520, 1000)]), (2, 500, 200 + 500));
    }

    #[test]
    fn what_goes_on_is_counted_as_far_as_it_has_come() {
        let (tally, live) = (tally(&[(10, 15, 8)]), Live::default());
        live.begin(Stamp(15), 0, 0);
        let read = |last_start, now| tally.read(&live, || Some(Stamp(last_start)), Stamp(now)).running();
        assert_eq!(read(10, 100), 5 + 85);
        assert_eq!(read(15, 200), 90, "the step was written down, but its time has not been added yet");
        assert_eq!(totals(&tally).held(), 5);
        tally.falls_asleep(Stamp(1000));
        assert_eq!(tally.read(&live, || None, Stamp(1100)).idle(), 100);
        assert_eq!(tally.wakes_up(Stamp(1200), Stamp(1210)), 210);
        let totals = totals(&tally);
        assert_eq!((totals.idle(), totals.resuming()), (200, 10));
    }

    #[test]
    fn earlier_ones_can_be_taken_away() {
        let mut later = totals(&tally(&[(10, 15, 8), (15, 25, 9)]));
        later.remove(&totals(&tally(&[(10, 15, 8)])));
        assert_eq!((later.held(), later.waited()), (10, 6));
        assert_eq!(later.durations().map(|(_, count)| count).sum::<u64>(), 1);
    }
}
