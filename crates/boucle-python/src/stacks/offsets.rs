//! Where the fields lie that are read: offsets in bytes, which each version of Python has its own of.
//!
//! From 3.13 on the interpreter says them itself, at the beginning of `_PyRuntime`; before, they stand here. Whether they are
//! true is not believed but tried: see [`super::trial`].

use std::mem::offset_of;

use pyo3::ffi;

use super::memory::Access;
#[cfg(Py_3_13)]
use super::memory::Piece;

/// An object's type.
pub(super) const TYPE: usize = offset_of!(ffi::PyObject, ob_type);
/// The length of an object that has one.
pub(super) const SIZE: usize = offset_of!(ffi::PyVarObject, ob_size);
/// The bytes of a `bytes` object.
pub(super) const BYTES: usize = offset_of!(ffi::PyVarObject, ob_size) + 16;
/// A string's length.
pub(super) const TEXT_LENGTH: usize = 16;
/// A string's kind.
pub(super) const TEXT_STATE: usize = 32;

/// The owners of a frame, as far as they matter.
pub(super) mod owner {
    /// A generator or coroutine, which holds it.
    pub(crate) const GENERATOR: u8 = 1;
    /// The interpreter's own C code, from here on: not a frame of a program.
    pub(crate) const INTERPRETER: u8 = 3;
}

/// A whole set of offsets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    /// In a thread state.
    pub(super) thread: Thread,
    /// In a frame.
    pub(super) frame: Frame,
    /// In a code object.
    pub(super) code: Code,
    /// How large a string's fixed part is, if it is ASCII and if it is not.
    pub(super) text: [usize; 2],
    /// Of the GIL and the garbage collector.
    pub(super) interpreter: Interpreter,
}

/// In a thread state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thread {
    /// The innermost frame; in 3.11 and 3.12 a structure that has it.
    pub(super) current: usize,
    /// Where that structure has it.
    pub(super) within: Option<usize>,
    /// The block of memory in which its newest frames lie, one after the other; none in 3.10.
    pub(super) block: Option<usize>,
    /// The interpreter.
    pub(super) interpreter: usize,
}

/// In a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// The code object, whose two lowest bits may mean something else.
    pub(super) code: usize,
    /// The frame that called.
    pub(super) previous: usize,
    /// The address of the current instruction; in 3.10 a number of instructions.
    pub(super) instruction: usize,
    /// Who owns it; in 3.10 the generator that does, if one does.
    pub(super) owner: usize,
}

/// In a code object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code {
    /// The name: the qualified one if there is one.
    pub(super) name: usize,
    /// The file.
    pub(super) file: usize,
    /// The line of the definition.
    pub(super) first_line: usize,
    /// The line table.
    pub(super) line_table: usize,
    /// The instructions; in 3.10 a `bytes` object that has them.
    pub(super) instructions: usize,
    /// The instruction with which the program's part begins; none in 3.10.
    pub(super) first_traceable: Option<usize>,
}

/// Of the GIL and the garbage collector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interpreter {
    /// The thread that held the GIL last. In 3.10 and 3.11 from the runtime, else from the interpreter.
    pub(super) holder: usize,
    /// Whether it holds it still: the same.
    pub(super) locked: usize,
    /// Whether the garbage collector is at work, from the interpreter.
    pub(super) collecting: usize,
}

/// Whether the GIL is the runtime's, and not the interpreter's.
pub(super) const GIL_IS_OF_THE_RUNTIME: bool = cfg!(not(Py_3_12));

/// The offsets of this Python.
#[cfg(not(Py_3_11))]
pub(super) fn find(_access: &Access, _runtime: usize) -> Result<Offsets, String> {
    Ok(Offsets {
        thread: Thread { current: 24, within: None, block: None, interpreter: 16 },
        frame: Frame { code: 32, previous: 24, instruction: 96, owner: 88 },
        code: Code { name: 112, file: 104, first_line: 40, line_table: 120, instructions: 48, first_traceable: None },
        text: [48, 72],
        interpreter: Interpreter { holder: 360, locked: 368, collecting: 816 },
    })
}

/// The offsets of this Python.
#[cfg(all(Py_3_11, not(Py_3_12)))]
pub(super) fn find(_access: &Access, _runtime: usize) -> Result<Offsets, String> {
    Ok(Offsets {
        thread: Thread { current: 56, within: Some(8), block: Some(296), interpreter: 16 },
        frame: Frame { code: 32, previous: 48, instruction: 56, owner: 69 },
        code: Code {
            name: 128,
            file: 112,
            first_line: 72,
            line_table: 136,
            instructions: 184,
            first_traceable: Some(168),
        },
        text: [48, 72],
        interpreter: Interpreter { holder: 368, locked: 376, collecting: 848 },
    })
}

/// The offsets of this Python.
#[cfg(all(Py_3_12, not(Py_3_13)))]
pub(super) fn find(_access: &Access, _runtime: usize) -> Result<Offsets, String> {
    Ok(Offsets {
        thread: Thread { current: 56, within: Some(0), block: Some(232), interpreter: 16 },
        frame: Frame { code: 0, previous: 8, instruction: 56, owner: 70 },
        code: Code {
            name: 128,
            file: 112,
            first_line: 68,
            line_table: 136,
            instructions: 192,
            first_traceable: Some(176),
        },
        text: [40, 56],
        interpreter: Interpreter { holder: 1048, locked: 1056, collecting: 312 },
    })
}

/// Where `_PyRuntime` says the offsets, in words of 64 bits from its beginning.
#[cfg(all(Py_3_13, not(Py_3_14)))]
mod said {
    pub(super) const VERSION: u64 = 0x030d;
    pub(super) const INTERPRETER_GC: usize = 10;
    pub(super) const GIL_LOCKED: usize = 17;
    pub(super) const GIL_HOLDER: usize = 18;
    pub(super) const THREAD: usize = 19;
    pub(super) const BLOCK: usize = 26;
    pub(super) const FRAME: usize = 28;
    pub(super) const CODE: usize = 34;
    pub(super) const TEXT: usize = 67;
    pub(super) const GC: usize = 71;
}

/// Where `_PyRuntime` says the offsets, in words of 64 bits from its beginning.
#[cfg(all(Py_3_14, not(Py_3_15)))]
mod said {
    pub(super) const VERSION: u64 = 0x030e;
    pub(super) const INTERPRETER_GC: usize = 11;
    pub(super) const GIL_LOCKED: usize = 18;
    pub(super) const GIL_HOLDER: usize = 19;
    pub(super) const THREAD: usize = 22;
    pub(super) const BLOCK: usize = 29;
    pub(super) const FRAME: usize = 31;
    pub(super) const CODE: usize = 39;
    pub(super) const TEXT: usize = 77;
    pub(super) const GC: usize = 81;
}

/// Where `_PyRuntime` says the offsets, in words of 64 bits from its beginning.
#[cfg(Py_3_15)]
mod said {
    pub(super) const VERSION: u64 = 0x030f;
    pub(super) const INTERPRETER_GC: usize = 11;
    pub(super) const GIL_LOCKED: usize = 18;
    pub(super) const GIL_HOLDER: usize = 19;
    pub(super) const THREAD: usize = 22;
    pub(super) const BLOCK: usize = 32;
    pub(super) const FRAME: usize = 39;
    pub(super) const CODE: usize = 47;
    pub(super) const TEXT: usize = 89;
    pub(super) const GC: usize = 94;
}

/// The offsets of this Python, which it says itself.
#[cfg(Py_3_13)]
pub(super) fn find(access: &Access, runtime: usize) -> Result<Offsets, String> {
    let mut bytes = [0; (said::GC + 2) * 8];
    let piece = Piece { address: runtime, length: bytes.len() };
    access.read(&[piece], &mut bytes).map_err(|_| "_PyRuntime cannot be read")?;
    if !bytes.starts_with(b"xdebugpy") {
        return Err("_PyRuntime does not begin with its offsets".to_owned());
    }
    let word = |index: usize| bytes.as_chunks::<8>().0.get(index).map_or(0, |word| u64::from_ne_bytes(*word));
    let version = word(1);
    if version >> 16 != said::VERSION {
        return Err(format!("the frames of Python {}.{} are not known", version >> 24, version >> 16 & 255));
    }
    if word(2) != 0 {
        return Err("a Python without a GIL has frames that are not known".to_owned());
    }
    let at = |group: usize, field: usize| word(group + field) as usize;
    let instructions = at(said::CODE, 9);
    Ok(Offsets {
        thread: Thread {
            current: at(said::THREAD, 4),
            within: None,
            block: Some(word(said::BLOCK) as usize),
            interpreter: at(said::THREAD, 3),
        },
        frame: Frame {
            code: at(said::FRAME, 2),
            previous: at(said::FRAME, 1),
            instruction: at(said::FRAME, 3),
            owner: at(said::FRAME, 5),
        },
        code: Code {
            name: at(said::CODE, 3),
            file: at(said::CODE, 1),
            first_line: at(said::CODE, 5),
            line_table: at(said::CODE, 4),
            instructions,
            // Not said: it stands two words before the instructions.
            first_traceable: instructions.checked_sub(16),
        },
        // The larger one is not said: two words more.
        text: [at(said::TEXT, 3), at(said::TEXT, 3) + 16],
        interpreter: Interpreter {
            holder: word(said::GIL_HOLDER) as usize,
            locked: word(said::GIL_LOCKED) as usize,
            collecting: at(said::INTERPRETER_GC, 0) + at(said::GC, 1),
        },
    })
}
