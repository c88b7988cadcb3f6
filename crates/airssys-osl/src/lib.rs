//! The guarded door to the operating system.
//!
//! Who wants something says it as an [`Access`]; a [`Policy`] decides; the [`Gate`] records the decision in an
//! [audit log](audit::AuditLog) and only then hands out a [`Permit`], which the effect takes by value. [`Files`] does that
//! for files:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use airssys_osl::audit::{AuditLog, AuditOptions};
//! use airssys_osl::{Files, FilesError, Gate, Name, Policy, Root, Subject};
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path();
//! # std::fs::create_dir(path.join("notes"))?;
//! let policy = Policy::parse(
//!     r#"
//!     version = 1
//!     [[subject]]
//!     name = "tool"
//!     [[subject.allow]]
//!     files = ["notes:**"]
//!     [[subject.deny]]
//!     files = ["notes:private"]
//!     "#,
//!     "policy.toml",
//! )?;
//! let log = AuditLog::open(&Root::private(&path.join("audit"))?, AuditOptions::default())?;
//! let notes = Root::open(&path.join("notes"))?;
//! let files = Files::new(Gate::new(policy, log), [(Name::parse("notes")?, notes)]);
//!
//! let tool = Subject::parse("tool")?;
//! files.write(&tool, "notes:today", b"kept")?;
//! assert_eq!(files.read(&tool, "notes:today", 1024)?, b"kept");
//! assert!(matches!(files.read(&tool, "notes:private/key", 1024), Err(FilesError::Denied(_))));
//! assert!(matches!(files.read(&tool, "notes:../today", 1024), Err(FilesError::Path { .. })));
//! # Ok(())
//! # }
//! ```
//!
//! The other rooms are used the same way: [`Network`] for streams, datagrams, sockets that are files and, with the features
//! `tls` and `http`, TLS and HTTP; [`Programs`] for running programs; [`Machine`] for the clock, randomness, variables and
//! secrets. A program's own operations join by `#[derive(Operation)]` and [`Prepared`]. [`Layer`]s before a gate limit, count
//! and redact; [`Pipeline`] adds timeouts and retries. [`PolicyFile`] keeps a policy in step with a file, [`Gate::observe`] and
//! [`Learner`] help to write one, [`Replay`] tells what another would change. [`Confinement`] compiles a policy for the kernel,
//! as a second wall behind the gate or around a program.
//!
//! A [`Root`] is the right to one folder and everything below it, and nothing beside it: what the program opens itself, it
//! holds as a value. [`OwnFiles`] is a root that the program uses itself and that passes the gate all the same; a path that its
//! user named is opened by [`Input::open_by`].

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this crate is the door that the bans protect: elsewhere these calls would pass it by"
)]

mod access;
pub mod audit;
mod beneath;
mod blocking;
mod control;
pub mod document;
mod fields;
mod files;
mod fs;
mod gate;
mod host;
mod input;
mod lock;
mod net;
mod pipeline;
mod policy;
mod prepared;
mod process;
mod quota;
mod sandbox;
mod secret;

pub use access::{
    Access, AccessError, AddressKind, FilePath, FileVerb, Host, HostError, HostFacility, HostName, Name,
    NameError, NetVerb, PathError, Port, RelPath, Subject, UnixVerb,
};
pub use airssys_osl_macros::Operation;
pub use blocking::{Blocking, BlockingError};
pub use control::{ControlError, ControlListener, connect};
pub use fields::Fields;
pub use files::{
    About, Entry, FileChange, FileOperation, FileReader, FileWriter, Files, FilesError, Kind, OwnFiles,
    TemporaryFile, TransformError, TreeBounds, Watch, WatchEvent,
};
pub use fs::{Exposure, FsError, Root};
pub use gate::{Denial, Denied, Gate, Operation, Permit, Refusal, Ticket};
pub use host::{HostOperation, Machine, MachineError, MachineInfo, memory_bytes, random_bytes};
pub use input::{Input, Line, Lines};
pub use lock::{FileLock, LockError};
pub use net::{
    Connection, Datagrams, EndError, Listener, NetError, NetLimits, NetOperation, Network, Resolver,
};
#[cfg(feature = "http")]
pub use net::{
    Http, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse, HttpUrl, Redirects, UrlError,
};
#[cfg(feature = "tls")]
pub use net::{Trust, TrustError};
pub use pipeline::{
    Answer, Custom, Ended, Ending, Layer, LayerRefusal, LimitError, Middleware, Pipeline, PipelineError,
    PipelineOptions, RateLimit, Redaction, Refused, Retry,
};
pub use policy::{
    AnswerChange, Decision, Disappointment, Effect, GrantChange, LearnError, Learned, Learner, Lenience,
    ObserveError, Observed, Pattern, PatternError, Policy, PolicyFile, PolicyFileError, PolicyWatch,
    Reloaded, Replay, Rule, RuleError, RuleId, Verdict,
};
#[doc(hidden)]
pub use prepared::glue;
pub use prepared::{Prepared, Statement};
pub use process::{
    Boundary, Exit, Limits, Means, Output, Program, ProgramOperation, Programs, ProgramsError,
    ProgramsOptions, Running, Signal, Stream,
};
pub use quota::{Quota, QuotaError, QuotaOptions, Reservation, Usage};
pub use sandbox::{
    Confinement, ConfinementError, Fit, Gap, GapKind, Place, Reach, Report, Requirement, Seen, Side, Whose,
};
pub use secret::{Secret, SecretError, Secrets};
