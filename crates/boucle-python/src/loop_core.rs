//! `LoopCore`: the native half of the loop, under the Python class `Loop`.
//!
//! `Loop` derives from this class and then from asyncio's loop, so that everything hot is found here and everything cold
//! is asyncio's own, in the version that runs. Both halves share one state: each attribute that asyncio's constructor
//! assigns is a property of this class, for two reasons. Inherited Python code and native code must see the same value,
//! and an instance whose `__dict__` was never made is 13 ns faster in each method call.
//!
//! * [`schedule`]: `call_soon` and its relatives, timers.
//! * [`run`]: the turns.
//! * [`watch`]: readers and writers. [`source`]: transports that wait for their descriptors. [`outbox`]: what steps wrote.
//! * [`forking`]: a process that inherits the loop.
//! * [`attributes`]: the state that asyncio's Python code reads and writes.
//! * [`gc`]: what the garbage collector sees. [`metrics`]: what it did, in sums.
//!
//! # Invariants
//!
//! * An instance is usable as soon as it is made: asyncio's constructor calls methods before it has assigned anything.
//! * No cell is borrowed while Python runs: what is taken out of one is dropped after the borrow has ended.
//! * The GIL is the lock of all this: whoever holds it may queue, from any thread. No wake-up is lost, for the loop says
//!   that it sleeps, and looks what is queued, before it lets go of the GIL.

mod attributes;
mod forking;
mod gc;
pub(crate) mod metrics;
pub(crate) mod outbox;
mod run;
mod schedule;
pub(crate) mod source;
pub(crate) mod tasks;
pub(crate) mod watch;

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Once};

use boucle_core::clock::{Moment, Scale, Stamp};
use boucle_core::reactor::epoll::{Epoll, Waker};
use boucle_core::recorder::WokenBy;
use boucle_core::recorder::account::Account;
use boucle_core::recorder::rings::ThreadRing;
use boucle_core::timers::TimerKey;
use boucle_core::turn::{Ready, Turn};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::handle;
use crate::raw::class::Builder;
use crate::raw::hash::hash;
use crate::raw::{Class, Owned, Result, This, TypeCell};
use crate::task::current::{self, CurrentTask};

/// The most bytes that one read takes, as on asyncio.
const LARGEST_READ: usize = 256 * 1024;

/// What is queued: one of our handles, a task or a watcher of ours, or a handle that inherited code made.
type Item = Owned;

/// The native half of a loop.
pub(crate) struct LoopCore {
    turn: RefCell<Turn<Item>>,
    reactor: RefCell<Option<watch::Reactor>>,
    waker: RefCell<Option<Waker>>,
    /// The identity of the thread that runs the loop; 0 while none does.
    thread: Cell<u64>,
    /// Whether it waits for the kernel with the GIL released, and has not been woken.
    asleep: Cell<bool>,
    /// The version of the class for which `call_soon` was found to be ours; 0 if it must be looked up.
    plain: Cell<u32>,
    /// The same for `create_future`.
    makes_futures: Cell<u32>,
    /// The same for methods that [`connecting`](crate::connecting) does without.
    own_methods: Cell<u32>,
    /// The same for what asyncio's `run_in_executor` asks the loop, which is to be asyncio's.
    executes: Cell<u32>,
    /// The queued task that steps, and what asyncio knows of it.
    current_task: CurrentTask,
    stopping: Cell<bool>,
    closed: Cell<bool>,
    /// Whether this process has inherited the loop by a fork, see [`forking`].
    inherited: Cell<bool>,
    /// The process that made the loop.
    owner_pid: Cell<u32>,
    debug: Cell<bool>,
    /// Whether a signal has a handler of this loop: then its descriptor is worth a poll.
    handles_signals: Cell<bool>,
    /// The step that runs: what it schedules was caused by it. Unknown while none does.
    current: Cell<WokenBy>,
    /// Until when what the step that runs writes may wait for its end, see [`outbox`]; long ago while none runs.
    puts_off_until: Cell<Stamp>,
    /// How long that is, in stamps.
    patience: Cell<u64>,
    /// A list for what the kernel reports, empty between two turns: kept, or each turn would allocate one.
    events: RefCell<Vec<Item>>,
    /// The transports that send when the step returns, and whether there are any.
    outbox: RefCell<Vec<Owned>>,
    has_unsent: Cell<bool>,
    /// Whether transports send in `write()` rather than when the step returns.
    writes_at_once: Cell<bool>,
    /// What is received goes here first: one buffer for all connections. Made when the first one reads.
    scratch: RefCell<Vec<u8>>,
    /// The ring that steps are written to, while the loop runs and the recorder is on.
    ring: RefCell<Option<Arc<ThreadRing>>>,
    /// What it did, in sums.
    account: Arc<Account>,
    /// When the last step ended.
    last_end: Cell<Stamp>,
    /// When the GIL was last released.
    last_release: Cell<Stamp>,
    turns: Cell<u64>,
    steps: Cell<u64>,
    objects: attributes::Objects,
}

impl Default for LoopCore {
    /// A loop that counts as closed until asyncio's constructor says otherwise.
    fn default() -> Self {
        Self {
            turn: RefCell::default(),
            reactor: RefCell::default(),
            waker: RefCell::default(),
            thread: Cell::default(),
            asleep: Cell::default(),
            plain: Cell::default(),
            makes_futures: Cell::default(),
            own_methods: Cell::default(),
            executes: Cell::default(),
            current_task: CurrentTask::default(),
            stopping: Cell::default(),
            closed: Cell::new(true),
            inherited: Cell::default(),
            owner_pid: Cell::new(std::process::id()),
            debug: Cell::default(),
            handles_signals: Cell::default(),
            current: Cell::new(WokenBy::UNKNOWN),
            puts_off_until: Cell::default(),
            patience: Cell::default(),
            events: RefCell::default(),
            outbox: RefCell::default(),
            has_unsent: Cell::default(),
            writes_at_once: Cell::new(crate::settings::writes_at_once()),
            scratch: RefCell::default(),
            ring: RefCell::default(),
            account: Arc::default(),
            last_end: Cell::default(),
            last_release: Cell::default(),
            turns: Cell::default(),
            steps: Cell::default(),
            objects: attributes::Objects::default(),
        }
    }
}

static LOOP_CORE: TypeCell = TypeCell::new();

impl Class for LoopCore {
    fn class() -> &'static TypeCell {
        &LOOP_CORE
    }
}

/// Makes the class.
pub(crate) fn initialise(py: Python<'_>) -> Result<Owned> {
    let class = Builder::<LoopCore>::new(c"boucle._boucle.LoopCore")
        .doc(c"The native half of boucle.Loop.")
        .subclassable()
        .collected()
        .slot(ffi::Py_tp_setattro, tasks::set_attribute_slot())
        .slot(ffi::Py_tp_hash, hash!(LoopCore, current::tell))
        .methods(schedule::methods())
        .methods(tasks::methods())
        .methods(run::methods())
        .methods(watch::methods())
        .methods(outbox::methods())
        .methods(forking::methods())
        .methods(crate::transport::methods())
        .methods(crate::sock::methods())
        .methods(crate::connecting::usual::methods())
        .methods(crate::connecting::accepting::methods())
        .methods(crate::connecting::whole::methods())
        .methods(crate::executor::methods())
        .methods(attributes::methods())
        .methods(metrics::methods())
        .properties(attributes::properties())
        .build(py)?;
    tasks::initialise(py, &class)?;
    Ok(class)
}

impl LoopCore {
    /// Whether debug mode is on.
    #[inline]
    pub(crate) fn debug(&self) -> bool {
        self.debug.get()
    }

    /// Who steps, and what asyncio knows of that.
    pub(crate) fn current_task(&self) -> &CurrentTask {
        &self.current_task
    }

    /// The version of the class for which the methods that connecting does without were found to be ours.
    pub(crate) fn own_methods(&self) -> &Cell<u32> {
        &self.own_methods
    }

    /// The version of the class for which what `run_in_executor` asks the loop was found to be asyncio's.
    pub(crate) fn executes(&self) -> &Cell<u32> {
        &self.executes
    }

    /// The executor for who names none; nothing where it was shut down.
    pub(crate) fn default_executor(&self) -> Option<Owned> {
        let shut_down = self.objects._executor_shutdown_called.get();
        shut_down.filter(Owned::is_false).and_then(|_| self.objects._default_executor.get())
    }

    /// Whether it can be used: it is not closed, and of this process.
    pub(crate) fn is_open(&self) -> bool {
        !(self.closed.get() || self.inherited.get())
    }

    /// The dictionary of its transports.
    pub(crate) fn transports(&self) -> Option<Owned> {
        self.objects._transports.get()
    }

    /// Whether it runs, and in another thread than this one.
    pub(crate) fn runs_elsewhere(&self) -> bool {
        let thread = self.thread.get();
        thread != 0 && thread != crate::raw::call::thread_ident()
    }

    /// Whether this process has inherited the loop by a fork: then it calls nothing back any more.
    pub(crate) fn is_inherited(&self) -> bool {
        self.inherited.get()
    }

    /// Those that wait `now`: ready or due, and not cancelled.
    pub(crate) fn waiting(&self, now: Moment, scale: &Scale) -> Vec<Ready<Item>> {
        let turn = self.turn.borrow();
        let waiting = turn.waiting(now, scale);
        waiting
            .filter(|ready| handle::native(ready.item).is_none_or(|handle| !handle.is_cancelled()))
            .map(|Ready { item, since, woken_by }| Ready { item: item.clone(), since, woken_by })
            .collect()
    }

    /// The number of who runs, while the recorder is on.
    pub(crate) fn running_actor(&self) -> Option<u32> {
        Some(self.ring.borrow().as_ref()?.live.running()?.actor)
    }

    /// Takes a timer out. The caller drops what it gets.
    pub(crate) fn cancel_timer(&self, key: TimerKey) -> Option<Owned> {
        self.turn.borrow_mut().cancel(key)
    }

    /// Raises what asyncio raises when a closed loop is used.
    #[inline]
    fn check_open(&self) -> Result<()> {
        if self.closed.get() {
            return Err(PyRuntimeError::new_err("Event loop is closed").into());
        }
        if self.inherited.get() {
            return Err(forking::refusal(self));
        }
        Ok(())
    }

    /// Interrupts the loop's sleep, once.
    fn wake(&self) {
        self.asleep.set(false);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake();
        }
    }

    /// Says whether transports send in `write()`.
    pub(crate) fn set_writes_at_once(&self, at_once: bool) {
        self.writes_at_once.set(at_once);
    }

    /// Runs `work` with the buffer that received bytes go to first.
    pub(crate) fn with_scratch<R>(&self, work: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut scratch = self.scratch.borrow_mut();
        if scratch.is_empty() {
            scratch.resize(LARGEST_READ, 0);
        }
        work(&mut scratch)
    }

    /// What has caused what is scheduled now.
    #[inline]
    fn woken_by(&self) -> WokenBy {
        self.current.get()
    }
}

/// Opens the reactor: two descriptors. Called by the constructor.
fn open(_: Python<'_>, this: This<'_, LoopCore>) -> Result<()> {
    static FIRST: Once = Once::new();
    if crate::settings::keeps_large_blocks() {
        FIRST.call_once(boucle_core::heap::keep_large_blocks);
    }
    let epoll = Epoll::new().map_err(|error| crate::errors::to_py_err(&error))?;
    drop(this.waker.replace(Some(epoll.waker())));
    drop(this.reactor.replace(Some(watch::Reactor::new(epoll))));
    Ok(())
}

/// Closes the reactor's descriptors and lets go of everything that was queued or watched.
fn release(_: Python<'_>, this: This<'_, LoopCore>) -> Result<()> {
    drop(this.waker.take());
    gc::drop_content(&this);
    Ok(())
}
