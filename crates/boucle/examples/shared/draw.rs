//! Draws a recorded run in the terminal.

use std::io::IsTerminal;

use boucle::chronology::analysis::Analysis;
use boucle::chronology::{Chronology, Nanos, text};

/// A step longer than this starves the others: 50 ms.
const THRESHOLD: Nanos = 50_000_000;

pub(crate) fn draw(chronology: &Chronology) {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let analysis = Analysis::of(chronology, THRESHOLD);
    println!("\n{}", text::draw(chronology, &analysis, &text::TextOptions { width: 100, colour }));
}
