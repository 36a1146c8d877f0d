//! Sleeping until another thread rings, or for a time: a word in memory that the kernel compares before it puts to sleep.
//!
//! Loops wait in their reactor; this is for threads that look after loops.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::thread::futex::{self, Flags};
use rustix::time::Timespec;

/// Sleeps until [`wake`] is called for the word, at most `timeout`; not at all where the word is not `expected`. It may
/// return early: who waits for something looks whether it has come.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let timeout = timeout.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    // Every failure, be it the end of the time, a signal or another word, is a reason to look again.
    futex::wait(word, Flags::PRIVATE, expected, timeout.as_ref()).ok();
}

/// Wakes up those who sleep at the word.
pub fn wake(word: &AtomicU32) {
    // It can only fail for an address that is none.
    futex::wake(word, Flags::PRIVATE, i32::MAX as u32).ok();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn a_word_that_has_changed_is_not_waited_for() {
        wait(&AtomicU32::new(1), 0, None);
    }

    #[test]
    fn who_sleeps_is_woken() {
        let word = Arc::new(AtomicU32::new(0));
        let sleeper = {
            let word = Arc::clone(&word);
            std::thread::spawn(move || {
                while word.load(Ordering::Acquire) == 0 {
                    wait(&word, 0, None);
                }
            })
        };
        word.store(1, Ordering::Release);
        wake(&word);
        sleeper.join().unwrap();
    }
}
