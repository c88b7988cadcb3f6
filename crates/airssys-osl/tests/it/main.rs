//! The laws of the door, each with the case just beyond it.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests prepare by other means what the crate then has to cope with"
)]
#![allow(clippy::unwrap_used, reason = "a helper that cannot prepare ends the test, like an assertion")]

mod access;
mod audit;
mod files;
mod gate;
mod lines;
mod lock;
mod policy;
mod process;
mod programs;
mod raw;
mod read;
mod sandbox;
mod socket;
mod write;
