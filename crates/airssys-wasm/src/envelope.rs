//! What travels between components: payloads, who sent them, and who waits for the answer.
//!
//! An [`Envelope`] is made by the host alone, so its sender is true. Payload bytes are shared, never copied between
//! mailboxes. Parsing of names happens here, once; inside the crate a [`ComponentId`] is always well formed.

use std::fmt;
use std::mem;
use std::str::FromStr;
use std::sync::Arc;

use airssys_rt::{ActorId, ReplyTo};
use bytes::Bytes;
use tokio::time::Instant;

use crate::host::wire;

/// A multicodec code: how a payload is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Codec(pub u32);

impl Codec {
    /// Bytes without further meaning.
    pub const RAW: Codec = Codec(0x55);
    /// CBOR.
    pub const CBOR: Codec = Codec(0x51);
    /// Protocol Buffers.
    pub const PROTOBUF: Codec = Codec(0x50);
    /// JSON.
    pub const JSON: Codec = Codec(0x0200);
    /// MessagePack.
    pub const MESSAGEPACK: Codec = Codec(0x0201);
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Codec::RAW => f.write_str("raw"),
            Codec::CBOR => f.write_str("cbor"),
            Codec::PROTOBUF => f.write_str("protobuf"),
            Codec::JSON => f.write_str("json"),
            Codec::MESSAGEPACK => f.write_str("messagepack"),
            Codec(other) => write!(f, "{other:#x}"),
        }
    }
}

/// Bytes and how to read them. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// How to read `bytes`.
    pub codec: Codec,
    /// The bytes; their number is bounded by the receiver's limit.
    pub bytes: Bytes,
}

impl Payload {
    /// A payload of codec raw.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Payload { codec: Codec::RAW, bytes: bytes.into() }
    }

    /// A payload of codec raw without bytes: the answer of a handler that returned none.
    pub fn empty() -> Self {
        Payload { codec: Codec::RAW, bytes: Bytes::new() }
    }
}

/// Which component: `namespace/name#instance`. Each part is 1 to 64 of `a-z`, `0-9`, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    namespace: Arc<str>,
    name: Arc<str>,
    instance: Arc<str>,
}

/// Why a text is not a component's name.
#[derive(Debug, thiserror::Error)]
#[error("{part} {text:?} of a component's name is not 1 to 64 of a-z, 0-9, - and _")]
pub struct InvalidId {
    /// `namespace`, `name` or `instance`.
    pub part: &'static str,
    /// What stood there, cut to 64 characters.
    pub text: String,
}

impl ComponentId {
    /// Checks each part.
    pub fn new(namespace: &str, name: &str, instance: &str) -> Result<Self, InvalidId> {
        Ok(ComponentId {
            namespace: part("namespace", namespace)?,
            name: part("name", name)?,
            instance: part("instance", instance)?,
        })
    }

    /// The application it belongs to.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name within the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which of the instances of that name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Reads `name`, `namespace/name` or either with `#instance`. What is missing is taken from `namespace` and `0`.
    pub fn resolve(text: &str, namespace: &str) -> Result<Self, InvalidId> {
        let (path, instance) = text.split_once('#').unwrap_or((text, "0"));
        let (namespace, name) = path.split_once('/').unwrap_or((namespace, path));
        ComponentId::new(namespace, name, instance)
    }
}

fn part(which: &'static str, text: &str) -> Result<Arc<str>, InvalidId> {
    let well_formed = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    match well_formed {
        true => Ok(text.into()),
        false => Err(InvalidId { part: which, text: text.chars().take(64).collect() }),
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.namespace, self.name, self.instance)
    }
}

impl FromStr for ComponentId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        ComponentId::resolve(text, "local")
    }
}

/// W3C trace context, carried as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The 128-bit trace id.
    pub trace_id: u128,
    /// The span that caused the message.
    pub span_id: u64,
    /// The W3C flags; bit 0 says sampled.
    pub flags: u8,
}

/// One message on its way to a component.
#[derive(Debug)]
pub struct Envelope {
    /// None is the host: the operator, the input, an embedding program.
    pub(crate) from: Option<ActorId>,
    pub(crate) payload: Payload,
    pub(crate) reply: Option<ReplyTo<Answer>>,
    /// The requester's number for the request, shown to the receiver.
    pub(crate) correlation: Option<u64>,
    /// After this moment nobody waits and the message is not handled.
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) topic: Option<Arc<str>>,
}

impl Envelope {
    /// A message from the host that nobody waits for.
    pub fn from_host(payload: Payload) -> Self {
        Envelope {
            from: None,
            payload,
            reply: None,
            correlation: None,
            deadline: None,
            trace: None,
            topic: None,
        }
    }

    /// The message as a guest sees it. The bytes go along until [`Envelope::take_back`]: sharing them would cost an
    /// allocation per message.
    pub(crate) fn lend(&mut self) -> wire::Message {
        wire::Message {
            sender: self.from.map_or(0, ActorId::as_u64),
            payload: wire::Payload { codec: self.payload.codec.0, bytes: mem::take(&mut self.payload.bytes) },
            correlation: self.correlation,
            deadline_ms: self.deadline.map(|deadline| {
                let left = deadline.saturating_duration_since(Instant::now());
                u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
            }),
            trace: self.trace.map(Into::into),
            topic: self.topic.clone(),
        }
    }

    pub(crate) fn take_back(&mut self, message: &mut wire::Message) {
        self.payload.bytes = mem::take(&mut message.payload.bytes);
        message.topic = None;
    }
}

/// What the addressee of a request made of it.
pub(crate) type Answer = Result<Payload, Rejected>;

/// The component refused the message and goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the component refused the message: {reason}")]
pub struct Rejected {
    /// The component's own words, cut to 4 KiB.
    pub reason: Arc<str>,
}

/// What a guest says of itself is cut to this.
const REASON_BYTES_MAX: usize = 4096;

pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::ComponentId;

    #[test]
    fn a_short_name_takes_namespace_and_instance_from_its_context() {
        let id = ComponentId::resolve("tally", "access-log").expect("well formed");
        assert_eq!(id.to_string(), "access-log/tally#0");
        let id = ComponentId::resolve("other/tally#2", "access-log").expect("well formed");
        assert_eq!(id.to_string(), "other/tally#2");
    }

    #[test]
    fn a_name_that_could_mean_something_else_is_refused() {
        let long = "a".repeat(65);
        for text in ["", "a/b/c", "../x", "A", "a b", "a#", "a#b#c", "/a", "a/", "é", long.as_str()] {
            assert!(ComponentId::resolve(text, "n").is_err(), "{text:?}");
        }
    }
}
