//! Whole screens, kept in `tests/golden`. `BOUCLE_BLESS=1` writes the files instead of comparing.

use std::path::Path;

use boucle_top::screen;
use boucle_top::theme::Theme;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use ratatui::{Frame, Terminal};

use crate::played::{MS, Played};

#[track_caller]
fn check(name: &str, played: &Played, width: u16, height: u16) {
    let file = format!("{name}.{width}x{height}.txt");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(&file);
    let drawn = played.screen(width, height);
    if std::env::var_os("BOUCLE_BLESS").is_some() {
        std::fs::write(&path, drawn).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(golden == drawn, "{file} differs (BOUCLE_BLESS=1 if the new one is better)\n-\n{golden}\n+\n{drawn}");
}

#[test]
fn while_a_step_blocks_its_name_and_those_who_wait_stand_on_top() {
    let mut played = Played::starvation();
    check("blocked", played.look(750 * MS), 80, 24);
}

#[test]
fn afterwards_both_starvations_are_listed() {
    let mut played = Played::starvation();
    check("starved", played.end(), 80, 24);
    check("starved", &played, 120, 40);
}

#[test]
fn what_a_watchdog_saw_is_told() {
    let mut played = Played::watched();
    check("watched", played.end(), 100, 24);
    check("watched-starvation", played.keys("\t↓\n"), 100, 24);
}

#[test]
fn the_details_of_a_task_tell_its_steps_and_waits() {
    let mut played = Played::starvation();
    check("task", played.end().keys("n↓↓↓↓\n"), 80, 24);
    check("task", &played, 120, 24);
}

#[test]
fn small_steps_block_nobody() {
    let mut played = Played::breathing();
    check("breathing", played.look(500 * MS), 80, 24);
}

#[test]
fn help_explains_keys_and_glyphs() {
    let mut played = Played::starvation();
    check("help", played.end().keys("?"), 100, 30);
}

#[test]
fn a_small_window_keeps_what_matters_most() {
    let mut played = Played::starvation();
    check("small", played.look(750 * MS), 40, 8);
    check("small", &played, 60, 3);
}

#[test]
fn no_window_is_too_small_to_be_drawn() {
    for keys in ["", "\n", "\t\n", "?", "/x", "\t"] {
        let mut played = Played::watched();
        played.end().keys(keys);
        for (width, height) in [(1, 1), (1, 50), (200, 1), (7, 3), (20, 5), (33, 7), (49, 11), (300, 100)] {
            assert_eq!(played.screen(width, height).lines().count(), usize::from(height));
        }
    }
}

#[test]
fn nothing_seen_yet_can_be_drawn() {
    let mut played = Played::starvation();
    let screen = played.look(0).screen(80, 24);
    assert!(screen.contains(" idle: nothing ran in the last 0 s"), "{screen}");
    assert!(screen.contains("no task ran"), "{screen}");
}

/// The terminal as it is resized, and the cells at which a text begins.
fn drawn(terminal: &mut Terminal<TestBackend>, played: &Played, text: &str) -> (Option<Color>, Option<Color>) {
    terminal
        .draw(|frame: &mut Frame| {
            let area = frame.area();
            screen::draw(&played.view, area, frame.buffer_mut());
        })
        .unwrap();
    let buffer = terminal.backend().buffer();
    let area = buffer.area;
    for y in 0..area.height {
        let line: Vec<_> = (0..area.width).map(|x| buffer[(x, y)].symbol()).collect();
        if let Some(at) = line.concat().find(text) {
            // Before it are only characters of one byte.
            let cell = &buffer[(at as u16, y)];
            let set = |colour: Color| (colour != Color::Reset).then_some(colour);
            return (set(cell.fg), set(cell.bg));
        }
    }
    panic!("{text:?} is not on the screen: {buffer:?}");
}

#[test]
fn what_blocks_is_red_unless_colours_are_unwanted() {
    let mut played = Played::starvation();
    played.look(750 * MS);
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    assert_eq!(drawn(&mut terminal, &played, "BLOCKED"), (Some(Color::White), Some(Color::Red)));
    terminal.backend_mut().resize(40, 10);
    assert_eq!(drawn(&mut terminal, &played, "BLOCKED"), (Some(Color::White), Some(Color::Red)));
    played.view.theme = Theme { colour: false };
    assert_eq!(drawn(&mut terminal, &played, "BLOCKED"), (None, None));
}
