//! `airssys:core/topics`. A subscription ends with the instance that made it.

use super::wire::{Payload, TopicError};
use super::{HostLinker, HostState};
use crate::manifest::{Topic, TopicPattern};

/// Patterns that one component may listen to.
const SUBSCRIPTIONS_MAX: u32 = 64;

pub(super) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    let mut topics = host.interface("topics")?;
    topics.function("publish", |store, (topic, payload): (String, Payload)| {
        Ok((store.data().publish(&topic, payload),))
    })?;
    topics.function("subscribe", |mut store, (pattern,): (String,)| {
        Ok((store.data_mut().subscribe(pattern),))
    })?;
    topics.function("unsubscribe", |mut store, (pattern,): (String,)| {
        Ok((store.data_mut().unsubscribe(&pattern),))
    })
}

impl HostState {
    fn publish(&self, topic: &str, payload: Payload) -> Result<u32, TopicError> {
        let identity = &self.identity;
        Topic::parse(topic).map_err(|error| TopicError::Malformed(error.to_string()))?;
        if !identity.grants.may_publish(topic) {
            identity.router.refuse(&identity.target, "publish", topic);
            return Err(TopicError::Denied);
        }
        if payload.bytes.len() as u64 > identity.target.payload_bytes_max {
            return Err(TopicError::TooLarge(identity.target.payload_bytes_max));
        }
        Ok(identity.router.publish_from(Some(&identity.target), topic, payload.into()))
    }

    fn subscribe(&mut self, text: String) -> Result<(), TopicError> {
        let identity = &self.identity;
        let pattern = TopicPattern::parse(&text).map_err(|error| TopicError::Malformed(error.to_string()))?;
        if !identity.grants.may_subscribe(&pattern) {
            identity.router.refuse(&identity.target, "subscribe", &text);
            return Err(TopicError::Denied);
        }
        if self.subscriptions.iter().any(|(held, _)| *held == text) {
            return Ok(());
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX as usize {
            return Err(TopicError::TooMany(SUBSCRIPTIONS_MAX));
        }
        let id = identity.router.subscribe(pattern, identity.target.clone());
        self.subscriptions.push((text, id));
        Ok(())
    }

    fn unsubscribe(&mut self, pattern: &str) -> Result<bool, TopicError> {
        let Some(index) = self.subscriptions.iter().position(|(held, _)| held == pattern) else {
            return Ok(false);
        };
        let (_, id) = self.subscriptions.swap_remove(index);
        self.identity.router.unsubscribe(&[id]);
        Ok(true)
    }
}
