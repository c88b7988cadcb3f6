//! The mailbox against a plain queue: whatever is done to it in whatever order, both hold the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use proptest::prelude::*;

use crate::clock;
use crate::envelope::Envelope;
use crate::mailbox::{Batch, Mailbox, MailboxOptions, Overflow, Priority, Refused, Rules, Ticket};

/// A message: its number, its bytes, its priority.
type Message = (u32, usize, Priority);

fn rules() -> Rules<Message> {
    Rules { bytes_of: |message| message.1, priority: |message| message.2 }
}

fn plain(n: u32) -> Envelope<Message> {
    Envelope::new((n, 1, Priority::Normal), clock::NEVER)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(usize, Priority),
    Wait(usize, Priority),
    Cancel(u8),
    Pop,
    Crash,
    Capacity(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let priority = || prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)];
    let step = prop_oneof![
        8 => (0..12usize, priority()).prop_map(|(bytes, priority)| Step::Push(bytes, priority)),
        4 => (0..12usize, priority()).prop_map(|(bytes, priority)| Step::Wait(bytes, priority)),
        2 => any::<u8>().prop_map(Step::Cancel),
        8 => Just(Step::Pop),
        2 => Just(Step::Crash),
        1 => (1..6usize).prop_map(Step::Capacity),
    ];
    prop::collection::vec(step, 1..200)
}

fn options() -> impl Strategy<Value = MailboxOptions> {
    let overflow = prop_oneof![
        Just(Overflow::Wait),
        Just(Overflow::Reject),
        Just(Overflow::DropOldest),
        Just(Overflow::DropNewest)
    ];
    let bytes = prop_oneof![Just(usize::MAX), 10..30usize];
    (1..6usize, bytes, overflow, any::<bool>()).prop_map(|(capacity, bytes, overflow, priorities)| {
        MailboxOptions { capacity, bytes, overflow, priorities }
    })
}

#[derive(Default)]
struct Counting(AtomicU32);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a mailbox should hold, without batches, lanes and books.
struct Reference {
    options: MailboxOptions,
    queue: Vec<Message>,
    waiting: VecDeque<(Ticket, Message)>,
}

impl Reference {
    fn fits(&self, message: Message) -> bool {
        let bytes: usize = self.queue.iter().map(|queued| queued.1).sum();
        self.queue.len() < self.options.capacity && bytes.saturating_add(message.1) <= self.options.bytes
    }

    fn admit(&mut self) {
        while let Some((_, message)) = self.waiting.front().copied()
            && self.fits(message)
        {
            self.queue.push(message);
            self.waiting.pop_front();
        }
    }

    fn priority(&self, message: &Message) -> Priority {
        if self.options.priorities { message.2 } else { Priority::Normal }
    }

    fn pop(&mut self) -> Option<Message> {
        let best = self.queue.iter().map(|message| self.priority(message)).max()?;
        let index = self.queue.iter().position(|message| self.priority(message) == best)?;
        Some(self.queue.remove(index))
    }

    /// Makes room by policy, or drops the newcomer.
    fn evict(&mut self, newcomer: Message) -> Vec<Message> {
        let priority = self.priority(&newcomer);
        let above: Vec<Message> =
            self.queue.iter().filter(|queued| self.priority(queued) > priority).copied().collect();
        let bytes: usize = above.iter().map(|queued| queued.1).sum();
        if above.len() >= self.options.capacity || bytes.saturating_add(newcomer.1) > self.options.bytes {
            return vec![newcomer];
        }
        let mut evicted = Vec::new();
        while !self.fits(newcomer) {
            let worst = self.queue.iter().map(|queued| self.priority(queued)).min();
            let index = self.queue.iter().position(|queued| Some(self.priority(queued)) == worst);
            evicted.push(self.queue.remove(index.expect("those above it leave it room")));
        }
        self.queue.push(newcomer);
        evicted
    }
}

proptest! {
    #[test]
    fn a_mailbox_holds_what_a_queue_would_hold(options in options(), steps in steps()) {
        let mailbox = Mailbox::new(options, rules());
        let mut batch = Batch::new();
        let mut reference = Reference { options, queue: Vec::new(), waiting: VecDeque::new() };
        let mut next = 0;
        for step in steps {
            match step {
                Step::Push(bytes, priority) => {
                    next += 1;
                    let message = (next, bytes, priority);
                    let fits = reference.waiting.is_empty() && reference.fits(message);
                    match mailbox.try_push(Envelope::new(message, clock::NEVER)) {
                        Ok(dropped) if fits => {
                            prop_assert!(dropped.is_empty());
                            reference.queue.push(message);
                        }
                        Ok(dropped) => match options.overflow {
                            Overflow::DropOldest => {
                                prop_assert_eq!(dropped, reference.evict(message));
                            }
                            Overflow::DropNewest => prop_assert_eq!(dropped, vec![message]),
                            Overflow::Wait | Overflow::Reject => prop_assert!(false, "it did not fit"),
                        },
                        Err(Refused::TooLarge(returned)) => {
                            prop_assert!(bytes > options.bytes);
                            prop_assert_eq!(returned, message);
                        }
                        Err(Refused::Full(returned)) => {
                            prop_assert!(!fits);
                            prop_assert_eq!(returned, message);
                        }
                        Err(Refused::Closed(_)) => prop_assert!(false, "nobody closed it"),
                    }
                }
                Step::Wait(bytes, priority) if options.overflow == Overflow::Wait && bytes <= options.bytes => {
                    next += 1;
                    let message = (next, bytes, priority);
                    let Err(Refused::Full(message)) = mailbox.try_push(Envelope::new(message, clock::NEVER)) else {
                        reference.queue.push(message);
                        continue;
                    };
                    let envelope = Envelope::new(message, clock::NEVER);
                    let Ok(ticket) = mailbox.push_or_wait(envelope, Waker::noop()) else {
                        return Err(TestCaseError::fail("nobody closed it"));
                    };
                    reference.waiting.push_back((ticket, message));
                }
                Step::Wait(..) => {}
                Step::Cancel(which) => {
                    if !reference.waiting.is_empty() {
                        let index = usize::from(which) % reference.waiting.len();
                        if let Some((ticket, message)) = reference.waiting.remove(index) {
                            prop_assert_eq!(mailbox.cancel(ticket), Some(message));
                        }
                        reference.admit();
                    }
                }
                Step::Pop => {
                    let popped = batch.pop(&mailbox).map(|envelope| envelope.message);
                    prop_assert_eq!(popped, reference.pop());
                    reference.admit();
                }
                Step::Crash => {
                    prop_assert!(batch.put_back(&mailbox).is_empty());
                    batch = Batch::new();
                }
                Step::Capacity(capacity) => {
                    mailbox.set_capacity(capacity);
                    reference.options.capacity = capacity;
                    reference.admit();
                }
            }
            let stats = mailbox.stats();
            prop_assert_eq!(stats.depth, reference.queue.len());
            if options.bytes < usize::MAX {
                prop_assert_eq!(stats.bytes, reference.queue.iter().map(|queued| queued.1).sum::<usize>());
                prop_assert!(stats.bytes <= options.bytes);
            }
            prop_assert_eq!(stats.accepted, stats.handled + stats.dropped + stats.depth as u64);
        }
        let in_queue = mailbox.close().into_iter().flatten();
        let in_hand = batch.put_back(&mailbox).into_iter();
        let mut left: Vec<Message> = in_hand.chain(in_queue).map(|envelope| envelope.message).collect();
        left.sort_unstable();
        reference.queue.sort_unstable();
        prop_assert_eq!(left, reference.queue);
    }
}

#[test]
fn only_a_parked_receiver_is_woken_and_once() {
    let wakes = Arc::new(Counting::default());
    let mailbox = Mailbox::new(MailboxOptions::default(), rules());
    mailbox.set_receiver(Some(Waker::from(wakes.clone())));
    let mut batch = Batch::new();
    assert!(mailbox.try_push(plain(1)).is_ok());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    assert!(batch.has_more_or_parks(&mailbox));
    assert!(batch.pop(&mailbox).is_some());
    assert!(batch.pop(&mailbox).is_none());
    assert!(mailbox.try_push(plain(2)).is_ok());
    assert!(mailbox.try_push(plain(3)).is_ok());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_burst_does_not_keep_its_memory() {
    let mailbox = Mailbox::new(MailboxOptions::bounded(100_000), rules());
    let mut batch = Batch::new();
    for n in 0..50_000 {
        assert!(mailbox.try_push(plain(n)).is_ok());
    }
    while batch.pop(&mailbox).is_some() {}
    let kept = mailbox.kept_len() + batch.kept_len();
    assert!(kept <= 512, "{kept} places kept");
}

#[test]
fn closing_wakes_who_waits_and_returns_the_message() {
    let wakes = Arc::new(Counting::default());
    let waker = Waker::from(wakes.clone());
    let mailbox = Mailbox::new(MailboxOptions::bounded(1), rules());
    assert!(mailbox.try_push(plain(1)).is_ok());
    assert!(matches!(mailbox.try_push(plain(2)), Err(Refused::Full((2, ..)))));
    let Ok(ticket) = mailbox.push_or_wait(plain(2), &waker) else { panic!("open") };
    assert!(mailbox.poll_ticket(ticket, &Context::from_waker(&waker)).is_pending());
    assert_eq!(mailbox.close().into_iter().flatten().count(), 1);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    let outcome = mailbox.poll_ticket(ticket, &Context::from_waker(&waker));
    assert!(matches!(outcome, Poll::Ready(Err(Refused::Closed((2, ..))))));
}

#[test]
fn waiting_senders_of_a_large_mailbox_are_woken_in_herds() {
    let wakes = Arc::new(Counting::default());
    let waker = Waker::from(wakes.clone());
    let mailbox = Mailbox::new(MailboxOptions::bounded(100), rules());
    for n in 0..100 {
        assert!(mailbox.try_push(plain(n)).is_ok());
    }
    for n in 100..130 {
        assert!(matches!(mailbox.try_push(plain(n)), Err(Refused::Full(_))));
        assert!(mailbox.push_or_wait(plain(n), &waker).is_ok());
    }
    let mut batch = Batch::new();
    let mut handled = 0;
    while wakes.0.load(Ordering::Relaxed) == 0 {
        assert!(batch.pop(&mailbox).is_some());
        handled += 1;
    }
    assert_eq!(handled, 25, "a quarter");
    assert_eq!(wakes.0.load(Ordering::Relaxed), 25);
    // A receiver that goes to sleep does not leave them waiting.
    assert!(batch.pop(&mailbox).is_some());
    mailbox.relieve();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 26);
}

#[test]
fn room_that_is_not_given_to_who_waits_yet_is_not_given_to_a_newcomer() {
    let mailbox = Mailbox::new(MailboxOptions::bounded(8), rules());
    for n in 0..8 {
        assert!(mailbox.try_push(plain(n)).is_ok());
    }
    assert!(matches!(mailbox.try_push(plain(8)), Err(Refused::Full(_))));
    let Ok(ticket) = mailbox.push_or_wait(plain(8), Waker::noop()) else { panic!("open") };
    let mut batch = Batch::new();
    assert!(batch.pop(&mailbox).is_some());
    assert!(matches!(mailbox.try_push(plain(9)), Err(Refused::Full(_))));
    assert!(mailbox.cancel(ticket).is_some());
    assert!(mailbox.try_push(plain(9)).is_ok(), "the line is gone, the room is not");
    assert!(matches!(mailbox.try_push(plain(10)), Err(Refused::Full(_))));
}

#[test]
fn waits_are_sampled_and_few_clocks_are_read() {
    let mailbox = Mailbox::new(MailboxOptions::bounded(10_000), rules());
    let mut batch = Batch::new();
    let mut samples = 0;
    for n in 0..1_000 {
        assert!(mailbox.try_push(plain(n)).is_ok());
        let Some(envelope) = batch.pop(&mailbox) else { panic!("just sent") };
        if envelope.is_sampled() {
            samples += 1;
            mailbox.record_wait();
        }
    }
    assert_eq!(samples, 4);
    assert_eq!(mailbox.stats().latency.samples, 4);
    assert!(mailbox.stats().latency.max > std::time::Duration::ZERO);
}
