//! Where a step of connecting is done natively: asyncio's methods, and what they would look up, are as they were written.
//!
//! The class of a loop says when it changes, by the version that the interpreter gives it; an instance, when an attribute is
//! set.

use std::cell::Cell;
use std::net::IpAddr;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use pyo3::{ffi, intern};

use super::{Arg, ConnectingStep, Kind, STEPS};
use crate::imports;
use crate::loop_core::{LoopCore, tasks};
use crate::raw::call::{builtin_address, class_version};
use crate::raw::class::MaybeInstance;
use crate::raw::guard::discard;
use crate::raw::{Args, GilOnce, ObjectCell, Owned, Result, This, method};
use crate::settings;
use crate::unchanged::{Names, Unchanged};

/// Methods of ours that the steps do without.
const OWN: [&str; 7] = [
    "sock_connect",
    "create_future",
    "_make_socket_transport",
    "_ensure_resolved",
    "_connect_sock",
    "_create_connection_transport",
    "_accept_connection2",
];

/// What is looked up, and how it was when this module was imported.
pub(super) struct Known {
    /// Methods of ours, with the addresses of their functions.
    own: Vec<(Owned, usize)>,
    /// asyncio's methods that are done natively.
    asyncios: Unchanged,
    /// asyncio's `create_connection`, and the number of what ours runs; 0 before it is known.
    pub(super) creating: Unchanged,
    pub(super) creating_code: Cell<u32>,
    /// What takes a numeric host apart, what makes sockets, and the class of those.
    resolving: Names,
    making: Names,
    socket_class: Names,
    arguments: Arguments,
    unspecified: Owned,
    pub(super) inet: Owned,
    pub(super) inet6: Owned,
    pub(super) stream: Owned,
    pub(super) tcp: Owned,
    /// Whether asyncio knows IPv6.
    pub(super) has_inet6: bool,
}

/// The names of arguments.
struct Arguments {
    resolve: [Owned; 6],
    connect: [Owned; 3],
    begin: [Owned; 7],
}

static KNOWN: GilOnce<Known> = GilOnce::new();

/// Looks everything up.
pub(super) fn initialise(py: Python<'_>, class: &Owned) -> Result<()> {
    let module = py.import("asyncio.base_events")?;
    let socket = py.import("socket")?;
    let bare = class.any(py).call_method1("__new__", (class.any(py),))?;
    let own = |name| {
        let method: Owned = bare.getattr(name)?.into();
        Ok::<_, PyErr>((interned(py, name), builtin_address(&method).unwrap_or(0)))
    };
    let known = Known {
        own: OWN.into_iter().map(own).collect::<PyResult<_>>()?,
        asyncios: Unchanged::of(
            &module,
            "BaseEventLoop",
            ["_ensure_resolved", "_connect_sock", "_create_connection_transport"],
        )?,
        creating: Unchanged::of(&module, "BaseEventLoop", ["create_connection"])?,
        creating_code: Cell::new(0),
        resolving: Names::of(&module, &["asyncio.base_events"], ["socket", "_ipaddr_info"])?,
        making: Names::of(&module, &[], ["socket"])?,
        socket_class: Names::of(&socket, &["socket"], ["socket"])?,
        arguments: Arguments {
            resolve: ["address", "family", "type", "proto", "flags", "loop"].map(|name| interned(py, name)),
            connect: ["exceptions", "addr_info", "local_addr_infos"].map(|name| interned(py, name)),
            begin: [
                "sock",
                "protocol_factory",
                "ssl",
                "server_hostname",
                "server_side",
                "ssl_handshake_timeout",
                "ssl_shutdown_timeout",
            ]
            .map(|name| interned(py, name)),
        },
        unspecified: socket.getattr("AF_UNSPEC")?.into(),
        inet: socket.getattr("AF_INET")?.into(),
        inet6: socket.getattr("AF_INET6")?.into(),
        stream: socket.getattr("SOCK_STREAM")?.into(),
        tcp: socket.getattr("IPPROTO_TCP")?.into(),
        has_inet6: module.getattr("_HAS_IPv6")?.is_truthy()?,
    };
    KNOWN.set(py, known);
    Ok(())
}

/// What is looked up.
pub(super) fn known(py: Python<'_>) -> &Known {
    KNOWN.get(py)
}

fn interned(py: Python<'_>, name: &str) -> Owned {
    PyString::intern(py, name).into_any().into()
}

/// Whether the methods that resolve and connect are ours and asyncio's own.
pub(crate) fn connects_as_written(py: Python<'_>, core: This<'_, LoopCore>) -> bool {
    let version = class_version(core);
    let is_known = version != 0 && core.own_methods().get() == version;
    (is_known || look(py, core)) && KNOWN.get(py).asyncios.holds(py)
}

#[cold]
fn look(py: Python<'_>, core: This<'_, LoopCore>) -> bool {
    let is_ours = |(name, address): &(Owned, usize)| {
        name.any(py).cast::<PyString>().is_ok_and(|name| tasks::has_method(py, core, &name, *address))
    };
    let ours = KNOWN.get(py).own.iter().all(is_ours);
    core.own_methods().set(if ours { class_version(core) } else { 0 });
    ours
}

/// Whether a step may be done natively.
pub(super) fn is_usual(py: Python<'_>, core: This<'_, LoopCore>) -> bool {
    !core.debug() && settings::native_tasks() && connects_as_written(py, core)
}

fn resolve(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    match answer(py, core, args)? {
        Some(answer) => make(py, core, Kind::Resolve, answer, None),
        None => args.forward(&imports::base_method(py, "_ensure_resolved")?, &core.to_owned()),
    }
}

/// What resolving an address says that is a number already.
fn answer(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Option<Owned>> {
    let known = KNOWN.get(py);
    let Some([Some(address), family, kind, protocol, _, Some(_)]) = args.fitting(&known.arguments.resolve) else {
        return Ok(None);
    };
    if args.count() != 1 || !is_usual(py, core) || kind.is_some_and(|kind| !kind.to_owned().is(&known.stream)) {
        return Ok(None);
    }
    let is_plain_protocol = protocol
        .is_none_or(|protocol| protocol.to_owned().small_int().is_some_and(|number| [0, 6, 17].contains(&number)));
    if !is_plain_protocol || !resolves_as_written(py) {
        return Ok(None);
    }
    let address = address.any(py);
    let Ok(parts) = address.cast_exact::<PyTuple>() else { return Ok(None) };
    if parts.len() != 2 {
        return Ok(None);
    }
    let (host, port) = (parts.get_item(0)?, parts.get_item(1)?);
    let Ok(host) = host.cast_exact::<PyString>() else { return Ok(None) };
    if Owned::from(port.clone()).small_int().is_none() {
        return Ok(None);
    }
    // A name that is no text in UTF-8 is none of an address.
    let number = host.to_str().map_err(|error| discard(py, error)).ok().and_then(|host| host.parse::<IpAddr>().ok());
    let family = family.map(Arg::to_owned);
    let any_family =
        family.as_ref().is_none_or(|family| family.small_int() == Some(0) || family.is(&known.unspecified));
    let (of_host, address) = match number {
        Some(IpAddr::V4(_)) => (&known.inet, (host, port).into_pyobject(py)?),
        Some(IpAddr::V6(_)) if known.has_inet6 => (&known.inet6, (host, port, 0, 0).into_pyobject(py)?),
        _ => return Ok(None),
    };
    if !any_family && family.is_some_and(|family| !family.is(of_host)) {
        return Ok(None);
    }
    let info = (of_host.any(py), known.stream.any(py), known.tcp.any(py), intern!(py, ""), address);
    Ok(Some(PyList::new(py, [info.into_pyobject(py)?])?.into_any().into()))
}

/// Whether asyncio's module takes a numeric host apart by what it took it apart by.
pub(crate) fn resolves_as_written(py: Python<'_>) -> bool {
    KNOWN.get(py).resolving.hold(py)
}

fn connect(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let known = KNOWN.get(py);
    if let Some([Some(failures), Some(address), local]) = args.fitting(&known.arguments.connect)
        && local.is_none_or(Arg::is_none)
        && failures.any(py).is_exact_instance_of::<PyList>()
        && address.any(py).cast_exact::<PyTuple>().is_ok_and(|parts| parts.len() == 5)
        && is_usual(py, core)
        && makes_sockets_as_written(py)
    {
        return make(py, core, Kind::Connect, address.to_owned(), Some(failures.to_owned()));
    }
    args.forward(&imports::base_method(py, "_connect_sock")?, &core.to_owned())
}

/// Whether `socket.socket(…)` in asyncio's module makes what it made.
pub(super) fn makes_sockets_as_written(py: Python<'_>) -> bool {
    KNOWN.get(py).making.hold(py) && makes_sockets(py) && imports::get(py).making_socket.holds(py)
}

/// Whether `socket.socket` is Python's class of sockets.
pub(super) fn makes_sockets(py: Python<'_>) -> bool {
    KNOWN.get(py).socket_class.hold(py)
}

fn begin(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    let known = KNOWN.get(py);
    if let Some([Some(socket), Some(factory), Some(tls), Some(_), server_side, handshake, shutdown]) =
        args.fitting(&known.arguments.begin)
        && tls.is_none()
        && server_side.is_none_or(|server_side| server_side.to_owned().is_false())
        && handshake.is_none_or(Arg::is_none)
        && shutdown.is_none_or(Arg::is_none)
        && is_usual(py, core)
    {
        return make(py, core, Kind::Begin, factory.to_owned(), Some(socket.to_owned()));
    }
    args.forward(&imports::base_method(py, "_create_connection_transport")?, &core.to_owned())
}

fn make(py: Python<'_>, core: This<'_, LoopCore>, kind: Kind, subject: Owned, given: Option<Owned>) -> Result<Owned> {
    STEPS.make_collected(py, || ConnectingStep {
        core: MaybeInstance::new(core),
        subject: ObjectCell::new(subject),
        given: given.map_or_else(ObjectCell::default, ObjectCell::new),
        kind: std::cell::Cell::new(kind),
        ..ConnectingStep::default()
    })
}

/// The methods of a loop.
pub(crate) fn methods() -> [ffi::PyMethodDef; 3] {
    [
        method!(LoopCore, "_ensure_resolved", args resolve, "_ensure_resolved($self, address, *, family=0, type=1, proto=0, flags=0, loop)\n--\n\nWhat the address of a host may be, as getaddrinfo says it."),
        method!(LoopCore, "_connect_sock", args connect, "_connect_sock($self, exceptions, addr_info, local_addr_infos=None)\n--\n\nA socket that is connected."),
        method!(LoopCore, "_create_connection_transport", args begin, "_create_connection_transport($self, sock, protocol_factory, ssl, server_hostname, server_side=False, ssl_handshake_timeout=None, ssl_shutdown_timeout=None)\n--\n\n(transport, protocol) of a connected socket."),
    ]
}
