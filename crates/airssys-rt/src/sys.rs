//! Looking into a running actor and changing it, as OTP's `sys`: suspend, resume, state, code change, trace.
//!
//! Requests come before signals and messages, after the message in work. An actor's state is shown only if the actor offers it.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::actor::ActorId;
use crate::address::{Address, deadline_after};
use crate::exit::ExitReason;
use crate::observe::TreeNode;
use crate::reply::{Reply, ReplyTo, reply};
use crate::slot::{AnySlot, OBSERVED};
use crate::system::System;

/// Entries a reader of a trace may be behind before it misses some.
const TRACE_BUFFER_LEN: usize = 1024;

/// A look at one actor from outside. Cheap to clone; keeps nothing alive but the actor's place.
#[derive(Clone)]
pub struct Sys(Arc<AnySlot>);

impl System {
    /// A look at the actor of this id; `None` if there is none.
    pub fn sys(&self, id: ActorId) -> Option<Sys> {
        self.slot(id).map(Sys)
    }
}

impl<M: Send + 'static> Address<M> {
    /// A look at the actor from outside.
    pub fn sys(&self) -> Sys {
        Sys(self.0.clone())
    }
}

impl Sys {
    /// The actor as the tree shows it.
    pub fn node(&self) -> TreeNode {
        self.0.node()
    }

    /// Lets the actor finish the message in work and then handle nothing: messages and signals wait, exits and requests do
    /// not. Suspending twice is the same as once. The next incarnation is not suspended.
    ///
    /// Cancel safe in so far as the request stands: the actor suspends although nobody waits for it.
    pub async fn suspend(&self, within: Duration) -> Result<(), SysError> {
        self.ask(within, Request::Suspend).await
    }

    /// Lets a suspended actor go on.
    pub async fn resume(&self, within: Duration) -> Result<(), SysError> {
        self.ask(within, Request::Resume).await
    }

    /// Runs `look` on the actor's state, between two messages and on the actor's own task, if the actor offers it by
    /// [`Actor::state`](crate::Actor::state). It may change the state; it should be quick, and a panic in it is the actor's.
    /// `S` is the type that `state` offers.
    pub async fn state<S: 'static, R: Send + 'static>(
        &self,
        within: Duration,
        look: impl FnOnce(&mut S) -> R + Send + 'static,
    ) -> Result<R, SysError> {
        self.ask(within, move |reply_to: ReplyTo<Result<R, SysError>>| {
            Request::State(Box::new(move |state| {
                let seen = match state {
                    Some(state) => state.downcast_mut().map(look).ok_or(SysError::OtherType),
                    None => Err(SysError::NotOffered),
                };
                // Whoever asked may have left.
                drop(reply_to.send(seen));
            }))
        })
        .await?
    }

    /// Hands `extra` to the actor's [`Actor::code_change`](crate::Actor::code_change). As in OTP the actor must be
    /// suspended, so that whoever changes it chooses the moment.
    pub async fn change_code(&self, within: Duration, extra: impl Any + Send) -> Result<(), SysError> {
        self.ask(within, move |reply_to| Request::ChangeCode(Box::new(extra), reply_to)).await?
    }

    /// Shows the next messages the actor handles, at most `messages` of them and for no longer than `time`. A trace that
    /// is already running on this actor ends. A trace ends with the actor, and is over at once where there is none.
    pub fn trace(&self, messages: u64, time: Duration) -> Trace {
        let (entries, reader) = mpsc::channel(TRACE_BUFFER_LEN);
        let until = deadline_after(time);
        let header = &self.0.header;
        let number = header.system.next_number();
        let mut control = header.lock();
        let mut previous = None;
        if control.is_alive() {
            let tracing = Tracing { number, entries, left: messages, until, missed: 0 };
            previous = control.rare_mut().trace.replace(tracing);
            header.set_flag(OBSERVED, true);
        }
        drop(control);
        drop(previous);
        Trace { entries: reader, until }
    }

    async fn ask<R: Send>(
        &self,
        within: Duration,
        make: impl FnOnce(ReplyTo<R>) -> Request,
    ) -> Result<R, SysError> {
        let (reply_to, mut answer): (_, Reply<R>) = reply(None);
        self.0.header.request(make(reply_to))?;
        match timeout(within, std::future::poll_fn(|cx| answer.poll(cx))).await {
            Ok(answer) => answer.ok_or(SysError::NoProc),
            Err(_) => Err(SysError::Timeout),
        }
    }
}

impl fmt::Debug for Sys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sys({} {})", self.0.header.id, self.0.header.name)
    }
}

/// Why a look at an actor showed nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SysError {
    /// No actor runs here, or it ended before it answered.
    #[error("no such actor")]
    NoProc,
    /// The message in work took longer; the request stands.
    #[error("no answer in time")]
    Timeout,
    /// The actor has not come to serve those that asked before.
    #[error("{max} requests wait already")]
    TooMany {
        /// Requests that may wait for one actor.
        max: usize,
    },
    /// The actor does not show its state.
    #[error("actor does not offer its state")]
    NotOffered,
    /// The actor's state is of another type.
    #[error("actor's state is of another type")]
    OtherType,
    /// Code is changed only while the actor is suspended.
    #[error("actor is not suspended")]
    NotSuspended,
    /// The actor refused the change, and goes on as it was.
    #[error("change code: {0}")]
    Refused(ExitReason),
}

/// What looks at an actor's state, if the actor shows it.
type Look = Box<dyn FnOnce(Option<&mut dyn Any>) + Send>;

/// What is asked about an actor, served by its own task.
pub(crate) enum Request {
    Suspend(ReplyTo<()>),
    Resume(ReplyTo<()>),
    State(Look),
    ChangeCode(Box<dyn Any + Send>, ReplyTo<Result<(), SysError>>),
}

/// What one traced actor handled, in order.
pub struct Trace {
    entries: mpsc::Receiver<TraceEntry>,
    until: Instant,
}

impl Trace {
    /// The next entry; `None` when the trace is over. Cancel safe.
    pub async fn next(&mut self) -> Option<TraceEntry> {
        tokio::time::timeout_at(self.until, self.entries.recv()).await.ok().flatten()
    }
}

/// One handled message.
#[derive(Clone, Debug)]
pub struct TraceEntry {
    /// What [`Actor::describe`](crate::Actor::describe) says of it.
    pub message: Cow<'static, str>,
    /// When its handling began.
    pub at: Instant,
    /// How long it was handled; `None` if that ended the actor.
    pub took: Option<Duration>,
    /// Entries before this one that were lost because the reader was too slow.
    pub missed: u64,
}

/// A trace as the actor sees it.
pub(crate) struct Tracing {
    /// Tells it from one that came before.
    number: u64,
    entries: mpsc::Sender<TraceEntry>,
    left: u64,
    until: Instant,
    missed: u64,
}

impl Tracing {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether one more message may be shown.
    pub(crate) fn takes_more(&self) -> bool {
        self.left > 0 && Instant::now() < self.until && !self.entries.is_closed()
    }

    pub(crate) fn record(&mut self, message: Cow<'static, str>, at: Instant, took: Option<Duration>) {
        self.left = self.left.saturating_sub(1);
        let entry = TraceEntry { message, at, took, missed: self.missed };
        match self.entries.try_send(entry) {
            Ok(()) => self.missed = 0,
            Err(_) => self.missed += 1,
        }
    }
}
