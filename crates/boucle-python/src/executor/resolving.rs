//! Names are looked up by a function of ours in the place of `socket.getaddrinfo`, while that is as it was written: see
//! `_addresses.py`.
//!
//! It is put into the item of work only. Whoever sees the call before, as a replaced `submit` does, sees the original.

use pyo3::prelude::*;

use crate::raw::instance::Function;
use crate::raw::{GilOnce, Owned};
use crate::unchanged::Names;

/// The original, and what it is done without for.
struct Resolving {
    original: Function,
    instead: Owned,
    /// What the original calls.
    called: Names,
}

static RESOLVING: GilOnce<Resolving> = GilOnce::new();

/// Learns the function of ours. `socket` is the module of the original.
pub(crate) fn learn(socket: &Bound<'_, PyModule>, instead: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(original) = Function::of(socket.getattr("getaddrinfo")?.into()) else { return Ok(()) };
    let called = Names::of(socket, &["socket"], ["_socket", "_intenum_converter", "AddressFamily", "SocketKind"])?;
    RESOLVING.set(socket.py(), Resolving { original, instead: instead.clone().into(), called });
    Ok(())
}

/// The function that a thread is to call for this one.
#[inline]
pub(super) fn instead_of(py: Python<'_>, function: Owned) -> Owned {
    match RESOLVING.get_static(py) {
        Some(known)
            if function.is(known.original.object()) && known.original.is_unchanged() && known.called.hold(py) =>
        {
            known.instead.clone()
        }
        _ => function,
    }
}
