//! What the keys do.

use boucle_top::view::{Focus, Panel, Reaction};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::played::{MS, Played};

#[test]
fn letters_sort_and_turn_round() {
    let mut played = Played::watched();
    played.end();
    assert_eq!(played.names()[..2], ["GET /report", "chat"]);
    assert_eq!(played.keys("b").names().last(), Some(&"GET /report"));
    assert_eq!(played.keys("l").names()[..2], ["GET /report", "chat"]);
    assert_eq!(played.keys("w").names()[0], "chat");
    let by_name = ["chat", "futures._set_result_unless_cancelled", "GET /report", "Metrics.flush", "Task-1"];
    assert_eq!(played.keys("n").names(), by_name);
    assert_eq!(played.keys("n").names().first(), Some(&"Task-1"));
}

#[test]
fn a_filter_keeps_what_has_it_in_its_name_or_coroutine() {
    let mut played = Played::starvation();
    played.end().keys("/PIECE");
    assert!(played.view.typing);
    assert_eq!(played.names(), ["run1", "run2"]);
    // Letters are letters while a filter is typed.
    assert!(played.keys("q").names().is_empty());
    assert!(played.screen(80, 24).contains("no task that ran has \"PIECEq\" in its name"));
    played.keys("\x08\n");
    assert_eq!((played.view.typing, played.names().len()), (false, 2));
    assert_eq!(played.keys("\x1b").names().len(), 5);
}

#[test]
fn the_chosen_row_follows_its_task() {
    let mut played = Played::starvation();
    played.look(600 * MS).keys("n↓↓");
    let chosen = |played: &Played| played.view.chosen().map(|row| played.view.rows[row].name.clone());
    assert_eq!(chosen(&played).as_deref(), Some("run1"));
    assert_eq!(chosen(played.keys("b")).as_deref(), Some("run1"));
    assert_eq!(chosen(played.end()).as_deref(), Some("run1"));
    assert_eq!(chosen(played.keys("↑↑↑↑↑↑")).as_deref(), Some("run1"));
}

#[test]
fn enter_opens_what_is_chosen_and_escape_closes_it() {
    let mut played = Played::watched();
    played.end().keys("\n");
    assert_eq!(played.view.panel, Panel::Task("GET /report".into(), "report".into()));
    played.keys("\x1b\t↓\n");
    assert_eq!(played.view.focus, Focus::Starvations);
    let Panel::Starvation(incident) = &played.view.panel else { panic!("{:?}", played.view.panel) };
    assert_eq!(incident.task, "GET /report");
    // In a panel q goes back too; on the overview it ends.
    let q = KeyEvent::from(KeyCode::Char('q'));
    assert_eq!((played.view.key(q), &played.view.panel), (Reaction::Draw, &Panel::Overview));
    assert_eq!(played.view.key(q), Reaction::Quit);
}

#[test]
fn control_c_ends_everywhere() {
    for keys in ["", "?", "/"] {
        let mut played = Played::starvation();
        played.end().keys(keys);
        assert_eq!(played.view.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Reaction::Quit);
    }
}
