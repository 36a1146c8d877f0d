//! What arrives for asyncio's own stream reader: done here as `StreamReaderProtocol.data_received` would do it.
//!
//! Three Python functions run for each message otherwise, which only pass it on: `data_received` of the protocol,
//! `feed_data` and `_wakeup_waiter` of the reader. The same is done on the same attributes in the same order, with one
//! copy less: from the loop's buffer right into the reader's.
//!
//! # Invariants
//!
//! * It is done only where nobody can tell: classes that are exactly asyncio's, with its functions and their code;
//!   instances that have no such function of their own; not in debug mode, in which every call is to be seen.
//! * Whatever is not as expected is left to the functions themselves, before anything was changed.
//!
//! A class says when it changes by the version that the interpreter gives it, so its functions are looked up once.

use pyo3::exceptions::PyNotImplementedError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::future;
use crate::loop_core::LoopCore;
use crate::raw::guard::discard;
use crate::raw::instance::{Function, Layout, referent, version};
use crate::raw::{GilCell, GilOnce, Owned, Result, This, bytes, vector};

/// asyncio's classes, and the names of their attributes.
struct Names {
    protocol: Owned,
    reader: Owned,
    /// The module that defines both.
    module: Owned,
    /// Of the methods that are done without.
    methods: [Owned; 3],
    /// Of what instances of the protocol have.
    protocols: [Owned; PROTOCOLS.len()],
    /// Of what instances of the reader have.
    readers: [Owned; READERS.len()],
    pause_reading: Owned,
}

static NAMES: GilOnce<Names> = GilOnce::new();

/// What instances of the protocol have; the first is the one that is used.
const PROTOCOLS: [&str; 14] = [
    "_stream_reader_wr",
    "_loop",
    "_paused",
    "_drain_waiters",
    "_connection_lost",
    "_source_traceback",
    "_strong_reader",
    "_reject_connection",
    "_task",
    "_transport",
    "_client_connected_cb",
    "_over_ssl",
    "_closed",
    "_stream_writer",
];
const STREAM_READER_WR: usize = 0;

/// What instances of the reader have; the last two are not used.
const READERS: [&str; 8] = ["_eof", "_buffer", "_waiter", "_transport", "_paused", "_limit", "_loop", "_exception"];
const EOF: usize = 0;
const BUFFER: usize = 1;
const WAITER: usize = 2;
const TRANSPORT: usize = 3;
const PAUSED: usize = 4;
const LIMIT: usize = 5;
const USED: usize = 6;

/// What is known about the two classes.
struct Known {
    /// As of these versions of them; 0 before they were looked at.
    versions: (u32, u32),
    /// Nothing where something of them is not asyncio's.
    asyncios: Option<Asyncios>,
}

/// How asyncio's classes are.
struct Asyncios {
    /// The functions that are done without.
    functions: [Function; 4],
    layouts: Layouts,
}

/// Where instances keep their attributes.
#[derive(Clone, Copy)]
struct Layouts {
    protocol: Layout<{ PROTOCOLS.len() }>,
    reader: Layout<{ READERS.len() }>,
}

static KNOWN: GilCell<Known> = GilCell::new(Known { versions: (0, 0), asyncios: None });

/// The names that the code of each function uses, in the versions of asyncio that are known: one that came to use others
/// does something else.
const DATA_RECEIVED: &[&str] = &["_stream_reader", "feed_data"];
const STREAM_READER: &[&str] = &["_stream_reader_wr"];
const WAKEUP_WAITER: &[&str] = &["_waiter", "cancelled", "set_result"];
const FEED_DATA: &[&str] = &[
    "_eof",
    "_buffer",
    "extend",
    "_wakeup_waiter",
    "_transport",
    "_paused",
    "len",
    "_limit",
    "pause_reading",
    "NotImplementedError",
];

/// Looks asyncio's classes up.
pub(super) fn initialise(py: Python<'_>) -> PyResult<()> {
    let module = py.import("asyncio.streams")?;
    let name = |text| PyString::intern(py, text).into_any().into();
    let names = Names {
        protocol: module.getattr("StreamReaderProtocol")?.into(),
        reader: module.getattr("StreamReader")?.into(),
        module: module.dict().into_any().into(),
        methods: ["data_received", "feed_data", "_wakeup_waiter"].map(name),
        protocols: PROTOCOLS.map(name),
        readers: READERS.map(name),
        pause_reading: name("pause_reading"),
    };
    NAMES.set(py, names);
    Ok(())
}

/// A reader of asyncio's that is fed natively.
pub(super) struct Fed {
    reader: Owned,
    buffer: Owned,
    layout: Layout<{ READERS.len() }>,
}

/// The reader behind a protocol, if feeding it natively cannot be told from what the protocol does.
#[inline]
pub(super) fn reader_of(py: Python<'_>, core: This<'_, LoopCore>, protocol: &Owned) -> Option<Fed> {
    let names = NAMES.get(py);
    if protocol.type_ptr().cast() != names.protocol.as_ptr() || core.debug() {
        return None;
    }
    let layouts = layouts(py, names)?;
    let [data_received, feed_data, wakeup_waiter] = &names.methods;
    let own = layouts.protocol.view(py, protocol, &names.protocols)?;
    if !own.lacks(&[data_received]) {
        return None;
    }
    let reader = referent(py, &own.get(STREAM_READER_WR)?)?;
    if reader.type_ptr().cast() != names.reader.as_ptr() {
        return None;
    }
    let view = layouts.reader.view(py, &reader, &names.readers)?;
    let is_complete = (0..USED).all(|place| view.has(place));
    if !is_complete || !view.lacks(&[feed_data, wakeup_waiter]) {
        return None;
    }
    let (eof, buffer) = (view.get(EOF)?, view.get(BUFFER)?);
    (eof.is_false() && bytes::is_array(&buffer)).then_some(Fed { reader, buffer, layout: layouts.reader })
}

impl Fed {
    /// The reader's buffer, if nothing is in it.
    pub(super) fn empty_buffer(&self) -> Option<&Owned> {
        (bytes::array_len(&self.buffer) == 0).then_some(&self.buffer)
    }

    /// Extends the reader's buffer. Raises where it cannot be: then nothing has changed.
    #[inline]
    pub(super) fn extend(&self, data: &[u8]) -> Result<()> {
        bytes::append(&self.buffer, data)
    }

    /// What comes after that: who waits is woken up, and the transport pauses where the buffer is too long.
    #[inline]
    pub(super) fn tell(&self, py: Python<'_>) -> Result<()> {
        let names = NAMES.get(py);
        let Some(reader) = self.layout.view(py, &self.reader, &names.readers) else { return Ok(()) };
        if let Some(waiter) = reader.get(WAITER)
            && !waiter.is_none()
        {
            let none = Owned::none(py);
            reader.set(WAITER, &none)?;
            future::set_result_unless_cancelled(py, &waiter, none)?;
        }
        let Some(transport) = reader.get(TRANSPORT) else { return Ok(()) };
        if transport.is_none() || is_true(py, reader.get(PAUSED))? {
            return Ok(());
        }
        // Who was told may have replaced the buffer.
        let (Some(buffer), Some(limit)) = (reader.get(BUFFER), reader.get(LIMIT)) else { return Ok(()) };
        let length = if bytes::is_array(&buffer) { bytes::array_len(&buffer) } else { buffer.any(py).len()? };
        if !exceeds_twice(py, length, &limit)? {
            return Ok(());
        }
        match vector::method(py, &transport, &names.pause_reading, &[]) {
            Ok(_) => reader.set(PAUSED, &Owned::truth(py)),
            Err(raised) => {
                let error = raised.take(py);
                if !error.is_instance_of::<PyNotImplementedError>(py) {
                    return Err(error.into());
                }
                // A transport that cannot be paused is not asked again: the reader forgets it.
                discard(py, error);
                reader.set(TRANSPORT, &Owned::none(py))
            }
        }
    }
}

#[inline]
fn is_true(py: Python<'_>, value: Option<Owned>) -> Result<bool> {
    match value {
        Some(value) if value.is_false() => Ok(false),
        Some(value) => Ok(value.any(py).is_truthy()?),
        None => Ok(false),
    }
}

/// `length > 2 * limit`, for a limit of any type.
#[inline]
fn exceeds_twice(py: Python<'_>, length: usize, limit: &Owned) -> Result<bool> {
    if let Some(limit) = limit.small_int() {
        return Ok(length as i128 > 2 * i128::from(limit));
    }
    let twice = 2_i32.into_pyobject(py).map_err(PyErr::from)?.mul(limit.any(py))?;
    Ok(length.into_pyobject(py).map_err(PyErr::from)?.gt(twice)?)
}

/// Where instances keep their attributes; nothing where the functions that are done without are not asyncio's.
#[inline]
fn layouts(py: Python<'_>, names: &Names) -> Option<Layouts> {
    let versions = (version(&names.protocol), version(&names.reader));
    let known = KNOWN.borrow(py);
    if versions != known.versions || versions.0 == 0 || versions.1 == 0 {
        drop(known);
        return look_classes_up(py, names);
    }
    let asyncios = known.asyncios.as_ref()?;
    asyncios.functions.iter().all(Function::is_unchanged).then_some(asyncios.layouts)
}

#[cold]
fn look_classes_up(py: Python<'_>, names: &Names) -> Option<Layouts> {
    let asyncios = find_asyncios(py, names).unwrap_or_else(|error| {
        discard(py, error);
        None
    });
    // The look-ups have given the classes versions, if they can have any.
    let versions = (version(&names.protocol), version(&names.reader));
    let layouts = asyncios.as_ref().map(|asyncios| asyncios.layouts);
    let former = std::mem::replace(&mut *KNOWN.borrow(py), Known { versions, asyncios });
    drop(former);
    layouts
}

/// How the classes are, if their functions are asyncio's and nothing in them stands between an instance and its attributes.
fn find_asyncios(py: Python<'_>, names: &Names) -> PyResult<Option<Asyncios>> {
    let (protocol, reader) = (names.protocol.any(py), names.reader.any(py));
    let object = py.get_type::<PyAny>();
    for class in [protocol, reader] {
        for name in ["__getattribute__", "__setattr__"] {
            if !class.getattr(name)?.is(&object.getattr(name)?) {
                return Ok(None);
            }
        }
    }
    for name in &names.readers {
        if class_has(&reader, name)? {
            return Ok(None);
        }
    }
    let property = protocol.getattr("_stream_reader")?;
    let is_property = property.get_type().is(&py.import("builtins")?.getattr("property")?);
    if class_has(&protocol, &names.protocols[STREAM_READER_WR])? || !is_property {
        return Ok(None);
    }
    let [data_received, feed_data, wakeup_waiter] = names.methods.each_ref().map(|name| name.any(py));
    let found = [
        asyncios(py, names, protocol.getattr(data_received.cast::<PyString>()?)?, DATA_RECEIVED)?,
        asyncios(py, names, property.getattr("fget")?, STREAM_READER)?,
        asyncios(py, names, reader.getattr(feed_data.cast::<PyString>()?)?, FEED_DATA)?,
        asyncios(py, names, reader.getattr(wakeup_waiter.cast::<PyString>()?)?, WAKEUP_WAITER)?,
    ];
    let [Some(first), Some(second), Some(third), Some(fourth)] = found else { return Ok(None) };
    let protocol = Layout::learn(py, &names.protocol, &names.protocols)?;
    let reader = Layout::learn(py, &names.reader, &names.readers)?;
    let layouts = protocol.zip(reader).map(|(protocol, reader)| Layouts { protocol, reader });
    Ok(layouts.map(|layouts| Asyncios { functions: [first, second, third, fourth], layouts }))
}

fn class_has(class: &Bound<'_, PyAny>, name: &Owned) -> PyResult<bool> {
    class.hasattr(name.any(class.py()).cast::<PyString>()?)
}

/// The function, if asyncio's module defines it and its code uses these names.
fn asyncios(py: Python<'_>, names: &Names, object: Bound<'_, PyAny>, expected: &[&str]) -> PyResult<Option<Function>> {
    let Some(function) = Function::of(object.into()) else { return Ok(None) };
    let globals = function.object().any(py).getattr("__globals__")?;
    let uses: Vec<String> = function.code().any(py).getattr("co_names")?.extract()?;
    let module: &Bound<'_, PyDict> = &names.module.any(py).cast::<PyDict>()?.to_owned();
    Ok((globals.is(module) && uses == expected).then_some(function))
}
