//! Timers: which items are due, and when the next one is.
//!
//! A four-way heap of deadlines, and beside it a slot for each timer that knows where in the heap its deadline stands.
//! So cancelling removes at once, in logarithmic time, and nothing a cancelled timer held stays alive.
//!
//! # Invariants
//!
//! * Time comes in as an argument. Nothing in this module reads a clock.
//! * Equal deadlines come out in the order they went in.
//! * `slots[heap[i].slot]` says `i`, for every `i`. A key whose timer has fired or was cancelled names nothing, also
//!   after its slot has been taken again: the generation differs.
//!
//! Rounding a deadline to what the kernel can wait for is the reactor's job.

pub(crate) mod layout;

use crate::clock::Tick;

/// Children of a heap node. Four share a cache line and halve the depth of two.
const ARITY: usize = 4;

/// Names a timer until it fires or is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerKey {
    slot: u32,
    generation: u32,
}

/// The pending timers, each with the item that becomes ready at its deadline.
#[derive(Debug)]
pub struct Timers<T> {
    heap: Vec<Node>,
    slots: Vec<Slot<T>>,
    /// The first free slot of a list through the slots.
    free: Option<u32>,
    /// Counts insertions: the second half of the order.
    sequence: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    deadline: Tick,
    sequence: u64,
    slot: u32,
}

impl Node {
    /// As one number, for a comparison without a branch: which of two deadlines is earlier nobody can predict.
    #[inline]
    fn order(&self) -> i128 {
        i128::from(self.deadline.0) << 64 | i128::from(self.sequence)
    }

    #[inline]
    fn before(&self, other: &Self) -> bool {
        self.order() < other.order()
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    /// The timer's place in the heap, and its item.
    Pending { position: u32, item: T },
    /// The next free slot.
    Free { next: Option<u32> },
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: Vec::new(), slots: Vec::new(), free: None, sequence: 0 }
    }
}

impl<T> Timers<T> {
    /// How many timers are pending.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no timer is pending.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<Tick> {
        Some(self.heap.first()?.deadline)
    }

    /// Adds a timer.
    pub fn insert(&mut self, deadline: Tick, item: T) -> TimerKey {
        let position = self.heap.len() as u32;
        let state = State::Pending { position, item };
        let slot = if let Some(slot) = self.free {
            let entry = &mut self.slots[slot as usize];
            if let State::Free { next } = entry.state {
                self.free = next;
            }
            entry.state = state;
            slot
        } else {
            self.slots.push(Slot { generation: 0, state });
            // Four thousand million timers do not fit in memory.
            (self.slots.len() - 1) as u32
        };
        self.heap.push(Node { deadline, sequence: self.sequence, slot });
        self.sequence += 1;
        self.sift_up(position as usize);
        TimerKey { slot, generation: self.slots[slot as usize].generation }
    }

    /// Removes a timer before it fires and returns its item.
    pub fn remove(&mut self, key: TimerKey) -> Option<T> {
        let slot = self.slots.get(key.slot as usize)?;
        match slot.state {
            State::Pending { position, .. } if slot.generation == key.generation => {
                Some(self.take(position as usize).1)
            }
            _ => None,
        }
    }

    /// The timers whose deadline is `now` or earlier, in no particular order.
    pub fn due(&self, now: Tick) -> impl Iterator<Item = (Tick, &T)> {
        let item = |node: &Node| match &self.slots[node.slot as usize].state {
            State::Pending { item, .. } => Some((node.deadline, item)),
            State::Free { .. } => None,
        };
        self.heap.iter().filter(move |node| node.deadline <= now).filter_map(item)
    }

    /// Removes and returns the next timer whose deadline is `now` or earlier.
    pub fn pop_due(&mut self, now: Tick) -> Option<(Tick, T)> {
        if self.next_deadline()? > now {
            return None;
        }
        Some(self.take(0))
    }

    /// Every pending item, in no particular order.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| match &slot.state {
            State::Pending { item, .. } => Some(item),
            State::Free { .. } => None,
        })
    }

    /// Removes the node at `position` and frees its slot.
    fn take(&mut self, position: usize) -> (Tick, T) {
        let node = self.heap.swap_remove(position);
        if position < self.heap.len() {
            // The node that filled the gap may belong further up or further down.
            if position > 0 && self.heap[position].before(&self.heap[(position - 1) / ARITY]) {
                self.sift_up(position);
            } else {
                self.sift_down(position);
            }
        }
        let slot = &mut self.slots[node.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        let freed = std::mem::replace(&mut slot.state, State::Free { next: self.free });
        self.free = Some(node.slot);
        let State::Pending { item, .. } = freed else {
            unreachable!("a node of the heap names a pending slot");
        };
        (node.deadline, item)
    }

    /// Moves the node at `position` up to where it belongs. Nodes move into the hole that it leaves.
    fn sift_up(&mut self, mut position: usize) {
        let node = self.heap[position];
        while position > 0 {
            let parent = (position - 1) / ARITY;
            let above = self.heap[parent];
            if !node.before(&above) {
                break;
            }
            self.put(position, above);
            position = parent;
        }
        self.put(position, node);
    }

    /// The same, down.
    fn sift_down(&mut self, mut position: usize) {
        let node = self.heap[position];
        loop {
            let first = position * ARITY + 1;
            let Some(children) = self.heap.get(first..).filter(|children| !children.is_empty()) else { break };
            let at = match children.first_chunk() {
                Some(all) => Self::least(all),
                None => (1..children.len()).fold(0, |least, at| earlier(children, least, at)),
            };
            let least = children[at];
            if !least.before(&node) {
                break;
            }
            self.put(position, least);
            position = first + at;
        }
        self.put(position, node);
    }

    /// Which of the children of a node comes first.
    #[inline]
    fn least(children: &[Node; ARITY]) -> usize {
        earlier(children, earlier(children, 0, 1), earlier(children, 2, 3))
    }

    /// Writes a node to a place of the heap, and to its slot where it stands.
    #[inline]
    fn put(&mut self, position: usize, node: Node) {
        self.heap[position] = node;
        if let State::Pending { position: place, .. } = &mut self.slots[node.slot as usize].state {
            *place = position as u32;
        }
    }
}

/// Which of two nodes comes first.
#[inline]
fn earlier(nodes: &[Node], one: usize, other: usize) -> usize {
    if nodes[other].before(&nodes[one]) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inserts a timer for each deadline, cancels some by index, and checks which come out by `now`, in which order.
    #[track_caller]
    fn check(deadlines: &[i64], cancelled: &[usize], now: i64, fired: &[usize]) {
        let mut timers = Timers::default();
        let keys: Vec<_> = deadlines.iter().enumerate().map(|(i, &at)| timers.insert(Tick(at), i)).collect();
        for &index in cancelled {
            assert_eq!(timers.remove(keys[index]), Some(index));
        }
        let out: Vec<_> = std::iter::from_fn(|| timers.pop_due(Tick(now))).map(|(_, item)| item).collect();
        assert_eq!(out, fired);
        assert_eq!(timers.len(), deadlines.len() - cancelled.len() - fired.len());
    }

    #[test]
    fn the_earliest_deadline_fires_first() {
        check(&[30, 10, 20], &[], 100, &[1, 2, 0]);
    }

    #[test]
    fn equal_deadlines_fire_in_scheduling_order() {
        check(&[5, 5, 5, 5, 5, 5, 5], &[], 5, &[0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_timer_does_not_fire_before_its_deadline() {
        check(&[5, 6], &[], 5, &[0]);
    }

    #[test]
    fn a_cancelled_timer_does_not_fire() {
        check(&[1, 2, 3], &[1], 9, &[0, 2]);
    }

    #[test]
    fn a_key_outlives_its_timer_harmlessly() {
        let mut timers = Timers::default();
        let old = timers.insert(Tick(1), "old");
        assert_eq!(timers.pop_due(Tick(1)), Some((Tick(1), "old")));
        let new = timers.insert(Tick(2), "new");
        assert_eq!(old.slot, new.slot);
        assert_eq!(timers.remove(old), None);
        assert_eq!(timers.remove(new), Some("new"));
    }

    #[test]
    fn cancelling_drops_the_item_at_once() {
        let item = std::rc::Rc::new(());
        let mut timers = Timers::default();
        let key = timers.insert(Tick(i64::MAX), item.clone());
        drop(timers.remove(key));
        assert_eq!(std::rc::Rc::strong_count(&item), 1);
    }
}
