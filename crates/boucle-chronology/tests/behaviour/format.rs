//! Recordings as bytes: what is written is read again, and nothing else is.

use crate::{random, scenes};
use boucle_chronology::{ActorId, Chronology, Left, PlaceId, Sample, StepId, ThreadId, Wake, decode, encode};
use proptest::prelude::*;
use std::path::Path;

#[track_caller]
fn check_refused(bytes: &[u8], expected: &str) {
    assert_eq!(decode(bytes).unwrap_err().to_string(), expected);
}

/// The refusal of a recording that was made inconsistent before it was written.
#[track_caller]
fn check_inconsistent(change: impl FnOnce(&mut Chronology), expected: &str) {
    let mut chronology = scenes::starvation();
    change(&mut chronology);
    let refused = decode(&encode(&chronology)).unwrap_err().to_string();
    let (_, problem) = refused.split_once(": ").unwrap();
    assert_eq!(problem, expected);
}

#[test]
fn what_is_not_a_recording_is_told_so() {
    check_refused(b"", "byte 0: this is not a recording of boucle: it is empty");
    check_refused(b"<html>\n<body>", r#"byte 0: this is not a recording of boucle: it begins with "<html>\n<""#);
    check_refused(b"\x89boucle\r\n", r#"byte 0: this is not a recording of boucle: it begins with "\x89boucle\r""#);
    check_refused(b"\x89bou", "byte 4: the file ends in the middle of its first bytes");
}

#[test]
fn a_newer_version_is_told_from_damage() {
    check_refused(
        b"\x89boucle\n\x07whatever",
        "byte 8: the recording has format version 7, and this boucle reads versions up to 2: update boucle",
    );
}

#[test]
fn a_file_that_ends_early_is_refused_at_its_end() {
    let bytes = encode(&scenes::starvation());
    for length in 1..bytes.len() {
        let refused = decode(&bytes[..length]).unwrap_err();
        let problem = refused.to_string();
        // A count is refused where it stands, since what follows cannot hold as many.
        assert!(refused.offset == length || problem.contains("should follow"), "{length}: {problem}");
    }
    let cut = bytes.len() - 1;
    check_refused(&bytes[..cut], &format!("byte {cut}: the file ends in the middle of the checksum"));
}

#[test]
fn damage_and_additions_are_seen() {
    let mut bytes = encode(&scenes::starvation());
    let ada = bytes.windows(3).position(|name| name == b"ada").unwrap();
    bytes[ada] = b'A';
    let refused = decode(&bytes).unwrap_err().to_string();
    assert!(refused.contains("the file was damaged"), "{refused}");
    bytes[ada] = b'a';
    bytes.push(0);
    assert!(decode(&bytes).unwrap_err().to_string().ends_with("a byte follows the end of the recording"));
}

#[test]
fn steps_that_name_what_does_not_exist_are_refused() {
    check_inconsistent(|c| c.steps[3].thread = ThreadId(7), "the step names thread 7, but there is only one");
    check_inconsistent(|c| c.steps[3].actor = ActorId(5), "the step names actor 5, but there are 5 actors");
    check_inconsistent(
        |c| c.steps[0].left = Left::Awaited(PlaceId(9)),
        "the step awaited at place 9, but there are 4 places",
    );
    check_inconsistent(
        |c| c.steps[3].resumed = Some(PlaceId(4)),
        "the step resumed at place 4, but there are 4 places",
    );
    check_inconsistent(
        |c| c.actors[1].parent = Some(ActorId(5)),
        "the actor's parent is actor 5, but there are 5 actors",
    );
}

#[test]
fn steps_out_of_their_order_are_refused() {
    check_inconsistent(
        |c| c.steps[2].woken_by = Wake::Step(StepId(2)),
        "the step is woken by the step before it number 0, but there are 2 earlier steps",
    );
    check_inconsistent(|c| c.steps[2].start = 1, "the step ends after the recording, which lasted 2500670000 ns");
    check_inconsistent(|c| c.duration = 2_500_000_000, "the step ends after the recording, which lasted 2500000000 ns");
}

#[test]
fn samples_that_are_not_of_their_step_are_refused() {
    let samples = |change: fn(&mut Sample), expected| {
        let mut chronology = scenes::watched();
        change(chronology.samples.last_mut().unwrap());
        let refused = decode(&encode(&chronology)).unwrap_err().to_string();
        assert_eq!(refused.split_once(": ").unwrap().1, expected);
    };
    samples(|sample| sample.step = StepId(99), "the sample is of step 99, but there are 8 steps");
    samples(|sample| sample.at += 2_000_000_000, "the sample was taken after its step");
    samples(|sample| sample.at = 0, "the sample was taken after its step");
    samples(|sample| sample.stack.push(PlaceId(70)), "the sample names place 70, but there are 14 places");
}

#[test]
fn version_1_stays_readable() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/starvation.boucle");
    assert_eq!(decode(&std::fs::read(path).unwrap()), Ok(scenes::starvation()));
}

#[test]
fn version_2_stays_readable() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/watched.boucle");
    if std::env::var_os("BOUCLE_BLESS").is_some() {
        std::fs::write(&path, encode(&scenes::watched())).unwrap();
    }
    assert_eq!(decode(&std::fs::read(path).unwrap()), Ok(scenes::watched()));
}

#[test]
fn a_step_takes_less_than_ten_bytes() {
    let chronology = scenes::server(500, 20_000);
    let bytes = encode(&chronology);
    assert_eq!(decode(&bytes).as_ref(), Ok(&chronology));
    let each = bytes.len() as f64 / chronology.steps.len() as f64;
    assert!(each < 10.0, "{each:.2} bytes a step");
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(chronology in random::chronology(60)) {
        prop_assert_eq!(decode(&encode(&chronology)), Ok(chronology));
    }

    #[test]
    fn damaged_bytes_are_refused_or_valid(
        chronology in random::chronology(20),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&chronology);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [&bytes[..], &bytes[..end.index(bytes.len())]] {
            if let Ok(decoded) = decode(bytes) {
                prop_assert_eq!(decoded.check(), Ok(()));
            }
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(decode(&bytes).is_err());
        let mut bytes = [b"\x89boucle\n\x02".as_slice(), &bytes].concat();
        prop_assert!(decode(&bytes).is_err());
        // Small numbers get further than random ones.
        bytes[9..].iter_mut().for_each(|byte| *byte %= 4);
        prop_assert!(decode(&bytes).is_err());
    }
}
