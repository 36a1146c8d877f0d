//! `Handle` and `TimerHandle`: a callback that will run, its arguments and its context.
//!
//! To every observer they are asyncio's: the same methods and private attributes, and `__class__` says so, which makes
//! `isinstance` true. What is rarely asked (repr, comparison) asyncio's own functions answer, on our object.
//!
//! # Invariants
//!
//! * A handle is no garbage-collected object, which makes it cheap. So it must not keep a cycle alive: when it has run,
//!   was cancelled or its loop was closed, it lets go of callback, arguments, context and loop. Until then its loop's
//!   traversal visits what it holds, see `loop_core::gc`.
//! * While it runs it keeps its callback: cancelling a running handle takes effect when the callback returns.
//! * A timer handle is in its loop's timers exactly while `key` is set.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ptr::NonNull;

use boucle_core::timers::TimerKey;
use pyo3::prelude::*;
use pyo3::{ffi, intern};

use crate::future::soon;
use crate::imports;
use crate::loop_core::LoopCore;
use crate::raw::args::Arg;
use crate::raw::call::{StoredArgs, call_stored, check_signals};
use crate::raw::class::{Builder, VALUE_AT, Visit, WeakList};
use crate::raw::context::{Context, ContextCell, Thread};
use crate::raw::freelist::Freelist;
use crate::raw::guard::{guard, guard_infallible};
use crate::raw::method::property;
use crate::raw::{Class, ObjectCell, Owned, Raised, Result, This, TypeCell, getter, gil, method, setter};
use crate::rendezvous;

/// A callback that will run.
#[repr(C)]
pub(crate) struct Handle {
    callback: ObjectCell,
    args: StoredArgs,
    context: ContextCell,
    /// The loop. Only its own methods make handles, so it is always a `LoopCore`.
    owner: ObjectCell,
    weak_references: WeakList,
    /// What debug mode keeps.
    debug: Cell<Option<Box<DebugInfo>>>,
    cancelled: Cell<bool>,
    running: Cell<bool>,
    /// Whether it runs each time a descriptor is ready, and so keeps its callback.
    repeats: Cell<bool>,
    /// Whether `call_soon_threadsafe` made it.
    shared: Cell<bool>,
    /// Whether another thread waits for it to have run, see [`rendezvous`].
    awaited: Cell<bool>,
}

/// What a handle keeps in debug mode.
#[derive(Clone, Default)]
struct DebugInfo {
    /// Where it was made.
    source_traceback: Option<Owned>,
    /// What it looked like before it was cancelled.
    repr: Option<Owned>,
}

impl DebugInfo {
    #[cold]
    fn here(py: Python<'_>) -> Result<Box<Self>> {
        Ok(Box::new(Self { source_traceback: Some(imports::source_traceback(py)?), repr: None }))
    }
}

/// A callback that will run at a time.
#[repr(C)]
pub(crate) struct TimerHandle {
    handle: Handle,
    /// The time, in seconds of the loop's clock.
    when: Cell<f64>,
    /// The object that was given as the time, where it was no float.
    given: ObjectCell,
    key: Cell<Option<TimerKey>>,
}

static HANDLE: TypeCell = TypeCell::new();
static TIMER_HANDLE: TypeCell = TypeCell::new();
static HANDLES: Freelist = Freelist::new();
static TIMER_HANDLES: Freelist = Freelist::new();

/// Where a handle says that it is cancelled, for who reads it from outside.
pub(crate) const CANCELLED_AT: usize = VALUE_AT + offset_of!(Handle, cancelled);

/// Where a handle keeps its argument, or a tuple of several.
pub(crate) const ARGUMENTS_AT: usize = VALUE_AT + offset_of!(Handle, args) + StoredArgs::CONTENT_AT;

/// The addresses of both classes.
pub(crate) fn class_addresses() -> [usize; 2] {
    [&HANDLE, &TIMER_HANDLE].map(|class| class.get() as usize)
}

impl Class for Handle {
    fn class() -> &'static TypeCell {
        &HANDLE
    }
}

impl Class for TimerHandle {
    fn class() -> &'static TypeCell {
        &TIMER_HANDLE
    }
}

/// What a handle runs.
pub(crate) struct Callback<'a, I> {
    /// The function.
    pub(crate) function: Arg<'a>,
    /// Its arguments.
    pub(crate) args: I,
    /// The context it runs in; a copy of the current one where there is none.
    pub(crate) context: Option<Context>,
}

impl<'a, I: ExactSizeIterator<Item = Arg<'a>>> Callback<'a, I> {
    /// What a handle is made of; what can fail has been done by then.
    #[expect(clippy::inline_always, reason = "the parts stay in registers until they are written to their place")]
    #[inline(always)]
    fn prepare(self, py: Python<'_>, owner: This<'_, LoopCore>) -> Result<Prepared> {
        let context = match self.context {
            Some(context) => context,
            None => Context::copy_current(py)?,
        };
        let args = StoredArgs::new(self.args)?;
        let debug = if owner.debug() { Some(DebugInfo::here(py)?) } else { None };
        Ok(Prepared { callback: self.function.to_owned(), args, context, owner: owner.to_owned(), debug })
    }

    /// A handle that runs once.
    #[inline]
    pub(crate) fn once(self, py: Python<'_>, owner: This<'_, LoopCore>) -> Result<Owned> {
        let prepared = self.prepare(py, owner)?;
        HANDLES.make(py, || prepared.handle(false))
    }

    /// A handle that runs once, and that any thread may ask and cancel.
    #[inline]
    pub(crate) fn shared(self, py: Python<'_>, owner: This<'_, LoopCore>) -> Result<Owned> {
        let prepared = self.prepare(py, owner)?;
        HANDLES.make(py, || Handle { shared: Cell::new(true), ..prepared.handle(false) })
    }

    /// A handle that runs whenever a descriptor is ready.
    pub(crate) fn repeating(self, py: Python<'_>, owner: This<'_, LoopCore>) -> Result<Owned> {
        let prepared = self.prepare(py, owner)?;
        HANDLES.make(py, || prepared.handle(true))
    }

    /// A handle that runs at a time. `given` is the time as the caller gave it.
    pub(crate) fn at(
        self,
        py: Python<'_>,
        owner: This<'_, LoopCore>,
        when: f64,
        given: Option<Owned>,
    ) -> Result<Owned> {
        let prepared = self.prepare(py, owner)?;
        TIMER_HANDLES.make(py, || TimerHandle {
            handle: prepared.handle(false),
            when: Cell::new(when),
            given: given.map_or_else(ObjectCell::default, ObjectCell::new),
            key: Cell::new(None),
        })
    }
}

/// The parts of a handle, all at hand.
struct Prepared {
    callback: Owned,
    args: StoredArgs,
    context: Context,
    owner: Owned,
    debug: Option<Box<DebugInfo>>,
}

impl Prepared {
    #[inline]
    fn handle(self, repeats: bool) -> Handle {
        Handle {
            callback: ObjectCell::new(self.callback),
            args: self.args,
            context: ContextCell::new(self.context),
            owner: ObjectCell::new(self.owner),
            weak_references: WeakList::default(),
            debug: Cell::new(self.debug),
            cancelled: Cell::new(false),
            running: Cell::new(false),
            repeats: Cell::new(repeats),
            shared: Cell::new(false),
            awaited: Cell::new(false),
        }
    }
}

/// The handle behind a reference, if it is one of ours.
#[inline]
pub(crate) fn native(object: &Owned) -> Option<This<'_, Handle>> {
    This::exactly(object).or_else(|| {
        // SAFETY: a timer handle is `repr(C)` and begins with a handle.
        This::<TimerHandle>::exactly(object).map(|timer| unsafe { timer.base() })
    })
}

/// The same for what the loop has taken out of its queue: a timer handle is in the timers no longer.
#[inline]
pub(crate) fn taken(object: &Owned) -> Option<This<'_, Handle>> {
    This::exactly(object).or_else(|| {
        let timer = This::<TimerHandle>::exactly(object)?;
        timer.key.set(None);
        // SAFETY: a timer handle is `repr(C)` and begins with a handle.
        Some(unsafe { timer.base() })
    })
}

/// Notes where in its loop's timers a timer handle is.
pub(crate) fn set_key(object: &Owned, key: Option<TimerKey>) {
    if let Some(timer) = This::<TimerHandle>::exactly(object) {
        timer.key.set(key);
    }
}

impl Handle {
    /// Whether it was cancelled.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// The callback; nothing once it has run.
    pub(crate) fn callback(&self) -> &ObjectCell {
        &self.callback
    }

    /// Visits what it holds.
    pub(crate) fn traverse(&self, visit: &mut Visit) {
        for cell in [&self.callback, self.args.content(), &self.owner] {
            visit.cell(cell);
        }
        self.context.traverse(visit);
    }

    /// Lets go of everything that could be part of a cycle.
    pub(crate) fn release(&self) {
        // First out, then dropped: dropping may run Python that looks at this handle.
        let content = (self.callback.take(), self.args.take(), self.context.take(), self.owner.take());
        drop(content);
    }

    /// Lets go of a callback that has run, unless it will run again or is still running further out.
    pub(crate) fn finish(&self) {
        if !self.running.get() && (!self.repeats.get() || self.cancelled.get()) {
            self.release();
        }
    }

    /// Its loop has dropped it: it lets go of everything, at once or when it has run.
    pub(crate) fn abandon(&self) {
        if self.running.get() {
            self.repeats.set(false);
        } else {
            self.release();
        }
    }

    /// What debug mode has kept.
    fn debug_info(&self) -> DebugInfo {
        let info = self.debug.take();
        let copy = info.as_deref().cloned().unwrap_or_default();
        self.debug.set(info);
        copy
    }

    fn set_debug_info(&self, info: DebugInfo) {
        drop(self.debug.replace(Some(Box::new(info))));
    }

    fn runs_in_another_thread(&self) -> bool {
        // SAFETY: the owner is a `LoopCore`, see the field's doc, and `get` holds it during the call.
        self.owner.get().is_some_and(|owner| unsafe { This::<LoopCore>::from_ptr(owner.as_ptr()) }.runs_elsewhere())
    }

    fn owner_has_debug(&self) -> bool {
        // SAFETY: the owner is a `LoopCore`, see the field's doc, and `get` holds it during the call.
        self.owner.get().is_some_and(|owner| unsafe { This::<LoopCore>::from_ptr(owner.as_ptr()) }.debug())
    }
}

/// Runs the callback and lets go of it.
#[inline]
pub(crate) fn run(py: Python<'_>, this: This<'_, Handle>) -> Result<()> {
    let result = run_and_keep(py, Thread::current(py), this);
    this.finish();
    result
}

/// Runs the callback, as asyncio's `Handle._run` does: an exception goes to the loop's exception handler, but
/// `KeyboardInterrupt` and `SystemExit` are raised. The caller calls [`Handle::finish`] afterwards.
#[expect(clippy::inline_always, reason = "a call would cost a sixth of it")]
#[inline(always)]
pub(crate) fn run_and_keep(py: Python<'_>, thread: Thread, this: This<'_, Handle>) -> Result<()> {
    if this.callback.is_empty() {
        return Ok(());
    }
    let outer = this.running.replace(true);
    let mut result = match soon::instead_of(py, &this.callback, &this.args) {
        Some(done) => done,
        None => this.context.run(py, thread, || call_stored(py, &this.callback, &this.args)),
    };
    if !this.repeats.get() {
        this.context.give_back(py);
    }
    if result == Err(Raised) {
        result = report_failure(py, this);
    }
    this.running.set(outer);
    if cfg!(Py_3_14) && this.awaited.take() {
        rendezvous::announce();
    }
    result
}

/// Cancels a handle of ours or of asyncio's.
pub(crate) fn cancel_any(py: Python<'_>, handle: &Owned) -> Result<()> {
    if let Some(handle) = native(handle) {
        return cancel(py, handle);
    }
    handle.any(py).call_method0(intern!(py, "cancel"))?;
    Ok(())
}

#[cold]
fn report_failure(py: Python<'_>, this: This<'_, Handle>) -> Result<()> {
    let exception = Raised.take_value(py);
    if imports::ends_the_program(py, &exception) {
        return Err(Raised::put_back(py, exception));
    }
    let Some(owner) = this.owner.get() else { return Err(Raised::put_back(py, exception)) };
    let handle = this.to_owned();
    owner.any(py).call_method1(intern!(py, "_callback_failed"), (handle.any(py), exception.any(py)))?;
    Ok(())
}

fn cancel(py: Python<'_>, this: This<'_, Handle>) -> Result<()> {
    wait_until_it_has_run(py, this)?;
    if this.cancelled.get() {
        return Ok(());
    }
    if this.owner_has_debug() {
        // Keeps what the log would show: the callback is about to go.
        let text: Owned = this.to_owned().any(py).repr()?.into_any().into();
        this.set_debug_info(DebugInfo { repr: Some(text), ..this.debug_info() });
    }
    this.cancelled.set(true);
    if !this.running.get() {
        this.release();
    }
    Ok(())
}

fn cancel_timer(py: Python<'_>, this: This<'_, TimerHandle>) -> Result<()> {
    let entry = match (this.key.take(), this.handle.owner.get()) {
        // SAFETY: the owner is a `LoopCore`, and `owner` holds it during the call.
        (Some(key), Some(owner)) => unsafe { This::<LoopCore>::from_ptr(owner.as_ptr()) }.cancel_timer(key),
        _ => None,
    };
    // SAFETY: a timer handle is `repr(C)` and begins with a handle.
    let result = cancel(py, unsafe { this.base() });
    drop(entry);
    result
}

fn cancelled(py: Python<'_>, this: This<'_, Handle>) -> Result<bool> {
    wait_until_it_has_run(py, this)?;
    Ok(this.cancelled.get())
}

/// From 3.14 on, another thread that asks about a callback which is running, or cancels it, waits until it has run: then it
/// knows. asyncio gives a lock to each handle of `call_soon_threadsafe` for that; here who has to wait says so.
fn wait_until_it_has_run(py: Python<'_>, this: This<'_, Handle>) -> Result<()> {
    if cfg!(Py_3_14) {
        while this.shared.get() && this.running.get() && this.runs_in_another_thread() {
            let round = rendezvous::round();
            this.awaited.set(true);
            gil::released(py, || rendezvous::wait(round));
            check_signals(py)?;
        }
    }
    Ok(())
}

fn context(py: Python<'_>, this: This<'_, Handle>) -> Result<Option<Owned>> {
    this.context.object(py)
}

fn when(_: Python<'_>, this: This<'_, TimerHandle>) -> Result<Time> {
    Ok(this.given.get().map_or(Time::Float(this.when.get()), Time::Given))
}

/// A time as it was given.
enum Time {
    Float(f64),
    Given(Owned),
}

impl crate::raw::method::IntoObject for Time {
    fn into_object(self, py: Python<'_>) -> Result<Owned> {
        match self {
            Self::Float(seconds) => seconds.into_object(py),
            Self::Given(object) => Ok(object),
        }
    }
}

/// Hands a slot on to the function of the same name of asyncio's class: it works on our object, which has its attributes.
fn of_asyncio<'py>(
    py: Python<'py>,
    this: *mut ffi::PyObject,
    name: &str,
    other: Option<&Owned>,
) -> Result<Bound<'py, PyAny>> {
    let imports = imports::get(py);
    // SAFETY: slots are called with an object that is alive.
    let this = unsafe { Borrowed::from_ptr(py, this) };
    let is_timer = this.get_type_ptr() == TIMER_HANDLE.get();
    let class = if is_timer { &imports.timer_handle } else { &imports.handle };
    let function = class.any(py).getattr(name)?;
    Ok(match other {
        None => function.call1((this,))?,
        Some(other) => function.call1((this, other.any(py)))?,
    })
}

unsafe extern "C" fn repr(this: *mut ffi::PyObject) -> *mut ffi::PyObject {
    guard("Handle.__repr__", |py| Ok(Owned::from(of_asyncio(py, this, "__repr__", None)?)))
}

unsafe extern "C" fn hash(this: *mut ffi::PyObject) -> ffi::Py_hash_t {
    let object = guard("TimerHandle.__hash__", |py| Ok(Owned::from(of_asyncio(py, this, "__hash__", None)?)));
    // SAFETY: the guard returned null, or a reference that is ours.
    let Ok(number) = (unsafe { Owned::from_returned(object) }) else { return -1 };
    // SAFETY: an `int` that is alive: asyncio's `__hash__` returns no other.
    unsafe { ffi::PyLong_AsSsize_t(number.as_ptr()) }
}

unsafe extern "C" fn compare(
    this: *mut ffi::PyObject,
    other: *mut ffi::PyObject,
    operator: c_int,
) -> *mut ffi::PyObject {
    guard("TimerHandle.__eq__", |py| {
        let name = match operator {
            ffi::Py_LT => "__lt__",
            ffi::Py_LE => "__le__",
            ffi::Py_EQ => "__eq__",
            ffi::Py_NE => "__ne__",
            ffi::Py_GT => "__gt__",
            _ => "__ge__",
        };
        // SAFETY: the interpreter passes an object that is alive.
        let other = NonNull::new(other).map(|other| unsafe { Owned::from_borrowed(other) });
        Ok(Owned::from(of_asyncio(py, this, name, other.as_ref())?))
    })
}

unsafe extern "C" fn dealloc(object: *mut ffi::PyObject) {
    guard_infallible("Handle.tp_dealloc", || {
        // SAFETY: the interpreter calls this for an instance of exactly this class.
        let this = unsafe { This::<Handle>::from_ptr(object) };
        // SAFETY: it is being deallocated, and the list is its own.
        unsafe { clear_weak_references(object, &this.weak_references) };
        // SAFETY: the interpreter calls this once; nothing uses `this` any more.
        unsafe { HANDLES.free::<Handle>(object) };
    });
}

unsafe extern "C" fn dealloc_timer(object: *mut ffi::PyObject) {
    guard_infallible("TimerHandle.tp_dealloc", || {
        // SAFETY: the interpreter calls this for an instance of exactly this class.
        let this = unsafe { This::<TimerHandle>::from_ptr(object) };
        // SAFETY: it is being deallocated, and the list is its own.
        unsafe { clear_weak_references(object, &this.handle.weak_references) };
        // SAFETY: the interpreter calls this once; nothing uses `this` any more.
        unsafe { TIMER_HANDLES.free::<TimerHandle>(object) };
    });
}

/// # Safety
///
/// `object` is being deallocated and `list` is its own.
unsafe fn clear_weak_references(object: *mut ffi::PyObject, list: &WeakList) {
    if !list.is_empty() {
        // SAFETY: by this function's contract.
        unsafe { ffi::PyObject_ClearWeakRefs(object) };
    }
}

/// The debug cells, by name: asyncio's `_source_traceback` may be set by whoever makes a handle, so it is writable.
fn set_source_traceback(_: Python<'_>, this: This<'_, Handle>, value: Option<Owned>) -> Result<()> {
    this.set_debug_info(DebugInfo { source_traceback: value, ..this.debug_info() });
    Ok(())
}

/// Makes both classes.
pub(crate) fn initialise(py: Python<'_>) -> Result<[Owned; 2]> {
    let handle = Builder::<Handle>::new(c"boucle._boucle.Handle")
        .doc(c"What call_soon and add_reader return: a callback that will run.")
        .without_constructor()
        .subclassable()
        .weakly_referenced(offset_of!(Handle, weak_references))
        .methods([
            method!(Handle, "cancel", cancel, "Cancels the callback."),
            method!(Handle, "cancelled", cancelled, "Whether the callback was cancelled."),
            method!(Handle, "get_context", context, "The context the callback runs in."),
            method!(Handle, "_run", run, "Runs the callback now."),
            method!(Handle, "_repr_info", repr_info, "The parts of the repr."),
        ])
        .properties([
            property(c"__class__", getter!(Handle, "__class__", class_of), None),
            property(
                c"_callback",
                getter!(Handle, "_callback", |_, this: This<'_, Handle>| Ok(this.callback.get())),
                None,
            ),
            property(c"_args", getter!(Handle, "_args", args), None),
            property(c"_context", getter!(Handle, "_context", context), None),
            property(c"_loop", getter!(Handle, "_loop", |_, this: This<'_, Handle>| Ok(this.owner.get())), None),
            property(
                c"_cancelled",
                getter!(Handle, "_cancelled", |_, this: This<'_, Handle>| Ok(this.cancelled.get())),
                None,
            ),
            property(c"_repr", getter!(Handle, "_repr", |_, this: This<'_, Handle>| Ok(this.debug_info().repr)), None),
            property(
                c"_source_traceback",
                getter!(Handle, "_source_traceback", |_, this: This<'_, Handle>| Ok(this
                    .debug_info()
                    .source_traceback)),
                Some(setter!(Handle, "_source_traceback", set_source_traceback)),
            ),
        ])
        .slot(ffi::Py_tp_repr, repr as *mut c_void)
        .slot(ffi::Py_tp_dealloc, dealloc as *mut c_void)
        .build(py)?;
    // SAFETY: a timer handle is `repr(C)` and begins with a handle.
    let timer = unsafe { Builder::<TimerHandle>::new(c"boucle._boucle.TimerHandle").derived_from::<Handle>() }
        .doc(c"What call_later and call_at return: a callback that will run at a time.")
        .without_constructor()
        .methods([
            method!(TimerHandle, "cancel", cancel_timer, "Cancels the callback."),
            method!(TimerHandle, "when", when, "The time at which it runs, in seconds of loop.time()."),
        ])
        .properties([
            property(
                c"__class__",
                getter!(TimerHandle, "__class__", |py, _this| Ok(imports::get(py).timer_handle.clone())),
                None,
            ),
            property(c"_when", getter!(TimerHandle, "_when", when), None),
            property(
                c"_scheduled",
                getter!(TimerHandle, "_scheduled", |_, this: This<'_, TimerHandle>| Ok(this.key.get().is_some())),
                None,
            ),
        ])
        .slot(ffi::Py_tp_hash, hash as *mut c_void)
        .slot(ffi::Py_tp_richcompare, compare as *mut c_void)
        .slot(ffi::Py_tp_dealloc, dealloc_timer as *mut c_void)
        .build(py)?;
    Ok([handle, timer])
}

fn class_of(py: Python<'_>, this: This<'_, Handle>) -> Result<Owned> {
    let imports = imports::get(py);
    Ok(if this.shared.get() { &imports.shared_handle } else { &imports.handle }.clone())
}

fn args(py: Python<'_>, this: This<'_, Handle>) -> Result<Option<Owned>> {
    // Like asyncio's: nothing once it was cancelled; here also once it has run.
    if this.callback.is_empty() { Ok(None) } else { this.args.tuple(py).map(Some) }
}

/// asyncio's own parts of the repr. A handle that has let go of its loop asks nothing of it.
fn repr_info(py: Python<'_>, this: This<'_, Handle>) -> Result<Owned> {
    Ok(of_asyncio(py, this.as_ptr(), "_repr_info", None)?.into())
}
