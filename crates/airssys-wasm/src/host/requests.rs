//! `airssys:core/requests`: requests whose answer arrives at `handle-callback`.
//!
//! Each pending request is one task that waits for the answer and then puts a callback into the requester's own
//! mailbox. The task and `cancel` compete for one flag, so the callback sees exactly one of them. Dropping the table,
//! as the end of the instance does, gives up what is pending.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use airssys_rt::Address;
use wasmtime::component::Resource;

use super::wire::{Payload, SendError};
use super::{Handle, HostLinker, HostState};
use crate::actor::ComponentMessage;
use crate::call::{self, CallError};
use crate::envelope;

/// Requests that one component may have pending. One more is refused like a full mailbox.
pub(crate) const PENDING_MAX: usize = 1024;

/// The end of a request, on its way to the requester.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) request: u64,
    pub(crate) outcome: Result<envelope::Payload, CallError>,
}

/// What one instance waits for.
pub(crate) struct Requests {
    own: Address<ComponentMessage>,
    pending: HashMap<u64, Pending>,
}

struct Pending {
    resolved: Arc<AtomicBool>,
    task: tokio::task::AbortHandle,
}

impl Requests {
    pub(super) fn new(own: Address<ComponentMessage>) -> Self {
        Requests { own, pending: HashMap::new() }
    }

    /// Takes the request off the table. False for one that an earlier instance made.
    pub(crate) fn settle(&mut self, request: u64) -> bool {
        self.pending.remove(&request).is_some()
    }

    fn cancel(&mut self, request: u64) -> bool {
        let Some(pending) = self.pending.get(&request) else { return false };
        if pending.resolved.swap(true, Ordering::AcqRel) {
            return false;
        }
        pending.task.abort();
        let own = self.own.clone();
        let answered = Answered { request, outcome: Err(CallError::Cancelled) };
        tokio::spawn(deliver(own, answered));
        true
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        for pending in self.pending.values() {
            pending.task.abort();
        }
    }
}

/// An answer is never refused for want of room: it was bounded when the request was made.
async fn deliver(own: Address<ComponentMessage>, answered: Answered) {
    if let Err(error) = own.tell_beyond_capacity(ComponentMessage::Callback(answered)) {
        tracing::debug!(%error, "the requester has ended; its answer is dropped");
    }
}

pub(super) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    let mut requests = host.interface("requests")?;
    requests.function(
        "request",
        |mut store, (address, payload, timeout_ms): (Resource<Handle>, Payload, Option<u32>)| {
            Ok((store.data_mut().start_request(&address, payload, timeout_ms)?,))
        },
    )?;
    requests
        .function("cancel", |mut store, (request,): (u64,)| Ok((store.data_mut().requests.cancel(request),)))
}

impl HostState {
    fn start_request(
        &mut self,
        address: &Resource<Handle>,
        payload: Payload,
        timeout_ms: Option<u32>,
    ) -> wasmtime::Result<Result<u64, SendError>> {
        let target = self.target(address)?;
        if self.requests.pending.len() >= PENDING_MAX {
            return Ok(Err(SendError::MailboxFull));
        }
        let request = self.request(payload, timeout_ms);
        let number = request.number;
        if let Err(refused) = target.admit(&request.payload) {
            return Ok(Err(refused.into()));
        }
        let resolved = Arc::new(AtomicBool::new(false));
        let own = self.requests.own.clone();
        let flag = Arc::clone(&resolved);
        let task = tokio::spawn(async move {
            let outcome = call::ask(&target, request).await;
            if !flag.swap(true, Ordering::AcqRel) {
                deliver(own, Answered { request: number, outcome }).await;
            }
        });
        self.requests.pending.insert(number, Pending { resolved, task: task.abort_handle() });
        Ok(Ok(number))
    }
}
