//! Where a thread is in its Python code, seen while it runs and without the GIL.
//!
//! A thread that starves others may hold the GIL for as long as it does, so nobody can ask the interpreter. The frames lie in
//! our own memory, though, and can be read as another process would read them: by a system call that copies what is there
//! and fails where nothing is. What was copied may be out of date, or half written; so it is read twice, and believed only if
//! both copies tell the same stack of true code objects. Nothing is ever dereferenced.
//!
//! # Invariants
//!
//! * Needs the GIL, and Python, only to make a [`Reader`] and a [`Subject`].
//! * Changes nothing, holds no reference, and stops no thread.

use std::fmt;

use pyo3::prelude::*;

/// Reads the frames of running threads.
#[derive(Debug)]
pub(crate) struct Reader;

/// Why frames cannot be read in this process at all, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(String);

/// A thread whose frames are read: valid as long as its Python thread state lives, and harmless after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The address of its `PyThreadState`.
    state: usize,
}

/// A frame as it was found: numbers, which [`Reader::describe`] makes words of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawFrame {
    /// The address of the code object.
    pub(crate) code: usize,
    /// The offset of the current instruction in it, in bytes.
    pub(crate) instruction: usize,
}

/// The frames of a thread, the innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stack {
    /// The frames.
    pub(crate) frames: Vec<RawFrame>,
    /// Whether there are more, further out, than are read.
    pub(crate) is_cut: bool,
}

/// A frame in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The qualified name of the function; before 3.11 its name.
    pub(crate) function: String,
    /// The file, as the code object has it.
    pub(crate) file: String,
    /// The line of the current instruction, or the first line where the instruction has none.
    pub(crate) line: u32,
    /// The line where the function begins.
    pub(crate) first_line: u32,
}

/// Why a reading was thrown away: trying again later may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// The thread called and returned all the time: no two readings agreed.
    Restless,
    /// What was found is no stack of code objects, or no text: it was overwritten meanwhile, or the thread has ended.
    Inconsistent,
}

/// Who holds the GIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody.
    Nobody,
    /// A thread.
    Thread(Subject),
}

impl Subject {
    /// The calling thread.
    pub(crate) fn current(_py: Python<'_>) -> Self {
        Self { state: 0 }
    }
}

impl Reader {
    /// Finds a way to read, and tries it on the calling thread: its frames must come out as the interpreter tells them.
    pub(crate) fn new(_py: Python<'_>) -> Result<Self, Refusal> {
        Err(Refusal("frames are not read yet".to_owned()))
    }

    /// The frames of a thread.
    pub(crate) fn walk(&self, _subject: Subject) -> Result<Stack, Rejected> {
        Err(Rejected::Inconsistent)
    }

    /// A frame in words. To be called soon after [`walk`](Self::walk): the code object must still be there.
    pub(crate) fn describe(&self, _frame: RawFrame) -> Result<Frame, Rejected> {
        Err(Rejected::Inconsistent)
    }

    /// Who holds the GIL; none where that cannot be read.
    pub(crate) fn gil(&self) -> Option<Holder> {
        None
    }

    /// Whether the garbage collector is at work, in the thread that holds the GIL; none where that cannot be read.
    pub(crate) fn is_collecting(&self) -> Option<bool> {
        None
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restless => "the thread called and returned all the time",
            Self::Inconsistent => "what was found is no stack of frames",
        })
    }
}
