//! The state that asyncio's Python code reads and writes.

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::LoopCore;
use crate::raw::class::Visit;
use crate::raw::method::property;
use crate::raw::{ObjectCell, Owned, Result, This, getter, method, setter};

/// Attributes that hold any object. The native code reads a few of them.
macro_rules! objects {
    ($($field:ident),* $(,)?) => {
        /// The values of attributes that hold any object.
        #[derive(Default)]
        pub(super) struct Objects { $(pub(super) $field: ObjectCell),* }

        impl Objects {
            /// Visits them all.
            pub(super) fn traverse(&self, visit: &mut Visit) {
                $(visit.cell(&self.$field);)*
            }

            /// Empties them all.
            pub(super) fn clear(&self) {
                $(drop(self.$field.take());)*
            }
        }

        fn object_properties() -> impl Iterator<Item = ffi::PyGetSetDef> {
            [$(property(
                crate::raw::method::c_str!(stringify!($field)),
                getter!(LoopCore, stringify!($field), |_, this: This<'_, LoopCore>| {
                    this.objects.$field.get().ok_or_else(|| missing(stringify!($field)))
                }),
                Some(setter!(LoopCore, stringify!($field), |_, this: This<'_, LoopCore>, value: Option<Owned>| {
                    drop(this.objects.$field.replace(value));
                    Ok(())
                })),
            )),*].into_iter()
        }
    };
}

objects! {
    _timer_cancelled_count, _default_executor, _internal_fds, _clock_resolution, _exception_handler,
    slow_callback_duration, _current_handle, _task_factory, _coroutine_origin_tracking_enabled,
    _coroutine_origin_tracking_saved_depth, _asyncgens, _asyncgens_shutdown_called, _executor_shutdown_called,
    _old_agen_hooks, _selector, _transports, _signal_handlers, _unix_server_sockets, _ssock, _csock,
}

fn missing(name: &str) -> crate::raw::Raised {
    PyAttributeError::new_err(format!("'Loop' object has no attribute '{name}'")).into()
}

/// A property of a flag.
macro_rules! flag {
    ($name:literal, $field:ident) => {
        property(
            crate::raw::method::c_str!($name),
            getter!(LoopCore, $name, |_, this: This<'_, LoopCore>| Ok(this.$field.get())),
            Some(setter!(LoopCore, $name, |py, this: This<'_, LoopCore>, value: Option<Owned>| {
                this.$field.set(truth(py, value.as_ref())?);
                Ok(())
            })),
        )
    };
}

fn truth(py: Python<'_>, value: Option<&Owned>) -> Result<bool> {
    match value {
        Some(value) => Ok(value.any(py).is_truthy()?),
        None => Err(PyTypeError::new_err("this attribute cannot be deleted").into()),
    }
}

fn thread_id(py: Python<'_>, this: This<'_, LoopCore>) -> Result<Option<Owned>> {
    match this.thread.get() {
        0 => Ok(None),
        ident => Ok(Some(ident.into_pyobject(py).map_err(PyErr::from)?.into_any().into())),
    }
}

fn set_thread_id(py: Python<'_>, this: This<'_, LoopCore>, value: Option<Owned>) -> Result<()> {
    let ident: Option<u64> = value.map(|value| value.any(py).extract()).transpose()?.flatten();
    this.thread.set(ident.unwrap_or(0));
    Ok(())
}

pub(super) fn properties() -> impl Iterator<Item = ffi::PyGetSetDef> {
    let own = [
        flag!("_closed", closed),
        flag!("_stopping", stopping),
        flag!("_debug", debug),
        property(
            c"_owner_pid",
            getter!(LoopCore, "_owner_pid", |_, this: This<'_, LoopCore>| Ok(this.owner_pid.get())),
            None,
        ),
        property(
            c"_thread_id",
            getter!(LoopCore, "_thread_id", thread_id),
            Some(setter!(LoopCore, "_thread_id", set_thread_id)),
        ),
    ];
    own.into_iter().chain(object_properties())
}

fn is_running(_: Python<'_>, this: This<'_, LoopCore>) -> Result<bool> {
    Ok(this.thread.get() != 0)
}

fn is_closed(_: Python<'_>, this: This<'_, LoopCore>) -> Result<bool> {
    Ok(this.closed.get())
}

fn get_debug(_: Python<'_>, this: This<'_, LoopCore>) -> Result<bool> {
    Ok(this.debug.get())
}

fn check_closed(_: Python<'_>, this: This<'_, LoopCore>) -> Result<()> {
    this.check_open()
}

/// How many turns and steps the loop has made, and how much is queued: `(turns, steps, ready, timers)`.
fn counts(py: Python<'_>, this: This<'_, LoopCore>) -> Result<Owned> {
    let turn = this.turn.borrow();
    let counts = (this.turns.get(), this.steps.get(), turn.ready_len(), turn.timers_len());
    drop(turn);
    Ok(counts.into_pyobject(py)?.into_any().into())
}

pub(super) fn methods() -> [ffi::PyMethodDef; 7] {
    [
        method!(LoopCore, "is_running", is_running, "Whether the loop runs."),
        method!(LoopCore, "is_closed", is_closed, "Whether the loop was closed."),
        method!(LoopCore, "get_debug", get_debug, "Whether debug mode is on."),
        method!(LoopCore, "_check_closed", check_closed, "Raises RuntimeError if the loop was closed."),
        method!(LoopCore, "_counts", counts, "(turns, steps, ready, timers) of this loop."),
        method!(LoopCore, "_open", super::open, "Opens the reactor."),
        method!(LoopCore, "_release", super::release, "Closes the reactor and lets go of everything queued."),
    ]
}
