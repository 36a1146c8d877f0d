//! `SSLTransport`: what the application writes to.
//!
//! It has no state but whether it is closed; everything else is its protocol's.
//!
//! # Invariants
//!
//! * An application that closes what was closing already is done with it. When the connection is lost the transport lets
//!   go of its protocol, so that who keeps the transport keeps no `SSLContext`. Methods then say what they say of nothing;
//!   asyncio's raise `AttributeError`.

use std::cell::Cell;
use std::mem::offset_of;

use pyo3::exceptions::{PyNotImplementedError, PyResourceWarning, PyRuntimeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{SSLProtocol, callbacks, construct, flow, names, shutdown, writing};
use crate::future::attributes::only_argument;
use crate::raw::class::{Attributes, Builder, Collected, Finalized, MaybeInstance, Visit, WeakList};
use crate::raw::freelist::Freelist;
use crate::raw::method::property;
use crate::raw::{Args, Class, ObjectCell, Owned, Result, This, TypeCell, getter, method};
use crate::transport::stream;
use crate::versions;

/// The transport of one connection.
#[derive(Default)]
#[repr(C)]
pub(crate) struct SSLTransport {
    owner: ObjectCell,
    protocol: MaybeInstance<SSLProtocol>,
    closed: Cell<bool>,
    /// Whether the application has closed what was closing already.
    done_with: Cell<bool>,
    attributes: Attributes,
    weak_references: WeakList,
}

static SSL_TRANSPORT: TypeCell = TypeCell::new();
static SSL_TRANSPORTS: Freelist = Freelist::new();

impl Class for SSLTransport {
    fn class() -> &'static TypeCell {
        &SSL_TRANSPORT
    }
}

impl Collected for SSLTransport {
    fn traverse(&self, visit: &mut Visit) {
        for cell in [&self.owner, self.protocol.object(), self.attributes.content()] {
            visit.cell(cell);
        }
    }

    fn clear(&self) {
        drop((self.owner.take(), self.protocol.replace(None), self.attributes.content().take()));
    }
}

impl Finalized for SSLTransport {
    const SPEAKS: bool = true;

    fn freelist() -> &'static Freelist {
        &SSL_TRANSPORTS
    }

    fn has_last_word(&self) -> bool {
        !self.closed.get()
    }

    fn finalize(py: Python<'_>, this: This<'_, Self>) {
        this.closed.set(true);
        if let Err(error) = warn_unclosed(py, this) {
            error.write_unraisable(py, None);
        }
    }

    fn weak_references(&self) -> Option<&WeakList> {
        Some(&self.weak_references)
    }
}

fn warn_unclosed(py: Python<'_>, this: This<'_, SSLTransport>) -> PyResult<()> {
    let this = this.to_owned();
    let text = format!("unclosed transport {}", this.any(py).repr()?.to_cow()?);
    let options = PyDict::new(py);
    options.set_item("source", this.any(py))?;
    names::get(py).warn.any(py).call((text, py.get_type::<PyResourceWarning>()), Some(&options))?;
    Ok(())
}

/// The transport of a protocol, made when it is first asked for.
pub(super) fn of(py: Python<'_>, protocol: This<'_, SSLProtocol>) -> Result<Owned> {
    if let Some(transport) = protocol.app_transport.get() {
        return Ok(transport);
    }
    if protocol.app_transport_created.replace(true) {
        return Err(PyRuntimeError::new_err("Creating _SSLProtocolTransport twice").into());
    }
    let owner = protocol.owner.get().map_or_else(ObjectCell::default, ObjectCell::new);
    let transport = SSL_TRANSPORTS.make_collected(py, || SSLTransport {
        owner,
        protocol: MaybeInstance::new(protocol),
        ..SSLTransport::default()
    })?;
    drop(protocol.app_transport.replace(Some(transport.clone())));
    Ok(transport)
}

/// Notes on the transport of a protocol that it is closed.
pub(super) fn mark_closed(protocol: This<'_, SSLProtocol>) {
    if let Some(transport) = protocol.app_transport.get()
        && let Some(this) = This::<SSLTransport>::exactly(&transport)
    {
        this.closed.set(true);
    }
}

/// The connection of a transport is lost.
pub(super) fn let_go(transport: &Owned) {
    if let Some(this) = This::<SSLTransport>::exactly(transport)
        && this.done_with.get()
    {
        drop(this.protocol.replace(None));
    }
}

/// Runs a method of the protocol's. Without one the answer is that there is nothing.
fn on<R: Default>(this: This<'_, SSLTransport>, work: impl FnOnce(This<'_, SSLProtocol>) -> Result<R>) -> Result<R> {
    this.protocol.with(work).unwrap_or_else(|| Ok(R::default()))
}

fn get_extra_info(py: Python<'_>, this: This<'_, SSLTransport>, args: Args<'_>) -> Result<Owned> {
    let (name, default) = super::attributes::name_and_default(py, args)?;
    match this.protocol.with(|protocol| super::attributes::extra_info(py, protocol, &name, &default)) {
        Some(info) => info,
        None => Ok(default),
    }
}

fn set_protocol(py: Python<'_>, this: This<'_, SSLTransport>, args: Args<'_>) -> Result<()> {
    let app_protocol = only_argument(args, "set_protocol")?;
    on(this, |protocol| construct::set_app_protocol(py, protocol, app_protocol))
}

fn get_protocol(_: Python<'_>, this: This<'_, SSLTransport>) -> Result<Option<Owned>> {
    on(this, |protocol| Ok(protocol.app_protocol.get()))
}

fn is_closing(py: Python<'_>, this: This<'_, SSLTransport>) -> Result<bool> {
    if this.closed.get() || !versions::get(py).asks_below {
        return Ok(this.closed.get());
    }
    match this.protocol.with(|protocol| protocol.lower.get()).flatten() {
        Some(below) => stream::may_be_closing(py, &below),
        None => Ok(false),
    }
}

fn close(py: Python<'_>, this: This<'_, SSLTransport>) -> Result<()> {
    let closing = this.closed.replace(true);
    this.done_with.set(closing);
    let lost: Option<Result<bool>> = this.protocol.with(|protocol| {
        if !protocol.app_closed.get() {
            shutdown::close(py, protocol)?;
        }
        Ok(protocol.app_transport.is_empty())
    });
    if lost.transpose()?.unwrap_or(false) {
        let_go(&this.to_owned());
    }
    Ok(())
}

fn abort(py: Python<'_>, this: This<'_, SSLTransport>) -> Result<()> {
    this.closed.set(true);
    on(this, |protocol| shutdown::abort(py, protocol, None))
}

fn force_close(py: Python<'_>, this: This<'_, SSLTransport>, args: Args<'_>) -> Result<()> {
    let exception = only_argument(args, "_force_close")?;
    this.closed.set(true);
    on(this, |protocol| shutdown::abort(py, protocol, Some(exception)))
}

fn is_reading(_: Python<'_>, this: This<'_, SSLTransport>) -> Result<bool> {
    on(this, |protocol| Ok(!protocol.app_reading_paused.get()))
}

fn pause_reading(_: Python<'_>, this: This<'_, SSLTransport>) -> Result<()> {
    on(this, |protocol| {
        protocol.app_reading_paused.set(true);
        Ok(())
    })
}

fn resume_reading(py: Python<'_>, this: This<'_, SSLTransport>) -> Result<()> {
    on(this, |protocol| {
        if protocol.app_reading_paused.replace(false) {
            callbacks::soon(py, protocol, intern!(py, "_proceed"))?;
        }
        Ok(())
    })
}

fn set_write_buffer_limits(py: Python<'_>, this: This<'_, SSLTransport>, args: Args<'_>) -> Result<()> {
    let (high, low) = flow::limits(py, args)?;
    on(this, |protocol| {
        protocol.outgoing_marks.set(high, low, flow::WRITE_KIB)?;
        flow::control_app_writing(py, protocol, false)
    })
}

fn set_read_buffer_limits(py: Python<'_>, this: This<'_, SSLTransport>, args: Args<'_>) -> Result<()> {
    let (high, low) = flow::limits(py, args)?;
    on(this, |protocol| {
        protocol.incoming_marks.set(high, low, flow::READ_KIB)?;
        flow::control_ssl_reading(py, protocol)
    })
}

fn limits(
    py: Python<'_>,
    this: This<'_, SSLTransport>,
    marks: impl Fn(This<'_, SSLProtocol>) -> (i64, i64),
) -> Result<Owned> {
    let both = on(this, |protocol| Ok(marks(protocol)))?;
    Ok(both.into_pyobject(py)?.into_any().into())
}

fn get_write_buffer_limits(py: Python<'_>, this: This<'_, SSLTransport>) -> Result<Owned> {
    limits(py, this, |protocol| protocol.outgoing_marks.both())
}

fn get_read_buffer_limits(py: Python<'_>, this: This<'_, SSLTransport>) -> Result<Owned> {
    limits(py, this, |protocol| protocol.incoming_marks.both())
}

fn get_write_buffer_size(py: Python<'_>, this: This<'_, SSLTransport>) -> Result<usize> {
    on(this, |protocol| flow::write_buffer_size(py, protocol))
}

fn get_read_buffer_size(py: Python<'_>, this: This<'_, SSLTransport>) -> Result<usize> {
    on(this, |protocol| flow::read_buffer_size(py, protocol))
}

fn write(py: Python<'_>, this: This<'_, SSLTransport>, args: Args<'_>) -> Result<()> {
    let data = only_argument(args, "write")?;
    let data = writing::frozen(py, &data)?;
    on(this, |protocol| {
        if writing::is_empty(py, &data) || writing::is_too_late(py, protocol)? {
            return Ok(());
        }
        writing::append(py, protocol, data);
        writing::write_appended(py, protocol)
    })
}

fn writelines(py: Python<'_>, this: This<'_, SSLTransport>, args: Args<'_>) -> Result<()> {
    let list = only_argument(args, "writelines")?;
    on(this, |protocol| {
        if writing::is_too_late(py, protocol)? {
            return Ok(());
        }
        // First all of it: what cannot be written leaves nothing half written.
        let mut pieces = Vec::new();
        for data in list.any(py).try_iter()? {
            pieces.push(writing::frozen(py, &data?.into())?);
        }
        for data in pieces {
            writing::append(py, protocol, data);
        }
        writing::write_appended(py, protocol)
    })
}

fn write_eof(_: Python<'_>, _: This<'_, SSLTransport>) -> Result<()> {
    Err(PyNotImplementedError::new_err(()).into())
}

fn can_write_eof(_: Python<'_>, _: This<'_, SSLTransport>) -> Result<bool> {
    Ok(false)
}

/// `CPython`'s tests fill the backlog with it.
fn append_write_backlog(py: Python<'_>, this: This<'_, SSLTransport>, args: Args<'_>) -> Result<()> {
    let data = writing::frozen(py, &only_argument(args, "_test__append_write_backlog")?)?;
    on(this, |protocol| {
        writing::append(py, protocol, data);
        Ok(())
    })
}

/// Makes the class.
pub(super) fn initialise(py: Python<'_>) -> Result<Owned> {
    let class = Builder::<SSLTransport>::new(c"boucle._boucle.SSLTransport")
        .doc(c"The transport of a TLS connection.")
        .without_constructor()
        .finalized()
        .weakly_referenced(offset_of!(SSLTransport, weak_references))
        .with_attributes(offset_of!(SSLTransport, attributes))
        .methods(methods())
        .properties(properties())
        .build(py)?;
    class.any(py).setattr("_start_tls_compatible", true)?;
    class.any(py).setattr("_sendfile_compatible", names::get(py).sendfile_fallback.any(py))?;
    Ok(class)
}

fn properties() -> [ffi::PyGetSetDef; 5] {
    [
        property(
            c"__class__",
            getter!(SSLTransport, "__class__", |py, _this| Ok(names::get(py).transport.clone())),
            None,
        ),
        property(
            c"_loop",
            getter!(SSLTransport, "_loop", |_, this: This<'_, SSLTransport>| Ok(this.owner.get())),
            None,
        ),
        property(
            c"_ssl_protocol",
            getter!(SSLTransport, "_ssl_protocol", |_, this: This<'_, SSLTransport>| Ok(this.protocol.object().get())),
            None,
        ),
        property(
            c"_closed",
            getter!(SSLTransport, "_closed", |_, this: This<'_, SSLTransport>| Ok(this.closed.get())),
            None,
        ),
        property(
            c"_protocol_paused",
            getter!(SSLTransport, "_protocol_paused", |_, this| on(this, |protocol| Ok(protocol
                .app_writing_paused
                .get()))),
            None,
        ),
    ]
}

fn methods() -> [ffi::PyMethodDef; 21] {
    [
        method!(SSLTransport, "get_extra_info", args get_extra_info, "get_extra_info($self, name, default=None)\n--\n\nWhat is known of the connection under this name."),
        method!(SSLTransport, "set_protocol", args set_protocol, "set_protocol($self, protocol)\n--\n\nChanges the protocol."),
        method!(
            SSLTransport,
            "get_protocol",
            get_protocol,
            "get_protocol($self)\n--\n\nThe protocol; None once the connection is lost."
        ),
        method!(
            SSLTransport,
            "is_closing",
            is_closing,
            "is_closing($self)\n--\n\nWhether it is closed, or being closed."
        ),
        method!(
            SSLTransport,
            "close",
            close,
            "close($self)\n--\n\nWrites what waits, says goodbye and closes. No more data is received."
        ),
        method!(SSLTransport, "abort", abort, "abort($self)\n--\n\nCloses at once. What waits to be written is lost."),
        method!(SSLTransport, "_force_close", args force_close, "Closes at once, because of an exception."),
        method!(SSLTransport, "is_reading", is_reading, "is_reading($self)\n--\n\nWhether reading is not paused."),
        method!(
            SSLTransport,
            "pause_reading",
            pause_reading,
            "pause_reading($self)\n--\n\nReceives nothing until resume_reading()."
        ),
        method!(SSLTransport, "resume_reading", resume_reading, "resume_reading($self)\n--\n\nReceives data again."),
        method!(SSLTransport, "set_write_buffer_limits", args set_write_buffer_limits, "set_write_buffer_limits($self, high=None, low=None)\n--\n\nAt which sizes the protocol is paused, and resumed."),
        method!(
            SSLTransport,
            "get_write_buffer_limits",
            get_write_buffer_limits,
            "get_write_buffer_limits($self)\n--\n\nThese sizes, the lower first."
        ),
        method!(
            SSLTransport,
            "get_write_buffer_size",
            get_write_buffer_size,
            "get_write_buffer_size($self)\n--\n\nHow many bytes wait to be written."
        ),
        method!(SSLTransport, "set_read_buffer_limits", args set_read_buffer_limits, "set_read_buffer_limits($self, high=None, low=None)\n--\n\nAt which sizes the transport below is paused, and resumed."),
        method!(
            SSLTransport,
            "get_read_buffer_limits",
            get_read_buffer_limits,
            "get_read_buffer_limits($self)\n--\n\nThese sizes, the lower first."
        ),
        method!(
            SSLTransport,
            "get_read_buffer_size",
            get_read_buffer_size,
            "get_read_buffer_size($self)\n--\n\nHow many encrypted bytes wait to be read."
        ),
        method!(SSLTransport, "write", args write, "write($self, data)\n--\n\nWrites data."),
        method!(SSLTransport, "writelines", args writelines, "writelines($self, list_of_data)\n--\n\nWrites several pieces of data."),
        method!(
            SSLTransport,
            "write_eof",
            write_eof,
            "write_eof($self)\n--\n\nRaises NotImplementedError: TLS does not know it."
        ),
        method!(SSLTransport, "can_write_eof", can_write_eof, "can_write_eof($self)\n--\n\nFalse."),
        method!(SSLTransport, "_test__append_write_backlog", args append_write_backlog, "Lets data wait without writing it: for tests."),
    ]
}
