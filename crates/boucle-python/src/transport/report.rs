//! What the exception handler and the log are told about a transport.

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

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
    values: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
    exception: Option<&Owned>,
) -> Result<()> {
    log(py, intern!(py, "debug"), format, &values.into_pyobject(py)?, exception)
}

/// Writes a line to asyncio's log, at the level of news.
pub(crate) fn info(py: Python<'_>, format: &str, transport: &Owned) -> Result<()> {
    log(py, intern!(py, "info"), format, &PyTuple::new(py, [transport.any(py)])?, None)
}

/// Warns in asyncio's log.
pub(crate) fn warn(py: Python<'_>, text: &str) -> Result<()> {
    log(py, intern!(py, "warning"), text, &PyTuple::empty(py), None)
}

fn log(
    py: Python<'_>,
    level: &Bound<'_, PyString>,
    format: &str,
    values: &Bound<'_, PyTuple>,
    exception: Option<&Owned>,
) -> Result<()> {
    let logger = py.import("asyncio.log")?.getattr(intern!(py, "logger"))?;
    let args = std::iter::once(PyString::new(py, format).into_any()).chain(values.iter());
    let args = PyTuple::new(py, args.collect::<Vec<_>>())?;
    let keywords = PyDict::new(py);
    if let Some(exception) = exception {
        keywords.set_item(intern!(py, "exc_info"), exception.any(py))?;
    }
    logger.call_method(level, args, Some(&keywords))?;
    Ok(())
}

/// Warns of a transport that was forgotten rather than closed.
pub(crate) fn warn_of_unclosed(py: Python<'_>, transport: &Owned) -> Result<()> {
    let text = format!("unclosed transport {}", transport.any(py).repr()?.to_str()?);
    let keywords = PyDict::new(py);
    keywords.set_item(intern!(py, "source"), transport.any(py))?;
    let category = py.get_type::<pyo3::exceptions::PyResourceWarning>();
    py.import("warnings")?.call_method(intern!(py, "warn"), (text, category), Some(&keywords))?;
    Ok(())
}
