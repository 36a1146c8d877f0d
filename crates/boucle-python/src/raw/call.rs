//! Calling Python: functions, methods, and callbacks inside of a context.

use std::ptr::{self, NonNull};

use pyo3::{Python, ffi};

use super::{ObjectCell, Owned, Raised, Result};

// Of CPython's public API, but not among `PyO3`'s declarations.
unsafe extern "C" {
    static mut PyMethod_Type: ffi::PyTypeObject;
    fn PyMethod_Function(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
    fn PyMethod_Self(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// The function and the object of a bound method; both are borrowed from it.
pub(crate) fn bound_method(object: &Owned) -> Option<(NonNull<ffi::PyObject>, NonNull<ffi::PyObject>)> {
    // SAFETY: a reference, so the object is alive.
    unsafe { method_parts(NonNull::new_unchecked(object.as_ptr())) }
}

/// The same for an object that somebody else holds.
///
/// # Safety
///
/// The object is alive.
#[inline]
pub(crate) unsafe fn method_parts(
    object: NonNull<ffi::PyObject>,
) -> Option<(NonNull<ffi::PyObject>, NonNull<ffi::PyObject>)> {
    // SAFETY: alive, by this function's contract.
    if unsafe { ffi::Py_TYPE(object.as_ptr()) } != &raw mut PyMethod_Type {
        return None;
    }
    // SAFETY: the object is a bound method: its type was compared.
    unsafe { NonNull::new(PyMethod_Function(object.as_ptr())).zip(NonNull::new(PyMethod_Self(object.as_ptr()))) }
}

/// The arguments of a callback, as a handle keeps them.
#[derive(Default)]
pub(crate) struct StoredArgs {
    /// The argument if there is one, a tuple of them if there are more.
    content: ObjectCell,
    count: std::cell::Cell<u32>,
}

impl StoredArgs {
    /// Where the content is.
    pub(crate) const CONTENT_AT: usize = std::mem::offset_of!(Self, content);

    /// Stores arguments.
    #[inline]
    pub(crate) fn new<'a>(mut args: impl ExactSizeIterator<Item = super::args::Arg<'a>>) -> Result<Self> {
        let count = args.len();
        let Some(first) = args.next() else { return Ok(Self::default()) };
        let content = if count == 1 { first.to_owned() } else { pack(count, std::iter::once(first).chain(args))? };
        Ok(Self { content: ObjectCell::new(content), count: std::cell::Cell::new(count as u32) })
    }

    /// Takes them out.
    #[must_use = "dropping what was taken runs arbitrary Python: do it where nothing is borrowed"]
    pub(crate) fn take(&self) -> Option<Owned> {
        self.content.take()
    }

    /// What the garbage collector has to visit.
    pub(crate) fn content(&self) -> &ObjectCell {
        &self.content
    }

    /// The arguments as a tuple.
    pub(crate) fn tuple(&self, _: Python<'_>) -> Result<Owned> {
        match (self.count.get(), self.content.get()) {
            (1, Some(only)) => {
                // SAFETY: one object is passed, alive during the call.
                unsafe { Owned::from_returned(ffi::PyTuple_Pack(1, only.as_ptr())) }
            }
            (_, Some(tuple)) => Ok(tuple),
            // SAFETY: no condition.
            (_, None) => unsafe { Owned::from_returned(ffi::PyTuple_New(0)) },
        }
    }

    /// Calls `callback` with them. Both cells must keep their content during the call: a handle that runs does not
    /// empty them.
    #[inline]
    fn call(&self, callback: &ObjectCell) -> *mut ffi::PyObject {
        let (callback, content) = (callback.as_ptr(), self.content.as_ptr());
        // SAFETY: the handle that owns both cells is alive and does not empty them while it runs; a running handle has
        // a callback. `content` is null, an argument or a tuple, as `count` says.
        unsafe {
            match self.count.get() {
                0 => call_function(callback, &mut [ptr::null_mut()]),
                1 => call_function(callback, &mut [ptr::null_mut(), content]),
                count => {
                    let items = (*content.cast::<ffi::PyTupleObject>()).ob_item.as_ptr();
                    ffi::PyObject_Vectorcall(callback, items, count as usize, ptr::null_mut())
                }
            }
        }
    }
}

/// Calls anything with the arguments behind a free place. A function of Python's own, or a method of one, is called as the
/// interpreter calls it from bytecode: what `PyObject_Vectorcall` checks besides is for functions of C.
///
/// # Safety
///
/// The callable and the arguments are alive during the call.
#[inline]
unsafe fn call_function<const N: usize>(
    callable: *mut ffi::PyObject,
    args: &mut [*mut ffi::PyObject; N],
) -> *mut ffi::PyObject {
    let count = N - 1;
    // SAFETY: alive, by this function's contract.
    let class = unsafe { ffi::Py_TYPE(callable) };
    if class == &raw mut ffi::PyFunction_Type {
        // SAFETY: a function, by its type.
        if let Some(call) = unsafe { (*callable.cast::<ffi::PyFunctionObject>()).vectorcall } {
            let count = count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
            // SAFETY: the arguments stand behind a free place, which the flag says.
            return unsafe { call(callable, args.as_mut_ptr().add(1), count, ptr::null_mut()) };
        }
    } else if class == &raw mut PyMethod_Type {
        // SAFETY: a bound method, by its type, which keeps both alive.
        let (function, this) = unsafe { (PyMethod_Function(callable), PyMethod_Self(callable)) };
        // SAFETY: alive, see above.
        if unsafe { ffi::Py_TYPE(function) } == &raw mut ffi::PyFunction_Type
            // SAFETY: a function, by its type.
            && let Some(call) = unsafe { (*function.cast::<ffi::PyFunctionObject>()).vectorcall }
        {
            args[0] = this;
            // SAFETY: the object and the arguments.
            return unsafe { call(function, args.as_ptr(), count + 1, ptr::null_mut()) };
        }
    }
    let count = count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
    // SAFETY: the arguments stand behind a free place, which the flag says.
    unsafe { ffi::PyObject_Vectorcall(callable, args.as_mut_ptr().add(1), count, ptr::null_mut()) }
}

/// A tuple of `count` arguments.
fn pack<'a>(count: usize, args: impl Iterator<Item = super::args::Arg<'a>>) -> Result<Owned> {
    // SAFETY: a new tuple of that length, filled below before anyone sees it.
    let tuple = unsafe { Owned::from_returned(ffi::PyTuple_New(count as ffi::Py_ssize_t))? };
    for (index, arg) in args.take(count).enumerate() {
        // SAFETY: the index is below the length, the slot is empty, and the reference is its own.
        unsafe { ffi::PyTuple_SET_ITEM(tuple.as_ptr(), index as ffi::Py_ssize_t, arg.to_owned().into_ptr()) };
    }
    Ok(tuple)
}

/// Calls `callback(*args)`. Both keep their content during the call.
#[inline]
pub(crate) fn call_stored(_: Python<'_>, callback: &ObjectCell, args: &StoredArgs) -> Result<()> {
    // SAFETY: null, or a new reference that nobody else owns.
    unsafe { Owned::from_returned(args.call(callback)) }.map(drop)
}

/// Runs the Python-level handlers of signals that came. Raises what they raise.
#[inline]
pub(crate) fn check_signals(_: Python<'_>) -> Result<()> {
    // SAFETY: the token proves that the GIL is held.
    if unsafe { ffi::PyErr_CheckSignals() } < 0 { Err(Raised) } else { Ok(()) }
}

/// The identity of this thread, as `threading.get_ident()` gives it: that of POSIX, which the interpreter asks for as well.
#[inline]
pub(crate) fn thread_ident() -> u64 {
    // SAFETY: no condition.
    unsafe { libc::pthread_self() as u64 }
}

/// Raises an exception, as a `raise` statement does: with the one that is being handled as its context.
pub(crate) fn raise(_: Python<'_>, exception: &Owned) -> Raised {
    // SAFETY: both are alive.
    unsafe { ffi::PyErr_SetObject(exception.type_ptr().cast(), exception.as_ptr()) };
    Raised
}

/// A coroutine was resumed: this came of it.
pub(crate) enum Sent {
    /// It yielded this.
    Yielded(Owned),
    /// It returned this.
    Returned(Owned),
}

/// Resumes a coroutine, or anything that has `send`, with `None`.
#[inline]
pub(crate) fn resume(_: Python<'_>, coroutine: &Owned) -> Result<Sent> {
    let mut result = ptr::null_mut();
    // SAFETY: the coroutine is alive during the call, for the caller holds it; the result is a new reference. The slot of
    // a coroutine's type is what `PyIter_Send` would call.
    unsafe {
        let send = if is_native_coroutine(coroutine) {
            (*ffi::PyCoro_Type.tp_as_async).am_send.unwrap_or(ffi::PyIter_Send)
        } else {
            ffi::PyIter_Send
        };
        match send(coroutine.as_ptr(), ffi::Py_None(), &raw mut result) {
            ffi::PySendResult::PYGEN_NEXT => Owned::from_returned(result).map(Sent::Yielded),
            ffi::PySendResult::PYGEN_RETURN => Owned::from_returned(result).map(Sent::Returned),
            ffi::PySendResult::PYGEN_ERROR => Err(Raised),
        }
    }
}

/// Whether an object is exactly a coroutine of an `async def` function.
#[inline]
pub(crate) fn is_native_coroutine(object: &Owned) -> bool {
    object.type_ptr() == &raw mut ffi::PyCoro_Type
}

/// A function of C that is bound to an object: what `object.name` gives for a method. `definition` lives for ever.
pub(crate) fn bind_builtin(_: Python<'_>, definition: &'static ffi::PyMethodDef, object: &Owned) -> Result<Owned> {
    let definition: *const ffi::PyMethodDef = definition;
    // SAFETY: the definition lives for ever and is complete; it is not written to.
    unsafe { Owned::from_returned(ffi::PyCFunction_NewEx(definition.cast_mut(), object.as_ptr(), ptr::null_mut())) }
}

/// The C function behind a function of C; `None` for other objects.
pub(crate) fn builtin_address(object: &Owned) -> Option<usize> {
    if object.type_ptr() != &raw mut ffi::PyCFunction_Type {
        return None;
    }
    // SAFETY: the type says that it is a function of C.
    unsafe { ffi::PyCFunction_GetFunction(object.as_ptr()) }.map(|function| function as usize)
}

/// A number that changes when the class of an instance does; 0 where it has none.
#[inline]
pub(crate) fn class_version<T: super::Class>(instance: super::This<'_, T>) -> u32 {
    // SAFETY: the type of an object that is alive.
    unsafe { (*ffi::Py_TYPE(instance.as_ptr())).tp_version_tag }
}

/// Calls `object.method(first, second, context=context)`. `names` is the tuple `("context",)`.
pub(crate) fn method_with_context(
    _: Python<'_>,
    method: &Owned,
    object: &Owned,
    first: &Owned,
    second: Option<&Owned>,
    context: &Owned,
    names: &Owned,
) -> Result<Owned> {
    let mut all = [object.as_ptr(), first.as_ptr(), ptr::null_mut(), ptr::null_mut()];
    let count = match second {
        Some(second) => {
            all[2] = second.as_ptr();
            3
        }
        None => 2,
    };
    all[count] = context.as_ptr();
    // SAFETY: `count` positional arguments, the object first, then one value for the one name; all are alive.
    unsafe {
        Owned::from_returned(ffi::PyObject_VectorcallMethod(method.as_ptr(), all.as_ptr(), count, names.as_ptr()))
    }
}

/// Runs work that may come back here, once for each link of a chain that the user's program has made. Raises
/// `RecursionError` where the stack would overflow.
pub(crate) fn recursively<R>(_: Python<'_>, work: impl FnOnce() -> Result<R>) -> Result<R> {
    // SAFETY: the GIL is held, and the text lives for ever.
    if unsafe { ffi::Py_EnterRecursiveCall(c" while calling a Python object".as_ptr()) } != 0 {
        return Err(Raised);
    }
    let result = work();
    // SAFETY: entered above. An exception that is set stays set.
    unsafe { ffi::Py_LeaveRecursiveCall() };
    result
}
