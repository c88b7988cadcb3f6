//! What a component is: the traits that an author implements and the values they speak of.
//!
//! One impl block under [`macro@crate::component`] makes a component; the trait's name chooses the world it is
//! built for. The host makes one call at a time and starts a restarted component from `init`.

use crate::failure::Failure;
use crate::message::{Callback, Message, Payload};

/// A component actor.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a component",
    note = "write `#[component] impl Component for {Self} {{ .. }}`"
)]
pub trait Component: Sized {
    /// Called once, before any message. An error here fails the start, whichever kind it is.
    fn init(config: &Config) -> Result<Self, Failure>;

    /// The returned payload is the reply; it is dropped when nobody waits for one.
    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure>;

    /// The end of a request that this component made.
    fn handle_callback(&mut self, callback: Callback) -> Result<(), Failure> {
        let Callback { request: _, outcome: _ } = callback;
        Ok(())
    }

    /// How it feels; asked between messages.
    fn health(&self) -> Health {
        Health::Healthy
    }

    /// What it says of itself. The macro fills this in from `Cargo.toml`.
    fn metadata() -> Metadata;

    /// The last call. Not made when the component trapped or was killed.
    fn shutdown(&mut self, reason: StopReason) {
        let _ = reason;
    }
}

/// A component actor whose state survives an update: [`Component`] with `save` and `restore`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stateful component",
    note = "write `#[component] impl StatefulComponent for {Self} {{ .. }}`"
)]
pub trait StatefulComponent: Sized {
    /// As [`Component::init`]. Also called before `restore`.
    fn init(config: &Config) -> Result<Self, Failure>;

    /// As [`Component::handle_message`].
    fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure>;

    /// As [`Component::handle_callback`].
    fn handle_callback(&mut self, callback: Callback) -> Result<(), Failure> {
        let Callback { request: _, outcome: _ } = callback;
        Ok(())
    }

    /// As [`Component::health`].
    fn health(&self) -> Health {
        Health::Healthy
    }

    /// As [`Component::metadata`].
    fn metadata() -> Metadata;

    /// As [`Component::shutdown`].
    fn shutdown(&mut self, reason: StopReason) {
        let _ = reason;
    }

    /// The state to hand to the next version.
    fn save(&self) -> Result<Payload, Failure>;

    /// Takes over what another version saved. An error keeps the old version.
    fn restore(&mut self, state: Payload) -> Result<(), Failure>;
}

/// A component actor that awaits its calls. Needs the feature `async`, and a host with component-model-async.
#[cfg(any(feature = "async", not(target_family = "wasm")))]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async component",
    note = "write `#[component] impl AsyncComponent for {Self} {{ .. }}`"
)]
// The futures never leave the instance that made them, so there is no `Send` to promise.
#[allow(async_fn_in_trait)]
pub trait AsyncComponent: Sized {
    /// As [`Component::init`].
    async fn init(config: &Config) -> Result<Self, Failure>;

    /// As [`Component::handle_message`].
    async fn handle_message(&mut self, message: Message) -> Result<Option<Payload>, Failure>;

    /// As [`Component::handle_callback`].
    async fn handle_callback(&mut self, callback: Callback) -> Result<(), Failure> {
        let Callback { request: _, outcome: _ } = callback;
        Ok(())
    }

    /// As [`Component::health`].
    async fn health(&self) -> Health {
        Health::Healthy
    }

    /// As [`Component::metadata`].
    fn metadata() -> Metadata;

    /// As [`Component::shutdown`].
    async fn shutdown(&mut self, reason: StopReason) {
        let _ = reason;
    }
}

/// The component's table of the application file, as it was at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    entries: Vec<(String, String)>,
}

impl Config {
    /// The value of `key`.
    pub fn entry(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The value of `key`, which the component cannot do without.
    pub fn require(&self, key: &str) -> Result<&str, Failure> {
        self.entry(key).ok_or_else(|| Failure::fatal(format!("config entry {key} is missing")))
    }

    /// The value of `key` as a number or another type with a text form, or `default` where there is no entry.
    pub fn parse_or<T>(&self, key: &str, default: T) -> Result<T, Failure>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        match self.entry(key) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|error| Failure::fatal(format!("config entry {key} = {text:?}: {error}"))),
        }
    }

    /// All entries in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl From<Vec<(String, String)>> for Config {
    fn from(entries: Vec<(String, String)>) -> Self {
        Self { entries }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Config {
    fn from(entries: [(&str, &str); N]) -> Self {
        Self {
            entries: entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }
}

/// How a component feels. Unhealthy for long enough, it is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Healthy,
    /// It works, but not as it should: why.
    Degraded(String),
    /// It does not work: why.
    Unhealthy(String),
}

/// What a component says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The package's name.
    pub name: String,
    /// The package's version.
    pub version: String,
    /// The package's description.
    pub description: String,
}

/// Why a component is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The application or the node stops.
    Shutdown,
    /// The supervisor stops this component to start it afresh.
    Restart,
    /// A newer version takes over.
    Upgrade,
}

impl StopReason {
    /// The generated bindings lift an enum through this name.
    #[doc(hidden)]
    pub fn _lift(discriminant: u8) -> Self {
        match discriminant {
            0 => Self::Shutdown,
            1 => Self::Restart,
            2 => Self::Upgrade,
            other => unreachable!("the component model passes only declared cases, not {other}"),
        }
    }
}
