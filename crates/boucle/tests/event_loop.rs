//! What the Rust face promises: order, timers, wakes from other threads, panics.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use boucle::chronology::ActorKind;
use boucle::{EventLoop, Recording, gather, run, sleep, spawn, spawn_named, yield_now};

/// Runs tasks that log what they do, and checks the order.
#[track_caller]
fn check<F: Future<Output = ()> + 'static>(program: impl FnOnce(Rc<RefCell<Vec<&'static str>>>) -> F, logged: &[&str]) {
    let log = Rc::new(RefCell::new(Vec::new()));
    run(program(Rc::clone(&log)));
    assert_eq!(*log.borrow(), logged);
}

#[test]
fn tasks_alternate_at_every_await() {
    check(
        |log| async move {
            let say = |first, second| {
                let log = Rc::clone(&log);
                async move {
                    log.borrow_mut().push(first);
                    yield_now().await;
                    log.borrow_mut().push(second);
                }
            };
            gather!(say("a1", "a2"), say("b1", "b2"));
        },
        &["a1", "b1", "a2", "b2"],
    );
}

#[test]
fn results_come_in_the_order_of_the_arguments() {
    let slow = async {
        sleep(Duration::from_millis(5)).await;
        "slow"
    };
    assert_eq!(run(async { gather!(slow, async { "fast" }) }), ("slow", "fast"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a second clock, to judge the loop's by")]
fn a_sleep_is_never_shorter_than_asked_for() {
    for micros in [1, 200, 3_000] {
        let time = Duration::from_micros(micros);
        let before = Instant::now();
        run(sleep(time));
        assert!(before.elapsed() >= time);
    }
}

#[test]
fn a_waker_wakes_from_another_thread() {
    let mut started = false;
    run(poll_fn(move |context| {
        if std::mem::replace(&mut started, true) {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        std::thread::spawn(move || waker.wake());
        Poll::Pending
    }));
}

#[test]
fn a_task_that_panics_raises_where_it_is_awaited() {
    let caught = std::panic::catch_unwind(|| {
        run(async {
            let other = spawn(async { 1 });
            let broken = spawn(async { panic!("broken") });
            assert_eq!(other.await, 1);
            broken.await;
        });
    });
    assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"broken"));
    // The thread can run another loop.
    assert_eq!(run(async { 2 }), 2);
}

#[test]
#[expect(clippy::async_yields_async, reason = "the task is to outlive the run that spawned it")]
fn a_loop_goes_on_with_its_tasks_in_the_next_run() {
    let event_loop = EventLoop::new().unwrap();
    let task = event_loop.run_until_complete(async {
        spawn(async {
            yield_now().await;
            yield_now().await;
            "done"
        })
    });
    assert!(!task.is_finished());
    assert_eq!(event_loop.run_until_complete(task), "done");
}

#[test]
fn a_dropped_sleep_does_not_wake() {
    run(async {
        let forgotten = spawn_named("forgotten", async { sleep(Duration::from_hours(1)).await });
        yield_now().await;
        drop(forgotten);
        let sleep = sleep(Duration::from_hours(1));
        drop(sleep);
    });
}

#[test]
fn a_run_is_recorded_with_its_lines() {
    // On a thread of its own: other tests of this process record too.
    let chronology = std::thread::Builder::new()
        .name("recorded".into())
        .spawn(|| {
            let recording = Recording::start();
            run(async { spawn_named("sleeper", async { sleep(Duration::from_millis(3)).await }).await });
            recording.chronology("test")
        })
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(chronology.check(), Ok(()));
    let sleeper = chronology.actors.iter().position(|actor| actor.name == "sleeper").unwrap();
    assert_eq!(chronology.actors[sleeper].kind, ActorKind::Task);
    let steps: Vec<_> = chronology.steps.iter().filter(|step| step.actor.index() == sleeper).collect();
    assert_eq!(steps.len(), 2, "up to the sleep, and after it");
    assert!(steps[1].start - steps[0].end() >= 2_900_000);
    let resumed = &chronology.places[steps[1].resumed.unwrap().index()];
    assert!(resumed.file.ends_with("event_loop.rs"));
    assert_eq!(chronology.threads[steps[0].thread.index()].name, "recorded");
}
