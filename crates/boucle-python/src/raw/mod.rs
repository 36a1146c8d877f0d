//! The unsafe floor under the native types: owned references, native classes, slots and calls.
//!
//! Hot types are built on `CPython`'s C API directly: a handle made through `PyO3` costs 22 to 30 ns, one of these 3 ns.
//! What lives above this folder is safe code. It gets at objects through these pieces only:
//!
//! * [`Owned`], a strong reference, and [`ObjectCell`], a field that holds one;
//! * [`This`], a borrowed instance of a native [`Class`];
//! * [`Args`], the arguments of a call;
//! * the [`method!`], [`getter!`] and [`setter!`] macros, which make slots of safe functions.
//!
//! # Invariants
//!
//! * Every slot goes through [`guard`]: a panic becomes a Python exception, an error becomes the slot's error value.
//! * A reference never leaves the thread that holds the GIL: [`Owned`] is neither `Send` nor `Sync`, and the only way to
//!   release the GIL, [`gil::released`], takes closures that are `Send`.
//! * No reference is dropped while one of our cells is borrowed: dropping runs arbitrary Python. Cells hand their old
//!   content out instead of dropping it.

pub(crate) mod args;
pub(crate) mod buffer;
pub(crate) mod bytes;
pub(crate) mod call;
pub(crate) mod class;
pub(crate) mod context;
pub(crate) mod freelist;
pub(crate) mod getter;
pub(crate) mod gil;
pub(crate) mod guard;
pub(crate) mod hash;
mod inherit;
pub(crate) mod instance;
pub(crate) mod list;
pub(crate) mod method;
pub(crate) mod nested;
pub(crate) mod object;
pub(crate) mod stop;
pub(crate) mod vector;
pub(crate) mod written;

pub(crate) use args::Args;
pub(crate) use class::{Class, This, TypeCell};
pub(crate) use gil::{GilCell, GilOnce};
pub(crate) use guard::{Raised, Result};
pub(crate) use method::{getter, init, method, send, set_attribute, setter, unary};
pub(crate) use object::{ObjectCell, Owned};
