//! How a connection ends: closed once everything is sent, aborted, failed, or forgotten.

use pyo3::intern;
use pyo3::prelude::*;

use super::super::report;
use super::server::detach;
use super::{StreamTransport, parties, reading, soon, writing};
use crate::imports;
use crate::raw::args::Arg;
use crate::raw::guard::afterwards;
use crate::raw::{Args, Owned, Raised, Result, This, vector};
use crate::sock::plain;
use crate::versions;

/// `close()`: no more is read; what was written is sent, and then the connection is lost.
pub(super) fn close(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    if this.closing.get() {
        return Ok(());
    }
    writing::send_put_off(py, this)?;
    // An error of that sending has closed it already.
    if this.closing.replace(true) {
        return Ok(());
    }
    reading::want(this, false)?;
    if this.outgoing.borrow().is_empty() {
        this.conn_lost.set(this.conn_lost.get() + 1);
        schedule_loss(py, this, &Owned::none(py))?;
    }
    Ok(())
}

/// `abort()`: what the kernel has not taken is dropped.
pub(super) fn abort(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    force_close(py, this, &Owned::none(py))
}

/// `_force_close(exc)`.
pub(super) fn force_close_with(py: Python<'_>, this: This<'_, StreamTransport>, args: Args<'_>) -> Result<()> {
    let exception = args.get(0).map_or_else(|| Owned::none(py), Arg::to_owned);
    force_close(py, this, &exception)
}

fn force_close(py: Python<'_>, this: This<'_, StreamTransport>, exception: &Owned) -> Result<()> {
    // What was written before has been sent, on asyncio.
    writing::send_put_off(py, this)?;
    if this.conn_lost.get() > 0 {
        return Ok(());
    }
    writing::drop_unsent(this);
    if !this.closing.replace(true) {
        reading::want(this, false)?;
    }
    this.conn_lost.set(this.conn_lost.get() + 1);
    schedule_loss(py, this, exception)
}

/// Something went wrong: tells those who want to know, and ends the connection.
#[cold]
pub(super) fn fail(py: Python<'_>, this: This<'_, StreamTransport>, exception: &Owned, message: &str) -> Result<()> {
    let Some(parties) = parties(this) else { return Ok(()) };
    report::fatal(py, &parties, message, exception)?;
    force_close(py, this, exception)
}

/// `_fatal_error(exc, message='Fatal error on transport')`.
pub(super) fn fatal_error(py: Python<'_>, this: This<'_, StreamTransport>, args: Args<'_>) -> Result<()> {
    let [exception, message] = args.named(py, "_fatal_error", ["exc", "message"])?;
    let exception = exception.unwrap_or_else(|| Owned::none(py));
    let message = message.map(|message| message.any(py).extract::<String>()).transpose()?;
    let message = message.as_deref().unwrap_or("Fatal error on transport");
    fail(py, this, &exception, message)
}

/// Ends the registration with the kernel.
fn end_watching(this: This<'_, StreamTransport>) {
    this.core.with(|core| this.watcher.with(|watcher| watcher.end(core)));
}

fn schedule_loss(py: Python<'_>, this: This<'_, StreamTransport>, exception: &Owned) -> Result<()> {
    end_watching(this);
    // A process that has inherited the connection by a fork closes its descriptor, and that is all.
    if this.core.with(|core| core.is_inherited()) == Some(true) {
        return let_go(py, this);
    }
    tell_borrower(py, this)?;
    let call: Owned = this.to_owned().any(py).getattr(intern!(py, "_call_connection_lost"))?.into();
    this.core.with(|core| soon(py, core, this, &call, &[exception])).unwrap_or(Ok(()))
}

/// Whoever has borrowed the descriptor must let go of it before it is closed.
pub(super) fn tell_borrower(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    match this.empty_waiter.get() {
        Some(waiter) if this.lent.replace(false) => fail_waiter(py, &waiter),
        _ => Ok(()),
    }
}

fn fail_waiter(py: Python<'_>, waiter: &Owned) -> Result<()> {
    if !waiter.any(py).call_method0(intern!(py, "done"))?.is_truthy()? {
        let error = pyo3::exceptions::PyConnectionError::new_err("Connection is closed by peer");
        let error = crate::raw::guard::value_of(py, error);
        waiter.any(py).call_method1(intern!(py, "set_exception"), (error.any(py),))?;
    }
    Ok(())
}

/// `_call_connection_lost(exc)`.
pub(super) fn call_connection_lost(py: Python<'_>, this: This<'_, StreamTransport>, args: Args<'_>) -> Result<()> {
    let exception = args.get(0).map(Arg::to_owned);
    lose(py, this, exception.as_ref())
}

/// Tells the protocol that the connection is lost, and lets go of everything.
pub(super) fn lose(py: Python<'_>, this: This<'_, StreamTransport>, exception: Option<&Owned>) -> Result<()> {
    let none = Owned::none(py);
    let protocol = this.protocol.get().filter(|_| this.protocol_connected.get());
    let told = match &protocol {
        Some(protocol) => {
            let exception = exception.unwrap_or(&none);
            vector::method(py, protocol, &imports::get(py).connection_lost, &[exception]).map(drop)
        }
        None => Ok(()),
    };
    // What it has written, where it still can, leaves as far as the kernel takes it. That this fails ends nothing anew.
    this.conn_lost.set(this.conn_lost.get().max(1));
    let sent = afterwards(py, told, || writing::send_put_off(py, this));
    let result = afterwards(py, sent, || let_go(py, this));
    if result.is_ok()
        && let Some(waiter) = this.empty_waiter.get()
    {
        fail_waiter(py, &waiter)?;
    }
    result
}

fn let_go(py: Python<'_>, this: This<'_, StreamTransport>) -> Result<()> {
    // Whatever is written from now on is lost: the descriptor may be another connection's soon.
    this.conn_lost.set(this.conn_lost.get().max(1));
    writing::drop_unsent(this);
    end_watching(this);
    let closed = this.socket.take().map(|sock| plain::close(py, &sock));
    let server = this.server.take();
    let content = (this.protocol.take(), this.core.replace(None), this.watcher.replace(None));
    let detached = server.map(|server| detach(py, &server, &this.to_owned()));
    drop(content);
    closed.unwrap_or(Ok(()))?;
    detached.unwrap_or(Ok(()))
}

/// The last word of a transport that was forgotten: warns, and closes the socket.
pub(super) fn finalize(py: Python<'_>, this: This<'_, StreamTransport>) {
    let warned = report::warn_of_unclosed(py, &this.to_owned());
    unraisable(py, this, warned);
    if !versions::get(py).forgotten_detaches {
        drop(this.server.take());
    }
    let closed = let_go(py, this);
    unraisable(py, this, closed);
}

fn unraisable(py: Python<'_>, this: This<'_, StreamTransport>, result: Result<()>) {
    if result == Err(Raised) {
        Raised.report_unraisable(py, &this.to_owned());
    }
}
