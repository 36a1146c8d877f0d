//! What programs add to the name of a task: `GET /report`, `user=7`.
//!
//! The text is a context variable's, so that tasks inherit it from those that make them; beside that it is kept here under
//! the task's number, where it can be read while C code holds the GIL.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::raw::guard::discard;
use crate::raw::{GilOnce, Owned, This};
use crate::task::{self, Task};

/// How many tasks' texts are kept: the latest.
const KEPT: usize = 1 << 14;

static TEXTS: Mutex<BTreeMap<u32, String>> = Mutex::new(BTreeMap::new());

static IN_USE: AtomicBool = AtomicBool::new(false);

static VARIABLE: GilOnce<Owned> = GilOnce::new();

fn texts() -> MutexGuard<'static, BTreeMap<u32, String>> {
    TEXTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the text of an actor. `variable` is the context variable that it came from.
pub(crate) fn set(py: Python<'_>, actor: u32, text: String, variable: Owned) {
    VARIABLE.set(py, variable);
    IN_USE.store(true, Ordering::Relaxed);
    let mut texts = texts();
    texts.insert(actor, text);
    if texts.len() > KEPT {
        texts.pop_first();
    }
}

/// The text of an actor; empty where it has none.
pub(super) fn of(actor: u32) -> String {
    texts().get(&actor).cloned().unwrap_or_default()
}

/// A task gets its number: it has the text of its context.
#[inline]
pub(crate) fn inherit(py: Python<'_>, number: u32, task: This<'_, Task>) {
    if IN_USE.load(Ordering::Relaxed) {
        look_up(py, number, task);
    }
}

#[cold]
fn look_up(py: Python<'_>, number: u32, task: This<'_, Task>) {
    let variable = VARIABLE.get(py);
    let text = task::context_object(py, task)
        .map_err(|raised| raised.take(py))
        .and_then(|context| context.any(py).call_method1("get", (variable.any(py),)))
        .and_then(|text| text.extract::<Option<String>>());
    match text {
        Ok(Some(text)) => set(py, number, text, variable.clone()),
        Ok(None) => {}
        Err(error) => discard(py, error),
    }
}
