//! The guarded door to the operating system.
//!
//! Authority is a value: a [`Root`] is the right to one folder and everything below it, and nothing beside it. Paths
//! that a file or a guest names are opened below a root; a path that the user names on the command line is opened by
//! [`Input`]. What other crates need of files and sockets they get here, and only here.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path();
//! let root = airssys_osl::Root::open(path)?;
//! root.write_atomic("note.txt".as_ref(), b"kept", 0o600)?;
//! assert_eq!(root.read("note.txt".as_ref(), 1024)?, b"kept");
//! assert!(root.read("../note.txt".as_ref(), 1024).is_err());
//! # Ok(())
//! # }
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this crate is the door that the bans protect: elsewhere these calls would pass it by"
)]

mod access;
pub mod audit;
mod beneath;
pub mod document;
mod files;
mod fs;
mod gate;
mod host;
mod input;
mod lock;
mod net;
mod policy;

pub use access::{
    Access, AccessError, AddressKind, FilePath, FileVerb, Host, HostError, HostFacility, HostName, Name,
    NameError, NetVerb, PathError, Port, RelPath, Subject,
};
pub use files::{About, Entry, FileOperation, Files, FilesError, Kind};
pub use fs::{Exposure, FsError, Root};
pub use gate::{Denial, Denied, Gate, Operation, Permit, Refusal, Ticket};
pub use host::{memory_bytes, random_bytes};
pub use input::{Input, Line, Lines};
pub use lock::{FileLock, LockError};
pub use net::{ControlError, ControlListener, connect};
pub use policy::{Decision, Disappointment, Effect, Pattern, PatternError, Policy, Rule, RuleError, RuleId};
