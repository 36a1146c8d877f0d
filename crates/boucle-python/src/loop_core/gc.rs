//! What the garbage collector sees of a loop.
//!
//! Our handles are no garbage-collected objects, so the loop that queues them answers for what they hold: it visits the
//! callback, arguments, context and loop of each handle *as if they were its own*. That is right only while the loop is
//! the handle's sole owner. A handle that somebody else holds as well is left out: what it refers to then counts as
//! reachable from outside, which can keep a cycle alive, but never frees what a program can still reach.

use super::LoopCore;
use super::watch::Reactor;
use crate::handle;
use crate::raw::Owned;
use crate::raw::class::{Collected, Visit};

impl Collected for LoopCore {
    fn traverse(&self, visit: &mut Visit) {
        self.objects.traverse(visit);
        // A collection cannot begin while one of these is borrowed: no Python object is made then. If it could, leaving
        // them out would keep things alive, no more.
        if let Ok(turn) = self.turn.try_borrow() {
            turn.ready().chain(turn.timers()).for_each(|item| visit_item(item, visit));
        }
        if let Ok(reactor) = self.reactor.try_borrow() {
            reactor.iter().flat_map(Reactor::handles).for_each(|item| visit_item(item, visit));
            reactor.iter().flat_map(Reactor::watchers).for_each(|watcher| visit.object(watcher));
            reactor.iter().flat_map(Reactor::given).for_each(|object| visit.object(object));
        }
    }

    fn clear(&self) {
        drop_content(self);
        self.objects.clear();
    }
}

fn visit_item(item: &Owned, visit: &mut Visit) {
    match handle::native(item) {
        Some(handle) if item.is_unique() => handle.traverse(visit),
        Some(_) => {}
        None => visit.object(item),
    }
}

/// Makes handles let go of what they hold.
pub(super) fn release_handles<'a>(items: impl Iterator<Item = &'a Owned>) {
    for item in items {
        handle::set_key(item, None);
        if let Some(handle) = handle::native(item) {
            handle.abandon();
        }
    }
}

/// Takes out everything that is queued, scheduled or watched, and drops it when nothing is borrowed any more.
pub(super) fn drop_content(this: &LoopCore) {
    let ready = this.turn.borrow_mut().take_ready();
    let timers = this.turn.borrow_mut().take_timers();
    let reactor = this.reactor.borrow_mut().take();
    release_handles(ready.iter().map(|ready| &ready.item));
    release_handles(timers.items());
    release_handles(reactor.iter().flat_map(Reactor::handles));
}
