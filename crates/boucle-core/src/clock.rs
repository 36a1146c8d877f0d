//! The only module that reads a clock.
//!
//! Two clocks, for two purposes, and the processor time of a thread. A [`Tick`] is a nanosecond of `CLOCK_MONOTONIC`, equal to Python's
//! `time.monotonic()`: deadlines are made of it. A [`Stamp`] is whatever the processor reads fastest: the time stamp
//! counter where it is invariant (8 ns, against 20 to 40 for the system call's vDSO), else the same nanoseconds. The
//! recorder stamps each step and each enqueue, so it uses stamps; a [`Scale`] turns them into nanoseconds afterwards,
//! when nobody is waiting.
//!
//! # Invariants
//!
//! * The scale is measured between two readings of both clocks: the first one this process made, and now. A longer
//!   process has a better scale, and no call ever waits for a calibration longer than `SHORTEST_BASELINE`.

use std::sync::OnceLock;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The distance of two readings from which a scale can be trusted: reading both clocks is uncertain by about 50 ns,
/// so that this gives four digits at worst.
const SHORTEST_BASELINE: Duration = Duration::from_millis(1);

/// A point in time: nanoseconds of `CLOCK_MONOTONIC`. Negative and far values are legal deadlines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub i64);

impl Tick {
    /// The time now.
    pub fn now() -> Self {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
        // Fits until the machine has been up for 292 years.
        Self(tv_sec * 1_000_000_000 + tv_nsec)
    }

    /// The first tick at which `seconds` is not in the future. Rounds up: firing late is fine, firing early is not.
    /// Saturates; NaN is the past, as in a comparison that never holds.
    pub fn at_or_after(seconds: f64) -> Self {
        let nanoseconds = seconds * 1e9;
        let whole = nanoseconds as i64;
        // Not `ceil`, which is a call on processors that this is compiled for.
        Self(whole.saturating_add(i64::from((whole as f64) < nanoseconds)))
    }

    /// Seconds, as `time.monotonic()` gives them.
    pub fn seconds(self) -> f64 {
        self.0 as f64 * 1e-9
    }

    /// The time until `later`; zero if that is past.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0).max(0) as u64)
    }

    /// This much later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(delay.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// How much processor time a thread of this process has used: exact, also while it runs. `None` where there is no thread
/// with this number of the kernel's.
pub fn processor_time(thread: u32) -> Option<Duration> {
    // The kernel's encoding: the number complemented, then "of one thread" and "as scheduled".
    const OF_A_THREAD_AS_SCHEDULED: i32 = 4 | 2;
    let clock = (!(thread as i32) << 3) | OF_A_THREAD_AS_SCHEDULED;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, and refuses the number of a clock that does not exist.
    let outcome = unsafe { libc::clock_gettime(clock, &raw mut time) };
    (outcome == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// The kernel's number of the calling thread.
pub fn this_thread() -> u32 {
    // Numbers of threads are positive.
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// A reading of the fastest clock. Only differences of stamps mean something, and only through a [`Scale`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The stamp now.
    #[inline]
    pub fn now() -> Self {
        #[cfg(target_arch = "x86_64")]
        if has_invariant_counter() {
            // SAFETY: every x86-64 processor has the instruction; it reads a register and touches no memory.
            return Self(unsafe { core::arch::x86_64::_rdtsc() });
        }
        Self(Tick::now().0 as u64)
    }

    /// How many units of this clock passed since `earlier`; zero if that is later.
    #[inline]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Whether the time stamp counter runs at one rate in every power state.
#[cfg(target_arch = "x86_64")]
#[inline]
fn has_invariant_counter() -> bool {
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    // A plain load and one comparison on the hot path; asking the processor traps to the hypervisor.
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);

    #[cold]
    fn ask() -> bool {
        use core::arch::x86_64::__cpuid;
        const ADVANCED_POWER_MANAGEMENT: u32 = 0x8000_0007;
        const INVARIANT_TSC: u32 = 1 << 8;
        let known = __cpuid(0x8000_0000).eax >= ADVANCED_POWER_MANAGEMENT;
        let invariant = known && __cpuid(ADVANCED_POWER_MANAGEMENT).edx & INVARIANT_TSC != 0;
        ANSWER.store(if invariant { YES } else { NO }, Relaxed);
        invariant
    }

    let answer = ANSWER.load(Relaxed);
    answer == YES || (answer == UNKNOWN && ask())
}

/// One moment, on both clocks: how deadlines and stamps are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The clock of deadlines.
    pub tick: Tick,
    /// The clock of steps.
    pub stamp: Stamp,
}

impl Moment {
    /// Now. The kernel may stop a thread between the two readings: then a deadline seems to be less long ago than it was,
    /// and never longer.
    #[inline]
    pub fn now() -> Self {
        let tick = Tick::now();
        Self { tick, stamp: Stamp::now() }
    }

    /// The stamp that was current at `deadline`, if that has passed; else that of this moment.
    #[inline]
    pub fn stamp_at(self, deadline: Tick, scale: &Scale) -> Stamp {
        scale.earlier(self.stamp, deadline.until(self.tick))
    }

    /// Now, as exactly as it can be known.
    fn exactly_now() -> Self {
        // The stamp lies between two ticks; the closest pair of a few attempts leaves out an interruption in between.
        let attempt = || {
            let before = Tick::now();
            let stamp = Stamp::now();
            let after = Tick::now();
            (after.0 - before.0, Self { stamp, tick: Tick(before.0 + (after.0 - before.0) / 2) })
        };
        let (mut best_gap, mut best) = attempt();
        for _ in 0..4 {
            let (gap, moment) = attempt();
            if gap < best_gap {
                (best_gap, best) = (gap, moment);
            }
        }
        best
    }

    /// One that another process wrote down.
    pub(crate) fn at(stamp: u64, tick: u64) -> Self {
        Self { stamp: Stamp(stamp), tick: Tick(tick as i64) }
    }

    /// The first that this process knows exactly.
    pub(crate) fn first() -> Self {
        static FIRST: OnceLock<Moment> = OnceLock::new();
        *FIRST.get_or_init(Self::exactly_now)
    }
}

/// How stamps and ticks correspond.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    at: Moment,
    nanos_per_stamp: f64,
}

impl Scale {
    /// Reads both clocks for the first time, if no one has: the earlier, the better every later scale.
    pub fn prepare() {
        Moment::first();
    }

    /// The correspondence as well as it is known now.
    pub fn measure() -> Self {
        let first = Moment::first();
        loop {
            let at = Moment::exactly_now();
            if first.tick.until(at.tick) >= SHORTEST_BASELINE {
                let nanos_per_stamp = (at.tick.0 - first.tick.0) as f64 / at.stamp.since(first.stamp) as f64;
                return Self { at, nanos_per_stamp };
            }
            std::hint::spin_loop();
        }
    }

    /// The same, by the first reading of another process on this machine: better than our own, if that is younger. A reading
    /// that does not agree with ours to a thousandth is none of this machine, or of its present boot.
    pub(crate) fn measure_since(first: Moment) -> Self {
        let own = Self::measure();
        let (ticks, stamps) = (own.at.tick.0.saturating_sub(first.tick.0), own.at.stamp.since(first.stamp));
        let nanos_per_stamp = ticks as f64 / stamps as f64;
        let deviation = (nanos_per_stamp / own.nanos_per_stamp - 1.0).abs();
        if deviation < 1e-3 { Self { nanos_per_stamp, ..own } } else { own }
    }

    /// The tick at which `stamp` was taken.
    pub fn tick(&self, stamp: Stamp) -> Tick {
        let offset = stamp.0.wrapping_sub(self.at.stamp.0) as i64;
        Tick(self.at.tick.0 + (offset as f64 * self.nanos_per_stamp) as i64)
    }

    /// The stamp that was current `ago` before `now`.
    #[inline]
    pub fn earlier(&self, now: Stamp, ago: Duration) -> Stamp {
        Stamp(now.0.saturating_sub(self.stamps(ago) as u64))
    }

    /// How many stamps a duration is.
    #[inline]
    pub fn stamps(&self, duration: Duration) -> f64 {
        duration.as_nanos() as f64 / self.nanos_per_stamp
    }

    /// Seconds in a difference of stamps.
    pub fn seconds(&self, stamps: f64) -> f64 {
        stamps * self.nanos_per_stamp * 1e-9
    }

    /// Nanoseconds in a difference of stamps.
    pub fn nanos(&self, stamps: f64) -> u64 {
        (stamps * self.nanos_per_stamp) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_before_its_seconds() {
        for seconds in [0.1, 0.000_000_000_1, 12.345_678_901, -3.3] {
            assert!(Tick::at_or_after(seconds).0 as f64 >= seconds * 1e9);
        }
    }

    #[test]
    fn deadlines_out_of_range_saturate() {
        assert_eq!(Tick::at_or_after(f64::INFINITY), Tick(i64::MAX));
        assert_eq!(Tick::at_or_after(f64::NEG_INFINITY), Tick(i64::MIN));
        assert_eq!(Tick(5).until(Tick(i64::MIN)), Duration::ZERO);
        assert_eq!(Tick(5).after(Duration::MAX), Tick(i64::MAX));
    }

    #[test]
    fn a_stamp_scales_to_the_tick_at_which_it_was_taken() {
        let scale = Scale::measure();
        let before = Tick::now();
        let stamp = Stamp::now();
        let after = Tick::now();
        let tick = scale.tick(stamp);
        // A scheduler may stop us between the readings, never make the stamp lie outside of them.
        let slack = 100_000;
        assert!(before.0 - slack <= tick.0 && tick.0 <= after.0 + slack, "{before:?} {tick:?} {after:?}");
    }

    #[test]
    fn processor_time_is_that_of_work_and_not_of_waiting() {
        let thread = this_thread();
        let begin = processor_time(thread).unwrap();
        let used = || processor_time(thread).unwrap().saturating_sub(begin);
        let start = Tick::now();
        let word = std::sync::atomic::AtomicU32::new(0);
        crate::futex::wait(&word, 0, Some(Duration::from_millis(20)));
        let slept = used();
        assert!(slept < start.until(Tick::now()) / 2, "{slept:?}");
        while used() < slept + Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        assert_eq!(processor_time(u32::MAX >> 4), None);
    }

    #[test]
    fn a_stamp_can_be_moved_back_by_a_duration() {
        let scale = Scale::measure();
        let now = Stamp::now();
        let earlier = scale.earlier(now, Duration::from_secs(1));
        let nanos = scale.nanos(now.since(earlier) as f64);
        assert!(nanos.abs_diff(1_000_000_000) < 1_000, "{nanos}");
    }
}
