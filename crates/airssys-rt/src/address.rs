//! An address: the right to send to one slot, and the three ways to do it.
//!
//! `try_tell` never waits, `tell` obeys the receiver's overflow policy, `ask` resolves exactly once. What cannot be sent
//! comes back inside the error. An address stays good across supervised restarts of what it names.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::actor::ActorId;
use crate::clock::{self, NEVER};
use crate::deadline::Registration;
use crate::envelope::{Envelope, inherited_deadline};
use crate::exit::ExitReason;
use crate::mailbox::{MailboxStats, Overflow, Refused, Ticket};
use crate::observe::DeadLetterReason;
use crate::reply::{Reply, ReplyTo, reply};
use crate::slot::TypedSlot;

/// Where messages of type `M` can be sent. Cheap to clone.
pub struct Address<M>(pub(crate) Arc<TypedSlot<M>>);

impl<M: Send + 'static> Address<M> {
    /// The slot's id; the same before and after a restart.
    pub fn id(&self) -> ActorId {
        self.0.header.id
    }

    /// The actor's name.
    pub fn name(&self) -> &str {
        &self.0.header.name
    }

    /// Sends without waiting, from any thread. While senders wait in line for room the mailbox is full to others.
    pub fn try_tell(&self, message: M) -> Result<(), TellError<M>> {
        self.push(Envelope::new(message, NEVER))
    }

    /// As [`Address::try_tell`], of a message that is not handled from `deadline` on: then it is a dead letter.
    pub fn try_tell_until(&self, message: M, deadline: Instant) -> Result<(), TellError<M>> {
        if deadline <= Instant::now() {
            return Err(TellError::Expired(message));
        }
        self.push(Envelope::new(message, clock::nanos(deadline)))
    }

    /// Sends without waiting and whatever the mailbox's capacity. For answers to what was bounded when it was asked; the
    /// caller sees to it that their number is.
    pub fn tell_beyond_capacity(&self, message: M) -> Result<(), TellError<M>> {
        self.0.mailbox.push_beyond_capacity(Envelope::new(message, NEVER)).map_err(TellError::from)
    }

    /// Sends, and with [`Overflow::Wait`] waits for room in the order of arrival.
    ///
    /// Cancel safe: dropping the future leaves the line, and the message is then either in the mailbox or dropped with the
    /// future, never sent later.
    pub async fn tell(&self, message: M) -> Result<(), TellError<M>> {
        match self.try_tell(message) {
            Err(TellError::Full(message)) if self.overflow() == Overflow::Wait => {
                Line::new(self, message, NEVER).await
            }
            outcome => outcome,
        }
    }

    /// Sends a request and waits for its answer, `timeout` in all, and no longer than the message in work may be handled
    /// if an actor asks while it handles one. Resolves as soon as the callee answers or ends, or the message is dropped;
    /// a timeout is noticed up to a millisecond late. The callee does not handle a request whose time is up.
    ///
    /// Cancel safe: dropping the future abandons the request, and the callee's answer then comes back to the callee.
    /// To be polled in a tokio runtime with time enabled; elsewhere it may panic.
    pub async fn ask<R: Send>(
        &self,
        timeout: Duration,
        make: impl FnOnce(ReplyTo<R>) -> M,
    ) -> Result<R, AskError<M>> {
        let now = clock::now();
        let deadline = clock::add(now, timeout).min(inherited_deadline());
        let asker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let (reply_to, reply) = reply(Some(asker));
        let message = make(reply_to);
        if deadline <= now {
            return Err(AskError::NotSent(TellError::Expired(message)));
        }
        let mut request =
            Request { callee: self, reply: Some(reply), deadline, entry: None, may_be_answered: false };
        match self.push(Envelope::new(message, deadline)) {
            Ok(()) => {}
            Err(TellError::Full(message)) if self.overflow() == Overflow::Wait => {
                let mut line = Line::new(self, message, deadline);
                request.may_be_answered = true;
                let sent = poll_fn(|cx| match Pin::new(&mut line).poll(cx) {
                    Poll::Ready(sent) => Poll::Ready(Some(sent)),
                    Poll::Pending => request.poll_deadline(cx).map(|()| None),
                })
                .await;
                match sent {
                    Some(sent) => sent.map_err(AskError::NotSent)?,
                    // The message may have gone in at the last moment; then only the answer is late.
                    None => {
                        return Err(line.leave().map_or(AskError::Timeout, |message| {
                            AskError::NotSent(TellError::Full(message))
                        }));
                    }
                }
            }
            Err(refused) => return Err(AskError::NotSent(refused)),
        }
        request.await
    }

    /// As [`Address::ask`], for callers whose answer may rightly take any time. `None`: not sent, or died.
    pub(crate) async fn ask_untimed<R: Send>(&self, make: impl FnOnce(ReplyTo<R>) -> M) -> Option<R> {
        let (reply_to, mut reply) = reply(None);
        self.tell(make(reply_to)).await.ok()?;
        poll_fn(|cx| reply.poll(cx)).await
    }

    fn push(&self, envelope: Envelope<M>) -> Result<(), TellError<M>> {
        match self.0.mailbox.try_push(envelope) {
            Ok(dropped) if dropped.is_empty() => Ok(()),
            Ok(dropped) => {
                self.lose(dropped);
                Ok(())
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// Changes how many messages the mailbox holds. What is in it already stays, and senders wait or are refused until it is
    /// below the bound again. Zero is read as one.
    pub fn set_capacity(&self, capacity: usize) {
        self.0.mailbox.set_capacity(capacity);
    }

    /// Depth and counts of the mailbox.
    pub fn stats(&self) -> MailboxStats {
        self.0.mailbox.stats()
    }

    /// What the receiver does with messages that do not fit.
    pub fn overflow(&self) -> Overflow {
        self.0.mailbox.overflow()
    }

    /// Sends an exit signal, as OTP's `exit/2`: [`ExitReason::Normal`] is ignored, [`ExitReason::Killed`] cannot be trapped,
    /// others end the actor at its next await unless it traps exits. One that traps them and has not heard of 1,024
    /// requests is not asked again. False if no actor is alive here.
    pub fn exit(&self, reason: ExitReason) -> bool {
        self.0.header.exit(reason)
    }

    /// An incarnation is starting, running or stopping here. False between an end and the restart that follows it.
    pub fn is_alive(&self) -> bool {
        self.0.header.lock().is_alive()
    }

    /// An address that does not keep the actor's place.
    pub fn downgrade(&self) -> WeakAddress<M> {
        WeakAddress(Arc::downgrade(&self.0))
    }

    #[cold]
    fn lose(&self, dropped: Vec<M>) {
        let reason = match self.overflow() {
            Overflow::DropOldest => DeadLetterReason::DroppedOldest,
            Overflow::DropNewest | Overflow::Wait | Overflow::Reject => DeadLetterReason::DroppedNewest,
        };
        self.0.header.system.lose(&self.0.header, reason, dropped);
    }
}

/// An address that does not keep the memory of an actor that has ended for good.
pub struct WeakAddress<M>(Weak<TypedSlot<M>>);

impl<M> WeakAddress<M> {
    /// The address, as long as the system or another address knows the actor's place.
    pub fn upgrade(&self) -> Option<Address<M>> {
        self.0.upgrade().map(Address)
    }
}

impl<M> Clone for WeakAddress<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> fmt::Debug for WeakAddress<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.upgrade() {
            Some(address) => write!(f, "Weak{address:?}"),
            None => f.write_str("WeakAddress(gone)"),
        }
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({} {})", self.0.header.id, self.0.header.name)
    }
}

/// Why a message was not sent, with the message.
#[derive(thiserror::Error)]
pub enum TellError<M> {
    /// The mailbox is full.
    #[error("mailbox is full")]
    Full(M),
    /// The message alone has more bytes than the mailbox may hold.
    #[error("message is larger than the mailbox")]
    TooLarge(M),
    /// The message's time was up before it was sent.
    #[error("message expired before it was sent")]
    Expired(M),
    /// The receiver ended for good.
    #[error("receiver has ended")]
    Closed(M),
}

impl<M> TellError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            Self::Full(message)
            | Self::TooLarge(message)
            | Self::Expired(message)
            | Self::Closed(message) => message,
        }
    }

    pub(crate) fn map<X>(self, map: impl FnOnce(M) -> X) -> TellError<X> {
        match self {
            Self::Full(message) => TellError::Full(map(message)),
            Self::TooLarge(message) => TellError::TooLarge(map(message)),
            Self::Expired(message) => TellError::Expired(map(message)),
            Self::Closed(message) => TellError::Closed(map(message)),
        }
    }
}

impl<M> fmt::Debug for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::TooLarge(_) => f.write_str("TooLarge(..)"),
            Self::Expired(_) => f.write_str("Expired(..)"),
            Self::Closed(_) => f.write_str("Closed(..)"),
        }
    }
}

/// Why a request has no answer.
#[derive(thiserror::Error)]
pub enum AskError<M> {
    /// The time was up before the answer came.
    #[error("no answer in time")]
    Timeout,
    /// The receiver ended, or dropped the request, without an answer.
    #[error("receiver died before it answered")]
    Died,
    /// The request was not sent, and comes back.
    #[error("{0}")]
    NotSent(TellError<M>),
}

impl<M> fmt::Debug for AskError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("Timeout"),
            Self::Died => f.write_str("Died"),
            Self::NotSent(error) => write!(f, "NotSent({error:?})"),
        }
    }
}

/// The instant a wait ends. One that would end after the clock does ends in a year.
pub(crate) fn deadline_after(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + YEAR)
}

/// A request that was sent, or is about to be; dropped, it is abandoned.
struct Request<'a, M: Send + 'static, R> {
    callee: &'a Address<M>,
    /// Taken when the answer is there.
    reply: Option<Reply<R>>,
    deadline: i64,
    entry: Option<Registration>,
    /// The answer may have come although nobody woke us: somebody else was polled for us before.
    may_be_answered: bool,
}

impl<M: Send + 'static, R> Request<'_, M, R> {
    /// Ready when the time is up. Enters the wait where somebody will wake it.
    fn poll_deadline(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.deadline == NEVER {
            return Poll::Pending;
        }
        let system = &self.callee.0.header.system;
        if let Some(entry) = self.entry.take() {
            system.deadlines().remove(&entry);
            if clock::now() >= self.deadline {
                return Poll::Ready(());
            }
        }
        self.entry = Some(system.deadlines().insert(system, self.deadline, cx.waker()));
        Poll::Pending
    }
}

impl<M: Send + 'static, R> Unpin for Request<'_, M, R> {}

impl<M: Send + 'static, R> Future for Request<'_, M, R> {
    type Output = Result<R, AskError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // An answer before the first poll has woken us already, so the first poll need not look.
        if self.entry.is_some() || self.may_be_answered || self.deadline == NEVER {
            let reply = self.reply.as_mut().expect("a request is not polled after its end");
            if let Poll::Ready(answer) = reply.poll(cx) {
                self.reply = None;
                // The callee drops what it finds expired; that is no death.
                let why = || if clock::now() < self.deadline { AskError::Died } else { AskError::Timeout };
                return Poll::Ready(answer.ok_or_else(why));
            }
        }
        self.poll_deadline(cx).map(|()| Err(AskError::Timeout))
    }
}

impl<M: Send + 'static, R> Drop for Request<'_, M, R> {
    fn drop(&mut self) {
        if let Some(entry) = &self.entry {
            self.callee.0.header.system.deadlines().remove(entry);
        }
        if let Some(reply) = self.reply.take() {
            reply.abandon(self.callee.0.clone());
        }
    }
}

/// A message in line for room in a mailbox.
struct Line<'a, M: Send + 'static> {
    address: &'a Address<M>,
    place: Place<M>,
}

enum Place<M> {
    Outside(Option<Envelope<M>>),
    Waiting(Ticket),
    Done,
}

impl<M: Send + 'static> Unpin for Line<'_, M> {}

impl<'a, M: Send + 'static> Line<'a, M> {
    fn new(address: &'a Address<M>, message: M, deadline: i64) -> Self {
        Self { address, place: Place::Outside(Some(Envelope::new(message, deadline))) }
    }

    fn leave(&mut self) -> Option<M> {
        match std::mem::replace(&mut self.place, Place::Done) {
            Place::Outside(envelope) => envelope.map(|envelope| envelope.message),
            Place::Waiting(ticket) => self.address.0.mailbox.cancel(ticket),
            Place::Done => None,
        }
    }
}

impl<M: Send + 'static> Future for Line<'_, M> {
    type Output = Result<(), TellError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mailbox = &self.address.0.mailbox;
        if let Place::Outside(envelope) = &mut self.place {
            let envelope = envelope.take().expect("a message is outside the line until it is in it");
            match mailbox.push_or_wait(envelope, cx.waker()) {
                Ok(ticket) => self.place = Place::Waiting(ticket),
                Err(refused) => {
                    self.place = Place::Done;
                    return Poll::Ready(Err(refused.into()));
                }
            }
        }
        let Place::Waiting(ticket) = self.place else {
            return Poll::Ready(Ok(()));
        };
        let outcome = self.address.0.mailbox.poll_ticket(ticket, cx);
        if outcome.is_ready() {
            self.place = Place::Done;
        }
        outcome.map_err(TellError::from)
    }
}

impl<M: Send + 'static> Drop for Line<'_, M> {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

impl<M> From<Refused<M>> for TellError<M> {
    fn from(refused: Refused<M>) -> Self {
        match refused {
            Refused::Full(message) => Self::Full(message),
            Refused::TooLarge(message) => Self::TooLarge(message),
            Refused::Closed(message) => Self::Closed(message),
        }
    }
}
