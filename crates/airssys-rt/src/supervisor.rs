//! A supervisor: an actor that traps exits, asks the plan what to do, and does it.
//!
//! Children are started and stopped one at a time. While it waits for one, it watches for its own stop and for nothing
//! else; other exits wait as signals and are handled in turn. A supervisor that is killed leaves no child behind.

mod plan;
mod spec;

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::actor::{Actor, ActorId, Context, Signal};
use crate::address::Address;
use crate::exit::{Exit, ExitReason};
use crate::lifecycle::give_way;
use crate::mailbox::{MailboxOptions, Overflow};
use crate::observe::{Event, NodeState};
use crate::registry::NotEntered;
use crate::reply::ReplyTo;
use crate::slot::STOP;
use crate::system::System;

use plan::{Action, Budget, Key, Phase, State, plan};
use spec::Place;
pub use spec::{ChildSpec, Restart, Shutdown, Strategy, SupervisorSpec};

/// A handle of a running supervisor. Dropping it does nothing to the supervisor.
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

    /// Adds a child after the others and starts it. A child that does not start is not added.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<(), SupervisorError> {
        self.ask(|reply| Command::Start(spec, reply)).await
    }

    /// Stops a child and keeps its specification, unless it is temporary. Its mailbox closes.
    pub async fn terminate_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        let id = id.into();
        self.ask(|reply| Command::Terminate(id, reply)).await
    }

    /// Starts a child that is down. Its address works again.
    pub async fn restart_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        let id = id.into();
        self.ask(|reply| Command::Restart(id, reply)).await
    }

    /// Drops the specification of a child that is down.
    pub async fn delete_child(&self, id: impl Into<Arc<str>>) -> Result<(), SupervisorError> {
        let id = id.into();
        self.ask(|reply| Command::Delete(id, reply)).await
    }

    /// Stops the children in reverse and then the supervisor, and waits for it. A supervisor above may restart it.
    pub async fn stop(&self) -> Exit {
        self.address.0.header.request_stop(ExitReason::Shutdown);
        self.wait().await
    }

    /// Waits for the supervisor's end. Cancel safe.
    pub async fn wait(&self) -> Exit {
        let header = &self.address.0.header;
        header.settled().await;
        header.last_exit().expect("a handle is made after the first start, so what is settled has ended")
    }

    async fn ask(
        &self,
        make: impl FnOnce(ReplyTo<Result<(), SupervisorError>>) -> Command,
    ) -> Result<(), SupervisorError> {
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
    /// When it is restarted.
    pub restart: Restart,
    /// What it is at.
    pub state: NodeState,
    /// How often it was restarted.
    pub restarts: u64,
    /// How its last incarnation ended, if one did.
    pub last_exit: Option<ExitReason>,
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
    /// The child runs, and what was asked needs it down.
    #[error("child {child} is running")]
    Running {
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
    /// The system is shut down or on its way to it.
    #[error("system is shutting down")]
    ShuttingDown,
}

/// The end of a supervisor that could not start a child.
#[derive(Debug, thiserror::Error)]
#[error("start child {child}: {reason}")]
pub(crate) struct ChildFailed {
    pub(crate) child: Arc<str>,
    pub(crate) reason: ExitReason,
}

pub(crate) enum Command {
    Children(ReplyTo<Vec<ChildInfo>>),
    Start(ChildSpec, ReplyTo<Result<(), SupervisorError>>),
    Terminate(Arc<str>, ReplyTo<Result<(), SupervisorError>>),
    Restart(Arc<str>, ReplyTo<Result<(), SupervisorError>>),
    Delete(Arc<str>, ReplyTo<Result<(), SupervisorError>>),
}

/// Requests of handles wait for their turn: each is awaited by whoever made it, so their number is bounded by that.
pub(crate) fn supervisor_mailbox() -> MailboxOptions {
    MailboxOptions::bounded(64).overflow(Overflow::Wait)
}

pub(crate) struct SupervisorActor {
    state: State,
    children: BTreeMap<Key, Child>,
    keys: HashMap<ActorId, Key>,
    /// The first child of each id; one that comes second fails to start.
    ids: HashMap<Arc<str>, Key>,
    next_key: u64,
    specs: Vec<ChildSpec>,
}

struct Child {
    spec: ChildSpec,
    place: Place,
}

/// Why a start did not come to its end.
enum NotStarted {
    Failed(ExitReason),
    /// The supervisor was told to stop meanwhile.
    Stopping,
}

type Ctx = Context<SupervisorActor>;

impl Actor for SupervisorActor {
    type Message = Command;

    async fn start(&mut self, ctx: &mut Ctx) -> Result<(), ExitReason> {
        ctx.trap_exits(true);
        let keys: Vec<Key> =
            mem::take(&mut self.specs).into_iter().map(|spec| self.add(spec, ctx.system())).collect();
        self.publish(ctx);
        for key in keys {
            if let Err(why) = self.start_child(key, ctx).await {
                self.stop_all(ctx).await;
                return Err(match why {
                    NotStarted::Failed(reason) => {
                        ExitReason::error(ChildFailed { child: self.children[&key].spec.id.clone(), reason })
                    }
                    NotStarted::Stopping => ctx.slot.header.exit_reason(),
                });
            }
        }
        Ok(())
    }

    async fn handle(&mut self, command: Command, ctx: &mut Ctx) -> Result<(), ExitReason> {
        match command {
            Command::Children(reply) => answer(reply, self.children_info()),
            Command::Start(spec, reply) => {
                let outcome = self.add_and_start(spec, ctx).await;
                answer(reply, outcome);
            }
            Command::Terminate(id, reply) => {
                let outcome = self.terminate(&id, ctx).await;
                answer(reply, outcome);
            }
            Command::Restart(id, reply) => {
                let outcome = self.start_again(&id, ctx).await;
                answer(reply, outcome);
            }
            Command::Delete(id, reply) => {
                let outcome = self.find_down(&id).map(|key| self.forget(key, ctx));
                answer(reply, outcome);
            }
        }
        Ok(())
    }

    async fn signal(&mut self, signal: Signal, ctx: &mut Ctx) -> Result<(), ExitReason> {
        let exit = match signal {
            Signal::Exit(exit) => exit,
            // As in OTP, only the one above ends a supervisor by a signal it can trap.
            Signal::ExitRequested(_) | Signal::Down { .. } => return Ok(()),
        };
        let Some(key) = self.keys.get(&exit.id).copied() else {
            return Ok(());
        };
        let at = Instant::now();
        let event = plan::Event::Exited { key, is_abnormal: exit.reason.is_abnormal(), at };
        self.perform(event, exit, ctx).await
    }

    async fn stop(&mut self, _reason: &ExitReason, ctx: &mut Ctx) {
        self.stop_all(ctx).await;
    }
}

impl SupervisorActor {
    pub(crate) fn new(spec: SupervisorSpec) -> Self {
        Self {
            state: State {
                strategy: spec.strategy,
                budget: Budget::new(spec.intensity, spec.period),
                children: BTreeMap::new(),
            },
            children: BTreeMap::new(),
            keys: HashMap::new(),
            ids: HashMap::new(),
            next_key: 0,
            specs: spec.children,
        }
    }

    /// Performs what the plan says until it has nothing to say. A failed start is the next event.
    async fn perform(
        &mut self,
        event: plan::Event,
        mut cause: Exit,
        ctx: &mut Ctx,
    ) -> Result<(), ExitReason> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let actions = plan(&mut self.state, event);
            for action in &actions {
                if let Action::Start(key) = action {
                    self.children[key].place.entry.slot.header.set_restarting();
                }
            }
            for action in actions {
                match action {
                    Action::Stop(key) => self.stop_child(key, ctx).await,
                    Action::Close(key) => drop(self.children[&key].place.entry.slot.close()),
                    Action::Forget(key) => self.forget(key, ctx),
                    Action::GiveUp => {
                        ctx.system().emit(|| Event::GaveUp {
                            supervisor: ctx.id(),
                            name: ctx.slot.header.name.clone(),
                            child: cause.id,
                            reason: cause.reason.clone(),
                        });
                        return Err(ExitReason::Shutdown);
                    }
                    Action::Start(key) => match self.start_child(key, ctx).await {
                        Ok(()) => self.report_restart(key, &cause, ctx),
                        // The loop above sees the stop and ends what runs.
                        Err(NotStarted::Stopping) => return Ok(()),
                        // The executor takes no more tasks: it is being shut down, and no retry will change that.
                        Err(NotStarted::Failed(reason)) if reason.is_aborted() => {
                            return Err(ExitReason::Aborted);
                        }
                        Err(NotStarted::Failed(reason)) => {
                            // A start may fail without awaiting, and the budget may be large.
                            give_way().await;
                            let header = &self.children[&key].place.entry.slot.header;
                            cause = Exit { id: header.id, name: header.name.clone(), reason };
                            next = Some(plan::Event::StartFailed { key, at: Instant::now() });
                            break;
                        }
                    },
                }
            }
        }
        Ok(())
    }

    async fn stop_all(&mut self, ctx: &Ctx) {
        for action in plan(&mut self.state, plan::Event::Stop) {
            if let Action::Stop(key) = action {
                self.stop_child(key, ctx).await;
            }
        }
        for child in self.children.values() {
            child.place.entry.slot.header.set_not_restarting();
        }
    }

    async fn start_child(&mut self, key: Key, ctx: &Ctx) -> Result<(), NotStarted> {
        let child = &self.children[&key];
        let slot = &child.place.entry.slot;
        let own = &ctx.slot.header;
        let fail =
            |error: ChildError| NotStarted::Failed(ExitReason::Init(Arc::new(ExitReason::error(error))));
        if !slot.header.system.is(&own.system) {
            return Err(fail(ChildError::OtherSystem { name: child.spec.id.clone() }));
        }
        if !slot.header.adopt(&(ctx.slot.clone() as Arc<_>)) {
            return Err(fail(ChildError::Elsewhere { name: child.spec.id.clone() }));
        }
        // A supervisor that was killed may be back before its children have noticed their own kill.
        unless_stopping(ctx, |cx| slot.header.poll_settled(cx)).await?;
        // Then their ends were told to it, and would be taken for those of the ones it starts.
        own.forget_exit(slot.header.id);
        own.system.enter(&child.place.entry).map_err(|why| {
            fail(match why {
                NotEntered::NameTaken => ChildError::NameTaken { name: child.spec.id.clone() },
                NotEntered::Closed => ChildError::ShuttingDown,
            })
        })?;
        slot.mailbox.open();
        slot.header.begin();
        (child.place.launch)();
        match unless_stopping(ctx, |cx| slot.header.poll_started(cx)).await {
            Ok(Ok(())) => {}
            Ok(Err(exit)) => return Err(NotStarted::Failed(exit.reason)),
            Err(stopping) => {
                self.stop_child(key, ctx).await;
                return Err(stopping);
            }
        }
        if let Some(child) = self.state.children.get_mut(&key) {
            child.phase = Phase::Running;
        }
        Ok(())
    }

    async fn stop_child(&self, key: Key, ctx: &Ctx) {
        let child = &self.children[&key];
        let header = &child.place.entry.slot.header;
        match child.spec.shutdown {
            Shutdown::Brutal => {
                header.exit(ExitReason::Killed);
            }
            Shutdown::After(limit) => {
                header.request_stop(ExitReason::Shutdown);
                if timeout(limit, header.settled()).await.is_err() {
                    header.exit(ExitReason::Killed);
                }
            }
            Shutdown::Infinity => header.request_stop(ExitReason::Shutdown),
        }
        header.settled().await;
        ctx.slot.header.forget_exit(header.id);
    }

    async fn add_and_start(&mut self, spec: ChildSpec, ctx: &Ctx) -> Result<(), SupervisorError> {
        let id = spec.id.clone();
        if self.find(&id).is_ok() {
            return Err(SupervisorError::Exists { child: id });
        }
        let key = self.add(spec, ctx.system());
        // Beside those that are shown already: adding one costs the same however many there are.
        ctx.slot.header.lock().rare_mut().children.push(self.children[&key].place.entry.slot.clone());
        let outcome = self.start_child(key, ctx).await;
        if outcome.is_err() {
            self.forget(key, ctx);
        }
        outcome.map_err(|why| why.into_error(id))
    }

    async fn terminate(&mut self, id: &Arc<str>, ctx: &Ctx) -> Result<(), SupervisorError> {
        let key = self.find(id)?;
        if let Some(child) = self.state.children.get_mut(&key) {
            child.phase = Phase::Down;
        }
        self.stop_child(key, ctx).await;
        match self.children[&key].spec.restart {
            Restart::Temporary => self.forget(key, ctx),
            Restart::Permanent | Restart::Transient => {
                let slot = &self.children[&key].place.entry.slot;
                slot.close();
            }
        }
        Ok(())
    }

    async fn start_again(&mut self, id: &Arc<str>, ctx: &Ctx) -> Result<(), SupervisorError> {
        let key = self.find_down(id)?;
        let outcome = self.start_child(key, ctx).await;
        if outcome.is_err() {
            self.children[&key].place.entry.slot.close();
        }
        outcome.map_err(|why| why.into_error(id.clone()))
    }

    fn add(&mut self, spec: ChildSpec, system: &System) -> Key {
        let key = Key(self.next_key);
        self.next_key += 1;
        let place = spec.place(system);
        self.keys.insert(place.entry.slot.header.id, key);
        self.ids.entry(spec.id.clone()).or_insert(key);
        self.state.children.insert(key, plan::Child { restart: spec.restart, phase: Phase::Down });
        self.children.insert(key, Child { spec, place });
        key
    }

    fn forget(&mut self, key: Key, ctx: &Ctx) {
        self.state.children.remove(&key);
        if let Some(child) = self.children.remove(&key) {
            self.keys.remove(&child.place.entry.slot.header.id);
            if self.ids.get(&child.spec.id) == Some(&key) {
                self.ids.remove(&child.spec.id);
            }
            self.publish(ctx);
        }
    }

    /// Shows the children in the tree, and to whoever has to end them if this supervisor cannot. Closes those left out.
    fn publish(&self, ctx: &Ctx) {
        let children = self.children.values().map(|child| child.place.entry.slot.clone()).collect();
        let previous = mem::replace(&mut ctx.slot.header.lock().rare_mut().children, children);
        for slot in previous {
            // Added to an earlier incarnation of this supervisor, or just forgotten.
            if !self.keys.contains_key(&slot.header.id) && slot.header.is_adopted_by(&ctx.slot.header) {
                slot.close();
            }
        }
    }

    fn find(&self, id: &Arc<str>) -> Result<Key, SupervisorError> {
        self.ids.get(id).copied().ok_or_else(|| SupervisorError::NoSuchChild { child: id.clone() })
    }

    fn find_down(&self, id: &Arc<str>) -> Result<Key, SupervisorError> {
        let key = self.find(id)?;
        match self.state.children[&key].phase {
            Phase::Down => Ok(key),
            Phase::Running => Err(SupervisorError::Running { child: id.clone() }),
        }
    }

    fn report_restart(&self, key: Key, cause: &Exit, ctx: &Ctx) {
        let header = &self.children[&key].place.entry.slot.header;
        let (restarts, ended_at) = header.restarts_and_end();
        ctx.system().emit(|| Event::Restarted {
            supervisor: ctx.id(),
            id: header.id,
            name: header.name.clone(),
            reason: cause.reason.clone(),
            restarts,
            took: ended_at.map_or(Duration::ZERO, |ended_at| Instant::now() - ended_at),
        });
    }

    fn children_info(&self) -> Vec<ChildInfo> {
        let info = |child: &Child| {
            let header = &child.place.entry.slot.header;
            let control = header.lock();
            ChildInfo {
                id: header.id,
                name: header.name.clone(),
                restart: child.spec.restart,
                state: control.state,
                restarts: control.restarts,
                last_exit: control.last_exit().map(|exit| exit.reason.clone()),
            }
        };
        self.children.values().map(info).collect()
    }
}

impl NotStarted {
    fn into_error(self, child: Arc<str>) -> SupervisorError {
        match self {
            Self::Failed(reason) => SupervisorError::Start { child, reason },
            Self::Stopping => SupervisorError::Gone,
        }
    }
}

/// Waits, but not longer than until the supervisor itself is told to stop.
async fn unless_stopping<T>(
    ctx: &Ctx,
    mut poll: impl FnMut(&std::task::Context<'_>) -> Poll<T>,
) -> Result<T, NotStarted> {
    poll_fn(|cx| {
        if ctx.slot.header.flags() & STOP != 0 {
            return Poll::Ready(Err(NotStarted::Stopping));
        }
        poll(cx).map(Ok)
    })
    .await
}

/// Whoever asked may have left; the work is done all the same and there is nobody to tell.
fn answer<T>(reply: ReplyTo<T>, value: T) {
    drop(reply.send(value));
}
