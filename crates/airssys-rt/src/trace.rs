//! W3C trace context: which trace a message belongs to.
//!
//! The runtime carries it from message to message and makes a `tracing` span of each handled message that is sampled. It exports
//! nothing itself.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::future::Future;
use std::hash::BuildHasher;
use std::pin::pin;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::envelope::{InheritedTrace, current_trace};

/// One place in one trace, as the header `traceparent` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl TraceContext {
    /// A trace that begins here, with random ids.
    pub fn root(sampled: bool) -> Self {
        let trace = (u128::from(random_id()) << 64) | u128::from(random_id());
        Self { trace, span: random_id(), sampled }
    }

    /// The trace of the message in work on this thread, or that of the [`TraceContext::scope`] around it.
    pub fn current() -> Option<Self> {
        current_trace()
    }

    /// A new place in the same trace.
    pub fn child(self) -> Self {
        Self { span: random_id(), ..self }
    }

    /// The trace's id; never 0.
    pub fn trace_id(self) -> u128 {
        self.trace
    }

    /// The id of the place within the trace; never 0.
    pub fn span_id(self) -> u64 {
        self.span
    }

    /// Whether the runtime makes spans for it.
    pub fn is_sampled(self) -> bool {
        self.sampled
    }

    /// Runs a future whose sends belong to this trace.
    pub async fn scope<T>(self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            let _trace = InheritedTrace::enter(Some(self));
            future.as_mut().poll(cx)
        })
        .await
    }
}

impl fmt::Display for TraceContext {
    /// The value of a `traceparent` header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// The text is no `traceparent`: `00-`, 32 hex digits, `-`, 16 hex digits, `-`, 2 hex digits, neither id zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of the form 00-<32 hex>-<16 hex>-<2 hex>")]
pub struct NotATraceparent;

impl FromStr for TraceContext {
    type Err = NotATraceparent;

    /// Reads a `traceparent` header. Of later versions it reads what they share with this one, as the standard asks.
    fn from_str(text: &str) -> Result<Self, NotATraceparent> {
        let mut parts = text.split('-');
        let mut field = |len: usize| {
            let part = parts.next().ok_or(NotATraceparent)?;
            let is_hex = part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            if part.len() == len && is_hex {
                u128::from_str_radix(part, 16).map_err(|_| NotATraceparent)
            } else {
                Err(NotATraceparent)
            }
        };
        let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let has_more = parts.next().is_some();
        let span = u64::try_from(span).map_err(|_| NotATraceparent)?;
        if version == 0xff || (version == 0 && has_more) || trace == 0 || span == 0 {
            return Err(NotATraceparent);
        }
        Ok(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// Unlike any other of this process, and random enough to be unlike those of others. Never 0.
fn random_id() -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let key = KEY.get_or_init(RandomState::new);
    loop {
        let id = key.hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
        if id != 0 {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_as_it_is_written() {
        for sampled in [true, false] {
            let context = TraceContext::root(sampled);
            assert_eq!(context.to_string().parse(), Ok(context));
            assert_ne!(context.child().span_id(), context.span_id());
        }
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(text.parse::<TraceContext>().map(|context| context.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for text in [
            "",
            "00",
            &good[1..],
            &good.to_uppercase(),
            &format!("{good}-more"),
            &good.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(NotATraceparent), "{text}");
        }
        assert!(format!("{good}-more").replacen("00", "01", 1).parse::<TraceContext>().is_ok());
    }
}
