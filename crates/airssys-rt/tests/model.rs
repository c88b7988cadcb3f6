//! The mailbox under all interleavings of few threads, by a model checker.
//!
//! Its files are those of the runtime. What they are made of is loom's, whose threads take turns in every order, and whose
//! atomics return every value the memory model lets them. Nothing here waits for time: a wake-up that is lost is a deadlock,
//! and loom reports it. Not modelled: flags and signals of an actor, and the keeper of deadlines.

#![allow(dead_code, unreachable_pub, reason = "the files are parts of a crate that uses all of them")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers as well")]

#[path = "../src/envelope.rs"]
mod envelope;
#[path = "../src/mailbox.rs"]
mod mailbox;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, fence};
    pub(crate) use loom::sync::{Mutex, MutexGuard};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }
}

mod clock {
    pub(crate) const NEVER: i64 = i64::MAX;

    pub(crate) fn now() -> i64 {
        1
    }
}

mod trace {
    #[derive(Clone, Copy)]
    pub(crate) struct TraceContext;
}

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Notify;
use loom::thread;

use envelope::Envelope;
use mailbox::{Batch, Mailbox, MailboxOptions, Priority, Refused, Rules, Ticket};

/// Preemptions per run; loom's authors find that most defects need two.
const PREEMPTIONS_MAX: usize = 3;

fn under_all_interleavings(law: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS_MAX);
    model.check(law);
}

fn mailbox(capacity: usize) -> Arc<Mailbox<u32>> {
    let rules = Rules { bytes_of: |_| 0, priority: |_| Priority::Normal };
    Arc::new(Mailbox::new(MailboxOptions::bounded(capacity), rules))
}

/// What a task sleeps on.
struct Bell(Notify);

impl Bell {
    fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self(Notify::new()));
        (bell.clone(), Waker::from(bell))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

fn is_sent(mailbox: &Mailbox<u32>, message: u32) -> bool {
    mailbox.try_push(Envelope::new(message, clock::NEVER)).is_ok()
}

/// Sends at once or enters the line; `None` if it was sent.
fn send_or_wait(mailbox: &Mailbox<u32>, message: u32, sender: &Waker) -> Result<Option<Ticket>, u32> {
    match mailbox.try_push(Envelope::new(message, clock::NEVER)) {
        Ok(_) => return Ok(None),
        Err(Refused::Full(_)) => {}
        Err(Refused::Closed(message) | Refused::TooLarge(message)) => return Err(message),
    }
    match mailbox.push_or_wait(Envelope::new(message, clock::NEVER), sender) {
        Ok(ticket) => Ok(Some(ticket)),
        Err(Refused::Full(message) | Refused::Closed(message) | Refused::TooLarge(message)) => Err(message),
    }
}

/// As a sender's future does: sleeps until it is told that its message is in, or comes back.
fn send(mailbox: &Mailbox<u32>, message: u32) -> Result<(), u32> {
    let (bell, waker) = Bell::new();
    let Some(ticket) = send_or_wait(mailbox, message, &waker)? else {
        return Ok(());
    };
    loop {
        match mailbox.poll_ticket(ticket, &Context::from_waker(&waker)) {
            Poll::Ready(Ok(())) => return Ok(()),
            Poll::Ready(Err(
                Refused::Full(message) | Refused::Closed(message) | Refused::TooLarge(message),
            )) => {
                return Err(message);
            }
            Poll::Pending => bell.0.wait(),
        }
    }
}

/// As an actor's task does: sleeps when there is nothing. One that hibernates looks whether it was woken for a message.
struct Receiver {
    batch: Batch<u32>,
    bell: Arc<Bell>,
    hibernates: bool,
}

impl Receiver {
    fn new(mailbox: &Mailbox<u32>) -> Self {
        let (bell, waker) = Bell::new();
        mailbox.set_receiver(Some(waker));
        Self { batch: Batch::new(), bell, hibernates: false }
    }

    fn next(&mut self, mailbox: &Mailbox<u32>) -> u32 {
        loop {
            if let Some(envelope) = self.batch.pop(mailbox) {
                return envelope.message;
            }
            loop {
                mailbox.relieve();
                self.bell.0.wait();
                if !self.hibernates || self.batch.has_more_or_parks(mailbox) {
                    break;
                }
            }
        }
    }
}

/// All that is left, in order.
fn drained(mailbox: &Mailbox<u32>) -> Vec<u32> {
    let mut batch = Batch::new();
    std::iter::from_fn(|| batch.pop(mailbox)).map(|envelope| envelope.message).collect()
}

#[test]
fn a_receiver_that_sleeps_is_woken_by_what_comes() {
    under_all_interleavings(|| {
        let mailbox = mailbox(4);
        let senders = [1, 2].map(|message| {
            let mailbox = mailbox.clone();
            thread::spawn(move || assert!(is_sent(&mailbox, message)))
        });
        let mut receiver = Receiver::new(&mailbox);
        let mut received = [receiver.next(&mailbox), receiver.next(&mailbox)];
        received.sort_unstable();
        assert_eq!(received, [1, 2]);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

/// As by a timer of the handler, or a flag that is gone when it looks.
#[test]
fn a_receiver_that_was_woken_for_nothing_is_woken_again_by_what_comes() {
    for hibernates in [false, true] {
        under_all_interleavings(move || {
            let mailbox = mailbox(4);
            let mut receiver = Receiver { hibernates, ..Receiver::new(&mailbox) };
            let bell = receiver.bell.clone();
            let ringing = thread::spawn(move || bell.wake());
            let sender = thread::spawn({
                let mailbox = mailbox.clone();
                move || assert!(is_sent(&mailbox, 1))
            });
            assert_eq!(receiver.next(&mailbox), 1);
            ringing.join().unwrap();
            sender.join().unwrap();
        });
    }
}

#[test]
fn of_two_senders_one_has_the_last_place() {
    under_all_interleavings(|| {
        let mailbox = mailbox(2);
        assert!(is_sent(&mailbox, 1) && is_sent(&mailbox, 2));
        let mut batch = Batch::new();
        // One is being handled, one is in hand.
        assert!(batch.pop(&mailbox).is_some());
        let sender = thread::spawn({
            let mailbox = mailbox.clone();
            move || is_sent(&mailbox, 3)
        });
        let mine = is_sent(&mailbox, 4);
        assert_ne!(sender.join().unwrap(), mine);
        assert_eq!(mailbox.stats().depth, 2);
    });
}

#[test]
fn messages_of_one_sender_are_received_in_order_through_a_mailbox_of_one() {
    under_all_interleavings(|| {
        let mailbox = mailbox(1);
        let sender = thread::spawn({
            let mailbox = mailbox.clone();
            move || (1..=3).for_each(|message| assert_eq!(send(&mailbox, message), Ok(())))
        });
        let mut receiver = Receiver::new(&mailbox);
        assert_eq!([(); 3].map(|()| receiver.next(&mailbox)), [1, 2, 3]);
        sender.join().unwrap();
    });
}

/// The receiver takes the second message of its batch without a lock, and then works on it for ever.
#[test]
fn a_sender_finds_the_room_that_is_made_before_the_receiver_sleeps() {
    under_all_interleavings(|| {
        let mailbox = mailbox(2);
        let mut batch = Batch::new();
        assert!(is_sent(&mailbox, 1) && is_sent(&mailbox, 2));
        assert!(batch.pop(&mailbox).is_some());
        assert!(is_sent(&mailbox, 3));
        let sender = thread::spawn({
            let mailbox = mailbox.clone();
            move || send(&mailbox, 4)
        });
        assert!(batch.pop(&mailbox).is_some());
        mailbox.relieve();
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(batch.put_back(&mailbox).len(), 0);
        assert_eq!(drained(&mailbox), [3, 4]);
    });
}

#[test]
fn two_senders_find_the_room_that_is_made() {
    under_all_interleavings(|| {
        let mailbox = mailbox(2);
        let mut batch = Batch::new();
        assert!(is_sent(&mailbox, 1) && is_sent(&mailbox, 2));
        let senders = [3, 4].map(|message| {
            let mailbox = mailbox.clone();
            thread::spawn(move || send(&mailbox, message))
        });
        assert!(batch.pop(&mailbox).is_some() && batch.pop(&mailbox).is_some());
        mailbox.relieve();
        for sender in senders {
            assert_eq!(sender.join().unwrap(), Ok(()));
        }
        assert_eq!(mailbox.stats().depth, 2);
    });
}

#[test]
fn a_raised_capacity_finds_who_waits() {
    under_all_interleavings(|| {
        let mailbox = mailbox(1);
        assert!(is_sent(&mailbox, 1));
        let sender = thread::spawn({
            let mailbox = mailbox.clone();
            move || send(&mailbox, 2)
        });
        mailbox.set_capacity(2);
        assert_eq!(sender.join().unwrap(), Ok(()));
        assert_eq!(drained(&mailbox), [1, 2]);
    });
}

#[test]
fn a_message_that_meets_a_closing_mailbox_is_with_one_of_the_two() {
    under_all_interleavings(|| {
        let mailbox = mailbox(1);
        let senders = [1, 2].map(|message| {
            let mailbox = mailbox.clone();
            thread::spawn(move || send(&mailbox, message))
        });
        let left = mailbox.close().into_iter().flatten().map(|envelope| envelope.message);
        let mut found: Vec<u32> = left.collect();
        found.extend(senders.into_iter().filter_map(|sender| sender.join().unwrap().err()));
        found.sort_unstable();
        assert_eq!(found, [1, 2]);
        let stats = mailbox.stats();
        assert_eq!((stats.depth, stats.accepted, stats.rejected), (0, stats.dropped, 2 - stats.dropped));
    });
}

#[test]
fn what_a_receiver_has_in_hand_when_its_mailbox_closes_is_lost_once() {
    under_all_interleavings(|| {
        let mailbox = mailbox(4);
        assert!(is_sent(&mailbox, 1) && is_sent(&mailbox, 2) && is_sent(&mailbox, 3));
        let receiver = thread::spawn({
            let mailbox = mailbox.clone();
            move || {
                let mut batch = Batch::new();
                let handled = batch.pop(&mailbox).into_iter();
                let lost = handled.chain(batch.put_back(&mailbox));
                lost.map(|envelope| envelope.message).collect::<Vec<_>>()
            }
        });
        let left = mailbox.close().into_iter().flatten().map(|envelope| envelope.message);
        let mut found: Vec<u32> = left.collect();
        found.extend(receiver.join().unwrap());
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
        assert_eq!(mailbox.stats().depth, 0);
    });
}

#[test]
fn a_message_that_leaves_the_line_as_it_is_let_in_has_one_owner() {
    under_all_interleavings(|| {
        let mailbox = mailbox(1);
        assert!(is_sent(&mailbox, 1));
        let Ok(Some(first)) = send_or_wait(&mailbox, 2, Waker::noop()) else { panic!("it is full") };
        let Ok(Some(second)) = send_or_wait(&mailbox, 3, Waker::noop()) else { panic!("it is full") };
        let sender = thread::spawn({
            let mailbox = mailbox.clone();
            move || mailbox.cancel(first)
        });
        let mut batch = Batch::new();
        assert!(batch.pop(&mailbox).is_some());
        mailbox.relieve();
        let cancelled = sender.join().unwrap();
        // Whoever did not leave is next in line, and one of the two has the one place.
        assert!(cancelled.is_none_or(|message| message == 2));
        let third = mailbox.poll_ticket(second, &Context::from_waker(Waker::noop()));
        assert_eq!(third.is_ready(), cancelled.is_some());
        let expected: &[u32] = if cancelled.is_some() { &[3] } else { &[2, 3] };
        assert_eq!(drained(&mailbox), expected);
    });
}

#[test]
fn what_a_receiver_gives_back_stays_before_what_came_since() {
    under_all_interleavings(|| {
        let mailbox = mailbox(8);
        assert!(is_sent(&mailbox, 1) && is_sent(&mailbox, 2) && is_sent(&mailbox, 3));
        let sender = thread::spawn({
            let mailbox = mailbox.clone();
            move || assert!(is_sent(&mailbox, 4) && is_sent(&mailbox, 5))
        });
        let mut batch = Batch::new();
        assert_eq!(batch.pop(&mailbox).map(|envelope| envelope.message), Some(1));
        assert_eq!(batch.put_back(&mailbox).len(), 0);
        sender.join().unwrap();
        assert_eq!(drained(&mailbox), [2, 3, 4, 5]);
    });
}

#[test]
fn a_successor_that_sleeps_is_woken_and_not_the_one_before_it() {
    under_all_interleavings(|| {
        let mailbox = mailbox(4);
        let mut former = Receiver::new(&mailbox);
        assert!(former.batch.pop(&mailbox).is_none());
        let sender = thread::spawn({
            let mailbox = mailbox.clone();
            move || assert!(is_sent(&mailbox, 1))
        });
        mailbox.set_receiver(None);
        assert_eq!(former.batch.put_back(&mailbox).len(), 0);
        let mut successor = Receiver::new(&mailbox);
        assert_eq!(successor.next(&mailbox), 1);
        sender.join().unwrap();
    });
}
