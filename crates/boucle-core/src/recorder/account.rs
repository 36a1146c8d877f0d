//! The share that one loop has in the tallies of the threads that it ran in.
//!
//! A tally belongs to a thread, whose loops come one after the other, or take turns. So an account notes how the tally
//! stood when the loop began to run, and is settled when another loop begins to run there, or this one elsewhere. A
//! loop that runs again and again, undisturbed, notes nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rings::ThreadRing;
use super::tally::Totals;
use crate::clock::Stamp;

/// What one loop did.
#[derive(Debug, Default)]
pub struct Account(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Nothing, and no memory, as long as nothing was settled.
    settled: Option<Totals>,
    open: Option<(Arc<ThreadRing>, Totals)>,
}

impl State {
    fn settle(&mut self, now: Stamp) {
        if let Some((ring, before)) = self.open.take() {
            let mut share = ring.totals(now);
            share.remove(&before);
            self.settled.get_or_insert_default().add(&share);
        }
    }
}

impl Account {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop begins to run in the thread of this ring.
    pub fn enter(self: &Arc<Self>, ring: &Arc<ThreadRing>, now: Stamp) {
        let mut holder = ring.holder();
        let former = holder.upgrade();
        let is_ours = former.as_ref().is_some_and(|former| Arc::ptr_eq(former, self));
        if let Some(former) = former.filter(|_| !is_ours) {
            let mut former = former.state();
            if former.open.as_ref().is_some_and(|(open, _)| Arc::ptr_eq(open, ring)) {
                former.settle(now);
            }
        }
        let mut state = self.state();
        if is_ours && state.open.as_ref().is_some_and(|(open, _)| Arc::ptr_eq(open, ring)) {
            return;
        }
        state.settle(now);
        state.open = Some((Arc::clone(ring), ring.totals(now)));
        *holder = Arc::downgrade(self);
    }

    /// What the loop did.
    pub fn totals(&self, now: Stamp) -> Totals {
        let state = self.state();
        let mut totals = state.settled.clone().unwrap_or_default();
        if let Some((ring, before)) = &state.open {
            let mut share = ring.totals(now);
            share.remove(before);
            totals.add(&share);
        }
        totals
    }

    /// How many of the steps of the thread that it ran in last the ring has overwritten; 0 before it ran.
    pub fn overwritten(&self) -> u64 {
        self.state().open.as_ref().map_or(0, |(ring, _)| ring.ring.overwritten())
    }
}
