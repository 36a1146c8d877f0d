//! The due timers as copies of memory: see [`crate::turn::outside`].

use std::mem::offset_of;

use super::{Node, Slot, Timers};
use crate::clock::Tick;
use crate::turn::outside::{Memory, copy_of, find, word};

/// How many nodes of the heap are looked at.
const MOST_NODES: usize = 1 << 16;

/// How timers of one kind of items are laid out, within a larger value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimersLayout {
    heap: VecLayout,
    slots: VecLayout,
    node: usize,
    deadline: usize,
    slot_of_node: usize,
    slot: usize,
    item: usize,
}

/// Where a vector has the address of its memory and its length.
#[derive(Clone, Copy, Debug)]
struct VecLayout {
    memory: usize,
    length: usize,
}

impl VecLayout {
    /// Finds out by an example, which is at `at` in the larger value and has three items of seven.
    fn of<T>(memory: &impl Memory, example: &Vec<T>, at: usize) -> Option<Self> {
        let bytes = copy_of(memory, example)?;
        Some(Self { memory: at + find(&bytes, example.as_ptr() as usize)?, length: at + find(&bytes, example.len())? })
    }
}

/// Where the memory of some timers is, and how many there are.
pub(crate) struct TimersAt {
    heap: usize,
    nodes: usize,
    slots: usize,
    slots_length: usize,
}

impl TimersAt {
    /// Taken from the copy of the larger value.
    pub(crate) fn of(bytes: &[u8], layout: &TimersLayout) -> Option<Self> {
        Some(Self {
            heap: word(bytes, layout.heap.memory)?,
            nodes: word(bytes, layout.heap.length)?,
            slots: word(bytes, layout.slots.memory)?,
            slots_length: word(bytes, layout.slots.length)?,
        })
    }
}

/// Timers whose deadline is past.
pub(crate) struct Due {
    /// How many.
    pub(crate) count: usize,
    /// The deadlines and the words of the items of some of them.
    pub(crate) items: Vec<(Tick, usize)>,
}

impl TimersLayout {
    /// Finds out by an example: an item whose bits are `bits`. The timers are at `at` in the larger value.
    pub(crate) fn of<T: Clone>(memory: &impl Memory, example: &T, bits: usize, at: usize) -> Option<Self> {
        let mut timers = Timers { heap: Vec::with_capacity(7), slots: Vec::with_capacity(7), free: None, sequence: 0 };
        for deadline in 0..3 {
            timers.insert(Tick(deadline), example.clone());
        }
        let slot = copy_of(memory, &timers.slots[0])?;
        Some(Self {
            heap: VecLayout::of(memory, &timers.heap, at + offset_of!(Timers<T>, heap))?,
            slots: VecLayout::of(memory, &timers.slots, at + offset_of!(Timers<T>, slots))?,
            node: size_of::<Node>(),
            deadline: offset_of!(Node, deadline),
            slot_of_node: offset_of!(Node, slot),
            slot: size_of::<Slot<T>>(),
            item: find(&slot, bits)?,
        })
    }

    /// The timers that are due at `now`; at most so many of them with their items.
    pub(crate) fn due(&self, memory: &impl Memory, at: &TimersAt, now: Tick, most: usize) -> Option<Due> {
        let nodes = at.nodes.min(MOST_NODES);
        let mut heap = vec![0; nodes * self.node];
        if !heap.is_empty() && !memory.copy(at.heap, &mut heap) {
            return None;
        }
        let mut due = Due { count: 0, items: Vec::new() };
        let mut slot = vec![0; self.slot];
        for node in heap.chunks_exact(self.node) {
            let deadline = Tick(word(node, self.deadline)? as i64);
            if deadline > now {
                continue;
            }
            due.count += 1;
            let number = node.get(self.slot_of_node..self.slot_of_node + 4)?.try_into().ok().map(u32::from_ne_bytes)?;
            if due.items.len() < most && (number as usize) < at.slots_length {
                let address = at.slots.checked_add(number as usize * self.slot)?;
                if !memory.copy(address, &mut slot) {
                    return None;
                }
                due.items.push((deadline, word(&slot, self.item)?));
            }
        }
        Some(due)
    }
}
