//! What has arrived and was not read.
//!
//! What arrives while nothing is there stays the `bytes` that it came in: read as a whole it is handed out without a copy,
//! and in parts it is never moved. A big message may come in two: as much as somebody waits for, and the rest. Whatever
//! comes on top of that goes into the `bytearray` that asyncio's code knows as `_buffer`.
//!
//! # Invariants
//!
//! * While there is a chunk, the array is empty, and nobody else has it: whoever asks for it finds the chunk in it, and
//!   while somebody has it, there are no chunks.
//! * There is a next chunk only where there is a chunk, and none of it was read.
//! * A chunk has bytes that were not read.

use std::cell::Cell;

use pyo3::Python;

use crate::raw::bytes::incoming;
use crate::raw::class::Visit;
use crate::raw::{ObjectCell, Owned, Result, bytes};

/// The bytes of one reader.
#[derive(Default)]
pub(super) struct Storage {
    /// A `bytes`.
    chunk: ObjectCell,
    /// How much of the chunk was read.
    read: Cell<usize>,
    /// The `bytes` after the chunk.
    next: ObjectCell,
    array: ObjectCell,
    /// Whether the array is exactly a `bytearray`.
    is_array: Cell<bool>,
}

impl Storage {
    pub(super) fn visit(&self, visit: &mut Visit) {
        visit.cell(&self.chunk);
        visit.cell(&self.next);
        visit.cell(&self.array);
    }

    /// Whether it is as this file knows it. Only then may the other functions be called, but for `set_array` and `poured`.
    #[inline]
    pub(super) fn is_usual(&self) -> bool {
        self.is_array.get()
    }

    /// Takes another array, with another content.
    pub(super) fn set_array(&self, array: Option<Owned>) {
        self.is_array.set(array.as_ref().is_some_and(bytes::is_array));
        let former = (self.chunk.take(), self.next.take(), self.array.replace(array));
        drop(former);
    }

    /// The array, with all that is there.
    pub(super) fn poured(&self, py: Python<'_>) -> Result<Option<Owned>> {
        self.join(py)?;
        let array = self.array.get();
        if let Some(array) = &array
            && let Some(chunk) = self.chunk.get()
        {
            bytes::append(array, &bytes::content(&chunk)[self.read.get()..])?;
            drop(self.chunk.take());
        }
        Ok(array)
    }

    /// Adds a `bytes` that is not empty.
    #[inline]
    pub(super) fn add(&self, py: Python<'_>, data: Owned) -> Result<()> {
        if self.takes_chunks() {
            self.read.set(0);
            drop(self.chunk.replace(Some(data)));
            return Ok(());
        }
        self.poured(py)?.map_or(Ok(()), |array| bytes::append(&array, bytes::content(&data)))
    }

    /// Adds a `bytes` that is not empty and what came after it, which may be. It takes chunks.
    pub(super) fn add_two(&self, py: Python<'_>, data: &Owned, rest: &[u8]) -> Result<()> {
        let next = if rest.is_empty() { None } else { Some(bytes::new(py, rest)?) };
        self.add(py, data.clone())?;
        drop(self.next.replace(next));
        Ok(())
    }

    /// Whether what is added stays as it is.
    #[inline]
    pub(super) fn takes_chunks(&self) -> bool {
        self.len() == 0 && self.has_array_alone()
    }

    /// Makes one chunk of two.
    #[inline]
    pub(super) fn join(&self, py: Python<'_>) -> Result<()> {
        if self.next.is_empty() { Ok(()) } else { self.join_two(py) }
    }

    #[cold]
    fn join_two(&self, py: Python<'_>) -> Result<()> {
        let (Some(chunk), Some(next)) = (self.chunk.get(), self.next.get()) else { return Ok(()) };
        let joined = incoming::joined(py, &bytes::content(&chunk)[self.read.get()..], bytes::content(&next))?;
        self.read.set(0);
        let former = (self.chunk.replace(Some(joined)), self.next.take());
        drop(former);
        Ok(())
    }

    /// Whether nobody else has the array.
    #[inline]
    fn has_array_alone(&self) -> bool {
        // The cell and this reference.
        self.array.get().is_some_and(|array| array.references() == 2)
    }

    /// Looks at all that is there, which is not in two chunks.
    #[inline]
    pub(super) fn look<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        if let Some(chunk) = self.chunk.get() {
            return look(&bytes::content(&chunk)[self.read.get()..]);
        }
        let array = self.array.get();
        look(array.as_ref().map_or(&[], bytes::array_content))
    }

    /// How many bytes there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        let len = self.look(<[u8]>::len);
        if self.next.is_empty() { len } else { len + self.next.get().map_or(0, |next| bytes::content(&next).len()) }
    }

    /// Takes the first `count` bytes out; there are so many.
    #[inline]
    pub(super) fn take(&self, py: Python<'_>, count: usize) -> Result<Owned> {
        let Some(chunk) = self.chunk.get() else {
            return self.array.get().map_or_else(|| bytes::new(py, &[]), |array| bytes::take_front(py, &array, count));
        };
        let rest = &bytes::content(&chunk)[self.read.get()..];
        if count > rest.len() {
            self.join(py)?;
            return self.take(py, count);
        }
        let is_all = count == rest.len();
        let taken = if is_all && self.read.get() == 0 { chunk.clone() } else { bytes::new(py, &rest[..count])? };
        self.read.set(self.read.get() + count);
        if is_all {
            self.read.set(0);
            drop(self.chunk.replace(self.next.take()));
        }
        Ok(taken)
    }
}
