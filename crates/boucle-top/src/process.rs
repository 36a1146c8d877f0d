//! What the operating system tells of a process: whether it lives, is stopped, and since when it runs.

use std::time::Duration;

use boucle_core::process::Stat;

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
    Stat::of_process(pid).map(|stat| (condition(stat.state), stat.started))
}

fn condition(state: u8) -> Condition {
    match state {
        b'T' | b't' => Condition::Stopped,
        b'Z' | b'X' | b'x' => Condition::Ended,
        _ => Condition::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_is_no_dead_one() {
        assert_eq!([b'S', b'R', b'T', b'Z'].map(condition), {
            use Condition::{Alive, Ended, Stopped};
            [Alive, Alive, Stopped, Ended]
        });
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
