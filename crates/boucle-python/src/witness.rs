//! The witness of a step: who runs, told from the callback before it runs, and where the code was left, told after.
//!
//! A task is recognised by the callback that asyncio schedules for it: the C task's step and wake-up, or a method of the
//! pure-Python one. Everything else is a callback, named by its function.

use std::ffi::CStr;
use std::ptr::NonNull;

use boucle_chronology::Origin;
use boucle_core::recorder::Whereabouts;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};
use pyo3::{ffi, intern};

use crate::directory::{self, CALLBACK, Known, UNKNOWN_CODE};
use crate::frames;
use crate::handle::Handle;
use crate::raw::call::{bound_method, method_parts};
use crate::raw::guard::discard;
use crate::raw::{ObjectCell, Owned, This};
use crate::task::{self, Task};
use crate::watchdog::annotations;

/// Who runs.
pub(crate) enum Witness {
    /// A task.
    Task { task: Owned, coroutine: Owned, number: u32, first: bool },
    /// A callback, by the number of its code.
    Callback(u32),
}

impl Witness {
    /// Who runs when this item does. `handle` is the item, if it is one of our handles.
    #[inline]
    pub(crate) fn of(py: Python<'_>, handle: Option<This<'_, Handle>>, item: &Owned) -> Self {
        if let Some(number) = handle.and_then(|handle| known(py, handle.callback())) {
            return Self::Callback(number);
        }
        let callback = match handle {
            Some(handle) => handle.callback().get(),
            None => item.any(py).getattr(intern!(py, "_callback")).ok().map(Into::into),
        };
        callback.map_or(Self::Callback(UNKNOWN_CODE), |callback| Self::of_callback(py, &callback))
    }

    fn of_callback(py: Python<'_>, callback: &Owned) -> Self {
        let class = callback.type_ptr();
        if class == &raw mut ffi::PyFunction_Type {
            // SAFETY: a Python function, by its type; alive.
            return Self::Callback(unsafe { code_run_by(py, callback.as_ptr()) }.number | CALLBACK);
        }
        if let Some((function, this)) = bound_method(callback)
            // SAFETY: the bound method keeps its function alive.
            && unsafe { ffi::Py_TYPE(function.as_ptr()) } == &raw mut ffi::PyFunction_Type
        {
            // SAFETY: a Python function, by its type; the bound method keeps both alive.
            return unsafe { Self::of_method(py, function, this) };
        }
        if class == &raw mut ffi::PyCFunction_Type {
            return Self::of_builtin(py, callback);
        }
        Self::of_other(py, callback)
    }

    /// A function of C: the C task's wake-up, or any other. `callback` is one, by its type.
    #[inline]
    fn of_builtin(py: Python<'_>, callback: &Owned) -> Self {
        let function: *const ffi::PyCFunctionObject = callback.as_ptr().cast();
        // SAFETY: the type says how the object is laid out; it is alive.
        let definition = unsafe { (*function).m_ml };
        // SAFETY: the same.
        let this = NonNull::new(unsafe { (*function).m_self });
        // SAFETY: the definition lives as long as the function.
        let name = unsafe { (*definition).ml_name };
        // SAFETY: a definition has a name, which ends with a zero byte and lives as long.
        let name = unsafe { CStr::from_ptr(name) };
        if let (Some(task), true) = (this, name == c"task_wakeup" || name == c"task_step") {
            // SAFETY: the function keeps the object it is bound to alive.
            let task = unsafe { Owned::from_borrowed(task) };
            return Self::of_task(py, task).unwrap_or(Self::Callback(UNKNOWN_CODE));
        }
        // The definition lives as long as the class of the object that the function is bound to: that is held, not the object.
        let keeper: Owned = match this {
            // SAFETY: the function keeps the object it is bound to alive.
            Some(this) => unsafe { Owned::from_borrowed(this) }.any(py).get_type().into_any().into(),
            None => callback.clone(),
        };
        let number = directory::callable(py, definition as usize, &keeper, &callback.any(py));
        Self::Callback(number | CALLBACK)
    }

    /// # Safety
    ///
    /// `function` is a Python function and `this` an object; both are alive.
    unsafe fn of_method(py: Python<'_>, function: NonNull<ffi::PyObject>, this: NonNull<ffi::PyObject>) -> Self {
        // SAFETY: by this function's contract.
        let code = unsafe { code_run_by(py, function.as_ptr()) };
        // SAFETY: the same.
        let object = unsafe { Owned::from_borrowed(this) };
        let task = if code.steps_a_task { Self::of_task(py, object) } else { None };
        task.unwrap_or(Self::Callback(code.number | CALLBACK))
    }

    /// A step of asyncio's C task has a type of its own, with the task as `__self__`; anything else is named by its type.
    #[cold]
    fn of_other(py: Python<'_>, callback: &Owned) -> Self {
        let any = callback.any(py);
        let class = any.get_type();
        if class.name().is_ok_and(|name| name == "TaskStepMethWrapper")
            && let Ok(task) = any.getattr(intern!(py, "__self__"))
            && let Some(task) = Self::of_task(py, task.into())
        {
            return task;
        }
        // A partial is known by what it calls.
        if let Ok(inner) = any.getattr(intern!(py, "func"))
            && inner.is_callable()
        {
            return Self::of_callback(py, &inner.into());
        }
        // A class that is called stands for itself; any other object for its class.
        let known_by: Owned = if any.is_instance_of::<PyType>() { callback.clone() } else { class.into_any().into() };
        Self::Callback(directory::callable(py, known_by.as_ptr() as usize, &known_by, &any) | CALLBACK)
    }

    fn of_task(py: Python<'_>, task: Owned) -> Option<Self> {
        if let Some(native) = task::native(&task) {
            let coroutine = native.coroutine().get()?;
            let (number, first) = meet(py, native);
            return Some(Self::Task { task, coroutine, number, first });
        }
        let coroutine: Owned = task.any(py).call_method0(intern!(py, "get_coro")).ok()?.into();
        let (number, first) = directory::task(py, &task, &coroutine);
        Some(Self::Task { task, coroutine, number, first })
    }

    /// The number of who runs.
    #[inline]
    pub(crate) fn actor(&self) -> u32 {
        match self {
            Self::Callback(number) => number | CALLBACK,
            Self::Task { number, .. } => *number,
        }
    }

    /// After the step: who ran, and where the code was left.
    #[inline]
    pub(crate) fn after(self, py: Python<'_>) -> (u32, u32, Whereabouts) {
        match self {
            Self::Callback(number) => {
                (number | CALLBACK, number & !CALLBACK, Whereabouts::RETURNED_HERE.first_step(true))
            }
            Self::Task { task, coroutine, number, first } => {
                let (code, whereabouts) = left(py, &task, &coroutine);
                (number, code, whereabouts.first_step(first))
            }
        }
    }
}

/// The number of a callback, if it is a Python function, or a method of one, whose code was looked up lately. It runs no
/// Python, so the cell may lend what it holds.
#[inline]
fn known(py: Python<'_>, callback: &ObjectCell) -> Option<u32> {
    let callback = NonNull::new(callback.as_ptr())?;
    // SAFETY: the cell holds a reference, so the object is alive.
    match unsafe { code_of_function(callback) } {
        Some(code) => directory::cached(py, code).map(|code| code.number | CALLBACK),
        // SAFETY: the same.
        None => unsafe { known_method(py, callback) },
    }
}

/// The same of a method. One that steps a task stands for the task.
///
/// # Safety
///
/// The object is alive.
#[inline(never)]
unsafe fn known_method(py: Python<'_>, callback: NonNull<ffi::PyObject>) -> Option<u32> {
    // SAFETY: by this function's contract.
    let (function, _) = unsafe { method_parts(callback) }?;
    // SAFETY: the bound method keeps its function alive.
    let code = directory::cached(py, unsafe { code_of_function(function) }?)?;
    (!code.steps_a_task).then_some(code.number | CALLBACK)
}

/// What is known of the code of a Python function.
///
/// # Safety
///
/// `function` is a Python function that is alive.
#[inline]
unsafe fn code_run_by(py: Python<'_>, function: *mut ffi::PyObject) -> Known {
    // SAFETY: by this function's contract.
    let code = unsafe { (*function.cast::<ffi::PyFunctionObject>()).func_code };
    // SAFETY: a function always has a code object.
    let code = unsafe { NonNull::new_unchecked(code) };
    // SAFETY: by this function's contract.
    let function = unsafe { Borrowed::from_ptr(py, function) };
    directory::code(py, code, Some(&function))
}

/// The code of a Python function, borrowed from it; nothing for another object.
///
/// # Safety
///
/// The object is alive.
#[inline]
unsafe fn code_of_function(object: NonNull<ffi::PyObject>) -> Option<*mut ffi::PyObject> {
    // SAFETY: by this function's contract.
    let is_function = unsafe { ffi::Py_TYPE(object.as_ptr()) } == &raw mut ffi::PyFunction_Type;
    // SAFETY: a Python function, by its type.
    is_function.then(|| unsafe { (*object.cast::<ffi::PyFunctionObject>().as_ptr()).func_code })
}

/// The number of what an object's method runs, with the mark of a callback.
pub(crate) fn method(py: Python<'_>, object: &Owned, name: &Bound<'_, PyString>) -> u32 {
    match object.any(py).getattr(name) {
        Ok(method) => match Witness::of_callback(py, &method.into()) {
            Witness::Callback(number) => number,
            Witness::Task { .. } => UNKNOWN_CODE,
        },
        Err(error) => {
            discard(py, error);
            UNKNOWN_CODE
        }
    }
}

/// The number of a task of ours, and whether this is the first step of it that is recorded.
#[inline]
pub(crate) fn meet(py: Python<'_>, task: This<'_, Task>) -> (u32, bool) {
    if let Some(number) = task.number() {
        return (number, false);
    }
    let number = directory::meet_native(py, task);
    task.set_number(number);
    annotations::inherit(py, number, task);
    (number, true)
}

/// Where a task of ours was left.
#[inline]
pub(crate) fn left_task(py: Python<'_>, task: This<'_, Task>) -> (u32, Whereabouts) {
    if !task::as_future(task).is_pending() {
        return (UNKNOWN_CODE, Whereabouts::RETURNED_HERE);
    }
    let coroutine = task.coroutine().get();
    match coroutine
        .as_ref()
        .filter(|coroutine| frames::is_readable(coroutine))
        .and_then(|coroutine| place(py, coroutine))
    {
        Some((code, offset)) => (code, Whereabouts::awaiting(offset)),
        None => (UNKNOWN_CODE, Whereabouts::UNKNOWN),
    }
}

/// The code and the offset where a coroutine is suspended: in the innermost code of the user's own, or in its outermost.
#[inline]
fn place(py: Python<'_>, coroutine: &Owned) -> Option<(u32, u32)> {
    let mut place: Option<(u32, u32)> = None;
    let suspended = frames::walk(coroutine, |suspended| {
        let Known { number: code, origin, .. } = directory::code(py, suspended.code, None);
        if origin == Origin::User || place.is_none() {
            place = Some((code, suspended.offset));
        }
    });
    place.filter(|_| suspended)
}

/// Where a task was left: in the innermost code of the user's own that awaits, or in its outermost where none is.
fn left(py: Python<'_>, task: &Owned, coroutine: &Owned) -> (u32, Whereabouts) {
    if !frames::is_readable(coroutine) {
        // A coroutine that is none of Python's own: all that can be told is whether it has ended.
        let done = task.any(py).call_method0(intern!(py, "done")).is_ok_and(|done| done.is_truthy().unwrap_or(false));
        if done {
            directory::task_ended(py, task);
            return (UNKNOWN_CODE, Whereabouts::RETURNED_HERE);
        }
        return (UNKNOWN_CODE, Whereabouts::UNKNOWN);
    }
    if let Some((code, offset)) = place(py, coroutine) {
        return (code, Whereabouts::awaiting(offset));
    }
    directory::task_ended(py, task);
    (UNKNOWN_CODE, Whereabouts::RETURNED_HERE)
}
