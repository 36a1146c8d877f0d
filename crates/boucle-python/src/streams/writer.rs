//! The native halves of a writer, and of the protocol that stands between the transport and both ends of a stream.

use std::cell::Cell;

use pyo3::intern;
use pyo3::prelude::*;

use super::{ASYNCIO, flag_property, hand_on, has_none, object_property, only, operation};
use crate::raw::class::{Builder, Collected, MaybeInstance, Visit};
use crate::raw::instance::referent;
use crate::raw::{Args, Class, ObjectCell, Owned, Result, This, TypeCell, method, vector};

/// What asyncio's protocol of a stream has in its attributes.
#[derive(Default)]
pub(crate) struct StreamProtocolCore {
    /// A weak reference to the reader, or `None`.
    reader: ObjectCell,
    /// Whether writing is paused.
    paused: Cell<bool>,
    connection_lost: Cell<bool>,
}

static PROTOCOL: TypeCell = TypeCell::new();

impl Class for StreamProtocolCore {
    fn class() -> &'static TypeCell {
        &PROTOCOL
    }
}

impl Collected for StreamProtocolCore {
    fn traverse(&self, visit: &mut Visit) {
        visit.cell(&self.reader);
    }

    fn clear(&self) {
        drop(self.reader.take());
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
        ])
        .build(py)
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
}

static WRITER: TypeCell = TypeCell::new();

impl Class for StreamWriterCore {
    fn class() -> &'static TypeCell {
        &WRITER
    }
}

impl Collected for StreamWriterCore {
    fn traverse(&self, visit: &mut Visit) {
        for cell in [&self.transport, self.protocol.object(), &self.reader] {
            visit.cell(cell);
        }
    }

    fn clear(&self) {
        let content = (self.transport.take(), self.protocol.replace(None), self.reader.take());
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
        ])
        .build(py)
}

fn write(py: Python<'_>, this: This<'_, StreamWriterCore>, args: Args<'_>) -> Result<()> {
    match (only(args), this.transport.get()) {
        (Some(data), Some(transport)) => vector::method(py, &transport, intern!(py, "write"), &[&data]).map(drop),
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
    if !reader.is_none() && !vector::method(py, &reader, intern!(py, "exception"), &[])?.is_none() {
        return Ok(false);
    }
    if !vector::method(py, &transport, intern!(py, "is_closing"), &[])?.is_false() {
        return Ok(false);
    }
    let goes_on = this.protocol.with(|protocol| !protocol.paused.get() && !protocol.connection_lost.get());
    Ok(goes_on == Some(true))
}
