//! The imports of the contract, with the signatures of the generated bindings, acting on the recorded state.

/// Addresses and sending.
pub(crate) mod messaging {
    use crate::failure::SendError;
    use crate::message::{ActorId, ComponentId, Payload};
    use crate::testing::{Sent, with};

    #[derive(Debug)]
    pub(crate) struct Address {
        pub(crate) target: String,
    }

    impl Address {
        pub(crate) fn component(&self) -> ComponentId {
            id(&self.target)
        }

        pub(crate) fn send(&self, payload: &Payload) -> Result<(), SendError> {
            with(|state| {
                if !state.components.contains_key(&self.target) {
                    return Err(SendError::Gone);
                }
                state.sent.push(Sent { target: self.target.clone(), payload: payload.clone() });
                Ok(())
            })
        }
    }

    pub(crate) fn id(name: &str) -> ComponentId {
        ComponentId { namespace: "test".to_owned(), name: name.to_owned(), instance: "0".to_owned() }
    }

    pub(crate) fn identity() -> ComponentId {
        id("self")
    }

    /// The nth component by name is actor n, from 1 on.
    pub(crate) fn identify(actor: ActorId) -> Option<ComponentId> {
        let index = usize::try_from(actor).ok()?.checked_sub(1)?;
        with(|state| state.components.keys().nth(index).map(|name| id(name)))
    }

    pub(crate) fn lookup(target: &str) -> Result<Address, SendError> {
        with(|state| match state.components.contains_key(target) {
            true => Ok(Address { target: target.to_owned() }),
            false => Err(SendError::Denied),
        })
    }

    pub(crate) fn reachable() -> Vec<ComponentId> {
        with(|state| state.components.keys().map(|name| id(name)).collect())
    }

    pub(crate) fn broadcast(targets: &[&Address], payload: &Payload) -> Vec<Result<(), SendError>> {
        targets.iter().map(|target| target.send(payload)).collect()
    }
}

/// Calls that suspend the caller until the reply.
pub(crate) mod calls {
    use super::messaging::Address;
    use crate::failure::{CallError, SendError};
    use crate::message::Payload;
    use crate::testing::{Sent, with};

    pub(crate) fn call(
        target: &Address,
        payload: &Payload,
        _timeout_ms: Option<u32>,
    ) -> Result<Payload, CallError> {
        let answer = with(|state| {
            state.asked.push(Sent { target: target.target.clone(), payload: payload.clone() });
            state.components.get(&target.target).cloned()
        });
        // Outside of `with`: the answer may itself use the host.
        match answer {
            None => Err(CallError::NotSent(SendError::Gone)),
            Some(None) => Err(CallError::Timeout),
            Some(Some(answer)) => (answer.borrow_mut())(payload),
        }
    }
}

/// The same, awaited.
pub(crate) mod async_calls {
    use super::messaging::Address;
    use crate::failure::CallError;
    use crate::message::Payload;

    pub(crate) async fn call(
        target: &Address,
        payload: Payload,
        timeout_ms: Option<u32>,
    ) -> Result<Payload, CallError> {
        super::calls::call(target, &payload, timeout_ms)
    }
}

/// Requests whose answer the test hands to `handle_callback`.
pub(crate) mod requests {
    use super::messaging::Address;
    use crate::failure::{CallError, SendError};
    use crate::message::{Callback, CorrelationId, Payload};
    use crate::testing::with;

    pub(crate) fn request(
        target: &Address,
        payload: &Payload,
        timeout_ms: Option<u32>,
    ) -> Result<CorrelationId, SendError> {
        let outcome = super::calls::call(target, payload, timeout_ms);
        if let Err(CallError::NotSent(error)) = outcome {
            return Err(error);
        }
        with(|state| {
            state.requests += 1;
            state.callbacks.push(Callback { request: state.requests, outcome });
            Ok(state.requests)
        })
    }

    pub(crate) fn cancel(request: CorrelationId) -> bool {
        with(|state| match state.callbacks.iter_mut().find(|callback| callback.request == request) {
            Some(callback) => {
                callback.outcome = Err(CallError::Cancelled);
                true
            }
            None => false,
        })
    }
}

/// Answers given later than the handler's return.
pub(crate) mod replies {
    use crate::failure::SendError;
    use crate::message::{CorrelationId, Payload};
    use crate::testing::with;

    #[derive(Debug)]
    pub(crate) struct ReplyToken {
        correlation: CorrelationId,
    }

    impl ReplyToken {
        pub(crate) fn reply(token: Self, outcome: Result<&Payload, &str>) -> Result<(), SendError> {
            let outcome = outcome.cloned().map_err(str::to_owned);
            with(|state| state.replies.push((token.correlation, outcome)));
            Ok(())
        }
    }

    pub(crate) fn defer(correlation: CorrelationId) -> Option<ReplyToken> {
        with(|state| {
            if state.deferred.contains(&correlation) {
                return None;
            }
            state.deferred.push(correlation);
            Some(ReplyToken { correlation })
        })
    }
}

/// Topics. One subscriber is assumed to take each message.
pub(crate) mod topics {
    use crate::message::Payload;
    use crate::services::topics::TopicError;
    use crate::testing::with;

    pub(crate) fn publish(topic: &str, payload: &Payload) -> Result<u32, TopicError> {
        with(|state| state.published.push((topic.to_owned(), payload.clone())));
        Ok(1)
    }

    pub(crate) fn subscribe(pattern: &str) -> Result<(), TopicError> {
        with(|state| {
            if !state.subscriptions.iter().any(|present| present == pattern) {
                state.subscriptions.push(pattern.to_owned());
            }
        });
        Ok(())
    }

    pub(crate) fn unsubscribe(pattern: &str) -> Result<bool, TopicError> {
        Ok(with(|state| {
            let before = state.subscriptions.len();
            state.subscriptions.retain(|present| present != pattern);
            state.subscriptions.len() < before
        }))
    }
}

/// Timers that are listed and never fire.
pub(crate) mod timers {
    use std::time::Duration;

    use crate::message::Payload;
    use crate::services::timers::TimerError;
    use crate::testing::{Timer, with};

    fn set(after_ms: u64, repeats: bool, payload: &Payload) -> Result<u64, TimerError> {
        let timer = Timer { after: Duration::from_millis(after_ms), repeats, payload: payload.clone() };
        Ok(with(|state| {
            state.timers_made += 1;
            state.timers.insert(state.timers_made, timer);
            state.timers_made
        }))
    }

    pub(crate) fn send_after(delay_ms: u64, payload: &Payload) -> Result<u64, TimerError> {
        set(delay_ms, false, payload)
    }

    pub(crate) fn interval(period_ms: u64, payload: &Payload) -> Result<u64, TimerError> {
        set(period_ms, true, payload)
    }

    pub(crate) fn cancel(timer: u64) -> bool {
        with(|state| state.timers.remove(&timer).is_some())
    }
}

/// A store without bounds.
pub(crate) mod storage {
    use crate::services::storage::{StorageError, StorageUsage};
    use crate::testing::with;

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(with(|state| state.stored.get(key).cloned()))
    }

    pub(crate) fn set(key: &str, value: &[u8]) -> Result<(), StorageError> {
        with(|state| state.stored.insert(key.to_owned(), value.to_owned()));
        Ok(())
    }

    pub(crate) fn delete(key: &str) -> Result<bool, StorageError> {
        Ok(with(|state| state.stored.remove(key).is_some()))
    }

    pub(crate) fn exists(key: &str) -> Result<bool, StorageError> {
        Ok(with(|state| state.stored.contains_key(key)))
    }

    pub(crate) fn list_keys(
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, StorageError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(with(|state| {
            let keys = state.stored.keys().filter(|key| key.starts_with(prefix));
            keys.filter(|key| after.is_none_or(|after| key.as_str() > after)).take(limit).cloned().collect()
        }))
    }

    pub(crate) fn compare_and_swap(
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<bool, StorageError> {
        Ok(with(|state| {
            let equal = state.stored.get(key).map(Vec::as_slice) == expected;
            match (equal, value) {
                (false, _) => {}
                (true, Some(value)) => drop(state.stored.insert(key.to_owned(), value.to_owned())),
                (true, None) => drop(state.stored.remove(key)),
            }
            equal
        }))
    }

    pub(crate) fn usage() -> Result<StorageUsage, StorageError> {
        Ok(with(|state| StorageUsage {
            keys: state.stored.len() as u64,
            bytes: state.stored.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum(),
            bytes_max: u64::MAX,
        }))
    }
}

/// The log.
pub(crate) mod logging {
    use crate::services::log::LogLevel;
    use crate::testing::with;

    pub(crate) fn log(level: LogLevel, message: &str) {
        with(|state| state.logged.push((level, message.to_owned())));
    }
}

/// Two clocks that stand still until the test moves them.
pub(crate) mod clock {
    use crate::testing::with;

    pub(crate) fn now_ns() -> u64 {
        monotonic_ns()
    }

    pub(crate) fn monotonic_ns() -> u64 {
        with(|state| u64::try_from(state.now.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Sleeping moves the clocks and takes no time.
pub(crate) mod sleep {
    use std::time::Duration;

    use crate::testing::with;

    pub(crate) fn sleep_ms(duration_ms: u64) {
        with(|state| state.now += Duration::from_millis(duration_ms));
    }
}

/// The same, awaited.
pub(crate) mod async_sleep {
    pub(crate) async fn sleep_ms(duration_ms: u64) {
        super::sleep::sleep_ms(duration_ms);
    }
}

/// The same sequence in every test.
pub(crate) mod random {
    use crate::testing::with;

    pub(crate) fn bytes(len: u32) -> Vec<u8> {
        (0..len.min(65_536)).map(|_| number().to_le_bytes()[0]).collect()
    }

    /// SplitMix64, from 0.
    pub(crate) fn number() -> u64 {
        with(|state| {
            state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        })
    }
}

/// What the test set.
pub(crate) mod config {
    use crate::testing::with;

    pub(crate) fn entry(key: &str) -> Option<String> {
        with(|state| state.config.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()))
    }

    pub(crate) fn entries() -> Vec<(String, String)> {
        with(|state| state.config.clone())
    }
}
