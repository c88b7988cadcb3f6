//! Order, bounds, overflow policies, asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use airssys_rt::{AskError, DeadLetterCounts, ExitReason, Overflow, System, TellError};
use tokio::time::Instant;

use crate::probe::{Diary, SOON, Tell, flush, occupy, spawn, spawn_bounded, until};

fn notes(diary: &Diary) -> Vec<String> {
    diary.lines().into_iter().filter(|line| line.ends_with(char::is_numeric)).collect()
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_sender_arrive_in_order() {
    let diary = Diary::default();
    let a = spawn(&System::new(), "a", &diary).await;
    for n in 0..500 {
        a.tell(Tell::Note(n)).await.unwrap();
    }
    flush(&a).await;
    assert_eq!(notes(&diary), (0..500).map(|n| format!("a: {n}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_returns_the_message() {
    let a = spawn_bounded(&System::new(), "a", &Diary::default(), 2, Overflow::Reject).await;
    let gate = occupy(&a).await;
    a.try_tell(Tell::Note(1)).unwrap();
    a.try_tell(Tell::Note(2)).unwrap();
    assert!(matches!(a.try_tell(Tell::Note(3)), Err(TellError::Full(Tell::Note(3)))));
    assert!(matches!(a.tell(Tell::Note(4)).await, Err(TellError::Full(Tell::Note(4)))));
    let refused = a.ask(SOON, |reply| Tell::Ask(5, reply)).await;
    assert!(matches!(refused, Err(AskError::NotSent(TellError::Full(Tell::Ask(5, _))))));
    gate.notify_one();
    until(|| a.stats().depth == 0).await;
    assert_eq!(a.stats().rejected, 3);
}

#[tokio::test(start_paused = true)]
async fn the_last_place_in_a_mailbox_can_be_taken() {
    let diary = Diary::default();
    let a = spawn_bounded(&System::new(), "a", &diary, 2, Overflow::Reject).await;
    let gate = occupy(&a).await;
    a.try_tell(Tell::Note(1)).unwrap();
    a.try_tell(Tell::Note(2)).unwrap();
    gate.notify_one();
    flush_when_room(&a).await;
    assert_eq!(notes(&diary), ["a: 1", "a: 2"]);
}

async fn flush_when_room(a: &airssys_rt::Address<Tell>) {
    until(|| a.stats().depth == 0).await;
    flush(a).await;
}

#[tokio::test(start_paused = true)]
async fn tell_waits_for_room_in_the_order_of_arrival() {
    let diary = Diary::default();
    let a = spawn_bounded(&System::new(), "a", &diary, 1, Overflow::Wait).await;
    let gate = occupy(&a).await;
    a.try_tell(Tell::Note(0)).unwrap();
    let senders: Vec<_> = (1..=5)
        .map(|n| {
            let a = a.clone();
            tokio::spawn(async move { a.tell(Tell::Note(n)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(senders.iter().all(|sender| !sender.is_finished()));
    gate.notify_one();
    for sender in senders {
        sender.await.unwrap().unwrap();
    }
    flush(&a).await;
    assert_eq!(notes(&diary), (0..=5).map(|n| format!("a: {n}")).collect::<Vec<_>>());
    assert_eq!(a.stats().rejected, 0);
}

#[tokio::test(start_paused = true)]
async fn a_tell_that_is_dropped_in_line_is_never_sent() {
    let diary = Diary::default();
    let a = spawn_bounded(&System::new(), "a", &diary, 1, Overflow::Wait).await;
    let gate = occupy(&a).await;
    a.try_tell(Tell::Note(0)).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), a.tell(Tell::Note(1))).await.is_err());
    gate.notify_one();
    flush(&a).await;
    assert_eq!(notes(&diary), ["a: 0"]);
}

#[tokio::test(start_paused = true)]
async fn room_made_while_a_handler_waits_lets_a_sender_in() {
    let a = spawn_bounded(&System::new(), "a", &Diary::default(), 2, Overflow::Wait).await;
    let gate = occupy(&a).await;
    a.try_tell(Tell::Note(0)).unwrap();
    a.try_tell(Tell::Wait(gate.clone())).unwrap();
    gate.notify_one();
    until(|| a.stats().depth == 0).await;
    a.tell(Tell::Note(1)).await.unwrap();
    a.tell(Tell::Note(2)).await.unwrap();
    assert_eq!(a.stats().depth, 2);
    gate.notify_one();
    flush(&a).await;
}

#[tokio::test(start_paused = true)]
async fn drop_oldest_keeps_the_latest_and_counts_the_rest() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn_bounded(&system, "a", &diary, 2, Overflow::DropOldest).await;
    let gate = occupy(&a).await;
    for n in 1..=5 {
        a.tell(Tell::Note(n)).await.unwrap();
    }
    gate.notify_one();
    flush_when_room(&a).await;
    assert_eq!(notes(&diary), ["a: 4", "a: 5"]);
    assert_eq!(system.dead_letters(), DeadLetterCounts { dropped_oldest: 3, ..Default::default() });
    assert_eq!(a.stats().dropped, 3);
}

#[tokio::test(start_paused = true)]
async fn drop_newest_keeps_the_earliest_and_counts_the_rest() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn_bounded(&system, "a", &diary, 2, Overflow::DropNewest).await;
    let gate = occupy(&a).await;
    for n in 1..=5 {
        a.tell(Tell::Note(n)).await.unwrap();
    }
    assert!(matches!(a.ask(SOON, |reply| Tell::Ask(6, reply)).await, Err(AskError::Died)));
    gate.notify_one();
    flush_when_room(&a).await;
    assert_eq!(notes(&diary), ["a: 1", "a: 2"]);
    assert_eq!(system.dead_letters(), DeadLetterCounts { dropped_newest: 4, ..Default::default() });
}

#[tokio::test(start_paused = true)]
async fn an_ended_actor_returns_the_message() {
    let a = spawn(&System::new(), "a", &Diary::default()).await;
    a.tell(Tell::Stop(ExitReason::Normal)).await.unwrap();
    until(|| !a.is_alive()).await;
    assert!(matches!(a.try_tell(Tell::Note(1)), Err(TellError::Closed(Tell::Note(1)))));
    let refused = a.ask(SOON, |reply| Tell::Ask(1, reply)).await;
    assert!(matches!(refused, Err(AskError::NotSent(TellError::Closed(_)))));
}

#[tokio::test(start_paused = true)]
async fn messages_left_at_the_end_are_dead_letters() {
    let system = System::new();
    let a = spawn(&system, "a", &Diary::default()).await;
    let _gate = occupy(&a).await;
    for n in 0..3 {
        a.try_tell(Tell::Note(n)).unwrap();
    }
    a.exit(ExitReason::Killed);
    until(|| !a.is_alive()).await;
    assert_eq!(system.dead_letters(), DeadLetterCounts { closed: 3, ..Default::default() });
    let stats = a.stats();
    assert_eq!((stats.accepted, stats.handled, stats.dropped, stats.depth), (4, 1, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn an_ask_is_answered_in_time() {
    let a = spawn(&System::new(), "a", &Diary::default()).await;
    assert_eq!(a.ask(Duration::MAX, |reply| Tell::Ask(3, reply)).await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_ask_times_out_and_the_late_answer_comes_back_to_the_callee() {
    let a = spawn(&System::new(), "a", &Diary::default()).await;
    let began = Instant::now();
    let (slot, held) = std::sync::mpsc::channel();
    let asked = a.ask(Duration::from_secs(2), |reply| {
        slot.send(reply).unwrap();
        Tell::Note(0)
    });
    assert!(matches!(asked.await, Err(AskError::Timeout)));
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    let reply = held.recv().unwrap();
    assert!(reply.is_closed());
    assert_eq!(reply.send(9), Err(9));
}

#[tokio::test(start_paused = true)]
async fn an_ask_that_finds_no_room_in_time_returns_the_message() {
    let a = spawn_bounded(&System::new(), "a", &Diary::default(), 1, Overflow::Wait).await;
    let _gate = occupy(&a).await;
    a.try_tell(Tell::Note(0)).unwrap();
    let outcome = a.ask(Duration::from_secs(1), |reply| Tell::Ask(1, reply)).await;
    assert!(matches!(outcome, Err(AskError::NotSent(TellError::Full(Tell::Ask(1, _))))));
}

#[tokio::test(start_paused = true)]
async fn the_callees_death_answers_before_the_timeout() {
    let a = spawn(&System::new(), "a", &Diary::default()).await;
    let began = Instant::now();
    let waiting = tokio::spawn({
        let a = a.clone();
        async move { a.ask(SOON, Tell::Hold).await }
    });
    until(|| a.stats().handled == 1).await;
    a.tell(Tell::Panic("now")).await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(AskError::Died)));
    assert!(began.elapsed() < SOON);
}

/// Every ask has one outcome, whatever dies meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ask_resolves_once_through_panics_and_kills() {
    use airssys_rt::SupervisorSpec;
    const ASKERS: u32 = 8;
    const ASKS: u32 = 2_000;
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = crate::probe::child(&system, "a", &diary);
    let spec = SupervisorSpec::new("top").intensity(1_000_000, Duration::from_secs(5)).child(child);
    system.supervise(spec).await.unwrap();
    let outcomes = Arc::new([const { AtomicU32::new(0) }; 4]);
    let askers: Vec<_> = (0..ASKERS)
        .map(|asker| {
            let (a, outcomes) = (a.clone(), outcomes.clone());
            tokio::spawn(async move {
                let mut random = u64::from(asker) + 1;
                for n in 0..ASKS {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    match random >> 59 {
                        0 => drop(a.try_tell(Tell::Panic("at random"))),
                        1 => drop(a.exit(ExitReason::Killed)),
                        _ => {}
                    }
                    let which = match a.ask(SOON, |reply| Tell::AskAfterYield(n, reply)).await {
                        Ok(answer) => {
                            assert_eq!(answer, n);
                            0
                        }
                        Err(AskError::Died) => 1,
                        Err(AskError::Timeout) => 2,
                        Err(AskError::NotSent(_)) => 3,
                    };
                    outcomes[which].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for asker in askers {
        asker.await.unwrap();
    }
    let [answered, died, timed_out, refused] =
        [0, 1, 2, 3].map(|n: usize| outcomes[n].load(Ordering::Relaxed));
    assert_eq!(answered + died, ASKERS * ASKS, "timed out {timed_out}, refused {refused}");
    assert!(answered > 0 && died > 0, "answered {answered}, died {died}");
    let stats = a.stats();
    assert_eq!(stats.accepted, stats.handled + stats.dropped + stats.depth as u64);
}
