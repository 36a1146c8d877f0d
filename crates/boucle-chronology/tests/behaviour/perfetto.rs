//! The Perfetto trace, decoded by the few rules of protocol buffers. `tests/test_perfetto.py` decodes one with Perfetto's
//! own schema.

use crate::{random, scenes};
use boucle_chronology::model::Nanos;
use boucle_chronology::{Analysis, Chronology, perfetto};
use proptest::prelude::*;
use std::collections::HashMap;

const THRESHOLD: Nanos = 50_000_000;

/// The fields of a message: numbers, and the bytes of what has a length.
#[derive(Debug, Default)]
struct Message {
    numbers: Vec<(u64, u64)>,
    parts: Vec<(u64, Vec<u8>)>,
}

impl Message {
    fn of(mut bytes: &[u8]) -> Message {
        let mut message = Message::default();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            match tag & 7 {
                0 => message.numbers.push((tag >> 3, varint(&mut bytes))),
                1 => {
                    let (eight, rest) = bytes.split_at(8);
                    message.numbers.push((tag >> 3, u64::from_le_bytes(eight.try_into().unwrap())));
                    bytes = rest;
                }
                2 => {
                    let length = varint(&mut bytes) as usize;
                    let (part, rest) = bytes.split_at(length);
                    message.parts.push((tag >> 3, part.to_vec()));
                    bytes = rest;
                }
                other => panic!("wire type {other}"),
            }
        }
        message
    }

    fn number(&self, field: u64) -> Option<u64> {
        self.numbers.iter().find(|(number, _)| *number == field).map(|(_, value)| *value)
    }

    fn all(&self, field: u64) -> Vec<u64> {
        self.numbers.iter().filter(|(number, _)| *number == field).map(|(_, value)| *value).collect()
    }

    fn part(&self, field: u64) -> Option<Message> {
        self.parts.iter().find(|(number, _)| *number == field).map(|(_, bytes)| Message::of(bytes))
    }

    fn text(&self, field: u64) -> String {
        let bytes = self.parts.iter().find(|(number, _)| *number == field).map(|(_, bytes)| bytes.clone());
        String::from_utf8(bytes.unwrap()).unwrap()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (&byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

/// A slice of a track.
#[derive(Debug, PartialEq, Eq)]
struct Slice {
    track: u64,
    name: String,
    start: Nanos,
    end: Nanos,
    flows: Vec<u64>,
    ended_flows: Vec<u64>,
}

/// All slices, in the order of their ends. Checks that events are ordered and that the slices of a thread do not overlap.
/// Those of a task may in random recordings, where it runs on two threads at once.
fn slices(chronology: &Chronology) -> Vec<Slice> {
    let bytes = perfetto::draw(chronology, &Analysis::of(chronology, THRESHOLD));
    let mut names = HashMap::new();
    let mut open: HashMap<u64, Vec<Slice>> = HashMap::new();
    let threads = 2..2 + chronology.threads.len() as u64;
    let mut slices = Vec::new();
    let mut last = 0;
    for (field, packet) in Message::of(&bytes).parts {
        assert_eq!(field, 1);
        let packet = Message::of(&packet);
        assert_eq!(packet.number(10), Some(1), "every packet is of the one sequence");
        let Some(event) = packet.part(11) else { continue };
        let time = packet.number(8).unwrap();
        assert!(time >= last, "an event comes before the one before it");
        last = time;
        if let Some(name) = packet.part(12).and_then(|interned| interned.part(2)) {
            names.insert(name.number(1).unwrap(), name.text(2));
        }
        let track = event.number(11).unwrap();
        match event.number(9).unwrap() {
            1 => {
                let name = names[&event.number(10).unwrap()].clone();
                let (flows, ended_flows) = (event.all(47), event.all(48));
                let slice = Slice { track, name, start: time, end: time, flows, ended_flows };
                let open = open.entry(track).or_default();
                assert!(open.is_empty() || !threads.contains(&track), "slices of a thread overlap");
                open.push(slice);
            }
            2 => slices.push(Slice { end: time, ..open.get_mut(&track).unwrap().pop().unwrap() }),
            4 => assert!(event.number(30).is_some()),
            other => panic!("type {other}"),
        }
    }
    assert!(open.values().all(Vec::is_empty), "a slice does not end");
    slices
}

#[test]
fn a_starvation_is_a_block_with_a_flow_to_its_victim() {
    let slices = slices(&scenes::starvation());
    let named = |name: &str| slices.iter().filter(|slice| slice.name == name).collect::<Vec<_>>();
    let blocks = named("BLOCK starvation.py:7");
    assert_eq!(blocks.len(), 2);
    assert_eq!((blocks[0].start, blocks[0].end), (500_304_000, 1_500_452_000));
    assert_eq!(blocks[0].flows.len(), 1);
    assert_eq!(blocks[1].ended_flows, blocks[0].flows, "the victim's next step is the second block");
    let waits = named("waiting for run1");
    assert_eq!(waits.len(), 1);
    assert_eq!((waits[0].track, waits[0].end), (blocks[1].track, blocks[1].start));
    assert_eq!(named("BLOCK run1 starvation.py:7").len(), 1, "on the processor the name tells whose step it was");
}

#[test]
fn a_block_that_was_watched_says_what_it_did() {
    let slices = slices(&scenes::watched());
    assert!(slices.iter().any(|slice| slice.name == "BLOCK sleep shop.py:31"), "{slices:?}");
}

proptest! {
    #[test]
    fn any_recording_is_a_trace_in_order(chronology in random::chronology(40)) {
        let tasks = chronology.steps.iter().filter(|step| {
            chronology.actors[step.actor.index()].kind == boucle_chronology::ActorKind::Task
        });
        let steps = chronology.steps.len() + tasks.count();
        let slices = slices(&chronology);
        prop_assert_eq!(slices.iter().filter(|slice| !slice.name.starts_with("waiting")).count() >= steps, true);
        let mut begun: Vec<u64> = slices.iter().flat_map(|slice| slice.flows.clone()).collect();
        let mut ended: Vec<u64> = slices.iter().flat_map(|slice| slice.ended_flows.clone()).collect();
        begun.sort_unstable();
        ended.sort_unstable();
        prop_assert_eq!(begun, ended);
    }
}
