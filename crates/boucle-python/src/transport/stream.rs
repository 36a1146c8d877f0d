//! The transport of a stream socket, of TCP's or Unix's.
//!
//! It is a true subclass of `asyncio.Transport`: that class's only slot is the first field here.
//!
//! * [`reading`]: what arrives, [`big`]: in big messages, and [`feeding`]: for asyncio's own stream reader. [`writing`]: what
//!   leaves. [`closing`]: how it ends. [`server`]: who has accepted it, and [`known`]: the loop, which knows it.
//!   [`attributes`]: what Python sees, and [`described`]: what it is told of the connection.
//!
//! # Invariants
//!
//! * `connection_lost` is called once: by the step that [`closing::lose`] schedules, and whoever schedules it has counted
//!   `conn_lost` up from zero.
//! * All callbacks of the protocol run in one context: a copy of the one in which the transport was made, or what the caller
//!   gives, which asyncio does from 3.15 on.
//! * The kernel is told once, when reading starts, and once when the transport ends; and when something has to wait for the
//!   peer. So descriptors become ready in the order in which they do on asyncio.

mod attributes;
mod big;
mod closing;
pub(crate) mod described;
mod feeding;
pub(crate) mod known;
mod reading;
mod server;
mod writing;

use std::cell::{Cell, RefCell};
use std::mem::offset_of;
use std::os::fd::RawFd;

use boucle_core::outgoing::Outgoing;
use boucle_core::socket;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{Borrowed, ffi, intern};

use self::described::{Given, Known};
use super::flow::Flow;
use super::report::Parties;
use crate::errors::to_py_err;
use crate::imports;
use crate::loop_core::LoopCore;
use crate::loop_core::source::{Manner, Source, Watcher};
use crate::loop_core::tasks;
use crate::raw::args::Arg;
use crate::raw::bytes::Bytes;
use crate::raw::class::{Attributes, Builder, Collected, Finalized, MaybeInstance, Visit, WeakList};
use crate::raw::context::Context;
use crate::raw::freelist::Freelist;
use crate::raw::written::AsWritten;
use crate::raw::{Args, Class, ObjectCell, Owned, Result, This, TypeCell, unary, vector};
use crate::sock::plain;
use crate::witness;

/// A connected stream socket and its protocol.
#[repr(C)]
#[derive(Default)]
pub(crate) struct StreamTransport {
    /// The slot of `asyncio.BaseTransport`: a dictionary of what `get_extra_info` answers, once it is written.
    extra: ObjectCell,
    known: Known,
    /// The loop, until the connection is lost.
    core: MaybeInstance<LoopCore>,
    watcher: MaybeInstance<Watcher>,
    /// The socket object, until the connection is lost.
    socket: ObjectCell,
    protocol: ObjectCell,
    context: ObjectCell,
    server: ObjectCell,
    /// The future of somebody who waits until everything is sent.
    empty_waiter: ObjectCell,
    /// What was written and not sent.
    outgoing: RefCell<Outgoing<Bytes>>,
    flow: Flow,
    fd: Cell<RawFd>,
    /// How many bytes the next read is likely to bring, where the last one was of a big message; 0 where it was not.
    likely: Cell<usize>,
    /// How the protocol takes what arrives.
    buffered: Cell<bool>,
    protocol_connected: Cell<bool>,
    /// The number of the protocol's code, for the recorder; 0 before it is known.
    code: Cell<u32>,
    /// Whether the kernel takes no more: what is written waits for the descriptor.
    blocked: Cell<bool>,
    /// Whether the loop will send when the step returns.
    put_off: Cell<bool>,
    /// Whether somebody else sends through the descriptor, and waits with the future in `empty_waiter` for its loss.
    lent: Cell<bool>,
    /// Counted up when the loss of the connection is scheduled, and at each write after it.
    conn_lost: Cell<u32>,
    closing: Cell<bool>,
    paused: Cell<bool>,
    eof: Cell<bool>,
    attributes: Attributes,
    weak_references: WeakList,
}

static STREAM: TypeCell = TypeCell::new();
static STREAMS: Freelist = Freelist::new();
static AS_WRITTEN: AsWritten<StreamTransport> = AsWritten::new();

impl Class for StreamTransport {
    fn class() -> &'static TypeCell {
        &STREAM
    }
}

impl StreamTransport {
    fn cells(&self) -> [&ObjectCell; 10] {
        [
            &self.extra,
            &self.known.socket,
            self.core.object(),
            self.watcher.object(),
            &self.socket,
            &self.protocol,
            &self.context,
            &self.server,
            &self.empty_waiter,
            self.attributes.content(),
        ]
    }
}

impl Collected for StreamTransport {
    fn traverse(&self, visit: &mut Visit) {
        self.cells().into_iter().for_each(|cell| visit.cell(cell));
    }

    fn clear(&self) {
        // The core and the watcher stay: the registration must end before the socket does.
        let cells = [&self.extra, &self.known.socket, &self.protocol, &self.context, &self.server, &self.empty_waiter];
        let content = cells.map(ObjectCell::take);
        drop((content, self.attributes.content().take()));
    }
}

impl Finalized for StreamTransport {
    const SPEAKS: bool = true;

    fn freelist() -> &'static Freelist {
        &STREAMS
    }

    fn has_last_word(&self) -> bool {
        !self.socket.is_empty()
    }

    fn finalize(py: Python<'_>, this: This<'_, Self>) {
        closing::finalize(py, this);
    }

    fn weak_references(&self) -> Option<&WeakList> {
        Some(&self.weak_references)
    }
}

/// Makes the class.
pub(crate) fn initialise(py: Python<'_>) -> Result<Owned> {
    feeding::initialise(py)?;
    let class = Builder::<StreamTransport>::new(c"boucle._boucle.StreamTransport")
        .doc(c"The transport of a stream socket. Made by the loop.")
        .weakly_referenced(offset_of!(StreamTransport, weak_references))
        .with_attributes(offset_of!(StreamTransport, attributes))
        .methods(attributes::methods())
        .properties(attributes::properties())
        .slot(ffi::Py_tp_repr, unary!(StreamTransport, "__repr__", attributes::repr))
        .finalized();
    let bases = [&imports::get(py).transport];
    let class = class.derived_from_python(&bases, |value| &value.extra).without_constructor().build(py)?;
    let class_object = class.any(py);
    class_object.setattr(intern!(py, "_start_tls_compatible"), true)?;
    let mode = py.import("asyncio.constants")?.getattr(intern!(py, "_SendfileMode"))?;
    class_object.setattr(intern!(py, "_sendfile_compatible"), mode.getattr(intern!(py, "TRY_NATIVE"))?)?;
    let as_class: Borrowed<'_, '_, PyType> = class_object.cast().map_err(PyErr::from)?;
    AS_WRITTEN.learn(py, &as_class)?;
    Ok(class)
}

/// `_make_socket_transport(sock, protocol, waiter=None, *, extra=None, server=None, context=None)`.
pub(super) fn make(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let names = ["sock", "protocol", "waiter", "extra", "server", "context"];
    let parts = args.named(py, "_make_socket_transport", names)?;
    let [Some(sock), Some(protocol), waiter, extra, server, context] = parts else {
        return Err(PyTypeError::new_err("_make_socket_transport() needs a socket and a protocol").into());
    };
    let given = extra.map_or(Given::Nothing, Given::Extra);
    make_of(py, core, Parts { sock, protocol, waiter, given, server, context, watcher: None })
}

/// What a transport is made of.
pub(crate) struct Parts {
    pub(crate) sock: Owned,
    pub(crate) protocol: Owned,
    /// The future that is done when the protocol was told.
    pub(crate) waiter: Option<Owned>,
    pub(crate) given: Given,
    pub(crate) server: Option<Owned>,
    /// The context of its callbacks; a copy of the current one where there is none.
    pub(crate) context: Option<Owned>,
    /// What watches the descriptor already.
    pub(crate) watcher: Option<Owned>,
}

/// The transport of a connected stream socket.
pub(crate) fn make_of(py: Python<'_>, core: This<'_, LoopCore>, parts: Parts) -> Result<Owned> {
    let Parts { sock, protocol, waiter, given, server, context, watcher } = parts;
    let owner = core.to_owned();
    let number = plain::number(py, &sock)?;
    if !plain::is_socket(py, &sock) || known::is_in_use(py, core, &number)? {
        owner.any(py).call_method1(intern!(py, "_ensure_fd_no_transport"), (sock.any(py),))?;
    }
    let fd: RawFd = number.any(py).extract()?;
    let family = plain::family(py, &sock)?;
    let object = STREAMS.make_collected(py, StreamTransport::default)?;
    let Some(this) = This::<StreamTransport>::exactly(&object) else { return Ok(object) };
    described::look(py, this, &sock, fd, given, family == socket::INET || family == socket::INET6)?;
    let context = context.map_or_else(|| Context::copy_current(py)?.into_object(py), Ok)?;
    this.fd.set(fd);
    if family != socket::UNIX {
        socket::set_no_delay(fd).map_err(|error| to_py_err(&error))?;
    }
    let manner = if family == socket::UNIX { Manner::Edges } else { Manner::LastingEdges };
    match watcher {
        Some(watcher) => {
            drop(this.watcher.replace(Some(watcher)));
            this.watcher.with(|watcher| watcher.pass_on(this, manner));
        }
        None => drop(this.watcher.replace(Some(Watcher::make(py, this, fd, manner)?))),
    }
    drop(this.core.replace(Some(core.to_owned())));
    for (cell, content) in [(&this.socket, Some(sock)), (&this.context, Some(context)), (&this.server, server)] {
        drop(cell.replace(content));
    }
    set_protocol(py, this, protocol.clone())?;
    if let Some(server) = this.server.get() {
        server::attach(py, &server, &object)?;
    }
    known::remember(py, core, &number, &object)?;
    start(py, core, this, &protocol, waiter.as_ref())?;
    Ok(object)
}

/// Schedules what begins a connection, in asyncio's order: the protocol is told, reading starts, the waiter wakes up.
fn start(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    protocol: &Owned,
    waiter: Option<&Owned>,
) -> Result<()> {
    let object = this.to_owned();
    let made: Owned = protocol.any(py).getattr(intern!(py, "connection_made"))?.into();
    soon(py, core, this, &made, &[&object])?;
    let start: Owned = object.any(py).getattr(intern!(py, "_start_reading"))?.into();
    soon(py, core, this, &start, &[])?;
    if let Some(waiter) = waiter {
        soon(py, core, this, &imports::get(py).set_result_unless_cancelled, &[waiter, &Owned::none(py)])?;
    }
    Ok(())
}

/// Schedules a call in the context of the connection.
fn soon(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    this: This<'_, StreamTransport>,
    function: &Owned,
    args: &[&Owned],
) -> Result<()> {
    tasks::call_soon_with(py, core, function, args, this.context.get().as_ref())
}

/// Takes a protocol, and notes how it takes what arrives.
fn set_protocol(py: Python<'_>, this: This<'_, StreamTransport>, protocol: Owned) -> Result<()> {
    let buffered = protocol.any(py).is_instance(&imports::get(py).buffered_protocol.any(py))?;
    this.buffered.set(buffered);
    this.code.set(0);
    this.protocol_connected.set(true);
    drop(this.protocol.replace(Some(protocol)));
    Ok(())
}

/// Whom a report about this transport is about; nobody once the connection is lost.
fn parties(this: This<'_, StreamTransport>) -> Option<Parties> {
    let owner = this.core.object().get()?;
    Some(Parties { owner, transport: this.to_owned(), protocol: this.protocol.get() })
}

/// The transport, if calling a method of it by name can only reach ours.
#[inline]
fn as_written<'a>(py: Python<'_>, transport: &'a Owned) -> Option<This<'a, StreamTransport>> {
    AS_WRITTEN.instance(py, transport).filter(|this| this.attributes.content().is_empty())
}

/// `transport.write(data)`, of any transport.
#[inline]
pub(crate) fn write(py: Python<'_>, transport: &Owned, data: &Owned) -> Result<()> {
    match as_written(py, transport) {
        Some(this) => writing::write_one(py, this, Arg::of(data)),
        None => vector::method(py, transport, intern!(py, "write"), &[data]).map(drop),
    }
}

/// `transport.is_closing() is not False`, of any transport.
#[inline]
pub(crate) fn may_be_closing(py: Python<'_>, transport: &Owned) -> Result<bool> {
    match as_written(py, transport) {
        Some(this) => attributes::is_closing(py, this),
        None => Ok(!vector::method(py, transport, intern!(py, "is_closing"), &[])?.is_false()),
    }
}

/// Sends what was put off: the step has returned.
pub(crate) fn send_now(py: Python<'_>, transport: &Owned) -> Result<()> {
    This::<StreamTransport>::exactly(transport).map_or(Ok(()), |this| writing::send_put_off(py, this))
}

impl Source for StreamTransport {
    fn step(py: Python<'_>, core: This<'_, LoopCore>, this: This<'_, Self>, watcher: This<'_, Watcher>) -> Result<()> {
        reading::in_context(py, this, || {
            if watcher.takes_read() {
                reading::ready(py, core, this, watcher)?;
            }
            if watcher.takes_write() {
                writing::ready(py, core, this, watcher)?;
            }
            Ok(())
        })
    }

    fn code(py: Python<'_>, this: This<'_, Self>) -> u32 {
        if this.code.get() == 0
            && let Some(protocol) = this.protocol.get()
        {
            let name = if this.buffered.get() { intern!(py, "buffer_updated") } else { intern!(py, "data_received") };
            this.code.set(witness::method(py, &protocol, name));
        }
        this.code.get()
    }
}
