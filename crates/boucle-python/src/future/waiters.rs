//! Who waits for a future: callbacks, each with its context, and tasks of ours.
//!
//! Nearly every future has one waiter, which sits in the future itself; further ones are in a list of their own.
//!
//! # Invariants
//!
//! * The order is that in which they came: `first`, then `further`. `first` may be empty while `further` is not.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::raw::class::Visit;
use crate::raw::context::{Context, ContextCell};
use crate::raw::{ObjectCell, Owned, Result};
use crate::task;

/// One who waits.
#[derive(Clone)]
pub(crate) enum Waiter {
    /// A task of ours.
    Task(Owned),
    /// A callback and its context.
    Callback(Owned, Context),
}

/// Waiters after the first: one word in each future, where a `Vec` takes three.
pub(crate) type Further = Option<Box<Vec<Waiter>>>;

/// Those who wait.
#[derive(Default)]
pub(crate) struct Waiters {
    /// The first one's callback or task.
    first: ObjectCell,
    /// The first one's context; empty for a task.
    context: ContextCell,
    further: Cell<Further>,
}

/// Where the first one is.
pub(super) const FIRST_AT: usize = std::mem::offset_of!(Waiters, first);

impl Waiter {
    fn object(&self) -> &Owned {
        match self {
            Self::Task(object) | Self::Callback(object, _) => object,
        }
    }

    /// What asyncio would have as the callback.
    fn callback(&self, py: Python<'_>) -> Result<Owned> {
        match self {
            Self::Task(task) => task::wakeup(py, task),
            Self::Callback(callback, _) => Ok(callback.clone()),
        }
    }
}

impl Waiters {
    /// Adds one.
    #[inline]
    pub(crate) fn add(&self, waiter: Waiter) {
        let further = self.further.take();
        if further.is_none() && self.first.is_empty() {
            let former = match waiter {
                Waiter::Task(task) => (self.first.replace(Some(task)), None),
                Waiter::Callback(callback, context) => {
                    (self.first.replace(Some(callback)), self.context.replace(Some(context)))
                }
            };
            drop(former);
            return;
        }
        let mut further = further.unwrap_or_default();
        further.push(waiter);
        self.further.set(Some(further));
    }

    /// Takes them all: the first one, and the further ones.
    #[inline]
    pub(crate) fn take_all(&self) -> (Option<Waiter>, Further) {
        (self.take_first(), self.further.take())
    }

    #[inline]
    fn take_first(&self) -> Option<Waiter> {
        let callback = self.first.take()?;
        Some(match self.context.take() {
            Some(context) => Waiter::Callback(callback, context),
            None => Waiter::Task(callback),
        })
    }

    fn first(&self) -> Option<Waiter> {
        let callback = self.first.get()?;
        Some(match self.context.get() {
            Some(context) => Waiter::Callback(callback, context),
            None => Waiter::Task(callback),
        })
    }

    fn further(&self) -> Option<Vec<Waiter>> {
        let further = self.further.take()?;
        let copy = (*further).clone();
        self.further.set(Some(further));
        Some(copy)
    }

    /// Removes every waiter whose callback equals `callback`. How many those were. Comparing runs Python, which may change
    /// the list meanwhile: as on asyncio, what was removed by then stays removed, and what was added stays.
    pub(crate) fn remove(&self, py: Python<'_>, callback: &Bound<'_, PyAny>) -> Result<usize> {
        let mut removed = 0;
        if let Some(first) = self.first()
            && first.callback(py)?.any(py).eq(callback)?
        {
            drop(self.take_first());
            removed += 1;
        }
        let Some(before) = self.further() else { return Ok(removed) };
        let mut equal = Vec::new();
        for waiter in &before {
            if waiter.callback(py)?.any(py).eq(callback)? {
                equal.push(waiter.object().clone());
            }
        }
        let Some(mut further) = self.further.take() else { return Ok(removed) };
        let (gone, kept): (Vec<_>, Vec<_>) =
            further.drain(..).partition(|waiter| equal.iter().any(|object| object.is(waiter.object())));
        removed += gone.len();
        if !kept.is_empty() {
            *further = kept;
            self.further.set(Some(further));
        }
        drop(gone);
        Ok(removed)
    }

    /// The tasks of ours among them.
    pub(crate) fn tasks(&self) -> Vec<Owned> {
        let all = self.first().into_iter().chain(self.further().into_iter().flatten());
        all.filter_map(|waiter| match waiter {
            Waiter::Task(task) => Some(task),
            Waiter::Callback(..) => None,
        })
        .collect()
    }

    /// What asyncio shows as `_callbacks`: pairs of callback and context, or nothing.
    pub(crate) fn shown(&self, py: Python<'_>) -> Result<Option<Owned>> {
        self.context.object(py)?;
        let all: Vec<Waiter> = self.first().into_iter().chain(self.further().into_iter().flatten()).collect();
        if all.is_empty() {
            return Ok(None);
        }
        let list = PyList::empty(py);
        for waiter in all {
            let context = match &waiter {
                Waiter::Task(task) => match task::of(task) {
                    Some(task) => task::context_object(py, task)?,
                    None => Owned::none(py),
                },
                Waiter::Callback(_, context) => {
                    let object = context.clone().into_object(py)?;
                    self.replace_further(context, &Context::of(object.clone()));
                    object
                }
            };
            let callback = waiter.callback(py)?;
            list.append(PyTuple::new(py, [callback.any(py), context.any(py)])?)?;
        }
        Ok(Some(list.into_any().into()))
    }

    /// Has the first of the further callbacks that would run in `former` run in a context that Python has been shown.
    fn replace_further(&self, former: &Context, shown: &Context) {
        let Some(mut further) = self.further.take() else { return };
        let contexts = further.iter_mut().filter_map(|waiter| match waiter {
            Waiter::Task(_) => None,
            Waiter::Callback(_, context) => Some(context),
        });
        let replaced = contexts.into_iter().find(|context| context.content().is(former.content()));
        let former = replaced.map(|context| std::mem::replace(context, shown.clone()));
        self.further.set(Some(further));
        drop(former);
    }

    /// Visits what they hold.
    pub(crate) fn traverse(&self, visit: &mut Visit) {
        visit.cell(&self.first);
        self.context.traverse(visit);
        let further = self.further.take();
        for waiter in further.iter().flat_map(|further| further.iter()) {
            visit.object(waiter.object());
            if let Waiter::Callback(_, context) = waiter {
                visit.object(context.content());
            }
        }
        self.further.set(further);
    }
}
