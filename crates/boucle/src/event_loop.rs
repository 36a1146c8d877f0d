//! The loop: turns of the core whose items are tasks and wakers.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use boucle_core::clock::{Moment, Scale, Stamp, Tick};
use boucle_core::inbox::Inbox;
use boucle_core::reactor::Reactor as _;
use boucle_core::reactor::epoll::{self, Epoll};
use boucle_core::recorder::rings::{Returned, ThreadRing};
use boucle_core::recorder::tally::Times;
use boucle_core::recorder::{Whereabouts, WokenBy, rings};
use boucle_core::timers::TimerKey;
use boucle_core::turn::{Ready, Turn, Wait};

use crate::names;
use crate::task::{Body, TaskKey, Tasks};

/// What is queued.
#[derive(Debug)]
pub(crate) enum Item {
    /// Poll the future that the loop was started with.
    Main,
    /// Poll a task.
    Task(TaskKey),
    /// Wake whoever waits for a timer.
    Wake(Waker),
}

/// The part of a loop that other threads get at: a waker may outlive its loop.
#[derive(Debug)]
pub(crate) struct Shared {
    inbox: Inbox<Ready<Woken>>,
    reactor: epoll::Waker,
}

/// Whom a waker wakes: what of an [`Item`] can be sent between threads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Woken {
    Main,
    Task(TaskKey),
}

impl From<Woken> for Item {
    fn from(woken: Woken) -> Self {
        match woken {
            Woken::Main => Self::Main,
            Woken::Task(key) => Self::Task(key),
        }
    }
}

/// What a running loop is made of.
pub(crate) struct Inner {
    turn: RefCell<Turn<Item>>,
    pub(crate) tasks: RefCell<Tasks>,
    reactor: RefCell<Epoll<()>>,
    shared: Arc<Shared>,
    ring: Arc<ThreadRing>,
    /// The step that runs.
    current: Cell<Option<WokenBy>>,
    /// Where the step that runs has awaited last.
    awaited_at: Cell<Option<&'static Location<'static>>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Inner>>> = const { RefCell::new(None) };
}

/// The loop that runs on this thread.
pub(crate) fn current() -> Option<Rc<Inner>> {
    CURRENT.with_borrow(Clone::clone)
}

/// The loop that runs on this thread, which `what` needs.
#[track_caller]
pub(crate) fn expect_current(what: &str) -> Rc<Inner> {
    current().unwrap_or_else(|| panic!("{what} needs a running loop: call it from a future that boucle::run runs"))
}

impl Inner {
    /// Schedules an item for the next turn.
    pub(crate) fn push(&self, item: Item) {
        let woken_by = self.current.get().unwrap_or(WokenBy::UNKNOWN);
        self.turn.borrow_mut().push(item, Stamp::now(), woken_by);
    }

    /// Wakes `waker` at a time.
    pub(crate) fn wake_at(&self, deadline: Tick, waker: Waker) -> TimerKey {
        self.turn.borrow_mut().push_at(deadline, Item::Wake(waker))
    }

    /// Takes a timer back.
    pub(crate) fn cancel_timer(&self, key: TimerKey) {
        let cancelled = self.turn.borrow_mut().cancel(key);
        // Dropped here, when nothing is borrowed: a waker may be anybody's.
        drop(cancelled);
    }

    /// Notes where the step that runs awaits.
    pub(crate) fn note_await(&self, location: &'static Location<'static>) {
        self.awaited_at.set(Some(location));
    }
}

/// A waker of a task, or of the main future.
struct ItemWaker {
    woken: Woken,
    shared: Arc<Shared>,
}

impl Wake for ItemWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(inner) = current().filter(|inner| Arc::ptr_eq(&inner.shared, &self.shared)) {
            inner.push(self.woken.into());
            return;
        }
        let ready = Ready { item: self.woken, since: Stamp::now(), woken_by: WokenBy::THREAD };
        if self.shared.inbox.push(ready) {
            self.shared.reactor.wake();
        }
    }
}

/// A loop. It runs one future at a time; tasks that are left over when it ends go on in the next run.
pub struct EventLoop {
    inner: Rc<Inner>,
}

impl EventLoop {
    /// A loop that does not run yet. It takes two descriptors.
    pub fn new() -> boucle_core::Result<Self> {
        let reactor = Epoll::new()?;
        let shared = Arc::new(Shared { inbox: Inbox::default(), reactor: reactor.waker() });
        let name = std::thread::current().name().unwrap_or("unnamed thread").to_owned();
        let inner = Inner {
            turn: RefCell::default(),
            tasks: RefCell::default(),
            reactor: RefCell::new(reactor),
            shared,
            ring: rings::of_this_thread(&name),
            current: Cell::new(None),
            awaited_at: Cell::new(None),
        };
        Ok(Self { inner: Rc::new(inner) })
    }

    /// Runs until `future` is ready, and returns its output.
    ///
    /// # Panics
    ///
    /// If another loop runs on this thread, or if `future` panics. A panic of a task is raised where its handle is
    /// awaited.
    #[track_caller]
    pub fn run_until_complete<F: Future>(&self, future: F) -> F::Output {
        let name = names::task::<F>(None);
        let _running = Running::enter(&self.inner);
        let mut future = pin!(future);
        let waker = self.waker(Woken::Main);
        self.inner.push(Item::Main);
        let mut main = Actor { number: name, begun: false };
        let mut timers = names::timer_actor();
        let scale = Scale::measure();
        let mut last_end = Stamp::now();
        loop {
            last_end = self.collect(&scale, last_end);
            loop {
                let next = self.inner.turn.borrow_mut().pop();
                let Some(ready) = next else { break };
                let step = self.begin(&ready, last_end);
                let (actor, ended) = match ready.item {
                    Item::Main => {
                        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
                        if let Poll::Ready(output) = poll {
                            self.end(&step, &mut main, true);
                            return output;
                        }
                        (&mut main, false)
                    }
                    Item::Wake(waker) => {
                        waker.wake();
                        (&mut timers, true)
                    }
                    Item::Task(key) => {
                        if let Some((mut actor, ended)) = self.poll_task(key) {
                            last_end = self.end(&step, &mut actor, ended);
                            self.inner.tasks.borrow_mut().set_begun(key);
                        }
                        continue;
                    }
                };
                last_end = self.end(&step, actor, ended);
            }
        }
    }

    fn waker(&self, woken: Woken) -> Waker {
        Waker::from(Arc::new(ItemWaker { woken, shared: Arc::clone(&self.inner.shared) }))
    }

    /// Polls a task. Says who it was and whether it ended; nothing if it had ended before.
    fn poll_task(&self, key: TaskKey) -> Option<(Actor, bool)> {
        let Body { mut future, actor, begun } = self.inner.tasks.borrow_mut().take_out(key)?;
        let waker = self.waker(Woken::Task(key));
        let ended = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if ended {
            self.inner.tasks.borrow_mut().remove(key);
            drop(future);
        } else {
            self.inner.tasks.borrow_mut().put_back(key, future);
        }
        Some((Actor { number: actor, begun }, ended))
    }

    /// Waits for the batch of the next turn and collects it. Returns the time at which its first step begins.
    fn collect(&self, scale: &Scale, last_end: Stamp) -> Stamp {
        let shared = &self.inner.shared;
        self.merge();
        let wait = self.inner.turn.borrow().begin(Tick::now(), false, false);
        let (mut start, mut slept) = (last_end, 0);
        if let Wait::Sleep(time) = wait {
            let time = if shared.inbox.fall_asleep() { time } else { Duration::ZERO };
            self.inner.ring.tally.falls_asleep(Stamp::now());
            // Nothing is registered yet, so a wait reports no event; what a signal interrupts is waited for again.
            if let Err(error) = self.inner.reactor.borrow_mut().wait(time, &mut Vec::new()) {
                panic!("the reactor cannot wait: {error}");
            }
            let woke = Stamp::now();
            slept = self.inner.ring.tally.wakes_up(woke, woke);
            shared.inbox.wake_up();
            self.merge();
            start = Stamp::now();
        }
        self.inner.ring.tally.turn(start.since(last_end), slept);
        self.inner.turn.borrow_mut().collect(Moment::now(), scale, start, []);
        start
    }

    /// Schedules what other threads woke.
    fn merge(&self) {
        for Ready { item, since, woken_by } in self.inner.shared.inbox.take() {
            self.inner.turn.borrow_mut().push(item.into(), since, woken_by);
        }
    }

    fn begin(&self, ready: &Ready<Item>, start: Stamp) -> Begun {
        self.inner.current.set(Some(WokenBy::step(self.inner.ring.ring.head())));
        self.inner.awaited_at.set(None);
        Begun { start, since: ready.since, woken_by: ready.woken_by }
    }

    /// Writes a step down. Returns the time at which it ended.
    fn end(&self, step: &Begun, actor: &mut Actor, ended: bool) -> Stamp {
        let end = Stamp::now();
        let (code, whereabouts) = match self.inner.awaited_at.take() {
            _ if ended => (0, Whereabouts::RETURNED_HERE),
            Some(location) => (names::code(actor.number, location), Whereabouts::awaiting(location.line())),
            None => (0, Whereabouts::UNKNOWN),
        };
        let first = !std::mem::replace(&mut actor.begun, true) || actor.number == names::TIMER;
        self.inner.ring.write(&Returned {
            times: Times { start: step.start, end, since: step.since },
            actor: actor.number,
            woken_by: step.woken_by,
            code,
            whereabouts: whereabouts.first_step(first),
        });
        self.inner.current.set(None);
        end
    }
}

/// Who runs, and whether it has run before.
pub(crate) struct Actor {
    pub(crate) number: u32,
    pub(crate) begun: bool,
}

/// A step that has begun.
struct Begun {
    start: Stamp,
    since: Stamp,
    woken_by: WokenBy,
}

/// Says that a loop runs on this thread, until it is dropped.
struct Running;

impl Running {
    #[track_caller]
    fn enter(inner: &Rc<Inner>) -> Self {
        let former = CURRENT.replace(Some(Rc::clone(inner)));
        assert!(former.is_none(), "cannot run a loop while another one runs on this thread");
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        CURRENT.take();
    }
}

/// Runs a future on a new loop and returns its output, as `asyncio.run` does.
///
/// # Panics
///
/// If another loop runs on this thread, if the process is out of descriptors, or if `future` panics.
#[track_caller]
pub fn run<F: Future>(future: F) -> F::Output {
    match EventLoop::new() {
        Ok(event_loop) => event_loop.run_until_complete(future),
        Err(error) => panic!("cannot make an event loop: {error}"),
    }
}
