//! What Python sees of a stream transport: asyncio's methods and private attributes.

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::{StreamTransport, closing, described, reading, set_protocol, writing};
use crate::raw::method::property;
use crate::raw::{Args, Owned, Result, This, getter, method, setter};

/// As asyncio's, with our name.
pub(super) fn repr(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<Owned> {
    let object = this.to_owned();
    let mut text = format!("<{}", object.any(py).get_type().name()?);
    if this.socket.is_empty() {
        text.push_str(" closed");
    } else if this.closing.get() {
        text.push_str(" closing");
    }
    text.push_str(" fd=");
    text.push_str(&this.fd.get().to_string());
    let wants = this.watcher.with(|watcher| (watcher.wants_read(), watcher.wants_write()));
    if let Some((read, write)) = wants {
        let word = |wants| if wants { "polling" } else { "idle" };
        // Looking changes nothing: what was put off counts as sent.
        let size = if this.blocked.get() { this.outgoing.borrow().len() } else { 0 };
        let [read, write, size] = [word(read), word(write), &size.to_string()];
        text.extend([" read=", read, " write=<", write, ", bufsize=", size, ">"]);
    }
    text.push('>');
    Ok(PyString::new(py, &text).into_any().into())
}

/// `get_extra_info(name, default=None)`.
fn get_extra_info(py: Python<'_>, this: This<'_, StreamTransport>, args: Args<'_>) -> Result<Owned> {
    let [name, default] = args.named(py, "get_extra_info", ["name", "default"])?;
    let name = name.unwrap_or_else(|| Owned::none(py));
    // Who has the socket may send through it.
    if name.any(py).eq(intern!(py, "socket"))? {
        writing::send_put_off(py, this)?;
    }
    let found = match described::extra(py, this)? {
        Some(extra) => extra.any(py).cast::<PyDict>().map_err(PyErr::from)?.get_item(name.any(py))?.map(Owned::from),
        None => None,
    };
    Ok(found.or(default).unwrap_or_else(|| Owned::none(py)))
}

pub(super) fn is_closing(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<bool> {
    // An error of sending closes it. `StreamWriter.drain` asks this first, so what it waits for leaves here.
    writing::send_put_off(py, this)?;
    Ok(this.closing.get())
}

fn is_reading(_: Python<'_>, this: This<'_, StreamTransport>) -> Result<bool> {
    Ok(reading::is_reading(this))
}

fn take_protocol(py: Python<'_>, this: This<'_, StreamTransport>, args: Args<'_>) -> Result<()> {
    let [protocol] = args.named(py, "set_protocol", ["protocol"])?;
    set_protocol(py, this, protocol.unwrap_or_else(|| Owned::none(py)))
}

fn get_protocol(_: Python<'_>, this: This<'_, StreamTransport>) -> Result<Option<Owned>> {
    Ok(this.protocol.get())
}

fn limits(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<Owned> {
    this.flow.limits(py)
}

fn can_write_eof(_: Python<'_>, _: This<'_, StreamTransport>) -> Result<bool> {
    Ok(true)
}

fn reset_empty_waiter(_: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    drop(this.empty_waiter.take());
    Ok(())
}

/// Leaves the descriptor to somebody who sends a file. Returns a future that fails when the transport is closed meanwhile,
/// before the descriptor is.
fn lend(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<Option<Owned>> {
    let Some(owner) = this.core.object().get() else { return Ok(None) };
    let lost: Owned = owner.any(py).call_method0(intern!(py, "create_future"))?.into();
    drop(this.empty_waiter.replace(Some(lost.clone())));
    this.lent.set(true);
    if this.conn_lost.get() > 0 {
        closing::tell_borrower(py, this)?;
    }
    this.core.with(|core| this.watcher.with(|watcher| watcher.suspend(core)));
    Ok(Some(lost))
}

/// Takes the descriptor back.
fn take_back(_: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    this.lent.set(false);
    if this.conn_lost.get() > 0 {
        return Ok(());
    }
    let taken = this.core.with(|core| this.watcher.with(|watcher| watcher.resume(core)));
    taken.flatten().unwrap_or(Ok(()))
}

macro_rules! shown {
    ($name:literal, $get:expr) => {
        property(crate::raw::method::c_str!($name), getter!(StreamTransport, $name, $get), None)
    };
}

pub(super) fn properties() -> [ffi::PyGetSetDef; 12] {
    [
        property(
            c"_extra",
            getter!(StreamTransport, "_extra", described::extra),
            Some(setter!(StreamTransport, "_extra", described::set_extra)),
        ),
        shown!("_loop", |_, this: This<'_, StreamTransport>| Ok(this.core.object().get())),
        shown!("_sock", |_, this: This<'_, StreamTransport>| Ok(this.socket.get())),
        shown!("_sock_fd", |py, this: This<'_, StreamTransport>| number(py, this.fd.get())),
        shown!("_protocol", |_, this: This<'_, StreamTransport>| Ok(this.protocol.get())),
        shown!("_server", |_, this: This<'_, StreamTransport>| Ok(this.server.get())),
        shown!("_closing", |_, this: This<'_, StreamTransport>| Ok(this.closing.get())),
        shown!("_paused", |_, this: This<'_, StreamTransport>| Ok(this.paused.get())),
        shown!("_eof", |_, this: This<'_, StreamTransport>| Ok(this.eof.get())),
        shown!("_conn_lost", |_, this: This<'_, StreamTransport>| Ok(this.conn_lost.get())),
        shown!("_protocol_paused", |_, this: This<'_, StreamTransport>| Ok(this.flow.is_paused())),
        shown!("_empty_waiter", |_, this: This<'_, StreamTransport>| Ok(this.empty_waiter.get())),
    ]
}

fn number(py: Python<'_>, number: i32) -> Result<Owned> {
    Ok(number.into_pyobject(py).map_err(PyErr::from)?.into_any().into())
}

pub(super) fn methods() -> [ffi::PyMethodDef; 25] {
    [
        method!(StreamTransport, "write", args writing::write, "write($self, data)\n--\n\nSend data, a bytes-like object, when the step returns or before. Does not wait: see asyncio.WriteTransport."),
        method!(StreamTransport, "writelines", args writing::write_lines, "writelines($self, list_of_data)\n--\n\nSend several bytes-like objects."),
        method!(
            StreamTransport,
            "write_eof",
            writing::write_eof,
            "write_eof($self, /)\n--\n\nEnd the sending direction once everything is sent."
        ),
        method!(StreamTransport, "can_write_eof", can_write_eof, "can_write_eof($self, /)\n--\n\nTrue."),
        method!(StreamTransport, "close", closing::close, "close($self, /)\n--\n\nClose once everything is sent."),
        method!(StreamTransport, "abort", closing::abort, "abort($self, /)\n--\n\nClose now."),
        method!(
            StreamTransport,
            "is_closing",
            is_closing,
            "is_closing($self, /)\n--\n\nWhether it was closed, or is being closed."
        ),
        method!(
            StreamTransport,
            "pause_reading",
            reading::pause,
            "pause_reading($self, /)\n--\n\nRead no more until resume_reading()."
        ),
        method!(StreamTransport, "resume_reading", reading::resume, "resume_reading($self, /)\n--\n\nRead again."),
        method!(StreamTransport, "is_reading", is_reading, "is_reading($self, /)\n--\n\nWhether it reads."),
        method!(StreamTransport, "get_protocol", get_protocol, "get_protocol($self, /)\n--\n\nThe protocol."),
        method!(StreamTransport, "set_protocol", args take_protocol, "set_protocol($self, protocol)\n--\n\nReplace the protocol, by one of either kind."),
        method!(StreamTransport, "get_extra_info", args get_extra_info, "get_extra_info($self, name, default=None)\n--\n\n'socket', 'sockname', 'peername'."),
        method!(
            StreamTransport,
            "get_write_buffer_size",
            writing::buffer_size,
            "get_write_buffer_size($self, /)\n--\n\nHow many bytes the kernel has not taken."
        ),
        method!(
            StreamTransport,
            "get_write_buffer_limits",
            limits,
            "get_write_buffer_limits($self, /)\n--\n\n(low, high), in bytes."
        ),
        method!(StreamTransport, "set_write_buffer_limits", args writing::set_limits, "set_write_buffer_limits($self, high=None, low=None)\n--\n\nSets when the protocol pauses and resumes, in bytes."),
        method!(StreamTransport, "_start_reading", reading::start, "Begins to read."),
        method!(StreamTransport, "_call_connection_lost", args closing::call_connection_lost, "Tells the protocol and lets go."),
        method!(StreamTransport, "_force_close", args closing::force_close_with, "Closes now, with this exception."),
        method!(StreamTransport, "_fatal_error", args closing::fatal_error, "Reports an exception and closes now."),
        method!(
            StreamTransport,
            "_make_empty_waiter",
            writing::make_empty_waiter,
            "A future that is done when everything is sent."
        ),
        method!(StreamTransport, "_reset_empty_waiter", reset_empty_waiter, "Forgets that future."),
        method!(
            StreamTransport,
            "_lend_descriptor",
            lend,
            "Leaves the descriptor to somebody else. Returns a future that fails when the transport is closed."
        ),
        method!(StreamTransport, "_take_descriptor_back", take_back, "Ends that."),
        method!(StreamTransport, "_send_put_off", writing::send_put_off, "Sends what waits for the end of the step."),
    ]
}
