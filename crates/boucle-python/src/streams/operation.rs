//! The coroutines of `read` and its relatives, and of `drain`.
//!
//! An operation looks whether what it is for is there, and ends. Otherwise a reading one waits for the reader's future,
//! and looks again; where there is something to raise, or to do in another way, asyncio's own coroutine takes its place
//! from the beginning.
//!
//! # Invariants
//!
//! * A future in `awaited` or a coroutine in `delegate` is there while the operation waits, and at no other time.
//! * While there is a future in `awaited` it is the reader's waiter, unless the reader has let go of it.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::ASYNCIO;
use super::reader::StreamReaderCore;
use super::writer::{StreamWriterCore, is_drained};
use crate::coroutine::{self, Coroutine, Stage, coroutine_class, speaks_if_never_awaited};
use crate::future::{self, awaiting};
use crate::raw::call::{self, Sent};
use crate::raw::class::{Builder, Collected, MaybeInstance, Visit};
use crate::raw::freelist::Freelist;
use crate::raw::stop::Ended;
use crate::raw::{Class, ObjectCell, Owned, Result, This, TypeCell, bytes, vector};

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Read,
    ReadExactly,
    ReadUntil,
    ReadLine,
    Drain,
}

impl Kind {
    /// The class and the name of the method.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Read => ("StreamReader", "read"),
            Self::ReadExactly => ("StreamReader", "readexactly"),
            Self::ReadUntil => ("StreamReader", "readuntil"),
            Self::ReadLine => ("StreamReader", "readline"),
            Self::Drain => ("StreamWriter", "drain"),
        }
    }

    /// The name of the method.
    pub(super) fn method(self, py: Python<'_>) -> Bound<'_, PyString> {
        PyString::intern(py, self.names().1)
    }
}

/// One call of such a method.
#[derive(Default)]
pub(crate) struct StreamOperation {
    reader: MaybeInstance<StreamReaderCore>,
    writer: MaybeInstance<StreamWriterCore>,
    /// How many bytes, or up to which separator; nothing where it is a line's end.
    argument: ObjectCell,
    /// How many bytes, where it is a number.
    wanted: usize,
    /// The future that is done when something has arrived.
    awaited: ObjectCell,
    /// asyncio's coroutine of the same call.
    delegate: ObjectCell,
    kind: Cell<Kind>,
    stage: Cell<Stage>,
    ended: Ended,
    /// Where a separator may begin: before, there is none.
    searched: Cell<usize>,
}

static OPERATION: TypeCell = TypeCell::new();
static OPERATIONS: Freelist = Freelist::new();

impl Class for StreamOperation {
    fn class() -> &'static TypeCell {
        &OPERATION
    }
}

impl StreamOperation {
    fn take_all(&self) -> impl Sized + use<> {
        let cells = [&self.argument, &self.awaited, &self.delegate].map(ObjectCell::take);
        (cells, self.reader.replace(None), self.writer.replace(None))
    }
}

impl Collected for StreamOperation {
    fn traverse(&self, visit: &mut Visit) {
        for cell in [&self.argument, &self.awaited, &self.delegate, self.reader.object(), self.writer.object()] {
            visit.cell(cell);
        }
        self.ended.traverse(visit);
    }

    fn clear(&self) {
        drop(self.take_all());
        self.ended.clear();
    }
}

speaks_if_never_awaited!(StreamOperation, OPERATIONS);

/// Makes the class, and says that it is one of coroutines.
pub(super) fn initialise(py: Python<'_>) -> Result<Owned> {
    let class = Builder::<StreamOperation>::new(c"boucle._boucle.StreamOperation")
        .doc(c"The coroutine of one call of a stream's method such as read or drain.");
    let class = coroutine_class!(StreamOperation, class).finalized().without_constructor().build(py)?;
    coroutine::register(py, &class)?;
    Ok(class)
}

/// The operation of a call of a reader's method. `wanted` is the argument, where it is a number.
#[inline]
pub(super) fn of_reader(
    py: Python<'_>,
    reader: This<'_, StreamReaderCore>,
    kind: Kind,
    argument: Option<Owned>,
    wanted: usize,
) -> Result<Owned> {
    OPERATIONS.make_collected(py, || StreamOperation {
        reader: MaybeInstance::new(reader),
        argument: argument.map_or_else(ObjectCell::default, ObjectCell::new),
        wanted,
        kind: Cell::new(kind),
        ..StreamOperation::default()
    })
}

/// The operation of `drain()`.
#[inline]
pub(super) fn of_writer(py: Python<'_>, writer: This<'_, StreamWriterCore>) -> Result<Owned> {
    OPERATIONS.make_collected(py, || StreamOperation {
        writer: MaybeInstance::new(writer),
        kind: Cell::new(Kind::Drain),
        ..StreamOperation::default()
    })
}

impl Coroutine for StreamOperation {
    fn stage(&self) -> &Cell<Stage> {
        &self.stage
    }

    fn ended(&self) -> &Ended {
        &self.ended
    }

    fn name(&self) -> (&'static str, &'static str) {
        self.kind.get().names()
    }

    fn start(py: Python<'_>, this: This<'_, Self>) -> Result<Sent> {
        if let Some(drained) = this.writer.with(|writer| is_drained(py, writer)) {
            return if drained? { Ok(Sent::Returned(Owned::none(py))) } else { by_asyncio(py, this) };
        }
        look(py, this, false)
    }

    fn go_on(py: Python<'_>, this: This<'_, Self>) -> Result<Sent> {
        if let Some(delegate) = this.delegate.get() {
            return call::resume(py, &delegate);
        }
        let awaited = this.awaited.get();
        let Some(future) = awaited.as_ref().and_then(future::native) else {
            return Ok(Sent::Returned(Owned::none(py)));
        };
        match awaiting::step_as_coroutine(py, future)? {
            yielded @ Sent::Yielded(_) => Ok(yielded),
            Sent::Returned(_) => {
                stop_waiting(py, this);
                look(py, this, true)
            }
        }
    }

    fn throw_in(py: Python<'_>, this: This<'_, Self>, exception: &Owned) -> Result<Sent> {
        match this.delegate.get() {
            Some(delegate) => coroutine::throw_on(py, &delegate, exception),
            None => Err(PyErr::from_value(exception.any(py).to_owned()).into()),
        }
    }

    fn finish(py: Python<'_>, this: This<'_, Self>) -> Result<Option<Owned>> {
        stop_waiting(py, this);
        let delegate = this.delegate.take();
        drop(this.take_all());
        Ok(delegate)
    }

    fn awaited(&self) -> Option<Owned> {
        self.delegate.get().or_else(|| self.awaited.get())
    }
}

/// The reader has no waiter any more, if it was ours.
#[inline]
fn stop_waiting(py: Python<'_>, this: This<'_, StreamOperation>) {
    if let Some(awaited) = this.awaited.take() {
        this.reader.with(|reader| reader.forget_waiter(py));
        drop(awaited);
    }
}

/// What a look at the reader came to.
enum Found {
    /// So many bytes are what is wanted.
    Bytes(usize),
    /// The stream has ended before.
    End,
    /// Not yet.
    Nothing,
    /// Too much.
    Overrun,
}

/// Looks whether what is wanted is there; waits where it is not. `woken` says that something has arrived.
fn look(py: Python<'_>, this: This<'_, StreamOperation>, woken: bool) -> Result<Sent> {
    let looked = this.reader.with(|reader| {
        if (reader.has_failed() && !woken) || !reader.is_usual() {
            return by_asyncio(py, this);
        }
        match find(py, this, reader, woken)? {
            Found::Bytes(count) => {
                let taken = reader.storage.take(py, count)?;
                reader.resume_if_there_is_room(py)?;
                Ok(Sent::Returned(taken))
            }
            Found::End => end(py, this, reader),
            Found::Nothing => wait(py, this, reader),
            Found::Overrun => by_asyncio(py, this),
        }
    });
    looked.unwrap_or_else(|| Ok(Sent::Returned(Owned::none(py))))
}

#[inline]
fn find(
    py: Python<'_>,
    this: This<'_, StreamOperation>,
    reader: This<'_, StreamReaderCore>,
    woken: bool,
) -> Result<Found> {
    let kind = this.kind.get();
    if !matches!(kind, Kind::Read | Kind::ReadExactly) {
        reader.storage.join(py)?;
        return Ok(find_separator(this, reader));
    }
    let (length, wanted) = (reader.storage.len(), this.wanted);
    Ok(match kind {
        Kind::Read if length == 0 && !reader.eof.get() && !woken => Found::Nothing,
        Kind::Read => Found::Bytes(length.min(wanted)),
        _ if length >= wanted => Found::Bytes(wanted),
        _ if reader.eof.get() => Found::End,
        _ => Found::Nothing,
    })
}

fn find_separator(this: This<'_, StreamOperation>, reader: This<'_, StreamReaderCore>) -> Found {
    let given = this.argument.get();
    let separator = given.as_ref().map_or(b"\n".as_slice(), bytes::content);
    let from = this.searched.get();
    let (length, found) = reader.storage.look(|content| {
        let rest = content.get(from..).filter(|rest| rest.len() >= separator.len());
        (content.len(), rest.map(|rest| bytes::find(rest, separator)))
    });
    match found {
        Some(Some(at)) if from + at > reader.most() => return Found::Overrun,
        Some(Some(at)) => return Found::Bytes(from + at + separator.len()),
        Some(None) => this.searched.set(length + 1 - separator.len()),
        None => {}
    }
    if this.searched.get() > reader.most() {
        return Found::Overrun;
    }
    if reader.eof.get() { Found::End } else { Found::Nothing }
}

/// The stream has ended before what is wanted: a line is what there is, and everything else is incomplete.
#[cold]
fn end(py: Python<'_>, this: This<'_, StreamOperation>, reader: This<'_, StreamReaderCore>) -> Result<Sent> {
    let rest = reader.storage.take(py, reader.storage.len())?;
    if this.kind.get() == Kind::ReadLine {
        return Ok(Sent::Returned(rest));
    }
    let is_counted = this.kind.get() == Kind::ReadExactly;
    let expected = this.argument.get().filter(|_| is_counted).unwrap_or_else(|| Owned::none(py));
    let error = vector::call(py, &ASYNCIO.get(py).incomplete_read_error, &[&rest, &expected])?;
    Err(call::raise(py, &error))
}

/// Waits for data. Asked for where somebody waits already, or nothing can come, asyncio's coroutine says so.
fn wait(py: Python<'_>, this: This<'_, StreamOperation>, reader: This<'_, StreamReaderCore>) -> Result<Sent> {
    let future = if reader.is_awaited() || reader.has_failed() { None } else { reader.make_future(py)? };
    let Some(awaited) = future else { return by_asyncio(py, this) };
    reader.resume(py)?;
    reader.set_awaited(this.wanted);
    drop(reader.waiter.replace(Some(awaited.clone())));
    drop(this.awaited.replace(Some(awaited.clone())));
    future::native(&awaited).map_or_else(|| by_asyncio(py, this), |future| awaiting::step_as_coroutine(py, future))
}

/// asyncio's coroutine of the same call does the rest.
#[cold]
fn by_asyncio(py: Python<'_>, this: This<'_, StreamOperation>) -> Result<Sent> {
    let asyncio = ASYNCIO.get(py);
    let (class, stream) = match this.reader.object().get() {
        Some(reader) => (&asyncio.reader, reader),
        None => (&asyncio.writer, this.writer.object().get().unwrap_or_else(|| Owned::none(py))),
    };
    let function: Owned = class.any(py).getattr(this.kind.get().method(py))?.into();
    let coroutine = match this.argument.get() {
        Some(argument) => vector::call(py, &function, &[&stream, &argument])?,
        None => vector::call(py, &function, &[&stream])?,
    };
    drop(this.delegate.replace(Some(coroutine.clone())));
    call::resume(py, &coroutine)
}
