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
//! * [`job`]: the stand-in. [`usual`]: where this is done.
//!
//! # Invariants
//!
//! * An item is queued as `ThreadPoolExecutor.submit` queues it: under both locks, after the same questions. Where a lock is
//!   not free or an answer is another one, nothing has been done yet, and asyncio's own way is taken from the beginning.
//! * A job is changed under the GIL, between two pieces of Python code: it needs no lock of its own.
//!
//! Rejected: an item of our own, whose `run` is native. It saves 1,500 instructions more, and the frame of `run` would be
//! missing in tracebacks and in what profilers see.

mod job;
mod usual;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{ffi, intern};

use crate::future::{self, waiters::Waiter};
use crate::imports;
use crate::loop_core::{LoopCore, outbox};
use crate::raw::context::Context;
use crate::raw::guard::afterwards;
use crate::raw::{Args, Owned, Result, This, method, vector};
use job::Job;
pub(crate) use job::initialise;
use usual::{Known, Place};

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
    let Some(job) = submit(py, core, known, &executor, &function.to_owned(), &args)? else { return Ok(None) };
    let future = future::make(py, core)?;
    if let (Some(this), Some(stand_in)) = (future::native(&future), This::<Job>::exactly(&job)) {
        let cancels = known.check_cancel.make(py, [&core.to_owned(), &job, &Owned::none(py)])?;
        this.add_waiter(Waiter::Callback(cancels, Context::copy_current(py)?));
        job::chain(py, stand_in, future.clone())?;
    }
    Ok(Some(future))
}

/// Queues a call, as `executor.submit` does. Its job; nothing where that would wait or refuse.
fn submit(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    known: &Known,
    executor: &Owned,
    function: &Owned,
    args: &Owned,
) -> Result<Option<Owned>> {
    let Some(exit_lock) = known.of_module(py, intern!(py, "_global_shutdown_lock"))? else { return Ok(None) };
    holding(py, &known.of_executor(py, executor, Place::Lock)?, || {
        holding(py, &exit_lock, || {
            if !known.of_executor(py, executor, Place::Broken)?.is_false()
                || !known.of_executor(py, executor, Place::Shutdown)?.is_false()
                || !known.of_module(py, intern!(py, "_shutdown"))?.is_some_and(|ends| ends.is_false())
            {
                return Ok(None);
            }
            let job = job::make(py, core)?;
            let keywords: Owned = PyDict::new(py).into_any().into();
            let item = vector::call(py, known.item.class(), &[&job, function, args, &keywords])?;
            let queue = known.of_executor(py, executor, Place::Queue)?;
            vector::method(py, &queue, intern!(py, "put"), &[&item])?;
            drop(item);
            vector::method(py, executor, intern!(py, "_adjust_thread_count"), &[])?;
            Ok(Some(job))
        })
    })
}

/// Does work while it holds a lock; nothing where somebody else holds it.
fn holding<R>(py: Python<'_>, lock: &Owned, work: impl FnOnce() -> Result<Option<R>>) -> Result<Option<R>> {
    if !vector::method(py, lock, intern!(py, "acquire"), &[&Owned::falsehood(py)])?.is(&Owned::truth(py)) {
        return Ok(None);
    }
    let mut done = None;
    let result = work().map(|result| done = result);
    afterwards(py, result, || vector::method(py, lock, intern!(py, "release"), &[]).map(drop))?;
    Ok(done)
}

/// The methods of a loop.
pub(crate) fn methods() -> [ffi::PyMethodDef; 1] {
    [method!(LoopCore, "run_in_executor", args run_in_executor, "run_in_executor($self, executor, func, *args)\n--\n\nRun func(*args) in a thread of the executor, the default one for None. Returns a future of the result.")]
}
