//! What Python sees of a datagram transport: asyncio's methods and private attributes.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::super::ties;
use super::{DatagramTransport, abort, close, writing};
use crate::raw::method::property;
use crate::raw::{Owned, Result, This, getter, method};

/// As asyncio's, with our name.
pub(super) fn repr(py: Python<'_>, this: This<'_, DatagramTransport>) -> Result<Owned> {
    let words = ties::words(py, this)?;
    let text = if this.ties.has_open_loop(py)? {
        let (read, write) = this.ties.waits();
        let word = |waits| if waits { "polling" } else { "idle" };
        format!("{words} read={} write=<{}, bufsize={}>>", word(read), word(write), this.size.get())
    } else {
        format!("{words}>")
    };
    Ok(PyString::new(py, &text).into_any().into())
}

fn limits(py: Python<'_>, this: This<'_, DatagramTransport>) -> Result<Owned> {
    this.flow.limits(py)
}

macro_rules! shown {
    ($name:literal, $get:expr) => {
        property(crate::raw::method::c_str!($name), getter!(DatagramTransport, $name, $get), None)
    };
}

pub(super) fn properties() -> [ffi::PyGetSetDef; 8] {
    [
        shown!("_loop", |_, this: This<'_, DatagramTransport>| Ok(this.ties.owner())),
        shown!("_sock", |_, this: This<'_, DatagramTransport>| Ok(this.ties.file())),
        shown!("_sock_fd", |py, this: This<'_, DatagramTransport>| this.ties.fd_object(py)),
        shown!("_protocol", |_, this: This<'_, DatagramTransport>| Ok(this.ties.protocol())),
        shown!("_address", |_, this: This<'_, DatagramTransport>| Ok(this.address.get())),
        shown!("_closing", |_, this: This<'_, DatagramTransport>| Ok(this.ties.closing.get())),
        shown!("_paused", |_, this: This<'_, DatagramTransport>| Ok(this.ties.paused.get())),
        shown!("_conn_lost", |_, this: This<'_, DatagramTransport>| Ok(this.conn_lost.get())),
    ]
}

pub(super) fn methods() -> [ffi::PyMethodDef; 14] {
    [
        method!(DatagramTransport, "sendto", args writing::send_to, "sendto($self, data, addr=None)\n--\n\nSend a datagram, now if the kernel takes it. Does not wait: see asyncio.DatagramTransport."),
        method!(DatagramTransport, "close", close, "close($self, /)\n--\n\nClose once everything is sent."),
        method!(DatagramTransport, "abort", abort, "abort($self, /)\n--\n\nClose now."),
        method!(
            DatagramTransport,
            "is_closing",
            ties::is_closing,
            "is_closing($self, /)\n--\n\nWhether it was closed, or is being closed."
        ),
        method!(
            DatagramTransport,
            "pause_reading",
            ties::pause_reading,
            "pause_reading($self, /)\n--\n\nReceive no more until resume_reading()."
        ),
        method!(
            DatagramTransport,
            "resume_reading",
            ties::resume_reading,
            "resume_reading($self, /)\n--\n\nReceive again."
        ),
        method!(DatagramTransport, "is_reading", ties::is_reading, "is_reading($self, /)\n--\n\nWhether it receives."),
        method!(DatagramTransport, "get_protocol", ties::get_protocol, "get_protocol($self, /)\n--\n\nThe protocol."),
        method!(DatagramTransport, "set_protocol", args ties::set_protocol, "set_protocol($self, protocol)\n--\n\nReplace the protocol."),
        method!(
            DatagramTransport,
            "get_write_buffer_size",
            writing::buffer_size,
            "get_write_buffer_size($self, /)\n--\n\nHow many bytes the kernel has not taken."
        ),
        method!(
            DatagramTransport,
            "get_write_buffer_limits",
            limits,
            "get_write_buffer_limits($self, /)\n--\n\n(low, high), in bytes."
        ),
        method!(DatagramTransport, "set_write_buffer_limits", args writing::set_limits, "set_write_buffer_limits($self, high=None, low=None)\n--\n\nSets when the protocol pauses and resumes, in bytes."),
        method!(DatagramTransport, "_start_reading", ties::start_reading, "Begins to receive."),
        method!(DatagramTransport, "_call_connection_lost", args ties::call_connection_lost, "Tells the protocol and lets go."),
    ]
}
