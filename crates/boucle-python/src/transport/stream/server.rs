//! The server that has accepted a connection: it knows how many it has.
//!
//! asyncio's own, in the version that has a set of weak references for it, is told natively while it is as it was written.

use pyo3::prelude::*;
use pyo3::types::PySet;

use crate::imports;
use crate::raw::instance::refer_to;
use crate::raw::{Owned, Result};

/// Tells a server that it has a connection more.
pub(super) fn attach(py: Python<'_>, server: &Owned, transport: &Owned) -> Result<()> {
    if let Some((connections, remove)) = connections(py, server)?
        && is_open(py, server)?
    {
        let reference = refer_to(transport, Some(&remove))?;
        connections.add(reference.any(py))?;
        return Ok(());
    }
    tell(py, server, transport, "_attach")
}

/// Tells a server that it has a connection less.
pub(super) fn detach(py: Python<'_>, server: &Owned, transport: &Owned) -> Result<()> {
    if let Some((connections, _)) = connections(py, server)?
        && is_open(py, server)?
    {
        let reference = refer_to(transport, None)?;
        connections.discard(reference.any(py))?;
        return Ok(());
    }
    // It may be the last, for which somebody waits.
    tell(py, server, transport, "_detach")
}

/// The set behind the one that a server of asyncio's keeps, and what takes a dead reference out of it; nothing where another
/// way leads to it.
fn connections<'py>(py: Python<'py>, server: &Owned) -> Result<Option<(Bound<'py, PySet>, Owned)>> {
    let constants = imports::get(py);
    if cfg!(not(Py_3_13)) || !constants.server.is_class_of(py, server) {
        return Ok(None);
    }
    let clients = constants.of_server.get(py, server, 1)?;
    let inside = &constants.of_weak_set;
    if !constants.weak_set.is_class_of(py, &clients) || !inside.is_up_to_date(py, &clients)? {
        return Ok(None);
    }
    let data = inside.data(py, &clients)?.any(py).to_owned().cast_into::<PySet>().map_err(PyErr::from)?;
    Ok(Some((data, inside.remove(py, &clients)?)))
}

/// Whether a server has not been closed.
fn is_open(py: Python<'_>, server: &Owned) -> Result<bool> {
    Ok(!imports::get(py).of_server.get(py, server, 0)?.is_none())
}

/// From 3.13 on servers know their transports; before, they count them.
fn tell(py: Python<'_>, server: &Owned, transport: &Owned, method: &str) -> Result<()> {
    if cfg!(Py_3_13) {
        server.any(py).call_method1(method, (transport.any(py),))?;
    } else {
        server.any(py).call_method0(method)?;
    }
    Ok(())
}
