//! What the exception handler and the log are told about a transport.

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::imports;
use crate::raw::{Owned, Raised, Result};

/// Whom a report is about.
pub(crate) struct Parties {
    /// The loop, whose exception handler is told.
    pub(crate) owner: Owned,
    /// The transport.
    pub(crate) transport: Owned,
    /// The protocol, if there is one.
    pub(crate) protocol: Option<Owned>,
}

/// Tells the loop's exception handler.
pub(crate) fn tell(py: Python<'_>, parties: &Parties, message: &str, exception: &Owned) -> Result<()> {
    let context = PyDict::new(py);
    context.set_item(intern!(py, "message"), message)?;
    context.set_item(intern!(py, "exception"), exception.any(py))?;
    context.set_item(intern!(py, "transport"), parties.transport.any(py))?;
    context.set_item(intern!(py, "protocol"), parties.protocol.as_ref().map(|protocol| protocol.any(py)))?;
    parties.owner.any(py).call_method1(intern!(py, "call_exception_handler"), (context,))?;
    Ok(())
}

/// The exception that is set, to be handled. Those that end the program stay set.
pub(crate) fn catch(py: Python<'_>, raised: Raised) -> Result<Owned> {
    let exception = raised.take_value(py);
    if imports::ends_the_program(py, &exception) { Err(Raised::put_back(py, exception)) } else { Ok(exception) }
}

/// A transport has failed: what asyncio's `_fatal_error` says. An error of the operating system is worth a word in debug mode
/// only, for peers come and go.
pub(crate) fn fatal(py: Python<'_>, parties: &Parties, message: &str, exception: &Owned) -> Result<()> {
    if !exception.any(py).is_instance_of::<PyOSError>() {
        return tell(py, parties, message, exception);
    }
    if parties.owner.any(py).call_method0(intern!(py, "get_debug"))?.is_truthy()? {
        debug(py, "%r: %s", (parties.transport.any(py), message), Some(exception))?;
    }
    Ok(())
}

/// Writes a line to asyncio's log, at the level of debugging.
pub(crate) fn debug<'py>(
    py: Python<'py>,
    format: &str,
    values: impl IntoPyObject<'py, Target = pyo3::types::PyTuple, Output = Bound<'py, pyo3::types::PyTuple>, Error = PyErr>,
    exception: Option<&Owned>,
) -> Result<()> {
    let values = values.into_pyobject(py)?;
    let args = std::iter::once(format.into_pyobject(py).map_err(PyErr::from)?.into_any()).chain(values.iter());
    let args = pyo3::types::PyTuple::new(py, args.collect::<Vec<_>>())?;
    let keywords = PyDict::new(py);
    if let Some(exception) = exception {
        keywords.set_item(intern!(py, "exc_info"), exception.any(py))?;
    }
    imports::get(py).logger.any(py).call_method(intern!(py, "debug"), args, Some(&keywords))?;
    Ok(())
}

/// Warns in asyncio's log that somebody keeps writing to a connection that is gone.
pub(crate) fn warn_of_lost_writes(py: Python<'_>) -> Result<()> {
    let logger = &imports::get(py).logger;
    logger.any(py).call_method1(intern!(py, "warning"), (intern!(py, "socket.send() raised exception."),))?;
    Ok(())
}

/// Warns of a transport that was forgotten rather than closed.
pub(crate) fn warn_of_unclosed(py: Python<'_>, transport: &Owned) -> Result<()> {
    let text = format!("unclosed transport {}", transport.any(py).repr()?.to_str()?);
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "source"), transport.any(py))?;
    let category = py.get_type::<pyo3::exceptions::PyResourceWarning>();
    imports::get(py).warn.any(py).call((text, category), Some(&keywords))?;
    Ok(())
}
