//! The columns of one lane while they are painted.
//!
//! Painting is in passes, the smaller state first, since what a column shows depends on all that happened in it.

use super::{Segment, State};
use crate::model::{Nanos, StepId};
use std::cmp::Ordering;
use std::ops::RangeInclusive;

/// A time of a step: it runs, it waits, or it is past the threshold.
#[derive(Clone, Copy)]
pub(super) struct Interval {
    pub(super) start: Nanos,
    pub(super) end: Nanos,
    pub(super) step: StepId,
}

/// The columns of one lane.
pub(super) struct Cells {
    painted: Vec<Cell>,
    /// How many there were before any were joined.
    columns: usize,
    duration: Nanos,
}

/// One column: what it shows, and what it knows.
#[derive(Clone, Copy, Default)]
struct Cell {
    state: Option<State>,
    /// The longest interval of that state.
    owner: Owner,
    steps: usize,
    busy: Nanos,
}

/// An interval by its length and its step.
type Owner = Option<(Nanos, StepId)>;

/// The column in which `time` is.
pub(super) fn column(time: Nanos, columns: usize, duration: Nanos) -> usize {
    let column = u128::from(time) * columns as u128 / u128::from(duration.max(1));
    usize::try_from(column).map_or(columns - 1, |column| column.min(columns - 1))
}

impl Cells {
    pub(super) fn new(columns: usize, duration: Nanos) -> Cells {
        Cells { painted: vec![Cell::default(); columns], columns, duration }
    }

    pub(super) fn await_during(&mut self, start: Nanos, end: Nanos) {
        let columns = self.touched(start, end);
        for cell in &mut self.painted[columns] {
            cell.state = cell.state.max(Some(State::Awaiting));
        }
    }

    pub(super) fn run(&mut self, run: Interval) {
        let columns = self.touched(run.start, run.end);
        let (first, last) = (*columns.start(), *columns.end());
        self.painted[first].steps += 1;
        let mut from = run.start;
        for column in columns {
            let until = if column == last { run.end } else { self.start_of(column + 1) };
            let cell = &mut self.painted[column];
            cell.busy += until.saturating_sub(from);
            cell.show(State::Running, run);
            from = from.max(until);
        }
    }

    /// Shows a wait in the columns in which nothing ran; if there are none, in the middle one.
    pub(super) fn wait(&mut self, wait: Interval, for_a_culprit: bool) {
        let fills_a_column =
            u128::from(wait.end - wait.start) * self.painted.len() as u128 >= u128::from(self.duration);
        if wait.end == wait.start || !(fills_a_column || for_a_culprit) {
            return;
        }
        let columns = self.touched(wait.start, wait.end);
        let middle = usize::midpoint(*columns.start(), *columns.end());
        let mut seen = false;
        for cell in &mut self.painted[columns] {
            if cell.state < Some(State::Running) {
                cell.show(State::Ready, wait);
                seen = true;
            }
        }
        if !seen {
            self.painted[middle].show(State::Ready, wait);
        }
    }

    pub(super) fn block(&mut self, block: Interval) {
        let columns = self.touched(block.start, block.end);
        for cell in &mut self.painted[columns] {
            cell.show(State::Blocking, block);
        }
    }

    /// The segments, at most `most` of them awaiting ones not counted, unless the lane as a whole is one.
    pub(super) fn segments(mut self, most: usize) -> Vec<Segment> {
        let mut width = 1;
        loop {
            let segments = self.merged(width);
            let drawn = segments.iter().filter(|segment| segment.state != State::Awaiting).count();
            if drawn <= most.max(1) || self.painted.len() == 1 {
                return segments;
            }
            self.painted = self.painted.chunks(2).map(Cell::both).collect();
            width *= 2;
        }
    }

    fn merged(&self, width: usize) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut owner = None;
        let mut last: Option<&Cell> = None;
        for (index, cell) in self.painted.iter().enumerate() {
            let joins = last.is_some_and(|last| self.joins(last, cell));
            last = Some(cell);
            let Some(state) = cell.state else { continue };
            let (from, to) = (index * width, self.columns.min((index + 1) * width));
            match segments.last_mut() {
                Some(segment) if joins => {
                    owner = longer(owner, cell.owner);
                    segment.to = to;
                    segment.steps += cell.steps;
                    segment.busy += cell.busy;
                    segment.step = step(owner);
                    segment.alone = self.is_about(owner, segment);
                }
                _ => {
                    owner = cell.owner;
                    let (steps, busy, label) = (cell.steps, cell.busy, String::new());
                    let mut segment = Segment { state, from, to, step: step(owner), steps, alone: true, busy, label };
                    segment.alone = self.is_about(owner, &segment);
                    segments.push(segment);
                }
            }
        }
        segments
    }

    /// Whether a segment has no step besides its owner's, or is for the most part its owner.
    fn is_about(&self, owner: Owner, segment: &Segment) -> bool {
        let length = owner.map_or(0, |(length, _)| u128::from(length)) * self.columns as u128;
        segment.steps <= 1 || 2 * length >= (segment.to - segment.from) as u128 * u128::from(self.duration)
    }

    /// Whether two neighbours are one segment: the same interval, or several too short to be told apart.
    fn joins(&self, left: &Cell, right: &Cell) -> bool {
        let short = |cell: &Cell| {
            cell.owner
                .is_none_or(|(length, _)| u128::from(length) * self.painted.len() as u128 <= u128::from(self.duration))
        };
        let same = step(left.owner) == step(right.owner);
        left.state == right.state && (same || short(left) && short(right))
    }

    fn touched(&self, start: Nanos, end: Nanos) -> RangeInclusive<usize> {
        let last = end.saturating_sub(1).max(start);
        column(start, self.painted.len(), self.duration)..=column(last, self.painted.len(), self.duration)
    }

    /// The first moment of a column.
    fn start_of(&self, column: usize) -> Nanos {
        let columns = self.painted.len() as u128;
        let start = (column as u128 * u128::from(self.duration)).div_ceil(columns);
        Nanos::try_from(start).unwrap_or(self.duration)
    }
}

impl Cell {
    /// Shows an interval, unless something greater is to be seen here.
    fn show(&mut self, state: State, interval: Interval) {
        let owner = Some((interval.end - interval.start, interval.step));
        if self.state < Some(state) {
            self.state = Some(state);
            self.owner = owner;
        } else if self.state == Some(state) {
            self.owner = longer(self.owner, owner);
        }
    }

    /// One column in place of two, or of the last alone.
    fn both(cells: &[Cell]) -> Cell {
        let mut both = cells[0];
        for cell in &cells[1..] {
            match both.state.cmp(&cell.state) {
                Ordering::Less => (both.state, both.owner) = (cell.state, cell.owner),
                Ordering::Equal => both.owner = longer(both.owner, cell.owner),
                Ordering::Greater => {}
            }
            both.steps += cell.steps;
            both.busy += cell.busy;
        }
        both
    }
}

/// The longer of two, and of equals the first.
fn longer(one: Owner, other: Owner) -> Owner {
    let length = |owner: Owner| owner.map(|(length, _)| length);
    if length(other) > length(one) { other } else { one }
}

fn step(owner: Owner) -> Option<StepId> {
    owner.map(|(_, step)| step)
}
