//! The runtime from outside, one file per theme. Time is paused except where a busy thread is the point.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers as well")]

mod addresses;
mod bounds;
mod exits;
mod expiry;
mod looking;
#[cfg(feature = "macros")]
mod macros;
mod mailbox;
mod probe;
mod puppet;
mod stopping;
mod stress;
mod supervision;
mod system;
mod timers;
mod traces;
mod watching;
