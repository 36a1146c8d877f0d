//! A step that is looked at: how long it has held its loop by itself, and when to look at it again.
//!
//! What the operating system took is not the step's doing. Between two readings of a thread's account the kernel says how
//! long the thread could have run and was not let; the rest of the time it computed, slept or waited: that is its *own* time,
//! and a step is to blame when that passes the threshold. So beside programs that take all processors nobody is blamed for
//! nothing, and `time.sleep` and a slow computation still are.
//!
//! No account is read when a step begins, which would cost; so two bound it: the one of the last look before, and the first
//! one of the step itself, which misses no more than the step's age then.
//!
//! # Invariants
//!
//! * The delay is never underestimated, so nobody is blamed too early; a step that goes on long enough is.

use std::time::Duration;

use crate::clock::Tick;
use crate::recorder::live::Running;
use crate::recorder::rings::ThreadRing;

/// The distance of the second look from the first; it doubles.
const FIRST_DISTANCE: Duration = Duration::from_millis(10);

/// Of what a step has held already, the distance to the next look is at most this fraction: so it is known to an eighth how
/// long each place held it.
const FRACTION: u32 = 8;

/// Of the threshold, how much own time makes a step guilty: half allows for delays that are overestimated, and for a machine
/// that is busy but not taken.
const OWN_SHARE: f64 = 0.5;

/// What the kernel's scheduler has to say of a thread, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// When it was read.
    pub at: Tick,
    /// How long the thread could have run and was not let, up to when it last began to run.
    pub delayed: Duration,
}

/// Which step runs: the same answer twice means that it has not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What runs, who, and since when.
    pub running: Running,
    /// The sequence number that it will have in its ring.
    pub sequence: u64,
}

impl Identity {
    /// The step that runs.
    pub fn of(ring: &ThreadRing) -> Option<Self> {
        let running = ring.live.running()?;
        let sequence = ring.ring.head();
        // When a step returns it is written down first; its words stay until the next one begins.
        let last = ring.ring.read(sequence.saturating_sub(1)).steps.last().map(|step| step.start);
        let goes_on = last != Some(running.start) && ring.live.running() == Some(running);
        goes_on.then_some(Self { running, sequence })
    }
}

/// A step that is looked at.
#[derive(Debug)]
pub struct Looked {
    /// Which.
    pub identity: Identity,
    /// When it began.
    pub began: Tick,
    /// The account of the last look before the step.
    before: Option<Account>,
    /// The first account of the step.
    inside: Option<Account>,
    /// How long it had held when it is to be looked at next.
    due: Duration,
    distance: Duration,
}

impl Looked {
    /// A step that was not seen before. It is looked at when it has held for `threshold`.
    pub fn new(
        identity: Identity,
        began: Tick,
        before: Option<Account>,
        inside: Option<Account>,
        threshold: Duration,
    ) -> Self {
        Self { identity, began, before, inside, due: threshold, distance: FIRST_DISTANCE }
    }

    /// How long it has held at a moment.
    pub fn held(&self, now: Tick) -> Duration {
        self.began.until(now)
    }

    /// How long it takes until it is to be looked at; zero if that is now.
    pub fn wait(&self, now: Tick) -> Duration {
        self.due.saturating_sub(self.held(now))
    }

    /// It was looked at; the next look is at a distance that grows.
    pub fn look_later(&mut self, now: Tick) {
        let held = self.held(now);
        self.due = held + self.distance.min(held / FRACTION);
        self.distance = self.distance.saturating_mul(2);
    }

    /// It could not be seen, or not enough of it: try again soon.
    pub fn look_soon(&mut self, now: Tick) {
        let held = self.held(now);
        self.due = held + Duration::from_millis(2).min(held / FRACTION);
    }

    /// Whether its own time makes it guilty. `account` was read just now, while the thread ran or waited of its own will.
    pub fn is_guilty(&self, account: Option<Account>, now: Tick, threshold: Duration) -> bool {
        self.own(account, now) >= threshold.mul_f64(OWN_SHARE)
    }

    /// The time that is the step's own doing.
    pub fn own(&self, account: Option<Account>, now: Tick) -> Duration {
        let held = self.held(now);
        // Without accounts the whole time is: the kernel cannot tell what it took.
        let Some(account) = account else { return held };
        let since = |earlier: Account| account.delayed.saturating_sub(earlier.delayed);
        let inside = self.inside.map(|inside| since(inside) + self.began.until(inside.at));
        let before = self.before.map(since);
        let delay = [inside, before].into_iter().flatten().min().unwrap_or_default();
        held.saturating_sub(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::recorder::{RawStep, Whereabouts, WokenBy, rings};

    fn account(at: u64, delayed: u64) -> Account {
        let delayed = Duration::from_millis(delayed);
        Account { at: millis(at), delayed }
    }

    fn millis(number: u64) -> Tick {
        Tick(number as i64 * 1_000_000)
    }

    fn step(before: Option<Account>, inside: Option<Account>) -> Looked {
        let running = Running { start: Stamp(1), actor: 0, ready: 0 };
        let identity = Identity { running, sequence: 0 };
        Looked::new(identity, millis(100), before, inside, Duration::from_millis(50))
    }

    #[track_caller]
    fn check(before: Option<Account>, inside: Account, now: Account, own: u64) {
        assert_eq!(step(before, Some(inside)).own(Some(now), now.at), Duration::from_millis(own));
    }

    #[test]
    fn time_that_the_system_took_is_not_the_steps_own() {
        check(Some(account(99, 0)), account(101, 0), account(150, 0), 50);
        check(Some(account(99, 0)), account(101, 0), account(150, 40), 10);
    }

    #[test]
    fn the_better_of_two_bounds_counts() {
        // All of the delay may be the step's, or from before it.
        check(Some(account(60, 0)), account(145, 30), account(150, 30), 20);
        // From inside nothing is known of its first 45 ms, from outside that there was no delay.
        check(Some(account(99, 7)), account(145, 7), account(150, 7), 50);
        check(None, account(110, 7), account(150, 7), 40);
    }

    #[test]
    fn looks_are_as_dense_as_an_eighth_of_what_was_held() {
        let mut step = step(None, None);
        let mut now = millis(150);
        assert_eq!(step.wait(now), Duration::ZERO);
        let mut looks = 1;
        while step.held(now) < Duration::from_mins(1) {
            let held = step.held(now);
            step.look_later(now);
            let wait = step.wait(now);
            assert!(wait <= held / FRACTION, "{wait:?}");
            now = now.after(wait);
            looks += 1;
        }
        assert!((55..75).contains(&looks), "{looks}");
    }
    #[test]
    fn a_step_that_was_written_down_runs_no_longer() {
        let ring = std::thread::spawn(|| rings::of_this_thread("worker")).join().unwrap();
        assert_eq!(Identity::of(&ring), None);
        ring.live.begin(Stamp(7), 1, 0);
        let sequence = ring.ring.head();
        assert_eq!(Identity::of(&ring).map(|identity| identity.sequence), Some(sequence));
        ring.ring.write(&RawStep {
            start: Stamp(7),
            duration: 1.0,
            waited: 0.0,
            actor: 1,
            woken_by: WokenBy::TIMER,
            code: 0,
            whereabouts: Whereabouts::UNKNOWN,
        });
        assert_eq!(Identity::of(&ring), None);
        ring.live.begin(Stamp(9), 1, 0);
        assert_eq!(Identity::of(&ring).map(|identity| identity.sequence), Some(sequence + 1));
        ring.live.end();
        assert_eq!(Identity::of(&ring), None);
    }
}
