//! A reactor in which tests decide what happens, under a clock of its own.
//!
//! Waiting takes no time: the clock jumps to the next thing that was planned, or to the end of the timeout.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::time::Duration;

use super::registry::{Registration, Registry, Token};
use super::{Event, Interest, Reactor};
use crate::Result;
use crate::clock::Tick;

/// A kernel that does what was planned.
#[derive(Debug)]
pub struct Simulated<S> {
    registry: Registry<S>,
    tokens: BTreeMap<RawFd, Token>,
    now: Tick,
    /// When which descriptor becomes ready for what. It stays ready until [`Simulated::drain`].
    plan: BTreeMap<Tick, Vec<(RawFd, Interest)>>,
    ready: BTreeMap<RawFd, Interest>,
}

impl<S> Default for Simulated<S> {
    fn default() -> Self {
        Self {
            registry: Registry::default(),
            tokens: BTreeMap::new(),
            now: Tick::default(),
            plan: BTreeMap::new(),
            ready: BTreeMap::new(),
        }
    }
}

impl<S> Simulated<S> {
    /// The time in the simulation.
    pub fn now(&self) -> Tick {
        self.now
    }

    /// Lets time pass without a wait, as a step that computes does.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Plans that a descriptor becomes ready.
    pub fn plan(&mut self, at: Tick, fd: RawFd, readiness: Interest) {
        self.plan.entry(at).or_default().push((fd, readiness));
    }

    /// Says that a descriptor is not ready any more.
    pub fn drain(&mut self, fd: RawFd) {
        self.ready.remove(&fd);
    }

    /// Makes happen what was planned until now, and reports what is ready and wanted.
    fn report(&mut self, events: &mut Vec<Event>) -> bool {
        while let Some(entry) = self.plan.first_entry() {
            if *entry.key() > self.now {
                break;
            }
            for (fd, readiness) in entry.remove() {
                let ready = self.ready.entry(fd).or_default();
                ready.read |= readiness.read;
                ready.write |= readiness.write;
            }
        }
        let before = events.len();
        for (fd, ready) in &self.ready {
            let Some(&token) = self.tokens.get(fd) else {
                continue;
            };
            let Ok(registration) = self.registry.get_mut(token) else {
                continue;
            };
            let readable = ready.read && registration.interest.read;
            let writable = ready.write && registration.interest.write;
            if readable || writable {
                events.push(Event { token, readable, writable, hung_up: false, urgent: false });
            }
        }
        events.len() > before
    }
}

impl<S> Reactor<S> for Simulated<S> {
    fn register(&mut self, fd: RawFd, interest: Interest, source: S) -> Result<Token> {
        let token = self.registry.insert(Registration { fd, interest, source });
        self.tokens.insert(fd, token);
        Ok(token)
    }

    fn change(&mut self, token: Token, interest: Interest) -> Result<()> {
        self.registry.get_mut(token)?.interest = interest;
        Ok(())
    }

    fn deregister(&mut self, token: Token) -> Result<S> {
        let registration = self.registry.remove(token)?;
        self.tokens.remove(&registration.fd);
        Ok(registration.source)
    }

    fn source(&mut self, token: Token) -> Option<&mut S> {
        self.registry.get_mut(token).ok().map(|registration| &mut registration.source)
    }

    fn len(&self) -> usize {
        self.registry.len()
    }

    fn wait(&mut self, timeout: Duration, events: &mut Vec<Event>) -> Result<()> {
        let end = self.now.after(timeout);
        while !self.report(events) && self.now < end {
            self.now = self.plan.keys().next().map_or(end, |&next| next.min(end));
        }
        Ok(())
    }
}
