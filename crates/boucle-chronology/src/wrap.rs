//! Sentences in lines of bounded width.
//!
//! A line does not end between a number and its unit: `1.00 s` is one thing to read.

use std::mem;

/// `text` in lines that are at most `room` wide by `width`. A word that alone is wider goes through `cut`.
pub(crate) fn wrapped(
    text: &str,
    room: usize,
    width: impl Fn(&str) -> usize,
    cut: impl Fn(&str, usize) -> String,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for phrase in phrases(text) {
        let longer = if line.is_empty() { phrase.clone() } else { format!("{line} {phrase}") };
        if width(&longer) <= room {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(mem::take(&mut line));
        }
        line = if width(&phrase) <= room { phrase } else { cut(&phrase, room) };
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The words of `text`, each number together with the word after it.
fn phrases(text: &str) -> Vec<String> {
    let mut phrases: Vec<String> = Vec::new();
    let mut after_number = false;
    for word in text.split_whitespace() {
        match phrases.last_mut() {
            Some(phrase) if after_number => {
                phrase.push(' ');
                phrase.push_str(word);
            }
            _ => phrases.push(word.to_owned()),
        }
        after_number = word.starts_with(|first: char| first.is_ascii_digit() || first == '<')
            && word.chars().all(|character| matches!(character, '0'..='9' | '.' | ',' | '<'));
    }
    phrases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name;

    fn check(text: &str, room: usize, expected: &[&str]) {
        assert_eq!(wrapped(text, room, name::width, name::fitted), expected);
    }

    #[test]
    fn lines_end_between_words_but_not_before_a_unit() {
        check("held the processor for 1.00 s; run2", 25, &["held the processor for", "1.00 s; run2"]);
        check("", 25, &[]);
    }

    #[test]
    fn a_word_wider_than_a_line_is_cut() {
        check("a_very_long_name had to wait", 8, &["a_very_…", "had to", "wait"]);
    }
}
