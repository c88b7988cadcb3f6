//! Requests and their ends: every request resolves exactly once, and never by waiting in a circle.
//!
//! The reply slot travels inside the envelope. Whoever drops it unanswered resolves the request with "died": a trap, a
//! kill, a closed mailbox. The graph of who waits for whom is global to the node, small, and locked for a few lines.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use airssys_rt::{ActorId, AskError, TellError};
use tokio::time::Instant;

use crate::actor::ComponentMessage;
use crate::envelope::{Codec, ComponentId, Envelope, Payload, Rejected};
use crate::host::wire;
use crate::router::{Router, Target};

/// How long a call waits when neither the caller nor the message being handled says.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The longest that a call waits; the clock cannot count much further. A longer timeout is cut to it.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(365 * 86_400);

/// Why a message did not reach the target's mailbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Not granted, or there is no such component: a caller without the right cannot tell which.
    #[error("denied")]
    Denied,
    /// The component is not running and will not be started again.
    #[error("the component has ended")]
    Gone,
    /// The mailbox is full and its policy is to reject.
    #[error("the component's mailbox is full")]
    MailboxFull,
    /// The payload is larger than the component takes.
    #[error("the payload is larger than the component's limit of {bytes_max} bytes")]
    TooLarge {
        /// The limit, from the component's manifest.
        bytes_max: u64,
    },
    /// The component does not read this codec.
    #[error("the component does not read this codec; it reads {}", list(.accepts))]
    CodecRefused {
        /// What it reads, from its manifest.
        accepts: Vec<Codec>,
    },
}

/// A message that was not sent, with its payload.
#[derive(Debug, thiserror::Error)]
#[error("send to {to}")]
pub struct SendError {
    /// The addressee, as it was named.
    pub to: String,
    /// What was to be sent.
    pub payload: Payload,
    /// Why it was not.
    #[source]
    pub refused: Refused,
}

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The request did not reach the mailbox.
    #[error("the request was not delivered")]
    NotSent(#[source] Refused),
    /// Nobody answered in time.
    #[error("no answer in time")]
    Timeout,
    /// The requester took the request back.
    #[error("cancelled")]
    Cancelled,
    /// The component ended while it handled the request.
    #[error("the component died while it handled the request")]
    Died,
    /// The call would have closed a circle of components that wait for each other.
    #[error("the call would wait for itself: {}", circle(.0))]
    Cycle(Vec<ComponentId>),
    /// The component refused the message.
    #[error(transparent)]
    Rejected(Rejected),
}

fn list(codecs: &[Codec]) -> String {
    codecs.iter().map(Codec::to_string).collect::<Vec<_>>().join(", ")
}

fn circle(ids: &[ComponentId]) -> String {
    ids.iter().chain(ids.first()).map(ComponentId::to_string).collect::<Vec<_>>().join(" → ")
}

/// Who waits for whom, of all components of the node. A component that awaits may wait for several.
#[derive(Default)]
pub(crate) struct WaitGraph {
    waiting: Mutex<HashMap<ActorId, Vec<ActorId>>>,
}

/// One edge of the graph, removed when the call ends however it ends.
pub(crate) struct Waiting<'a> {
    graph: &'a WaitGraph,
    caller: ActorId,
    target: ActorId,
}

impl WaitGraph {
    /// Adds the edge, or returns a circle that it would close, caller first.
    pub(crate) fn enter(&self, caller: ActorId, target: ActorId) -> Result<Waiting<'_>, Vec<ActorId>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashMap::from([(target, caller)]);
        let mut open = vec![target];
        while let Some(actor) = open.pop() {
            if actor == caller {
                return Err(circle_back(caller, target, &seen));
            }
            for &next in waiting.get(&actor).into_iter().flatten() {
                if next == caller || !seen.contains_key(&next) {
                    seen.insert(next, actor);
                    open.push(next);
                }
            }
        }
        waiting.entry(caller).or_default().push(target);
        Ok(Waiting { graph: self, caller, target })
    }
}

/// From the caller to the target and on, as `seen` tells who was reached from whom.
fn circle_back(caller: ActorId, target: ActorId, seen: &HashMap<ActorId, ActorId>) -> Vec<ActorId> {
    if caller == target {
        return vec![caller];
    }
    let mut circle = Vec::new();
    let mut actor = seen[&caller];
    while actor != caller {
        circle.push(actor);
        actor = seen[&actor];
    }
    circle.push(caller);
    circle.reverse();
    circle
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.graph.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(targets) = waiting.get_mut(&self.caller) {
            if let Some(index) = targets.iter().position(|target| *target == self.target) {
                targets.swap_remove(index);
            }
            if targets.is_empty() {
                waiting.remove(&self.caller);
            }
        }
    }
}

/// Numbers of requests are never reused in the life of the process, so an answer to an earlier instance finds nobody.
pub(crate) fn request_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a request carries besides its payload.
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) from: Option<ActorId>,
    pub(crate) payload: Payload,
    pub(crate) deadline: Instant,
    /// What the requester takes as an answer, in bytes.
    pub(crate) answer_bytes_max: u64,
    pub(crate) trace: Option<crate::envelope::TraceContext>,
}

/// Sends the request and waits for its end. Dropping the future gives the request up; the target may still handle it.
pub(crate) async fn ask(target: &Target, request: Request) -> Result<Payload, CallError> {
    target.admit(&request.payload).map_err(CallError::NotSent)?;
    let timeout = request.deadline.saturating_duration_since(Instant::now());
    let deadline = request.deadline;
    let answer = target
        .address
        .ask(timeout, |reply| {
            ComponentMessage::Deliver(Envelope {
                from: request.from,
                payload: request.payload,
                reply: Some(reply),
                correlation: Some(request.number),
                deadline: Some(deadline),
                trace: request.trace,
                topic: None,
            })
        })
        .await;
    match answer {
        // A target that waits is woken by this same deadline, and its answer may be there before our timer is seen.
        Ok(_) if Instant::now() >= deadline => Err(CallError::Timeout),
        Ok(Ok(payload)) if payload.bytes.len() as u64 > request.answer_bytes_max => {
            let (bytes, bytes_max) = (payload.bytes.len(), request.answer_bytes_max);
            let reason = format!("the answer has {bytes} bytes, and the asker takes {bytes_max}").into();
            Err(CallError::Rejected(Rejected { reason }))
        }
        Ok(Ok(payload)) => Ok(payload),
        Ok(Err(rejected)) => Err(CallError::Rejected(rejected)),
        Err(AskError::Timeout) => Err(CallError::Timeout),
        // A target drops a message whose time is up; to the requester that is a timeout, whoever noticed it first.
        Err(AskError::Died) if Instant::now() >= deadline => Err(CallError::Timeout),
        Err(AskError::Died) => Err(CallError::Died),
        Err(AskError::NotSent(TellError::Expired(_))) => Err(CallError::Timeout),
        Err(AskError::NotSent(TellError::Full(_) | TellError::TooLarge(_))) => {
            Err(CallError::NotSent(Refused::MailboxFull))
        }
        Err(AskError::NotSent(TellError::Closed(_))) => Err(CallError::NotSent(Refused::Gone)),
    }
}

/// A call of one component to another: as `ask`, and refused where it would close a circle.
pub(crate) async fn call(
    router: &Router,
    caller: ActorId,
    target: &Arc<Target>,
    request: Request,
) -> Result<Payload, CallError> {
    let _waiting = router.wait_graph().enter(caller, target.actor).map_err(|circle| {
        CallError::Cycle(circle.into_iter().filter_map(|actor| router.identify(actor)).collect())
    })?;
    ask(target, request).await
}

/// The earlier of what the caller asks for and what the message being handled leaves.
pub(crate) fn deadline(timeout: Option<Duration>, inherited: Option<Instant>) -> Instant {
    let own = Instant::now() + timeout.unwrap_or(CALL_TIMEOUT_DEFAULT).min(CALL_TIMEOUT_MAX);
    inherited.map_or(own, |inherited| inherited.min(own))
}

impl From<Refused> for wire::SendError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Denied => wire::SendError::Denied,
            Refused::Gone => wire::SendError::Gone,
            Refused::MailboxFull => wire::SendError::MailboxFull,
            Refused::TooLarge { bytes_max } => wire::SendError::TooLarge(bytes_max),
            Refused::CodecRefused { accepts } => {
                wire::SendError::CodecRefused(accepts.into_iter().map(|codec| codec.0).collect())
            }
        }
    }
}

impl From<CallError> for wire::CallError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotSent(refused) => wire::CallError::NotSent(refused.into()),
            CallError::Timeout => wire::CallError::Timeout,
            CallError::Cancelled => wire::CallError::Cancelled,
            CallError::Died => wire::CallError::Died,
            CallError::Cycle(circle) => wire::CallError::Cycle(circle.iter().map(Into::into).collect()),
            CallError::Rejected(rejected) => wire::CallError::Rejected(rejected.reason.as_ref().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use airssys_rt::ActorId;

    use super::WaitGraph;

    fn id(number: u64) -> ActorId {
        ActorId::from_u64(number).expect("not zero")
    }

    #[test]
    fn a_circle_is_found_through_any_of_several_waits_and_each_wait_ends_alone() {
        let graph = WaitGraph::default();
        let one_two = graph.enter(id(1), id(2)).unwrap_or_else(|_| panic!("no circle"));
        let one_three = graph.enter(id(1), id(3)).unwrap_or_else(|_| panic!("no circle"));
        let three_four = graph.enter(id(3), id(4)).unwrap_or_else(|_| panic!("no circle"));
        assert_eq!(graph.enter(id(2), id(1)).err(), Some(vec![id(2), id(1)]));
        assert_eq!(graph.enter(id(4), id(1)).err(), Some(vec![id(4), id(1), id(3)]));
        assert_eq!(graph.enter(id(5), id(5)).err(), Some(vec![id(5)]));
        drop(one_three);
        assert!(graph.enter(id(4), id(1)).is_ok(), "the circle is open again");
        assert!(graph.enter(id(2), id(1)).is_err(), "the other wait still holds");
        drop(one_two);
        assert!(graph.enter(id(2), id(1)).is_ok());
        drop(three_four);
        assert!(graph.waiting.lock().expect("no panic").is_empty(), "nothing is left behind");
    }
}
