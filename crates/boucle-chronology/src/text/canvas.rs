//! Lines of text in which things are put at columns, in colour or not.

use crate::layout::State;
use crate::name;
use crate::wrap::wrapped;

/// The lines so far, and the one being written.
pub(super) struct Canvas {
    text: String,
    /// How many columns of the last line are taken.
    taken: usize,
    colour: bool,
}

/// How a piece of text looks where there is colour.
#[derive(Clone, Copy)]
pub(super) enum Style {
    Plain,
    /// What a lane or the program is called.
    Name,
    /// What matters less.
    Faint,
    /// A starvation.
    Alarm,
    /// A part of a lane.
    Glyph(State),
}

impl Style {
    /// The parameters of the terminal's "select graphic rendition" sequence.
    fn parameters(self) -> Option<&'static str> {
        match self {
            Style::Plain => None,
            Style::Name => Some("1"),
            Style::Faint | Style::Glyph(State::Awaiting) => Some("2"),
            Style::Alarm => Some("1;31"),
            Style::Glyph(State::Running) => Some("36"),
            Style::Glyph(State::Ready) => Some("33"),
            Style::Glyph(State::Blocking) => Some("31"),
        }
    }
}

impl Canvas {
    pub(super) fn new(colour: bool) -> Canvas {
        Canvas { text: String::new(), taken: 0, colour }
    }

    /// Writes `text` from `column` on. What is there already stays; then `text` follows it.
    pub(super) fn put(&mut self, column: usize, text: &str, style: Style) {
        if text.is_empty() {
            return;
        }
        while self.taken < column {
            self.text.push(' ');
            self.taken += 1;
        }
        self.taken += name::width(text);
        match style.parameters().filter(|_| self.colour) {
            Some(parameters) => self.text.extend(["\x1b[", parameters, "m", text, "\x1b[0m"]),
            None => self.text.push_str(text),
        }
    }

    /// Whether nothing is written on this line.
    pub(super) fn at_line_start(&self) -> bool {
        self.taken == 0
    }

    /// Ends the line.
    pub(super) fn line(&mut self) {
        self.text.push('\n');
        self.taken = 0;
    }

    /// Writes words from `indent` on, on as many lines as they need, each with the same indent.
    pub(super) fn paragraph(&mut self, indent: usize, width: usize, words: &str, style: Style) {
        for line in wrapped(words, width - indent, name::width, name::fitted) {
            self.put(indent, &line, style);
            self.line();
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}
