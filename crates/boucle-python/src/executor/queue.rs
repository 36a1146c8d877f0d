//! An item of work is put into an executor's queue, as `ThreadPoolExecutor.submit` does under two locks, without taking them.
//!
//! A lock that is free stays so as long as the GIL is not given up, and it is not: between the look at the locks and the last
//! change only functions of C run, and nothing is allocated that could have garbage collected. So this is what would
//! happen between taking a lock and giving it back.
//!
//! Where a thread is to be started, a lock is taken, the executor refuses or anything is unusual, nothing is done.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PySet;

use super::usual::is_bound;
use crate::raw::instance::Places;
use crate::raw::{Owned, Result, vector};
use crate::unchanged::{Namespace, Unchanged};

/// What is read of executors, and of the semaphore that counts their idle threads.
pub(super) struct Queues {
    executors: Places<7>,
    semaphore: Unchanged,
    /// `Semaphore.acquire`.
    acquires: Owned,
    condition: Unchanged,
    of_semaphore: Places<2>,
    of_condition: Places<1>,
    lock: Owned,
    queue: Owned,
    /// The names in the executor's module.
    names: Namespace,
}

/// Attributes of executors, in the order of the places below.
pub(super) const OF_AN_EXECUTOR: [&str; 7] =
    ["_shutdown_lock", "_broken", "_shutdown", "_work_queue", "_idle_semaphore", "_threads", "_max_workers"];

const OF_A_SEMAPHORE: [&str; 2] = ["_cond", "_value"];

const OF_A_CONDITION: [&str; 1] = ["_lock"];

const LOCK: usize = 0;
const BROKEN: usize = 1;
const SHUTDOWN: usize = 2;
const QUEUE: usize = 3;
const IDLE: usize = 4;
const THREADS: usize = 5;
const MOST_THREADS: usize = 6;

impl Queues {
    /// Looks everything up. `module` is the executor's.
    pub(super) fn look_up(py: Python<'_>, module: &Bound<'_, PyModule>) -> PyResult<Self> {
        let threading = py.import("threading")?;
        let semaphore = threading.getattr("Semaphore")?;
        let of_semaphores = ["acquire", "release", "__setattr__", "__getattribute__"];
        let of_conditions = ["__enter__", "__exit__", "wait", "__getattribute__"];
        Ok(Self {
            executors: Places::of(py, &module.getattr("ThreadPoolExecutor")?, OF_AN_EXECUTOR)?,
            semaphore: Unchanged::of(&threading, "Semaphore", of_semaphores)?.without(py, OF_A_SEMAPHORE),
            acquires: semaphore.getattr("acquire")?.into(),
            condition: Unchanged::of(&threading, "Condition", of_conditions)?.without(py, OF_A_CONDITION),
            of_semaphore: Places::of(py, &semaphore, OF_A_SEMAPHORE)?,
            of_condition: Places::of(py, &threading.getattr("Condition")?, OF_A_CONDITION)?,
            lock: py.import("_thread")?.getattr("LockType")?.into(),
            queue: py.import("_queue")?.getattr("SimpleQueue")?.into(),
            names: Namespace::of(module),
        })
    }

    /// Puts an item into the queue of an executor. Whether that was done.
    pub(super) fn put(&self, py: Python<'_>, executor: &Owned, item: &Owned) -> Result<bool> {
        let of = |place| self.executors.get(py, executor, place);
        let idle = of(IDLE)?;
        // Making a bound method may collect garbage, so that is first.
        if !self.semaphore.is_class_of(py, &idle)
            || !is_bound(&idle.any(py).getattr(intern!(py, "acquire"))?.into(), &self.acquires)
        {
            return Ok(false);
        }
        let queue = of(QUEUE)?;
        if queue.type_ptr().cast() != self.queue.as_ptr() {
            return Ok(false);
        }
        let condition = self.of_semaphore.get(py, &idle, 0)?;
        if !self.condition.is_class_of(py, &condition)
            || !self.is_free(py, &of(LOCK)?)?
            || !self.is_free(py, &self.of_condition.get(py, &condition, 0)?)?
        {
            return Ok(false);
        }
        let Some(exit_lock) = self.names.meaning(py, intern!(py, "_global_shutdown_lock").as_any().as_borrowed())?
        else {
            return Ok(false);
        };
        let accepts = self.is_free(py, &exit_lock.into())?
            && of(BROKEN)?.is_false()
            && of(SHUTDOWN)?.is_false()
            && self
                .names
                .meaning(py, intern!(py, "_shutdown").as_any().as_borrowed())?
                .is_some_and(|ends| Owned::from(ends).is_false());
        let idle_threads = self.of_semaphore.get(py, &idle, 1)?.small_int();
        let remaining = match idle_threads.filter(|_| accepts) {
            Some(0) if self.has_every_thread(py, executor)? => None,
            Some(1..) => idle_threads.map(|count| count - 1),
            _ => return Ok(false),
        };
        vector::method(py, &queue, intern!(py, "put"), &[item])?;
        if let Some(remaining) = remaining {
            idle.any(py).setattr(intern!(py, "_value"), remaining)?;
        }
        Ok(true)
    }

    /// Whether an executor has as many threads as it may have.
    fn has_every_thread(&self, py: Python<'_>, executor: &Owned) -> Result<bool> {
        let threads = self.executors.get(py, executor, THREADS)?;
        let most = self.executors.get(py, executor, MOST_THREADS)?.small_int();
        let count = threads.any(py).cast::<PySet>().map(|threads| threads.len() as i64);
        Ok(most.zip(count.ok()).is_some_and(|(most, count)| count >= most))
    }

    /// Whether an object is a lock that nobody has.
    fn is_free(&self, py: Python<'_>, lock: &Owned) -> Result<bool> {
        let is_lock = lock.type_ptr().cast() == self.lock.as_ptr();
        Ok(is_lock && vector::method(py, lock, intern!(py, "locked"), &[])?.is_false())
    }
}
