//! `airssys:core/messaging`, `calls` and `async-calls`.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Resource;

use super::wire::{CallError, ComponentId, Payload, SendError};
use super::{HANDLES_MAX, HostLinker, HostState, Path};
use crate::call::{self, Request};
use crate::envelope::Envelope;
use crate::router::Target;

/// The right to send to one component, as the guest holds it.
pub(crate) struct Handle {
    pub(crate) target: Arc<Target>,
}

pub(super) fn link(host: &mut HostLinker, path: Path, concurrent: bool) -> wasmtime::Result<()> {
    let mut messaging = host.interface("messaging")?;
    messaging.resource::<Handle>("address")?;
    messaging.function("[method]address.component", |store, (address,): (Resource<Handle>,)| {
        let handle = store.data().handles.get(&address)?;
        Ok((ComponentId::from(&handle.target.id),))
    })?;
    match path {
        Path::Direct => messaging.function(
            "[method]address.send",
            |store, (address, payload): (Resource<Handle>, Payload)| {
                let state = store.data();
                let target = &state.handles.get(&address)?.target;
                let sent = target.deliver(state.envelope(payload));
                Ok((sent.map_err(|undelivered| SendError::from(undelivered.refused)),))
            },
        )?,
        Path::Suspending => messaging.waiting(
            "[method]address.send",
            |store, (address, payload): (Resource<Handle>, Payload)| {
                Box::new(async move {
                    let state = store.data();
                    let target = &state.handles.get(&address)?.target;
                    let sent = target.deliver_waiting(state.envelope(payload)).await;
                    Ok((sent.map_err(|undelivered| SendError::from(undelivered.refused)),))
                })
            },
        )?,
    }
    messaging.function("identity", |store, ()| Ok((ComponentId::from(&store.data().identity.target.id),)))?;
    messaging.function("identify", |store, (actor,): (u64,)| {
        let id = airssys_rt::ActorId::from_u64(actor).and_then(|actor| store.data().identify(actor));
        Ok((id.as_ref().map(ComponentId::from),))
    })?;
    messaging.function("lookup", |mut store, (name,): (String,)| {
        let state = store.data_mut();
        let identity = &state.identity;
        match identity.router.resolve(&identity.target, &identity.grants, &name) {
            Ok(target) => Ok((Ok(state.handles.push(Handle { target })?),)),
            Err(refused) => Ok((Err(SendError::from(refused)),)),
        }
    })?;
    messaging.function("reachable", |store, ()| {
        let identity = &store.data().identity;
        let ids = identity.router.reachable(&identity.target.id, &identity.grants);
        Ok((ids.iter().map(ComponentId::from).collect::<Vec<_>>(),))
    })?;
    messaging.function("broadcast", |store, (addresses, payload): (Vec<Resource<Handle>>, Payload)| {
        let state = store.data();
        // The guest chooses the list, which may name one handle again and again.
        if addresses.len() > HANDLES_MAX {
            return Err(TooManyAddresses.into());
        }
        let mut results = Vec::with_capacity(addresses.len());
        for address in &addresses {
            let target = &state.handles.get(address)?.target;
            let sent = target.deliver(state.envelope(payload.clone()));
            results.push(sent.map_err(|undelivered| SendError::from(undelivered.refused)));
        }
        Ok((results,))
    })?;
    if path == Path::Suspending {
        let mut calls = host.interface("calls")?;
        calls.waiting("call", |store, params: CallParams| {
            Box::new(async move {
                let call = store.data().prepare_call(params)?;
                Ok((call.await,))
            })
        })?;
    }
    if concurrent {
        let mut calls = host.interface("async-calls")?;
        calls.awaited("call", |state, params: CallParams| {
            let call = state.prepare_call(params)?;
            Ok(async move { Ok((call.await,)) })
        })?;
    }
    Ok(())
}

/// The guest names more addresses than it can hold; it traps.
#[derive(Debug, thiserror::Error)]
#[error("a broadcast has at most {HANDLES_MAX} addresses")]
struct TooManyAddresses;

type CallParams = (Resource<Handle>, Payload, Option<u32>);

impl HostState {
    /// Only whom the guest has to do with: actor ids are easy to guess, and names are not for everyone.
    fn identify(&self, actor: airssys_rt::ActorId) -> Option<crate::envelope::ComponentId> {
        let identity = &self.identity;
        let id = identity.router.identify(actor)?;
        let own = &identity.target.id;
        let known = self.handling.from == Some(actor)
            || id == *own
            || identity.grants.may_send(own.namespace(), id.namespace(), id.name());
        known.then_some(id)
    }

    fn envelope(&self, payload: Payload) -> Envelope {
        Envelope {
            from: Some(self.identity.target.actor),
            trace: self.handling.trace,
            ..Envelope::from_host(payload.into())
        }
    }

    pub(super) fn target(&self, address: &Resource<Handle>) -> wasmtime::Result<Arc<Target>> {
        Ok(Arc::clone(&self.handles.get(address)?.target))
    }

    /// Everything a request inherits from the message being handled.
    pub(super) fn request(&self, payload: Payload, timeout_ms: Option<u32>) -> Request {
        let timeout = timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        Request {
            from: Some(self.identity.target.actor),
            payload: payload.into(),
            number: call::request_number(),
            answer_bytes_max: self.identity.target.payload_bytes_max,
            deadline: call::deadline(timeout, self.handling.deadline),
            trace: self.handling.trace,
        }
    }

    fn prepare_call(
        &self,
        (address, payload, timeout_ms): CallParams,
    ) -> wasmtime::Result<impl Future<Output = Result<Payload, CallError>> + Send + use<>> {
        let target = self.target(&address)?;
        let request = self.request(payload, timeout_ms);
        let identity = Arc::clone(&self.identity);
        Ok(async move {
            let answer = call::call(&identity.router, identity.target.actor, &target, request).await;
            answer.map(Payload::from).map_err(CallError::from)
        })
    }
}
