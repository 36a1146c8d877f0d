//! Which ring belongs to which thread.
//!
//! A thread gets its ring when it first runs a loop and gives it back when it ends; the next new thread takes it over.
//! So thousands of threads that run a loop each, one after the other, write into one ring, and memory is bounded by the
//! number of threads that live at the same time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::live::Live;
use super::ring::Ring;

/// The capacity of a ring unless told otherwise: 16 MiB.
pub const DEFAULT_STEPS: usize = 1 << 19;

/// How many owners of one ring are remembered. More matter only to a program that runs thousands of threads in turn
/// while it is recorded; its oldest steps then carry the name of a later owner.
const REMEMBERED_OWNERS: usize = 4096;

/// A ring and the threads that owned it.
#[derive(Debug)]
pub struct ThreadRing {
    /// The steps.
    pub ring: Ring,
    /// What the thread's loop does right now.
    pub live: Live,
    owners: Mutex<VecDeque<Owner>>,
}

/// A thread that wrote into a ring, from a sequence number on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The sequence number of its first step.
    pub from: u64,
    /// The thread's name.
    pub name: String,
}

impl ThreadRing {
    /// Says who writes from now on.
    fn set_owner(&self, name: String) {
        let from = self.ring.head();
        let mut owners = lock(&self.owners);
        match owners.back_mut() {
            Some(last) if last.from == from || last.name == name => last.name = name,
            _ => owners.push_back(Owner { from, name }),
        }
        if owners.len() > REMEMBERED_OWNERS {
            owners.pop_front();
        }
    }

    /// The threads that wrote into it, oldest first.
    pub fn owners(&self) -> Vec<Owner> {
        lock(&self.owners).iter().cloned().collect()
    }
}

#[derive(Debug)]
struct Rings {
    all: Vec<Arc<ThreadRing>>,
    unowned: Vec<Arc<ThreadRing>>,
    capacity: usize,
}

static RINGS: Mutex<Rings> = Mutex::new(Rings { all: Vec::new(), unowned: Vec::new(), capacity: DEFAULT_STEPS });

/// What a lock here guards is valid between any two operations, also after a panic in another thread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the capacity, in steps, of rings that are made from now on.
pub fn set_capacity(steps: usize) {
    lock(&RINGS).capacity = steps;
}

/// The ring of this thread, which the caller names.
pub fn of_this_thread(name: String) -> Arc<ThreadRing> {
    let ring = OWNED.with_borrow_mut(|owned| Arc::clone(&owned.get_or_insert_with(Owned::take).0));
    ring.set_owner(name);
    ring
}

/// Every ring of this process, with those whose thread has ended.
pub fn all() -> Vec<Arc<ThreadRing>> {
    lock(&RINGS).all.clone()
}

thread_local! {
    static OWNED: RefCell<Option<Owned>> = const { RefCell::new(None) };
}

/// Returns the ring when the thread ends.
struct Owned(Arc<ThreadRing>);

impl Owned {
    fn take() -> Self {
        let mut rings = lock(&RINGS);
        if let Some(ring) = rings.unowned.pop() {
            return Self(ring);
        }
        let ring = Ring::with_capacity(rings.capacity);
        let ring = Arc::new(ThreadRing { ring, live: Live::default(), owners: Mutex::default() });
        rings.all.push(Arc::clone(&ring));
        Self(ring)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        lock(&RINGS).unowned.push(Arc::clone(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, since the rings are the process's: two at once would take each other's.
    #[test]
    fn a_thread_keeps_its_ring_and_leaves_it_to_the_next() {
        let own = || {
            std::thread::spawn(|| {
                let (one, two) = (of_this_thread("worker".into()), of_this_thread("worker".into()));
                assert!(Arc::ptr_eq(&one, &two));
                one
            })
        };
        let first = own().join().unwrap();
        for _ in 0..100 {
            assert!(Arc::ptr_eq(&first, &own().join().unwrap()));
        }
        // Owners that wrote nothing leave no trace.
        assert_eq!(first.owners(), [Owner { from: 0, name: "worker".into() }]);
        assert_eq!(all().len(), 1);
    }
}
