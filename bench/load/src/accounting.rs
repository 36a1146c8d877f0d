//! The CPU time of a process by the kernel's scheduler, and where a process runs.

use std::fs;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Nanoseconds of CPU that all threads of a process have used so far. A thread that has ended takes its time with it.
pub(crate) fn cpu_of(pid: u32) -> Result<u64, String> {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?;
    let mut total = 0;
    for thread in threads.flatten() {
        let path = thread.path().join("schedstat");
        // It may have ended since.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let first = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        total += first.ok_or_else(|| format!("{}: {text:?}", path.display()))?;
    }
    Ok(total)
}

/// Keeps this thread on one core.
pub(crate) fn stay_on(core: usize) -> Result<(), String> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).map_err(|error| format!("core {core}: {error}"))
}
