//! Who starved whom, by example and against the definition.

use crate::random;
use crate::scenes::{self, Recording};
use boucle_chronology::analysis::Victim;
use boucle_chronology::model::Nanos;
use boucle_chronology::{ActorKind, Analysis, Chronology, Step, StepId, Wake, sentence};
use proptest::prelude::*;

const THRESHOLD: Nanos = 50_000_000;

/// Each culprit with its victims and their waits in milliseconds: `run1: run2 1000`.
#[track_caller]
fn check(chronology: &Chronology, expected: &[&str]) {
    let name = |actor: boucle_chronology::ActorId| &chronology.actors[actor.index()].name;
    let found: Vec<String> = Analysis::of(chronology, THRESHOLD)
        .starvations
        .iter()
        .map(|starvation| {
            let victim = |victim: &Victim| format!(" {} {}", name(victim.actor), victim.waited / 1_000_000);
            let victims: String = starvation.victims.iter().map(victim).collect();
            format!("{}:{victims}", name(starvation.actor))
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn steps_below_the_threshold_starve_nobody() {
    check(&scenes::pieces(), &[]);
    check(&scenes::empty(), &[]);
}

#[test]
fn a_task_is_ready_since_its_timer_was_due_however_late_the_callback() {
    check(&scenes::starvation(), &["run1: run2 1000", "run2: gather.<locals>._done_callback 1000"]);
}

#[test]
fn a_wake_is_carried_through_several_callbacks() {
    let mut run = Recording::new("shield.py", "shield.py");
    let (culprit, victim) = (run.task("culprit", "c", None), run.task("victim", "v", None));
    let (timer, shield) = (run.callback("timer"), run.callback("shield"));
    run.run(culprit, (10_000, 200_000, 5), Wake::Io, (1, 2));
    let due = run.call(timer, (210_010, 8, 150_000), Wake::Timer);
    let passed_on = run.call(shield, (210_030, 6, 13), Wake::Step(due));
    run.run(victim, (210_050, 40, 12), Wake::Step(passed_on), (1, 2));
    check(&run.lasting(300_000), &["culprit: victim 149"]);
}

#[test]
fn a_callback_that_carries_no_wake_is_a_victim_itself() {
    let mut run = Recording::new("callbacks.py", "callbacks.py");
    let (culprit, tick) = (run.task("culprit", "c", None), run.callback("tick"));
    run.run(culprit, (10_000, 200_000, 5), Wake::Io, (1, 2));
    run.call(tick, (210_010, 8, 150_000), Wake::Timer);
    check(&run.lasting(300_000), &["culprit: tick 149"]);
}

#[test]
fn a_routine_that_reschedules_itself_carries_only_its_last_wake() {
    let mut run = Recording::new("tick.py", "tick.py");
    let (culprit, woken) = (run.task("culprit", "c", None), run.task("woken", "w", None));
    let tick = run.callback("tick");
    let first = run.call(tick, (5_000, 8, 1), Wake::Timer);
    run.run(culprit, (10_000, 200_000, 5), Wake::Io, (1, 2));
    let second = run.call(tick, (210_010, 8, 5), Wake::Step(first));
    run.run(woken, (210_030, 40, 12), Wake::Step(second), (1, 2));
    check(&run.lasting(300_000), &["culprit:"]);
}

#[test]
fn a_callback_past_the_threshold_is_a_culprit_and_no_carrier() {
    let mut run = Recording::new("work.py", "work.py");
    let (task, work) = (run.task("task", "t", None), run.callback("work"));
    let worked = run.call(work, (10_000, 200_000, 5), Wake::Timer);
    run.run(task, (210_010, 40, 12), Wake::Step(worked), (1, 2));
    check(&run.lasting(300_000), &["work:"]);
}

#[test]
fn a_task_is_not_its_own_victim() {
    let mut run = Recording::new("own.py", "own.py");
    let (task, timer) = (run.task("task", "t", None), run.callback("timer"));
    run.run(task, (10_000, 200_000, 5), Wake::Io, (1, 2));
    let due = run.call(timer, (210_010, 8, 150_000), Wake::Timer);
    run.run(task, (210_030, 40, 12), Wake::Step(due), (2, 3));
    check(&run.lasting(300_000), &["task:"]);
}

#[test]
fn what_became_ready_in_the_last_moment_did_not_starve() {
    let mut run = Recording::new("end.py", "end.py");
    let (culprit, child) = (run.task("culprit", "c", None), run.task("child", "k", None));
    let created = run.run(culprit, (10_000, 200_000, 5), Wake::Io, (1, 2));
    run.run(child, (210_010, 40, 400), Wake::Step(created), (1, 2));
    check(&run.lasting(300_000), &["culprit:"]);
}

#[test]
fn one_starvation_is_told_as_its_story() {
    let chronology = scenes::crowded();
    let analysis = Analysis::of(&chronology, THRESHOLD);
    assert_eq!(
        sentence::headline(&chronology, &analysis),
        "request-41 held the processor for 180 ms; request-42 was ready and waited 179 ms for request-41, and 244 \
         others had to wait"
    );
}

#[test]
fn usage_adds_up() {
    let chronology = scenes::starvation();
    let analysis = Analysis::of(&chronology, THRESHOLD);
    assert_eq!(analysis.busy, chronology.steps.iter().map(|step| step.duration).sum::<Nanos>());
    assert!((analysis.utilisation - analysis.busy as f64 / chronology.duration as f64).abs() < 1e-9);
    let run2 = analysis.actors[2];
    assert_eq!((run2.steps, run2.longest_step), (2, 1_000_097_000));
    // Ready at 0.500392 s, when the timer was due, and run at 1.500473 s; 101 µs before its first step.
    assert_eq!((run2.longest_wait, run2.waited), (1_000_081_000, 1_000_182_000));
}

/// The definition of a victim, one pair of steps after the other.
fn victims_by_definition(chronology: &Chronology, threshold: Nanos, culprit: usize) -> Vec<(usize, Nanos)> {
    let steps = &chronology.steps;
    let holder = &steps[culprit];
    let mut victims = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let carried = (0..steps.len()).any(|task| carriers(chronology, threshold, task).contains(&index));
        let ready = since(chronology, threshold, index).max(holder.start);
        let waited = step.start.min(holder.end()).saturating_sub(ready);
        let long = waited >= (threshold / 100).max(1);
        if index != culprit && step.thread == holder.thread && step.start > holder.start && !carried && long {
            victims.push((index, waited));
        }
    }
    victims.sort_by_key(|&(index, waited)| (std::cmp::Reverse(waited), index));
    victims
}

/// The callbacks that carried the wake of a step, the nearest first; none for a callback.
fn carriers(chronology: &Chronology, threshold: Nanos, task: usize) -> Vec<usize> {
    let steps = &chronology.steps;
    let is_callback = |index: usize| chronology.actors[steps[index].actor.index()].kind == ActorKind::Callback;
    let mut carriers = Vec::new();
    let mut woken = task;
    while let Wake::Step(by) = steps[woken].woken_by {
        let by = by.index();
        let passes_on = is_callback(by)
            && !is_callback(task)
            && steps[by].thread == steps[task].thread
            && steps[by].actor != steps[woken].actor
            && steps[by].duration <= threshold
            && carriers.len() < 8;
        if !passes_on {
            break;
        }
        carriers.push(by);
        woken = by;
    }
    carriers
}

fn since(chronology: &Chronology, threshold: Nanos, index: usize) -> Nanos {
    let steps = &chronology.steps;
    let step = &steps[index];
    let carriers = carriers(chronology, threshold, index);
    let ready = carriers.iter().map(|&carrier| steps[carrier].ready_since()).fold(step.ready_since(), Nanos::min);
    let before = steps[..index].iter().rev().find(|before| before.actor == step.actor);
    let is_task = chronology.actors[step.actor.index()].kind == ActorKind::Task;
    let ended = before.filter(|_| is_task).map_or(0, Step::end);
    ready.max(ended).min(step.start)
}

proptest! {
    #[test]
    fn victims_are_those_of_the_definition(chronology in random::chronology(40), threshold in 0..80_000_000_u64) {
        let analysis = Analysis::of(&chronology, threshold);
        let culprits: Vec<usize> =
            (0..chronology.steps.len()).filter(|&step| chronology.steps[step].duration > threshold).collect();
        prop_assert_eq!(analysis.starvations.len(), culprits.len());
        for (starvation, culprit) in analysis.starvations.iter().zip(culprits) {
            prop_assert_eq!(starvation.step, StepId(culprit as u32));
            let found: Vec<_> =
                starvation.victims.iter().map(|victim| (victim.step.index(), victim.waited)).collect();
            prop_assert_eq!(found, victims_by_definition(&chronology, threshold, culprit));
            prop_assert_eq!(starvation.victim_count, starvation.victims.len());
        }
    }
}
