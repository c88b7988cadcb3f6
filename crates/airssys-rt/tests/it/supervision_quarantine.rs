//! Children with an allowance of their own: when they are taken out of service, and how they come back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use airssys_rt::{
    Address, ChildSpec, DynamicSpec, Event, ExitReason, NodeState, Strategy, Supervisor, SupervisorError,
    SupervisorSpec, System, TellError,
};

use crate::probe::{Diary, Habits, SOON, Tell, child, child_with, flush, until};

const SECOND: Duration = Duration::from_secs(1);

/// `a` may restart twice in ten seconds; `b` is its sibling.
struct Family {
    system: System,
    diary: Diary,
    top: Supervisor,
    a: Address<Tell>,
    b: Address<Tell>,
    habits: Habits,
}

async fn family(strategy: Strategy, intensity: u32) -> Family {
    let (system, diary, habits) = (System::new(), Diary::default(), Habits::default());
    let (first, a) = child_with(&system, "a", &diary, habits.clone());
    let (second, b) = child(&system, "b", &diary);
    let spec = SupervisorSpec::new("top")
        .strategy(strategy)
        .intensity(intensity, SECOND * 60)
        .child(first.allowance(2, SECOND * 10))
        .child(second);
    let top = system.supervise(spec).await.unwrap();
    Family { system, diary, top, a, b, habits }
}

impl Family {
    async fn crash(&self, times: usize) {
        for _ in 0..times {
            flush(&self.a).await;
            self.a.tell(Tell::Panic("x")).await.unwrap();
        }
    }

    async fn state(&self) -> NodeState {
        self.top.children().await.expect("the supervisor runs")[0].state
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_uses_up_its_allowance_stays_down_visible_and_alone() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        let family = family(strategy, 100).await;
        let mut events = family.system.events();
        family.crash(2).await;
        flush(&family.a).await;
        assert_eq!(family.state().await, NodeState::Running, "as many as it may");
        flush(&family.b).await;
        family.diary.take();
        family.crash(1).await;
        until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
        assert!(matches!(family.a.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
        flush(&family.b).await;
        assert_eq!(family.diary.take(), ["a: gone"], "{strategy:?}");
        let info = family.top.children().await.unwrap().remove(0);
        assert_eq!((info.restarts, info.history.len()), (2, 2));
        assert!(matches!(info.last_exit, Some(ExitReason::Panic(_))));
        let told = std::iter::from_fn(|| events.try_next())
            .filter(|event| matches!(event, Ok(Event::Quarantined { id, .. }) if *id == family.a.id()))
            .count();
        assert_eq!(told, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn restarts_older_than_the_period_are_forgiven_to_the_child() {
    for (wait_ms, is_up) in [(10_000, false), (10_001, true)] {
        let family = family(Strategy::OneForOne, 100).await;
        family.crash(2).await;
        flush(&family.a).await;
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        family.a.tell(Tell::Panic("x")).await.unwrap();
        if is_up {
            flush(&family.a).await;
        } else {
            until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn quarantine_is_not_charged_to_the_supervisor_and_restarts_within_the_allowance_are() {
    let family = family(Strategy::OneForOne, 3).await;
    family.crash(3).await;
    until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
    family.b.tell(Tell::Panic("x")).await.unwrap();
    flush(&family.b).await;
    family.b.tell(Tell::Panic("x")).await.unwrap();
    assert!(matches!(family.top.wait().await.reason, ExitReason::Shutdown), "two, and two of its own");
}

#[tokio::test(start_paused = true)]
async fn a_released_child_has_its_whole_allowance_again() {
    let family = family(Strategy::OneForOne, 100).await;
    let refused = family.top.release_child("a").await;
    assert!(matches!(refused, Err(SupervisorError::NotQuarantined { .. })));
    assert!(matches!(family.top.release_child("x").await, Err(SupervisorError::NoSuchChild { .. })));
    family.crash(3).await;
    until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
    let refused = family.top.restart_child("a").await;
    assert!(matches!(refused, Err(SupervisorError::Quarantined { .. })));
    family.top.release_child("a").await.unwrap();
    family.crash(2).await;
    flush(&family.a).await;
    family.crash(1).await;
    until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_leaves_the_child_where_it_was() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll] {
        let family = family(strategy, 100).await;
        family.crash(3).await;
        until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
        family.habits.failing_starts.store(1, Ordering::Relaxed);
        let failed = family.top.release_child("a").await;
        assert!(matches!(failed, Err(SupervisorError::Start { .. })));
        assert_eq!(family.state().await, NodeState::Quarantined);
        assert!(matches!(family.a.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
        family.top.release_child("a").await.unwrap();
        flush(&family.a).await;
    }
}

#[tokio::test(start_paused = true)]
async fn starts_that_fail_use_up_the_allowance_as_well() {
    let family = family(Strategy::OneForOne, 100).await;
    family.habits.failing_starts.store(2, Ordering::Relaxed);
    family.a.tell(Tell::Panic("x")).await.unwrap();
    until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
    assert_eq!(family.habits.failing_starts.load(Ordering::Relaxed), 0);
    flush(&family.b).await;
}

#[tokio::test(start_paused = true)]
async fn siblings_that_were_stopped_with_a_child_start_when_it_is_in_quarantine() {
    let family = family(Strategy::OneForAll, 100).await;
    family.habits.failing_starts.store(2, Ordering::Relaxed);
    family.a.tell(Tell::Panic("x")).await.unwrap();
    until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
    flush(&family.b).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_siblings_leaves_a_child_in_quarantine() {
    let family = family(Strategy::OneForAll, 100).await;
    family.crash(3).await;
    until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
    family.b.tell(Tell::Panic("x")).await.unwrap();
    flush(&family.b).await;
    assert_eq!(family.state().await, NodeState::Quarantined);
}

#[tokio::test(start_paused = true)]
async fn a_child_in_quarantine_keeps_its_name_until_it_is_terminated_or_deleted() {
    let family = family(Strategy::OneForOne, 100).await;
    family.crash(3).await;
    until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
    assert!(family.system.lookup::<Tell>("a").is_some());
    family.top.terminate_child("a").await.unwrap();
    assert_eq!(family.state().await, NodeState::Down);
    assert!(family.system.lookup::<Tell>("a").is_none());
    let refused = family.top.release_child("a").await;
    assert!(matches!(refused, Err(SupervisorError::NotQuarantined { .. })));
    family.top.restart_child("a").await.unwrap();
    family.crash(3).await;
    until(|| family.system.tree()[0].children[0].state == NodeState::Quarantined).await;
    family.top.delete_child("a").await.unwrap();
    assert_eq!(family.top.children().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_supervisor_ends_a_quarantine() {
    let (system, diary) = (System::new(), Diary::default());
    let ((first, a), (second, b)) = (child(&system, "a", &diary), child(&system, "b", &diary));
    let inner =
        SupervisorSpec::new("inner").intensity(0, SECOND).child(first.allowance(0, SECOND)).child(second);
    system.supervise(SupervisorSpec::new("outer").child(ChildSpec::supervisor(inner))).await.unwrap();
    a.tell(Tell::Panic("x")).await.unwrap();
    until(|| system.tree()[0].children[0].children[0].state == NodeState::Quarantined).await;
    b.tell(Tell::Panic("x")).await.unwrap();
    until(|| a.is_alive()).await;
    flush(&a).await;
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_child_has_its_own_allowance_too() {
    let (system, diary, habits) = (System::new(), Diary::default(), Habits::default());
    let top = DynamicSpec::new("top").intensity(2, SECOND * 60);
    let top = system.supervise_dynamic(top).await.unwrap();
    let (first, a) = child_with(&system, "a", &diary, habits.clone());
    let (second, b) = child(&system, "b", &diary);
    top.start_child(first.allowance(1, SECOND * 10)).await.unwrap();
    top.start_child(second).await.unwrap();
    assert!(matches!(top.release_child("a").await, Err(SupervisorError::NotQuarantined { .. })));
    a.tell(Tell::Panic("x")).await.unwrap();
    flush(&a).await;
    a.tell(Tell::Panic("x")).await.unwrap();
    until(|| top.children()[0].state == NodeState::Quarantined).await;
    assert!(matches!(a.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
    assert_eq!(top.children()[0].history.len(), 1);
    habits.failing_starts.store(1, Ordering::Relaxed);
    assert!(matches!(top.release_child("a").await, Err(SupervisorError::Start { .. })));
    until(|| top.children()[0].state == NodeState::Quarantined).await;
    top.release_child("a").await.unwrap();
    flush(&a).await;
    b.tell(Tell::Panic("x")).await.unwrap();
    flush(&b).await;
    a.tell(Tell::Stop(ExitReason::Killed)).await.unwrap();
    assert!(matches!(top.wait().await.reason, ExitReason::Shutdown), "the third that is charged");
    assert!(system.shutdown(SOON).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_child_in_quarantine_can_be_terminated() {
    let (system, diary) = (System::new(), Diary::default());
    let top = system.supervise_dynamic(DynamicSpec::new("top")).await.unwrap();
    let (spec, a) = child(&system, "a", &diary);
    top.start_child(spec.clone().allowance(0, SECOND)).await.unwrap();
    a.tell(Tell::Panic("x")).await.unwrap();
    until(|| top.children()[0].state == NodeState::Quarantined).await;
    assert!(system.lookup::<Tell>("a").is_some());
    top.terminate_child("a").await.unwrap();
    assert!(top.children().is_empty() && system.lookup::<Tell>("a").is_none());
    top.start_child(spec).await.unwrap();
    flush(&a).await;
}
