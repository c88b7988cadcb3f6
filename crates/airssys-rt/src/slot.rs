//! A slot: the place an actor lives in. It outlasts the actor, so addresses and mailboxes survive a restart.
//!
//! Everything others may do to an actor without knowing its message type is here: signals, state for the tree, its end.
//! Signals are bits in one atomic plus a waker, so they never wait behind messages. No two controls are locked at once.

mod control;

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

use crate::actor::{ActorId, Signal};
use crate::exit::{Exit, ExitReason};
use crate::leftovers::Leftovers;
use crate::link::Relations;
use crate::mailbox::{Mailbox, MailboxOptions, MailboxStats, Rules};
use crate::observe::{Event, NodeKind, NodeState, TreeNode};
use crate::supervisor::{Offspring, RestartRecord};
use crate::sys::{Request, SysError};
use crate::system::System;

pub(crate) use control::Control;

/// The actor must end now, without another line of its code.
pub(crate) const KILL: u8 = 1;
/// The actor must end at its next await, then run its `stop`.
pub(crate) const EXIT: u8 = 2;
/// The actor must end after the message in work, then run its `stop`.
pub(crate) const STOP: u8 = 4;
/// Signals wait to be handled.
pub(crate) const NOTICE: u8 = 8;
/// Requests about the actor wait to be served; they come before signals.
pub(crate) const REQUEST: u8 = 16;
/// The actor is suspended: it serves requests and nothing else.
pub(crate) const SUSPENDED: u8 = 32;
/// Each message is to be looked at before it is handled.
pub(crate) const OBSERVED: u8 = 64;

/// Requests that may wait to be served, and requests to exit that may wait to be heard. Other signals are bounded by the links
/// and monitors they come from.
const WAITING_MAX: usize = 1024;

/// In this order: what the receiver reads for each message is at least a cache line away from what senders write.
#[repr(C)]
pub(crate) struct Slot<Q: ?Sized> {
    pub(crate) header: Header,
    pub(crate) mailbox: Q,
}

pub(crate) type TypedSlot<M> = Slot<Mailbox<M>>;
pub(crate) type AnySlot = Slot<dyn AnyMailbox>;

/// What can be done to a mailbox without knowing its messages.
pub(crate) trait AnyMailbox: Send + Sync {
    fn stats(&self) -> MailboxStats;
    fn open(&self);
    /// Refuses messages from now on and counts those that are queued as dead letters. They are in what it returns.
    fn close(&self, header: &Header) -> Option<Leftovers>;
    fn forget_receiver(&self);
}

impl<M: Send + 'static> AnyMailbox for Mailbox<M> {
    fn stats(&self) -> MailboxStats {
        self.stats()
    }

    fn open(&self) {
        self.open();
    }

    fn close(&self, header: &Header) -> Option<Leftovers> {
        Leftovers::of(header, self.close())
    }

    fn forget_receiver(&self) {
        self.set_receiver(None);
    }
}

/// A slot whose message type is forgotten, and can be recovered.
#[derive(Clone)]
pub(crate) struct Entry(Arc<dyn Place>);

trait Place: Any + Send + Sync {
    fn header(&self) -> &Header;
    fn into_slot(self: Arc<Self>) -> Arc<AnySlot>;
}

impl<M: Send + 'static> Place for TypedSlot<M> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn into_slot(self: Arc<Self>) -> Arc<AnySlot> {
        self
    }
}

impl Entry {
    pub(crate) fn header(&self) -> &Header {
        self.0.header()
    }

    pub(crate) fn slot(&self) -> Arc<AnySlot> {
        self.0.clone().into_slot()
    }

    /// The slot, if its messages are of this type.
    pub(crate) fn typed<M: Send + 'static>(self) -> Option<Arc<TypedSlot<M>>> {
        let any: Arc<dyn Any + Send + Sync> = self.0;
        any.downcast().ok()
    }
}

impl<M: Send + 'static> From<&Arc<TypedSlot<M>>> for Entry {
    fn from(slot: &Arc<TypedSlot<M>>) -> Self {
        Self(slot.clone())
    }
}

#[repr(C)]
pub(crate) struct Header {
    flags: AtomicU8,
    pub(crate) kind: NodeKind,
    /// Signals and messages know the task of this incarnation, which has one waker as long as it lives.
    is_task_known: AtomicBool,
    /// How many have begun here. Tells a later one from the one somebody waits for. Changes while the control is locked.
    incarnation: AtomicU32,
    pub(crate) id: ActorId,
    pub(crate) system: System,
    pub(crate) name: Arc<str>,
    control: Mutex<Control>,
}

impl<M: Send + 'static> TypedSlot<M> {
    pub(crate) fn new(
        system: &System,
        name: Arc<str>,
        kind: NodeKind,
        options: MailboxOptions,
        rules: Rules<M>,
    ) -> Arc<Self> {
        Arc::new(Self {
            header: Header {
                id: system.next_id(),
                name,
                kind,
                system: system.clone(),
                flags: AtomicU8::new(0),
                is_task_known: AtomicBool::new(false),
                incarnation: AtomicU32::new(0),
                control: Mutex::new(Control::new()),
            },
            mailbox: Mailbox::new(options, rules),
        })
    }
}

impl Header {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a task that works for this actor.
    pub(crate) fn start_task(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.system.executor().spawn(Some(&self.name), task);
    }

    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        self.flags.load(Ordering::Acquire)
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & KILL != 0
    }

    pub(crate) fn must_end(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & (KILL | EXIT) != 0
    }

    /// Raises flags and wakes the task. The guard proves that what the flag announces is already in the control.
    pub(crate) fn raise(&self, control: MutexGuard<'_, Control>, flags: u8) {
        self.flags.fetch_or(flags, Ordering::Release);
        let task = control.task.clone();
        drop(control);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// For the task itself.
    #[inline]
    pub(crate) fn is_task_known(&self) -> bool {
        self.is_task_known.load(Ordering::Relaxed)
    }

    pub(crate) fn set_task(&self, task: &Waker) {
        self.is_task_known.store(true, Ordering::Relaxed);
        let mut control = self.lock();
        control.task = Some(task.clone());
        if let Some(stand_in) = control.existing_rare().and_then(|rare| rare.stand_in.take()) {
            stand_in.wakes(task);
        }
    }

    /// An exit signal from outside any link. False if there is nobody to receive it.
    pub(crate) fn exit(&self, reason: ExitReason) -> bool {
        let mut control = self.lock();
        if !control.is_alive() {
            return false;
        }
        if matches!(reason, ExitReason::Killed) {
            self.raise(control, KILL);
        } else if control.trap_exits {
            let notices = &mut control.rare_mut().notices;
            let is_request = |notice: &&Signal| matches!(notice, Signal::ExitRequested(_));
            if notices.len() < WAITING_MAX || notices.iter().filter(is_request).count() < WAITING_MAX {
                notices.push_back(Signal::ExitRequested(reason));
                self.raise(control, NOTICE);
            }
        } else if !matches!(reason, ExitReason::Normal) {
            control.request_exit(reason);
            self.raise(control, EXIT);
        }
        true
    }

    /// The supervisor's or the system's wish: ends an actor that traps exits as well, though after the message in work. Returns
    /// which incarnation was asked.
    pub(crate) fn request_stop(&self, reason: ExitReason) -> u32 {
        let mut control = self.lock();
        let incarnation = self.incarnation();
        if control.is_alive() {
            let flag = if control.trap_exits || control.finish_message { STOP } else { EXIT };
            control.request_exit(reason);
            self.raise(control, flag);
        }
        incarnation
    }

    /// Kills this incarnation, if it is still there.
    pub(crate) fn kill(&self, incarnation: u32) {
        let control = self.lock();
        if self.incarnation() == incarnation && control.is_alive() {
            self.raise(control, KILL);
        }
    }

    /// Ends this incarnation, if it is still there, at its next await, whether it traps exits or not.
    pub(crate) fn expel(&self, incarnation: u32, reason: ExitReason) {
        let mut control = self.lock();
        if self.incarnation() == incarnation && control.is_alive() {
            control.request_exit(reason);
            self.raise(control, EXIT);
        }
    }

    pub(crate) fn exit_reason(&self) -> ExitReason {
        self.lock().rare_mut().exit.clone().unwrap_or(ExitReason::Shutdown)
    }

    /// Puts a request in line.
    pub(crate) fn request(&self, request: Request) -> Result<(), SysError> {
        let mut control = self.lock();
        if control.state != NodeState::Running {
            return Err(SysError::NoProc);
        }
        let requests = &mut control.rare_mut().requests;
        if requests.len() >= WAITING_MAX {
            return Err(SysError::TooMany { max: WAITING_MAX });
        }
        requests.push_back(request);
        self.raise(control, REQUEST);
        Ok(())
    }

    pub(crate) fn next_request(&self) -> Option<Request> {
        let mut control = self.lock();
        let requests = &mut control.rare_mut().requests;
        let request = requests.pop_front();
        if requests.is_empty() {
            self.flags.fetch_and(!REQUEST, Ordering::Relaxed);
        }
        request
    }

    /// For flags that last; the actor's own task calls it, so there is nobody to wake.
    pub(crate) fn set_flag(&self, flag: u8, up: bool) {
        if up {
            self.flags.fetch_or(flag, Ordering::Relaxed);
        } else {
            self.flags.fetch_and(!flag, Ordering::Relaxed);
        }
    }

    pub(crate) fn next_notice(&self) -> Option<Signal> {
        let mut control = self.lock();
        let notices = &mut control.rare_mut().notices;
        let notice = notices.pop_front();
        if notices.is_empty() {
            self.flags.fetch_and(!NOTICE, Ordering::Relaxed);
        }
        notice
    }

    /// Claims a settled slot for a new incarnation, and returns its number.
    pub(crate) fn begin(&self) -> u32 {
        let mut control = self.lock();
        debug_assert!(control.settled, "a slot holds one incarnation at a time");
        control.settled = false;
        control.closed = false;
        let incarnation = self.incarnation().wrapping_add(1);
        self.incarnation.store(incarnation, Ordering::Relaxed);
        control.had_started = false;
        control.state = NodeState::Starting;
        control.trap_exits = false;
        control.finish_message = false;
        control.restart_follows = false;
        if let Some(rare) = control.existing_rare() {
            rare.exit = None;
        }
        self.flags.store(0, Ordering::Release);
        self.is_task_known.store(false, Ordering::Relaxed);
        incarnation
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The start succeeded.
    pub(crate) fn started(&self) {
        let mut control = self.lock();
        control.state = NodeState::Running;
        control.had_started = true;
        // Counted here and not by the supervisor, which may hear of the start only after the new incarnation has ended.
        if let Some(rare) = control.existing_rare().filter(|rare| rare.last_exit.is_some()) {
            rare.restarts = rare.restarts.saturating_add(1);
        }
        let restarted = control.log_restart();
        let restarts = control.restarts();
        let observers = control.take_observers();
        drop(control);
        if let Some((supervisor, RestartRecord { reason, took, .. })) = restarted {
            self.system.emit(|| Event::Restarted {
                supervisor,
                id: self.id,
                name: self.name.clone(),
                reason,
                restarts: restarts.into(),
                took,
            });
        }
        observers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn set_state(&self, state: NodeState) {
        self.lock().state = state;
    }

    /// Ready when the start succeeded, or with the exit when it did not.
    pub(crate) fn poll_started(&self, cx: &Context<'_>) -> Poll<Result<(), Exit>> {
        self.poll_start(self.lock(), cx)
    }

    /// As [`Header::poll_started`], for one incarnation: its supervisor replaces only what had started.
    pub(crate) fn poll_started_as(&self, incarnation: u32, cx: &Context<'_>) -> Poll<Result<(), Exit>> {
        let control = self.lock();
        if self.incarnation() != incarnation {
            return Poll::Ready(Ok(()));
        }
        self.poll_start(control, cx)
    }

    fn poll_start(&self, mut control: MutexGuard<'_, Control>, cx: &Context<'_>) -> Poll<Result<(), Exit>> {
        if control.settled {
            return Poll::Ready(match control.last_exit() {
                Some(exit) if !control.had_started => Err(exit.clone()),
                // It did start, and has ended since; that comes as a signal of its own.
                Some(_) => Ok(()),
                None => Err(Exit { id: self.id, name: self.name.clone(), reason: ExitReason::NoProc }),
            });
        }
        // One that failed to start and is telling everyone is as little decided as one that is starting.
        if control.had_started {
            return Poll::Ready(Ok(()));
        }
        control.observe(cx.waker());
        Poll::Pending
    }

    /// Ready when an incarnation runs here and nobody has told it to end.
    pub(crate) fn poll_running(&self, cx: &Context<'_>) -> Poll<()> {
        let mut control = self.lock();
        if control.state == NodeState::Running && self.flags() & (KILL | EXIT | STOP) == 0 {
            return Poll::Ready(());
        }
        control.observe(cx.waker());
        Poll::Pending
    }

    /// Ready when no incarnation lives here and everyone concerned was told.
    pub(crate) fn poll_settled(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_settle(self.lock(), cx)
    }

    fn poll_settle(&self, mut control: MutexGuard<'_, Control>, cx: &Context<'_>) -> Poll<()> {
        if control.settled {
            return Poll::Ready(());
        }
        control.observe(cx.waker());
        Poll::Pending
    }

    /// As [`Header::poll_settled`], for one incarnation: a later one is not waited for.
    pub(crate) async fn settled_as(&self, incarnation: u32) {
        poll_fn(|cx| {
            let control = self.lock();
            if self.incarnation() != incarnation {
                return Poll::Ready(());
            }
            self.poll_settle(control, cx)
        })
        .await;
    }

    pub(crate) async fn start_outcome(&self) -> Result<(), Exit> {
        poll_fn(|cx| self.poll_started(cx)).await
    }

    /// Waits until the flags are others than these. For the actor's own task, which raised flags wake.
    pub(crate) async fn changed_from(&self, flags: u8) {
        poll_fn(|_| if self.flags() == flags { Poll::Pending } else { Poll::Ready(()) }).await;
    }

    pub(crate) async fn settled(&self) {
        poll_fn(|cx| self.poll_settled(cx)).await;
    }

    pub(crate) fn had_started(&self) -> bool {
        self.lock().had_started
    }

    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation.load(Ordering::Relaxed)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.lock().settled
    }

    pub(crate) fn last_exit(&self) -> Option<Exit> {
        self.lock().last_exit().cloned()
    }

    /// How the incarnation ends, once its state is gone.
    pub(crate) fn set_end(&self, reason: ExitReason) {
        self.lock().rare_mut().end = Some(reason);
    }

    /// First half of an end: no signal is delivered any more. Without [`Header::set_end`] the task was aborted.
    pub(crate) fn end(&self) -> Ended {
        let mut control = self.lock();
        let had_started = control.had_started;
        let reason = control.rare_mut().end.take().unwrap_or(ExitReason::Aborted);
        let reason = if had_started { reason } else { ExitReason::Init(Arc::new(reason)) };
        let exit = Exit { id: self.id, name: self.name.clone(), reason };
        // Stopped by a supervisor that has announced its restart.
        control.state = if control.restart_follows { NodeState::Restarting } else { NodeState::Down };
        control.task = None;
        let rare = control.rare_mut();
        rare.last_exit = Some(exit.clone());
        rare.ended_at = Some(Instant::now());
        rare.notices = VecDeque::new();
        let ended = Ended {
            exit,
            had_started,
            relations: mem::take(&mut rare.relations),
            children: rare.children.clone(),
        };
        let left = (
            mem::take(&mut rare.requests),
            mem::take(&mut rare.tasks),
            rare.trace.take(),
            rare.stand_in.take(),
        );
        drop(control);
        // Their ends run other people's code.
        drop(left);
        ended
    }

    /// Second half of an end: everyone concerned was told, the slot may be used again.
    pub(crate) fn settle(&self) {
        let mut control = self.lock();
        if control.closed {
            // Whoever sees the slot settled finds the name free.
            drop(control);
            self.system.registry().remove(self);
            control = self.lock();
        }
        control.settled = true;
        let observers = control.take_observers();
        drop(control);
        observers.into_iter().for_each(Waker::wake);
    }
}

pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) had_started: bool,
    pub(crate) relations: Relations,
    pub(crate) children: Offspring,
}

impl AnySlot {
    /// Ends the slot's life: no more messages, no name, and the same for what is supervised from here. Who is still living
    /// here keeps the name until the end.
    pub(crate) fn close(&self) -> Option<Leftovers> {
        let header = &self.header;
        let left = self.shut();
        // Children stay in the list: a supervisor that was killed and has not noticed yet ends them when it does.
        let mut control = header.lock();
        control.closed = true;
        let settled = control.settled;
        let children = control.children();
        drop(control);
        if settled {
            header.system.registry().remove(header);
        }
        for child in children.listed() {
            // A specification that could not be started here may be running elsewhere.
            if child.header.is_adopted_by(header) {
                drop(child.close());
            }
        }
        left
    }

    /// No more messages for now; the name stays.
    pub(crate) fn shut(&self) -> Option<Leftovers> {
        self.mailbox.close(&self.header)
    }

    pub(crate) fn node(&self) -> TreeNode {
        let mailbox = self.mailbox.stats();
        let control = self.header.lock();
        let children = control.children();
        let node = TreeNode {
            id: self.header.id,
            name: self.header.name.clone(),
            kind: self.header.kind,
            state: control.state,
            restarts: control.restarts().into(),
            last_exit: control.last_exit().map(|exit| exit.reason.clone()),
            history: control.history(),
            mailbox: Some(mailbox),
            children: Vec::new(),
        };
        drop(control);
        TreeNode { children: children.slots().iter().map(|child| child.node()).collect(), ..node }
    }
}
