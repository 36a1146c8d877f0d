//! What makes an operation a coroutine: `send`, `throw`, `close`, and the attributes that tools look at.

use pyo3::exceptions::{PyStopIteration, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::{ffi, intern};

use super::{SocketOperation, Stage, finish, go_on, over, resolved, start};
use crate::future::awaiting::thrown;
use crate::raw::call::Sent;
use crate::raw::guard::afterwards;
use crate::raw::method::property;
use crate::raw::{Args, Owned, Raised, Result, This, getter, method};

/// One step.
pub(super) fn send(py: Python<'_>, this: This<'_, SocketOperation>, value: &Owned) -> Result<Sent> {
    match this.stage.get() {
        Stage::Created if !value.is_none() => {
            Err(PyTypeError::new_err("can't send non-None value to a just-started coroutine").into())
        }
        Stage::Created => step(py, this, || start(py, this)),
        Stage::Waiting => step(py, this, || go_on(py, this)),
        Stage::Running => Err(executing()),
        Stage::Done => Err(over()),
    }
}

fn executing() -> Raised {
    PyValueError::new_err("coroutine already executing").into()
}

/// Runs a step. Whatever ends it ends the operation.
fn step(py: Python<'_>, this: This<'_, SocketOperation>, work: impl FnOnce() -> Result<Sent>) -> Result<Sent> {
    this.stage.set(Stage::Running);
    // It stays alive: the step may run Python, which may drop the last other reference.
    let held = this.to_owned();
    let result = match work() {
        Ok(Sent::Yielded(future)) => {
            this.stage.set(Stage::Waiting);
            Ok(Sent::Yielded(future))
        }
        Ok(returned) => finish(py, this).map(|()| returned),
        Err(raised) => afterwards(py, Err(raised), || finish(py, this)).map(|()| Sent::Returned(Owned::none(py))),
    };
    drop(held);
    result
}

/// What `await` iterates. `None` without an exception is the end, with the result `None`.
pub(super) fn next(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<Option<Owned>> {
    match send(py, this, &Owned::none(py))? {
        Sent::Yielded(future) => Ok(Some(future)),
        Sent::Returned(result) if result.is_none() => Ok(None),
        Sent::Returned(result) => Err(stop(py, &result)?),
    }
}

/// An instance, for a tuple or an exception as the argument of a class would be taken apart.
fn stop(py: Python<'_>, result: &Owned) -> Result<Raised> {
    Ok(PyErr::from_value(py.get_type::<PyStopIteration>().call1((result.any(py),))?).into())
}

fn as_iteration(py: Python<'_>, sent: Sent) -> Result<Owned> {
    match sent {
        Sent::Yielded(future) => Ok(future),
        Sent::Returned(result) => Err(stop(py, &result)?),
    }
}

fn send_method(py: Python<'_>, this: This<'_, SocketOperation>, args: Args<'_>) -> Result<Owned> {
    let (Some(value), 1) = (args.get(0), args.count()) else {
        let text = format!("coroutine.send() takes exactly one argument ({} given)", args.count());
        return Err(PyTypeError::new_err(text).into());
    };
    as_iteration(py, send(py, this, &value.to_owned())?)
}

/// `throw(exception)`: what the operation waits for is given up.
fn throw(py: Python<'_>, this: This<'_, SocketOperation>, args: Args<'_>) -> Result<Owned> {
    match this.stage.get() {
        Stage::Running => return Err(executing()),
        Stage::Done => return Err(over()),
        Stage::Created | Stage::Waiting => {}
    }
    let exception = thrown(py, args)?;
    let sent = step(py, this, || match this.delegate.get().filter(|_| this.resolving.get()) {
        None => Err(PyErr::from_value(exception.any(py).to_owned()).into()),
        Some(resolving) => match resolving.any(py).call_method1(intern!(py, "throw"), (exception.any(py),)) {
            Ok(yielded) => Ok(Sent::Yielded(yielded.into())),
            Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
                let stopped = crate::raw::guard::value_of(py, error);
                resolved(py, this, stopped.any(py).getattr(intern!(py, "value"))?.into())
            }
            Err(error) => Err(error.into()),
        },
    })?;
    as_iteration(py, sent)
}

/// `close()`: gives up.
fn close(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<()> {
    match this.stage.get() {
        Stage::Running => Err(executing()),
        Stage::Done => Ok(()),
        Stage::Created | Stage::Waiting => {
            let resolving = this.delegate.get().filter(|_| this.resolving.get());
            finish(py, this)?;
            if let Some(resolving) = resolving {
                resolving.any(py).call_method0(intern!(py, "close"))?;
            }
            Ok(())
        }
    }
}

pub(super) fn itself(_: Python<'_>, this: This<'_, SocketOperation>) -> Result<Owned> {
    Ok(this.to_owned())
}

fn name(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<Owned> {
    Ok(PyString::intern(py, this.kind.get().name()).into_any().into())
}

fn qualified_name(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<Owned> {
    Ok(PyString::new(py, &format!("Loop.{}", this.kind.get().name())).into_any().into())
}

pub(super) fn repr(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<Owned> {
    let text = format!("<coroutine object Loop.{} at {:p}>", this.kind.get().name(), this.as_ptr());
    Ok(PyString::new(py, &text).into_any().into())
}

fn awaited(_: Python<'_>, this: This<'_, SocketOperation>) -> Result<Option<Owned>> {
    Ok(this.delegate.get().or_else(|| this.awaited.get()))
}

fn is_running(_: Python<'_>, this: This<'_, SocketOperation>) -> Result<bool> {
    Ok(this.stage.get() == Stage::Running)
}

fn nothing(_: Python<'_>, _: This<'_, SocketOperation>) -> Result<()> {
    Ok(())
}

pub(super) fn properties() -> [ffi::PyGetSetDef; 6] {
    [
        property(c"__name__", getter!(SocketOperation, "__name__", name), None),
        property(c"__qualname__", getter!(SocketOperation, "__qualname__", qualified_name), None),
        property(c"cr_await", getter!(SocketOperation, "cr_await", awaited), None),
        property(c"cr_running", getter!(SocketOperation, "cr_running", is_running), None),
        // It has neither code nor a frame that a debugger could show.
        property(c"cr_frame", getter!(SocketOperation, "cr_frame", nothing), None),
        property(c"cr_code", getter!(SocketOperation, "cr_code", nothing), None),
    ]
}

pub(super) fn methods() -> [ffi::PyMethodDef; 4] {
    [
        method!(SocketOperation, "send", args send_method, "Makes a step; returns the future that it waits for."),
        method!(SocketOperation, "throw", args throw, "Ends the operation with an exception."),
        method!(SocketOperation, "close", close, "Ends the operation."),
        method!(SocketOperation, "__await__", itself, "The operation is its own iterator."),
    ]
}
