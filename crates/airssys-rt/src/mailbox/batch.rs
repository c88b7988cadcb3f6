//! The receiver's end: what it took out of the queue and has not handled.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::Ordering;

use crate::envelope::Envelope;

use super::Mailbox;

/// Buffers larger than this are given back when the mailbox runs empty after few messages, so a burst does not cost memory
/// for ever, and steady traffic does not cost an allocation for each time the receiver catches up.
const KEPT_BUFFER_LEN_MAX: usize = 256;
/// Buffers larger than this are given back whenever the mailbox runs empty.
const BUSY_BUFFER_LEN_MAX: usize = 4096;
/// A receiver that took no more than this at once is not busy.
const FEW: u16 = 16;

/// While senders wait, room for this many messages, or a quarter of the mailbox, is made before any of them is woken.
const ADMIT_EVERY: usize = 256;

/// What the receiver holds between visits to the mailbox. One per mailbox at a time.
pub(crate) struct Batch<M> {
    messages: VecDeque<Envelope<M>>,
    /// At this length senders who wait are let in.
    admit_at: u32,
    /// Messages it took at once lately.
    taken: u16,
}

impl<M> Batch<M> {
    pub(crate) fn new() -> Self {
        Self { messages: VecDeque::new(), admit_at: 0, taken: 0 }
    }

    #[cfg(test)]
    pub(crate) fn kept_len(&self) -> usize {
        self.messages.capacity()
    }

    /// The next message, without waiting. From here on it counts as handled. When there is none, the next one that comes
    /// wakes the receiver.
    pub(crate) fn pop(&mut self, mailbox: &Mailbox<M>) -> Option<Envelope<M>> {
        let Some(envelope) = self.messages.pop_front() else {
            return self.refill(mailbox);
        };
        mailbox.in_hand.store(self.messages.len() as u32, Ordering::Relaxed);
        if self.messages.len() <= self.admit_at as usize && mailbox.has_waiting.load(Ordering::Relaxed) {
            self.admit(mailbox);
        }
        Some(envelope)
    }

    /// Whether there is a message to pop; when there is none, the next one wakes the receiver.
    pub(crate) fn has_more_or_parks(&mut self, mailbox: &Mailbox<M>) -> bool {
        if !self.messages.is_empty() {
            return true;
        }
        let mut queue = mailbox.lock();
        let has_more = queue.len() > 0;
        queue.parked = !has_more;
        mailbox.is_parked.store(!has_more, Ordering::Relaxed);
        has_more
    }

    /// Gives back what was taken, in front of what came since. Messages for a closed mailbox are returned: they are lost.
    pub(crate) fn put_back(&mut self, mailbox: &Mailbox<M>) -> VecDeque<Envelope<M>> {
        let mut queue = mailbox.lock();
        let mut messages = mem::take(&mut self.messages);
        queue.in_hand_max = 0;
        mailbox.unpark(&mut queue);
        mailbox.in_hand.store(0, Ordering::Relaxed);
        if !queue.open {
            queue.dropped += messages.len() as u64;
            mailbox.sampled_at.store(0, Ordering::Relaxed);
            return messages;
        }
        // The shorter goes to the longer: either may hold a long backlog.
        if messages.len() < queue.messages.len() {
            while let Some(envelope) = messages.pop_back() {
                queue.messages.push_front(envelope);
            }
        } else {
            messages.append(&mut queue.messages);
            queue.messages = messages;
        }
        mailbox.admit(queue);
        VecDeque::new()
    }

    /// Frees what an idle receiver does not need.
    pub(crate) fn shrink(&mut self, mailbox: &Mailbox<M>) {
        self.messages.shrink_to_fit();
        mailbox.lock().messages.shrink_to_fit();
    }

    #[cold]
    fn admit(&mut self, mailbox: &Mailbox<M>) {
        let queue = mailbox.lock();
        self.admit_at = self.admit_below(queue.capacity);
        mailbox.admit(queue);
    }

    fn admit_below(&self, capacity: u32) -> u32 {
        u32::try_from(self.messages.len().saturating_sub(self.step(capacity))).unwrap_or(u32::MAX)
    }

    fn step(&self, capacity: u32) -> usize {
        (capacity as usize / 4).clamp(1, ADMIT_EVERY)
    }

    fn refill(&mut self, mailbox: &Mailbox<M>) -> Option<Envelope<M>> {
        let mut queue = mailbox.lock();
        // One message is not worth a swap, and an actor that never has more needs one buffer only.
        let len = queue.messages.len().min(usize::from(u16::MAX)) as u16;
        if len > 0 {
            self.taken = len.max(self.taken / 2);
        }
        let envelope = if mailbox.one_by_one || queue.messages.len() == 1 {
            queue.take_one()
        } else {
            mem::swap(&mut queue.messages, &mut self.messages);
            self.admit_at = self.admit_below(queue.capacity);
            self.messages.pop_front()
        };
        queue.in_hand_max = self.messages.len() as u32;
        mailbox.in_hand.store(self.messages.len() as u32, Ordering::Relaxed);
        queue.parked = envelope.is_none();
        mailbox.is_parked.store(envelope.is_none(), Ordering::Relaxed);
        if envelope.is_none() {
            let kept_len_max = if self.taken > FEW { BUSY_BUFFER_LEN_MAX } else { KEPT_BUFFER_LEN_MAX };
            for buffer in [&mut queue.messages, &mut self.messages] {
                if buffer.capacity() > kept_len_max {
                    *buffer = VecDeque::new();
                }
            }
        }
        // Room for a single sender is not worth waking it, unless the receiver comes here for each message anyway.
        let has_room = self.messages.len() + self.step(queue.capacity) <= queue.capacity as usize;
        if queue.has_line() && (has_room || mailbox.one_by_one) {
            mailbox.admit(queue);
        }
        envelope
    }
}
