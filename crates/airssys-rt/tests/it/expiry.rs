//! Messages and requests whose time is up, deadlines that travel with requests, and answers that come too late.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_rt::{
    Actor, Address, AskError, Context, DeadLetterCounts, ExitReason, MailboxOptions, ReplyTo, System,
    TellError,
};
use tokio::time::{Instant, sleep};

use crate::probe::{Diary, SOON, answer, until};
use crate::puppet::{Order, Puppet, occupy, on, puppet, release, run};

const SECOND: Duration = Duration::from_secs(1);

async fn plain(system: &System) -> (Address<Order>, Diary) {
    let diary = Diary::default();
    (puppet(system, &diary, MailboxOptions::default()).await, diary)
}

#[tokio::test(start_paused = true)]
async fn an_expired_message_is_not_handled_and_one_in_time_is() {
    let system = System::new();
    let (a, diary) = plain(&system).await;
    let gate = occupy(&a).await;
    let now = Instant::now();
    for (n, ms) in [(1, 1000), (2, 1999), (3, 2000), (4, 2001)] {
        a.try_tell_until(Order::Note(n), now + Duration::from_millis(ms)).unwrap();
    }
    sleep(2 * SECOND).await;
    release(&a, &gate).await;
    assert_eq!(diary.lines(), ["4"], "a message is not handled from its deadline on");
    assert_eq!(system.dead_letters(), DeadLetterCounts { expired: 3, ..Default::default() });
    let stats = a.stats();
    assert_eq!((stats.dropped, stats.accepted), (3, stats.handled + 3));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_time_is_up_is_not_sent() {
    let system = System::new();
    let (a, diary) = plain(&system).await;
    let late = a.try_tell_until(Order::Note(1), Instant::now());
    assert!(matches!(late, Err(TellError::Expired(Order::Note(1)))));
    a.try_tell_until(Order::Note(2), Instant::now() + Duration::from_millis(1)).unwrap();
    let late = a.ask(Duration::ZERO, |reply| Order::Ask(3, reply)).await;
    assert!(matches!(late, Err(AskError::NotSent(TellError::Expired(Order::Ask(3, _))))));
    until(|| a.stats().depth == 0).await;
    assert_eq!(diary.lines(), ["2"]);
    assert_eq!(system.dead_letters(), DeadLetterCounts::default(), "it came back");
}

#[tokio::test(start_paused = true)]
async fn an_ask_whose_time_is_up_is_not_handled_and_one_in_time_is() {
    let system = System::new();
    let (a, _) = plain(&system).await;
    for (timeout, is_handled) in [(SECOND, false), (3 * SECOND, true)] {
        let gate = occupy(&a).await;
        let handled = a.stats().handled;
        let asking = tokio::spawn({
            let a = a.clone();
            async move { a.ask(timeout, |reply| Order::Ask(1, reply)).await }
        });
        sleep(2 * SECOND).await;
        gate.notify_one();
        match asking.await.unwrap() {
            Ok(answer) => assert!(is_handled && answer == 1),
            Err(why) => assert!(!is_handled && matches!(why, AskError::Timeout)),
        }
        until(|| a.stats().depth == 0).await;
        assert_eq!(a.stats().handled - handled, u64::from(is_handled));
    }
    assert_eq!(system.dead_letters(), DeadLetterCounts { expired: 1, ..Default::default() });
}

/// The callee drops an expired request, which looks like a death to who waits.
#[tokio::test(start_paused = true)]
async fn an_ask_that_its_callee_finds_expired_timed_out() {
    let system = System::new();
    let (a, _) = plain(&system).await;
    a.try_tell(run(|_, _| {
        Box::pin(async {
            sleep(SECOND).await;
            Ok(())
        })
    }))
    .unwrap();
    let asks: Vec<_> = (0..10)
        .map(|_| {
            let a = a.clone();
            tokio::spawn(async move { a.ask(SECOND, |reply| Order::Ask(1, reply)).await })
        })
        .collect();
    for asked in asks {
        assert!(matches!(asked.await.unwrap(), Err(AskError::Timeout)));
    }
}

/// What two puppets see as their deadline, in milliseconds from now: one that is asked with `outer`, or told if there is
/// none, and the one that it asks with `inner` meanwhile.
async fn nested(outer: Option<Duration>, inner: Duration) -> [Option<u128>; 2] {
    let system = System::new();
    let (a, _) = plain(&system).await;
    let b = system.spawn("b", MailboxOptions::default(), || Puppet::new(&Diary::default())).await.unwrap();
    let sent = Instant::now();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = seen.clone();
    let order = move |reply: Option<ReplyTo<u32>>| {
        run(move |_, ctx| {
            Box::pin(async move {
                notes.lock().unwrap().push(ctx.deadline());
                let asked = b.ask(inner, |reply: ReplyTo<()>| {
                    run(move |_, ctx| {
                        notes.lock().unwrap().push(ctx.deadline());
                        Box::pin(async move {
                            answer(reply, ());
                            Ok(())
                        })
                    })
                });
                asked.await.unwrap();
                reply.into_iter().for_each(|reply| answer(reply, 0));
                Ok(())
            })
        })
    };
    match outer {
        Some(outer) => assert_eq!(a.ask(outer, |reply| order(Some(reply))).await.unwrap(), 0),
        None => a.try_tell(order(None)).unwrap(),
    }
    until(|| seen.lock().unwrap().len() == 2).await;
    let seen = seen.lock().unwrap();
    // A deadline is kept in even nanoseconds.
    [0, 1].map(|n| seen[n].map(|at| (at - sent + Duration::from_micros(1)).as_millis()))
}

#[tokio::test(start_paused = true)]
async fn a_nested_ask_ends_with_the_earlier_of_its_own_time_and_its_askers() {
    assert_eq!(nested(Some(SECOND), 5 * SECOND).await, [Some(1000), Some(1000)]);
    assert_eq!(nested(Some(5 * SECOND), SECOND).await, [Some(5000), Some(1000)]);
    assert_eq!(nested(None, SECOND).await, [None, Some(1000)]);
    assert_eq!(nested(None, Duration::MAX).await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_nested_ask_times_out_when_its_asker_has_stopped_waiting() {
    let system = System::new();
    let (a, diary) = plain(&system).await;
    let silent =
        system.spawn("silent", MailboxOptions::default(), || Puppet::new(&Diary::default())).await.unwrap();
    let _gate = occupy(&silent).await;
    let asked = a.ask(SECOND, |reply: ReplyTo<u32>| {
        run(move |puppet, _| {
            Box::pin(async move {
                let began = Instant::now();
                let first = silent.ask(SOON, |reply| Order::Ask(1, reply)).await;
                puppet.diary.note(format!("{first:?} after {}", began.elapsed().as_millis()));
                let second = silent.ask(SOON, |reply| Order::Ask(1, reply)).await;
                puppet.diary.note(format!("{second:?}"));
                drop(reply);
                Ok(())
            })
        })
    });
    assert!(matches!(asked.await, Err(AskError::Timeout)));
    until(|| diary.lines().len() == 2).await;
    let lines = diary.lines();
    assert!(lines[0] == "Err(Timeout) after 1000" || lines[0] == "Err(Timeout) after 1001", "{lines:?}");
    assert_eq!(lines[1], "Err(NotSent(Expired(..)))");
}

/// A handler need not be an async function: what it does before it returns its future is part of it.
struct Direct;

impl Actor for Direct {
    type Message = ReplyTo<Option<Instant>>;

    fn handle(
        &mut self,
        reply: Self::Message,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Result<(), ExitReason>> + Send {
        answer(reply, ctx.deadline());
        async { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_seen_before_the_handlers_first_poll() {
    let system = System::new();
    let a = system.spawn("direct", MailboxOptions::default(), || Direct).await.unwrap();
    let asked_at = Instant::now();
    let deadline = a.ask(SECOND, |reply| reply).await.unwrap().expect("a deadline");
    assert!(deadline - asked_at + Duration::from_nanos(1) >= SECOND);
    assert_eq!(a.ask(Duration::MAX, |reply| reply).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_comes_back_and_is_counted_once() {
    let system = System::new();
    let (a, diary) = plain(&system).await;
    for (takes, timeout, is_late) in [(SECOND, 2 * SECOND, false), (2 * SECOND, SECOND, true)] {
        let asked = a.ask(timeout, |reply: ReplyTo<u32>| {
            run(move |puppet, _| {
                Box::pin(async move {
                    sleep(takes).await;
                    puppet.diary.note(format!("{} {:?}", reply.is_closed(), reply.send(5)));
                    Ok(())
                })
            })
        });
        assert_eq!(asked.await.is_err(), is_late);
        on(&a, |_, _| ()).await;
        let said = if is_late { "true Err(5)" } else { "false Ok(())" };
        assert_eq!(diary.take(), [said]);
        assert_eq!(system.dead_letters().late_replies, u64::from(is_late));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_its_asker_leaves_unread_is_counted() {
    let system = System::new();
    let (a, _) = plain(&system).await;
    let held = Arc::new(Mutex::new(None));
    let mut asked = Box::pin(a.ask(SOON, |reply| {
        *held.lock().unwrap() = Some(reply);
        Order::Note(1)
    }));
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(asked.as_mut().poll(cx).is_pending())).await);
    let reply: ReplyTo<u32> = held.lock().unwrap().take().unwrap();
    assert!(reply.send(5).is_ok(), "somebody waits");
    drop(asked);
    assert_eq!(system.dead_letters(), DeadLetterCounts { late_replies: 1, ..Default::default() });
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_asks_end_each_at_its_own_time() {
    const ASKS: u64 = 100_000;
    let system = System::new();
    let diary = Diary::default();
    let a = puppet(&system, &diary, MailboxOptions::bounded(200_000)).await;
    let _gate = occupy(&a).await;
    let latest = Arc::new(AtomicU64::new(0));
    let asks: Vec<_> = (0..ASKS)
        .map(|n| {
            let (a, latest) = (a.clone(), latest.clone());
            tokio::spawn(async move {
                // Over a dozen turns of the wheel, no two neighbours alike.
                let timeout = Duration::from_micros(1 + n * 7919 % 3_333_333);
                let due = Instant::now() + timeout;
                let asked = a.ask(timeout, |reply| Order::Ask(1, reply)).await;
                assert!(matches!(asked, Err(AskError::Timeout)));
                let late = Instant::now().checked_duration_since(due).expect("not before its time");
                latest.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            })
        })
        .collect();
    for asked in asks {
        asked.await.unwrap();
    }
    let latest = latest.load(Ordering::Relaxed);
    assert!(latest <= 2_000, "one was {latest} us late");
}

/// The first timed request starts the task that looks after all of them, on the runtime where it is made.
#[test]
fn requests_time_out_although_the_runtime_of_the_first_is_gone() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let system = System::new();
    let (a, _) = first.block_on(plain(&system));
    let b = second.block_on(async {
        system.spawn("b", MailboxOptions::default(), || Puppet::new(&Diary::default())).await.unwrap()
    });
    first.block_on(async { assert_eq!(a.ask(SOON, |reply| Order::Ask(1, reply)).await.unwrap(), 1) });
    let _gate = second.block_on(occupy(&b));
    let began = std::time::Instant::now();
    let asked = second.block_on(async {
        let asked = tokio::spawn({
            let b = b.clone();
            async move { b.ask(Duration::from_millis(300), |reply| Order::Ask(1, reply)).await }
        });
        sleep(Duration::from_millis(50)).await;
        // While it waits, as those who keep the time have it.
        std::thread::spawn(move || drop(first)).join().unwrap();
        asked.await.unwrap()
    });
    assert!(matches!(asked, Err(AskError::Timeout)));
    assert!((300..5000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_on_for_a_system_that_is_gone() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let system = System::new();
    let (a, _) = plain(&system).await;
    let _gate = occupy(&a).await;
    assert!(a.ask(SECOND, |reply| Order::Ask(1, reply)).await.is_err());
    assert!(tasks() > 0);
    system.shutdown(SOON).await;
    drop((a, system));
    until(|| tasks() == 0).await;
}
