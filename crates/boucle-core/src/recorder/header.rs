//! The header of the mapping: whose it is, how it is laid out, and where its segments are.
//!
//! ```text
//! word 0    magic
//! word 1    version of the layout, process
//! word 2    when the process started, as the kernel counts it
//! word 3    stamp of the first reading of the clocks, word 4 its tick
//! word 5    segments listed
//! word 6    segments that could not be listed
//! word 64   identity, a slot: lengths, program, recorded by
//! word 512  segments: kind, offset in bytes, length in words, unused
//! ```
//!
//! # Invariants
//!
//! * The magic is written last, so that who finds it finds the rest.
//! * Any change of the layout of any part has a new [`VERSION`]: a viewer reads its own and no other.

use std::sync::atomic::{AtomicU64, Ordering};

use super::mapping::{self, Kind, MOST_SEGMENTS};
use super::words::{Own, Words, bytes, halves, pair, read_slot, shortened, store_bytes, write_slot};
use crate::clock::Moment;
use crate::process;

/// The version of the layout of everything in the mapping.
pub(crate) const VERSION: u32 = 2;

const MAGIC: u64 = u64::from_le_bytes(*b"boucle\r\n");

const PROCESS: usize = 1;
const STARTED: usize = 2;
const FIRST_STAMP: usize = 3;
const FIRST_TICK: usize = 4;
const LISTED: usize = 5;
const HIDDEN: usize = 6;
const IDENTITY: usize = 64;
const IDENTITY_SLOT: usize = 128;
const TABLE: usize = 512;
const TABLE_ENTRY: usize = 4;

/// The words of the header.
pub(crate) const SIZE: usize = (TABLE + MOST_SEGMENTS * TABLE_ENTRY).next_multiple_of(512);

/// The longest names of a program and of what recorded it, in bytes. Both fit into the slot.
const LONGEST_PROGRAM: usize = 800;
const LONGEST_RECORDER: usize = 200;

/// Where a segment is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listed {
    pub(crate) kind: Option<Kind>,
    pub(crate) offset: u64,
    pub(crate) words: usize,
}

/// What a header says.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    /// The process's number, as it knows it.
    pub(crate) pid: u32,
    pub(crate) started: u64,
    pub(crate) first: Moment,
    /// What runs, as a person would name it.
    pub(crate) program: String,
    pub(crate) recorded_by: String,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// It is none, or not finished.
    Other,
    /// It has another layout: this version.
    Version(u32),
}

/// Says whose the mapping is.
pub(crate) fn write(words: Own) {
    let pid = std::process::id();
    let first = Moment::first();
    words[PROCESS].store(pair(VERSION, pid), Ordering::Relaxed);
    words[STARTED].store(process::start_time(pid).unwrap_or(0), Ordering::Relaxed);
    words[FIRST_STAMP].store(first.stamp.0, Ordering::Relaxed);
    words[FIRST_TICK].store(first.tick.0 as u64, Ordering::Relaxed);
    words[0].store(MAGIC, Ordering::Release);
}

/// Says what runs, and what records it.
pub fn identify(program: &str, recorded_by: &str) {
    let Some(words) = mapping::header() else { return };
    let (program, recorded_by) = (shortened(program, LONGEST_PROGRAM), shortened(recorded_by, LONGEST_RECORDER));
    write_slot(&words[IDENTITY..][..IDENTITY_SLOT], |slot| {
        slot[0].store(pair(program.len() as u32, recorded_by.len() as u32), Ordering::Relaxed);
        store_bytes(&slot[1..], [program.as_bytes(), recorded_by.as_bytes()].concat().as_slice());
    });
}

/// Lists a segment, which is there.
pub(crate) fn list_segment(words: Own, index: usize, kind: Kind, offset: u64, length: usize) {
    let entry = &words[TABLE + index * TABLE_ENTRY..];
    entry[0].store(kind as u64, Ordering::Relaxed);
    entry[1].store(offset, Ordering::Relaxed);
    entry[2].store(length as u64, Ordering::Relaxed);
    words[LISTED].store(index as u64 + 1, Ordering::Release);
}

/// Counts a segment that others cannot see.
pub(crate) fn count_hidden(words: Option<Own>) {
    let hidden: Option<&AtomicU64> = words.map(|words| &words[HIDDEN]);
    if let Some(hidden) = hidden {
        hidden.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads a header.
pub(crate) fn read(words: &impl Words) -> Result<Header, NoHeader> {
    if words.word(0) != MAGIC {
        return Err(NoHeader::Other);
    }
    std::sync::atomic::fence(Ordering::Acquire);
    let (version, pid) = halves(words.word(PROCESS));
    if version != VERSION {
        return Err(NoHeader::Version(version));
    }
    let (program, recorded_by) = read_identity(words).unwrap_or_default();
    let first = Moment::at(words.word(FIRST_STAMP), words.word(FIRST_TICK));
    Ok(Header { pid, started: words.word(STARTED), first, program, recorded_by })
}

fn read_identity(words: &impl Words) -> Option<(String, String)> {
    let slot = read_slot::<IDENTITY_SLOT>(words, IDENTITY)?;
    let (program, recorded_by) = halves(slot[1]);
    let text = bytes(&slot[2..], usize::MAX);
    let (program, rest) = text.split_at_checked(program as usize)?;
    let recorded_by = rest.get(..recorded_by as usize)?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some((text(program), text(recorded_by)))
}

/// The segments that are listed.
pub(crate) fn segments(words: &impl Words) -> Vec<Listed> {
    let count = words.word(LISTED).min(MOST_SEGMENTS as u64) as usize;
    std::sync::atomic::fence(Ordering::Acquire);
    let mut table = vec![0; count * TABLE_ENTRY];
    if !words.copy(TABLE, &mut table) {
        return Vec::new();
    }
    let listed = |entry: &[u64]| Listed {
        kind: [Kind::Header, Kind::Directory, Kind::Samples, Kind::Ring].get(entry[0] as usize).copied(),
        offset: entry[1],
        words: entry[2] as usize,
    };
    table.chunks_exact(TABLE_ENTRY).map(listed).collect()
}

/// How many segments others cannot see.
pub(crate) fn hidden(words: &impl Words) -> u64 {
    words.word(HIDDEN)
}
