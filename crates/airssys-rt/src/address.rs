//! An address: the right to send to one slot, and the three ways to do it.
//!
//! `try_tell` never waits, `tell` obeys the receiver's overflow policy, `ask` resolves exactly once. What cannot be sent
//! comes back inside the error. An address stays good across supervised restarts of what it names.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::actor::ActorId;
use crate::exit::ExitReason;
use crate::mailbox::{MailboxStats, Overflow, Refused, Ticket};
use crate::observe::DeadLetterReason;
use crate::reply::{ReplyTo, reply};
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
        match self.0.mailbox.try_push(message) {
            Ok(None) => Ok(()),
            Ok(Some(dropped)) => {
                self.count_dropped(dropped);
                Ok(())
            }
            Err(Refused::Full(message)) => Err(TellError::Full(message)),
            Err(Refused::Closed(message)) => Err(TellError::Closed(message)),
        }
    }

    /// Sends without waiting and whatever the mailbox's capacity. For answers to what was bounded when it was asked; the
    /// caller sees to it that their number is.
    pub fn tell_beyond_capacity(&self, message: M) -> Result<(), TellError<M>> {
        self.0.mailbox.push_beyond_capacity(message).map_err(TellError::from)
    }

    /// Sends, and with [`Overflow::Wait`] waits for room in the order of arrival.
    ///
    /// Cancel safe: dropping the future leaves the line, and the message is then either in the mailbox or dropped with the
    /// future, never sent later.
    pub async fn tell(&self, message: M) -> Result<(), TellError<M>> {
        match self.try_tell(message) {
            Err(TellError::Full(message)) if self.overflow() == Overflow::Wait => {
                Line { address: self, place: Place::Outside(Some(message)) }.await
            }
            outcome => outcome,
        }
    }

    /// Sends a request and waits for its answer, `timeout` in all. Resolves as soon as the callee answers or ends, or the
    /// message is dropped.
    ///
    /// Cancel safe: dropping the future abandons the request, and the callee's answer then comes back to the callee.
    pub async fn ask<R: Send>(
        &self,
        timeout: Duration,
        make: impl FnOnce(ReplyTo<R>) -> M,
    ) -> Result<R, AskError<M>> {
        let (reply_to, reply) = reply();
        match self.try_tell(make(reply_to)) {
            Ok(()) => match tokio::time::timeout(timeout, reply).await {
                Ok(answer) => answer.ok_or(AskError::Died),
                Err(_) => Err(AskError::Timeout),
            },
            Err(TellError::Full(message)) if self.overflow() == Overflow::Wait => {
                let deadline = deadline_after(timeout);
                let mut line = pin!(Line { address: self, place: Place::Outside(Some(message)) });
                match tokio::time::timeout_at(deadline, line.as_mut()).await {
                    Ok(sent) => sent.map_err(AskError::NotSent)?,
                    // The message may have gone in at the last moment; then only the answer is late.
                    Err(_) => {
                        return Err(line.leave().map_or(AskError::Timeout, |message| {
                            AskError::NotSent(TellError::Full(message))
                        }));
                    }
                }
                match tokio::time::timeout_at(deadline, reply).await {
                    Ok(answer) => answer.ok_or(AskError::Died),
                    Err(_) => Err(AskError::Timeout),
                }
            }
            Err(refused) => Err(AskError::NotSent(refused)),
        }
    }

    /// As [`Address::ask`], for callers whose answer may rightly take any time. `None`: not sent, or died.
    pub(crate) async fn ask_untimed<R: Send>(&self, make: impl FnOnce(ReplyTo<R>) -> M) -> Option<R> {
        let (reply_to, reply) = reply();
        self.tell(make(reply_to)).await.ok()?;
        reply.await
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
    /// others end the actor at its next await unless it traps exits. False if no actor is alive here.
    pub fn exit(&self, reason: ExitReason) -> bool {
        self.0.header.exit(reason)
    }

    /// An incarnation is starting, running or stopping here. False between an end and the restart that follows it.
    pub fn is_alive(&self) -> bool {
        self.0.header.lock().is_alive()
    }

    #[cold]
    fn count_dropped(&self, message: M) {
        let reason = match self.overflow() {
            Overflow::DropOldest => DeadLetterReason::DroppedOldest,
            Overflow::DropNewest | Overflow::Wait | Overflow::Reject => DeadLetterReason::DroppedNewest,
        };
        self.0.header.system.dead_letters_add(&self.0.header, reason, 1);
        drop(message);
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
    /// The receiver ended for good.
    #[error("receiver has ended")]
    Closed(M),
}

impl<M> TellError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

impl<M> fmt::Debug for TellError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
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

/// A message in line for room in a mailbox.
struct Line<'a, M: Send + 'static> {
    address: &'a Address<M>,
    place: Place<M>,
}

enum Place<M> {
    Outside(Option<M>),
    Waiting(Ticket),
    Done,
}

impl<M: Send + 'static> Unpin for Line<'_, M> {}

impl<M: Send + 'static> Line<'_, M> {
    fn leave(&mut self) -> Option<M> {
        match std::mem::replace(&mut self.place, Place::Done) {
            Place::Outside(message) => message,
            Place::Waiting(ticket) => self.address.0.mailbox.cancel(ticket),
            Place::Done => None,
        }
    }
}

impl<M: Send + 'static> Future for Line<'_, M> {
    type Output = Result<(), TellError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mailbox = &self.address.0.mailbox;
        if let Place::Outside(message) = &mut self.place {
            let message = message.take().expect("a message is outside the line until it is in it");
            match mailbox.push_or_wait(message, cx.waker()) {
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
            Refused::Closed(message) => Self::Closed(message),
        }
    }
}
