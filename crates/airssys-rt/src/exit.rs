//! How an actor ends: one [`Exit`] with one [`ExitReason`], whatever ended it.
//!
//! Returns, errors, panics, kills, failed starts and aborted tasks are the same kind of fact here, so a link, a monitor
//! and a supervisor read one type. Reasons are cheap to clone: what they carry is shared.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::actor::ActorId;

/// Why an actor ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ExitReason {
    /// The actor was done. A link that does not trap exits ignores it.
    Normal,
    /// The actor was asked to stop, by its supervisor or by the system.
    Shutdown,
    /// The actor was killed. Nothing of it ran after the kill was seen.
    Killed,
    /// The task was dropped by the executor before the actor ended, as when a tokio runtime is shut down.
    Aborted,
    /// There was no such actor to link to or to monitor.
    NoProc,
    /// A handler, the factory or the actor's `Drop` panicked.
    Panic(Arc<PanicReport>),
    /// A handler returned an error.
    Error(Arc<dyn Error + Send + Sync>),
    /// The actor ended before its `start` had succeeded, for this reason.
    Init(Arc<ExitReason>),
}

impl ExitReason {
    /// Any error as a reason. `?` in a handler does the same through `From`.
    pub fn error(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Error(Arc::new(error))
    }

    /// Neither done nor asked to stop: what a transient child is restarted for.
    pub fn is_abnormal(&self) -> bool {
        !self.is_normal()
    }

    /// [`ExitReason::Normal`] or [`ExitReason::Shutdown`].
    pub fn is_normal(&self) -> bool {
        match self {
            Self::Normal | Self::Shutdown => true,
            Self::Killed | Self::Aborted | Self::NoProc | Self::Panic(_) | Self::Error(_) | Self::Init(_) => {
                false
            }
        }
    }

    /// The executor dropped the task, before or after the start.
    pub(crate) fn is_aborted(&self) -> bool {
        match self {
            Self::Aborted => true,
            Self::Init(reason) => reason.is_aborted(),
            Self::Normal | Self::Shutdown | Self::Killed | Self::NoProc | Self::Panic(_) | Self::Error(_) => {
                false
            }
        }
    }

    /// The error behind the reason, through a failed start as well, for a cause chain or a downcast.
    pub fn as_error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        match self {
            Self::Error(error) => Some(error.as_ref()),
            Self::Init(reason) => reason.as_error(),
            Self::Normal | Self::Shutdown | Self::Killed | Self::Aborted | Self::NoProc | Self::Panic(_) => {
                None
            }
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for ExitReason {
    fn from(error: E) -> Self {
        Self::error(error)
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Killed => f.write_str("killed"),
            Self::Aborted => f.write_str("aborted"),
            Self::NoProc => f.write_str("no such actor"),
            Self::Panic(report) => write!(f, "panic: {report}"),
            Self::Error(error) => write!(f, "error: {error}"),
            Self::Init(reason) => write!(f, "start failed: {reason}"),
        }
    }
}

/// What a panic said and where it was raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicReport {
    /// The panic's message; empty when the payload was neither a `String` nor a `&str`.
    pub message: String,
    /// `file:line:column`; absent when another panic hook was installed after the first [`System`](crate::System).
    pub location: Option<String>,
}

impl fmt::Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{} at {location}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The end of one actor, as its links, its monitors and its supervisor see it.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Who ended.
    pub id: ActorId,
    /// Its name; empty when there was no such actor.
    pub name: Arc<str>,
    /// Why.
    pub reason: ExitReason,
}
