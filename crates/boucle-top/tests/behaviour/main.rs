//! What a person reads, and what the keys do, on recordings of programs.

mod keys;
mod played;
mod screens;
mod starvations;
