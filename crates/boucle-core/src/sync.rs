//! The synchronisation primitives of the core: the standard library's, or loom's when loom explores interleavings.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering, fence},
};

/// Locks, also after a panic elsewhere: what the core keeps under a lock is a plain queue, valid between any two
/// operations.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(loom)]
    return mutex.lock().expect("loom runs no panicking lock holders");
    #[cfg(not(loom))]
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
