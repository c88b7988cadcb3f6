//! Real guests in a real node: what crosses from one component to another, and what stops it.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests read the guests that they run"
)]

mod slice;

mod commands;
mod limits;
mod messaging;
mod refusals;
mod world;
