//! What a reader sees, kept in `tests/golden`. `BOUCLE_BLESS=1` writes the files instead of comparing.

use crate::{random, scenes};
use boucle_chronology::model::Nanos;
use boucle_chronology::svg::{self, SvgOptions};
use boucle_chronology::text::{self, TextOptions};
use boucle_chronology::{Analysis, Chronology, json};
use proptest::prelude::*;
use std::path::Path;
use unicode_width::UnicodeWidthStr;

const THRESHOLD: Nanos = 50_000_000;

fn check(name: &str, chronology: &Chronology) {
    let analysis = Analysis::of(chronology, THRESHOLD);
    for width in [80, 120] {
        let options = TextOptions { width, ..TextOptions::default() };
        matches_golden(&format!("{name}.{width}.txt"), &text::draw(chronology, &analysis, &options));
    }
    matches_golden(&format!("{name}.svg"), &svg::draw(chronology, &analysis, &SvgOptions::default()));
    matches_golden(&format!("{name}.json"), &json::analysis_json(chronology, &analysis));
}

fn matches_golden(file: &str, drawn: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("BOUCLE_BLESS").is_some() {
        std::fs::write(&path, drawn).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == drawn,
        "{} differs; if the new picture is better, run the tests with BOUCLE_BLESS=1\n{}",
        path.display(),
        difference(&golden, drawn)
    );
}

/// The first lines that differ, before and after.
fn difference(golden: &str, drawn: &str) -> String {
    let same = golden.lines().zip(drawn.lines()).take_while(|(before, after)| before == after).count();
    let part = |text: &str, mark: &str| {
        let lines = text.lines().skip(same).take(8).map(|line| format!("{mark} {line}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    format!("from line {}:\n{}\n{}", same + 1, part(golden, "-"), part(drawn, "+"))
}

#[test]
fn pieces_that_await_leave_the_processor_to_each_other() {
    check("pieces", &scenes::pieces());
}

#[test]
fn a_starvation_is_told_with_its_culprit_and_victim() {
    check("starvation", &scenes::starvation());
}

#[test]
fn a_watched_starvation_says_where_it_was_and_what_to_do() {
    check("watched", &scenes::watched());
}

#[test]
fn a_stall_blames_nobody() {
    check("stalled", &scenes::stalled());
}

#[test]
fn small_steps_that_add_up_are_told_together() {
    check("congested", &scenes::congested());
}

#[test]
fn careless_habits_are_told_with_what_to_do() {
    check("careless", &scenes::careless());
}

#[test]
fn a_crowd_is_drawn_by_its_most_important_tasks() {
    check("crowded", &scenes::crowded());
}

#[test]
fn an_empty_recording_says_so() {
    check("empty", &scenes::empty());
}

/// `text` without the sequences that set colours.
fn uncoloured(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').unwrap().1)
}

proptest! {
    #[test]
    fn any_recording_fits_into_its_terminal(chronology in random::chronology(40), width in 60..140_usize) {
        let analysis = Analysis::of(&chronology, THRESHOLD);
        let plain = text::draw(&chronology, &analysis, &TextOptions { width, colour: false });
        for line in plain.lines() {
            prop_assert!(line.width() <= width, "{line:?} is wider than {width}");
            prop_assert!(!line.ends_with(' ') && !line.contains(char::is_control), "{line:?}");
        }
        let coloured = text::draw(&chronology, &analysis, &TextOptions { width, colour: true });
        prop_assert_eq!(uncoloured(&coloured), plain);
    }

    #[test]
    fn any_recording_is_a_well_formed_svg(chronology in random::chronology(40), width in 600..1_600_usize) {
        let analysis = Analysis::of(&chronology, THRESHOLD);
        let drawn = svg::draw(&chronology, &analysis, &SvgOptions { width, ..SvgOptions::default() });
        let document = roxmltree::Document::parse(&drawn);
        prop_assert!(document.is_ok(), "{:?}", document.err());
    }

    #[test]
    fn any_recording_is_valid_json(chronology in random::chronology(40)) {
        let analysis = Analysis::of(&chronology, THRESHOLD);
        let run: serde_json::Value = serde_json::from_str(&json::analysis_json(&chronology, &analysis)).unwrap();
        prop_assert_eq!(run["starvations"].as_array().unwrap().len(), analysis.starvations.len());
    }
}
