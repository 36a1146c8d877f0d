//! A chronology as bytes, and back.
//!
//! # The format, version 2
//!
//! ```text
//! file     = magic version program recorded_by duration lost threads places actors steps samples checksum
//! magic    = 89 62 6F 75 63 6C 65 0A             "boucle" between a byte that no text holds and a line end
//! version  = number                              2; in version 1 there are no samples
//! program, recorded_by = string
//! duration, lost = number
//! threads  = count thread*                       thread = string                          its name
//! places   = count place*                        place  = string string number            function, file, line·2 + (1 in a library)
//! actors   = count actor*                        actor  = string string number            name, function, (parent + 1 or 0)·2 + (1 for a callback)
//! steps    = count step*
//! samples  = count sample*
//! checksum = 4 bytes, little-endian              CRC-32 (the one of zip and PNG) of all bytes before it
//!
//! number   = LEB128: seven bits a byte, lowest first, the top bit set on all bytes but the last; at most 64 bits
//! signed   = number, n ≥ 0 written as 2n and n < 0 as −2n − 1
//! count    = number, at most 2³² − 1
//! string   = 0 count byte*                       UTF-8, written out
//!          | number                              k ≥ 1: the k-th written out string of at most 127 bytes, from 1
//! ```
//!
//! All times are nanoseconds, and their differences wrap at 64 bits. A step is written against the steps before it:
//!
//! ```text
//! step     = head [thread] actor gap duration ready [waker] [resumed] [left]
//! head     = 1 byte
//!            bits 0–2  woken by: 0 unknown, 1 a step, 2 a timer, 3 I/O, 4 another thread
//!            bits 3–4  left: 0 unknown, 1 awaited, 2 returned, 3 awaited where it resumed
//!            bit 5     resumed follows; otherwise the step resumed where the actor's last step that awaited did so,
//!                      or at an unknown place if none did
//!            bit 6     thread follows; otherwise it is that of the step before, or 0
//!            bit 7     0
//! thread   = number
//! actor    = signed                              minus that of the step before, or minus 0
//! gap      = number                              start − end of the step before on this thread, or − 0
//! duration = number
//! ready    = signed                              when the actor became ready − end of the waking step; if not woken by a
//!                                                step, − the same of the last step with these bits 0–2, or − 0
//! waker    = number, if woken by a step          how many steps before this one, ≥ 1
//! resumed  = number                              place + 1, or 0 if unknown
//! left     = number, if bits 3–4 are 1           the place
//! ```
//!
//! And a sample against the one before it:
//!
//! ```text
//! sample   = step time cause detail stack
//! step     = number                              minus that of the sample before, or minus 0
//! time     = number                              at − that of the sample before if it is of the same step, else − start of the step
//! cause    = 1 byte                              0 unknown, 1 sleep, 2 socket, 3 file, 4 lock, 5 child process,
//!                                                6 system call, 7 Python code, 8 C code holding the GIL,
//!                                                9 waiting for the GIL, 10 garbage collector, 11 no processor
//! detail   = string
//! stack    = count place*                        place = number                          the innermost first
//! ```
//!
//! # Invariants
//!
//! * `decode(encode(c)) == c` for every `c` that passes [`Chronology::check`], and whatever decodes passes it.
//! * Decoding never panics, and allocates at most a constant times the length of its input: a count is compared with
//!   the bytes that remain before anything is reserved for it. Strings of more than 127 bytes are written out at each
//!   use, since a short reference to a long string would let a small file become a large chronology.
//! * A reader of a newer version reads all older ones; an older reader says that it is too old.

mod checksum;
mod error;
mod reader;
mod samples;
mod steps;
mod writer;

pub use error::DecodeError;

use crate::model::{Actor, ActorId, ActorKind, Chronology, Origin, Place, Thread};
use error::Problem;
use reader::Reader;
use writer::Writer;

const MAGIC: &[u8; 8] = b"\x89boucle\n";
const VERSION: u64 = 2;
/// From this version on recordings have samples.
const WITH_SAMPLES: u64 = 2;
/// Longer strings are written out at each use.
const SHARED_STRING_MAX: usize = 127;

/// The bytes of a recording. `chronology` passes [`Chronology::check`]; what does not may yield bytes that do not decode.
pub fn encode(chronology: &Chronology) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.bytes(MAGIC);
    writer.number(VERSION);
    writer.string(&chronology.program);
    writer.string(&chronology.recorded_by);
    writer.number(chronology.duration);
    writer.number(chronology.lost);
    writer.number(chronology.threads.len() as u64);
    for thread in &chronology.threads {
        writer.string(&thread.name);
    }
    writer.number(chronology.places.len() as u64);
    for place in &chronology.places {
        writer.string(&place.function);
        writer.string(&place.file);
        writer.number(u64::from(place.line) << 1 | u64::from(place.origin == Origin::Library));
    }
    writer.number(chronology.actors.len() as u64);
    for actor in &chronology.actors {
        writer.string(&actor.name);
        writer.string(&actor.function);
        let parent = actor.parent.map_or(0, |parent| u64::from(parent.0) + 1);
        writer.number(parent << 1 | u64::from(actor.kind == ActorKind::Callback));
    }
    writer.number(chronology.steps.len() as u64);
    steps::write(&mut writer, chronology);
    writer.number(chronology.samples.len() as u64);
    samples::write(&mut writer, chronology);
    let checksum = checksum::crc32(writer.written());
    writer.bytes(&checksum.to_le_bytes());
    writer.finish()
}

/// The recording that `bytes` holds.
pub fn decode(bytes: &[u8]) -> Result<Chronology, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.magic(MAGIC)?;
    let at = reader.offset();
    let version = reader.number("the version")?;
    if !(1..=VERSION).contains(&version) {
        return Err(DecodeError::new(at, Problem::Version { found: version, read: VERSION }));
    }
    let mut chronology = Chronology {
        program: reader.string("the name of the program")?,
        recorded_by: reader.string("the name of the recorder")?,
        duration: reader.number("the duration")?,
        lost: reader.number("the number of lost steps")?,
        ..Chronology::default()
    };
    chronology.threads = reader.list("threads", 1, |reader, _| {
        let name = reader.string("a thread")?;
        Ok(Thread { name })
    })?;
    chronology.places = reader.list("places", 3, |reader, _| place(reader))?;
    chronology.actors = reader.list("actors", 3, actor)?;
    chronology.steps = steps::read(&mut reader, &chronology)?;
    if version >= WITH_SAMPLES {
        chronology.samples = samples::read(&mut reader, &chronology)?;
    }
    reader.checksum()?;
    Ok(chronology)
}

fn place(reader: &mut Reader) -> Result<Place, DecodeError> {
    let function = reader.string("the function of a place")?;
    let file = reader.string("the file of a place")?;
    let at = reader.offset();
    let packed = reader.number("the line of a place")?;
    let line = u32::try_from(packed >> 1)
        .map_err(|_| DecodeError::new(at, Problem::TooLarge { what: "the line of a place" }))?;
    let origin = if packed & 1 == 1 { Origin::Library } else { Origin::User };
    Ok(Place { function, file, line, origin })
}

fn actor(reader: &mut Reader, actors: usize) -> Result<Actor, DecodeError> {
    let name = reader.string("the name of an actor")?;
    let function = reader.string("the function of an actor")?;
    let at = reader.offset();
    let packed = reader.number("the parent of an actor")?;
    let kind = if packed & 1 == 1 { ActorKind::Callback } else { ActorKind::Task };
    let parent = match packed >> 1 {
        0 => None,
        number => Some(ActorId(error::id(at, "the actor's parent is actor", number - 1, actors, "actors")?)),
    };
    Ok(Actor { kind, name, function, parent })
}
