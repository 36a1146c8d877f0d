//! Letting others run: for a time, or for a turn.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use boucle_core::clock::Tick;
use boucle_core::timers::TimerKey;

use crate::event_loop;

/// Waits for a time. Returned by [`sleep`].
#[derive(Debug)]
pub struct Sleep {
    deadline: Tick,
    timer: Option<TimerKey>,
    location: &'static Location<'static>,
}

/// Waits until this much time has passed since the call. Never shorter.
#[track_caller]
pub fn sleep(time: Duration) -> Sleep {
    Sleep { deadline: Tick::now().after(time), timer: None, location: Location::caller() }
}

impl Sleep {
    fn cancel(&mut self) {
        if let (Some(key), Some(inner)) = (self.timer.take(), event_loop::current()) {
            inner.cancel_timer(key);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    /// # Panics
    ///
    /// If no loop runs on this thread.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Tick::now() >= self.deadline {
            self.cancel();
            return Poll::Ready(());
        }
        let inner = event_loop::expect_current("sleep");
        // Another task may poll it now: the timer wakes the one that asked last.
        self.cancel();
        self.timer = Some(inner.wake_at(self.deadline, context.waker().clone()));
        inner.note_await(self.location);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Waits for the next turn. Returned by [`yield_now`].
#[derive(Debug)]
pub struct YieldNow {
    yielded: bool,
    location: &'static Location<'static>,
}

/// Lets everything that is ready run first, as `asyncio.sleep(0)` does.
#[track_caller]
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false, location: Location::caller() }
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.yielded, true) {
            return Poll::Ready(());
        }
        if let Some(inner) = event_loop::current() {
            inner.note_await(self.location);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
