//! Sending to other components.
//!
//! An [`Address`] is the right to send: who holds one has been checked. What a send or call costs in waiting is
//! said at each method.

use std::time::Duration;

use crate::failure::{CallError, SendError};
use crate::host;
use crate::message::{ActorId, ComponentId, CorrelationId, Payload};

/// The right to send to one component. It ends with the grant it was made under.
#[derive(Debug)]
pub struct Address {
    handle: host::messaging::Address,
}

impl Address {
    /// Finds `name`, `namespace/name` or `namespace/name#instance`. A name that does not exist is `Denied`, like one
    /// that is not granted.
    pub fn lookup(target: &str) -> Result<Self, SendError> {
        host::messaging::lookup(target).map(|handle| Self { handle })
    }

    /// Whom this leads to.
    pub fn component(&self) -> ComponentId {
        self.handle.component()
    }

    /// Puts a message into the target's mailbox. Waits for room only where the target's overflow policy says so.
    pub fn send(&self, payload: &Payload) -> Result<(), SendError> {
        self.handle.send(payload)
    }

    /// Sends and suspends until the reply. Without `timeout` the host's default holds; the deadline of the message
    /// being handled always does.
    pub fn call(&self, payload: &Payload, timeout: Option<Duration>) -> Result<Payload, CallError> {
        host::calls::call(&self.handle, payload, timeout.map(milliseconds))
    }

    /// [`Address::call`] for an [`crate::AsyncComponent`]: other work goes on meanwhile.
    #[cfg(any(feature = "async", not(target_family = "wasm")))]
    pub async fn call_async(
        &self,
        payload: Payload,
        timeout: Option<Duration>,
    ) -> Result<Payload, CallError> {
        host::async_calls::call(&self.handle, payload, timeout.map(milliseconds)).await
    }

    /// Sends a request whose outcome arrives at `handle_callback` under the returned id.
    pub fn request(&self, payload: &Payload, timeout: Option<Duration>) -> Result<CorrelationId, SendError> {
        host::requests::request(&self.handle, payload, timeout.map(milliseconds))
    }

    /// Sends to each target; one result per target, in order.
    pub fn broadcast(targets: &[&Address], payload: &Payload) -> Vec<Result<(), SendError>> {
        let handles: Vec<_> = targets.iter().map(|target| &target.handle).collect();
        host::messaging::broadcast(&handles, payload)
    }
}

/// Takes a request back. After `true` its callback says `Cancelled`; `false` means that it had already ended.
pub fn cancel_request(request: CorrelationId) -> bool {
    host::requests::cancel(request)
}

/// This component.
pub fn identity() -> ComponentId {
    host::messaging::identity()
}

/// Who sent a message. None for the host itself and for an actor that is not a component.
pub fn identify(actor: ActorId) -> Option<ComponentId> {
    host::messaging::identify(actor)
}

/// The components that this one may send to and that exist.
pub fn reachable() -> Vec<ComponentId> {
    host::messaging::reachable()
}

/// Part of a millisecond counts as a whole one: a timeout is never shorter than asked for.
pub(crate) fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
