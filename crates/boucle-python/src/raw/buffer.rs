//! Memory that Python code reads and writes through the buffer protocol, a window of it at a time.
//!
//! # Invariants
//!
//! * The memory neither moves nor goes away while somebody has a view of it: a view holds the buffer.
//! * Rust reads it by copying, under the GIL. Who lends a window to a call that releases the GIL reads nothing meanwhile.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use pyo3::{Python, ffi};

use super::bytes;
use super::class::Builder;
use super::freelist::Freelist;
use super::guard::{guard, guard_infallible};
use super::{Class, Owned, Raised, Result, This, TypeCell};

/// How many bytes a buffer has.
pub(crate) const CAPACITY: usize = 64 * 1024;

/// A buffer of [`CAPACITY`] bytes, and the window of it that is lent.
pub(crate) struct Buffer {
    memory: NonNull<u8>,
    start: Cell<usize>,
    length: Cell<usize>,
}

static BUFFER: TypeCell = TypeCell::new();
static BUFFERS: Freelist = Freelist::new();

impl Class for Buffer {
    fn class() -> &'static TypeCell {
        &BUFFER
    }
}

const LAYOUT: Layout = match Layout::from_size_align(CAPACITY, 16) {
    Ok(layout) => layout,
    Err(_) => panic!("a size that fits, an alignment that is a power of two"),
};

impl Buffer {
    /// Zeroed memory, which takes no room until it is written to.
    fn new() -> Self {
        // SAFETY: the layout has a size.
        let memory = unsafe { alloc_zeroed(LAYOUT) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(LAYOUT) };
        Self { memory, start: Cell::new(0), length: Cell::new(CAPACITY) }
    }

    /// Lends `length` bytes from `start` on to whoever asks for a view next.
    pub(crate) fn lend(&self, start: usize, length: usize) {
        assert!(start + length <= CAPACITY, "a window outside of the buffer");
        self.start.set(start);
        self.length.set(length);
    }

    /// Lets `fill` write to all of it. Whom the buffer is lent to has it alone, and `fill` runs no Python.
    pub(crate) fn fill<R>(&self, _: Python<'_>, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        // SAFETY: the memory is ours, and initialised; nobody else touches it meanwhile, for the GIL is held.
        fill(unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), CAPACITY) })
    }

    /// A copy of the first `length` bytes, which were received, as a `bytes`.
    pub(crate) fn bytes(&self, py: Python<'_>, length: usize) -> Result<Owned> {
        assert!(length <= CAPACITY, "more than the buffer has");
        // SAFETY: so many bytes are ours, and initialised; nobody writes to them meanwhile, for the GIL is held.
        bytes::received(py, unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), length) })
    }

    /// Appends the first `length` bytes to a vector.
    pub(crate) fn append_to(&self, vector: &mut Vec<u8>, length: usize) {
        assert!(length <= CAPACITY, "more than the buffer has");
        vector.reserve(length);
        // SAFETY: so many bytes are ours, and initialised; the vector has room for them, in memory of its own.
        unsafe {
            let end = vector.len();
            ptr::copy_nonoverlapping(self.memory.as_ptr(), vector.as_mut_ptr().add(end), length);
            vector.set_len(end + length);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and freed once.
        unsafe { dealloc(self.memory.as_ptr(), LAYOUT) };
    }
}

/// Makes a buffer.
pub(crate) fn make(py: Python<'_>) -> Result<Owned> {
    BUFFERS.make(py, Buffer::new)
}

/// Makes the class.
pub(crate) fn initialise(py: Python<'_>) -> Result<()> {
    Builder::<Buffer>::new(c"boucle._boucle.Buffer")
        .without_constructor()
        .slot(ffi::Py_bf_getbuffer, get_buffer as *mut c_void)
        .slot(ffi::Py_tp_dealloc, free as *mut c_void)
        .build(py)
        .map(drop)
}

unsafe extern "C" fn get_buffer(object: *mut ffi::PyObject, view: *mut ffi::Py_buffer, flags: c_int) -> c_int {
    guard("Buffer.bf_getbuffer", |_| {
        // SAFETY: the interpreter calls this with an instance; the window lies in its memory, which the view keeps alive.
        let status = unsafe {
            let this = This::<Buffer>::from_ptr(object);
            let start = this.memory.as_ptr().add(this.start.get());
            ffi::PyBuffer_FillInfo(view, object, start.cast(), this.length.get() as ffi::Py_ssize_t, 0, flags)
        };
        if status < 0 { Err(Raised) } else { Ok(()) }
    })
}

unsafe extern "C" fn free(object: *mut ffi::PyObject) {
    guard_infallible("Buffer.tp_dealloc", || {
        // SAFETY: the interpreter calls this once, when the last reference is gone.
        unsafe { BUFFERS.free::<Buffer>(object) };
    });
}
