//! The AirsSys daemon as a library: an application file becomes a running tree of components.
//!
//! [`Node::start`] reads an application, checks all of it, and starts its supervision tree. A node can be fed lines,
//! watched, asked over a control socket, and stopped in order.

pub mod application;
pub mod control;
mod input;
mod node;
mod status;
mod watch;

pub use input::{FeedSummary, Progress, Rejections};
pub use node::{Node, NodeOptions, StartError, StopReport, own_policy, own_subject};
pub use status::{ComponentStatus, CrashRecord, MessageCounts, TreeNodeStatus, report_of};
pub use watch::{NodeEvent, Watch};

/// The door to the operating system, for what the node is given: inputs, sockets, folders.
pub use airssys_osl;
/// Components themselves, for what needs no node: programs, and looking at one.
pub use airssys_wasm;
