//! What watchdogs saw of the steps that went on for long: the last of it, for the whole process.
//!
//! Samples are rare, at most a hundred a second and only while a step starves others, so keeping one may lock. They lie in
//! the mapping, so that a viewer sees where a step stands that has not returned:
//!
//! ```text
//! word 0    samples kept, word 1 words written
//! word 512  the last 8,192: sequence, where its record is, the record's length        32 bytes each
//! then      records, one after the other in 4 MiB that begin again: ring, cause, sequence, time, detail, places
//! ```
//!
//! A record is overwritten when later ones need its place. The words that are about to be written are counted first, so a
//! reader that copied a record and then looks at that count knows whether it is whole.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

use boucle_chronology::stays::{self, Look};
use boucle_chronology::{Cause, Origin, Place};

use super::mapping::{self, Kind};
use super::words::{Own, Words, bytes, halves, pair, read_slot, shortened, store_bytes, write_slot};
use crate::clock::Stamp;

/// How many are kept at most. A step of a minute makes about sixty.
const KEPT: usize = 8192;

const COUNT: usize = 0;
const WRITTEN: usize = 1;
const INDEX: usize = 512;
const INDEX_SLOT: usize = 4;
const RECORDS: usize = INDEX + KEPT * INDEX_SLOT;
/// The words of all records.
const ROOM: usize = 1 << 19;
pub(super) const SIZE: usize = RECORDS + ROOM;

/// The longest record, in words. Outer frames of a stack that is longer are left out.
const LONGEST: usize = 4096;
const LONGEST_DETAIL: usize = 400;
const LONGEST_NAME: usize = 400;
const LONGEST_PATH: usize = 1000;

/// The words of a record before the detail, and of a place before its texts.
const RECORD_HEAD: usize = 4;
const PLACE_HEAD: usize = 2;

/// One look at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSample {
    /// The ring of the thread, by its number in [`super::rings::all`].
    pub ring: u32,
    /// The sequence number that the step has in its ring once it has returned.
    pub sequence: u64,
    /// When it was looked at.
    pub at: Stamp,
    /// What held the processor.
    pub cause: Cause,
    /// What it waited for, if known.
    pub detail: String,
    /// Where the code was, the innermost place first.
    pub stack: Vec<Place>,
}

static OWN: OnceLock<Option<Own>> = OnceLock::new();

/// Held by who writes.
static WRITING: Mutex<()> = Mutex::new(());

/// Keeps a sample, and lets go of the oldest.
pub fn keep(sample: &RawSample) {
    let words = *OWN.get_or_init(|| mapping::segment(Kind::Samples, SIZE));
    if let Some(words) = words {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        write(words, sample);
    }
}

/// The samples that are kept, oldest first.
pub fn all() -> Vec<RawSample> {
    OWN.get().copied().flatten().map_or_else(Vec::new, |words| read(&words))
}

/// What a step is blamed for that has just returned: [`Cause::Unknown`] where nobody looked.
pub(super) fn cause_of(ring: u32, sequence: u64, begin: Stamp, end: Stamp) -> Cause {
    let words = OWN.get().copied().flatten();
    words.map_or(Cause::Unknown, |words| cause_in(&words, (ring, sequence), begin, end))
}

fn cause_in(words: &impl Words, step: (u32, u64), begin: Stamp, end: Stamp) -> Cause {
    let count = words.word(COUNT);
    fence(Ordering::Acquire);
    // 3 to 10 µs for each look that was made while it ran; they are milliseconds apart.
    let mut seen: Vec<_> = (count.saturating_sub(KEPT as u64)..count)
        .rev()
        .map_while(|number| read_one(words, number))
        .take_while(|sample| sample.at >= begin)
        .filter(|sample| (sample.ring, sample.sequence) == step)
        .collect();
    seen.reverse();
    let looks: Vec<_> = seen.iter().map(|sample| Look::at_stack(sample.at.0, &sample.stack, sample.cause)).collect();
    stays::of(&looks, begin.0, end.0).first().map_or(Cause::Unknown, |stay| stay.cause)
}

pub(super) fn write(words: Own, sample: &RawSample) {
    let record = encode(sample);
    let at = words[WRITTEN].load(Ordering::Relaxed);
    words[WRITTEN].store(at + record.len() as u64, Ordering::Relaxed);
    fence(Ordering::Release);
    for (offset, word) in (at..).zip(&record) {
        words[RECORDS + offset as usize % ROOM].store(*word, Ordering::Relaxed);
    }
    let count = words[COUNT].load(Ordering::Relaxed);
    write_slot(&words[INDEX + count as usize % KEPT * INDEX_SLOT..][..INDEX_SLOT], |slot| {
        slot[0].store(at, Ordering::Relaxed);
        slot[1].store(record.len() as u64, Ordering::Relaxed);
    });
    words[COUNT].store(count + 1, Ordering::Release);
}

/// The samples in these words, oldest first.
pub(super) fn read(words: &impl Words) -> Vec<RawSample> {
    let count = words.word(COUNT);
    fence(Ordering::Acquire);
    let mut samples: Vec<_> =
        (count.saturating_sub(KEPT as u64)..count).filter_map(|number| read_one(words, number)).collect();
    // A slot that was overwritten meanwhile holds the newest.
    samples.sort_by_key(|sample| sample.at);
    samples
}

fn read_one(words: &impl Words, number: u64) -> Option<RawSample> {
    let [_, at, length, _] = read_slot::<INDEX_SLOT>(words, INDEX + number as usize % KEPT * INDEX_SLOT)?;
    let length = usize::try_from(length).ok().filter(|length| (RECORD_HEAD..=LONGEST).contains(length))?;
    let begin = (at % ROOM as u64) as usize;
    let mut record = vec![0; length];
    let (before_end, after) = record.split_at_mut(length.min(ROOM - begin));
    let is_copied = words.copy(RECORDS + begin, before_end) && words.copy(RECORDS, after);
    fence(Ordering::Acquire);
    let is_whole = words.word(WRITTEN) <= at.saturating_add(ROOM as u64);
    if is_copied && is_whole { decode(&record) } else { None }
}

fn encode(sample: &RawSample) -> Vec<u64> {
    let detail = shortened(&sample.detail, LONGEST_DETAIL);
    let mut record =
        vec![pair(sample.ring, sample.cause as u32), sample.sequence, sample.at.0, pair(detail.len() as u32, 0)];
    record.extend(packed(detail.as_bytes()));
    let mut frames = 0;
    for place in &sample.stack {
        let (function, file) = (shortened(&place.function, LONGEST_NAME), shortened(&place.file, LONGEST_PATH));
        let text = packed(&[function.as_bytes(), file.as_bytes()].concat());
        if record.len() + PLACE_HEAD + text.len() > LONGEST {
            break;
        }
        record.push(pair(function.len() as u32, file.len() as u32));
        record.push(pair(place.line, u32::from(place.origin == Origin::User)));
        record.extend(text);
        frames += 1;
    }
    record[3] = pair(detail.len() as u32, frames);
    record
}

/// Bytes as words.
fn packed(bytes: &[u8]) -> Vec<u64> {
    let words: Vec<AtomicU64> = (0..bytes.len().div_ceil(size_of::<u64>())).map(|_| AtomicU64::new(0)).collect();
    store_bytes(&words, bytes);
    words.into_iter().map(AtomicU64::into_inner).collect()
}

fn decode(record: &[u64]) -> Option<RawSample> {
    let (head, mut rest) = record.split_at_checked(RECORD_HEAD)?;
    let (ring, cause) = halves(head[0]);
    let (detail, frames) = halves(head[3]);
    let detail = String::from_utf8_lossy(&take(&mut rest, detail as usize)?).into_owned();
    let mut stack = Vec::new();
    for _ in 0..frames {
        let (head, texts) = rest.split_at_checked(PLACE_HEAD)?;
        rest = texts;
        let (function_length, file_length) = halves(head[0]);
        let (line, is_users) = halves(head[1]);
        let text = take(&mut rest, function_length as usize + file_length as usize)?;
        let (function, file) = text.split_at_checked(function_length as usize)?;
        stack.push(Place {
            function: String::from_utf8_lossy(function).into_owned(),
            file: String::from_utf8_lossy(file).into_owned(),
            line,
            origin: if is_users == 1 { Origin::User } else { Origin::Library },
        });
    }
    let cause = Cause::WORDS.get(cause as usize).map_or(Cause::Unknown, |(cause, _)| *cause);
    Some(RawSample { ring, sequence: head[1], at: Stamp(head[2]), cause, detail, stack })
}

/// Takes so many bytes, and what fills their last word.
fn take(rest: &mut &[u64], length: usize) -> Option<Vec<u8>> {
    let (text, after) = rest.split_at_checked(length.div_ceil(size_of::<u64>()))?;
    *rest = after;
    Some(bytes(text, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32) -> Place {
        Place { function: format!("f{line}"), file: "shop.py".into(), line, origin: Origin::User }
    }

    fn sample(sequence: u64, frames: u32) -> RawSample {
        RawSample {
            ring: 3,
            sequence,
            at: Stamp(sequence * 10),
            cause: Cause::Socket,
            detail: "10.0.0.3:5432".into(),
            stack: (0..frames).map(place).collect(),
        }
    }

    #[test]
    fn samples_come_out_as_they_went_in() {
        let words = mapping::for_test(SIZE);
        assert_eq!(read(&words), []);
        let samples = [sample(1, 0), sample(2, 1), sample(3, 40)];
        for sample in &samples {
            write(words, sample);
        }
        assert_eq!(read(&words), samples);
    }

    /// What the metrics say of step 7 of ring 3, which ran from 1000 to 2000, when these looks were kept: ring, sequence,
    /// time, line, cause.
    #[track_caller]
    fn check_cause(looks: &[(u32, u64, u64, u32, Cause)], expected: Cause) {
        let words = mapping::for_test(SIZE);
        for &(ring, sequence, at, line, cause) in looks {
            let stack = vec![place(line)];
            write(words, &RawSample { ring, sequence, at: Stamp(at), cause, stack, ..sample(0, 0) });
        }
        assert_eq!(cause_in(&words, (3, 7), Stamp(1000), Stamp(2000)), expected);
    }

    #[test]
    fn a_step_is_counted_for_what_it_is_blamed_for() {
        check_cause(&[], Cause::Unknown);
        check_cause(&[(3, 7, 1100, 1, Cause::Sleep)], Cause::Sleep);
        // The longest stay, which is neither the first look nor the last.
        let looks = [
            (3, 7, 1100, 1, Cause::Python),
            (3, 7, 1300, 2, Cause::Sleep),
            (3, 7, 1800, 2, Cause::Sleep),
            (3, 7, 1900, 1, Cause::Native),
        ];
        check_cause(&looks, Cause::Sleep);
        // Of one line, what it did for longest.
        check_cause(&looks.map(|(ring, sequence, at, _, cause)| (ring, sequence, at, 1, cause)), Cause::Sleep);
        // The operating system is to blame only for what nobody else is.
        check_cause(&[(3, 7, 1100, 1, Cause::Gil), (3, 7, 1200, 1, Cause::NoProcessor)], Cause::Gil);
        check_cause(&[(3, 7, 1100, 1, Cause::NoProcessor)], Cause::NoProcessor);
    }

    #[test]
    fn other_steps_are_not_asked() {
        check_cause(&[(3, 6, 900, 1, Cause::Sleep)], Cause::Unknown);
        check_cause(&[(3, 7, 1100, 1, Cause::Lock), (4, 7, 1500, 1, Cause::Sleep)], Cause::Lock);
    }

    #[test]
    fn a_step_is_counted_by_all_looks_at_it_however_many() {
        let looks = |from: u64, until: u64, line, cause| (from..until).map(move |at| (3, 7, at, line, cause));
        let many: Vec<_> = looks(1100, 1500, 1, Cause::Lock).chain(looks(1800, 2000, 2, Cause::NoProcessor)).collect();
        check_cause(&many, Cause::Lock);
    }

    #[test]
    fn the_last_ones_are_kept_in_number_and_in_size() {
        let words = mapping::for_test(SIZE);
        (0..20_000).for_each(|number| write(words, &sample(number, 0)));
        let kept = read(&words);
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept.last(), Some(&sample(19_999, 0)));
        (20_000..28_000).for_each(|number| write(words, &sample(number, 100)));
        let kept = read(&words);
        assert!((500..2000).contains(&kept.len()), "{}", kept.len());
        assert!(kept.iter().zip(28_000 - kept.len() as u64..).all(|(kept, number)| *kept == sample(number, 100)));
    }

    #[test]
    fn the_outer_frames_of_a_long_stack_are_left_out() {
        let words = mapping::for_test(SIZE);
        write(words, &sample(1, 10_000));
        let kept = read(&words);
        assert!(kept[0].stack.len() > 500);
        assert_eq!(kept[0].stack[499], place(499));
    }

    #[test]
    fn damage_gives_nonsense_or_nothing_but_no_panic() {
        let words = mapping::for_test(SIZE);
        write(words, &sample(1, 5));
        let mut state = 1_u64;
        for at in [COUNT, WRITTEN].into_iter().chain(INDEX + 1..INDEX + 3).chain(RECORDS..RECORDS + 12) {
            let former = words[at].load(Ordering::Relaxed);
            for _ in 0..200 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                words[at].store(state >> (state % 64), Ordering::Relaxed);
                read(&words);
            }
            words[at].store(former, Ordering::Relaxed);
        }
        assert_eq!(read(&words), [sample(1, 5)]);
    }

    #[test]
    fn a_reader_never_sees_a_torn_sample() {
        let words = mapping::for_test(SIZE);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..5_000).for_each(|number| write(words, &sample(number, 100))));
            while !writer.is_finished() {
                for read in read(&words) {
                    assert_eq!(read, sample(read.sequence, 100));
                }
            }
        });
    }
}
