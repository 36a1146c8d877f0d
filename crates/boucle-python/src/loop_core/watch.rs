//! Readers and writers: a descriptor's two callbacks, under one registration. Registrations of our own sources
//! ([`super::source`]) stand beside them.

use std::os::fd::RawFd;

use boucle_core::reactor::epoll::{Epoll, Waiter};
use boucle_core::reactor::{Event, Interest, Reactor as _, Token};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use pyo3::{ffi, intern};

use super::{Item, LoopCore, source};
use crate::errors::to_py_err;
use crate::handle::{self, Callback};
use crate::imports;
use crate::raw::args::Arg;
use crate::raw::guard::discard;
use crate::raw::{Args, Owned, Result, This, method};

/// The two callbacks of a descriptor.
#[derive(Clone, Default)]
pub(super) struct Watch {
    pub(super) reader: Option<Owned>,
    pub(super) writer: Option<Owned>,
    /// What was given as the descriptor: a file object that has been closed has no number any more, and is still known.
    given: Option<Owned>,
}

/// Whom the reactor reports to.
pub(super) enum Source {
    /// Callbacks.
    Callbacks(Watch),
    /// A [`Watcher`], of a source of ours.
    Native(Owned),
}

impl Source {
    fn callbacks(&mut self) -> Option<&mut Watch> {
        match self {
            Self::Callbacks(watch) => Some(watch),
            Self::Native(_) => None,
        }
    }

    fn as_callbacks(&self) -> Option<&Watch> {
        match self {
            Self::Callbacks(watch) => Some(watch),
            Self::Native(_) => None,
        }
    }

    /// What stands for it where programs look at what is watched.
    fn shown(&self) -> Watch {
        match self {
            Self::Callbacks(watch) => watch.clone(),
            Self::Native(watcher) => {
                let wanted = |wants: bool| wants.then(|| watcher.clone());
                source::native(watcher).map_or_else(Watch::default, |native| Watch {
                    reader: wanted(native.wants_read()),
                    writer: wanted(native.wants_write()),
                    given: None,
                })
            }
        }
    }

    fn as_native(&self) -> Option<&Owned> {
        match self {
            Self::Callbacks(_) => None,
            Self::Native(watcher) => Some(watcher),
        }
    }
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

impl Watch {
    fn side(&mut self, side: Side) -> &mut Option<Owned> {
        match side {
            Side::Reader => &mut self.reader,
            Side::Writer => &mut self.writer,
        }
    }

    fn interest(&self) -> Interest {
        Interest { read: self.reader.is_some(), write: self.writer.is_some(), edges: false }
    }
}

/// Registrations by descriptor. The kernel gives the lowest number that is free, so a row of places is short.
#[derive(Default)]
struct Tokens(Vec<Option<Token>>);

impl Tokens {
    fn get(&self, fd: RawFd) -> Option<Token> {
        *self.0.get(usize::try_from(fd).ok()?)?
    }

    /// Returns the token that it replaces.
    fn insert(&mut self, fd: RawFd, token: Token) -> Option<Token> {
        let place = usize::try_from(fd).ok()?;
        if place >= self.0.len() {
            self.0.resize(place + 1, None);
        }
        self.0[place].replace(token)
    }

    fn remove(&mut self, fd: RawFd) {
        if let Some(place) = usize::try_from(fd).ok().and_then(|place| self.0.get_mut(place)) {
            *place = None;
        }
    }

    fn iter(&self) -> impl Iterator<Item = (RawFd, Token)> + '_ {
        let tokens = self.0.iter().zip(0..);
        tokens.filter_map(|(token, fd)| token.map(|token| (fd, token)))
    }
}

/// The loop's reactor, with its registrations by descriptor.
pub(super) struct Reactor {
    pub(super) epoll: Epoll<Source>,
    tokens: Tokens,
    /// The descriptor through which signals come: it is watched, but says nothing that a program waits for.
    signals: Option<RawFd>,
    /// Whether that descriptor is watched now.
    watches_signals: bool,
    events: Vec<Event>,
    /// The sources of ours of which something reported is left.
    left_over: Vec<Token>,
}

impl Reactor {
    pub(super) fn new(epoll: Epoll<Source>) -> Self {
        Self {
            epoll,
            tokens: Tokens::default(),
            signals: None,
            watches_signals: false,
            events: Vec::new(),
            left_over: Vec::new(),
        }
    }

    /// Registers a source of ours. Returns also what was left of one whose descriptor had this number and was closed.
    pub(super) fn register_native(
        &mut self,
        fd: RawFd,
        interest: Interest,
        watcher: Owned,
    ) -> boucle_core::Result<(Token, Option<Source>)> {
        let token = self.epoll.register(fd, interest, Source::Native(watcher))?;
        let former = self.tokens.insert(fd, token);
        Ok((token, former.and_then(|former| self.epoll.forget(former))))
    }

    /// Ends such a registration. Returns what was held. A descriptor that was closed before has none any more, and its
    /// number may be that of another.
    pub(super) fn deregister_native(&mut self, token: Token, fd: RawFd) -> Option<Source> {
        if self.tokens.get(fd) != Some(token) {
            return self.epoll.forget(token);
        }
        self.tokens.remove(fd);
        self.epoll.deregister(token).ok()
    }

    /// Of what was reported to this source of ours something is left: the next poll reports it again.
    pub(super) fn report_again(&mut self, token: Token) {
        self.left_over.push(token);
    }

    /// Whether something is left that the next poll reports.
    pub(super) fn has_left_over(&self) -> bool {
        !self.left_over.is_empty()
    }

    /// Whether a descriptor is that of a source of ours.
    fn is_native(&mut self, fd: RawFd) -> bool {
        let token = self.tokens.get(fd);
        token.and_then(|token| self.epoll.source(token)).is_some_and(|source| source.as_native().is_some())
    }

    /// Whether anything but the descriptor of signals is watched.
    pub(super) fn watches_others(&self) -> bool {
        self.epoll.len() > usize::from(self.watches_signals)
    }

    /// Notes whether the descriptor of signals is watched, after a change.
    fn look_for_signals(&mut self) {
        self.watches_signals = self.signals.is_some_and(|fd| self.tokens.get(fd).is_some());
    }

    /// Takes the waiter back and appends the handles of what it reports: a descriptor's reader, then its writer; the watcher
    /// of a source of ours.
    pub(super) fn report(&mut self, waiter: Waiter, items: &mut Vec<Item>) {
        self.events.clear();
        self.epoll.report(waiter, &mut self.events);
        for token in self.left_over.drain(..) {
            if let Some(Source::Native(watcher)) = self.epoll.source(token) {
                items.extend(source::native(watcher).filter(|native| native.note(None)).map(This::to_owned));
            }
        }
        for event in &self.events {
            match self.epoll.source(event.token) {
                Some(Source::Callbacks(watch)) => {
                    items.extend(watch.reader.as_ref().filter(|_| event.readable).cloned());
                    items.extend(watch.writer.as_ref().filter(|_| event.writable).cloned());
                }
                Some(Source::Native(watcher)) => {
                    items
                        .extend(source::native(watcher).filter(|native| native.note(Some(*event))).map(This::to_owned));
                }
                None => {}
            }
        }
    }

    /// Sets a callback. Returns the one it replaces.
    fn set(&mut self, fd: RawFd, given: Owned, side: Side, handle: Owned) -> boucle_core::Result<Option<Owned>> {
        let Some(token) = self.tokens.get(fd) else {
            let mut watch = Watch { given: Some(given), ..Watch::default() };
            *watch.side(side) = Some(handle);
            let interest = watch.interest();
            let token = self.epoll.register(fd, interest, Source::Callbacks(watch))?;
            self.tokens.insert(fd, token);
            self.look_for_signals();
            return Ok(None);
        };
        let watch = self.epoll.source(token).and_then(Source::callbacks);
        let mut interest = watch.map_or(Interest::NONE, |watch| watch.interest());
        match side {
            Side::Reader => interest.read = true,
            Side::Writer => interest.write = true,
        }
        // Told to the kernel also where nothing changes: the number may have been closed and reused.
        self.epoll.change(token, interest)?;
        Ok(self.epoll.source(token).and_then(Source::callbacks).and_then(|watch| watch.side(side).replace(handle)))
    }

    /// Removes a callback. Returns it.
    fn unset(&mut self, fd: RawFd, side: Side) -> boucle_core::Result<Option<Owned>> {
        let Some(token) = self.tokens.get(fd) else { return Ok(None) };
        let Some(watch) = self.epoll.source(token).and_then(Source::callbacks) else { return Ok(None) };
        let removed = watch.side(side).take();
        let interest = watch.interest();
        if interest == Interest::NONE {
            self.tokens.remove(fd);
            self.look_for_signals();
            self.epoll.deregister(token)?;
        } else {
            self.epoll.change(token, interest)?;
        }
        Ok(removed)
    }

    /// The number under which a file object is watched.
    fn number_of(&mut self, object: &Owned) -> Option<RawFd> {
        let epoll = &mut self.epoll;
        self.tokens
            .iter()
            .find(|(_, token)| {
                let given = epoll.source(*token).and_then(Source::callbacks).and_then(|watch| watch.given.as_ref());
                given.is_some_and(|given| given.is(object))
            })
            .map(|(fd, _)| fd)
    }

    /// Everything that was given as a descriptor.
    pub(super) fn given(&self) -> impl Iterator<Item = &Owned> {
        self.epoll.registrations().filter_map(|one| one.source.as_callbacks()?.given.as_ref())
    }

    /// Every handle that is watched for.
    pub(super) fn handles(&self) -> impl Iterator<Item = &Owned> {
        let watches = self.epoll.registrations().filter_map(|one| one.source.as_callbacks());
        watches.flat_map(|watch| watch.reader.iter().chain(&watch.writer))
    }

    /// The watchers of sources of ours.
    pub(super) fn watchers(&self) -> impl Iterator<Item = &Owned> {
        self.epoll.registrations().filter_map(|one| one.source.as_native())
    }
}

/// The number of a descriptor, given as one or by an object with `fileno()`; that of a closed object is the one under which
/// it is watched. The errors are those of `selectors`.
fn descriptor(py: Python<'_>, this: This<'_, LoopCore>, given: Arg<'_>) -> Result<RawFd> {
    let given = given.any(py);
    if let Ok(fd) = given.extract::<RawFd>()
        && fd >= 0
    {
        return Ok(fd);
    }
    let function = py.import("selectors")?.getattr(intern!(py, "_fileobj_to_fd"))?;
    match function.call1((given,)) {
        Ok(fd) => Ok(fd.extract()?),
        Err(error) if error.is_instance_of::<PyValueError>(py) => {
            let known =
                this.reactor.borrow_mut().as_mut().and_then(|reactor| reactor.number_of(&given.to_owned().into()));
            let Some(fd) = known else { return Err(error.into()) };
            discard(py, error);
            Ok(fd)
        }
        Err(error) => Err(error.into()),
    }
}

fn add(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>, side: Side, name: &str) -> Result<Owned> {
    let (Some(fd), Some(function), Some(None)) =
        (args.get(0), args.get(1), args.only_keyword(|| &imports::get(py).context))
    else {
        // A wrong call: asyncio's own method raises its own text.
        let class = py.import("asyncio.selector_events")?.getattr("BaseSelectorEventLoop")?;
        return args.forward(&class.getattr(name)?.into(), &this.to_owned());
    };
    this.check_open()?;
    let handle = Callback { function, args: args.from(2), context: None }.repeating(py, this)?;
    add_handle(py, this, fd, side, handle.clone())?;
    Ok(handle)
}

/// Sets a descriptor's reader or writer. The one that it replaces is cancelled.
pub(crate) fn add_handle(
    py: Python<'_>,
    this: This<'_, LoopCore>,
    fd: Arg<'_>,
    side: Side,
    handle: Owned,
) -> Result<()> {
    this.check_open()?;
    let given = fd.to_owned();
    let fd = descriptor(py, this, fd)?;
    if is_native(this, fd) {
        return Err(PyRuntimeError::new_err(format!("File descriptor {fd} is used by a transport")).into());
    }
    let replaced = match this.reactor.borrow_mut().as_mut() {
        Some(reactor) => reactor.set(fd, given, side, handle),
        None => Ok(None),
    };
    match replaced.map_err(|error| to_py_err(&error))? {
        Some(replaced) => handle::cancel_any(py, &replaced),
        None => Ok(()),
    }
}

/// Whether a descriptor is registered for a source of ours.
pub(crate) fn is_native(this: This<'_, LoopCore>, fd: RawFd) -> bool {
    this.reactor.borrow_mut().as_mut().is_some_and(|reactor| reactor.is_native(fd))
}

/// Removes a descriptor's reader or writer.
pub(crate) fn remove_handle(py: Python<'_>, this: This<'_, LoopCore>, fd: RawFd, side: Side) -> Result<bool> {
    let removed = match this.reactor.borrow_mut().as_mut() {
        Some(reactor) => reactor.unset(fd, side),
        None => Ok(None),
    };
    match removed.map_err(|error| to_py_err(&error))? {
        Some(handle) => handle::cancel_any(py, &handle).map(|()| true),
        None => Ok(false),
    }
}

fn remove(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>, side: Side) -> Result<bool> {
    let Some(fd) = args.get(0).filter(|_| !this.closed.get()) else { return Ok(false) };
    let fd = descriptor(py, this, fd)?;
    remove_handle(py, this, fd, side)
}

fn add_reader(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    add(py, this, args, Side::Reader, "_add_reader")
}

fn add_writer(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<Owned> {
    add(py, this, args, Side::Writer, "_add_writer")
}

fn remove_reader(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<bool> {
    remove(py, this, args, Side::Reader)
}

fn remove_writer(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<bool> {
    remove(py, this, args, Side::Writer)
}

/// Says which descriptor brings signals (`None` where none does), and whether any signal has a handler.
fn set_signals(py: Python<'_>, this: This<'_, LoopCore>, args: Args<'_>) -> Result<()> {
    let fd = args.get(0).map(|fd| fd.any(py).extract()).transpose()?.flatten();
    let handled = args.get(1).map(|handled| handled.any(py).is_truthy()).transpose()?.unwrap_or(false);
    this.handles_signals.set(handled);
    if let Some(reactor) = this.reactor.borrow_mut().as_mut() {
        reactor.signals = fd;
        reactor.look_for_signals();
    }
    Ok(())
}

/// What is watched: a list of `(fd, given, reader, writer)`; `given` is the file object, or the number.
fn watches(py: Python<'_>, this: This<'_, LoopCore>) -> Result<Owned> {
    let watches: Vec<_> = this.reactor.borrow().as_ref().map_or_else(Vec::new, |reactor| {
        let entries = reactor.epoll.registrations();
        entries.map(|one| (one.fd, one.source.shown())).collect()
    });
    let rows = watches.iter().map(|(fd, watch)| {
        let [given, reader, writer] =
            [&watch.given, &watch.reader, &watch.writer].map(|object| object.as_ref().map(|object| object.any(py)));
        let given = given.map_or_else(|| fd.into_pyobject(py).map(Bound::into_any), |given| Ok(given.to_owned()));
        (*fd, given.ok(), reader, writer)
    });
    Ok(PyList::new(py, rows.collect::<Vec<_>>())?.into_any().into())
}

pub(super) fn methods() -> [ffi::PyMethodDef; 6] {
    [
        method!(LoopCore, "_add_reader", args add_reader, "Calls back whenever a read would not block."),
        method!(LoopCore, "_add_writer", args add_writer, "Calls back whenever a write would not block."),
        method!(LoopCore, "_remove_reader", args remove_reader, "Ends that. Whether there was a reader."),
        method!(LoopCore, "_remove_writer", args remove_writer, "Ends that. Whether there was a writer."),
        method!(LoopCore, "_set_signals", args set_signals, "_set_signals($self, fd, handled, /)\n--\n\nSays which descriptor brings signals, and whether any has a handler."),
        method!(LoopCore, "_watches", watches, "A list of (fd, given, reader, writer)."),
    ]
}
