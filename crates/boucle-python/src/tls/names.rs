//! What TLS uses of `ssl` and of asyncio. Looked up once, when the module is imported.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::raw::buffer::CAPACITY;
use crate::raw::getter::Getter;
use crate::raw::guard::discard;
use crate::raw::{GilOnce, Owned};

/// Objects of asyncio's that there are with or without `ssl`.
pub(super) struct Names {
    /// What `ssl` gives; nothing where Python was built without it.
    pub(super) ssl: Option<Ssl>,
    /// `asyncio.BufferedProtocol`.
    pub(super) buffered_protocol: Owned,
    /// What our protocol says it is: asyncio's, and always a `BufferedProtocol`, which that of 3.10 is not.
    pub(super) protocol: Owned,
    /// What our transport says it is.
    pub(super) transport: Owned,
    /// asyncio's logger.
    pub(super) logger: Owned,
    /// `asyncio.CancelledError`.
    pub(super) cancelled_error: Owned,
    /// `asyncio.TimeoutError`.
    pub(super) timeout_error: Owned,
    /// The mode of `loop.sendfile` that goes through `write`.
    pub(super) sendfile_fallback: Owned,
    /// The states of asyncio's protocol by name; nothing on 3.10.
    pub(super) states: Option<Owned>,
    /// The same of the application's protocol.
    pub(super) app_states: Option<Owned>,
    /// How much a buffer of the pool has room for.
    pub(super) capacity: Owned,
    /// `warnings.warn`.
    pub(super) warn: Owned,
}

/// Objects of `ssl`.
pub(super) struct Ssl {
    pub(super) want_read: Owned,
    pub(super) syscall_error: Owned,
    pub(super) zero_return: Owned,
    pub(super) error: Owned,
    pub(super) certificate_error: Owned,
    pub(super) memory_bio: Owned,
    /// `MemoryBIO.pending`: how many bytes it holds.
    pub(super) pending: Getter,
    /// The module: programs replace `create_default_context` in it.
    pub(super) module: Owned,
    /// `SSLObject`, with its methods as they were found.
    pub(super) object: Owned,
    pub(super) object_read: Owned,
    pub(super) object_write: Owned,
}

static NAMES: GilOnce<Names> = GilOnce::new();

/// Looks everything up.
pub(super) fn initialise(py: Python<'_>) -> PyResult<()> {
    let asyncio = py.import("asyncio")?;
    let sslproto = py.import("asyncio.sslproto")?;
    let buffered = asyncio.getattr("BufferedProtocol")?;
    let theirs = sslproto.getattr("SSLProtocol")?;
    let names = Names {
        ssl: match py.import("ssl") {
            Ok(ssl) => Some(of_ssl(&ssl)?),
            Err(error) => {
                discard(py, error);
                None
            }
        },
        protocol: protocol_class(&theirs, &buffered)?.into(),
        buffered_protocol: buffered.into(),
        transport: sslproto.getattr("_SSLProtocolTransport")?.into(),
        logger: py.import("asyncio.log")?.getattr("logger")?.into(),
        cancelled_error: asyncio.getattr("CancelledError")?.into(),
        timeout_error: asyncio.getattr("TimeoutError")?.into(),
        sendfile_fallback: py.import("asyncio.constants")?.getattr("_SendfileMode")?.getattr("FALLBACK")?.into(),
        states: optional(&sslproto, "SSLProtocolState")?,
        app_states: optional(&sslproto, "AppProtocolState")?,
        capacity: CAPACITY.into_pyobject(py)?.into_any().into(),
        warn: py.import("warnings")?.getattr("warn")?.into(),
    };
    NAMES.set(py, names);
    Ok(())
}

fn of_ssl(ssl: &Bound<'_, PyModule>) -> PyResult<Ssl> {
    let object = ssl.getattr("SSLObject")?;
    let memory_bio = ssl.getattr("MemoryBIO")?;
    Ok(Ssl {
        want_read: ssl.getattr("SSLWantReadError")?.into(),
        syscall_error: ssl.getattr("SSLSyscallError")?.into(),
        zero_return: ssl.getattr("SSLZeroReturnError")?.into(),
        error: ssl.getattr("SSLError")?.into(),
        certificate_error: ssl.getattr("CertificateError")?.into(),
        pending: Getter::new(&memory_bio, "pending")?,
        memory_bio: memory_bio.into(),
        module: ssl.clone().into_any().into(),
        object_read: object.getattr("read")?.into(),
        object_write: object.getattr("write")?.into(),
        object: object.into(),
    })
}

fn optional(module: &Bound<'_, PyModule>, name: &str) -> PyResult<Option<Owned>> {
    Ok(if module.hasattr(name)? { Some(module.getattr(name)?.into()) } else { None })
}

fn protocol_class<'py>(theirs: &Bound<'py, PyAny>, buffered: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = theirs.py();
    if theirs.cast::<pyo3::types::PyType>()?.is_subclass(buffered)? {
        return Ok(theirs.clone());
    }
    let bases = PyTuple::new(py, [buffered, theirs])?;
    py.get_type::<pyo3::types::PyType>().call1(("SSLProtocol", bases, PyDict::new(py)))
}

/// The objects.
#[inline]
pub(super) fn get(py: Python<'_>) -> &Names {
    NAMES.get(py)
}

/// What `ssl` gives. There is a protocol, so there is `ssl`: its constructor has looked.
#[inline]
pub(super) fn ssl(py: Python<'_>) -> &Ssl {
    get(py).ssl.as_ref().expect("a protocol is made only where there is ssl")
}
