//! A slot: the place an actor lives in. It outlasts the actor, so addresses and mailboxes survive a restart.
//!
//! Everything others may do to an actor without knowing its message type is here: signals, state for the tree, its end.
//! Signals are bits in one atomic plus a waker, so they never wait behind messages. No two controls are locked at once.

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::actor::{ActorId, Signal};
use crate::exit::{Exit, ExitReason};
use crate::link::Relations;
use crate::mailbox::{Mailbox, MailboxOptions, MailboxStats};
use crate::observe::{DeadLetterReason, Event, NodeKind, NodeState, TreeNode};
use crate::supervisor::{Offspring, RestartLog, RestartRecord};
use crate::system::System;

/// The actor must end now, without another line of its code.
pub(crate) const KILL: u8 = 1;
/// The actor must end at its next await, then run its `stop`.
pub(crate) const EXIT: u8 = 2;
/// The actor must end after the message in work, then run its `stop`.
pub(crate) const STOP: u8 = 4;
/// Signals wait to be handled.
pub(crate) const NOTICE: u8 = 8;

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
    /// Closes and returns how many messages were lost.
    fn close(&self) -> usize;
    fn forget_receiver(&self);
}

impl<M: Send + 'static> AnyMailbox for Mailbox<M> {
    fn stats(&self) -> MailboxStats {
        self.stats()
    }

    fn open(&self) {
        self.open();
    }

    fn close(&self) -> usize {
        self.close().len()
    }

    fn forget_receiver(&self) {
        self.set_receiver(None);
    }
}

/// One slot seen in two ways: with its header, and as something a typed address can be recovered from.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) slot: Arc<AnySlot>,
    pub(crate) any: Arc<dyn Any + Send + Sync>,
}

impl<M: Send + 'static> From<&Arc<TypedSlot<M>>> for Entry {
    fn from(slot: &Arc<TypedSlot<M>>) -> Self {
        Self { slot: slot.clone(), any: slot.clone() }
    }
}

pub(crate) struct Header {
    pub(crate) id: ActorId,
    pub(crate) name: Arc<str>,
    pub(crate) kind: NodeKind,
    pub(crate) system: System,
    flags: AtomicU8,
    control: Mutex<Control>,
}

pub(crate) struct Control {
    pub(crate) state: NodeState,
    /// True once the end of the last incarnation is known to everyone, and before the first start.
    settled: bool,
    /// The slot takes no more messages, and gives its name back as soon as nobody lives here.
    closed: bool,
    /// How many have begun here. Tells a later one from the one somebody waits for.
    incarnation: u32,
    pub(crate) trap_exits: bool,
    pub(crate) finish_message: bool,
    pub(crate) restart_follows: bool,
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<Exit>,
    ended_at: Option<Instant>,
    exit: Option<ExitReason>,
    task: Option<Waker>,
    /// Who waits for the start or the end.
    observers: Vec<Waker>,
    parent: Option<Weak<AnySlot>>,
    pub(crate) notices: VecDeque<Signal>,
    pub(crate) relations: Relations,
    pub(crate) restart_log: Option<Box<RestartLog>>,
    pub(crate) children: Offspring,
}

impl Control {
    /// The first reason to end stands.
    pub(crate) fn request_exit(&mut self, reason: ExitReason) {
        self.exit.get_or_insert(reason);
    }

    /// A start succeeded. If it was a restart, writes it down.
    fn log_restart(&mut self) -> Option<(ActorId, RestartRecord)> {
        let log = self.restart_log.as_mut()?;
        let (supervisor, reason) = log.due.take()?;
        let at = Instant::now();
        let took = self.ended_at.map_or(Duration::ZERO, |ended_at| at.duration_since(ended_at));
        let record = RestartRecord { at, reason, took };
        log.add(record.clone());
        Some((supervisor, record))
    }

    /// The latest restarts, oldest first.
    pub(crate) fn history(&self) -> Vec<RestartRecord> {
        self.restart_log.as_ref().map_or_else(Vec::new, |log| log.records())
    }

    /// A signal can be delivered.
    pub(crate) fn is_alive(&self) -> bool {
        match self.state {
            NodeState::Starting | NodeState::Running | NodeState::Stopping => true,
            NodeState::Restarting | NodeState::Quarantined | NodeState::Down => false,
        }
    }
}

impl<M: Send + 'static> TypedSlot<M> {
    pub(crate) fn new(system: &System, name: Arc<str>, kind: NodeKind, options: MailboxOptions) -> Arc<Self> {
        Arc::new(Self {
            header: Header {
                id: system.next_id(),
                name,
                kind,
                system: system.clone(),
                flags: AtomicU8::new(0),
                control: Mutex::new(Control {
                    state: NodeState::Down,
                    settled: true,
                    closed: false,
                    incarnation: 0,
                    trap_exits: false,
                    finish_message: false,
                    restart_follows: false,
                    restarts: 0,
                    last_exit: None,
                    ended_at: None,
                    exit: None,
                    task: None,
                    observers: Vec::new(),
                    parent: None,
                    notices: VecDeque::new(),
                    relations: Relations::default(),
                    restart_log: None,
                    children: Offspring::default(),
                }),
            },
            mailbox: Mailbox::new(options),
        })
    }
}

impl Header {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

    pub(crate) fn set_task(&self, task: &Waker) {
        self.lock().task = Some(task.clone());
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
            control.notices.push_back(Signal::ExitRequested(reason));
            self.raise(control, NOTICE);
        } else if !matches!(reason, ExitReason::Normal) {
            control.request_exit(reason);
            self.raise(control, EXIT);
        }
        true
    }

    /// The supervisor's or the system's wish: ends an actor that traps exits as well, though after the message in work.
    pub(crate) fn request_stop(&self, reason: ExitReason) {
        let mut control = self.lock();
        if !control.is_alive() {
            return;
        }
        let flag = if control.trap_exits || control.finish_message { STOP } else { EXIT };
        control.request_exit(reason);
        self.raise(control, flag);
    }

    pub(crate) fn exit_reason(&self) -> ExitReason {
        self.lock().exit.clone().unwrap_or(ExitReason::Shutdown)
    }

    pub(crate) fn next_notice(&self) -> Option<Signal> {
        let mut control = self.lock();
        let notice = control.notices.pop_front();
        if control.notices.is_empty() {
            self.flags.fetch_and(!NOTICE, Ordering::Relaxed);
        }
        notice
    }

    /// Puts the slot under a supervisor. False if it is under another one that lives.
    pub(crate) fn adopt(&self, parent: &Arc<AnySlot>) -> bool {
        {
            let mut control = self.lock();
            if control.parent.is_none() {
                control.parent = Some(Arc::downgrade(parent));
                return true;
            }
        }
        let current = self.parent();
        if current.is_some_and(|current| !Arc::ptr_eq(&current, parent) && current.header.lock().is_alive()) {
            return false;
        }
        self.lock().parent = Some(Arc::downgrade(parent));
        true
    }

    /// Takes the slot from under its supervisor, so that another may have it.
    pub(crate) fn disown(&self) {
        self.lock().parent = None;
    }

    pub(crate) fn is_adopted_by(&self, supervisor: &Header) -> bool {
        self.parent().is_some_and(|parent| std::ptr::eq(&parent.header, supervisor))
    }

    /// Claims a settled slot for a new incarnation, and returns its number.
    pub(crate) fn begin(&self) -> u32 {
        let mut control = self.lock();
        debug_assert!(control.settled, "a slot holds one incarnation at a time");
        control.settled = false;
        control.closed = false;
        control.incarnation = control.incarnation.wrapping_add(1);
        control.state = NodeState::Starting;
        control.trap_exits = false;
        control.finish_message = false;
        control.restart_follows = false;
        control.exit = None;
        self.flags.store(0, Ordering::Release);
        control.incarnation
    }

    /// Shows that a start will follow, by whom and after which end. An incarnation that is still there shows its own state.
    pub(crate) fn set_restarting(&self, supervisor: ActorId, reason: ExitReason) {
        let mut control = self.lock();
        control.restart_follows = true;
        control.restart_log.get_or_insert_default().due = Some((supervisor, reason));
        if control.state == NodeState::Down {
            control.state = NodeState::Restarting;
        }
    }

    pub(crate) fn has_parent(&self) -> bool {
        self.lock().parent.is_some()
    }

    /// The start succeeded.
    pub(crate) fn started(&self) {
        let mut control = self.lock();
        control.state = NodeState::Running;
        // Counted here and not by the supervisor, which may hear of the start only after the new incarnation has ended.
        if control.last_exit.is_some() {
            control.restarts += 1;
        }
        let restarted = control.log_restart();
        let restarts = control.restarts;
        let observers = mem::take(&mut control.observers);
        drop(control);
        if let Some((supervisor, RestartRecord { reason, took, .. })) = restarted {
            self.system.emit(|| Event::Restarted {
                supervisor,
                id: self.id,
                name: self.name.clone(),
                reason,
                restarts,
                took,
            });
        }
        observers.into_iter().for_each(Waker::wake);
    }

    /// No start will follow. An incarnation that is still there shows its own state.
    pub(crate) fn set_down(&self) {
        let mut control = self.lock();
        control.restart_follows = false;
        if let Some(log) = &mut control.restart_log {
            log.due = None;
        }
        if matches!(control.state, NodeState::Restarting | NodeState::Quarantined) {
            control.state = NodeState::Down;
        }
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
        if control.incarnation != incarnation {
            return Poll::Ready(Ok(()));
        }
        self.poll_start(control, cx)
    }

    fn poll_start(&self, mut control: MutexGuard<'_, Control>, cx: &Context<'_>) -> Poll<Result<(), Exit>> {
        if control.settled {
            return Poll::Ready(match &control.last_exit {
                Some(exit) if matches!(exit.reason, ExitReason::Init(_)) => Err(exit.clone()),
                // It did start, and has ended since; that comes as a signal of its own.
                Some(_) => Ok(()),
                None => Err(Exit { id: self.id, name: self.name.clone(), reason: ExitReason::NoProc }),
            });
        }
        match control.state {
            NodeState::Starting => {
                observe(&mut control.observers, cx.waker());
                Poll::Pending
            }
            NodeState::Running
            | NodeState::Stopping
            | NodeState::Restarting
            | NodeState::Quarantined
            | NodeState::Down => Poll::Ready(Ok(())),
        }
    }

    /// Ready when no incarnation lives here and everyone concerned was told.
    pub(crate) fn poll_settled(&self, cx: &Context<'_>) -> Poll<()> {
        let mut control = self.lock();
        if control.settled {
            return Poll::Ready(());
        }
        observe(&mut control.observers, cx.waker());
        Poll::Pending
    }

    pub(crate) async fn start_outcome(&self) -> Result<(), Exit> {
        poll_fn(|cx| self.poll_started(cx)).await
    }

    pub(crate) async fn settled(&self) {
        poll_fn(|cx| self.poll_settled(cx)).await;
    }

    pub(crate) fn incarnation(&self) -> u32 {
        self.lock().incarnation
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.lock().settled
    }

    pub(crate) fn last_exit(&self) -> Option<Exit> {
        self.lock().last_exit.clone()
    }

    pub(crate) fn parent(&self) -> Option<Arc<AnySlot>> {
        self.lock().parent.as_ref()?.upgrade()
    }

    /// First half of an end: no signal is delivered any more. True if the actor had started.
    pub(crate) fn end(&self, reason: impl FnOnce(bool) -> ExitReason) -> Ended {
        let mut control = self.lock();
        let had_started = !matches!(control.state, NodeState::Starting);
        let exit = Exit { id: self.id, name: self.name.clone(), reason: reason(had_started) };
        control.state = NodeState::Down;
        control.last_exit = Some(exit.clone());
        control.ended_at = Some(Instant::now());
        control.task = None;
        control.notices = VecDeque::new();
        Ended {
            exit,
            had_started,
            relations: mem::take(&mut control.relations),
            children: control.children.clone(),
        }
    }

    /// Second half of an end: everyone concerned was told, the slot may be used again.
    pub(crate) fn settle(&self) {
        let mut control = self.lock();
        if control.closed {
            // Whoever sees the slot settled finds the name free.
            drop(control);
            self.system.unregister(self);
            control = self.lock();
        }
        control.settled = true;
        let observers = mem::take(&mut control.observers);
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
    pub(crate) fn close(&self) {
        let header = &self.header;
        self.shut();
        let mut control = header.lock();
        control.closed = true;
        let settled = control.settled;
        let children = control.children.take();
        drop(control);
        if settled {
            header.system.unregister(header);
        }
        for child in children {
            // A specification that could not be started here may be running elsewhere.
            if child.header.is_adopted_by(header) {
                child.close();
            }
        }
    }

    /// No more messages for now; the name stays.
    pub(crate) fn shut(&self) {
        let lost = self.mailbox.close();
        self.header.system.dead_letters_add(&self.header, DeadLetterReason::Closed, lost as u64);
    }

    pub(crate) fn node(&self) -> TreeNode {
        let mailbox = self.mailbox.stats();
        let control = self.header.lock();
        let children = control.children.clone();
        let node = TreeNode {
            id: self.header.id,
            name: self.header.name.clone(),
            kind: self.header.kind,
            state: control.state,
            restarts: control.restarts,
            last_exit: control.last_exit.as_ref().map(|exit| exit.reason.clone()),
            history: control.history(),
            mailbox: Some(mailbox),
            children: Vec::new(),
        };
        drop(control);
        TreeNode { children: children.slots().iter().map(|child| child.node()).collect(), ..node }
    }
}

fn observe(observers: &mut Vec<Waker>, waker: &Waker) {
    if !observers.iter().any(|known| known.will_wake(waker)) {
        observers.push(waker.clone());
    }
}
