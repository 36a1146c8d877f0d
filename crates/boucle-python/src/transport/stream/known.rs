//! The transports that a loop knows, by their descriptors: asyncio's dictionary of weak references.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::StreamTransport;
use crate::imports;
use crate::loop_core::LoopCore;
use crate::raw::instance::bare;
use crate::raw::{Owned, Result, This, vector};

/// Enters a transport: as `transports[fd] = transport` does, without its Python code.
pub(super) fn remember(py: Python<'_>, core: This<'_, LoopCore>, fd: &Owned, transport: &Owned) -> Result<()> {
    let constants = imports::get(py);
    let transports = transports(py, core)?;
    let dictionary = &constants.weak_dictionary;
    if !dictionary.is_up_to_date(py, &transports)? {
        transports.any(py).set_item(fd.any(py), transport.any(py))?;
        return Ok(());
    }
    let args = PyTuple::new(py, [transport.any(py), dictionary.remove(py, &transports)?.any(py)])?;
    let reference = bare(&constants.reference, &constants.keyed_reference, &args)?;
    constants.reference_key.set(py, &reference, fd)?;
    dictionary.data(py, &transports)?.any(py).set_item(fd.any(py), reference.any(py))?;
    Ok(())
}

/// Whether a transport of this descriptor is known, and not closed yet: asyncio's method says which.
pub(crate) fn is_in_use(py: Python<'_>, core: This<'_, LoopCore>, fd: &Owned) -> Result<bool> {
    let data = imports::get(py).weak_dictionary.data(py, &transports(py, core)?)?;
    let data = data.any(py);
    let Some(reference) = data.cast::<PyDict>().map_err(PyErr::from)?.get_item(fd.any(py))? else { return Ok(false) };
    let known = vector::call(py, &reference.into(), &[])?;
    Ok(This::<StreamTransport>::exactly(&known).is_none_or(|known| !known.closing.get()))
}

fn transports(py: Python<'_>, core: This<'_, LoopCore>) -> Result<Owned> {
    match core.transports() {
        Some(transports) => Ok(transports),
        None => Ok(core.to_owned().any(py).getattr(intern!(py, "_transports"))?.into()),
    }
}
