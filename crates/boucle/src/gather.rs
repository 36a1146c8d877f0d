//! `gather!`: several futures at once, their outputs in the order of the arguments.

use std::future::Future;
use std::panic::Location;

use crate::task::{self, JoinHandle};

/// Runs futures as tasks and waits for all of them. The outputs come as a tuple in the order of the arguments. An argument
/// that is a [`JoinHandle`] is waited for as it is.
///
/// A panic of one is raised when its turn comes; the others go on.
#[macro_export]
macro_rules! gather {
    ($($future:expr),+ $(,)?) => {{
        #[allow(unused_imports, reason = "not needed where every argument is a handle")]
        use $crate::SpawnArgument as _;
        // All of them begin before the first is waited for.
        let handles = ($($crate::Argument($future).into_task(),)+);
        $crate::gather!(@wait handles, [$($future),+])
    }};
    (@wait $handles:ident, [$a:expr]) => { ($handles.0.await,) };
    (@wait $handles:ident, [$a:expr, $b:expr]) => { ($handles.0.await, $handles.1.await) };
    (@wait $handles:ident, [$a:expr, $b:expr, $c:expr]) => { ($handles.0.await, $handles.1.await, $handles.2.await) };
    (@wait $handles:ident, [$a:expr, $b:expr, $c:expr, $d:expr]) => {
        ($handles.0.await, $handles.1.await, $handles.2.await, $handles.3.await)
    };
}

/// An argument of [`gather!`].
#[doc(hidden)]
pub struct Argument<T>(pub T);

impl<T> Argument<JoinHandle<T>> {
    /// A handle is a task already. An inherent method is found before the trait's.
    pub fn into_task(self) -> JoinHandle<T> {
        self.0
    }
}

/// What any other future becomes.
#[doc(hidden)]
pub trait SpawnArgument {
    /// The task's result.
    type Output;

    /// Runs it as a task.
    fn into_task(self) -> JoinHandle<Self::Output>;
}

impl<F: Future + 'static> SpawnArgument for Argument<F> {
    type Output = F::Output;

    #[track_caller]
    fn into_task(self) -> JoinHandle<F::Output> {
        task::start(None, self.0, Location::caller())
    }
}
