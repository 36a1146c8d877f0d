//! What the environment says, read when the module is imported.
//!
//! * `BOUCLE_TASKS=c` makes a loop's tasks and futures exactly `_asyncio`'s; `native`, the default, boucle's.
//! * `BOUCLE_RECORD=0` (or `off`) turns the recorder off; a number of MiB sets the size of each thread's ring.

use std::sync::atomic::{AtomicBool, Ordering};

use boucle_core::recorder::rings;
use pyo3::PyResult;
use pyo3::exceptions::PyValueError;

/// Bytes of a recorded step.
const STEP_SIZE: usize = 32;

/// The largest ring: 64 GiB.
const LARGEST_RING: usize = 1 << 16;

static RECORDING: AtomicBool = AtomicBool::new(true);

static NATIVE_TASKS: AtomicBool = AtomicBool::new(true);

/// Whether loops make tasks and futures of ours.
#[inline]
pub(crate) fn native_tasks() -> bool {
    NATIVE_TASKS.load(Ordering::Relaxed)
}

/// Whether steps are written down.
#[inline]
pub(crate) fn recording() -> bool {
    RECORDING.load(Ordering::Relaxed)
}

/// Reads the environment.
pub(crate) fn initialise() -> PyResult<()> {
    match std::env::var("BOUCLE_TASKS").as_deref().map(str::trim) {
        Err(_) | Ok("" | "native") => {}
        Ok("c") => NATIVE_TASKS.store(false, Ordering::Relaxed),
        Ok(value) => return Err(PyValueError::new_err(format!("BOUCLE_TASKS={value}: expected c or native"))),
    }
    let Ok(value) = std::env::var("BOUCLE_RECORD") else { return Ok(()) };
    match value.trim() {
        "" | "on" => {}
        "0" | "off" => RECORDING.store(false, Ordering::Relaxed),
        size => match size.parse::<usize>() {
            Ok(mebibytes @ 1..=LARGEST_RING) => rings::set_capacity(mebibytes * ((1 << 20) / STEP_SIZE)),
            _ => {
                return Err(PyValueError::new_err(format!(
                    "BOUCLE_RECORD={size}: expected 0 or off, on, or the size of a thread's ring in MiB (1 to {LARGEST_RING})"
                )));
            }
        },
    }
    Ok(())
}
