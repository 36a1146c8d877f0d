//! One turn of the loop, as data: what runs next, and whether the loop may sleep before.
//!
//! A turn takes everything that was ready when it began, then what the kernel reported, then the timers that are due,
//! and makes a batch of it. What the batch schedules waits for the next turn, so that a callback which reschedules
//! itself cannot keep the loop from polling. That is also the batch's only bound: cutting it after so many items would
//! change the order that asyncio promises.
//!
//! # Invariants
//!
//! * An item is either in here or being run. An interrupt between two items leaves the rest at the front of the queue.
//! * The order is that of the calls.
//! * Each item carries since when it has been ready and what made it so: its wait is known when it runs.

pub mod outside;

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{Moment, Scale, Stamp, Tick};
use crate::recorder::WokenBy;
use crate::timers::{TimerKey, Timers};

/// The longest sleep. Waking once a day for nothing costs nothing, and keeps every timeout within the kernel's range.
const LONGEST_SLEEP: Duration = Duration::from_hours(24);

/// An item that can run.
#[derive(Debug)]
pub struct Ready<T> {
    /// What runs.
    pub item: T,
    /// Since when it could: the time of the call, a timer's deadline, the time of the kernel's report.
    pub since: Stamp,
    /// What made it ready.
    pub woken_by: WokenBy,
}

/// What the loop may do before it collects its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Work is ready and the kernel has nothing to report: no descriptor is watched.
    Skip,
    /// Work is ready: look what the kernel has to report, but do not sleep.
    Poll,
    /// Sleep until something happens, or for this long.
    Sleep(Duration),
}

/// What is ready and what will be.
#[derive(Debug)]
pub struct Turn<T> {
    ready: VecDeque<Ready<T>>,
    timers: Timers<T>,
    /// How many items of `ready` belong to the batch that runs now.
    batch: usize,
}

impl<T> Default for Turn<T> {
    fn default() -> Self {
        Self { ready: VecDeque::new(), timers: Timers::default(), batch: 0 }
    }
}

impl<T> Turn<T> {
    /// Schedules an item for the next turn.
    #[inline]
    pub fn push(&mut self, item: T, since: Stamp, woken_by: WokenBy) {
        self.ready.push_back(Ready { item, since, woken_by });
    }

    /// Schedules an item for a deadline.
    pub fn push_at(&mut self, deadline: Tick, item: T) -> TimerKey {
        self.timers.insert(deadline, item)
    }

    /// Takes a timer out before it fires.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        self.timers.remove(key)
    }

    /// Begins a turn: whether the loop may sleep, and for how long. A loop that was asked to stop polls once more and
    /// runs what is ready, as asyncio does. `watching` says whether the kernel may have something to report but a wake:
    /// a poll costs 90 ns, and a loop polls in every turn in which asyncio would see the difference.
    pub fn begin(&self, now: Tick, stopping: bool, watching: bool) -> Wait {
        let awake = if watching { Wait::Poll } else { Wait::Skip };
        if stopping || !self.ready.is_empty() {
            return awake;
        }
        match self.timers.next_deadline() {
            Some(deadline) if deadline <= now => awake,
            Some(deadline) => Wait::Sleep(now.until(deadline).min(LONGEST_SLEEP)),
            None => Wait::Sleep(LONGEST_SLEEP),
        }
    }

    /// Begins the next turn at once, where nothing but what is ready could be in its batch: no timer is pending, and the
    /// caller has nothing to ask the kernel. Then what is ready is the batch.
    #[inline]
    pub fn goes_on(&mut self) -> bool {
        let goes_on = !self.ready.is_empty() && !self.has_timers();
        if goes_on {
            self.batch = self.ready.len();
        }
        goes_on
    }

    /// Collects the batch of this turn: work that was already ready, then `events` in the order the kernel reported
    /// them, at `reported`, then the timers that are due `now`.
    pub fn collect(&mut self, now: Moment, scale: &Scale, reported: Stamp, events: impl IntoIterator<Item = T>) {
        self.ready.extend(events.into_iter().map(|item| Ready { item, since: reported, woken_by: WokenBy::IO }));
        while let Some((deadline, item)) = self.timers.pop_due(now.tick) {
            let since = now.stamp_at(deadline, scale);
            self.ready.push_back(Ready { item, since, woken_by: WokenBy::TIMER });
        }
        self.batch = self.ready.len();
    }

    /// The next item of the batch. `None` ends the turn.
    #[inline]
    pub fn pop(&mut self) -> Option<Ready<T>> {
        self.batch = self.batch.checked_sub(1)?;
        self.ready.pop_front()
    }

    /// Whether a timer is pending.
    pub fn has_timers(&self) -> bool {
        !self.timers.is_empty()
    }

    /// How many items are ready.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// How many timers are pending.
    pub fn timers_len(&self) -> usize {
        self.timers.len()
    }

    /// The items that are ready, oldest first.
    pub fn ready(&self) -> impl Iterator<Item = &T> {
        self.ready.iter().map(|ready| &ready.item)
    }

    /// Those that wait `now`: what is ready and the timers that are due.
    pub fn waiting(&self, now: Moment, scale: &Scale) -> impl Iterator<Item = Ready<&T>> {
        let due = self.timers.due(now.tick).map(move |(deadline, item)| Ready {
            item,
            since: now.stamp_at(deadline, scale),
            woken_by: WokenBy::TIMER,
        });
        let ready = self.ready.iter();
        ready.map(|one| Ready { item: &one.item, since: one.since, woken_by: one.woken_by }).chain(due)
    }

    /// The same, to be replaced.
    pub fn ready_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.ready.iter_mut().map(|ready| &mut ready.item)
    }

    /// The items of the pending timers, in no particular order.
    pub fn timers(&self) -> impl Iterator<Item = &T> {
        self.timers.items()
    }

    /// Takes out everything that is ready, oldest first.
    pub fn take_ready(&mut self) -> VecDeque<Ready<T>> {
        self.batch = 0;
        std::mem::take(&mut self.ready)
    }

    /// Takes out every pending timer.
    pub fn take_timers(&mut self) -> Timers<T> {
        std::mem::take(&mut self.timers)
    }
}
