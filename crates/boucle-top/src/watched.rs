//! A running process as a source: what its recorder has written into the memory that it shares.

use std::time::Duration;

use boucle_chronology::{Chronology, Nanos, StepId};
use boucle_core::clock::Stamp;
use boucle_core::recorder::viewer::{Look, Viewer};

use crate::process::Process;
use crate::source::{Condition, Snapshot, Source, SourceError};

/// A process that is watched.
#[derive(Debug)]
pub struct Watched {
    viewer: Viewer,
    process: Process,
}

impl Watched {
    /// Finds the recorder of a process.
    pub fn open(pid: u32) -> Result<Self, SourceError> {
        let viewer = Viewer::open(pid).map_err(|blind| SourceError(blind.to_string()))?;
        let process = Process::find(pid).ok_or_else(|| SourceError(format!("process {pid} has ended")))?;
        Ok(Self { viewer, process })
    }

    /// For how long no step has run.
    fn idle(&self) -> Duration {
        let now = Stamp::now();
        let mut last = None;
        for thread in self.viewer.threads() {
            if thread.running().is_some() {
                return Duration::ZERO;
            }
            let step = thread.read(thread.head().saturating_sub(1)).steps.pop();
            last = last.max(step.map(|step| Stamp(step.start.0.saturating_add(step.duration as u64))));
        }
        last.map_or(Duration::ZERO, |last| Duration::from_nanos(self.viewer.scale().nanos(now.since(last) as f64)))
    }
}

impl Source for Watched {
    fn snapshot(&mut self, window: Duration) -> Result<Snapshot, SourceError> {
        // First, so that the last steps of a process are in its last snapshot.
        let condition = self.process.condition();
        // A loop that idles is shown with what it did last.
        let Look { chronology, end, running } = self.viewer.look(window + self.idle());
        let ready = running.iter().map(|step| u64::from(step.ready)).reduce(|sum, ready| sum + ready);
        Ok(Snapshot {
            now: end.0 as Nanos,
            running: still_running(&chronology, running.len()),
            ready,
            waiting: Vec::new(),
            pid: Some(self.process.pid),
            uptime: if condition == Condition::Ended { None } else { self.process.uptime() },
            condition,
            chronology,
        })
    }
}

/// The `count` steps that had not returned: each ends with the chronology, but for the rounding of its duration to 24 bits.
fn still_running(chronology: &Chronology, count: usize) -> Vec<StepId> {
    let ends = |id: &StepId| {
        let step = &chronology.steps[id.index()];
        chronology.duration - step.end() <= (step.duration >> 22) + 1
    };
    (0..chronology.steps.len() as u32).rev().map(StepId).filter(ends).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use boucle_chronology::{ActorId, Left, Step, ThreadId, Wake};

    #[test]
    fn a_step_whose_duration_was_rounded_down_still_runs() {
        let step = |start, duration| Step {
            thread: ThreadId(0),
            actor: ActorId(0),
            start,
            duration,
            waited: 0,
            woken_by: Wake::Unknown,
            resumed: None,
            left: Left::Unknown,
        };
        let steps = vec![step(0, 1_000), step(2_000, f64::from(1_699_999_999_f32 * 0.999_999_9) as Nanos)];
        let chronology = Chronology { duration: 1_700_002_000, steps, ..Chronology::default() };
        assert!(chronology.steps[1].end() < chronology.duration);
        assert_eq!(still_running(&chronology, 1), [StepId(1)]);
        assert_eq!(still_running(&chronology, 2), [StepId(1)]);
        assert_eq!(still_running(&chronology, 0), []);
    }
}
