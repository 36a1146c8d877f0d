//! Where a coroutine is suspended, read from its frame without making a frame object.
//!
//! A coroutine that awaits another keeps it on top of its frame's stack; that one may await a third; and so on to the
//! innermost. Asking for this through attributes (`cr_frame`, `cr_await`) makes a frame object at each level, 200 ns and
//! an allocation; reading the structures takes a few loads. Their layout is private to each version of Python, so:
//!
//! * the offsets of each version stand in one table, [`layout`];
//! * [`check`] reads a coroutine both ways when the package is imported, and where the two differ nothing is read at all:
//!   steps are then recorded without their places.
//!
//! # Invariants
//!
//! * Only suspended coroutines are read, under the GIL, while a reference to the outermost is held: nothing changes.
//! * Nothing is kept: what comes out is a code object, borrowed for the moment, and an offset in it.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use crate::raw::Owned;

/// How deep a chain of awaits is followed.
const DEEPEST: usize = 64;

/// Offsets in bytes of the fields that are read.
#[cfg(not(Py_3_11))]
mod layout {
    /// A generator's frame object.
    pub(super) const FRAME: usize = 16;
    /// A frame's code.
    pub(super) const CODE: usize = 32;
    /// A frame's stack, and how much of it is used.
    pub(super) const STACK: usize = 64;
    pub(super) const STACK_DEPTH: usize = 80;
    /// The last instruction, in two-byte units.
    pub(super) const LAST_INSTRUCTION: usize = 96;
}

/// Offsets in bytes of the fields that are read.
#[cfg(Py_3_11)]
mod layout {
    /// The state of a coroutine that awaits. Lower ones: not begun, suspended elsewhere. Higher ones: running, ended.
    #[cfg(not(Py_3_15))]
    pub(super) const SUSPENDED_IN_AWAIT: i8 = -1;
    #[cfg(Py_3_15)]
    pub(super) const SUSPENDED_IN_AWAIT: i8 = 2;
    /// A generator's state.
    #[cfg(not(Py_3_12))]
    pub(super) const STATE: usize = 75;
    #[cfg(Py_3_12)]
    pub(super) const STATE: usize = 67;
    /// A generator's frame, which is part of it.
    #[cfg(not(Py_3_12))]
    pub(super) const FRAME: usize = 80;
    #[cfg(Py_3_12)]
    pub(super) const FRAME: usize = 72;
    /// A frame's code.
    #[cfg(not(Py_3_12))]
    pub(super) const CODE: usize = 32;
    #[cfg(Py_3_12)]
    pub(super) const CODE: usize = 0;
    /// The address of the instruction at which it is suspended.
    pub(super) const INSTRUCTION: usize = 56;
    /// How much of locals and stack is used, in words; a pointer past it from 3.14 on.
    pub(super) const STACK_TOP: usize = 64;
    /// The locals, then the stack.
    #[cfg(not(Py_3_14))]
    pub(super) const LOCALS: usize = 72;
    /// The bits of a reference on the stack that are not the address.
    #[cfg(Py_3_14)]
    pub(super) const TAG: usize = 3;
    /// Where the awaited object is, in words below the top of the stack: from 3.15 on an index of iterators lies above it.
    #[cfg(all(Py_3_14, not(Py_3_15)))]
    pub(super) const AWAITED: usize = 1;
    #[cfg(Py_3_15)]
    pub(super) const AWAITED: usize = 2;
}

/// Whether the layout is the one of this interpreter.
static READABLE: AtomicBool = AtomicBool::new(false);

/// A suspended piece of code: a code object and the offset in bytes of the instruction it awaits at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suspended {
    /// The code, borrowed.
    pub(crate) code: NonNull<PyObject>,
    /// The offset, as `PyCode_Addr2Line` takes it.
    pub(crate) offset: u32,
}

/// What a coroutine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Suspended here.
    Suspended(Suspended),
    /// Not suspended in an await: it has ended, runs, or never began.
    Ended,
}

/// Whether an object is a coroutine whose frame can be read.
pub(crate) fn is_readable(object: &Owned) -> bool {
    READABLE.load(Ordering::Relaxed) && is_coroutine(object.as_ptr())
}

fn is_coroutine(object: *mut PyObject) -> bool {
    // SAFETY: the object is alive.
    unsafe { ffi::Py_TYPE(object) == &raw mut ffi::PyCoro_Type }
}

/// The code of a coroutine that has not ended, borrowed from it; nothing where it cannot be read.
pub(crate) fn code(coroutine: &Owned) -> Option<NonNull<PyObject>> {
    if !is_readable(coroutine) {
        return None;
    }
    // SAFETY: a coroutine that is alive, and the table of offsets, which `check` has tried.
    unsafe { read_code(coroutine.as_ptr()) }
}

/// Follows the chain of awaits from a coroutine inwards, and calls `visit` with each coroutine's place. Says whether the
/// outermost is suspended.
pub(crate) fn walk(coroutine: &Owned, mut visit: impl FnMut(Suspended)) -> bool {
    let mut object = coroutine.as_ptr();
    for depth in 0..DEEPEST {
        if !is_coroutine(object) {
            return depth > 0;
        }
        // SAFETY: a coroutine, alive: the outermost is held by the caller, each other one by the frame that awaits it.
        let State::Suspended(place) = (unsafe { read_state(object) }) else { return depth > 0 };
        visit(place);
        // SAFETY: the same, and it is suspended.
        match unsafe { read_awaited(object) } {
            Some(awaited) => object = awaited.as_ptr(),
            None => return true,
        }
    }
    true
}

/// Reads a field.
///
/// # Safety
///
/// `object` is alive and has a field of this type there.
unsafe fn field<T: Copy>(object: *const PyObject, offset: usize) -> T {
    // SAFETY: by this function's contract.
    unsafe { object.cast::<u8>().add(offset).cast::<T>().read_unaligned() }
}

/// What stands where the code of a coroutine's frame should: its address, if the table of offsets is right.
///
/// # Safety
///
/// `object` is a coroutine that is alive.
#[cfg(Py_3_11)]
unsafe fn code_address(object: *const PyObject) -> usize {
    // SAFETY: within the object, whose size is larger in every version.
    let code: usize = unsafe { field(object, layout::FRAME + layout::CODE) };
    #[cfg(Py_3_14)]
    let code = code & !layout::TAG;
    code
}

/// # Safety
///
/// `object` is a coroutine that is alive. The code is that of a frame only while it has one: before 3.11 a coroutine that
/// has ended has none, later ones have cleared it.
#[cfg(not(Py_3_11))]
unsafe fn read_code(object: *const PyObject) -> Option<NonNull<PyObject>> {
    // SAFETY: by this function's contract and the table of offsets, which `check` has tried.
    unsafe {
        let frame: *const PyObject = field(object, layout::FRAME);
        if frame.is_null() { None } else { NonNull::new(field(frame, layout::CODE)) }
    }
}

/// # Safety
///
/// `object` is a coroutine that is alive.
#[cfg(Py_3_11)]
unsafe fn read_code(object: *const PyObject) -> Option<NonNull<PyObject>> {
    // SAFETY: by this function's contract and the table of offsets, which `check` has tried. One that runs or has ended is not
    // read.
    unsafe {
        if field::<i8>(object, layout::STATE) > layout::SUSPENDED_IN_AWAIT {
            return None;
        }
        NonNull::new(code_address(object) as *mut PyObject)
    }
}

/// # Safety
///
/// `object` is a coroutine that is alive.
#[cfg(not(Py_3_11))]
unsafe fn read_state(object: *const PyObject) -> State {
    // SAFETY: by this function's contract and the table of offsets, which `check` has tried.
    unsafe {
        let frame: *const PyObject = field(object, layout::FRAME);
        if frame.is_null() {
            return State::Ended;
        }
        let last: i32 = field(frame, layout::LAST_INSTRUCTION);
        match (NonNull::new(field(frame, layout::CODE)), u32::try_from(last)) {
            (Some(code), Ok(last)) => State::Suspended(Suspended { code, offset: last * 2 }),
            _ => State::Ended,
        }
    }
}

/// # Safety
///
/// `object` is a suspended coroutine that is alive.
#[cfg(not(Py_3_11))]
unsafe fn read_awaited(object: *const PyObject) -> Option<NonNull<PyObject>> {
    // SAFETY: by this function's contract and the table of offsets, which `check` has tried.
    unsafe {
        let frame: *const PyObject = field(object, layout::FRAME);
        let depth: i32 = field(frame, layout::STACK_DEPTH);
        let stack: *const *mut PyObject = field(frame, layout::STACK);
        let top = usize::try_from(depth).ok()?.checked_sub(1)?;
        NonNull::new(stack.add(top).read())
    }
}

/// # Safety
///
/// `object` is a coroutine that is alive.
#[cfg(Py_3_11)]
unsafe fn read_state(object: *const PyObject) -> State {
    // SAFETY: by this function's contract and the table of offsets, which `check` has tried. The code of a code object
    // follows its fixed part, whose size its type knows.
    unsafe {
        if field::<i8>(object, layout::STATE) != layout::SUSPENDED_IN_AWAIT {
            return State::Ended;
        }
        let Some(code) = NonNull::new(code_address(object) as *mut PyObject) else { return State::Ended };
        let instruction: usize = field(object, layout::FRAME + layout::INSTRUCTION);
        let first = code.as_ptr() as usize + (*ffi::Py_TYPE(code.as_ptr())).tp_basicsize as usize;
        State::Suspended(Suspended { code, offset: instruction.saturating_sub(first) as u32 })
    }
}

/// # Safety
///
/// `object` is a suspended coroutine that is alive.
#[cfg(all(Py_3_11, not(Py_3_14)))]
unsafe fn read_awaited(object: *const PyObject) -> Option<NonNull<PyObject>> {
    // SAFETY: by this function's contract and the table of offsets, which `check` has tried.
    unsafe {
        let used: i32 = field(object, layout::FRAME + layout::STACK_TOP);
        let top = usize::try_from(used).ok()?.checked_sub(1)?;
        NonNull::new(field(object, layout::FRAME + layout::LOCALS + top * size_of::<usize>()))
    }
}

/// # Safety
///
/// `object` is a suspended coroutine that is alive.
#[cfg(Py_3_14)]
unsafe fn read_awaited(object: *const PyObject) -> Option<NonNull<PyObject>> {
    // SAFETY: by this function's contract and the table of offsets, which `check` has tried.
    unsafe {
        let past: *const usize = field(object, layout::FRAME + layout::STACK_TOP);
        NonNull::new((past.sub(layout::AWAITED).read() & !layout::TAG) as *mut PyObject)
    }
}

/// The line of an offset in a code object; 0 where it has none.
pub(crate) fn line(code: &Owned, offset: u32) -> u32 {
    // SAFETY: a code object that is alive; an offset out of range has no line.
    let line = unsafe { ffi::PyCode_Addr2Line(code.as_ptr().cast(), offset as i32) };
    u32::try_from(line).unwrap_or(0)
}

/// Reads a coroutine both ways: `chain` is suspended and awaits another one, that a third, and that an object which is none;
/// `fresh` has not begun. Where the answers agree, reading is switched on. Closes `chain`.
pub(crate) fn check(chain: &Bound<'_, PyAny>, fresh: &Bound<'_, PyAny>) -> PyResult<bool> {
    let is_known = cfg!(not(Py_3_16));
    if !is_known || !is_coroutine(chain.as_ptr()) || !is_coroutine(fresh.as_ptr()) {
        return Ok(false);
    }
    let mut expected = Vec::new();
    let mut coroutine = chain.clone();
    while is_coroutine(coroutine.as_ptr()) {
        let code = coroutine.getattr("cr_code")?;
        let line: u32 = coroutine.getattr("cr_frame")?.getattr("f_lineno")?.extract()?;
        expected.push((code.as_ptr() as usize, line));
        coroutine = coroutine.getattr("cr_await")?;
    }
    let outermost: Owned = chain.clone().into();
    let mut read = Vec::new();
    // The table is tried on a live coroutine: a wrong one gives addresses that are compared before they are followed.
    let plausible = is_plausible(&outermost, expected.first().map_or(0, |first| first.0));
    let suspended = plausible
        && walk(&outermost, |place| {
            let known = expected.iter().any(|(code, _)| *code == place.code.as_ptr() as usize);
            let line = if known {
                // SAFETY: one of the code objects that the attributes gave, which are alive.
                line(&unsafe { Owned::from_borrowed(place.code) }, place.offset)
            } else {
                0
            };
            read.push((place.code.as_ptr() as usize, line));
        });
    chain.call_method0("close")?;
    // SAFETY: two coroutines that are alive: one has ended, the other has not begun.
    let idle = [chain, fresh].iter().all(|one| plausible && unsafe { read_state(one.as_ptr()) } == State::Ended);
    let readable = suspended && idle && read == expected && read.len() == 3;
    READABLE.store(readable, Ordering::Relaxed);
    Ok(readable)
}

/// Whether the field that should hold the code does.
#[cfg(Py_3_11)]
fn is_plausible(coroutine: &Owned, code: usize) -> bool {
    // SAFETY: a coroutine that is alive.
    unsafe { code_address(coroutine.as_ptr()) == code }
}

/// Whether the field that should hold the code does.
#[cfg(not(Py_3_11))]
fn is_plausible(coroutine: &Owned, code: usize) -> bool {
    // SAFETY: within the object, whose size is larger in every version.
    let frame: *const PyObject = unsafe { field(coroutine.as_ptr(), layout::FRAME) };
    // SAFETY: the layout of 3.10 does not change any more: a suspended coroutine has a frame object there.
    !frame.is_null() && unsafe { field::<usize>(frame, layout::CODE) } == code
}
