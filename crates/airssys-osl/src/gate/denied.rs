//! Why an operation was not permitted.

use std::fmt;

use crate::access::Access;
use crate::audit::AuditError;
use crate::pipeline::LayerRefusal;

/// An operation that was not allowed, given back.
#[derive(thiserror::Error)]
#[error("{} is not allowed{}", .access, Because(.why))]
pub struct Denied<O> {
    /// What was not done.
    pub operation: O,
    /// The access that was denied; the first, if several were.
    pub access: Denial,
    /// Why.
    #[source]
    pub why: Refusal,
}

/// What was denied of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// This access.
    Access(Access),
    /// All of it: it makes no access that could be allowed, or too many.
    Number(usize),
}

/// Why an operation was denied. For whoever runs the system: the subject learns that it is denied and no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A rule denies it.
    #[error("{rule}")]
    Rule {
        /// The rule, as the policy shows it.
        rule: String,
    },
    /// No rule allows it.
    #[error("no rule allows it")]
    NoRule,
    /// A layer before the gate did not pass it on.
    #[error(transparent)]
    Layer(Box<LayerRefusal>),
    /// Too many operations are to be decided as one.
    #[error("a batch of {len} operations: at most {max} are decided as one")]
    Batch {
        /// How many they are.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The log cannot be written, so nothing is done.
    #[error(transparent)]
    Log(#[from] AuditError),
}

impl From<LayerRefusal> for Refusal {
    fn from(refusal: LayerRefusal) -> Self {
        Refusal::Layer(Box::new(refusal))
    }
}

struct Because<'r>(&'r Refusal);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Refusal::Rule { .. } | Refusal::NoRule | Refusal::Layer(_) | Refusal::Batch { .. } => Ok(()),
            Refusal::Log(_) => f.write_str(" while the audit log cannot be written"),
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denial::Access(access) => write!(f, "`{access}`"),
            Denial::Number(len) => write!(f, "an operation with {len} accesses"),
        }
    }
}

impl<O> fmt::Debug for Denied<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denied").field("access", &self.access).field("why", &self.why).finish_non_exhaustive()
    }
}
