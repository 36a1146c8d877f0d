//! `loop.sock_recv()` and its relatives: operations on a socket that the program keeps.
//!
//! asyncio's are coroutine functions, so what these return is a coroutine too: an [`SocketOperation`], which starts at the first
//! `send`, can be thrown into and closed, and warns if nobody ever awaits it. It tries the call. Where that would block, it
//! yields a future, and the descriptor's reader or writer tries again until the call goes through.
//!
//! [`attempt`] has the calls, [`plain`] those on sockets of exactly Python's class.
//!
//! # Invariants
//!
//! * What it registers is a reader or a writer as `add_reader` makes it: it replaces, and is replaced by, others of the same
//!   descriptor. Whoever ends an operation takes back its own registration, and nobody else's.
//! * A future in `awaited` or a coroutine in `delegate` is there while the operation waits, and at no other time.

pub(crate) mod attempt;
pub(crate) mod plain;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::RawFd;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::{ffi, intern};

use crate::coroutine::{self, Coroutine, Stage, coroutine_class, speaks_if_never_awaited};
use crate::future;
use crate::handle::{self, Callback};
use crate::imports;
use crate::loop_core::LoopCore;
use crate::loop_core::watch::{self, Side};
use crate::raw::args::Arg;
use crate::raw::bytes::Buffer;
use crate::raw::call::{self, Sent};
use crate::raw::class::{Builder, Collected, MaybeInstance, Visit};
use crate::raw::freelist::Freelist;
use crate::raw::stop::Ended;
use crate::raw::{Args, Class, ObjectCell, Owned, Raised, Result, This, TypeCell, method};
use crate::transport::stream::known;

/// What is done to the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(Py_3_11), allow(dead_code, reason = "asyncio has those of datagrams from 3.11 on"))]
enum Kind {
    #[default]
    Receive,
    ReceiveInto,
    ReceiveFrom,
    ReceiveFromInto,
    SendAll,
    SendTo,
    Connect,
    Accept,
}

impl Kind {
    /// The name of the method.
    fn name(self) -> &'static str {
        match self {
            Self::Receive => "sock_recv",
            Self::ReceiveInto => "sock_recv_into",
            Self::ReceiveFrom => "sock_recvfrom",
            Self::ReceiveFromInto => "sock_recvfrom_into",
            Self::SendAll => "sock_sendall",
            Self::SendTo => "sock_sendto",
            Self::Connect => "sock_connect",
            Self::Accept => "sock_accept",
        }
    }

    /// Whether it waits to read or to write.
    fn side(self) -> Side {
        match self {
            Self::Receive | Self::ReceiveInto | Self::ReceiveFrom | Self::ReceiveFromInto | Self::Accept => {
                Side::Reader
            }
            Self::SendAll | Self::SendTo | Self::Connect => Side::Writer,
        }
    }
}

/// One call of a `sock_*` method.
#[derive(Default)]
pub(crate) struct SocketOperation {
    core: MaybeInstance<LoopCore>,
    socket: ObjectCell,
    /// The further arguments of the call.
    first: ObjectCell,
    second: ObjectCell,
    /// The future that is done when the operation is.
    awaited: ObjectCell,
    /// What is awaited instead of it: the iterator of a future that is not ours, a coroutine that resolves an address.
    delegate: ObjectCell,
    /// The handle that is registered.
    handle: ObjectCell,
    kind: Cell<Kind>,
    stage: Cell<Stage>,
    ended: Ended,
    /// The descriptor that the handle is registered for.
    fd: Cell<RawFd>,
    /// Whether the socket is exactly Python's and does not block: then system calls stand in for its methods.
    is_plain: Cell<bool>,
    /// Whether an address is being resolved.
    resolving: Cell<bool>,
    /// The address to connect to, where it needs no resolving.
    numbers: Cell<Option<SocketAddr>>,
    /// Whether a connection is under way: then readiness says how it ended.
    connecting: Cell<bool>,
    /// What `sock_sendall` sends, once it waits, and how much was sent.
    sending: RefCell<Option<Buffer>>,
    sent: Cell<usize>,
}

static OPERATION: TypeCell = TypeCell::new();
static OPERATIONS: Freelist = Freelist::new();

impl Class for SocketOperation {
    fn class() -> &'static TypeCell {
        &OPERATION
    }
}

impl Collected for SocketOperation {
    fn traverse(&self, visit: &mut Visit) {
        let cells = [&self.socket, &self.first, &self.second, &self.awaited, &self.delegate, &self.handle];
        cells.into_iter().chain([self.core.object()]).for_each(|cell| visit.cell(cell));
        self.ended.traverse(visit);
    }

    fn clear(&self) {
        let cells = [&self.socket, &self.first, &self.second, &self.awaited, &self.delegate, &self.handle];
        let content = cells.map(ObjectCell::take);
        drop((content, self.core.replace(None)));
        self.ended.clear();
    }
}

speaks_if_never_awaited!(SocketOperation, OPERATIONS);

/// Makes the class, and says that it is one of coroutines.
pub(crate) fn initialise(py: Python<'_>) -> Result<Owned> {
    let class = Builder::<SocketOperation>::new(c"boucle._boucle.SocketOperation")
        .doc(c"The coroutine of one call of a method such as loop.sock_recv.");
    let class = coroutine_class!(SocketOperation, class)
        .methods([method!(SocketOperation, "_ready", ready, "The descriptor is ready: tries again.")])
        .finalized()
        .without_constructor()
        .build(py)?;
    coroutine::register(py, &class)?;
    Ok(class)
}

impl Coroutine for SocketOperation {
    fn stage(&self) -> &Cell<Stage> {
        &self.stage
    }

    fn ended(&self) -> &Ended {
        &self.ended
    }

    fn name(&self) -> (&'static str, &'static str) {
        ("Loop", self.kind.get().name())
    }

    fn start(py: Python<'_>, this: This<'_, Self>) -> Result<Sent> {
        start(py, this)
    }

    fn go_on(py: Python<'_>, this: This<'_, Self>) -> Result<Sent> {
        go_on(py, this)
    }

    fn throw_in(py: Python<'_>, this: This<'_, Self>, exception: &Owned) -> Result<Sent> {
        match this.delegate.get().filter(|_| this.resolving.get()) {
            None => Err(PyErr::from_value(exception.any(py).to_owned()).into()),
            Some(resolving) => match coroutine::throw_on(py, &resolving, exception)? {
                Sent::Returned(address) => resolved(py, this, address),
                yielded @ Sent::Yielded(_) => Ok(yielded),
            },
        }
    }

    fn finish(py: Python<'_>, this: This<'_, Self>) -> Result<Option<Owned>> {
        let resolving = this.delegate.get().filter(|_| this.resolving.replace(false));
        let sending = this.sending.take();
        let withdrawn = withdraw(py, this);
        let cells = [&this.socket, &this.first, &this.second, &this.awaited, &this.delegate];
        let content = cells.map(ObjectCell::take);
        drop((sending, content, this.core.replace(None)));
        withdrawn.map(|()| resolving)
    }

    fn awaited(&self) -> Option<Owned> {
        self.delegate.get().or_else(|| self.awaited.get())
    }
}

/// The first step: checks, and tries the call.
fn start(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<Sent> {
    let (Some(sock), Some(owner)) = (this.socket.get(), this.core.object().get()) else {
        return Ok(Sent::Returned(Owned::none(py)));
    };
    let is_socket = plain::is_socket(py, &sock);
    if !is_socket {
        let check = py.import(intern!(py, "asyncio.base_events"))?.getattr(intern!(py, "_check_ssl_socket"))?;
        check.call1((sock.any(py),))?;
    }
    let debug = this.core.with(|core| core.debug()).unwrap_or(false);
    if debug || is_socket {
        let never_blocks = plain::never_blocks(py, &sock)?;
        if debug && !never_blocks {
            return Err(PyValueError::new_err("the socket must be non-blocking").into());
        }
        this.is_plain.set(is_socket && never_blocks);
    }
    if this.kind.get() == Kind::Connect && attempt::needs_resolving(py, this, &sock)? {
        let address = this.first.get().unwrap_or_else(|| Owned::none(py));
        let coroutine = owner.any(py).call_method1(intern!(py, "_resolve_for"), (sock.any(py), address.any(py)))?;
        drop(this.delegate.replace(Some(coroutine.into())));
        this.resolving.set(true);
        return go_on(py, this);
    }
    attempt_first(py, this)
}

/// The first attempt. Where it would block, the descriptor is registered and the future yielded.
fn attempt_first(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<Sent> {
    if let Some(result) = attempt::attempt(py, this)? {
        return Ok(Sent::Returned(result));
    }
    let (Some(sock), Some(owner)) = (this.socket.get(), this.core.object().get()) else {
        return Ok(Sent::Returned(Owned::none(py)));
    };
    let awaited: Owned = owner.any(py).call_method0(intern!(py, "create_future"))?.into();
    let fd = plain::number(py, &sock)?;
    if may_be_a_transports(py, this, &fd)? {
        owner.any(py).call_method1(intern!(py, "_ensure_fd_no_transport"), (fd.any(py),))?;
    }
    let callback: Owned = this.to_owned().any(py).getattr(intern!(py, "_ready"))?.into();
    let handle = this.core.with(|core| {
        let callback = Callback { function: Arg::of(&callback), args: [].into_iter(), context: None };
        let handle = callback.repeating(py, core)?;
        watch::add_handle(py, core, Arg::of(&fd), this.kind.get().side(), handle.clone())?;
        Ok::<_, Raised>(handle)
    });
    drop(this.handle.replace(handle.transpose()?));
    this.fd.set(fd.any(py).extract()?);
    if future::native(&awaited).is_none() {
        let iterator = awaited.any(py).call_method0(intern!(py, "__await__"))?;
        drop(this.delegate.replace(Some(iterator.into())));
    }
    drop(this.awaited.replace(Some(awaited)));
    go_on(py, this)
}

/// Whether a transport may have the descriptor: then asyncio's method says which.
fn may_be_a_transports(py: Python<'_>, this: This<'_, SocketOperation>, fd: &Owned) -> Result<bool> {
    let Ok(number) = fd.any(py).extract() else { return Ok(true) };
    if this.core.with(|core| watch::is_native(core, number)) != Some(false) {
        return Ok(true);
    }
    this.core.with(|core| known::is_in_use(py, core, fd)).unwrap_or(Ok(true))
}

/// A step after the first: asks what is awaited.
fn go_on(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<Sent> {
    if let Some(delegate) = this.delegate.get() {
        return match call::resume(py, &delegate)? {
            Sent::Returned(result) if this.resolving.get() => resolved(py, this, result),
            sent => Ok(sent),
        };
    }
    let Some(awaited) = this.awaited.get() else { return Ok(Sent::Returned(Owned::none(py))) };
    let Some(native) = future::native(&awaited) else { return Ok(Sent::Returned(Owned::none(py))) };
    future::awaiting::step_as_coroutine(py, native)
}

/// The address is known: connects.
fn resolved(py: Python<'_>, this: This<'_, SocketOperation>, address: Owned) -> Result<Sent> {
    this.resolving.set(false);
    drop((this.delegate.take(), this.first.replace(Some(address))));
    attempt_first(py, this)
}

/// The descriptor is ready: tries again, and fulfils the future.
fn ready(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<()> {
    let Some(awaited) = this.awaited.get() else { return Ok(()) };
    let done = match future::native(&awaited) {
        Some(native) => !native.is_pending(),
        None => awaited.any(py).call_method0(intern!(py, "done"))?.is_truthy()?,
    };
    if done {
        return Ok(());
    }
    match attempt::attempt(py, this) {
        Ok(None) => Ok(()),
        Ok(Some(result)) => {
            withdraw(py, this)?;
            if let Some(native) = future::native(&awaited) {
                return future::set_result(py, native, result);
            }
            awaited.any(py).call_method1(intern!(py, "set_result"), (result.any(py),))?;
            Ok(())
        }
        Err(raised) => {
            let exception = raised.take_value(py);
            if imports::ends_the_program(py, &exception) {
                return Err(Raised::put_back(py, exception));
            }
            withdraw(py, this)?;
            awaited.any(py).call_method1(intern!(py, "set_exception"), (exception.any(py),))?;
            Ok(())
        }
    }
}

/// Takes the registration back, unless somebody else's has replaced it.
fn withdraw(py: Python<'_>, this: This<'_, SocketOperation>) -> Result<()> {
    let Some(handle) = this.handle.take() else { return Ok(()) };
    if handle::native(&handle).is_some_and(|handle| handle.is_cancelled()) {
        return Ok(());
    }
    let removed = this.core.with(|core| watch::remove_handle(py, core, this.fd.get(), this.kind.get().side()));
    removed.map_or(Ok(()), |removed| removed.map(drop))
}

/// Makes the operation of a call. `names` are those of the arguments after `self`; all of them must be given but, where
/// `optional` says so, the last.
fn make<const N: usize>(
    py: Python<'_>,
    core: This<'_, LoopCore>,
    args: Args<'_>,
    kind: Kind,
    names: [&str; N],
    optional: bool,
) -> Result<Owned> {
    let given = args.count() + args.keywords().count();
    let mut values = args.named(py, kind.name(), names)?.map(|value| value.or_else(|| Some(Owned::none(py))));
    if given < N {
        if !optional || given + 1 < N {
            let (missing, name) = (names[given.min(N - 1)], kind.name());
            let text = format!("{name}() missing a required argument: '{missing}'");
            return Err(PyTypeError::new_err(text).into());
        }
        values[N - 1] = values[N - 1].take().filter(|value| !value.is_none());
    }
    let mut values = values.into_iter();
    let mut next = || values.next().flatten().map_or_else(ObjectCell::default, ObjectCell::new);
    let (socket, first, second) = (next(), next(), next());
    OPERATIONS.make_collected(py, || SocketOperation {
        core: MaybeInstance::new(core),
        socket,
        first,
        second,
        kind: Cell::new(kind),
        ..SocketOperation::default()
    })
}

/// The operation of `sock_connect(sock, address)`.
pub(crate) fn connecting(py: Python<'_>, core: This<'_, LoopCore>, sock: Owned, address: Owned) -> Result<Owned> {
    OPERATIONS.make_collected(py, || SocketOperation {
        core: MaybeInstance::new(core),
        socket: ObjectCell::new(sock),
        first: ObjectCell::new(address),
        kind: Cell::new(Kind::Connect),
        ..SocketOperation::default()
    })
}

/// Defines a method of the loop.
macro_rules! operation {
    ($function:ident, $kind:expr, $names:expr, $optional:expr) => {
        fn $function(py: Python<'_>, core: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
            make(py, core, args, $kind, $names, $optional)
        }
    };
}

operation!(sock_recv, Kind::Receive, ["sock", "n"], false);
operation!(sock_recv_into, Kind::ReceiveInto, ["sock", "buf"], false);
operation!(sock_sendall, Kind::SendAll, ["sock", "data"], false);
operation!(sock_connect, Kind::Connect, ["sock", "address"], false);
operation!(sock_accept, Kind::Accept, ["sock"], false);
// From 3.11 on.
#[cfg(Py_3_11)]
operation!(sock_recvfrom, Kind::ReceiveFrom, ["sock", "bufsize"], false);
#[cfg(Py_3_11)]
operation!(sock_recvfrom_into, Kind::ReceiveFromInto, ["sock", "buf", "nbytes"], true);
#[cfg(Py_3_11)]
operation!(sock_sendto, Kind::SendTo, ["sock", "data", "address"], false);

/// The methods of a loop.
pub(crate) fn methods() -> Vec<ffi::PyMethodDef> {
    vec![
        method!(LoopCore, "sock_recv", args sock_recv, "sock_recv($self, sock, n)\n--\n\nReceive up to n bytes."),
        method!(LoopCore, "sock_recv_into", args sock_recv_into, "sock_recv_into($self, sock, buf)\n--\n\nReceive into a buffer. Returns how many bytes."),
        method!(LoopCore, "sock_sendall", args sock_sendall, "sock_sendall($self, sock, data)\n--\n\nSend all of it."),
        method!(LoopCore, "sock_connect", args sock_connect, "sock_connect($self, sock, address)\n--\n\nConnect the socket."),
        method!(LoopCore, "sock_accept", args sock_accept, "sock_accept($self, sock)\n--\n\nAccept a connection: (socket, address)."),
        #[cfg(Py_3_11)]
        method!(LoopCore, "sock_recvfrom", args sock_recvfrom, "sock_recvfrom($self, sock, bufsize)\n--\n\nReceive a datagram: (bytes, address)."),
        #[cfg(Py_3_11)]
        method!(LoopCore, "sock_recvfrom_into", args sock_recvfrom_into, "sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\nReceive a datagram into a buffer: (count, address)."),
        #[cfg(Py_3_11)]
        method!(LoopCore, "sock_sendto", args sock_sendto, "sock_sendto($self, sock, data, address)\n--\n\nSend a datagram. Returns how many bytes."),
    ]
}
