//! Seeded runs: the same seed is the same run, other seeds are other runs, and what cannot go on says so.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use airssys_rt::testing::{self, Outcome, Seeded};
use airssys_rt::{
    Actor, AskError, Context, ExitReason, MailboxOptions, Overflow, ReplyTo, SupervisorSpec, System,
};
use tokio::time::Instant;

use crate::probe::{Diary, SOON, Tell, answer, child, flush, spawn, spawn_bounded, until};

/// Two supervised actors, three clients, a crash, and what was written down of it.
async fn busy(system: System) -> Vec<String> {
    let diary = Diary::default();
    let (a_spec, a) = child(&system, "a", &diary);
    let (b_spec, b) = child(&system, "b", &diary);
    let spec = SupervisorSpec::new("top").intensity(3, SOON).child(a_spec).child(b_spec);
    system.supervise(spec).await.unwrap();
    let clients: Vec<_> = (0..3)
        .map(|client| {
            let (a, b) = (a.clone(), b.clone());
            testing::spawn(&system, format!("client {client}"), async move {
                for n in 0..4 {
                    a.tell(Tell::Note(10 * client + n)).await.unwrap();
                    b.ask(SOON, |reply| Tell::AskAfterYield(n, reply)).await.unwrap();
                }
            })
        })
        .collect();
    a.tell(Tell::Panic("on purpose")).await.unwrap();
    for client in clients {
        client.await;
    }
    flush(&a).await;
    system.shutdown(SOON).await;
    diary.take()
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..20 {
        let [one, other] = [(); 2].map(|()| Seeded::new(seed).run(busy));
        assert_eq!(one.value, other.value);
        assert_eq!(one.fingerprint, other.fingerprint);
        assert_eq!(one.left, Vec::<Arc<str>>::new(), "a shutdown leaves no task");
    }
}

/// Many timers that end at once, waits that end at all times, and asks of which some are too late.
async fn timed(system: System) {
    let a = system.spawn("a", MailboxOptions::default(), Ticking::default).await.unwrap();
    let clients: Vec<_> = (1..20)
        .map(|n| {
            let a = a.clone();
            testing::spawn(&system, format!("client {n}"), async move {
                tokio::time::sleep(Duration::from_millis(37 * n)).await;
                let timeout = Duration::from_micros(700 * n);
                a.ask(timeout, |reply| Tick::Ask(Duration::from_millis(n), reply)).await.is_ok()
            })
        })
        .collect();
    let mut answered = 0;
    for client in clients {
        answered += u32::from(client.await);
    }
    assert!(answered < 19, "{answered}");
    a.exit(ExitReason::Shutdown);
    system.shutdown(SOON).await;
    // Timers see the end of their actor when they have their turn.
    tokio::time::sleep(SOON).await;
}

#[derive(Default)]
struct Ticking;

enum Tick {
    Tock,
    Ask(Duration, ReplyTo<()>),
}

impl Actor for Ticking {
    type Message = Tick;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        for n in 1..=10 {
            ctx.send_interval(Duration::from_millis(10 * n), || Tick::Tock);
            ctx.send_after(Duration::from_secs(n), Tick::Tock);
        }
        Ok(())
    }

    async fn handle(&mut self, tick: Tick, _: &mut Context<Self>) -> Result<(), ExitReason> {
        if let Tick::Ask(work, reply) = tick {
            tokio::time::sleep(work).await;
            answer(reply, ());
        }
        Ok(())
    }
}

#[test]
fn a_seed_gives_the_same_times_again() {
    for seed in 0..20 {
        let [one, other] = [(); 2].map(|()| {
            // So that the runs do not begin at the same part of a tick.
            std::thread::sleep(Duration::from_micros(1234));
            Seeded::new(seed).run(timed)
        });
        assert_eq!(one.fingerprint, other.fingerprint);
        assert_eq!(one.left, Vec::<Arc<str>>::new(), "timers end with their actor");
    }
}

#[test]
fn other_seeds_give_other_runs() {
    let outcomes: Vec<Outcome<_>> = (0..50).map(|seed| Seeded::new(seed).run(busy)).collect();
    let traces: BTreeSet<u64> = outcomes.iter().map(|outcome| outcome.fingerprint.hash).collect();
    let diaries: BTreeSet<&Vec<String>> = outcomes.iter().map(|outcome| &outcome.value).collect();
    assert_eq!(traces.len(), 50);
    assert!(diaries.len() >= 30, "{} interleavings", diaries.len());
}

#[test]
fn a_seed_says_how_many_messages_make_a_turn() {
    let turns = |seed| {
        testing::run(seed, |system| async move {
            let diary = Diary::default();
            let [a, b] = [spawn(&system, "a", &diary).await, spawn(&system, "b", &diary).await];
            for n in 0..30 {
                a.try_tell(Tell::Note(n)).unwrap();
                b.try_tell(Tell::Note(n)).unwrap();
            }
            tokio::join!(flush(&a), flush(&b));
            let lines = diary.take();
            lines.windows(2).filter(|pair| pair[0][..1] != pair[1][..1]).count()
        })
    };
    let changes: BTreeSet<usize> = (0..40).map(turns).collect();
    assert!(changes.len() > 10, "{changes:?}");
    assert!(changes.first().is_some_and(|fewest| *fewest <= 4), "{changes:?}");
    assert!(changes.last().is_some_and(|most| *most >= 20), "{changes:?}");
}

#[test]
fn a_delayed_task_can_come_after_a_timer() {
    let in_time = |seeded: Seeded| {
        let outcome = seeded.run(|system| async move {
            let a = spawn(&system, "a", &Diary::default()).await;
            a.ask(Duration::from_millis(2), |reply| Tell::Ask(1, reply)).await.is_ok()
        });
        outcome.value
    };
    let late = (0..200).filter(|seed| !in_time(Seeded::new(*seed))).count();
    assert!((1..150).contains(&late), "{late}");
    assert!((0..200).all(|seed| in_time(Seeded::new(seed).delay_max(Duration::ZERO))));
}

#[test]
fn the_clock_stands_still_while_anything_is_ready_and_is_exact_without_delays() {
    for seed in 0..20 {
        let outcome = Seeded::new(seed).delay_max(Duration::ZERO).run(|system| async move {
            let began = Instant::now();
            let a = spawn(&system, "a", &Diary::default()).await;
            for _ in 0..100 {
                flush(&a).await;
            }
            assert_eq!(began.elapsed(), Duration::ZERO);
            a.tell(Tell::Sleep(Duration::from_secs(3600))).await.unwrap();
            flush_late(&a).await;
        });
        assert_eq!(outcome.fingerprint.elapsed, Duration::from_secs(3600));
    }
}

async fn flush_late(a: &airssys_rt::Address<Tell>) {
    assert_eq!(a.ask(Duration::MAX, |reply| Tell::Ask(1, reply)).await.unwrap(), 1);
}

#[test]
fn a_task_that_yields_lets_others_run_in_any_order() {
    let order = |seed| {
        testing::run(seed, |system| async move {
            let diary = Diary::default();
            let tasks: Vec<_> = (0..3)
                .map(|n| {
                    let diary = diary.clone();
                    testing::spawn(&system, format!("task {n}"), async move {
                        for _ in 0..3 {
                            diary.note(n.to_string());
                            tokio::task::yield_now().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            diary.take().concat()
        })
    };
    let orders: BTreeSet<String> = (0..100).map(order).collect();
    assert!(orders.len() > 50, "{orders:?}");
}

#[test]
fn what_tokio_runs_itself_gets_its_turns() {
    for seed in 0..20 {
        let sum = testing::run(seed, |_| async {
            let (one, other) = (tokio::spawn(async { 1 }), tokio::spawn(async { 2 }));
            one.await.unwrap() + other.await.unwrap()
        });
        assert_eq!(sum, 3);
    }
}

#[test]
fn tasks_that_are_left_are_named_and_dropped() {
    let diary = Diary::default();
    let outcome = Seeded::new(0).run(|system| {
        let diary = diary.clone();
        async move {
            spawn(&system, "a", &diary).await;
            system
        }
    });
    assert_eq!(outcome.left, ["a".into()]);
    assert_eq!(diary.take(), ["a: start", "a: gone"]);
    assert!(outcome.value.tree().is_empty(), "its end was reported");
}

#[test]
fn nothing_starts_in_a_system_whose_run_is_over() {
    let system = testing::run(0, |system| async move { system });
    let late =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(system.spawn(
            "late",
            MailboxOptions::default(),
            || crate::probe::Probe::new("late", &Diary::default()),
        ));
    assert!(matches!(
        late,
        Err(airssys_rt::SpawnError::Start { reason: ExitReason::Init(inner), .. })
            if matches!(*inner, ExitReason::Aborted)
    ));
}

/// What a run says when it fails.
fn complaint(run: impl FnOnce()) -> String {
    let failed = panic::catch_unwind(AssertUnwindSafe(run)).expect_err("it fails");
    failed.downcast_ref::<String>().expect("a message").clone()
}

fn assert_holds(complaint: &str, parts: &[&str]) {
    for part in parts {
        assert!(complaint.contains(part), "no {part:?} in:\n{complaint}");
    }
}

#[test]
fn a_deadlock_is_reported_with_its_seed_and_the_tree() {
    let complaint = complaint(|| {
        testing::run(17, |system| async move {
            let (child, a) = child(&system, "a", &Diary::default());
            system.supervise(SupervisorSpec::new("top").child(child)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
            a.tell(Tell::Wait(Arc::default())).await.unwrap();
            // Nobody opens the gate, so nobody handles this one.
            a.tell(Tell::Note(1)).await.unwrap();
            until_settled(&a).await;
        });
    });
    let tree = "\n  top #2 Running, 0 handled, 0 queued\n    a #1 Running, 1 handled, 1 queued";
    assert_holds(&complaint, &["seed 17", "deadlock", "the scenario runs", "Started", tree]);
}

/// Waits without a timer.
async fn until_settled(a: &airssys_rt::Address<Tell>) {
    let (reply, answer) = tokio::sync::oneshot::channel::<()>();
    assert!(a.is_alive());
    answer.await.unwrap();
    drop(reply);
}

#[test]
fn a_wait_for_as_long_as_a_wait_may_be_is_no_deadlock() {
    let outcome = Seeded::new(0).run(|system| async move {
        let a = spawn_bounded(&system, "a", &Diary::default(), 1, Overflow::Wait).await;
        a.tell(Tell::Wait(Arc::default())).await.unwrap();
        let outcome = a.ask(Duration::from_secs(365 * 24 * 3600), Tell::Hold).await;
        assert!(matches!(outcome, Err(AskError::Timeout)));
    });
    assert!(outcome.fingerprint.steps < 100, "nobody wakes meanwhile: {:?}", outcome.fingerprint);
}

#[test]
fn a_scenario_that_does_not_end_is_reported() {
    let endless = |steps_max| {
        Seeded::new(3).steps_max(steps_max).run(|system| async move {
            let a = spawn(&system, "a", &Diary::default()).await;
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                flush(&a).await;
            }
        })
    };
    assert!(endless(10_000).fingerprint.steps < 10_000);
    assert_holds(
        &complaint(|| drop(endless(100))),
        &["seed 3", "endless", "after 100 steps", "a #1 Running"],
    );
}

#[test]
fn a_panic_of_the_scenario_or_of_its_tasks_fails_the_run() {
    let by_scenario = complaint(|| testing::run(5, |_| async { panic!("of my own") }));
    assert_holds(&by_scenario, &["seed 5: the scenario panicked: of my own", "(nobody)"]);
    let by_task = complaint(|| {
        testing::run(6, |system| async move {
            drop(testing::spawn(&system, "helper", async { panic!("elsewhere") }));
            tokio::time::sleep(SOON).await;
        });
    });
    assert_holds(&by_task, &["seed 6: helper panicked: elsewhere"]);
}

#[test]
fn a_panic_of_an_actor_is_its_own_affair() {
    testing::check(20, |system| async move {
        let a = spawn(&system, "a", &Diary::default()).await;
        a.tell(Tell::Panic("x")).await.unwrap();
        until(|| !a.is_alive()).await;
    });
}

#[test]
fn scenarios_draw_from_their_seed_without_changing_the_order() {
    let draw = |seed, draws: u64| {
        Seeded::new(seed).run(|system| async move {
            let mut random = testing::random(&system);
            let drawn: Vec<u64> = (0..draws).map(|_| random.next_u64()).collect();
            busy(system).await;
            drawn
        })
    };
    assert_eq!(draw(1, 3).value, draw(1, 3).value);
    assert_ne!(draw(1, 3).value, draw(2, 3).value);
    assert_eq!(draw(1, 3).fingerprint, draw(1, 30).fingerprint);
}
