//! Steps as bytes, each against the steps before it.
//!
//! Most of a step is known from its past: an actor resumes where it awaited, it became ready while its waker ran or
//! together with others, and the processor is rarely idle for long. What is left takes seven to ten bytes.

use super::error::{DecodeError, Problem, id};
use super::reader::Reader;
use super::writer::Writer;
use crate::model::{ActorId, Chronology, Left, Nanos, PlaceId, Step, StepId, ThreadId, Wake};

/// A head, an actor, a gap, a duration and when it became ready: no step has less.
const SMALLEST: usize = 5;

const WAKE_BITS: u8 = 0b0000_0111;
const BY_STEP: u8 = 1;
const BY_TIMER: u8 = 2;
const BY_IO: u8 = 3;
const BY_THREAD: u8 = 4;
/// One more than the greatest of them.
const WAKES: usize = 5;
const LEFT_BITS: u8 = 0b0001_1000;
const AWAITED: u8 = 1 << 3;
const RETURNED: u8 = 2 << 3;
const AWAITED_AGAIN: u8 = 3 << 3;
const RESUMED_FOLLOWS: u8 = 1 << 5;
const THREAD_FOLLOWS: u8 = 1 << 6;
const UNUSED: u8 = 1 << 7;

/// What the steps so far tell about the next one. The writer and the reader keep the same.
struct Past {
    thread: ThreadId,
    actor: ActorId,
    /// By thread, when its last step ended.
    ends: Vec<Nanos>,
    /// By actor, where it last awaited.
    awaited: Vec<Option<PlaceId>>,
    /// By what woke it, when the last such actor became ready: what one poll brings becomes ready at once.
    ready: [Nanos; WAKES],
}

impl Past {
    fn new(chronology: &Chronology) -> Past {
        Past {
            thread: ThreadId(0),
            actor: ActorId(0),
            ends: vec![0; chronology.threads.len()],
            awaited: vec![None; chronology.actors.len()],
            ready: [0; WAKES],
        }
    }

    fn end(&self, thread: ThreadId) -> Nanos {
        self.ends.get(thread.index()).copied().unwrap_or(0)
    }

    fn resumes(&self, actor: ActorId) -> Option<PlaceId> {
        self.awaited.get(actor.index()).copied().flatten()
    }

    /// What the time at which a step's actor became ready is told against.
    fn ready(&self, before: &[Step], woken_by: Wake) -> Nanos {
        match woken_by {
            Wake::Step(waker) => before.get(waker.index()).map_or(0, Step::end),
            other => self.ready[usize::from(wake_bits(other))],
        }
    }

    fn add(&mut self, step: &Step) {
        self.ready[usize::from(wake_bits(step.woken_by))] = ready(step);
        self.thread = step.thread;
        self.actor = step.actor;
        if let Some(end) = self.ends.get_mut(step.thread.index()) {
            *end = step.end();
        }
        if let (Left::Awaited(place), Some(awaited)) = (step.left, self.awaited.get_mut(step.actor.index())) {
            *awaited = Some(place);
        }
    }
}

/// Writes all steps, without their count.
pub(super) fn write(writer: &mut Writer, chronology: &Chronology) {
    let mut past = Past::new(chronology);
    for (index, step) in chronology.steps.iter().enumerate() {
        write_step(writer, &past, &chronology.steps[..index], step);
        past.add(step);
    }
}

// Differences wrap, so that no input makes this panic. The reader wraps them back.
fn write_step(writer: &mut Writer, past: &Past, before: &[Step], step: &Step) {
    let mut head = wake_bits(step.woken_by);
    head |= match step.left {
        Left::Unknown => 0,
        Left::Awaited(place) if step.resumed == Some(place) => AWAITED_AGAIN,
        Left::Awaited(_) => AWAITED,
        Left::Returned => RETURNED,
    };
    if step.resumed != past.resumes(step.actor) {
        head |= RESUMED_FOLLOWS;
    }
    if step.thread != past.thread {
        head |= THREAD_FOLLOWS;
    }
    writer.bytes(&[head]);
    if head & THREAD_FOLLOWS != 0 {
        writer.number(u64::from(step.thread.0));
    }
    writer.signed(i64::from(step.actor.0) - i64::from(past.actor.0));
    writer.number(step.start.wrapping_sub(past.end(step.thread)));
    writer.number(step.duration);
    writer.signed(ready(step).wrapping_sub(past.ready(before, step.woken_by)) as i64);
    if let Wake::Step(waker) = step.woken_by {
        writer.number((before.len() as u64).wrapping_sub(u64::from(waker.0)));
    }
    if head & RESUMED_FOLLOWS != 0 {
        writer.number(step.resumed.map_or(0, |place| u64::from(place.0) + 1));
    }
    if let (Left::Awaited(place), AWAITED) = (step.left, head & LEFT_BITS) {
        writer.number(u64::from(place.0));
    }
}

fn wake_bits(woken_by: Wake) -> u8 {
    match woken_by {
        Wake::Unknown => 0,
        Wake::Step(_) => BY_STEP,
        Wake::Timer => BY_TIMER,
        Wake::Io => BY_IO,
        Wake::Thread => BY_THREAD,
    }
}

/// When the actor of a step became ready, also if that was before the recording and wraps.
fn ready(step: &Step) -> Nanos {
    step.start.wrapping_sub(step.waited)
}

/// Reads the count of steps and all steps. `chronology` has everything else already.
pub(super) fn read(reader: &mut Reader, chronology: &Chronology) -> Result<Vec<Step>, DecodeError> {
    let count = reader.count("steps", SMALLEST)?;
    let mut past = Past::new(chronology);
    let mut steps = Vec::with_capacity(count);
    for _ in 0..count {
        let step = read_step(reader, &past, &steps, chronology)?;
        past.add(&step);
        steps.push(step);
    }
    Ok(steps)
}

fn read_step(reader: &mut Reader, past: &Past, before: &[Step], chronology: &Chronology) -> Result<Step, DecodeError> {
    let at = reader.offset();
    let head = reader.byte("a step")?;
    if head & UNUSED != 0 || head & WAKE_BITS > BY_THREAD {
        return Err(DecodeError::new(at, Problem::Head { found: head }));
    }
    let thread = read_thread(reader, head, past, chronology)?;
    let actor = read_actor(reader, past, chronology)?;
    let (start, duration) = read_times(reader, past.end(thread), before, chronology)?;
    let (ready, woken_by) = read_wake(reader, head, past, before)?;
    let waited = start.wrapping_sub(ready);
    let places = chronology.places.len();
    let mut resumed = past.resumes(actor);
    if head & RESUMED_FOLLOWS != 0 {
        let at = reader.offset();
        resumed = match reader.number("the place where a step resumed")? {
            0 => None,
            number => Some(PlaceId(id(at, "the step resumed at place", number - 1, places, "places")?)),
        };
    }
    let left = match head & LEFT_BITS {
        AWAITED => {
            let at = reader.offset();
            let number = reader.number("the place where a step awaited")?;
            Left::Awaited(PlaceId(id(at, "the step awaited at place", number, places, "places")?))
        }
        RETURNED => Left::Returned,
        AWAITED_AGAIN => match resumed {
            Some(place) => Left::Awaited(place),
            None => return Err(DecodeError::new(at, Problem::Head { found: head })),
        },
        _ => Left::Unknown,
    };
    Ok(Step { thread, actor, start, duration, waited, woken_by, resumed, left })
}

fn read_thread(reader: &mut Reader, head: u8, past: &Past, chronology: &Chronology) -> Result<ThreadId, DecodeError> {
    let at = reader.offset();
    let number =
        if head & THREAD_FOLLOWS == 0 { u64::from(past.thread.0) } else { reader.number("the thread of a step")? };
    let threads = chronology.threads.len();
    Ok(ThreadId(id(at, "the step names thread", number, threads, "threads")?))
}

fn read_actor(reader: &mut Reader, past: &Past, chronology: &Chronology) -> Result<ActorId, DecodeError> {
    let at = reader.offset();
    let difference = reader.signed("the actor of a step")?;
    let number = i64::from(past.actor.0).wrapping_add(difference) as u64;
    let actors = chronology.actors.len();
    Ok(ActorId(id(at, "the step names actor", number, actors, "actors")?))
}

/// When the step began, and for how long it ran.
fn read_times(
    reader: &mut Reader,
    end_before: Nanos,
    before: &[Step],
    chronology: &Chronology,
) -> Result<(Nanos, Nanos), DecodeError> {
    let at = reader.offset();
    let gap = reader.number("the start of a step")?;
    let after_the_end = || DecodeError::new(at, Problem::AfterTheEnd { duration: chronology.duration });
    let start = end_before.checked_add(gap).ok_or_else(after_the_end)?;
    let duration = reader.number("the duration of a step")?;
    if start.checked_add(duration).is_none_or(|end| end > chronology.duration) {
        return Err(after_the_end());
    }
    if before.last().is_some_and(|last| start < last.start) {
        return Err(DecodeError::new(at, Problem::OutOfOrder));
    }
    Ok((start, duration))
}

/// When the actor became ready, and what made it ready.
fn read_wake(reader: &mut Reader, head: u8, past: &Past, before: &[Step]) -> Result<(Nanos, Wake), DecodeError> {
    let difference = reader.signed("the wait of a step")? as u64;
    let woken_by = match head & WAKE_BITS {
        BY_STEP => Wake::Step(read_waker(reader, before)?),
        BY_TIMER => Wake::Timer,
        BY_IO => Wake::Io,
        BY_THREAD => Wake::Thread,
        _ => Wake::Unknown,
    };
    Ok((past.ready(before, woken_by).wrapping_add(difference), woken_by))
}

fn read_waker(reader: &mut Reader, before: &[Step]) -> Result<StepId, DecodeError> {
    let at = reader.offset();
    let number = reader.number("the waker of a step")?;
    let waker = usize::try_from(number)
        .ok()
        .filter(|&distance| distance > 0)
        .and_then(|distance| before.len().checked_sub(distance));
    waker.map(|waker| StepId(waker as u32)).ok_or_else(|| {
        let claim = "the step is woken by the step before it number";
        let available = before.len() as u64;
        DecodeError::new(at, Problem::NoSuch { claim, number, available, kind: "earlier steps" })
    })
}
