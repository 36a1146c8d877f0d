//! What holds for the layout of any recording.

use crate::{random, scenes};
use boucle_chronology::layout::{Layout, Scale, State, Subject};
use boucle_chronology::{Analysis, Chronology, Nanos};
use proptest::prelude::*;

fn scale(columns: usize) -> Scale {
    Scale { columns, tasks: 4, threads: 2, segments: usize::MAX }
}

/// Everything that the module promises about segments.
fn check(chronology: &Chronology, threshold: Nanos, scale: &Scale) {
    let analysis = Analysis::of(chronology, threshold);
    let layout = Layout::of(chronology, &analysis, scale);
    for lane in &layout.lanes {
        let mut free = 0;
        for segment in &lane.segments {
            assert!(free <= segment.from && segment.from < segment.to, "in order, disjoint, not empty");
            assert_eq!(segment.step.is_none(), segment.state == State::Awaiting);
            free = segment.to;
        }
        assert!(free <= layout.columns, "within the recording");
        let blocks = analysis.starvations.iter().filter(|starvation| match lane.subject {
            Subject::Task(actor) => starvation.actor == actor,
            Subject::Thread(thread) => chronology.steps[starvation.step.index()].thread == thread,
        });
        for block in blocks {
            for time in [block.start + threshold, block.end() - 1] {
                let column = layout.column(time);
                let shown = lane.segments.iter().find(|segment| (segment.from..segment.to).contains(&column));
                assert_eq!(shown.map(|segment| segment.state), Some(State::Blocking), "a block is always seen");
            }
        }
    }
    let drawn = layout.lanes.iter().flat_map(|lane| &lane.segments);
    let drawn = drawn.filter(|segment| segment.state != State::Awaiting).count();
    assert!(drawn <= scale.segments.max(layout.lanes.len()), "{drawn} segments");
}

/// The lanes with their depths: `Task-1 0`.
fn lanes(chronology: &Chronology, tasks: usize) -> Vec<String> {
    let analysis = Analysis::of(chronology, 50_000_000);
    let layout = Layout::of(chronology, &analysis, &Scale { tasks, ..scale(10) });
    layout.lanes.iter().map(|lane| format!("{} {}", lane.name, lane.depth)).collect()
}

#[test]
fn tasks_are_below_the_processor_and_their_parents() {
    assert_eq!(lanes(&scenes::pieces(), 4), ["processor 0", "Task-1 0", "run1 1", "run2 1"]);
}

#[test]
fn culprits_and_victims_are_drawn_first() {
    assert_eq!(lanes(&scenes::crowded(), 2), ["processor 0", "request-41 0", "request-42 0"]);
}

#[test]
fn tasks_that_are_each_others_parents_are_drawn_once() {
    let mut chronology = scenes::pieces();
    chronology.actors[0].parent = chronology.actors[1].parent.map(|_| boucle_chronology::ActorId(1));
    assert_eq!(lanes(&chronology, 4), ["processor 0", "Task-1 0", "run1 1", "run2 1"]);
}

#[test]
fn a_server_of_many_steps_fits_into_its_segments() {
    let chronology = scenes::server(2_000, 50_000);
    check(&chronology, 50_000_000, &Scale { columns: 400, tasks: 100, threads: 2, segments: 2_000 });
    check(&chronology, 100_000, &Scale { columns: 400, tasks: 100, threads: 2, segments: 50 });
}

proptest! {
    #[test]
    fn segments_are_in_order_and_blocks_are_seen(
        chronology in random::chronology(60),
        threshold in prop_oneof![Just(0), 0..80_000_000_u64],
        columns in 1..200_usize,
        segments in prop_oneof![Just(usize::MAX), 0..60_usize],
    ) {
        check(&chronology, threshold, &Scale { segments, ..scale(columns) });
    }
}
