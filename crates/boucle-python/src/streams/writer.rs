//! The native halves of a writer, and of the protocol that stands between the transport and both ends of a stream.

use std::cell::Cell;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::{ASYNCIO, flag_property, hand_on, has_none, object_property, only, operation, reader};
use crate::raw::class::{Builder, Collected, MaybeInstance, Visit};
use crate::raw::instance::referent;
use crate::raw::method::property;
use crate::raw::written::Heir;
use crate::raw::{Args, Class, ObjectCell, Owned, Result, This, TypeCell, getter, method, setter, vector};
use crate::transport::stream;

/// What asyncio's protocol of a stream has in its attributes, in all versions.
#[derive(Default)]
pub(crate) struct StreamProtocolCore {
    /// A weak reference to the reader, or `None`.
    reader: ObjectCell,
    /// Whether writing is paused.
    paused: Cell<bool>,
    connection_lost: Cell<bool>,
    owner: ObjectCell,
    drain_waiters: ObjectCell,
    strong_reader: ObjectCell,
    rejects: ObjectCell,
    writer: ObjectCell,
    task: ObjectCell,
    transport: ObjectCell,
    client_connected: ObjectCell,
    over_ssl: ObjectCell,
    closed: ObjectCell,
    /// Nothing is `None`, which asyncio's class has.
    source_traceback: ObjectCell,
}

static PROTOCOL: TypeCell = TypeCell::new();
static PROTOCOL_AS_WRITTEN: Heir<StreamProtocolCore> = Heir::new();

impl Class for StreamProtocolCore {
    fn class() -> &'static TypeCell {
        &PROTOCOL
    }
}

impl StreamProtocolCore {
    fn cells(&self) -> [&ObjectCell; 12] {
        [
            &self.reader,
            &self.owner,
            &self.drain_waiters,
            &self.strong_reader,
            &self.rejects,
            &self.writer,
            &self.task,
            &self.transport,
            &self.client_connected,
            &self.over_ssl,
            &self.closed,
            &self.source_traceback,
        ]
    }
}

impl Collected for StreamProtocolCore {
    fn traverse(&self, visit: &mut Visit) {
        self.cells().into_iter().for_each(|cell| visit.cell(cell));
    }

    fn clear(&self) {
        drop(self.cells().map(ObjectCell::take));
    }
}

/// Makes the class of the protocol.
pub(super) fn initialise_protocol(py: Python<'_>) -> Result<Owned> {
    Builder::<StreamProtocolCore>::new(c"boucle._boucle.StreamProtocolCore")
        .doc(c"The native half of boucle.StreamReaderProtocol.")
        .collected()
        .subclassable()
        .methods([method!(StreamProtocolCore, "data_received", args data_received, "data_received($self, data)\n--\n\nPasses it on to the reader.")])
        .properties([
            object_property!(StreamProtocolCore, "_stream_reader_wr", reader),
            flag_property!(StreamProtocolCore, "_paused", paused),
            flag_property!(StreamProtocolCore, "_connection_lost", connection_lost),
            object_property!(StreamProtocolCore, "_loop", owner),
            object_property!(StreamProtocolCore, "_drain_waiters", drain_waiters),
            object_property!(StreamProtocolCore, "_strong_reader", strong_reader),
            object_property!(StreamProtocolCore, "_reject_connection", rejects),
            object_property!(StreamProtocolCore, "_stream_writer", writer),
            object_property!(StreamProtocolCore, "_task", task),
            object_property!(StreamProtocolCore, "_transport", transport),
            object_property!(StreamProtocolCore, "_client_connected_cb", client_connected),
            object_property!(StreamProtocolCore, "_over_ssl", over_ssl),
            object_property!(StreamProtocolCore, "_closed", closed),
            property(
                c"_source_traceback",
                getter!(StreamProtocolCore, "_source_traceback", |_, this: This<'_, StreamProtocolCore>| {
                    Ok(this.source_traceback.get())
                }),
                Some(setter!(StreamProtocolCore, "_source_traceback", set_source_traceback)),
            ),
        ])
        .build(py)
}

/// Learns the class of Python's, which nobody has changed yet.
pub(super) fn learn_protocol(py: Python<'_>, class: &Bound<'_, PyType>) -> PyResult<()> {
    PROTOCOL_AS_WRITTEN.learn(py, class)
}

/// The reader behind a protocol that passes on to it what arrives, and does nothing else.
#[inline]
pub(super) fn reader_behind(py: Python<'_>, protocol: &Owned) -> Option<Owned> {
    referent(py, &PROTOCOL_AS_WRITTEN.instance(py, protocol)?.reader.get()?)
}

fn set_source_traceback(_: Python<'_>, this: This<'_, StreamProtocolCore>, frames: Option<Owned>) -> Result<()> {
    drop(this.source_traceback.replace(frames));
    Ok(())
}

fn data_received(py: Python<'_>, this: This<'_, StreamProtocolCore>, args: Args<'_>) -> Result<()> {
    let reader = this.reader.get().and_then(|reference| referent(py, &reference));
    match (only(args), reader) {
        (Some(data), Some(reader)) => vector::method(py, &reader, intern!(py, "feed_data"), &[&data]).map(drop),
        _ => hand_on(py, &ASYNCIO.get(py).protocol, &this.to_owned(), intern!(py, "data_received"), args).map(drop),
    }
}

/// What asyncio's writer has in its attributes.
#[derive(Default)]
pub(crate) struct StreamWriterCore {
    transport: ObjectCell,
    protocol: MaybeInstance<StreamProtocolCore>,
    reader: ObjectCell,
    owner: ObjectCell,
    complete: ObjectCell,
}

static WRITER: TypeCell = TypeCell::new();
static WRITER_AS_WRITTEN: Heir<StreamWriterCore> = Heir::new();

impl Class for StreamWriterCore {
    fn class() -> &'static TypeCell {
        &WRITER
    }
}

impl StreamWriterCore {
    fn cells(&self) -> [&ObjectCell; 4] {
        [&self.transport, &self.reader, &self.owner, &self.complete]
    }
}

impl Collected for StreamWriterCore {
    fn traverse(&self, visit: &mut Visit) {
        self.cells().into_iter().for_each(|cell| visit.cell(cell));
        visit.cell(self.protocol.object());
    }

    fn clear(&self) {
        let content = (self.cells().map(ObjectCell::take), self.protocol.replace(None));
        drop(content);
    }
}

/// Makes the class of the writer.
pub(super) fn initialise(py: Python<'_>) -> Result<Owned> {
    Builder::<StreamWriterCore>::new(c"boucle._boucle.StreamWriterCore")
        .doc(c"The native half of boucle.StreamWriter.")
        .collected()
        .subclassable()
        .methods([
            method!(StreamWriterCore, "write", args write, "write($self, data)\n--\n\nWrite, without waiting."),
            method!(StreamWriterCore, "drain", args drain, "drain($self)\n--\n\nWait until it is appropriate to go on writing."),
        ])
        .properties([
            object_property!(StreamWriterCore, "_transport", transport),
            object_property!(StreamWriterCore, "_protocol", protocol.object),
            object_property!(StreamWriterCore, "_reader", reader),
            object_property!(StreamWriterCore, "_loop", owner),
            object_property!(StreamWriterCore, "_complete_fut", complete),
        ])
        .build(py)
}

/// Learns the class of Python's, which nobody has changed yet.
pub(super) fn learn(py: Python<'_>, class: &Bound<'_, PyType>) -> PyResult<()> {
    WRITER_AS_WRITTEN.learn(py, class)
}

fn write(py: Python<'_>, this: This<'_, StreamWriterCore>, args: Args<'_>) -> Result<()> {
    match (only(args), this.transport.get()) {
        (Some(data), Some(transport)) => stream::write(py, &transport, &data),
        _ => hand_on(py, &ASYNCIO.get(py).writer, &this.to_owned(), intern!(py, "write"), args).map(drop),
    }
}

fn drain(py: Python<'_>, this: This<'_, StreamWriterCore>, args: Args<'_>) -> Result<Owned> {
    if has_none(args) {
        return operation::of_writer(py, this);
    }
    hand_on(py, &ASYNCIO.get(py).writer, &this.to_owned(), intern!(py, "drain"), args)
}

/// Whether there is nothing to wait for, and nothing to raise.
#[inline]
pub(super) fn is_drained(py: Python<'_>, this: This<'_, StreamWriterCore>) -> Result<bool> {
    let (Some(reader), Some(transport)) = (this.reader.get(), this.transport.get()) else { return Ok(false) };
    if !reader.is_none() && reader::may_have_failed(py, &reader)? || stream::may_be_closing(py, &transport)? {
        return Ok(false);
    }
    let goes_on = this.protocol.with(|protocol| !protocol.paused.get() && !protocol.connection_lost.get());
    Ok(goes_on == Some(true))
}
