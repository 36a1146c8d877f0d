//! What the native code uses of asyncio, and the names it compares with. Looked up once, when the module is imported.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::raw::{GilOnce, Owned};

/// Objects that the native code uses.
pub(crate) struct Imports {
    /// `asyncio.Handle`: what our handles say they are.
    pub(crate) handle: Owned,
    /// `asyncio.TimerHandle`.
    pub(crate) timer_handle: Owned,
    /// What handles of `call_soon_threadsafe` say they are: a class of its own from 3.14 on.
    pub(crate) shared_handle: Owned,
    /// `asyncio.BaseEventLoop`: wrong calls are handed on to it, so that it raises its own text.
    pub(crate) base_event_loop: Owned,
    /// `asyncio.format_helpers.extract_stack`: source tracebacks of debug mode.
    pub(crate) extract_stack: Owned,
    /// The string `context`.
    pub(crate) context: Owned,
}

static IMPORTS: GilOnce<Imports> = GilOnce::new();

/// Looks everything up.
pub(crate) fn initialise(py: Python<'_>) -> PyResult<()> {
    let asyncio = py.import("asyncio")?;
    let base_events = py.import("asyncio.base_events")?;
    let format_helpers = py.import("asyncio.format_helpers")?;
    let imports = Imports {
        handle: asyncio.getattr("Handle")?.into(),
        timer_handle: asyncio.getattr("TimerHandle")?.into(),
        shared_handle: py
            .import("asyncio.events")?
            .getattr("_ThreadSafeHandle")
            .or_else(|_| asyncio.getattr("Handle"))?
            .into(),
        base_event_loop: base_events.getattr("BaseEventLoop")?.into(),
        extract_stack: format_helpers.getattr("extract_stack")?.into(),
        context: PyString::intern(py, "context").into_any().into(),
    };
    IMPORTS.set(py, imports);
    Ok(())
}

/// The objects.
#[inline]
pub(crate) fn get(py: Python<'_>) -> &Imports {
    IMPORTS.get(py)
}

/// The stack of the Python code that called us, as asyncio keeps it in debug mode.
pub(crate) fn source_traceback(py: Python<'_>) -> PyResult<Owned> {
    Ok(get(py).extract_stack.any(py).call0()?.into())
}

/// Calls asyncio's own method on our object: `BaseEventLoop.name(loop, …)`.
pub(crate) fn base_method(py: Python<'_>, name: &str) -> PyResult<Owned> {
    Ok(get(py).base_event_loop.any(py).getattr(name)?.into())
}

/// Whether an exception ends the program rather than a callback.
pub(crate) fn ends_the_program(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<pyo3::exceptions::PyKeyboardInterrupt>(py)
        || error.is_instance_of::<pyo3::exceptions::PySystemExit>(py)
}

/// Truth of an attribute, for attributes of foreign objects.
pub(crate) fn is_cancelled(py: Python<'_>, handle: &Owned) -> PyResult<bool> {
    handle.any(py).getattr(intern!(py, "_cancelled"))?.is_truthy()
}
