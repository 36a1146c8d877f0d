//! What Python reads of a protocol: the names are those of asyncio's.

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::{SSLProtocol, construct, names, shutdown, transport};
use crate::future::attributes::only_argument;
use crate::raw::args::Arg;
use crate::raw::method::property;
use crate::raw::{Args, Owned, Result, This, getter, method, vector};

/// The arguments of `get_extra_info(name, default=None)`.
pub(super) fn name_and_default(py: Python<'_>, args: Args<'_>) -> Result<(Owned, Owned)> {
    let (mut name, mut default) = (args.get(0).map(Arg::to_owned), args.get(1).map(Arg::to_owned));
    for (key, value) in args.keywords() {
        if key.is(&intern!(py, "default").clone().into_any().into()) {
            default = Some(value.to_owned());
        } else if key.is(&intern!(py, "name").clone().into_any().into()) {
            name = Some(value.to_owned());
        } else {
            return Err(PyTypeError::new_err("get_extra_info() takes a name and a default").into());
        }
    }
    match name {
        Some(name) => Ok((name, default.unwrap_or_else(|| Owned::none(py)))),
        None => Err(PyTypeError::new_err("get_extra_info() missing required argument: 'name'").into()),
    }
}

/// What TLS knows under a name, or else what the transport below knows.
pub(super) fn extra_info(py: Python<'_>, this: This<'_, SSLProtocol>, name: &Owned, default: &Owned) -> Result<Owned> {
    if let Some(extra) = this.extra.get()
        && extra.any(py).contains(name.any(py))?
    {
        return Ok(extra.any(py).get_item(name.any(py))?.into());
    }
    match this.lower.get() {
        Some(lower) => vector::method(py, &lower, intern!(py, "get_extra_info"), &[name, default]),
        None => Ok(default.clone()),
    }
}

fn get_extra_info(py: Python<'_>, this: This<'_, SSLProtocol>, args: Args<'_>) -> Result<Owned> {
    let (name, default) = name_and_default(py, args)?;
    extra_info(py, this, &name, &default)
}

fn set_app_protocol(py: Python<'_>, this: This<'_, SSLProtocol>, args: Args<'_>) -> Result<()> {
    construct::set_app_protocol(py, this, only_argument(args, "_set_app_protocol")?)
}

fn get_app_transport(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<Owned> {
    transport::of(py, this)
}

fn abort(py: Python<'_>, this: This<'_, SSLProtocol>, args: Args<'_>) -> Result<()> {
    shutdown::abort(py, this, args.get(0).map(Arg::to_owned))
}

fn start_shutdown(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<()> {
    shutdown::close(py, this)
}

pub(super) fn methods() -> [ffi::PyMethodDef; 5] {
    [
        method!(SSLProtocol, "_get_extra_info", args get_extra_info, "What is known of the connection under this name."),
        method!(SSLProtocol, "_set_app_protocol", args set_app_protocol, "Changes the application's protocol."),
        method!(SSLProtocol, "_get_app_transport", get_app_transport, "The application's transport."),
        method!(SSLProtocol, "_abort", args abort, "Closes at once."),
        method!(SSLProtocol, "_start_shutdown", start_shutdown, "Closes."),
    ]
}

/// A member of one of asyncio's enumerations of states; its name where there is none.
fn member(py: Python<'_>, states: Option<&Owned>, name: &str) -> Result<Owned> {
    match states {
        Some(states) => Ok(states.any(py).getattr(name)?.into()),
        None => Ok(PyString::new(py, name).into_any().into()),
    }
}

fn state(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<Owned> {
    member(py, names::get(py).states.as_ref(), this.state.get().name())
}

fn app_state(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<Owned> {
    member(py, names::get(py).app_states.as_ref(), this.app_state.get().name())
}

/// A copy of the backlog.
fn write_backlog(py: Python<'_>, this: This<'_, SSLProtocol>) -> Result<Owned> {
    let backlog: Vec<Owned> = this.backlog.borrow().iter().cloned().collect();
    Ok(PyList::new(py, backlog.iter().map(|piece| piece.any(py)))?.into_any().into())
}

/// Properties that read one cell each: `name: cell`.
macro_rules! cells {
    ($($name:literal: $cell:ident),*) => {
        [$(property(
            $crate::raw::method::c_str!($name),
            getter!(SSLProtocol, $name, |_, this: This<'_, SSLProtocol>| Ok(this.$cell.get())),
            None,
        )),*]
    };
}

pub(super) fn properties() -> Vec<ffi::PyGetSetDef> {
    let mut all = vec![
        property(
            c"__class__",
            getter!(SSLProtocol, "__class__", |py, _this| Ok(names::get(py).protocol.clone())),
            None,
        ),
        property(c"_state", getter!(SSLProtocol, "_state", state), None),
        property(c"_app_state", getter!(SSLProtocol, "_app_state", app_state), None),
        property(c"_write_backlog", getter!(SSLProtocol, "_write_backlog", write_backlog), None),
    ];
    all.extend(cells!(
        "_loop": owner,
        "_app_protocol": app_protocol,
        "_app_transport": app_transport,
        "_transport": lower,
        "_waiter": waiter,
        "_sslcontext": sslcontext,
        "_server_hostname": server_hostname,
        "_extra": extra,
        "_incoming": incoming,
        "_outgoing": outgoing,
        "_sslobj": sslobj,
        "_ssl_handshake_timeout": handshake_timeout,
        "_ssl_shutdown_timeout": shutdown_timeout,
        "_handshake_timeout_handle": handshake_timer,
        "_shutdown_timeout_handle": shutdown_timer,
        "_server_side": server_side,
        "_app_protocol_is_buffer": app_is_buffered,
        "_app_reading_paused": app_reading_paused,
        "_app_writing_paused": app_writing_paused,
        "_ssl_reading_paused": ssl_reading_paused,
        "_ssl_writing_paused": ssl_writing_paused,
        "_eof_received": eof_received,
        "_write_buffer_size": backlog_size,
        "_conn_lost": conn_lost
    ));
    all
}
