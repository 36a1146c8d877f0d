//! What makes a native operation a coroutine: it starts at its first `send`, can be thrown into and closed, has the
//! attributes that tools look at, and warns if nobody ever awaits it.
//!
//! A class is one by [`Coroutine`], gets the methods by [`coroutine_class`], and its last word by
//! [`speaks_if_never_awaited`]. Where `await` meets it, it is its own
//! iterator.

use std::cell::Cell;

use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::future::awaiting::thrown;
use crate::raw::call::Sent;
use crate::raw::guard::afterwards;
use crate::raw::stop::{Ended, stop_iteration};
use crate::raw::{Args, Class, Owned, Raised, Result, This};

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not awaited yet.
    #[default]
    Created,
    /// In a step.
    Running,
    /// Between two steps.
    Waiting,
    Done,
}

/// An operation that is a coroutine.
pub(crate) trait Coroutine: Class {
    /// How far it is.
    fn stage(&self) -> &Cell<Stage>;
    /// The exception by which its value went to the interpreter.
    fn ended(&self) -> &Ended;
    /// The class and the name of the method that makes it.
    fn name(&self) -> (&'static str, &'static str);
    /// The first step.
    fn start(py: Python<'_>, this: This<'_, Self>) -> Result<Sent>;
    /// A step after the first.
    fn go_on(py: Python<'_>, this: This<'_, Self>) -> Result<Sent>;
    /// A step in which an exception is thrown into it.
    fn throw_in(py: Python<'_>, this: This<'_, Self>, exception: &Owned) -> Result<Sent>;
    /// It is over: lets go of everything. What it may not let go of before: a coroutine that it awaits, to be closed.
    fn finish(py: Python<'_>, this: This<'_, Self>) -> Result<Option<Owned>>;
    /// What it awaits.
    fn awaited(&self) -> Option<Owned>;
}

/// One step.
#[inline]
pub(crate) fn send<T: Coroutine>(py: Python<'_>, this: This<'_, T>, value: &Owned) -> Result<Sent> {
    match this.stage().get() {
        Stage::Created if !value.is_none() => {
            Err(PyTypeError::new_err("can't send non-None value to a just-started coroutine").into())
        }
        Stage::Created => step(py, this, || T::start(py, this)),
        Stage::Waiting => step(py, this, || T::go_on(py, this)),
        Stage::Running => Err(executing()),
        Stage::Done => Err(over()),
    }
}

fn executing() -> Raised {
    PyValueError::new_err("coroutine already executing").into()
}

fn over() -> Raised {
    PyRuntimeError::new_err("cannot reuse already awaited coroutine").into()
}

/// Runs a step. Whatever ends it ends the operation.
#[inline]
fn step<T: Coroutine>(py: Python<'_>, this: This<'_, T>, work: impl FnOnce() -> Result<Sent>) -> Result<Sent> {
    this.stage().set(Stage::Running);
    // It stays alive: the step may run Python, which may drop the last other reference.
    let held = this.to_owned();
    let result = match work() {
        Ok(Sent::Yielded(future)) => {
            this.stage().set(Stage::Waiting);
            Ok(Sent::Yielded(future))
        }
        Ok(returned) => finish(py, this).map(|_| returned),
        Err(raised) => failed(py, this, raised),
    };
    drop(held);
    result
}

fn finish<T: Coroutine>(py: Python<'_>, this: This<'_, T>) -> Result<Option<Owned>> {
    this.stage().set(Stage::Done);
    T::finish(py, this)
}

#[cold]
fn failed<T: Coroutine>(py: Python<'_>, this: This<'_, T>, raised: Raised) -> Result<Sent> {
    let exception = raised.take_value(py);
    // It would end whoever awaits as if it were a result.
    let exception = if exception.any(py).is_instance_of::<PyStopIteration>() {
        let instead = py.get_type::<PyRuntimeError>().call1(("coroutine raised StopIteration",))?;
        instead.setattr(intern!(py, "__cause__"), exception.any(py))?;
        instead.setattr(intern!(py, "__context__"), exception.any(py))?;
        instead.into()
    } else {
        exception
    };
    let raised = Raised::put_back(py, exception);
    afterwards(py, Err(raised), || finish(py, this).map(drop)).map(|()| Sent::Returned(Owned::none(py)))
}

/// What `await` iterates. `None` without an exception is the end, with the result `None`.
#[inline]
pub(crate) fn next<T: Coroutine>(py: Python<'_>, this: This<'_, T>) -> Result<Option<Owned>> {
    match send(py, this, &Owned::none(py))? {
        Sent::Yielded(future) => Ok(Some(future)),
        Sent::Returned(result) if result.is_none() => Ok(None),
        Sent::Returned(result) => Err(this.ended().raise(py, &result)?),
    }
}

fn as_iteration(py: Python<'_>, sent: Sent) -> Result<Owned> {
    match sent {
        Sent::Yielded(future) => Ok(future),
        Sent::Returned(result) => Err(Raised::put_back(py, stop_iteration(py, &result)?)),
    }
}

pub(crate) fn send_method<T: Coroutine>(py: Python<'_>, this: This<'_, T>, args: Args<'_>) -> Result<Owned> {
    let (Some(value), 1) = (args.get(0), args.count()) else {
        let text = format!("coroutine.send() takes exactly one argument ({} given)", args.count());
        return Err(PyTypeError::new_err(text).into());
    };
    as_iteration(py, send(py, this, &value.to_owned())?)
}

/// `throw(exception)`: what the operation waits for is given up.
pub(crate) fn throw<T: Coroutine>(py: Python<'_>, this: This<'_, T>, args: Args<'_>) -> Result<Owned> {
    match this.stage().get() {
        Stage::Running => return Err(executing()),
        Stage::Done => return Err(over()),
        Stage::Created | Stage::Waiting => {}
    }
    let exception = thrown(py, args)?;
    let sent = step(py, this, || T::throw_in(py, this, &exception))?;
    as_iteration(py, sent)
}

/// Throws an exception into the coroutine that an operation awaits. What it returns then, or what it yields.
pub(crate) fn throw_on(py: Python<'_>, inner: &Owned, exception: &Owned) -> Result<Sent> {
    match inner.any(py).call_method1(intern!(py, "throw"), (exception.any(py),)) {
        Ok(yielded) => Ok(Sent::Yielded(yielded.into())),
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            let stopped = crate::raw::guard::value_of(py, error);
            Ok(Sent::Returned(stopped.any(py).getattr(intern!(py, "value"))?.into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// `close()`: gives up.
pub(crate) fn close<T: Coroutine>(py: Python<'_>, this: This<'_, T>) -> Result<()> {
    match this.stage().get() {
        Stage::Running => Err(executing()),
        Stage::Done => Ok(()),
        Stage::Created | Stage::Waiting => {
            if let Some(inner) = finish(py, this)? {
                inner.any(py).call_method0(intern!(py, "close"))?;
            }
            Ok(())
        }
    }
}

/// The last word of one that was never awaited.
pub(crate) fn warn_of_oblivion<T: Coroutine>(py: Python<'_>, this: This<'_, T>) {
    let (class, name) = this.name();
    let text = format!("coroutine '{class}.{name}' was never awaited");
    let category = py.get_type::<pyo3::exceptions::PyRuntimeWarning>();
    let warned = py
        .import(intern!(py, "warnings"))
        .and_then(|warnings| warnings.call_method1(intern!(py, "warn"), (text, category)));
    if let Err(error) = warned {
        Raised::from(error).report_unraisable(py, &this.to_owned());
    }
}

pub(crate) fn itself<T: Coroutine>(_: Python<'_>, this: This<'_, T>) -> Result<Owned> {
    Ok(this.to_owned())
}

pub(crate) fn name<T: Coroutine>(py: Python<'_>, this: This<'_, T>) -> Result<Owned> {
    Ok(PyString::intern(py, this.name().1).into_any().into())
}

pub(crate) fn qualified_name<T: Coroutine>(py: Python<'_>, this: This<'_, T>) -> Result<Owned> {
    let (class, name) = this.name();
    Ok(PyString::new(py, &format!("{class}.{name}")).into_any().into())
}

pub(crate) fn repr<T: Coroutine>(py: Python<'_>, this: This<'_, T>) -> Result<Owned> {
    let (class, name) = this.name();
    let text = format!("<coroutine object {class}.{name} at {:p}>", this.as_ptr());
    Ok(PyString::new(py, &text).into_any().into())
}

pub(crate) fn awaited<T: Coroutine>(_: Python<'_>, this: This<'_, T>) -> Result<Option<Owned>> {
    Ok(this.awaited())
}

pub(crate) fn is_running<T: Coroutine>(_: Python<'_>, this: This<'_, T>) -> Result<bool> {
    Ok(this.stage().get() == Stage::Running)
}

pub(crate) fn nothing<T: Coroutine>(_: Python<'_>, _: This<'_, T>) -> Result<()> {
    Ok(())
}

/// Says that a class is one of coroutines.
pub(crate) fn register(py: Python<'_>, class: &Owned) -> Result<()> {
    py.import("collections.abc")?.getattr("Coroutine")?.call_method1("register", (class.any(py),))?;
    Ok(())
}

/// Gives the class of a coroutine that a builder makes what is a coroutine's: slots, methods, attributes.
macro_rules! coroutine_class {
    ($class:ty, $builder:expr) => {{
        use $crate::coroutine;
        use $crate::raw::method::property;
        use $crate::raw::{getter, method, send, unary};
        let builder: $crate::raw::class::Builder<$class> = $builder;
        builder
            .slot(pyo3::ffi::Py_am_send, send!($class, coroutine::send))
            .slot(pyo3::ffi::Py_tp_iter, unary!($class, "__iter__", coroutine::itself))
            .slot(pyo3::ffi::Py_tp_repr, unary!($class, "__repr__", coroutine::repr))
            .awaited_in_place(unary!($class, "await_in_place", coroutine::next, typed))
            .methods([
                method!($class, "send", args coroutine::send_method, "Makes a step; returns the future that it waits for."),
                method!($class, "throw", args coroutine::throw, "Ends the operation with an exception."),
                method!($class, "close", coroutine::close, "Ends the operation."),
                method!($class, "__await__", coroutine::itself, "The operation is its own iterator."),
            ])
            .properties([
                property(c"__name__", getter!($class, "__name__", coroutine::name), None),
                property(c"__qualname__", getter!($class, "__qualname__", coroutine::qualified_name), None),
                property(c"cr_await", getter!($class, "cr_await", coroutine::awaited), None),
                property(c"cr_running", getter!($class, "cr_running", coroutine::is_running), None),
                // It has neither code nor a frame that a debugger could show.
                property(c"cr_frame", getter!($class, "cr_frame", coroutine::nothing), None),
                property(c"cr_code", getter!($class, "cr_code", coroutine::nothing), None),
            ])
    }};
}

/// What a coroutine says at its end, and where its memory goes: a warning if it was never awaited.
macro_rules! speaks_if_never_awaited {
    ($class:ty, $freelist:expr) => {
        impl $crate::raw::class::Finalized for $class {
            const SPEAKS: bool = true;

            fn freelist() -> &'static $crate::raw::freelist::Freelist {
                &$freelist
            }

            fn has_last_word(&self) -> bool {
                $crate::coroutine::Coroutine::stage(self).get() == $crate::coroutine::Stage::Created
            }

            fn finalize(py: pyo3::Python<'_>, this: $crate::raw::This<'_, Self>) {
                $crate::coroutine::warn_of_oblivion(py, this);
            }
        }
    };
}

pub(crate) use {coroutine_class, speaks_if_never_awaited};
