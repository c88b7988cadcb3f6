//! One instance: a store, the guest in it, and the functions that it exports.
//!
//! The store lives as long as the actor and belongs to it, so calling the guest takes no lock and makes nothing anew.
//! A guest that nothing can suspend is called straight; the others run on a fibre. After an error the instance must
//! not be called again, and its owner drops it.

use std::sync::Arc;

use airssys_rt::KillFlag;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{PoolConcurrencyLimitError, Store};

use crate::budget::Budget;
use crate::component::Loaded;
use crate::engine::Tier;
use crate::envelope::{Envelope, Payload, cut};
use crate::host::{Answered, HostState, Identity, Path, wasi, wire};
use crate::manifest::Limits;

pub(crate) struct Instance {
    store: Store<HostState>,
    guest: wasmtime::component::Instance,
    lifecycle: ComponentExportIndex,
    handle_message: TypedFunc<(Arc<wire::Message>,), (Handled,)>,
    /// Where each message lies while the guest is called with it, so that it can be taken back for a crash report
    /// without having been copied. Shared only during the call.
    message: Arc<wire::Message>,
    path: Path,
    fuel: Option<u64>,
    /// True while the guest is in a call; stays so when the call was given up.
    in_call: bool,
}

type Handled = Result<Option<wire::Payload>, wire::Failure>;

/// The guest said that it cannot go on.
pub(crate) struct Fatal {
    pub(crate) reason: String,
}

/// What an instance is made of.
pub(crate) struct Parts<'a> {
    pub(crate) component: &'a Arc<Loaded>,
    pub(crate) identity: &'a Arc<Identity>,
    pub(crate) limits: &'a Limits,
    pub(crate) kill: KillFlag,
    pub(crate) path: Path,
}

impl Instance {
    /// Instantiates; `init` is not called yet. Takes a slot of the pool, or memory on demand when the pool is full.
    pub(crate) async fn new(parts: Parts<'_>) -> wasmtime::Result<Self> {
        match Instance::in_tier(&parts, Tier::Pool).await {
            Err(error) if error.is::<PoolConcurrencyLimitError>() => {
                Instance::in_tier(&parts, Tier::OnDemand).await
            }
            other => other,
        }
    }

    async fn in_tier(parts: &Parts<'_>, tier: Tier) -> wasmtime::Result<Self> {
        let Parts { component, identity, limits, path, .. } = *parts;
        let prepared = component.prepared(path, tier)?;
        let budget = Budget::new(limits, parts.kill.clone(), path == Path::Suspending);
        let wasi = component.uses_wasi().then(|| wasi::Wasi::nothing(&identity.target, &identity.router));
        let state = HostState::new(Arc::clone(identity), budget, wasi);
        let mut store = Store::new(prepared.engine(), state);
        store.limiter(|state| &mut state.budget);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().budget.tick()?));
        let fuel = limits.fuel_max.filter(|_| component.metered());
        arm(&mut store, fuel)?;
        let guest = match path {
            Path::Direct => prepared.instantiate(&mut store)?,
            Path::Suspending => prepared.instantiate_async(&mut store).await?,
        };
        let lifecycle = component.lifecycle().and_then(|name| guest.get_export_index(&mut store, None, name));
        let lifecycle = lifecycle.ok_or(MissingExport { name: "lifecycle" })?;
        let handle_message = function(&mut store, &guest, &lifecycle, "handle-message")?;
        let message = Arc::new(Envelope::from_host(Payload::empty()).lend());
        Ok(Instance { store, guest, lifecycle, handle_message, message, path, fuel, in_call: false })
    }

    /// A component that refuses its configuration cannot go on either.
    pub(crate) async fn init(&mut self) -> wasmtime::Result<Result<(), Fatal>> {
        let config = self.store.data().identity.config.clone();
        let init = self.function::<(Vec<(String, String)>,), (Result<(), wire::Failure>,)>("init")?;
        let (result,) = self.call(&init, (config,)).await?;
        Ok(result.map_err(|failure| match failure {
            wire::Failure::Rejected(reason) | wire::Failure::Fatal(reason) => Fatal { reason: cut(reason) },
        }))
    }

    /// The answer goes to whoever waits for it, unless the guest kept the right to give it later. A refusal is an
    /// answer; an error drops the right to answer, which says "died". The payload is lent to the call: whatever came
    /// of it, [`Instance::take_back`] follows.
    pub(crate) async fn handle_message(
        &mut self,
        envelope: &mut Envelope,
        deadline: Option<tokio::time::Instant>,
    ) -> wasmtime::Result<Result<(), Fatal>> {
        let message = self.prepare(envelope, deadline);
        let handle_message = self.handle_message;
        let called = self.call(&handle_message, (message,)).await;
        self.answer(called)
    }

    /// As [`Instance::handle_message`] for a guest that nothing can suspend, without a future to make and move about.
    pub(crate) fn handle_message_directly(
        &mut self,
        envelope: &mut Envelope,
    ) -> wasmtime::Result<Result<(), Fatal>> {
        debug_assert_eq!(self.path, Path::Direct);
        let message = self.prepare(envelope, None);
        arm(&mut self.store, self.fuel)?;
        self.in_call = true;
        let called = self.handle_message.call(&mut self.store, (message,));
        self.in_call = called.is_err();
        self.answer(called)
    }

    /// Gives the envelope its payload again, for the report of a crash.
    pub(crate) fn take_back(&mut self, envelope: &mut Envelope) {
        // A call that was given up half-way may hold on to it; then the instance is at its end, and the report goes without.
        if let Some(message) = Arc::get_mut(&mut self.message) {
            envelope.take_back(message);
        }
    }

    fn prepare(
        &mut self,
        envelope: &mut Envelope,
        deadline: Option<tokio::time::Instant>,
    ) -> Arc<wire::Message> {
        let lent = envelope.lend();
        match Arc::get_mut(&mut self.message) {
            Some(message) => *message = lent,
            None => self.message = Arc::new(lent),
        }
        self.store.data_mut().handle(envelope, deadline);
        Arc::clone(&self.message)
    }

    fn answer(&mut self, called: wasmtime::Result<(Handled,)>) -> wasmtime::Result<Result<(), Fatal>> {
        let reply = self.store.data_mut().handled();
        let answer = match called?.0 {
            Ok(payload) => Ok(payload.map_or_else(Payload::empty, Payload::from)),
            Err(wire::Failure::Rejected(reason)) => Err(reason),
            Err(wire::Failure::Fatal(reason)) => return Ok(Err(Fatal { reason: cut(reason) })),
        };
        let Some(reply) = reply else { return Ok(Ok(())) };
        // Nobody may be waiting any more; the answer is theirs to miss.
        let state = self.store.data();
        if reply.send(state.answer(answer)).is_err() {
            state.identity.router.count_late();
        }
        Ok(Ok(()))
    }

    /// Does nothing when the request is not one of this instance's.
    pub(crate) async fn handle_callback(
        &mut self,
        answered: Answered,
    ) -> wasmtime::Result<Result<(), Fatal>> {
        if !self.store.data_mut().requests.settle(answered.request) {
            return Ok(Ok(()));
        }
        let callback = wire::Callback {
            request: answered.request,
            outcome: answered.outcome.map(Into::into).map_err(Into::into),
        };
        let handle = self.function::<(wire::Callback,), (Result<(), wire::Failure>,)>("handle-callback")?;
        let (result,) = self.call(&handle, (callback,)).await?;
        match result {
            Ok(()) => Ok(Ok(())),
            Err(wire::Failure::Fatal(reason)) => Ok(Err(Fatal { reason: cut(reason) })),
            Err(wire::Failure::Rejected(reason)) => {
                let id = &self.store.data().identity.target.id;
                let reason = cut(reason);
                tracing::warn!(component = %id, reason = %reason.escape_debug(), "refused the answer to its request");
                Ok(Ok(()))
            }
        }
    }

    pub(crate) async fn shutdown(&mut self, reason: wire::StopReason) -> wasmtime::Result<()> {
        self.store.data_mut().budget.stopping();
        let shutdown = self.function::<(wire::StopReason,), ()>("shutdown")?;
        self.call(&shutdown, (reason,)).await
    }

    /// False after an error and after a call that was given up.
    pub(crate) fn can_be_called(&self) -> bool {
        !self.in_call
    }

    /// The limit, when the guest was refused memory beyond it.
    pub(crate) fn memory_refused(&self) -> Option<u64> {
        self.store.data().budget.memory_refused()
    }

    pub(crate) fn path(&self) -> Path {
        self.path
    }

    /// Bytes of linear memory in use.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().budget.memory_bytes()
    }

    fn function<P, R>(&mut self, name: &'static str) -> wasmtime::Result<TypedFunc<P, R>>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        function(&mut self.store, &self.guest, &self.lifecycle, name)
    }

    async fn call<P, R>(&mut self, function: &TypedFunc<P, R>, params: P) -> wasmtime::Result<R>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        arm(&mut self.store, self.fuel)?;
        self.in_call = true;
        let called = match self.path {
            Path::Direct => function.call(&mut self.store, params),
            Path::Suspending => function.call_async(&mut self.store, params).await,
        };
        self.in_call = called.is_err();
        called
    }
}

/// Refills what one call may use.
fn arm(store: &mut Store<HostState>, fuel: Option<u64>) -> wasmtime::Result<()> {
    store.data_mut().budget.arm();
    store.set_epoch_deadline(1);
    match fuel {
        Some(fuel) => store.set_fuel(fuel),
        None => Ok(()),
    }
}

fn function<P, R>(
    store: &mut Store<HostState>,
    guest: &wasmtime::component::Instance,
    lifecycle: &ComponentExportIndex,
    name: &'static str,
) -> wasmtime::Result<TypedFunc<P, R>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let index = guest.get_export_index(&mut *store, Some(lifecycle), name).ok_or(MissingExport { name })?;
    guest.get_typed_func(store, index)
}

/// The component exports the lifecycle interface without one of its functions, or not at all.
#[derive(Debug, thiserror::Error)]
#[error("the component's lifecycle interface lacks `{name}`")]
struct MissingExport {
    name: &'static str,
}
