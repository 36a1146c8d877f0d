//! The turn on a simulated reactor, against a naive model, under a clock that only the test moves.

use std::collections::BTreeSet;
use std::time::Duration;

use boucle_core::clock::{Moment, Scale, Stamp, Tick};
use boucle_core::reactor::{Event, Interest, Reactor, simulated::Simulated};
use boucle_core::recorder::WokenBy;
use boucle_core::turn::{Turn, Wait};
use proptest::prelude::*;

/// Runs one turn: what it ran, in order. Each item may schedule others through `run`.
fn turn<T>(
    turn: &mut Turn<T>,
    reactor: &mut Simulated<T>,
    scale: &Scale,
    mut run: impl FnMut(&mut Turn<T>, &mut Simulated<T>, T),
) where
    T: Clone,
{
    let mut events: Vec<Event> = Vec::new();
    match turn.begin(reactor.now(), false, !reactor.is_empty()) {
        Wait::Skip => {}
        Wait::Poll => reactor.wait(Duration::ZERO, &mut events).expect("a simulation cannot fail"),
        Wait::Sleep(time) => reactor.wait(time, &mut events).expect("a simulation cannot fail"),
    }
    let items: Vec<T> = events.iter().filter_map(|event| reactor.source(event.token).cloned()).collect();
    turn.collect(at(reactor.now()), scale, Stamp(0), items);
    while let Some(ready) = turn.pop() {
        run(turn, reactor, ready.item);
    }
}

/// A moment for turns whose stamps do not matter.
fn at(tick: Tick) -> Moment {
    Moment { tick, stamp: Stamp(0) }
}

fn soon<T>(turn: &mut Turn<T>, item: T) {
    turn.push(item, Stamp(0), WokenBy::UNKNOWN);
}

#[test]
fn a_batch_is_what_was_ready_then_io_then_due_timers() {
    let scale = Scale::measure();
    let (mut t, mut reactor) = (Turn::default(), Simulated::default());
    reactor.register(7, Interest::READ, "io").unwrap();
    reactor.plan(Tick(0), 7, Interest::READ);
    t.push_at(Tick(0), "timer");
    soon(&mut t, "ready");
    let mut ran = Vec::new();
    turn(&mut t, &mut reactor, &scale, |_, _, item| ran.push(item));
    assert_eq!(ran, ["ready", "io", "timer"]);
}

#[test]
fn what_a_batch_schedules_runs_in_the_next_turn() {
    let scale = Scale::measure();
    let (mut t, mut reactor) = (Turn::default(), Simulated::default());
    soon(&mut t, "first");
    let mut turns = Vec::new();
    for _ in 0..3 {
        let mut ran = Vec::new();
        turn(&mut t, &mut reactor, &scale, |t, _, item| {
            ran.push(item);
            soon(t, "again");
        });
        turns.push(ran);
    }
    assert_eq!(turns, [["first"], ["again"], ["again"]]);
}

#[test]
fn an_interrupted_batch_leaves_the_rest_queued() {
    let scale = Scale::measure();
    let (mut t, mut reactor): (Turn<u32>, Simulated<u32>) = Default::default();
    (1..=3).for_each(|item| soon(&mut t, item));
    t.collect(at(Tick(0)), &scale, Stamp(0), []);
    assert_eq!(t.pop().unwrap().item, 1);
    // An exception leaves the loop here. What came meanwhile queues behind the rest.
    soon(&mut t, 4);
    let mut ran = Vec::new();
    turn(&mut t, &mut reactor, &scale, |_, _, item| ran.push(item));
    assert_eq!(ran, [2, 3, 4]);
}

#[test]
fn a_loop_sleeps_until_its_next_deadline() {
    let scale = Scale::measure();
    let (mut t, mut reactor) = (Turn::default(), Simulated::default());
    t.push_at(Tick(1_500), "timer");
    assert_eq!(t.begin(Tick(500), false, true), Wait::Sleep(Duration::from_micros(1)));
    assert_eq!(t.begin(Tick(500), true, true), Wait::Poll, "a stopping loop does not sleep");
    assert_eq!(t.begin(Tick(1_500), false, false), Wait::Skip, "nothing but a wake could be reported");
    turn(&mut t, &mut reactor, &scale, |_, reactor, _| {
        assert_eq!(reactor.now(), Tick(1_500));
    });
}

#[test]
fn a_timer_has_been_ready_since_its_deadline_and_io_since_its_report() {
    let scale = Scale::measure();
    let mut t = Turn::default();
    t.push_at(Tick(0), "timer");
    let reported = Stamp::now();
    let now = Moment { tick: Tick(1_000_000), stamp: Stamp(reported.0 + 1_000_000_000) };
    t.collect(now, &scale, reported, ["io"]);
    let io = t.pop().unwrap();
    assert_eq!((io.item, io.since, io.woken_by), ("io", reported, WokenBy::IO));
    let timer = t.pop().unwrap();
    assert_eq!((timer.item, timer.woken_by), ("timer", WokenBy::TIMER));
    let waited = scale.nanos(now.stamp.since(timer.since) as f64);
    assert!(waited.abs_diff(1_000_000) < 1_000, "{waited}");
}

/// What a random program does to the timers.
#[derive(Clone, Debug)]
enum Op {
    Insert(i64),
    /// Cancels the n-th timer that was ever made, which may have fired or been cancelled before.
    Cancel(usize),
    Pass(i64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0_i64..50).prop_map(Op::Insert),
        2 => (0_usize..60).prop_map(Op::Cancel),
        2 => (0_i64..20).prop_map(Op::Pass),
    ]
}

proptest! {
    #[test]
    fn timers_do_what_a_sorted_set_would(ops in prop::collection::vec(op(), 0..200)) {
        let scale = Scale::measure();
        let mut t = Turn::default();
        let mut now = 0;
        let mut keys = Vec::new();
        let mut model = BTreeSet::new();
        for op in ops {
            match op {
                Op::Insert(delay) => {
                    let number = keys.len();
                    model.insert((now + delay, number));
                    keys.push((t.push_at(Tick(now + delay), number), now + delay));
                }
                Op::Cancel(number) => {
                    if let Some(&(key, deadline)) = keys.get(number) {
                        let was_pending = model.remove(&(deadline, number));
                        prop_assert_eq!(t.cancel(key), was_pending.then_some(number));
                    }
                }
                Op::Pass(time) => {
                    now += time;
                    let later = model.split_off(&(now + 1, 0));
                    let due: Vec<usize> = std::mem::replace(&mut model, later).into_iter().map(|(_, n)| n).collect();
                    t.collect(at(Tick(now)), &scale, Stamp(0), []);
                    let fired: Vec<usize> = std::iter::from_fn(|| t.pop()).map(|ready| ready.item).collect();
                    prop_assert_eq!(fired, due);
                }
            }
            prop_assert_eq!(t.timers_len(), model.len());
        }
    }
}
