//! What a supervisor is told to keep alive: specifications, cloned whenever the supervisor itself is restarted.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::actor::{Actor, rules};
use crate::address::Address;
use crate::lifecycle;
use crate::mailbox::MailboxOptions;
use crate::observe::NodeKind;
use crate::slot::{Entry, TypedSlot};
use crate::system::System;

use super::{Command, SupervisorActor, supervisor_mailbox};

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

/// How long a child may take to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It is killed without being asked.
    Brutal,
    /// It is killed if it takes longer.
    After(Duration),
    /// It takes what it takes. Right for supervisors, which bound their children.
    Infinity,
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
    /// Started first to last, stopped last to first.
    pub children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// One for one, 1 restart in 5 s, no children.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            strategy: Strategy::OneForOne,
            intensity: 1,
            period: Duration::from_secs(5),
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
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Worker(Place),
    Supervisor { spec: Box<SupervisorSpec>, slot: Arc<OnceLock<Arc<TypedSlot<Command>>>> },
}

/// Where a child lives and what puts one there.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) entry: Entry,
    /// Starts an incarnation in the slot, which must have been claimed.
    pub(crate) launch: Arc<dyn Fn() + Send + Sync>,
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
        let entry = Entry::from(&slot);
        let factory = Arc::new(factory);
        let launch = Arc::new(move || {
            let factory = factory.clone();
            lifecycle::launch(slot.clone(), move || factory());
        });
        let spec = Self {
            id,
            restart: Restart::Permanent,
            shutdown: Shutdown::After(Duration::from_secs(5)),
            kind: Kind::Worker(Place { entry, launch }),
        };
        (spec, address)
    }

    /// A supervisor under a supervisor. Permanent, with all the time it needs to stop, unless told otherwise.
    pub fn supervisor(spec: SupervisorSpec) -> Self {
        Self {
            id: spec.name.clone(),
            restart: Restart::Permanent,
            shutdown: Shutdown::Infinity,
            kind: Kind::Supervisor { spec: Box::new(spec), slot: Arc::default() },
        }
    }

    /// Chooses when it is restarted.
    pub fn restart(self, restart: Restart) -> Self {
        Self { restart, ..self }
    }

    /// Chooses how long it may take to stop.
    pub fn shutdown(self, shutdown: Shutdown) -> Self {
        Self { shutdown, ..self }
    }

    /// Its name in the supervisor and in the system.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(crate) fn place(&self, system: &System) -> Place {
        match &self.kind {
            Kind::Worker(place) => place.clone(),
            Kind::Supervisor { spec, slot } => {
                let slot = slot
                    .get_or_init(|| {
                        TypedSlot::new(
                            system,
                            self.id.clone(),
                            NodeKind::Supervisor,
                            supervisor_mailbox(),
                            rules::<SupervisorActor>(),
                        )
                    })
                    .clone();
                let entry = Entry::from(&slot);
                let spec = spec.clone();
                let launch = Arc::new(move || {
                    let spec = (*spec).clone();
                    lifecycle::launch(slot.clone(), move || SupervisorActor::new(spec));
                });
                Place { entry, launch }
            }
        }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .finish_non_exhaustive()
    }
}
