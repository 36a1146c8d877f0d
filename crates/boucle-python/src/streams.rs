//! boucle's own streams: asyncio's readers and writers, whose hot half is native.
//!
//! A class of asyncio's keeps its Python code and gets a native base before it (`boucle.StreamReader` derives from
//! [`reader::StreamReaderCore`] and `asyncio.StreamReader`). What a message costs is done natively: arriving, being read,
//! written and drained. For all the rest, and wherever something is not as usual, asyncio's own method of this version of
//! Python runs on the same state: each attribute that the native half reads is a native property.
//!
//! * [`reader`]: what arrives, kept in [`storage`]. [`writer`]: the writer, and the protocol between it and the transport.
//! * [`operation`]: the coroutines of `read` and `drain`, which end at once where there is nothing to wait for.
//!
//! # Invariants
//!
//! * The native half never raises an error of its own, but `IncompleteReadError`: asyncio's code finds the same state, and
//!   raises with its own text.
//! * A method of a public name is called by its name, so an object of another class can stand in for each of the three. A
//!   class that derives from `boucle.StreamReader` may override anything: there asyncio's methods run. Only where the name
//!   can mean nothing but our function is that called: an instance of exactly our class, which has the methods that it was
//!   made with, and no attributes of the instance's own (`raw/written`).
//! * So there is a native field for each attribute that asyncio's constructors set: no instance has a dictionary.
//! * Data that a waiting reader was woken for stays in the reader until its task runs: a task that is cancelled loses nothing.
//!
//! Rejected: classes that are native throughout, which would have to follow each version's texts and attributes; handing
//! data to the waiting coroutine, which loses it when that is cancelled; waiting without a future, which `_waiter` shows.

mod operation;
mod reader;
mod storage;
mod writer;

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

use crate::raw::{Args, GilOnce, Owned, Raised, Result};

pub(crate) use reader::Fed;

/// asyncio's classes.
struct Asyncio {
    reader: Owned,
    protocol: Owned,
    writer: Owned,
    incomplete_read_error: Owned,
}

static ASYNCIO: GilOnce<Asyncio> = GilOnce::new();

/// Makes the classes.
pub(crate) fn initialise(py: Python<'_>) -> Result<[(&'static str, Owned); 4]> {
    let asyncio = py.import("asyncio")?;
    let class = |name| asyncio.getattr(name).map(Into::into);
    let classes = Asyncio {
        reader: class("StreamReader")?,
        protocol: class("StreamReaderProtocol")?,
        writer: class("StreamWriter")?,
        incomplete_read_error: class("IncompleteReadError")?,
    };
    ASYNCIO.set(py, classes);
    Ok([
        ("StreamReaderCore", reader::initialise(py)?),
        ("StreamProtocolCore", writer::initialise_protocol(py)?),
        ("StreamWriterCore", writer::initialise(py)?),
        ("StreamOperation", operation::initialise(py)?),
    ])
}

/// Learns the three classes of Python's, which nobody has changed yet.
pub(crate) fn learn(
    py: Python<'_>,
    reader: &Bound<'_, PyType>,
    protocol: &Bound<'_, PyType>,
    writer: &Bound<'_, PyType>,
) -> PyResult<()> {
    reader::learn(py, reader)?;
    writer::learn_protocol(py, protocol)?;
    writer::learn(py, writer)
}

/// The reader behind a protocol of ours, if feeding it natively cannot be told from what the protocol does.
#[inline]
pub(crate) fn reader_of(py: Python<'_>, protocol: &Owned) -> Option<Fed> {
    reader::fed(py, writer::reader_behind(py, protocol)?)
}

/// Calls asyncio's own method of one of its classes, with the arguments of a call.
#[cold]
fn hand_on(py: Python<'_>, class: &Owned, this: &Owned, name: &Bound<'_, PyString>, args: Args<'_>) -> Result<Owned> {
    args.forward(&class.any(py).getattr(name)?.into(), this)
}

/// The argument of a call that has no other.
#[inline]
fn only(args: Args<'_>) -> Option<Owned> {
    let argument = args.get(0).filter(|_| args.count() == 1)?;
    args.keywords().next().is_none().then(|| argument.to_owned())
}

/// Whether a call has no arguments.
#[inline]
fn has_none(args: Args<'_>) -> bool {
    args.count() == 0 && args.keywords().next().is_none()
}

#[cold]
fn missing(name: &str) -> Raised {
    PyAttributeError::new_err(format!("the stream has no attribute '{name}'")).into()
}

fn truth(py: Python<'_>, value: Option<&Owned>) -> Result<bool> {
    match value {
        Some(value) => Ok(value.any(py).is_truthy()?),
        None => Err(PyTypeError::new_err("this attribute cannot be deleted").into()),
    }
}

/// The property of a field that holds any object; of a `MaybeInstance` with `.object`.
macro_rules! object_property {
    ($class:ty, $name:expr, $field:ident $(.$object:ident)?) => {
        $crate::raw::method::property(
            $crate::raw::method::c_str!($name),
            $crate::raw::getter!($class, $name, |_, this: This<'_, $class>| {
                this.$field$(.$object())?.get().ok_or_else(|| $crate::streams::missing($name))
            }),
            Some($crate::raw::setter!($class, $name, |_, this: This<'_, $class>, value: Option<Owned>| {
                drop(this.$field.replace(value));
                Ok(())
            })),
        )
    };
}

/// The property of a flag.
macro_rules! flag_property {
    ($class:ty, $name:expr, $field:ident) => {
        $crate::raw::method::property(
            $crate::raw::method::c_str!($name),
            $crate::raw::getter!($class, $name, |_, this: This<'_, $class>| Ok(this.$field.get())),
            Some($crate::raw::setter!($class, $name, |py, this: This<'_, $class>, value: Option<Owned>| {
                this.$field.set($crate::streams::truth(py, value.as_ref())?);
                Ok(())
            })),
        )
    };
}

use {flag_property, object_property};
