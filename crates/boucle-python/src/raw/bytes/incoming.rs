//! Objects whose memory somebody else writes, a system call for one, before anybody sees it.
//!
//! # Invariants
//!
//! * Memory that nobody has written is never read: whoever writes it hands back what is written as a slice of it, and the
//!   object becomes as long as that.
//! * Until then nobody else sees the object: a `bytes` is ours alone, and while a `bytearray` is longer than its content no
//!   Python runs.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::{ptr, slice};

use pyo3::{Python, ffi};

use super::{array_len, content, new};
use crate::raw::gil::GilCell;
use crate::raw::{Owned, Raised, Result};

// Part of Python's API, which PyO3 does not declare for everybody.
unsafe extern "C" {
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, len: ffi::Py_ssize_t) -> c_int;
}

/// A `bytes` that was made for more than came, and that nobody has seen: the next one of this length.
static SPARE: GilCell<Option<Owned>> = GilCell::new(None);

/// A new `bytes` of what `fill` writes to memory of `len` bytes; nothing where it writes nothing. It returns what it has
/// written, the beginning of the memory; with what else it has to say.
pub(crate) fn filled<R>(
    py: Python<'_>,
    len: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> (&mut [u8], R),
) -> Result<(Option<Owned>, R)> {
    let object = unwritten(py, len)?;
    let bytes: *mut ffi::PyBytesObject = object.as_ptr().cast();
    // SAFETY: the object is of type `bytes`, so its content lies there.
    let start: *mut MaybeUninit<u8> = unsafe { (&raw mut (*bytes).ob_sval).cast() };
    // SAFETY: the object has so many bytes, and nobody else has the object.
    let (written, said) = fill(unsafe { slice::from_raw_parts_mut(start, len) });
    check(written, start);
    let count = written.len();
    if count == len {
        return Ok((Some(object), said));
    }
    if count >= len.div_ceil(2) {
        return shortened(object, count).map(|object| (Some(object), said));
    }
    let content = if count == 0 { None } else { Some(new(py, written)?) };
    let former = SPARE.borrow(py).replace(object);
    drop(former);
    Ok((content, said))
}

/// Makes an empty `bytearray` `len` bytes long, and then as long as what `fill` writes to them, as [`filled`] has it. Raises
/// `BufferError` where somebody has borrowed its memory: then nothing has changed.
pub(crate) fn fill_array<R>(
    _: Python<'_>,
    array: &Owned,
    len: usize,
    fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> (&mut [u8], R),
) -> Result<R> {
    assert_eq!(array_len(array), 0, "the array has a content");
    // SAFETY: the object is exactly a `bytearray`: its length was asked for.
    if unsafe { ffi::PyByteArray_Resize(array.as_ptr(), len as ffi::Py_ssize_t) } < 0 {
        return Err(Raised);
    }
    let mut lengthened = Lengthened { array, written: 0 };
    // SAFETY: as above.
    let start: *mut MaybeUninit<u8> = unsafe { ffi::PyByteArray_AsString(array.as_ptr()).cast() };
    // SAFETY: the array has so many bytes, and nobody else looks at them: the GIL is held, and no Python runs.
    let (written, said) = fill(unsafe { slice::from_raw_parts_mut(start, len) });
    check(written, start);
    lengthened.written = written.len();
    Ok(said)
}

/// An array that is longer than its content, until this is dropped.
struct Lengthened<'a> {
    array: &'a Owned,
    written: usize,
}

impl Drop for Lengthened<'_> {
    fn drop(&mut self) {
        let (array, len) = (self.array.as_ptr(), self.written as ffi::Py_ssize_t);
        // SAFETY: the object is exactly a `bytearray`, whose memory nobody has borrowed.
        if unsafe { ffi::PyByteArray_Resize(array, len) } < 0 {
            // The allocator could not cut the memory in two: the array keeps all of it.
            // SAFETY: an exception was raised; a shorter array may have more memory than it needs.
            unsafe {
                ffi::PyErr_Clear();
                (*array.cast::<ffi::PyVarObject>()).ob_size = len;
            }
        }
    }
}

/// New bytes of two parts.
pub(crate) fn joined(py: Python<'_>, first: &[u8], second: &[u8]) -> Result<Owned> {
    let (object, ()) = filled(py, first.len() + second.len(), |memory| {
        let start: *mut u8 = memory.as_mut_ptr().cast();
        // SAFETY: the memory is new, so neither part overlaps it, and has room for both. It is written then.
        unsafe {
            ptr::copy_nonoverlapping(first.as_ptr(), start, first.len());
            ptr::copy_nonoverlapping(second.as_ptr(), start.add(first.len()), second.len());
            (slice::from_raw_parts_mut(start, memory.len()), ())
        }
    })?;
    object.map_or_else(|| new(py, &[]), Ok)
}

/// A `bytes` and what came after it.
pub(crate) fn with_rest(py: Python<'_>, first: Owned, rest: &[u8]) -> Result<Owned> {
    if rest.is_empty() { Ok(first) } else { joined(py, content(&first), rest) }
}

/// A `bytes` that nobody else has, and whose content nobody has written.
fn unwritten(py: Python<'_>, len: usize) -> Result<Owned> {
    let spare = SPARE.borrow(py).take();
    // SAFETY: the object is a `bytes`.
    if let Some(spare) = spare.filter(|spare| unsafe { ffi::PyBytes_Size(spare.as_ptr()) } as usize == len) {
        return Ok(spare);
    }
    assert!(len > 1, "the interpreter has shared objects for so few bytes");
    // SAFETY: without a content the call makes an object of that length whose bytes are not written.
    unsafe { Owned::from_returned(ffi::PyBytes_FromStringAndSize(ptr::null(), len as ffi::Py_ssize_t)) }
}

/// The object with its first bytes only. They stay where they are if the allocator can cut memory in place.
fn shortened(object: Owned, count: usize) -> Result<Owned> {
    let mut object = object.into_ptr();
    // SAFETY: the object is a `bytes` that nobody else has. Where the call fails it has let go of it.
    if unsafe { _PyBytes_Resize(&raw mut object, count as ffi::Py_ssize_t) } < 0 {
        return Err(Raised);
    }
    // SAFETY: the call has put its reference there.
    unsafe { Owned::from_returned(object) }
}

/// What was written must be the beginning of the memory, or nothing: a slice that begins there can be of no other.
fn check(written: &[u8], start: *const MaybeUninit<u8>) {
    assert!(written.is_empty() || written.as_ptr() == start.cast(), "other memory was written");
}
