//! How the application is called, in its context, and what becomes of exceptions.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::{AppState, SSLProtocol, handshake, names, reading, shutdown};
use crate::imports;
use crate::raw::{Owned, Raised, Result, This, method, vector};
use crate::raw::{call, context};

/// Runs what calls the application in the context in which the protocol was made, unless that is under way already.
#[inline]
pub(super) fn in_context<R>(
    py: Python<'_>,
    this: This<'_, SSLProtocol>,
    work: impl FnOnce() -> Result<R>,
) -> Result<R> {
    if this.in_context.get() || this.context.is_empty() {
        return work();
    }
    context::within(py, &this.context, || {
        this.in_context.set(true);
        let result = work();
        this.in_context.set(false);
        result
    })
}

/// Separates exceptions that a connection survives, or ends of, from those that end the program.
pub(super) fn caught<T>(py: Python<'_>, result: Result<T>) -> Result<std::result::Result<T, Owned>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(raised) => {
            let exception = raised.take_value(py);
            if exception.any(py).is_instance_of::<pyo3::exceptions::PyException>() {
                Ok(Err(exception))
            } else {
                Err(Raised::put_back(py, exception))
            }
        }
    }
}

/// Whether the loop is in debug mode.
pub(super) fn debug(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<bool> {
    let Some(owner) = this.owner.get() else { return Ok(false) };
    Ok(owner.any(py).call_method0(intern!(py, "get_debug"))?.is_truthy()?)
}

/// Logs `text % (protocol, *argument)`, in debug mode.
pub(super) fn log(py: Python<'_>, this: This<'_, SSLProtocol>, text: &str) -> Result<()> {
    let this = this.to_owned();
    names::get(py).logger.any(py).call_method1(intern!(py, "debug"), (text, this.any(py)))?;
    Ok(())
}

/// Calls a method of ours in the loop's next turn.
pub(super) fn soon(py: Python<'_>, this: This<'_, SSLProtocol>, name: &Bound<'_, PyString>) -> Result<()> {
    let Some(owner) = this.owner.get() else { return Ok(()) };
    let method = this.to_owned().any(py).getattr(name)?;
    owner.any(py).call_method1(intern!(py, "call_soon"), (method,))?;
    Ok(())
}

/// Calls a method of ours after so many seconds. Returns the timer's handle.
pub(super) fn later(
    py: Python<'_>,
    this: This<'_, SSLProtocol>,
    delay: Option<Owned>,
    name: &Bound<'_, PyString>,
) -> Result<Option<Owned>> {
    let (Some(owner), Some(delay)) = (this.owner.get(), delay) else { return Ok(None) };
    let method = this.to_owned().any(py).getattr(name)?;
    Ok(Some(owner.any(py).call_method1(intern!(py, "call_later"), (delay.any(py), method))?.into()))
}

/// Cancels a timer.
pub(super) fn cancel(py: Python<'_>, timer: Option<Owned>) -> Result<()> {
    timer.map_or(Ok(()), |timer| vector::method(py, &timer, intern!(py, "cancel"), &[]).map(drop))
}

/// Calls the application's `connection_lost` soon, in its context.
pub(super) fn lost_soon(
    py: Python<'_>,
    this: This<'_, SSLProtocol>,
    protocol: &Owned,
    exception: &Owned,
) -> Result<()> {
    let (Some(owner), Some(context)) = (this.owner.get(), this.context.get()) else { return Ok(()) };
    let callback = protocol.any(py).getattr(intern!(py, "connection_lost"))?.into();
    let imports = imports::get(py);
    let names = &imports.context_only;
    call::method_with_context(py, &imports.call_soon, &owner, &callback, Some(exception), &context, names).map(drop)
}

/// Tells the loop's exception handler.
pub(super) fn report(
    py: Python<'_>,
    this: This<'_, SSLProtocol>,
    message: &str,
    exception: &Owned,
    transport: Option<&Owned>,
) -> Result<()> {
    let Some(owner) = this.owner.get() else { return Ok(()) };
    let report = PyDict::new(py);
    report.set_item("message", message)?;
    report.set_item("exception", exception.any(py))?;
    report.set_item("transport", transport.map(|transport| transport.any(py)))?;
    report.set_item("protocol", this.to_owned().any(py))?;
    owner.any(py).call_method1(intern!(py, "call_exception_handler"), (report,))?;
    Ok(())
}

/// Ends the connection because of an exception, which is told to whoever must know.
#[cold]
pub(super) fn fatal_error(py: Python<'_>, this: This<'_, SSLProtocol>, exception: &Owned, message: &str) -> Result<()> {
    let lower = this.lower.get();
    if let Some(lower) = &lower {
        vector::method(py, lower, intern!(py, "_force_close"), &[exception])?;
    }
    if exception.any(py).is_instance_of::<pyo3::exceptions::PyOSError>() {
        if debug(py, this)? {
            let options = PyDict::new(py);
            options.set_item("exc_info", exception.any(py))?;
            let this = this.to_owned();
            let logger = names::get(py).logger.any(py);
            logger.call_method(intern!(py, "debug"), ("%r: %s", this.any(py), message), Some(&options))?;
        }
        return Ok(());
    }
    if exception.any(py).is_instance(&names::get(py).cancelled_error.any(py))? {
        return Ok(());
    }
    report(py, this, message, exception, lower.as_ref())
}

/// Tells the application that its peer sends no more, once.
pub(super) fn eof_received(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    if this.app_state.get() != AppState::ConMade {
        return Ok(());
    }
    this.app_state.set(AppState::Eof);
    let Some(protocol) = this.app_protocol.get() else { return Ok(()) };
    let result = in_context(py, this, || vector::method(py, &protocol, intern!(py, "eof_received"), &[]))
        .and_then(|keep_open| Ok(keep_open.any(py).is_truthy()?));
    match result {
        Ok(false) => Ok(()),
        Ok(true) => {
            let text = "returning true from eof_received() has no effect when using ssl";
            names::get(py).logger.any(py).call_method1(intern!(py, "warning"), (text,))?;
            Ok(())
        }
        Err(raised) => {
            let exception = raised.take_value(py);
            if imports::ends_the_program(py, &exception) {
                return Err(Raised::put_back(py, exception));
            }
            fatal_error(py, this, &exception, "Error calling eof_received()")
        }
    }
}

/// Tells whoever waits for the connection how the handshake ended, once.
pub(super) fn wake_waiter(py: Python<'_>, this: This<'_, SSLProtocol>, exception: Option<&Owned>) -> Result<()> {
    let Some(waiter) = this.waiter.take().filter(|waiter| !waiter.is_none()) else { return Ok(()) };
    if waiter.any(py).call_method0(intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    match exception {
        Some(exception) => vector::method(py, &waiter, intern!(py, "set_exception"), &[exception]),
        None => vector::method(py, &waiter, intern!(py, "set_result"), &[&Owned::none(py)]),
    }
    .map(drop)
}

/// The methods that the loop calls, as timers and soon.
pub(super) fn methods() -> [pyo3::ffi::PyMethodDef; 4] {
    [
        method!(SSLProtocol, "_check_handshake_timeout", handshake::check_timeout, "The handshake has taken too long."),
        method!(SSLProtocol, "_check_shutdown_timeout", shutdown::check_timeout, "The shutdown has taken too long."),
        method!(SSLProtocol, "_do_read", reading::read, "Reads what can be read."),
        method!(SSLProtocol, "_proceed", shutdown::proceed, "Goes on with what the state says."),
    ]
}
