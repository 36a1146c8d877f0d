//! A process that inherits the loop by a fork.
//!
//! The child shares the kernel's epoll instance and eventfd with the parent: what it removed there it would remove from the
//! parent, and what is reported would go to either. So the child's loop gets new ones of its own, which know nothing, and
//! the loop refuses to run. Everything that it held can still be closed and dropped.

use pyo3::Python;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;

use super::LoopCore;
use crate::errors::to_py_err;
use crate::raw::{Raised, Result, This, method};

/// What using the loop raises.
#[cold]
pub(super) fn refusal(core: &LoopCore) -> Raised {
    let (parent, child) = (core.owner_pid.get(), std::process::id());
    PyRuntimeError::new_err(format!(
        "this event loop belongs to process {parent}, and this is process {child}, which has inherited it by a fork: make \
         a new loop here (asyncio.run() and boucle.new_event_loop() do), or start processes by 'spawn' or 'forkserver'"
    ))
    .into()
}

/// Raises that in a process that has inherited the loop, also where Python was not told of the fork.
pub(super) fn check_process(core: This<'_, LoopCore>) -> Result<()> {
    if core.owner_pid.get() != std::process::id() && !core.inherited.get() {
        leave(core)?;
    }
    if core.inherited.get() { Err(refusal(&core)) } else { Ok(()) }
}

fn leave(core: This<'_, LoopCore>) -> Result<()> {
    core.inherited.set(true);
    // No thread of this process runs it: the one that has forked may close it.
    core.thread.set(0);
    core.asleep.set(false);
    let renewed = core.reactor.borrow_mut().as_mut().map(|reactor| reactor.epoll.renew());
    match renewed {
        Some(Ok(waker)) => drop(core.waker.replace(Some(waker))),
        Some(Err(error)) => {
            // Nothing may reach the shared instance any more. What it held is never dropped: that may run Python.
            drop(core.waker.take());
            std::mem::forget(core.reactor.take());
            return Err(to_py_err(&error).into());
        }
        None => {}
    }
    Ok(())
}

/// Called in the child, after a fork.
fn leave_to_parent(_: Python<'_>, core: This<'_, LoopCore>) -> Result<()> {
    leave(core)
}

pub(super) fn methods() -> [ffi::PyMethodDef; 1] {
    [method!(
        LoopCore,
        "_leave_to_parent",
        leave_to_parent,
        "In a child: leaves what the kernel watches to the parent."
    )]
}
