//! The runtime from outside, one file per theme. Time is paused except where a busy thread is the point.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers as well")]

mod addresses;
mod bounds;
mod breaker;
mod exits;
mod expiry;
mod faults;
mod groups;
mod ledger;
mod looking;
#[cfg(feature = "macros")]
mod macros;
mod mailbox;
mod names;
mod pools;
mod probe;
mod probes;
mod puppet;
mod seeded;
mod starts;
mod stopping;
mod stress;
mod supervision;
mod supervision_backoff;
mod supervision_dynamic;
mod supervision_health;
mod supervision_quarantine;
mod supervision_seeded;
mod supervision_significant;
mod supervision_waiting;
mod system;
mod testing;
mod timers;
mod traces;
mod watching;
