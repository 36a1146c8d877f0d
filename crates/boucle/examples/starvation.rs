//! The same with a second sleep that does not await: nobody else can run meanwhile.

use std::time::Duration;

use boucle::{Recording, gather, run, sleep, spawn_named};

#[path = "shared/draw.rs"]
mod draw;

#[expect(clippy::disallowed_methods, reason = "blocking the loop is what this example is about")]
async fn pieces(message: &'static str) -> String {
    println!("{message} start");
    sleep(Duration::from_millis(500)).await;
    println!("{message} middle");
    std::thread::sleep(Duration::from_secs(1));
    println!("{message} end");
    format!("{message} in pieces")
}

async fn both() -> (String, String) {
    gather!(spawn_named("run1", pieces("run1")), spawn_named("run2", pieces("run2")))
}

fn main() {
    let recording = Recording::start();
    println!("{:?}", run(both()));
    draw::draw(&recording.chronology("starvation.rs"));
}
