//! What a program passes to be sent: bytes, or something whose memory may change.

use pyo3::prelude::*;

use crate::raw::bytes::{Buffer, Bytes};
use crate::raw::{Owned, Result, vector};

/// The memory of what is to be sent.
pub(super) enum Payload {
    /// It never changes: it can be kept.
    Kept(Bytes),
    /// It is borrowed for the call.
    Borrowed(Buffer),
}

impl Payload {
    /// The memory of an object. Raises where it is scattered.
    pub(super) fn of(object: Owned) -> Result<Self> {
        match Bytes::exactly(object) {
            Ok(bytes) => Ok(Self::Kept(bytes)),
            Err(other) => Ok(Self::Borrowed(Buffer::readable(&other)?)),
        }
    }

    /// Bytes that can be kept: a copy where the program may use the memory again.
    pub(super) fn keep(self, py: Python<'_>) -> Result<Bytes> {
        match self {
            Self::Kept(bytes) => Ok(bytes),
            Self::Borrowed(buffer) => Bytes::copied(py, buffer.bytes()),
        }
    }
}

impl AsRef<[u8]> for Payload {
    /// The bytes, for a call in which no Python runs.
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Kept(bytes) => bytes.as_ref(),
            Self::Borrowed(buffer) => buffer.bytes(),
        }
    }
}

/// Whether asyncio takes it for bytes: `bytes`, `bytearray` or `memoryview`.
pub(super) fn is_bytes_like(py: Python<'_>, data: &Owned) -> bool {
    let data = data.any(py);
    data.is_instance_of::<pyo3::types::PyBytes>()
        || data.is_instance_of::<pyo3::types::PyByteArray>()
        || data.is_instance_of::<pyo3::types::PyMemoryView>()
}

/// Raises asyncio's `TypeError` for what is not: by calling the `method` of asyncio's transport that says so.
pub(super) fn check(py: Python<'_>, method: &Owned, transport: &Owned, data: &Owned) -> Result<()> {
    if !is_bytes_like(py, data) {
        vector::call(py, method, &[transport, data])?;
    }
    Ok(())
}
