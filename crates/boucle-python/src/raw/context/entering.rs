//! How a context is entered and left: by hand, where the interpreter is known to do no more than that.
//!
//! Up to Python 3.13 it moves a few words between the context and the thread's state, behind two calls that look the state
//! up. Every step enters and leaves once, so the same is done here, with a state that the loop looks up when it begins to run.
//!
//! ```text
//! enter    context: before <- current, is entered;    thread: current <- context, changes + 1
//! leave    thread: current <- before, changes + 1;    context: before <- nothing, is not entered
//! ```
//!
//! # Invariants
//!
//! * The thread's state owns a reference to the current context. Entering moves it to the place of the one entered before, and
//!   leaving moves it back; the reference to the context that is entered is made by entering, and dropped by leaving.
//! * Every change is counted. A variable's cache is good for one thread and one number of changes.
//! * What is not usual is the interpreter's, and so is each exception: an object that is no context, a context that is entered
//!   already, or that is not the current one when it is left, for a greenlet has been given another.
//! * [`super::trial`] has seen that this and the interpreter's calls do the same. From Python 3.14 on they tell watchers as
//!   well, so nothing is done by hand.

use std::ffi::c_int;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::{Python, ffi};

use super::super::{Owned, Raised, Result};
use super::{ENTERED_BEFORE_AT, IS_ENTERED_AT};

/// Where a thread's state has what it knows of contexts, in bytes; 0 where the interpreter enters and leaves.
static KNOWLEDGE_AT: AtomicUsize = AtomicUsize::new(0);

/// What a thread's state knows of contexts.
#[repr(C)]
struct Knowledge {
    /// The current context, a reference, or null.
    current: *mut ffi::PyObject,
    /// How often a context was entered or left.
    changes: u64,
}

/// From now on enters and leaves by hand, in the states of threads at this place; not at all for 0.
pub(super) fn do_by_hand(knowledge_at: usize) {
    KNOWLEDGE_AT.store(knowledge_at, Ordering::Relaxed);
}

/// Whether it is done by hand.
pub(super) fn is_done_by_hand() -> bool {
    KNOWLEDGE_AT.load(Ordering::Relaxed) != 0
}

/// Does `work` inside of a context. Raises what the work raises, and where the context cannot be entered or left.
///
/// # Safety
///
/// An object that is alive, not null. Whether it is a context is looked at.
#[inline]
pub(super) unsafe fn within_object<R>(
    thread: Thread,
    context: *mut ffi::PyObject,
    work: impl FnOnce() -> Result<R>,
) -> Result<R> {
    // SAFETY: by this function's contract. The reference is for leaving: what the work does may drop all others, and the
    // thread's state gives its own up before the context is left.
    let context = unsafe { Owned::from_borrowed(NonNull::new_unchecked(context)) };
    if !thread.enter(&context) {
        enter(&context)?;
    }
    let result = work();
    if !thread.leave(&context) {
        leave(&context)?;
    }
    result
}

/// Has the interpreter enter a context.
#[inline(never)]
pub(super) fn enter(context: &Owned) -> Result<()> {
    // SAFETY: alive, and looked at there.
    if unsafe { ffi::PyContext_Enter(context.as_ptr()) } < 0 { Err(Raised) } else { Ok(()) }
}

/// Has the interpreter leave a context. An exception that is set stays set.
#[inline(never)]
pub(super) fn leave(context: &Owned) -> Result<()> {
    // SAFETY: alive, and looked at there.
    if unsafe { ffi::PyContext_Exit(context.as_ptr()) } < 0 { Err(Raised) } else { Ok(()) }
}

/// The current thread, as whoever enters contexts needs it; of no use where the interpreter enters and leaves.
///
/// It can be kept as long as the function that got it has not returned: code that comes back to this thread comes back to the
/// same state, and greenlets share it.
#[derive(Clone, Copy)]
pub(crate) struct Thread(Option<NonNull<Knowledge>>);

impl Thread {
    /// This thread, which holds the GIL.
    #[inline]
    pub(crate) fn current(py: Python<'_>) -> Self {
        match KNOWLEDGE_AT.load(Ordering::Relaxed) {
            0 => Self(None),
            at => Self::with_knowledge_at(py, at),
        }
    }

    /// This thread, if its state has what it knows of contexts there.
    #[inline]
    pub(super) fn with_knowledge_at(_: Python<'_>, at: usize) -> Self {
        // SAFETY: the GIL is held, so there is a state, and it is longer than that.
        Self(Some(unsafe { NonNull::new_unchecked(ffi::PyThreadState_Get()).byte_add(at).cast() }))
    }

    /// The address of the current context, and how often there was a change.
    pub(super) fn get(self) -> (*mut ffi::PyObject, u64) {
        let Some(knowledge) = self.0 else { return (ptr::null_mut(), 0) };
        // SAFETY: the state is this thread's, which nobody else writes to.
        let Knowledge { current, changes } = unsafe { knowledge.read() };
        (current, changes)
    }

    /// Enters a context, if it is one and nobody is inside.
    #[inline]
    pub(super) fn enter(self, context: &Owned) -> bool {
        // SAFETY: a static of the interpreter.
        if context.type_ptr() != &raw mut ffi::PyContext_Type {
            return false;
        }
        let Some(knowledge) = self.0.map(NonNull::as_ptr) else { return false };
        // SAFETY: both are alive, and laid out as was tried. The reference to the former context changes places.
        unsafe {
            let (before, is_entered) = of_context(context);
            if *is_entered != 0 {
                return false;
            }
            *before = (*knowledge).current;
            *is_entered = 1;
            (*knowledge).current = context.clone().into_ptr();
            (*knowledge).changes = (*knowledge).changes.wrapping_add(1);
        }
        true
    }

    /// Leaves a context, which is one, if it is the current one and entered.
    #[inline]
    pub(super) fn leave(self, context: &Owned) -> bool {
        let Some(knowledge) = self.0.map(NonNull::as_ptr) else { return false };
        // SAFETY: both are alive, and laid out as was tried: the current context is one. The reference to the former one
        // changes places, and that to this one is dropped; ours is another one.
        unsafe {
            if (*knowledge).current != context.as_ptr() {
                return false;
            }
            let (before, is_entered) = of_context(context);
            if *is_entered == 0 {
                return false;
            }
            (*knowledge).current = ptr::replace(before, ptr::null_mut());
            (*knowledge).changes = (*knowledge).changes.wrapping_add(1);
            *is_entered = 0;
            drop(Owned::from_owned(NonNull::new_unchecked(context.as_ptr())));
        }
        true
    }
}

/// The context that was entered before a context, and whether somebody is in it.
pub(super) fn words_of(context: &Owned) -> (*mut ffi::PyObject, c_int) {
    let (before, is_entered) = of_context(context);
    // SAFETY: the context is alive.
    unsafe { (*before, *is_entered) }
}

/// Where a context has the one that was entered before it, and whether somebody is in it.
#[inline]
fn of_context(context: &Owned) -> (*mut *mut ffi::PyObject, *mut c_int) {
    let context = context.as_ptr();
    // SAFETY: both are within the context, whose size was compared.
    unsafe { (context.byte_add(ENTERED_BEFORE_AT).cast(), context.byte_add(IS_ENTERED_AT).cast()) }
}
