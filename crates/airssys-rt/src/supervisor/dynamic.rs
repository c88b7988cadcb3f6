//! A dynamic supervisor: any number of children of any kind, added while it runs, each restarted for itself.
//!
//! Its children are in a table that the handles and the supervisor's task share under a short lock. Whoever starts a child
//! puts it there and starts it on the spot; the supervisor's task is needed only for restarts and to stop them all, which it
//! does in parallel. A child that is not to be restarted leaves the table by itself when it ends.

mod keeper;
mod table;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::{Actor, ActorId, rules};
use crate::address::Address;
use crate::exit::{Exit, ExitReason};
use crate::lifecycle::{FirstPoll, others_turn};
use crate::mailbox::MailboxOptions;
use crate::observe::NodeKind;
use crate::reply::reply;
use crate::slot::{AnySlot, Entry, TypedSlot};
use crate::system::System;

use super::ending::{self, Ended};
use super::health;
use super::seat::{Made, Seat};
use super::shell::{Begun, supervisor_mailbox};
use super::spec::{AutoShutdown, ChildSpec, Restart, Shutdown, Terms};
use super::{ChildCounts, ChildInfo, Offspring, SupervisorError};

use keeper::{Command, Keeper};
use table::Begins;
pub(crate) use table::Table;

/// One dynamic supervisor, and how it treats the children that are spawned under it.
#[derive(Clone, Debug)]
pub struct DynamicSpec {
    /// Unique in the system, like an actor's.
    pub name: Arc<str>,
    /// Restarts allowed within `period`, of all children together; one more ends the supervisor.
    pub intensity: u32,
    /// The sliding window of `intensity`.
    pub period: Duration,
    /// What the end of significant children does to the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// Children it may have at a time.
    pub children_max: usize,
    /// When a child from [`DynamicSupervisor::spawn`] is restarted.
    pub restart: Restart,
    /// How long a child from [`DynamicSupervisor::spawn`] may take to stop.
    pub shutdown: Shutdown,
}

impl DynamicSpec {
    /// 1 restart in 5 s, no automatic shutdown, at most 1,000,000 children; what is spawned is permanent, with 5 s to stop.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            intensity: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::Never,
            children_max: 1_000_000,
            restart: Restart::Permanent,
            shutdown: Shutdown::After(Duration::from_secs(5)),
        }
    }

    /// Allows this many restarts within this period.
    pub fn intensity(self, intensity: u32, period: Duration) -> Self {
        Self { intensity, period, ..self }
    }

    /// Chooses what the end of significant children does.
    pub fn auto_shutdown(self, auto_shutdown: AutoShutdown) -> Self {
        Self { auto_shutdown, ..self }
    }

    /// Bounds the children it may have at a time.
    pub fn children_max(self, children_max: usize) -> Self {
        Self { children_max, ..self }
    }

    /// Chooses when what is spawned is restarted.
    pub fn restart(self, restart: Restart) -> Self {
        Self { restart, ..self }
    }

    /// Chooses how long what is spawned may take to stop.
    pub fn shutdown(self, shutdown: Shutdown) -> Self {
        Self { shutdown, ..self }
    }

    pub(crate) fn place(self, system: &System) -> (Arc<dyn Seat>, DynamicSupervisor) {
        let slot = TypedSlot::new(
            system,
            self.name.clone(),
            NodeKind::Supervisor,
            supervisor_mailbox(),
            rules::<Keeper>(),
        );
        let table = Arc::new(Table::new(self));
        slot.header.lock().rare_mut().children = Offspring::Shared(table.clone());
        let handle = DynamicSupervisor { slot: slot.clone(), table: table.clone() };
        (Arc::new(Made { slot, factory: move || Keeper::new(table.clone()) }), handle)
    }
}

/// A handle of a dynamic supervisor. Dropping it does nothing to the supervisor. It stays good across restarts of the
/// supervisor, which begins each time without children.
#[derive(Clone)]
pub struct DynamicSupervisor {
    slot: Arc<TypedSlot<Command>>,
    table: Arc<Table>,
}

impl DynamicSupervisor {
    pub(crate) fn from_entry(entry: Entry) -> Option<Self> {
        let slot = entry.typed::<Command>()?;
        let table = slot.header.lock().rare_mut().children.table()?;
        Some(Self { slot, table })
    }

    /// The supervisor's own id, for links, monitors and exit signals.
    pub fn id(&self) -> ActorId {
        self.slot.header.id
    }

    /// The supervisor's name.
    pub fn name(&self) -> &str {
        &self.slot.header.name
    }

    /// Starts an actor under this supervisor, as the supervisor's specification says, and returns when its `start` has
    /// succeeded. One that does not start is not a child. `id` names it in the system. As with [`System::spawn`], the first
    /// step may run on the caller's thread.
    ///
    /// Not cancel safe: when the future is dropped while `start` runs, the child goes on without it.
    pub async fn spawn<A: Actor>(
        &self,
        id: impl Into<Arc<str>>,
        mailbox: MailboxOptions,
        factory: impl Fn() -> A + Send + Sync + 'static,
    ) -> Result<Address<A::Message>, SupervisorError> {
        let slot = TypedSlot::<A::Message>::new(
            &self.slot.header.system,
            id.into(),
            NodeKind::Worker,
            mailbox,
            rules::<A>(),
        );
        let incarnation =
            self.launch(Arc::new(Made { slot: slot.clone(), factory }), self.table.template())?;
        others_turn().await;
        Begun { slot: slot.clone(), incarnation }.outcome().await?;
        Ok(Address(slot))
    }

    /// Starts a child under this supervisor by its own terms, and returns when it has started. One that does not start is
    /// not a child.
    ///
    /// Not cancel safe: when the future is dropped while `start` runs, the child goes on without it.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<(), SupervisorError> {
        let seat = spec.seat(&self.slot.header.system);
        let slot = seat.entry().slot();
        ending::vacated_soon(&slot.header).await;
        let incarnation = self.launch(seat, &spec.terms)?;
        others_turn().await;
        Begun { slot, incarnation }.outcome().await
    }

    /// Stops a child and forgets it, whatever its terms say of restarts.
    pub async fn terminate_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        let child = id.into();
        let slot = self.find(&child)?;
        let Some((shutdown, asked)) = self.table.terminate(slot.header.id, &child)? else {
            return Ok(());
        };
        let (reply, outcome) = reply(None);
        let table = self.table.clone();
        ending::beside(&self.slot.header, async move {
            let outcome = ending::ended(&slot.header, shutdown, asked).await;
            table.terminated(slot.header.id);
            // The caller may have left; the child is ended all the same.
            drop(reply.send(outcome));
        });
        match outcome.await {
            Some(Ended::Gone) => Ok(()),
            Some(Ended::Stuck) => Err(SupervisorError::Stuck { child }),
            // The executor is being shut down, and took the task along.
            None => Err(SupervisorError::Gone),
        }
    }

    /// Starts a child that is in quarantine, with its whole allowance. If it does not start, it stays there.
    ///
    /// Not cancel safe: when the future is dropped while `start` runs, the child goes on without it.
    pub async fn release_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        let child = id.into();
        let slot = self.find(&child)?;
        ending::vacated_soon(&slot.header).await;
        let begins = self.table.release(slot.header.id, &child)?;
        let incarnation = begins.incarnation;
        begins.launch(FirstPoll::Caller);
        others_turn().await;
        Begun { slot, incarnation }.outcome().await
    }

    /// Its children in the order they were made.
    pub fn children(&self) -> Vec<ChildInfo> {
        self.table.children()
    }

    /// How many children it has, of which kind, and how many of them live.
    pub fn count_children(&self) -> ChildCounts {
        self.table.counts()
    }

    /// Stops all children in parallel and then the supervisor, and waits for it. A supervisor above may restart it.
    pub async fn stop(&self) -> Exit {
        let incarnation = self.slot.header.request_stop(ExitReason::Shutdown);
        self.end_of(incarnation).await
    }

    /// Waits for the supervisor's end; [`ExitReason::NoProc`] if it was not started yet. Cancel safe.
    pub async fn wait(&self) -> Exit {
        self.end_of(self.slot.header.incarnation()).await
    }

    async fn end_of(&self, incarnation: u32) -> Exit {
        let header = &self.slot.header;
        header.settled_as(incarnation).await;
        header.last_exit().unwrap_or_else(|| Exit {
            id: header.id,
            name: header.name.clone(),
            reason: ExitReason::NoProc,
        })
    }

    fn launch(&self, seat: Arc<dyn Seat>, terms: &Arc<Terms>) -> Result<u32, SupervisorError> {
        let incarnation = self.table.admit(&seat, terms, &self.slot)?;
        launch(seat, terms, incarnation, FirstPoll::Caller);
        Ok(incarnation)
    }

    /// The registry knows who is called so, and the table whether it is one of ours.
    fn find(&self, child: &Arc<str>) -> Result<Arc<AnySlot>, SupervisorError> {
        let slot = self.slot.header.system.named(child).map(|entry| entry.slot());
        slot.filter(|slot| slot.header.name == *child && self.table.has(slot.header.id))
            .ok_or_else(|| SupervisorError::NoSuchChild { child: child.clone() })
    }
}

impl Begins {
    fn launch(self, first: FirstPoll) {
        launch(self.seat, &self.terms, self.incarnation, first);
    }
}

/// Starts an incarnation that has begun, and whatever watches over it.
fn launch(seat: Arc<dyn Seat>, terms: &Terms, incarnation: u32, first: FirstPoll) {
    if let Some(check) = &terms.health {
        health::watch(&seat.entry().slot(), incarnation, check.clone(), terms.shutdown);
    }
    seat.launch(first);
}

impl fmt::Debug for DynamicSupervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynamicSupervisor({} {})", self.slot.header.id, self.slot.header.name)
    }
}
