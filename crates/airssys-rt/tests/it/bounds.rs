//! What bounds a mailbox beside a number of messages, which of them goes first, and the figures of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_rt::{
    Actor, Address, AskError, Context, DeadLetterCounts, ExitReason, Latency, MailboxOptions, Overflow,
    Priority, ReplyTo, System, TellError,
};
use tokio::sync::Notify;

use crate::probe::{SOON, answer, until};

/// A message of a chosen size and priority.
struct Parcel {
    n: u32,
    bytes: usize,
    priority: Priority,
    wait: Option<Arc<Notify>>,
    reply: Option<ReplyTo<u32>>,
}

fn parcel(n: u32) -> Parcel {
    Parcel { n, bytes: 0, priority: Priority::Normal, wait: None, reply: None }
}

impl Parcel {
    fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }
}

struct Clerk(Arc<Mutex<Vec<u32>>>);

impl Actor for Clerk {
    type Message = Parcel;

    async fn handle(&mut self, parcel: Parcel, _: &mut Context<Self>) -> Result<(), ExitReason> {
        if let Some(gate) = parcel.wait {
            gate.notified().await;
            return Ok(());
        }
        self.0.lock().unwrap().push(parcel.n);
        if let Some(reply) = parcel.reply {
            answer(reply, parcel.n);
        }
        Ok(())
    }

    fn bytes_of(parcel: &Parcel) -> usize {
        parcel.bytes
    }

    fn priority(parcel: &Parcel) -> Priority {
        parcel.priority
    }
}

/// A clerk that is busy until it is released, and what it has handled since.
struct Desk {
    system: System,
    clerk: Address<Parcel>,
    handled: Arc<Mutex<Vec<u32>>>,
    gate: Arc<Notify>,
}

impl Desk {
    async fn busy(mailbox: MailboxOptions) -> Self {
        let (system, handled) = (System::new(), Arc::new(Mutex::new(Vec::new())));
        let notes = handled.clone();
        let clerk = system.spawn("clerk", mailbox, move || Clerk(notes)).await.unwrap();
        let desk = Self { system, clerk, handled, gate: Arc::new(Notify::new()) };
        desk.occupy().await;
        desk
    }

    async fn occupy(&self) {
        self.clerk.try_tell(self.waiting()).unwrap();
        until(|| self.clerk.stats().depth == 0).await;
    }

    fn waiting(&self) -> Parcel {
        Parcel { wait: Some(self.gate.clone()), ..parcel(0) }
    }

    /// What is handled when the clerk goes on.
    async fn release(&self) -> Vec<u32> {
        self.gate.notify_one();
        until(|| self.clerk.stats().depth == 0).await;
        let asked = self.clerk.ask(SOON, |reply| Parcel { reply: Some(reply), ..parcel(0) }).await;
        asked.unwrap();
        let mut handled = std::mem::take(&mut *self.handled.lock().unwrap());
        assert_eq!(handled.pop(), Some(0));
        handled
    }

    /// A sender that waits for room.
    async fn sender(&self, parcel: Parcel) -> tokio::task::JoinHandle<Result<(), TellError<Parcel>>> {
        let clerk = self.clerk.clone();
        let sender = tokio::spawn(async move { clerk.tell(parcel).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        sender
    }
}

fn in_bytes(bytes: usize) -> MailboxOptions {
    MailboxOptions::default().bytes(bytes)
}

#[tokio::test(start_paused = true)]
async fn messages_may_fill_a_bound_on_bytes_and_one_byte_more_comes_back() {
    let desk = Desk::busy(in_bytes(10).overflow(Overflow::Reject)).await;
    desk.clerk.try_tell(parcel(1).bytes(4)).unwrap();
    assert!(matches!(desk.clerk.try_tell(parcel(2).bytes(7)), Err(TellError::Full(Parcel { n: 2, .. }))));
    desk.clerk.try_tell(parcel(3).bytes(6)).unwrap();
    assert!(matches!(desk.clerk.try_tell(parcel(4).bytes(1)), Err(TellError::Full(_))));
    assert_eq!(desk.clerk.stats().bytes, 10);
    assert_eq!(desk.release().await, [1, 3]);
    assert_eq!(desk.clerk.stats().bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_bound_is_refused_for_what_it_is_and_one_as_large_is_not() {
    for overflow in [Overflow::Wait, Overflow::Reject, Overflow::DropOldest, Overflow::DropNewest] {
        let desk = Desk::busy(in_bytes(10).overflow(overflow)).await;
        let large = || parcel(1).bytes(11);
        assert!(matches!(desk.clerk.try_tell(large()), Err(TellError::TooLarge(Parcel { n: 1, .. }))));
        assert!(matches!(desk.clerk.tell(large()).await, Err(TellError::TooLarge(_))));
        let asked = desk.clerk.ask(SOON, |reply| Parcel { reply: Some(reply), ..large() }).await;
        assert!(matches!(asked, Err(AskError::NotSent(TellError::TooLarge(_)))));
        assert_eq!(desk.clerk.stats().rejected, 3);
        desk.clerk.try_tell(parcel(2).bytes(10)).unwrap();
        assert_eq!(desk.release().await, [2]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_bound_bytes_are_not_counted() {
    let desk = Desk::busy(MailboxOptions::default()).await;
    desk.clerk.try_tell(parcel(1).bytes(usize::MAX)).unwrap();
    desk.clerk.try_tell(parcel(2).bytes(usize::MAX)).unwrap();
    assert_eq!(desk.clerk.stats().bytes, 0);
    assert_eq!(desk.release().await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_bytes_is_not_overtaken_by_what_would_fit() {
    let desk = Desk::busy(in_bytes(10)).await;
    desk.clerk.try_tell(parcel(1).bytes(8)).unwrap();
    let large = desk.sender(parcel(2).bytes(5)).await;
    let small = desk.sender(parcel(3).bytes(1)).await;
    assert!(matches!(desk.clerk.try_tell(parcel(4).bytes(1)), Err(TellError::Full(_))));
    assert!(!large.is_finished() && !small.is_finished());
    assert_eq!(desk.clerk.stats().depth, 1);
    assert_eq!(desk.release().await, [1, 2, 3]);
    large.await.unwrap().unwrap();
    small.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_lets_in_what_fits_behind_it() {
    let desk = Desk::busy(in_bytes(10)).await;
    desk.clerk.try_tell(parcel(1).bytes(8)).unwrap();
    let large = desk.sender(parcel(2).bytes(5)).await;
    let small = desk.sender(parcel(3).bytes(1)).await;
    large.abort();
    small.await.unwrap().unwrap();
    assert_eq!(desk.release().await, [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn drop_oldest_makes_as_much_room_as_a_message_needs() {
    let desk = Desk::busy(in_bytes(10).overflow(Overflow::DropOldest)).await;
    for n in 1..=3 {
        desk.clerk.try_tell(parcel(n).bytes(3)).unwrap();
    }
    desk.clerk.try_tell(parcel(4).bytes(7)).unwrap();
    assert_eq!(desk.release().await, [3, 4]);
    assert_eq!(desk.system.dead_letters(), DeadLetterCounts { dropped_oldest: 2, ..Default::default() });
}

#[tokio::test(start_paused = true)]
async fn high_goes_before_what_waits_and_low_after_it_and_equals_keep_their_order() {
    let desk = Desk::busy(MailboxOptions::default().with_priorities()).await;
    let order = [Priority::Low, Priority::Normal, Priority::High];
    for (n, priority) in (1..).zip(order.into_iter().chain(order).chain(order)) {
        desk.clerk.try_tell(parcel(n).priority(priority)).unwrap();
    }
    assert_eq!(desk.release().await, [3, 6, 9, 2, 5, 8, 1, 4, 7]);
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_without_priorities_keeps_the_order_sent() {
    let desk = Desk::busy(MailboxOptions::default()).await;
    for (n, priority) in [(1, Priority::Low), (2, Priority::Normal), (3, Priority::High)] {
        desk.clerk.try_tell(parcel(n).priority(priority)).unwrap();
    }
    assert_eq!(desk.release().await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_high_priority_finds_a_full_mailbox_full() {
    let desk = Desk::busy(MailboxOptions::bounded(1).with_priorities()).await;
    desk.clerk.try_tell(parcel(1).priority(Priority::Low)).unwrap();
    let urgent = desk.clerk.try_tell(parcel(2).priority(Priority::High));
    assert!(matches!(urgent, Err(TellError::Full(_))));
    let waiting = desk.sender(parcel(3).priority(Priority::High)).await;
    assert_eq!(desk.release().await, [1, 3]);
    waiting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn drop_oldest_drops_the_lowest_first_and_never_for_a_lower_newcomer() {
    let desk = Desk::busy(MailboxOptions::bounded(3).with_priorities().overflow(Overflow::DropOldest)).await;
    let send = |n, priority| desk.clerk.try_tell(parcel(n).priority(priority)).unwrap();
    send(1, Priority::High);
    send(2, Priority::Low);
    send(3, Priority::Normal);
    send(4, Priority::Normal);
    send(5, Priority::High);
    send(6, Priority::Low);
    assert_eq!(desk.release().await, [1, 5, 4]);
    assert_eq!(desk.clerk.stats().dropped, 3);
}

#[tokio::test(start_paused = true)]
async fn drop_oldest_drops_nobody_for_a_newcomer_that_does_not_fit_even_so() {
    let mailbox = in_bytes(10).with_priorities().overflow(Overflow::DropOldest);
    let desk = Desk::busy(mailbox).await;
    desk.clerk.try_tell(parcel(1).bytes(6).priority(Priority::High)).unwrap();
    desk.clerk.try_tell(parcel(2).bytes(4).priority(Priority::Low)).unwrap();
    desk.clerk.try_tell(parcel(3).bytes(5)).unwrap();
    assert_eq!(desk.release().await, [1, 2]);
    assert_eq!(desk.system.dead_letters().dropped_oldest, 1);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_that_is_raised_lets_waiting_senders_in() {
    let desk = Desk::busy(MailboxOptions::bounded(1)).await;
    desk.clerk.try_tell(parcel(1)).unwrap();
    let senders = [desk.sender(parcel(2)).await, desk.sender(parcel(3)).await, desk.sender(parcel(4)).await];
    desk.clerk.set_capacity(3);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(senders.each_ref().map(|sender| sender.is_finished()), [true, true, false]);
    let stats = desk.clerk.stats();
    assert_eq!((stats.capacity, stats.depth), (3, 3));
    assert_eq!(desk.release().await, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_that_is_lowered_keeps_what_is_there_and_refuses_until_there_is_room_below_it() {
    let desk = Desk::busy(MailboxOptions::bounded(4)).await;
    desk.clerk.try_tell(parcel(1)).unwrap();
    desk.clerk.try_tell(desk.waiting()).unwrap();
    desk.clerk.try_tell(parcel(2)).unwrap();
    // Zero is read as one.
    desk.clerk.set_capacity(0);
    assert_eq!(desk.clerk.stats().capacity, 1);
    assert!(matches!(desk.clerk.try_tell(parcel(3)), Err(TellError::Full(_))));
    let waiting = desk.sender(parcel(4)).await;
    desk.gate.notify_one();
    until(|| desk.clerk.stats().depth == 1).await;
    assert!(!waiting.is_finished(), "what is left takes the one place");
    assert_eq!(desk.release().await, [1, 2, 4]);
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_who_waits_for_room_that_was_just_made() {
    // Room in a mailbox of this size is given to waiting senders in herds, so there is some while they still wait.
    let desk = Desk::busy(MailboxOptions::bounded(8)).await;
    let told = Arc::new(Mutex::new(None));
    let note = told.clone();
    let diary = crate::probe::Diary::default();
    let puppet = crate::puppet::puppet(&desk.system, &diary, MailboxOptions::bounded(8)).await;
    let gate = crate::puppet::occupy(&puppet).await;
    let tell_itself = crate::puppet::run(move |_, ctx| {
        *note.lock().unwrap() = Some(ctx.address().try_tell(crate::puppet::Order::Note(2)).is_ok());
        Box::pin(async { Ok(()) })
    });
    puppet.try_tell(tell_itself).unwrap();
    for _ in 0..7 {
        puppet.try_tell(crate::puppet::Order::Note(0)).unwrap();
    }
    let waiting = tokio::spawn({
        let puppet = puppet.clone();
        async move { puppet.tell(crate::puppet::Order::Note(1)).await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    crate::puppet::release(&puppet, &gate).await;
    waiting.await.unwrap().unwrap();
    assert_eq!(*told.lock().unwrap(), Some(false), "the mailbox is full while somebody waits");
}

#[tokio::test(start_paused = true)]
async fn the_counts_of_a_mailbox_add_up() {
    for overflow in [Overflow::Wait, Overflow::Reject, Overflow::DropOldest, Overflow::DropNewest] {
        let desk = Desk::busy(MailboxOptions::bounded(4).overflow(overflow)).await;
        let mut sent = 1;
        for n in 0..10 {
            sent += u64::from(desk.clerk.try_tell(parcel(n)).is_ok());
        }
        let stats = desk.clerk.stats();
        assert_eq!((stats.depth, stats.accepted, stats.accepted + stats.rejected), (4, sent, 11));
        assert_eq!(stats.accepted, stats.handled + stats.dropped + stats.depth as u64);
        assert_eq!(stats.handled, 1);
        let handled = desk.release().await.len() as u64;
        let stats = desk.clerk.stats();
        assert_eq!((stats.handled, stats.accepted), (handled + 2, stats.handled + stats.dropped));
        let dead = desk.system.dead_letters();
        assert_eq!(stats.dropped, dead.dropped_oldest + dead.dropped_newest);
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_of_some_messages_is_measured() {
    let desk = Desk::busy(MailboxOptions::default()).await;
    for n in 0..16 {
        desk.clerk.try_tell(parcel(n)).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    desk.release().await;
    let wait = Duration::from_secs(3);
    assert_eq!(desk.clerk.stats().latency, Latency { samples: 1, p50: wait, p99: wait, max: wait });
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_with_little_traffic_measures_nothing() {
    let desk = Desk::busy(MailboxOptions::default()).await;
    for n in 0..14 {
        desk.clerk.try_tell(parcel(n)).unwrap();
    }
    desk.release().await;
    assert_eq!(desk.clerk.stats().latency, Latency::default());
}
