//! Who waits in a turn, seen from another thread that may not ask the loop.
//!
//! A loop whose thread is stuck answers nobody, and its queue belongs to it. What is in the queue can be *copied* all the
//! same, by whoever has a way to copy memory that fails where nothing is mapped. How the standard library lays out a queue
//! is its own affair, so it is found out on an example ([`Layout::of`]), and where it cannot be, nothing is read.
//!
//! # Invariants
//!
//! * Nothing is dereferenced. Every number that was copied is checked against bounds before it is used.
//! * A copy counts only if the queue was the same after as before.

use std::collections::VecDeque;
use std::mem::offset_of;

use super::{Ready, Turn};
use crate::clock::{Moment, Scale, Stamp, Tick};
use crate::recorder::WokenBy;
use crate::timers::layout::{TimersAt, TimersLayout};

/// Copies memory.
pub trait Memory {
    /// Fills the buffer with what is at an address. Whether all of it could be copied.
    fn copy(&self, address: usize, into: &mut [u8]) -> bool;
}

/// How many items are looked at.
pub const MOST: usize = 4096;

/// A word of a copy.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from_ne_bytes(bytes.get(at..at + size_of::<usize>())?.try_into().ok()?))
}

/// Where in a value, which is copied from its address, a word stands that is this and only this.
pub(crate) fn find(bytes: &[u8], wanted: usize) -> Option<usize> {
    let mut places = (0..bytes.len()).step_by(size_of::<usize>()).filter(|&at| word(bytes, at) == Some(wanted));
    let place = places.next()?;
    places.next().is_none().then_some(place)
}

/// How turns of one kind of items are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    size: usize,
    /// The queue: its first item's index, its length, the address and the capacity of its memory.
    head: usize,
    length: usize,
    memory: usize,
    capacity: usize,
    entry: usize,
    item: usize,
    since: usize,
    timers: TimersLayout,
}

/// One who waits: the word of the item, and since when.
pub type Waiting = (usize, Stamp);

impl Layout {
    /// Finds out by an example: an item whose bits are `bits`, the size of a word.
    pub fn of<T: Clone>(memory: &impl Memory, example: &T, bits: usize) -> Option<Self> {
        if size_of::<T>() != size_of::<usize>() {
            return None;
        }
        // Numbers that differ from each other, and from every address.
        let mut turn = Turn { ready: VecDeque::with_capacity(11), ..Turn::default() };
        for number in 0..5 {
            turn.push(example.clone(), Stamp(number), WokenBy::UNKNOWN);
        }
        turn.ready.drain(..2);
        let queue = offset_of!(Turn<T>, ready);
        let bytes = &copy_of(memory, &turn)?[queue..queue + size_of::<VecDeque<Ready<T>>>()];
        let start = turn.ready.as_slices().0.as_ptr() as usize - 2 * size_of::<Ready<T>>();
        let place = |wanted| Some(queue + find(bytes, wanted)?);
        let layout = Self {
            size: size_of::<Turn<T>>(),
            head: place(2)?,
            length: place(3)?,
            memory: place(start)?,
            capacity: place(turn.ready.capacity())?,
            entry: size_of::<Ready<T>>(),
            item: offset_of!(Ready<T>, item),
            since: offset_of!(Ready<T>, since),
            timers: TimersLayout::of(memory, example, bits, offset_of!(Turn<T>, timers))?,
        };
        layout.reads(memory, &turn, example, bits).then_some(layout)
    }

    /// Whether a turn is read as it is.
    fn reads<T: Clone>(&self, memory: &impl Memory, turn: &Turn<T>, example: &T, bits: usize) -> bool {
        let mut other = Turn::default();
        for stamp in [7, 8] {
            other.push(example.clone(), Stamp(stamp), WokenBy::UNKNOWN);
        }
        for deadline in [300, 100, 200] {
            other.push_at(Tick(deadline), example.clone());
        }
        let expected = [Stamp(2), Stamp(3), Stamp(4)].map(|since| (bits, since));
        let scale = Scale::measure();
        let now = Moment { tick: Tick(200), stamp: Stamp(1 << 40) };
        let read = |turn: &Turn<T>| self.waiting(memory, &raw const *turn as usize, now, &scale);
        let Some((count, waiting)) = read(&other) else { return false };
        read(turn) == Some((3, expected.to_vec())) && count == 4 && waiting.iter().all(|(item, _)| *item == bits)
    }

    /// Those that wait in the turn at an address, `now`: how many, and the first [`MOST`] of them,
    /// those in the queue first. Nothing where no consistent copy could be made.
    pub fn waiting(
        &self,
        memory: &impl Memory,
        turn: usize,
        now: Moment,
        scale: &Scale,
    ) -> Option<(usize, Vec<Waiting>)> {
        let copy = || {
            let mut bytes = vec![0; self.size];
            memory.copy(turn, &mut bytes).then_some(bytes)
        };
        let before = copy()?;
        let (length, mut waiting) = self.ready(memory, &before)?;
        let due = self.timers.due(memory, &TimersAt::of(&before, &self.timers)?, now.tick, MOST)?;
        let count = length + due.count;
        waiting.extend(due.items.into_iter().map(|(deadline, item)| (item, now.stamp_at(deadline, scale))));
        (copy()? == before).then_some((count, waiting))
    }

    fn ready(&self, memory: &impl Memory, turn: &[u8]) -> Option<(usize, Vec<Waiting>)> {
        let [head, length, start, capacity] =
            [self.head, self.length, self.memory, self.capacity].map(|at| word(turn, at).unwrap_or(usize::MAX));
        if length > capacity || head > capacity || capacity > 1 << 32 {
            return None;
        }
        let mut bytes = vec![0; self.entry];
        let mut waiting = Vec::new();
        for index in 0..length.min(MOST) {
            let slot = (head + index) % capacity;
            let address = start.checked_add(slot * self.entry)?;
            if !memory.copy(address, &mut bytes) {
                return None;
            }
            waiting.push((word(&bytes, self.item)?, Stamp(word(&bytes, self.since)? as u64)));
        }
        Some((length, waiting))
    }
}

/// The bytes of a value.
pub(crate) fn copy_of<T>(memory: &impl Memory, value: &T) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size_of::<T>()];
    memory.copy(&raw const *value as usize, &mut bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    struct Own(File);

    impl Memory for Own {
        fn copy(&self, address: usize, into: &mut [u8]) -> bool {
            self.0.read_exact_at(into, address as u64).is_ok()
        }
    }

    fn memory() -> Own {
        Own(File::open("/proc/self/mem").unwrap())
    }

    const EXAMPLE: usize = 0x1122_3344_5566_7788;

    #[test]
    fn who_waits_is_seen_from_outside() {
        let memory = memory();
        let layout = Layout::of(&memory, &EXAMPLE, EXAMPLE).unwrap();
        let scale = Scale::measure();
        let mut turn: Turn<usize> = Turn::default();
        let mut expected = Vec::new();
        for number in 0..100 {
            turn.push(number, Stamp(number as u64), WokenBy::UNKNOWN);
            // So that the queue wraps around.
            if number >= 10 {
                turn.ready.pop_front();
            }
        }
        for number in 90..100 {
            expected.push((number, Stamp(number as u64)));
        }
        for deadline in 0..50_u32 {
            let key = turn.push_at(Tick(deadline.into()), 1000 + deadline as usize);
            if deadline % 2 == 0 {
                turn.cancel(key);
            }
        }
        let now = Moment { tick: Tick(25), stamp: Stamp(1 << 40) };
        let (count, waiting) = layout.waiting(&memory, &raw const turn as usize, now, &scale).unwrap();
        assert_eq!(count, 10 + 13);
        assert_eq!(waiting[..10], expected);
        let mut due: Vec<_> = waiting[10..].iter().map(|(item, _)| *item).collect();
        due.sort_unstable();
        assert_eq!(due, (0..13).map(|number| 1001 + 2 * number).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_is_read_where_there_is_no_turn() {
        let memory = memory();
        let layout = Layout::of(&memory, &EXAMPLE, EXAMPLE).unwrap();
        let scale = Scale::measure();
        assert_eq!(layout.waiting(&memory, 8, Moment::default(), &scale), None);
        let nonsense = [usize::MAX / 3; 64];
        assert_eq!(layout.waiting(&memory, nonsense.as_ptr() as usize, Moment::default(), &scale), None);
    }

    #[test]
    fn items_that_are_no_word_are_not_read() {
        assert!(Layout::of(&memory(), &(1_u64, 2_u64), 1).is_none());
    }
}
