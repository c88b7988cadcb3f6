//! What the host gives to guests: one file per subject of `wit/`, each only translating.
//!
//! A function that is not linked here does not exist for guests: a component that imports it is refused when it is
//! loaded, with the interface's name. Nothing is linked that does not do its work. What may be *done* is decided by
//! the grants in [`HostState`], never by a host function.

mod messaging;
mod replies;
mod requests;
mod services;
mod timers;
mod topics;
pub(crate) mod wasi;
pub(crate) mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;

use airssys_rt::{ActorId, ReplyTo};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime::component::{
    ComponentNamedList, Lift, Linker, LinkerInstance, Lower, ResourceTable, ResourceType,
};
use wasmtime::{AsContextMut, StoreContextMut, component};

pub(crate) use self::messaging::Handle;
pub(crate) use self::requests::{Answered, Requests};
use crate::budget::Budget;
use crate::envelope::{self, Answer, Envelope, Rejected, TraceContext, cut};
use crate::manifest::Capabilities;
use crate::router::{Router, SubscriptionId, Target};

/// The version of the contract that this host speaks.
pub(crate) const CONTRACT: &str = "1.0.0";

/// Handles that one instance may hold at a time.
const HANDLES_MAX: usize = 4096;

/// How guest code is run: called straight, or on a fibre that a host function can suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Direct,
    Suspending,
}

/// Awaited host functions that one instance may have under way.
const AWAITED_MAX: usize = 1024;

/// The guest awaits more at a time than it may; it traps.
#[derive(Debug, thiserror::Error)]
#[error("the component awaits more than {AWAITED_MAX} calls at a time")]
struct TooManyAwaited;

/// What a component is on this node, the same for each of its instances.
pub(crate) struct Identity {
    pub(crate) target: Arc<Target>,
    pub(crate) router: Router,
    pub(crate) grants: Capabilities,
    pub(crate) config: Vec<(String, String)>,
}

/// The state of one instance's store.
pub(crate) struct HostState {
    pub(crate) identity: Arc<Identity>,
    pub(crate) budget: Budget,
    pub(crate) handles: ResourceTable,
    pub(crate) requests: Requests,
    pub(crate) wasi: Option<Box<wasi::Wasi>>,
    timers: timers::Timers,
    awaited: Arc<Semaphore>,
    subscriptions: Vec<(String, SubscriptionId)>,
    handling: Handling,
}

/// Of the message being handled: what its consequences inherit, and the right to answer it.
#[derive(Default)]
struct Handling {
    from: Option<ActorId>,
    deadline: Option<Instant>,
    trace: Option<TraceContext>,
    correlation: Option<u64>,
    reply: Option<ReplyTo<Answer>>,
}

impl HostState {
    pub(crate) fn new(identity: Arc<Identity>, budget: Budget, wasi: Option<Box<wasi::Wasi>>) -> Self {
        let mut handles = ResourceTable::new();
        handles.set_max_capacity(HANDLES_MAX);
        let requests = Requests::new(identity.target.address.clone());
        HostState {
            identity,
            budget,
            handles,
            requests,
            wasi,
            timers: timers::Timers::default(),
            awaited: Arc::new(Semaphore::new(AWAITED_MAX)),
            subscriptions: Vec::new(),
            handling: Handling::default(),
        }
    }

    /// From now on the instance works for this message. Takes the right to answer it, so that the guest can defer it.
    pub(crate) fn handle(&mut self, envelope: &mut Envelope, deadline: Option<Instant>) {
        self.handling = Handling {
            from: envelope.from,
            deadline: deadline.or(envelope.deadline),
            trace: envelope.trace,
            correlation: envelope.correlation,
            reply: envelope.reply.take(),
        };
    }

    /// What the guest answered, within bounds: a refusal is cut to 4 KiB, and a reply over the component's own limit becomes
    /// a refusal that says so.
    pub(crate) fn answer(&self, outcome: Result<envelope::Payload, String>) -> Answer {
        let bytes_max = self.identity.target.payload_bytes_max;
        let outcome = outcome.and_then(|payload| match payload.bytes.len() as u64 {
            bytes if bytes > bytes_max => {
                Err(format!("the reply has {bytes} bytes, and this component may send {bytes_max}"))
            }
            _ => Ok(payload),
        });
        outcome.map_err(|reason| Rejected { reason: cut(reason).into() })
    }

    /// The message is handled. The right to answer comes back unless the guest took it.
    pub(crate) fn handled(&mut self) -> Option<ReplyTo<Answer>> {
        mem::take(&mut self.handling).reply
    }
}

impl Drop for HostState {
    fn drop(&mut self) {
        let ids: Vec<_> = self.subscriptions.iter().map(|(_, id)| *id).collect();
        self.identity.router.unsubscribe(&ids);
    }
}

/// What is linked: for each interface, its functions.
pub(crate) type Provided = BTreeMap<String, BTreeSet<String>>;

/// A linker for one engine and path, with the list of what is in it.
pub(crate) struct HostLinker {
    pub(crate) linker: Linker<HostState>,
    pub(crate) provided: Provided,
}

impl HostLinker {
    /// `concurrent` says that the engine supports component-model-async, so that awaited imports can be linked.
    pub(crate) fn new(engine: &wasmtime::Engine, path: Path, concurrent: bool) -> wasmtime::Result<Self> {
        let mut host = HostLinker { linker: Linker::new(engine), provided: Provided::new() };
        messaging::link(&mut host, path, concurrent)?;
        requests::link(&mut host)?;
        replies::link(&mut host)?;
        timers::link(&mut host)?;
        topics::link(&mut host)?;
        services::link(&mut host, path, concurrent)?;
        if path == Path::Suspending {
            wasi::link(&mut host)?;
        }
        Ok(host)
    }

    fn interface(&mut self, name: &str) -> wasmtime::Result<Interface<'_>> {
        let name = format!("airssys:core/{name}@{CONTRACT}");
        let linker = self.linker.instance(&name)?;
        Ok(Interface { linker, functions: self.provided.entry(name).or_default() })
    }
}

/// One interface while it is linked.
struct Interface<'a> {
    linker: LinkerInstance<'a, HostState>,
    functions: &'a mut BTreeSet<String>,
}

impl Interface<'_> {
    fn resource<T: 'static>(&mut self, name: &str) -> wasmtime::Result<()> {
        self.linker.resource(name, ResourceType::host::<T>(), |mut store, rep| {
            store.data_mut().handles.delete(component::Resource::<T>::new_own(rep))?;
            Ok(())
        })
    }

    fn function<P, R>(
        &mut self,
        name: &str,
        function: impl Fn(StoreContextMut<'_, HostState>, P) -> wasmtime::Result<R> + Send + Sync + 'static,
    ) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + 'static,
        R: ComponentNamedList + Lower + 'static,
    {
        self.functions.insert(name.to_owned());
        self.linker.func_wrap(name, function)
    }

    /// A function that suspends the guest while the future waits.
    fn waiting<P, R>(
        &mut self,
        name: &str,
        function: impl Fn(
            StoreContextMut<'_, HostState>,
            P,
        ) -> Box<dyn Future<Output = wasmtime::Result<R>> + Send + '_>
        + Send
        + Sync
        + 'static,
    ) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + 'static,
        R: ComponentNamedList + Lower + 'static,
    {
        self.functions.insert(name.to_owned());
        let function = Arc::new(function);
        self.linker.func_wrap_async(name, move |mut store, params| {
            let function = Arc::clone(&function);
            Box::new(async move {
                let mut called = Box::into_pin(function(store.as_context_mut(), params));
                let mut suspended = false;
                let result = poll_fn(|cx| {
                    let poll = called.as_mut().poll(cx);
                    suspended |= poll.is_pending();
                    poll
                });
                let result = result.await;
                drop(called);
                if suspended {
                    store.data_mut().budget.waited();
                }
                result
            })
        })
    }

    /// A function that the guest awaits. `prepare` reads what it needs of the store; the future runs without it.
    fn awaited<P, R, F>(
        &mut self,
        name: &str,
        prepare: impl Fn(&mut HostState, P) -> wasmtime::Result<F> + Send + Sync + Clone + 'static,
    ) -> wasmtime::Result<()>
    where
        P: ComponentNamedList + Lift + Send + 'static,
        R: ComponentNamedList + Lower + Send + 'static,
        F: Future<Output = wasmtime::Result<R>> + Send + 'static,
    {
        self.functions.insert(name.to_owned());
        self.linker.func_wrap_concurrent(name, move |accessor, params| {
            let prepared = accessor.with(|mut access| {
                let state = access.data_mut();
                let place = Arc::clone(&state.awaited).try_acquire_owned().map_err(|_| TooManyAwaited)?;
                Ok::<_, wasmtime::Error>((prepare(state, params)?, place))
            });
            Box::pin(async move {
                let (future, place) = prepared?;
                let result = future.await;
                drop(place);
                accessor.with(|mut access| access.data_mut().budget.waited());
                result
            })
        })
    }
}
