//! Bytes: new objects of them, and the memory of objects that have some.
//!
//! # Invariants
//!
//! * The memory of a [`Buffer`] stays where it is while the buffer exists: the object that has it refuses to move it.
//! * It is looked at or written to for the time of one call, under the GIL, in which no Python runs.
//! * A `bytes` object changes only in [`received`] and in [`incoming`], where nobody but this module holds a reference to it.

pub(crate) mod incoming;

use std::ptr::NonNull;
use std::slice;

use pyo3::{Python, ffi};

use super::gil::GilCell;
use super::{Owned, Raised, Result};

/// The bytes that were received last, if they were no longer than [`LONGEST_KEPT`].
static LATEST: GilCell<Option<Owned>> = GilCell::new(None);

/// Of longer ones the memory costs little next to the copy.
const LONGEST_KEPT: usize = 64 * 1024;

/// The interpreter has one object for each single byte, which is everybody's.
const SHARED_LEN: usize = 1;

/// A new `bytes` object.
#[inline]
pub(crate) fn new(_: Python<'_>, content: &[u8]) -> Result<Owned> {
    let (data, len) = (content.as_ptr().cast(), content.len() as ffi::Py_ssize_t);
    // SAFETY: the content is alive and of that length; it is copied.
    unsafe { Owned::from_returned(ffi::PyBytes_FromStringAndSize(data, len)) }
}

/// A `bytes` object of what was received: the last one, if it is as long and everybody else has let go of it.
///
/// A protocol mostly looks at what it gets, or passes it on, and forgets it before the next message. Of 1 KiB, memory
/// that is given back and asked for again costs as much as the rest of the way from the socket to the protocol.
#[inline]
pub(crate) fn received(py: Python<'_>, content: &[u8]) -> Result<Owned> {
    let mut latest = LATEST.borrow(py);
    if let Some(bytes) = &*latest
        && overwrite(bytes, content)
    {
        return Ok(bytes.clone());
    }
    let bytes = new(py, content)?;
    if (SHARED_LEN + 1..=LONGEST_KEPT).contains(&content.len()) {
        *latest = Some(bytes.clone());
    }
    Ok(bytes)
}

/// Gives bytes that nobody else can see another content; false where somebody can, or the length is another.
#[inline]
fn overwrite(bytes: &Owned, content: &[u8]) -> bool {
    if !bytes.is_unique() || self::content(bytes).len() != content.len() {
        return false;
    }
    let object: *mut ffi::PyBytesObject = bytes.as_ptr().cast();
    // SAFETY: the object is of type `bytes`, so it has this layout, and room for the content. The only reference to it is
    // the caller's, and the GIL is held: no Python code, no buffer and no other thread can look at it. It is none of the
    // interpreter's own objects, which have more references. The hash that it may have noted is forgotten.
    unsafe {
        std::ptr::copy_nonoverlapping(content.as_ptr(), (&raw mut (*object).ob_sval).cast(), content.len());
        #[cfg_attr(Py_3_11, expect(deprecated, reason = "the field is there, and nobody else can reset it"))]
        (&raw mut (*object).ob_shash).write(-1);
    }
    true
}

/// Whether an object is exactly of type `bytes`.
#[inline]
pub(crate) fn is_bytes(object: &Owned) -> bool {
    // SAFETY: the object is alive.
    unsafe { ffi::PyBytes_CheckExact(object.as_ptr()) != 0 }
}

/// What a `bytes` has.
#[inline]
pub(crate) fn content(object: &Owned) -> &[u8] {
    assert!(is_bytes(object), "not bytes");
    // SAFETY: the object is of type `bytes` and alive, and neither moves nor changes.
    unsafe {
        let data: *const u8 = ffi::PyBytes_AS_STRING(object.as_ptr()).cast();
        slice::from_raw_parts(data, ffi::Py_SIZE(object.as_ptr()) as usize)
    }
}

/// Whether an object is exactly a `bytearray`.
#[inline]
pub(crate) fn is_array(object: &Owned) -> bool {
    // SAFETY: the object is alive.
    unsafe { ffi::PyByteArray_CheckExact(object.as_ptr()) != 0 }
}

/// How many bytes a `bytearray` has.
#[inline]
pub(crate) fn array_len(array: &Owned) -> usize {
    assert!(is_array(array), "not a bytearray");
    // SAFETY: the object is exactly a `bytearray`.
    unsafe { ffi::PyByteArray_Size(array.as_ptr()) as usize }
}

/// Appends to a `bytearray`. Raises `BufferError` where somebody has borrowed its memory.
#[inline]
pub(crate) fn append(array: &Owned, content: &[u8]) -> Result<()> {
    let before = array_len(array);
    // SAFETY: the object is exactly a `bytearray`: checked above. Where it could be resized it has room for both, and
    // the content is ours, so they do not overlap.
    unsafe {
        if ffi::PyByteArray_Resize(array.as_ptr(), (before + content.len()) as ffi::Py_ssize_t) < 0 {
            return Err(Raised);
        }
        let end: *mut u8 = ffi::PyByteArray_AsString(array.as_ptr()).cast();
        std::ptr::copy_nonoverlapping(content.as_ptr(), end.add(before), content.len());
    }
    Ok(())
}

/// What a `bytearray` has, for a call in which no Python runs.
#[inline]
pub(crate) fn array_content(array: &Owned) -> &[u8] {
    let len = array_len(array);
    // SAFETY: the object is exactly a `bytearray`, checked above, and has so many bytes, which stay where they are while no
    // Python runs.
    unsafe { slice::from_raw_parts(ffi::PyByteArray_AsString(array.as_ptr()).cast(), len) }
}

/// Takes the first `count` bytes out of a `bytearray`. Raises `BufferError` where somebody has borrowed its memory: then
/// nothing has changed.
#[inline]
pub(crate) fn take_front(py: Python<'_>, array: &Owned, count: usize) -> Result<Owned> {
    let taken = new(py, &array_content(array)[..count])?;
    // SAFETY: the object is alive; it moves its beginning and copies nothing, but where it gives memory back.
    let status = unsafe { ffi::PySequence_DelSlice(array.as_ptr(), 0, count as ffi::Py_ssize_t) };
    if status < 0 { Err(Raised) } else { Ok(taken) }
}

/// Where `content` has `part` first.
#[inline]
pub(crate) fn find(content: &[u8], part: &[u8]) -> Option<usize> {
    // SAFETY: both are alive and of these lengths; the call only reads.
    let found = unsafe { libc::memmem(content.as_ptr().cast(), content.len(), part.as_ptr().cast(), part.len()) };
    (!found.is_null()).then(|| found as usize - content.as_ptr() as usize)
}

/// A `bytes` object. Its content never changes.
pub(crate) struct Bytes(Owned);

impl Bytes {
    /// The object, if it is exactly of type `bytes`.
    #[inline]
    pub(crate) fn exactly(object: Owned) -> std::result::Result<Self, Owned> {
        if is_bytes(&object) { Ok(Self(object)) } else { Err(object) }
    }

    /// The object.
    pub(crate) fn object(&self) -> &Owned {
        &self.0
    }

    /// New bytes.
    pub(crate) fn copied(py: Python<'_>, content: &[u8]) -> Result<Self> {
        new(py, content).map(Self)
    }
}

impl AsRef<[u8]> for Bytes {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        content(&self.0)
    }
}

/// The contiguous memory of an object that lends it to be read: a `bytearray`, a `memoryview`, an array.
pub(crate) struct Buffer(Box<ffi::Py_buffer>);

impl Buffer {
    /// Borrows the memory to read it. Raises `TypeError` where the object lends none, `BufferError` where it is scattered.
    pub(crate) fn readable(object: &Owned) -> Result<Self> {
        let mut buffer = Box::new(ffi::Py_buffer::new());
        // SAFETY: the object is alive; the structure is filled where the call succeeds, and does not move: it is boxed.
        if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *buffer, ffi::PyBUF_SIMPLE) } < 0 {
            return Err(Raised);
        }
        Ok(Self(buffer))
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len as usize
    }

    /// The bytes, for a call in which no Python runs.
    pub(crate) fn bytes(&self) -> &[u8] {
        let data = NonNull::new(self.0.buf.cast()).unwrap_or(NonNull::dangling());
        // SAFETY: the memory is borrowed, contiguous and of that length; the caller runs no Python while it looks.
        unsafe { slice::from_raw_parts(data.as_ptr(), self.len()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the buffer was filled by `PyObject_GetBuffer` and is released once.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.0) };
    }
}

/// Lends the memory of an object to `fill`, which writes to it and runs no Python. Raises `TypeError` where the object lends
/// none, `BufferError` where it cannot be written to or is scattered.
#[inline]
pub(crate) fn lend<R>(object: &Owned, fill: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
    /// Gives the memory back, also where `fill` panics.
    struct Lent<'a>(&'a mut ffi::Py_buffer);

    impl Drop for Lent<'_> {
        fn drop(&mut self) {
            // SAFETY: the buffer was filled by `PyObject_GetBuffer`, stays where it was, and is released once.
            unsafe { ffi::PyBuffer_Release(&raw mut *self.0) };
        }
    }

    let mut buffer = ffi::Py_buffer::new();
    // SAFETY: the object is alive; the structure is filled where the call succeeds, and nothing moves it.
    if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut buffer, ffi::PyBUF_WRITABLE) } < 0 {
        return Err(Raised);
    }
    let lent = Lent(&mut buffer);
    let data = NonNull::new(lent.0.buf.cast()).unwrap_or(NonNull::dangling());
    // SAFETY: the memory is borrowed to be written to, contiguous and of that length. Nobody else touches it meanwhile, for
    // the GIL is held.
    Ok(fill(unsafe { slice::from_raw_parts_mut(data.as_ptr(), lent.0.len as usize) }))
}
