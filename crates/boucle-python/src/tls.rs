//! TLS: a protocol on top of `ssl.MemoryBIO` and `ssl.SSLObject`, and the transport that it gives to the application.
//!
//! ```text
//!   lower transport ── get_buffer, buffer_updated ──► incoming ─► SSLObject.read ─► data_received   application
//!   lower transport ◄──────── write ───────────────── outgoing ◄─ SSLObject.write ◄─ backlog ◄─ write
//! ```
//!
//! The meaning is that of asyncio's `sslproto`, and to every observer the classes are asyncio's: `__class__` says so. The
//! user's `SSLContext` does all cryptography.
//!
//! * [`construct`]: what a protocol is made of. [`lower`]: what the transport below calls.
//! * [`handshake`], [`reading`], [`writing`], [`shutdown`]: the four things that a connection does.
//! * [`flow`]: water marks. [`callbacks`]: how the application is called. [`transport`], [`attributes`]: what Python sees.
//!
//! # Invariants
//!
//! * The application is called in the context in which the protocol was made, whoever is the cause.
//! * `SSLObject` is not entered twice: what wants to while a call into it is under way waits until that has returned.
//! * What leaves the outgoing BIO reaches the lower transport in that order: only one flush is under way at a time.
//! * The application's protocol hears `connection_lost` once, if it heard `connection_made`.
//! * Nothing is read for an application that has closed. What still comes is decrypted and dropped, for the peer's
//!   `close_notify` may be behind it, up to [`shutdown::MOST_DISCARDED`] bytes; then the connection ends without it.
//! * A connection that is idle holds no buffer: one is lent to it from [`pool`] for the time of a read. What OpenSSL still
//!   holds after a handshake it is made to free ([`writing::settle`]).
//!
//! Rejected: driving OpenSSL itself. `ssl` may be linked to another OpenSSL than ours, and the context is `ssl`'s.

mod attributes;
mod callbacks;
mod construct;
mod flow;
mod handshake;
pub(crate) mod lower;
mod names;
mod pool;
mod reading;
mod shutdown;
mod transport;
mod writing;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::offset_of;

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::raw::class::{Attributes, Builder, Collected, Finalized, Visit, WeakList};
use crate::raw::freelist::Freelist;
use crate::raw::written::AsWritten;
use crate::raw::{Class, ObjectCell, Owned, Result, This, TypeCell, buffer};

/// What the connection is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing: not yet, or no more.
    #[default]
    Unwrapped,
    /// It shakes hands.
    DoHandshake,
    /// Data goes both ways.
    Wrapped,
    /// It is being closed, and there is something to be written first.
    Flushing,
    /// It says goodbye.
    Shutdown,
}

/// What the application's protocol has heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AppState {
    #[default]
    Init,
    ConMade,
    Eof,
    ConLost,
}

/// A protocol for the transport below, which speaks TLS.
#[derive(Default)]
#[repr(C)]
pub(crate) struct SSLProtocol {
    owner: ObjectCell,
    /// The context in which the application is called.
    context: ObjectCell,
    app_protocol: ObjectCell,
    app_transport: ObjectCell,
    /// The transport below; nothing before `connection_made` and after `connection_lost`.
    lower: ObjectCell,
    waiter: ObjectCell,
    sslcontext: ObjectCell,
    server_hostname: ObjectCell,
    /// What `get_extra_info` knows itself.
    extra: ObjectCell,
    incoming: ObjectCell,
    outgoing: ObjectCell,
    sslobj: ObjectCell,
    /// Bound methods: `sslobj.read`, `sslobj.write`, `incoming.write`, `outgoing.read`.
    read: ObjectCell,
    write: ObjectCell,
    feed: ObjectCell,
    drain: ObjectCell,
    handshake_timeout: ObjectCell,
    shutdown_timeout: ObjectCell,
    handshake_timer: ObjectCell,
    shutdown_timer: ObjectCell,
    /// The buffer that the lower transport reads into, while it does.
    lent: Cell<Option<pool::Lent>>,
    /// What is to be encrypted: objects of type `bytes`, none of them empty.
    backlog: RefCell<VecDeque<Owned>>,
    backlog_size: Cell<usize>,
    /// How much of the first piece is encrypted already.
    written: Cell<usize>,
    state: Cell<State>,
    app_state: Cell<AppState>,
    server_side: Cell<bool>,
    app_is_buffered: Cell<bool>,
    app_transport_created: Cell<bool>,
    app_reading_paused: Cell<bool>,
    app_writing_paused: Cell<bool>,
    ssl_reading_paused: Cell<bool>,
    ssl_writing_paused: Cell<bool>,
    eof_received: Cell<bool>,
    /// Whether the application has closed: nothing is delivered any more.
    app_closed: Cell<bool>,
    /// Whether goodbyes are over: what still comes is not looked at.
    ended: Cell<bool>,
    /// Whether a call into `SSLObject` is under way.
    busy: Cell<bool>,
    flush: Cell<writing::Flush>,
    /// Whether the handshake has left nothing behind that an empty write would free: see [`writing::settle`].
    settled: Cell<bool>,
    /// Whether a write is under way that began when the lower transport took something.
    all_goes_down: Cell<bool>,
    /// Whether the application is being called in `context`.
    in_context: Cell<bool>,
    /// Calls of `write` after the end, and the end itself.
    conn_lost: Cell<u32>,
    /// Bytes that came after the application had closed.
    discarded: Cell<usize>,
    incoming_marks: flow::Marks,
    outgoing_marks: flow::Marks,
    /// When the handshake began, on the loop's clock; debug mode only.
    handshake_start: Cell<Option<f64>>,
    attributes: Attributes,
    weak_references: WeakList,
}

static SSL_PROTOCOL: TypeCell = TypeCell::new();
static SSL_PROTOCOLS: Freelist = Freelist::new();
static AS_WRITTEN: AsWritten<SSLProtocol> = AsWritten::new();

impl Class for SSLProtocol {
    fn class() -> &'static TypeCell {
        &SSL_PROTOCOL
    }
}

impl SSLProtocol {
    /// The protocol, if calling a method of it by name can only reach ours.
    #[inline]
    pub(crate) fn as_written<'a>(py: Python<'_>, protocol: &'a Owned) -> Option<This<'a, Self>> {
        AS_WRITTEN.instance(py, protocol).filter(|this| this.attributes.content().is_empty())
    }

    fn cells(&self) -> [&ObjectCell; 21] {
        [
            &self.owner,
            &self.context,
            &self.app_protocol,
            &self.app_transport,
            &self.lower,
            &self.waiter,
            &self.sslcontext,
            &self.server_hostname,
            &self.extra,
            &self.incoming,
            &self.outgoing,
            &self.sslobj,
            &self.read,
            &self.write,
            &self.feed,
            &self.drain,
            &self.handshake_timeout,
            &self.shutdown_timeout,
            &self.handshake_timer,
            &self.shutdown_timer,
            self.attributes.content(),
        ]
    }

    /// Changes the state. Whatever is not a step forward, but for the end, is refused.
    fn set_state(&self, new: State) -> Result<()> {
        let old = self.state.get();
        let allowed = matches!(
            (old, new),
            (_, State::Unwrapped)
                | (State::Unwrapped, State::DoHandshake)
                | (State::DoHandshake, State::Wrapped)
                | (State::Wrapped, State::Flushing)
                | (State::Flushing, State::Shutdown)
        );
        if !allowed {
            let text = format!("cannot switch state from {} to {}", old.name(), new.name());
            return Err(pyo3::exceptions::PyRuntimeError::new_err(text).into());
        }
        self.state.set(new);
        Ok(())
    }

    /// Whether the connection is being closed, or is not there.
    fn is_over(&self) -> bool {
        matches!(self.state.get(), State::Flushing | State::Shutdown | State::Unwrapped)
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Unwrapped => "UNWRAPPED",
            Self::DoHandshake => "DO_HANDSHAKE",
            Self::Wrapped => "WRAPPED",
            Self::Flushing => "FLUSHING",
            Self::Shutdown => "SHUTDOWN",
        }
    }
}

impl AppState {
    fn name(self) -> &'static str {
        match self {
            Self::Init => "STATE_INIT",
            Self::ConMade => "STATE_CON_MADE",
            Self::Eof => "STATE_EOF",
            Self::ConLost => "STATE_CON_LOST",
        }
    }
}

impl Collected for SSLProtocol {
    fn traverse(&self, visit: &mut Visit) {
        self.cells().into_iter().for_each(|cell| visit.cell(cell));
    }

    fn clear(&self) {
        let content = self.cells().map(ObjectCell::take);
        drop((content, self.backlog.take()));
    }
}

impl Finalized for SSLProtocol {
    fn freelist() -> &'static Freelist {
        &SSL_PROTOCOLS
    }

    fn weak_references(&self) -> Option<&WeakList> {
        Some(&self.weak_references)
    }
}

/// Makes the classes: those of the protocol and of the transport.
pub(crate) fn initialise(py: Python<'_>) -> Result<[Owned; 2]> {
    names::initialise(py)?;
    buffer::initialise(py)?;
    let protocol = Builder::<SSLProtocol>::new(c"boucle._boucle.SSLProtocol")
        .doc(c"SSLProtocol(loop, app_protocol, sslcontext, waiter, server_side=False, server_hostname=None, call_connection_made=True, ssl_handshake_timeout=None, ssl_shutdown_timeout=None)\n--\n\nSpeaks TLS on the transport that it is the protocol of.")
        .subclassable()
        .finalized()
        .weakly_referenced(offset_of!(SSLProtocol, weak_references))
        .with_attributes(offset_of!(SSLProtocol, attributes))
        .slot(pyo3::ffi::Py_tp_init, construct::slot())
        .methods(lower::methods())
        .methods(callbacks::methods())
        .methods(attributes::methods())
        .properties(attributes::properties())
        .build(py)?;
    let class: Borrowed<'_, '_, PyType> = protocol.any(py).cast().map_err(PyErr::from)?;
    AS_WRITTEN.learn(py, &class)?;
    let transport = transport::initialise(py)?;
    Ok([protocol, transport])
}
