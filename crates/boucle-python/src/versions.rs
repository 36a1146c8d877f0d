//! What asyncio of the running Python does, where its versions differ, as `boucle/_versions.py` has found out.

use pyo3::prelude::*;

use crate::raw::{GilOnce, Owned, Result, vector};

/// Told when the module is imported, or, where it has to be tried out, when somebody asks.
#[allow(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub(crate) struct Versions {
    pub(crate) writelines_pauses: bool,
    pub(crate) writelines_tries: bool,
    pub(crate) forgotten_detaches: bool,
    pub(crate) asks_below: bool,
    pub(crate) flushes_in_time: bool,
    attempts_for_no_backlog: Owned,
    closes_refused: Owned,
    counts_last_write: Owned,
}

static VERSIONS: GilOnce<Versions> = GilOnce::new();

/// Looks everything up.
pub(crate) fn initialise(py: Python<'_>) -> PyResult<()> {
    let found = py.import("boucle._versions")?;
    let versions = Versions {
        writelines_pauses: found.getattr("WRITELINES_PAUSES")?.extract()?,
        writelines_tries: found.getattr("WRITELINES_TRIES")?.extract()?,
        forgotten_detaches: found.getattr("FORGOTTEN_DETACHES")?.extract()?,
        asks_below: found.getattr("ASKS_BELOW")?.extract()?,
        flushes_in_time: found.getattr("FLUSHES_IN_TIME")?.extract()?,
        attempts_for_no_backlog: found.getattr("attempts_for_no_backlog")?.into(),
        closes_refused: found.getattr("closes_refused")?.into(),
        counts_last_write: found.getattr("counts_last_write")?.into(),
    };
    VERSIONS.set(py, versions);
    Ok(())
}

/// What was found.
#[inline]
pub(crate) fn get(py: Python<'_>) -> &Versions {
    VERSIONS.get(py)
}

impl Versions {
    /// How often a loop tries to accept in a turn where the backlog is 0.
    pub(crate) fn attempts_for_no_backlog(&self, py: Python<'_>) -> Result<i64> {
        Ok(vector::call(py, &self.attempts_for_no_backlog, &[])?.any(py).extract()?)
    }

    /// Whether a loop closes a connected socket of which it cannot make a transport.
    pub(crate) fn closes_refused(&self, py: Python<'_>) -> Result<bool> {
        Ok(!vector::call(py, &self.closes_refused, &[])?.is_false())
    }

    /// Whether a transport that closes has lost its connection once its last bytes are sent.
    pub(crate) fn counts_last_write(&self, py: Python<'_>) -> Result<bool> {
        Ok(!vector::call(py, &self.counts_last_write, &[])?.is_false())
    }
}
