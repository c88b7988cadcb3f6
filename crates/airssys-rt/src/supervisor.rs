//! Supervision: handles, what they tell, and why they refuse.
//!
//! `plan` decides what is done about an event and `shell` does it. A supervisor whose children come and go at run time, in
//! any number, is in `dynamic`.

mod backoff;
mod budget;
mod dynamic;
mod ending;
mod health;
mod history;
mod offspring;
mod plan;
mod seat;
mod shell;
mod spec;

use std::sync::Arc;

use crate::actor::ActorId;
use crate::address::Address;
use crate::exit::{Exit, ExitReason};
use crate::observe::{Event, NodeKind, NodeState};
use crate::reply::ReplyTo;
use crate::slot::{AnySlot, Header};

pub use backoff::Backoff;
pub use dynamic::{DynamicSpec, DynamicSupervisor};
pub use health::{HealthCheck, Unhealthy};
pub(crate) use history::RestartLog;
pub use history::RestartRecord;
pub(crate) use offspring::Offspring;
pub(crate) use shell::{Command, SupervisorActor, supervisor_mailbox};
use spec::Terms;
pub use spec::{AutoShutdown, ChildSpec, Restart, Shutdown, Strategy, SupervisorSpec};

/// A handle of a running supervisor. Dropping it does nothing to the supervisor.
///
/// What is asked of a supervisor is done in the order asked, and is done as well if the asker leaves.
#[derive(Clone, Debug)]
pub struct Supervisor {
    address: Address<Command>,
}

impl Supervisor {
    pub(crate) fn new(address: Address<Command>) -> Self {
        Self { address }
    }

    /// The supervisor's own id, for links, monitors and exit signals.
    pub fn id(&self) -> ActorId {
        self.address.id()
    }

    /// The supervisor's name.
    pub fn name(&self) -> &str {
        self.address.name()
    }

    /// Its children in start order.
    pub async fn children(&self) -> Result<Vec<ChildInfo>, SupervisorError> {
        self.address.ask_untimed(Command::Children).await.ok_or(SupervisorError::Gone)
    }

    /// How many children it has, of which kind, and how many of them live.
    pub async fn count_children(&self) -> Result<ChildCounts, SupervisorError> {
        self.address.ask_untimed(Command::Count).await.ok_or(SupervisorError::Gone)
    }

    /// Adds a child after the others and returns when it has started. A child that does not start is not added.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<(), SupervisorError> {
        // An earlier incarnation that is about to be gone is waited for here, where it keeps nobody else waiting.
        ending::vacated_soon(&spec.seat(&self.address.0.header.system).slot().header).await;
        self.ask(|reply| Command::Start(spec, reply)).await?.outcome().await
    }

    /// Stops a child and keeps its specification, unless it is temporary. Its mailbox closes. One that is to be restarted is
    /// not any more, and its siblings that wait for it start without it.
    pub async fn terminate_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        let id = id.into();
        self.ask(|reply| Command::Terminate(id, reply)).await
    }

    /// Starts a child that is down. Its address works again.
    pub async fn restart_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        let id = id.into();
        self.ask(|reply| Command::Restart(id, reply)).await?.outcome().await
    }

    /// Drops the specification of a child that is down.
    pub async fn delete_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        let id = id.into();
        self.ask(|reply| Command::Delete(id, reply)).await
    }

    /// Starts a child that is in quarantine, with its whole allowance. If it does not start, it stays there.
    pub async fn release_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        let id = id.into();
        self.ask(|reply| Command::Release(id, reply)).await?.outcome().await
    }

    /// Stops the children in reverse and then the supervisor, and waits for it. A supervisor above may restart it.
    pub async fn stop(&self) -> Exit {
        let incarnation = self.address.0.header.request_stop(ExitReason::Shutdown);
        self.end_of(incarnation).await
    }

    /// Waits for the supervisor's end. Cancel safe.
    pub async fn wait(&self) -> Exit {
        self.end_of(self.address.0.header.incarnation()).await
    }

    /// A supervisor above may have started it again by the time we look.
    async fn end_of(&self, incarnation: u32) -> Exit {
        let header = &self.address.0.header;
        header.settled_as(incarnation).await;
        header.last_exit().expect("a handle is made after the first start, so what is settled has ended")
    }

    async fn ask<T: Send>(
        &self,
        make: impl FnOnce(ReplyTo<Result<T, SupervisorError>>) -> Command,
    ) -> Result<T, SupervisorError> {
        self.address.ask_untimed(make).await.unwrap_or(Err(SupervisorError::Gone))
    }
}

/// One child as its supervisor sees it.
#[derive(Clone, Debug)]
pub struct ChildInfo {
    /// The child's slot.
    pub id: ActorId,
    /// The child's id in the supervisor, which is its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: NodeKind,
    /// When it is restarted.
    pub restart: Restart,
    /// What it is at.
    pub state: NodeState,
    /// How often it was restarted.
    pub restarts: u64,
    /// How its last incarnation ended, if one did.
    pub last_exit: Option<ExitReason>,
    /// Its latest restarts, oldest first, at most 16.
    pub history: Vec<RestartRecord>,
}

impl ChildInfo {
    fn of(header: &Header, terms: &Terms) -> Self {
        let control = header.lock();
        Self {
            id: header.id,
            name: header.name.clone(),
            kind: header.kind,
            restart: terms.restart,
            state: control.state,
            restarts: control.restarts().into(),
            last_exit: control.last_exit().map(|exit| exit.reason.clone()),
            history: control.history(),
        }
    }
}

/// A supervisor's children by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildCounts {
    /// All of them, running or not.
    pub specs: usize,
    /// Those that live.
    pub active: usize,
    /// Those that are supervisors, running or not.
    pub supervisors: usize,
    /// Those that are not.
    pub workers: usize,
}

impl ChildCounts {
    fn add(&mut self, header: &Header) {
        self.specs += 1;
        self.active += usize::from(header.lock().is_alive());
        match header.kind {
            NodeKind::Worker => self.workers += 1,
            NodeKind::Supervisor => self.supervisors += 1,
        }
    }
}

/// Why a supervisor did not do what its handle asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// The supervisor has ended, or ended before it answered.
    #[error("supervisor has ended")]
    Gone,
    /// It has no such child.
    #[error("no child {child}")]
    NoSuchChild {
        /// The child asked for.
        child: Arc<str>,
    },
    /// It has a child of this id, running or down.
    #[error("child {child} exists")]
    Exists {
        /// The child's id.
        child: Arc<str>,
    },
    /// It has as many children as it may.
    #[error("supervisor has {children_max} children, and may have no more")]
    Full {
        /// How many it may have.
        children_max: usize,
    },
    /// The child runs, and what was asked needs it down.
    #[error("child {child} is running")]
    Running {
        /// The child's id.
        child: Arc<str>,
    },
    /// The child is about to be restarted, and what was asked needs it down.
    #[error("child {child} is being restarted")]
    Restarting {
        /// The child's id.
        child: Arc<str>,
    },
    /// The child stays down until it is released.
    #[error("child {child} is in quarantine")]
    Quarantined {
        /// The child's id.
        child: Arc<str>,
    },
    /// The child was to be released, and is not in quarantine.
    #[error("child {child} is not in quarantine")]
    NotQuarantined {
        /// The child's id.
        child: Arc<str>,
    },
    /// The child was killed and is still there, because it never awaits. It stays down once it is gone.
    #[error("child {child} was killed and is stuck")]
    Stuck {
        /// The child's id.
        child: Arc<str>,
    },
    /// The child did not start.
    #[error("start child {child}: {reason}")]
    Start {
        /// The child's id.
        child: Arc<str>,
        /// Why.
        reason: ExitReason,
    },
}

/// Why a supervisor could not even try to start a child. Found behind [`ExitReason::Init`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// A living actor has the child's name.
    #[error("name {name} is taken")]
    NameTaken {
        /// The name.
        name: Arc<str>,
    },
    /// Another supervisor runs this child: a specification is one place in one tree.
    #[error("child {name} belongs to another supervisor")]
    Elsewhere {
        /// The child's name.
        name: Arc<str>,
    },
    /// The specification was made for another system.
    #[error("child {name} belongs to another system")]
    OtherSystem {
        /// The child's name.
        name: Arc<str>,
    },
    /// A significant child has to be transient or temporary: the end of a permanent one is never its last.
    #[error("child {name} is significant and permanent")]
    SignificantPermanent {
        /// The child's name.
        name: Arc<str>,
    },
    /// A significant child needs a supervisor that shuts itself down.
    #[error("child {name} is significant to a supervisor that never shuts itself down")]
    SignificantToNobody {
        /// The child's name.
        name: Arc<str>,
    },
    /// An earlier incarnation was killed and still holds the child's place, because it never awaits.
    #[error("an earlier incarnation of child {name} is stuck")]
    Occupied {
        /// The child's name.
        name: Arc<str>,
    },
    /// The system is shut down or on its way to it.
    #[error("system is shutting down")]
    ShuttingDown,
}

impl ChildError {
    fn into_reason(self) -> ExitReason {
        ExitReason::Init(Arc::new(ExitReason::error(self)))
    }

    fn into_refusal(self, child: Arc<str>) -> SupervisorError {
        SupervisorError::Start { child, reason: self.into_reason() }
    }
}

impl Terms {
    /// As in OTP: what makes no sense together is refused before anything starts.
    fn check(&self, name: &Arc<str>, auto_shutdown: AutoShutdown) -> Result<(), ChildError> {
        match (self.is_significant, auto_shutdown, self.restart) {
            (true, AutoShutdown::Never, _) => Err(ChildError::SignificantToNobody { name: name.clone() }),
            (true, AutoShutdown::AnySignificant | AutoShutdown::AllSignificant, Restart::Permanent) => {
                Err(ChildError::SignificantPermanent { name: name.clone() })
            }
            (true, _, Restart::Transient | Restart::Temporary) | (false, _, _) => Ok(()),
        }
    }
}

/// The end of a supervisor that could not start a child.
#[derive(Debug, thiserror::Error)]
#[error("start child {child}: {reason}")]
pub(crate) struct ChildFailed {
    pub(crate) child: Arc<str>,
    pub(crate) reason: ExitReason,
}

/// Leaves a child down, closed and with its name.
fn quarantine(slot: &AnySlot, supervisor: ActorId, reason: ExitReason) {
    let header = &slot.header;
    slot.shut();
    header.set_down();
    header.set_state(NodeState::Quarantined);
    tracing::warn!(actor = %header.name, id = header.id.as_u64(), %reason, "child is in quarantine");
    header.system.emit(|| Event::Quarantined {
        supervisor,
        id: header.id,
        name: header.name.clone(),
        reason,
    });
}
