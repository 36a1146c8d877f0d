//! When to look: the thread `boucle-watch`.
//!
//! It sleeps until the step that runs would reach the threshold. Mostly another one runs by then, which has its own time to
//! go; so a busy loop is looked at once in a threshold, and an idle one not at all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use boucle_chronology::Cause;
use boucle_core::clock::{Scale, Stamp, Tick};
use boucle_core::futex;
use boucle_core::recorder::samples::{self, RawSample};
use boucle_core::watchdog::{Account, Identity, Looked};

use super::frequency::Frequency;
use super::incident::{Incident, Step};
use super::look::{Look, look};
use super::running::{self, RunningLoop};
use super::{ASLEEP, BELL, CURIOUS, ENDING, QUIET, kernel, looked_at, reported, reporter};
use crate::stacks::{Reader, Refusal};

/// Watches until it is told to end.
pub(super) fn watch(reader: &Result<Reader, Refusal>) {
    let mut watcher = Watcher { reader, loops: Vec::new(), frequency: Frequency::default(), was_called: false };
    while BELL.load(Ordering::SeqCst) != ENDING {
        match watcher.look_around() {
            Some(wait) => watcher.sleep(wait),
            None => sleep_like_the_loops(),
        }
    }
    watcher.loops.clear();
}

/// Sleeps until a loop wakes up.
fn sleep_like_the_loops() {
    if BELL.compare_exchange(QUIET, ASLEEP, Ordering::SeqCst, Ordering::SeqCst).is_err() {
        return;
    }
    // A loop that woke up before it could see the word is seen now.
    if !running::any_is_awake() {
        futex::wait(&BELL, ASLEEP, None);
    }
    // An error means that a loop has rung, or that it is time to end.
    BELL.compare_exchange(ASLEEP, QUIET, Ordering::SeqCst, Ordering::SeqCst).ok();
}

struct Watcher<'a> {
    reader: &'a Result<Reader, Refusal>,
    loops: Vec<WatchedLoop>,
    frequency: Frequency,
    /// Whether a loop has rung since the last look at the step that is reported: it was another's, then.
    was_called: bool,
}

/// A loop, and what is known of the step it runs.
struct WatchedLoop {
    running: Arc<RunningLoop>,
    /// The account of the last look.
    account: Option<Account>,
    step: Option<WatchedStep>,
}

struct WatchedStep {
    looked: Looked,
    looks: Vec<Look>,
    incident: Option<Arc<Incident>>,
}

impl Watcher<'_> {
    /// Sleeps for so long. While a step is reported, the loop that ends it rings.
    fn sleep(&mut self, wait: Duration) {
        let is_curious = self.loops.iter().any(WatchedLoop::has_incident) && !self.was_called;
        let word = if is_curious { CURIOUS } else { QUIET };
        if BELL.compare_exchange(QUIET, word, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            return;
        }
        futex::wait(&BELL, word, Some(wait));
        let is_unanswered = BELL.compare_exchange(word, QUIET, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        self.was_called = is_curious && !is_unanswered;
    }

    /// Looks at every loop. How long to wait until the next time; nothing while all sleep.
    fn look_around(&mut self) -> Option<Duration> {
        let running = running::all();
        let (gone, known): (Vec<_>, Vec<_>) = std::mem::take(&mut self.loops)
            .into_iter()
            .partition(|one| !running.iter().any(|new| Arc::ptr_eq(new, &one.running)));
        for mut one in gone {
            one.finish();
        }
        self.loops = known;
        for one in running {
            if !self.loops.iter().any(|known| Arc::ptr_eq(&known.running, &one)) {
                self.loops.push(WatchedLoop { running: one, account: None, step: None });
            }
        }
        let threshold = looked_at()?;
        let scale = Scale::measure();
        let frequency = &mut self.frequency;
        let reader = self.reader;
        self.loops.iter_mut().filter_map(|one| one.watch(reader, &scale, threshold, frequency)).min()
    }
}

impl WatchedLoop {
    fn has_incident(&self) -> bool {
        self.step.as_ref().is_some_and(|step| step.incident.is_some())
    }

    /// Looks at what runs, and says how long to wait until the next time.
    fn watch(
        &mut self,
        reader: &Result<Reader, Refusal>,
        scale: &Scale,
        threshold: Duration,
        frequency: &mut Frequency,
    ) -> Option<Duration> {
        let identity = Identity::of(&self.running.ring);
        if self.step.as_ref().is_some_and(|step| Some(step.looked.identity) != identity) {
            self.finish();
        }
        let account = kernel::account(self.running.thread);
        let before = std::mem::replace(&mut self.account, account);
        let Some(identity) = identity else {
            return self.running.ring.live.is_awake().then_some(threshold);
        };
        let began = scale.tick(identity.running.start);
        let step = self.step.get_or_insert_with(|| {
            let looked = Looked::new(identity, began, before, account, threshold);
            WatchedStep { looked, looks: Vec::new(), incident: None }
        });
        if step.looked.wait(Tick::now()).is_zero() {
            step.look(reader, &self.running, frequency);
        }
        Some(step.looked.wait(Tick::now()))
    }

    /// The step has returned, or will never.
    fn finish(&mut self) {
        let Some(step) = self.step.take() else { return };
        let sequence = step.looked.identity.sequence;
        let reading = self.running.ring.ring.read(sequence);
        let written = reading.steps.first().filter(|_| reading.first == sequence);
        let scale = Scale::measure();
        let held = written.map_or_else(
            || step.looked.held(Tick::now()),
            |written| Duration::from_nanos(scale.nanos(written.duration.into())),
        );
        match step.incident {
            Some(incident) => reporter::ended(incident, step.looks, held),
            None if step.looks.iter().any(|look| look.cause == Cause::NoProcessor) => reporter::no_processor(held),
            None => {}
        }
    }
}

impl WatchedStep {
    /// Looks at the step, keeps what is seen, and reports it if it is to blame.
    fn look(&mut self, reader: &Result<Reader, Refusal>, running: &Arc<RunningLoop>, frequency: &mut Frequency) {
        let seen = look(reader, running);
        let account = kernel::account(running.thread);
        let now = Tick::now();
        // What was seen is the step's only if it still runs.
        let goes_on = Identity::of(&running.ring) == Some(self.looked.identity);
        let Some(mut seen) = seen.filter(|_| goes_on) else { return self.looked.look_soon(now) };
        let has_processor = seen.cause != Cause::NoProcessor;
        let threshold = looked_at().unwrap_or_default();
        if !has_processor || !self.looked.is_guilty(account, now, threshold) {
            seen.cause = Cause::NoProcessor;
        }
        samples::keep(&RawSample {
            ring: running.number,
            sequence: self.looked.identity.sequence,
            at: seen.at,
            cause: seen.cause,
            detail: seen.detail.clone(),
            stack: seen.stack.clone(),
        });
        if has_processor {
            self.looked.look_later(now);
        } else {
            self.looked.look_soon(now);
        }
        self.looks.push(seen);
        self.report(running, account, now, frequency);
    }

    fn report(&mut self, running: &Arc<RunningLoop>, account: Option<Account>, now: Tick, frequency: &mut Frequency) {
        let (Some(threshold), Some(seen), None) = (reported(), self.looks.last(), &self.incident) else { return };
        if seen.cause == Cause::NoProcessor || !self.looked.is_guilty(account, now, threshold) {
            return;
        }
        let step = Step { identity: self.looked.identity, ring: running.number, turn: running.turn };
        let held = self.looked.held(now);
        let permit = frequency.permit(super::look::place(&seen.stack), seen.cause, now);
        let incident = Arc::new(Incident::new(step, seen.clone(), held, permit, Stamp::now()));
        self.incident = Some(Arc::clone(&incident));
        reporter::begun(&incident);
    }
}
