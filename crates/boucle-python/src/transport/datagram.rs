//! The transport of datagrams, of IP's or Unix's.
//!
//! It is a true subclass of `asyncio.DatagramTransport` and, as asyncio's own is, of `asyncio.Transport`: their only slot is
//! the first field here.
//!
//! * [`reading`]: what arrives. [`writing`]: what leaves. [`address`]: addresses of IP. [`attributes`]: what Python sees.
//!
//! # Invariants
//!
//! * Addresses of IP that are written as numbers are read and written here. Everything else (host names, odd tuples, Unix
//!   paths, other families) goes through the socket object's own `sendto` and `recvfrom`, so its errors are Python's.
//! * A datagram leaves in `sendto()`, or it waits until the kernel takes it. None is sent twice, or in parts.

mod address;
mod attributes;
mod reading;
mod writing;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::offset_of;
use std::os::fd::RawFd;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{ffi, intern};

use super::flow::Flow;
use super::ties::{self, Tied, Ties};
use super::{report, stream};
use crate::addresses::Family;
use crate::imports;
use crate::loop_core::LoopCore;
use crate::loop_core::source::{Source, Watcher};
use crate::raw::bytes::Bytes;
use crate::raw::class::{Attributes, Builder, Collected, Finalized, Visit, WeakList};
use crate::raw::freelist::Freelist;
use crate::raw::{Args, Class, ObjectCell, Owned, Result, This, TypeCell, unary};
use crate::sock::plain;

/// A datagram socket and its protocol.
#[repr(C)]
#[derive(Default)]
pub(crate) struct DatagramTransport {
    /// The slot of `asyncio.BaseTransport`: a dictionary of what `get_extra_info` answers.
    extra: ObjectCell,
    ties: Ties,
    /// The only address that it sends to; false where there is none.
    address: ObjectCell,
    has_address: Cell<bool>,
    family: Cell<Family>,
    senders: address::Senders,
    receiver: address::Known,
    /// So many reports take one datagram: a look for more found nothing.
    content: Cell<u8>,
    /// What the kernel has not taken, with the address, or `None`, that each goes to.
    waiting: RefCell<VecDeque<(Bytes, Owned)>>,
    /// How much that is.
    size: Cell<usize>,
    flow: Flow,
    /// Counted up when the loss of the connection is scheduled, and at each write after it.
    conn_lost: Cell<u32>,
    attributes: Attributes,
    weak_references: WeakList,
}

static DATAGRAM: TypeCell = TypeCell::new();
static DATAGRAMS: Freelist = Freelist::new();

impl Class for DatagramTransport {
    fn class() -> &'static TypeCell {
        &DATAGRAM
    }
}

impl Tied for DatagramTransport {
    fn ties(&self) -> &Ties {
        &self.ties
    }
}

impl Collected for DatagramTransport {
    fn traverse(&self, visit: &mut Visit) {
        let own = [&self.extra, &self.address, self.attributes.content(), self.receiver.object()];
        own.into_iter().chain(self.senders.objects()).chain(self.ties.cells()).for_each(|cell| visit.cell(cell));
        if let Ok(waiting) = self.waiting.try_borrow() {
            waiting.iter().for_each(|(_, address)| visit.object(address));
        }
    }

    fn clear(&self) {
        self.ties.clear();
        let content = [&self.extra, &self.address, self.attributes.content()].map(ObjectCell::take);
        drop((content, self.waiting.take()));
    }
}

impl Finalized for DatagramTransport {
    const SPEAKS: bool = true;

    fn freelist() -> &'static Freelist {
        &DATAGRAMS
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
pub(crate) fn initialise(py: Python<'_>) -> Result<Owned> {
    let class = Builder::<DatagramTransport>::new(c"boucle._boucle.DatagramTransport")
        .doc(c"The transport of a datagram socket. Made by the loop.")
        .weakly_referenced(offset_of!(DatagramTransport, weak_references))
        .with_attributes(offset_of!(DatagramTransport, attributes))
        .methods(attributes::methods())
        .properties(attributes::properties())
        .slot(ffi::Py_tp_repr, unary!(DatagramTransport, "__repr__", attributes::repr))
        .finalized();
    let bases = [&imports::get(py).datagram_transport, &imports::get(py).transport];
    class.derived_from_python(&bases, |value| &value.extra).without_constructor().build(py)
}

/// `_make_datagram_transport(sock, protocol, address=None, waiter=None, extra=None)`.
pub(super) fn make(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let names = ["sock", "protocol", "address", "waiter", "extra"];
    let [Some(sock), Some(protocol), address, waiter, extra] = args.named(py, "_make_datagram_transport", names)?
    else {
        return Err(PyTypeError::new_err("_make_datagram_transport() needs a socket and a protocol").into());
    };
    core.to_owned().any(py).call_method1(intern!(py, "_ensure_fd_no_transport"), (sock.any(py),))?;
    let extra = match extra {
        Some(extra) => extra.any(py).cast::<PyDict>().map_err(PyErr::from)?.copy()?,
        None => PyDict::new(py),
    };
    let fd: RawFd = sock.any(py).call_method0(intern!(py, "fileno"))?.extract()?;
    stream::described::describe(py, &sock, fd, &extra)?;
    let family = plain::family(py, &sock)?;
    let has_address = address.as_ref().map_or(Ok(false), |address| address.any(py).is_truthy())?;
    let object = DATAGRAMS.make_collected(py, DatagramTransport::default)?;
    let Some(this) = This::<DatagramTransport>::exactly(&object) else { return Ok(object) };
    this.family.set(Family::of(family));
    drop((this.extra.replace(Some(extra.into_any().into())), this.address.replace(address)));
    this.has_address.set(has_address);
    ties::tie(py, core, this, sock, fd, protocol)?;
    let transports = core.to_owned().any(py).getattr(intern!(py, "_transports"))?;
    transports.set_item(fd, object.any(py))?;
    ties::begin(py, this, true, waiter.as_ref())?;
    Ok(object)
}

/// `close()`: no more is read; what waits is sent, and then the connection is lost.
fn close(py: Python<'_>, this: This<'_, DatagramTransport>) -> Result<()> {
    if this.ties.closing.replace(true) {
        return Ok(());
    }
    ties::want_read(this, false)?;
    if this.waiting.borrow().is_empty() {
        this.conn_lost.set(this.conn_lost.get() + 1);
        ties::schedule_loss(py, this, &Owned::none(py))?;
    }
    Ok(())
}

/// `abort()`: what the kernel has not taken is dropped.
fn abort(py: Python<'_>, this: This<'_, DatagramTransport>) -> Result<()> {
    force_close(py, this, &Owned::none(py))
}

fn force_close(py: Python<'_>, this: This<'_, DatagramTransport>, exception: &Owned) -> Result<()> {
    if this.ties.is_lost() {
        return Ok(());
    }
    let unsent = this.waiting.take();
    this.size.set(0);
    drop(unsent);
    this.ties.closing.set(true);
    this.conn_lost.set(this.conn_lost.get() + 1);
    ties::schedule_loss(py, this, exception)
}

/// Something went wrong: tells those who want to know, and ends the connection.
#[cold]
fn fail(py: Python<'_>, this: This<'_, DatagramTransport>, exception: &Owned, message: &str) -> Result<()> {
    let Some(parties) = ties::parties(this) else { return Ok(()) };
    report::fatal(py, &parties, message, exception)?;
    force_close(py, this, exception)
}

impl Source for DatagramTransport {
    fn step(py: Python<'_>, core: This<'_, LoopCore>, this: This<'_, Self>, watcher: This<'_, Watcher>) -> Result<()> {
        ties::in_context(py, this, || {
            if watcher.takes_read() {
                ties::survive(py, this, "_read_ready", reading::ready(py, core, this))?;
            }
            if watcher.takes_write() {
                ties::survive(py, this, "_sendto_ready", writing::ready(py, this))?;
            }
            Ok(())
        })
    }

    fn code(py: Python<'_>, this: This<'_, Self>) -> u32 {
        this.ties.code(py, intern!(py, "datagram_received"))
    }
}
