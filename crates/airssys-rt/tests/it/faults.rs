//! Faults on order: each happens once, to the one it was meant for, and as if it had come by itself.

use std::time::Duration;

use airssys_rt::testing::{self, Fault, Faults, InjectedFault, Installed, Probe, Seeded};
use airssys_rt::{
    Address, AskError, DeadLetterCounts, DeadLetterReason, Event, Events, ExitReason, Restart, SpawnError,
    StartError, SupervisorSpec, System,
};
use tokio::time::Instant;

use crate::probe::{Diary, SOON, Tell, child, flush, spawn, until};

fn notes(diary: &Diary) -> Vec<String> {
    diary.lines().into_iter().filter(|line| line.ends_with(char::is_numeric)).collect()
}

/// Sends 1 to 4 to a supervised actor with this fault at the second, and returns the notes and the reason of its exit.
async fn second_meets(system: System, fault: Fault) -> (Vec<String>, Option<ExitReason>, Installed) {
    let diary = Diary::default();
    let faults = Faults::new().at("a", 2, fault).install(&system);
    let (child, a) = child(&system, "a", &diary);
    let mut events = system.events();
    system.supervise(SupervisorSpec::new("top").child(child)).await.unwrap();
    for n in 1..=4 {
        a.tell(Tell::Note(n)).await.unwrap();
    }
    flush(&a).await;
    let exit = exits(&mut events).pop();
    (notes(&diary), exit, faults)
}

fn exits(events: &mut Events) -> Vec<ExitReason> {
    let mut exits = Vec::new();
    while let Some(event) = events.try_next() {
        if let Event::Exited { reason, .. } = event.unwrap() {
            exits.push(reason);
        }
    }
    exits
}

#[test]
fn a_crash_on_order_is_a_crash_of_the_handler() {
    for fault in [Fault::Panic, Fault::Error, Fault::Kill] {
        testing::check(50, |system| async move {
            let (notes, exit, faults) = second_meets(system, fault).await;
            assert_eq!(
                notes,
                ["a: 1", "a: 3", "a: 4"],
                "the message in work is lost, those behind it are not"
            );
            match (fault, exit.expect("it ended")) {
                (Fault::Panic, ExitReason::Panic(report)) => assert_eq!(report.message, "injected fault"),
                (Fault::Error, reason @ ExitReason::Error(_)) => {
                    assert!(reason.as_error().is_some_and(|error| error.is::<InjectedFault>()));
                }
                (Fault::Kill, ExitReason::Killed) => {}
                (_, reason) => panic!("{reason}"),
            }
            assert_eq!(faults.left(), 0);
        });
    }
}

#[test]
fn a_dropped_message_is_a_dead_letter_with_its_own_reason() {
    testing::check(50, |system| async move {
        let mut events = system.events();
        let (notes, exit, faults) = second_meets(system.clone(), Fault::Drop).await;
        assert_eq!(notes, ["a: 1", "a: 3", "a: 4"]);
        assert!(exit.is_none(), "its receiver goes on");
        assert_eq!(system.dead_letters(), DeadLetterCounts { injected: 1, ..Default::default() });
        let told = std::iter::from_fn(|| events.try_next()).any(|event| {
            matches!(event, Ok(Event::DeadLetter { reason: DeadLetterReason::Injected, count: 1, .. }))
        });
        assert!(told);
        let stats = system.lookup::<Tell>("a").unwrap().stats();
        assert_eq!((stats.accepted, stats.handled, stats.dropped, stats.depth), (5, 4, 1, 0));
        assert_eq!(faults.left(), 0);
    });
}

#[test]
fn an_ask_in_a_dropped_message_dies_at_once() {
    testing::check(50, |system| async move {
        Faults::new().at("a", 1, Fault::Drop).install(&system);
        let a = spawn(&system, "a", &Diary::default()).await;
        let asked = a.ask(Duration::from_secs(3600), |reply| Tell::Ask(1, reply)).await;
        assert!(matches!(asked, Err(AskError::Died)));
        flush(&a).await;
    });
}

#[test]
fn a_delayed_message_keeps_its_place_and_those_behind_it_waiting() {
    let outcome = Seeded::new(0).delay_max(Duration::ZERO).run(|system| async move {
        let began = Instant::now();
        let (notes, exit, faults) = second_meets(system, Fault::Delay(Duration::from_secs(3))).await;
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        assert_eq!(notes, ["a: 1", "a: 2", "a: 3", "a: 4"]);
        assert!(exit.is_none());
        assert_eq!(faults.left(), 0);
    });
    assert_eq!(outcome.fingerprint.elapsed, Duration::from_secs(3));
}

#[test]
fn a_kill_interrupts_a_delay() {
    testing::check(20, |system| async move {
        Faults::new().at("a", 1, Fault::Delay(Duration::from_secs(3600))).install(&system);
        let a = spawn(&system, "a", &Diary::default()).await;
        a.tell(Tell::Note(1)).await.unwrap();
        until(|| a.stats().depth == 0).await;
        let began = Instant::now();
        a.exit(ExitReason::Killed);
        until(|| !a.is_alive()).await;
        assert!(began.elapsed() < SOON);
    });
}

#[test]
fn a_start_that_fails_on_order_is_a_failed_start() {
    testing::check(50, |system| async move {
        let faults = Faults::new().fail_start("a", 1).fail_start("a", 3).install(&system);
        let diary = Diary::default();
        let (spec, a) = child(&system, "a", &diary);
        let top = || SupervisorSpec::new("top").intensity(2, SOON).child(spec.clone());
        let Err(StartError::Child { reason, .. }) = system.supervise(top()).await else {
            panic!("the first start fails");
        };
        assert!(reason.as_error().is_some_and(|error| error.is::<InjectedFault>()));
        assert_eq!(diary.take(), ["a: gone"], "its own start does not run");
        let top = system.supervise(top()).await.expect("the second start succeeds");
        a.exit(ExitReason::Killed);
        flush(&a).await;
        assert_eq!(diary.take(), ["a: start", "a: gone", "a: gone", "a: start"], "the third fails");
        assert_eq!(faults.left(), 0);
        top.stop().await;
    });
}

#[test]
fn faults_are_for_one_name_and_one_system() {
    testing::check(20, |system| async move {
        let faults = Faults::new().at("b", 1, Fault::Panic).at("a", 3, Fault::Panic).install(&system);
        let other = System::new();
        for system in [&system, &other] {
            let a = spawn(system, "a", &Diary::default()).await;
            let c = spawn(system, "c", &Diary::default()).await;
            a.tell(Tell::Note(1)).await.unwrap();
            flush(&a).await;
            (0..3).for_each(|n| c.try_tell(Tell::Note(n)).unwrap());
            flush(&c).await;
        }
        assert_eq!(faults.left(), 2, "nothing happens to others, nor before its time");
        Faults::new().install(&system);
        assert_eq!(faults.left(), 0, "the latest installation stands");
        let a: Address<Tell> = system.lookup("a").unwrap();
        flush(&a).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_work_in_a_system_that_tokio_runs() {
    let system = System::new();
    let faults = Faults::new().fail_start("probe", 1).at("probe", 2, Fault::Kill).install(&system);
    let failed =
        system.spawn("probe", Default::default(), || crate::probe::Probe::new("x", &Diary::default()));
    assert!(matches!(failed.await, Err(SpawnError::Start { .. })));
    let mut probe = Probe::spawn(&system, "probe").await;
    let mut watcher = Probe::<()>::spawn(&system, "watcher").await;
    watcher.monitor(probe.id());
    probe.address().tell(1).await.unwrap();
    probe.address().tell(2).await.unwrap();
    assert_eq!(probe.expect_message(SOON).await, 1);
    assert!(matches!(watcher.expect_exit(SOON).await.reason, ExitReason::Killed));
    assert_eq!(faults.left(), 0);
}

#[test]
fn a_temporary_child_that_crashes_on_order_is_not_started_again() {
    testing::check(20, |system| async move {
        let faults = Faults::new().at("a", 1, Fault::Panic).fail_start("a", 2).install(&system);
        let (child, a) = child(&system, "a", &Diary::default());
        let spec = SupervisorSpec::new("top").child(child.restart(Restart::Temporary));
        system.supervise(spec).await.unwrap();
        a.tell(Tell::Note(1)).await.unwrap();
        until(|| !a.is_alive()).await;
        tokio::time::sleep(SOON).await;
        assert_eq!(faults.left(), 1, "there was no second start to fail");
    });
}
