//! What the keys and the glyphs mean.

use boucle_chronology::quantity::plain;
use ratatui::text::{Line, Span};

use crate::rows::{Mark, State};
use crate::theme::{glyph, sign, word};
use crate::view::View;

const KEYS: [(&str, &str); 13] = [
    ("b w s l n", "sort by busy time, longest wait, steps, longest step, name"),
    ("", "the same key again: the other way round"),
    ("↑ ↓ j k", "choose a row"),
    ("enter", "details: steps, waits, who woke it; of a starvation: stack, victims"),
    ("tab", "from the tasks to the starvations, and back"),
    ("/", "show only what has this in its name or coroutine; esc clears it"),
    ("p  q", "pause or go on; quit"),
    ("", ""),
    ("busy", "how long it held the processor, in the time that the bars show"),
    ("max wait", "the longest time for which it could run and did not get to"),
    ("max step", "the longest time for which it ran without awaiting"),
    ("place", "where it is now, or awaits"),
    ("file:7→", "blocks somewhere behind line 7; BOUCLE_WATCH=50ms tells the line"),
];

pub(super) fn lines(view: &View) -> Vec<Line<'static>> {
    let mut lines = vec![Line::raw("")];
    lines.extend(KEYS.map(|(key, meaning)| {
        Line::from(vec![Span::styled(format!("  {key:<11}"), view.theme.heading()), Span::raw(meaning)])
    }));
    lines.push(Line::raw(""));
    let threshold = plain(view.analysis.threshold);
    for (mark, meaning) in [
        (Mark::Blocks, format!("it held the processor for over {threshold} in one step")),
        (Mark::Starves, format!("it was ready, and waited for over {threshold}")),
    ] {
        let sign = Span::styled(format!("  {:<11}", sign(mark)), view.theme.mark(mark));
        lines.push(Line::from(vec![sign, Span::raw(meaning)]));
    }
    for state in [State::Running, State::Ready, State::Awaiting, State::Done] {
        let glyph = Span::styled(format!("  {:<11}", glyph(state)), view.theme.state(state));
        lines.push(Line::from(vec![glyph, Span::raw(word(state))]));
    }
    lines
}
