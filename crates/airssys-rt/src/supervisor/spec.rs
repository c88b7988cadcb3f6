//! What a supervisor is told to keep alive: specifications, cloned whenever the supervisor itself is restarted.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::actor::{Actor, rules};
use crate::address::Address;
use crate::mailbox::MailboxOptions;
use crate::observe::NodeKind;
use crate::slot::TypedSlot;
use crate::system::System;

use super::backoff::Backoff;
use super::budget::Budget;
use super::dynamic::{DynamicSpec, DynamicSupervisor};
use super::health::HealthCheck;
use super::seat::{Made, Seat};
use super::shell::{SupervisorActor, supervisor_mailbox};

/// Which children a failure concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The one that ended.
    OneForOne,
    /// All of them.
    OneForAll,
    /// The one that ended and those started after it.
    RestForOne,
}

/// When a child that ended by itself is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Unless it ended [`Normal`](crate::ExitReason::Normal) or [`Shutdown`](crate::ExitReason::Shutdown).
    Transient,
    /// Never; its specification is dropped when it ends, also when a sibling's restart ended it.
    Temporary,
}

impl Restart {
    /// Whether a child is restarted after an end of its own.
    pub(crate) fn follows(self, is_abnormal: bool) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => is_abnormal,
            Self::Temporary => false,
        }
    }
}

/// How long a child may take to stop. One that was killed and does not notice it within a second, because it never awaits, is
/// reported as stuck and waited for no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It is killed without being asked.
    Brutal,
    /// It is killed if it takes longer.
    After(Duration),
    /// It takes what it takes. Right for supervisors, which bound their children.
    Infinity,
}

/// Whether a supervisor ends itself, with [`Shutdown`](crate::ExitReason::Shutdown), when significant children have ended by
/// themselves and are not restarted. Their end by a call or by a sibling's restart does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AutoShutdown {
    /// It does not, and may have no significant children.
    #[default]
    Never,
    /// When one of them has.
    AnySignificant,
    /// When the last of them has. One in quarantine has not.
    AllSignificant,
}

/// One supervisor: its children in start order, and how it treats them.
#[derive(Clone, Debug)]
pub struct SupervisorSpec {
    /// Unique in the system, like an actor's.
    pub name: Arc<str>,
    /// Which children a failure concerns.
    pub strategy: Strategy,
    /// Restarts allowed within `period`; one more ends the supervisor.
    pub intensity: u32,
    /// The sliding window of `intensity`.
    pub period: Duration,
    /// What the end of significant children does to the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// With this many children, none is added at run time.
    pub children_max: usize,
    /// Started first to last, stopped last to first.
    pub children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// One for one, 1 restart in 5 s, no automatic shutdown, at most 100,000 children, none yet.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            strategy: Strategy::OneForOne,
            intensity: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::Never,
            children_max: 100_000,
            children: Vec::new(),
        }
    }

    /// Chooses the strategy.
    pub fn strategy(self, strategy: Strategy) -> Self {
        Self { strategy, ..self }
    }

    /// Allows this many restarts within this period.
    pub fn intensity(self, intensity: u32, period: Duration) -> Self {
        Self { intensity, period, ..self }
    }

    /// Chooses what the end of significant children does.
    pub fn auto_shutdown(self, auto_shutdown: AutoShutdown) -> Self {
        Self { auto_shutdown, ..self }
    }

    /// Bounds the children that are added at run time, together with those already there.
    pub fn children_max(self, children_max: usize) -> Self {
        Self { children_max, ..self }
    }

    /// Adds a child after those already there.
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }
}

/// One child: how it is made, when it is restarted, how long it may take to stop.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) id: Arc<str>,
    pub(crate) terms: Arc<Terms>,
    kind: Kind,
}

/// How a child is treated, whatever it is.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) is_significant: bool,
    pub(crate) backoff: Option<Backoff>,
    /// Restarts it has to itself, and within which period.
    pub(crate) allowance: Option<(u32, Duration)>,
    pub(crate) health: Option<HealthCheck>,
}

#[derive(Clone)]
enum Kind {
    Seated(Arc<dyn Seat>),
    Supervisor(Arc<Unseated>),
}

/// A supervisor whose system is not known yet.
struct Unseated {
    spec: SupervisorSpec,
    seat: OnceLock<Arc<dyn Seat>>,
}

impl ChildSpec {
    /// An actor, and the address it will have. `id` names it in its supervisor and in the system. Messages sent before it
    /// starts wait for it. Permanent, with 5 s to stop, unless told otherwise.
    pub fn worker<A: Actor>(
        system: &System,
        id: impl Into<Arc<str>>,
        mailbox: MailboxOptions,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> (Self, Address<A::Message>) {
        let id = id.into();
        let slot = TypedSlot::<A::Message>::new(system, id.clone(), NodeKind::Worker, mailbox, rules::<A>());
        let address = Address(slot.clone());
        let terms = Terms::new(Restart::Permanent, Shutdown::After(Duration::from_secs(5)));
        let seat: Arc<dyn Seat> = Arc::new(Made { slot, factory });
        (Self { id, terms: Arc::new(terms), kind: Kind::Seated(seat) }, address)
    }

    /// A supervisor under a supervisor. Permanent, with all the time it needs to stop, unless told otherwise.
    pub fn supervisor(spec: SupervisorSpec) -> Self {
        Self {
            id: spec.name.clone(),
            terms: Arc::new(Terms::new(Restart::Permanent, Shutdown::Infinity)),
            kind: Kind::Supervisor(Arc::new(Unseated { spec, seat: OnceLock::new() })),
        }
    }

    /// A dynamic supervisor under a supervisor, and the handle it will have: until it runs, nothing can be started under it.
    /// Permanent, with all the time it needs to stop, unless told otherwise.
    pub fn dynamic(system: &System, spec: DynamicSpec) -> (Self, DynamicSupervisor) {
        let id = spec.name.clone();
        let (seat, handle) = spec.place(system);
        let terms = Arc::new(Terms::new(Restart::Permanent, Shutdown::Infinity));
        (Self { id, terms, kind: Kind::Seated(seat) }, handle)
    }

    /// Chooses when it is restarted.
    pub fn restart(self, restart: Restart) -> Self {
        self.on_terms(|terms| terms.restart = restart)
    }

    /// Chooses how long it may take to stop.
    pub fn shutdown(self, shutdown: Shutdown) -> Self {
        self.on_terms(|terms| terms.shutdown = shutdown)
    }

    /// Makes its end one that may end its supervisor; see [`AutoShutdown`]. Not for a permanent child.
    pub fn significant(self) -> Self {
        self.on_terms(|terms| terms.is_significant = true)
    }

    /// Delays its restarts. Nobody waits for it meanwhile but siblings that restart with it: those are stopped at once and
    /// started when it is.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.on_terms(|terms| terms.backoff = Some(backoff))
    }

    /// Gives it this many restarts within this period, both ends included. When it needs one more it stays down in
    /// quarantine, without a charge to its supervisor, until [`Supervisor::release_child`](super::Supervisor::release_child)
    /// or a restart of the supervisor. Restarts within the allowance are charged to the supervisor as any. A start by a call
    /// gives it the whole allowance again.
    pub fn allowance(self, restarts: u32, period: Duration) -> Self {
        self.on_terms(|terms| terms.allowance = Some((restarts, period)))
    }

    /// Ends it with [`Unhealthy`](super::Unhealthy) when it does not answer any more.
    pub fn health(self, check: HealthCheck) -> Self {
        self.on_terms(|terms| terms.health = Some(check))
    }

    /// Its name in the supervisor and in the system.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(crate) fn seat(&self, system: &System) -> Arc<dyn Seat> {
        match &self.kind {
            Kind::Seated(seat) => seat.clone(),
            Kind::Supervisor(unseated) => unseated.seat.get_or_init(|| unseated.place(system)).clone(),
        }
    }

    fn on_terms(mut self, change: impl FnOnce(&mut Terms)) -> Self {
        change(Arc::make_mut(&mut self.terms));
        self
    }
}

impl Unseated {
    fn place(&self, system: &System) -> Arc<dyn Seat> {
        let (name, spec) = (self.spec.name.clone(), self.spec.clone());
        let slot = TypedSlot::new(
            system,
            name,
            NodeKind::Supervisor,
            supervisor_mailbox(),
            rules::<SupervisorActor>(),
        );
        Arc::new(Made { slot, factory: move || SupervisorActor::new(spec.clone()) })
    }
}

impl Terms {
    /// The budget of its own allowance, unspent.
    pub(crate) fn allowance(&self) -> Option<Budget> {
        self.allowance.map(|(restarts, period)| Budget::new(restarts, period))
    }

    pub(crate) fn new(restart: Restart, shutdown: Shutdown) -> Self {
        Self { restart, shutdown, is_significant: false, backoff: None, allowance: None, health: None }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec").field("id", &self.id).field("terms", &self.terms).finish_non_exhaustive()
    }
}
