//! The laws of the door, each with the case just beyond it.

// Tests prepare by other means what the crate then has to cope with.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod lines;
mod lock;
mod process;
mod read;
mod socket;
mod write;
