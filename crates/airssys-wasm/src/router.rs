//! Who answers to a name, who may send to whom, and who listens to which topic.
//!
//! A name is resolved once, against the sender's grants, into a [`Target`]; sending through it is a push into a
//! mailbox. A target outlives restarts of its component, because the mailbox does. Every refusal is counted and told
//! to whoever listens to [`Router::events`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use airssys_rt::{ActorId, Address, Overflow, TellError};
use tokio::sync::{broadcast, mpsc};

use crate::actor::ComponentMessage;
use crate::call::{Refused, WaitGraph};
use crate::envelope::{ComponentId, Envelope, Payload};
use crate::flood::{Flood, Passage};
use crate::manifest::{Accepts, Capabilities, TopicPattern};

/// Events that a slow listener may lag behind before it loses the oldest.
const EVENTS_KEPT: usize = 1024;
/// The guest chooses what it logs, so a line is cut to this.
const LOG_BYTES_MAX: usize = 8192;
/// Published messages waiting for one listener of the host; a full one loses the newest, counted.
const HOST_SUBSCRIPTION_LEN: usize = 1024;

/// A component that messages can be sent to.
pub(crate) struct Target {
    pub(crate) id: ComponentId,
    pub(crate) actor: ActorId,
    pub(crate) address: Address<ComponentMessage>,
    pub(crate) payload_bytes_max: u64,
    pub(crate) accepts: Accepts,
    /// Bounds what the component can write into logs.
    pub(crate) flood: Flood,
}

/// Routing of one node. Cloning shares it.
#[derive(Clone)]
pub struct Router {
    shared: Arc<Shared>,
}

struct Shared {
    directory: RwLock<Directory>,
    subscriptions: RwLock<Vec<Subscription>>,
    subscription_next: AtomicU64,
    waiting: WaitGraph,
    counts: Counts,
    events: broadcast::Sender<RouterEvent>,
}

#[derive(Default)]
struct Directory {
    by_id: HashMap<ComponentId, Arc<Target>>,
    by_actor: HashMap<ActorId, Arc<Target>>,
}

#[derive(Default)]
struct Counts {
    denied: AtomicU64,
    expired: AtomicU64,
    unheard: AtomicU64,
    late: AtomicU64,
}

/// How often something did not arrive, since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterCounts {
    /// Operations refused for want of a grant.
    pub denied: u64,
    /// Messages whose sender had stopped waiting before they were handled.
    pub expired: u64,
    /// Published messages and timers that a full or closed mailbox did not take.
    pub unheard: u64,
    /// Answers that came after their asker had stopped waiting.
    pub late: u64,
}

/// What happens to messages that an operator wants to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RouterEvent {
    /// A component tried what it has no grant for.
    Denied {
        /// Who tried.
        from: ComponentId,
        /// `send`, `publish` or `subscribe`.
        verb: &'static str,
        /// The component or topic, as the guest named it, cut to 256 characters.
        what: Arc<str>,
    },
    /// A component wrote a line to its log.
    Log {
        /// Who wrote.
        from: ComponentId,
        /// How important.
        level: tracing::Level,
        /// What, cut to 8 KiB.
        text: Arc<str>,
    },
}

/// A message as a listener of the host sees it.
#[derive(Debug, Clone)]
pub struct Published {
    /// Who published; None is the host.
    pub from: Option<ComponentId>,
    /// The topic.
    pub topic: Arc<str>,
    /// The message.
    pub payload: Payload,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscriptionId(u64);

struct Subscription {
    id: SubscriptionId,
    pattern: TopicPattern,
    to: Subscriber,
}

#[derive(Clone)]
enum Subscriber {
    Component(Arc<Target>),
    Host(mpsc::Sender<Published>),
}

impl Default for Router {
    fn default() -> Self {
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        Router {
            shared: Arc::new(Shared {
                directory: RwLock::default(),
                subscriptions: RwLock::default(),
                subscription_next: AtomicU64::new(0),
                waiting: WaitGraph::default(),
                counts: Counts::default(),
                events,
            }),
        }
    }
}

impl Router {
    /// Refusals and log lines from now on. A listener that lags loses the oldest and is told how many.
    pub fn events(&self) -> broadcast::Receiver<RouterEvent> {
        self.shared.events.subscribe()
    }

    /// What did not arrive, so far.
    pub fn counts(&self) -> RouterCounts {
        let counts = &self.shared.counts;
        RouterCounts {
            denied: counts.denied.load(Ordering::Relaxed),
            expired: counts.expired.load(Ordering::Relaxed),
            unheard: counts.unheard.load(Ordering::Relaxed),
            late: counts.late.load(Ordering::Relaxed),
        }
    }

    /// Listens to topics from outside the components; a message that several patterns match comes once. At most 1,024
    /// messages wait for the listener; further ones are lost and counted as unheard. Dropping the receiver ends the
    /// subscription.
    pub fn listen(&self, patterns: impl IntoIterator<Item = TopicPattern>) -> mpsc::Receiver<Published> {
        let (sender, receiver) = mpsc::channel(HOST_SUBSCRIPTION_LEN);
        for pattern in patterns {
            self.add(pattern, Subscriber::Host(sender.clone()));
        }
        receiver
    }

    /// Publishes on behalf of the host. Returns how many mailboxes took the message.
    pub fn publish(&self, topic: &str, payload: Payload) -> u32 {
        self.publish_from(None, topic, payload)
    }

    /// The components that are registered, in the order of their ids.
    pub fn components(&self) -> Vec<ComponentId> {
        let mut ids: Vec<_> = self.read_directory().by_id.keys().cloned().collect();
        ids.sort();
        ids
    }

    /// False when the id is taken.
    pub(crate) fn register(&self, target: Arc<Target>) -> bool {
        let mut directory = self.shared.directory.write().unwrap_or_else(PoisonError::into_inner);
        if directory.by_id.contains_key(&target.id) {
            return false;
        }
        directory.by_actor.insert(target.actor, Arc::clone(&target));
        directory.by_id.insert(target.id.clone(), target);
        true
    }

    pub(crate) fn unregister(&self, target: &Target) {
        let mut directory = self.shared.directory.write().unwrap_or_else(PoisonError::into_inner);
        directory.by_actor.remove(&target.actor);
        directory.by_id.remove(&target.id);
    }

    pub(crate) fn identify(&self, actor: ActorId) -> Option<ComponentId> {
        self.read_directory().by_actor.get(&actor).map(|target| target.id.clone())
    }

    pub(crate) fn find(&self, id: &ComponentId) -> Option<Arc<Target>> {
        self.read_directory().by_id.get(id).cloned()
    }

    /// Whom the text names, if `from` may send there. A name without grant and a name without component look alike.
    pub(crate) fn resolve(
        &self,
        from: &Target,
        grants: &Capabilities,
        text: &str,
    ) -> Result<Arc<Target>, Refused> {
        let own = from.id.namespace();
        ComponentId::resolve(text, own)
            .ok()
            .filter(|id| grants.may_send(own, id.namespace(), id.name()))
            .and_then(|id| self.find(&id))
            .ok_or_else(|| self.refuse(from, "send", text))
    }

    pub(crate) fn reachable(&self, from: &ComponentId, grants: &Capabilities) -> Vec<ComponentId> {
        let mut ids = self.components();
        ids.retain(|id| grants.may_send(from.namespace(), id.namespace(), id.name()));
        ids
    }

    /// Whether a mailbox that this component may send to makes its senders wait.
    pub(crate) fn sends_may_wait(&self, from: &ComponentId, grants: &Capabilities) -> bool {
        let waits = |target: &Arc<Target>| {
            target.address.overflow() == Overflow::Wait
                && grants.may_send(from.namespace(), target.id.namespace(), target.id.name())
        };
        !grants.send.is_empty() && self.read_directory().by_id.values().any(waits)
    }

    /// Counts the refusal and tells it.
    pub(crate) fn refuse(&self, from: &Target, verb: &'static str, what: &str) -> Refused {
        self.shared.counts.denied.fetch_add(1, Ordering::Relaxed);
        if self.passes(from) {
            let what: Arc<str> = what.chars().take(256).collect::<String>().into();
            tracing::warn!(component = %from.id, verb, what = %what.escape_debug(), "denied");
            self.tell_event(RouterEvent::Denied { from: from.id.clone(), verb, what });
        }
        Refused::Denied
    }

    /// A line of a component's log, cut to 8 KiB. Beyond 100 lines a second of one component, lines are only counted.
    pub(crate) fn log(&self, from: &Target, level: tracing::Level, mut text: String) {
        if !self.passes(from) {
            return;
        }
        text.truncate(text.floor_char_boundary(LOG_BYTES_MAX));
        let id = &from.id;
        // Control characters would let a guest write lines in the name of others.
        let shown = text.escape_debug();
        match level {
            tracing::Level::TRACE => tracing::trace!(target: "guest", component = %id, "{shown}"),
            tracing::Level::DEBUG => tracing::debug!(target: "guest", component = %id, "{shown}"),
            tracing::Level::INFO => tracing::info!(target: "guest", component = %id, "{shown}"),
            tracing::Level::WARN => tracing::warn!(target: "guest", component = %id, "{shown}"),
            tracing::Level::ERROR => tracing::error!(target: "guest", component = %id, "{shown}"),
        }
        self.tell_event(RouterEvent::Log { from: id.clone(), level, text: text.into() });
    }

    fn passes(&self, from: &Target) -> bool {
        match from.flood.pass(Instant::now()) {
            Passage::Free => true,
            Passage::HeldBack => false,
            Passage::After(held_back) => {
                let text = format!("{held_back} more lines and refusals of this component were not shown");
                tracing::warn!(component = %from.id, "{text}");
                let (from, level) = (from.id.clone(), tracing::Level::WARN);
                self.tell_event(RouterEvent::Log { from, level, text: text.into() });
                true
            }
        }
    }

    pub(crate) fn count_expired(&self) {
        self.shared.counts.expired.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_unheard(&self) {
        self.shared.counts.unheard.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_late(&self) {
        self.shared.counts.late.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wait_graph(&self) -> &WaitGraph {
        &self.shared.waiting
    }

    pub(crate) fn subscribe(&self, pattern: TopicPattern, target: Arc<Target>) -> SubscriptionId {
        self.add(pattern, Subscriber::Component(target))
    }

    pub(crate) fn unsubscribe(&self, ids: &[SubscriptionId]) {
        if ids.is_empty() {
            return;
        }
        let mut subscriptions = self.shared.subscriptions.write().unwrap_or_else(PoisonError::into_inner);
        subscriptions.retain(|subscription| !ids.contains(&subscription.id));
    }

    /// A component with several matching patterns gets the message once.
    pub(crate) fn publish_from(&self, from: Option<&Arc<Target>>, topic: &str, payload: Payload) -> u32 {
        let subscribers = self.subscribers(topic);
        if subscribers.is_empty() {
            return 0;
        }
        let topic: Arc<str> = topic.into();
        let mut taken = 0;
        let mut closed = false;
        for subscriber in subscribers {
            let took = match subscriber {
                Subscriber::Component(target) => {
                    let envelope = Envelope {
                        from: from.map(|from| from.actor),
                        topic: Some(Arc::clone(&topic)),
                        ..Envelope::from_host(payload.clone())
                    };
                    target.deliver(envelope).is_ok()
                }
                Subscriber::Host(sender) => {
                    let from = from.map(|from| from.id.clone());
                    let sent = sender.try_send(Published {
                        from,
                        topic: Arc::clone(&topic),
                        payload: payload.clone(),
                    });
                    closed |= sender.is_closed();
                    sent.is_ok()
                }
            };
            match took {
                true => taken += 1,
                false => self.count_unheard(),
            }
        }
        if closed {
            let mut subscriptions = self.shared.subscriptions.write().unwrap_or_else(PoisonError::into_inner);
            subscriptions.retain(|subscription| !subscription.to.is_closed());
        }
        taken
    }

    fn subscribers(&self, topic: &str) -> Vec<Subscriber> {
        let subscriptions = self.shared.subscriptions.read().unwrap_or_else(PoisonError::into_inner);
        let mut subscribers: Vec<Subscriber> = Vec::new();
        for Subscription { to, .. } in subscriptions.iter().filter(|held| held.pattern.matches(topic)) {
            if !subscribers.iter().any(|other| other.is(to)) {
                subscribers.push(to.clone());
            }
        }
        subscribers
    }

    fn add(&self, pattern: TopicPattern, to: Subscriber) -> SubscriptionId {
        let id = SubscriptionId(self.shared.subscription_next.fetch_add(1, Ordering::Relaxed));
        let mut subscriptions = self.shared.subscriptions.write().unwrap_or_else(PoisonError::into_inner);
        // Listeners that left on topics where nothing is published would stay for ever.
        subscriptions.retain(|subscription| !subscription.to.is_closed());
        subscriptions.push(Subscription { id, pattern, to });
        id
    }

    fn tell_event(&self, event: RouterEvent) {
        // An error says that nobody listens, which is nobody's loss.
        drop(self.shared.events.send(event));
    }

    fn read_directory(&self) -> std::sync::RwLockReadGuard<'_, Directory> {
        self.shared.directory.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber {
    fn is(&self, other: &Subscriber) -> bool {
        match (self, other) {
            (Subscriber::Component(one), Subscriber::Component(other)) => one.actor == other.actor,
            (Subscriber::Host(one), Subscriber::Host(other)) => one.same_channel(other),
            (Subscriber::Component(_), Subscriber::Host(_))
            | (Subscriber::Host(_), Subscriber::Component(_)) => false,
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Subscriber::Component(_) => false,
            Subscriber::Host(sender) => sender.is_closed(),
        }
    }
}

impl Target {
    /// Whether the component takes such a payload at all.
    pub(crate) fn admit(&self, payload: &Payload) -> Result<(), Refused> {
        if payload.bytes.len() as u64 > self.payload_bytes_max {
            return Err(Refused::TooLarge { bytes_max: self.payload_bytes_max });
        }
        match &self.accepts {
            Accepts::Only(codecs) if !self.accepts.reads(payload.codec) => {
                Err(Refused::CodecRefused { accepts: codecs.clone() })
            }
            Accepts::Only(_) | Accepts::All => Ok(()),
        }
    }

    /// Never waits: a full mailbox refuses whatever its policy.
    pub(crate) fn deliver(&self, envelope: Envelope) -> Result<(), Box<Undelivered>> {
        if let Err(refused) = self.admit(&envelope.payload) {
            return Err(Box::new(Undelivered { refused, envelope }));
        }
        self.address.try_tell(ComponentMessage::Deliver(envelope)).map_err(undelivered)
    }

    /// Waits for room where the mailbox's policy is to wait. Dropping the future before it is done sends nothing.
    pub(crate) async fn deliver_waiting(&self, envelope: Envelope) -> Result<(), Box<Undelivered>> {
        if let Err(refused) = self.admit(&envelope.payload) {
            return Err(Box::new(Undelivered { refused, envelope }));
        }
        self.address.tell(ComponentMessage::Deliver(envelope)).await.map_err(undelivered)
    }
}

/// A message that was not delivered, whole.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub(crate) refused: Refused,
    pub(crate) envelope: Envelope,
}

fn undelivered(error: TellError<ComponentMessage>) -> Box<Undelivered> {
    let (refused, message) = match error {
        // Larger than a mailbox's bound on bytes, and expired: neither is in use between components, and both mean no room.
        TellError::Full(message) | TellError::TooLarge(message) | TellError::Expired(message) => {
            (Refused::MailboxFull, message)
        }
        TellError::Closed(message) => (Refused::Gone, message),
    };
    match message {
        ComponentMessage::Deliver(envelope) => Box::new(Undelivered { refused, envelope }),
        ComponentMessage::Callback(_) => unreachable!("the mailbox gives back the message that it was given"),
    }
}
