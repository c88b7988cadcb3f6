//! The types of `wit/types.wit` as Rust values: what crosses between host and guest.
//!
//! Names and order are those of the WIT file; Wasmtime compares them when a component is linked, and a difference
//! refuses the component.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{ComponentType, Lift, Lower};

use crate::envelope;

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub(crate) struct ComponentId {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) instance: Arc<str>,
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub(crate) struct Payload {
    pub(crate) codec: u32,
    pub(crate) bytes: Bytes,
}

#[derive(ComponentType, Lift, Lower, Clone, Copy, Debug)]
#[component(record)]
pub(crate) struct TraceContext {
    #[component(name = "trace-id-high")]
    pub(crate) trace_id_high: u64,
    #[component(name = "trace-id-low")]
    pub(crate) trace_id_low: u64,
    #[component(name = "span-id")]
    pub(crate) span_id: u64,
    #[component(name = "trace-flags")]
    pub(crate) trace_flags: u8,
}

#[derive(ComponentType, Lower, Clone, Debug)]
#[component(record)]
pub(crate) struct Message {
    pub(crate) sender: u64,
    pub(crate) payload: Payload,
    pub(crate) correlation: Option<u64>,
    #[component(name = "deadline-ms")]
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) topic: Option<Arc<str>>,
}

#[derive(ComponentType, Lower, Clone, Debug)]
#[component(record)]
pub(crate) struct Callback {
    pub(crate) request: u64,
    pub(crate) outcome: Result<Payload, CallError>,
}

#[derive(ComponentType, Lift, Clone, Copy, Debug)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "only a guest makes one")]
pub(crate) enum LogLevel {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(variant)]
pub(crate) enum Failure {
    #[component(name = "rejected")]
    Rejected(String),
    #[component(name = "fatal")]
    Fatal(String),
}

#[derive(ComponentType, Lift, Lower, Clone, Debug, PartialEq, Eq)]
#[component(variant)]
pub(crate) enum SendError {
    #[component(name = "denied")]
    Denied,
    #[component(name = "gone")]
    Gone,
    #[component(name = "mailbox-full")]
    MailboxFull,
    #[component(name = "too-large")]
    TooLarge(u64),
    #[component(name = "codec-refused")]
    CodecRefused(Vec<u32>),
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(variant)]
pub(crate) enum CallError {
    #[component(name = "not-sent")]
    NotSent(SendError),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "cancelled")]
    Cancelled,
    #[component(name = "died")]
    Died,
    #[component(name = "cycle")]
    Cycle(Vec<ComponentId>),
    #[component(name = "rejected")]
    Rejected(String),
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(variant)]
pub(crate) enum TopicError {
    #[component(name = "denied")]
    Denied,
    #[component(name = "malformed")]
    Malformed(String),
    #[component(name = "too-many")]
    TooMany(u32),
    #[component(name = "too-large")]
    TooLarge(u64),
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(variant)]
pub(crate) enum TimerError {
    #[component(name = "too-many")]
    TooMany(u32),
    #[component(name = "too-long")]
    TooLong,
    #[component(name = "refused")]
    Refused(SendError),
}

#[derive(ComponentType, Lower, Clone, Copy, Debug)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "nothing is upgraded yet")]
pub(crate) enum StopReason {
    #[component(name = "shutdown")]
    Shutdown,
    #[component(name = "restart")]
    Restart,
    #[component(name = "upgrade")]
    Upgrade,
}

impl From<envelope::Payload> for Payload {
    fn from(payload: envelope::Payload) -> Self {
        Payload { codec: payload.codec.0, bytes: payload.bytes }
    }
}

impl From<Payload> for envelope::Payload {
    fn from(payload: Payload) -> Self {
        envelope::Payload { codec: envelope::Codec(payload.codec), bytes: payload.bytes }
    }
}

impl From<&envelope::ComponentId> for ComponentId {
    fn from(id: &envelope::ComponentId) -> Self {
        ComponentId {
            namespace: id.namespace().into(),
            name: id.name().into(),
            instance: id.instance().into(),
        }
    }
}

impl From<envelope::TraceContext> for TraceContext {
    fn from(trace: envelope::TraceContext) -> Self {
        TraceContext {
            trace_id_high: (trace.trace_id >> 64) as u64,
            trace_id_low: trace.trace_id as u64,
            span_id: trace.span_id,
            trace_flags: trace.flags,
        }
    }
}
