//! What a person reads, and what the keys do, on recordings of programs.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod keys;
mod played;
mod screens;
mod starvations;
