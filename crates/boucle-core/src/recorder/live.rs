//! What a thread's loop does right now, for those who look from outside: the watchdog, and viewers.
//!
//! The loop writes two words at each step and one at the end of a batch; everybody else only reads. The words are
//! atomics without an order of their own: who reads them checks by the ring's head that the step is still the same.
//!
//! A watchdog sleeps while every loop does. It says so in a word of its own, then looks here once more; a loop that leaves a
//! sleep says so here, then looks at that word. Each has a fence between its two steps, so one of the two sees the other:
//! an idle loop has an idle watchdog, and a step costs nothing for it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::words::halves;
use crate::clock::Stamp;

/// What runs now.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Live {
    /// When the step that runs began; 0 while none does.
    start: AtomicU64,
    /// Who runs it.
    actor: AtomicU32,
    /// How many items were ready when it began.
    ready: AtomicU32,
    /// The kernel's number of the thread; 0 while no loop runs in it.
    thread: AtomicU32,
    /// 1 while the loop sleeps in the kernel.
    asleep: AtomicU32,
}

/// A step that has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// When it began.
    pub start: Stamp,
    /// Who runs.
    pub actor: u32,
    /// How many items were ready when it began.
    pub ready: u32,
}

impl Live {
    /// A step begins. Only the thread of the loop calls this.
    #[inline]
    pub fn begin(&self, start: Stamp, actor: u32, ready: usize) {
        self.actor.store(actor, Ordering::Relaxed);
        self.ready.store(ready as u32, Ordering::Relaxed);
        self.start.store(start.0, Ordering::Release);
    }

    /// No step runs any more: the batch is done, or the run.
    #[inline]
    pub fn end(&self) {
        self.start.store(0, Ordering::Relaxed);
    }

    /// A loop begins to run in the thread with this number of the kernel's.
    pub fn enter(&self, thread: u32) {
        self.thread.store(thread, Ordering::Relaxed);
        self.wake_up();
    }

    /// No loop runs any more.
    pub fn leave(&self) {
        self.end();
        self.thread.store(0, Ordering::Relaxed);
    }

    /// The loop goes to sleep in the kernel.
    #[inline]
    pub fn fall_asleep(&self) {
        self.asleep.store(1, Ordering::Relaxed);
    }

    /// The loop has left its sleep. Who has asked to be told when, before looking here, must be told now.
    #[inline]
    pub fn wake_up(&self) {
        self.asleep.store(0, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The kernel's number of the thread, while a loop runs in it.
    pub fn thread(&self) -> Option<u32> {
        Some(self.thread.load(Ordering::Relaxed)).filter(|&thread| thread != 0)
    }

    /// Whether a loop runs and does not sleep: a step may begin at any moment.
    pub fn is_awake(&self) -> bool {
        self.thread().is_some() && self.asleep.load(Ordering::Relaxed) == 0
    }

    /// The step that runs.
    pub fn running(&self) -> Option<Running> {
        let start = Stamp(self.start.load(Ordering::Acquire));
        let (actor, ready) = (self.actor.load(Ordering::Relaxed), self.ready.load(Ordering::Relaxed));
        (start.0 != 0).then_some(Running { start, actor, ready })
    }
}

/// The words of a [`Live`] as another process reads them: the step that runs, and the kernel's number of the thread.
pub(super) fn decode([start, actor_and_ready, thread]: [u64; super::mapping::LIVE]) -> (Option<Running>, u32) {
    let (actor, ready) = halves(actor_and_ready);
    let running = (start != 0).then_some(Running { start: Stamp(start), actor, ready });
    (running, halves(thread).0)
}
