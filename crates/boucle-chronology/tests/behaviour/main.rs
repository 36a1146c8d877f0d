//! What the crate does, seen from outside.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod analysis;
mod format;
mod html;
mod layout;
mod perfetto;
mod pictures;
mod random;
mod scenes;
