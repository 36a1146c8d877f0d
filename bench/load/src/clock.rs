//! The clock of the load generator: it measures, so it reads one.

use std::time::Instant;

/// This moment.
#[expect(clippy::disallowed_methods, reason = "the one place of this program that reads a clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
