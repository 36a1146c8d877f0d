//! The reactor: what waits for the kernel.
//!
//! # Contract
//!
//! * A registration names a descriptor, what is wanted of it and a *source*: whatever the face wants back when the
//!   descriptor is ready. It is known by a [`Token`] until it ends; the token of an ended registration names nothing,
//!   also after its slot was taken again. So an event that was reported before a registration ended, and read after,
//!   is dropped.
//! * Level-triggered, unless asked for otherwise: a descriptor that stays ready is reported in every wait. One that is
//!   registered for [edges](Interest::edges) is reported when it becomes ready, and whoever registered it remembers: that
//!   saves a system call each time its owner loses or regains interest.
//! * An error or a hang-up is reported as readable and writable, since the next read or write tells which it is.
//! * A registration whose descriptor was closed behind the reactor's back ends silently; ending it again is no error,
//!   and registering the reused number is not either.
//! * A wait is never shorter than asked for, unless something happened or a signal came.
//!
//! [`epoll`] is the kernel's; [`simulated`] is one in which tests decide what happens, under a clock of its own.

pub mod epoll;
pub mod registry;
pub mod simulated;

use std::os::fd::RawFd;
use std::time::Duration;

use crate::Result;
pub use registry::Token;

/// What is wanted of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// To read from it, or to accept.
    pub read: bool,
    /// To write to it, or to learn that it connected.
    pub write: bool,
    /// To be told once whenever it becomes ready, and when the other side hangs up or sends out of band, rather than for as
    /// long as it is.
    pub edges: bool,
}

impl Interest {
    /// Nothing.
    pub const NONE: Self = Self { read: false, write: false, edges: false };
    /// To read.
    pub const READ: Self = Self { read: true, ..Self::NONE };
    /// To write.
    pub const WRITE: Self = Self { write: true, ..Self::NONE };
    /// To be told once whenever it becomes readable or writable.
    pub const EDGES: Self = Self { read: true, write: true, edges: true };
}

/// What the kernel reported about a registration.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the kernel's")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which registration.
    pub token: Token,
    /// Whether a read would not block.
    pub readable: bool,
    /// Whether a write would not block.
    pub writable: bool,
    /// Whether the other side has closed, or an error is pending: what can be read ends.
    pub hung_up: bool,
    /// Whether there is a byte out of band: a read ends before it, whatever comes behind. Told with edges only.
    pub urgent: bool,
}

/// Waits for descriptors, each registered with a source.
pub trait Reactor<S> {
    /// Registers a descriptor.
    fn register(&mut self, fd: RawFd, interest: Interest, source: S) -> Result<Token>;
    /// Changes what is wanted.
    fn change(&mut self, token: Token, interest: Interest) -> Result<()>;
    /// Ends a registration and returns its source.
    fn deregister(&mut self, token: Token) -> Result<S>;
    /// The source of a registration.
    fn source(&mut self, token: Token) -> Option<&mut S>;
    /// How many registrations there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Waits until something happens or the time is up, and appends what happened.
    fn wait(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<()>;
}
