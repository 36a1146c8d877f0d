//! Which system call means what: the cause of a wait, and what is waited for.

use std::os::fd::RawFd;

use boucle_chronology::Cause;
use boucle_core::socket;

use super::kernel::{self, Call};

/// What a call waits for, and its detail where that is known.
pub(super) fn cause(call: Call) -> (Cause, String) {
    let of_descriptor = || descriptor(call.arguments[0] as RawFd);
    match call.number {
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep => (Cause::Sleep, String::new()),
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_pread64
        | libc::SYS_preadv
        | libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_pwrite64
        | libc::SYS_pwritev
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_recvmmsg
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_sendmmsg
        | libc::SYS_sendfile
        | libc::SYS_splice
        | libc::SYS_ioctl => of_descriptor(),
        libc::SYS_connect => (Cause::Socket, address(call.arguments[1]).unwrap_or_default()),
        libc::SYS_accept | libc::SYS_accept4 => (Cause::Socket, "a new connection".to_owned()),
        libc::SYS_ppoll => polled(call),
        libc::SYS_pselect6 => selected(call),
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => epoll(call),
        libc::SYS_futex | libc::SYS_flock => (Cause::Lock, String::new()),
        libc::SYS_wait4 | libc::SYS_waitid => (Cause::Child, String::new()),
        libc::SYS_openat
        | libc::SYS_fsync
        | libc::SYS_fdatasync
        | libc::SYS_sync
        | libc::SYS_syncfs
        | libc::SYS_msync
        | libc::SYS_ftruncate
        | libc::SYS_fallocate
        | libc::SYS_getdents64
        | libc::SYS_statx
        | libc::SYS_newfstatat
        | libc::SYS_unlinkat
        | libc::SYS_mkdirat
        | libc::SYS_renameat2
        | libc::SYS_copy_file_range => (Cause::File, String::new()),
        _ => older(call),
    }
}

/// Calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
fn older(call: Call) -> (Cause, String) {
    match call.number {
        libc::SYS_poll => polled(call),
        libc::SYS_select => selected(call),
        libc::SYS_epoll_wait => epoll(call),
        libc::SYS_open | libc::SYS_stat | libc::SYS_lstat | libc::SYS_unlink | libc::SYS_rename | libc::SYS_mkdir => {
            (Cause::File, String::new())
        }
        number => (Cause::SystemCall, name(number)),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn older(call: Call) -> (Cause, String) {
    (Cause::SystemCall, name(call.number))
}

/// A descriptor: a socket with its peer, or a file.
fn descriptor(fd: RawFd) -> (Cause, String) {
    if socket::is_socket(fd) {
        return (Cause::Socket, socket::peer(fd).unwrap_or_default());
    }
    // The kind alone: which file a program opens is the program's own affair.
    let kind = kernel::descriptor(fd).map_or("", |of| if of.starts_with("pipe:") { "a pipe" } else { "" });
    (Cause::File, kind.to_owned())
}

/// What several descriptors stand for: a socket if there is one; a wait for none at all is a sleep.
fn any_of(descriptors: impl IntoIterator<Item = RawFd>) -> (Cause, String) {
    let meanings = descriptors.into_iter().map(descriptor);
    meanings.min_by_key(|(cause, _)| *cause != Cause::Socket).unwrap_or((Cause::Sleep, String::new()))
}

/// How many descriptors of a wait for many are looked at.
const MOST_DESCRIPTORS: u64 = 64;

/// The calls `poll` and `ppoll`: an array of descriptors, eight bytes each, and its length.
fn polled(call: Call) -> (Cause, String) {
    let [array, length, ..] = call.arguments;
    let entry = |index| kernel::memory::<4>(array + 8 * index).map(RawFd::from_ne_bytes);
    any_of((0..length.min(MOST_DESCRIPTORS)).filter_map(entry))
}

/// The calls `select` and `pselect6`: how many descriptors, and three sets of bits.
fn selected(call: Call) -> (Cause, String) {
    let [length, sets @ .., _, _] = call.arguments;
    let length = length.min(1024) as i32;
    let read = |&address: &u64| (address != 0).then(|| kernel::memory::<128>(address)).flatten();
    let sets: Vec<_> = sets.iter().filter_map(read).collect();
    let is_in = |fd: &RawFd| sets.iter().any(|set| set[*fd as usize / 8] & (1 << (fd % 8)) != 0);
    any_of((0..length).filter(is_in))
}

fn epoll(call: Call) -> (Cause, String) {
    any_of(kernel::watched_by(call.arguments[0] as RawFd))
}

/// An address in memory, of the internet families.
fn address(at: u64) -> Option<String> {
    let [a, b] = kernel::memory::<2>(at)?;
    let family = i32::from(u16::from_ne_bytes([a, b]));
    if family == socket::INET {
        let bytes = kernel::memory::<8>(at)?;
        let ip: [u8; 4] = bytes[4..].try_into().ok()?;
        return Some(std::net::SocketAddr::from((ip, u16::from_be_bytes([bytes[2], bytes[3]]))).to_string());
    }
    if family == socket::INET6 {
        let bytes = kernel::memory::<24>(at)?;
        let ip: [u8; 16] = bytes[8..].try_into().ok()?;
        return Some(std::net::SocketAddr::from((ip, u16::from_be_bytes([bytes[2], bytes[3]]))).to_string());
    }
    None
}

/// The name of a call that is none of the above.
fn name(number: i64) -> String {
    let name = match number {
        libc::SYS_getrandom => "getrandom",
        libc::SYS_rt_sigtimedwait => "sigtimedwait",
        libc::SYS_rt_sigsuspend => "sigsuspend",
        libc::SYS_mmap => "mmap",
        libc::SYS_munmap => "munmap",
        libc::SYS_madvise => "madvise",
        libc::SYS_mprotect => "mprotect",
        libc::SYS_brk => "brk",
        libc::SYS_sched_yield => "sched_yield",
        libc::SYS_msgrcv => "msgrcv",
        libc::SYS_msgsnd => "msgsnd",
        libc::SYS_semtimedop => "semtimedop",
        libc::SYS_mq_timedreceive => "mq_timedreceive",
        libc::SYS_io_uring_enter => "io_uring_enter",
        libc::SYS_clone => "clone",
        libc::SYS_execve => "execve",
        _ => return format!("number {number}"),
    };
    name.to_owned()
}
