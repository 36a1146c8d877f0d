//! Tasks: futures that the loop polls by itself.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::event_loop::{self, Item};
use crate::names;

type Pending = Pin<Box<dyn Future<Output = ()>>>;

/// Names a task until it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskKey {
    slot: u32,
    generation: u32,
}

/// A task's future, taken out to be polled.
pub(crate) struct Body {
    pub(crate) future: Pending,
    /// The number under which its steps are recorded.
    pub(crate) actor: u32,
    /// Whether it has been polled before.
    pub(crate) begun: bool,
}

/// The tasks of a loop, by key.
#[derive(Default)]
pub(crate) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    actor: u32,
    begun: bool,
    /// Nothing while it is polled, or when the slot is free.
    future: Option<Pending>,
}

impl Tasks {
    fn insert(&mut self, future: Pending, actor: u32) -> TaskKey {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, actor, begun: false, future: None });
            self.slots.len() as u32 - 1
        });
        let entry = &mut self.slots[slot as usize];
        (entry.actor, entry.begun, entry.future) = (actor, false, Some(future));
        TaskKey { slot, generation: entry.generation }
    }

    fn slot(&mut self, key: TaskKey) -> Option<&mut Slot> {
        self.slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation)
    }

    /// Takes a future out to poll it; nothing if the task has ended.
    pub(crate) fn take_out(&mut self, key: TaskKey) -> Option<Body> {
        let slot = self.slot(key)?;
        Some(Body { future: slot.future.take()?, actor: slot.actor, begun: slot.begun })
    }

    /// Puts it back.
    pub(crate) fn put_back(&mut self, key: TaskKey, future: Pending) {
        if let Some(slot) = self.slot(key) {
            slot.future = Some(future);
        }
    }

    /// Notes that it has been polled.
    pub(crate) fn set_begun(&mut self, key: TaskKey) {
        if let Some(slot) = self.slot(key) {
            slot.begun = true;
        }
    }

    /// Ends a task whose future was taken out.
    pub(crate) fn remove(&mut self, key: TaskKey) {
        if let Some(slot) = self.slot(key) {
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(key.slot);
        }
    }
}

/// What a task left, and who waits for it.
struct Outcome<T> {
    result: Option<std::thread::Result<T>>,
    waiting: Option<Waker>,
}

/// Waits for a task. Dropping it lets the task go on.
pub struct JoinHandle<T> {
    outcome: Rc<RefCell<Outcome<T>>>,
    location: &'static Location<'static>,
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("spawned_at", &self.location).finish_non_exhaustive()
    }
}

impl<T> JoinHandle<T> {
    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.outcome.borrow().result.is_some()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = T;

    /// # Panics
    ///
    /// With the task's panic, if it panicked; if it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let taken = {
            let mut outcome = self.outcome.borrow_mut();
            let taken = outcome.result.take();
            if taken.is_none() {
                outcome.waiting = Some(context.waker().clone());
            }
            taken
        };
        match taken {
            Some(Ok(value)) => Poll::Ready(value),
            Some(Err(panic)) => resume_unwind(panic),
            None => {
                if let Some(inner) = event_loop::current() {
                    inner.note_await(self.location);
                }
                Poll::Pending
            }
        }
    }
}

/// Runs a future as a task of the loop that runs here. It begins in the next turn.
///
/// # Panics
///
/// If no loop runs on this thread.
#[track_caller]
pub fn spawn<F: Future + 'static>(future: F) -> JoinHandle<F::Output> {
    start(None, future, Location::caller())
}

/// Runs a future as a task with a name, by which its chronology knows it.
///
/// # Panics
///
/// If no loop runs on this thread.
#[track_caller]
pub fn spawn_named<F: Future + 'static>(name: &str, future: F) -> JoinHandle<F::Output> {
    start(Some(name), future, Location::caller())
}

pub(crate) fn start<F: Future + 'static>(
    name: Option<&str>,
    future: F,
    location: &'static Location<'static>,
) -> JoinHandle<F::Output> {
    let inner = event_loop::expect_current("spawn");
    let outcome = Rc::new(RefCell::new(Outcome { result: None, waiting: None }));
    let theirs = Rc::clone(&outcome);
    let body = async move {
        let result = CatchPanic(Box::pin(future)).await;
        let waiting = {
            let mut outcome = theirs.borrow_mut();
            outcome.result = Some(result);
            outcome.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    };
    let actor = names::task::<F>(name);
    let key = inner.tasks.borrow_mut().insert(Box::pin(body), actor);
    inner.push(Item::Task(key));
    JoinHandle { outcome, location }
}

/// Turns a panic of a future into its output.
struct CatchPanic<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchPanic<F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A future that panicked is not polled again, so what it broke is not seen.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}
