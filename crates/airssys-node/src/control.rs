//! The control API: one JSON object per line over a Unix socket, version 1.
//!
//! A connection asks one thing after another. Who may connect is decided by the socket: its own user and root. What is
//! asked is bounded in size; what is answered carries either a result or an error with a kind and a hint.

use std::path::Path;
use std::time::{Duration, Instant};

use airssys_osl::{ControlError, ControlListener};
use airssys_rt::Event;
use airssys_wasm::{CallError, Codec, Payload, SendError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

use crate::node::Node;

/// The version that both sides name.
pub const VERSION: u32 = 1;
/// Longest request and longest answer, in bytes.
pub const LINE_BYTES_MAX: u64 = 16 << 20;
/// Connections that are served at one time; further ones wait.
const CONNECTIONS_MAX: usize = 128;
/// How long a connection may be silent, or take to send one request.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// How long a message may wait for room in a mailbox.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call can be made to wait.
const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// How long a supervisor is given to start a crashed component again before the answer says that it has not.
const RESTART_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// What to do.
    #[serde(flatten)]
    pub verb: Verb,
}

/// What a node can be asked to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Verb {
    /// The components and their state.
    Ps,
    /// The supervision tree.
    Tree,
    /// Sends a message and returns when it is in the mailbox.
    Send {
        /// The component.
        target: String,
        /// The message, as text.
        payload: String,
        /// Its codec; raw when not given.
        #[serde(default)]
        codec: Option<u32>,
    },
    /// Sends a message and returns its answer.
    Call {
        /// The component.
        target: String,
        /// The message, as text.
        payload: String,
        /// Its codec; raw when not given.
        #[serde(default)]
        codec: Option<u32>,
        /// How long to wait for the answer.
        #[serde(default)]
        timeout_ms: Option<u64>,
    },
    /// Ends a component's instance as if it had crashed, and returns what its supervisor did.
    Crash {
        /// The component.
        target: String,
    },
    /// The latest crash reports.
    Crashes,
    /// Stops the application in order, as Ctrl-C does.
    Stop,
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Response {
    /// [`VERSION`].
    pub version: u32,
    /// What happened.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The result or the error of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Data(Value),
    /// It was not.
    Error(Refusal),
}

/// Why a request was not carried out.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// `bad-request`, `not-found`, `not-running`, `refused`, `timeout`, `died` or `rejected`.
    pub kind: String,
    /// What happened, in one line.
    pub message: String,
    /// What to do, where something helps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

impl Refusal {
    fn new(kind: &str, message: impl ToString) -> Self {
        Refusal { kind: kind.to_owned(), message: message.to_string(), hint: None }
    }
}

/// Serves the control API until the future is dropped. `stop` is called when a client asks for the application to stop.
pub async fn serve(node: Node, listener: ControlListener, stop: impl Fn() + Send + Sync + 'static) {
    let places = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stop = std::sync::Arc::new(stop);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let place =
            std::sync::Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok(stream) => {
                let (node, stop) = (node.clone(), std::sync::Arc::clone(&stop));
                connections.spawn(async move {
                    if let Err(error) = converse(&node, stream, &*stop).await {
                        tracing::debug!(%error, "a control connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a control connection was not accepted");
                // Out of descriptors is the likely cause; others are closing meanwhile.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(
    node: &Node,
    stream: UnixStream,
    stop: &(dyn Fn() + Send + Sync),
) -> Result<(), std::io::Error> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut request = (&mut read).take(LINE_BYTES_MAX + 1);
        let Ok(len) = tokio::time::timeout(IDLE_MAX, request.read_until(b'\n', &mut line)).await else {
            return Ok(());
        };
        let len = len?;
        if len == 0 {
            return Ok(());
        }
        let too_long = len as u64 > LINE_BYTES_MAX;
        let outcome = match too_long {
            true => Err(Refusal::new("bad-request", format!("a request has at most {LINE_BYTES_MAX} bytes"))),
            false => answer(node, &line, stop).await,
        };
        let outcome = outcome.map_or_else(Outcome::Error, Outcome::Data);
        let mut text = serde_json::to_vec(&Response { version: VERSION, outcome })?;
        if text.len() as u64 >= LINE_BYTES_MAX {
            let message =
                format!("the answer has {} bytes, and at most {LINE_BYTES_MAX} are sent", text.len());
            let outcome = Outcome::Error(Refusal::new("refused", message));
            text = serde_json::to_vec(&Response { version: VERSION, outcome })?;
        }
        text.push(b'\n');
        write.write_all(&text).await?;
        if too_long {
            return Ok(());
        }
    }
}

async fn answer(node: &Node, line: &[u8], stop: &(dyn Fn() + Send + Sync)) -> Result<Value, Refusal> {
    let request: Request =
        serde_json::from_slice(line).map_err(|error| Refusal::new("bad-request", error))?;
    if request.version != VERSION {
        let message =
            format!("this node speaks version {VERSION} of the control API, not {}", request.version);
        return Err(Refusal::new("bad-request", message));
    }
    match request.verb {
        Verb::Ps => Ok(json!({
            "application": node.name(),
            "uptime_ms": u64::try_from(node.uptime().as_millis()).unwrap_or(u64::MAX),
            "components": node.status(),
            "messages": node.message_counts(),
        })),
        Verb::Tree => Ok(json!({ "application": node.name(), "tree": node.tree() })),
        Verb::Crashes => Ok(json!({ "crashes": node.crash_records() })),
        Verb::Send { target, payload, codec } => {
            let component = find(node, &target)?;
            let sent = component.send(payload_of(payload, codec));
            match tokio::time::timeout(SEND_TIMEOUT, sent).await {
                Ok(sent) => sent.map_err(unsent)?,
                Err(_elapsed) => {
                    let message =
                        format!("the mailbox of {} had no room in {SEND_TIMEOUT:?}", component.id());
                    return Err(Refusal::new("timeout", message));
                }
            }
            Ok(json!({ "sent_to": component.id().to_string() }))
        }
        Verb::Call { target, payload, codec, timeout_ms } => {
            let component = find(node, &target)?;
            let timeout = timeout_ms.map(|ms| Duration::from_millis(ms).min(CALL_TIMEOUT_MAX));
            let reply = component.call(payload_of(payload, codec), timeout).await.map_err(unanswered)?;
            Ok(reply_value(&reply))
        }
        Verb::Crash { target } => crash(node, &target).await,
        Verb::Stop => {
            stop();
            Ok(json!({ "stopping": node.name() }))
        }
    }
}

fn find<'a>(node: &'a Node, target: &str) -> Result<&'a airssys_wasm::ComponentHandle, Refusal> {
    node.component(target).ok_or_else(|| {
        let names: Vec<_> = node.components().iter().map(|component| component.id().name()).collect();
        let shown: String = target.chars().take(64).collect();
        Refusal {
            hint: Some(format!("the components are: {}", names.join(", "))),
            ..Refusal::new("not-found", format!("there is no component {shown:?} in {}", node.name()))
        }
    })
}

fn payload_of(text: String, codec: Option<u32>) -> Payload {
    Payload { codec: codec.map_or(Codec::RAW, Codec), bytes: text.into_bytes().into() }
}

/// Text where it is text, JSON where the codec says so and it is, bytes in hexadecimal otherwise.
pub fn reply_value(reply: &Payload) -> Value {
    let text = std::str::from_utf8(&reply.bytes).ok();
    let json =
        text.filter(|_| reply.codec == Codec::JSON).and_then(|text| serde_json::from_str::<Value>(text).ok());
    let body = match (json, text) {
        (Some(json), _) => ("json", json),
        (None, Some(text)) => ("text", text.into()),
        (None, None) => {
            ("hex", reply.bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
        }
    };
    json!({ "codec": reply.codec.to_string(), body.0: body.1 })
}

async fn crash(node: &Node, target: &str) -> Result<Value, Refusal> {
    let component = find(node, target)?;
    let id = component.id().to_string();
    let mut events = node.system().events();
    let asked = Instant::now();
    if !component.crash() {
        let hint = Some("`airssys ps` shows its state".to_owned());
        return Err(Refusal { hint, ..Refusal::new("not-running", format!("{id} is not running")) });
    }
    let actor = component.actor();
    let restarted = async {
        while let Some(event) = events.next().await {
            match event {
                // By its own supervisor, or by one above that started this one again.
                Ok(Event::Started { id, .. }) if id == actor => return true,
                Ok(_) | Err(_) => {}
            }
        }
        false
    };
    let restarted = tokio::time::timeout(RESTART_TIMEOUT, restarted).await.unwrap_or(false);
    let took_us = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(json!({ "crashed": id, "restarted": restarted, "took_us": took_us }))
}

fn unsent(error: SendError) -> Refusal {
    Refusal::new("refused", format!("the message to {} was not delivered: {}", error.to, error.refused))
}

fn unanswered(error: CallError) -> Refusal {
    let kind = match &error {
        CallError::Timeout => "timeout",
        CallError::Died => "died",
        CallError::Rejected(_) => "rejected",
        _ => "refused",
    };
    Refusal::new(kind, error_chain(&error))
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Why a client got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ControlError),
    /// The connection broke.
    #[error("talk to the node")]
    Broken(#[source] std::io::Error),
    /// The answer is not one.
    #[error("read the node's answer; is it another version of airssys?")]
    Answer(#[source] serde_json::Error),
    /// The node refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Asks the node that listens at `socket` one thing.
pub async fn ask(socket: &Path, verb: Verb) -> Result<Value, ClientError> {
    let mut stream = airssys_osl::connect(socket).await?;
    let mut text = serde_json::to_vec(&Request { version: VERSION, verb }).map_err(ClientError::Answer)?;
    text.push(b'\n');
    stream.write_all(&text).await.map_err(ClientError::Broken)?;
    let mut line = Vec::new();
    let mut read = BufReader::new(&mut stream).take(LINE_BYTES_MAX);
    read.read_until(b'\n', &mut line).await.map_err(ClientError::Broken)?;
    let response: Response = serde_json::from_slice(&line).map_err(ClientError::Answer)?;
    match response.outcome {
        Outcome::Data(data) => Ok(data),
        Outcome::Error(refusal) => Err(refusal.into()),
    }
}
