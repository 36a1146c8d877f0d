//! Whether frames come out as the interpreter tells them: tried on the calling thread before anything is believed.
//!
//! A few lines of Python call a function of ours from frames of every kind: plain, generator, coroutine, comprehension, the
//! constructor of a class (called often enough to be specialised), recursion, and names of every width. There the whole stack is read both ways.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

use super::walk::DEEPEST;
use super::{Frame, Reader, Subject};

/// Calls `look` from frames of every kind.
const EXAMPLE: &str = r"
def é(look):
    look()

def жизнь(look):
    yield from (look() for _ in range(1))

class 𐐀:
    def __init__(self, look):
        self.seen = [
            look()
            for _ in range(1)
        ]

async def wait(look):
    look()

async def outer(look):
    await wait(
        look
    )

def deep(look, depth):
    deep(look, depth - 1) if depth else look()

é(look)
list(жизнь(look))
for called in [int] * 20 + [look]:
    𐐀(called)
try:
    outer(look).send(None)
except StopIteration:
    deep(look, 40)
";
/// The name of its file, whose characters need four bytes each.
const FILE: &str = "<trial 𝄞>";

/// Reads stacks both ways. An error says how they differ.
pub(super) fn run(py: Python<'_>, reader: Reader) -> Result<(), String> {
    run_example(py, reader).map_err(|error| error.value(py).to_string())
}

fn run_example(py: Python<'_>, reader: Reader) -> PyResult<()> {
    let look = PyCFunction::new_closure(py, None, None, move |arguments, _| compare(arguments.py(), reader))?;
    let scope = PyDict::new(py);
    scope.set_item("look", look)?;
    let builtins = py.import("builtins")?;
    let code = builtins.call_method1("compile", (EXAMPLE, FILE, "exec"))?;
    builtins.call_method1("exec", (code, scope))?;
    Ok(())
}

/// A frame, as either way gives it.
#[derive(Debug, PartialEq)]
struct Seen {
    code: usize,
    instruction: usize,
    frame: Frame,
}

/// Compares the stack of the calling thread with what the interpreter says.
fn compare(py: Python<'_>, reader: Reader) -> PyResult<()> {
    let refuse = |what: &str| PyRuntimeError::new_err(format!("frames of this Python are not understood: {what}"));
    let stack = reader.walk(Subject::current(py)).map_err(|rejected| refuse(&rejected.to_string()))?;
    let frames = reader.describe_all(&stack.frames).map_err(|rejected| refuse(&rejected.to_string()))?;
    let mut expected = told(py)?;
    if stack.is_cut {
        // Frames that Python does not show count as far as the cut.
        expected.truncate(stack.frames.len());
    }
    if stack.frames.len() != expected.len() {
        return Err(refuse(&format!("{} of {} were found", stack.frames.len(), expected.len())));
    }
    for ((raw, frame), expected) in stack.frames.iter().zip(frames).zip(expected) {
        let seen = Seen { code: raw.code, instruction: raw.instruction, frame };
        if seen != expected {
            return Err(refuse(&format!("{seen:?} instead of {expected:?}")));
        }
    }
    Ok(())
}

/// The frames of the calling thread, as far as they would be read, as their attributes say.
fn told(py: Python<'_>) -> PyResult<Vec<Seen>> {
    let mut seen = Vec::new();
    let mut frame = py.import("sys")?.call_method0("_getframe")?;
    while !frame.is_none() && seen.len() < DEEPEST {
        let code = frame.getattr("f_code")?;
        let first_line = code.getattr("co_firstlineno")?.extract()?;
        let name = if cfg!(Py_3_11) { "co_qualname" } else { "co_name" };
        seen.push(Seen {
            code: code.as_ptr() as usize,
            instruction: frame.getattr("f_lasti")?.extract()?,
            frame: Frame {
                function: characters(&code.getattr(name)?)?,
                file: characters(&code.getattr("co_filename")?)?,
                line: frame.getattr("f_lineno")?.extract::<Option<u32>>()?.unwrap_or(first_line),
                first_line,
            },
        });
        frame = frame.getattr("f_back")?;
    }
    Ok(seen)
}

/// A string, with a replacement for each character that is none.
fn characters(text: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(text) = text.extract() {
        return Ok(text);
    }
    let encoded: Vec<u8> = text.call_method1("encode", ("utf-32-le", "surrogatepass"))?.extract()?;
    let units = encoded.as_chunks().0.iter().map(|unit| u32::from_le_bytes(*unit));
    Ok(units.map(|unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect())
}
