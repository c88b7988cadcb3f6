//! The mailbox against a plain queue: whatever is done to it in whatever order, both hold the same.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::task::Wake;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    Wait,
    Cancel(u8),
    Pop,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Push),
        2 => Just(Step::Wait),
        1 => any::<u8>().prop_map(Step::Cancel),
        4 => Just(Step::Pop),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..200)
}

fn overflow() -> impl Strategy<Value = Overflow> {
    prop_oneof![
        Just(Overflow::Wait),
        Just(Overflow::Reject),
        Just(Overflow::DropOldest),
        Just(Overflow::DropNewest)
    ]
}

#[derive(Default)]
struct Counting(AtomicU32);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a mailbox should hold, without batches.
#[derive(Default)]
struct Reference {
    queue: VecDeque<u32>,
    waiting: VecDeque<(Ticket, u32)>,
}

impl Reference {
    fn admit(&mut self, capacity: usize) {
        while self.queue.len() < capacity
            && let Some((_, message)) = self.waiting.pop_front()
        {
            self.queue.push_back(message);
        }
    }
}

proptest! {
    #[test]
    fn a_mailbox_holds_what_a_queue_would_hold(
        capacity in 1..6usize, overflow in overflow(), steps in steps(),
    ) {
        let mailbox = Mailbox::new(MailboxOptions { capacity, overflow });
        let mut batch = Batch::new();
        let mut reference = Reference::default();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Push => {
                    next += 1;
                    let full = reference.queue.len() >= capacity || !reference.waiting.is_empty();
                    match mailbox.try_push(next) {
                        Ok(None) => {
                            prop_assert!(!full);
                            reference.queue.push_back(next);
                        }
                        Ok(Some(dropped)) => {
                            prop_assert!(full);
                            let expected = if overflow == Overflow::DropOldest {
                                reference.queue.push_back(next);
                                reference.queue.pop_front()
                            } else {
                                Some(next)
                            };
                            prop_assert_eq!(Some(dropped), expected);
                        }
                        Err(Refused::Full(message)) => {
                            prop_assert!(full);
                            prop_assert_eq!(message, next);
                        }
                        Err(Refused::Closed(_)) => prop_assert!(false, "nobody closed it"),
                    }
                }
                Step::Wait if overflow == Overflow::Wait => {
                    next += 1;
                    let Err(Refused::Full(message)) = mailbox.try_push(next) else {
                        reference.queue.push_back(next);
                        continue;
                    };
                    let Ok(ticket) = mailbox.push_or_wait(message, Waker::noop()) else {
                        return Err(TestCaseError::fail("nobody closed it"));
                    };
                    reference.waiting.push_back((ticket, next));
                }
                Step::Wait => {}
                Step::Cancel(which) => {
                    if !reference.waiting.is_empty() {
                        let index = usize::from(which) % reference.waiting.len();
                        if let Some((ticket, message)) = reference.waiting.remove(index) {
                            prop_assert_eq!(mailbox.cancel(ticket), Some(message));
                        }
                    }
                }
                Step::Pop => {
                    prop_assert_eq!(batch.pop(&mailbox), reference.queue.pop_front());
                    reference.admit(capacity);
                }
                Step::Crash => {
                    prop_assert!(batch.put_back(&mailbox).is_empty());
                    batch = Batch::new();
                }
            }
            let stats = mailbox.stats();
            prop_assert_eq!(stats.depth, reference.queue.len());
            prop_assert!(stats.depth <= capacity);
            prop_assert_eq!(stats.accepted, stats.handled + stats.dropped + stats.depth as u64);
        }
        let mut left: Vec<u32> = mailbox.close().into();
        let mut rest: Vec<u32> = batch.put_back(&mailbox).into();
        rest.append(&mut left);
        prop_assert_eq!(rest, Vec::from(reference.queue));
    }
}

#[test]
fn only_a_parked_receiver_is_woken_and_once() {
    let wakes = Arc::new(Counting::default());
    let mailbox = Mailbox::new(MailboxOptions::default());
    mailbox.set_receiver(Some(Waker::from(wakes.clone())));
    let mut batch = Batch::new();
    assert!(mailbox.try_push(1).is_ok());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    assert_eq!(batch.pop_or_park(&mailbox), Some(1));
    assert_eq!(batch.pop_or_park(&mailbox), None);
    assert!(mailbox.try_push(2).is_ok());
    assert!(mailbox.try_push(3).is_ok());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
}

#[test]
fn a_burst_does_not_keep_its_memory() {
    let mailbox = Mailbox::new(MailboxOptions { capacity: 100_000, overflow: Overflow::Reject });
    let mut batch = Batch::new();
    for n in 0..50_000 {
        assert!(mailbox.try_push(n).is_ok());
    }
    while batch.pop(&mailbox).is_some() {}
    let kept = mailbox.lock().messages.capacity() + batch.messages.capacity();
    assert!(kept <= 2 * KEPT_BUFFER_LEN_MAX, "{kept} places kept");
}

#[test]
fn closing_wakes_who_waits_and_returns_the_message() {
    let wakes = Arc::new(Counting::default());
    let waker = Waker::from(wakes.clone());
    let mailbox = Mailbox::new(MailboxOptions { capacity: 1, overflow: Overflow::Wait });
    assert!(mailbox.try_push(1).is_ok());
    assert!(matches!(mailbox.try_push(2), Err(Refused::Full(2))));
    let Ok(ticket) = mailbox.push_or_wait(2, &waker) else { panic!("open") };
    assert!(mailbox.poll_ticket(ticket, &Context::from_waker(&waker)).is_pending());
    assert_eq!(mailbox.close().len(), 1);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    let outcome = mailbox.poll_ticket(ticket, &Context::from_waker(&waker));
    assert!(matches!(outcome, Poll::Ready(Err(Refused::Closed(2)))));
}
