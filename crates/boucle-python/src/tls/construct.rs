//! What a protocol is made of: its arguments, checked as asyncio checks them, two BIOs and an `SSLObject`.

use std::ffi::c_void;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString, PyTuple};

use super::names::{self, Ssl};
use super::{AppState, SSLProtocol, State, flow, transport};
use crate::raw::context::Context;
use crate::raw::{ObjectCell, Owned, Result, This, init};

/// The slot of `__init__`.
pub(super) fn slot() -> *mut c_void {
    init!(SSLProtocol, initialise)
}

/// The names of the arguments, in their order. The first four are needed.
const ARGUMENTS: [&str; 9] = [
    "loop",
    "app_protocol",
    "sslcontext",
    "waiter",
    "server_side",
    "server_hostname",
    "call_connection_made",
    "ssl_handshake_timeout",
    "ssl_shutdown_timeout",
];
const NEEDED: usize = 4;
/// Seconds, as asyncio's constants.
const HANDSHAKE_TIMEOUT: f64 = 60.0;
const SHUTDOWN_TIMEOUT: f64 = 30.0;

type Arguments<'py> = [Option<Bound<'py, PyAny>>; ARGUMENTS.len()];

fn sorted<'py>(args: &Bound<'py, PyTuple>, names: Option<&Bound<'py, PyDict>>) -> PyResult<Arguments<'py>> {
    let mut sorted = Arguments::default();
    if args.len() > sorted.len() {
        return Err(PyTypeError::new_err(format!("SSLProtocol() takes at most 9 arguments ({} given)", args.len())));
    }
    for (place, argument) in sorted.iter_mut().zip(args) {
        *place = Some(argument);
    }
    for (name, value) in names.into_iter().flatten() {
        let name = name.extract::<String>()?;
        match ARGUMENTS.iter().position(|known| *known == name) {
            Some(index) if sorted[index].is_none() => sorted[index] = Some(value),
            Some(_) => {
                return Err(PyTypeError::new_err(format!("SSLProtocol() got multiple values for argument '{name}'")));
            }
            None => {
                let text = format!("SSLProtocol() got an unexpected keyword argument '{name}'");
                return Err(PyTypeError::new_err(text));
            }
        }
    }
    if let Some(missing) = sorted[..NEEDED].iter().position(Option::is_none) {
        let text = format!("SSLProtocol() missing required argument: '{}'", ARGUMENTS[missing]);
        return Err(PyTypeError::new_err(text));
    }
    Ok(sorted)
}

fn initialise(
    py: Python<'_>,
    this: This<'_, SSLProtocol>,
    args: &Bound<'_, PyTuple>,
    names: Option<&Bound<'_, PyDict>>,
) -> Result<()> {
    let Some(ssl) = &names::get(py).ssl else {
        return Err(PyRuntimeError::new_err("stdlib ssl module not available").into());
    };
    if !this.sslobj.is_empty() {
        return Err(PyRuntimeError::new_err("an SSLProtocol is initialised once").into());
    }
    let [owner, app_protocol, sslcontext, waiter, server_side, hostname, made, handshake, shutdown] =
        sorted(args, names)?;
    let handshake = timeout(py, handshake, "ssl_handshake_timeout", HANDSHAKE_TIMEOUT)?;
    let shutdown = timeout(py, shutdown, "ssl_shutdown_timeout", SHUTDOWN_TIMEOUT)?;
    let server_side = is_true(server_side.as_ref(), false)?;
    let hostname = match hostname {
        Some(hostname) if !server_side && hostname.is_truthy()? => Some(hostname),
        _ => None,
    };
    let sslcontext = match sslcontext {
        Some(context) if context.is_truthy()? => context,
        _ => default_context(py, ssl, server_side, hostname.is_some())?,
    };
    let extra = PyDict::new(py);
    extra.set_item("sslcontext", &sslcontext)?;

    set(&this.context, Some(Context::copy_current(py)?.into_object(py)?));
    set(&this.extra, Some(extra.into_any().into()));
    set(&this.server_hostname, hostname.clone().map(Owned::from));
    set(&this.sslcontext, Some(sslcontext.clone().into()));
    set(&this.handshake_timeout, Some(handshake));
    set(&this.shutdown_timeout, Some(shutdown));
    set(&this.waiter, waiter.map(Owned::from));
    set(&this.owner, owner.map(Owned::from));
    this.server_side.set(server_side);
    this.state.set(State::Unwrapped);
    this.app_state.set(if is_true(made.as_ref(), true)? { AppState::Init } else { AppState::ConMade });
    this.incoming_marks.set(None, None, flow::READ_KIB)?;
    this.outgoing_marks.set(None, None, flow::WRITE_KIB)?;
    set_app_protocol(py, this, app_protocol.map_or_else(|| Owned::none(py), Owned::from))?;
    wrap(py, this, ssl, &sslcontext, hostname)?;
    transport::of(py, this).map(drop)
}

fn set(cell: &ObjectCell, content: Option<Owned>) {
    drop(cell.replace(content));
}

fn is_true(value: Option<&Bound<'_, PyAny>>, default: bool) -> PyResult<bool> {
    value.map_or(Ok(default), PyAnyMethods::is_truthy)
}

/// A timeout in seconds: positive, whatever number it is.
fn timeout(py: Python<'_>, given: Option<Bound<'_, PyAny>>, name: &str, default: f64) -> PyResult<Owned> {
    let Some(given) = given.filter(|given| !given.is_none()) else {
        return Ok(pyo3::types::PyFloat::new(py, default).into_any().into());
    };
    if given.le(0)? {
        let text = format!("{name} should be a positive number, got {}", given.str()?.to_cow()?);
        return Err(PyValueError::new_err(text));
    }
    Ok(given.into())
}

/// The context of a client that gave `ssl=True`.
fn default_context<'py>(
    py: Python<'py>,
    ssl: &Ssl,
    server_side: bool,
    has_hostname: bool,
) -> PyResult<Bound<'py, PyAny>> {
    if server_side {
        return Err(PyValueError::new_err("Server side SSL needs a valid SSLContext"));
    }
    let context = ssl.module.any(py).call_method0(intern!(py, "create_default_context"))?;
    if !has_hostname {
        context.setattr("check_hostname", false)?;
    }
    Ok(context)
}

/// Makes the BIOs and the `SSLObject`, and looks up what is called all the time.
fn wrap(
    py: Python<'_>,
    this: This<'_, SSLProtocol>,
    ssl: &Ssl,
    context: &Bound<'_, PyAny>,
    hostname: Option<Bound<'_, PyAny>>,
) -> Result<()> {
    let (incoming, outgoing) = (ssl.memory_bio.any(py).call0()?, ssl.memory_bio.any(py).call0()?);
    let options = PyDict::new(py);
    options.set_item("server_side", PyBool::new(py, this.server_side.get()))?;
    options.set_item("server_hostname", hostname)?;
    let sslobj = context.call_method(intern!(py, "wrap_bio"), (&incoming, &outgoing), Some(&options))?;
    let (read, write) = (intern!(py, "read"), intern!(py, "write"));
    let (hot, plain) = hot_object(py, ssl, &sslobj)?;
    this.settled.set(this.server_side.get() || !plain);
    set(&this.read, Some(hot.getattr(read)?.into()));
    set(&this.write, Some(hot.getattr(write)?.into()));
    set(&this.feed, Some(incoming.getattr(write)?.into()));
    set(&this.drain, Some(outgoing.getattr(read)?.into()));
    set(&this.incoming, Some(incoming.into()));
    set(&this.outgoing, Some(outgoing.into()));
    set(&this.sslobj, Some(sslobj.into()));
    Ok(())
}

/// What `read` and `write` are called on: the object of C behind an `SSLObject`, whose methods of these names only hand
/// the call on. A class of the user's own, or one whose methods were replaced, is called itself. Also whether it is plain.
fn hot_object<'py>(py: Python<'py>, ssl: &Ssl, sslobj: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, bool)> {
    let class = ssl.object.any(py);
    let plain = sslobj.get_type().is(class)
        && class.getattr(intern!(py, "read"))?.is(ssl.object_read.any(py))
        && class.getattr(intern!(py, "write"))?.is(ssl.object_write.any(py));
    let object = if plain { sslobj.getattr(intern!(py, "_sslobj"))? } else { sslobj.clone() };
    Ok((object, plain))
}

/// Changes the application's protocol.
pub(super) fn set_app_protocol(py: Python<'_>, this: This<'_, SSLProtocol>, protocol: Owned) -> Result<()> {
    let buffered = {
        let protocol = protocol.any(py);
        let name: &Bound<'_, PyString> = intern!(py, "get_buffer");
        protocol.hasattr(name)? && protocol.is_instance(&names::get(py).buffered_protocol.any(py))?
    };
    this.app_is_buffered.set(buffered);
    set(&this.app_protocol, Some(protocol));
    Ok(())
}
