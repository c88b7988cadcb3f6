//! The supervisor's task: an actor that traps exits, asks the plan what to do, and does it.
//!
//! One for one waits for nobody: a start or an end goes on beside it, and what comes of it comes as an exit. A restart that
//! concerns siblings stops and starts them one at a time, as OTP does, and is waited for. Between two tries of a start
//! that failed, whatever came meanwhile has its turn. A supervisor that is killed leaves no child behind.

mod calls;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::{Future, poll_fn};
use std::mem;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::actor::{Actor, ActorId, Context, Signal};
use crate::address::Address;
use crate::exit::ExitReason;
use crate::lifecycle::FirstPoll;
use crate::mailbox::{MailboxOptions, Overflow};
use crate::observe::Event;
use crate::registry::NotEntered;
use crate::reply::ReplyTo;
use crate::slot::{Header, STOP};
use crate::system::System;
use crate::tasks::TimerRef;

use super::backoff::Pace;
use super::budget::Budget;
use super::ending::{self, Ended};
use super::health;
use super::plan::{self, Action, Call, IfStartFails, Key, Phase, State, plan};
use super::seat::Seat;
use super::spec::{ChildSpec, Strategy, SupervisorSpec, Terms};
use super::{ChildCounts, ChildError, ChildFailed, ChildInfo, SupervisorError};

pub(crate) use calls::{Begun, Command};

/// Requests of handles wait for their turn: each is awaited by whoever made it, so their number is bounded by that.
pub(crate) fn supervisor_mailbox() -> MailboxOptions {
    MailboxOptions::bounded(64).overflow(Overflow::Wait)
}

pub(crate) struct SupervisorActor {
    state: State,
    children: BTreeMap<Key, Child>,
    keys: HashMap<ActorId, Key>,
    /// A child that is down has no name in the system, so its supervisor knows it by its own.
    ids: HashMap<Arc<str>, Key>,
    next_key: u64,
    children_max: usize,
    specs: Vec<ChildSpec>,
}

struct Child {
    seat: Arc<dyn Seat>,
    terms: Arc<Terms>,
    /// Its latest end, or why it did not start.
    failure: Option<ExitReason>,
    pace: Option<Pace>,
    /// How many of its restarts were put off, and the timer of the latest.
    delays: u64,
    delay: Option<TimerRef>,
    /// It was killed and is still there.
    is_stuck: bool,
    /// Who waits for its end.
    callers: Vec<ReplyTo<Result<(), SupervisorError>>>,
}

impl Child {
    fn header(&self) -> &Header {
        &self.seat.slot().header
    }
}

/// Why a start did not come to its end.
pub(super) enum NotStarted {
    Failed(ExitReason),
    /// The supervisor was told to stop meanwhile.
    Stopping,
}

type Ctx = Context<SupervisorActor>;

impl Actor for SupervisorActor {
    type Message = Command;

    async fn start(&mut self, ctx: &mut Ctx) -> Result<(), ExitReason> {
        ctx.trap_exits(true);
        // What an earlier incarnation told itself is still in the mailbox, and must not mean a child of this one.
        self.next_key = u64::from(ctx.slot.header.incarnation()) << 32;
        let specs = mem::take(&mut self.specs);
        self.check(&specs)?;
        let keys: Vec<Key> = specs.into_iter().map(|spec| self.add(spec, ctx.system())).collect();
        self.publish(ctx);
        for key in keys {
            self.state.up(key, IfStartFails::StayDown);
            let reason = match self.start_child(key, true, ctx).await {
                Ok(_) => continue,
                Err(NotStarted::Stopping) => ctx.slot.header.exit_reason(),
                Err(NotStarted::Failed(reason)) => {
                    // It may run under another supervisor, so it is not to be stopped. Its mailbox stays open, as whoever
                    // is above may start all of this again.
                    drop(self.start_failed(key, reason.clone()));
                    ExitReason::error(ChildFailed { child: self.name_of(key), reason })
                }
            };
            self.stop_all().await;
            return Err(reason);
        }
        Ok(())
    }

    async fn handle(&mut self, command: Command, ctx: &mut Ctx) -> Result<(), ExitReason> {
        match command {
            Command::Children(reply) => answer(reply, self.children.values().map(Child::info).collect()),
            Command::Count(reply) => answer(reply, self.counts()),
            Command::Start(spec, reply) => {
                let outcome = self.add_and_start(spec, ctx).await;
                answer(reply, outcome);
            }
            Command::Restart(id, reply) => {
                let outcome = self.start_by_call(&id, Call::Restart, IfStartFails::StayDown, ctx).await;
                answer(reply, outcome);
            }
            Command::Release(id, reply) => {
                let outcome = self.start_by_call(&id, Call::Release, IfStartFails::Quarantine, ctx).await;
                answer(reply, outcome);
            }
            Command::Terminate(id, reply) => return self.terminate(&id, reply, ctx).await,
            Command::Delete(id, reply) => match self.find_and_call(&id, Call::Delete) {
                Ok((_, actions)) => {
                    self.perform(actions, ctx).await?;
                    answer(reply, Ok(()));
                }
                Err(error) => answer(reply, Err(error)),
            },
            Command::TryAgain(key) => {
                let event = plan::Event::TryAgain { key, at: Instant::now() };
                let actions = plan(&mut self.state, event);
                return self.perform(actions, ctx).await;
            }
            Command::Due(key, nth) => {
                if self.children.get(&key).is_some_and(|child| child.delays == nth) {
                    let actions = plan(&mut self.state, plan::Event::Due { key });
                    return self.perform(actions, ctx).await;
                }
            }
            Command::Stuck(key) => self.mark_stuck(key),
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
        let had_started = self.children[&key].header().had_started();
        if !had_started && exit.reason.is_aborted() {
            // The executor takes no more tasks: it is being shut down, and no retry will change that.
            return Err(ExitReason::Aborted);
        }
        let is_abnormal = exit.reason.is_abnormal();
        if let Some(child) = self.children.get_mut(&key) {
            child.failure = Some(exit.reason);
            child.is_stuck = false;
        }
        let event = if had_started {
            plan::Event::Exited { key, is_abnormal, at: Instant::now() }
        } else {
            plan::Event::StartFailed { key }
        };
        let actions = plan(&mut self.state, event);
        self.perform(actions, ctx).await
    }

    async fn stop(&mut self, _reason: &ExitReason, _ctx: &mut Ctx) {
        self.stop_all().await;
    }
}

impl SupervisorActor {
    pub(crate) fn new(spec: SupervisorSpec) -> Self {
        Self {
            state: State {
                strategy: spec.strategy,
                auto_shutdown: spec.auto_shutdown,
                budget: Budget::new(spec.intensity, spec.period),
                children: BTreeMap::new(),
            },
            children: BTreeMap::new(),
            keys: HashMap::new(),
            ids: HashMap::new(),
            next_key: 0,
            children_max: spec.children_max,
            specs: spec.children,
        }
    }

    /// Before anything starts, as in OTP.
    fn check(&self, specs: &[ChildSpec]) -> Result<(), ExitReason> {
        let mut ids = HashSet::new();
        for spec in specs {
            let checked = if ids.insert(&spec.id) {
                spec.terms.check(&spec.id, self.state.auto_shutdown)
            } else {
                Err(ChildError::NameTaken { name: spec.id.clone() })
            };
            checked.map_err(|error| ChildFailed { child: spec.id.clone(), reason: error.into_reason() })?;
        }
        Ok(())
    }

    /// Performs actions and what follows from them, until nothing does.
    async fn perform(&mut self, actions: Vec<Action>, ctx: &mut Ctx) -> Result<(), ExitReason> {
        let mut actions = VecDeque::from(actions);
        self.announce(&actions, ctx);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Stop(key) => self.stop_child(key, ctx).await,
                Action::End(key) => self.end_beside(key, ctx),
                Action::Close(key) => self.close(key, ctx),
                Action::Forget(key) => self.forget(key, ctx),
                Action::Wait(key) => {
                    if !self.put_off(key, ctx) {
                        actions.extend(plan(&mut self.state, plan::Event::Due { key }));
                    }
                }
                Action::TryAgain(key) => tell_itself(ctx, Command::TryAgain(key)),
                Action::Quarantine(key) => self.quarantine(key, ctx),
                Action::GiveUp(key) => {
                    let child = &self.children[&key];
                    ctx.system().emit(|| Event::GaveUp {
                        supervisor: ctx.id(),
                        name: ctx.slot.header.name.clone(),
                        child: child.header().id,
                        reason: child.failure.clone().unwrap_or(ExitReason::NoProc),
                    });
                    return Err(ExitReason::Shutdown);
                }
                Action::ShutDown => return Err(ExitReason::Shutdown),
                Action::Start(key) => {
                    self.state.up(key, IfStartFails::TryAgain);
                    match self.start_child(key, self.starts_in_turn(), ctx).await {
                        Ok(_) => {}
                        // The loop that runs this actor sees the stop and ends what runs.
                        Err(NotStarted::Stopping) => return Ok(()),
                        Err(NotStarted::Failed(reason)) if reason.is_aborted() => {
                            return Err(ExitReason::Aborted);
                        }
                        Err(NotStarted::Failed(reason)) => {
                            actions = self.start_failed(key, reason).into();
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Shows whose start will follow, before those among them that still run are stopped.
    fn announce(&self, actions: &VecDeque<Action>, ctx: &Ctx) {
        let waits =
            actions.iter().find_map(|action| if let Action::Wait(key) = action { Some(key) } else { None });
        let Some(reason) = waits.and_then(|key| self.children[key].failure.clone()) else {
            return;
        };
        let announced = |key: &Key| self.children[key].header().set_restarting(ctx.id(), reason.clone());
        match self.state.strategy {
            Strategy::OneForOne => waits.iter().copied().for_each(announced),
            Strategy::OneForAll | Strategy::RestForOne => {
                self.state.restarting().for_each(|key| announced(&key))
            }
        }
    }

    /// Delays a restart. False if it is due at once.
    fn put_off(&mut self, key: Key, ctx: &mut Ctx) -> bool {
        let Some(child) = self.children.get_mut(&key) else {
            return false;
        };
        if let Some(earlier) = child.delay.take() {
            ctx.cancel(earlier);
        }
        let delay = child.pace.as_mut().map_or(Duration::ZERO, |pace| pace.next_delay(Instant::now()));
        if delay.is_zero() {
            return false;
        }
        child.delays += 1;
        child.delay = Some(ctx.send_after(delay, Command::Due(key, child.delays)));
        true
    }

    /// A restart of several children starts one after the other; otherwise nobody waits for a start.
    fn starts_in_turn(&self) -> bool {
        match self.state.strategy {
            Strategy::OneForOne => false,
            Strategy::OneForAll | Strategy::RestForOne => true,
        }
    }

    fn start_failed(&mut self, key: Key, reason: ExitReason) -> Vec<Action> {
        if let Some(child) = self.children.get_mut(&key) {
            child.failure = Some(reason);
        }
        plan(&mut self.state, plan::Event::StartFailed { key })
    }

    async fn stop_all(&mut self) {
        for action in plan(&mut self.state, plan::Event::Stop) {
            if let Action::Stop(key) = action {
                let child = &self.children[&key];
                // A stuck one is reported, and this supervisor has done what it can.
                let (Ended::Gone | Ended::Stuck) = ending::end(child.header(), child.terms.shutdown).await;
            }
        }
        for child in self.children.values() {
            child.header().set_down();
        }
    }

    /// Starts a child that the state shows as up. Does not wait for its `start` unless told to.
    async fn start_child(&mut self, key: Key, to_the_end: bool, ctx: &Ctx) -> Result<Begun, NotStarted> {
        let child = self.children.get_mut(&key).expect("only children that are known are started");
        let slot = child.seat.slot();
        let (header, name) = (&slot.header, &slot.header.name);
        let own = &ctx.slot.header;
        let fail = |error: ChildError| NotStarted::Failed(error.into_reason());
        if !header.system.is(&own.system) {
            return Err(fail(ChildError::OtherSystem { name: name.clone() }));
        }
        if !header.adopt(&(ctx.slot.clone() as Arc<_>)) {
            return Err(fail(ChildError::Elsewhere { name: name.clone() }));
        }
        // A supervisor that was killed may be back before its children have noticed their own kill.
        unless_stopping(own, ending::vacated(header)).await?;
        own.forget_exit(header.id);
        own.system.enter(&child.seat.entry()).map_err(|why| {
            fail(match why {
                NotEntered::NameTaken => ChildError::NameTaken { name: name.clone() },
                NotEntered::Closed => ChildError::ShuttingDown,
            })
        })?;
        slot.mailbox.open();
        let begun = Begun { slot: child.seat.entry().slot(), incarnation: header.begin() };
        if let Some(check) = &child.terms.health {
            health::watch(&begun.slot, begun.incarnation, check.clone(), child.terms.shutdown);
        }
        if let Some(pace) = &mut child.pace {
            pace.launched(Instant::now());
        }
        child.seat.clone().launch(FirstPoll::Task);
        if to_the_end {
            match unless_stopping(own, poll_fn(|cx| header.poll_started_as(begun.incarnation, cx))).await {
                Ok(Ok(())) => {}
                Ok(Err(exit)) => {
                    own.forget_exit(header.id);
                    return Err(NotStarted::Failed(exit.reason));
                }
                Err(stopping) => return Err(stopping),
            }
        }
        Ok(begun)
    }

    /// Ends a child for a restart of its siblings.
    async fn stop_child(&mut self, key: Key, ctx: &Ctx) {
        let Some(child) = self.children.get_mut(&key) else {
            return;
        };
        let outcome = ending::end(&child.seat.slot().header, child.terms.shutdown).await;
        match outcome {
            Ended::Gone => {
                ctx.slot.header.forget_exit(child.header().id);
                for caller in mem::take(&mut child.callers) {
                    answer(caller, Ok(()));
                }
            }
            Ended::Stuck => {
                self.mark_stuck(key);
                plan(&mut self.state, plan::Event::Stuck { key });
            }
        }
    }

    /// Ends a child for a call, which is answered when its exit comes.
    fn end_beside(&self, key: Key, ctx: &Ctx) {
        let child = &self.children[&key];
        let (slot, shutdown, own) = (child.seat.entry().slot(), child.terms.shutdown, ctx.slot.clone());
        // Asked here and not in the task, before which the child may end and be started again.
        let asked = ending::ask(&slot.header, shutdown);
        ending::beside(&ctx.slot.header, async move {
            match ending::ended(&slot.header, shutdown, asked).await {
                Ended::Gone => {}
                // The supervisor may have ended too, and has then no caller to answer.
                Ended::Stuck => drop(Address(own).tell_beyond_capacity(Command::Stuck(key))),
            }
        });
    }

    fn mark_stuck(&mut self, key: Key) {
        if let Some(child) = self.children.get_mut(&key) {
            child.is_stuck = true;
            let name = child.header().name.clone();
            for caller in mem::take(&mut child.callers) {
                answer(caller, Err(SupervisorError::Stuck { child: name.clone() }));
            }
        }
    }

    fn close(&mut self, key: Key, ctx: &mut Ctx) {
        if let Some(child) = self.children.get_mut(&key) {
            if let Some(delay) = child.delay.take() {
                ctx.cancel(delay);
            }
            // One that could not be started here may be running elsewhere.
            if child.header().is_adopted_by(&ctx.slot.header) {
                child.header().set_down();
                child.seat.slot().close();
            }
            for caller in mem::take(&mut child.callers) {
                answer(caller, Ok(()));
            }
        }
    }

    fn quarantine(&self, key: Key, ctx: &Ctx) {
        let child = &self.children[&key];
        let reason = child.failure.clone().unwrap_or(ExitReason::NoProc);
        super::quarantine(child.seat.slot(), ctx.id(), reason);
    }

    fn add(&mut self, spec: ChildSpec, system: &System) -> Key {
        let key = Key(self.next_key);
        self.next_key += 1;
        let seat = spec.seat(system);
        self.keys.insert(seat.slot().header.id, key);
        self.ids.insert(spec.id.clone(), key);
        let terms = spec.terms;
        self.state.children.insert(
            key,
            plan::Child {
                restart: terms.restart,
                is_significant: terms.is_significant,
                allowance: terms.allowance(),
                phase: Phase::Down,
                is_owed: false,
            },
        );
        let pace = terms.backoff.map(|backoff| Pace::new(backoff, seat.slot().header.id, system));
        let child = Child {
            seat,
            terms,
            failure: None,
            pace,
            delays: 0,
            delay: None,
            is_stuck: false,
            callers: Vec::new(),
        };
        self.children.insert(key, child);
        key
    }

    fn forget(&mut self, key: Key, ctx: &mut Ctx) {
        self.state.children.remove(&key);
        self.close(key, ctx);
        if let Some(child) = self.children.remove(&key) {
            let header = child.header();
            self.keys.remove(&header.id);
            self.ids.remove(&header.name);
            ctx.slot.header.lock().rare_mut().children.remove(header.id);
            if header.is_adopted_by(&ctx.slot.header) {
                header.disown();
            }
        }
    }

    /// Shows the children in the tree, and to whoever has to end them if this supervisor cannot. Closes those that were added
    /// to an earlier incarnation of this supervisor.
    fn publish(&self, ctx: &Ctx) {
        let children = self.children.values().map(|child| child.seat.entry().slot()).collect();
        let previous = ctx.slot.header.lock().rare_mut().children.replace(children);
        for slot in previous {
            if !self.keys.contains_key(&slot.header.id) && slot.header.is_adopted_by(&ctx.slot.header) {
                slot.close();
            }
        }
    }

    fn name_of(&self, key: Key) -> Arc<str> {
        self.children[&key].header().name.clone()
    }

    fn counts(&self) -> ChildCounts {
        let mut counts = ChildCounts::default();
        for child in self.children.values() {
            counts.add(child.header());
        }
        counts
    }
}

impl Child {
    fn info(&self) -> ChildInfo {
        ChildInfo::of(self.header(), &self.terms)
    }
}

/// Waits, but not longer than until the supervisor itself is told to stop.
pub(super) async fn unless_stopping<T>(
    own: &Header,
    future: impl Future<Output = T>,
) -> Result<T, NotStarted> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        if own.flags() & STOP != 0 {
            return Poll::Ready(Err(NotStarted::Stopping));
        }
        future.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// A message to itself comes after those that are waiting already.
fn tell_itself(ctx: &Ctx, command: Command) {
    // Refused only when the supervisor is closed, and then there is nobody to try again.
    drop(ctx.address().tell_beyond_capacity(command));
}

/// Whoever asked may have left; the work is done all the same and there is nobody to tell.
fn answer<T>(reply: ReplyTo<T>, value: T) {
    drop(reply.send(value));
}
