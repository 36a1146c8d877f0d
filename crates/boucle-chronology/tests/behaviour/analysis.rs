//! Who starved whom, by example and against the definition.

use crate::random;
use crate::scenes::{self, Recording};
use boucle_chronology::analysis::Victim;
use boucle_chronology::model::Nanos;
use boucle_chronology::{ActorKind, Analysis, Cause, Chronology, Step, StepId, Wake, sentence};
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
fn the_headline_is_the_story_of_the_worst() {
    let headline = |chronology: &Chronology| sentence::headline(chronology, &Analysis::of(chronology, THRESHOLD));
    let unseen = headline(&scenes::crowded());
    assert_eq!(
        unseen,
        "request-41 held the processor for 180 ms (resumed at shop.py:36); request-42 was ready and waited 179 ms for it, \
         and 244 others had to wait"
    );
    assert_eq!(
        headline(&scenes::watched()),
        "2 starvations, 825 ms of 1.10 s; the longest: GET /report held the processor for 703 ms at shop.py:31 (sleep); \
         chat was ready and waited 602 ms for it, and 1 other had to wait"
    );
    assert_eq!(
        headline(&scenes::congested()),
        "no starvation (threshold 50 ms), but many small steps; 11 steps held the processor for 100 ms together; chat was \
         ready and waited 100 ms for them, and 5 others had to wait"
    );
    assert_eq!(headline(&scenes::pieces()), "no starvation (threshold 50 ms)");
}

#[test]
fn the_headline_of_a_busy_machine_blames_nobody() {
    let mut run = Recording::new("tick.py", "tick.py");
    let innocent = run.task("innocent", "tick", None);
    run.run(innocent, (1_000, 120_000, 40), Wake::Timer, (8, 10));
    run.seen(50_000, Cause::NoProcessor, "", &[]);
    let chronology = run.lasting(200_000);
    assert_eq!(
        sentence::headline(&chronology, &Analysis::of(&chronology, THRESHOLD)),
        "no starvation (threshold 50 ms); innocent took 120 ms, since the operating system gave it no processor"
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

/// Each starvation's places, with the milliseconds at each: `shop.py:31 sleep 426; shop.py:21 Python code 276`.
#[track_caller]
fn check_places(chronology: &Chronology, expected: &[&str]) {
    let told: Vec<String> = Analysis::of(chronology, THRESHOLD)
        .starvations
        .iter()
        .map(|starvation| {
            let places = starvation.places.iter().map(|held| {
                let place = held.place.map(|id| &chronology.places[id.index()]);
                let file = place.map_or("", |place| place.file.rsplit('/').next().unwrap());
                let seen = if held.seen { "" } else { " unseen" };
                let line = place.map_or(0, |place| place.line);
                let withheld = match held.withheld / 1_000_000 {
                    0 => String::new(),
                    withheld => format!(", {withheld} without a processor"),
                };
                format!("{file}:{line} {} {}{seen}{withheld}", held.cause.word(), held.held / 1_000_000)
            });
            places.collect::<Vec<_>>().join("; ")
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn the_culprit_is_where_it_held_the_processor_for_longest() {
    check_places(&scenes::watched(), &["shop.py:31 sleep 478; shop.py:21 Python code 225", "shop.py:47 socket 121"]);
}

#[test]
fn a_step_that_nobody_watched_tells_only_where_it_resumed() {
    check_places(
        &scenes::starvation(),
        &["starvation.py:7 unknown 1000 unseen", "starvation.py:7 unknown 1000 unseen"],
    );
}

#[test]
fn time_without_a_processor_is_nobodys_fault() {
    let chronology = scenes::stalled();
    check_places(&chronology, &["busy.py:21 C code holding the GIL 402, 176 without a processor"]);
    let analysis = Analysis::of(&chronology, THRESHOLD);
    let stalls: Vec<_> = analysis.stalls.iter().map(|stall| (stall.actor.0, stall.withheld)).collect();
    assert_eq!(stalls, [(0, 120_400_000)]);
    assert_eq!(analysis.starved_time(), 402_000_000);
}

#[test]
fn what_was_seen_without_a_stack_is_told_where_a_neighbour_was_or_where_the_step_resumed() {
    let mut run = Recording::new("blind.py", "blind.py");
    let task = run.task("task", "t", None);
    let (inner, users) = (run.library("loads", "json/__init__.py", 346), run.place("t", 4));
    run.run(task, (10_000, 800_000, 5), Wake::Io, (1, 9));
    run.seen(50_000, Cause::Python, "", &[inner, users]);
    run.seen(150_000, Cause::Socket, "10.0.0.3:5432", &[]);
    run.run(task, (900_000, 90_000, 5), Wake::Io, (9, 9));
    run.seen(50_000, Cause::Lock, "", &[]);
    let chronology = run.lasting(1_000_000);
    check_places(&chronology, &["blind.py:4 socket 800", "blind.py:9 lock 90 unseen"]);
    let [seen, unseen] = &Analysis::of(&chronology, THRESHOLD).starvations[..] else { panic!("two are long") };
    assert_eq!((seen.places[0].detail.as_str(), &seen.places[0].stack[..]), ("10.0.0.3:5432", &[inner, users][..]));
    assert_eq!(unseen.places[0].stack, []);
}

#[test]
fn many_small_steps_keep_others_waiting_together() {
    let chronology = scenes::congested();
    let analysis = Analysis::of(&chronology, THRESHOLD);
    assert_eq!(analysis.starvations, []);
    let [congestion] = &analysis.congestions[..] else { panic!("one: {:?}", analysis.congestions) };
    // The callbacks that came sixth and later waited for those before them.
    assert_eq!((congestion.steps, congestion.busy, congestion.victim_count), (11, 100_204_000, 6));
    let shares: Vec<_> = congestion.shares.iter().map(|share| (share.actor.0, share.steps, share.busy)).collect();
    assert_eq!(shares, [(1, 10, 100_200_000), (2, 1, 4_000)]);
    let longest = congestion.victims[0];
    assert_eq!((longest.actor.0, longest.waited), (0, 100_104_000));
    assert_eq!(analysis.congested(longest.step), Some(100_104_000));
}

#[test]
fn small_steps_after_a_starvation_are_charged_apart() {
    let mut run = Recording::new("both.py", "both.py");
    let (culprit, victim) = (run.task("culprit", "c", None), run.task("victim", "v", None));
    run.run(culprit, (10_000, 200_000, 5), Wake::Io, (1, 2));
    for number in 0..6 {
        run.run(culprit, (210_000 + number * 9_000, 9_000, 5), Wake::Io, (2, 2));
    }
    run.run(victim, (264_000, 100, 254_000), Wake::Io, (1, 2));
    let chronology = run.lasting(300_000);
    check(&chronology, &["culprit: victim 200"]);
    let analysis = Analysis::of(&chronology, THRESHOLD);
    let waited: Vec<_> = analysis.congestions.iter().map(|congestion| congestion.victims[0].waited).collect();
    assert_eq!(waited, [54_000_000]);
    assert_eq!(analysis.congestions[0].busy, 54_000_000);
}

/// The lints as `kind at start ms for duration ms: count, time ms`.
#[track_caller]
fn check_lints(chronology: &Chronology, expected: &[&str]) {
    let analysis = Analysis::of(chronology, THRESHOLD);
    let told = analysis.lints.iter().map(|lint| {
        let [start, duration, time] = [lint.start, lint.duration, lint.time].map(|time| time / 1_000_000);
        format!("{:?} at {start} for {duration}: {}, {time}", lint.kind, lint.count)
    });
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn careless_habits_are_found() {
    check_lints(
        &scenes::careless(),
        &["BusyLoop at 1 for 33: 2402, 21", "PileUp at 50 for 204: 512, 102", "LateTimers at 390 for 210: 1, 210"],
    );
}

#[test]
fn what_works_is_no_careless_habit() {
    for chronology in
        [scenes::pieces(), scenes::starvation(), scenes::crowded(), scenes::congested(), scenes::stalled()]
    {
        check_lints(&chronology, &[]);
    }
    check_lints(&scenes::server(500, 30_000), &[]);
}

#[test]
fn yielding_between_pieces_of_work_is_no_busy_loop() {
    let mut run = Recording::new("polite.py", "polite.py");
    let polite = run.task("polite", "p", None);
    let mut last = run.run(polite, (1_000, 500, 5), Wake::Io, (1, 2));
    for number in 1..2_000 {
        last = run.run(polite, (1_000 + number * 600, 500, 5), Wake::Step(last), (2, 2));
    }
    check_lints(&run.lasting(2_000_000), &[]);
}

#[test]
fn a_timer_that_starved_is_not_late_for_no_reason() {
    let mut run = Recording::new("starved.py", "starved.py");
    let (culprit, tick) = (run.task("culprit", "c", None), run.callback("tick"));
    run.run(culprit, (10_000, 200_000, 5), Wake::Io, (1, 2));
    run.call(tick, (210_010, 8, 150_000), Wake::Timer);
    check_lints(&run.lasting(300_000), &[]);
}

/// How long a step waited for steps within the threshold, one after the other.
fn congested_by_definition(chronology: &Chronology, threshold: Nanos, index: usize) -> Nanos {
    let step = &chronology.steps[index];
    let ready = since(chronology, threshold, index);
    let small = chronology.steps.iter().filter(|other| other.thread == step.thread && other.duration <= threshold);
    small.map(|other| other.end().min(step.start).saturating_sub(other.start.max(ready))).sum()
}

/// The definition of a victim, one pair of steps after the other.
fn victims_by_definition(
    chronology: &Chronology,
    threshold: Nanos,
    carried: &[usize],
    culprit: usize,
) -> Vec<(usize, Nanos)> {
    let steps = &chronology.steps;
    let holder = &steps[culprit];
    let mut victims = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let ready = since(chronology, threshold, index).max(holder.start);
        let waited = step.start.min(holder.end()).saturating_sub(ready);
        let long = waited >= (threshold / 100).max(1);
        if index != culprit
            && step.thread == holder.thread
            && step.start > holder.start
            && !carried.contains(&index)
            && long
        {
            victims.push((index, waited));
        }
    }
    victims.sort_by_key(|&(index, waited)| (std::cmp::Reverse(waited), index));
    victims
}

/// All callbacks that carried the wake of a step.
fn all_carriers(chronology: &Chronology, threshold: Nanos) -> Vec<usize> {
    (0..chronology.steps.len()).flat_map(|task| carriers(chronology, threshold, task)).collect()
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

/// For how long a step had no processor: of each two samples next to each other, the earlier tells up to the middle.
fn withheld(chronology: &Chronology, step: usize) -> Nanos {
    let samples: Vec<_> = chronology.samples.iter().filter(|sample| sample.step.index() == step).collect();
    let (start, end) = (chronology.steps[step].start, chronology.steps[step].end());
    let middles = samples.windows(2).map(|pair| pair[0].at + (pair[1].at - pair[0].at) / 2);
    let cuts: Vec<Nanos> = [start].into_iter().chain(middles).chain([end]).collect();
    let stretches = samples.iter().zip(cuts.windows(2));
    stretches.filter(|(sample, _)| sample.cause == Cause::NoProcessor).map(|(_, cut)| cut[1] - cut[0]).sum()
}

/// Whether a step was seen, and never with a processor.
fn is_stall(chronology: &Chronology, step: usize) -> bool {
    let mut samples = chronology.samples.iter().filter(|sample| sample.step.index() == step).peekable();
    samples.peek().is_some() && samples.all(|sample| sample.cause == Cause::NoProcessor)
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
        let carried = all_carriers(&chronology, threshold);
        let long = (0..chronology.steps.len()).filter(|&step| chronology.steps[step].duration > threshold);
        let (culprits, stalls): (Vec<usize>, Vec<usize>) =
            long.partition(|&step| !is_stall(&chronology, step));
        let counts = (analysis.starvations.len(), analysis.stalls.len());
        prop_assert_eq!(counts, (culprits.len(), stalls.len()));
        let found = analysis.starvations.iter().chain(&analysis.stalls);
        for (starvation, culprit) in found.zip(culprits.into_iter().chain(stalls)) {
            prop_assert_eq!(starvation.withheld, withheld(&chronology, culprit));
            prop_assert_eq!(starvation.places.iter().map(|place| place.held).sum::<Nanos>(), starvation.duration);
            prop_assert_eq!(starvation.cause, starvation.places[0].cause);
            prop_assert_eq!(starvation.cause == Cause::NoProcessor, is_stall(&chronology, culprit));
            prop_assert_eq!(starvation.step, StepId(culprit as u32));
            let found: Vec<_> =
                starvation.victims.iter().map(|victim| (victim.step.index(), victim.waited)).collect();
            prop_assert_eq!(found, victims_by_definition(&chronology, threshold, &carried, culprit));
            prop_assert_eq!(starvation.victim_count, starvation.victims.len());
        }
    }

    #[test]
    fn who_waited_for_small_steps_is_in_one_congestion(
        chronology in random::chronology(40),
        threshold in prop_oneof![0..2_000_000_u64, 0..80_000_000_u64],
    ) {
        let analysis = Analysis::of(&chronology, threshold);
        let carried = all_carriers(&chronology, threshold);
        for index in 0..chronology.steps.len() {
            let waited = congested_by_definition(&chronology, threshold, index);
            let expected = (waited > threshold && !carried.contains(&index)).then_some(waited);
            prop_assert_eq!(analysis.congested(StepId(index as u32)), expected);
        }
        let mut ends = vec![0; chronology.threads.len()];
        for congestion in &analysis.congestions {
            let end = &mut ends[congestion.thread.index()];
            prop_assert!(*end <= congestion.start, "congestions do not overlap");
            *end = congestion.start + congestion.duration;
            prop_assert!(congestion.steps >= 2 && congestion.busy <= congestion.duration);
            prop_assert_eq!(congestion.victim_count, congestion.victims.len());
            prop_assert_eq!(congestion.shares.iter().map(|share| share.steps).sum::<usize>(), congestion.steps);
        }
    }
}
