//! Connections that a listening socket has: taken as long as there are some, each for a task of its own.
//!
//! asyncio's own code asks the socket until it raises an exception. Here the kernel is asked by the socket's number, and
//! before it is asked for another connection, whether there is one. What is unusual is left to asyncio's, errors above all.

use std::cell::Cell;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{ffi, intern};

use super::usual::{is_usual, makes_sockets};
use super::{ConnectingStep, Kind, STEPS};
use crate::imports;
use crate::loop_core::LoopCore;
use crate::raw::args::Arg;
use crate::raw::class::MaybeInstance;
use crate::raw::{Args, ObjectCell, Owned, Result, This, call, method, vector};
use crate::sock::plain::{self, Peer};
use crate::versions;

/// Where the arguments of `_accept_connection` are; behind them are the time-outs of TLS, and from 3.15 on the context in which
/// the server was made.
const FACTORY: usize = 0;
const LISTENER: usize = 1;
const TLS: usize = 2;
const SERVER: usize = 3;
const BACKLOG: usize = 4;
const TIMEOUTS: usize = 5;
const CONTEXT: usize = 7;

/// `_accept_connection(protocol_factory, sock, sslcontext, server, backlog, *timeouts)`, and from 3.15 on a context.
fn accept_all(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let asyncios = &imports::get(py).accept_connection;
    let Some((listener, attempts)) = usual_listener(py, core, args)? else {
        return args.forward(asyncios, &core.to_owned());
    };
    for attempt in 0..attempts {
        // The first time the reactor has said it.
        if attempt > 0 && !plain::may_accept(py, &listener)? {
            break;
        }
        match plain::accept(py, &listener) {
            Ok(None) => break,
            Ok(Some((connection, peer))) => serve(py, core, args, connection, peer)?,
            Err(raised) => {
                let exception = raised.take_value(py);
                if !exception.any(py).is_instance_of::<PyOSError>() {
                    return Err(PyErr::from_value(exception.any(py).to_owned()).into());
                }
                // asyncio's will hear the same, and knows what to do.
                return args.forward(asyncios, &core.to_owned());
            }
        }
    }
    Ok(Owned::none(py))
}

/// The listening socket and how often it is asked; nothing where asyncio's code is to ask.
fn usual_listener(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Option<(Owned, i64)>> {
    let (Some(listener), Some(backlog)) = (args.get(LISTENER), args.get(BACKLOG)) else { return Ok(None) };
    let (listener, backlog) = (listener.to_owned(), backlog.to_owned().small_int());
    let Some(backlog) = backlog.filter(|_| args.keywords().next().is_none() && is_usual(py, core)) else {
        return Ok(None);
    };
    let constants = imports::get(py);
    if !constants.accepting.holds(py)
        || !makes_sockets(py)
        || !constants.accepting_socket.is_class_of(py, &listener)
        || !plain::never_blocks(py, &listener)?
    {
        return Ok(None);
    }
    Ok(Some((listener, backlog + versions::get(py).attempts_for_no_backlog(py)?)))
}

/// Makes the task of a connection. Where there is a context, it runs in a copy, and so do the callbacks of the connection.
fn serve(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>, connection: Owned, peer: Peer) -> Result<()> {
    let given = |index| args.get(index).map_or_else(|| Owned::none(py), Arg::to_owned);
    let owner = core.to_owned();
    let (factory, tls, server) = (given(FACTORY), given(TLS), given(SERVER));
    let context = match args.get(CONTEXT).filter(|context| !context.is_none()) {
        Some(context) => Some(vector::method(py, &context.to_owned(), intern!(py, "copy"), &[])?),
        None => None,
    };
    let coroutine = if tls.is_none() {
        step(py, core, Accepted { factory, connection, peer, server, context: context.clone() })?
    } else {
        let extra = extra(py, peer)?;
        let all = [&factory, &connection, &extra, &tls, &server].map(|argument| argument.any(py).to_owned());
        let timeouts = args.from(TIMEOUTS).take(CONTEXT - TIMEOUTS).map(|argument| argument.any(py).to_owned());
        let all = PyTuple::new(py, all.into_iter().chain(timeouts).collect::<Vec<_>>())?;
        let named = PyDict::new(py);
        if let Some(context) = &context {
            named.set_item(intern!(py, "context"), context.any(py))?;
        }
        owner.any(py).call_method(intern!(py, "_accept_connection2"), all, Some(&named))?.into()
    };
    let constants = imports::get(py);
    match context {
        Some(context) => {
            let names = &constants.context_only;
            call::method_with_context(py, &constants.create_task, &owner, &coroutine, None, &context, names)
        }
        None => vector::method(py, &owner, &constants.create_task, &[&coroutine]),
    }
    .map(drop)
}

/// What asyncio says of an accepted connection.
fn extra(py: Python<'_>, peer: Peer) -> Result<Owned> {
    let extra = PyDict::new(py);
    extra.set_item(intern!(py, "peername"), peer.written(py)?.any(py))?;
    Ok(extra.into_any().into())
}

/// `_accept_connection2(…)`, where asyncio's code has accepted, or over TLS: asyncio's own.
fn accept_one(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    args.forward(&imports::get(py).accept_connection2, &core.to_owned())
}

/// A connection, and what it is told of.
struct Accepted {
    factory: Owned,
    connection: Owned,
    peer: Peer,
    server: Owned,
    context: Option<Owned>,
}

/// The coroutine of a connection without TLS.
fn step(py: Python<'_>, core: This<'_, LoopCore>, accepted: Accepted) -> Result<Owned> {
    let Accepted { factory, connection, peer, server, context } = accepted;
    let (peer, extra) = match peer {
        Peer::Numbers(address) => (Some(address), ObjectCell::default()),
        named @ Peer::Named(_) => (None, ObjectCell::new(extra(py, named)?)),
    };
    STEPS.make_collected(py, || ConnectingStep {
        core: MaybeInstance::new(core),
        subject: ObjectCell::new(factory),
        given: ObjectCell::new(connection),
        extra,
        peer: Cell::new(peer),
        server: if server.is_none() { ObjectCell::default() } else { ObjectCell::new(server) },
        context: context.map_or_else(ObjectCell::default, ObjectCell::new),
        kind: Cell::new(Kind::Accept),
        ..ConnectingStep::default()
    })
}

/// The methods of a loop.
pub(crate) fn methods() -> [ffi::PyMethodDef; 2] {
    [
        method!(LoopCore, "_accept_connection", args accept_all, "_accept_connection($self, protocol_factory, sock, sslcontext=None, server=None, backlog=100, *timeouts_and_context)\n--\n\nTakes the connections that wait, each in a task, at most as many as the backlog."),
        method!(LoopCore, "_accept_connection2", args accept_one, "_accept_connection2($self, protocol_factory, conn, extra, sslcontext=None, server=None, *timeouts, context=None)\n--\n\nMakes the protocol and the transport of a connection."),
    ]
}
