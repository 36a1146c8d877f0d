//! Where a call reaches its thread with a native job: asyncio's code and the executor's are as they were written.
//!
//! Tools that carry something into threads replace `ThreadPoolExecutor.submit`, in the class or in an instance, and see each
//! call then, for asyncio's own way is taken. So it is in debug mode, for other executors and for classes that derive from it,
//! and where anything that a native job does without is not what its module says.

use pyo3::intern;
use pyo3::prelude::*;

use super::queue::{self, Queues};
use crate::future::soon;
use crate::loop_core::{LoopCore, tasks};
use crate::raw::call::{bound_method, builtin_address, class_version};
use crate::raw::guard::discard;
use crate::raw::instance::Function;
use crate::raw::nested::Nested;
use crate::raw::{GilOnce, Owned, Result, This};
use crate::settings;
use crate::unchanged::{Names, Unchanged};

/// What is looked up, and how it was then.
pub(super) struct Known {
    executor: Unchanged,
    submit: Owned,
    adjusts: Owned,
    /// `_WorkItem`.
    pub(super) item: Unchanged,
    future: Unchanged,
    loops: Unchanged,
    check_default_executor: Owned,
    names: [Names; 4],
    pub(super) queues: Queues,
    /// What the future of a call does when it is done.
    pub(super) check_cancel: Nested<3>,
    /// What a job has called in the loop.
    pub(super) set_state: Function,
    /// What that calls.
    copying: Names,
    pub(super) logger: Owned,
    pub(super) invalid_state: Owned,
}

/// Nothing where asyncio or the executor's module is not as it is known to be.
static KNOWN: GilOnce<Option<Known>> = GilOnce::new();

/// What was looked up; nothing before a call could use it.
#[inline]
pub(super) fn looked_up(py: Python<'_>) -> Option<&Known> {
    KNOWN.get_static(py)?.as_ref()
}

/// Looks everything up, once the executor's module is there: asyncio does not import it before it needs it.
#[cold]
fn look_everything_up(py: Python<'_>) -> PyResult<()> {
    let modules = py.import("sys")?.getattr("modules")?;
    if modules.contains("concurrent.futures.thread")? {
        KNOWN.set(py, if cfg!(Py_3_14) { None } else { look_up(py)? });
        if let Some(known) = looked_up(py) {
            soon::sets_state(known.set_state.object());
        }
    }
    Ok(())
}

fn look_up(py: Python<'_>) -> PyResult<Option<Known>> {
    let threads = py.import("concurrent.futures.thread")?;
    let base = py.import("concurrent.futures._base")?;
    let futures = py.import("asyncio.futures")?;
    let events = py.import("asyncio.base_events")?;
    let class = threads.getattr("ThreadPoolExecutor")?;
    let chaining = Function::of(futures.getattr("_chain_future")?.into());
    let Some(chaining) = chaining else { return Ok(None) };
    let namespace = futures.dict().into_any();
    let check_cancel = Nested::of(&chaining, &namespace, "_call_check_cancel", ["dest_loop", "source", "source_loop"])?;
    let set_state = Nested::of(&chaining, &namespace, "_set_state", [])?;
    let (Some(check_cancel), Some(set_state)) = (check_cancel, set_state) else { return Ok(None) };
    let of_futures = ["asyncio.futures", "asyncio.base_futures"];
    let names = [
        Names::of(&events, &[], ["futures"])?,
        Names::of(&futures, &of_futures, ["wrap_future", "_chain_future", "_get_loop"])?,
        Names::of(&threads, &["concurrent.futures.thread"], ["_WorkItem", "_base"])?,
        Names::of(&base, &["concurrent.futures._base"], ["Future"])?,
    ];
    let set_state = Function::of(set_state.make(py, []).map_err(|raised| raised.take(py))?);
    let Some(set_state) = set_state else { return Ok(None) };
    Ok(Some(Known {
        executor: Unchanged::of(
            &threads,
            "ThreadPoolExecutor",
            ["submit", "_adjust_thread_count", "__getattribute__"],
        )?
        .without(py, queue::OF_AN_EXECUTOR),
        submit: class.getattr("submit")?.into(),
        adjusts: class.getattr("_adjust_thread_count")?.into(),
        item: Unchanged::of(&threads, "_WorkItem", ["__init__", "run"])?,
        future: Unchanged::of(&base, "Future", OF_A_FUTURE)?,
        loops: Unchanged::of(&events, "BaseEventLoop", ["run_in_executor", "_check_default_executor"])?,
        check_default_executor: events.getattr("BaseEventLoop")?.getattr("_check_default_executor")?.into(),
        names,
        copying: Names::of(&futures, &of_futures, ["isfuture", "_copy_future_state"])?,
        queues: Queues::look_up(py, &threads)?,
        check_cancel,
        set_state,
        logger: base.getattr("LOGGER")?.into(),
        invalid_state: base.getattr("InvalidStateError")?.into(),
    }))
}

/// Methods of `concurrent.futures.Future` that are done natively.
const OF_A_FUTURE: [&str; 14] = [
    "_Future__get_result",
    "__init__",
    "__repr__",
    "_invoke_callbacks",
    "add_done_callback",
    "cancel",
    "cancelled",
    "done",
    "exception",
    "result",
    "running",
    "set_exception",
    "set_result",
    "set_running_or_notify_cancel",
];

/// What a call on this loop uses; nothing where asyncio's own way is to be taken.
#[inline]
pub(super) fn known<'py>(py: Python<'py>, core: This<'_, LoopCore>) -> Option<&'py Known> {
    if KNOWN.get_static(py).is_none() {
        look_everything_up(py).map_err(|error| discard(py, error)).ok()?;
    }
    let known = looked_up(py)?;
    let version = class_version(core);
    let is_usual = !core.debug()
        && settings::native_tasks()
        && core.is_open()
        && tasks::makes_futures(py, core)
        && ((version != 0 && core.executes().get() == version) || look(py, core, known))
        && known.loops.holds(py)
        && known.item.holds(py)
        && known.future.holds(py)
        && known.names.iter().all(|names| names.hold(py));
    is_usual.then_some(known)
}

/// Whether the questions that asyncio asks the loop first are answered as ever; notes for which version of the class they are.
#[cold]
fn look(py: Python<'_>, core: This<'_, LoopCore>, known: &Known) -> bool {
    let method = |name| core.to_owned().any(py).getattr(name).map_err(|error| discard(py, error)).map(Owned::from);
    let is_usual = method(intern!(py, "_check_closed")).is_ok_and(|ours| builtin_address(&ours).is_some())
        && method(intern!(py, "_check_default_executor"))
            .is_ok_and(|asyncios| is_bound(&asyncios, &known.check_default_executor));
    core.executes().set(if is_usual { class_version(core) } else { 0 });
    is_usual
}

/// Whether a bound method is that of a function.
pub(super) fn is_bound(method: &Owned, function: &Owned) -> bool {
    bound_method(method).is_some_and(|(bound, _)| bound.as_ptr() == function.as_ptr())
}

impl Known {
    /// Whether what a job has called in the loop is as it was written.
    pub(super) fn copies_as_written(&self, py: Python<'_>) -> bool {
        self.set_state.is_unchanged() && self.copying.hold(py)
    }

    /// Whether an executor's methods are those of `ThreadPoolExecutor`, as that was written.
    pub(super) fn submits_as_written(&self, py: Python<'_>, executor: &Owned) -> Result<bool> {
        if !self.executor.is_class_of(py, executor) {
            return Ok(false);
        }
        let own = [(intern!(py, "submit"), &self.submit), (intern!(py, "_adjust_thread_count"), &self.adjusts)];
        for (name, function) in own {
            if !is_bound(&executor.any(py).getattr(name)?.into(), function) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
