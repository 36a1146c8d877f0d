//! What `await` iterates: yields the future while it is pending, then gives its result.
//!
//! The iterator has no state but whether it is over. So where the interpreter itself awaits a future, the future is its own
//! iterator: an object less for each `await`. Only `coroutine.cr_await` shows it. Whoever calls `__await__` or `iter()` gets
//! an [`Awaiting`], with `send`, `throw` and `close`.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{ffi, intern};

use super::attributes::only_argument;
use super::{Future, Outcome, is_exception_class, outcome, raise_outcome};
use crate::raw::call::Sent;
use crate::raw::class::{Builder, Collected, Finalized, MaybeInstance, Visit};
use crate::raw::freelist::Freelist;
use crate::raw::stop::stop_iteration;
use crate::raw::{Args, Class, Owned, Raised, Result, This, TypeCell, method, unary};

/// The iterator of one `await`.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Awaiting {
    /// The future; nothing when it is over.
    future: MaybeInstance<Future>,
}

static AWAITING: TypeCell = TypeCell::new();
static ITERATORS: Freelist = Freelist::new();

impl Class for Awaiting {
    fn class() -> &'static TypeCell {
        &AWAITING
    }
}

impl Collected for Awaiting {
    fn traverse(&self, visit: &mut Visit) {
        visit.cell(self.future.object());
    }

    fn clear(&self) {
        drop(self.future.replace(None));
    }
}

impl Finalized for Awaiting {
    fn freelist() -> &'static Freelist {
        &ITERATORS
    }
}

/// Makes the class.
pub(super) fn initialise(py: Python<'_>) -> Result<Owned> {
    Builder::<Awaiting>::new(c"boucle.FutureIter")
        .without_constructor()
        .finalized()
        .slot(ffi::Py_tp_iter, unary!(Awaiting, "__iter__", itself))
        .slot(ffi::Py_tp_iternext, unary!(Awaiting, "__next__", next))
        .methods([
            method!(Awaiting, "send", args send, "Continues the await; the value is ignored."),
            method!(Awaiting, "throw", args throw, "Ends the await with an exception."),
            method!(Awaiting, "close", close, "Ends the await."),
        ])
        .build(py)
}

/// An iterator over a future.
#[inline]
pub(crate) fn iterate(py: Python<'_>, this: This<'_, Future>) -> Result<Owned> {
    this.check_initialised()?;
    ITERATORS.make_collected(py, || Awaiting { future: MaybeInstance::new(this) })
}

fn itself(_: Python<'_>, this: This<'_, Awaiting>) -> Result<Owned> {
    Ok(this.to_owned())
}

/// Yields the future while it is pending. `None` without an exception is the end, with the result `None`.
#[inline]
fn next(py: Python<'_>, this: This<'_, Awaiting>) -> Result<Option<Owned>> {
    let step = this.future.with(|future| {
        let yielded = step_in_place(py, future);
        if !matches!(yielded, Ok(Some(_))) {
            drop(this.future.replace(None));
        }
        yielded
    });
    step.unwrap_or(Ok(None))
}

/// The same, of a future that is awaited without an iterator: what the interpreter does at each `await`.
#[inline]
pub(crate) fn step_in_place(py: Python<'_>, future: This<'_, Future>) -> Result<Option<Owned>> {
    if future.is_pending() {
        future.check_initialised()?;
        if !future.blocking.replace(true) {
            return Ok(Some(future.to_owned()));
        }
        return Err(PyRuntimeError::new_err("await wasn't used with future").into());
    }
    match outcome(py, future)? {
        Outcome::Result(result) if result.is_none() => Ok(None),
        Outcome::Result(result) => Err(Raised::put_back(py, stop_iteration(py, &result)?)),
        Outcome::Exception(exception) => Err(raise_outcome(py, future, &exception)),
    }
}

/// The same, for an operation that awaits the future.
#[inline]
pub(crate) fn step_as_coroutine(py: Python<'_>, future: This<'_, Future>) -> Result<Sent> {
    if future.is_pending() {
        step_in_place(py, future)?;
        return Ok(Sent::Yielded(future.to_owned()));
    }
    super::result(py, future).map(Sent::Returned)
}

fn send(py: Python<'_>, this: This<'_, Awaiting>, args: Args<'_>) -> Result<Owned> {
    only_argument(args, "FutureIter.send")?;
    match next(py, this)? {
        Some(future) => Ok(future),
        None => Err(pyo3::exceptions::PyStopIteration::new_err(()).into()),
    }
}

fn close(_: Python<'_>, this: This<'_, Awaiting>) -> Result<()> {
    drop(this.future.replace(None));
    Ok(())
}

fn throw(py: Python<'_>, this: This<'_, Awaiting>, args: Args<'_>) -> Result<Owned> {
    let exception = thrown(py, args)?;
    drop(this.future.replace(None));
    Err(PyErr::from_value(exception.any(py).to_owned()).into())
}

/// What `throw(exception)`, or the old `throw(type, value, traceback)`, is to raise.
pub(crate) fn thrown(py: Python<'_>, args: Args<'_>) -> Result<Owned> {
    use pyo3::exceptions::PyTypeError;
    let Some(first) = args.get(0) else {
        return Err(PyTypeError::new_err("throw expected at least 1 argument, got 0").into());
    };
    if args.count() > 3 {
        let text = format!("throw expected at most 3 arguments, got {}", args.count());
        return Err(PyTypeError::new_err(text).into());
    }
    if cfg!(Py_3_12) && args.count() > 1 {
        let category = py.get_type::<pyo3::exceptions::PyDeprecationWarning>();
        let text = c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.";
        PyErr::warn(py, &category, text, 1)?;
    }
    let kind = first.any(py).to_owned();
    let value = args.get(1).filter(|value| !value.is_none()).map(|value| value.any(py).to_owned());
    let traceback = args.get(2).filter(|traceback| !traceback.is_none()).map(|traceback| traceback.any(py).to_owned());
    if let Some(traceback) = &traceback
        && !traceback.is_instance_of::<pyo3::types::PyTraceback>()
    {
        return Err(PyTypeError::new_err("throw() third argument must be a traceback").into());
    }
    let exception = if kind.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        if value.is_some() {
            return Err(PyTypeError::new_err("instance exception may not have a separate value").into());
        }
        kind
    } else if is_exception_class(&kind) {
        match value {
            None => kind.call0()?,
            Some(value) if value.is_instance(&kind)? => value,
            Some(value) => match value.cast::<PyTuple>() {
                Ok(arguments) => kind.call1(arguments.clone())?,
                Err(_) => kind.call1((value,))?,
            },
        }
    } else {
        let text = format!(
            "exceptions must be classes deriving BaseException or instances of such a class, not {}",
            kind.get_type().name()?
        );
        return Err(PyTypeError::new_err(text).into());
    };
    if let Some(traceback) = traceback {
        exception.setattr(intern!(py, "__traceback__"), traceback)?;
    }
    Ok(exception.into())
}
