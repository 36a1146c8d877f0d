//! The handshake: from the connection below to the application's `connection_made`.

use pyo3::intern;
use pyo3::prelude::*;

use super::reading::Progress;
use super::{AppState, SSLProtocol, State, callbacks, lower, names, reading, transport, writing};
use crate::raw::{Owned, Raised, Result, This, vector};

/// Begins.
pub(super) fn start(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    if callbacks::debug(py, this)? {
        callbacks::log(py, this, "%r starts SSL handshake")?;
        this.handshake_start.set(Some(time(py, this)?));
    }
    this.set_state(State::DoHandshake)?;
    let timer = callbacks::later(py, this, this.handshake_timeout.get(), intern!(py, "_check_handshake_timeout"))?;
    drop(this.handshake_timer.replace(timer));
    proceed(py, this)
}

fn time(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<f64> {
    let Some(owner) = this.owner.get() else { return Ok(0.0) };
    Ok(owner.any(py).call_method0(intern!(py, "time"))?.extract()?)
}

/// The timer's callback.
pub(super) fn check_timeout(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    if this.state.get() != State::DoHandshake {
        return Ok(());
    }
    let seconds = this.handshake_timeout.get().unwrap_or_else(|| Owned::none(py));
    // asyncio shows the default as it stands in its constants: 60.0.
    let seconds = seconds.any(py).str()?;
    let text = format!("SSL handshake is taking longer than {seconds} seconds: aborting the connection");
    callbacks::fatal_error(py, this, &lower::aborted(py, &text)?, "Fatal error on transport")
}

/// Goes on as far as what has come allows.
pub(super) fn proceed(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    let Some(sslobj) = this.sslobj.get() else { return Ok(()) };
    if this.busy.get() {
        return callbacks::soon(py, this, intern!(py, "_proceed"));
    }
    let step = || vector::method(py, &sslobj, intern!(py, "do_handshake"), &[]);
    match reading::enter(py, this, step) {
        Ok(Progress::Done(_)) => complete(py, this, None),
        Ok(Progress::Again) => writing::process_outgoing(py, this),
        Err(raised) => {
            let exception = raised.take_value(py);
            if exception.any(py).is_instance(&names::ssl(py).error.any(py))? {
                complete(py, this, Some(exception))
            } else {
                Err(Raised::put_back(py, exception))
            }
        }
    }
}

/// It has ended, well or with an exception.
pub(super) fn complete(py: Python<'_>, this: This<'_, SSLProtocol>, exception: Option<Owned>) -> Result<()> {
    callbacks::cancel(py, this.handshake_timer.take())?;
    let ended = match exception {
        Some(exception) => Err(exception),
        None => callbacks::caught(py, learn(py, this))?,
    };
    if let Err(exception) = ended {
        return fail(py, this, &exception);
    }
    if let Some(start) = this.handshake_start.take() {
        let milliseconds = (time(py, this)? - start) * 1e3;
        callbacks::log(py, this, &format!("%r: SSL handshake took {milliseconds:.1} ms"))?;
    }
    if this.app_state.get() == AppState::Init {
        this.app_state.set(AppState::ConMade);
        let transport = transport::of(py, this)?;
        if let Some(protocol) = this.app_protocol.get() {
            let made = intern!(py, "connection_made");
            callbacks::in_context(py, this, || vector::method(py, &protocol, made, &[&transport]))?;
        }
    }
    callbacks::wake_waiter(py, this, None)?;
    reading::read(py, this)
}

/// Notes what is known of the peer from now on.
fn learn(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    this.set_state(State::Wrapped)?;
    let (Some(sslobj), Some(extra)) = (this.sslobj.get(), this.extra.get()) else { return Ok(()) };
    let (sslobj, extra) = (sslobj.any(py), extra.any(py));
    extra.set_item(intern!(py, "peercert"), sslobj.call_method0(intern!(py, "getpeercert"))?)?;
    extra.set_item(intern!(py, "cipher"), sslobj.call_method0(intern!(py, "cipher"))?)?;
    extra.set_item(intern!(py, "compression"), sslobj.call_method0(intern!(py, "compression"))?)?;
    extra.set_item(intern!(py, "ssl_object"), sslobj)?;
    Ok(())
}

fn fail(py: Python<'_>, this: This<'_, SSLProtocol>, exception: &Owned) -> Result<()> {
    // What there is to send tells the peer why.
    writing::process_outgoing(py, this)?;
    this.set_state(State::Unwrapped)?;
    let of_certificate = exception.any(py).is_instance(&names::ssl(py).certificate_error.any(py))?;
    let message =
        if of_certificate { "SSL handshake failed on verifying the certificate" } else { "SSL handshake failed" };
    callbacks::fatal_error(py, this, exception, message)?;
    callbacks::wake_waiter(py, this, Some(exception))
}
