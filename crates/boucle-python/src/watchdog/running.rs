//! The loops that run now, for those who look from another thread.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boucle_core::recorder::rings::{self, ThreadRing};
use boucle_core::watchdog::Identity;
use pyo3::prelude::*;

use crate::raw::{GilCell, Owned};
use crate::stacks::Subject;

/// A loop that runs.
#[derive(Debug)]
pub(super) struct RunningLoop {
    /// Where it writes its steps.
    pub(super) ring: Arc<ThreadRing>,
    /// The number of that ring.
    pub(super) number: u32,
    /// The kernel's number of its thread.
    pub(super) thread: u32,
    /// The thread, for who reads its frames.
    pub(super) subject: Subject,
    /// The address of what it has to run, for who copies memory.
    pub(super) turn: usize,
}

static RUNNING: Mutex<Vec<Arc<RunningLoop>>> = Mutex::new(Vec::new());

/// The loops as objects, for who has the GIL.
static LOOPS: GilCell<Vec<(u32, Owned)>> = GilCell::new(Vec::new());

/// The address of the code object that runs a loop: its frame, and those further out, are none of the step's.
static ROOT: AtomicUsize = AtomicUsize::new(0);

fn running() -> MutexGuard<'static, Vec<Arc<RunningLoop>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every loop that runs.
pub(super) fn all() -> Vec<Arc<RunningLoop>> {
    running().clone()
}

/// Whether any loop is awake: a step may run, or begin at any moment.
pub(super) fn any_is_awake() -> bool {
    running().iter().any(|one| one.ring.live.is_awake())
}

/// A loop begins to run in this thread.
pub(super) fn enter(py: Python<'_>, ring: &Arc<ThreadRing>, object: Owned, turn: usize) {
    let thread = boucle_core::clock::this_thread();
    let number = rings::all().iter().position(|one| Arc::ptr_eq(one, ring)).unwrap_or_default() as u32;
    let entry = RunningLoop { ring: Arc::clone(ring), number, thread, subject: Subject::current(py), turn };
    running().push(Arc::new(entry));
    LOOPS.borrow(py).push((number, object));
    ring.live.enter(thread);
}

/// It runs no longer.
pub(super) fn leave(py: Python<'_>, ring: &Arc<ThreadRing>) {
    ring.live.leave();
    let mut running = running();
    let Some(index) = running.iter().rposition(|one| Arc::ptr_eq(&one.ring, ring)) else { return };
    let number = running.remove(index).number;
    drop(running);
    let mut loops = LOOPS.borrow(py);
    let object = loops.iter().rposition(|(of, _)| *of == number).map(|index| loops.remove(index));
    drop(loops);
    drop(object);
}

/// After a fork, in the child: no loop runs here but one that begins later.
pub(super) fn forget(py: Python<'_>) {
    for one in std::mem::take(&mut *running()) {
        one.ring.live.leave();
    }
    let loops = std::mem::take(&mut *LOOPS.borrow(py));
    drop(loops);
}

/// The loop that writes to a ring, as an object.
pub(super) fn object(py: Python<'_>, number: u32) -> Option<Owned> {
    LOOPS.borrow(py).iter().find(|(of, _)| *of == number).map(|(_, object)| object.clone())
}

/// Whether this step still runs.
pub(super) fn runs(number: u32, identity: Identity) -> bool {
    all().iter().any(|one| one.number == number && Identity::of(&one.ring) == Some(identity))
}

/// Says which code object's frame runs the loops. It must live for ever.
pub(super) fn set_root(code: usize) {
    ROOT.store(code, Ordering::Relaxed);
}

/// The address of that code object.
pub(super) fn root() -> usize {
    ROOT.load(Ordering::Relaxed)
}
