//! Tries out where the interpreter keeps what [`super`] reads and writes: on contexts made for that.
//!
//! A place is believed if it holds what it must in each state in which it could be told from others: before a context is
//! entered, while it is, while another one is inside of it, before and after a variable is set, and in a copy. Entering by hand
//! is believed if each word is then as after the interpreter's calls, and each variable has the value of its context.

use std::ffi::c_int;
use std::mem::size_of;
use std::ptr::{self, NonNull};

use pyo3::{Python, ffi};

use super::super::{Owned, Raised, Result};
use super::entering::{self, Thread};
use super::{WEAK_REFERENCES_AT, exchange_mapping, mapping_of};

/// How many words of a thread's state are looked at. Every version's has more.
const WORDS: usize = 33;

/// The words of a context: the header, the context entered before, the mapping, the weak references, and a flag.
const SIZE: usize = size_of::<ffi::PyObject>() + 4 * size_of::<usize>();

/// How this interpreter keeps contexts.
pub(super) struct Layout {
    /// Where a thread's state has the current context, in bytes.
    pub(super) current: usize,
    /// Whether contexts can be entered and left by hand there.
    pub(super) enters_alike: bool,
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
    if !holds_what_was_set(py, &outer, &inner, &variable, &empty)? {
        return Ok(None);
    }
    // From 3.14 on others can watch how contexts are entered, and without a GIL references are counted in two places.
    let is_plain = !cfg!(any(Py_3_14, Py_GIL_DISABLED));
    let enters_alike = is_plain && enters_alike(py, current, &variable)?;
    Ok(Some(Layout { current, enters_alike, empty }))
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
            return Err(Raised);
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

/// Does something inside of a context, which the interpreter enters and leaves.
fn within<R>(context: &Owned, work: impl FnOnce() -> Result<R>) -> Result<R> {
    entering::enter(context)?;
    let result = work();
    entering::leave(context)?;
    result
}

/// Whether contexts that are entered or left by hand are as those that the interpreter has entered or left.
fn enters_alike(py: Python<'_>, at: usize, variable: &Owned) -> Result<bool> {
    let walk = Walk {
        thread: Thread::with_knowledge_at(py, at),
        contexts: [new_context(py)?, new_context(py)?, new_context(py)?],
        values: [Owned::none(py), Owned::truth(py)],
        variable,
    };
    walk.set_values()?;
    let expected = walk.seen([false, false])?;
    // Nothing is written by hand before the interpreter has been seen to write just that.
    if !expected.iter().map(|seen| &seen.words).eq(&WRITTEN) {
        return Ok(false);
    }
    for by_hand in [[true, true], [true, false], [false, true]] {
        if walk.seen(by_hand)? != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A walk through contexts: the first one is entered and left by the interpreter, the others within it as is tried.
struct Walk<'a> {
    thread: Thread,
    contexts: [Owned; 3],
    /// What the variable is in the second and in the third context.
    values: [Owned; 2],
    variable: &'a Owned,
}

/// What is seen at one place of the walk.
#[derive(PartialEq)]
struct Seen {
    words: Words,
    /// How many references each context has.
    references: [isize; 3],
}

/// What is written in the thread's state and in the second and the third context; contexts by their number.
#[derive(PartialEq)]
struct Words {
    current: Option<usize>,
    /// How often the state was changed since the walk began.
    changes: u64,
    before: [Option<usize>; 2],
    is_entered: [c_int; 2],
    /// Which of the values the variable has.
    value: Option<usize>,
}

/// What is written during a walk: at its begin, in the second context, in the third, in the second again, and at the end.
const WRITTEN: [Words; 5] = [
    Words { current: Some(0), changes: 0, before: [None, None], is_entered: [0, 0], value: None },
    Words { current: Some(1), changes: 1, before: [Some(0), None], is_entered: [1, 0], value: Some(0) },
    Words { current: Some(2), changes: 2, before: [Some(0), Some(1)], is_entered: [1, 1], value: Some(1) },
    Words { current: Some(1), changes: 3, before: [Some(0), None], is_entered: [1, 0], value: Some(0) },
    Words { current: Some(0), changes: 4, before: [None, None], is_entered: [0, 0], value: None },
];

impl Walk<'_> {
    fn set_values(&self) -> Result<()> {
        let [_, contexts @ ..] = &self.contexts;
        for (context, value) in contexts.iter().zip(&self.values) {
            // SAFETY: both are alive.
            let set = || unsafe { ffi::PyContextVar_Set(self.variable.as_ptr(), value.as_ptr()) };
            // SAFETY: a new reference, or null.
            within(context, || unsafe { Owned::from_returned(set()) }.map(drop))?;
        }
        Ok(())
    }

    /// What is seen on a walk that enters by hand or not, and leaves by hand or not.
    fn seen(&self, by_hand: [bool; 2]) -> Result<[Seen; 5]> {
        let [outer, one, other] = &self.contexts;
        let [enters_by_hand, leaves_by_hand] = by_hand;
        within(outer, || {
            let (_, begun) = self.thread.get();
            let look = || self.look(begun);
            let enter = |context| {
                let is_done = enters_by_hand && self.thread.enter(context);
                if is_done { Ok(()) } else { entering::enter(context) }
            };
            let leave = |context| {
                let is_done = leaves_by_hand && self.thread.leave(context);
                if is_done { Ok(()) } else { entering::leave(context) }
            };
            let at_begin = look()?;
            enter(one)?;
            let first = look()?;
            enter(other)?;
            let inner = look()?;
            leave(other)?;
            let again = look()?;
            leave(one)?;
            Ok([at_begin, first, inner, again, look()?])
        })
    }

    fn look(&self, begun: u64) -> Result<Seen> {
        let (current, changes) = self.thread.get();
        let [_, one, other] = &self.contexts;
        let [(before_one, one), (before_other, other)] = [one, other].map(entering::words_of);
        let value = value_of(self.variable)?;
        let words = Words {
            current: self.number_of(current),
            changes: changes.wrapping_sub(begun),
            before: [self.number_of(before_one), self.number_of(before_other)],
            is_entered: [one, other],
            value: value.and_then(|value| self.values.iter().position(|one| one.is(&value))),
        };
        Ok(Seen { words, references: self.contexts.each_ref().map(Owned::references) })
    }

    /// The number of a context; nothing for null, and none of these numbers for another one.
    fn number_of(&self, context: *mut ffi::PyObject) -> Option<usize> {
        let position = self.contexts.iter().position(|one| one.as_ptr() == context);
        (!context.is_null()).then(|| position.unwrap_or(self.contexts.len()))
    }
}
