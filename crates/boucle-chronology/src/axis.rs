//! The time axis: where its ticks are and what they say.

use crate::model::Nanos;
use crate::quantity::{self, SECOND};

/// A point of the axis that has a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    pub(crate) time: Nanos,
    pub(crate) label: String,
}

/// The densest ticks at round times from 0 to `duration` of which there are at most `most`, and at least the one at 0.
pub(crate) fn ticks(duration: Nanos, most: usize) -> Vec<Tick> {
    let most = most.max(1) as u64;
    let step = steps().find(|step| duration / step < most).unwrap_or(Nanos::MAX);
    (0..=duration / step)
        .map(|number| Tick { time: number * step, label: quantity::tick(number * step, step) })
        .collect()
}

/// Distances between ticks that people count in: 1, 2 and 5 times a power of ten, and parts of minutes and hours.
fn steps() -> impl Iterator<Item = Nanos> {
    let decimal = (0..11).map(|power| 10_u64.pow(power)).flat_map(|power| [power, 2 * power, 5 * power]);
    let minutes = [1, 2, 5, 10, 20, 30].map(|minutes| minutes * 60 * SECOND);
    let hours = std::iter::successors(Some(3_600 * SECOND), |hours| hours.checked_mul(2));
    decimal.take_while(|&step| step < 30 * SECOND).chain([30 * SECOND]).chain(minutes).chain(hours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(duration: Nanos, most: usize, expected: &[&str]) {
        let labels: Vec<_> = ticks(duration, most).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, expected);
    }

    #[test]
    fn ticks_are_round_and_as_dense_as_asked() {
        check(1_500_300_000, 4, &["0 s", "0.5 s", "1.0 s", "1.5 s"]);
        check(1_500_300_000, 8, &["0 s", "0.2 s", "0.4 s", "0.6 s", "0.8 s", "1.0 s", "1.2 s", "1.4 s"]);
        check(2_000_000_000, 3, &["0 s", "1 s", "2 s"]);
        check(120_000, 3, &["0 µs", "50 µs", "100 µs"]);
        check(3_600 * SECOND, 4, &["0 min", "20 min", "40 min", "1 h"]);
    }

    #[test]
    fn any_duration_has_an_axis() {
        check(0, 5, &["0 ns"]);
        check(7, 1, &["0 ns"]);
        assert!(ticks(Nanos::MAX, 5).len() <= 5);
    }
}
