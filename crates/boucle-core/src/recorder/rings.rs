//! Which ring belongs to which thread.
//!
//! A thread gets its ring when it first runs a loop and gives it back when it ends; the next new thread takes it over.
//! So thousands of threads that run a loop each, one after the other, write into one ring, and memory is bounded by the
//! number of threads that live at the same time.
//!
//! A ring lies in the mapping (`mapping.rs`) with the names of its threads: who had it last, and from which step on.
//! It is claimed for a thread by the number of its process, so that a child of a fork finds no ring taken by threads that it
//! does not have.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::account::Account;
use super::live::Live;
use super::mapping::{self, Kind};
use super::ring::{self, CLAIM, LIVE, OWNER_COUNT, OWNERS, RawStep, Ring, TALLY, Whereabouts, WokenBy};
use super::samples;
use super::tally::{self, Tally, Times, Totals};
use super::words::{Own, TEXT_SLOT, Words, read_text, shortened, write_text};
use crate::clock::{Scale, Stamp};

/// The capacity of a ring unless told otherwise: 16 MiB.
pub const DEFAULT_STEPS: usize = 1 << 19;

/// The capacity where the process may have no more memory.
const FEWEST_STEPS: usize = 1 << 10;

/// How many owners of one ring are remembered. More matter only to a program that runs thousands of threads in turn
/// while it is recorded; its oldest steps then carry the name of a later owner.
pub(super) const REMEMBERED_OWNERS: usize = 4096;

/// A ring and the threads that owned it.
#[derive(Debug)]
pub struct ThreadRing {
    /// The steps.
    pub ring: Ring,
    /// What the thread's loop does right now.
    pub live: &'static Live,
    /// The sums of all steps.
    pub tally: Tally,
    words: Own,
    /// Whose loop's steps the tally counts now.
    holder: Mutex<Weak<Account>>,
}

/// A step that has returned, as a loop hands it in.
#[derive(Clone, Copy, Debug)]
pub struct Returned {
    /// When it ran, and since when it was ready.
    pub times: Times,
    /// Who ran.
    pub actor: u32,
    /// What made the actor ready.
    pub woken_by: WokenBy,
    /// The code that ran last.
    pub code: u32,
    /// Where that code was left.
    pub whereabouts: Whereabouts,
}

/// A thread that wrote into a ring, from a sequence number on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The sequence number of its first step.
    pub from: u64,
    /// The thread's name.
    pub name: String,
    /// The kernel's number of it.
    pub thread: u32,
}

impl ThreadRing {
    fn on(words: Own) -> Self {
        Self {
            ring: Ring::on(words),
            live: mapping::live(&words[LIVE..][..mapping::LIVE]),
            tally: Tally::on(&words[TALLY..][..tally::SIZE]),
            words,
            holder: Mutex::default(),
        }
    }

    /// Writes a step down and counts it. Only the thread that owns the ring may call this.
    #[inline]
    pub fn write(&self, step: &Returned) {
        let Returned { times, actor, woken_by, code, whereabouts } = *step;
        let (start, duration, waited) = (times.start, times.duration(), times.waited());
        self.ring.write(&RawStep { start, duration, waited, actor, woken_by, code, whereabouts });
        if self.tally.step(&times) {
            self.starvation(times);
        }
    }

    /// Counts what the step that was just written had to do with starvations. It takes the times by value: a reference
    /// would have each step put together in memory.
    #[cold]
    fn starvation(&self, times: Times) {
        let Times { start, end, .. } = times;
        self.tally.starvation(&times, || samples::cause_of(self.number(), self.ring.head() - 1, start, end));
    }

    /// Its position in [`all`].
    fn number(&self) -> u32 {
        let position = lock(&RINGS).all.iter().position(|ring| std::ptr::eq(&raw const **ring, self));
        position.map_or(u32::MAX, |position| position as u32)
    }

    /// What its loops have done, with what goes on now.
    pub fn totals(&self, now: Stamp) -> Totals {
        let last_start = || self.ring.read(self.ring.head().saturating_sub(1)).steps.last().map(|step| step.start);
        self.tally.read(self.live, last_start, now)
    }

    /// Whose loop's steps the tally counts now.
    pub(super) fn holder(&self) -> MutexGuard<'_, Weak<Account>> {
        lock(&self.holder)
    }

    /// Takes it for a thread of this process, unless another one has it.
    fn claim(&self) -> bool {
        let (former, own) = (self.words[CLAIM].load(Ordering::Relaxed), u64::from(std::process::id()));
        let exchange = || self.words[CLAIM].compare_exchange(former, own, Ordering::Acquire, Ordering::Relaxed);
        former != own && exchange().is_ok()
    }

    fn release(&self) {
        self.words[CLAIM].store(0, Ordering::Release);
    }

    /// Says who writes from now on.
    fn set_owner(&self, name: &str) {
        let from = self.ring.head();
        let thread = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        let count = self.words[OWNER_COUNT].load(Ordering::Relaxed);
        let last = count.checked_sub(1).and_then(|last| owner(&self.words, last));
        let name = shortened(name, super::words::LONGEST_TEXT);
        match last {
            Some(last) if last.from == from || (last.name == name && last.thread == thread) => {
                write_text(self.owner_slot(count - 1), last.from, thread, &name);
            }
            _ => {
                write_text(self.owner_slot(count), from, thread, &name);
                self.words[OWNER_COUNT].store(count + 1, Ordering::Release);
            }
        }
    }

    fn owner_slot(&self, index: u64) -> &'static [AtomicU64] {
        &self.words[owner_place(index)..][..TEXT_SLOT]
    }

    /// The threads that wrote into it, oldest first.
    pub fn owners(&self) -> Vec<Owner> {
        owners(&self.words)
    }
}

fn owner_place(index: u64) -> usize {
    OWNERS + index as usize % REMEMBERED_OWNERS * TEXT_SLOT
}

fn owner(words: &impl Words, index: u64) -> Option<Owner> {
    let (from, thread, name) = read_text(words, owner_place(index))?;
    Some(Owner { from, name, thread })
}

/// The threads that wrote into the ring in these words, oldest first.
pub(super) fn owners(words: &impl Words) -> Vec<Owner> {
    let count = words.word(OWNER_COUNT);
    std::sync::atomic::fence(Ordering::Acquire);
    let mut owners: Vec<Owner> =
        (count.saturating_sub(REMEMBERED_OWNERS as u64)..count).filter_map(|index| owner(words, index)).collect();
    // One that was overwritten while they were read is the newest.
    owners.sort_by_key(|owner| owner.from);
    owners
}

#[derive(Debug)]
struct Rings {
    all: Vec<Arc<ThreadRing>>,
    capacity: usize,
}

static RINGS: Mutex<Rings> = Mutex::new(Rings { all: Vec::new(), capacity: DEFAULT_STEPS });

/// What a lock here guards is valid between any two operations, also after a panic in another thread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the capacity, in steps, of rings that are made from now on.
pub fn set_capacity(steps: usize) {
    lock(&RINGS).capacity = steps;
}

/// From which length on a step starves others, in nanoseconds.
static THRESHOLD: AtomicU64 = AtomicU64::new(50_000_000);

/// Sets from which length on a step is counted as a starvation: 50 ms unless told otherwise.
pub fn set_threshold(threshold: Duration) {
    THRESHOLD.store(threshold.as_nanos() as u64, Ordering::Relaxed);
    let scale = Scale::measure();
    for ring in all() {
        ring.tally.set_limit(scale.stamps(threshold) as f32);
    }
}

/// From which length on a step is counted as a starvation.
pub fn threshold() -> Duration {
    Duration::from_nanos(THRESHOLD.load(Ordering::Relaxed))
}

/// The ring of this thread, which the caller names. Called before a loop runs.
pub fn of_this_thread(name: &str) -> Arc<ThreadRing> {
    mapping::settle();
    let generation = mapping::generation();
    let ring = OWNED.with_borrow_mut(|owned| {
        // What was owned before a fork is the parent's.
        if owned.as_ref().is_none_or(|owned| owned.generation != generation) {
            *owned = Some(Owned { ring: take(), generation });
        }
        owned.as_ref().map(|owned| Arc::clone(&owned.ring))
    });
    let ring = ring.expect("it was taken just now, if there was none");
    ring.tally.set_limit(Scale::measure().stamps(threshold()) as f32);
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
struct Owned {
    ring: Arc<ThreadRing>,
    generation: u32,
}

/// A ring that no thread has.
fn take() -> Arc<ThreadRing> {
    let mut rings = lock(&RINGS);
    if let Some(ring) = rings.all.iter().find(|ring| ring.claim()) {
        return Arc::clone(ring);
    }
    let make = |steps| mapping::segment(Kind::Ring, ring::size(steps));
    let words = make(rings.capacity).unwrap_or_else(|| leak(ring::size(FEWEST_STEPS)));
    let ring = Arc::new(ThreadRing::on(words));
    ring.claim();
    rings.all.push(Arc::clone(&ring));
    ring
}

/// Words of the heap, for want of others.
fn leak(count: usize) -> Own {
    Box::leak((0..count).map(|_| AtomicU64::new(0)).collect())
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.generation == mapping::generation() {
            self.ring.release();
        }
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
                let (one, two) = (of_this_thread("worker"), of_this_thread("worker"));
                assert!(Arc::ptr_eq(&one, &two));
                one
            })
        };
        let first = own().join().unwrap();
        for _ in 0..100 {
            assert!(Arc::ptr_eq(&first, &own().join().unwrap()));
        }
        // Owners that wrote nothing leave no trace.
        let owners = first.owners();
        assert_eq!(owners.iter().map(|owner| (owner.from, owner.name.as_str())).collect::<Vec<_>>(), [(0, "worker")]);
        assert_eq!(all().len(), 1);
    }
}
