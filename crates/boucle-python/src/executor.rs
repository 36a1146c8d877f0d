//! Work in the threads of an executor: `run_in_executor`, and with it `asyncio.to_thread` and names that are looked up.
//!
//! On asyncio a call passes through a `concurrent.futures.Future`, which the program never sees: locks, a condition and a
//! list of callbacks in Python, chained to the future that the program awaits. Here a native [`Job`](job::Job) stands in
//! its place. Everything else is what asyncio and the executor would use:
//!
//! ```text
//! executor._work_queue:  _WorkItem(future=job, function, args)      the executor's own class, in its own queue
//!   its thread:          item.run()  ->  job.set_result(…)          the executor's own code
//!   job:                 loop.call_soon_threadsafe(_set_state, future, job)
//!   the loop:            _set_state(future, job)                    asyncio's own code
//!   future, when done:   _call_check_cancel(future)  ->  job.cancel()
//! ```
//!
//! So threads, tracebacks, the turn in which a future is done and what the chronology shows of it are the same. The two
//! callbacks are functions of asyncio's code, made without the function around them (`raw/nested.rs`).
//!
//! * [`job`]: the stand-in. [`queue`]: how an item gets to a thread. [`usual`]: where this is done.
//! * [`resolving`]: names are looked up by a function of ours.
//!
//! # Invariants
//!
//! * Until an item is in the queue nothing has been done that anybody could notice, and asyncio's own way can be taken from
//!   the beginning: where a thread is to be started, where the executor refuses, where anything is unusual.
//! * Once it is there, the future gets its callback before another thread can run: nothing can fail or collect garbage
//!   between. Where the executor refuses it has none, for that would be a cycle.
//! * A job is changed under the GIL, between two pieces of Python code: it needs no lock of its own.
//!
//! Rejected: an item of our own, whose `run` is native. It saves 1,500 instructions more, and the frame of `run` would be
//! missing in tracebacks and in what profilers see.

mod job;
mod queue;
pub(crate) mod resolving;
mod usual;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::future::{self, waiters::Waiter};
use crate::imports;
use crate::loop_core::{LoopCore, outbox};
use crate::raw::context::Context;
use crate::raw::{Args, Owned, Result, This, method, vector};
pub(crate) use job::{initialise, result_to_copy};

fn run_in_executor(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    // The step may go on to wait for that thread.
    outbox::send_unsent(py, core)?;
    match natively(py, core, args)? {
        Some(future) => Ok(future),
        None => args.forward(&imports::base_method(py, "run_in_executor")?, &core.to_owned()),
    }
}

/// The future of a call; nothing where asyncio's own way is to be taken.
fn natively(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Option<Owned>> {
    let (Some(executor), Some((function, rest)), None) = (args.get(0), args.split(1), args.keywords().next()) else {
        return Ok(None);
    };
    let executor = if executor.is_none() { core.default_executor() } else { Some(executor.to_owned()) };
    let Some((executor, known)) = executor.zip(usual::known(py, core)) else { return Ok(None) };
    if !known.submits_as_written(py, &executor)? {
        return Ok(None);
    }
    let args: Owned = PyTuple::new(py, rest.map(|arg| arg.any(py)))?.into_any().into();
    let keywords: Owned = PyDict::new(py).into_any().into();
    let future = future::make(py, core)?;
    let job = job::make(py, core, future.clone())?;
    let function = resolving::instead_of(py, function.to_owned());
    let item = vector::call(py, known.item.class(), &[&job, &function, &args, &keywords])?;
    let cancels = known.check_cancel.make(py, [&core.to_owned(), &job, &Owned::none(py)])?;
    let cancels = Waiter::Callback(cancels, Context::copy_current(py)?);
    if !known.queues.put(py, &executor, &item)? {
        return Ok(None);
    }
    if let Some(this) = future::native(&future) {
        this.add_waiter(cancels);
    }
    Ok(Some(future))
}

/// The methods of a loop.
pub(crate) fn methods() -> [ffi::PyMethodDef; 1] {
    [
        method!(LoopCore, "run_in_executor", args run_in_executor, "run_in_executor($self, executor, func, *args)\n--\n\nRun func(*args) in a thread of the executor, the default one for None. Returns a future of the result."),
    ]
}
