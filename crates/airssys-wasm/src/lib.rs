//! WebAssembly components as supervised actors.
//!
//! A component is loaded once, checked against what this host has and what it was granted, and becomes a child of an
//! `airssys-rt` supervisor. Its instance lives as long as its actor; a trap is a typed exit that the supervisor
//! answers; its mailbox survives the restart.

mod actor;
mod budget;
mod call;
mod command;
mod component;
mod crash;
mod engine;
mod envelope;
mod flood;
mod host;
mod instance;
pub mod manifest;
mod router;
mod runtime;

pub use call::{CALL_TIMEOUT_DEFAULT, CALL_TIMEOUT_MAX, CallError, Refused, SendError};
pub use command::{Command, CommandError};
pub use component::{
    COMPONENT_BYTES_MAX, Component, Description, Export, Import, Kind, LoadError, Satisfied,
};
pub use crash::{CrashCause, CrashMessage, CrashReport, Frame};
pub use engine::{CacheError, EngineError, EngineOptions, Engines};
pub use envelope::{Codec, ComponentId, InvalidId, Payload, Rejected, TraceContext};
pub use router::{Published, Router, RouterCounts, RouterEvent};
pub use runtime::{ComponentHandle, ComponentSpec, Runtime, SpecError};
