//! Threads that look after loops: they take no signals, and who ends one can wait until the kernel has forgotten it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::clock::{self, Tick};
use crate::futex;

/// How long the kernel may take to forget a thread that has ended.
const FORGETTING: Duration = Duration::from_millis(200);

/// A thread that was started.
#[derive(Debug)]
pub struct Attendant {
    handle: JoinHandle<()>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The kernel's number of the thread.
    thread: AtomicU32,
    /// 1 once the thread has done its work.
    is_done: AtomicU32,
}

impl Attendant {
    /// Starts a thread of this name, which no signal is given to: a program may have made up its mind which of its threads
    /// take them.
    pub fn start(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<Self> {
        let state = Arc::new(State::default());
        let own = Arc::clone(&state);
        let start = || {
            Builder::new().name(name.to_owned()).spawn(move || {
                own.thread.store(clock::this_thread(), Ordering::Relaxed);
                work();
                own.is_done.store(1, Ordering::Release);
                futex::wake(&own.is_done);
            })
        };
        Ok(Self { handle: without_signals(start)?, state })
    }

    /// Whether this is the calling thread.
    pub fn is_this_thread(&self) -> bool {
        self.handle.thread().id() == std::thread::current().id()
    }

    /// Waits at most `patience` for a thread that was told to end, until the kernel counts it no more. Whether it has ended.
    pub fn join(self, patience: Duration) -> bool {
        let deadline = Tick::now().after(patience);
        while self.state.is_done.load(Ordering::Acquire) == 0 {
            let rest = Tick::now().until(deadline);
            if rest.is_zero() {
                return false;
            }
            futex::wait(&self.state.is_done, 0, Some(rest));
        }
        // The thread cannot have panicked past the end of its work.
        self.handle.join().ok();
        let path = format!("/proc/self/task/{}", self.state.thread.load(Ordering::Relaxed));
        let deadline = Tick::now().after(FORGETTING);
        // What wakes up a joining thread is the end of the other's memory; it is counted a little longer.
        while std::fs::exists(&path).unwrap_or(false) && Tick::now() < deadline {
            futex::wait(&AtomicU32::new(0), 0, Some(Duration::from_micros(50)));
        }
        true
    }
}

/// Runs `work` while the calling thread takes no signals: a thread that it starts inherits that.
fn without_signals<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: a set of signals is plain bits; the call below fills it.
    let mut every: libc::sigset_t = unsafe { std::mem::zeroed() };
    let mut former = every;
    // SAFETY: the set is ours.
    unsafe { libc::sigfillset(&raw mut every) };
    // SAFETY: both sets are ours, and the mask is this thread's own.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const every, &raw mut former) };
    let result = work();
    // SAFETY: the same; the set is the mask from before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const former, std::ptr::null_mut()) };
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked_signals(status: &str) -> u64 {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    }

    #[test]
    fn it_takes_no_signals_and_is_gone_when_joined() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let attendant = Attendant::start("attendant", move || {
            let status = std::fs::read_to_string(format!("/proc/self/task/{}/status", clock::this_thread()));
            sender.send((clock::this_thread(), status.unwrap())).unwrap();
        });
        let attendant = attendant.unwrap();
        assert!(!attendant.is_this_thread());
        let (thread, status) = receiver.recv().unwrap();
        let own = std::fs::read_to_string(format!("/proc/self/task/{}/status", clock::this_thread())).unwrap();
        assert_eq!(blocked_signals(&own), 0);
        // All but the two that cannot be blocked and the two that the C library keeps for itself.
        assert!(blocked_signals(&status).count_ones() >= 60, "{status}");
        assert!(attendant.join(Duration::from_mins(1)));
        assert!(!std::fs::exists(format!("/proc/self/task/{thread}")).unwrap());
    }

    #[test]
    fn who_does_not_end_is_left_alone() {
        let word = Arc::new(AtomicU32::new(0));
        let own = Arc::clone(&word);
        let attendant = Attendant::start("attendant", move || {
            while own.load(Ordering::Acquire) == 0 {
                futex::wait(&own, 0, None);
            }
        });
        assert!(!attendant.unwrap().join(Duration::from_millis(1)));
        word.store(1, Ordering::Release);
        futex::wake(&word);
    }
}
