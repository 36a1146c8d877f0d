//! What the operating system tells of a process: whether it lives, is stopped, and since when it runs.

use std::time::Duration;

use crate::source::Condition;

/// The units of a process's start time, of which `/proc` gives a hundred a second on every Linux.
const TICKS: f64 = 100.0;

/// A process, which is not mistaken for a later one of the same number.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in hundredths of a second since the system did.
    started: u64,
}

impl Process {
    /// The process with this number, if there is one.
    pub fn find(pid: u32) -> Option<Self> {
        let (condition, started) = look(pid)?;
        (condition != Condition::Ended).then_some(Self { pid, started })
    }

    /// How it is now.
    pub fn condition(&self) -> Condition {
        match look(self.pid) {
            Some((condition, started)) if started == self.started => condition,
            _ => Condition::Ended,
        }
    }

    /// How long it has been running.
    pub fn uptime(&self) -> Option<Duration> {
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let system: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        Duration::try_from_secs_f64(system - self.started as f64 / TICKS).ok()
    }
}

fn look(pid: u32) -> Option<(Condition, u64)> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The state and the start time in `/proc/PID/stat`: fields 3 and 22, behind a name that may hold anything.
fn parse(stat: &str) -> Option<(Condition, u64)> {
    let (_, behind) = stat.rsplit_once(')')?;
    let fields: Vec<_> = behind.split_whitespace().collect();
    let condition = match *fields.first()? {
        "T" | "t" => Condition::Stopped,
        "Z" | "X" | "x" => Condition::Ended,
        _ => Condition::Alive,
    };
    Some((condition, fields.get(19)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_parentheses_hides_nothing() {
        let numbers = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        for (state, condition) in [("S", Condition::Alive), ("T", Condition::Stopped), ("Z", Condition::Ended)] {
            assert_eq!(parse(&format!("42 (a) b (c) {state} {numbers}")), Some((condition, 4711)));
        }
        assert_eq!(parse("42 (cut off"), None);
    }

    #[test]
    fn this_process_is_alive_and_started_before_now() {
        let own = Process::find(std::process::id()).unwrap();
        assert_eq!(own.condition(), Condition::Alive);
        assert!(own.uptime().unwrap() < Duration::from_hours(24));
        assert_eq!(Process { started: own.started + 1, ..own }.condition(), Condition::Ended);
        assert!(Process::find(u32::MAX / 2).is_none());
    }
}
