//! Work handed in by other threads, and the wake of a loop that sleeps.
//!
//! The danger is the lost wake-up: the loop sees nothing to do and goes to sleep; between the look and the sleep a
//! producer adds work and, seeing the loop still awake, does not wake it. So both sides announce first and look second:
//!
//! ```text
//! loop:      asleep = true;  fence;  if the inbox is not empty: stay awake
//! producer:  add the item;   fence;  if asleep.swap(false): wake the reactor
//! ```
//!
//! With sequentially consistent fences in between at least one of the two sees the other. Acquire and release would
//! not do: both loads could be satisfied before either store is visible. The tests run every interleaving under loom.
//!
//! # Invariants
//!
//! * One wake per sleep: only the producer that turned `asleep` off wakes.
//! * Items come out in the order in which they went in.

use std::collections::VecDeque;

use crate::sync::{AtomicBool, AtomicUsize, Mutex, Ordering, fence, lock};

/// A queue that any thread may add to and the loop's thread empties.
#[derive(Debug)]
pub struct Inbox<T> {
    items: Mutex<VecDeque<T>>,
    /// The length of `items`, to be read without the lock.
    len: AtomicUsize,
    /// Whether the loop sleeps, or is about to, and wants to be woken.
    asleep: AtomicBool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { items: Mutex::new(VecDeque::new()), len: AtomicUsize::new(0), asleep: AtomicBool::new(false) }
    }
}

impl<T> Inbox<T> {
    /// Adds an item. Where it returns `true` the loop sleeps, and the caller must wake its reactor.
    #[must_use = "a sleeping loop has to be woken"]
    pub fn push(&self, item: T) -> bool {
        {
            let mut items = lock(&self.items);
            items.push_back(item);
            self.len.store(items.len(), Ordering::Relaxed);
        }
        self.interrupt()
    }

    /// Asks a sleeping loop to wake, without handing in work. Where it returns `true` the caller must wake the reactor.
    #[must_use = "a sleeping loop has to be woken"]
    pub fn interrupt(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }

    /// Announces that the loop is going to sleep. Where it returns `false` work has come in and the loop must not.
    pub fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    /// Says that the loop is awake: producers need not wake it.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Whether nothing is in it. One load: cheap enough for every `call_soon`.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Takes everything, oldest first. The lock is not held while the items are used.
    pub fn take(&self) -> VecDeque<T> {
        if self.is_empty() {
            return VecDeque::new();
        }
        let mut items = lock(&self.items);
        self.len.store(0, Ordering::Relaxed);
        std::mem::take(&mut *items)
    }

    /// Calls `visit` with each item in it, under the lock.
    pub fn for_each(&self, visit: impl FnMut(&T)) {
        lock(&self.items).iter().for_each(visit);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_the_order_they_went_in() {
        let inbox = Inbox::default();
        for item in 0..3 {
            assert!(!inbox.push(item), "an awake loop needs no wake");
        }
        assert_eq!(inbox.take(), [0, 1, 2]);
        assert!(inbox.is_empty());
    }

    #[test]
    fn a_sleep_is_interrupted_once() {
        let inbox = Inbox::default();
        assert!(inbox.fall_asleep());
        assert!(inbox.push(1), "the first item wakes");
        assert!(!inbox.push(2), "the second finds the loop being woken");
    }

    #[test]
    fn a_loop_with_work_does_not_fall_asleep() {
        let inbox = Inbox::default();
        assert!(!inbox.push(1));
        assert!(!inbox.fall_asleep());
        assert!(!inbox.push(2), "it stayed awake");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Producers add one item each while the loop falls asleep. The loop must end up with every item, or be woken.
    fn check(producers: u32) {
        loom::model(move || {
            let inbox = Arc::new(Inbox::default());
            let threads: Vec<_> = (0..producers)
                .map(|item| {
                    let inbox = Arc::clone(&inbox);
                    thread::spawn(move || inbox.push(item))
                })
                .collect();
            let sleeps = inbox.fall_asleep();
            let wakes = threads.into_iter().map(|t| t.join().unwrap()).filter(|&woken| woken).count();
            let items = inbox.take().len();
            assert_eq!(items, producers as usize, "an item was lost");
            if sleeps {
                // Every producer has pushed, so the sleeper must have been woken, and by one of them only.
                assert_eq!(wakes, 1, "a sleeping loop is woken once");
            } else {
                assert!(wakes <= 1);
            }
        });
    }

    #[test]
    fn no_wake_up_is_lost_with_one_producer() {
        check(1);
    }

    #[test]
    fn no_wake_up_is_lost_with_two_producers() {
        check(2);
    }
}
