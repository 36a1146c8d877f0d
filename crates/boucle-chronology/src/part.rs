//! A part of a run: what ran in some of its threads.
//!
//! What woke a step in a thread that is left out is not known any more. Actors and places stay, whether they are still
//! referred to or not.

use crate::model::{Chronology, Sample, Step, StepId, Thread, ThreadId, Wake};

/// The run without the threads whose names are refused.
pub fn of_threads(whole: Chronology, is_wanted: impl Fn(&Thread) -> bool) -> Chronology {
    let mut threads = Vec::new();
    let thread_ids = renumbered(&whole.threads, |thread| is_wanted(thread), ThreadId);
    let mut step_ids = vec![None; whole.steps.len()];
    let mut steps: Vec<Step> = Vec::new();
    for (thread, id) in whole.threads.into_iter().zip(&thread_ids) {
        threads.extend(id.map(|_| thread));
    }
    for (index, step) in whole.steps.into_iter().enumerate() {
        let Some(thread) = thread_ids[step.thread.index()] else { continue };
        step_ids[index] = Some(StepId(steps.len() as u32));
        let woken_by = match step.woken_by {
            Wake::Step(by) => step_ids[by.index()].map_or(Wake::Unknown, Wake::Step),
            other => other,
        };
        steps.push(Step { thread, woken_by, ..step });
    }
    let samples = whole.samples.into_iter();
    let samples = samples.filter_map(|sample| Some(Sample { step: step_ids[sample.step.index()]?, ..sample }));
    Chronology { threads, steps, samples: samples.collect(), ..whole }
}

/// For each item the id that it has among those that are wanted.
fn renumbered<T, I>(items: &[T], is_wanted: impl Fn(&T) -> bool, id: impl Fn(u32) -> I) -> Vec<Option<I>> {
    let mut count = 0;
    let number = |item| {
        is_wanted(item).then(|| {
            count += 1;
            id(count - 1)
        })
    };
    items.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, ActorId, ActorKind, Cause, Left};

    /// Steps as (thread, woken by), each a microsecond long, and a sample of each.
    fn run(steps: &[(u32, Wake)]) -> Chronology {
        let actor = Actor { kind: ActorKind::Task, name: "task".into(), function: "task".into(), parent: None };
        let step = |(index, &(thread, woken_by)): (usize, &(u32, Wake))| Step {
            thread: ThreadId(thread),
            actor: ActorId(0),
            start: index as u64 * 1000,
            duration: 1000,
            waited: 0,
            woken_by,
            resumed: None,
            left: Left::Unknown,
        };
        let sample = |index: usize| Sample {
            step: StepId(index as u32),
            at: index as u64 * 1000,
            cause: Cause::Unknown,
            detail: String::new(),
            stack: Vec::new(),
        };
        Chronology {
            threads: ["one", "two", "three"].map(|name| Thread { name: name.into() }).into(),
            actors: vec![actor],
            steps: steps.iter().enumerate().map(step).collect(),
            samples: (0..steps.len()).map(sample).collect(),
            duration: steps.len() as u64 * 1000,
            ..Chronology::default()
        }
    }

    #[test]
    fn a_thread_goes_with_its_steps_and_their_samples() {
        let step = |id| Wake::Step(StepId(id));
        let whole = run(&[(0, Wake::Timer), (1, step(0)), (2, step(1)), (2, step(2)), (1, step(3))]);
        let part = of_threads(whole, |thread| thread.name != "two");
        assert_eq!(part.check(), Ok(()));
        assert_eq!(part.threads.iter().map(|thread| thread.name.as_str()).collect::<Vec<_>>(), ["one", "three"]);
        let steps: Vec<_> = part.steps.iter().map(|step| (step.thread.0, step.start, step.woken_by)).collect();
        assert_eq!(steps, [(0, 0, Wake::Timer), (1, 2000, Wake::Unknown), (1, 3000, step(1))]);
        assert_eq!(
            part.samples.iter().map(|sample| (sample.step.0, sample.at)).collect::<Vec<_>>(),
            [(0, 0), (1, 2000), (2, 3000)]
        );
    }
}
