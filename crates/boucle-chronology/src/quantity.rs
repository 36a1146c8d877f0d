//! Quantities as people read them: durations, shares and counts.
//!
//! A duration gets the unit in which it has one to three digits before the point, and as many digits as its use
//! needs: [`short`] where it is compared at a glance, [`precise`] where it is the finding, [`plain`] where somebody
//! chose it.

use crate::model::Nanos;

const MICROSECOND: Nanos = 1_000;
const MILLISECOND: Nanos = 1_000_000;
pub(crate) const SECOND: Nanos = 1_000_000_000;
const MINUTE: Nanos = 60 * SECOND;
const HOUR: Nanos = 60 * MINUTE;
/// From here on minutes say more than hundreds of seconds.
const MINUTES_FROM: Nanos = 2 * MINUTE;

/// A duration with two significant digits: `1.0 s`, `52 ms`, `310 µs`, `80 ns`.
pub fn short(duration: Nanos) -> String {
    significant(duration, 2)
}

/// A duration with three significant digits: `1.00 s`, `52.3 ms`, `2 min 5 s`.
pub fn precise(duration: Nanos) -> String {
    significant(duration, 3)
}

/// A duration without needless digits: `50 ms`, `1.5 s`.
pub fn plain(duration: Nanos) -> String {
    let precise = precise(duration);
    match precise.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => precise,
    }
}

/// A share of one: `80 %`, `0.1 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.05 {
        "< 0.1 %".to_owned()
    } else if percent < 9.95 && percent != 0.0 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// A number of things: `1 task`, `12,345 tasks`.
pub fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

/// A number with its thousands apart: `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A point in time of a recording that lasted for `duration`: `0.500 s`.
pub fn moment(time: Nanos, duration: Nanos) -> String {
    if duration < SECOND { precise(time) } else { format!("{} s", decimal(time, SECOND, 3)) }
}

/// A multiple of `step`, with the digits that tell it from its neighbours: `0.5 s`, `50 ms`, `3 min`.
pub(crate) fn tick(time: Nanos, step: Nanos) -> String {
    let (unit, symbol) = match step {
        0..100 => (1, "ns"),
        100..100_000 => (MICROSECOND, "µs"),
        100_000..100_000_000 => (MILLISECOND, "ms"),
        MINUTE.. => return minutes(time),
        _ => (SECOND, "s"),
    };
    let decimals = (0..3).find(|decimals| (step * 10_u64.pow(*decimals)).is_multiple_of(unit)).unwrap_or(3);
    if time == 0 { format!("0 {symbol}") } else { format!("{} {symbol}", decimal(time, unit, decimals)) }
}

fn significant(duration: Nanos, digits: u32) -> String {
    if duration == 0 {
        return "0 s".to_owned();
    }
    if duration >= MINUTES_FROM - SECOND / 2 {
        return minutes(duration.saturating_add(SECOND / 2));
    }
    for (unit, symbol) in [(1, "ns"), (MICROSECOND, "µs"), (MILLISECOND, "ms"), (SECOND, "s")] {
        for decimals in (0..digits).rev() {
            // Rounding may carry into one more digit, as in 9.96 s and 999.6 ms: then fewer decimals, or the next unit.
            let before_point = digits - decimals;
            let limit = if decimals == 0 && unit != SECOND { 1_000 } else { 10_u64.pow(before_point) };
            let fits = rounded(duration, unit, decimals) < u128::from(limit) * 10_u128.pow(decimals);
            if fits && (unit > 1 || decimals == 0) {
                return format!("{} {symbol}", decimal(duration, unit, decimals));
            }
        }
    }
    format!("{} s", decimal(duration, SECOND, 0))
}

fn minutes(duration: Nanos) -> String {
    let (hours, rest) = (duration / HOUR, duration % HOUR);
    let (minutes, seconds) = (rest / MINUTE, rest % MINUTE / SECOND);
    match (hours, minutes, seconds) {
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{} h", grouped(hours)),
        (hours, minutes, _) => format!("{} h {minutes} min", grouped(hours)),
    }
}

fn rounded(duration: Nanos, unit: Nanos, decimals: u32) -> u128 {
    let unit = u128::from(unit);
    (u128::from(duration) * 10_u128.pow(decimals) + unit / 2) / unit
}

fn decimal(duration: Nanos, unit: Nanos, decimals: u32) -> String {
    let scaled = rounded(duration, unit, decimals);
    let scale = 10_u128.pow(decimals);
    match decimals {
        0 => scaled.to_string(),
        _ => format!("{}.{:0width$}", scaled / scale, scaled % scale, width = decimals as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(duration: Nanos, as_short: &str, as_precise: &str, as_plain: &str) {
        assert_eq!((&*short(duration), &*precise(duration), &*plain(duration)), (as_short, as_precise, as_plain));
    }

    #[test]
    fn durations_have_the_unit_and_the_digits_that_read_well() {
        check(0, "0 s", "0 s", "0 s");
        check(80, "80 ns", "80 ns", "80 ns");
        check(1_250, "1.3 µs", "1.25 µs", "1.25 µs");
        check(310_400, "310 µs", "310 µs", "310 µs");
        check(50_000_000, "50 ms", "50.0 ms", "50 ms");
        check(52_345_678, "52 ms", "52.3 ms", "52.3 ms");
        check(1_000_300_000, "1.0 s", "1.00 s", "1 s");
        check(12_340_000_000, "12 s", "12.3 s", "12.3 s");
        check(99_960_000_000, "100 s", "100 s", "100 s");
    }

    #[test]
    fn rounding_carries_into_the_next_digit_and_unit() {
        check(999, "999 ns", "999 ns", "999 ns");
        check(9_960_000, "10 ms", "9.96 ms", "9.96 ms");
        check(9_996_000, "10 ms", "10.0 ms", "10 ms");
        check(999_600_000, "1.0 s", "1.00 s", "1 s");
        check(119_600_000_000, "2 min", "2 min", "2 min");
    }

    #[test]
    fn long_durations_are_told_in_minutes_and_hours() {
        check(125_400_000_000, "2 min 5 s", "2 min 5 s", "2 min 5 s");
        check(3_720_000_000_000, "1 h 2 min", "1 h 2 min", "1 h 2 min");
        check(Nanos::MAX, "5,124,095 h 34 min", "5,124,095 h 34 min", "5,124,095 h 34 min");
    }

    #[test]
    fn shares_and_counts_are_rounded_and_grouped() {
        let shares = [0.0, 0.000_1, 0.001, 0.0995, 0.8, 1.0].map(percent);
        assert_eq!(shares, ["0 %", "< 0.1 %", "0.1 %", "10 %", "80 %", "100 %"]);
        assert_eq!([count(1, "task"), count(12_345, "step")], ["1 task", "12,345 steps"]);
    }
}
