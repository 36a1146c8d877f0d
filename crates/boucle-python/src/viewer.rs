//! Looking from one process into another: what this one says of itself, and what it sees of others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use boucle_core::recorder;
use boucle_core::recorder::viewer::{Blind, Viewer};
use pyo3::exceptions::{PyOSError, PyPermissionError, PyProcessLookupError, PyValueError};
use pyo3::prelude::*;

use crate::chronology::{Chronology, recorded_by};
use crate::raw::guard::discard;

/// The longest time that can be asked for: as good as all.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// Says once, when the first loop runs, what program this is: a viewer has no other way to know.
pub(crate) fn introduce(py: Python<'_>) {
    static IS_INTRODUCED: AtomicBool = AtomicBool::new(false);
    if !IS_INTRODUCED.swap(true, Ordering::Relaxed) {
        let program = running_program(py).unwrap_or_else(|nameless| {
            discard(py, nameless);
            String::new()
        });
        recorder::identify(&program, &recorded_by(py));
    }
}

fn running_program(py: Python<'_>) -> PyResult<String> {
    py.import("boucle._launch")?.call_method0("running_program")?.extract()
}

/// The last of what another process ran.
pub(crate) fn snapshot(py: Python<'_>, pid: u32, seconds: f64) -> PyResult<Chronology> {
    let last = match Duration::try_from_secs_f64(seconds) {
        Ok(last) => last.min(LONGEST),
        Err(error) => return Err(PyValueError::new_err(format!("cannot show the last {seconds} seconds: {error}"))),
    };
    let chronology = py.detach(|| Viewer::open(pid).map(|viewer| viewer.snapshot(last)));
    chronology.map(Chronology).map_err(|blind| {
        let words = blind.to_string();
        match blind {
            Blind::NoProcess(_) => PyProcessLookupError::new_err(words),
            Blind::NotPermitted(_) => PyPermissionError::new_err(words),
            Blind::Nothing(_) | Blind::OtherVersion { .. } | Blind::Refused { .. } => PyOSError::new_err(words),
        }
    })
}
