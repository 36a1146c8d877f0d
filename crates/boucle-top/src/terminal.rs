//! The terminal: shows the view again and again, and hands it the keys.

use std::io::{self, IsTerminal};
use std::time::Duration;

use boucle_core::clock::Tick;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::{DefaultTerminal, Frame};

use crate::screen;
use crate::source::{Condition, Source};
use crate::view::{Reaction, View};

/// Shows `view` until somebody quits. `view` has its first snapshot.
pub fn run(source: &mut dyn Source, view: &mut View, interval: Duration) -> io::Result<()> {
    if !io::stdout().is_terminal() {
        return Err(io::Error::other("the output is no terminal: --once and --json print instead"));
    }
    // Restores the terminal in a panic too.
    let mut terminal = ratatui::try_init()?;
    let result = show(&mut terminal, source, view, interval);
    ratatui::try_restore()?;
    result
}

fn show(
    terminal: &mut DefaultTerminal,
    source: &mut dyn Source,
    view: &mut View,
    interval: Duration,
) -> io::Result<()> {
    let mut due = Tick::now().after(interval);
    loop {
        terminal.draw(|frame: &mut Frame| screen::draw(view, frame.area(), frame.buffer_mut()))?;
        let mut waited = false;
        while event::poll(if waited { Duration::ZERO } else { Tick::now().until(due) })? {
            // What was typed meanwhile is answered at once, and drawn once.
            waited = true;
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && view.key(key) == Reaction::Quit
            {
                return Ok(());
            }
        }
        if Tick::now() >= due {
            due = Tick::now().after(interval);
            refresh(source, view, interval);
        }
    }
}

/// Looks again, unless there is nothing to see any more or nobody wants to.
fn refresh(source: &mut dyn Source, view: &mut View, interval: Duration) {
    if view.paused || view.snapshot.condition == Condition::Ended {
        return;
    }
    match source.snapshot(view.window(interval)) {
        Ok(snapshot) => view.update(snapshot),
        Err(_) => view.ended(),
    }
}
