//! The laws of the door, each with the case just beyond it.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests prepare by other means what the crate then has to cope with"
)]
#![allow(clippy::unwrap_used, reason = "a helper that cannot prepare ends the test, like an assertion")]

mod access;
mod audit;
mod doors;
mod files;
mod gate;
mod handles;
mod host;
mod http;
mod learn;
mod lines;
mod lock;
mod net;
mod observe;
mod own;
mod pipeline;
mod policy;
mod process;
mod programs;
mod quota;
mod races;
mod raw;
mod read;
mod reader;
mod reload;
mod replay;
mod sandbox;
mod signed;
mod socket;
mod storm;
mod tls;
mod tree;
mod unix;
mod watch;
mod write;
