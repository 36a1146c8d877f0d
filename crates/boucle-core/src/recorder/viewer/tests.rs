//! The viewer's behaviour on this process, and on files that are damaged.

use std::sync::atomic::Ordering;

use boucle_chronology::{ActorKind, Left};

use super::super::directory::{self, Name, NewCode, Writer};
use super::super::words::Own;
use super::super::{RawStep, Whereabouts, WokenBy};
use super::*;

const STEPS: usize = 64;

/// The words of a process that has run some steps of one task, and runs another.
struct Example {
    file: Arc<File>,
    parts: Vec<(u64, Own)>,
}

impl Example {
    fn new() -> Self {
        let header = mapping::for_test(header::SIZE);
        let ring = mapping::for_test(ring::size(STEPS));
        let names = mapping::for_test(directory::SIZE);
        header::write(header);
        let mut parts = vec![(0, header)];
        for (index, (kind, words)) in [(Kind::Ring, ring), (Kind::Directory, names)].into_iter().enumerate() {
            let offset = 1 << 20 << (6 * index);
            header::list_segment(header, index, kind, offset, words.len());
            parts.push((offset, words));
        }
        fill(ring, names);
        let file = File::from(rustix::fs::memfd_create("example", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        let length = parts.iter().map(|(offset, words)| offset + size_of_val(*words) as u64).max().unwrap();
        file.set_len(length).unwrap();
        let example = Self { file: Arc::new(file), parts };
        for part in 0..example.parts.len() {
            (0..example.parts[part].1.len()).for_each(|at| example.copy(part, at));
        }
        example
    }

    /// Copies a word into the file, if it is not zero there already.
    fn copy(&self, part: usize, at: usize) {
        let value = self.parts[part].1[at].load(Ordering::Relaxed);
        if value != 0 {
            self.put(part, at, value);
        }
    }

    fn put(&self, part: usize, at: usize, value: u64) {
        self.file.write_all_at(&value.to_ne_bytes(), self.parts[part].0 + (at * size_of::<u64>()) as u64).unwrap();
    }

    fn viewer(&self) -> Result<Viewer, NoHeader> {
        let header = header::read(&part(&self.file, 0, header::SIZE))?;
        Ok(Viewer { pid: std::process::id(), file: Arc::clone(&self.file), header })
    }
}

fn fill(ring: Own, names: Own) {
    let mut writer = Writer::on(names);
    let code = NewCode {
        name: "sell",
        file: "shop.py",
        first_line: 7,
        origin: boucle_chronology::Origin::User,
        lines: Some((super::super::line_table::Format::Deltas, &[10, 3])),
        shuts_down: false,
    };
    let code = writer.enter(&code);
    let task = writer.meet(Name::Given("customer"), code);
    let written = super::super::Ring::on(ring);
    // The last of them ended a little ago.
    let (now, distance) = (Stamp::now().0, 1000);
    for number in 0..100 {
        written.write(&RawStep {
            start: Stamp(now - (200 - number) * distance),
            duration: 500.0,
            waited: 100.0,
            actor: task,
            woken_by: WokenBy::step(number.wrapping_sub(1)),
            code,
            whereabouts: Whereabouts::awaiting(4).first_step(number == 0),
        });
    }
    mapping::live(&ring[ring::LIVE..][..mapping::LIVE]).begin(Stamp(now - 100 * distance), task, 3);
}

#[test]
fn the_step_that_runs_ends_now_where_it_resumed() {
    let chronology = Example::new().viewer().unwrap().snapshot(Duration::from_secs(10));
    chronology.check().unwrap();
    // One place of the ring is always being written.
    assert_eq!(chronology.steps.len(), STEPS);
    let last = chronology.steps.last().unwrap();
    assert_eq!((last.end(), last.left), (chronology.duration, Left::Unknown));
    assert_eq!(chronology.places[last.resumed.unwrap().index()].line, 10);
    let actor = &chronology.actors[last.actor.index()];
    assert_eq!((actor.kind, actor.name.as_str(), actor.function.as_str()), (ActorKind::Task, "customer", "sell"));
    let first = chronology.steps.first().unwrap();
    assert_eq!(first.start, 0, "the run begins where the ring does");
}

#[test]
fn a_short_time_still_shows_where_the_step_resumed() {
    let chronology = Example::new().viewer().unwrap().snapshot(Duration::from_nanos(1));
    chronology.check().unwrap();
    let step = chronology.steps.last().unwrap();
    assert_eq!(chronology.places[step.resumed.unwrap().index()].line, 10);
}

#[test]
fn another_layout_is_told_by_its_version() {
    let example = Example::new();
    example.put(0, 1, 77);
    assert_eq!(example.viewer().unwrap_err(), NoHeader::Version(77));
    example.put(0, 0, 77);
    assert_eq!(example.viewer().unwrap_err(), NoHeader::Other);
}

#[test]
fn a_damaged_file_gives_nonsense_but_a_consistent_one() {
    let example = Example::new();
    let entries = ring::size(STEPS) - STEPS * 4;
    let places: Vec<(usize, usize)> = [
        (0, (0..8).chain(64..67).chain(512..520).collect::<Vec<_>>()),
        (1, (0..2).chain(8..12).chain(512..516).chain(entries..entries + 40).collect()),
        (2, (0..4).chain(512..516).collect()),
    ]
    .into_iter()
    .flat_map(|(part, words)| words.into_iter().map(move |at| (part, at)))
    .collect();
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 7).rotate_left((state >> 58) as u32)
    };
    for round in 0..3000 {
        let damaged: Vec<_> = (0..1 + round % 3).map(|_| places[random() as usize % places.len()]).collect();
        for &(part, at) in &damaged {
            let former = example.parts[part].1[at].load(Ordering::Relaxed);
            let value = match random() % 4 {
                0 => u64::MAX - random() % 3,
                1 => former ^ 1 << (random() % 64),
                2 => random() % 100,
                _ => random(),
            };
            example.put(part, at, value);
        }
        if let Ok(viewer) = example.viewer() {
            let chronology = viewer.snapshot(Duration::from_nanos(random() % 1_000_000_000));
            chronology.check().unwrap_or_else(|fault| panic!("{damaged:?}: {fault}"));
        }
        for (part, at) in damaged {
            example.put(part, at, example.parts[part].1[at].load(Ordering::Relaxed));
        }
    }
    example.file.set_len(100_000).unwrap();
    assert_eq!(example.viewer().unwrap().snapshot(Duration::from_secs(10)).steps, []);
}

#[test]
fn who_has_nothing_to_show_is_told_apart() {
    assert_eq!(Viewer::open(u32::MAX).unwrap_err(), Blind::NoProcess(u32::MAX));
    let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
    assert_eq!(Viewer::open(child.id()).unwrap_err(), Blind::Nothing(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(Viewer::open(child.id()).unwrap_err(), Blind::NoProcess(child.id()));
}
