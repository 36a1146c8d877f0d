//! Contexts: what a handle, a task or a waiter keeps of one, and how something runs inside of it.
//!
//! Each call of `call_soon` copies the current context, and nearly every copy is entered once and seen by nobody. A context
//! is an object around a mapping that never changes: setting a variable gives the object another mapping. So what is kept
//! of a copy is the mapping alone, which the original has as well; an object is *lent* to it when it runs, and given back.
//!
//! ```text
//! copy_current    mapping of the current context
//! run             lent object <- mapping; enter, work, leave
//! give_back       mapping, as the work left it <- spare object
//! object          an object <- mapping, for ever: Python has seen it
//! ```
//!
//! # Invariants
//!
//! * No program can tell: an object that Python was shown, or that somebody still holds (a token of `ContextVar.set`, a
//!   greenlet), is not given back. It stays where it was lent to, as the context that asyncio would have made.
//! * A spare object holds the empty mapping, so it keeps nothing alive, and is what a new context is. The collector knows it,
//!   and so who asks `gc.get_objects()` may hold it: that is looked at again before it is lent.
//! * Entering and leaving are counted, by [`entering`] as by the interpreter, so that no variable's cache outlives an object's
//!   mapping.
//! * Where a context has its mapping and a thread its context are no part of the interpreter's API. Both are tried out at
//!   import, by [`trial`]; on an interpreter that does otherwise, copies are made as objects, and it enters and leaves.
//!
//! Rejected: giving back after each step of a task: 40 instructions a step; see [`crate::task::step`] for when it is done.

mod entering;
mod trial;

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use pyo3::{PyResult, Python, ffi};

pub(crate) use self::entering::Thread;
use super::args::Arg;
use super::class::Visit;
use super::{ObjectCell, Owned, Result};

/// Where a context has its mapping, in bytes: behind the header and the context that was entered before.
const MAPPING_AT: usize = size_of::<ffi::PyObject>() + size_of::<usize>();

/// Where a context has the one that was entered before it: null while nobody is in it.
const ENTERED_BEFORE_AT: usize = size_of::<ffi::PyObject>();

/// Where a context has the list of its weak references; its type says so too.
const WEAK_REFERENCES_AT: usize = MAPPING_AT + size_of::<usize>();

/// Where a context says, by a C `int`, whether somebody is in it.
const IS_ENTERED_AT: usize = WEAK_REFERENCES_AT + size_of::<usize>();

/// Where a thread's state has the current context, in bytes; 0 where copies are made as objects.
static CURRENT_AT: AtomicUsize = AtomicUsize::new(0);

/// The same, as it was found out; 0 where it is not known.
static KNOWN_AT: AtomicUsize = AtomicUsize::new(0);

/// Where it has what entering needs; 0 where that is not known.
static ENTERED_AT: AtomicUsize = AtomicUsize::new(0);

/// The type of mappings; null before they are known.
static MAPPING: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// The mapping without variables, a reference for ever; null before it is known.
static EMPTY: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());

/// An object to lend, a reference; null while there is none. More than one are lent only where a loop runs inside of another
/// one or in another thread, and by tasks between their steps: those are made anew.
static SPARE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());

/// What is kept of a context: an object of Python's class, or the mapping of one that Python has not seen.
#[derive(Clone)]
pub(crate) struct Context(Owned);

impl Context {
    /// A copy of the current context.
    #[inline]
    pub(crate) fn copy_current(_: Python<'_>) -> Result<Self> {
        let at = CURRENT_AT.load(Ordering::Relaxed);
        if at != 0 {
            // SAFETY: the GIL is held, so there is a state, which has the current context or null at this place, as was tried.
            let current: *mut ffi::PyObject = unsafe { *ffi::PyThreadState_Get().byte_add(at).cast() };
            if !current.is_null()
                && let Some(mapping) = NonNull::new(mapping_of(current))
            {
                // SAFETY: the current context is alive and holds its mapping.
                return Ok(Self(unsafe { Owned::from_borrowed(mapping) }));
            }
        }
        // SAFETY: the GIL is held.
        unsafe { Owned::from_returned(ffi::PyContext_CopyCurrent()) }.map(Self)
    }

    /// A context that Python has.
    #[inline]
    pub(crate) fn of(object: Owned) -> Self {
        Self(object)
    }

    /// The context that a caller gave; nothing for `None`.
    #[inline]
    pub(crate) fn given(argument: Arg<'_>) -> Option<Self> {
        (!argument.is_none()).then(|| Self(argument.to_owned()))
    }

    /// Whether it is one: a caller may give anything.
    pub(crate) fn is_one(&self) -> bool {
        let Self(kept) = self;
        // SAFETY: the object is alive.
        is_mapping(kept.as_ptr()) || unsafe { ffi::PyContext_CheckExact(kept.as_ptr()) != 0 }
    }

    /// The object, for Python.
    pub(crate) fn into_object(self, py: Python<'_>) -> Result<Owned> {
        let Self(kept) = self;
        if !is_mapping(kept.as_ptr()) {
            return Ok(kept);
        }
        let object = spare(py)?;
        drop(exchange_mapping(object.as_ptr(), kept));
        Ok(object)
    }

    /// What the garbage collector has to visit.
    pub(crate) fn content(&self) -> &Owned {
        &self.0
    }
}

/// Does `work` inside of the context that a field holds, an object. Raises as [`ContextCell::run`] does.
#[inline]
pub(crate) fn within<R>(py: Python<'_>, context: &ObjectCell, work: impl FnOnce() -> Result<R>) -> Result<R> {
    // SAFETY: the callers have looked whether the field holds an object.
    unsafe { entering::within_object(Thread::current(py), context.as_ptr(), work) }
}

/// A field that holds what is kept of a context, or nothing.
///
/// It is an address, whose lowest bit says that it is of an object that was lent and that Python has not been shown.
#[derive(Default)]
pub(crate) struct ContextCell(Cell<usize>);

/// The bit that says so.
const LENT: usize = 1;

impl ContextCell {
    /// A cell that holds one.
    #[inline]
    pub(crate) fn new(context: Context) -> Self {
        Self(Cell::new(context.0.into_ptr() as usize))
    }

    /// The address of what is kept; null where there is nothing.
    #[inline]
    fn as_ptr(&self) -> *mut ffi::PyObject {
        ptr::with_exposed_provenance_mut(self.0.get() & !LENT)
    }

    /// Replaces it and returns the former one.
    #[must_use = "dropping what was replaced runs arbitrary Python: do it where nothing is borrowed"]
    #[inline]
    pub(crate) fn replace(&self, context: Option<Context>) -> Option<Context> {
        let former = NonNull::new(self.as_ptr());
        self.0.set(context.map_or(0, |context| context.0.into_ptr().expose_provenance()));
        // SAFETY: the cell held a reference, which it does not any more.
        former.map(|former| Context(unsafe { Owned::from_owned(former) }))
    }

    /// Takes it out.
    #[must_use = "dropping what was taken runs arbitrary Python: do it where nothing is borrowed"]
    #[inline]
    pub(crate) fn take(&self) -> Option<Context> {
        self.replace(None)
    }

    /// What is kept, for somebody else to run in the same context: Python has seen it then.
    pub(crate) fn get(&self) -> Option<Context> {
        self.0.set(self.0.get() & !LENT);
        // SAFETY: the cell holds a reference.
        NonNull::new(self.as_ptr()).map(|kept| Context(unsafe { Owned::from_borrowed(kept) }))
    }

    /// Visits what it holds.
    pub(crate) fn traverse(&self, visit: &mut Visit) {
        visit.ptr(self.as_ptr());
    }

    /// The object, for Python: the same one each time.
    pub(crate) fn object(&self, py: Python<'_>) -> Result<Option<Owned>> {
        if is_mapping(self.as_ptr()) {
            self.lend(py)?;
        }
        Ok(self.get().map(|context| context.0))
    }

    /// Does `work` inside of it, as `Context.run` does: what it sets stays set. Raises where it was entered already, and
    /// what the work raises. An object that was lent for it stays here until [`ContextCell::give_back`].
    #[expect(
        clippy::inline_always,
        reason = "what is called inside is inlined as well: a step of a handle is one function"
    )]
    #[inline(always)]
    pub(crate) fn run<R>(&self, py: Python<'_>, thread: Thread, work: impl FnOnce() -> Result<R>) -> Result<R> {
        if is_mapping(self.as_ptr()) && !self.lend_spare() {
            self.lend(py)?;
        }
        // SAFETY: the cell holds an object.
        unsafe { entering::within_object(thread, self.as_ptr(), work) }
    }

    /// Lends the spare object to the mapping in the cell, which holds the object then; if there is one to lend.
    #[inline]
    fn lend_spare(&self) -> bool {
        take_spare().map(|spare| self.hold_lent(spare)).is_some()
    }

    /// Holds an object that is lent to the mapping in the cell.
    #[inline]
    fn hold_lent(&self, object: Owned) {
        let object = object.into_ptr();
        if let Some(Context(mapping)) = self.take() {
            drop(exchange_mapping(object, mapping));
        }
        self.0.set(object.expose_provenance() | LENT);
    }

    /// Lends an object to the mapping in the cell, which holds the object then. Makes one if there is none.
    #[inline(never)]
    fn lend(&self, py: Python<'_>) -> Result<()> {
        let spare = spare(py)?;
        // Making one may have run the collector, and with it Python that has looked at this cell.
        if !is_mapping(self.as_ptr()) {
            keep_spare(spare);
            return Ok(());
        }
        self.hold_lent(spare);
        Ok(())
    }

    /// Gives back what was lent, unless somebody has seen it: then it stays here. Nobody may be inside of it.
    #[inline]
    pub(crate) fn give_back(&self, _: Python<'_>) {
        if self.0.get() & LENT == 0 {
            return;
        }
        let object = self.as_ptr();
        // SAFETY: the cell holds the object.
        if !unsafe { is_unseen(object) } {
            return;
        }
        let Some(empty) = NonNull::new(EMPTY.load(Ordering::Relaxed)) else { return };
        // SAFETY: a reference for ever.
        let mapping = exchange_mapping(object, unsafe { Owned::from_borrowed(empty) });
        self.0.set(mapping.into_ptr().expose_provenance());
        // SAFETY: the cell's reference, which it gave up.
        keep_spare(unsafe { Owned::from_owned(NonNull::new_unchecked(object)) });
    }
}

impl Drop for ContextCell {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Finds out how this interpreter keeps contexts. Without it, copies are made as objects.
pub(crate) fn initialise(py: Python<'_>) -> PyResult<()> {
    let Some(layout) = trial::layout(py).map_err(|raised| raised.take(py))? else { return Ok(()) };
    MAPPING.store(layout.empty.type_ptr(), Ordering::Relaxed);
    EMPTY.store(layout.empty.into_ptr(), Ordering::Relaxed);
    KNOWN_AT.store(layout.current, Ordering::Relaxed);
    ENTERED_AT.store(if layout.enters_alike { layout.current } else { 0 }, Ordering::Relaxed);
    use_knowledge(true);
    Ok(())
}

/// From now on keeps the mappings of copies where the interpreter is known, and enters and leaves by hand; or does neither, as
/// where it is not known: all can be tested. Says whether mappings are kept, and whether it enters and leaves by hand.
pub(crate) fn use_knowledge(wanted: bool) -> (bool, bool) {
    let known = |at: &AtomicUsize| if wanted { at.load(Ordering::Relaxed) } else { 0 };
    let current = known(&KNOWN_AT);
    CURRENT_AT.store(current, Ordering::Relaxed);
    entering::do_by_hand(known(&ENTERED_AT));
    (current != 0, entering::is_done_by_hand())
}

/// A context without variables that nobody else holds.
#[inline]
fn spare(_: Python<'_>) -> Result<Owned> {
    // SAFETY: the GIL is held.
    take_spare().map_or_else(|| unsafe { Owned::from_returned(ffi::PyContext_New()) }, Ok)
}

/// The spare object, if there is one that nobody has seen; lets go of one that somebody has.
#[inline]
fn take_spare() -> Option<Owned> {
    // Not in one operation: the GIL is held, and an atomic exchange takes longer than all the rest.
    let spare = NonNull::new(SPARE.load(Ordering::Relaxed))?;
    SPARE.store(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: the static held a reference, which it does not any more.
    let spare = unsafe { Owned::from_owned(spare) };
    // SAFETY: a context, alive.
    (unsafe { is_unseen(spare.as_ptr()) } && is_empty(spare.as_ptr())).then_some(spare)
}

/// Whether nobody but who asks holds a context, by a weak reference neither, and nobody is in it.
///
/// # Safety
///
/// A context that is alive, of the size that was compared.
#[inline]
unsafe fn is_unseen(context: *mut ffi::PyObject) -> bool {
    // SAFETY: by this function's contract. All three are within the context, at places that its type and the trial confirm.
    unsafe {
        let before: *mut ffi::PyObject = *context.byte_add(ENTERED_BEFORE_AT).cast();
        let weak: *mut ffi::PyObject = *context.byte_add(WEAK_REFERENCES_AT).cast();
        let entered: std::ffi::c_int = *context.byte_add(IS_ENTERED_AT).cast();
        ffi::Py_REFCNT(context) == 1 && before.is_null() && weak.is_null() && entered == 0
    }
}

/// Whether a context has no variables.
#[inline]
fn is_empty(context: *mut ffi::PyObject) -> bool {
    mapping_of(context) == EMPTY.load(Ordering::Relaxed)
}

/// Keeps a context that nobody else holds and whose mapping is empty; drops it where there is one.
#[inline]
fn keep_spare(context: Owned) {
    if SPARE.load(Ordering::Relaxed).is_null() {
        SPARE.store(context.into_ptr(), Ordering::Relaxed);
    }
}

/// Whether an object is a mapping. Null is none.
#[inline]
fn is_mapping(object: *mut ffi::PyObject) -> bool {
    // SAFETY: not null, so alive: it comes from a field or a reference of ours.
    !object.is_null() && unsafe { ffi::Py_TYPE(object) } == MAPPING.load(Ordering::Relaxed)
}

/// The mapping of a context, borrowed from it.
#[inline]
fn mapping_of(context: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the callers pass a context that is alive; its size was compared, and what stands there was tried.
    unsafe { *context.byte_add(MAPPING_AT).cast() }
}

/// Gives a context that nobody has entered another mapping, and returns its former one.
#[inline]
fn exchange_mapping(context: *mut ffi::PyObject, mapping: Owned) -> Owned {
    // SAFETY: the callers pass a context that is alive. The place is within it, for its size was compared, and holds a
    // reference to a mapping, never null; what is put there takes over ours. Nobody has entered the context, so no
    // variable's cache speaks of what it held.
    unsafe {
        let place: *mut NonNull<ffi::PyObject> = context.byte_add(MAPPING_AT).cast();
        let new = NonNull::new_unchecked(mapping.into_ptr());
        Owned::from_owned(ptr::replace(place, new))
    }
}
