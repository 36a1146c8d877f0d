//! How long requests took: counts in steps of about 3 %, so that a run of any length takes the same memory.

/// Steps within a power of two.
const FINENESS: u64 = 32;

/// Counts of latencies.
pub(crate) struct Latencies {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; 64 * FINENESS as usize], total: 0, largest: 0 }
    }

    /// Counts one, in nanoseconds.
    pub(crate) fn add(&mut self, nanoseconds: u64) {
        self.counts[step_of(nanoseconds)] += 1;
        self.total += 1;
        self.largest = self.largest.max(nanoseconds);
    }

    /// The largest, in nanoseconds.
    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    /// The latency that this share of the requests did not exceed, in nanoseconds.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return end_of(step).min(self.largest);
            }
        }
        self.largest
    }
}

fn step_of(value: u64) -> usize {
    if value < FINENESS {
        return value as usize;
    }
    let shift = value.ilog2() - FINENESS.ilog2();
    ((u64::from(shift) + 1) * FINENESS + ((value >> shift) - FINENESS)) as usize
}

/// The largest value of a step.
fn end_of(step: usize) -> u64 {
    let (power, part) = (step as u64 / FINENESS, step as u64 % FINENESS);
    if power == 0 { part } else { ((FINENESS + part + 1) << (power - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_ends_within_a_thirtieth_of_what_it_counts() {
        for value in [0, 1, 31, 32, 33, 1000, 123_456, 987_654_321] {
            let end = end_of(step_of(value));
            assert!(end >= value && end - value <= value / 30, "{value}: {end}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|value| latencies.add(value * 1000));
        let middle = latencies.quantile(0.5);
        assert!((500_000..=520_000).contains(&middle), "{middle}");
        assert_eq!(latencies.quantile(1.0), 1_000_000);
    }
}
