//! The page: what it is made of, and that its columns hold the recording. What a browser makes of it is tested in
//! `tests/test_html.py`.

use crate::{random, scenes};
use boucle_chronology::html::{self, HtmlOptions, Sources};
use boucle_chronology::model::Nanos;
use boucle_chronology::{Analysis, Chronology, Left, StepId, Wake};
use miniz_oxide::inflate::decompress_to_vec_zlib;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::HashMap;

const THRESHOLD: Nanos = 50_000_000;

fn page(chronology: &Chronology, sources: Sources) -> String {
    let analysis = Analysis::of(chronology, THRESHOLD);
    html::draw(chronology, &analysis, &HtmlOptions { sources, ..HtmlOptions::default() })
}

/// What a page carries, read as its script reads it.
struct Data {
    head: Value,
    columns: HashMap<String, Vec<u64>>,
    texts: Vec<String>,
}

impl Data {
    fn of(page: &str) -> Data {
        let (_, data) = page.split_once("id=\"data\">").unwrap();
        let bytes = decompress_to_vec_zlib(&from_base64(data.split_once('<').unwrap().0)).unwrap();
        let length = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        let (head, mut rest) = bytes[4..].split_at(length);
        let head: Value = serde_json::from_slice(head).unwrap();
        let mut columns = HashMap::new();
        for listed in head["columns"].as_array().unwrap() {
            let [count, planes] = [1, 2].map(|index| listed[index].as_u64().unwrap() as usize);
            let (column, after) = rest.split_at(count * planes);
            let number = |at| (0..planes).map(|plane| u64::from(column[plane * count + at]) << (8 * plane)).sum();
            columns.insert(listed[0].as_str().unwrap().to_owned(), (0..count).map(number).collect());
            rest = after;
        }
        assert_eq!(rest.len() as u64, head["texts"].as_u64().unwrap());
        let texts = std::str::from_utf8(rest).unwrap().split('\n').map(str::to_owned).collect();
        Data { head, columns, texts }
    }

    fn texts(&self, column: &str) -> Vec<&str> {
        self.columns[column].iter().map(|&number| self.texts[number as usize].as_str()).collect()
    }

    /// The start, the end and since when it was ready, of each step.
    fn times(&self) -> Vec<(Nanos, Nanos, Nanos)> {
        let column = |name: &str| &self.columns[name];
        let mut free = HashMap::new();
        let mut last = [0; 4];
        let mut times: Vec<(Nanos, Nanos, Nanos)> = Vec::new();
        for step in 0..column("step.gap").len() {
            let end: &mut Nanos = free.entry(column("step.thread")[step]).or_default();
            let start = *end + column("step.gap")[step];
            *end = start + column("step.duration")[step];
            let wake = column("step.wake")[step] as usize;
            let guess = if wake < 4 {
                last[wake]
            } else {
                let waker = step + 3 - wake;
                let is_task = column("actor.task")[column("step.actor")[waker] as usize] == 1;
                if is_task { times[waker].1 } else { times[waker].2 }
            };
            let difference = column("step.since")[step];
            let since = guess.wrapping_add_signed((difference >> 1) as i64 ^ -((difference & 1) as i64));
            if wake < 4 {
                last[wake] = since;
            }
            times.push((start, *end, since));
        }
        times
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is no letter"),
    };
    let letters = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::new();
    for four in letters.chunks(4) {
        let bits = four.iter().fold(0_u32, |bits, &letter| bits << 6 | u32::from(value(letter)));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

#[test]
fn a_page_says_in_words_what_it_shows() {
    let page = page(&scenes::watched(), Sources::new());
    for part in [
        "<h1 class=\"alarm\">2 starvations, 825 ms of 1.10 s</h1>",
        "the longest: GET /report held the processor for 703 ms at shop.py:31 (sleep)",
        "8 steps",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let head = Data::of(&page).head;
    let detail = &head["details"][0];
    assert_eq!(detail["cause"], "sleep");
    assert_eq!(detail["advice"], "await asyncio.sleep(…) instead");
    assert_eq!(detail["places"].as_array().unwrap().len(), 2);
    assert_eq!(detail["places"][0]["held"], 478_029_000);
}

#[test]
fn what_was_found_besides_starvations_is_told() {
    let found = |chronology: Chronology, kind: &str| {
        let head = Data::of(&page(&chronology, Sources::new())).head;
        head[kind].as_array().unwrap().iter().map(|told| told["sentence"].as_str().unwrap().to_owned()).collect()
    };
    let stalls: Vec<String> = found(scenes::stalled(), "stalls");
    assert_eq!(stalls, ["innocent took 120 ms, since the operating system gave it no processor for 120 ms"]);
    let lints: Vec<String> = found(scenes::careless(), "lints");
    assert_eq!(lints.len(), 3);
    let congestions: Vec<String> = found(scenes::careless(), "congestions");
    assert_eq!(congestions, ["759 steps held the processor for 144 ms together"]);
}

#[test]
fn nothing_that_a_program_chose_is_markup() {
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&<!--";
    let mut chronology = scenes::watched();
    chronology.program = evil.to_owned();
    chronology.recorded_by = evil.to_owned();
    for actor in &mut chronology.actors {
        (actor.name, actor.function) = (evil.to_owned(), evil.to_owned());
    }
    for place in &mut chronology.places {
        (place.file, place.function) = (evil.to_owned(), evil.to_owned());
    }
    for sample in &mut chronology.samples {
        sample.detail = evil.to_owned();
    }
    let line = format!("\tx = '{evil}'\u{202e}\n");
    let page = page(&chronology, Sources::from([(evil.to_owned(), [(31, line)].into())]));
    let plain = self::page(&scenes::watched(), Sources::new());
    for mark in ["<script", "</script", "<img", "<!--", "{{"] {
        assert_eq!(page.matches(mark).count(), plain.matches(mark).count(), "{mark}");
    }
    let data = Data::of(&page);
    assert!(data.texts("actor.name")[0].starts_with("</script><script>alert(1)"));
    let shown = data.head["sources"][evil]["31"].as_str().unwrap();
    assert!(shown.starts_with("    x = '</script>") && shown.ends_with("'\\u{202e}"), "{shown}");
}

#[test]
fn a_page_asks_for_nothing() {
    let page = page(&scenes::starvation(), Sources::new());
    for mark in
        ["http:", "https:", "//cdn", "@import", "url(", "<iframe", "<object", "fetch(", "XMLHttpRequest", "eval("]
    {
        assert!(!page.contains(mark), "{mark}");
    }
    assert!(page.contains("default-src 'none'; script-src 'sha256-"));
}

#[test]
fn the_lines_around_each_place_are_wanted() {
    let chronology = scenes::watched();
    let wanted = html::lines(&chronology, &Analysis::of(&chronology, THRESHOLD));
    let files: Vec<_> = wanted.keys().collect();
    assert_eq!(files, ["/home/ada/shop.py"]);
    let lines: Vec<u32> = wanted["/home/ada/shop.py"].iter().copied().collect();
    let expected: Vec<u32> = (17..=25).chain(27..=35).chain(43..=51).collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_page_of_a_hundred_thousand_steps_and_more_has_at_most_eight_bytes_a_step() {
    let chronology = scenes::server(300, 110_000);
    let page = page(&chronology, Sources::new());
    let each = page.len() as f64 / chronology.steps.len() as f64;
    assert!(each < 8.0, "{each} bytes a step");
}

#[test]
fn coarse_times_keep_their_order() {
    let chronology = scenes::server(300, 110_000);
    let data = Data::of(&page(&chronology, Sources::new()));
    let unit = data.head["unit"].as_u64().unwrap();
    assert!(unit > 1);
    for (step, (start, end, since)) in chronology.steps.iter().zip(data.times()) {
        assert_eq!((step.start / unit, step.end() / unit), (start, end));
        assert!(since <= start);
    }
}

proptest! {
    #[test]
    fn the_columns_hold_any_recording(chronology in random::chronology(40)) {
        let analysis = Analysis::of(&chronology, THRESHOLD);
        let page = html::draw(&chronology, &analysis, &HtmlOptions::default());
        prop_assert_eq!(&page, &html::draw(&chronology, &analysis, &HtmlOptions::default()));
        let data = Data::of(&page);
        prop_assert_eq!(&data.head["unit"], 1);
        let times = data.times();
        prop_assert_eq!(times.len(), chronology.steps.len());
        for (index, (step, time)) in chronology.steps.iter().zip(times).enumerate() {
            prop_assert_eq!(time, (step.start, step.end(), analysis.waits.since(StepId(index as u32))));
            prop_assert_eq!(data.columns["step.actor"][index], u64::from(step.actor.0));
            let wake = match step.woken_by {
                Wake::Unknown => 0,
                Wake::Timer => 1,
                Wake::Io => 2,
                Wake::Thread => 3,
                Wake::Step(by) => 3 + index as u64 - u64::from(by.0),
            };
            prop_assert_eq!(data.columns["step.wake"][index], wake);
            prop_assert_eq!(data.columns["step.resumed"][index], step.resumed.map_or(0, |place| u64::from(place.0) + 1));
            let left = match step.left {
                Left::Unknown => 0,
                Left::Returned => 1,
                Left::Awaited(place) => u64::from(place.0) + 2,
            };
            prop_assert_eq!(data.columns["step.left"][index], left);
        }
        let starvations: Vec<u64> = analysis.starvations.iter().map(|starvation| u64::from(starvation.step.0)).collect();
        prop_assert_eq!(&data.columns["starvation.step"], &starvations);
        prop_assert_eq!(data.texts("actor.name").len(), chronology.actors.len());
        prop_assert_eq!(data.texts("lane.name").len(), data.columns["lane.subject"].len());
    }
}
