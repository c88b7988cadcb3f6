//! Timers and streams of an actor, which end with it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use airssys_rt::{
    Address, ChildSpec, Context, DeadLetterCounts, Event, ExitReason, MailboxOptions, Overflow,
    SupervisorSpec, System,
};
use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::probe::{Diary, SOON, until};
use crate::puppet::{Order, Puppet, occupy, on, puppet, release, run};

const SECOND: Duration = Duration::from_secs(1);

async fn plain(system: &System) -> (Address<Order>, Diary) {
    let diary = Diary::default();
    (puppet(system, &diary, MailboxOptions::default()).await, diary)
}

#[tokio::test(start_paused = true)]
async fn a_timer_sends_once_and_not_before_its_time() {
    let (a, diary) = plain(&System::new()).await;
    on(&a, |_, ctx| {
        ctx.send_after(3 * SECOND, Order::Tick(2));
        ctx.send_after(SECOND, Order::Tick(1));
        ctx.send_after(Duration::ZERO, Order::Tick(0));
    })
    .await;
    sleep(60 * SECOND).await;
    assert_eq!(diary.lines(), ["0 at 0", "1 at 1000", "2 at 3000"]);
}

#[tokio::test(start_paused = true)]
async fn an_interval_sends_every_period_until_it_is_cancelled() {
    let (a, diary) = plain(&System::new()).await;
    let timer = on(&a, |_, ctx| {
        let mut n = 0;
        ctx.send_interval(SECOND, move || {
            n += 1;
            Order::Tick(n)
        })
    })
    .await;
    sleep(Duration::from_millis(3500)).await;
    assert!(on(&a, move |_, ctx| ctx.cancel(timer)).await);
    assert!(!on(&a, move |_, ctx| ctx.cancel(timer)).await, "a timer is cancelled once");
    sleep(60 * SECOND).await;
    assert_eq!(diary.lines(), ["1 at 1000", "2 at 2000", "3 at 3000"]);
}

#[tokio::test(start_paused = true)]
async fn an_interval_leaves_out_ticks_that_find_the_one_before_without_room() {
    let (system, diary) = (System::new(), Diary::default());
    let a = puppet(&system, &diary, MailboxOptions::bounded(1)).await;
    on(&a, |_, ctx| ctx.send_interval(SECOND, || Order::Tick(1))).await;
    let gate = occupy(&a).await;
    sleep(Duration::from_millis(10_500)).await;
    release(&a, &gate).await;
    sleep(SECOND).await;
    let ticks = diary.lines();
    // One had its place, one waited for room, and the next is in step again.
    assert_eq!((ticks.len(), &*ticks[2]), (3, "1 at 11000"), "{ticks:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_timer_sends_nothing_and_one_that_has_sent_cannot_be_cancelled() {
    let (a, diary) = plain(&System::new()).await;
    let timer = on(&a, |_, ctx| ctx.send_after(SECOND, Order::Note(1))).await;
    assert!(on(&a, move |_, ctx| ctx.cancel(timer)).await);
    let timer = on(&a, |_, ctx| ctx.send_after(SECOND, Order::Note(2))).await;
    sleep(2 * SECOND).await;
    assert!(!on(&a, move |_, ctx| ctx.cancel(timer)).await);
    assert_eq!(diary.lines(), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_timer_that_a_full_mailbox_refuses_is_a_dead_letter() {
    let (system, diary) = (System::new(), Diary::default());
    let a = puppet(&system, &diary, MailboxOptions::bounded(1).overflow(Overflow::Reject)).await;
    on(&a, |_, ctx| ctx.send_after(SECOND, Order::Note(2))).await;
    let gate = occupy(&a).await;
    a.try_tell(Order::Note(1)).unwrap();
    let mut letters = system.read_dead_letters(8);
    sleep(2 * SECOND).await;
    let letter = letters.try_next().expect("one");
    assert!(letter.id == a.id() && letter.message.is::<Order>());
    assert_eq!(system.dead_letters(), DeadLetterCounts { refused: 1, ..Default::default() });
    release(&a, &gate).await;
    assert_eq!(diary.lines(), ["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_timer_waits_for_room_where_senders_wait() {
    let (system, diary) = (System::new(), Diary::default());
    let a = puppet(&system, &diary, MailboxOptions::bounded(1)).await;
    on(&a, |_, ctx| ctx.send_after(SECOND, Order::Note(2))).await;
    let gate = occupy(&a).await;
    a.try_tell(Order::Note(1)).unwrap();
    sleep(2 * SECOND).await;
    release(&a, &gate).await;
    assert_eq!(diary.lines(), ["1", "2"]);
    assert_eq!(system.dead_letters(), DeadLetterCounts::default());
}

/// Numbers, and a note of whether it is still there.
struct Numbers {
    next: u32,
    end: u32,
    alive: Arc<AtomicUsize>,
    polls: Arc<AtomicUsize>,
}

impl Numbers {
    fn to(end: u32) -> Self {
        let alive = Arc::new(AtomicUsize::new(1));
        Self { next: 0, end, alive, polls: Arc::default() }
    }
}

impl Stream for Numbers {
    type Item = u32;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<u32>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        if self.next == self.end {
            return Poll::Ready(None);
        }
        self.next += 1;
        Poll::Ready(Some(self.next))
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        self.alive.store(0, Ordering::Relaxed);
    }
}

/// What comes through a channel.
struct Channel(mpsc::Receiver<u32>);

impl Stream for Channel {
    type Item = u32;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<u32>> {
        self.0.poll_recv(cx)
    }
}

fn note(item: Option<u32>) -> Option<Order> {
    Some(Order::Note(item.unwrap_or(0)))
}

#[tokio::test(start_paused = true)]
async fn a_stream_comes_in_order_and_its_end_last() {
    let (a, diary) = plain(&System::new()).await;
    let stream = on(&a, |_, ctx| ctx.attach(Numbers::to(500), note)).await;
    until(|| diary.lines().len() == 501).await;
    let expected = (1..=500).chain([0]).map(|n: u32| n.to_string());
    assert_eq!(diary.lines(), expected.collect::<Vec<_>>());
    assert!(!on(&a, move |_, ctx| ctx.detach(stream)).await, "it has ended");
}

#[tokio::test(start_paused = true)]
async fn items_that_are_made_into_nothing_are_left_out() {
    let (a, diary) = plain(&System::new()).await;
    on(&a, |_, ctx| {
        ctx.attach(Numbers::to(6), |item| item.filter(|n| n % 2 == 0).map(Order::Note));
    })
    .await;
    sleep(SECOND).await;
    assert_eq!(diary.lines(), ["2", "4", "6"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_polled_while_its_item_finds_no_room() {
    let (system, diary) = (System::new(), Diary::default());
    let a = puppet(&system, &diary, MailboxOptions::bounded(3)).await;
    let numbers = Numbers::to(100);
    let polls = numbers.polls.clone();
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = gate.clone();
    let attach_and_wait = run(move |_, ctx| {
        ctx.attach(numbers, note);
        Box::pin(async move {
            opened.notified().await;
            Ok(())
        })
    });
    a.try_tell(attach_and_wait).unwrap();
    sleep(SECOND).await;
    assert_eq!(polls.load(Ordering::Relaxed), 4, "three in the mailbox, one in line");
    gate.notify_one();
    until(|| diary.lines().len() == 101).await;
    assert_eq!(system.dead_letters(), DeadLetterCounts::default());
}

#[tokio::test(start_paused = true)]
async fn a_detached_stream_is_dropped_and_sends_no_more() {
    let (a, diary) = plain(&System::new()).await;
    let (items, receiver) = mpsc::channel(8);
    let stream = on(&a, |_, ctx| ctx.attach(Channel(receiver), note)).await;
    items.send(1).await.unwrap();
    until(|| diary.lines().len() == 1).await;
    assert!(on(&a, move |_, ctx| ctx.detach(stream)).await);
    assert!(!on(&a, move |_, ctx| ctx.detach(stream)).await);
    items.closed().await;
    assert_eq!(diary.lines(), ["1"], "not even its end");
}

/// A stream that always has an item, for a mailbox that never lets it wait.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_always_ready_lets_others_run() {
    let (system, diary) = (System::new(), Diary::default());
    let a = puppet(&system, &diary, MailboxOptions::bounded(2).overflow(Overflow::DropOldest)).await;
    let numbers = Numbers::to(u32::MAX);
    let alive = numbers.alive.clone();
    on(&a, |_, ctx| {
        ctx.attach(numbers, |_| Some(Order::Note(1)));
    })
    .await;
    a.exit(ExitReason::Killed);
    until(|| alive.load(Ordering::Relaxed) == 0).await;
}

#[tokio::test(start_paused = true)]
async fn timers_and_streams_end_with_their_actor_and_the_next_does_not_inherit_them() {
    let (system, diary) = (System::new(), Diary::default());
    let notes = diary.clone();
    let (child, a) = ChildSpec::worker(&system, "a", MailboxOptions::default(), move || Puppet::new(&notes));
    let spec = SupervisorSpec::new("top").intensity(9, SECOND).child(child);
    system.supervise(spec).await.unwrap();
    let ends: [fn(&Address<Order>); 4] = [
        |a| assert!(a.exit(ExitReason::Shutdown)),
        |a| assert!(a.exit(ExitReason::Killed)),
        |a| a.try_tell(run(|_, _| panic!("told to"))).unwrap(),
        |a| a.try_tell(run(|_, _| Box::pin(async { Err(ExitReason::Normal) }))).unwrap(),
    ];
    for (restarts, end) in (1..).zip(ends) {
        let numbers = Numbers::to(0);
        let (items, receiver) = mpsc::channel(8);
        let alive = numbers.alive.clone();
        on(&a, move |_, ctx| {
            ctx.send_after(SECOND, Order::Note(1));
            ctx.send_interval(SECOND, || Order::Note(2));
            ctx.attach(Channel(receiver), note);
            // This one ends by itself.
            ctx.attach(numbers, |_| None);
        })
        .await;
        until(|| alive.load(Ordering::Relaxed) == 0).await;
        end(&a);
        tokio::time::timeout(SOON, items.closed()).await.expect("the stream is dropped");
        until(|| a.sys().node().restarts == restarts).await;
        sleep(5 * SECOND).await;
    }
    assert_eq!(diary.lines(), Vec::<String>::new());
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    system.shutdown(SOON).await;
    assert!(tasks <= 3, "the supervisor, its child, the keeper of deadlines, and no timer: {tasks}");
}

/// A panic beside an actor is its own, though not in its handler.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_timer_or_a_stream_is_an_exit_signal_to_its_actor() {
    struct Broken;
    impl Stream for Broken {
        type Item = u32;

        fn poll_next(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<u32>> {
            panic!("broken stream")
        }
    }
    let begin: [fn(&mut Context<Puppet>); 2] =
        [|ctx| _ = ctx.send_interval(SECOND, || panic!("broken timer")), |ctx| _ = ctx.attach(Broken, note)];
    for (begin, said) in begin.into_iter().zip(["broken timer", "broken stream"]) {
        let system = System::new();
        let mut events = system.events();
        let (a, _) = plain(&system).await;
        on(&a, move |_, ctx| begin(ctx)).await;
        until(|| !a.is_alive()).await;
        assert!(matches!(events.try_next(), Some(Ok(Event::Started { .. }))));
        let Some(Ok(Event::Exited { reason: ExitReason::Panic(report), .. })) = events.try_next() else {
            panic!("it ends by a panic")
        };
        assert_eq!(report.message, said);
        assert!(report.location.is_some());
    }
}
