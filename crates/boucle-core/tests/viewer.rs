//! Looking into a process of one's own: the rings are the process's, so this is a process by itself.

use std::time::Duration;

use boucle_core::clock::Stamp;
use boucle_core::recorder::directory::CALLBACK;
use boucle_core::recorder::viewer::{Blind, Viewer};
use boucle_core::recorder::{RawStep, Whereabouts, WokenBy, identify, rings};

fn step(start: Stamp) -> RawStep {
    RawStep {
        start,
        duration: 1.0,
        waited: 0.0,
        actor: CALLBACK,
        woken_by: WokenBy::TIMER,
        code: 0,
        whereabouts: Whereabouts::RETURNED_HERE,
    }
}

#[test]
fn a_process_is_found_by_its_number_once_it_has_something_to_show() {
    let pid = std::process::id();
    assert_eq!(Viewer::open(pid).unwrap_err(), Blind::Nothing(pid));
    let ring = rings::of_this_thread("seen");
    identify("shop.py", "a test");
    ring.ring.write(&step(Stamp::now()));
    ring.live.begin(Stamp::now(), CALLBACK | 1, 0);

    let viewer = Viewer::open(pid).unwrap();
    assert!(viewer.is_alive());
    assert_eq!((viewer.pid(), viewer.program(), viewer.recorded_by()), (pid, "shop.py", "a test"));
    assert_eq!(viewer.hidden_threads(), 0);
    let [thread] = &viewer.threads()[..] else { panic!("one thread has a ring") };
    assert_eq!(thread.owners().last().unwrap().name, "seen");
    assert_eq!(thread.running().map(|running| running.actor), Some(CALLBACK | 1));
    assert_eq!((thread.head(), thread.read(0).steps.len()), (1, 1));
    assert_eq!(viewer.snapshot(Duration::from_secs(1)).steps.len(), 2);

    // A second thread gets a ring of its own, which a viewer that is open sees.
    std::thread::spawn(|| rings::of_this_thread("another").ring.write(&step(Stamp::now()))).join().unwrap();
    assert_eq!(viewer.threads().len(), 2);
    ring.live.end();
    assert_eq!(thread.running(), None);
    assert_eq!(viewer.snapshot(Duration::from_secs(1)).threads.len(), 2);
}
