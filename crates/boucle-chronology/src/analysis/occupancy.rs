//! How long steps held the processor in any span of time, found by bisection.

use crate::model::{Chronology, Nanos, Step, StepId, ThreadId};
use std::ops::Range;

/// The steps of each thread, or some of them.
pub(super) struct Occupancy {
    threads: Vec<Line>,
}

/// The steps of one thread.
#[derive(Default)]
struct Line {
    steps: Vec<StepId>,
    starts: Vec<Nanos>,
    /// How long the first n steps held the processor: one more than there are steps.
    held: Vec<Nanos>,
}

impl Occupancy {
    /// Of the steps that are `wanted`.
    pub(super) fn of(chronology: &Chronology, wanted: impl Fn(&Step) -> bool) -> Occupancy {
        let empty = || Line { held: vec![0], ..Line::default() };
        let mut threads: Vec<Line> = chronology.threads.iter().map(|_| empty()).collect();
        for (index, step) in chronology.steps.iter().enumerate().filter(|(_, step)| wanted(step)) {
            let line = &mut threads[step.thread.index()];
            let before = line.held[line.steps.len()];
            line.steps.push(StepId(index as u32));
            line.starts.push(step.start);
            line.held.push(before + step.duration);
        }
        Occupancy { threads }
    }

    /// How long steps of `thread` held the processor in a span.
    pub(super) fn held(&self, thread: ThreadId, span: &Range<Nanos>) -> Nanos {
        let line = &self.threads[thread.index()];
        line.held_until(span.end).saturating_sub(line.held_until(span.start))
    }

    /// The steps of `thread` that held the processor in a span.
    pub(super) fn steps(&self, thread: ThreadId, span: &Range<Nanos>) -> &[StepId] {
        let line = &self.threads[thread.index()];
        let ends_later = |index: &usize| line.starts[*index] + (line.held[index + 1] - line.held[*index]) > span.start;
        let first = line.starts.partition_point(|&start| start < span.start);
        let first = first.checked_sub(1).filter(ends_later).unwrap_or(first);
        let last = line.starts.partition_point(|&start| start < span.end);
        &line.steps[first..last.max(first)]
    }
}

impl Line {
    fn held_until(&self, time: Nanos) -> Nanos {
        let begun = self.starts.partition_point(|&start| start < time);
        let Some(last) = begun.checked_sub(1) else { return 0 };
        let running = (time - self.starts[last]).min(self.held[begun] - self.held[last]);
        self.held[last] + running
    }
}
