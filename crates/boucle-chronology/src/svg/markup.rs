//! SVG as text: every name passes through here and comes out escaped, and every length of text is estimated here.
//!
//! The reader's fonts are not known, so text is taken to be somewhat wider than in the widest common ones.

use super::style::Font;
use crate::wrap;
use std::fmt::{Arguments, Write};
use unicode_width::UnicodeWidthChar;

/// The elements so far.
#[derive(Default)]
pub(super) struct Markup {
    text: String,
}

/// Which end of a text is at its position.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Markup {
    /// Writes what holds no name.
    pub(super) fn raw(&mut self, markup: Arguments) {
        self.text.write_fmt(markup).expect("a String takes everything that is written to it");
    }

    /// An element that has only text.
    pub(super) fn element(&mut self, element: &str, text: &str) {
        self.raw(format_args!("<{element}>{}</{element}>\n", escaped(text)));
    }

    pub(super) fn text(&mut self, class: &str, x: usize, y: usize, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        self.raw(format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\"{anchor}>{}</text>\n", escaped(text)));
    }

    /// Text that says more when pointed at.
    pub(super) fn explained(&mut self, class: &str, x: usize, y: usize, text: &str, more: &str) {
        let (text, more) = (escaped(text), escaped(more));
        let title = if more.is_empty() { String::new() } else { format!("<title>{more}</title>") };
        self.raw(format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{title}{text}</text>\n"));
    }

    /// Begins shapes that say more when pointed at.
    pub(super) fn group_begins(&mut self, more: &str) {
        self.raw(format_args!("<g><title>{}</title>", escaped(more)));
    }

    pub(super) fn group_ends(&mut self) {
        self.text.push_str("</g>\n");
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// How many pixels `text` takes at most in a common font.
pub(super) fn text_width(text: &str, font: Font) -> usize {
    let ems: f64 = text.chars().map(|character| font.advance(character)).sum();
    (ems * font.size).ceil() as usize
}

/// `text` cut to `room` pixels, with an `…` that says so.
pub(super) fn cut(text: &str, font: Font, room: usize) -> String {
    if text_width(text, font) <= room {
        return text.to_owned();
    }
    let mut cut: String = text.to_owned();
    while !cut.is_empty() && text_width(&cut, font) + text_width("…", font) > room {
        cut.pop();
    }
    cut + "…"
}

/// `text` in lines of at most `room` pixels.
pub(super) fn wrapped(text: &str, font: Font, room: usize) -> Vec<String> {
    wrap::wrapped(text, room, |line| text_width(line, font), |word, room| cut(word, font, room))
}

/// How wide a character is, in ems, in a proportional sans-serif font.
pub(super) fn proportional(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' | '(' | ')' | 'f' | 't' => 0.36,
        'm' | 'w' | 'M' | 'W' | '…' | '→' | '@' | '%' => 1.0,
        'A'..='Z' => 0.72,
        _ if character.width() == Some(2) => 1.1,
        _ => 0.61,
    }
}

/// The same in a font whose characters are all equally wide.
pub(super) fn monospaced(character: char) -> f64 {
    if character.width() == Some(2) { 1.2 } else { 0.62 }
}

/// `text` for use between tags or in an attribute. Characters that XML forbids become escapes of another kind, so that
/// one sees that something was there.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            '\u{FFFE}' | '\u{FFFF}' => escaped.extend(character.escape_default()),
            _ if character.is_control() => escaped.extend(character.escape_default()),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svg::style::NAME;

    #[test]
    fn what_xml_forbids_is_escaped() {
        assert_eq!(
            escaped("<a href=\"x\">&\u{0}\u{1b}\u{ffff}"),
            "&lt;a href=&quot;x&quot;&gt;&amp;\\u{0}\\u{1b}\\u{ffff}"
        );
    }

    #[test]
    fn text_is_cut_and_wrapped_to_its_room() {
        assert_eq!(cut("run1", NAME, 100), "run1");
        let cut = cut("a_very_long_name_of_a_task", NAME, 100);
        assert!(cut.ends_with('…') && text_width(&cut, NAME) <= 100, "{cut}");
        let lines = wrapped("run2 was ready and waited 1.0 s for run1", NAME, 150);
        assert!(lines.len() > 1 && lines.iter().all(|line| text_width(line, NAME) <= 150), "{lines:?}");
    }
}
