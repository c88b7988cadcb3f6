//! Circuit breakers: what opens one, what it does then, and what closes it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use airssys_rt::{
    Actor, AskError, Breaker, BreakerError, BreakerOptions, BreakerState, Context, ExitReason,
    MailboxOptions, Overflow, ReplyTo, System, TellError,
};
use tokio::time::Instant;

use crate::probe::{Diary, SOON, Tell, occupy, spawn, spawn_bounded, until};

const SECOND: Duration = Duration::from_secs(1);

/// Answers or keeps silent, as it is told.
struct Callee {
    asked: Arc<AtomicU32>,
    kept: Vec<ReplyTo<Result<u32, &'static str>>>,
}

enum Call {
    Answer(ReplyTo<Result<u32, &'static str>>),
    Refuse(ReplyTo<Result<u32, &'static str>>),
    KeepSilent(ReplyTo<Result<u32, &'static str>>),
    Drop(#[expect(dead_code, reason = "dropped with the message")] ReplyTo<Result<u32, &'static str>>),
}

impl Actor for Callee {
    type Message = Call;

    async fn handle(&mut self, call: Call, _: &mut Context<Self>) -> Result<(), ExitReason> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        match call {
            Call::Answer(reply) => drop(reply.send(Ok(asked))),
            Call::Refuse(reply) => drop(reply.send(Err("no"))),
            Call::KeepSilent(reply) => self.kept.push(reply),
            Call::Drop(_) => {}
        }
        Ok(())
    }
}

/// A breaker that opens at two failures in a row for ten seconds, and how often its callee was asked.
async fn breaker() -> (Breaker<Call>, Arc<AtomicU32>) {
    let asked = Arc::default();
    let callee = Callee { asked: Arc::clone(&asked), kept: Vec::new() };
    let address = System::new().spawn("callee", MailboxOptions::default(), || callee).await.unwrap();
    (Breaker::new(address, options()), asked)
}

fn options() -> BreakerOptions {
    BreakerOptions { failures_max: 2, cool_down: 10 * SECOND }
}

async fn fail(breaker: &Breaker<Call>) {
    assert!(matches!(breaker.ask(SOON, Call::Drop).await, Err(BreakerError::Ask(AskError::Died))));
}

async fn succeed(breaker: &Breaker<Call>) {
    breaker.ask(SOON, Call::Answer).await.unwrap().unwrap();
}

async fn open(breaker: &Breaker<Call>) {
    fail(breaker).await;
    fail(breaker).await;
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_closed_breaker_lets_calls_through() {
    let (breaker, asked) = breaker().await;
    for n in 1..=10 {
        assert_eq!(breaker.ask(SOON, Call::Answer).await.unwrap(), Ok(n));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 10);
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
}

#[tokio::test(start_paused = true)]
async fn as_many_failures_in_a_row_as_it_says_open_it_and_one_less_does_not() {
    let (breaker, asked) = breaker().await;
    fail(&breaker).await;
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 1 });
    fail(&breaker).await;
    assert_eq!(breaker.state(), BreakerState::Open { retry_after: 10 * SECOND });
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_success_between_failures_starts_the_count_again_and_time_does_not() {
    let (breaker, _) = breaker().await;
    for _ in 0..5 {
        fail(&breaker).await;
        succeed(&breaker).await;
    }
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
    fail(&breaker).await;
    tokio::time::sleep(3600 * SECOND).await;
    fail(&breaker).await;
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_returns_the_message_unsent_and_says_when_to_come_again() {
    let (breaker, asked) = breaker().await;
    open(&breaker).await;
    tokio::time::sleep(4 * SECOND).await;
    let began = Instant::now();
    let refused = breaker.ask(SOON, Call::Answer).await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::ZERO);
    let BreakerError::Open { retry_after, message: Call::Answer(reply) } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(retry_after, 6 * SECOND);
    assert!(reply.is_closed());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let refused = breaker.ask(SOON, Call::Refuse).await.unwrap_err();
    assert!(matches!(refused.into_message(), Some(Call::Refuse(_))));
}

#[tokio::test(start_paused = true)]
async fn after_the_cool_down_one_success_closes_it() {
    let (breaker, _) = breaker().await;
    open(&breaker).await;
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    succeed(&breaker).await;
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
    fail(&breaker).await;
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 1 }, "the count begins anew");
}

#[tokio::test(start_paused = true)]
async fn just_before_the_end_of_the_cool_down_nothing_goes_through() {
    let (breaker, asked) = breaker().await;
    open(&breaker).await;
    tokio::time::sleep(10 * SECOND - Duration::from_millis(1)).await;
    let refused = breaker.ask(SOON, Call::Answer).await.unwrap_err();
    assert!(matches!(refused, BreakerError::Open { retry_after, .. } if retry_after.as_millis() == 1));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_trial_opens_it_for_the_whole_cool_down() {
    let (breaker, _) = breaker().await;
    open(&breaker).await;
    tokio::time::sleep(15 * SECOND).await;
    fail(&breaker).await;
    assert_eq!(breaker.state(), BreakerState::Open { retry_after: 10 * SECOND });
}

#[tokio::test(start_paused = true)]
async fn while_a_trial_is_under_way_no_other_call_goes_through() {
    let (breaker, asked) = breaker().await;
    open(&breaker).await;
    tokio::time::sleep(10 * SECOND).await;
    let trial = tokio::spawn({
        let breaker = breaker.clone();
        async move { breaker.ask(3 * SECOND, Call::KeepSilent).await.is_err() }
    });
    until(|| asked.load(Ordering::Relaxed) == 3).await;
    for _ in 0..3 {
        let refused = breaker.ask(SOON, Call::Answer).await.unwrap_err();
        assert!(matches!(refused, BreakerError::Open { retry_after, .. } if retry_after == 10 * SECOND));
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert!(trial.await.unwrap());
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_dropped_leaves_the_trial_to_the_next_call() {
    let (breaker, asked) = breaker().await;
    open(&breaker).await;
    tokio::time::sleep(10 * SECOND).await;
    let dropped = tokio::time::timeout(SECOND, breaker.ask(SOON, Call::KeepSilent)).await;
    assert!(dropped.is_err());
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    succeed(&breaker).await;
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_counts_as_neither() {
    let (breaker, _) = breaker().await;
    fail(&breaker).await;
    for _ in 0..3 {
        let dropped = tokio::time::timeout(SECOND, breaker.ask(SOON, Call::KeepSilent)).await;
        assert!(dropped.is_err());
        assert_eq!(breaker.state(), BreakerState::Closed { failures: 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_circuit_changed_does_not_count() {
    let (breaker, asked) = breaker().await;
    let slow: Vec<_> = (0..2)
        .map(|_| {
            let breaker = breaker.clone();
            tokio::spawn(async move { breaker.ask(20 * SECOND, Call::KeepSilent).await.is_err() })
        })
        .collect();
    until(|| asked.load(Ordering::Relaxed) == 2).await;
    open(&breaker).await;
    tokio::time::sleep(10 * SECOND).await;
    succeed(&breaker).await;
    for call in slow {
        assert!(call.await.unwrap());
    }
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
}

#[tokio::test(start_paused = true)]
async fn silence_counts_as_a_failure() {
    let (breaker, _) = breaker().await;
    for _ in 0..2 {
        let outcome = breaker.ask(SECOND, Call::KeepSilent).await;
        assert!(matches!(outcome, Err(BreakerError::Ask(AskError::Timeout))));
    }
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_full_and_a_closed_mailbox_count_as_failures() {
    let (system, diary) = (System::new(), Diary::default());
    let full = spawn_bounded(&system, "full", &diary, 1, Overflow::Reject).await;
    let _gate = occupy(&full).await;
    full.try_tell(Tell::Note(1)).unwrap();
    let closed = spawn(&system, "closed", &diary).await;
    closed.exit(ExitReason::Killed);
    until(|| system.lookup::<Tell>("closed").is_none()).await;
    for address in [full, closed] {
        let breaker = Breaker::new(address, options());
        for _ in 0..2 {
            let refused = breaker.ask(SOON, |reply| Tell::Ask(1, reply)).await.unwrap_err();
            assert!(matches!(
                refused,
                BreakerError::Ask(AskError::NotSent(TellError::Full(_) | TellError::Closed(_)))
            ));
            assert!(matches!(refused.into_message(), Some(Tell::Ask(1, _))));
        }
        assert!(matches!(breaker.state(), BreakerState::Open { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_late_before_it_is_sent_counts_as_neither() {
    let (breaker, asked) = breaker().await;
    fail(&breaker).await;
    for _ in 0..3 {
        let late = breaker.ask(Duration::ZERO, Call::Answer).await;
        assert!(matches!(late, Err(BreakerError::Ask(AskError::NotSent(TellError::Expired(_))))));
    }
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 1 });
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_a_success_unless_the_caller_says_that_it_is_none() {
    let (breaker, _) = breaker().await;
    for _ in 0..3 {
        assert_eq!(breaker.ask(SOON, Call::Refuse).await.unwrap(), Err("no"));
    }
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
    for _ in 0..2 {
        let answer = breaker.ask_unless(Result::is_err, SOON, Call::Refuse).await;
        assert_eq!(answer.unwrap(), Err("no"));
    }
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
    tokio::time::sleep(10 * SECOND).await;
    breaker.ask_unless(Result::is_err, SOON, Call::Answer).await.unwrap().unwrap();
    assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
}

#[tokio::test(start_paused = true)]
async fn clones_share_a_circuit_and_breakers_made_apart_do_not() {
    let (breaker, _) = breaker().await;
    let (clone, other) = (breaker.clone(), Breaker::new(breaker.address().clone(), options()));
    open(&breaker).await;
    assert_eq!(clone.state(), breaker.state());
    assert_eq!(other.state(), BreakerState::Closed { failures: 0 });
    succeed(&other).await;
    clone.address().try_tell(Call::Drop(lone_reply().await)).map_err(drop).unwrap();
}

/// An answer that nobody waits for, as it comes back from an open breaker.
async fn lone_reply() -> ReplyTo<Result<u32, &'static str>> {
    let (breaker, _) = breaker().await;
    open(&breaker).await;
    match breaker.ask(SOON, Call::Answer).await {
        Err(BreakerError::Open { message: Call::Answer(reply), .. }) => reply,
        _ => panic!("it is open"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_callers_at_once_one_makes_the_trial() {
    let callee = Callee { asked: Arc::default(), kept: Vec::new() };
    let address = System::new().spawn("callee", MailboxOptions::default(), || callee).await.unwrap();
    let options = BreakerOptions { failures_max: 1, cool_down: Duration::ZERO };
    for round in 1..=50 {
        let breaker = Breaker::new(address.clone(), options);
        fail(&breaker).await;
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        let before = address.stats().accepted;
        let together = Arc::new(tokio::sync::Barrier::new(8));
        let refused = Arc::new(tokio::sync::Semaphore::new(0));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (breaker, together, refused) = (breaker.clone(), together.clone(), refused.clone());
                tokio::spawn(async move {
                    together.wait().await;
                    tokio::select! {
                        outcome = breaker.ask(SOON, Call::KeepSilent) => {
                            assert!(matches!(outcome, Err(BreakerError::Open { .. })));
                            refused.add_permits(1);
                            0
                        }
                        // The trial lasts until everybody else was refused.
                        _ = refused.acquire_many(7) => 1,
                    }
                })
            })
            .collect();
        let mut trials = 0;
        for caller in callers {
            trials += caller.await.unwrap();
        }
        assert_eq!((trials, address.stats().accepted - before), (1, 1), "round {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_at_five_failures_for_ten_seconds_unless_told_otherwise() {
    let defaults = BreakerOptions { failures_max: 5, cool_down: 10 * SECOND };
    assert_eq!(BreakerOptions::default(), defaults);
    let (first, _) = breaker().await;
    let at_once = Breaker::new(first.address().clone(), BreakerOptions { failures_max: 0, ..defaults });
    fail(&at_once).await;
    assert!(matches!(at_once.state(), BreakerState::Open { .. }), "zero is read as one");
}
