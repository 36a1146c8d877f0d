//! What the kernel says about a thread: whether it waits and in which call, and how long it waited for a processor.
//!
//! A thread of this process may be asked about without any right, by files under `/proc/self/task`.
//!
//! # Invariants
//!
//! * Nothing here stops the thread or needs the GIL, and memory is read by a system call, so that an address that is none
//!   is an error and not a crash.

use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use boucle_core::clock::Tick;
use boucle_core::process::Stat;
use boucle_core::watchdog::Account;

/// Reads the account of a thread. `None` where it has ended, or where the kernel keeps none.
pub(super) fn account(thread: u32) -> Option<Account> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let delayed = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Account { at: Tick::now(), delayed: Duration::from_nanos(delayed) })
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// It runs, or would if it had a processor.
    Runs,
    /// It waits in a system call.
    Waits(Call),
    /// It waits, and it is not known in what: for a page of memory, say.
    WaitsElsewhere,
}

/// A system call that has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Its number.
    pub(super) number: i64,
    /// What it was given.
    pub(super) arguments: [u64; 6],
}

impl Activity {
    /// What a thread does now. `None` where it has ended.
    pub(super) fn of(thread: u32) -> Option<Self> {
        match fs::read_to_string(format!("/proc/self/task/{thread}/syscall")) {
            Ok(text) => Self::parse(&text),
            Err(_) => Self::by_state(thread),
        }
    }

    /// `running`, or the number of the call, its six arguments, the stack and the instruction; a number of -1 and the last
    /// two alone outside of a call.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let number = words.next()?;
        if number == "running" {
            return Some(Self::Runs);
        }
        let number = number.parse().ok()?;
        if number < 0 {
            return Some(Self::WaitsElsewhere);
        }
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok()?;
        }
        Some(Self::Waits(Call { number, arguments }))
    }

    /// Where the file of the call is forbidden: by its state.
    fn by_state(thread: u32) -> Option<Self> {
        let stat = Stat::of_thread(thread)?;
        Some(if stat.state == b'R' { Self::Runs } else { Self::WaitsElsewhere })
    }
}

/// Reads our own memory at an address that another thread uses.
pub(super) fn memory<const N: usize>(address: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    fs::File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, address).ok()?;
    Some(bytes)
}

/// What a descriptor is of: the kernel's word for it, such as `pipe:[4711]` or a path.
pub(super) fn descriptor(fd: RawFd) -> Option<String> {
    Some(fs::read_link(format!("/proc/self/fd/{fd}")).ok()?.to_string_lossy().into_owned())
}

/// The descriptors that an epoll instance watches.
pub(super) fn watched_by(epoll: RawFd) -> Vec<RawFd> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).unwrap_or_default();
    let descriptor = |line: &str| line.strip_prefix("tfd:")?.split_ascii_whitespace().next()?.parse().ok();
    text.lines().filter_map(descriptor).collect()
}
