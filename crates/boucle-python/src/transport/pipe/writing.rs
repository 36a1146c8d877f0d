//! The end of a pipe that is written to.
//!
//! It waits to read, too: a pipe that nobody reads from any more, and a socket whose other side is closed or that speaks
//! though it should not, are reported as readable.
//!
//! It is a true subclass of `asyncio.Transport`, as asyncio's own is: that class's only slot is the first field here.

use std::cell::{Cell, RefCell};
use std::mem::offset_of;

use boucle_core::outgoing::{Gone, Outgoing};
use boucle_core::socket::Outcome;
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{ffi, intern};

use super::super::flow::{self, Flow};
use super::super::payload::{self, Payload};
use super::super::report;
use super::super::ties::{self, Tied, Ties};
use super::{Kind, Wanted, begin, get_pipe, set_pipe, state};
use crate::errors::to_py_err;
use crate::imports;
use crate::loop_core::LoopCore;
use crate::loop_core::source::{Source, Watcher};
use crate::raw::args::Arg;
use crate::raw::bytes::Bytes;
use crate::raw::class::{Attributes, Builder, Collected, Finalized, Visit, WeakList};
use crate::raw::freelist::Freelist;
use crate::raw::guard::value_of;
use crate::raw::method::property;
use crate::raw::{Args, Class, ObjectCell, Owned, Result, This, TypeCell, getter, method, setter, unary};

const FATAL: &str = "Fatal write error on pipe transport";
const LOST: &str = "pipe closed by peer or os.write(pipe, data) raised exception.";

/// A pipe that is written to, and its protocol.
#[repr(C)]
#[derive(Default)]
pub(super) struct WritePipeTransport {
    /// The slot of `asyncio.BaseTransport`: a dictionary of what `get_extra_info` answers.
    extra: ObjectCell,
    ties: Ties,
    /// What the kernel has not taken.
    outgoing: RefCell<Outgoing<Bytes>>,
    flow: Flow,
    /// Counted up when writing has failed, and at each write after the end.
    conn_lost: Cell<u32>,
    attributes: Attributes,
    weak_references: WeakList,
}

static WRITE_PIPE: TypeCell = TypeCell::new();
static WRITE_PIPES: Freelist = Freelist::new();

impl Class for WritePipeTransport {
    fn class() -> &'static TypeCell {
        &WRITE_PIPE
    }
}

impl Tied for WritePipeTransport {
    fn ties(&self) -> &Ties {
        &self.ties
    }
}

impl Collected for WritePipeTransport {
    fn traverse(&self, visit: &mut Visit) {
        let own = [&self.extra, self.attributes.content()];
        own.into_iter().chain(self.ties.cells()).for_each(|cell| visit.cell(cell));
    }

    fn clear(&self) {
        self.ties.clear();
        drop([&self.extra, self.attributes.content()].map(ObjectCell::take));
    }
}

impl Finalized for WritePipeTransport {
    const SPEAKS: bool = true;

    fn freelist() -> &'static Freelist {
        &WRITE_PIPES
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
    let class = Builder::<WritePipeTransport>::new(c"boucle._boucle.WritePipeTransport")
        .doc(c"The transport that writes to a pipe. Made by the loop.")
        .weakly_referenced(offset_of!(WritePipeTransport, weak_references))
        .with_attributes(offset_of!(WritePipeTransport, attributes))
        .methods(methods())
        .properties(properties())
        .slot(ffi::Py_tp_repr, unary!(WritePipeTransport, "__repr__", repr))
        .finalized();
    let bases = [&imports::get(py).transport];
    class.derived_from_python(&bases, |value| &value.extra).without_constructor().build(py)
}

/// Makes an instance.
pub(super) fn make(py: Python<'_>, core: This<'_, LoopCore>, wanted: Wanted) -> Result<Owned> {
    let object = WRITE_PIPES.make_collected(py, WritePipeTransport::default)?;
    let Some(this) = This::<WritePipeTransport>::exactly(&object) else { return Ok(object) };
    drop(this.extra.replace(Some(wanted.extra.clone())));
    let reads = wanted.kind != Kind::Device;
    begin(py, core, this, wanted, reads)?;
    Ok(object)
}

impl Source for WritePipeTransport {
    fn step(py: Python<'_>, _: This<'_, LoopCore>, this: This<'_, Self>, watcher: This<'_, Watcher>) -> Result<()> {
        ties::in_context(py, this, || {
            if watcher.takes_read() {
                ties::survive(py, this, "_read_ready", at_hang_up(py, this))?;
            }
            if watcher.takes_write() {
                ties::survive(py, this, "_write_ready", ready(py, this))?;
            }
            Ok(())
        })
    }

    fn code(py: Python<'_>, this: This<'_, Self>) -> u32 {
        this.ties.code(py, intern!(py, "resume_writing"))
    }
}

/// Waits for the hang-up: the protocol was told that the connection is there.
fn start(_: Python<'_>, this: This<'_, WritePipeTransport>) -> Result<()> {
    if this.ties.is_lost() { Ok(()) } else { ties::want_read(this, true) }
}

/// The other side has closed.
fn at_hang_up(py: Python<'_>, this: This<'_, WritePipeTransport>) -> Result<()> {
    if this.ties.debug() {
        report::info(py, "%r was closed by peer", &this.to_owned())?;
    }
    let exception =
        if this.outgoing.borrow().is_empty() { Owned::none(py) } else { value_of(py, PyBrokenPipeError::new_err(())) };
    end(py, this, &exception)
}

/// `write(data)`.
fn write(py: Python<'_>, this: This<'_, WritePipeTransport>, args: Args<'_>) -> Result<()> {
    let [data] = args.named(py, "write", ["data"])?;
    // `None` is a wrong type, not a missing argument.
    let Some(data) = data.or_else(|| args.get(0).map(Arg::to_owned)) else {
        return Err(PyTypeError::new_err("write() missing 1 required positional argument: 'data'").into());
    };
    if !payload::is_bytes_like(py, &data) {
        return Err(PyAssertionError::new_err(data.any(py).repr()?.to_string()).into());
    }
    if !data.any(py).is_truthy()? {
        return Ok(());
    }
    if this.conn_lost.get() > 0 || this.ties.closing.get() {
        return flow::lost_write_to(py, &this.conn_lost, LOST);
    }
    let piece = match Payload::of(data).and_then(|payload| payload.keep(py)) {
        Ok(piece) => piece,
        Err(raised) => {
            let exception = report::catch(py, raised)?;
            return fail(py, this, &exception);
        }
    };
    let waits = !this.outgoing.borrow().is_empty();
    let handed_out = this.outgoing.borrow_mut().push(piece);
    drop(handed_out);
    if !waits {
        if let Err(exception) = attempt(py, this) {
            return fail(py, this, &exception);
        }
        if this.outgoing.borrow().is_empty() {
            return Ok(());
        }
        ties::want_write(this, true)?;
    }
    let size = this.outgoing.borrow().len();
    this.flow.grew(py, size, || ties::parties(this))
}

/// Tries once to write what waits. The exception of what went wrong.
fn attempt(py: Python<'_>, this: This<'_, WritePipeTransport>) -> std::result::Result<(), Owned> {
    let mut done = Gone::default();
    let outcome = this.outgoing.borrow_mut().write(this.ties.fd(), &mut done);
    drop(done);
    match outcome {
        Ok(Outcome::Done(_) | Outcome::WouldBlock | Outcome::Interrupted) => Ok(()),
        Err(error) => Err(value_of(py, to_py_err(&error))),
    }
}

/// The descriptor is writable.
fn ready(py: Python<'_>, this: This<'_, WritePipeTransport>) -> Result<()> {
    if let Err(exception) = attempt(py, this) {
        return fail(py, this, &exception);
    }
    if !this.outgoing.borrow().is_empty() {
        return Ok(());
    }
    ties::want_write(this, false)?;
    // May write more, which is queued.
    this.flow.shrank(py, 0, || ties::parties(this))?;
    if this.ties.closing.get() && this.outgoing.borrow().is_empty() { ties::lose_now(py, this) } else { Ok(()) }
}

/// `write_eof()`, which closes a pipe: once everything is written.
fn write_eof(py: Python<'_>, this: This<'_, WritePipeTransport>) -> Result<()> {
    if this.ties.closing.replace(true) || !this.outgoing.borrow().is_empty() {
        return Ok(());
    }
    ties::schedule_loss(py, this, &Owned::none(py))
}

/// `abort()`: what the kernel has not taken is dropped.
fn abort(py: Python<'_>, this: This<'_, WritePipeTransport>) -> Result<()> {
    end(py, this, &Owned::none(py))
}

fn end(py: Python<'_>, this: This<'_, WritePipeTransport>, exception: &Owned) -> Result<()> {
    this.ties.closing.set(true);
    let unsent = this.outgoing.borrow_mut().take();
    drop(unsent);
    ties::schedule_loss(py, this, exception)
}

/// Writing has failed: tells those who want to know, and closes.
#[cold]
fn fail(py: Python<'_>, this: This<'_, WritePipeTransport>, exception: &Owned) -> Result<()> {
    this.conn_lost.set(this.conn_lost.get() + 1);
    let unsent = this.outgoing.borrow_mut().take();
    drop(unsent);
    if let Some(parties) = ties::parties(this) {
        report::fatal(py, &parties, FATAL, exception)?;
    }
    end(py, this, exception)
}

/// As asyncio's, with our name.
fn repr(py: Python<'_>, this: This<'_, WritePipeTransport>) -> Result<Owned> {
    let (_, writes) = this.ties.waits();
    let (words, state) = (ties::words(py, this)?, state(py, this, writes)?);
    let text = if !this.ties.has_let_go() && this.ties.has_open_loop(py)? {
        format!("{words}{state} bufsize={}>", this.outgoing.borrow().len())
    } else {
        format!("{words}{state}>")
    };
    Ok(PyString::new(py, &text).into_any().into())
}

fn buffer_size(_: Python<'_>, this: This<'_, WritePipeTransport>) -> Result<usize> {
    Ok(this.outgoing.borrow().len())
}

fn limits(py: Python<'_>, this: This<'_, WritePipeTransport>) -> Result<Owned> {
    this.flow.limits(py)
}

fn set_limits(py: Python<'_>, this: This<'_, WritePipeTransport>, args: Args<'_>) -> Result<()> {
    this.flow.set_limits(py, args)?;
    let size = this.outgoing.borrow().len();
    this.flow.grew(py, size, || ties::parties(this))
}

fn can_write_eof(_: Python<'_>, _: This<'_, WritePipeTransport>) -> Result<bool> {
    Ok(true)
}

macro_rules! shown {
    ($name:literal, $get:expr) => {
        property(crate::raw::method::c_str!($name), getter!(WritePipeTransport, $name, $get), None)
    };
}

fn properties() -> [ffi::PyGetSetDef; 6] {
    [
        property(
            c"_pipe",
            getter!(WritePipeTransport, "_pipe", get_pipe),
            Some(setter!(WritePipeTransport, "_pipe", set_pipe)),
        ),
        shown!("_loop", |_, this: This<'_, WritePipeTransport>| Ok(this.ties.owner())),
        shown!("_fileno", |py, this: This<'_, WritePipeTransport>| this.ties.fd_object(py)),
        shown!("_protocol", |_, this: This<'_, WritePipeTransport>| Ok(this.ties.protocol())),
        shown!("_closing", |_, this: This<'_, WritePipeTransport>| Ok(this.ties.closing.get())),
        shown!("_conn_lost", |_, this: This<'_, WritePipeTransport>| Ok(this.conn_lost.get())),
    ]
}

fn methods() -> [ffi::PyMethodDef; 13] {
    [
        method!(WritePipeTransport, "write", args write, "write($self, data)\n--\n\nWrite data, a bytes-like object, now as far as the kernel takes it. Does not wait: see asyncio.WriteTransport."),
        method!(
            WritePipeTransport,
            "write_eof",
            write_eof,
            "write_eof($self, /)\n--\n\nClose once everything is written."
        ),
        method!(WritePipeTransport, "can_write_eof", can_write_eof, "can_write_eof($self, /)\n--\n\nTrue."),
        method!(WritePipeTransport, "close", write_eof, "close($self, /)\n--\n\nClose once everything is written."),
        method!(WritePipeTransport, "abort", abort, "abort($self, /)\n--\n\nClose now."),
        method!(
            WritePipeTransport,
            "is_closing",
            ties::is_closing,
            "is_closing($self, /)\n--\n\nWhether it was closed, or is being closed."
        ),
        method!(WritePipeTransport, "get_protocol", ties::get_protocol, "get_protocol($self, /)\n--\n\nThe protocol."),
        method!(WritePipeTransport, "set_protocol", args ties::set_protocol, "set_protocol($self, protocol)\n--\n\nReplace the protocol."),
        method!(
            WritePipeTransport,
            "get_write_buffer_size",
            buffer_size,
            "get_write_buffer_size($self, /)\n--\n\nHow many bytes the kernel has not taken."
        ),
        method!(
            WritePipeTransport,
            "get_write_buffer_limits",
            limits,
            "get_write_buffer_limits($self, /)\n--\n\n(low, high), in bytes."
        ),
        method!(WritePipeTransport, "set_write_buffer_limits", args set_limits, "set_write_buffer_limits($self, high=None, low=None)\n--\n\nSets when the protocol pauses and resumes, in bytes."),
        method!(WritePipeTransport, "_start_reading", start, "Waits for the other side to close."),
        method!(WritePipeTransport, "_call_connection_lost", args ties::call_connection_lost, "Tells the protocol and lets go."),
    ]
}
