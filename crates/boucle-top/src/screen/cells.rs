//! Columns: texts cut and padded to a width in a terminal.

use crate::incidents::Incident;
use boucle_chronology::name;
pub(super) use boucle_chronology::name::width;
use boucle_chronology::{Nanos, Place, quantity};

/// A column of a table; one space stands behind it.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) heading: String,
    pub(super) width: usize,
    pub(super) right: bool,
    /// Whether the end of what does not fit is kept, and not its beginning.
    pub(super) keeps_end: bool,
}

impl Column {
    /// A column of words.
    pub(super) fn left(heading: impl Into<String>, width: usize) -> Self {
        Self { heading: heading.into(), width, right: false, keeps_end: false }
    }

    /// A column of quantities.
    pub(super) fn right(heading: impl Into<String>, width: usize) -> Self {
        Self { heading: heading.into(), width, right: true, keeps_end: false }
    }

    /// A column of lines of code, whose numbers are at the end.
    pub(super) fn position(heading: impl Into<String>, width: usize) -> Self {
        Self { keeps_end: true, ..Self::left(heading, width) }
    }

    /// `text` in this column.
    pub(super) fn cell(&self, text: &str) -> String {
        let text = if self.keeps_end { end_of(text, self.width) } else { name::fitted(text, self.width) };
        let pad = " ".repeat(self.width.saturating_sub(width(&text)));
        if self.right { format!("{pad}{text} ") } else { format!("{text}{pad} ") }
    }

    pub(super) fn heading_cell(&self) -> String {
        self.cell(&self.heading)
    }
}

/// As much of the end of `text` as fits.
fn end_of(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let fits = |&start: &usize| width(&text[start..]) < columns;
    let start = text.char_indices().map(|(start, _)| start).find(fits).unwrap_or(text.len());
    format!("…{}", &text[start..])
}

/// A duration in a table: nothing where there is none.
pub(super) fn duration(duration: Nanos) -> String {
    if duration == 0 { "-".to_owned() } else { quantity::precise(duration) }
}

/// How long ago something was: `12 s ago`.
pub(super) fn ago(now: Nanos, time: Nanos) -> String {
    match now.saturating_sub(time) {
        0..1_000_000 => "now".to_owned(),
        since => format!("{} ago", quantity::short(since)),
    }
}

/// A line of code: `report.py:41 in rows`.
pub(super) fn place(place: &Place) -> String {
    format!("{} in {}", position(place), name::shown(&place.function))
}

/// A line of code: `report.py:41`.
pub(super) fn position(place: &Place) -> String {
    let file = name::escaped(name::file_name(&place.file));
    if place.line == 0 { file } else { format!("{file}:{}", place.line) }
}

/// Where an incident held the processor: `report.py:41`, or `report.py:38→` where nobody looked and only the line is known
/// from which the step went on.
pub(super) fn spot(incident: &Incident) -> Option<String> {
    let spot = incident.spot()?;
    let position = position(spot.place.as_ref()?);
    Some(if spot.looked { position } else { format!("{position}→") })
}
