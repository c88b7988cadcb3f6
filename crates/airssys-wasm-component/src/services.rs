//! What the host does for a component beside messages. A module per interface of the contract, so that the name of
//! the module is the name of the grant.

/// Answers given later than the handler's return.
pub mod replies {
    use crate::failure::SendError;
    use crate::host;
    use crate::message::{Message, Payload};

    /// The right to answer one request, once.
    #[derive(Debug)]
    pub struct ReplyToken {
        handle: host::replies::ReplyToken,
    }

    impl ReplyToken {
        /// Answers; an `Err` reaches the caller as `Rejected` with that text.
        pub fn reply(self, outcome: Result<Payload, String>) -> Result<(), SendError> {
            let outcome = outcome.as_ref().map_err(String::as_str);
            host::replies::ReplyToken::reply(self.handle, outcome)
        }
    }

    /// Takes the answer of `message`, which is being handled, out of the handler's return value. None where the
    /// sender waits for no answer or the token was already taken.
    pub fn defer(message: &Message) -> Option<ReplyToken> {
        host::replies::defer(message.correlation?).map(|handle| ReplyToken { handle })
    }
}

/// Publishing to topics. In a pattern `*` stands for one word and a final `#` for any rest.
pub mod topics {
    use crate::host;
    use crate::message::Payload;

    /// Why a topic was not published to or subscribed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum TopicError {
        /// This component may not.
        Denied,
        /// Not a topic or not a pattern: why.
        Malformed(String),
        /// This component holds as many subscriptions as it may: the bound.
        TooMany(u32),
        /// The payload is larger than a topic takes: its limit in bytes.
        TooLarge(u64),
    }

    impl std::fmt::Display for TopicError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match self {
                Self::Denied => f.write_str("denied"),
                Self::Malformed(why) => write!(f, "malformed: {why}"),
                Self::TooMany(limit) => write!(f, "too-many: a component may hold {limit} subscriptions"),
                Self::TooLarge(limit) => write!(f, "too-large: a topic takes {limit} bytes"),
            }
        }
    }

    impl std::error::Error for TopicError {}

    /// Returns how many mailboxes took the message. A full mailbox loses it, counted as a dead letter.
    pub fn publish(topic: &str, payload: &Payload) -> Result<u32, TopicError> {
        host::topics::publish(topic, payload)
    }

    /// From now on, messages of matching topics arrive at `handle_message` with their topic set.
    pub fn subscribe(pattern: &str) -> Result<(), TopicError> {
        host::topics::subscribe(pattern)
    }

    /// Whether there was such a subscription.
    pub fn unsubscribe(pattern: &str) -> Result<bool, TopicError> {
        host::topics::unsubscribe(pattern)
    }
}

/// Messages to oneself, later.
pub mod timers {
    use std::time::Duration;

    use crate::failure::SendError;
    use crate::host;
    use crate::message::Payload;

    /// Names one timer of this component.
    pub type TimerId = u64;

    /// Why there is no timer.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum TimerError {
        /// This component has as many timers as it may: the bound.
        TooMany(u32),
        /// Further away than the host counts.
        TooLong,
        /// This component does not take such a message, or its timers hold as many bytes as they may.
        Refused(SendError),
    }

    impl std::fmt::Display for TimerError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match self {
                Self::TooMany(limit) => write!(f, "too-many: a component may have {limit} timers"),
                Self::TooLong => f.write_str("too-long"),
                Self::Refused(refused) => refused.fmt(f),
            }
        }
    }

    impl std::error::Error for TimerError {}

    /// Sends `payload` to this component after `delay`.
    pub fn send_after(delay: Duration, payload: &Payload) -> Result<TimerId, TimerError> {
        host::timers::send_after(super::milliseconds(delay), payload)
    }

    /// Sends `payload` to this component every `period`.
    pub fn interval(period: Duration, payload: &Payload) -> Result<TimerId, TimerError> {
        host::timers::interval(super::milliseconds(period), payload)
    }

    /// Whether the timer was still running.
    pub fn cancel(timer: TimerId) -> bool {
        host::timers::cancel(timer)
    }
}

/// Keys and values of this component alone.
pub mod storage {
    use crate::host;

    /// Why storage did not do it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum StorageError {
        /// This component may not.
        Denied,
        /// The key is empty or longer than the bound in bytes.
        BadKey(u32),
        /// The value is larger than the bound in bytes.
        TooLarge(u64),
        /// The quota in bytes.
        QuotaExceeded(u64),
        /// The store does not answer.
        Unavailable,
    }

    impl std::fmt::Display for StorageError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match self {
                Self::Denied => f.write_str("denied"),
                Self::BadKey(limit) => write!(f, "bad-key: a key has 1 to {limit} bytes"),
                Self::TooLarge(limit) => write!(f, "too-large: a value has at most {limit} bytes"),
                Self::QuotaExceeded(quota) => write!(f, "quota-exceeded: {quota} bytes"),
                Self::Unavailable => f.write_str("unavailable"),
            }
        }
    }

    impl std::error::Error for StorageError {}

    /// How full the store is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct StorageUsage {
        /// How many keys there are.
        pub keys: u64,
        /// How many bytes they and their values take.
        pub bytes: u64,
        /// How many they may take.
        pub bytes_max: u64,
    }

    /// The value of `key`.
    pub fn get(key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        host::storage::get(key)
    }

    /// Sets the value of `key`.
    pub fn set(key: &str, value: &[u8]) -> Result<(), StorageError> {
        host::storage::set(key, value)
    }

    /// Whether there was such a key.
    pub fn delete(key: &str) -> Result<bool, StorageError> {
        host::storage::delete(key)
    }

    /// Whether there is such a key.
    pub fn exists(key: &str) -> Result<bool, StorageError> {
        host::storage::exists(key)
    }

    /// Keys with this prefix in order, from `after` on, at most `limit`.
    pub fn list_keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>, StorageError> {
        host::storage::list_keys(prefix, after, limit)
    }

    /// Sets `value` when the present value is `expected`; returns whether it did. None is "no such key".
    pub fn compare_and_swap(
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<bool, StorageError> {
        host::storage::compare_and_swap(key, expected, value)
    }

    /// How full the store is.
    pub fn usage() -> Result<StorageUsage, StorageError> {
        host::storage::usage()
    }
}

/// Lines in the node's log, attributed to this component.
pub mod log {
    use crate::host;

    /// How much a line matters.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum LogLevel {
        /// Every step.
        Trace,
        /// For whoever looks for a mistake.
        Debug,
        /// What an operator wants to know.
        Info,
        /// What an operator should look at.
        Warn,
        /// What an operator must look at.
        Error,
    }

    /// Writes one line.
    pub fn write(level: LogLevel, line: &str) {
        host::logging::log(level, line);
    }

    /// Every step.
    pub fn trace(line: &str) {
        write(LogLevel::Trace, line);
    }

    /// For whoever looks for a mistake.
    pub fn debug(line: &str) {
        write(LogLevel::Debug, line);
    }

    /// What an operator wants to know.
    pub fn info(line: &str) {
        write(LogLevel::Info, line);
    }

    /// What an operator should look at.
    pub fn warn(line: &str) {
        write(LogLevel::Warn, line);
    }

    /// What an operator must look at.
    pub fn error(line: &str) {
        write(LogLevel::Error, line);
    }
}

/// The time. On wasm32-unknown-unknown `std::time` has none.
pub mod clock {
    use std::time::Duration;

    use crate::host;

    /// Since 1970-01-01T00:00:00Z.
    pub fn now() -> Duration {
        Duration::from_nanos(host::clock::now_ns())
    }

    /// Since an arbitrary moment; never goes back.
    pub fn monotonic() -> Duration {
        Duration::from_nanos(host::clock::monotonic_ns())
    }
}

/// Waiting. It stops this component, not the host.
pub mod sleep {
    use std::time::Duration;

    use crate::host;

    /// Suspends, at most until the deadline of the message being handled.
    pub fn sleep(duration: Duration) {
        host::sleep::sleep_ms(super::milliseconds(duration));
    }

    /// The same for an [`crate::AsyncComponent`]: other work goes on meanwhile.
    #[cfg(any(feature = "async", not(target_family = "wasm")))]
    pub async fn sleep_async(duration: Duration) {
        host::async_sleep::sleep_ms(super::milliseconds(duration)).await;
    }
}

/// Randomness fit for keys.
pub mod random {
    use crate::host;

    /// At most 65,536 bytes; a larger `len` is cut to that.
    pub fn bytes(len: u32) -> Vec<u8> {
        host::random::bytes(len)
    }

    /// Any number.
    pub fn number() -> u64 {
        host::random::number()
    }
}

/// The component's table of the application file as it is now; what `init` got is as it was at the start.
pub mod config {
    use crate::host;

    /// The value of `key`.
    pub fn entry(key: &str) -> Option<String> {
        host::config::entry(key)
    }

    /// All entries.
    pub fn entries() -> crate::Config {
        host::config::entries().into()
    }
}

/// Part of a millisecond counts as a whole one: a wait is never shorter than asked for.
fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
