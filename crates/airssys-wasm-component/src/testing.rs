//! A host for native tests: what a component asks of it is answered and recorded in this thread.
//!
//! It knows the components that a test names, delivers nothing by itself and keeps no time of its own. Grants,
//! quotas, deadlines and mailbox bounds are not imitated: a test that needs them needs a node.
//!
//! ```
//! use airssys_wasm_component::testing::Host;
//! use airssys_wasm_component::{Address, Payload};
//!
//! let host = Host::install();
//! host.component("double", |payload| Ok(Payload::raw([&payload.bytes[..], &payload.bytes].concat())));
//!
//! let double = Address::lookup("double").unwrap();
//! assert_eq!(double.call(&Payload::raw("ab"), None), Ok(Payload::raw("abab")));
//! assert!(Address::lookup("someone-else").is_err());
//! ```

pub(crate) mod host;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use crate::failure::CallError;
use crate::message::{Callback, CorrelationId, Payload};
use crate::services::log::LogLevel;

/// The recorded host of this thread. A test installs its own before it makes a component.
#[derive(Debug)]
pub struct Host {
    // What it stands for belongs to one thread.
    thread: PhantomData<*const ()>,
}

/// A message that the component sent, or the question of a call or request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The name that the component looked up.
    pub target: String,
    /// What it sent.
    pub payload: Payload,
}

/// A timer that the component set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Until it fires, or between two times.
    pub after: Duration,
    /// Whether it fires again and again.
    pub repeats: bool,
    /// What the component sends itself.
    pub payload: Payload,
}

type Answer = Rc<RefCell<dyn FnMut(&Payload) -> Result<Payload, CallError>>>;

#[derive(Default)]
struct State {
    components: BTreeMap<String, Option<Answer>>,
    sent: Vec<Sent>,
    asked: Vec<Sent>,
    callbacks: Vec<Callback>,
    requests: u64,
    replies: Vec<(CorrelationId, Result<Payload, String>)>,
    deferred: Vec<CorrelationId>,
    published: Vec<(String, Payload)>,
    subscriptions: Vec<String>,
    timers: BTreeMap<u64, Timer>,
    timers_made: u64,
    logged: Vec<(LogLevel, String)>,
    stored: BTreeMap<String, Vec<u8>>,
    config: Vec<(String, String)>,
    now: Duration,
    random: u64,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

fn with<R>(f: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(f)
}

impl Host {
    /// Begins with an empty host; what was recorded before is gone.
    #[must_use]
    pub fn install() -> Self {
        STATE.set(State::default());
        Self { thread: PhantomData }
    }

    /// Makes a component reachable that answers calls and requests.
    pub fn component(
        &self,
        name: &str,
        answer: impl FnMut(&Payload) -> Result<Payload, CallError> + 'static,
    ) {
        with(|state| state.components.insert(name.to_owned(), Some(Rc::new(RefCell::new(answer)))));
    }

    /// Makes a component reachable that takes messages and answers nothing: a call to it times out.
    pub fn sink(&self, name: &str) {
        with(|state| state.components.insert(name.to_owned(), None));
    }

    /// Ends a component: what is sent to it from now on finds it gone.
    pub fn remove(&self, name: &str) {
        with(|state| state.components.remove(name));
    }

    /// What the component sent since this was last asked.
    pub fn take_sent(&self) -> Vec<Sent> {
        with(|state| std::mem::take(&mut state.sent))
    }

    /// The questions of calls and requests since this was last asked.
    pub fn take_asked(&self) -> Vec<Sent> {
        with(|state| std::mem::take(&mut state.asked))
    }

    /// The ends of requests, for the test to hand to `handle_callback`.
    pub fn take_callbacks(&self) -> Vec<Callback> {
        with(|state| std::mem::take(&mut state.callbacks))
    }

    /// The deferred answers that were given since this was last asked.
    pub fn take_replies(&self) -> Vec<(CorrelationId, Result<Payload, String>)> {
        with(|state| std::mem::take(&mut state.replies))
    }

    /// Topics and payloads published since this was last asked.
    pub fn take_published(&self) -> Vec<(String, Payload)> {
        with(|state| std::mem::take(&mut state.published))
    }

    /// The patterns that the component is subscribed to.
    pub fn subscriptions(&self) -> Vec<String> {
        with(|state| state.subscriptions.clone())
    }

    /// The timers that are set, oldest first.
    pub fn timers(&self) -> Vec<Timer> {
        with(|state| state.timers.values().cloned().collect())
    }

    /// Log lines since this was last asked.
    pub fn take_logged(&self) -> Vec<(LogLevel, String)> {
        with(|state| std::mem::take(&mut state.logged))
    }

    /// Sets what `config::entry` returns.
    pub fn set_config(&self, key: &str, value: &str) {
        with(|state| {
            state.config.retain(|(present, _)| present != key);
            state.config.push((key.to_owned(), value.to_owned()));
        });
    }

    /// Moves both clocks on. Sleeping does the same.
    pub fn advance(&self, duration: Duration) {
        with(|state| state.now += duration);
    }
}

/// Runs the future of an [`crate::AsyncComponent`]. This host answers at once, so nothing ever waits.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("only futures of this host can be awaited here"),
    }
}
