//! The native half of a reader: what arrives, and whom it wakes up.

use std::cell::Cell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use super::operation::{self, Kind};
use super::storage::Storage;
use super::{ASYNCIO, flag_property, hand_on, has_none, missing, object_property, only};
use crate::future;
use crate::loop_core::{LoopCore, tasks};
use crate::raw::class::{Builder, Collected, MaybeInstance, Visit};
use crate::raw::method::property;
use crate::raw::written::Heir;
use crate::raw::{Args, Class, ObjectCell, Owned, Result, This, TypeCell, bytes, getter, method, setter, vector};

/// What asyncio's reader has in its attributes.
#[derive(Default)]
pub(crate) struct StreamReaderCore {
    core: MaybeInstance<LoopCore>,
    pub(super) storage: Storage,
    /// The future of who waits for data, or `None`.
    pub(super) waiter: ObjectCell,
    exception: ObjectCell,
    transport: ObjectCell,
    limit: ObjectCell,
    /// The limit, where it is an `int` as it should be.
    most: Cell<Option<usize>>,
    /// How many bytes were waited for last; 0 where it was no number.
    awaited: Cell<usize>,
    pub(super) eof: Cell<bool>,
    paused: Cell<bool>,
    /// Whether its class is `boucle.StreamReader` itself, in which nothing is overridden.
    is_exact: Cell<bool>,
}

static READER: TypeCell = TypeCell::new();
static READER_AS_WRITTEN: Heir<StreamReaderCore> = Heir::new();

impl Class for StreamReaderCore {
    fn class() -> &'static TypeCell {
        &READER
    }
}

impl StreamReaderCore {
    fn cells(&self) -> [&ObjectCell; 5] {
        [self.core.object(), &self.waiter, &self.exception, &self.transport, &self.limit]
    }

    /// Whether asyncio's methods can be done without.
    #[inline]
    pub(super) fn is_usual(&self) -> bool {
        self.is_exact.get() && self.core.is_instance() && self.storage.is_usual() && self.most.get().is_some()
    }

    /// More bytes than so many, and no separator yet, are too many.
    #[inline]
    pub(super) fn most(&self) -> usize {
        self.most.get().unwrap_or_default()
    }

    /// Whether there is an exception to be raised.
    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        is_something(&self.exception)
    }

    /// Whether somebody waits for data.
    #[inline]
    pub(super) fn is_awaited(&self) -> bool {
        is_something(&self.waiter)
    }

    /// Somebody waits for so many bytes.
    #[inline]
    pub(super) fn set_awaited(&self, count: usize) {
        self.awaited.set(count);
    }

    /// Nobody waits for data any more.
    #[inline]
    pub(super) fn forget_waiter(&self, py: Python<'_>) {
        drop(self.waiter.replace(Some(Owned::none(py))));
    }

    /// Whether adding so much is all that is to be done.
    #[inline]
    fn has_room_for(&self, length: usize) -> bool {
        let may_pause = is_something(&self.transport) && !self.paused.get();
        !may_pause || self.storage.len() + length <= 2 * self.most()
    }

    /// A future of the loop; nothing where it makes others than ours.
    pub(super) fn make_future(&self, py: Python<'_>) -> Result<Option<Owned>> {
        let Some(future) = self.core.with(|core| tasks::future_of(py, core)).transpose()? else { return Ok(None) };
        Ok(future::native(&future).is_some().then_some(future))
    }

    /// Reading goes on, where it was paused and what is there is little enough.
    #[inline]
    pub(super) fn resume_if_there_is_room(&self, py: Python<'_>) -> Result<()> {
        if self.paused.get() && self.storage.len() <= self.most() { self.resume(py) } else { Ok(()) }
    }

    /// Reading goes on, where it was paused.
    pub(super) fn resume(&self, py: Python<'_>) -> Result<()> {
        if !self.paused.replace(false) {
            return Ok(());
        }
        let transport = self.transport.get().unwrap_or_else(|| Owned::none(py));
        vector::method(py, &transport, intern!(py, "resume_reading"), &[]).map(drop)
    }
}

#[inline]
fn is_something(cell: &ObjectCell) -> bool {
    cell.get().is_some_and(|content| !content.is_none())
}

impl Collected for StreamReaderCore {
    fn traverse(&self, visit: &mut Visit) {
        self.cells().into_iter().for_each(|cell| visit.cell(cell));
        self.storage.visit(visit);
    }

    fn clear(&self) {
        self.most.set(None);
        let content = (self.core.replace(None), self.cells().map(ObjectCell::take));
        drop(content);
        self.storage.set_array(None);
    }
}

/// Makes the class.
pub(super) fn initialise(py: Python<'_>) -> Result<Owned> {
    Builder::<StreamReaderCore>::new(c"boucle._boucle.StreamReaderCore")
        .doc(c"The native half of boucle.StreamReader.")
        .collected()
        .subclassable()
        .methods([
            method!(StreamReaderCore, "exception", exception, "exception($self)\n--\n\nWhat set_exception has set, or None."),
            method!(StreamReaderCore, "feed_data", args feed_data, "feed_data($self, data)\n--\n\nThis has arrived."),
            method!(StreamReaderCore, "read", args read, "read($self, n=-1)\n--\n\nRead up to n bytes, for -1 up to the end."),
            method!(StreamReaderCore, "readexactly", args readexactly, "readexactly($self, n)\n--\n\nRead n bytes. Raises IncompleteReadError where the stream ends before."),
            method!(StreamReaderCore, "readuntil", args readuntil, "readuntil($self, separator=b'\\n')\n--\n\nRead up to a separator, which is returned too. Raises IncompleteReadError, or LimitOverrunError where it does not come within the limit."),
            method!(StreamReaderCore, "readline", args readline, "readline($self)\n--\n\nRead a line, at the end of the stream what there is. Raises ValueError where it is longer than the limit."),
        ])
        .properties([
            object_property!(StreamReaderCore, "_loop", core.object),
            object_property!(StreamReaderCore, "_waiter", waiter),
            object_property!(StreamReaderCore, "_exception", exception),
            object_property!(StreamReaderCore, "_transport", transport),
            property(
                c"_limit",
                getter!(StreamReaderCore, "_limit", |_, this: This<'_, StreamReaderCore>| {
                    this.limit.get().ok_or_else(|| missing("_limit"))
                }),
                Some(setter!(StreamReaderCore, "_limit", set_limit)),
            ),
            property(
                c"_buffer",
                getter!(StreamReaderCore, "_buffer", |py, this: This<'_, StreamReaderCore>| {
                    this.storage.poured(py)?.ok_or_else(|| missing("_buffer"))
                }),
                Some(setter!(StreamReaderCore, "_buffer", set_buffer)),
            ),
            flag_property!(StreamReaderCore, "_eof", eof),
            flag_property!(StreamReaderCore, "_paused", paused),
        ])
        .build(py)
}

fn set_limit(_: Python<'_>, this: This<'_, StreamReaderCore>, limit: Option<Owned>) -> Result<()> {
    let number = limit.as_ref().and_then(Owned::small_int);
    this.most.set(number.and_then(|number| usize::try_from(number).ok()));
    drop(this.limit.replace(limit));
    Ok(())
}

/// asyncio's constructor gives the reader its buffer: now it is known whether asyncio's methods are overridden.
fn set_buffer(py: Python<'_>, this: This<'_, StreamReaderCore>, array: Option<Owned>) -> Result<()> {
    let base = this.to_owned().any(py).get_type().getattr(intern!(py, "__base__"))?;
    this.is_exact.set(base.as_ptr().cast() == READER.get());
    this.storage.set_array(array);
    Ok(())
}

fn asyncios(
    py: Python<'_>,
    this: This<'_, StreamReaderCore>,
    name: &Bound<'_, PyString>,
    args: Args<'_>,
) -> Result<Owned> {
    hand_on(py, &ASYNCIO.get(py).reader, &this.to_owned(), name, args)
}

/// Learns the class of Python's, which nobody has changed yet.
pub(super) fn learn(py: Python<'_>, class: &Bound<'_, PyType>) -> PyResult<()> {
    READER_AS_WRITTEN.learn(py, class)
}

/// `reader.exception() is not None`, of any reader.
#[inline]
pub(super) fn may_have_failed(py: Python<'_>, reader: &Owned) -> Result<bool> {
    match READER_AS_WRITTEN.instance(py, reader) {
        Some(this) => Ok(this.has_failed()),
        None => Ok(!vector::method(py, reader, intern!(py, "exception"), &[])?.is_none()),
    }
}

/// A reader that is fed as `feed_data` would feed it.
pub(crate) struct Fed(Owned);

/// The reader, if nobody can tell.
#[inline]
pub(super) fn fed(py: Python<'_>, reader: Owned) -> Option<Fed> {
    let takes_data = READER_AS_WRITTEN.instance(py, &reader).is_some_and(takes_data);
    takes_data.then_some(Fed(reader))
}

impl Fed {
    /// Adds what has arrived; false where more is to be done than that and to wake up who waits.
    #[inline]
    pub(crate) fn take(&self, py: Python<'_>, content: &[u8]) -> Result<bool> {
        match READER_AS_WRITTEN.instance(py, &self.0) {
            Some(this) if this.has_room_for(content.len()) => {
                this.storage.add(py, bytes::new(py, content)?).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// How many of the `likely` bytes that will come are to be an object of their own, which is handed out as it is; none
    /// where they will be added to others.
    pub(crate) fn expects(&self, py: Python<'_>, likely: usize) -> usize {
        match READER_AS_WRITTEN.instance(py, &self.0) {
            Some(this) if this.storage.takes_chunks() && this.has_room_for(likely) => this.awaited.get().min(likely),
            _ => 0,
        }
    }

    /// As `take`, in two parts, of which the second may be empty.
    pub(crate) fn take_two(&self, py: Python<'_>, data: &Owned, rest: &[u8]) -> Result<bool> {
        match READER_AS_WRITTEN.instance(py, &self.0) {
            Some(this) if this.has_room_for(bytes::content(data).len() + rest.len()) => {
                this.storage.add_two(py, data, rest).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Wakes up who waits.
    #[inline]
    pub(crate) fn tell(&self, py: Python<'_>) -> Result<()> {
        READER_AS_WRITTEN.instance(py, &self.0).map_or(Ok(()), |this| wake(py, this))
    }
}

/// Whether data can be added as usual.
#[inline]
fn takes_data(this: This<'_, StreamReaderCore>) -> bool {
    this.is_usual() && !this.eof.get()
}

/// Wakes up who waits.
#[inline]
fn wake(py: Python<'_>, this: This<'_, StreamReaderCore>) -> Result<()> {
    if !this.is_awaited() {
        return Ok(());
    }
    let Some(waiter) = this.waiter.replace(Some(Owned::none(py))) else { return Ok(()) };
    future::set_result_unless_cancelled(py, &waiter, Owned::none(py))
}

fn exception(_: Python<'_>, this: This<'_, StreamReaderCore>) -> Result<Owned> {
    this.exception.get().ok_or_else(|| missing("_exception"))
}

/// `feed_data(data)`: where all it takes is to keep the data and wake up who waits.
fn feed_data(py: Python<'_>, this: This<'_, StreamReaderCore>, args: Args<'_>) -> Result<()> {
    let data = only(args).filter(bytes::is_bytes).filter(|_| takes_data(this));
    let length = data.as_ref().map_or(0, |data| bytes::content(data).len());
    let Some(data) = data.filter(|_| length > 0 && this.has_room_for(length)) else {
        return asyncios(py, this, intern!(py, "feed_data"), args).map(drop);
    };
    this.storage.add(py, data)?;
    wake(py, this)
}

fn read(py: Python<'_>, this: This<'_, StreamReaderCore>, args: Args<'_>) -> Result<Owned> {
    counted(py, this, Kind::Read, args)
}

fn readexactly(py: Python<'_>, this: This<'_, StreamReaderCore>, args: Args<'_>) -> Result<Owned> {
    counted(py, this, Kind::ReadExactly, args)
}

/// Reads a number of bytes; one that is not positive means something else.
fn counted(py: Python<'_>, this: This<'_, StreamReaderCore>, kind: Kind, args: Args<'_>) -> Result<Owned> {
    let number = only(args).filter(|_| this.is_usual());
    let wanted = number.as_ref().and_then(Owned::small_int).and_then(|number| usize::try_from(number).ok());
    match wanted {
        Some(wanted @ 1..) => operation::of_reader(py, this, kind, number, wanted),
        _ => asyncios(py, this, &kind.method(py), args),
    }
}

fn readuntil(py: Python<'_>, this: This<'_, StreamReaderCore>, args: Args<'_>) -> Result<Owned> {
    let given = only(args);
    let is_usual = match &given {
        Some(separator) => bytes::is_bytes(separator) && !bytes::content(separator).is_empty(),
        None => has_none(args),
    };
    if is_usual && this.is_usual() {
        return operation::of_reader(py, this, Kind::ReadUntil, given, 0);
    }
    asyncios(py, this, intern!(py, "readuntil"), args)
}

fn readline(py: Python<'_>, this: This<'_, StreamReaderCore>, args: Args<'_>) -> Result<Owned> {
    if has_none(args) && this.is_usual() {
        return operation::of_reader(py, this, Kind::ReadLine, None, 0);
    }
    asyncios(py, this, intern!(py, "readline"), args)
}
