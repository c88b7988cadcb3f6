//! The command as a user runs it: the built binary, with sockets and caches of its own.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests start the command and prepare its files"
)]

mod components;
mod control;
mod docs;
mod example;
mod harness;
mod new;
mod refused;
mod stopping;
mod terminal;
