//! What a person reads when a step starves others: one sentence while it goes on, one when it has returned.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use boucle_chronology::{Cause, Place, advice};

/// How much of a source line is shown.
const LONGEST_LINE: usize = 100;

/// Source files larger than this are not read for the sake of one line.
const LARGEST_SOURCE: u64 = 8 << 20;

/// How many places are named.
const NAMED_PLACES: usize = 3;

/// How many victims are named.
const NAMED_VICTIMS: usize = 5;

/// One who had to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Victim {
    /// The name of the task; of a callback, that of its function.
    pub(super) name: String,
    /// The coroutine that a task runs; empty for a callback.
    pub(super) coroutine: String,
    /// How long it had to wait because of the step.
    pub(super) waited: Duration,
}

/// What held the step at a place.
#[derive(Clone, Debug)]
pub(super) struct Stay {
    /// The place; `None` if no look could read the stack.
    pub(super) place: Option<Place>,
    /// What held it there.
    pub(super) cause: Cause,
    /// More about that.
    pub(super) detail: String,
    /// The innermost function where that is in a library; empty where it is the user's own.
    pub(super) called: String,
    /// For how long.
    pub(super) held: Duration,
}

impl Stay {
    fn advice(&self) -> Option<&'static str> {
        if self.cause == Cause::NoProcessor { None } else { advice::of(self.cause, &self.detail, &self.called) }
    }
}

/// `52 ms`, `1.23 s`.
pub(super) fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{} ms", time.as_millis());
    }
    format!("{:.2} s", time.as_secs_f64())
}

/// A file below the working directory relative to it.
fn short(file: &str) -> String {
    let below =
        std::env::current_dir().ok().and_then(|here| Path::new(file).strip_prefix(here).ok().map(Path::to_owned));
    below.map_or_else(|| file.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// The text of a line of a file, without its indentation; empty where it cannot be read.
fn source(place: &Place) -> String {
    let read = || {
        let file = Path::new(&place.file);
        let is_small = fs::metadata(file).ok()?.len() <= LARGEST_SOURCE;
        let text = is_small.then(|| fs::read(file).ok()).flatten()?;
        let line = text.split(|&byte| byte == b'\n').nth((place.line as usize).checked_sub(1)?)?;
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        let cut: String = line.chars().take(LONGEST_LINE).collect();
        Some(if cut.len() < line.len() { cut + "…" } else { cut })
    };
    read().unwrap_or_default()
}

/// ` at app/report.py:41  rows = json.loads(body)`.
fn at(place: &Place) -> String {
    let source = source(place);
    let gap = if source.is_empty() { "" } else { "  " };
    format!("{}:{}{gap}{source}", short(&place.file), place.line)
}

/// `[C code holding the GIL]`, `[socket 10.0.0.3:5432]`.
fn because(cause: Cause, detail: &str) -> String {
    match (cause, detail) {
        (Cause::Native, "without the GIL") => "[C code without the GIL]".to_owned(),
        (_, "") => format!("[{}]", cause.word()),
        _ => format!("[{}: {detail}]", cause.word()),
    }
}

/// `; 37 tasks are waiting, longest Task-790 (chat) 51 ms`.
fn waiting(count: usize, longest: Option<&Victim>) -> String {
    let mut text = match count {
        0 => return String::new(),
        1 => "; 1 task is waiting".to_owned(),
        _ => format!("; {count} tasks are waiting"),
    };
    if let Some(victim) = longest {
        let longest = if count == 1 { ":" } else { ", longest" };
        write!(text, "{longest} {}", named(victim)).expect("a string takes all that is written");
    }
    text
}

fn named(victim: &Victim) -> String {
    let Victim { name, coroutine, waited } = victim;
    let waited = duration(*waited);
    if coroutine.is_empty() { format!("{name} {waited}") } else { format!("{name} ({coroutine}) {waited}") }
}

/// A step that goes on.
pub(super) struct Begun<'a> {
    /// How long it has held the loop.
    pub(super) held: Duration,
    /// Who: [`culprit`].
    pub(super) culprit: &'a str,
    /// Where.
    pub(super) place: Option<&'a Place>,
    /// What holds it there.
    pub(super) cause: Cause,
    /// More about that.
    pub(super) detail: &'a str,
    /// How many are ready.
    pub(super) waiting: usize,
    /// Who of them waits longest.
    pub(super) longest: Option<&'a Victim>,
    /// How many like it were not reported since the last.
    pub(super) suppressed: u32,
}

/// Who holds the loop: `GET /report (Task-812)`, `Task-812 (handler)`, `callback on_timer`.
pub(super) fn culprit(name: &str, coroutine: &str, annotation: &str) -> String {
    match (annotation, coroutine) {
        ("", "") => format!("callback {name}"),
        ("", _) => format!("{name} ({coroutine})"),
        _ => format!("{annotation} ({name})"),
    }
}

impl Begun<'_> {
    /// The sentence.
    pub(super) fn sentence(&self) -> String {
        let place = self.place.map(|place| format!(" at {}", at(place))).unwrap_or_default();
        let like_it = match self.suppressed {
            0 => String::new(),
            count => format!(" (and {count} more like it since the last report)"),
        };
        format!(
            "event loop blocked {} and counting: {}{place}  {}{}{like_it}",
            duration(self.held),
            self.culprit,
            because(self.cause, self.detail),
            waiting(self.waiting, self.longest),
        )
    }
}

/// A step that has returned.
pub(super) struct Ended<'a> {
    /// How long it held the loop.
    pub(super) held: Duration,
    /// Who.
    pub(super) culprit: &'a str,
    /// Where it was held, the longest stay first.
    pub(super) stays: &'a [Stay],
    /// Who had to wait, the longest first.
    pub(super) victims: &'a [Victim],
}

impl Ended<'_> {
    /// The sentence.
    pub(super) fn sentence(&self) -> String {
        let mut text = format!("event loop was blocked for {} by {}", duration(self.held), self.culprit);
        for (index, stay) in self.stays.iter().take(NAMED_PLACES).enumerate() {
            let before = if index == 0 { " at" } else { ", and at" };
            let place = stay.place.as_ref().map(|place| format!("{before} {}", at(place))).unwrap_or_default();
            let held = if self.stays.len() == 1 { String::new() } else { format!(" for {}", duration(stay.held)) };
            write!(text, "{place}  {}{held}", because(stay.cause, &stay.detail))
                .expect("a string takes all that is written");
        }
        text += &had_to_wait(self.victims);
        if let Some(advice) = self.stays.first().and_then(Stay::advice) {
            write!(text, "; advice: {advice}").expect("a string takes all that is written");
        }
        text
    }
}

/// `; 7 had to wait: Task-790 (chat) 1.20 s, ... and 2 more`.
fn had_to_wait(victims: &[Victim]) -> String {
    if victims.is_empty() {
        return "; nobody had to wait".to_owned();
    }
    let names: Vec<_> = victims.iter().take(NAMED_VICTIMS).map(named).collect();
    let more = match victims.len().saturating_sub(NAMED_VICTIMS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("; {} had to wait: {}{more}", victims.len(), names.join(", "))
}
