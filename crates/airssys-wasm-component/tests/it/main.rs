//! The SDK as an author meets it, on a native target.

mod components;
mod failures;
mod host;
#[cfg(feature = "json")]
mod payloads;
