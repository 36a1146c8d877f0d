//! How busy the loop is now, and was in the seconds before.

use boucle_chronology::{Nanos, Step};

use crate::source::Snapshot;

/// What `now` means: the last second.
const NOW: Nanos = 1_000_000_000;

/// How busy the loop is. Of several loops the busiest counts: a frozen one must not disappear behind idle ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pulse {
    /// The part of the last second in which a step held the processor, from 0 to 1.
    pub utilisation: f64,
    /// How many steps ended in the last second, of all loops.
    pub steps_a_second: f64,
    /// The utilisation in equal parts of the window, the oldest first.
    pub course: Vec<f64>,
}

impl Pulse {
    /// The pulse of a snapshot, its course in so many parts.
    pub fn of(snapshot: &Snapshot, parts: usize) -> Self {
        let duration = snapshot.chronology.duration;
        let last = duration.min(NOW);
        let recent = duration - last;
        let ended = snapshot.chronology.steps.iter().enumerate();
        let ended = ended.filter(|(index, step)| {
            step.end() > recent && !snapshot.running.iter().any(|running| running.index() == *index)
        });
        Self {
            utilisation: course(snapshot, recent, 1).first().copied().unwrap_or(0.0),
            steps_a_second: ended.count() as f64 * 1e9 / last.max(1) as f64,
            course: course(snapshot, 0, parts),
        }
    }
}

/// The utilisation between `from` and the end, in equal parts.
fn course(snapshot: &Snapshot, from: Nanos, parts: usize) -> Vec<f64> {
    let chronology = &snapshot.chronology;
    let length = ((chronology.duration - from) as f64 / parts.max(1) as f64).max(1.0);
    let mut busiest = vec![0.0_f64; parts];
    for thread in 0..chronology.threads.len() {
        let mut busy = vec![0.0; parts];
        for step in chronology.steps.iter().filter(|step| step.thread.index() == thread && step.end() > from) {
            add(step, from, length, &mut busy);
        }
        for (busiest, busy) in busiest.iter_mut().zip(busy) {
            *busiest = busiest.max((busy / length).min(1.0));
        }
    }
    busiest
}

/// Adds the time of a step to the parts in which it lies.
fn add(step: &Step, from: Nanos, length: f64, busy: &mut [f64]) {
    let start = step.start.saturating_sub(from) as f64;
    let end = (step.end() - from) as f64;
    let (first, last) = ((start / length) as usize, (end / length) as usize);
    for (part, busy) in busy.iter_mut().enumerate().take(last + 1).skip(first) {
        let begin = part as f64 * length;
        *busy += (end.min(begin + length) - start.max(begin)).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boucle_chronology::{ActorId, Chronology, Left, StepId, Thread, ThreadId, Wake};

    const MS: Nanos = 1_000_000;

    fn snapshot(duration: Nanos, steps: &[(u32, Nanos, Nanos)]) -> Snapshot {
        let step = |&(thread, start, end): &(u32, Nanos, Nanos)| Step {
            thread: ThreadId(thread),
            actor: ActorId(0),
            start: start * MS,
            duration: (end - start) * MS,
            waited: 0,
            woken_by: Wake::Unknown,
            resumed: None,
            left: Left::Unknown,
        };
        let chronology = Chronology {
            duration: duration * MS,
            threads: vec![Thread { name: "one".into() }, Thread { name: "two".into() }],
            steps: steps.iter().map(step).collect(),
            ..Chronology::default()
        };
        Snapshot { chronology, ..Snapshot::default() }
    }

    #[track_caller]
    fn check(snapshot: &Snapshot, utilisation: f64, steps_a_second: f64, course: &[f64]) {
        let pulse = Pulse::of(snapshot, course.len());
        let close = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(close(pulse.utilisation, utilisation), "{pulse:?}");
        assert!(close(pulse.steps_a_second, steps_a_second), "{pulse:?}");
        assert!(pulse.course.iter().zip(course).all(|(one, other)| close(*one, *other)), "{pulse:?}");
    }

    #[test]
    fn a_step_counts_in_each_part_it_lies_in() {
        check(&snapshot(4000, &[(0, 500, 2000), (0, 3250, 3500)]), 0.25, 1.0, &[0.5, 1.0, 0.0, 0.25]);
    }

    #[test]
    fn the_busiest_loop_counts() {
        check(&snapshot(2000, &[(0, 0, 500), (1, 1000, 2000)]), 1.0, 1.0, &[0.5, 1.0]);
    }

    #[test]
    fn a_step_that_runs_is_busy_and_not_counted() {
        let mut running = snapshot(500, &[(0, 100, 500)]);
        running.running.push(StepId(0));
        check(&running, 0.8, 0.0, &[0.8]);
    }

    #[test]
    fn nothing_recorded_is_idle() {
        check(&Snapshot::default(), 0.0, 0.0, &[0.0, 0.0]);
    }
}
