//! What `/proc` says of a process: when it started, and which descriptors it has.
//!
//! # Invariants
//!
//! * What another process chose (its name, the targets of its links) is bytes, and cannot mislead the reading of the rest.

use std::path::PathBuf;

/// When a process started, in the kernel's ticks since boot; none where there is no such process. With its number it names a
/// process for all time, while numbers are given out again.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let status = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name comes second, in parentheses, and may hold anything.
    let after_name = status.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = String::from_utf8_lossy(&status[after_name..]).into_owned();
    // Field 22, counted from 1; the one after the name is the third.
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// The number by which a process knows itself, where that is another than ours for it: in a container.
pub(crate) fn own_number(pid: u32) -> u32 {
    let status = std::fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.and_then(|numbers| numbers.split_ascii_whitespace().last()?.parse().ok()).unwrap_or(pid)
}

/// The paths of a process's descriptors that lead to files without a name called `name`.
pub(crate) fn nameless_files(pid: u32, name: &str) -> std::io::Result<Vec<PathBuf>> {
    let target = PathBuf::from(format!("/memfd:{name} (deleted)"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        match std::fs::read_link(&path) {
            Ok(link) if link == target => found.push(path),
            // Closed meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_started_and_knows_its_number() {
        let pid = std::process::id();
        assert!(start_time(pid).is_some_and(|ticks| ticks > 0));
        assert_eq!(own_number(pid), pid);
        assert_eq!(start_time(u32::MAX), None);
    }

    #[test]
    fn a_file_without_a_name_is_found_by_what_it_is_called() {
        let file = rustix::fs::memfd_create("boucle-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file).to_string();
        let found = nameless_files(std::process::id(), "boucle-test").unwrap();
        assert!(found.iter().any(|path| path.ends_with(&number)), "{found:?}");
        assert!(nameless_files(std::process::id(), "boucle-tes").unwrap().is_empty());
    }
}
