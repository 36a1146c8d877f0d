//! `_boucle`: the Python face's native half, used by the package `boucle` and by nobody else.
//!
//! * [`loop_core`]: the loop. [`handle`]: what it returns and runs. [`future`], [`task`]: what programs await.
//! * [`transport`]: what connects protocols with descriptors. [`tls`]: TLS connections, over any transport.
//! * [`addresses`]: those of IP, in both notations. [`streams`]: the hot half of readers and writers.
//! * [`sock`]: operations on sockets that the program keeps. [`coroutine`]: what makes an operation a coroutine.
//! * [`connecting`]: what `create_connection` awaits. [`executor`]: work in threads.
//! * [`unchanged`]: which classes of Python's library are as they were written. [`versions`]: where asyncio's differ.
//! * [`witness`], [`directory`], [`frames`]: who ran and where, in numbers that the recorder keeps.
//! * [`stacks`]: where a running thread is, seen without the GIL.
//! * [`chronology`]: a recorded run for Python. [`viewer`]: that of another process.
//! * [`watchdog`]: who sees a step that does not return.
//! * [`raw`]: the unsafe floor under all of it.
//!
//! # Invariants
//!
//! * No scheduling decision is made here: what runs, in which order and when to wait is `boucle-core`'s.
//! * Native classes know asyncio by [`imports`] only.
//! * `unsafe` stands in [`raw`], [`frames`], [`handle`], [`stacks`], [`task`] and [`witness`], each block with its argument.

#![allow(clippy::unnecessary_wraps, reason = "one macro makes slots of functions that raise and of those that do not")]

mod addresses;
mod chronology;
mod connecting;
mod coroutine;
mod directory;
mod errors;
mod executor;
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "one fact, the table of offsets, covers a whole function")]
mod frames;
mod future;
mod handle;
mod imports;
mod loop_core;
mod mutation;
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "short sequences of C calls that share one argument")]
mod raw;
mod rendezvous;
mod settings;
mod sock;
mod stacks;
mod streams;
mod task;
mod tls;
mod transport;
mod unchanged;
mod versions;
mod viewer;
mod watchdog;
mod weak;
mod witness;

use pyo3::prelude::*;

/// The native half of boucle. Use the package `boucle`.
#[pymodule(gil_used = true)]
mod _boucle {
    use super::{
        connecting, directory, executor, frames, future, handle, imports, loop_core, raw, settings, sock, stacks,
        streams, task, tls, transport, versions, viewer,
    };
    use pyo3::prelude::*;
    use pyo3::types::PyType;

    #[pymodule_export]
    use super::chronology::{Chronology, Recording};
    #[pymodule_export]
    use super::stacks::StackOracle;
    #[pymodule_export]
    use super::watchdog::face::{
        _annotate, _context_of, _resume_watchdog, _set_watchdog_face, _suspend_watchdog, _unwatch, _watch,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        raw::gil::refuse_sub_interpreters()?;
        settings::initialise()?;
        boucle_core::clock::Scale::prepare();
        imports::initialise(py)?;
        versions::initialise(py)?;
        raw::context::initialise(py)?;
        directory::initialise(py)?;
        let classes = [("LoopCore", loop_core::initialise(py).map_err(|raised| raised.take(py))?)];
        let [handle, timer_handle] = handle::initialise(py).map_err(|raised| raised.take(py))?;
        let future = future::initialise(py).map_err(|raised| raised.take(py))?;
        let task = task::initialise(py).map_err(|raised| raised.take(py))?;
        let watcher = loop_core::source::initialise(py).map_err(|raised| raised.take(py))?;
        let stream = transport::stream::initialise(py).map_err(|raised| raised.take(py))?;
        let [ssl_protocol, ssl_transport] = tls::initialise(py).map_err(|raised| raised.take(py))?;
        let datagram = transport::datagram::initialise(py).map_err(|raised| raised.take(py))?;
        let [read_pipe, write_pipe] = transport::pipe::initialise(py).map_err(|raised| raised.take(py))?;
        let operation = sock::initialise(py).map_err(|raised| raised.take(py))?;
        let connecting = connecting::initialise(py, &classes[0].1).map_err(|raised| raised.take(py))?;
        let job = executor::initialise(py).map_err(|raised| raised.take(py))?;
        let streams = streams::initialise(py).map_err(|raised| raised.take(py))?;
        let others = [
            ("Handle", handle),
            ("TimerHandle", timer_handle),
            ("Future", future),
            ("Task", task),
            ("Watcher", watcher),
            ("StreamTransport", stream),
            ("SSLProtocol", ssl_protocol),
            ("SSLTransport", ssl_transport),
            ("DatagramTransport", datagram),
            ("ReadPipeTransport", read_pipe),
            ("WritePipeTransport", write_pipe),
            ("SocketOperation", operation),
            ("ConnectingStep", connecting),
            ("Job", job),
        ];
        for (name, class) in classes.iter().chain(&others).chain(&streams) {
            module.add(*name, class.any(py))?;
        }
        // Whether loops make tasks and futures of ours: see settings.
        module.add("native_tasks", settings::native_tasks())?;
        // From which time in seconds on a step is reported: see settings. None where nobody asked.
        module.add("watch_threshold", settings::watch_threshold())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// The last seconds of what another process ran, or the whole of a step that it still runs. Raises `OSError` where it
    /// cannot be looked into.
    #[pyfunction]
    fn snapshot(py: Python<'_>, pid: u32, seconds: f64) -> PyResult<Chronology> {
        viewer::snapshot(py, pid, seconds)
    }

    /// Learns what is called in a thread in the place of `socket.getaddrinfo`, as that was written.
    #[pyfunction]
    fn _learn_resolver(socket: &Bound<'_, PyModule>, instead: &Bound<'_, PyAny>) -> PyResult<()> {
        executor::resolving::learn(socket, instead)
    }

    /// Learns the classes of the streams, as they were written.
    #[pyfunction]
    fn _learn_streams(
        py: Python<'_>,
        reader: &Bound<'_, PyType>,
        protocol: &Bound<'_, PyType>,
        writer: &Bound<'_, PyType>,
    ) -> PyResult<()> {
        streams::learn(py, reader, protocol, writer)
    }

    /// All tasks of boucle's own class that are not done.
    #[pyfunction]
    fn _all_tasks(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        Ok(task::registry::all(py)?.into_any())
    }

    /// How many tasks of boucle's own class this process has made.
    #[pyfunction]
    fn _tasks_made(py: Python<'_>) -> u64 {
        task::registry::made(py)
    }

    /// Whether frames of coroutines can be read, tried on two: see the module `_frames`. If they can, they are from now on.
    #[pyfunction]
    fn _try_frames(chain: &Bound<'_, PyAny>, fresh: &Bound<'_, PyAny>) -> PyResult<bool> {
        frames::check(chain, fresh)
    }

    /// The stack of the calling thread as the watchdog would read it, innermost first: function, file, line, first line.
    #[pyfunction]
    fn _stack(py: Python<'_>) -> PyResult<Vec<(String, String, u32, u32)>> {
        stacks::oracle::stack(py)
    }

    /// The line at an offset in bytes, from a code object's line table.
    #[pyfunction]
    fn _line(table: &[u8], first_line: u32, offset: u32) -> Option<u32> {
        stacks::oracle::line(table, first_line, offset)
    }

    /// What all loops of this process did, by thread: see boucle.metrics.
    #[pyfunction]
    fn _metrics_of_process() -> Vec<loop_core::metrics::ThreadSums> {
        loop_core::metrics::of_process()
    }

    /// Uses what is known of this interpreter's contexts from now on, or does not; says whether it keeps variables of contexts
    /// instead of objects, and whether it enters contexts by hand.
    #[pyfunction]
    fn _use_knowledge_of_contexts(wanted: bool) -> (bool, bool) {
        raw::context::use_knowledge(wanted)
    }

    /// Whether steps are written down.
    #[pyfunction]
    fn _is_recording() -> bool {
        settings::recording()
    }

    /// The mistakes that `mutate` can make: for the test of the differential tester.
    #[cfg(feature = "mutations")]
    #[pyfunction]
    fn mutations() -> Vec<&'static str> {
        super::mutation::names()
    }

    /// Makes the mistake of this name from now on; none if there is none of it.
    #[cfg(feature = "mutations")]
    #[pyfunction]
    fn mutate(name: &str) {
        super::mutation::make(name);
    }

    /// Makes the named slot panic when it is next used: for the tests.
    #[cfg(feature = "panic-injection")]
    #[pyfunction]
    fn panic_in(slot: &str) {
        *raw::guard::ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(slot.to_owned());
    }

    /// Whether the slot named last has not been used yet.
    #[cfg(feature = "panic-injection")]
    #[pyfunction]
    fn panic_is_armed() -> bool {
        raw::guard::ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some()
    }
}
