//! A bounded mailbox: one short lock around a queue that its receiver takes whole.
//!
//! Messages of one sender arrive in the order sent. A message that does not fit comes back to its sender, and who waits
//! for room is served in order of arrival. The capacity is exact: it counts what is queued and what the receiver took but
//! has not handled. A receiver that ends with messages in hand puts them back in front, so they meet its successor.
//! Nothing here knows of actors; waking is a `Waker`, and counting what was lost is the caller's.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Buffers larger than this are given back when the mailbox runs empty, so a burst does not cost memory for ever.
const KEPT_BUFFER_LEN_MAX: usize = 256;

/// How much a mailbox holds and what it does when full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxOptions {
    /// Messages it holds; zero is read as one.
    pub capacity: usize,
    /// What happens to a message that does not fit.
    pub overflow: Overflow,
}

impl Default for MailboxOptions {
    /// 1024 messages, and senders wait.
    fn default() -> Self {
        Self { capacity: 1024, overflow: Overflow::Wait }
    }
}

/// What the receiver decided for messages that do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// `tell` waits for room; `try_tell` returns the message.
    Wait,
    /// The message comes back to the sender.
    Reject,
    /// The oldest queued message becomes a dead letter to make room.
    DropOldest,
    /// The new message becomes a dead letter; its sender is not told.
    DropNewest,
}

/// Counts of one mailbox. At rest `accepted = handled + dropped + depth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxStats {
    /// Messages waiting to be handled.
    pub depth: usize,
    /// The bound on `depth`.
    pub capacity: usize,
    /// Messages whose sender was told they were sent.
    pub accepted: u64,
    /// Messages given to a handler.
    pub handled: u64,
    /// Messages returned to their sender.
    pub rejected: u64,
    /// Accepted messages that became dead letters.
    pub dropped: u64,
}

/// Why a message was not put in the mailbox.
pub(crate) enum Refused<M> {
    Full(M),
    Closed(M),
}

/// A place in the line of senders waiting for room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

pub(crate) struct Mailbox<M> {
    queue: Mutex<Queue<M>>,
    /// Messages the receiver took and has not handled. Written by the receiver, read by senders who find the mailbox full.
    in_hand: AtomicUsize,
    /// Whether senders wait for room; true only while `Queue::waiting` is not empty.
    has_waiting: AtomicBool,
    capacity: usize,
    overflow: Overflow,
}

struct Queue<M> {
    messages: VecDeque<M>,
    /// Upper bound of `in_hand`, as of the receiver's last visit: spares senders the receiver's cache line.
    in_hand_max: usize,
    open: bool,
    parked: bool,
    receiver: Option<Waker>,
    waiting: VecDeque<Waiting<M>>,
    next_ticket: u64,
    accepted: u64,
    rejected: u64,
    dropped: u64,
}

struct Waiting<M> {
    ticket: Ticket,
    message: M,
    sender: Waker,
}

impl<M> Mailbox<M> {
    pub(crate) fn new(options: MailboxOptions) -> Self {
        Self {
            queue: Mutex::new(Queue {
                messages: VecDeque::new(),
                in_hand_max: 0,
                open: true,
                parked: false,
                receiver: None,
                waiting: VecDeque::new(),
                next_ticket: 0,
                accepted: 0,
                rejected: 0,
                dropped: 0,
            }),
            in_hand: AtomicUsize::new(0),
            has_waiting: AtomicBool::new(false),
            capacity: options.capacity.max(1),
            overflow: options.overflow,
        }
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Puts a message in, or evicts by policy: `Ok(Some(_))` is the message that was dropped to obey it.
    pub(crate) fn try_push(&self, message: M) -> Result<Option<M>, Refused<M>> {
        let queue = self.lock();
        if queue.open && queue.messages.len() + queue.in_hand_max < self.capacity {
            Self::accept(queue, message);
            return Ok(None);
        }
        self.push_when_tight(queue, message)
    }

    pub(crate) fn push_beyond_capacity(&self, message: M) -> Result<(), Refused<M>> {
        let mut queue = self.lock();
        if !queue.open {
            queue.rejected += 1;
            return Err(Refused::Closed(message));
        }
        Self::accept(queue, message);
        Ok(())
    }

    /// For a message that [`Mailbox::try_push`] refused as it was full: keeps it in line for room and returns a ticket.
    pub(crate) fn push_or_wait(&self, message: M, sender: &Waker) -> Result<Ticket, Refused<M>> {
        let mut queue = self.lock();
        if !queue.open {
            return Err(Refused::Closed(message));
        }
        // The refusal that sent the message here is not the last word.
        queue.rejected -= 1;
        let ticket = Ticket(queue.next_ticket);
        queue.next_ticket += 1;
        queue.waiting.push_back(Waiting { ticket, message, sender: sender.clone() });
        self.has_waiting.store(true, Ordering::Relaxed);
        // Pairs with the fence in `relieve`: either we see the room the receiver made, or it sees us waiting.
        fence(Ordering::SeqCst);
        self.admit(queue);
        Ok(ticket)
    }

    /// `Ready(Ok)` once the message of this ticket is in the mailbox. After `Ready` the ticket is spent.
    pub(crate) fn poll_ticket(&self, ticket: Ticket, cx: &Context<'_>) -> Poll<Result<(), Refused<M>>> {
        let mut queue = self.lock();
        let Ok(index) = queue.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket) else {
            return Poll::Ready(Ok(()));
        };
        if queue.open {
            if !queue.waiting[index].sender.will_wake(cx.waker()) {
                queue.waiting[index].sender = cx.waker().clone();
            }
            return Poll::Pending;
        }
        match self.leave_line(queue, index) {
            Some(message) => Poll::Ready(Err(Refused::Closed(message))),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Leaves the line. `None` if the message was sent before.
    pub(crate) fn cancel(&self, ticket: Ticket) -> Option<M> {
        let queue = self.lock();
        let index = queue.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()?;
        self.leave_line(queue, index)
    }

    pub(crate) fn stats(&self) -> MailboxStats {
        let queue = self.lock();
        let depth = queue.messages.len() + self.in_hand.load(Ordering::Relaxed);
        MailboxStats {
            depth,
            capacity: self.capacity,
            accepted: queue.accepted,
            handled: queue.accepted.saturating_sub(queue.dropped + depth as u64),
            rejected: queue.rejected,
            dropped: queue.dropped,
        }
    }

    /// Lets messages in again after [`Mailbox::close`].
    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    /// Refuses messages from now on and returns those that were queued; what a receiver has in hand follows from its drop.
    pub(crate) fn close(&self) -> VecDeque<M> {
        let mut queue = self.lock();
        queue.open = false;
        let left = mem::take(&mut queue.messages);
        queue.dropped += left.len() as u64;
        let senders: Vec<Waker> = queue.waiting.iter().map(|waiting| waiting.sender.clone()).collect();
        drop(queue);
        senders.into_iter().for_each(Waker::wake);
        left
    }

    /// Whom to wake when a message arrives for a parked receiver.
    pub(crate) fn set_receiver(&self, receiver: Option<Waker>) {
        let previous = mem::replace(&mut self.lock().receiver, receiver);
        drop(previous);
    }

    /// Lets waiting senders in if there is room. The receiver calls it before it goes to sleep with a message in work.
    pub(crate) fn relieve(&self) {
        if self.overflow != Overflow::Wait {
            return;
        }
        fence(Ordering::SeqCst);
        if self.has_waiting.load(Ordering::Relaxed) {
            self.admit(self.lock());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<M>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(mut queue: MutexGuard<'_, Queue<M>>, message: M) {
        queue.messages.push_back(message);
        queue.accepted += 1;
        if queue.parked {
            queue.parked = false;
            let receiver = queue.receiver.clone();
            drop(queue);
            if let Some(receiver) = receiver {
                receiver.wake();
            }
        }
    }

    #[cold]
    fn push_when_tight(
        &self,
        mut queue: MutexGuard<'_, Queue<M>>,
        message: M,
    ) -> Result<Option<M>, Refused<M>> {
        if !queue.open {
            queue.rejected += 1;
            return Err(Refused::Closed(message));
        }
        // Whoever waits in line comes first: to a newcomer the room they will take is not there.
        if queue.waiting.is_empty() && self.has_room(&mut queue) {
            Self::accept(queue, message);
            return Ok(None);
        }
        match self.overflow {
            Overflow::Wait | Overflow::Reject => {
                queue.rejected += 1;
                Err(Refused::Full(message))
            }
            Overflow::DropOldest => {
                let oldest = queue.messages.pop_front();
                queue.dropped += u64::from(oldest.is_some());
                Self::accept(queue, message);
                Ok(oldest)
            }
            Overflow::DropNewest => {
                queue.accepted += 1;
                queue.dropped += 1;
                Ok(Some(message))
            }
        }
    }

    /// Exact, at the price of reading what the receiver writes.
    fn has_room(&self, queue: &mut Queue<M>) -> bool {
        queue.in_hand_max = self.in_hand.load(Ordering::Relaxed);
        queue.messages.len() + queue.in_hand_max < self.capacity
    }

    /// Moves waiting senders' messages in, first come first served, while there is room.
    fn admit(&self, mut queue: MutexGuard<'_, Queue<M>>) {
        let mut wake = Vec::new();
        while queue.open && !queue.waiting.is_empty() && self.has_room(&mut queue) {
            if let Some(waiting) = queue.waiting.pop_front() {
                queue.messages.push_back(waiting.message);
                queue.accepted += 1;
                wake.push(waiting.sender);
            }
        }
        self.has_waiting.store(!queue.waiting.is_empty(), Ordering::Relaxed);
        if !wake.is_empty() && queue.parked {
            queue.parked = false;
            wake.extend(queue.receiver.clone());
        }
        drop(queue);
        wake.into_iter().for_each(Waker::wake);
    }

    fn leave_line(&self, mut queue: MutexGuard<'_, Queue<M>>, index: usize) -> Option<M> {
        let waiting = queue.waiting.remove(index)?;
        queue.rejected += 1;
        self.has_waiting.store(!queue.waiting.is_empty(), Ordering::Relaxed);
        Some(waiting.message)
    }
}

/// What the receiver holds between visits to the mailbox. One per mailbox at a time.
pub(crate) struct Batch<M> {
    messages: VecDeque<M>,
}

impl<M> Batch<M> {
    pub(crate) fn new() -> Self {
        Self { messages: VecDeque::new() }
    }

    /// The next message, without waiting. From here on it counts as handled.
    pub(crate) fn pop(&mut self, mailbox: &Mailbox<M>) -> Option<M> {
        let Some(message) = self.messages.pop_front() else {
            return self.refill(mailbox, false);
        };
        mailbox.in_hand.store(self.messages.len(), Ordering::Relaxed);
        if mailbox.has_waiting.load(Ordering::Relaxed) {
            mailbox.admit(mailbox.lock());
        }
        Some(message)
    }

    /// As [`Batch::pop`]; when there is nothing, the next message wakes the receiver.
    pub(crate) fn pop_or_park(&mut self, mailbox: &Mailbox<M>) -> Option<M> {
        if self.messages.is_empty() { self.refill(mailbox, true) } else { self.pop(mailbox) }
    }

    /// Gives back what was taken, in front of what came since. Messages for a closed mailbox are returned: they are lost.
    pub(crate) fn put_back(&mut self, mailbox: &Mailbox<M>) -> VecDeque<M> {
        let mut queue = mailbox.lock();
        let mut messages = mem::take(&mut self.messages);
        queue.in_hand_max = 0;
        queue.parked = false;
        mailbox.in_hand.store(0, Ordering::Relaxed);
        if !queue.open {
            queue.dropped += messages.len() as u64;
            return messages;
        }
        messages.append(&mut queue.messages);
        queue.messages = messages;
        mailbox.admit(queue);
        VecDeque::new()
    }

    fn refill(&mut self, mailbox: &Mailbox<M>, park: bool) -> Option<M> {
        let mut queue = mailbox.lock();
        let message = if mailbox.overflow == Overflow::DropOldest {
            // What is in hand is out of senders' reach, and the oldest must be within it.
            queue.messages.pop_front()
        } else {
            mem::swap(&mut queue.messages, &mut self.messages);
            self.messages.pop_front()
        };
        queue.in_hand_max = self.messages.len();
        mailbox.in_hand.store(self.messages.len(), Ordering::Relaxed);
        queue.parked = park && message.is_none();
        if message.is_none() {
            for buffer in [&mut queue.messages, &mut self.messages] {
                if buffer.capacity() > KEPT_BUFFER_LEN_MAX {
                    *buffer = VecDeque::new();
                }
            }
        }
        if !queue.waiting.is_empty() {
            mailbox.admit(queue);
        }
        message
    }
}

#[cfg(test)]
mod tests;
