//! Why something was not done: by this component ([`Failure`]), or for it ([`SendError`], [`CallError`]).

use crate::message::ComponentId;

/// Why a component could not do what it was asked.
///
/// Any error becomes `Rejected` with its text through `?`: one bad message does not end a component. Say
/// [`Failure::fatal`] where going on would be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This message was refused and the component goes on. The text reaches the caller.
    Rejected(String),
    /// The component cannot go on: it ends with this reason and its supervisor decides what follows.
    Fatal(String),
}

impl Failure {
    /// Refuses this message; the caller reads `reason`.
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self::Rejected(reason.into())
    }

    /// Ends the component.
    pub fn fatal(reason: impl Into<String>) -> Self {
        Self::Fatal(reason.into())
    }
}

// `Failure` is no `Error` itself: this conversion would otherwise overlap with that of a type into itself.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Rejected(error.to_string())
    }
}

/// Why a message did not reach the target's mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// This component may not do this, or there is nobody of that name. Which of the two is not said.
    Denied,
    /// The target is not running and will not be.
    Gone,
    /// The target's mailbox is full and its policy is to reject.
    MailboxFull,
    /// The payload is larger than the target takes: its limit in bytes.
    TooLarge(u64),
    /// The target does not read this codec: those it reads.
    CodecRefused(Vec<u32>),
}

impl SendError {
    /// The variant's name as the contract writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Gone => "gone",
            Self::MailboxFull => "mailbox-full",
            Self::TooLarge(_) => "too-large",
            Self::CodecRefused(_) => "codec-refused",
        }
    }
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied | Self::Gone | Self::MailboxFull => f.write_str(self.name()),
            Self::TooLarge(limit) => write!(f, "too-large: the target takes {limit} bytes"),
            Self::CodecRefused(accepted) => {
                f.write_str("codec-refused: the target reads")?;
                accepted.iter().try_for_each(|codec| write!(f, " {codec:#x}"))
            }
        }
    }
}

impl std::error::Error for SendError {}

/// Why a request has no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// It never reached the target.
    NotSent(SendError),
    /// The deadline passed first.
    Timeout,
    /// The requester, or its caller, took it back.
    Cancelled,
    /// The target ended while it handled the request.
    Died,
    /// The call would close a circle of components that wait for each other: the circle, caller first.
    Cycle(Vec<ComponentId>),
    /// The target refused the message, with this text.
    Rejected(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(error) => write!(f, "not-sent: {error}"),
            Self::Timeout => f.write_str("timeout"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Died => f.write_str("died"),
            Self::Cycle(circle) => {
                f.write_str("cycle:")?;
                circle.iter().try_for_each(|id| write!(f, " {id}"))
            }
            Self::Rejected(reason) => write!(f, "rejected: {reason}"),
        }
    }
}

impl std::error::Error for CallError {}
