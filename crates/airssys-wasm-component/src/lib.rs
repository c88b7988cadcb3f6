//! Write AirsSys component actors in Rust.
//!
//! Implement [`Component`] under [`macro@component`] and build a `cdylib` for a wasm target. On any other target the
//! same code compiles against the fake host of [`testing`], so that `cargo test` needs no wasm at all.
//!
//! ```
//! use airssys_wasm_component::{Component, Config, Failure, Message, Payload, component};
//!
//! struct Greeter {
//!     greeting: String,
//! }
//!
//! #[component]
//! impl Component for Greeter {
//!     fn init(config: &Config) -> Result<Self, Failure> {
//!         Ok(Self { greeting: config.entry("greeting").unwrap_or("hello").to_owned() })
//!     }
//!
//!     fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure> {
//!         let name = message.payload.text()?;
//!         Ok(Some(Payload::raw(format!("{}, {name}", self.greeting))))
//!     }
//! }
//!
//! let mut greeter = Greeter::init(&Config::default()).unwrap();
//! let reply = greeter.handle_message(Message::new(Payload::raw("Ada"))).unwrap();
//! assert_eq!(reply, Some(Payload::raw("hello, Ada")));
//! ```
//!
//! A component imports only the interfaces whose functions it calls; the host refuses one that imports what it was
//! not granted.

mod address;
mod component;
mod failure;
mod message;
mod services;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod glue;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use airssys_wasm_component_macros::component;

#[cfg(any(feature = "async", not(target_family = "wasm")))]
pub use component::AsyncComponent;
pub use component::{Component, Config, Health, Metadata, StatefulComponent, StopReason};

#[cfg(feature = "json")]
pub use message::JsonError;
pub use message::{ActorId, Callback, ComponentId, CorrelationId, Message, Payload, TraceContext, codec};

pub use failure::{CallError, Failure, SendError};

pub use address::{Address, cancel_request, identify, identity, reachable};
pub use services::{clock, config, log, random, replies, sleep, storage, timers, topics};

#[cfg(target_family = "wasm")]
use glue::host;
#[cfg(not(target_family = "wasm"))]
use testing::host;
