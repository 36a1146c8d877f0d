//! Starvations as they happen: counting, then ended, then with their victims.

use std::time::Duration;

use boucle_top::incidents::Incident;
use boucle_top::source::Condition;

use crate::played::{MS, Played};

/// The newest starvation: task, milliseconds, whether it counts, victims by name.
fn newest(played: &Played) -> (String, u64, bool, Vec<String>) {
    let Incident { task, duration, counting, victims, .. } = played.view.incidents.get(0).unwrap();
    (task.clone(), duration / MS, *counting, victims.iter().map(|(name, _)| name.clone()).collect())
}

fn of(task: &str, duration: u64, counting: bool, victims: &[&str]) -> (String, u64, bool, Vec<String>) {
    (task.to_owned(), duration, counting, victims.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn one_counts_while_it_lasts_and_is_one_afterwards() {
    let mut played = Played::starvation();
    assert!(played.look(540 * MS).view.incidents.is_empty());
    let mut durations = Vec::new();
    for now in (600..1500).step_by(100) {
        played.look(now * MS);
        let (task, duration, counting, victims) = newest(&played);
        assert_eq!((task.as_str(), counting, victims), ("run1", true, vec!["run2".to_owned()]));
        durations.push(duration);
        assert_eq!(played.view.incidents.len(), 1);
    }
    assert!(durations.is_sorted_by(|one, next| one + 99 <= *next), "{durations:?}");
    played.look(1510 * MS);
    assert_eq!(played.view.incidents.len(), 1);
    played.look(1600 * MS);
    assert_eq!(played.view.incidents.len(), 2);
    assert_eq!(played.view.incidents.get(1).unwrap().duration / MS, 1000);
}

#[test]
fn those_who_wait_are_known_before_and_after_they_run() {
    let mut played = Played::starvation();
    let seen = |played: &Played| played.view.incidents.get(0).unwrap().victims[0].1 / MS;
    let waiting = seen(played.look(1000 * MS));
    assert!((490..=500).contains(&waiting), "{waiting}");
    played.end();
    let (task, _, counting, victims) = newest(&played);
    assert_eq!((task.as_str(), counting, victims.len()), ("run2", false, 1));
    assert_eq!(played.view.incidents.get(1).unwrap().victims[0].0, "run2");
}

#[test]
fn what_left_the_window_stays_listed() {
    let mut played = Played::starvation();
    played.end();
    let before = played.view.incidents.len();
    let mut later = played.view.snapshot.clone();
    later.chronology.steps.clear();
    later.now += 100_000 * MS;
    played.view.update(later);
    assert_eq!(played.view.incidents.len(), before);
    assert!(played.screen(80, 24).contains("100 s ago"), "{}", played.screen(80, 24));
}

#[test]
fn the_window_reaches_back_to_the_start_of_what_goes_on() {
    let mut played = Played::starvation();
    let interval = Duration::from_millis(100);
    assert_eq!(played.look(400 * MS).view.window(interval), Duration::from_secs(10));
    played.look(1200 * MS);
    let mut later = played.view.snapshot.clone();
    // A minute later it still goes on.
    later.now += 60_000 * MS;
    later.chronology.duration += 60_000 * MS;
    later.chronology.steps.last_mut().unwrap().duration += 60_000 * MS;
    played.view.update(later);
    assert!(played.view.window(interval) > Duration::from_mins(1));
    assert_eq!(newest(&played).1 / 1000, 60);
}

#[test]
fn the_end_of_a_process_is_said_and_its_last_picture_kept() {
    let mut played = Played::starvation();
    played.look(1000 * MS).view.snapshot.pid = Some(42);
    played.view.ended();
    assert_eq!(played.view.snapshot.condition, Condition::Ended);
    let (task, duration, counting, victims) = newest(&played);
    assert_eq!((task, duration / 10, counting, victims), of("run1", 49, false, &["run2"]));
    let screen = played.screen(80, 24);
    assert!(screen.contains("the process has ended: its last picture"), "{screen}");
    assert!(screen.contains("run1") && screen.contains("run2"), "{screen}");
}
