//! Glyphs and colours: what a state looks like.
//!
//! The glyphs take one column in every terminal and tell the states apart without colour; colour comes on top.

use ratatui::style::{Color, Modifier, Style};

use crate::rows::{Mark, State};

/// How things look.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Whether there are colours.
    pub colour: bool,
}

impl Theme {
    fn coloured(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    /// What blocks.
    pub fn blocking(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// A line that must not be overlooked.
    pub fn alarm(self) -> Style {
        if self.colour {
            Style::new().fg(Color::White).bg(Color::Red).add_modifier(Modifier::BOLD)
        } else {
            Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD)
        }
    }

    /// What is ready and waits.
    pub fn waiting(self) -> Style {
        self.coloured(Color::Yellow)
    }

    /// What runs, or is well.
    pub fn running(self) -> Style {
        self.coloured(Color::Green)
    }

    /// What a person looks past: what is quiet.
    pub fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// A key, or the name of something.
    pub fn heading(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// The headings of a table.
    pub fn headings(self) -> Style {
        self.heading().add_modifier(Modifier::UNDERLINED)
    }

    /// The chosen row.
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The style of a state.
    pub fn state(self, state: State) -> Style {
        match state {
            State::Running => self.running().add_modifier(Modifier::BOLD),
            State::Ready => self.waiting().add_modifier(Modifier::BOLD),
            State::Awaiting => Style::new(),
            State::Done => self.quiet(),
        }
    }

    /// The style of a mark.
    pub fn mark(self, mark: Mark) -> Style {
        match mark {
            Mark::Blocks => self.blocking(),
            Mark::Starves => self.waiting().add_modifier(Modifier::BOLD),
            Mark::Fine => Style::new(),
        }
    }
}

/// The glyph of a state.
pub fn glyph(state: State) -> &'static str {
    match state {
        State::Running => "►",
        State::Ready => "◆",
        State::Awaiting => "○",
        State::Done => "✓",
    }
}

/// The word for a state.
pub fn word(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Ready => "ready, waiting",
        State::Awaiting => "awaiting",
        State::Done => "done",
    }
}

/// The glyph of a mark.
pub fn sign(mark: Mark) -> &'static str {
    match mark {
        Mark::Blocks => "!",
        Mark::Starves => "~",
        Mark::Fine => " ",
    }
}
