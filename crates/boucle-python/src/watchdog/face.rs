//! What `boucle._watching` calls.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{annotations, reporter, running};
use crate::loop_core::LoopCore;
use crate::raw::{Owned, This};
use crate::settings;
use crate::task;

/// The shortest threshold: looking costs about a tenth of it.
const SHORTEST: Duration = Duration::from_millis(1);

/// Begins to watch: steps longer than the threshold, in seconds, are looked at, and with `reports` told of. Returns a number.
#[pyfunction]
pub(crate) fn _watch(py: Python<'_>, threshold: f64, reports: bool) -> PyResult<u64> {
    if !settings::recording() {
        return Err(PyValueError::new_err(
            "the watchdog needs the recorder, and BOUCLE_RECORD=0 was set when boucle was imported: unset it to watch",
        ));
    }
    let threshold = Duration::try_from_secs_f64(threshold).ok().filter(|threshold| *threshold >= SHORTEST);
    let threshold = threshold.ok_or_else(|| PyValueError::new_err("the threshold must be at least 0.001 seconds"))?;
    Ok(super::start(py, threshold, reports))
}

/// Ends a watch; nothing if it has ended.
#[pyfunction]
pub(crate) fn _unwatch(py: Python<'_>, number: u64) {
    super::stop(py, number);
}

/// Ends the watchdog's threads, before a fork or at the end of the program.
#[pyfunction]
pub(crate) fn _suspend_watchdog(py: Python<'_>) {
    super::suspend(py);
}

/// Lets them start again with a later step, after a fork.
#[pyfunction]
pub(crate) fn _resume_watchdog(py: Python<'_>, in_child: bool) {
    if in_child { super::resume_in_child(py) } else { super::resume() }
}

/// Says what to do with reports, and which code object runs the loops.
#[pyfunction]
pub(crate) fn _set_watchdog_face(py: Python<'_>, face: Bound<'_, PyAny>, root: Bound<'_, PyAny>) {
    running::set_root(root.as_ptr() as usize);
    reporter::set_face(py, face.into(), root.into());
}

/// The context of a task of boucle's own class; None for anything else. Its own method exists from 3.12 on.
#[pyfunction]
pub(crate) fn _context_of(py: Python<'_>, task: Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
    let task: Owned = task.into();
    let Some(task) = task::of(&task) else { return Ok(None) };
    let context = task::context_object(py, task).map_err(|raised| raised.take(py))?;
    Ok(Some(context.any(py).to_owned().unbind()))
}

/// Names whoever runs in a loop by a text, which the variable has in its context. Nothing outside of a step.
#[pyfunction]
pub(crate) fn _annotate(py: Python<'_>, owner: Bound<'_, PyAny>, text: String, variable: Bound<'_, PyAny>) {
    let owner: Owned = owner.into();
    if let Some(actor) = This::<LoopCore>::of(&owner).and_then(|core| core.running_actor()) {
        annotations::set(py, actor, text, variable.into());
    }
}
