//! The viewer's side: looks into the recorder of another process, without its cooperation.
//!
//! The process is found by its number, its mapping among its descriptors; the kernel lets in whoever may read what the
//! process has open: the same user, or root. Nothing is asked of the process: it may be stopped, or stuck in C code.
//!
//! # Invariants
//!
//! * Nothing that is read is believed. It may change meanwhile, and be anything: positions are checked against the file,
//!   lengths against the layout, texts may be no UTF-8. The worst that comes out is nonsense.
//! * The file is read, not mapped, so that nothing the process does to it can end the viewer.

use std::fmt;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use boucle_chronology::Chronology;

use super::chronicle::{Strand, Window, weave};
use super::directory::View;
use super::header::{self, Header, Listed, NoHeader};
use super::live::{self, Running};
use super::mapping::{self, Kind};
use super::ring::{self, Reading};
use super::rings::{self, Owner};
use super::samples;
use super::words::Words;
use crate::clock::{Scale, Stamp, Tick};
use crate::process;

/// How many steps of a ring are shown at most.
const MOST_STEPS: u64 = 1 << 22;

/// Why a process cannot be looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blind {
    /// There is no such process.
    NoProcess(u32),
    /// It is another user's.
    NotPermitted(u32),
    /// It has nothing to show.
    Nothing(u32),
    /// It runs a boucle that lays out its mapping otherwise.
    OtherVersion {
        /// The process.
        pid: u32,
        /// Its version of the layout.
        version: u32,
    },
    /// The kernel refuses, for a reason of its own.
    Refused {
        /// The process.
        pid: u32,
        /// The kernel's words.
        reason: String,
    },
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess(pid) => write!(f, "there is no process {pid}"),
            Self::NotPermitted(pid) => {
                write!(f, "process {pid} belongs to another user: only that user and root may look into it")
            }
            Self::Nothing(pid) => write!(
                f,
                "process {pid} shows no boucle: it has run no loop of boucle, its recorder is off (BOUCLE_RECORD=0), it has \
                 closed the descriptor of its recorder, or its sandbox refuses memfd_create"
            ),
            Self::OtherVersion { pid, version } => write!(
                f,
                "process {pid} runs another version of boucle, whose layout is {version} where this one reads {}: look with \
                 the boucle of its environment",
                header::VERSION
            ),
            Self::Refused { pid, reason } => write!(f, "cannot look into process {pid}: {reason}"),
        }
    }
}

impl std::error::Error for Blind {}

/// A part of the file of another process.
#[derive(Clone, Debug)]
pub struct Region {
    file: Arc<File>,
    /// In bytes.
    offset: u64,
    words: usize,
}

impl Words for Region {
    fn count(&self) -> usize {
        self.words
    }

    fn copy(&self, at: usize, into: &mut [u64]) -> bool {
        const WORD: usize = size_of::<u64>();
        const BLOCK: usize = 512;
        if at.checked_add(into.len()).is_none_or(|end| end > self.words) {
            return false;
        }
        let mut buffer = [0; BLOCK * WORD];
        for (block, into) in into.chunks_mut(BLOCK).enumerate() {
            let bytes = &mut buffer[..into.len() * WORD];
            let offset = self.offset + ((at + block * BLOCK) * WORD) as u64;
            if self.file.read_exact_at(bytes, offset).is_err() {
                return false;
            }
            for (into, word) in into.iter_mut().zip(bytes.as_chunks::<WORD>().0) {
                *into = u64::from_ne_bytes(*word);
            }
        }
        true
    }
}

/// Looks into one process.
#[derive(Debug)]
pub struct Viewer {
    pid: u32,
    file: Arc<File>,
    header: Header,
}

/// What a look saw.
#[derive(Clone, Debug)]
pub struct Look {
    /// What ran.
    pub chronology: Chronology,
    /// When the chronology ends.
    pub end: Tick,
    /// The steps that had not returned by then, of all threads.
    pub running: Vec<Running>,
}

/// The ring of a thread of the process.
#[derive(Debug)]
pub struct ThreadView(Region);

impl Viewer {
    /// Finds the mapping of a process.
    pub fn open(pid: u32) -> Result<Self, Blind> {
        let started = process::start_time(pid).ok_or(Blind::NoProcess(pid))?;
        let own_number = process::own_number(pid);
        let mut other = None;
        for path in process::nameless_files(pid, "boucle").map_err(|error| refusal(pid, &error))? {
            let file = Arc::new(File::open(path).map_err(|error| refusal(pid, &error))?);
            match header::read(&part(&file, 0, header::SIZE)) {
                // A child that was forked behind our back shows its parent's file.
                Ok(header) if (header.pid, header.started) == (own_number, started) => {
                    return Ok(Self { pid, file, header });
                }
                Err(NoHeader::Version(version)) => other = Some(Blind::OtherVersion { pid, version }),
                Ok(_) | Err(NoHeader::Other) => {}
            }
        }
        Err(other.unwrap_or(Blind::Nothing(pid)))
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended.
    pub fn is_alive(&self) -> bool {
        process::start_time(self.pid) == Some(self.header.started)
    }

    /// What it runs, as a person would name it.
    pub fn program(&self) -> &str {
        &self.header.program
    }

    /// What records it.
    pub fn recorded_by(&self) -> &str {
        &self.header.recorded_by
    }

    /// How its stamps become times.
    pub fn scale(&self) -> Scale {
        Scale::measure_since(self.header.first)
    }

    /// The threads that run loops, or have. The order is that of their numbers, to which later ones are added.
    pub fn threads(&self) -> Vec<ThreadView> {
        self.segments(Kind::Ring).map(ThreadView).collect()
    }

    /// How many of its threads cannot be seen.
    pub fn hidden_threads(&self) -> u64 {
        header::hidden(&part(&self.file, 0, header::SIZE))
    }

    /// What its numbers stand for.
    pub fn names(&self) -> View<Region> {
        View::of(self.segments(Kind::Directory).next().unwrap_or_else(|| part(&self.file, 0, 0)))
    }

    /// The last of what it ran, as long as asked for, or as long as its rings reach back. A step that still runs is shown
    /// as one that ends now, with as much of what was before it. Where nothing ran for so long, because the process is
    /// stopped or idle, it is the time before that.
    pub fn snapshot(&self, last: Duration) -> Chronology {
        self.look(last).chronology
    }

    /// The same, with what a chronology does not tell.
    pub fn look(&self, last: Duration) -> Look {
        let scale = self.scale();
        let threads = self.threads();
        // Before the steps are read: what returns meanwhile ends later.
        let now = Stamp::now();
        let running: Vec<_> = threads.iter().map(|thread| thread.running().filter(|step| step.start <= now)).collect();
        let begun = running.iter().flatten().map(|step| step.start).min();
        let idle_since = threads.iter().filter_map(ThreadView::last_end).filter(|end| *end <= now).max();
        let end = match idle_since {
            Some(end) if begun.is_none() && end < scale.earlier(now, last) => end,
            _ => now,
        };
        let mut start = scale.earlier(begun.unwrap_or(end), last);
        let mut strands = Vec::with_capacity(threads.len());
        for (thread, running) in threads.iter().zip(running) {
            let from = thread.since(start);
            let strand = thread.strand(from, running);
            if let (true, Some(oldest)) = (from > 0, strand.reading.steps.first()) {
                // What was overwritten is not known: the run begins where each ring still has its steps.
                start = start.max(oldest.start.min(end));
            }
            strands.push(strand);
        }
        let begun = strands.iter().filter_map(|strand| strand.running).map(|running| running.start).min();
        let window = Window { start: begun.map_or(start, |begun| begun.min(start)), end, scale };
        let seen = self.segments(Kind::Samples).next().map_or_else(Vec::new, |words| samples::read(&words));
        let identity = Chronology {
            program: self.header.program.clone(),
            recorded_by: self.header.recorded_by.clone(),
            ..Chronology::default()
        };
        let running = strands.iter().filter_map(|strand| strand.running).collect();
        let chronology = weave(window, strands, seen, &mut self.names(), identity);
        Look { chronology, end: scale.tick(end), running }
    }

    /// The segments of a kind that lie within the file.
    fn segments(&self, kind: Kind) -> impl Iterator<Item = Region> + use<'_> {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        let fits = move |segment: &Listed| {
            let bytes = (segment.words as u64).checked_mul(size_of::<u64>() as u64);
            bytes.and_then(|bytes| segment.offset.checked_add(bytes)).is_some_and(|end| end <= length)
        };
        let listed = header::segments(&part(&self.file, 0, header::SIZE));
        let of_kind = listed.into_iter().filter(move |segment| segment.kind == Some(kind) && fits(segment));
        of_kind.map(|segment| part(&self.file, segment.offset, segment.words))
    }
}

fn part(file: &Arc<File>, offset: u64, words: usize) -> Region {
    Region { file: Arc::clone(file), offset, words }
}

fn refusal(pid: u32, error: &std::io::Error) -> Blind {
    match error.kind() {
        ErrorKind::PermissionDenied => Blind::NotPermitted(pid),
        // It ended, or closed the file, meanwhile.
        ErrorKind::NotFound if process::start_time(pid).is_none() => Blind::NoProcess(pid),
        ErrorKind::NotFound => Blind::Nothing(pid),
        _ => Blind::Refused { pid, reason: error.to_string() },
    }
}

impl ThreadView {
    /// How many steps it has run: the sequence number of the next.
    pub fn head(&self) -> u64 {
        ring::head(&self.0)
    }

    /// The steps from a sequence number on, as far as they are still there, and the last four million of them.
    pub fn read(&self, from: u64) -> Reading {
        let Reading { first, steps, lost } = ring::read(&self.0, from.max(self.head().saturating_sub(MOST_STEPS)));
        Reading { first, steps, lost: lost.max(first.saturating_sub(from)) }
    }

    /// A sequence number from which on every step is found that began at `since` or later.
    pub fn since(&self, since: Stamp) -> u64 {
        ring::since(&self.0, since, MOST_STEPS)
    }

    /// The step that has not returned.
    pub fn running(&self) -> Option<Running> {
        // Its words are not one: look until they are the same twice, and the step before has been written.
        for _ in 0..4 {
            let (head, running) = (self.head(), self.live().0);
            let last = self.read(head.saturating_sub(1)).steps.last().map(|step| step.start);
            fence(Ordering::Acquire);
            if self.live().0 == running && self.head() == head {
                return running.filter(|running| last != Some(running.start));
            }
        }
        None
    }

    /// When the last step that has returned did.
    fn last_end(&self) -> Option<Stamp> {
        let last = *self.read(self.head().saturating_sub(1)).steps.last()?;
        Some(Stamp(last.start.0.saturating_add(last.duration as u64)))
    }

    /// The steps from a sequence number on, and the one that runs, if it still does after them.
    fn strand(&self, from: u64, running: Option<Running>) -> Strand {
        let mut reading = self.read(from);
        reading.lost = 0;
        let next = reading.first.wrapping_add(reading.steps.len() as u64);
        let running = running.filter(|step| reading.steps.last().is_none_or(|last| last.start < step.start));
        let running = running.filter(|_| self.head() == next);
        let before = running.and_then(|step| ring::last_of(&self.0, step.actor, next, MOST_STEPS));
        Strand { reading, owners: self.owners(), running, before }
    }

    /// The kernel's number of the thread that had it last.
    pub fn thread(&self) -> Option<u32> {
        self.owners().last().map(|owner| owner.thread)
    }

    /// The threads that wrote into it, oldest first.
    pub fn owners(&self) -> Vec<Owner> {
        rings::owners(&self.0)
    }

    fn live(&self) -> (Option<Running>, u32) {
        let mut words = [0; mapping::LIVE];
        self.0.copy(ring::LIVE, &mut words);
        live::decode(words)
    }
}

#[cfg(test)]
mod tests;
