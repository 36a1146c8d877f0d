//! The memory of the recorder: words that any thread may read at any time, never given back.

use std::sync::atomic::AtomicU64;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use super::words::Own;

/// Zeroed words, whose pages are taken from the system as they are written; none where the process may have no more.
pub(crate) fn words(count: usize) -> Option<Own> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses where, so nothing that is in use is replaced.
    let address =
        unsafe { mmap_anonymous(std::ptr::null_mut(), count * size_of::<u64>(), protection, MapFlags::PRIVATE) };
    let address = address.ok()?.cast::<AtomicU64>();
    // SAFETY: so many words were mapped, aligned to a page, zeroed, which is valid for an atomic integer, and are never unmapped.
    Some(unsafe { std::slice::from_raw_parts(address, count) })
}
