//! A connection to an address that is a number, from beginning to end as one coroutine: what asyncio's `create_connection`
//! does where it is given a host, a port, and nothing else.
//!
//! It awaits what asyncio's awaits, so it goes through the same turns: a future that is done when the socket is connected,
//! and one that is done when the protocol was told. The kernel knows the socket from the first of them on: the transport takes
//! the registration over, which asyncio ends and begins anew.
//!
//! # Invariants
//!
//! * The registration has an owner until it ends: the watcher is in `watcher` here until the transport has it.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{ffi, intern};

use super::usual::{Known, is_usual, known, makes_sockets_as_written, resolves_as_written};
use super::{ConnectingStep, Kind, STEPS};
use crate::future;
use crate::imports;
use crate::loop_core::source::{Manner, Source, Watcher};
use crate::loop_core::{LoopCore, watch};
use crate::raw::class::MaybeInstance;
use crate::raw::guard::discard;
use crate::raw::{Args, ObjectCell, Owned, Result, This, method, vector};
use crate::sock::{attempt, plain};
use crate::transport::stream;
use crate::witness;

/// The address that a host and a port are, where they are numbers.
fn number(py: Python<'_>, args: Args<'_>) -> Option<SocketAddr> {
    let (host, port) = (args.get(1)?.any(py), args.get(2)?.to_owned());
    // A name that is no text in UTF-8 is none of an address.
    let host = host.cast_exact::<PyString>().ok()?;
    let number: IpAddr = host.to_str().map_err(|error| discard(py, error)).ok()?.parse().ok()?;
    let port = port.small_int().and_then(|port| u16::try_from(port).ok())?;
    (number.is_ipv4() || known(py).has_inet6).then_some(SocketAddr::new(number, port))
}

/// `_may_connect_natively(protocol_factory, host, port)`: asked at the call, for whose coroutine that returns. Where asyncio's
/// does it, that is asyncio's itself: with its code, without a frame of ours around it.
fn may_connect_natively(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<bool> {
    Ok(number(py, args).is_some() && is_usual(py, core) && known(py).creating.holds(py))
}

/// `_connecting(protocol_factory, host, port)`: asked at the first step, which may come much later, and is when asyncio's
/// coroutine would look at anything. Since the call debug mode may have begun, and what is done without may have been
/// replaced; the rest of what is asked only here is hardly ever replaced before.
fn connecting(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let known = known(py);
    let (Some(factory), Some(host), Some(port), Some(target)) =
        (args.get(0), args.get(1), args.get(2), number(py, args))
    else {
        return Ok(Owned::none(py));
    };
    if !is_usual(py, core)
        || !known.creating.holds(py)
        || !resolves_as_written(py)
        || !makes_sockets_as_written(py)
        || !plain::connects_as_written(py)?
    {
        return Ok(Owned::none(py));
    }
    let (host, port) = (host.any(py), port.any(py));
    let written = match target {
        SocketAddr::V4(_) => (host, port).into_pyobject(py)?,
        SocketAddr::V6(_) => (host, port, 0, 0).into_pyobject(py)?,
    };
    STEPS.make_collected(py, || ConnectingStep {
        core: MaybeInstance::new(core),
        subject: ObjectCell::new(factory.to_owned()),
        given: ObjectCell::new(written.into_any().into()),
        target: Cell::new(Some(target)),
        kind: Cell::new(Kind::Whole),
        ..ConnectingStep::default()
    })
}

/// Makes the socket, and begins to connect it. Whether that is done.
pub(super) fn begin_to_connect(py: Python<'_>, this: This<'_, ConnectingStep>) -> Result<bool> {
    let (Some(numbers), Some(written)) = (this.target.take(), this.given.get()) else { return Ok(true) };
    let known = known(py);
    let family = if numbers.is_ipv4() { &known.inet } else { &known.inet6 };
    let socket = plain::new(py, [family, &known.stream, &known.tcp, &Owned::none(py)])?;
    drop(this.socket.replace(Some(socket.clone())));
    vector::method(py, &socket, intern!(py, "setblocking"), &[&Owned::falsehood(py)])?;
    if plain::connect(py, &socket, &written, &numbers)?.is_some() {
        return Ok(true);
    }
    this.core.with(|core| wait(py, core, this, &socket)).unwrap_or(Ok(()))?;
    Ok(false)
}

/// Waits until the kernel says how it ended.
fn wait(py: Python<'_>, core: This<'_, LoopCore>, this: This<'_, ConnectingStep>, socket: &Owned) -> Result<()> {
    let awaited = future::make(py, core)?;
    let number = plain::number(py, socket)?;
    let fd = number.any(py).extract()?;
    if watch::is_native(core, fd) || stream::known::is_in_use(py, core, &number)? {
        vector::method(py, &core.to_owned(), intern!(py, "_ensure_fd_no_transport"), &[&number])?;
    }
    let watcher = Watcher::make(py, this, fd, Manner::Outcome)?;
    drop((this.watcher.replace(Some(watcher)), this.awaited.replace(Some(awaited))));
    let waits = this.watcher.with(|watcher| watcher.want_write(core, &this.to_owned(), true));
    waits.unwrap_or(Ok(()))
}

impl Source for ConnectingStep {
    fn step(py: Python<'_>, core: This<'_, LoopCore>, this: This<'_, Self>, watcher: This<'_, Watcher>) -> Result<()> {
        let (Some(awaited), Some(socket), Some(written)) = (this.awaited.get(), this.socket.get(), this.given.get())
        else {
            return Ok(());
        };
        let Some(awaited) = future::native(&awaited).filter(|future| watcher.takes_write() && future.is_pending())
        else {
            return Ok(());
        };
        let outcome = attempt::outcome(py, &socket, &written);
        if matches!(outcome, Ok(None)) {
            return Ok(());
        }
        let failure = outcome.err().map(|raised| raised.take_value(py));
        watcher.want_write(core, &this.to_owned(), false)?;
        match failure {
            None => future::set_result(py, awaited, Owned::none(py)),
            Some(exception) if imports::ends_the_program(py, &exception) => {
                Err(PyErr::from_value(exception.any(py).to_owned()).into())
            }
            Some(exception) => future::set_exception(py, awaited, &exception),
        }
    }

    fn code(py: Python<'_>, this: This<'_, Self>) -> u32 {
        let Known { creating_code, .. } = known(py);
        if creating_code.get() == 0
            && let Some(owner) = this.core.object().get()
        {
            creating_code.set(witness::method(py, &owner, intern!(py, "create_connection")));
        }
        creating_code.get()
    }
}

/// The methods of a loop.
pub(crate) fn methods() -> [ffi::PyMethodDef; 2] {
    [
        method!(LoopCore, "_may_connect_natively", args may_connect_natively, "_may_connect_natively($self, protocol_factory, host, port, /)\n--\n\nWhether the address is a number, which _connecting() may connect to."),
        method!(LoopCore, "_connecting", args connecting, "_connecting($self, protocol_factory, host, port, /)\n--\n\nThe coroutine of create_connection(protocol_factory, host, port); None where asyncio's has to do it."),
    ]
}
