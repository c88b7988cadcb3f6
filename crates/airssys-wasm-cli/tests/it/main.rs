//! The command as a user runs it: the built binary, with sockets and caches of its own.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests start the command and prepare its files"
)]
#![allow(clippy::unwrap_used, reason = "a helper that cannot prepare ends the test, like an assertion")]

mod components;
mod control;
mod docs;
mod example;
mod harness;
mod new;
mod policy;
mod refused;
mod stopping;
mod terminal;
