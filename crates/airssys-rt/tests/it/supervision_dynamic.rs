//! Dynamic supervisors: who may be started, what is restarted, and how all of them stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use airssys_rt::{
    Actor, Address, AutoShutdown, ChildError, ChildSpec, Context, DynamicSpec, DynamicSupervisor, Event,
    ExitReason, MailboxOptions, NodeKind, NodeState, ReplyTo, Restart, Shutdown, StartError, SupervisorError,
    SupervisorSpec, System, TellError,
};
use tokio::time::Instant;

use crate::probe::{Diary, Habits, Probe, SOON, Tell, child, child_with, flush, until};

/// A supervisor that puts up with five restarts.
async fn nursery(system: &System) -> DynamicSupervisor {
    system.supervise_dynamic(patient("top")).await.expect("a supervisor")
}

fn patient(name: &str) -> DynamicSpec {
    DynamicSpec::new(name).intensity(5, Duration::from_secs(5))
}

async fn spawn(top: &DynamicSupervisor, name: &'static str, diary: &Diary) -> Address<Tell> {
    spawn_with(top, name, diary, Habits::default()).await.expect("a child")
}

async fn spawn_with(
    top: &DynamicSupervisor,
    name: &'static str,
    diary: &Diary,
    habits: Habits,
) -> Result<Address<Tell>, SupervisorError> {
    let diary = diary.clone();
    top.spawn(name, MailboxOptions::default(), move || Probe::with(name, &diary, habits.clone())).await
}

fn names(top: &DynamicSupervisor) -> Vec<String> {
    top.children().iter().map(|child| child.name.to_string()).collect()
}

/// What kept a child from being tried.
fn why<T: std::fmt::Debug>(outcome: Result<T, SupervisorError>) -> Option<ChildError> {
    match outcome {
        Err(SupervisorError::Start { reason, .. }) => {
            reason.as_error().and_then(|error| error.downcast_ref::<ChildError>()).cloned()
        }
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_spawned_child_answers_and_is_found_by_its_id() {
    let (system, diary) = (System::new(), Diary::default());
    let top = nursery(&system).await;
    let a = spawn(&top, "a", &diary).await;
    flush(&a).await;
    assert_eq!(system.lookup::<Tell>("a").unwrap().id(), a.id());
    assert_eq!(names(&top), ["a"]);
    let tree = system.tree();
    assert_eq!(tree.len(), 1);
    assert_eq!((&*tree[0].name, tree[0].kind), ("top", NodeKind::Supervisor));
    assert_eq!(&*tree[0].children[0].name, "a");
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_child_that_does_not_start_is_no_child_and_its_name_is_free() {
    let (system, diary) = (System::new(), Diary::default());
    let top = nursery(&system).await;
    let failing = Habits { failing_starts: Arc::new(1.into()), ..Habits::default() };
    let failed = spawn_with(&top, "a", &diary, failing).await;
    assert!(matches!(failed, Err(SupervisorError::Start { .. })));
    assert!(names(&top).is_empty());
    flush(&spawn(&top, "a", &diary).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_supervisor_has_as_many_children_as_it_may_and_not_one_more() {
    let (system, diary) = (System::new(), Diary::default());
    let spec = DynamicSpec::new("top").children_max(2).restart(Restart::Temporary);
    let top = system.supervise_dynamic(spec).await.unwrap();
    let a = spawn(&top, "a", &diary).await;
    spawn(&top, "b", &diary).await;
    let refused = spawn_with(&top, "c", &diary, Habits::default()).await;
    assert!(matches!(refused, Err(SupervisorError::Full { children_max: 2 })));
    assert!(system.lookup::<Tell>("c").is_none());
    a.tell(Tell::Stop(ExitReason::Normal)).await.unwrap();
    until(|| system.lookup::<Tell>("a").is_none()).await;
    spawn(&top, "c", &diary).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_is_refused_and_hurts_nobody() {
    let (system, diary) = (System::new(), Diary::default());
    let top = nursery(&system).await;
    let a = spawn(&top, "a", &diary).await;
    let second = spawn_with(&top, "a", &diary, Habits::default()).await;
    assert_eq!(why(second), Some(ChildError::NameTaken { name: "a".into() }));
    flush(&a).await;
    assert_eq!(names(&top), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_child_is_restarted_for_itself_as_its_terms_say() {
    for (restart, reason, is_back) in [
        (Restart::Permanent, ExitReason::Normal, true),
        (Restart::Transient, ExitReason::Normal, false),
        (Restart::Transient, ExitReason::Killed, true),
        (Restart::Temporary, ExitReason::Killed, false),
    ] {
        let (system, diary) = (System::new(), Diary::default());
        let top = system.supervise_dynamic(patient("top").restart(restart)).await.unwrap();
        let (a, b) = (spawn(&top, "a", &diary).await, spawn(&top, "b", &diary).await);
        diary.take();
        a.tell(Tell::Stop(reason)).await.unwrap();
        if is_back {
            flush(&a).await;
            assert_eq!(names(&top), ["a", "b"]);
            assert_eq!(top.children()[0].restarts, 1);
        } else {
            until(|| system.lookup::<Tell>("a").is_none()).await;
            assert_eq!(names(&top), ["b"]);
            assert!(matches!(a.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
        }
        flush(&b).await;
        assert!(!diary.lines().iter().any(|line| line.starts_with("b: ")));
    }
}

#[tokio::test(start_paused = true)]
async fn dynamic_children_share_the_budget_of_their_supervisor() {
    for crashes in [5, 6] {
        let (system, diary) = (System::new(), Diary::default());
        let top = nursery(&system).await;
        let children = [spawn(&top, "a", &diary).await, spawn(&top, "b", &diary).await];
        let mut events = system.events();
        for n in 0..crashes {
            children[n % 2].tell(Tell::Panic("x")).await.unwrap();
            if n < 5 {
                until(|| top.children().iter().map(|child| child.restarts).sum::<u64>() == n as u64 + 1)
                    .await;
            }
        }
        if crashes == 5 {
            flush(&children[0]).await;
            flush(&children[1]).await;
            continue;
        }
        assert!(matches!(top.wait().await.reason, ExitReason::Shutdown));
        let gave_up = std::iter::from_fn(|| events.try_next())
            .any(|event| matches!(event, Ok(Event::GaveUp { child, .. }) if child == children[1].id()));
        assert!(gave_up);
        assert!(system.tree().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_of_a_dynamic_child_is_tried_again_within_the_budget() {
    for (failures, survives) in [(4, true), (5, false)] {
        let (system, diary) = (System::new(), Diary::default());
        let top = nursery(&system).await;
        let habits = Habits::default();
        let a = spawn_with(&top, "a", &diary, habits.clone()).await.unwrap();
        habits.failing_starts.store(failures, Ordering::Relaxed);
        a.tell(Tell::Panic("x")).await.unwrap();
        if survives {
            flush(&a).await;
        } else {
            assert!(matches!(top.wait().await.reason, ExitReason::Shutdown));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn dynamic_children_stop_in_parallel() {
    let (system, diary) = (System::new(), Diary::default());
    let top = nursery(&system).await;
    let slow = Habits { stop_takes: Duration::from_secs(3), ..Habits::default() };
    for name in ["a", "b", "c", "d"] {
        spawn_with(&top, name, &diary, slow.clone()).await.unwrap();
    }
    let began = Instant::now();
    assert!(matches!(top.stop().await.reason, ExitReason::Shutdown));
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!(diary.lines().iter().filter(|line| line.ends_with("stop, shutdown")).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn each_dynamic_child_has_its_own_time_to_stop() {
    let (system, diary) = (System::new(), Diary::default());
    let top = nursery(&system).await;
    let slow = Habits { stop_takes: Duration::from_secs(3), ..Habits::default() };
    for (name, shutdown) in [
        ("patient", Shutdown::Infinity),
        ("hurried", Shutdown::After(Duration::from_secs(1))),
        ("enough", Shutdown::After(Duration::from_secs(4))),
        ("brutal", Shutdown::Brutal),
    ] {
        top.start_child(child_with(&system, name, &diary, slow.clone()).0.shutdown(shutdown)).await.unwrap();
    }
    let (began, mut events) = (Instant::now(), system.events());
    let stopping = tokio::spawn({
        let top = top.clone();
        async move { top.stop().await }
    });
    let mut ends = Vec::new();
    while ends.len() < 4 {
        if let Ok(Event::Exited { name, reason, .. }) = events.next().await.unwrap() {
            ends.push((name.to_string(), reason.to_string(), began.elapsed().as_secs()));
        }
    }
    stopping.await.unwrap();
    ends.sort();
    let expected = [
        ("brutal", "killed", 0),
        ("enough", "shutdown", 3),
        ("hurried", "killed", 1),
        ("patient", "shutdown", 3),
    ];
    assert_eq!(ends, expected.map(|(name, reason, s)| (name.to_owned(), reason.to_owned(), s)));
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_under_a_supervisor_that_does_not_run() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, top) = ChildSpec::dynamic(&system, patient("top"));
    let refused = |outcome: Result<_, _>| matches!(outcome, Err(SupervisorError::Gone));
    assert!(refused(spawn_with(&top, "a", &diary, Habits::default()).await), "it was not started yet");
    let above = system.supervise(SupervisorSpec::new("above").child(spec)).await.unwrap();
    let slow = Habits { stop_takes: Duration::from_secs(3), ..Habits::default() };
    spawn_with(&top, "a", &diary, slow).await.unwrap();
    let stopping = tokio::spawn(async move { above.stop().await });
    until(|| top.children().iter().any(|child| child.state == NodeState::Stopping)).await;
    assert!(refused(spawn_with(&top, "b", &diary, Habits::default()).await), "it stops");
    assert!(matches!(top.terminate_child("a").await, Err(SupervisorError::Gone)));
    stopping.await.unwrap();
    assert!(refused(spawn_with(&top, "b", &diary, Habits::default()).await), "it has ended");
    assert!(system.lookup::<Tell>("b").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_starts_children_while_their_supervisor_stops_leaves_none_behind() {
    for _ in 0..20 {
        let system = System::new();
        let top = nursery(&system).await;
        let starter = tokio::spawn({
            let top = top.clone();
            async move {
                let mut started = Vec::new();
                loop {
                    let name = format!("child-{}", started.len());
                    match top.spawn(name, MailboxOptions::default(), || Silent).await {
                        Ok(address) => started.push(address),
                        Err(SupervisorError::Start { .. }) => {}
                        Err(SupervisorError::Gone) => return started,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
        until(|| !top.children().is_empty()).await;
        top.stop().await;
        let started = starter.await.unwrap();
        assert!(started.iter().all(|child| !child.is_alive()));
        assert!(system.tree().is_empty() && system.lookup::<()>("child-0").is_none());
    }
}

struct Silent;

impl Actor for Silent {
    type Message = ();

    async fn handle(&mut self, (): (), _: &mut Context<Self>) -> Result<(), ExitReason> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_terminated_dynamic_child_is_forgotten_whatever_its_terms() {
    let (system, diary) = (System::new(), Diary::default());
    let top = nursery(&system).await;
    let a = spawn(&top, "a", &diary).await;
    assert!(matches!(top.terminate_child("b").await, Err(SupervisorError::NoSuchChild { .. })));
    assert!(matches!(top.terminate_child("top").await, Err(SupervisorError::NoSuchChild { .. })));
    let (first, second) = tokio::join!(top.terminate_child("a"), top.terminate_child("a"));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(diary.lines(), ["a: start", "a: stop, shutdown", "a: gone"]);
    assert!(names(&top).is_empty());
    assert!(matches!(a.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
    assert!(matches!(top.terminate_child("a").await, Err(SupervisorError::NoSuchChild { .. })));
    flush(&spawn(&top, "a", &diary).await).await;
}

#[tokio::test(start_paused = true)]
async fn children_of_any_kind_can_be_added() {
    let (system, diary) = (System::new(), Diary::default());
    let top = nursery(&system).await;
    let (worker, a) = child(&system, "a", &diary);
    let (below, b) = child(&system, "b", &diary);
    let fixed = ChildSpec::supervisor(SupervisorSpec::new("fixed").child(below));
    let (dynamic, inner) = ChildSpec::dynamic(&system, patient("inner"));
    top.start_child(worker.restart(Restart::Temporary)).await.unwrap();
    top.start_child(fixed).await.unwrap();
    top.start_child(dynamic).await.unwrap();
    let c = spawn(&inner, "c", &diary).await;
    for address in [&a, &b, &c] {
        flush(address).await;
    }
    assert_eq!(system.dynamic_supervisor("inner").unwrap().id(), inner.id());
    assert!(system.dynamic_supervisor("fixed").is_none() && system.supervisor("inner").is_none());
    let counts = top.count_children();
    assert_eq!((counts.specs, counts.active, counts.supervisors, counts.workers), (3, 3, 2, 1));
    assert!(system.shutdown(SOON).await.is_clean());
    for name in ["a", "b", "c"] {
        assert!(diary.lines().contains(&format!("{name}: stop, shutdown")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_specification_is_under_one_supervisor_at_a_time() {
    let (system, diary) = (System::new(), Diary::default());
    let top = nursery(&system).await;
    let other = system.supervise_dynamic(patient("other")).await.unwrap();
    let (spec, a) = child(&system, "a", &diary);
    top.start_child(spec.clone()).await.unwrap();
    assert!(matches!(top.start_child(spec.clone()).await, Err(SupervisorError::Exists { .. })));
    assert_eq!(why(other.start_child(spec.clone()).await), Some(ChildError::Elsewhere { name: "a".into() }));
    flush(&a).await;
    top.terminate_child("a").await.unwrap();
    other.start_child(spec.clone()).await.unwrap();
    flush(&a).await;
    other.terminate_child("a").await.unwrap();
    let above = system.supervise(SupervisorSpec::new("above").child(spec.clone())).await.unwrap();
    flush(&a).await;
    above.terminate_child("a").await.unwrap();
    above.delete_child("a").await.unwrap();
    top.start_child(spec).await.unwrap();
    flush(&a).await;
}

#[tokio::test(start_paused = true)]
async fn a_killed_dynamic_supervisor_takes_its_children_along_and_comes_back_without_them() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, top) = ChildSpec::dynamic(&system, patient("top"));
    system.supervise(SupervisorSpec::new("above").child(spec)).await.unwrap();
    let a = spawn(&top, "a", &diary).await;
    system.exit(top.id(), ExitReason::Killed);
    until(|| system.lookup::<Tell>("a").is_none()).await;
    assert!(matches!(a.try_tell(Tell::Note(0)), Err(TellError::Closed(_))));
    assert_eq!(diary.lines(), ["a: start", "a: gone"]);
    until(|| system.tree()[0].children[0].state == NodeState::Running).await;
    assert!(names(&top).is_empty());
    flush(&spawn(&top, "a", &diary).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_supervisor_that_gave_up_comes_back_with_a_fresh_budget() {
    let (system, diary) = (System::new(), Diary::default());
    let inner = DynamicSpec::new("top").intensity(0, Duration::from_secs(5));
    let (spec, top) = ChildSpec::dynamic(&system, inner);
    system.supervise(SupervisorSpec::new("above").child(spec)).await.unwrap();
    spawn(&top, "a", &diary).await.tell(Tell::Panic("x")).await.unwrap();
    until(|| system.lookup::<Tell>("a").is_none() && system.tree()[0].children[0].restarts == 1).await;
    flush(&spawn(&top, "a", &diary).await).await;
}

#[tokio::test(start_paused = true)]
async fn significant_children_end_a_dynamic_supervisor_as_it_is_told() {
    for (auto_shutdown, ends_after) in [(AutoShutdown::AnySignificant, 1), (AutoShutdown::AllSignificant, 2)]
    {
        let (system, diary) = (System::new(), Diary::default());
        let top = system.supervise_dynamic(patient("top").auto_shutdown(auto_shutdown)).await.unwrap();
        let mut significant = Vec::new();
        for name in ["a", "b"] {
            let (spec, address) = child(&system, name, &diary);
            top.start_child(spec.restart(Restart::Transient).significant()).await.unwrap();
            significant.push(address);
        }
        let c = spawn(&top, "c", &diary).await;
        significant[0].tell(Tell::Panic("x")).await.unwrap();
        flush(&significant[0]).await;
        for address in &significant[..ends_after - 1] {
            address.tell(Tell::Stop(ExitReason::Normal)).await.unwrap();
            until(|| system.lookup::<Tell>(address.name()).is_none()).await;
            flush(&c).await;
        }
        significant[ends_after - 1].tell(Tell::Stop(ExitReason::Normal)).await.unwrap();
        assert!(matches!(top.wait().await.reason, ExitReason::Shutdown));
        assert!(!c.is_alive());
    }
}

#[tokio::test(start_paused = true)]
async fn a_significant_child_that_was_terminated_does_not_end_a_dynamic_supervisor() {
    let (system, diary) = (System::new(), Diary::default());
    let spec = patient("top").auto_shutdown(AutoShutdown::AllSignificant);
    let top = system.supervise_dynamic(spec).await.unwrap();
    let significant = |name| child(&system, name, &diary).0.restart(Restart::Temporary).significant();
    top.start_child(significant("a")).await.unwrap();
    top.start_child(significant("b")).await.unwrap();
    top.terminate_child("a").await.unwrap();
    flush(&spawn(&top, "c", &diary).await).await;
    system.lookup::<Tell>("b").unwrap().tell(Tell::Fail).await.unwrap();
    assert!(matches!(top.wait().await.reason, ExitReason::Shutdown), "none is left");
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_supervisor_refuses_a_significant_child_where_otp_does() {
    let (system, diary) = (System::new(), Diary::default());
    let never = nursery(&system).await;
    let spec = child(&system, "a", &diary).0.restart(Restart::Transient).significant();
    assert_eq!(
        why(never.start_child(spec).await),
        Some(ChildError::SignificantToNobody { name: "a".into() })
    );
    let any = patient("any").auto_shutdown(AutoShutdown::AnySignificant);
    let any = system.supervise_dynamic(any).await.unwrap();
    let spec = child(&system, "a", &diary).0.significant();
    assert_eq!(why(any.start_child(spec).await), Some(ChildError::SignificantPermanent { name: "a".into() }));
    assert!(names(&never).is_empty() && names(&any).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_supervisor_needs_a_free_name_and_a_living_system() {
    let system = System::new();
    nursery(&system).await;
    let second = system.supervise_dynamic(DynamicSpec::new("top")).await;
    assert!(matches!(second, Err(StartError::NameTaken { .. })));
    assert!(system.shutdown(SOON).await.is_clean());
    let late = system.supervise_dynamic(DynamicSpec::new("late")).await;
    assert!(matches!(late, Err(StartError::ShuttingDown)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_child_that_never_awaits_does_not_hold_up_its_siblings_or_its_supervisor() {
    let (system, diary) = (System::new(), Diary::default());
    let spec = patient("top").shutdown(Shutdown::After(Duration::from_millis(10)));
    let top = system.supervise_dynamic(spec).await.unwrap();
    let mut events = system.events();
    let stuck = spawn(&top, "stuck", &diary).await;
    let (gate, closed) = std::sync::mpsc::channel();
    stuck.tell(Tell::Block(closed)).await.unwrap();
    until(|| stuck.stats().depth == 0).await;
    let other = spawn(&top, "other", &diary).await;
    let terminated = tokio::time::timeout(SOON, top.terminate_child("stuck")).await.expect("it is bounded");
    assert!(matches!(terminated, Err(SupervisorError::Stuck { .. })));
    flush(&other).await;
    tokio::time::timeout(SOON, top.stop()).await.expect("it is bounded");
    let reported = std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event, Ok(Event::Stuck { id, since, .. }) if *id == stuck.id() && !since.is_zero()))
        .count();
    assert!(reported >= 1);
    assert!(system.lookup::<Tell>("stuck").is_some(), "it keeps its name until it is gone");
    drop(gate);
    until(|| system.lookup::<Tell>("stuck").is_none()).await;
}

/// Answers with nothing but itself.
struct Small;

impl Actor for Small {
    type Message = ReplyTo<()>;

    async fn handle(&mut self, reply: ReplyTo<()>, _: &mut Context<Self>) -> Result<(), ExitReason> {
        reply.send(()).map_err(|()| ExitReason::Normal)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starting_and_stopping_many_children_costs_each_the_same() {
    let count = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
    let system = System::new();
    let top = system.supervise_dynamic(DynamicSpec::new("top")).await.unwrap();
    let mut first = None;
    for n in 0..count {
        let child = top.spawn(format!("child-{n}"), MailboxOptions::default(), || Small).await.unwrap();
        first.get_or_insert(child);
    }
    assert_eq!(top.count_children().active, count);
    first.unwrap().ask(SOON, |reply| reply).await.unwrap();
    let stopped = tokio::time::timeout(SOON, top.stop()).await.expect("it is bounded");
    assert!(matches!(stopped.reason, ExitReason::Shutdown));
    assert!(system.lookup::<ReplyTo<()>>("child-0").is_none() && system.tree().is_empty());
}

#[tokio::test]
async fn a_child_refused_for_its_name_hears_when_it_is_started_elsewhere() {
    let (system, diary) = (System::new(), Diary::default());
    let holder = crate::probe::spawn(&system, "a", &diary).await;
    let top = system.supervise(SupervisorSpec::new("static")).await.unwrap();
    let (spec, a) = child(&system, "a", &diary);
    top.start_child(spec.clone()).await.expect_err("the name is taken");
    holder.exit(ExitReason::Killed);
    until(|| system.lookup::<Tell>("a").is_none()).await;
    let dynamic = system.supervise_dynamic(DynamicSpec::new("dynamic")).await.unwrap();
    dynamic.start_child(spec).await.unwrap();
    flush(&a).await;
}
