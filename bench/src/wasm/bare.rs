//! The baseline: Wasmtime with the engine settings of airssys-wasm, and no more around a guest than it needs to run.
//!
//! No mailbox, no limiter, no deadline, no grants, no sender: `send` pushes the lifted payload to a vector, `call` calls
//! the other instance in place. What a message costs here is what the guest and the crossing of its border cost.

// Generated code is documented by the contract.
#[allow(missing_docs, unreachable_pub)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "actor",
        with: { "airssys:core/messaging.address": super::Address },
    });
}

use bindings::airssys::core::messaging::{self, ComponentId, SendError};
use bindings::airssys::core::types::{CallError, Failure};
pub(crate) use bindings::airssys::core::types::{Message, Payload};
use wasmtime::component::{
    Component, HasSelf, InstancePre, Linker, Lower, Resource, ResourceType, TypedFunc,
};
use wasmtime::{
    InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreContextMut, WasmBacktraceDetails,
};

use crate::Outcome;

const RAW: u32 = 0x55;
const LIFECYCLE: &str = "airssys:core/lifecycle@1.0.0";
/// Never reached: nothing advances the epoch.
const EPOCHS: u64 = 1 << 40;

pub(crate) struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<State>,
}

/// A compiled and linked guest.
pub(crate) struct Prepared {
    pre: InstancePre<State>,
}

/// A running guest. `M` is how its messages are handed over.
pub(crate) struct Guest<M> {
    store: Store<State>,
    handle_message: HandleMessage<M>,
}

type Handled = Result<Option<Payload>, Failure>;

/// What a guest holds of another one: nothing.
#[allow(unreachable_pub, reason = "the generated bindings export it again")]
pub struct Address;

#[derive(Default)]
struct State {
    sent: Vec<Payload>,
    callee: Option<Box<Guest<Message>>>,
}

impl Engine {
    /// The settings are those of the plain engine of airssys-wasm.
    pub(crate) fn new(pool_instances: u32) -> Outcome<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(pool_instances)
            .total_core_instances(4 * pool_instances)
            .total_memories(pool_instances)
            .total_tables(4 * pool_instances)
            .total_stacks(pool_instances)
            .max_memory_size(1 << 32);
        let mut config = wasmtime::Config::new();
        config
            .concurrency_support(false)
            .wasm_component_model_async(false)
            .epoch_interruption(true)
            .shared_memory(false)
            .max_wasm_stack(512 * 1024)
            .async_stack_size(1024 * 1024)
            .memory_reservation(1 << 32)
            .memory_guard_size(32 << 20)
            .wasm_backtrace_details(WasmBacktraceDetails::Disable)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = wasmtime::Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        messaging::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
        // What is stubbed below would make a resource of its own of the type that these interfaces take from messaging.
        for interface in ["airssys:core/calls@1.0.0", "airssys:core/requests@1.0.0"] {
            linker.instance(interface)?.resource(
                "address",
                ResourceType::host::<Address>(),
                |_, _| Ok(()),
            )?;
        }
        linker.instance("airssys:core/calls@1.0.0")?.func_wrap_async(
            "call",
            |mut store: StoreContextMut<'_, State>,
             (_, payload, _): (Resource<Address>, Payload, Option<u32>)| {
                Box::new(async move {
                    let callee = store.data_mut().callee.as_mut();
                    let answer = callee.ok_or(NobodyToCall)?.handle(message(payload))?;
                    Ok((answer.ok_or(CallError::Died),))
                })
            },
        )?;
        Ok(Engine { engine, linker })
    }

    pub(crate) fn prepare(&self, wasm: &[u8]) -> Outcome<Prepared> {
        let component = Component::from_binary(&self.engine, wasm)?;
        let mut linker = self.linker.clone();
        // Interfaces that a guest imports and the benchmark does not make it use.
        linker.define_unknown_imports_as_traps(&component)?;
        Ok(Prepared { pre: linker.instantiate_pre(&component)? })
    }
}

impl Prepared {
    /// Instantiates, finds the exports and calls `init`, with a host that may not wait.
    pub(crate) fn start<M: Lower + 'static>(&self, config: &[(String, String)]) -> Outcome<Guest<M>>
    where
        (M,): wasmtime::component::ComponentNamedList,
    {
        let mut store = self.store();
        let instance = self.pre.instantiate(&mut store)?;
        let (handle_message, init) = exports(&mut store, &instance)?;
        init.call(&mut store, (config,))?.0?;
        Ok(Guest { store, handle_message })
    }

    /// The same on a fibre, for a guest whose imports wait.
    pub(crate) async fn start_on_fibre<M: Lower + Send + Sync + 'static>(
        &self,
        config: &[(String, String)],
        callee: Guest<Message>,
    ) -> Outcome<Guest<M>> {
        let mut store = self.store();
        store.data_mut().callee = Some(Box::new(callee));
        let instance = self.pre.instantiate_async(&mut store).await?;
        let (handle_message, init) = exports(&mut store, &instance)?;
        init.call_async(&mut store, (config,)).await?.0?;
        Ok(Guest { store, handle_message })
    }

    fn store(&self) -> Store<State> {
        let mut store = Store::new(self.pre.engine(), State::default());
        store.set_epoch_deadline(EPOCHS);
        store
    }
}

type HandleMessage<M> = TypedFunc<(M,), (Handled,)>;
type Init<'a> = TypedFunc<(&'a [(String, String)],), (Result<(), Failure>,)>;

fn exports<'a, M: Lower + 'static>(
    store: &mut Store<State>,
    instance: &wasmtime::component::Instance,
) -> wasmtime::Result<(HandleMessage<M>, Init<'a>)> {
    let lifecycle = instance.get_export_index(&mut *store, None, LIFECYCLE).ok_or(NotAnActor)?;
    let mut index = |name| instance.get_export_index(&mut *store, Some(&lifecycle), name).ok_or(NotAnActor);
    let (handle_message, init) = (index("handle-message")?, index("init")?);
    let handle_message = instance.get_typed_func(&mut *store, handle_message)?;
    Ok((handle_message, instance.get_typed_func(store, init)?))
}

impl<M: Lower + 'static> Guest<M> {
    pub(crate) fn handle(&mut self, message: M) -> wasmtime::Result<Option<Payload>> {
        Ok(self.handle_message.call(&mut self.store, (message,))?.0?)
    }

    /// Drops what the guest sent and says how many messages that were.
    pub(crate) fn drain(&mut self) -> usize {
        let sent = &mut self.store.data_mut().sent;
        let count = sent.len();
        sent.clear();
        count
    }
}

impl<M: Lower + Send + Sync + 'static> Guest<M> {
    pub(crate) async fn handle_on_fibre(&mut self, message: M) -> wasmtime::Result<Option<Payload>> {
        Ok(self.handle_message.call_async(&mut self.store, (message,)).await?.0?)
    }
}

impl messaging::Host for State {
    fn identity(&mut self) -> ComponentId {
        nobody()
    }

    fn identify(&mut self, _actor: u64) -> Option<ComponentId> {
        None
    }

    fn lookup(&mut self, _target: String) -> Result<Resource<Address>, SendError> {
        Ok(Resource::new_own(0))
    }

    fn reachable(&mut self) -> Vec<ComponentId> {
        Vec::new()
    }

    fn broadcast(&mut self, targets: Vec<Resource<Address>>, payload: Payload) -> Vec<Result<(), SendError>> {
        self.sent.extend(targets.iter().map(|_| payload.clone()));
        targets.iter().map(|_| Ok(())).collect()
    }
}

impl messaging::HostAddress for State {
    fn component(&mut self, _address: Resource<Address>) -> ComponentId {
        nobody()
    }

    fn send(&mut self, _address: Resource<Address>, payload: Payload) -> Result<(), SendError> {
        self.sent.push(payload);
        Ok(())
    }

    fn drop(&mut self, _address: Resource<Address>) -> wasmtime::Result<()> {
        Ok(())
    }
}

fn nobody() -> ComponentId {
    ComponentId { namespace: String::new(), name: String::new(), instance: String::new() }
}

/// A message as airssys-wasm hands over one from the host that nobody waits for.
pub(crate) fn message(payload: Payload) -> Message {
    Message { sender: 0, payload, correlation: None, deadline_ms: None, trace: None, topic: None }
}

/// The same message again and again, lowered from one place and never cloned.
pub(crate) fn message_for_good(bytes: &[u8]) -> &'static Message {
    Box::leak(Box::new(message(Payload { codec: RAW, bytes: bytes.to_vec() })))
}

#[derive(Debug, thiserror::Error)]
#[error("the guest does not export {LIFECYCLE}")]
struct NotAnActor;

#[derive(Debug, thiserror::Error)]
#[error("the guest calls and there is nobody to call")]
struct NobodyToCall;
