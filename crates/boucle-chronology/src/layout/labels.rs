//! Which labels fit below a lane, and where.
//!
//! # Invariants
//!
//! * Labels do not touch each other, and none reaches past the last column: what does not fit is left out, since half
//!   a label reads as another one.
//! * Below a label begins nothing but what it is about, so that one sees which segment it belongs to.
//! * A step has at most one label for its running and one for its wait. Blocks and waits get theirs first.

use super::{Lane, Segment, State};
use crate::model::StepId;

/// How many columns further to the right a label may be than where its segment starts.
const NUDGED_MAX: usize = 4;

/// A label and the column in which it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Placed<'a> {
    pub(crate) column: usize,
    pub(crate) label: &'a str,
}

impl Lane {
    /// The labels that fit below this lane, from left to right, where `width` tells the columns that one takes. Only
    /// segments that are `wanted` have one.
    pub(crate) fn labels(
        &self,
        columns: usize,
        width: impl Fn(&str) -> usize,
        wanted: impl Fn(&Segment) -> bool,
    ) -> Vec<Placed<'_>> {
        let mut candidates: Vec<(&Segment, usize)> = Vec::new();
        let mut before: Option<(&Segment, usize)> = None;
        for segment in self.drawn() {
            // A step that blocks was running before: two segments, and one label at the start of the first.
            let (from, again) = match before {
                Some((before, from)) if same_run(before, segment) => (from, true),
                _ => (segment.from, false),
            };
            before = Some((segment, from));
            if again && candidates.last().is_some_and(|(_, labelled)| *labelled == from) {
                candidates.pop();
            }
            if has_label(segment) && wanted(segment) {
                candidates.push((segment, from));
            }
        }
        candidates.sort_by_key(|(segment, from)| (segment.state < State::Ready, *from));
        let starts: Vec<(usize, Option<StepId>)> = self.drawn().map(|segment| (segment.from, segment.step)).collect();
        let mut placed: Vec<Placed> = Vec::new();
        for (segment, from) in candidates {
            let taken = width(&segment.label);
            let Some(last) = columns.checked_sub(taken) else { continue };
            let apart = |column: usize, other: &Placed| {
                column + taken < other.column || other.column + width(other.label) < column
            };
            let clear = |column: usize| {
                let first = starts.partition_point(|&(start, _)| start < column);
                let below = starts[first..].iter().take_while(|&&(start, _)| start < column + taken);
                below.into_iter().all(|&(_, step)| step == segment.step)
            };
            let mut nudged = (from..segment.to.min(from + NUDGED_MAX)).map(|column| column.min(last));
            let fits = |column: &usize| clear(*column) && placed.iter().all(|other| apart(*column, other));
            if let Some(column) = nudged.find(fits) {
                placed.push(Placed { column, label: &segment.label });
            }
        }
        placed.sort_unstable();
        placed
    }
}

fn same_run(before: &Segment, segment: &Segment) -> bool {
    before.step == segment.step && before.to == segment.from && before.state != State::Ready
}

/// Whether a segment is about one step. Several short ones in one column have no common label.
fn has_label(segment: &Segment) -> bool {
    segment.alone && !segment.label.is_empty()
}
