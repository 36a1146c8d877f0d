//! What `/proc` says of a process: how it is, when it started, and which descriptors it has.
//!
//! # Invariants
//!
//! * What another process chose (its name, the targets of its links) is bytes, and cannot mislead the reading of the rest.

use std::path::PathBuf;

/// What the kernel says of a process or a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The letter of its state, as `ps` shows it.
    pub state: u8,
    /// When it started, in the kernel's ticks since boot. With its number it names a process for all time, while numbers are
    /// given out again.
    pub started: u64,
}

impl Stat {
    /// That of a process; none where there is no such process.
    pub fn of_process(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// That of a thread of this process; none where it has ended.
    pub fn of_thread(thread: u32) -> Option<Self> {
        Self::parse(&std::fs::read(format!("/proc/self/task/{thread}/stat")).ok()?)
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The name comes second, in parentheses, and may hold anything.
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let rest = String::from_utf8_lossy(&stat[after_name..]).into_owned();
        let mut fields = rest.split_ascii_whitespace();
        // Field 22, counted from 1; the one after the name is the third.
        Some(Self { state: *fields.next()?.as_bytes().first()?, started: fields.nth(22 - 4)?.parse().ok()? })
    }
}

/// When a process started; none where there is no such process.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    Stat::of_process(pid).map(|stat| stat.started)
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
    fn a_name_hides_nothing_whatever_it_holds() {
        let numbers = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        for name in [&b"a"[..], b"a) b (c", b"caf\xc3", b""] {
            let stat = [b"42 (", name, b") T ", numbers.as_bytes()].concat();
            assert_eq!(Stat::parse(&stat), Some(Stat { state: b'T', started: 4711 }));
        }
        assert_eq!(Stat::parse(b"42 (cut off"), None);
        assert_eq!(Stat::parse(b"42 (cut off) S 1 2"), None);
    }

    #[test]
    fn a_thread_has_a_state_too() {
        assert_eq!(Stat::of_thread(std::process::id()).map(|stat| stat.started), start_time(std::process::id()));
        assert_eq!(Stat::of_thread(u32::MAX), None);
    }

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
