//! Where a thread is in its Python code, seen while it runs and without the GIL.
//!
//! A thread that starves others may hold the GIL for as long as it does, so nobody can ask the interpreter. The frames lie in
//! our own memory, though, and can be read as another process would read them: by a system call that copies what is there
//! and fails where nothing is. What was copied may be out of date, or half written; so it is read twice, and believed only if
//! both copies tell the same stack of true code objects. Nothing is ever dereferenced.
//!
//! * [`memory`]: the system calls, and all of `unsafe` that there is here. [`copy`]: memory that is copied again and again.
//! * [`offsets`]: the layout of each version of Python. [`trial`]: whether it is true.
//! * [`walk`]: the chain of frames. [`code`]: what a code object says. [`oracle`]: whether answers are true, for tests.
//!
//! # Invariants
//!
//! * Needs the GIL, and Python, only to make a [`Reader`] and a [`Subject`].
//! * Changes nothing, holds no reference, and stops no thread.

mod code;
mod copy;
mod memory;
mod offsets;
pub(crate) mod oracle;
mod trial;
mod walk;

use std::fmt;

use pyo3::prelude::*;

use memory::{Access, Memory, Piece};
use offsets::Offsets;

pub(crate) use oracle::StackOracle;

/// How often [`Reader::trace`] tries.
const ATTEMPTS: usize = 4;

/// Reads the frames of running threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    memory: Memory,
    offsets: Offsets,
    /// Where the GIL says its holder, and whether it is held.
    gil: Option<[usize; 2]>,
    /// Where the garbage collector says that it is at work.
    collecting: Option<usize>,
}

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
    /// Whether there are more, further in, which came and went too fast to be read.
    pub(crate) is_blurred: bool,
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

/// The frames of a thread in words, the innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The frames.
    pub(crate) frames: Vec<Frame>,
    /// Whether there are more, further out, than are read.
    pub(crate) is_cut: bool,
    /// Whether there are more, further in, which came and went too fast to be read.
    pub(crate) is_blurred: bool,
}

/// Why a reading was thrown away: trying again later may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// The thread called and returned all the time: no two readings had a frame in common.
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
    pub(crate) fn current(py: Python<'_>) -> Self {
        Self { state: memory::thread_state(py) }
    }
}

impl Reader {
    /// Finds a way to read, and tries it on the calling thread: its frames must come out as the interpreter tells them.
    /// Runs a few lines of Python.
    pub(crate) fn new(py: Python<'_>) -> Result<Self, Refusal> {
        let mut reader = Self::untried(py).map_err(Refusal)?;
        trial::run(py, reader).map_err(Refusal)?;
        if reader.gil() != Some(Holder::Thread(Subject::current(py))) {
            reader.gil = None;
        }
        if reader.is_collecting().is_none() {
            reader.collecting = None;
        }
        Ok(reader)
    }

    fn untried(py: Python<'_>) -> Result<Self, String> {
        let memory = Memory::find()?;
        let access = memory.open().map_err(|error| error.to_string())?;
        let runtime = memory::symbol(c"_PyRuntime").ok_or("this Python does not export _PyRuntime")?;
        let offsets = offsets::find(&access, runtime)?;
        let at = memory::thread_state(py).wrapping_add(offsets.thread.interpreter);
        let interpreter = word_at(&access, at).ok_or("the state of this thread cannot be read")?;
        let fields = &offsets.interpreter;
        let base = if offsets::GIL_IS_OF_THE_RUNTIME { runtime } else { interpreter };
        let gil = Some([fields.holder, fields.locked].map(|offset| base.wrapping_add(offset)));
        let collecting = Some(interpreter.wrapping_add(fields.collecting));
        Ok(Self { memory, offsets, gil, collecting })
    }

    /// The frames of a thread in words: tried a few times, since code may be destroyed between being found and being read.
    pub(crate) fn trace(&self, subject: Subject) -> Result<Trace, Rejected> {
        let attempt = || {
            let stack = self.walk(subject)?;
            let frames = self.describe_all(&stack.frames)?;
            Ok(Trace { frames, is_cut: stack.is_cut, is_blurred: stack.is_blurred })
        };
        let mut outcome = attempt();
        for _ in 1..ATTEMPTS {
            if outcome != Err(Rejected::Inconsistent) {
                break;
            }
            outcome = attempt();
        }
        outcome
    }

    /// The frames of a thread.
    pub(crate) fn walk(&self, subject: Subject) -> Result<Stack, Rejected> {
        walk::walk(&self.open()?, &self.offsets, subject)
    }

    /// A frame in words: see [`describe_all`](Self::describe_all), which is cheaper for several.
    pub(crate) fn describe(&self, frame: RawFrame) -> Result<Frame, Rejected> {
        self.describe_all(&[frame])?.pop().ok_or(Rejected::Inconsistent)
    }

    /// Frames in words. To be called soon after [`walk`](Self::walk): the code objects must still be there. Where a thread
    /// goes on running they may not be.
    pub(crate) fn describe_all(&self, frames: &[RawFrame]) -> Result<Vec<Frame>, Rejected> {
        code::describe(&self.open()?, &self.offsets, frames)
    }

    /// Who holds the GIL; none where that cannot be read.
    pub(crate) fn gil(&self) -> Option<Holder> {
        let [holder, locked] = self.gil?;
        let access = self.memory.open().ok()?;
        match word_at(&access, locked)? as i32 {
            0 => Some(Holder::Nobody),
            1 => word_at(&access, holder).map(|state| Holder::Thread(Subject { state })),
            _ => None,
        }
    }

    /// Whether the garbage collector is at work, in the thread that holds the GIL; none where that cannot be read.
    pub(crate) fn is_collecting(&self) -> Option<bool> {
        match word_at(&self.memory.open().ok()?, self.collecting?)? as i32 {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn open(&self) -> Result<Access, Rejected> {
        self.memory.open().map_err(|_| Rejected::Inconsistent)
    }
}

/// The word at an address.
fn word_at(access: &Access, address: usize) -> Option<usize> {
    let mut word = [0; size_of::<usize>()];
    access.read(&[Piece { address, length: word.len() }], &mut word).ok()?;
    Some(usize::from_ne_bytes(word))
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
