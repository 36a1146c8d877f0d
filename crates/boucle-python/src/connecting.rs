//! How connections are made: what asyncio's `create_connection` awaits, and what a server does with those it accepts.
//!
//! * An address that is resolved, a socket that is connected, a transport that has told its protocol: coroutines.
//! * [`accepting`]: connections that others have begun. [`usual`]: where this is done natively. [`whole`]: one to an address
//!   that is a number, from beginning to end.
//!
//! Elsewhere asyncio's own `create_connection` runs, in the version that Python has: which addresses are tried, in which
//! order, and what is raised when none answers is its word. The three coroutines that it awaits on the way are done natively
//! where they do the common thing.
//!
//! # Invariants
//!
//! * Natively only what nobody can tell: asyncio's methods and what they look up are as they were written, and those of the
//!   loop are ours ([`usual`]); not in debug mode. Everything else is asyncio's own coroutine, from the beginning.
//! * A socket is in `socket` and a transport in `transport` until it is handed over. Whatever ends the step before closes it.

pub(crate) mod accepting;
pub(crate) mod usual;
pub(crate) mod whole;

use std::cell::Cell;
use std::net::SocketAddr;

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::coroutine::{self, Coroutine, Stage, coroutine_class};
use crate::future::{self, awaiting};
use crate::imports;
use crate::loop_core::LoopCore;
use crate::loop_core::source::Watcher;
use crate::raw::args::Arg;
use crate::raw::call::{self, Sent};
use crate::raw::class::{Builder, Collected, Finalized, MaybeInstance, Visit};
use crate::raw::context::Context;
use crate::raw::freelist::Freelist;
use crate::raw::guard::afterwards;
use crate::raw::stop::Ended;
use crate::raw::{Class, ObjectCell, Owned, Raised, Result, This, TypeCell, vector};
use crate::sock::{self, plain};
use crate::transport::stream::{self, described::Given};
use crate::versions;

/// Which of the coroutines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Resolve,
    Connect,
    Begin,
    Accept,
    /// All of `create_connection`.
    Whole,
}

/// One call of such a method.
#[derive(Default)]
pub(crate) struct ConnectingStep {
    core: MaybeInstance<LoopCore>,
    /// What it is about: the answer, the address and all that goes with it, what makes the protocol.
    subject: ObjectCell,
    /// What goes with it: the list that asyncio collects what failed in, the connected socket.
    given: ObjectCell,
    /// What the transport of an accepted connection is told: whom it is with, and who has accepted it. Of a peer that is no
    /// address of IP a dictionary says it.
    peer: Cell<Option<SocketAddr>>,
    extra: ObjectCell,
    server: ObjectCell,
    /// The context of its callbacks, and of the task; none where asyncio gives none.
    context: ObjectCell,
    /// Where to connect to.
    target: Cell<Option<SocketAddr>>,
    /// The socket that is being connected, and what watches it where nobody else does.
    socket: ObjectCell,
    watcher: MaybeInstance<Watcher>,
    transport: ObjectCell,
    protocol: ObjectCell,
    /// What is awaited: the operation that connects, the future of the transport.
    awaited: ObjectCell,
    kind: Cell<Kind>,
    stage: Cell<Stage>,
    ended: Ended,
}

static STEP: TypeCell = TypeCell::new();
static STEPS: Freelist = Freelist::new();

impl Class for ConnectingStep {
    fn class() -> &'static TypeCell {
        &STEP
    }
}

impl ConnectingStep {
    fn cells(&self) -> [&ObjectCell; 9] {
        [
            &self.subject,
            &self.given,
            &self.extra,
            &self.server,
            &self.context,
            &self.socket,
            &self.transport,
            &self.protocol,
            &self.awaited,
        ]
    }
}

impl Collected for ConnectingStep {
    fn traverse(&self, visit: &mut Visit) {
        self.cells().into_iter().chain([self.core.object(), self.watcher.object()]).for_each(|cell| visit.cell(cell));
        self.ended.traverse(visit);
    }

    fn clear(&self) {
        drop((self.cells().map(ObjectCell::take), self.core.replace(None)));
        self.ended.clear();
    }
}

impl Finalized for ConnectingStep {
    const SPEAKS: bool = true;

    fn freelist() -> &'static Freelist {
        &STEPS
    }

    fn has_last_word(&self) -> bool {
        matches!(self.stage.get(), Stage::Created | Stage::Waiting)
    }

    fn finalize(py: Python<'_>, this: This<'_, Self>) {
        if this.stage.get() == Stage::Created {
            return coroutine::warn_of_oblivion(py, this);
        }
        if let Err(raised) = coroutine::close(py, this) {
            raised.report_unraisable(py, &this.to_owned());
        }
    }
}

/// Makes the class, and says that it is one of coroutines.
pub(crate) fn initialise(py: Python<'_>, loop_class: &Owned) -> Result<Owned> {
    usual::initialise(py, loop_class)?;
    let class = Builder::<ConnectingStep>::new(c"boucle._boucle.ConnectingStep")
        .doc(c"The coroutine of what loop.create_connection awaits.");
    let class = coroutine_class!(ConnectingStep, class).finalized().without_constructor().build(py)?;
    coroutine::register(py, &class)?;
    Ok(class)
}

impl Coroutine for ConnectingStep {
    fn stage(&self) -> &Cell<Stage> {
        &self.stage
    }

    fn ended(&self) -> &Ended {
        &self.ended
    }

    fn name(&self) -> (&'static str, &'static str) {
        let name = match self.kind.get() {
            Kind::Resolve => "_ensure_resolved",
            Kind::Connect => "_connect_sock",
            Kind::Begin => "_create_connection_transport",
            Kind::Accept => return ("BaseSelectorEventLoop", "_accept_connection2"),
            Kind::Whole => "create_connection",
        };
        ("BaseEventLoop", name)
    }

    fn start(py: Python<'_>, this: This<'_, Self>) -> Result<Sent> {
        match this.kind.get() {
            Kind::Resolve => return Ok(Sent::Returned(this.subject.take().unwrap_or_else(|| Owned::none(py)))),
            Kind::Connect => {
                let begun = begin_to_connect(py, this);
                begun.or_else(|raised| note_failure(py, this, raised))?;
            }
            Kind::Begin => begin(py, this)?,
            Kind::Accept => {
                if let Err(raised) = begin(py, this) {
                    return forgive(py, raised);
                }
            }
            Kind::Whole => {
                if whole::begin_to_connect(py, this)? {
                    begin(py, this)?;
                }
            }
        }
        Self::go_on(py, this)
    }

    fn go_on(py: Python<'_>, this: This<'_, Self>) -> Result<Sent> {
        let awaited = this.awaited.get().unwrap_or_else(|| Owned::none(py));
        let sent = match future::native(&awaited) {
            Some(waiter) => awaiting::step_as_coroutine(py, waiter),
            None => call::resume(py, &awaited),
        };
        conclude(py, this, sent)
    }

    fn throw_in(py: Python<'_>, this: This<'_, Self>, exception: &Owned) -> Result<Sent> {
        let sent = match this.awaited.get().filter(|_| this.kind.get() == Kind::Connect) {
            Some(operation) => coroutine::throw_on(py, &operation, exception),
            None => Err(PyErr::from_value(exception.any(py).to_owned()).into()),
        };
        conclude(py, this, sent)
    }

    fn finish(py: Python<'_>, this: This<'_, Self>) -> Result<Option<Owned>> {
        end_watching(this);
        let (socket, transport) = (this.socket.take(), this.transport.take());
        let operation = this.awaited.take().filter(|_| this.kind.get() == Kind::Connect && socket.is_some());
        let rest = (this.cells().map(ObjectCell::take), this.core.replace(None));
        let ended = operation.map(|operation| operation.any(py).call_method0(intern!(py, "close")).map(drop));
        let closed = match (socket, transport) {
            (Some(socket), _) => plain::close(py, &socket),
            (None, Some(transport)) => {
                transport.any(py).call_method0(intern!(py, "close")).map(drop).map_err(Raised::from)
            }
            (None, None) => Ok(()),
        };
        drop(rest);
        ended.transpose()?;
        match closed {
            Err(raised) if this.kind.get() == Kind::Accept => forgive(py, raised).map(|_| None),
            closed => closed.map(|()| None),
        }
    }

    fn awaited(&self) -> Option<Owned> {
        self.awaited.get()
    }
}

/// Whether an object is one of these coroutines.
pub(crate) fn is_step(object: &Owned) -> bool {
    This::<ConnectingStep>::exactly(object).is_some()
}

/// The code that a task of such a coroutine would run on asyncio: by that it is known to the recorder.
pub(crate) fn stands_for<'py>(py: Python<'py>, coroutine: &Owned) -> Option<&'py Owned> {
    let step = This::<ConnectingStep>::exactly(coroutine)?;
    (step.kind.get() == Kind::Accept).then(|| imports::get(py).accepting_code.as_ref())?
}

/// Makes the socket, and what connects it.
fn begin_to_connect(py: Python<'_>, this: This<'_, ConnectingStep>) -> Result<()> {
    let Some(parts) = this.subject.take() else { return Ok(()) };
    let failures: Owned = PyList::empty(py).into_any().into();
    if let Some(all) = this.given.replace(Some(failures.clone())) {
        all.any(py).cast::<PyList>().map_err(PyErr::from)?.append(failures.any(py))?;
    }
    let parts = parts.any(py);
    let parts = parts.cast::<PyTuple>().map_err(PyErr::from)?;
    let part = |index| parts.get_item(index).map(Owned::from);
    let socket = plain::new(py, [&part(0)?, &part(1)?, &part(2)?, &Owned::none(py)])?;
    drop(this.socket.replace(Some(socket.clone())));
    vector::method(py, &socket, intern!(py, "setblocking"), &[&Owned::falsehood(py)])?;
    let address = part(4)?;
    let operation = this.core.with(|core| sock::connecting(py, core, socket, address));
    drop(this.awaited.replace(operation.transpose()?));
    Ok(())
}

/// A failure to connect is collected by asyncio, and raised.
fn note_failure(py: Python<'_>, this: This<'_, ConnectingStep>, raised: Raised) -> Result<()> {
    let exception = raised.take_value(py);
    if exception.any(py).is_instance_of::<PyOSError>()
        && let Some(failures) = this.given.take()
    {
        failures.any(py).cast::<PyList>().map_err(PyErr::from)?.append(exception.any(py))?;
    }
    Err(Raised::put_back(py, exception))
}

/// Makes the protocol and the transport. Where that fails newer versions close a connected socket, and older ones leave it to
/// its finalizer.
fn begin(py: Python<'_>, this: This<'_, ConnectingStep>) -> Result<()> {
    let socket = if this.kind.get() == Kind::Whole { this.socket.take() } else { this.given.take() };
    let (Some(socket), Some(factory)) = (socket, this.subject.take()) else { return Ok(()) };
    let begun = begin_with(py, this, &socket, &factory);
    if begun.is_ok() {
        drop(this.watcher.replace(None));
        return begun;
    }
    end_watching(this);
    if this.kind.get() == Kind::Accept {
        return begun;
    }
    afterwards(py, begun, || if versions::get(py).closes_refused(py)? { plain::close(py, &socket) } else { Ok(()) })
}

fn begin_with(py: Python<'_>, this: This<'_, ConnectingStep>, socket: &Owned, factory: &Owned) -> Result<()> {
    if this.kind.get() == Kind::Begin {
        vector::method(py, socket, intern!(py, "setblocking"), &[&Owned::falsehood(py)])?;
    }
    if cfg!(Py_3_15) && this.kind.get() != Kind::Accept {
        // From here on asyncio copies it before the protocol is made.
        drop(this.context.replace(Some(Context::copy_current(py)?.into_object(py)?)));
    }
    let protocol = vector::call(py, factory, &[])?;
    let given = match (this.peer.take(), this.extra.take()) {
        (Some(peer), _) => Given::Peer(peer),
        (None, Some(extra)) => Given::Extra(extra),
        (None, None) => Given::Nothing,
    };
    let made = this.core.with(|core| {
        let waiter = future::make(py, core)?;
        let parts = stream::Parts {
            sock: socket.clone(),
            protocol: protocol.clone(),
            waiter: Some(waiter.clone()),
            given,
            server: this.server.take(),
            context: this.context.take(),
            watcher: this.watcher.object().get(),
        };
        Ok::<_, Raised>((stream::make_of(py, core, parts)?, waiter))
    });
    let Some((transport, waiter)) = made.transpose()? else { return Ok(()) };
    drop((this.transport.replace(Some(transport)), this.protocol.replace(Some(protocol))));
    drop(this.awaited.replace(Some(waiter)));
    Ok(())
}

/// Ends the registration with the kernel, if it is not the transport's.
fn end_watching(this: This<'_, ConnectingStep>) {
    this.core.with(|core| this.watcher.with(|watcher| watcher.end(core)));
    drop(this.watcher.replace(None));
}

/// What goes wrong with a connection that was accepted is nobody's business: asyncio tells it in debug mode only, in which
/// its own code runs. The transport, if there is one, is closed at the end of the step.
fn forgive(py: Python<'_>, raised: Raised) -> Result<Sent> {
    let exception = raised.take_value(py);
    if imports::ends_the_program(py, &exception) {
        return Err(Raised::put_back(py, exception));
    }
    Ok(Sent::Returned(Owned::none(py)))
}

/// What came of what is awaited: on its way, done, or failed.
fn conclude(py: Python<'_>, this: This<'_, ConnectingStep>, sent: Result<Sent>) -> Result<Sent> {
    match sent {
        Ok(Sent::Returned(_)) => {}
        Err(raised) if this.kind.get() == Kind::Connect => {
            return note_failure(py, this, raised).map(|()| Sent::Returned(Owned::none(py)));
        }
        Err(raised) if this.kind.get() == Kind::Accept => return forgive(py, raised),
        other => return other,
    }
    let none = || Owned::none(py);
    drop(this.awaited.take());
    Ok(Sent::Returned(match this.kind.get() {
        Kind::Connect => this.socket.take().unwrap_or_else(none),
        Kind::Accept => {
            drop(this.transport.take());
            none()
        }
        Kind::Whole if this.transport.is_empty() => {
            begin(py, this)?;
            return ConnectingStep::go_on(py, this);
        }
        Kind::Whole | Kind::Begin | Kind::Resolve => {
            let transport = this.transport.take().unwrap_or_else(none);
            let protocol = this.protocol.take().unwrap_or_else(none);
            (transport.any(py), protocol.any(py)).into_pyobject(py)?.into_any().into()
        }
    }))
}
