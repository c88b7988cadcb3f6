//! Start order, stop order, strategies, restart types, budget, and what survives a restart.

use std::time::Duration;

use airssys_rt::testing;
use airssys_rt::{
    AskError, ChildError, ChildSpec, Event, Events, ExitReason, MailboxOptions, NodeState, Restart, Shutdown,
    SpawnError, StartError, Strategy, SupervisorError, SupervisorSpec, System, TellError,
};
use tokio::time::Instant;

use crate::probe::{Diary, Habits, Probe, SOON, Tell, child, child_with, flush, occupy, until};

type Address = airssys_rt::Address<Tell>;

/// A supervisor over probes with these names.
async fn family(
    system: &System,
    diary: &Diary,
    strategy: Strategy,
    names: [&'static str; 3],
) -> (airssys_rt::Supervisor, [Address; 3]) {
    let mut spec = SupervisorSpec::new("top").strategy(strategy).intensity(5, Duration::from_secs(5));
    let addresses = names.map(|name| {
        let (child, address) = child(system, name, diary);
        spec.children.push(child);
        address
    });
    (system.supervise(spec).await.expect("a family"), addresses)
}

async fn incarnation(address: &Address) -> u64 {
    address.ask(SOON, Tell::WhoAmI).await.expect("an answer").1
}

async fn restarted(events: &mut Events) -> (String, u64, Duration) {
    tokio::time::timeout(SOON, async {
        loop {
            if let Some(Ok(Event::Restarted { name, restarts, took, .. })) = events.next().await {
                return (name.to_string(), restarts, took);
            }
        }
    })
    .await
    .expect("a restart")
}

#[tokio::test(start_paused = true)]
async fn children_start_in_order_and_stop_in_reverse() {
    let (system, diary) = (System::new(), Diary::default());
    let (top, _) = family(&system, &diary, Strategy::OneForOne, ["a", "b", "c"]).await;
    assert_eq!(diary.take(), ["a: start", "b: start", "c: start"]);
    let exit = top.stop().await;
    assert!(matches!(exit.reason, ExitReason::Shutdown));
    assert_eq!(
        diary.take(),
        ["c: stop, shutdown", "c: gone", "b: stop, shutdown", "b: gone", "a: stop, shutdown", "a: gone"]
    );
}

#[tokio::test(start_paused = true)]
async fn one_for_one_restarts_the_one_that_ended() {
    let (system, diary) = (System::new(), Diary::default());
    let (_top, [_, b, c]) = family(&system, &diary, Strategy::OneForOne, ["a", "b", "c"]).await;
    diary.take();
    b.tell(Tell::Panic("x")).await.unwrap();
    flush(&b).await;
    flush(&c).await;
    assert_eq!(diary.take(), ["b: gone", "b: start"]);
}

#[tokio::test(start_paused = true)]
async fn one_for_all_stops_siblings_in_reverse_and_starts_all_in_order() {
    let (system, diary) = (System::new(), Diary::default());
    let (_top, [_, b, c]) = family(&system, &diary, Strategy::OneForAll, ["a", "b", "c"]).await;
    diary.take();
    b.tell(Tell::Panic("x")).await.unwrap();
    flush(&b).await;
    flush(&c).await;
    assert_eq!(
        diary.take(),
        [
            "b: gone",
            "c: stop, shutdown",
            "c: gone",
            "a: stop, shutdown",
            "a: gone",
            "a: start",
            "b: start",
            "c: start"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_leaves_what_started_before() {
    let (system, diary) = (System::new(), Diary::default());
    let (_top, [_, b, c]) = family(&system, &diary, Strategy::RestForOne, ["a", "b", "c"]).await;
    diary.take();
    b.tell(Tell::Panic("x")).await.unwrap();
    flush(&b).await;
    flush(&c).await;
    assert_eq!(diary.take(), ["b: gone", "c: stop, shutdown", "c: gone", "b: start", "c: start"]);
}

#[tokio::test(start_paused = true)]
async fn an_address_and_its_queue_survive_a_restart_and_the_message_in_work_does_not() {
    let (system, diary) = (System::new(), Diary::default());
    let (_top, [a, ..]) = family(&system, &diary, Strategy::OneForOne, ["a", "b", "c"]).await;
    let (id, before) = a.ask(SOON, Tell::WhoAmI).await.unwrap();
    let gate = occupy(&a).await;
    a.try_tell(Tell::Note(1)).unwrap();
    a.try_tell(Tell::Panic("x")).unwrap();
    for n in 2..5 {
        a.try_tell(Tell::Note(n)).unwrap();
    }
    gate.notify_one();
    let (same_id, after) = a.ask(SOON, Tell::WhoAmI).await.unwrap();
    assert_eq!(id, same_id);
    assert_ne!(before, after);
    assert_eq!(diary.lines()[3..], ["a: 1", "a: gone", "a: start", "a: 2", "a: 3", "a: 4"]);
}

#[tokio::test(start_paused = true)]
async fn asks_held_by_a_crashed_child_die_and_those_queued_are_answered() {
    let (system, diary) = (System::new(), Diary::default());
    let (_top, [a, ..]) = family(&system, &diary, Strategy::OneForOne, ["a", "b", "c"]).await;
    let (held, (), queued) = tokio::join!(
        a.ask(SOON, Tell::Hold),
        async { a.tell(Tell::Panic("x")).await.unwrap() },
        a.ask(SOON, |reply| Tell::Ask(1, reply)),
    );
    assert!(matches!(held, Err(AskError::Died)));
    assert_eq!(queued.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn messages_sent_before_the_start_wait_for_it() {
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = child(&system, "a", &diary);
    a.try_tell(Tell::Note(1)).unwrap();
    assert!(!a.is_alive());
    system.supervise(SupervisorSpec::new("top").child(child)).await.unwrap();
    flush(&a).await;
    assert_eq!(diary.take(), ["a: start", "a: 1"]);
}

#[tokio::test(start_paused = true)]
async fn who_writes_to_a_child_that_can_never_start_is_told_so() {
    let (system, diary) = (System::new(), Diary::default());
    let habits = Habits { failing_starts: std::sync::Arc::new(1.into()), ..Habits::default() };
    let (failing, first) = child_with(&system, "failing", &diary, habits);
    let (second_spec, second) = child(&system, "second", &diary);
    let (nested_spec, nested) = child(&system, "nested", &diary);
    let inner = ChildSpec::supervisor(SupervisorSpec::new("inner").child(nested_spec));
    let (kept_spec, kept) = child(&system, "kept", &diary);
    let top = SupervisorSpec::new("top").child(failing).child(second_spec).child(inner);
    let waits = second.clone();
    let asked = tokio::spawn(async move { waits.ask(SOON, |reply| Tell::Ask(1, reply)).await });
    until(|| second.stats().depth == 1).await;
    system.supervise(top.child(kept_spec.clone())).await.expect_err("the first child fails");
    assert!(matches!(asked.await, Ok(Err(AskError::Died))));
    for address in [&first, &second, &nested] {
        assert!(matches!(address.try_tell(Tell::Note(1)), Err(TellError::Closed(_))), "{address:?}");
    }
    kept.try_tell(Tell::Note(1)).expect("its specification is not gone");
    assert_eq!(system.dead_letters().closed, 1);
    drop(kept_spec);
    assert!(matches!(kept.try_tell(Tell::Note(2)), Err(TellError::Closed(_))));
    assert_eq!(system.dead_letters().closed, 2);
}

async fn ends_by(restart: Restart, reason: ExitReason) -> bool {
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = child(&system, "a", &diary);
    system.supervise(SupervisorSpec::new("top").child(child.restart(restart))).await.unwrap();
    a.tell(Tell::Stop(reason)).await.unwrap();
    until(|| diary.lines().iter().any(|line| line == "a: gone")).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    a.is_alive()
}

#[tokio::test(start_paused = true)]
async fn a_permanent_child_is_always_restarted() {
    for reason in [ExitReason::Normal, ExitReason::Shutdown, ExitReason::error(crate::probe::ToldToFail)] {
        assert!(ends_by(Restart::Permanent, reason).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_transient_child_is_restarted_only_after_an_abnormal_end() {
    assert!(!ends_by(Restart::Transient, ExitReason::Normal).await);
    assert!(!ends_by(Restart::Transient, ExitReason::Shutdown).await);
    assert!(ends_by(Restart::Transient, ExitReason::error(crate::probe::ToldToFail)).await);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_is_never_restarted() {
    assert!(!ends_by(Restart::Temporary, ExitReason::Normal).await);
    assert!(!ends_by(Restart::Temporary, ExitReason::error(crate::probe::ToldToFail)).await);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_stopped_by_a_siblings_restart_is_dropped() {
    let (system, diary) = (System::new(), Diary::default());
    let (a_spec, a) = child(&system, "a", &diary);
    let (b_spec, b) = child(&system, "b", &diary);
    let spec = SupervisorSpec::new("top")
        .strategy(Strategy::OneForAll)
        .child(a_spec)
        .child(b_spec.restart(Restart::Temporary));
    let top = system.supervise(spec).await.unwrap();
    a.tell(Tell::Panic("x")).await.unwrap();
    flush(&a).await;
    assert_eq!(top.children().await.unwrap().len(), 1);
    assert!(matches!(b.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_stays_down_returns_messages_and_keeps_its_place() {
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = child(&system, "a", &diary);
    let top =
        system.supervise(SupervisorSpec::new("top").child(child.restart(Restart::Transient))).await.unwrap();
    let _gate = occupy(&a).await;
    let waiting = tokio::spawn({
        let a = a.clone();
        async move { a.ask(SOON, |reply| Tell::Ask(1, reply)).await }
    });
    until(|| a.stats().depth == 1).await;
    a.exit(ExitReason::Shutdown);
    assert!(matches!(waiting.await.unwrap(), Err(AskError::Died)));
    assert!(matches!(a.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
    assert_eq!(top.children().await.unwrap()[0].state, NodeState::Down);
    top.restart_child("a").await.unwrap();
    flush(&a).await;
}

#[tokio::test(start_paused = true)]
async fn as_many_restarts_as_the_intensity_are_allowed_and_one_more_ends_the_supervisor() {
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = child(&system, "a", &diary);
    let top = system
        .supervise(SupervisorSpec::new("top").intensity(3, Duration::from_secs(5)).child(child))
        .await
        .unwrap();
    let mut events = system.events();
    for _ in 0..3 {
        a.tell(Tell::Panic("x")).await.unwrap();
        flush(&a).await;
    }
    a.tell(Tell::Panic("x")).await.unwrap();
    let exit = top.wait().await;
    assert!(matches!(exit.reason, ExitReason::Shutdown));
    assert!(!a.is_alive());
    let gave_up = std::iter::from_fn(|| events.try_next())
        .any(|event| matches!(event, Ok(Event::GaveUp { child, .. }) if child == a.id()));
    assert!(gave_up);
}

#[tokio::test(start_paused = true)]
async fn a_restart_older_than_the_period_is_forgiven_and_one_exactly_as_old_is_not() {
    for (wait_ms, survives) in [(5000, false), (5001, true)] {
        let (system, diary) = (System::new(), Diary::default());
        let (child, a) = child(&system, "a", &diary);
        let spec = SupervisorSpec::new("top").intensity(1, Duration::from_millis(5000)).child(child);
        let top = system.supervise(spec).await.unwrap();
        a.tell(Tell::Panic("x")).await.unwrap();
        flush(&a).await;
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        a.tell(Tell::Panic("x")).await.unwrap();
        if survives {
            flush(&a).await;
        } else {
            top.wait().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_crash_charges_once_however_many_siblings_restart() {
    let (system, diary) = (System::new(), Diary::default());
    let (_top, [_, b, _]) = family(&system, &diary, Strategy::OneForAll, ["a", "b", "c"]).await;
    for _ in 0..5 {
        b.tell(Tell::Panic("x")).await.unwrap();
        flush(&b).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_during_a_restart_is_tried_again_within_the_budget() {
    for (failures, survives) in [(2, true), (3, false)] {
        let (system, diary) = (System::new(), Diary::default());
        let failing = Habits::default().failing_starts;
        let habits = Habits { failing_starts: failing.clone(), ..Habits::default() };
        let (child, a) = child_with(&system, "a", &diary, habits);
        let spec = SupervisorSpec::new("top").intensity(3, Duration::from_secs(5)).child(child);
        let top = system.supervise(spec).await.unwrap();
        failing.store(failures, std::sync::atomic::Ordering::Relaxed);
        a.tell(Tell::Panic("x")).await.unwrap();
        if survives {
            flush(&a).await;
        } else {
            assert!(matches!(top.wait().await.reason, ExitReason::Shutdown));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_first_start_stops_those_started_in_reverse_and_names_the_child() {
    let (system, diary) = (System::new(), Diary::default());
    let failing = Habits { failing_starts: std::sync::Arc::new(1.into()), ..Habits::default() };
    let spec = SupervisorSpec::new("top")
        .child(child(&system, "a", &diary).0)
        .child(child(&system, "b", &diary).0)
        .child(child_with(&system, "c", &diary, failing).0)
        .child(child(&system, "d", &diary).0);
    let failed = system.supervise(spec).await;
    let Err(StartError::Child { child, reason }) = failed else { panic!("it failed") };
    assert_eq!(&*child, "c");
    assert!(reason.as_error().is_some_and(|error| error.is::<crate::probe::ToldToFail>()));
    assert_eq!(
        diary.take(),
        [
            "a: start",
            "b: start",
            "c: start fails",
            "c: gone",
            "b: stop, shutdown",
            "b: gone",
            "a: stop, shutdown",
            "a: gone"
        ]
    );
    assert!(system.tree().is_empty());
    assert!(system.lookup::<Tell>("a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_gave_up_is_restarted_by_its_own_with_a_fresh_budget() {
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = child(&system, "a", &diary);
    let inner = SupervisorSpec::new("inner").intensity(0, Duration::from_secs(5)).child(child);
    let spec =
        SupervisorSpec::new("outer").intensity(2, Duration::from_secs(5)).child(ChildSpec::supervisor(inner));
    let outer = system.supervise(spec).await.unwrap();
    let id = a.id();
    for n in 0..2 {
        let gate = occupy(&a).await;
        a.try_tell(Tell::Panic("x")).unwrap();
        a.try_tell(Tell::Note(n)).unwrap();
        gate.notify_one();
        flush(&a).await;
        assert!(diary.take().contains(&format!("a: {n}")), "the queue survives the supervisor as well");
        assert_eq!(a.id(), id);
    }
    a.tell(Tell::Panic("x")).await.unwrap();
    outer.wait().await;
    assert!(matches!(a.try_tell(Tell::Note(0)), Err(TellError::Closed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_transient_supervisor_that_gave_up_stays_down() {
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = child(&system, "a", &diary);
    let inner = SupervisorSpec::new("inner").intensity(0, Duration::from_secs(5)).child(child);
    let spec = SupervisorSpec::new("outer").child(ChildSpec::supervisor(inner).restart(Restart::Transient));
    let outer = system.supervise(spec).await.unwrap();
    a.tell(Tell::Panic("x")).await.unwrap();
    until(|| system.lookup::<Tell>("a").is_none()).await;
    assert_eq!(outer.children().await.unwrap()[0].state, NodeState::Down);
    assert!(matches!(a.try_tell(Tell::Note(0)), Err(TellError::Closed(_))));
}

#[tokio::test(start_paused = true)]
async fn the_children_of_a_killed_supervisor_end_with_it() {
    let (system, diary) = (System::new(), Diary::default());
    let (top, [a, b, c]) = family(&system, &diary, Strategy::OneForOne, ["a", "b", "c"]).await;
    system.exit(top.id(), ExitReason::Killed);
    assert!(matches!(top.wait().await.reason, ExitReason::Killed));
    until(|| [&a, &b, &c].iter().all(|child| !child.is_alive())).await;
    assert!(matches!(a.try_tell(Tell::Note(0)), Err(TellError::Closed(_))));
    assert!(system.tree().is_empty());
}

#[tokio::test(start_paused = true)]
async fn whatever_is_below_a_killed_supervisor_ends_with_it() {
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = child(&system, "a", &diary);
    let inner = ChildSpec::supervisor(SupervisorSpec::new("inner").child(child));
    let middle = ChildSpec::supervisor(SupervisorSpec::new("middle").child(inner));
    let top = system.supervise(SupervisorSpec::new("top").child(middle)).await.unwrap();
    system.exit(top.id(), ExitReason::Killed);
    until(|| diary.lines().contains(&"a: gone".to_owned())).await;
    assert!(matches!(a.try_tell(Tell::Note(0)), Err(TellError::Closed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ends_along_with_a_failed_start_is_restarted_as_after_any_end() {
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = child(&system, "a", &diary);
    system.supervise(SupervisorSpec::new("top").child(child)).await.unwrap();
    let failing = Habits {
        start_takes: Duration::from_secs(1),
        failing_starts: std::sync::Arc::new(1.into()),
        ..Habits::default()
    };
    let b = system.spawn("b", MailboxOptions::default(), {
        let diary = diary.clone();
        move || Probe::with("b", &diary, failing)
    });
    let mut events = system.events();
    let (failed, ()) = tokio::join!(b, async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let b = system.lookup::<Tell>("b").expect("its name is there while it starts");
        a.ask(SOON, |reply| Tell::Link(b.id(), reply)).await.unwrap();
    });
    assert!(matches!(failed, Err(SpawnError::Start { reason: ExitReason::Init(_), .. })));
    flush(&a).await;
    let ends = std::iter::from_fn(|| events.try_next()).filter_map(|event| match event {
        // A link hands on the reason as it is.
        Ok(Event::Exited { name, reason: ExitReason::Init(_), .. }) if *name == *"a" => Some("ended"),
        Ok(Event::Restarted { name, .. }) if *name == *"a" => Some("restarted"),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), ["ended", "restarted"]);
}

#[test]
fn whatever_starts_below_a_supervisor_that_was_killed_ends_for_good() {
    testing::check(200, |system| async move {
        let diary = Diary::default();
        let (child, a) = child(&system, "a", &diary);
        let inner = ChildSpec::supervisor(SupervisorSpec::new("inner").child(child));
        let middle = ChildSpec::supervisor(SupervisorSpec::new("middle").child(inner));
        let top = SupervisorSpec::new("top").child(middle);
        let starting = testing::spawn(&system, "starting", {
            let system = system.clone();
            async move { drop(system.supervise(top).await) }
        });
        while system.supervisor("top").is_none() {
            tokio::task::yield_now().await;
        }
        for _ in 0..testing::random(&system).below(8) {
            tokio::task::yield_now().await;
        }
        system.exit(system.supervisor("top").unwrap().id(), ExitReason::Killed);
        starting.await;
        tokio::time::sleep(SOON).await;
        let lines = diary.take();
        assert!(system.lookup::<Tell>("a").is_none(), "its name is free again");
        if let Some(last) = lines.last() {
            assert_eq!(last, "a: gone");
            assert!(matches!(a.try_tell(Tell::Note(0)), Err(TellError::Closed(_))));
        }
    });
}

#[test]
fn a_supervisor_that_is_back_does_not_take_old_ends_of_its_children_for_new_ones() {
    testing::check(100, |system| async move {
        let diary = Diary::default();
        let (child, a) = child(&system, "a", &diary);
        let inner = ChildSpec::supervisor(SupervisorSpec::new("inner").child(child));
        system.supervise(SupervisorSpec::new("outer").child(inner)).await.unwrap();
        system.exit(system.supervisor("inner").unwrap().id(), ExitReason::Killed);
        until(|| diary.lines().iter().filter(|line| *line == "a: start").count() == 2).await;
        flush(&a).await;
        // A supervisor that waits for a child that is there serves nobody.
        let children = system.supervisor("inner").unwrap();
        let shown = tokio::time::timeout(SOON, children.children()).await.expect("an answer").unwrap();
        assert_eq!((shown[0].state, shown[0].restarts), (NodeState::Running, 1));
        assert!(system.shutdown(SOON).await.is_clean());
    });
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_is_restarted_with_its_children() {
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = child(&system, "a", &diary);
    let inner = SupervisorSpec::new("inner").child(child);
    system.supervise(SupervisorSpec::new("outer").child(ChildSpec::supervisor(inner))).await.unwrap();
    let before = incarnation(&a).await;
    let inner = system.supervisor("inner").unwrap();
    system.exit(inner.id(), ExitReason::Killed);
    until(|| diary.lines().iter().filter(|line| *line == "a: start").count() == 2).await;
    assert_ne!(incarnation(&a).await, before);
    assert_eq!(system.supervisor("inner").unwrap().id(), inner.id());
}

#[tokio::test(start_paused = true)]
async fn a_child_added_to_a_supervisor_is_not_inherited_by_its_next_incarnation() {
    let (system, diary) = (System::new(), Diary::default());
    let inner = SupervisorSpec::new("inner");
    system.supervise(SupervisorSpec::new("outer").child(ChildSpec::supervisor(inner))).await.unwrap();
    let inner = system.supervisor("inner").unwrap();
    let (child, a) = child(&system, "a", &diary);
    inner.start_child(child).await.unwrap();
    flush(&a).await;
    system.exit(inner.id(), ExitReason::Killed);
    until(|| system.lookup::<Tell>("a").is_none()).await;
    assert!(matches!(a.try_tell(Tell::Note(0)), Err(TellError::Closed(_))));
    assert!(inner.children().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_ignores_exit_signals_it_can_trap() {
    let (system, diary) = (System::new(), Diary::default());
    let (top, [a, ..]) = family(&system, &diary, Strategy::OneForOne, ["a", "b", "c"]).await;
    system.exit(top.id(), ExitReason::Shutdown);
    flush(&a).await;
    assert_eq!(top.children().await.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_child_gets_its_shutdown_time_and_no_more() {
    for (limit_s, stops) in [(2, false), (4, true)] {
        let (system, diary) = (System::new(), Diary::default());
        let habits = Habits { stop_takes: Duration::from_secs(3), ..Habits::default() };
        let (child, _) = child_with(&system, "a", &diary, habits);
        let child = child.shutdown(Shutdown::After(Duration::from_secs(limit_s)));
        let top = system.supervise(SupervisorSpec::new("top").child(child)).await.unwrap();
        let began = Instant::now();
        top.stop().await;
        assert_eq!(began.elapsed().as_secs(), limit_s.min(3));
        assert_eq!(diary.lines().contains(&"a: stop, shutdown".to_owned()), stops);
    }
}

#[tokio::test(start_paused = true)]
async fn a_brutal_child_is_not_asked_and_an_infinite_one_is_not_killed() {
    for (shutdown, stops) in [(Shutdown::Brutal, false), (Shutdown::Infinity, true)] {
        let (system, diary) = (System::new(), Diary::default());
        let habits = Habits { stop_takes: Duration::from_secs(3600), ..Habits::default() };
        let (child, _) = child_with(&system, "a", &diary, habits);
        let top = system.supervise(SupervisorSpec::new("top").child(child.shutdown(shutdown))).await.unwrap();
        top.stop().await;
        assert_eq!(diary.lines().contains(&"a: stop, shutdown".to_owned()), stops);
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_traps_exits_finishes_its_message_before_it_stops() {
    for (traps, finishes) in [(true, true), (false, false)] {
        let (system, diary) = (System::new(), Diary::default());
        let (child, a) = child_with(&system, "a", &diary, Habits { traps, ..Habits::default() });
        let top = system.supervise(SupervisorSpec::new("top").child(child)).await.unwrap();
        a.tell(Tell::Sleep(Duration::from_secs(1))).await.unwrap();
        until(|| a.stats().handled == 1).await;
        top.stop().await;
        assert_eq!(diary.lines().contains(&"a: slept".to_owned()), finishes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_can_be_stopped_while_a_child_starts() {
    let (system, diary) = (System::new(), Diary::default());
    let slow = Habits { start_takes: Duration::from_secs(3600), ..Habits::default() };
    let spec = SupervisorSpec::new("top")
        .child(child(&system, "a", &diary).0)
        .child(child_with(&system, "b", &diary, slow).0);
    let starting = tokio::spawn({
        let system = system.clone();
        async move { system.supervise(spec).await }
    });
    until(|| diary.lines() == ["a: start"]).await;
    let began = Instant::now();
    assert!(system.shutdown(SOON).await.is_clean());
    assert!(began.elapsed() < SOON);
    assert!(matches!(starting.await.unwrap(), Err(StartError::Supervisor { .. })));
    assert_eq!(diary.take(), ["a: start", "b: gone", "a: stop, shutdown", "a: gone"]);
}

#[tokio::test(start_paused = true)]
async fn children_are_added_terminated_restarted_and_deleted() {
    let (system, diary) = (System::new(), Diary::default());
    let top = system.supervise(SupervisorSpec::new("top")).await.unwrap();
    let (spec, a) = child(&system, "a", &diary);
    top.start_child(spec.clone()).await.unwrap();
    assert!(matches!(top.start_child(spec).await, Err(SupervisorError::Exists { .. })));
    assert!(matches!(top.restart_child("a").await, Err(SupervisorError::Running { .. })));
    assert!(matches!(top.delete_child("a").await, Err(SupervisorError::Running { .. })));
    assert!(matches!(top.terminate_child("b").await, Err(SupervisorError::NoSuchChild { .. })));
    flush(&a).await;
    top.terminate_child("a").await.unwrap();
    assert!(matches!(a.try_tell(Tell::Note(0)), Err(TellError::Closed(_))));
    top.restart_child("a").await.unwrap();
    flush(&a).await;
    top.terminate_child("a").await.unwrap();
    top.delete_child("a").await.unwrap();
    assert!(top.children().await.unwrap().is_empty());
    top.stop().await;
    assert!(matches!(top.children().await, Err(SupervisorError::Gone)));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_start_is_not_added() {
    let (system, diary) = (System::new(), Diary::default());
    let top = system.supervise(SupervisorSpec::new("top")).await.unwrap();
    let failing = Habits { failing_starts: std::sync::Arc::new(1.into()), ..Habits::default() };
    let (spec, _) = child_with(&system, "a", &diary, failing);
    assert!(matches!(top.start_child(spec.clone()).await, Err(SupervisorError::Start { .. })));
    assert!(top.children().await.unwrap().is_empty());
    top.start_child(spec).await.expect("the second start succeeds");
}

#[tokio::test(start_paused = true)]
async fn a_specification_is_one_place_in_one_tree() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, a) = child(&system, "a", &diary);
    let top = system.supervise(SupervisorSpec::new("top").child(spec.clone())).await.unwrap();
    let why = |outcome: Result<airssys_rt::Supervisor, StartError>| match outcome {
        Err(StartError::Child { reason, .. }) => {
            reason.as_error().and_then(|error| error.downcast_ref::<ChildError>()).cloned()
        }
        _ => None,
    };
    let second = system.supervise(SupervisorSpec::new("second").child(spec.clone())).await;
    assert_eq!(why(second), Some(ChildError::Elsewhere { name: "a".into() }));
    flush(&a).await;
    let other = System::new();
    let third = other.supervise(SupervisorSpec::new("third").child(spec.clone())).await;
    assert_eq!(why(third), Some(ChildError::OtherSystem { name: "a".into() }));
    let namesake = child(&system, "a", &diary).0;
    let fourth = system.supervise(SupervisorSpec::new("fourth").child(namesake)).await;
    assert_eq!(why(fourth), Some(ChildError::NameTaken { name: "a".into() }));
    flush(&a).await;
    top.stop().await;
    system.supervise(SupervisorSpec::new("top").child(spec)).await.expect("its place is free again");
    flush(&a).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_takes_far_less_than_ten_milliseconds() {
    let (system, diary) = (System::new(), Diary::default());
    let (child, a) = child(&system, "a", &diary);
    let spec = SupervisorSpec::new("top").intensity(1000, Duration::from_secs(5)).child(child);
    system.supervise(spec).await.unwrap();
    let mut events = system.events();
    let mut times = Vec::new();
    for n in 1..=101 {
        a.tell(Tell::Panic("x")).await.unwrap();
        let (name, restarts, took) = restarted(&mut events).await;
        assert_eq!((name.as_str(), restarts), ("a", n));
        times.push(took);
    }
    times.sort();
    assert!(times[50] < Duration::from_millis(10), "median {:?}", times[50]);
}

#[test]
fn a_supervisor_does_not_restart_into_a_runtime_that_is_shut_down() {
    let (system, diary) = (System::new(), Diary::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (child, _) = child(&system, "a", &diary);
    let spec = SupervisorSpec::new("top").intensity(u32::MAX, Duration::from_secs(3600)).child(child);
    runtime.block_on(system.supervise(spec)).unwrap();
    drop(runtime);
    assert!(system.tree().is_empty());
    assert_eq!(diary.lines(), ["a: start", "a: gone"]);
}
