//! A view of a recording, at points in time of its own.

use std::path::Path;

use boucle_chronology::{Nanos, decode};
use boucle_top::theme::Theme;
use boucle_top::{Options, Replay, View, screen};
use ratatui::crossterm::event::{KeyCode, KeyEvent};

pub(crate) const MS: Nanos = 1_000_000;

/// Where the examples' recordings are, seen from this crate.
const STARVATION: &str = "../boucle-chronology/tests/golden/starvation.boucle";
const WATCHED: &str = "../boucle-chronology/tests/golden/watched.boucle";
const BREATHING: &str = "tests/golden/breathing.boucle";

/// A recording that is being looked at.
pub(crate) struct Played {
    replay: Replay,
    pub(crate) duration: Nanos,
    pub(crate) view: View,
}

impl Played {
    /// `examples/starvation.py`: run1 blocks from 0.5 s to 1.5 s, then run2.
    pub(crate) fn starvation() -> Self {
        Self::of(STARVATION)
    }

    /// A server whose watchdog looked: a request sleeps, then a chat waits for a socket.
    pub(crate) fn watched() -> Self {
        Self::of(WATCHED)
    }

    /// `examples/breathing.py`: a computation in many small steps.
    pub(crate) fn breathing() -> Self {
        Self::of(BREATHING)
    }

    fn of(file: &str) -> Self {
        let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let recording = decode(&bytes).unwrap();
        let options = Options::default();
        Self {
            duration: recording.duration,
            view: View::new(&options, Theme { colour: true }),
            replay: Replay::at_its_end(recording, options.threshold),
        }
    }

    /// Looks at `now`, ten seconds back.
    pub(crate) fn look(&mut self, now: Nanos) -> &mut Self {
        self.view.update(self.replay.cut(now.saturating_sub(10_000 * MS), now));
        self
    }

    /// Looks at the end.
    pub(crate) fn end(&mut self) -> &mut Self {
        self.look(self.duration)
    }

    /// Types: `\n` is enter, `\t` tab, `\x1b` escape, `↓` and `↑` the arrows.
    pub(crate) fn keys(&mut self, keys: &str) -> &mut Self {
        for key in keys.chars() {
            self.view.key(KeyEvent::from(code(key)));
        }
        self
    }

    /// The screen as text.
    pub(crate) fn screen(&self, width: u16, height: u16) -> String {
        screen::plain(&self.view, width, height)
    }

    /// The names in the table, from the top.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.view.rows.iter().map(|row| row.name.as_str()).collect()
    }
}

fn code(key: char) -> KeyCode {
    match key {
        '\n' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '\x1b' => KeyCode::Esc,
        '\x08' => KeyCode::Backspace,
        '↓' => KeyCode::Down,
        '↑' => KeyCode::Up,
        other => KeyCode::Char(other),
    }
}
