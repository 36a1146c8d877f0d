//! What the native code uses of asyncio, and the names it compares with. Looked up once, when the module is imported.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use crate::raw::call::raise;
use crate::raw::guard::discard;
use crate::raw::instance::{Ask, Function, Member, Places};
use crate::raw::{GilOnce, Owned, Raised};
use crate::unchanged::{self, Unchanged};
use crate::weak::WeakContainer;

/// Objects that the native code uses.
pub(crate) struct Imports {
    /// `asyncio.Handle`: what our handles say they are.
    pub(crate) handle: Owned,
    /// `asyncio.TimerHandle`.
    pub(crate) timer_handle: Owned,
    /// What handles of `call_soon_threadsafe` say they are: a class of its own from 3.14 on.
    pub(crate) shared_handle: Owned,
    /// `asyncio.BaseEventLoop`: wrong calls are handed on to it, so that it raises its own text.
    pub(crate) base_event_loop: Owned,
    /// `asyncio.format_helpers.extract_stack`: source tracebacks of debug mode.
    pub(crate) extract_stack: Owned,
    /// The string `context`.
    pub(crate) context: Owned,
    /// The tuple `("context",)`.
    pub(crate) context_only: Owned,
    /// The string `create_task`.
    pub(crate) create_task: Owned,
    /// The string `call_soon`.
    pub(crate) call_soon: Owned,
    /// The string `msg`.
    pub(crate) msg: Owned,
    /// The string `name`.
    pub(crate) name: Owned,
    /// The string `eager_start`.
    pub(crate) eager_start: Owned,
    /// `asyncio.Future`: what our futures say they are.
    pub(crate) future: Owned,
    /// `asyncio.Task`: what our tasks say they are.
    pub(crate) task: Owned,
    /// The words of a future's repr.
    pub(crate) future_repr_info: Owned,
    /// The words of a task's repr.
    pub(crate) task_repr_info: Owned,
    /// What `Task.get_stack` answers.
    pub(crate) task_get_stack: Owned,
    /// What `Task.print_stack` prints.
    pub(crate) task_print_stack: Owned,
    /// `asyncio.CancelledError`.
    pub(crate) cancelled_error: Owned,
    /// `asyncio.InvalidStateError`.
    invalid_state_error: Owned,
    /// `asyncio.iscoroutine`.
    is_coroutine: Owned,
    /// What finds the loop of a future that is given none.
    get_event_loop: Owned,
    /// The type of generators.
    pub(crate) generator: Owned,
    /// The string `connection_lost`.
    pub(crate) connection_lost: Owned,
    /// The string `data_received`.
    pub(crate) data_received: Owned,
    /// The string `eof_received`.
    pub(crate) eof_received: Owned,
    /// The string `get_buffer`.
    pub(crate) get_buffer: Owned,
    /// The string `buffer_updated`.
    pub(crate) buffer_updated: Owned,
    /// The string `datagram_received`.
    pub(crate) datagram_received: Owned,
    /// The string `error_received`.
    pub(crate) error_received: Owned,
    /// The string `pause_writing`.
    pub(crate) pause_writing: Owned,
    /// The string `resume_writing`.
    pub(crate) resume_writing: Owned,
    /// `warnings.warn`: at the end of a program nothing can be imported any more.
    pub(crate) warn: Owned,
    /// asyncio's log.
    pub(crate) logger: Owned,
    /// `asyncio.BufferedProtocol`.
    pub(crate) buffered_protocol: Owned,
    /// `asyncio.trsock.TransportSocket`: what a transport shows of its socket.
    pub(crate) transport_socket: Unchanged,
    /// What sets a waiter's result, unless it was cancelled.
    pub(crate) set_result_unless_cancelled: Owned,
    /// The same, with its code, where it is asyncio's own.
    pub(crate) setting_result: Option<Function>,
    /// What asyncio's transports do with data: they refuse what is none.
    pub(crate) write: Owned,
    pub(crate) send_to: Owned,
    /// `asyncio.Transport`, which our stream transports derive from.
    pub(crate) transport: Owned,
    /// `asyncio.DatagramTransport`.
    pub(crate) datagram_transport: Owned,
    /// `asyncio.ReadTransport`.
    pub(crate) read_transport: Owned,
    /// `socket.socket`.
    pub(crate) socket: Owned,
    /// The string `fileno`.
    pub(crate) fileno: Owned,
    /// The string `gettimeout`.
    pub(crate) gettimeout: Owned,
    /// The string `getsockopt`.
    pub(crate) getsockopt: Owned,
    /// `socket.SOL_SOCKET`.
    pub(crate) sol_socket: Owned,
    /// `socket.SO_ERROR`.
    pub(crate) so_error: Owned,
    /// The family, the type and the protocol of a socket, past the properties in Python that make enumerations.
    pub(crate) socket_family: Member,
    pub(crate) socket_type: Member,
    pub(crate) socket_protocol: Member,
    /// What Python's class adds to a socket: whether it was closed, and how many files were made of it.
    pub(crate) socket_closed: Member,
    pub(crate) socket_files: Member,
    /// The number 0.
    pub(crate) zero: Owned,
    /// `_socket.socket`.
    pub(crate) native_socket: Owned,
    /// The socket that is shown of.
    pub(crate) shown_socket: Member,
    /// Methods that `socket.socket` has from C and that system calls stand in for, unless somebody has put others in their place.
    pub(crate) socket_connect: Owned,
    pub(crate) socket_getsockname: Owned,
    pub(crate) socket_getpeername: Owned,
    /// `weakref.WeakValueDictionary`, the class of the references in it, and where one has its key.
    pub(crate) weak_dictionary: WeakContainer,
    pub(crate) keyed_reference: Owned,
    pub(crate) reference_key: Member,
    /// `weakref.ref`, which the references in it are.
    pub(crate) reference: Owned,
    /// What `BaseSelectorEventLoop` does with the connections of a listening socket.
    pub(crate) accept_connection: Owned,
    pub(crate) accept_connection2: Owned,
    /// The code of the latter.
    pub(crate) accepting_code: Option<Owned>,
    /// Whether both are asyncio's own.
    pub(crate) accepting: Unchanged,
    /// How `socket.socket` accepts.
    pub(crate) accepting_socket: Unchanged,
    /// How `socket.socket` is made, and made not to block, and how it closes.
    pub(crate) making_socket: Unchanged,
    pub(crate) closing_socket: Unchanged,
    /// How `socket.socket` says which descriptor it has, and how long it waits.
    pub(crate) asked_socket: Unchanged,
    pub(crate) socket_fileno: Ask,
    pub(crate) socket_timeout: Ask,
    /// `_socket.socket.close`.
    pub(crate) socket_close: Owned,
    /// `asyncio.Server`, how it counts its connections; from 3.13 on in a `weakref.WeakSet`.
    pub(crate) server: Unchanged,
    pub(crate) weak_set: Unchanged,
    /// `_sockets` and `_clients` of a server, and that set from inside.
    pub(crate) of_server: Places<2>,
    pub(crate) of_weak_set: WeakContainer,
    /// `sys.audit`.
    pub(crate) audit: Owned,
}

static IMPORTS: GilOnce<Imports> = GilOnce::new();

/// Looks everything up.
pub(crate) fn initialise(py: Python<'_>) -> PyResult<()> {
    let asyncio = py.import("asyncio")?;
    let base_events = py.import("asyncio.base_events")?;
    let format_helpers = py.import("asyncio.format_helpers")?;
    let base_tasks = py.import("asyncio.base_tasks")?;
    let events = py.import("asyncio.events")?;
    let socket = py.import("socket")?;
    let weakref = py.import("weakref")?;
    let native_socket = py.import("_socket")?.getattr("socket")?;
    let selector_events = py.import("asyncio.selector_events")?;
    let selecting = selector_events.getattr("BaseSelectorEventLoop")?;
    let stream_transport = selector_events.getattr("_SelectorSocketTransport")?;
    let imports = Imports {
        handle: asyncio.getattr("Handle")?.into(),
        timer_handle: asyncio.getattr("TimerHandle")?.into(),
        shared_handle: events.getattr("_ThreadSafeHandle").or_else(|_| asyncio.getattr("Handle"))?.into(),
        base_event_loop: base_events.getattr("BaseEventLoop")?.into(),
        extract_stack: format_helpers.getattr("extract_stack")?.into(),
        context: PyString::intern(py, "context").into_any().into(),
        context_only: PyTuple::new(py, [PyString::intern(py, "context")])?.into_any().into(),
        create_task: PyString::intern(py, "create_task").into_any().into(),
        call_soon: PyString::intern(py, "call_soon").into_any().into(),
        msg: PyString::intern(py, "msg").into_any().into(),
        name: PyString::intern(py, "name").into_any().into(),
        eager_start: PyString::intern(py, "eager_start").into_any().into(),
        future: asyncio.getattr("Future")?.into(),
        task: asyncio.getattr("Task")?.into(),
        future_repr_info: py.import("asyncio.base_futures")?.getattr("_future_repr_info")?.into(),
        task_repr_info: base_tasks.getattr("_task_repr_info")?.into(),
        task_get_stack: base_tasks.getattr("_task_get_stack")?.into(),
        task_print_stack: base_tasks.getattr("_task_print_stack")?.into(),
        cancelled_error: asyncio.getattr("CancelledError")?.into(),
        invalid_state_error: asyncio.getattr("InvalidStateError")?.into(),
        is_coroutine: asyncio.getattr("iscoroutine")?.into(),
        get_event_loop: events.getattr("_get_event_loop").or_else(|_| events.getattr("get_event_loop"))?.into(),
        generator: py.import("types")?.getattr("GeneratorType")?.into(),
        connection_lost: PyString::intern(py, "connection_lost").into_any().into(),
        data_received: PyString::intern(py, "data_received").into_any().into(),
        eof_received: PyString::intern(py, "eof_received").into_any().into(),
        get_buffer: PyString::intern(py, "get_buffer").into_any().into(),
        buffer_updated: PyString::intern(py, "buffer_updated").into_any().into(),
        datagram_received: PyString::intern(py, "datagram_received").into_any().into(),
        error_received: PyString::intern(py, "error_received").into_any().into(),
        pause_writing: PyString::intern(py, "pause_writing").into_any().into(),
        resume_writing: PyString::intern(py, "resume_writing").into_any().into(),
        warn: py.import("warnings")?.getattr("warn")?.into(),
        logger: py.import("asyncio.log")?.getattr("logger")?.into(),
        buffered_protocol: asyncio.getattr("BufferedProtocol")?.into(),
        transport_socket: Unchanged::of(&py.import("asyncio.trsock")?, "TransportSocket", ["__new__", "__init__"])?,
        set_result_unless_cancelled: py.import("asyncio.futures")?.getattr("_set_result_unless_cancelled")?.into(),
        setting_result: unchanged::function_of(&py.import("asyncio.futures")?, "_set_result_unless_cancelled")?,
        write: stream_transport.getattr("write")?.into(),
        send_to: selector_events.getattr("_SelectorDatagramTransport")?.getattr("sendto")?.into(),
        transport: asyncio.getattr("Transport")?.into(),
        datagram_transport: asyncio.getattr("DatagramTransport")?.into(),
        read_transport: asyncio.getattr("ReadTransport")?.into(),
        socket: socket.getattr("socket")?.into(),
        fileno: PyString::intern(py, "fileno").into_any().into(),
        gettimeout: PyString::intern(py, "gettimeout").into_any().into(),
        getsockopt: PyString::intern(py, "getsockopt").into_any().into(),
        sol_socket: socket.getattr("SOL_SOCKET")?.into(),
        so_error: socket.getattr("SO_ERROR")?.into(),
        socket_family: Member::of(&native_socket, "family")?,
        socket_type: Member::of(&native_socket, "type")?,
        socket_protocol: Member::of(&native_socket, "proto")?,
        socket_closed: Member::of(&socket.getattr("socket")?, "_closed")?,
        socket_files: Member::of(&socket.getattr("socket")?, "_io_refs")?,
        shown_socket: Member::of(&py.import("asyncio.trsock")?.getattr("TransportSocket")?, "_sock")?,
        zero: 0_i32.into_pyobject(py)?.into_any().into(),
        native_socket: native_socket.clone().into(),
        socket_connect: native_socket.getattr("connect")?.into(),
        socket_getsockname: native_socket.getattr("getsockname")?.into(),
        socket_getpeername: native_socket.getattr("getpeername")?.into(),
        weak_dictionary: WeakContainer::of(&weakref, "WeakValueDictionary")?,
        keyed_reference: weakref.getattr("KeyedRef")?.into(),
        reference: weakref.getattr("ref")?.into(),
        reference_key: Member::of(&weakref.getattr("KeyedRef")?, "key")?,
        accept_connection: selecting.getattr("_accept_connection")?.into(),
        accept_connection2: selecting.getattr("_accept_connection2")?.into(),
        accepting_code: Function::of(selecting.getattr("_accept_connection2")?.into())
            .map(|function| function.code().clone()),
        accepting: Unchanged::of(
            &selector_events,
            "BaseSelectorEventLoop",
            ["_accept_connection", "_accept_connection2"],
        )?,
        accepting_socket: Unchanged::of(&socket, "socket", ["accept", "setblocking"])?,
        making_socket: Unchanged::of(&socket, "socket", ["__new__", "__init__", "setblocking"])?,
        closing_socket: Unchanged::of(&socket, "socket", ["close", "_real_close"])?,
        asked_socket: Unchanged::of(&socket, "socket", ["fileno", "gettimeout"])?,
        socket_fileno: Ask::of(&native_socket, "fileno")?,
        socket_timeout: Ask::of(&native_socket, "gettimeout")?,
        socket_close: native_socket.getattr("close")?.into(),
        server: Unchanged::of(&base_events, "Server", ["_attach", "_detach"])?,
        weak_set: Unchanged::of(&py.import("_weakrefset")?, "WeakSet", ["add", "discard", "__len__"])?,
        of_server: Places::of(py, &base_events.getattr("Server")?, ["_sockets", "_clients"])?,
        of_weak_set: WeakContainer::of(&weakref, "WeakSet")?,
        audit: py.import("sys")?.getattr("audit")?.into(),
    };
    IMPORTS.set(py, imports);
    Ok(())
}

/// The objects.
#[inline]
pub(crate) fn get(py: Python<'_>) -> &Imports {
    IMPORTS.get(py)
}

/// The stack of the Python code that called us, as asyncio keeps it in debug mode.
pub(crate) fn source_traceback(py: Python<'_>) -> PyResult<Owned> {
    Ok(get(py).extract_stack.any(py).call0()?.into())
}

/// Calls asyncio's own method on our object: `BaseEventLoop.name(loop, …)`.
pub(crate) fn base_method(py: Python<'_>, name: &str) -> PyResult<Owned> {
    Ok(get(py).base_event_loop.any(py).getattr(name)?.into())
}

/// Whether an exception ends the program rather than a callback.
pub(crate) fn ends_the_program(py: Python<'_>, exception: &Owned) -> bool {
    let exception = exception.any(py);
    exception.is_instance_of::<pyo3::exceptions::PyKeyboardInterrupt>()
        || exception.is_instance_of::<pyo3::exceptions::PySystemExit>()
}

/// Truth of an attribute, for attributes of foreign objects.
pub(crate) fn is_cancelled(py: Python<'_>, handle: &Owned) -> PyResult<bool> {
    handle.any(py).getattr(intern!(py, "_cancelled"))?.is_truthy()
}

/// Raises an `InvalidStateError` with this text.
#[cold]
pub(crate) fn invalid_state(py: Python<'_>, text: &str) -> Raised {
    match get(py).invalid_state_error.any(py).call1((text,)) {
        Ok(error) => raise(py, &error.into()),
        Err(error) => error.into(),
    }
}

/// A `CancelledError`, with a message if there is one.
pub(crate) fn cancelled_error(py: Python<'_>, message: Option<&Owned>) -> PyResult<Owned> {
    let class = get(py).cancelled_error.any(py);
    Ok(match message {
        Some(message) => class.call1((message.any(py),))?,
        None => class.call0()?,
    }
    .into())
}

/// Whether asyncio takes an object for a coroutine.
pub(crate) fn is_coroutine(py: Python<'_>, object: &Owned) -> PyResult<bool> {
    get(py).is_coroutine.any(py).call1((object.any(py),))?.is_truthy()
}

/// The loop of a future that is given none: the running one, or the one of this thread.
pub(crate) fn event_loop(py: Python<'_>) -> PyResult<Owned> {
    Ok(get(py).get_event_loop.any(py).call0()?.into())
}

/// An attribute of a foreign object; nothing where it has none.
pub(crate) fn attribute<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match object.getattr(name) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_instance_of::<pyo3::exceptions::PyAttributeError>(object.py()) => {
            discard(object.py(), error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
