//! What Python reads, writes and calls of a task.

use std::ffi::c_void;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{ffi, intern};

use super::{Parts, Task, as_future, begin, native, step};
use crate::future::attributes::{
    assigned, cancel_message, generic_alias, initialise_with, only_argument, refuse_again,
};
use crate::future::{self, Future};
use crate::imports;
use crate::mutation::Mutation;
use crate::raw::call::recursively;
use crate::raw::context::Context;
use crate::raw::method::property;
use crate::raw::{Args, Owned, Result, This, getter, init, method, setter};

/// The slot of `__init__`.
pub(super) fn task_init() -> *mut c_void {
    init!(Task, initialise)
}

fn initialise(
    py: Python<'_>,
    this: This<'_, Task>,
    args: &Bound<'_, PyTuple>,
    names: Option<&Bound<'_, PyDict>>,
) -> Result<()> {
    let mut coroutine = match args.len() {
        0 => None,
        1 => Some(args.get_item(0)?),
        count => {
            let text = format!("Task() takes at most 1 positional argument ({count} given)");
            return Err(PyTypeError::new_err(text).into());
        }
    };
    let (mut owner, mut name, mut context, mut eager) = (None, None, None, false);
    for (key, value) in names.into_iter().flatten() {
        match key.extract::<String>()?.as_str() {
            "coro" if coroutine.is_none() => coroutine = Some(value),
            "loop" => owner = Some(value),
            "name" => name = Some(value).filter(|value| !value.is_none()),
            "context" if cfg!(Py_3_11) => context = Some(value).filter(|value| !value.is_none()),
            "eager_start" if cfg!(Py_3_12) => eager = value.is_truthy()?,
            other => {
                let text = format!("'{other}' is an invalid keyword argument for Task()");
                return Err(PyTypeError::new_err(text).into());
            }
        }
    }
    let Some(coroutine) = coroutine else {
        return Err(PyTypeError::new_err("Task() missing required argument 'coro' (pos 1)").into());
    };
    refuse_again(py, as_future(this))?;
    this.links.leave();
    this.flags().reports_destruction.set(false);
    initialise_with(py, as_future(this), owner)?;
    begin(
        py,
        this,
        Parts {
            coroutine: coroutine.into(),
            name: name.map(Into::into),
            context: context.map(|context| Context::of(context.into())),
            eager,
        },
    )
}

/// Cancels what a task awaits: whether it did.
pub(super) fn cancel_awaited(py: Python<'_>, awaited: &Owned, message: Option<Owned>) -> Result<bool> {
    if let Some(task) = native(awaited) {
        return recursively(py, || cancel_task(py, task, message));
    }
    if let Some(future) = This::<Future>::exactly(awaited) {
        return future::cancel(py, future, message);
    }
    let keywords = PyDict::new(py);
    keywords.set_item("msg", message.as_ref().map(|message| message.any(py)))?;
    Ok(awaited.any(py).call_method(intern!(py, "cancel"), (), Some(&keywords))?.is_truthy()?)
}

fn cancel_task(py: Python<'_>, this: This<'_, Task>, message: Option<Owned>) -> Result<bool> {
    let future = as_future(this);
    future.forget_unretrieved();
    if !future.is_pending() {
        return Ok(false);
    }
    this.cancel_requests.set(this.cancel_requests.get().saturating_add(1));
    let message = message.filter(|_| !Mutation::CancelMessageDropped.is_made());
    if let Some(waiter) = this.waiter.get()
        && cancel_awaited(py, &waiter, message.clone())?
    {
        return Ok(true);
    }
    this.flags().must_cancel.set(true);
    future.set_cancel_message(message);
    Ok(true)
}

fn cancel(py: Python<'_>, this: This<'_, Task>, args: Args<'_>) -> Result<bool> {
    cancel_task(py, this, cancel_message(py, args)?)
}

fn cancelling(_: Python<'_>, this: This<'_, Task>) -> Result<u32> {
    Ok(this.cancel_requests.get())
}

fn uncancel(_: Python<'_>, this: This<'_, Task>) -> Result<u32> {
    if Mutation::UncancelDoesNotCount.is_made() {
        return Ok(this.cancel_requests.get());
    }
    let left = this.cancel_requests.get().saturating_sub(1);
    if cfg!(Py_3_13) && left == 0 && this.cancel_requests.get() > 0 {
        this.flags().must_cancel.set(false);
    }
    this.cancel_requests.set(left);
    Ok(left)
}

fn set_result(_: Python<'_>, _: This<'_, Task>, args: Args<'_>) -> Result<()> {
    only_argument(args, "Task.set_result")?;
    Err(PyRuntimeError::new_err("Task does not support set_result operation").into())
}

fn set_exception(_: Python<'_>, _: This<'_, Task>, args: Args<'_>) -> Result<()> {
    only_argument(args, "Task.set_exception")?;
    Err(PyRuntimeError::new_err("Task does not support set_exception operation").into())
}

fn get_coro(_: Python<'_>, this: This<'_, Task>) -> Result<Option<Owned>> {
    Ok(this.coroutine.get())
}

fn get_context(py: Python<'_>, this: This<'_, Task>) -> Result<Option<Owned>> {
    this.context.object(py)
}

fn get_name(py: Python<'_>, this: This<'_, Task>) -> Result<Option<Owned>> {
    match this.name_or_serial() {
        Ok(name) => Ok(Some(name)),
        Err(0) => Ok(None),
        Err(serial) => {
            let name: Owned = format!("Task-{serial}").into_pyobject(py).map_err(PyErr::from)?.into_any().into();
            drop(this.name.replace(Some(name.clone())));
            Ok(Some(name))
        }
    }
}

fn set_name(py: Python<'_>, this: This<'_, Task>, args: Args<'_>) -> Result<()> {
    this.set_name(py, &only_argument(args, "Task.set_name")?)
}

/// The keyword arguments of a call that takes no other, by name, `None` where one is not given.
fn only_keywords<const N: usize>(
    py: Python<'_>,
    args: Args<'_>,
    function: &str,
    names: [&Owned; N],
) -> Result<[Owned; N]> {
    let mut values = std::array::from_fn(|_| Owned::none(py));
    if args.count() > 0 {
        let text = format!("{function}() takes 0 positional arguments ({} given)", args.count());
        return Err(PyTypeError::new_err(text).into());
    }
    for (name, value) in args.keywords() {
        match names.iter().position(|known| name.is(known)) {
            Some(index) => values[index] = value.to_owned(),
            None => return Err(PyTypeError::new_err(format!("invalid keyword argument for {function}()")).into()),
        }
    }
    Ok(values)
}

fn get_stack(py: Python<'_>, this: This<'_, Task>, args: Args<'_>) -> Result<Owned> {
    let limit: Owned = intern!(py, "limit").clone().into_any().into();
    let [limit] = only_keywords(py, args, "get_stack", [&limit])?;
    Ok(imports::get(py).task_get_stack.any(py).call1((this.to_owned().any(py), limit.any(py)))?.into())
}

fn print_stack(py: Python<'_>, this: This<'_, Task>, args: Args<'_>) -> Result<Owned> {
    let (limit, file): (Owned, Owned) =
        (intern!(py, "limit").clone().into_any().into(), intern!(py, "file").clone().into_any().into());
    let [limit, file] = only_keywords(py, args, "print_stack", [&limit, &file])?;
    let arguments = (this.to_owned(), limit, file);
    let arguments = (arguments.0.any(py), arguments.1.any(py), arguments.2.any(py));
    Ok(imports::get(py).task_print_stack.any(py).call1(arguments)?.into())
}

fn task_step(py: Python<'_>, this: This<'_, Task>, args: Args<'_>) -> Result<()> {
    step::step_once(py, this, args.get(0).map(crate::raw::args::Arg::to_owned))
}

fn task_wakeup(py: Python<'_>, this: This<'_, Task>, args: Args<'_>) -> Result<()> {
    match args.get(0) {
        Some(future) => step::wake_up(py, this, &future.to_owned()),
        None => Err(PyTypeError::new_err("task_wakeup() takes exactly one argument (0 given)").into()),
    }
}

/// How asyncio calls a task back: to step, and to wake up.
pub(super) fn callbacks() -> [ffi::PyMethodDef; 2] {
    [
        method!(Task, "task_step", args task_step, "Steps the task."),
        method!(Task, "task_wakeup", args task_wakeup, "Wakes the task up: what it awaits is done."),
    ]
}

pub(super) fn methods() -> Vec<ffi::PyMethodDef> {
    let mut methods = vec![
        method!(Task, "cancel", args cancel, "cancel($self, /, msg=None)\n--\n\nAsks the task to cancel: CancelledError is thrown into its coroutine, which may catch it. Returns whether the task was pending."),
        method!(Task, "set_result", args set_result, "set_result($self, result, /)\n--\n\nRaises RuntimeError: a task's result is what its coroutine returns."),
        method!(Task, "set_exception", args set_exception, "set_exception($self, exception, /)\n--\n\nRaises RuntimeError: a task's exception is what its coroutine raises."),
        method!(Task, "get_coro", get_coro, "get_coro($self, /)\n--\n\nThe coroutine."),
        method!(Task, "get_name", get_name, "get_name($self, /)\n--\n\nThe name."),
        method!(Task, "set_name", args set_name, "set_name($self, value, /)\n--\n\nGives it another name: str(value)."),
        method!(Task, "get_stack", args get_stack, "get_stack($self, /, *, limit=None)\n--\n\nThe frames where the coroutine is suspended, or those of the traceback it ended with."),
        method!(Task, "print_stack", args print_stack, "print_stack($self, /, *, limit=None, file=None)\n--\n\nPrints get_stack() to a file, stderr by default."),
        generic_alias(),
    ];
    if cfg!(Py_3_11) {
        methods.extend([
            method!(
                Task,
                "cancelling",
                cancelling,
                "cancelling($self, /)\n--\n\nHow often it was asked to cancel, less the calls of uncancel()."
            ),
            method!(
                Task,
                "uncancel",
                uncancel,
                "uncancel($self, /)\n--\n\nTakes one request to cancel back. Returns how many are left."
            ),
        ]);
    }
    if cfg!(Py_3_12) {
        methods.push(method!(Task, "get_context", get_context, "get_context($self, /)\n--\n\nThe context it runs in."));
    }
    methods
}

fn must_cancel(_: Python<'_>, this: This<'_, Task>) -> Result<bool> {
    Ok(this.flags().must_cancel.get())
}

fn waiter(_: Python<'_>, this: This<'_, Task>) -> Result<Option<Owned>> {
    Ok(this.waiter.get())
}

fn reports_destruction(_: Python<'_>, this: This<'_, Task>) -> Result<bool> {
    Ok(this.flags().reports_destruction.get())
}

fn set_reports_destruction(py: Python<'_>, this: This<'_, Task>, value: Option<Owned>) -> Result<()> {
    this.flags().reports_destruction.set(assigned(value)?.any(py).is_truthy()?);
    Ok(())
}

pub(super) fn properties() -> Vec<ffi::PyGetSetDef> {
    vec![
        property(
            c"_log_destroy_pending",
            getter!(Task, "_log_destroy_pending", reports_destruction),
            Some(setter!(Task, "_log_destroy_pending", set_reports_destruction)),
        ),
        property(c"_must_cancel", getter!(Task, "_must_cancel", must_cancel), None),
        property(c"_coro", getter!(Task, "_coro", get_coro), None),
        property(c"_fut_waiter", getter!(Task, "_fut_waiter", waiter), None),
    ]
}
