//! The end of a pipe that is read from.
//!
//! It is a true subclass of `asyncio.ReadTransport`: that class's only slot is the first field here.

use std::mem::offset_of;

use boucle_core::pipe;
use boucle_core::socket::Outcome;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{ffi, intern};

use super::super::report;
use super::super::ties::{self, Tied, Ties};
use super::{Wanted, begin, get_pipe, set_pipe, state};
use crate::errors::to_py_err;
use crate::imports;
use crate::loop_core::LoopCore;
use crate::loop_core::source::{Source, Watcher};
use crate::raw::class::{Attributes, Builder, Collected, Finalized, Visit, WeakList};
use crate::raw::freelist::Freelist;
use crate::raw::guard::value_of;
use crate::raw::method::property;
use crate::raw::{Class, ObjectCell, Owned, Result, This, TypeCell, bytes, getter, method, setter, unary, vector};

/// A pipe that is read from, and its protocol.
#[repr(C)]
#[derive(Default)]
pub(super) struct ReadPipeTransport {
    /// The slot of `asyncio.BaseTransport`: a dictionary of what `get_extra_info` answers.
    extra: ObjectCell,
    ties: Ties,
    attributes: Attributes,
    weak_references: WeakList,
}

static READ_PIPE: TypeCell = TypeCell::new();
static READ_PIPES: Freelist = Freelist::new();

impl Class for ReadPipeTransport {
    fn class() -> &'static TypeCell {
        &READ_PIPE
    }
}

impl Tied for ReadPipeTransport {
    fn ties(&self) -> &Ties {
        &self.ties
    }
}

impl Collected for ReadPipeTransport {
    fn traverse(&self, visit: &mut Visit) {
        let own = [&self.extra, self.attributes.content()];
        own.into_iter().chain(self.ties.cells()).for_each(|cell| visit.cell(cell));
    }

    fn clear(&self) {
        self.ties.clear();
        drop([&self.extra, self.attributes.content()].map(ObjectCell::take));
    }
}

impl Finalized for ReadPipeTransport {
    const SPEAKS: bool = true;

    fn freelist() -> &'static Freelist {
        &READ_PIPES
    }

    fn has_last_word(&self) -> bool {
        !self.ties.has_let_go()
    }

    fn finalize(py: Python<'_>, this: This<'_, Self>) {
        ties::finalize(py, this);
    }

    fn weak_references(&self) -> Option<&WeakList> {
        Some(&self.weak_references)
    }
}

/// Makes the class.
pub(super) fn initialise(py: Python<'_>) -> Result<Owned> {
    let class = Builder::<ReadPipeTransport>::new(c"boucle._boucle.ReadPipeTransport")
        .doc(c"The transport that reads from a pipe. Made by the loop.")
        .weakly_referenced(offset_of!(ReadPipeTransport, weak_references))
        .with_attributes(offset_of!(ReadPipeTransport, attributes))
        .methods(methods())
        .properties(properties())
        .slot(ffi::Py_tp_repr, unary!(ReadPipeTransport, "__repr__", repr))
        .finalized();
    let bases = [&imports::get(py).read_transport];
    class.derived_from_python(&bases, |value| &value.extra).without_constructor().build(py)
}

/// Makes an instance.
pub(super) fn make(py: Python<'_>, core: This<'_, LoopCore>, wanted: Wanted) -> Result<Owned> {
    let object = READ_PIPES.make_collected(py, ReadPipeTransport::default)?;
    let Some(this) = This::<ReadPipeTransport>::exactly(&object) else { return Ok(object) };
    drop(this.extra.replace(Some(wanted.extra.clone())));
    begin(py, core, this, wanted, true)?;
    Ok(object)
}

impl Source for ReadPipeTransport {
    fn step(py: Python<'_>, core: This<'_, LoopCore>, this: This<'_, Self>, watcher: This<'_, Watcher>) -> Result<()> {
        ties::in_context(py, this, || {
            if watcher.takes_read() {
                ties::survive(py, this, "_read_ready", ready(py, core, this))?;
            }
            Ok(())
        })
    }

    fn code(py: Python<'_>, this: This<'_, Self>) -> u32 {
        this.ties.code(py, intern!(py, "data_received"))
    }
}

/// The descriptor is readable.
fn ready(py: Python<'_>, core: This<'_, LoopCore>, this: This<'_, ReadPipeTransport>) -> Result<()> {
    let mut data = None;
    let outcome = core.with_scratch(|scratch| {
        let outcome = pipe::read(this.ties.fd(), scratch);
        if let Ok(Outcome::Done(count @ 1..)) = outcome {
            data = Some(bytes::received(py, &scratch[..count]));
        }
        outcome
    });
    match outcome {
        Ok(Outcome::Done(0)) => at_eof(py, this),
        Ok(Outcome::Done(_)) => match (data, this.ties.protocol()) {
            (Some(data), Some(protocol)) => {
                vector::method(py, &protocol, &imports::get(py).data_received, &[&data?]).map(drop)
            }
            _ => Ok(()),
        },
        Ok(Outcome::WouldBlock | Outcome::Interrupted) => Ok(()),
        Err(error) => {
            let exception = value_of(py, to_py_err(&error));
            fail(py, this, &exception, pipe::is_gone_terminal(&error))
        }
    }
}

/// The other side has closed.
fn at_eof(py: Python<'_>, this: This<'_, ReadPipeTransport>) -> Result<()> {
    if this.ties.debug() {
        report::info(py, "%r was closed by peer", &this.to_owned())?;
    }
    this.ties.closing.set(true);
    ties::want_read(this, false)?;
    if let Some(protocol) = this.ties.protocol() {
        let eof: Owned = protocol.any(py).getattr(intern!(py, "eof_received"))?.into();
        ties::soon(py, this, &eof, &[])?;
    }
    ties::schedule_loss(py, this, &Owned::none(py))
}

/// Reading has failed: tells those who want to know, and closes. Whoever speaks with terminals knows that they go.
#[cold]
fn fail(py: Python<'_>, this: This<'_, ReadPipeTransport>, exception: &Owned, quietly: bool) -> Result<()> {
    const MESSAGE: &str = "Fatal read error on pipe transport";
    let Some(parties) = ties::parties(this) else { return Ok(()) };
    if !quietly {
        report::tell(py, &parties, MESSAGE, exception)?;
    } else if this.ties.debug() {
        report::debug(py, "%r: %s", (parties.transport.any(py), MESSAGE), Some(exception))?;
    }
    this.ties.closing.set(true);
    ties::schedule_loss(py, this, exception)
}

/// `close()`.
fn close(py: Python<'_>, this: This<'_, ReadPipeTransport>) -> Result<()> {
    if this.ties.closing.replace(true) {
        return Ok(());
    }
    ties::schedule_loss(py, this, &Owned::none(py))
}

/// As asyncio's, with our name.
fn repr(py: Python<'_>, this: This<'_, ReadPipeTransport>) -> Result<Owned> {
    let (reads, _) = this.ties.waits();
    let text = format!("{}{}>", ties::words(py, this)?, state(py, this, reads)?);
    Ok(PyString::new(py, &text).into_any().into())
}

macro_rules! shown {
    ($name:literal, $get:expr) => {
        property(crate::raw::method::c_str!($name), getter!(ReadPipeTransport, $name, $get), None)
    };
}

fn properties() -> [ffi::PyGetSetDef; 6] {
    [
        property(
            c"_pipe",
            getter!(ReadPipeTransport, "_pipe", get_pipe),
            Some(setter!(ReadPipeTransport, "_pipe", set_pipe)),
        ),
        shown!("_loop", |_, this: This<'_, ReadPipeTransport>| Ok(this.ties.owner())),
        shown!("_fileno", |py, this: This<'_, ReadPipeTransport>| this.ties.fd_object(py)),
        shown!("_protocol", |_, this: This<'_, ReadPipeTransport>| Ok(this.ties.protocol())),
        shown!("_closing", |_, this: This<'_, ReadPipeTransport>| Ok(this.ties.closing.get())),
        shown!("_paused", |_, this: This<'_, ReadPipeTransport>| Ok(this.ties.paused.get())),
    ]
}

fn methods() -> [ffi::PyMethodDef; 9] {
    [
        method!(ReadPipeTransport, "close", close, "close($self, /)\n--\n\nClose; nothing more is read."),
        method!(
            ReadPipeTransport,
            "is_closing",
            ties::is_closing,
            "is_closing($self, /)\n--\n\nWhether it was closed, or is being closed."
        ),
        method!(
            ReadPipeTransport,
            "pause_reading",
            ties::pause_reading,
            "pause_reading($self, /)\n--\n\nRead no more until resume_reading()."
        ),
        method!(
            ReadPipeTransport,
            "resume_reading",
            ties::resume_reading,
            "resume_reading($self, /)\n--\n\nRead again."
        ),
        method!(ReadPipeTransport, "is_reading", ties::is_reading, "is_reading($self, /)\n--\n\nWhether it reads."),
        method!(ReadPipeTransport, "get_protocol", ties::get_protocol, "get_protocol($self, /)\n--\n\nThe protocol."),
        method!(ReadPipeTransport, "set_protocol", args ties::set_protocol, "set_protocol($self, protocol)\n--\n\nReplace the protocol."),
        method!(ReadPipeTransport, "_start_reading", ties::start_reading, "Begins to read."),
        method!(ReadPipeTransport, "_call_connection_lost", args ties::call_connection_lost, "Tells the protocol and lets go."),
    ]
}
