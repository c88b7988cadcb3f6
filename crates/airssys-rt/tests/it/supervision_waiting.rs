//! What a supervisor waits for and what it does not: slow and failing starts, children that are stuck, calls in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use airssys_rt::{
    Address, ChildError, ChildSpec, DynamicSpec, Event, Events, ExitReason, MailboxOptions, NodeState,
    Shutdown, Strategy, Supervisor, SupervisorError, SupervisorSpec, System, TellError,
};
use tokio::time::Instant;

use crate::probe::{Diary, Habits, Probe, SOON, Tell, child, child_with, flush, until};

/// A child whose first start is quick and whose others take this long.
fn slow_to_come_back(system: &System, diary: &Diary, takes: Duration) -> (ChildSpec, Address<Tell>) {
    let (diary, incarnations) = (diary.clone(), AtomicU32::new(0));
    ChildSpec::worker(system, "slow", MailboxOptions::default(), move || {
        let is_first = incarnations.fetch_add(1, Ordering::Relaxed) == 0;
        let start_takes = if is_first { Duration::ZERO } else { takes };
        Probe::with("slow", &diary, Habits { start_takes, ..Habits::default() })
    })
}

/// `slow` restarts and takes an hour for it; `other` is its sibling.
async fn with_a_slow_restart(strategy: Strategy) -> (Supervisor, Address<Tell>, System) {
    let (system, diary) = (System::new(), Diary::default());
    let (slow, slow_address) = slow_to_come_back(&system, &diary, Duration::from_secs(3600));
    let (other, other_address) = child(&system, "other", &diary);
    let spec = SupervisorSpec::new("top")
        .strategy(strategy)
        .intensity(5, Duration::from_secs(5))
        .child(slow)
        .child(other);
    let top = system.supervise(spec).await.unwrap();
    slow_address.tell(Tell::Panic("x")).await.unwrap();
    until(|| system.tree()[0].children[0].state == NodeState::Starting).await;
    (top, other_address, system)
}

#[tokio::test(start_paused = true)]
async fn a_slow_restart_holds_up_neither_siblings_nor_calls() {
    let (top, other, system) = with_a_slow_restart(Strategy::OneForOne).await;
    let began = Instant::now();
    other.tell(Tell::Panic("x")).await.unwrap();
    flush(&other).await;
    assert_eq!(top.children().await.unwrap()[0].state, NodeState::Starting);
    assert!(matches!(top.restart_child("slow").await, Err(SupervisorError::Running { .. })));
    let (added, a) = child(&system, "added", &Diary::default());
    top.start_child(added).await.unwrap();
    flush(&a).await;
    top.terminate_child("slow").await.unwrap();
    assert!(began.elapsed() < SOON);
    assert_eq!(top.children().await.unwrap()[0].state, NodeState::Down);
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_siblings_is_waited_for() {
    let (top, other, system) = with_a_slow_restart(Strategy::OneForAll).await;
    let began = Instant::now();
    assert_eq!(top.children().await.unwrap()[0].state, NodeState::Running);
    assert!(began.elapsed() > Duration::from_secs(3599));
    flush(&other).await;
    assert!(system.shutdown(SOON).await.is_clean());
}

/// Returns when a start that always fails was tried a few times. Nobody sleeps meanwhile, so time stands still.
async fn tried(habits: &Habits) {
    while habits.failing_starts.load(Ordering::Relaxed) > u32::MAX - 10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn between_two_tries_of_a_start_the_supervisor_serves_others() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let (system, diary) = (System::new(), Diary::default());
        let habits = Habits::default();
        let (first, other) = child(&system, "first", &diary);
        let (failing, a) = child_with(&system, "failing", &diary, habits.clone());
        let spec = SupervisorSpec::new("top")
            .strategy(strategy)
            .intensity(u32::MAX, Duration::from_secs(5))
            .child(first)
            .child(failing);
        let top = system.supervise(spec).await.unwrap();
        habits.failing_starts.store(u32::MAX, Ordering::Relaxed);
        a.tell(Tell::Panic("x")).await.unwrap();
        tried(&habits).await;
        other.tell(Tell::Panic("x")).await.unwrap();
        assert!(matches!(top.restart_child("failing").await, Err(SupervisorError::Restarting { .. })));
        assert!(matches!(top.delete_child("failing").await, Err(SupervisorError::Restarting { .. })));
        assert_eq!(top.children().await.unwrap().len(), 2);
        top.terminate_child("failing").await.unwrap();
        let tries = habits.failing_starts.load(Ordering::Relaxed);
        flush(&other).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(
            habits.failing_starts.load(Ordering::Relaxed),
            tries,
            "{strategy:?}: it is not tried any more"
        );
        assert!(matches!(a.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn siblings_of_a_child_that_is_terminated_between_two_tries_stay_down_with_it() {
    let (system, diary) = (System::new(), Diary::default());
    let habits = Habits::default();
    let (failing, a) = child_with(&system, "failing", &diary, habits.clone());
    let (last, other) = child(&system, "last", &diary);
    let spec = SupervisorSpec::new("top")
        .strategy(Strategy::OneForAll)
        .intensity(u32::MAX, Duration::from_secs(5))
        .child(failing)
        .child(last);
    let top = system.supervise(spec).await.unwrap();
    habits.failing_starts.store(u32::MAX, Ordering::Relaxed);
    a.tell(Tell::Panic("x")).await.unwrap();
    tried(&habits).await;
    top.terminate_child("failing").await.unwrap();
    assert!(matches!(other.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
    assert!(top.children().await.unwrap().iter().all(|child| child.state == NodeState::Down));
    top.restart_child("last").await.unwrap();
    flush(&other).await;
}

/// A child with a gate: while the gate is there, it does not notice a kill.
async fn stuck(address: &Address<Tell>) -> std::sync::mpsc::Sender<()> {
    let (gate, closed) = std::sync::mpsc::channel();
    address.tell(Tell::Block(closed)).await.unwrap();
    until(|| address.stats().depth == 0).await;
    gate
}

fn hurried(system: &System, name: &'static str, diary: &Diary) -> (ChildSpec, Address<Tell>) {
    let (spec, address) = child(system, name, diary);
    (spec.shutdown(Shutdown::After(Duration::from_millis(1))), address)
}

async fn bounded<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it is bounded")
}

async fn stuck_reported(events: &mut Events) {
    bounded(async { while !matches!(events.next().await, Some(Ok(Event::Stuck { .. }))) {} }).await;
}

fn reported_stuck(events: &mut Events) -> usize {
    std::iter::from_fn(|| events.try_next()).filter(|event| matches!(event, Ok(Event::Stuck { .. }))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_child_is_reported_and_is_not_started_before_it_is_gone() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, a) = hurried(&system, "a", &diary);
    let (sibling, b) = child(&system, "b", &diary);
    let top = system.supervise(SupervisorSpec::new("top").child(spec).child(sibling)).await.unwrap();
    let mut events = system.events();
    let gate = stuck(&a).await;
    let terminated = bounded(top.terminate_child("a")).await;
    assert!(matches!(terminated, Err(SupervisorError::Stuck { .. })));
    assert_eq!(reported_stuck(&mut events), 1);
    for refused in [top.terminate_child("a").await, top.restart_child("a").await, top.delete_child("a").await]
    {
        assert!(matches!(refused, Err(SupervisorError::Stuck { .. })));
    }
    flush(&b).await;
    drop(gate);
    until(|| matches!(a.try_tell(Tell::Note(1)), Err(TellError::Closed(_)))).await;
    top.restart_child("a").await.unwrap();
    flush(&a).await;
    assert_eq!(diary.lines().iter().filter(|line| *line == "a: start").count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_siblings_waits_for_a_stuck_one_and_the_supervisor_does_not() {
    let (system, diary) = (System::new(), Diary::default());
    let ((first, a), (second, b)) = (hurried(&system, "a", &diary), child(&system, "b", &diary));
    let spec = SupervisorSpec::new("top").strategy(Strategy::OneForAll).child(first).child(second);
    let top = system.supervise(spec).await.unwrap();
    let mut events = system.events();
    let gate = stuck(&a).await;
    b.tell(Tell::Panic("x")).await.unwrap();
    stuck_reported(&mut events).await;
    assert_eq!(bounded(top.children()).await.unwrap()[1].state, NodeState::Restarting);
    assert!(matches!(bounded(top.restart_child("b")).await, Err(SupervisorError::Restarting { .. })));
    drop(gate);
    flush(&a).await;
    flush(&b).await;
    let starts: Vec<_> = diary.lines().into_iter().filter(|line| line.ends_with(": start")).collect();
    assert_eq!(starts, ["a: start", "b: start", "a: start", "b: start"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_siblings_goes_on_without_a_stuck_one_that_is_terminated() {
    let (system, diary) = (System::new(), Diary::default());
    let ((first, a), (second, b)) = (hurried(&system, "a", &diary), child(&system, "b", &diary));
    let spec = SupervisorSpec::new("top").strategy(Strategy::OneForAll).child(first).child(second);
    let top = system.supervise(spec).await.unwrap();
    let mut events = system.events();
    let gate = stuck(&a).await;
    b.tell(Tell::Panic("x")).await.unwrap();
    stuck_reported(&mut events).await;
    assert!(matches!(bounded(top.terminate_child("a")).await, Err(SupervisorError::Stuck { .. })));
    flush(&b).await;
    drop(gate);
    until(|| matches!(a.try_tell(Tell::Note(1)), Err(TellError::Closed(_)))).await;
    assert_eq!(top.children().await.unwrap()[0].state, NodeState::Down);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_stops_leaves_a_stuck_child_behind_with_its_name_and_its_place() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, a) = hurried(&system, "a", &diary);
    let top = system.supervise(SupervisorSpec::new("top").child(spec.clone())).await.unwrap();
    let gate = stuck(&a).await;
    bounded(top.stop()).await;
    assert!(matches!(a.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
    assert!(system.lookup::<Tell>("a").is_some());
    let second = system.supervise(SupervisorSpec::new("second")).await.unwrap();
    let Err(SupervisorError::Start { reason, .. }) = bounded(second.start_child(spec.clone())).await else {
        panic!("its place is taken")
    };
    let error = reason.as_error().and_then(|error| error.downcast_ref::<ChildError>());
    assert_eq!(error, Some(&ChildError::Occupied { name: "a".into() }));
    drop(gate);
    until(|| system.lookup::<Tell>("a").is_none()).await;
    second.start_child(spec).await.unwrap();
    flush(&a).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_supervisor_waits_for_the_place_of_a_stuck_child() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, a) = hurried(&system, "a", &diary);
    let inner = ChildSpec::supervisor(SupervisorSpec::new("inner").child(spec));
    let outer = system.supervise(SupervisorSpec::new("outer").child(inner)).await.unwrap();
    let mut events = system.events();
    let gate = stuck(&a).await;
    system.exit(system.supervisor("inner").unwrap().id(), ExitReason::Killed);
    stuck_reported(&mut events).await;
    assert_eq!(bounded(outer.children()).await.unwrap()[0].state, NodeState::Starting);
    drop(gate);
    flush(&a).await;
    until(|| system.tree()[0].children[0].restarts == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_reports_a_stuck_child_of_a_supervisor_that_did_not_wait_for_it() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, a) = hurried(&system, "a", &diary);
    system.supervise(SupervisorSpec::new("top").child(spec)).await.unwrap();
    let gate = stuck(&a).await;
    let report = bounded(system.shutdown(Duration::from_secs(5))).await;
    assert_eq!(report.stuck.iter().map(|name| &**name).collect::<Vec<_>>(), ["a"]);
    drop(gate);
}

#[tokio::test(start_paused = true)]
async fn a_killed_child_that_awaits_is_not_called_stuck() {
    let (system, diary) = (System::new(), Diary::default());
    let habits = Habits { stop_takes: Duration::from_secs(3600), ..Habits::default() };
    let (spec, _) = child_with(&system, "a", &diary, habits);
    let top = system.supervise(SupervisorSpec::new("top").child(spec)).await.unwrap();
    let mut events = system.events();
    top.terminate_child("a").await.unwrap();
    assert_eq!(reported_stuck(&mut events), 0);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_counts_its_children_and_takes_no_more_than_it_may() {
    let (system, diary) = (System::new(), Diary::default());
    let inner = ChildSpec::supervisor(SupervisorSpec::new("inner"));
    let spec = SupervisorSpec::new("top").children_max(2).child(inner);
    let top = system.supervise(spec).await.unwrap();
    top.start_child(child(&system, "a", &diary).0).await.unwrap();
    let refused = top.start_child(child(&system, "b", &diary).0).await;
    assert!(matches!(refused, Err(SupervisorError::Full { children_max: 2 })));
    top.terminate_child("a").await.unwrap();
    let counts = top.count_children().await.unwrap();
    assert_eq!((counts.specs, counts.active, counts.supervisors, counts.workers), (2, 1, 1, 1));
    top.delete_child("a").await.unwrap();
    top.start_child(child(&system, "b", &diary).0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_child_that_failed_to_start_here_can_be_started_elsewhere() {
    let (system, diary) = (System::new(), Diary::default());
    let first = system.supervise(SupervisorSpec::new("first")).await.unwrap();
    let second = system.supervise(SupervisorSpec::new("second")).await.unwrap();
    let failing = Habits { failing_starts: Arc::new(1.into()), ..Habits::default() };
    let (spec, a) = child_with(&system, "a", &diary, failing);
    assert!(first.start_child(spec.clone()).await.is_err());
    second.start_child(spec).await.unwrap();
    flush(&a).await;
}

#[tokio::test(start_paused = true)]
async fn supervisors_are_added_stopped_and_started_again_like_other_children() {
    let (system, diary) = (System::new(), Diary::default());
    let top = system.supervise(SupervisorSpec::new("top")).await.unwrap();
    let (leaf, a) = child(&system, "a", &diary);
    top.start_child(ChildSpec::supervisor(SupervisorSpec::new("inner").child(leaf))).await.unwrap();
    flush(&a).await;
    top.terminate_child("inner").await.unwrap();
    assert_eq!(diary.take(), ["a: start", "a: stop, shutdown", "a: gone"]);
    assert!(matches!(a.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
    top.restart_child("inner").await.unwrap();
    flush(&a).await;
    top.terminate_child("inner").await.unwrap();
    top.delete_child("inner").await.unwrap();
    assert!(top.children().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_taken_along_by_a_failed_start_has_ended_and_is_restarted() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, a) = child(&system, "a", &diary);
    let (dynamic, under) = ChildSpec::dynamic(&system, DynamicSpec::new("dynamic"));
    system.supervise(SupervisorSpec::new("top").child(spec).child(dynamic)).await.unwrap();
    let (spec, b) = child(&system, "b", &diary);
    under.start_child(spec).await.unwrap();
    for taken in [&a, &b] {
        let habits = Habits {
            start_takes: Duration::from_secs(1),
            failing_starts: Arc::new(1.into()),
            ..Habits::default()
        };
        let failing = tokio::spawn({
            let (system, diary) = (system.clone(), diary.clone());
            async move {
                let start = move || Probe::with("failing", &diary, habits);
                system.spawn("failing", MailboxOptions::default(), start).await
            }
        });
        until(|| system.lookup::<Tell>("failing").is_some_and(|failing| failing.is_alive())).await;
        let failing_id = system.lookup::<Tell>("failing").unwrap().id();
        taken.ask(SOON, |reply| Tell::Link(failing_id, reply)).await.unwrap();
        assert!(failing.await.unwrap().is_err());
        flush(taken).await;
        let gone = format!("{}: stop, start failed", taken.name());
        assert!(diary.lines().iter().any(|line| line.starts_with(&gone)), "{:?}", diary.lines());
    }
}

#[tokio::test(start_paused = true)]
async fn who_stops_a_supervisor_does_not_wait_for_the_one_that_is_started_in_its_place() {
    let (system, diary) = (System::new(), Diary::default());
    let (leaf, a) = child(&system, "a", &diary);
    let (dynamic, dynamic_handle) = ChildSpec::dynamic(&system, DynamicSpec::new("dynamic"));
    let inner = ChildSpec::supervisor(SupervisorSpec::new("inner").child(leaf));
    let outer = SupervisorSpec::new("outer").intensity(5, SOON).child(inner).child(dynamic);
    system.supervise(outer).await.unwrap();
    let exit = bounded(system.supervisor("inner").unwrap().stop()).await;
    assert!(matches!(exit.reason, ExitReason::Shutdown));
    let exit = bounded(dynamic_handle.stop()).await;
    assert!(matches!(exit.reason, ExitReason::Shutdown));
    flush(&a).await;
    until(|| system.tree()[0].children.iter().all(|child| child.restarts == 1)).await;
}
