//! The directory: which number stands for which task and which code, for whoever asks, at any time.
//!
//! A recorded step is four numbers. A face gives the numbers out ([`Writer`]); what they stand for is copied into plain
//! words here, so that another thread, without the face's lock, or another process can name a step ([`View`]).
//!
//! ```text
//! head      next task, names given, codes, words of text
//! tasks     the last 131,072: sequence, number and code, name            32 bytes each
//! names     the last 131,072 names that were given: sequence, serial, length, text     128 bytes each
//! codes     65,536: where the description is in `text`                    8 bytes each
//! text      descriptions one after the other: lengths, flags, qualified name, file, line table
//! ```
//!
//! Its 53 MiB are of addresses: memory is what was written. A task that nobody named takes 32 bytes, its name is the
//! serial number that stands there.
//!
//! # Invariants
//!
//! * One writer at a time: the face's lock (the GIL) keeps it. Writing allocates nothing.
//! * A code's description is written before its number is given out, and never changed.
//! * A task's slot and a name's slot are overwritten by later ones, under a sequence (see [`super::words`]); each knows
//!   whose it is, so that an old number finds nothing rather than a stranger.
//! * A reader believes nothing: every length and position is checked against the bounds, every text may be no UTF-8.

mod view;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use boucle_chronology::Origin;

use super::line_table::Format;
use super::mapping;
use super::words::{Own, TEXT_SLOT, pair, shortened, store_bytes, write_slot, write_text};

pub use view::{Description, View, describe};

/// The bit that makes an actor's number that of a code: a callback, which is not a task.
pub const CALLBACK: u32 = 1 << 31;

/// The number of code about which nothing is known.
pub const UNKNOWN_CODE: u32 = 0;

/// How many tasks, and how many names that were given, are kept.
const REMEMBERED_TASKS: usize = 1 << 17;

/// How many codes get a number. A program that makes code without end runs out of them, not out of memory.
const MOST_CODES: usize = 1 << 16;

/// The words of all descriptions: 32 MiB.
const MOST_TEXT: usize = 1 << 22;

/// The longest qualified name, path and line table that are kept, in bytes.
const LONGEST_NAME: usize = 1000;
const LONGEST_PATH: usize = 4096;
const LONGEST_TABLE: usize = 1 << 20;

/// Where the words of the head are.
const NEXT_TASK: usize = 0;
const NAMES_GIVEN: usize = 1;
const CODES_KNOWN: usize = 2;
const TEXT_USED: usize = 3;

/// The words of a task's slot.
const TASK_SLOT: usize = 4;

/// Where the parts begin, in words.
const TASKS: usize = 512;
const NAMES: usize = TASKS + REMEMBERED_TASKS * TASK_SLOT;
const CODES: usize = NAMES + REMEMBERED_TASKS * TEXT_SLOT;
const TEXT: usize = CODES + MOST_CODES;

/// The words of the whole.
pub(super) const SIZE: usize = TEXT + MOST_TEXT;

/// The words of a description before its texts.
const DESCRIPTION_HEAD: usize = 3;

/// The bit of a task's name that makes it the serial number of a name that was given.
const GIVEN: u64 = 1 << 63;

/// The flags of a description.
const IS_USERS: u64 = 1;
const SHUTS_DOWN: u64 = 2;
const DELTAS: u64 = 4;
const LOCATIONS: u64 = 8;

/// The name of a task.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    /// It was given one.
    Given(&'a str),
    /// It is `Task-` and this number.
    Numbered(u64),
}

/// A piece of code that is to get a number.
#[derive(Clone, Copy, Debug)]
pub struct NewCode<'a> {
    /// The qualified name.
    pub name: &'a str,
    /// The file, as the language's runtime names it; empty where there is none.
    pub file: &'a str,
    /// The line where it begins; 0 where that is unknown.
    pub first_line: u32,
    /// Whose it is.
    pub origin: Origin,
    /// How the offsets of its instructions become lines.
    pub lines: Option<(Format, &'a [u8])>,
    /// Whether it is what a runner runs to shut its loop down: a task, but none of the program's.
    pub shuts_down: bool,
}

/// The words of this process's directory; none where it may have no memory.
fn own() -> Option<Own> {
    *OWN.get_or_init(|| mapping::segment(mapping::Kind::Directory, SIZE))
}

static OWN: OnceLock<Option<Own>> = OnceLock::new();

/// Who may write into the directory of this process. There must be one at a time, which is the face's to see to; two would
/// mix their entries up, nothing worse.
#[derive(Debug, Default)]
pub struct Writer(Option<Own>);

impl Writer {
    /// A writer into other words than this process's.
    #[cfg(test)]
    pub(super) fn on(words: Own) -> Self {
        Self(Some(words))
    }

    /// The memory is made when it is first needed.
    #[inline]
    fn words(&mut self) -> Option<Own> {
        if self.0.is_none() {
            self.0 = own();
        }
        self.0
    }

    /// The number of a new task. Numbers begin again at 0 after the highest one.
    #[inline]
    pub fn meet(&mut self, name: Name<'_>, code: u32) -> u32 {
        let Some(words) = self.words() else { return 0 };
        let number = words[NEXT_TASK].load(Ordering::Relaxed) as u32;
        words[NEXT_TASK].store(u64::from((number + 1) % CALLBACK), Ordering::Relaxed);
        let name = match name {
            Name::Numbered(serial) => serial & !GIVEN,
            Name::Given(name) => give_name(words, name),
        };
        write_slot(task_slot(words, number), |slot| {
            slot[0].store(pair(number, code), Ordering::Relaxed);
            slot[1].store(name, Ordering::Relaxed);
        });
        number
    }

    /// A task is called otherwise from now on.
    pub fn rename(&mut self, number: u32, name: &str) {
        let Some(words) = self.words() else { return };
        let slot = task_slot(words, number);
        if slot[0].load(Ordering::Relaxed) == 0 || slot[1].load(Ordering::Relaxed) as u32 != number {
            return;
        }
        let former = slot[2].load(Ordering::Relaxed);
        let in_place = name_slot(words, former);
        if former & GIVEN != 0 && in_place[1].load(Ordering::Relaxed) == former & !GIVEN {
            write_text(in_place, former & !GIVEN, 0, name);
        } else {
            let name = give_name(words, name);
            write_slot(slot, |slot| slot[1].store(name, Ordering::Relaxed));
        }
    }

    /// The number of a piece of code, from 1; [`UNKNOWN_CODE`] where there is no room for it any more.
    pub fn enter(&mut self, code: &NewCode<'_>) -> u32 {
        let Some(words) = self.words() else { return UNKNOWN_CODE };
        let index = words[CODES_KNOWN].load(Ordering::Relaxed);
        let at = words[TEXT_USED].load(Ordering::Relaxed);
        let (head, text) = describe_code(code);
        let length = DESCRIPTION_HEAD + text.len().div_ceil(size_of::<u64>());
        if index as usize >= MOST_CODES || at as usize + length > MOST_TEXT {
            return UNKNOWN_CODE;
        }
        let room = &words[TEXT + at as usize..][..length];
        for (word, value) in room.iter().zip(head) {
            word.store(value, Ordering::Relaxed);
        }
        store_bytes(&room[DESCRIPTION_HEAD..], &text);
        words[TEXT_USED].store(at + length as u64, Ordering::Relaxed);
        words[CODES_KNOWN].store(index + 1, Ordering::Relaxed);
        words[CODES + index as usize].store(pair(at as u32, length as u32), Ordering::Release);
        index as u32 + 1
    }
}

/// What was written, in words: all that a copy needs.
pub(crate) fn used(words: Own) -> Vec<std::ops::Range<usize>> {
    let [tasks, names, codes, text] =
        [NEXT_TASK, NAMES_GIVEN, CODES_KNOWN, TEXT_USED].map(|at| words[at].load(Ordering::Relaxed) as usize);
    let slots = |start: usize, count: usize, most: usize, slot: usize| start..start + count.min(most) * slot;
    // After the last number tasks begin again at 0: their slots have all been used by then.
    let tasks =
        if words[TASKS + (REMEMBERED_TASKS - 1) * TASK_SLOT].load(Ordering::Relaxed) == 0 { tasks } else { usize::MAX };
    vec![
        0..TASKS,
        slots(TASKS, tasks, REMEMBERED_TASKS, TASK_SLOT),
        slots(NAMES, names, REMEMBERED_TASKS, TEXT_SLOT),
        slots(CODES, codes, MOST_CODES, 1),
        slots(TEXT, text, MOST_TEXT, 1),
    ]
}

fn task_slot(words: Own, number: u32) -> &'static [AtomicU64] {
    &words[TASKS + number as usize % REMEMBERED_TASKS * TASK_SLOT..][..TASK_SLOT]
}

fn name_slot(words: Own, serial: u64) -> &'static [AtomicU64] {
    &words[NAMES + serial as usize % REMEMBERED_TASKS * TEXT_SLOT..][..TEXT_SLOT]
}

/// Writes a name down. Returns what stands for it in a task's slot.
fn give_name(words: Own, name: &str) -> u64 {
    let serial = words[NAMES_GIVEN].load(Ordering::Relaxed) & !GIVEN;
    words[NAMES_GIVEN].store(serial + 1, Ordering::Relaxed);
    write_text(name_slot(words, serial), serial, 0, name);
    serial | GIVEN
}

/// The words and the bytes of a description.
fn describe_code(code: &NewCode<'_>) -> ([u64; DESCRIPTION_HEAD], Vec<u8>) {
    let name = shortened(code.name, LONGEST_NAME);
    let file = shortened(code.file, LONGEST_PATH);
    let (format, table) = match code.lines {
        Some((Format::Deltas, table)) if table.len() <= LONGEST_TABLE => (DELTAS, table),
        Some((Format::Locations, table)) if table.len() <= LONGEST_TABLE => (LOCATIONS, table),
        _ => (0, &[][..]),
    };
    let users = if code.origin == Origin::User { IS_USERS } else { 0 };
    let flags = format | users | if code.shuts_down { SHUTS_DOWN } else { 0 };
    let head = [pair(name.len() as u32, file.len() as u32), pair(table.len() as u32, code.first_line), flags];
    (head, [name.as_bytes(), file.as_bytes(), table].concat())
}

#[cfg(test)]
mod tests;
