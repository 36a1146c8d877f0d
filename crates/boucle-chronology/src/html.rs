//! A recorded run as one HTML file that works without a network, to look into every step of it.
//!
//! The page says in words what the picture shows (the headline, a table of starvations), so that it can be read without
//! seeing and searched by a browser. The picture is a canvas, drawn by a script that is part of the page, from the columns
//! of `html/tables.rs`: a million steps are some megabytes, and are drawn from where they lie. Lanes, their order and their
//! names are [`Layout`]'s, sentences are [`sentence`]'s, colours and shapes are those of the SVG.
//!
//! # Invariants
//!
//! * Nothing is fetched, and nothing that a program chose (names, files, source lines) is ever taken for markup or code:
//!   it is escaped where it stands in the page, becomes the text of a node where the script shows it, and the page's
//!   policy allows one script and one style sheet, named by their digests.
//! * The same arguments give the same bytes.
//! * Source lines are an argument, since this crate reads no file: [`lines`] says which ones are of use.
//!
//! A library to draw with was rejected: the viewer is smaller than any of them, and drawing by element takes seconds from
//! some ten thousand steps on.

mod columns;
mod digest;
mod tables;
mod told;

use crate::analysis::Analysis;
use crate::layout::Layout;
use crate::model::{Chronology, PlaceId};
use crate::svg::escaped;
use crate::{name, sentence};
use columns::Columns;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Lines of source code by file and by number, from 1.
pub type Sources = BTreeMap<String, BTreeMap<u32, String>>;

/// How many tasks, and what is known of their code.
#[derive(Clone, Debug)]
pub struct HtmlOptions {
    /// How many tasks have a lane at most.
    pub tasks: usize,
    /// The lines to show at places, see [`lines`]. What is missing is not shown.
    pub sources: Sources,
}

impl Default for HtmlOptions {
    fn default() -> HtmlOptions {
        HtmlOptions { tasks: 20_000, sources: Sources::new() }
    }
}

const THREADS_MAX: usize = 8;
/// How many starvations have source lines: the longest ones.
const SOURCES_MAX: usize = 200;
/// How many lines before and after a place are shown.
const AROUND: u32 = 4;
/// A longer line of source code says no more.
const LINE_MAX: usize = 300;

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/viewer.css");
/// In the order in which they use each other.
const SCRIPT: [&str; 6] = [
    include_str!("html/quantity.js"),
    include_str!("html/run.js"),
    include_str!("html/words.js"),
    include_str!("html/timeline.js"),
    include_str!("html/panel.js"),
    include_str!("html/viewer.js"),
];

/// What the script is told besides the columns.
#[derive(Serialize)]
struct Head {
    program: String,
    /// In nanoseconds, as are all times here.
    duration: u64,
    threshold: u64,
    /// How many nanoseconds the unit of times in columns is.
    unit: u64,
    tasks_not_drawn: usize,
    threads_not_drawn: usize,
    details: Vec<told::Detail>,
    congestions: Vec<told::Told>,
    stalls: Vec<told::Told>,
    lints: Vec<told::Told>,
    sources: Sources,
}

/// The page.
pub fn draw(chronology: &Chronology, analysis: &Analysis, options: &HtmlOptions) -> String {
    let layout = Layout::outline(chronology, analysis, options.tasks, THREADS_MAX);
    let mut columns = Columns::default();
    tables::fill(&mut columns, chronology, analysis, &layout.lanes);
    let head = Head {
        program: name::shown(&chronology.program),
        duration: chronology.duration,
        threshold: analysis.threshold,
        unit: tables::unit(chronology),
        tasks_not_drawn: layout.tasks_not_drawn,
        threads_not_drawn: layout.threads_not_drawn,
        details: told::details(chronology, analysis),
        congestions: told::congestions(chronology, analysis),
        stalls: told::stalls(chronology, analysis),
        lints: told::lints(chronology, analysis),
        sources: shown_sources(&options.sources),
    };
    let data = columns.finish(&head);
    let (finding, story) = sentence::headline_parts(chronology, analysis);
    let mut facts = sentence::summary(chronology, analysis);
    facts.extend(chronology.steps.is_empty().then(|| "no step was recorded".to_owned()));
    facts.push(format!("recorded by {}", name::shown(&chronology.recorded_by)));
    facts.extend(sentence::lost(chronology));
    let script = SCRIPT.concat();
    filled(|place| match place {
        "script digest" => digest(&script),
        "style digest" => digest(STYLE),
        "title" => escaped(&format!("{} – chronology", name::shown(&chronology.program))),
        "style" => STYLE.to_owned(),
        "tone" => if analysis.starvations.is_empty() { "calm" } else { "alarm" }.to_owned(),
        "finding" => escaped(&finding),
        "story" => escaped(story.as_deref().unwrap_or_default()),
        "facts" => escaped(&facts.join(" · ")),
        "threshold" => escaped(&crate::quantity::plain(analysis.threshold)),
        "data" => data.clone(),
        "script" => script.clone(),
        _ => unreachable!("the page has no other places"),
    })
}

/// Which lines of which files [`HtmlOptions::sources`] should have: those around the places of the longest starvations.
pub fn lines(chronology: &Chronology, analysis: &Analysis) -> BTreeMap<String, BTreeSet<u32>> {
    let mut wanted: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    let mut want = |place: PlaceId| {
        let place = &chronology.places[place.index()];
        if place.line > 0 {
            let lines = place.line.saturating_sub(AROUND).max(1)..=place.line.saturating_add(AROUND);
            wanted.entry(place.file.clone()).or_default().extend(lines);
        }
    };
    for index in told::longest(&analysis.starvations, SOURCES_MAX, |found| found.duration) {
        let places = &analysis.starvations[index].places;
        places.iter().filter_map(|held| held.place).for_each(&mut want);
    }
    wanted
}

/// Lines as they may be shown.
fn shown_sources(sources: &Sources) -> Sources {
    let shown = |line: &String| {
        let line: String = line.trim_end().chars().take(LINE_MAX).collect();
        name::escaped(&line.replace('\t', "    "))
    };
    let lines = |lines: &BTreeMap<u32, String>| lines.iter().map(|(&number, line)| (number, shown(line))).collect();
    sources.iter().map(|(file, of_file)| (name::escaped(file), lines(of_file))).collect()
}

fn digest(text: &str) -> String {
    format!("sha256-{}", columns::base64(&digest::sha256(text.as_bytes())))
}

/// The page with its places filled. What fills one is not looked through for others.
fn filled(content: impl Fn(&str) -> String) -> String {
    let mut page = String::new();
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (place, after) = after.split_once("}}").expect("each place of the page ends");
        page.push_str(before);
        page.push_str(&content(place));
        rest = after;
    }
    page + rest
}
