//! A system: the actors that know each other by name, and the one place from which all of them are stopped.
//!
//! Needs a tokio runtime with time enabled when something is started in it. Dropping the last handle stops nothing;
//! [`System::shutdown`] does, and it always ends.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::actor::{Actor, ActorId, rules};
use crate::address::{Address, deadline_after};
use crate::deadline::Deadlines;
use crate::executor::Executor;
use crate::exit::ExitReason;
use crate::group::Scopes;
use crate::lifecycle::{self, FirstPoll, install_panic_hook, others_turn};
use crate::mailbox::MailboxOptions;
use crate::observe::{
    DeadLetter, DeadLetterCounts, DeadLetterReason, DeadLetters, Event, Events, Metrics, NodeKind,
    Observatory, TreeNode,
};
use crate::registry::{NotEntered, Registry};
use crate::slot::{AnySlot, Entry, Header, TypedSlot};
use crate::stuck::{Watch, Watched};
use crate::supervisor::{
    ChildFailed, DynamicSpec, DynamicSupervisor, Supervisor, SupervisorActor, SupervisorSpec,
    supervisor_mailbox,
};

/// How long [`System::shutdown`] gives killed actors to notice before it calls them stuck.
const KILL_GRACE: Duration = Duration::from_millis(250);

/// A set of actors. Cheap to clone.
#[derive(Clone)]
pub struct System(Arc<Inner>);

struct Inner {
    executor: Executor,
    #[cfg(feature = "testing")]
    faults: crate::testing::FaultTable,
    ids: AtomicU64,
    numbers: AtomicU64,
    registry: Registry,
    scopes: Scopes,
    observatory: Observatory,
    deadlines: Deadlines,
    watch: Option<Watch>,
}

/// What a system is told when it is made.
#[derive(Clone, Default)]
pub struct SystemOptions {
    stuck_after: Option<Duration>,
    metrics: Option<Arc<dyn Metrics>>,
}

impl SystemOptions {
    /// Reports an actor that runs for this long without awaiting, by [`Event::Stuck`] and a warning in the log. A thread of
    /// its own looks four times in that time; the price to actors is three stores per turn. Off by default.
    pub fn stuck_after(self, limit: Duration) -> Self {
        Self { stuck_after: Some(limit), ..self }
    }

    /// Sends figures to this hook. Without it they are not made.
    pub fn metrics(self, metrics: Arc<dyn Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }
}

impl fmt::Debug for SystemOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemOptions").field("stuck_after", &self.stuck_after).finish_non_exhaustive()
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl System {
    /// An empty system. The first one in a process installs a panic hook that keeps actors' panics for their exit reason;
    /// panics elsewhere go to the hook that was there.
    pub fn new() -> Self {
        Self::with(SystemOptions::default())
    }

    /// An empty system with these options; see [`System::new`].
    pub fn with(options: SystemOptions) -> Self {
        Self::on(Executor::Tokio, options)
    }

    pub(crate) fn on(executor: Executor, options: SystemOptions) -> Self {
        install_panic_hook();
        let system = Self(Arc::new(Inner {
            executor,
            #[cfg(feature = "testing")]
            faults: crate::testing::FaultTable::default(),
            ids: AtomicU64::new(1),
            numbers: AtomicU64::new(1),
            registry: Registry::default(),
            scopes: Scopes::default(),
            observatory: Observatory::new(options.metrics),
            deadlines: Deadlines::default(),
            watch: options.stuck_after.map(Watch::new),
        }));
        if let Some(watch) = &system.0.watch {
            watch.start(system.downgrade());
        }
        system
    }

    /// Starts an actor nobody restarts, and returns when its `start` has succeeded. The factory and the first step of `start`
    /// may run on the caller's thread, so many that compute for long start side by side only from several tasks, and until it
    /// first awaits `start` sees the task-locals and the `tracing` span of its caller.
    ///
    /// Not cancel safe: when the future is dropped while `start` runs, the actor goes on without it.
    pub async fn spawn<A: Actor>(
        &self,
        name: impl Into<Arc<str>>,
        mailbox: MailboxOptions,
        factory: impl FnOnce() -> A + Send + 'static,
    ) -> Result<Address<A::Message>, SpawnError> {
        let name = name.into();
        let slot = TypedSlot::<A::Message>::new(self, name.clone(), NodeKind::Worker, mailbox, rules::<A>());
        match self.0.registry.enter(&Entry::from(&slot)) {
            Ok(()) => {}
            Err(NotEntered::NameTaken) => return Err(SpawnError::NameTaken { name }),
            Err(NotEntered::Closed) => return Err(SpawnError::ShuttingDown),
        }
        slot.header.begin();
        lifecycle::launch(slot.clone(), factory, FirstPoll::Caller);
        others_turn().await;
        match slot.header.start_outcome().await {
            Ok(()) => Ok(Address(slot)),
            Err(exit) => Err(SpawnError::Start { name, reason: exit.reason }),
        }
    }

    /// Starts a supervisor and its children, and returns when all have started.
    ///
    /// Not cancel safe: when the future is dropped, the tree goes on starting without it.
    pub async fn supervise(&self, spec: SupervisorSpec) -> Result<Supervisor, StartError> {
        let slot = TypedSlot::new(
            self,
            spec.name.clone(),
            NodeKind::Supervisor,
            supervisor_mailbox(),
            rules::<SupervisorActor>(),
        );
        let entry = Entry::from(&slot);
        let address = Address(slot.clone());
        self.start_root(&entry, || {
            lifecycle::launch(slot, move || SupervisorActor::new(spec), FirstPoll::Task)
        })
        .await?;
        Ok(Supervisor::new(address))
    }

    /// Starts a dynamic supervisor, which has no children yet.
    ///
    /// Not cancel safe: when the future is dropped, the supervisor starts without it.
    pub async fn supervise_dynamic(&self, spec: DynamicSpec) -> Result<DynamicSupervisor, StartError> {
        let (seat, handle) = spec.place(self);
        self.start_root(&seat.entry(), || seat.clone().launch(FirstPoll::Task)).await?;
        Ok(handle)
    }

    async fn start_root(&self, entry: &Entry, launch: impl FnOnce()) -> Result<(), StartError> {
        let header = entry.header();
        let name = header.name.clone();
        match self.0.registry.enter(entry) {
            Ok(()) => {}
            Err(NotEntered::NameTaken) => return Err(StartError::NameTaken { name }),
            Err(NotEntered::Closed) => return Err(StartError::ShuttingDown),
        }
        header.begin();
        launch();
        match header.start_outcome().await {
            Ok(()) => Ok(()),
            Err(exit) => {
                let failed = exit.reason.as_error().and_then(|error| error.downcast_ref::<ChildFailed>());
                Err(match failed {
                    Some(ChildFailed { child, reason }) => {
                        StartError::Child { child: child.clone(), reason: reason.clone() }
                    }
                    None => StartError::Supervisor { name, reason: exit.reason },
                })
            }
        }
    }

    /// The address behind a name, an actor's own or a further one, if its messages are of this type.
    pub fn lookup<M: Send + 'static>(&self, name: &str) -> Option<Address<M>> {
        self.0.registry.named(name)?.typed().map(Address)
    }

    /// A handle of the supervisor with this name.
    pub fn supervisor(&self, name: &str) -> Option<Supervisor> {
        self.lookup(name).map(Supervisor::new)
    }

    /// A handle of the dynamic supervisor with this name.
    pub fn dynamic_supervisor(&self, name: &str) -> Option<DynamicSupervisor> {
        DynamicSupervisor::from_entry(self.named(name)?)
    }

    /// Sends an exit signal; see [`Address::exit`]. False if there is no such actor.
    pub fn exit(&self, id: ActorId, reason: ExitReason) -> bool {
        self.slot(id).is_some_and(|slot| slot.header.exit(reason))
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        self.0.observatory.events()
    }

    /// The tree as it stands: unsupervised actors and top-level supervisors in the order they were started.
    pub fn tree(&self) -> Vec<TreeNode> {
        self.roots().iter().map(|slot| slot.node()).collect()
    }

    /// Reads messages that are lost on purpose from now on, `capacity` of them until they are read: what comes to a full
    /// reader is only counted. A message has one reader, so a second reader takes over from the first.
    pub fn read_dead_letters(&self, capacity: usize) -> DeadLetters {
        self.0.observatory.read_dead_letters(capacity)
    }

    /// What was lost on purpose so far.
    pub fn dead_letters(&self) -> DeadLetterCounts {
        self.0.observatory.dead_letters()
    }

    /// Stops all top-level supervisors and actors, last started first, and kills what is left after `timeout`. What does
    /// not notice even that, because it never awaits, is reported as stuck and left behind. Nothing can be started after.
    ///
    /// Cancel safe: dropped half-way, what was not reached goes on. Called from an actor of this system, it waits for that
    /// actor too, so spawn a task for it.
    pub async fn shutdown(&self, timeout: Duration) -> ShutdownReport {
        self.0.registry.close();
        let deadline = deadline_after(timeout);
        let mut stopped = Vec::new();
        for root in self.roots().into_iter().rev() {
            root.header.request_stop(ExitReason::Shutdown);
            if timeout_at(deadline, root.header.settled()).await.is_err() {
                break;
            }
            stopped.push(root.header.name.clone());
        }
        let late: Vec<Arc<AnySlot>> =
            self.0.registry.slots().into_iter().filter(|slot| !slot.header.is_settled()).collect();
        for slot in &late {
            slot.header.exit(ExitReason::Killed);
        }
        let grace = Instant::now() + KILL_GRACE;
        let mut report = ShutdownReport { stopped, killed: Vec::new(), stuck: Vec::new() };
        for slot in late {
            let name = slot.header.name.clone();
            match timeout_at(grace, slot.header.settled()).await {
                Ok(()) => report.killed.push(name),
                Err(_) => report.stuck.push(name),
            }
        }
        report
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn scopes(&self) -> &Scopes {
        &self.0.scopes
    }

    pub(crate) fn next_id(&self) -> ActorId {
        ActorId(self.0.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// A number nothing else in this system has.
    pub(crate) fn next_number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn downgrade(&self) -> WeakSystem {
        WeakSystem(Arc::downgrade(&self.0))
    }

    pub(crate) fn executor(&self) -> &Executor {
        &self.0.executor
    }

    #[cfg(feature = "testing")]
    pub(crate) fn faults(&self) -> &crate::testing::FaultTable {
        &self.0.faults
    }

    /// Starts a task that works for all actors; see [`Header::start_task`] for those that work for one.
    pub(crate) fn start_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.executor.spawn(None, task);
    }

    /// As [`System::start_task`], for what is dropped instead where nothing runs any more.
    pub(crate) fn start_late_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.executor.spawn_late(task);
    }

    #[inline]
    pub(crate) fn deadlines(&self) -> &Deadlines {
        &self.0.deadlines
    }

    /// Notes for the watch, if there is one, that this thread runs this actor.
    #[inline]
    pub(crate) fn watch(&self, id: ActorId) -> Option<Watched> {
        self.0.watch.as_ref().map(|watch| watch.enter(id))
    }

    #[inline]
    pub(crate) fn count_turn(&self, header: &Header, messages: u32) {
        if let Some(metrics) = self.0.observatory.metrics()
            && messages > 0
        {
            metrics.turn(header.id, &header.name, messages);
        }
    }

    pub(crate) fn slot(&self, id: ActorId) -> Option<Arc<AnySlot>> {
        self.0.registry.slot(id)
    }

    pub(crate) fn named(&self, name: &str) -> Option<Entry> {
        self.0.registry.named(name)
    }

    pub(crate) fn enter(&self, entry: &Entry) -> Result<(), NotEntered> {
        self.0.registry.enter(entry)
    }

    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        self.0.observatory.emit(event);
    }

    pub(crate) fn has_dead_letter_reader(&self) -> bool {
        self.0.observatory.has_dead_letter_reader()
    }

    pub(crate) fn dead_letters_add(&self, header: &Header, reason: DeadLetterReason, count: u64) {
        if count > 0 {
            self.0.observatory.count(reason, count);
            self.emit(|| Event::DeadLetter { id: header.id, name: header.name.clone(), reason, count });
        }
    }

    /// Counts messages as lost, and shows them to whoever reads dead letters.
    pub(crate) fn lose<M: Send + 'static>(
        &self,
        header: &Header,
        reason: DeadLetterReason,
        messages: impl IntoIterator<Item = M>,
    ) {
        let mut count = 0;
        let is_read = self.has_dead_letter_reader();
        for message in messages {
            count += 1;
            if is_read {
                let (id, name) = (header.id, header.name.clone());
                self.0.observatory.show(DeadLetter { id, name, reason, message: Box::new(message) });
            }
        }
        self.dead_letters_add(header, reason, count);
    }

    fn roots(&self) -> Vec<Arc<AnySlot>> {
        self.0.registry.slots().into_iter().filter(|slot| !slot.header.has_parent()).collect()
    }
}

pub(crate) struct WeakSystem(Weak<Inner>);

impl WeakSystem {
    pub(crate) fn upgrade(&self) -> Option<System> {
        self.0.upgrade().map(System)
    }
}

/// Why an actor was not started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// A living actor has this name.
    #[error("name {name} is taken")]
    NameTaken {
        /// The name.
        name: Arc<str>,
    },
    /// The actor ended before its `start` succeeded.
    #[error("start {name}: {reason}")]
    Start {
        /// The actor's name.
        name: Arc<str>,
        /// Always [`ExitReason::Init`].
        reason: ExitReason,
    },
    /// The system is shut down or on its way to it.
    #[error("system is shutting down")]
    ShuttingDown,
}

/// Why a supervisor was not started. None of its children is left running.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A living actor has the supervisor's name.
    #[error("name {name} is taken")]
    NameTaken {
        /// The name.
        name: Arc<str>,
    },
    /// A child did not start.
    #[error("start child {child}: {reason}")]
    Child {
        /// The first child that failed.
        child: Arc<str>,
        /// Why.
        reason: ExitReason,
    },
    /// The supervisor was stopped or killed while it started its children.
    #[error("start supervisor {name}: {reason}")]
    Supervisor {
        /// The supervisor's name.
        name: Arc<str>,
        /// Why.
        reason: ExitReason,
    },
    /// The system is shut down or on its way to it.
    #[error("system is shutting down")]
    ShuttingDown,
}

/// How a shutdown went, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Top-level supervisors and actors that ended in time, in the order they did.
    pub stopped: Vec<Arc<str>>,
    /// Actors that had to be killed.
    pub killed: Vec<Arc<str>>,
    /// Actors that did not even notice the kill.
    pub stuck: Vec<Arc<str>>,
}

impl ShutdownReport {
    /// Nobody had to be killed.
    pub fn is_clean(&self) -> bool {
        self.killed.is_empty() && self.stuck.is_empty()
    }
}
