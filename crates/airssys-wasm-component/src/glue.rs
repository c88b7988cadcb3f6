//! The component's outer face: generated bindings, and the exports that lead to the author's type.
//!
//! Only [`macro@crate::component`] uses what is public here. Each world that exports has its own `export_…!` macro,
//! and only the one that a component expands puts its exports into the module. Imports that are not called are
//! dropped when the module becomes a component.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

#[cfg(feature = "async")]
use crate::component::AsyncComponent;
use crate::component::{Component, Config, Health, Metadata, StatefulComponent, StopReason};
use crate::failure::Failure;
use crate::message::{Callback, Message, Payload};

/// The types of `airssys:core/types`, as the bindings name them.
pub mod contract {
    pub use crate::component::{Health, Metadata, StopReason};
    pub use crate::failure::{CallError, Failure, SendError};
    pub use crate::message::{ActorId, Callback, ComponentId, CorrelationId, Message, Payload, TraceContext};
    pub use crate::services::log::LogLevel;
    pub type Codec = u32;
}

// Generated code: the canonical ABI is raw memory, and the documentation is the contract's.
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
pub mod actor {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "actor",
        with: {
            "airssys:core/types@1.0.0": crate::glue::contract,
            "airssys:core/topics@1.0.0/topic-error": crate::services::topics::TopicError,
            "airssys:core/timers@1.0.0/timer-error": crate::services::timers::TimerError,
            "airssys:core/storage@1.0.0/storage-error": crate::services::storage::StorageError,
            "airssys:core/storage@1.0.0/storage-usage": crate::services::storage::StorageUsage,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_actor",
        default_bindings_module: "airssys_wasm_component::glue::actor",
    });
}

#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
pub mod state {
    // The world stateful-actor is this one and `actor` together, and that is how it is made: bindings of the whole
    // of it would define the macros of `lifecycle` a second time.
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package airssys:sdk;
            world state {
                export airssys:core/state@1.0.0;
            }
        ",
        with: { "airssys:core/types@1.0.0": crate::glue::contract },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_state",
        default_bindings_module: "airssys_wasm_component::glue::state",
    });
}

#[cfg(feature = "async")]
#[allow(unsafe_code, missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
pub mod async_actor {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "async-actor",
        with: {
            "airssys:core/types@1.0.0": crate::glue::contract,
            "airssys:core/messaging@1.0.0": crate::glue::host::messaging,
            "airssys:core/calls@1.0.0": crate::glue::host::calls,
            "airssys:core/requests@1.0.0": crate::glue::host::requests,
            "airssys:core/replies@1.0.0": crate::glue::host::replies,
            "airssys:core/topics@1.0.0": crate::glue::host::topics,
            "airssys:core/timers@1.0.0": crate::glue::host::timers,
            "airssys:core/storage@1.0.0": crate::glue::host::storage,
            "airssys:core/logging@1.0.0": crate::glue::host::logging,
            "airssys:core/clock@1.0.0": crate::glue::host::clock,
            "airssys:core/sleep@1.0.0": crate::glue::host::sleep,
            "airssys:core/random@1.0.0": crate::glue::host::random,
            "airssys:core/config@1.0.0": crate::glue::host::config,
        },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_async_actor",
        default_bindings_module: "airssys_wasm_component::glue::async_actor",
    });
}

/// The imports, each under the name of its interface.
pub mod host {
    pub use super::actor::airssys::core::{
        calls, clock, config, logging, messaging, random, replies, requests, sleep, storage, timers, topics,
    };
    #[cfg(feature = "async")]
    pub use super::async_actor::airssys::core::{async_calls, async_sleep};
}

/// Where the one instance of a component lives.
pub type Slot<T> = LocalKey<RefCell<Option<T>>>;

/// A type that has such a place.
pub trait Instance: Sized + 'static {
    /// The place.
    fn slot() -> &'static Slot<Self>;

    /// Runs `f` on the instance. The host calls `init` first and makes no second call before the first returned.
    fn with<R>(f: impl FnOnce(&mut Self) -> R) -> R {
        Self::slot()
            .with_borrow_mut(|slot| f(slot.as_mut().expect("the host calls init before anything else")))
    }
}

/// The exports of a [`Component`].
pub struct Actor<T>(PhantomData<T>);

impl<T: Component + Instance> actor::exports::airssys::core::lifecycle::Guest for Actor<T> {
    fn init(config: Vec<(String, String)>) -> Result<(), Failure> {
        T::slot().set(Some(T::init(&Config::from(config))?));
        Ok(())
    }

    fn handle_message(message: Message) -> Result<Option<Payload>, Failure> {
        T::with(|instance| instance.handle_message(message))
    }

    fn handle_callback(callback: Callback) -> Result<(), Failure> {
        T::with(|instance| instance.handle_callback(callback))
    }

    fn health() -> Health {
        T::with(|instance| instance.health())
    }

    fn metadata() -> Metadata {
        T::metadata()
    }

    fn shutdown(reason: StopReason) {
        T::with(|instance| instance.shutdown(reason));
    }
}

/// The exports of a [`StatefulComponent`].
pub struct StatefulActor<T>(PhantomData<T>);

impl<T: StatefulComponent + Instance> actor::exports::airssys::core::lifecycle::Guest for StatefulActor<T> {
    fn init(config: Vec<(String, String)>) -> Result<(), Failure> {
        T::slot().set(Some(T::init(&Config::from(config))?));
        Ok(())
    }

    fn handle_message(message: Message) -> Result<Option<Payload>, Failure> {
        T::with(|instance| instance.handle_message(message))
    }

    fn handle_callback(callback: Callback) -> Result<(), Failure> {
        T::with(|instance| instance.handle_callback(callback))
    }

    fn health() -> Health {
        T::with(|instance| instance.health())
    }

    fn metadata() -> Metadata {
        T::metadata()
    }

    fn shutdown(reason: StopReason) {
        T::with(|instance| instance.shutdown(reason));
    }
}

impl<T: StatefulComponent + Instance> state::exports::airssys::core::state::Guest for StatefulActor<T> {
    fn save() -> Result<Payload, Failure> {
        T::with(|instance| instance.save())
    }

    fn restore(state: Payload) -> Result<(), Failure> {
        T::with(|instance| instance.restore(state))
    }
}

/// The exports of an [`AsyncComponent`].
#[cfg(feature = "async")]
pub struct AsyncActor<T>(PhantomData<T>);

/// The instance out of its place for as long as a call lasts, since no borrow of the place may live across an await.
/// Put back when the call ends, also when the host drops it half-way.
#[cfg(feature = "async")]
struct Taken<T: Instance>(Option<T>);

#[cfg(feature = "async")]
impl<T: Instance> Taken<T> {
    fn take() -> Self {
        Self(Some(T::slot().take().expect("the host calls init first and makes one call at a time")))
    }

    fn instance(&mut self) -> &mut T {
        self.0.as_mut().expect("it is held until the drop")
    }
}

#[cfg(feature = "async")]
impl<T: Instance> Drop for Taken<T> {
    fn drop(&mut self) {
        T::slot().set(self.0.take());
    }
}

#[cfg(feature = "async")]
impl<T: AsyncComponent + Instance> async_actor::exports::airssys::core::async_lifecycle::Guest
    for AsyncActor<T>
{
    async fn init(config: Vec<(String, String)>) -> Result<(), Failure> {
        let instance = T::init(&Config::from(config)).await?;
        T::slot().set(Some(instance));
        Ok(())
    }

    async fn handle_message(message: Message) -> Result<Option<Payload>, Failure> {
        Taken::<T>::take().instance().handle_message(message).await
    }

    async fn handle_callback(callback: Callback) -> Result<(), Failure> {
        Taken::<T>::take().instance().handle_callback(callback).await
    }

    async fn health() -> Health {
        Taken::<T>::take().instance().health().await
    }

    async fn metadata() -> Metadata {
        T::metadata()
    }

    async fn shutdown(reason: StopReason) {
        Taken::<T>::take().instance().shutdown(reason).await;
    }
}
