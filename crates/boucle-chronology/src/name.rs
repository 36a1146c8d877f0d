//! Names as they may be shown: a program chooses them, so they can hold anything and be of any length.
//!
//! # Invariants
//!
//! * What [`shown`] returns has no control character, no character that reorders or hides its neighbours, and none
//!   that XML forbids: a name can neither steer a terminal nor break a picture. They appear as escapes.

use unicode_width::UnicodeWidthStr;

/// A longer name says no more.
const LONGEST: usize = 60;

/// `name` on one line, without anything that acts instead of being seen, and cut where it is very long.
pub fn shown(name: &str) -> String {
    match name.trim() {
        "" => "(no name)".to_owned(),
        name => fitted(&escaped(name), LONGEST),
    }
}

/// `text` of any length, without anything that acts instead of being seen.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// `text`, which is escaped, cut to at most `columns` columns with an `…` that says so.
pub fn fitted(text: &str, columns: usize) -> String {
    // Characters without a width of their own are bounded too.
    let most = columns * 4;
    if text.chars().nth(most).is_none() && width(text) <= columns {
        return text.to_owned();
    }
    // The width of a text is not the sum of its characters' widths, so each beginning is measured.
    let mut kept: String = text.chars().take(most).collect();
    loop {
        let cut = format!("{}…", kept.trim_end());
        if width(&cut) <= columns {
            return cut;
        }
        if kept.pop().is_none() {
            return String::new();
        }
    }
}

/// How many columns of a terminal `text` takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The last component of a path, of either kind of system.
pub fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).find(|component| !component.is_empty()).unwrap_or(path)
}

/// Whether a character changes how others are shown, or cannot be in XML.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61C}'
                | '\u{200B}'
                | '\u{200E}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{FFFE}'..='\u{FFFF}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_reordering_are_shown_and_not_obeyed() {
        assert_eq!(shown("a\x1b[31mb\nc\u{202e}d\0"), "a\\u{1b}[31mb\\nc\\u{202e}d\\u{0}");
        assert_eq!(shown(""), "(no name)");
    }

    #[test]
    fn long_and_wide_names_are_cut_to_their_columns() {
        for (text, columns, expected) in [
            ("task", 4, "task"),
            ("tasks", 4, "tas…"),
            ("作業番号", 8, "作業番号"),
            ("作業番号", 7, "作業番…"),
            ("作業番号", 6, "作業…"),
        ] {
            assert_eq!(fitted(text, columns), expected);
            assert!(width(&fitted(text, columns)) <= columns);
        }
        assert_eq!(width(&shown(&"x".repeat(10_000))), LONGEST);
        assert!(shown(&"\u{301}".repeat(10_000)).len() < 1_000);
    }

    #[test]
    fn a_file_name_is_the_last_component() {
        let names = ["/home/me/pieces.py", "pieces.py", "C:\\work\\pieces.py", "src/", ""].map(file_name);
        assert_eq!(names, ["pieces.py", "pieces.py", "pieces.py", "src", ""]);
    }
}
