//! Tries out where the interpreter keeps what [`super`] reads and writes: on contexts made for that.
//!
//! A place is believed if it holds what it must in each state in which it could be told from others: before a context is
//! entered, while it is, while another one is inside of it, before and after a variable is set, and in a copy.

use std::mem::size_of;
use std::ptr::{self, NonNull};

use pyo3::{Python, ffi};

use super::super::{Owned, Result};
use super::{WEAK_REFERENCES_AT, exchange_mapping, mapping_of, within_object};

/// How many words of a thread's state are looked at. Every version's has more.
const WORDS: usize = 33;

/// The words of a context: the header, the context entered before, the mapping, the weak references, and a flag.
const SIZE: usize = size_of::<ffi::PyObject>() + 4 * size_of::<usize>();

/// How this interpreter keeps contexts.
pub(super) struct Layout {
    /// Where a thread's state has the current context, in bytes.
    pub(super) current: usize,
    /// The mapping without variables.
    pub(super) empty: Owned,
}

/// Finds out the layout; nothing where the interpreter does otherwise than is known.
pub(super) fn layout(py: Python<'_>) -> Result<Option<Layout>> {
    // SAFETY: a static of the interpreter.
    let (size, weak_references) = unsafe { (ffi::PyContext_Type.tp_basicsize, ffi::PyContext_Type.tp_weaklistoffset) };
    if size as usize != SIZE || weak_references as usize != WEAK_REFERENCES_AT {
        return Ok(None);
    }
    let (outer, inner) = (new_context(py)?, new_context(py)?);
    // SAFETY: the name lives for ever.
    let variable = unsafe { Owned::from_returned(ffi::PyContextVar_New(c"boucle".as_ptr(), ptr::null_mut()))? };
    let Some(empty) = empty_mapping(&outer, &inner) else { return Ok(None) };
    let Some(current) = place_of_current(&outer, &inner)? else { return Ok(None) };
    let holds = holds_what_was_set(py, &outer, &inner, &variable, &empty)?;
    Ok(holds.then_some(Layout { current, empty }))
}

/// The mapping of two new contexts, if it is the same.
fn empty_mapping(one: &Owned, other: &Owned) -> Option<Owned> {
    let mapping = NonNull::new(mapping_of(one.as_ptr()))?;
    // SAFETY: what is neither null nor the same in two contexts is not read.
    (mapping.as_ptr() == mapping_of(other.as_ptr())).then(|| unsafe { Owned::from_borrowed(mapping) })
}

/// The place of this thread's state that has a context exactly while it is the current one.
fn place_of_current(outer: &Owned, inner: &Owned) -> Result<Option<usize>> {
    let mut found = None;
    let mut places: Vec<usize> = (0..WORDS).collect();
    let keep = |places: &mut Vec<usize>, context: &Owned, is_current: bool| {
        // SAFETY: the GIL is held, so there is a state, and it has more words.
        places.retain(|place| unsafe {
            let word: *mut ffi::PyObject = *ffi::PyThreadState_Get().cast::<*mut ffi::PyObject>().add(*place);
            (word == context.as_ptr()) == is_current
        });
    };
    within(outer, || {
        keep(&mut places, outer, true);
        within(inner, || {
            keep(&mut places, inner, true);
            Ok(())
        })?;
        keep(&mut places, outer, true);
        Ok(())
    })?;
    keep(&mut places, outer, false);
    if let [place] = places[..] {
        found = Some(place * size_of::<usize>());
    }
    Ok(found)
}

/// Whether the mapping is where it is expected: set by a variable, not in a copy, and passed on by hand.
fn holds_what_was_set(py: Python<'_>, one: &Owned, other: &Owned, variable: &Owned, empty: &Owned) -> Result<bool> {
    let set = |value: &Owned| {
        within(one, || {
            // SAFETY: both are alive.
            unsafe { Owned::from_returned(ffi::PyContextVar_Set(variable.as_ptr(), value.as_ptr())) }.map(drop)
        })
    };
    let (first, second) = (Owned::none(py), Owned::truth(py));
    set(&first)?;
    // SAFETY: the context is alive.
    let copy = unsafe { Owned::from_returned(ffi::PyContext_Copy(one.as_ptr()))? };
    let mapping = mapping_of(one.as_ptr());
    let is_shared = mapping != empty.as_ptr() && mapping == mapping_of(copy.as_ptr());
    set(&second)?;
    let is_replaced = mapping == mapping_of(copy.as_ptr()) && mapping != mapping_of(one.as_ptr());
    if !(is_shared && is_replaced && same_type(mapping, empty) && same_type(mapping_of(one.as_ptr()), empty)) {
        return Ok(false);
    }
    let Some(mapping) = NonNull::new(mapping) else { return Ok(false) };
    // SAFETY: the copy holds it.
    drop(exchange_mapping(other.as_ptr(), unsafe { Owned::from_borrowed(mapping) }));
    let seen = within(other, || value_of(variable))?;
    drop(exchange_mapping(other.as_ptr(), empty.clone()));
    let seen_without = within(other, || value_of(variable))?;
    Ok(seen.is_some_and(|seen| seen.is(&first)) && seen_without.is_none())
}

/// The value of a variable in the current context.
fn value_of(variable: &Owned) -> Result<Option<Owned>> {
    let mut value = ptr::null_mut();
    // SAFETY: the variable is alive; the value is a new reference, or null where there is none.
    unsafe {
        if ffi::PyContextVar_Get(variable.as_ptr(), ptr::null_mut(), &raw mut value) < 0 {
            return Err(super::Raised);
        }
    }
    // SAFETY: as above.
    Ok(NonNull::new(value).map(|value| unsafe { Owned::from_owned(value) }))
}

fn same_type(mapping: *mut ffi::PyObject, empty: &Owned) -> bool {
    // SAFETY: a word that two contexts have in common and that a variable's setting replaced: a reference, alive.
    unsafe { ffi::Py_TYPE(mapping) == empty.type_ptr() }
}

fn new_context(_: Python<'_>) -> Result<Owned> {
    // SAFETY: the GIL is held.
    unsafe { Owned::from_returned(ffi::PyContext_New()) }
}

/// Does something inside of a context.
fn within<R>(context: &Owned, work: impl FnOnce() -> Result<R>) -> Result<R> {
    // SAFETY: a context, alive.
    unsafe { within_object(context.as_ptr(), work) }
}
