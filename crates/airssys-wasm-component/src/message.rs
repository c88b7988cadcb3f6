//! What crosses between components: payloads, messages and the ends of requests.
//!
//! The types have the shape of `airssys:core/types`, field by field, so that the generated bindings lift and
//! lower them directly. Everything the host stamps (sender, topic, trace) is plain data here: a component cannot
//! forge it for anyone but itself.

use crate::failure::CallError;

/// Multicodec codes that the host knows by name.
pub mod codec {
    /// Bytes without a format.
    pub const RAW: u32 = 0x55;
    /// Protocol Buffers.
    pub const PROTOBUF: u32 = 0x50;
    /// CBOR.
    pub const CBOR: u32 = 0x51;
    /// JSON.
    pub const JSON: u32 = 0x0200;
    /// MessagePack.
    pub const MESSAGEPACK: u32 = 0x0201;
    /// The first code of the range that applications may use as they like.
    pub const PRIVATE_FIRST: u32 = 0x30_0000;
    /// The last code of that range.
    pub const PRIVATE_LAST: u32 = 0x3f_ffff;
}

/// One actor of this node. 0 is the host itself: the operator or the input.
pub type ActorId = u64;

/// Names one request of this component. Never reused while it lives.
pub type CorrelationId = u64;

/// Who a component is, written `namespace/name#instance`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    /// The application it belongs to.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// Which of its instances.
    pub instance: String,
}

impl std::fmt::Display for ComponentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { namespace, name, instance } = self;
        write!(f, "{namespace}/{name}#{instance}")
    }
}

/// Bytes and how to read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The multicodec code of the format; see [`codec`].
    pub codec: u32,
    /// The content.
    pub bytes: Vec<u8>,
}

impl Payload {
    /// Bytes or text without a declared format.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { codec: codec::RAW, bytes: bytes.into() }
    }

    /// A payload without bytes: the answer that says no more than "accepted".
    pub fn empty() -> Self {
        Self::raw(Vec::new())
    }

    /// The bytes as text, whatever the codec.
    pub fn text(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.bytes)
    }

    /// Encodes a value as JSON.
    #[cfg(feature = "json")]
    pub fn json(value: &impl serde::Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self { codec: codec::JSON, bytes: serde_json::to_vec(value)? })
    }

    /// Decodes JSON. A payload of another codec is refused unread.
    #[cfg(feature = "json")]
    pub fn parse_json<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, JsonError> {
        if self.codec != codec::JSON {
            return Err(JsonError::Codec { found: self.codec });
        }
        serde_json::from_slice(&self.bytes).map_err(|source| JsonError::Syntax { source })
    }
}

/// Why a payload is not the JSON value that was expected.
#[cfg(feature = "json")]
#[derive(Debug)]
#[non_exhaustive]
pub enum JsonError {
    /// The payload says that it is something else.
    Codec {
        /// The code it carries.
        found: u32,
    },
    /// Not JSON, or JSON of another shape.
    Syntax {
        /// What the parser found.
        source: serde_json::Error,
    },
}

#[cfg(feature = "json")]
impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Codec { found } => write!(f, "expected a json payload (0x200), found codec {found:#x}"),
            // The failure that is made of this keeps only the text, so the source is part of it.
            Self::Syntax { source } => write!(f, "read json: {source}"),
        }
    }
}

#[cfg(feature = "json")]
impl std::error::Error for JsonError {}

/// W3C trace context, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The upper half of the trace id.
    pub trace_id_high: u64,
    /// The lower half of the trace id.
    pub trace_id_low: u64,
    /// The span that sent the message.
    pub span_id: u64,
    /// The W3C flags; bit 0 is "sampled".
    pub trace_flags: u8,
}

/// One message, as the host hands it over.
#[derive(Clone, Debug)]
pub struct Message {
    /// Stamped by the host; nothing in the payload can change it.
    pub sender: ActorId,
    /// What was sent.
    pub payload: Payload,
    /// Set when the sender waits for an answer.
    pub correlation: Option<CorrelationId>,
    /// Milliseconds left, at hand-over, until the sender stops waiting.
    pub deadline_ms: Option<u64>,
    /// The trace that this message belongs to.
    pub trace: Option<TraceContext>,
    /// Set when the message was published: the topic it was published to.
    pub topic: Option<String>,
}

impl Message {
    /// A message of the host that nobody waits for. For tests.
    pub fn new(payload: Payload) -> Self {
        Self { sender: 0, payload, correlation: None, deadline_ms: None, trace: None, topic: None }
    }
}

/// How a request that was made with [`crate::Address::request`] ended. Each ends exactly once.
#[derive(Clone, Debug)]
pub struct Callback {
    /// What `request` returned.
    pub request: CorrelationId,
    /// The reply or why there is none.
    pub outcome: Result<Payload, CallError>,
}
