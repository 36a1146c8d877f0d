//! What a person looks at, and what the keys do to it.
//!
//! Plain data: snapshots and keys come in, and the screen is drawn from what is here.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use boucle_chronology::{ActorKind, Analysis, Nanos};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::incidents::{Incident, Incidents};
use crate::options::Options;
use crate::rows::{self, Order, Row, State};
use crate::source::{Condition, Snapshot};
use crate::theme::Theme;

/// A window with more steps than this is shortened: a refresh costs about 10 ms for them.
pub const MOST_STEPS: usize = 50_000;
/// How many tasks are remembered that did not run in the time of the snapshot.
const MOST_TASKS: usize = 10_000;

/// What is shown above the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Panel {
    /// Nothing: the table and the starvations.
    Overview,
    /// A task: its name and coroutine.
    Task(String, String),
    /// A starvation, as it was when it was opened, or newer.
    Starvation(Box<Incident>),
    /// What the keys and the glyphs mean.
    Help,
}

/// Which list the arrow keys move in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    /// The table of tasks.
    #[default]
    Tasks,
    /// The list of starvations.
    Starvations,
}

/// What a person looks at.
#[derive(Debug)]
pub struct View {
    /// The last snapshot.
    pub snapshot: Snapshot,
    /// What it means.
    pub analysis: Analysis,
    /// The rows of the table, in order.
    pub rows: Vec<Row>,
    /// The starvations seen so far.
    pub incidents: Incidents,
    /// The order of the table.
    pub order: Order,
    /// Whether it is turned round.
    pub reversed: bool,
    /// What names must contain.
    pub filter: String,
    /// Whether the filter is being typed.
    pub typing: bool,
    /// Whether new snapshots are left aside.
    pub paused: bool,
    /// Where the arrow keys move.
    pub focus: Focus,
    /// What is opened.
    pub panel: Panel,
    /// How far a panel is scrolled, in lines.
    pub scroll: u16,
    /// Glyphs and colours.
    pub theme: Theme,
    /// The tasks that have not ended, as far as it is known.
    tasks: BTreeMap<(String, String), Row>,
    chosen: Option<(String, String)>,
    chosen_incident: usize,
    threshold: Nanos,
    window: Duration,
    longest_window: Duration,
}

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Draw.
    Draw,
    /// End.
    Quit,
}

impl View {
    /// Nothing seen yet.
    pub fn new(options: &Options, theme: Theme) -> Self {
        let snapshot = Snapshot::default();
        let analysis = Analysis::of(&snapshot.chronology, options.threshold);
        Self {
            snapshot,
            analysis,
            rows: Vec::new(),
            incidents: Incidents::default(),
            order: Order::default(),
            reversed: false,
            filter: String::new(),
            typing: false,
            paused: false,
            focus: Focus::default(),
            panel: Panel::Overview,
            scroll: 0,
            theme,
            tasks: BTreeMap::new(),
            chosen: None,
            chosen_incident: 0,
            threshold: options.threshold,
            window: options.window,
            longest_window: options.window,
        }
    }

    /// How far the next snapshot, `interval` after the last, has to reach back: as long as asked for, shorter if that
    /// were very many steps, and never so short that something new is missed.
    pub fn window(&self, interval: Duration) -> Duration {
        self.window.max(2 * interval).max(self.incidents.reach(self.snapshot.now) + 2 * interval)
    }

    /// Takes in a snapshot.
    pub fn update(&mut self, snapshot: Snapshot) {
        let steps = snapshot.chronology.steps.len();
        let covered = Duration::from_nanos(snapshot.chronology.duration);
        if steps > MOST_STEPS {
            self.window = covered.mul_f64(MOST_STEPS as f64 / steps as f64);
        } else if steps < MOST_STEPS / 2 {
            self.window = self.window.mul_f64(1.5).min(self.longest_window);
        }
        self.take(snapshot);
        self.arrange();
    }

    /// Takes in what happened before anybody looked, as far back as it is still known.
    pub fn remember(&mut self, past: Snapshot) {
        self.take(past);
    }

    fn take(&mut self, snapshot: Snapshot) {
        self.analysis = Analysis::of(&snapshot.chronology, self.threshold);
        self.incidents.update(&snapshot, &self.analysis);
        for row in rows::rows(&snapshot, &self.analysis) {
            let key = (row.name.clone(), row.function.clone());
            match (row.kind, row.state) {
                (ActorKind::Callback, _) => {}
                (ActorKind::Task, State::Done) => drop(self.tasks.remove(&key)),
                _ if self.tasks.len() >= MOST_TASKS && !self.tasks.contains_key(&key) => {}
                _ => drop(self.tasks.insert(key, row)),
            }
        }
        self.snapshot = snapshot;
    }

    /// The process has ended, and there is nothing newer than the last snapshot.
    pub fn ended(&mut self) {
        self.snapshot.condition = Condition::Ended;
        self.incidents.end();
    }

    /// Those who ran in the time of the snapshot, and the tasks that awaited all the while.
    fn all_rows(&self) -> Vec<Row> {
        let mut rows = rows::rows(&self.snapshot, &self.analysis);
        let ran: HashSet<_> = rows.iter().map(|row| (row.name.clone(), row.function.clone())).collect();
        let at_rest = self.tasks.iter().filter(|(key, _)| !ran.contains(*key));
        rows.extend(at_rest.map(|(_, row)| row.at_rest()));
        rows
    }

    fn arrange(&mut self) {
        self.rows = self.all_rows();
        rows::arrange(&mut self.rows, self.order, self.reversed, &self.filter);
    }

    /// The position of the chosen row.
    pub fn chosen(&self) -> Option<usize> {
        let (name, function) = self.chosen.as_ref()?;
        self.rows.iter().position(|row| row.name == *name && row.function == *function)
    }

    /// The position of the chosen starvation, the newest being 0.
    pub fn chosen_incident(&self) -> usize {
        self.chosen_incident.min(self.incidents.len().saturating_sub(1))
    }

    /// The row of a task, filtered out or not.
    pub fn row(&self, name: &str, function: &str) -> Option<Row> {
        self.all_rows().into_iter().find(|row| row.name == name && row.function == function)
    }

    /// Answers a key.
    pub fn key(&mut self, key: KeyEvent) -> Reaction {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Reaction::Quit;
        }
        if self.typing {
            self.typed(key.code);
        } else if self.panel != Panel::Overview {
            self.panel_key(key.code);
        } else if key.code == KeyCode::Char('q') {
            return Reaction::Quit;
        } else {
            self.overview_key(key.code);
        }
        Reaction::Draw
    }

    fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) => self.filter.push(character),
            _ => {}
        }
        self.arrange();
    }

    fn panel_key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | '?') => {
                self.panel = Panel::Overview;
                self.scroll = 0;
            }
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Char('p') => self.paused = !self.paused,
            _ => {}
        }
    }

    fn overview_key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char('b') => self.sort(Order::Busy),
            KeyCode::Char('w') => self.sort(Order::LongestWait),
            KeyCode::Char('s') => self.sort(Order::Steps),
            KeyCode::Char('l') => self.sort(Order::LongestStep),
            KeyCode::Char('n') => self.sort(Order::Name),
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('/') => {
                self.typing = true;
                self.focus = Focus::Tasks;
            }
            KeyCode::Char('?' | 'h') => self.panel = Panel::Help,
            KeyCode::Esc => {
                self.filter.clear();
                self.arrange();
            }
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = match self.focus {
                    Focus::Tasks => Focus::Starvations,
                    Focus::Starvations => Focus::Tasks,
                };
            }
            KeyCode::Enter => self.open(),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(10),
            KeyCode::PageUp => self.step(-10),
            KeyCode::Home => self.step(isize::MIN / 2),
            KeyCode::End => self.step(isize::MAX / 2),
            _ => {}
        }
    }

    /// The same order again turns it round.
    fn sort(&mut self, order: Order) {
        self.reversed = order == self.order && !self.reversed;
        self.order = order;
        self.arrange();
    }

    fn open(&mut self) {
        self.panel = match self.focus {
            Focus::Tasks => match self.rows.get(self.chosen().unwrap_or(0)) {
                Some(row) => Panel::Task(row.name.clone(), row.function.clone()),
                None => return,
            },
            Focus::Starvations => match self.incidents.get(self.chosen_incident()) {
                Some(incident) => Panel::Starvation(Box::new(incident.clone())),
                None => return,
            },
        };
        self.scroll = 0;
    }

    fn step(&mut self, by: isize) {
        let moved = |from: Option<usize>, count: usize| match from {
            None => 0,
            Some(from) => (from as isize).saturating_add(by).clamp(0, count.saturating_sub(1) as isize) as usize,
        };
        match self.focus {
            Focus::Tasks => {
                let row = self.rows.get(moved(self.chosen(), self.rows.len()));
                self.chosen = row.map(|row| (row.name.clone(), row.function.clone()));
            }
            Focus::Starvations => {
                self.chosen_incident = moved(Some(self.chosen_incident()), self.incidents.len());
            }
        }
    }
}
