//! What Python reads and writes of a future.

use std::ffi::c_void;

use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyTuple};
use pyo3::{ffi, intern};

use super::waiters::Waiter;
use super::{Future, State, awaiting, soon};
use crate::imports;
use crate::raw::context::Context;
use crate::raw::method::property;
use crate::raw::{Args, Owned, Result, This, getter, init, method, setter};

/// The slot of `__init__`.
pub(super) fn future_init() -> *mut c_void {
    init!(Future, initialise)
}

fn initialise(
    py: Python<'_>,
    this: This<'_, Future>,
    args: &Bound<'_, PyTuple>,
    names: Option<&Bound<'_, PyDict>>,
) -> Result<()> {
    if !args.is_empty() {
        let text = format!("Future() takes at most 0 positional arguments ({} given)", args.len());
        return Err(PyTypeError::new_err(text).into());
    }
    let mut owner = None;
    for (name, value) in names.into_iter().flatten() {
        match name.extract::<String>()?.as_str() {
            "loop" => owner = Some(value),
            other => {
                let text = format!("'{other}' is an invalid keyword argument for Future()");
                return Err(PyTypeError::new_err(text).into());
            }
        }
    }
    refuse_again(py, this)?;
    initialise_with(py, this, owner)
}

/// From 3.15 on `__init__` runs once.
pub(crate) fn refuse_again(py: Python<'_>, this: This<'_, Future>) -> Result<()> {
    if cfg!(not(Py_3_15)) || this.owner().object().is_empty() {
        return Ok(());
    }
    let object = this.to_owned();
    let class = object.any(py).get_type();
    let is_ours = This::<Future>::exactly(&object).is_some() || crate::task::native(&object).is_some();
    let name = if is_ours { class.fully_qualified_name()? } else { class.name()? };
    Err(PyRuntimeError::new_err(format!("{name} object is already initialized")).into())
}

/// What `__init__` does, also that of a task.
pub(crate) fn initialise_with(py: Python<'_>, this: This<'_, Future>, owner: Option<Bound<'_, PyAny>>) -> Result<()> {
    this.reset();
    let owner: Owned = match owner.filter(|owner| !owner.is_none()) {
        Some(owner) => owner.into(),
        None => imports::event_loop(py)?,
    };
    this.belong_to(py, owner)
}

/// The repr of a future or a task: asyncio's, with the name of the instance's class.
pub(super) fn repr(py: Python<'_>, this: This<'_, Future>) -> Result<Owned> {
    this.check_initialised()?;
    let object = this.to_owned();
    let info = if crate::task::is_task(&object) {
        imports::get(py).task_repr_info.any(py).call1((object.any(py),))?
    } else {
        object.any(py).call_method0(intern!(py, "_repr_info"))?
    };
    let words: Vec<String> = info.extract()?;
    let text = format!("<{} {}>", object.any(py).get_type().name()?, words.join(" "));
    Ok(text.into_pyobject(py).map_err(PyErr::from)?.into_any().into())
}

fn repr_info(py: Python<'_>, this: This<'_, Future>) -> Result<Owned> {
    let object = this.to_owned();
    let imports = imports::get(py);
    let function = if crate::task::is_task(&object) { &imports.task_repr_info } else { &imports.future_repr_info };
    Ok(function.any(py).call1((object.any(py),))?.into())
}

fn add_done_callback(py: Python<'_>, this: This<'_, Future>, args: Args<'_>) -> Result<()> {
    let (Some(callback), 1, Some(context)) =
        (args.get(0), args.count(), args.only_keyword(|| &imports::get(py).context))
    else {
        return Err(
            PyTypeError::new_err("add_done_callback() takes 1 positional argument and a keyword, context").into()
        );
    };
    this.check_initialised()?;
    let context = match context.and_then(Context::given) {
        Some(context) => context,
        None => Context::copy_current(py)?,
    };
    add_callback(py, this, callback.to_owned(), context)
}

/// Adds a callback, or has it called soon where the future is done.
fn add_callback(py: Python<'_>, this: This<'_, Future>, callback: Owned, context: Context) -> Result<()> {
    if this.is_pending() {
        this.waiters.add(Waiter::Callback(callback, context));
        return Ok(());
    }
    soon::call_soon(py, this, &callback, Some(&this.to_owned()), &context)
}

fn remove_done_callback(py: Python<'_>, this: This<'_, Future>, args: Args<'_>) -> Result<usize> {
    this.check_initialised()?;
    let callback = only_argument(args, "remove_done_callback")?;
    this.waiters.remove(py, &callback.any(py))
}

/// The argument of a call that takes exactly one.
pub(crate) fn only_argument(args: Args<'_>, name: &str) -> Result<Owned> {
    match (args.get(0), args.count(), args.keywords().next().is_none()) {
        (Some(argument), 1, true) => Ok(argument.to_owned()),
        (_, count, _) => {
            let text = format!("{name}() takes exactly one argument ({count} given)");
            Err(PyTypeError::new_err(text).into())
        }
    }
}

fn set_result(py: Python<'_>, this: This<'_, Future>, args: Args<'_>) -> Result<()> {
    this.check_initialised()?;
    super::set_result(py, this, only_argument(args, "set_result")?)
}

fn set_exception(py: Python<'_>, this: This<'_, Future>, args: Args<'_>) -> Result<()> {
    this.check_initialised()?;
    super::set_exception(py, this, &only_argument(args, "set_exception")?)
}

/// The argument of `cancel(msg=None)`.
pub(crate) fn cancel_message(py: Python<'_>, args: Args<'_>) -> Result<Option<Owned>> {
    let keyword = args.only_keyword(|| &imports::get(py).msg);
    match (args.count(), args.get(0), keyword) {
        (0, None, Some(message)) | (1, message, Some(None)) => {
            Ok(message.map(crate::raw::args::Arg::to_owned).filter(|message| !message.is_none()))
        }
        _ => Err(PyTypeError::new_err("cancel() takes one argument at most, msg").into()),
    }
}

fn cancel(py: Python<'_>, this: This<'_, Future>, args: Args<'_>) -> Result<bool> {
    this.check_initialised()?;
    super::cancel(py, this, cancel_message(py, args)?)
}

fn result(py: Python<'_>, this: This<'_, Future>) -> Result<Owned> {
    if this.owner.object().is_empty() {
        return Err(imports::invalid_state(py, "Future object is not initialized."));
    }
    super::result(py, this)
}

fn exception(py: Python<'_>, this: This<'_, Future>) -> Result<Option<Owned>> {
    if this.owner.object().is_empty() {
        return Err(imports::invalid_state(py, "Future object is not initialized."));
    }
    match this.state() {
        State::Pending => Err(imports::invalid_state(py, "Exception is not set.")),
        State::Finished => Ok(None),
        State::Failed => {
            this.unretrieved.set(false);
            Ok(this.outcome.get())
        }
        State::Cancelled => {
            let error = super::make_cancelled_error(py, this)?;
            Err(super::raise_outcome(py, this, &error))
        }
    }
}

fn done(_: Python<'_>, this: This<'_, Future>) -> Result<bool> {
    Ok(!this.is_pending())
}

fn cancelled(_: Python<'_>, this: This<'_, Future>) -> Result<bool> {
    Ok(this.state() == State::Cancelled)
}

fn get_loop(_: Python<'_>, this: This<'_, Future>) -> Result<Option<Owned>> {
    this.check_initialised()?;
    Ok(this.owner.object().get())
}

fn make_cancelled_error(py: Python<'_>, this: This<'_, Future>) -> Result<Owned> {
    let error = super::make_cancelled_error(py, this)?;
    // Whoever asks this way takes the error that ended the task over.
    drop(this.take_cancelled_error());
    Ok(error)
}

pub(super) fn methods() -> Vec<ffi::PyMethodDef> {
    vec![
        method!(
            Future,
            "result",
            result,
            "result($self, /)\n--\n\nThe result. Raises the exception, CancelledError, or InvalidStateError while it is pending."
        ),
        method!(
            Future,
            "exception",
            exception,
            "exception($self, /)\n--\n\nThe exception, None where there is none. Raises CancelledError, or InvalidStateError while it is pending."
        ),
        method!(Future, "set_result", args set_result, "set_result($self, result, /)\n--\n\nMarks the future done. Raises InvalidStateError if it is."),
        method!(Future, "set_exception", args set_exception, "set_exception($self, exception, /)\n--\n\nMarks the future done, with an exception. Raises InvalidStateError if it is."),
        method!(Future, "add_done_callback", args add_done_callback, "add_done_callback($self, fn, /, *, context=<unrepresentable>)\n--\n\nCalls fn(future) soon after the future is done, in the order of these calls."),
        method!(Future, "remove_done_callback", args remove_done_callback, "remove_done_callback($self, fn, /)\n--\n\nRemoves every callback that equals fn. Returns how many."),
        method!(Future, "cancel", args cancel, "cancel($self, /, msg=None)\n--\n\nCancels the future. Returns whether it was pending."),
        method!(Future, "cancelled", cancelled, "cancelled($self, /)\n--\n\nWhether it was cancelled."),
        method!(
            Future,
            "done",
            done,
            "done($self, /)\n--\n\nWhether it has a result or an exception, or was cancelled."
        ),
        method!(Future, "get_loop", get_loop, "get_loop($self, /)\n--\n\nThe loop it belongs to."),
        method!(
            Future,
            "_make_cancelled_error",
            make_cancelled_error,
            "_make_cancelled_error($self, /)\n--\n\nThe CancelledError to raise about it."
        ),
        method!(Future, "_repr_info", repr_info, "_repr_info($self, /)\n--\n\nThe words of its repr."),
        method!(Future, "__await__", awaiting::iterate, "__await__($self, /)\n--\n\nWhat await iterates."),
        generic_alias(),
    ]
}

/// `__class_getitem__`: `Future[int]`.
pub(crate) fn generic_alias() -> ffi::PyMethodDef {
    ffi::PyMethodDef {
        ml_name: c"__class_getitem__".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: ffi::Py_GenericAlias },
        ml_flags: ffi::METH_O | ffi::METH_CLASS,
        ml_doc: c"See PEP 585".as_ptr(),
    }
}

fn class_shown(py: Python<'_>, this: This<'_, Future>) -> Result<Owned> {
    let imports = imports::get(py);
    let class = if crate::task::is_task(&this.to_owned()) { &imports.task } else { &imports.future };
    Ok(class.clone())
}

fn state(py: Python<'_>, this: This<'_, Future>) -> Result<Owned> {
    this.check_initialised()?;
    let text = match this.state() {
        State::Pending => intern!(py, "PENDING"),
        State::Cancelled => intern!(py, "CANCELLED"),
        State::Finished | State::Failed => intern!(py, "FINISHED"),
    };
    Ok(text.clone().into_any().into())
}

fn blocking(_: Python<'_>, this: This<'_, Future>) -> Result<bool> {
    Ok(this.blocking.get() && !this.owner.object().is_empty())
}

fn set_blocking(py: Python<'_>, this: This<'_, Future>, value: Option<Owned>) -> Result<()> {
    this.check_initialised()?;
    this.blocking.set(assigned(value)?.any(py).is_truthy()?);
    Ok(())
}

/// The value that is assigned. Raises where the attribute is deleted instead.
pub(crate) fn assigned(value: Option<Owned>) -> Result<Owned> {
    value.ok_or_else(|| PyAttributeError::new_err("cannot delete attribute").into())
}

fn log_traceback(_: Python<'_>, this: This<'_, Future>) -> Result<bool> {
    this.check_initialised()?;
    Ok(this.unretrieved.get())
}

fn set_log_traceback(py: Python<'_>, this: This<'_, Future>, value: Option<Owned>) -> Result<()> {
    if assigned(value)?.any(py).is_truthy()? {
        return Err(PyValueError::new_err("_log_traceback can only be set to False").into());
    }
    this.unretrieved.set(false);
    Ok(())
}

fn owner(_: Python<'_>, this: This<'_, Future>) -> Result<Option<Owned>> {
    Ok(this.owner.object().get())
}

fn callbacks(py: Python<'_>, this: This<'_, Future>) -> Result<Option<Owned>> {
    this.check_initialised()?;
    this.waiters.shown(py)
}

fn result_held(_: Python<'_>, this: This<'_, Future>) -> Result<Option<Owned>> {
    this.check_initialised()?;
    Ok(if this.state() == State::Finished { this.outcome.get() } else { None })
}

fn exception_held(_: Python<'_>, this: This<'_, Future>) -> Result<Option<Owned>> {
    this.check_initialised()?;
    Ok(if this.state() == State::Failed { this.outcome.get() } else { None })
}

fn source_traceback(_: Python<'_>, this: This<'_, Future>) -> Result<Option<Owned>> {
    Ok(this.source_traceback())
}

fn message(_: Python<'_>, this: This<'_, Future>) -> Result<Option<Owned>> {
    Ok(this.cancel_message())
}

fn set_message(_: Python<'_>, this: This<'_, Future>, value: Option<Owned>) -> Result<()> {
    this.set_cancel_message(Some(assigned(value)?));
    Ok(())
}

/// The tasks of ours that await it, as a set; nothing where there are none.
fn awaited_by(py: Python<'_>, this: This<'_, Future>) -> Result<Option<Owned>> {
    let tasks = this.waiters.tasks();
    if tasks.is_empty() {
        return Ok(None);
    }
    Ok(Some(PySet::new(py, tasks.iter().map(|task| task.any(py)))?.into_any().into()))
}

pub(super) fn properties() -> Vec<ffi::PyGetSetDef> {
    let mut properties = vec![
        property(c"__class__", getter!(Future, "__class__", class_shown), None),
        property(c"_state", getter!(Future, "_state", state), None),
        property(
            c"_asyncio_future_blocking",
            getter!(Future, "_asyncio_future_blocking", blocking),
            Some(setter!(Future, "_asyncio_future_blocking", set_blocking)),
        ),
        property(c"_loop", getter!(Future, "_loop", owner), None),
        property(c"_callbacks", getter!(Future, "_callbacks", callbacks), None),
        property(c"_result", getter!(Future, "_result", result_held), None),
        property(c"_exception", getter!(Future, "_exception", exception_held), None),
        property(
            c"_log_traceback",
            getter!(Future, "_log_traceback", log_traceback),
            Some(setter!(Future, "_log_traceback", set_log_traceback)),
        ),
        property(c"_source_traceback", getter!(Future, "_source_traceback", source_traceback), None),
        property(
            c"_cancel_message",
            getter!(Future, "_cancel_message", message),
            Some(setter!(Future, "_cancel_message", set_message)),
        ),
    ];
    if cfg!(Py_3_14) {
        properties.push(property(c"_asyncio_awaited_by", getter!(Future, "_asyncio_awaited_by", awaited_by), None));
    }
    properties
}
