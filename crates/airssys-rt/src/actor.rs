//! What a user writes: an [`Actor`], and what it is given while it runs: its [`Context`].

use std::any::{Any, type_name};
use std::borrow::Cow;
use std::fmt;
use std::future::{self, Future};
use std::mem;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::address::Address;
use crate::clock;
use crate::envelope::inherited_deadline;
use crate::exit::{Exit, ExitReason};
use crate::leftovers::Leftovers;
use crate::mailbox::{Batch, Priority, Rules};
use crate::slot::{AnySlot, TypedSlot};
use crate::system::System;

/// A state with a mailbox. One message is handled at a time; an `Err` from any method but `stop` ends the actor with it.
pub trait Actor: Sized + Send + 'static {
    /// What it is told.
    type Message: Send + 'static;

    /// Runs first; `spawn` and supervisors wait for it. An error here means there never was an actor: `stop` is not run.
    fn start(&mut self, ctx: &mut Context<Self>) -> impl Future<Output = Result<(), ExitReason>> + Send {
        let _ = ctx;
        future::ready(Ok(()))
    }

    /// Handles one message. An exit signal that ends the actor drops this future at its next await.
    fn handle(
        &mut self,
        message: Self::Message,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Result<(), ExitReason>> + Send;

    /// Handles a signal: the end of a monitored actor, or an exit while trapping exits. Comes before any queued message.
    fn signal(
        &mut self,
        signal: Signal,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Result<(), ExitReason>> + Send {
        let _ = (signal, ctx);
        future::ready(Ok(()))
    }

    /// Runs last, whatever ended the actor, except after a panic or a kill. A kill interrupts it.
    fn stop(&mut self, reason: &ExitReason, ctx: &mut Context<Self>) -> impl Future<Output = ()> + Send {
        let _ = (reason, ctx);
        future::ready(())
    }

    /// Runs after every end, also after a panic, a kill and a failed start, when the actor's state is gone. Before links,
    /// monitors and the supervisor hear of it. A panic here is logged and otherwise ignored.
    fn on_exit(exit: &Exit) {
        let _ = exit;
    }

    /// Runs when no message has come for as long as [`Context::hibernate_after`] says: the place to free what can be made
    /// again. The mailbox gives back its buffers by itself.
    fn hibernate(&mut self) {}

    /// What [`Sys::state`](crate::Sys::state) may see and change, usually `Some(self)`. Nothing, unless an actor says so.
    fn state(&mut self) -> Option<&mut dyn Any> {
        None
    }

    /// Changes the actor's behaviour while it runs, when [`Sys::change_code`](crate::Sys::change_code) asks for it. An
    /// error leaves the actor running as it was. Unless an actor says otherwise it refuses.
    fn code_change(
        &mut self,
        extra: Box<dyn Any + Send>,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Result<(), ExitReason>> + Send {
        let _ = (extra, ctx);
        future::ready(Err(ExitReason::error(NoCodeChange)))
    }

    /// What a message counts for in a mailbox with a bound on bytes: its own size and that of what it owns. Must be the same
    /// whenever it is asked; it is asked under the mailbox's lock, so it must be quick and send nothing.
    fn bytes_of(message: &Self::Message) -> usize {
        size_of_val(message)
    }

    /// Which messages go first in a mailbox with priorities. Asked under the mailbox's lock, like `bytes_of`.
    fn priority(message: &Self::Message) -> Priority {
        let _ = message;
        Priority::Normal
    }

    /// What a trace of this actor shows of a message; its type, unless an actor says more.
    fn describe(message: &Self::Message) -> Cow<'static, str> {
        let _ = message;
        Cow::Borrowed(type_name::<Self::Message>())
    }
}

pub(crate) fn rules<A: Actor>() -> Rules<A::Message> {
    Rules { bytes_of: A::bytes_of, priority: A::priority }
}

/// The actor has no [`Actor::code_change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("actor does not change its code")]
pub struct NoCodeChange;

/// Names one slot of a [`System`]; never reused, kept across supervised restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActorId(pub(crate) u64);

impl ActorId {
    /// The number, for logs and for other languages. Never 0.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The id of this number; None for 0. Whether it names anyone shows when it is used.
    pub fn from_u64(number: u64) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One monitor. Monitors stack: each is answered by its own [`Signal::Down`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MonitorRef {
    pub(crate) number: u64,
    pub(crate) target: ActorId,
}

/// What reaches an actor beside its messages.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Signal {
    /// A linked actor ended, and this one traps exits.
    Exit(Exit),
    /// Somebody asked this actor to exit, and it traps exits.
    ExitRequested(ExitReason),
    /// A monitored actor ended, or did not exist.
    Down {
        /// Which monitor this answers.
        monitor: MonitorRef,
        /// The end it saw.
        exit: Exit,
    },
}

/// An actor's view of itself and its surroundings.
pub struct Context<A: Actor> {
    pub(crate) slot: Arc<TypedSlot<A::Message>>,
    pub(crate) batch: Batch<A::Message>,
    /// Idle for this long, it hibernates.
    pub(crate) idle_ms: Option<NonZeroU32>,
    /// Messages given to the handler that the system's metrics do not count yet.
    pub(crate) uncounted: u32,
}

impl<A: Actor> Context<A> {
    /// Stays the same across supervised restarts.
    pub fn id(&self) -> ActorId {
        self.slot.header.id
    }

    /// Unique among the system's living actors.
    pub fn name(&self) -> &str {
        &self.slot.header.name
    }

    /// This actor's own address, to hand out.
    pub fn address(&self) -> Address<A::Message> {
        Address(self.slot.clone())
    }

    /// The system this actor lives in.
    pub fn system(&self) -> &System {
        &self.slot.header.system
    }

    /// Links both ways; again is the same as once. With no such actor, this one receives an exit with
    /// [`ExitReason::NoProc`], as OTP has it.
    pub fn link(&mut self, other: ActorId) {
        self.slot.header.link(other);
    }

    /// Undoes a link from both sides. No exit of the other is seen after it.
    pub fn unlink(&mut self, other: ActorId) {
        self.slot.header.unlink(other);
    }

    /// Asks to be told of the other's end by [`Signal::Down`]; at once, with [`ExitReason::NoProc`], if it is not alive.
    pub fn monitor(&mut self, target: ActorId) -> MonitorRef {
        self.slot.header.monitor(target)
    }

    /// Takes a monitor back. Its `Down` is not seen after it.
    pub fn demonitor(&mut self, monitor: MonitorRef) {
        self.slot.header.demonitor(monitor);
    }

    /// While true, exits of linked actors and exit requests become signals instead of ending this actor. A kill does not.
    pub fn trap_exits(&mut self, trap: bool) {
        self.slot.header.lock().trap_exits = trap;
    }

    /// While true, a stop by the supervisor or the system lets the message in work come to its end, within the time that the
    /// supervisor gives; otherwise the handler is dropped at its next await. Exit signals drop it either way.
    pub fn finish_message_on_stop(&mut self, finish: bool) {
        self.slot.header.lock().finish_message = finish;
    }

    /// When the message in work expires. Requests that its handler makes expire no later.
    pub fn deadline(&self) -> Option<Instant> {
        clock::instant(inherited_deadline())
    }

    /// Calls [`Actor::hibernate`] whenever no message has come for this long; `None`, the default, never. Counted in
    /// milliseconds, from 1 to 49 days.
    pub fn hibernate_after(&mut self, idle: Option<Duration>) {
        let ms = |idle: Duration| u32::try_from(idle.as_millis()).unwrap_or(u32::MAX).max(1);
        self.idle_ms = idle.and_then(|idle| NonZeroU32::new(ms(idle)));
    }

    /// Whether the supervisor stops this actor only to start it again, as it does when a sibling ended.
    pub fn restart_follows(&self) -> bool {
        self.slot.header.lock().restart_follows
    }

    /// For code that runs long without awaiting and wants to know that it was killed.
    pub fn kill_flag(&self) -> KillFlag {
        KillFlag(self.slot.clone())
    }
}

impl<A: Actor> Context<A> {
    /// Tells the system's metrics of the messages handled since the last time.
    pub(crate) fn count_turn(&mut self) {
        let header = &self.slot.header;
        header.system.count_turn(header, mem::take(&mut self.uncounted));
    }
}

impl<A: Actor> Drop for Context<A> {
    /// What was taken from the mailbox and not handled meets the next incarnation, if there is one.
    fn drop(&mut self) {
        self.count_turn();
        drop(Leftovers::of(&self.slot.header, vec![self.batch.put_back(&self.slot.mailbox)]));
    }
}

/// Says whether its actor was killed or must exit, at the price of one relaxed atomic load.
#[derive(Clone)]
pub struct KillFlag(Arc<AnySlot>);

impl KillFlag {
    /// True from the kill until the slot's next incarnation starts.
    pub fn is_raised(&self) -> bool {
        self.0.header.is_killed()
    }

    /// True as well when an exit signal will drop the handler at its next await: code that runs long without awaiting
    /// should return to one.
    pub fn must_end(&self) -> bool {
        self.0.header.must_end()
    }
}
