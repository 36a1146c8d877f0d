//! What the environment says, read when the module is imported.
//!
//! * `BOUCLE_TASKS=c` makes a loop's tasks and futures exactly `_asyncio`'s; `native`, the default, boucle's.
//! * `BOUCLE_WRITES=immediate` makes transports send in `write()`; `deferred`, the default, when the step returns.
//! * `BOUCLE_WATCH=50ms` (or `0.05s`, `0.05`) reports steps that are longer.
//! * `BOUCLE_SPIN_US=50` lets a loop poll for up to 50 µs before each sleep; `0` (or `off`), the default, does not.
//! * `BOUCLE_MALLOC=0` (or `off`) leaves the heap as it is; `on`, the default, lets it keep what large blocks leave.
//! * `BOUCLE_RECORD=0` (or `off`) turns the recorder off; a number of MiB sets the size of each thread's ring.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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

static WRITES_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// Whether transports of new loops send in `write()`.
pub(crate) fn writes_at_once() -> bool {
    WRITES_AT_ONCE.load(Ordering::Relaxed)
}

/// Whether a mode of writing is the immediate one. Raises `ValueError` for a word that is no mode.
pub(crate) fn is_immediate(origin: &str, mode: &str) -> PyResult<bool> {
    match mode {
        "immediate" => Ok(true),
        "deferred" => Ok(false),
        other => Err(PyValueError::new_err(format!("{origin}{other}: expected immediate or deferred"))),
    }
}

/// The longest spin in microseconds: a second.
const LONGEST_SPIN: u64 = 1_000_000;

static SPIN: OnceLock<Duration> = OnceLock::new();

/// For how long loops poll before they sleep; nothing where nobody asked for it.
#[inline]
pub(crate) fn spin() -> Option<Duration> {
    SPIN.get().copied()
}

static KEEPS_LARGE_BLOCKS: AtomicBool = AtomicBool::new(true);

/// Whether the heap is to keep what large blocks leave.
pub(crate) fn keeps_large_blocks() -> bool {
    KEEPS_LARGE_BLOCKS.load(Ordering::Relaxed)
}

static WATCH: OnceLock<f64> = OnceLock::new();

/// From which time in seconds on a step is reported; nothing where nobody asked for it.
pub(crate) fn watch_threshold() -> Option<f64> {
    WATCH.get().copied()
}

/// A time as people write it, in seconds: `50ms`, `0.05s`, `0.05`.
fn seconds(text: &str) -> Option<f64> {
    let units = [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("s", 1.0), ("", 1.0)];
    let (number, scale) = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    let seconds = number.trim().parse::<f64>().ok()? * scale;
    (0.001..1e6).contains(&seconds).then_some(seconds)
}

/// Whether steps are written down.
#[inline]
pub(crate) fn recording() -> bool {
    RECORDING.load(Ordering::Relaxed)
}

/// Reads the environment.
pub(crate) fn initialise() -> PyResult<()> {
    if let Ok(mode) = std::env::var("BOUCLE_WRITES")
        && !mode.trim().is_empty()
    {
        WRITES_AT_ONCE.store(is_immediate("BOUCLE_WRITES=", mode.trim())?, Ordering::Relaxed);
    }
    match std::env::var("BOUCLE_TASKS").as_deref().map(str::trim) {
        Err(_) | Ok("" | "native") => {}
        Ok("c") => NATIVE_TASKS.store(false, Ordering::Relaxed),
        Ok(value) => return Err(PyValueError::new_err(format!("BOUCLE_TASKS={value}: expected c or native"))),
    }
    match std::env::var("BOUCLE_MALLOC").as_deref().map(str::trim) {
        Err(_) | Ok("" | "on") => {}
        Ok("0" | "off") => KEEPS_LARGE_BLOCKS.store(false, Ordering::Relaxed),
        Ok(value) => return Err(PyValueError::new_err(format!("BOUCLE_MALLOC={value}: expected 0 or off, or on"))),
    }
    read_spin()?;
    read_recorder()?;
    read_watch()
}

fn read_spin() -> PyResult<()> {
    let Ok(value) = std::env::var("BOUCLE_SPIN_US") else { return Ok(()) };
    match value.trim() {
        "" | "0" | "off" => {}
        number => match number.parse::<u64>() {
            Ok(microseconds @ 1..=LONGEST_SPIN) => {
                SPIN.set(Duration::from_micros(microseconds)).ok();
            }
            _ => {
                return Err(PyValueError::new_err(format!(
                    "BOUCLE_SPIN_US={number}: expected 0 or off, or microseconds (1 to {LONGEST_SPIN})"
                )));
            }
        },
    }
    Ok(())
}

fn read_watch() -> PyResult<()> {
    let Ok(value) = std::env::var("BOUCLE_WATCH") else { return Ok(()) };
    let value = value.trim();
    if matches!(value, "" | "0" | "off") {
        return Ok(());
    }
    let threshold = seconds(value).ok_or_else(|| {
        PyValueError::new_err(format!("BOUCLE_WATCH={value}: expected a time such as 50ms or 0.05s, at least 1ms"))
    })?;
    if !recording() {
        return Err(PyValueError::new_err("BOUCLE_WATCH needs the recorder, which BOUCLE_RECORD=0 turns off"));
    }
    WATCH.set(threshold).ok();
    Ok(())
}

fn read_recorder() -> PyResult<()> {
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
