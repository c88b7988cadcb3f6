//! What a mailbox is told to be, and what it says of itself.

use super::latency::Latency;

/// How much a mailbox holds and what it does when full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxOptions {
    /// Messages it holds; zero is read as one.
    pub capacity: usize,
    /// Bytes it holds, as [`Actor::bytes_of`](crate::Actor::bytes_of) counts them; `usize::MAX` counts none.
    pub bytes: usize,
    /// What happens to a message that does not fit.
    pub overflow: Overflow,
    /// Whether [`Actor::priority`](crate::Actor::priority) is asked for each message. If not, all are equal.
    pub priorities: bool,
}

impl Default for MailboxOptions {
    /// 1024 messages of any size, senders wait, all messages are equal.
    fn default() -> Self {
        Self { capacity: 1024, bytes: usize::MAX, overflow: Overflow::Wait, priorities: false }
    }
}

impl MailboxOptions {
    /// Holds this many messages; otherwise the default.
    pub fn bounded(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// Bounds the bytes in it as well. Such a mailbox takes its lock once more per message.
    pub fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// Chooses what happens to a message that does not fit.
    pub fn overflow(self, overflow: Overflow) -> Self {
        Self { overflow, ..self }
    }

    /// Hands out messages by [`Actor::priority`](crate::Actor::priority), equals in order of arrival. Such a mailbox takes
    /// its lock once more per message.
    pub fn with_priorities(self) -> Self {
        Self { priorities: true, ..self }
    }
}

/// What the receiver decided for messages that do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// `tell` waits for room; `try_tell` returns the message.
    Wait,
    /// The message comes back to the sender.
    Reject,
    /// The oldest queued messages of the lowest priority become dead letters to make room; the new one does instead, if
    /// those of higher priority leave it none.
    DropOldest,
    /// The new message becomes a dead letter; its sender is not told.
    DropNewest,
}

/// Which messages go first. Signals go before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Handled when nothing else waits.
    Low,
    /// What a message has unless its actor says otherwise.
    #[default]
    Normal,
    /// Handled before what waits already.
    High,
}

/// Counts of one mailbox. At rest `accepted = handled + dropped + depth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailboxStats {
    /// Messages waiting to be handled.
    pub depth: usize,
    /// The bound on `depth`.
    pub capacity: usize,
    /// Bytes waiting to be handled; zero where no bound is set.
    pub bytes: usize,
    /// Messages whose sender was told they were sent.
    pub accepted: u64,
    /// Messages given to a handler.
    pub handled: u64,
    /// Messages that found no room, or nobody, and went back to their sender.
    pub rejected: u64,
    /// Accepted messages that became dead letters.
    pub dropped: u64,
    /// From the mailbox to the handler, of a sample of messages.
    pub latency: Latency,
}
