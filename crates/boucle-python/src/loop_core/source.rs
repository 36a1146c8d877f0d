//! Sources: objects of ours that wait for a descriptor, such as transports.
//!
//! A source has a [`Watcher`], which stands between it and the reactor: it knows what the source wants and what the kernel
//! has reported. When something wanted is reported the watcher itself is queued, as a task is, without a handle.
//!
//! A watcher of *edges* stays registered, see `boucle_core::reactor`: losing and regaining interest is a flag here. What was reported and not used up is reported again in the next poll, so that the order of a turn is the one that
//! a level-triggered loop has.
//!
//! # Invariants
//!
//! * A watcher holds its source exactly while the source wants something. A source that waits for nothing can be dropped.
//! * A report that was not acted on before the source lost its interest is void, as a cancelled handle is.
//! * The registration ends before the descriptor is closed. Whoever closes it calls [`Watcher::end`] first.

use std::cell::Cell;
use std::os::fd::RawFd;

use boucle_core::reactor::{Event, Interest, Reactor as _, Token};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::LoopCore;
use super::watch::Source as Registered;
use crate::errors::to_py_err;
use crate::imports;
use crate::raw::class::{Builder, Collected, Finalized, Visit};
use crate::raw::freelist::Freelist;
use crate::raw::{Class, ObjectCell, Owned, Raised, Result, This, TypeCell, getter, unary};

/// What waits for a descriptor.
pub(crate) trait Source: Class {
    /// Something was reported that it wants: see [`Watcher::takes_read`] and [`Watcher::takes_write`].
    fn step(py: Python<'_>, core: This<'_, LoopCore>, this: This<'_, Self>, watcher: This<'_, Watcher>) -> Result<()>;
    /// The number of the code that it runs, for the recorder.
    fn code(py: Python<'_>, this: This<'_, Self>) -> u32;
}

type Step = fn(Python<'_>, This<'_, LoopCore>, &Owned, This<'_, Watcher>) -> Result<()>;
type Code = fn(Python<'_>, &Owned) -> u32;

/// What stands between a source and the reactor.
#[derive(Default)]
pub(crate) struct Watcher {
    /// The source, while it wants something.
    source: ObjectCell,
    step: Cell<Option<(Step, Code)>>,
    fd: Cell<RawFd>,
    token: Cell<Option<Token>>,
    /// What the kernel was asked for.
    asked: Cell<Interest>,
    /// How the kernel is asked.
    manner: Cell<Manner>,
    /// Whether the descriptor is lent to somebody else, who watches it.
    lent: Cell<bool>,
    /// What the source wants now.
    wants: Cell<Sides>,
    /// What the kernel has said of edges, and is not used up.
    ready: Cell<Sides>,
    /// What was reported and is to be acted on.
    reported: Cell<Sides>,
    hung_up: Cell<bool>,
    /// Whether there was a byte out of band when the kernel reported last.
    urgent: Cell<bool>,
    /// Whether the last read of a Unix socket ended where descriptors had come.
    cut: Cell<bool>,
    /// Whether a read took as much as it could, so that nobody knows whether anything is left.
    doubtful: Cell<bool>,
    queued: Cell<bool>,
}

/// How the kernel is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// For what is wanted, while it is wanted.
    #[default]
    Levels,
    /// For edges of reading, from the first interest on; for those of writing while something waits to be written. A Unix
    /// socket is told of each read of its peer as long as it asks for them.
    Edges,
    /// Only for the edge of writing that says how a connection has ended which was begun. Whoever takes the descriptor over
    /// asks in another manner.
    Outcome,
    /// The same as `Edges`, and once something had to wait, for edges of writing for good. TCP tells of them only after it has
    /// refused.
    LastingEdges,
}

/// To read, to write, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sides {
    read: bool,
    write: bool,
}

impl Sides {
    fn and(self, other: Self) -> Self {
        Self { read: self.read && other.read, write: self.write && other.write }
    }

    fn or(self, other: Self) -> Self {
        Self { read: self.read || other.read, write: self.write || other.write }
    }

    fn any(self) -> bool {
        self.read || self.write
    }
}

static WATCHER: TypeCell = TypeCell::new();
static WATCHERS: Freelist = Freelist::new();

impl Class for Watcher {
    fn class() -> &'static TypeCell {
        &WATCHER
    }
}

impl Collected for Watcher {
    fn traverse(&self, visit: &mut Visit) {
        visit.cell(&self.source);
    }

    fn clear(&self) {
        drop(self.source.take());
    }
}

impl Finalized for Watcher {
    fn freelist() -> &'static Freelist {
        &WATCHERS
    }
}

/// Makes the class.
pub(crate) fn initialise(py: Python<'_>) -> Result<Owned> {
    Builder::<Watcher>::new(c"boucle._boucle.Watcher")
        .doc(c"What stands between a transport and the kernel. Queued where asyncio would queue a handle.")
        .properties([
            crate::raw::method::property(c"_callback", getter!(Watcher, "_callback", source), None),
            crate::raw::method::property(c"_args", getter!(Watcher, "_args", no_arguments), None),
            crate::raw::method::property(c"_source_traceback", getter!(Watcher, "_source_traceback", nothing), None),
            crate::raw::method::property(c"_cancelled", getter!(Watcher, "_cancelled", is_void), None),
        ])
        .slot(pyo3::ffi::Py_tp_repr, unary!(Watcher, "__repr__", repr))
        .finalized()
        .without_constructor()
        .build(py)
}

fn source(_: Python<'_>, this: This<'_, Watcher>) -> Result<Option<Owned>> {
    Ok(this.source.get())
}

fn no_arguments(py: Python<'_>, _: This<'_, Watcher>) -> Result<Owned> {
    Ok(PyTuple::empty(py).into_any().into())
}

fn nothing(py: Python<'_>, _: This<'_, Watcher>) -> Result<Owned> {
    Ok(Owned::none(py))
}

fn is_void(_: Python<'_>, this: This<'_, Watcher>) -> Result<bool> {
    Ok(!this.reported.get().any())
}

fn repr(py: Python<'_>, this: This<'_, Watcher>) -> Result<Owned> {
    let source = this.source.get().map(|source| source.any(py).repr()).transpose()?;
    let source = source.map_or_else(|| Ok(String::from("nothing")), |text| text.extract())?;
    Ok(PyString::new(py, &format!("<Handle of {source}>")).into_any().into())
}

/// What a watcher of such a source runs, and the number of its code.
fn steps_of<S: Source>() -> (Step, Code) {
    fn step<S: Source>(
        py: Python<'_>,
        core: This<'_, LoopCore>,
        source: &Owned,
        watcher: This<'_, Watcher>,
    ) -> Result<()> {
        This::<S>::exactly(source).map_or(Ok(()), |source| S::step(py, core, source, watcher))
    }
    fn code<S: Source>(py: Python<'_>, source: &Owned) -> u32 {
        This::<S>::exactly(source).map_or(crate::directory::UNKNOWN_CODE, |source| S::code(py, source))
    }
    (step::<S>, code::<S>)
}

impl Watcher {
    /// Makes a watcher for a source, which wants nothing yet.
    pub(crate) fn make<S: Source>(py: Python<'_>, source: This<'_, S>, fd: RawFd, manner: Manner) -> Result<Owned> {
        let _: This<'_, S> = source;
        WATCHERS.make_collected(py, || Self {
            step: Cell::new(Some(steps_of::<S>())),
            fd: Cell::new(fd),
            manner: Cell::new(manner),
            ..Self::default()
        })
    }

    /// Becomes that of another source of the same descriptor, which wants nothing yet. The kernel is told when it does: what
    /// was reported until then is void.
    pub(crate) fn pass_on<S: Source>(&self, source: This<'_, S>, manner: Manner) {
        let _: This<'_, S> = source;
        for sides in [&self.wants, &self.ready, &self.reported] {
            sides.set(Sides::default());
        }
        for flag in [&self.hung_up, &self.urgent, &self.cut] {
            flag.set(false);
        }
        self.asked.set(Interest::NONE);
        self.manner.set(manner);
        self.step.set(Some(steps_of::<S>()));
        drop(self.source.take());
    }

    /// Ends the registration. What was reported is void. The descriptor may be closed afterwards.
    pub(crate) fn end(&self, core: This<'_, LoopCore>) {
        for sides in [&self.wants, &self.ready, &self.reported] {
            sides.set(Sides::default());
        }
        let ended = self.withdraw(core);
        drop((ended, self.source.take()));
    }

    /// Takes the registration back from the kernel. Returns what the reactor held.
    fn withdraw(&self, core: This<'_, LoopCore>) -> Option<Registered> {
        let token = self.token.take()?;
        self.asked.set(Interest::NONE);
        // An error says that the descriptor was closed before: then there is nothing left to end.
        core.reactor.borrow_mut().as_mut().and_then(|reactor| reactor.deregister_native(token, self.fd.get()))
    }

    /// Leaves the descriptor to somebody else for a while: nothing is registered until [`Watcher::resume`].
    pub(crate) fn suspend(&self, core: This<'_, LoopCore>) {
        self.lent.set(true);
        drop(self.withdraw(core));
    }

    /// What the kernel is to be asked for.
    fn interest(&self) -> Interest {
        let wants = self.wants.get();
        let (edges, write) = match self.manner.get() {
            Manner::Levels => return Interest { read: wants.read, write: wants.write, edges: false },
            Manner::Outcome => return Interest { read: false, write: true, edges: true },
            Manner::Edges => (true, wants.write),
            Manner::LastingEdges => (true, wants.write || self.asked.get().write),
        };
        Interest { read: true, write, edges }
    }

    /// Whether the source wants to read.
    pub(crate) fn wants_read(&self) -> bool {
        self.wants.get().read
    }

    /// Whether the source wants to write.
    pub(crate) fn wants_write(&self) -> bool {
        self.wants.get().write
    }

    /// The kernel, or [`Watcher::report_again`], has reported. Returns whether the watcher is to be queued.
    pub(super) fn note(&self, event: Option<Event>) -> bool {
        // The kernel was asked for it by the source that had the descriptor before.
        if self.asked.get() == Interest::NONE {
            return false;
        }
        let news = match event {
            Some(event) => {
                self.doubtful.set(self.doubtful.get() && !event.readable);
                self.hung_up.set(self.hung_up.get() || event.hung_up);
                self.urgent.set(event.urgent);
                Sides { read: event.readable, write: event.writable }
            }
            None => self.ready.get(),
        };
        if self.manner.get() != Manner::Levels {
            self.ready.set(self.ready.get().or(news));
        }
        let reported = self.reported.get().or(news.and(self.wants.get()));
        self.reported.set(reported);
        reported.any() && !self.queued.replace(true)
    }

    /// Whether to read now. Asked once a step.
    pub(crate) fn takes_read(&self) -> bool {
        let reported = self.reported.get();
        self.reported.set(Sides { read: false, ..reported });
        reported.read
    }

    /// Whether to write now. Asked once a step.
    pub(crate) fn takes_write(&self) -> bool {
        let reported = self.reported.get();
        self.reported.set(Sides { write: false, ..reported });
        reported.write
    }

    /// Nothing more can be read until the kernel reports again.
    pub(crate) fn used_up_read(&self) {
        self.ready.set(Sides { read: false, ..self.ready.get() });
    }

    /// A read took as much as it could: there may be more, or not.
    pub(crate) fn may_have_read_all(&self) {
        self.doubtful.set(true);
    }

    /// Whether what is reported as readable may be empty. Asked once a read.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.replace(false)
    }

    /// Nothing more can be written until the kernel reports again.
    pub(crate) fn used_up_write(&self) {
        self.ready.set(Sides { write: false, ..self.ready.get() });
    }

    /// Where a read is to note that it was cut; nothing where none is.
    #[inline]
    pub(crate) fn cut(&self) -> Option<&Cell<bool>> {
        (self.manner.get() == Manner::Edges).then_some(&self.cut)
    }

    /// Whether a short read is not the last one: the other side has closed, or the kernel may have ended it early.
    #[inline]
    pub(crate) fn may_have_left_some(&self) -> bool {
        self.hung_up.get() || self.urgent.get() || self.cut.get()
    }

    /// Whether the other side has closed: a short read is not the last one then.
    pub(crate) fn hung_up(&self) -> bool {
        self.hung_up.get()
    }
}

impl This<'_, Watcher> {
    /// Tells the kernel what is wanted.
    fn ask(self, core: This<'_, LoopCore>, interest: Interest) -> Result<()> {
        let result = match &mut *core.reactor.borrow_mut() {
            None => Ok(None),
            Some(reactor) => match self.token.get() {
                None => reactor.register_native(self.fd.get(), interest, self.to_owned()).map(|(token, former)| {
                    self.token.set(Some(token));
                    former
                }),
                Some(token) => reactor.epoll.change(token, interest).map(|()| None),
            },
        };
        drop(result.map_err(|error| to_py_err(&error))?);
        self.asked.set(interest);
        Ok(())
    }

    /// Takes the descriptor back after [`Watcher::suspend`]. The kernel reports anew what is ready.
    pub(crate) fn resume(self, core: This<'_, LoopCore>) -> Result<()> {
        self.lent.set(false);
        if self.wants.get().any() { self.ask(core, self.interest()) } else { Ok(()) }
    }

    /// Says whether the source wants to read.
    pub(crate) fn want_read(self, core: This<'_, LoopCore>, source: &Owned, wanted: bool) -> Result<()> {
        self.want(core, source, Sides { read: wanted, ..self.wants.get() })
    }

    /// Says whether the source wants to write.
    pub(crate) fn want_write(self, core: This<'_, LoopCore>, source: &Owned, wanted: bool) -> Result<()> {
        self.want(core, source, Sides { write: wanted, ..self.wants.get() })
    }

    fn want(self, core: This<'_, LoopCore>, source: &Owned, wants: Sides) -> Result<()> {
        if wants == self.wants.replace(wants) {
            return Ok(());
        }
        self.reported.set(self.reported.get().and(wants));
        let held = self.source.replace(wants.any().then(|| source.clone()));
        // One that has lent its descriptor away asks when it takes it back.
        if !self.lent.get() {
            let interest = self.interest();
            if interest.edges {
                if interest != self.asked.get() {
                    self.ask(core, interest)?;
                }
                self.report_again(core);
            } else if wants.any() {
                self.ask(core, interest)?;
            } else {
                drop(self.withdraw(core));
            }
        }
        drop(held);
        Ok(())
    }

    /// Something may be left of what the kernel reported: the next poll reports it again.
    fn report_again(self, core: This<'_, LoopCore>) {
        if self.wants.get().and(self.ready.get()).any()
            && let (Some(token), Some(reactor)) = (self.token.get(), core.reactor.borrow_mut().as_mut())
        {
            reactor.report_again(token);
        }
    }
}

/// The watcher behind a queued item.
#[inline]
pub(crate) fn native(item: &Owned) -> Option<This<'_, Watcher>> {
    This::exactly(item)
}

/// Runs a queued watcher's step.
pub(super) fn run(py: Python<'_>, core: This<'_, LoopCore>, watcher: This<'_, Watcher>) -> Result<()> {
    watcher.queued.set(false);
    let (Some((step, _)), Some(source)) = (watcher.step.get(), watcher.source.get()) else { return Ok(()) };
    let result = step(py, core, &source, watcher);
    watcher.reported.set(Sides::default());
    watcher.report_again(core);
    match result {
        Ok(()) => Ok(()),
        Err(raised) => report_failure(py, core, watcher, raised),
    }
}

/// A step has raised: the exception handler is told, as about any callback, but for what ends the program.
#[cold]
fn report_failure(py: Python<'_>, core: This<'_, LoopCore>, watcher: This<'_, Watcher>, raised: Raised) -> Result<()> {
    let exception = raised.take_value(py);
    if imports::ends_the_program(py, &exception) {
        return Err(Raised::put_back(py, exception));
    }
    let watcher = watcher.to_owned();
    core.to_owned().any(py).call_method1(intern!(py, "_callback_failed"), (watcher.any(py), exception.any(py)))?;
    Ok(())
}

/// The number of the code that a queued watcher runs.
pub(super) fn code(py: Python<'_>, watcher: This<'_, Watcher>) -> u32 {
    match (watcher.step.get(), watcher.source.get()) {
        (Some((_, code)), Some(source)) => code(py, &source),
        _ => crate::directory::UNKNOWN_CODE,
    }
}
