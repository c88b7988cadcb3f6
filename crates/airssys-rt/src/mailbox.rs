//! A bounded mailbox: one short lock around a queue that its receiver takes whole.
//!
//! Messages of one sender arrive in the order sent. A message that does not fit comes back to its sender, and who waits
//! for room is served in order of arrival. The capacity is exact: it counts what is queued and what the receiver took but
//! has not handled. A receiver that ends with messages in hand puts them back in front, so they meet its successor.
//! Nothing here knows of actors; waking is a `Waker`, and counting what was lost is the caller's.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use crate::clock;
use crate::envelope::Envelope;
use crate::sync::{self, AtomicBool, AtomicI64, AtomicU32, Mutex, MutexGuard, fence};

// The paths are written out so that a model of the mailbox can be built from the same files.
#[path = "mailbox/batch.rs"]
mod batch;
#[path = "mailbox/latency.rs"]
mod latency;
#[path = "mailbox/options.rs"]
mod options;
#[path = "mailbox/rules.rs"]
mod rules;

pub(crate) use batch::Batch;
use latency::Histogram;
pub use latency::Latency;
pub use options::{MailboxOptions, MailboxStats, Overflow, Priority};
pub(crate) use rules::Rules;
use rules::{Books, Lanes};

/// One message in this many is sampled: a clock is read when it is sent and when it is handled.
const SAMPLE_EVERY: u64 = 256;
/// The first sample of a mailbox, so that one with little traffic has samples too, and an idle one has no histogram.
const FIRST_SAMPLE: u64 = 16;

/// Why a message was not put in the mailbox.
pub(crate) enum Refused<M> {
    Full(M),
    TooLarge(M),
    Closed(M),
}

/// A place in the line of senders waiting for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// In this order: what the receiver writes for each message lies behind the colder half of the queue, a cache line away from
/// what senders write.
#[repr(C)]
pub(crate) struct Mailbox<M> {
    queue: Mutex<Queue<M>>,
    /// Messages the receiver took and has not handled. Written by the receiver, read by senders who find the mailbox full.
    in_hand: AtomicU32,
    /// When the message that is sampled was sent; 0 while none is.
    sampled_at: AtomicI64,
    /// Whether senders wait for room; true only while `Extra::waiting` is not empty.
    has_waiting: AtomicBool,
    /// What `Queue::parked` says, for a receiver that looks without the lock.
    is_parked: AtomicBool,
    overflow: Overflow,
    /// The receiver takes one message at a time, because what is in its hand is out of the reach of the rules.
    one_by_one: bool,
}

#[repr(C)]
struct Queue<M> {
    messages: VecDeque<Envelope<M>>,
    accepted: u64,
    /// Upper bound of `in_hand`, as of the receiver's last visit: spares senders the receiver's cache line.
    in_hand_max: u32,
    /// Up to here a message goes in without further question; 0 where there are questions, as when somebody waits in line.
    unquestioned_max: u32,
    open: bool,
    parked: bool,
    capacity: u32,
    receiver: Option<Waker>,
    rejected: u64,
    dropped: u64,
    /// What most mailboxes never need.
    extra: Option<Box<Extra<M>>>,
}

struct Extra<M> {
    waiting: VecDeque<Waiting<M>>,
    next_ticket: u64,
    books: Option<Books<M>>,
    lanes: Option<Lanes<M>>,
    waits: Option<Histogram>,
}

struct Waiting<M> {
    ticket: Ticket,
    envelope: Envelope<M>,
    sender: Waker,
}

impl<M> Mailbox<M> {
    pub(crate) fn new(options: MailboxOptions, rules: Rules<M>) -> Self {
        let books = (options.bytes < usize::MAX).then(|| Books::new(options.bytes, rules.bytes_of));
        let lanes = options.priorities.then(|| Lanes::new(rules.priority));
        let is_plain = books.is_none() && lanes.is_none();
        let extra = (!is_plain).then(|| Box::new(Extra { books, lanes, ..Extra::default() }));
        let queue = Queue {
            messages: VecDeque::new(),
            in_hand_max: 0,
            capacity: bound(options.capacity),
            unquestioned_max: 0,
            open: true,
            parked: false,
            receiver: None,
            accepted: 0,
            rejected: 0,
            dropped: 0,
            extra,
        };
        let mailbox = Self {
            queue: Mutex::new(queue),
            in_hand: AtomicU32::new(0),
            sampled_at: AtomicI64::new(0),
            has_waiting: AtomicBool::new(false),
            is_parked: AtomicBool::new(false),
            overflow: options.overflow,
            one_by_one: !is_plain || options.overflow == Overflow::DropOldest,
        };
        mailbox.lock().question();
        mailbox
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Puts a message in, or drops some by policy and returns them.
    pub(crate) fn try_push(&self, envelope: Envelope<M>) -> Result<Vec<M>, Refused<M>> {
        let queue = self.lock();
        if queue.messages.len() + (queue.in_hand_max as usize) < queue.unquestioned_max as usize {
            self.accept(queue, envelope);
            return Ok(Vec::new());
        }
        self.push_when_tight(queue, envelope)
    }

    pub(crate) fn push_beyond_capacity(&self, envelope: Envelope<M>) -> Result<(), Refused<M>> {
        let mut queue = self.lock();
        if !queue.open {
            queue.rejected += 1;
            return Err(Refused::Closed(envelope.message));
        }
        self.accept(queue, envelope);
        Ok(())
    }

    /// For a message that [`Mailbox::try_push`] refused as it was full: keeps it in line for room and returns a ticket.
    pub(crate) fn push_or_wait(&self, envelope: Envelope<M>, sender: &Waker) -> Result<Ticket, Refused<M>> {
        let mut queue = self.lock();
        if !queue.open {
            return Err(Refused::Closed(envelope.message));
        }
        // The refusal that sent the message here is not the last word.
        queue.rejected -= 1;
        let extra = queue.extra_mut();
        let ticket = Ticket(extra.next_ticket);
        extra.next_ticket += 1;
        extra.waiting.push_back(Waiting { ticket, envelope, sender: sender.clone() });
        queue.question();
        self.has_waiting.store(true, Ordering::Relaxed);
        // Pairs with the fence in `relieve`: either we see the room the receiver made, or it sees us waiting.
        fence(Ordering::SeqCst);
        self.admit(queue);
        Ok(ticket)
    }

    /// `Ready(Ok)` once the message of this ticket is in the mailbox. After `Ready` the ticket is spent.
    pub(crate) fn poll_ticket(&self, ticket: Ticket, cx: &Context<'_>) -> Poll<Result<(), Refused<M>>> {
        let mut queue = self.lock();
        let is_open = queue.open;
        let Some(waiting) = queue.waiting_mut(ticket) else {
            return Poll::Ready(Ok(()));
        };
        if is_open {
            if !waiting.sender.will_wake(cx.waker()) {
                let previous = mem::replace(&mut waiting.sender, cx.waker().clone());
                drop(queue);
                drop(previous);
            }
            return Poll::Pending;
        }
        match self.leave_line(queue, ticket) {
            Some(message) => Poll::Ready(Err(Refused::Closed(message))),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Leaves the line. `None` if the message was sent before.
    pub(crate) fn cancel(&self, ticket: Ticket) -> Option<M> {
        self.leave_line(self.lock(), ticket)
    }

    /// Changes the bound while it is in use. What is in it already stays.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        let mut queue = self.lock();
        queue.capacity = bound(capacity);
        queue.question();
        self.admit(queue);
    }

    /// Messages waiting to be handled.
    pub(crate) fn depth(&self) -> usize {
        let queue = self.lock();
        queue.len() + self.in_hand()
    }

    pub(crate) fn stats(&self) -> MailboxStats {
        let queue = self.lock();
        let depth = queue.len() + self.in_hand();
        let extra = queue.extra.as_ref();
        MailboxStats {
            depth,
            capacity: queue.capacity as usize,
            bytes: extra.and_then(|extra| extra.books.as_ref()).map_or(0, Books::bytes),
            accepted: queue.accepted,
            handled: queue.accepted.saturating_sub(queue.dropped + depth as u64),
            rejected: queue.rejected,
            dropped: queue.dropped,
            latency: extra
                .and_then(|extra| extra.waits.as_ref())
                .map_or(Latency::default(), Histogram::latency),
        }
    }

    /// Counts a message the receiver took and did not handle.
    pub(crate) fn count_dropped(&self) {
        self.lock().dropped += 1;
    }

    /// The sampled message has come to its handler.
    pub(crate) fn record_wait(&self) {
        let since = self.sampled_at.swap(0, Ordering::Relaxed);
        if since != 0 {
            let wait = clock::now() - since;
            self.lock().extra_mut().waits.get_or_insert_with(Histogram::new).record(wait);
        }
    }

    /// Lets messages in again after [`Mailbox::close`].
    pub(crate) fn open(&self) {
        let mut queue = self.lock();
        queue.open = true;
        queue.question();
    }

    /// Refuses messages from now on and returns those that were queued; what a receiver has in hand follows from its drop.
    pub(crate) fn close(&self) -> Vec<VecDeque<Envelope<M>>> {
        let mut queue = self.lock();
        queue.open = false;
        queue.question();
        let left = queue.take_all();
        queue.dropped += left.iter().map(VecDeque::len).sum::<usize>() as u64;
        self.sampled_at.store(0, Ordering::Relaxed);
        let line = queue.extra.as_ref().map(|extra| extra.waiting.iter());
        let senders: Vec<Waker> = line.into_iter().flatten().map(|waiting| waiting.sender.clone()).collect();
        drop(queue);
        senders.into_iter().for_each(Waker::wake);
        left
    }

    /// Whom to wake when a message arrives for a parked receiver.
    pub(crate) fn set_receiver(&self, receiver: Option<Waker>) {
        let previous = mem::replace(&mut self.lock().receiver, receiver);
        drop(previous);
    }

    /// Lets waiting senders in if there is room. The receiver calls it before it goes to sleep; with no message in work it
    /// has let them in already.
    pub(crate) fn relieve(&self) {
        if self.overflow != Overflow::Wait || self.is_parked.load(Ordering::Relaxed) {
            return;
        }
        fence(Ordering::SeqCst);
        if self.has_waiting.load(Ordering::Relaxed) {
            self.admit(self.lock());
        }
    }

    fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::Relaxed) as usize
    }

    #[cfg(test)]
    pub(crate) fn kept_len(&self) -> usize {
        self.lock().messages.capacity()
    }

    fn lock(&self) -> MutexGuard<'_, Queue<M>> {
        sync::lock(&self.queue)
    }

    fn accept(&self, mut queue: MutexGuard<'_, Queue<M>>, envelope: Envelope<M>) {
        self.put(&mut queue, envelope);
        if queue.parked {
            self.unpark(&mut queue);
            let receiver = queue.receiver.clone();
            drop(queue);
            if let Some(receiver) = receiver {
                receiver.wake();
            }
        }
    }

    fn unpark(&self, queue: &mut Queue<M>) {
        queue.parked = false;
        self.is_parked.store(false, Ordering::Relaxed);
    }

    fn put(&self, queue: &mut Queue<M>, mut envelope: Envelope<M>) {
        if queue.accepted % SAMPLE_EVERY == FIRST_SAMPLE {
            self.sample(&mut envelope);
        }
        queue.accepted += 1;
        queue.place(envelope);
    }

    #[cold]
    fn sample(&self, envelope: &mut Envelope<M>) {
        let at = clock::now().max(1);
        if self.sampled_at.compare_exchange(0, at, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            envelope.set_sampled();
        }
    }

    #[cold]
    fn push_when_tight(
        &self,
        mut queue: MutexGuard<'_, Queue<M>>,
        envelope: Envelope<M>,
    ) -> Result<Vec<M>, Refused<M>> {
        if !queue.open {
            queue.rejected += 1;
            return Err(Refused::Closed(envelope.message));
        }
        if !queue.could_ever_hold(&envelope) {
            queue.rejected += 1;
            return Err(Refused::TooLarge(envelope.message));
        }
        // Whoever waits in line comes first: to a newcomer the room they will take is not there.
        if !queue.has_line() && self.has_room(&mut queue, &envelope) {
            self.accept(queue, envelope);
            return Ok(Vec::new());
        }
        match self.overflow {
            Overflow::Wait | Overflow::Reject => {
                queue.rejected += 1;
                Err(Refused::Full(envelope.message))
            }
            Overflow::DropOldest => Ok(self.push_by_eviction(queue, envelope)),
            Overflow::DropNewest => {
                queue.accepted += 1;
                queue.dropped += 1;
                Ok(vec![envelope.message])
            }
        }
    }

    fn push_by_eviction(&self, mut queue: MutexGuard<'_, Queue<M>>, envelope: Envelope<M>) -> Vec<M> {
        if !queue.can_make_room_for(&envelope) {
            queue.accepted += 1;
            queue.dropped += 1;
            return vec![envelope.message];
        }
        let mut evicted = Vec::new();
        while !self.has_room(&mut queue, &envelope)
            && let Some(oldest) = queue.evict()
        {
            queue.dropped += 1;
            if oldest.is_sampled() {
                self.sampled_at.store(0, Ordering::Relaxed);
            }
            evicted.push(oldest.message);
        }
        self.accept(queue, envelope);
        evicted
    }

    /// Exact, at the price of reading what the receiver writes.
    fn has_room(&self, queue: &mut Queue<M>, envelope: &Envelope<M>) -> bool {
        let in_hand = self.in_hand();
        queue.in_hand_max = in_hand as u32;
        let books = queue.extra.as_ref().and_then(|extra| extra.books.as_ref());
        queue.len() + in_hand < queue.capacity as usize && books.is_none_or(|books| books.fits(envelope))
    }

    /// Moves waiting senders' messages in, first come first served, while there is room.
    fn admit(&self, mut queue: MutexGuard<'_, Queue<M>>) {
        let mut wake = Vec::new();
        while queue.open
            && let Some(first) = queue.extra.as_mut().and_then(|extra| extra.waiting.pop_front())
        {
            if !self.has_room(&mut queue, &first.envelope) {
                queue.extra_mut().waiting.push_front(first);
                break;
            }
            self.put(&mut queue, first.envelope);
            wake.push(first.sender);
        }
        queue.question();
        self.has_waiting.store(queue.has_line(), Ordering::Relaxed);
        if !wake.is_empty() && queue.parked {
            self.unpark(&mut queue);
            wake.extend(queue.receiver.clone());
        }
        drop(queue);
        wake.into_iter().for_each(Waker::wake);
    }

    fn leave_line(&self, mut queue: MutexGuard<'_, Queue<M>>, ticket: Ticket) -> Option<M> {
        let line = &mut queue.extra.as_mut()?.waiting;
        let index = line.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()?;
        let waiting = line.remove(index)?;
        queue.rejected += 1;
        // Whoever was behind may fit where this one did not.
        self.admit(queue);
        Some(waiting.envelope.message)
    }
}

/// Counts of messages are 32 bits wide: no memory holds more.
fn bound(capacity: usize) -> u32 {
    u32::try_from(capacity).unwrap_or(u32::MAX).max(1)
}

impl<M> Queue<M> {
    /// Works out `unquestioned_max`; to be called when what it depends on changes.
    fn question(&mut self) {
        let is_plain = self.extra.as_ref().is_none_or(|extra| extra.books.is_none() && extra.lanes.is_none());
        self.unquestioned_max = if self.open && is_plain && !self.has_line() { self.capacity } else { 0 };
    }

    fn extra_mut(&mut self) -> &mut Extra<M> {
        self.extra.get_or_insert_with(Box::default)
    }

    fn has_line(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| !extra.waiting.is_empty())
    }

    fn waiting_mut(&mut self, ticket: Ticket) -> Option<&mut Waiting<M>> {
        let line = &mut self.extra.as_mut()?.waiting;
        let index = line.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()?;
        line.get_mut(index)
    }

    fn could_ever_hold(&self, envelope: &Envelope<M>) -> bool {
        let books = self.extra.as_ref().and_then(|extra| extra.books.as_ref());
        books.is_none_or(|books| books.could_ever_fit(envelope))
    }

    fn len(&self) -> usize {
        let lanes = self.extra.as_ref().and_then(|extra| extra.lanes.as_ref());
        self.messages.len() + lanes.map_or(0, Lanes::len)
    }

    fn place(&mut self, envelope: Envelope<M>) {
        if let Some(extra) = &mut self.extra {
            if let Some(books) = &mut extra.books {
                books.add(&envelope);
            }
            if let Some(lanes) = &mut extra.lanes {
                return lanes.push(&mut self.messages, envelope);
            }
        }
        self.messages.push_back(envelope);
    }

    /// The next message by the rules.
    fn take_one(&mut self) -> Option<Envelope<M>> {
        let Some(extra) = &mut self.extra else {
            return self.messages.pop_front();
        };
        let envelope = match &mut extra.lanes {
            Some(lanes) => lanes.pop(&mut self.messages),
            None => self.messages.pop_front(),
        }?;
        if let Some(books) = &mut extra.books {
            books.remove(&envelope);
        }
        Some(envelope)
    }

    /// Whether it fits beside those that are not evicted for it.
    fn can_make_room_for(&self, newcomer: &Envelope<M>) -> bool {
        let Some(extra) = &self.extra else {
            return true;
        };
        let Some(lanes) = &extra.lanes else {
            return true;
        };
        lanes.above(&self.messages, newcomer).count() < self.capacity as usize
            && extra
                .books
                .as_ref()
                .is_none_or(|books| books.fits_beside(lanes.above(&self.messages, newcomer), newcomer))
    }

    fn evict(&mut self) -> Option<Envelope<M>> {
        let Some(extra) = &mut self.extra else {
            return self.messages.pop_front();
        };
        let envelope = match &mut extra.lanes {
            Some(lanes) => lanes.evict(&mut self.messages),
            None => self.messages.pop_front(),
        }?;
        if let Some(books) = &mut extra.books {
            books.remove(&envelope);
        }
        Some(envelope)
    }

    fn take_all(&mut self) -> Vec<VecDeque<Envelope<M>>> {
        let mut all = vec![mem::take(&mut self.messages)];
        if let Some(extra) = &mut self.extra {
            if let Some(lanes) = &mut extra.lanes {
                all.extend(lanes.take());
            }
            if let Some(books) = &mut extra.books {
                books.clear();
            }
        }
        all
    }
}

impl<M> Default for Extra<M> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), next_ticket: 0, books: None, lanes: None, waits: None }
    }
}
