//! A thread that waits until another one has run a callback.
//!
//! It happens rarely, so there is one meeting point for all: who waits says so at the handle and sleeps until the next
//! announcement, then looks again. The wait is bounded, so that a signal is noticed.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a thread sleeps before it looks after signals.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

static ROUND: Mutex<u64> = Mutex::new(0);
static ANNOUNCED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, u64> {
    ROUND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of announcements so far. Taken before the thread says that it waits: what is announced after is not missed.
pub(crate) fn round() -> u64 {
    *lock()
}

/// Says that a callback has run.
#[cold]
pub(crate) fn announce() {
    *lock() += 1;
    ANNOUNCED.notify_all();
}

/// Waits for an announcement after `round`, for a while.
pub(crate) fn wait(round: u64) {
    let waited = ANNOUNCED.wait_timeout_while(lock(), LONGEST_WAIT, |now| *now == round);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}
