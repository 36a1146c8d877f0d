//! Two coroutines, three pieces each: on every await the other one may run.

use std::time::Duration;

use boucle::{Recording, gather, run, sleep, spawn_named};

#[path = "shared/draw.rs"]
mod draw;

async fn pieces(message: &'static str) -> String {
    println!("{message} start");
    sleep(Duration::from_millis(500)).await;
    println!("{message} middle");
    sleep(Duration::from_secs(1)).await;
    println!("{message} end");
    format!("{message} in pieces")
}

async fn both() -> (String, String) {
    gather!(spawn_named("run1", pieces("run1")), spawn_named("run2", pieces("run2")))
}

fn main() {
    let recording = Recording::start();
    println!("{:?}", run(both()));
    draw::draw(&recording.chronology("pieces.rs"));
}
