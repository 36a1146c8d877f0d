//! Transports: what connects a protocol with a descriptor.
//!
//! They mean what asyncio's transports mean; the module docs say where they are built differently.
//!
//! * [`stream`]: TCP and Unix stream sockets.
//! * [`datagram`]: UDP and Unix datagram sockets. [`pipe`]: pipes, terminals and what else is read or written in one direction.
//! * [`ties`]: what the latter have in common. [`payload`]: what a program passes to be sent.
//! * [`flow`]: water marks: when a protocol is told to pause writing, and to resume.
//! * [`report`]: what the exception handler is told.
//!
//! # Invariants
//!
//! * A transport calls its protocol from a step of the loop only, never from `write`, `close` or `abort`; `pause_writing` is
//!   the exception, as on asyncio.
//! * The descriptor belongs to the Python object that was handed in. The registration with the kernel ends first, then that
//!   object is closed, once.

pub(crate) mod datagram;
pub(crate) mod flow;
mod payload;
pub(crate) mod pipe;
pub(crate) mod report;
pub(crate) mod stream;
pub(crate) mod ties;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::loop_core::LoopCore;
use crate::raw::{Args, Owned, Result, This, method};

/// The methods of a loop that make transports.
pub(crate) fn methods() -> [ffi::PyMethodDef; 5] {
    [
        method!(LoopCore, "_make_socket_transport", args make_socket_transport, "_make_socket_transport($self, sock, protocol, waiter=None, *, extra=None, server=None, context=None)\n--\n\nA transport of a connected stream socket, which it owns from now on."),
        method!(LoopCore, "_make_datagram_transport", args datagram::make, "_make_datagram_transport($self, sock, protocol, address=None, waiter=None, extra=None)\n--\n\nA transport of a datagram socket, which it owns from now on."),
        method!(LoopCore, "_make_read_pipe_transport", args pipe::make_reader, "_make_read_pipe_transport($self, pipe, protocol, waiter=None, extra=None)\n--\n\nA transport that reads from a pipe, which it owns from now on."),
        method!(LoopCore, "_make_write_pipe_transport", args pipe::make_writer, "_make_write_pipe_transport($self, pipe, protocol, waiter=None, extra=None)\n--\n\nA transport that writes to a pipe, which it owns from now on."),
        method!(LoopCore, "set_write_mode", args set_write_mode, "set_write_mode($self, mode, /)\n--\n\nWhen transports send: 'deferred' (the writes of one step leave together when it returns) or 'immediate'.\n\nRaises ValueError for another word."),
    ]
}

fn make_socket_transport(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    stream::make(py, core, args)
}

fn set_write_mode(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<()> {
    let mode: String = match args.get(0) {
        Some(mode) if args.count() == 1 => mode.any(py).extract()?,
        _ => return Err(pyo3::exceptions::PyTypeError::new_err("set_write_mode() takes one argument, the mode").into()),
    };
    core.set_writes_at_once(crate::settings::is_immediate("write mode ", &mode)?);
    Ok(())
}
