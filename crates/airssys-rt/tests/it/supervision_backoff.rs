//! Delays before restarts: whom they concern, how they grow, and what can happen while they last. And what is remembered of
//! restarts.

use std::sync::atomic::Ordering;
use std::time::Duration;

use airssys_rt::{
    Address, Backoff, ChildSpec, DynamicSpec, ExitReason, NodeState, Restart, RestartRecord, Strategy,
    Supervisor, SupervisorError, SupervisorSpec, System, TellError,
};
use tokio::time::Instant;

use crate::probe::{Diary, Habits, SOON, Tell, child, child_with, flush, until};

const SECOND: Duration = Duration::from_secs(1);

fn patient(name: &str) -> SupervisorSpec {
    SupervisorSpec::new(name).intensity(100, SECOND)
}

/// `slow` is put off by ten seconds; `a` and `b` are its siblings.
struct Family {
    system: System,
    diary: Diary,
    top: Supervisor,
    a: Address<Tell>,
    slow: Address<Tell>,
    b: Address<Tell>,
}

async fn family(strategy: Strategy) -> Family {
    let (system, diary) = (System::new(), Diary::default());
    let ((first, a), (second, slow), (third, b)) =
        (child(&system, "a", &diary), child(&system, "slow", &diary), child(&system, "b", &diary));
    let second = second.backoff(Backoff::constant(SECOND * 10));
    let spec = patient("top").strategy(strategy).child(first).child(second).child(third);
    let top = system.supervise(spec).await.unwrap();
    diary.take();
    Family { system, diary, top, a, slow, b }
}

impl Family {
    async fn crash(&self) {
        self.slow.tell(Tell::Panic("x")).await.unwrap();
        until(|| self.system.tree()[0].children[1].state == NodeState::Restarting).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_keeps_its_child_down_and_nobody_else() {
    let family = family(Strategy::OneForOne).await;
    let began = Instant::now();
    family.crash().await;
    family.slow.tell(Tell::Note(1)).await.unwrap();
    family.a.tell(Tell::Panic("x")).await.unwrap();
    flush(&family.a).await;
    flush(&family.b).await;
    assert_eq!(family.top.children().await.unwrap()[1].state, NodeState::Restarting);
    assert!(began.elapsed() < SECOND);
    family.slow.ask(SECOND * 60, |reply| Tell::Ask(2, reply)).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(family.diary.take(), ["slow: gone", "a: gone", "a: start", "slow: start", "slow: 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_without_a_delay_is_back_at_once() {
    let family = family(Strategy::OneForOne).await;
    let began = Instant::now();
    family.b.tell(Tell::Panic("x")).await.unwrap();
    flush(&family.b).await;
    assert!(began.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn calls_during_a_delay_are_served() {
    let family = family(Strategy::OneForOne).await;
    let began = Instant::now();
    family.crash().await;
    let restarted = family.top.restart_child("slow").await;
    assert!(matches!(restarted, Err(SupervisorError::Restarting { .. })));
    assert!(matches!(family.top.delete_child("slow").await, Err(SupervisorError::Restarting { .. })));
    family.top.terminate_child("slow").await.unwrap();
    assert!(matches!(family.slow.try_tell(Tell::Note(1)), Err(TellError::Closed(_))));
    assert!(began.elapsed() < SECOND);
    tokio::time::sleep(SECOND * 60).await;
    assert!(!family.slow.is_alive(), "who was terminated is not started when its delay is over");
    family.top.restart_child("slow").await.unwrap();
    flush(&family.slow).await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_earlier_delay_does_not_cut_a_later_one_short() {
    let family = family(Strategy::OneForOne).await;
    family.crash().await;
    tokio::time::sleep(SECOND * 5).await;
    family.top.terminate_child("slow").await.unwrap();
    family.top.restart_child("slow").await.unwrap();
    family.crash().await;
    let began = Instant::now();
    family.slow.ask(SECOND * 60, |reply| Tell::Ask(1, reply)).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), 9, "less the millisecond in which the test saw it end");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_stops_does_not_wait_for_a_delay() {
    let family = family(Strategy::OneForOne).await;
    family.crash().await;
    let began = Instant::now();
    assert!(family.system.shutdown(SOON).await.is_clean());
    assert!(began.elapsed() < SECOND);
    tokio::time::sleep(SECOND * 60).await;
    assert!(!family.slow.is_alive());
}

#[tokio::test(start_paused = true)]
async fn siblings_that_restart_together_stop_at_once_and_start_when_the_delay_is_over() {
    for (strategy, stopped, started) in [
        (
            Strategy::OneForAll,
            vec!["slow: gone", "b: stop, shutdown", "b: gone", "a: stop, shutdown", "a: gone"],
            vec!["a: start", "slow: start", "b: start"],
        ),
        (
            Strategy::RestForOne,
            vec!["slow: gone", "b: stop, shutdown", "b: gone"],
            vec!["slow: start", "b: start"],
        ),
    ] {
        let family = family(strategy).await;
        family.crash().await;
        assert_eq!(family.top.children().await.unwrap()[2].state, NodeState::Restarting);
        assert_eq!(family.diary.take(), stopped);
        family.b.ask(SECOND * 60, |reply| Tell::Ask(1, reply)).await.unwrap();
        assert_eq!(family.diary.take(), started);
    }
}

#[tokio::test(start_paused = true)]
async fn siblings_of_a_child_that_is_terminated_during_its_delay_start_without_it() {
    let family = family(Strategy::OneForAll).await;
    family.crash().await;
    let began = Instant::now();
    family.top.terminate_child("slow").await.unwrap();
    flush(&family.a).await;
    flush(&family.b).await;
    assert!(began.elapsed() < SECOND);
    assert_eq!(family.top.children().await.unwrap()[1].state, NodeState::Down);
}

#[tokio::test(start_paused = true)]
async fn a_sibling_that_is_terminated_during_the_delay_stays_down() {
    let family = family(Strategy::OneForAll).await;
    family.crash().await;
    family.top.terminate_child("a").await.unwrap();
    family.b.ask(SECOND * 60, |reply| Tell::Ask(1, reply)).await.unwrap();
    assert!(!family.a.is_alive());
    assert!(family.slow.is_alive());
}

/// How long each of these many crashes kept a child down, in milliseconds. It lives for as long before each.
async fn downtimes(backoff: Backoff, lives: Duration, crashes: usize) -> Vec<u128> {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, a) = child(&system, "a", &diary);
    let top = system.supervise(patient("top").child(spec.backoff(backoff))).await.unwrap();
    for n in 0..crashes {
        tokio::time::sleep(lives).await;
        a.tell(Tell::Panic("x")).await.unwrap();
        until(|| system.tree()[0].children[0].restarts == n as u64 + 1).await;
    }
    let history = top.children().await.unwrap().remove(0).history;
    history.iter().map(|record| record.took.as_millis()).collect()
}

#[tokio::test(start_paused = true)]
async fn delays_grow_for_a_child_that_does_not_live_long_and_begin_anew_for_one_that_does() {
    let backoff = Backoff::exponential(Duration::from_millis(100)).cap(Duration::from_millis(400));
    assert_eq!(downtimes(backoff, Duration::ZERO, 5).await, [100, 200, 400, 400, 400]);
    assert_eq!(downtimes(backoff, SECOND, 3).await, [100, 100, 100]);
    let linear = Backoff::linear(Duration::from_millis(100));
    assert_eq!(downtimes(linear, Duration::ZERO, 3).await, [100, 200, 300]);
    let constant = Backoff::constant(Duration::from_millis(100));
    assert_eq!(downtimes(constant, Duration::ZERO, 3).await, [100, 100, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_seed_makes_jitter_the_same_each_time() {
    let backoff = |seed| Backoff::constant(SECOND).jitter(0.5).seed(seed);
    let first = downtimes(backoff(1), Duration::ZERO, 5).await;
    assert_eq!(first, downtimes(backoff(1), Duration::ZERO, 5).await);
    assert_ne!(first, downtimes(backoff(2), Duration::ZERO, 5).await);
    assert!(first.iter().all(|ms| (500..=1001).contains(ms)), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn tries_of_a_start_that_fails_are_delayed_as_well() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll] {
        let (system, diary) = (System::new(), Diary::default());
        let habits = Habits::default();
        let (spec, a) = child_with(&system, "a", &diary, habits.clone());
        let spec = spec.backoff(Backoff::exponential(SECOND));
        let top = system.supervise(patient("top").strategy(strategy).child(spec)).await.unwrap();
        habits.failing_starts.store(2, Ordering::Relaxed);
        let began = Instant::now();
        a.tell(Tell::Panic("x")).await.unwrap();
        a.ask(SECOND * 60, |reply| Tell::Ask(1, reply)).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 1 + 2 + 4, "{strategy:?}");
        let restarts = top.children().await.unwrap().remove(0).restarts;
        assert_eq!(restarts, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_charged_when_its_child_ends() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, a) = child(&system, "a", &diary);
    let (other, b) = child(&system, "b", &diary);
    let spec = spec.backoff(Backoff::constant(SECOND * 60));
    let top = SupervisorSpec::new("top").intensity(1, SECOND * 10).child(spec).child(other);
    let top = system.supervise(top).await.unwrap();
    a.tell(Tell::Panic("x")).await.unwrap();
    until(|| !a.is_alive()).await;
    b.tell(Tell::Panic("x")).await.unwrap();
    assert!(matches!(top.wait().await.reason, ExitReason::Shutdown), "the second within ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_dynamic_child_is_put_off_for_itself() {
    let (system, diary) = (System::new(), Diary::default());
    let top = DynamicSpec::new("top").intensity(100, SECOND);
    let top = system.supervise_dynamic(top).await.unwrap();
    let ((first, a), (second, b)) = (child(&system, "a", &diary), child(&system, "b", &diary));
    let backoff = Backoff::exponential(SECOND);
    top.start_child(first.backoff(backoff)).await.unwrap();
    top.start_child(second.backoff(backoff)).await.unwrap();
    for (n, delay) in [1, 2, 4].into_iter().enumerate() {
        let began = Instant::now();
        a.tell(Tell::Panic("x")).await.unwrap();
        until(|| top.children()[0].state == NodeState::Restarting).await;
        flush(&b).await;
        a.tell(Tell::Note(n as u32)).await.unwrap();
        a.ask(SECOND * 60, |reply| Tell::Ask(1, reply)).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), delay);
    }
    a.tell(Tell::Panic("x")).await.unwrap();
    until(|| top.children()[0].state == NodeState::Restarting).await;
    top.terminate_child("a").await.unwrap();
    tokio::time::sleep(SECOND * 60).await;
    assert!(!a.is_alive());
    assert!(system.shutdown(SOON).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_can_be_put_off_like_any_child() {
    let (system, diary) = (System::new(), Diary::default());
    let (leaf, a) = child(&system, "a", &diary);
    let inner = SupervisorSpec::new("inner").intensity(0, SECOND).child(leaf);
    let inner = ChildSpec::supervisor(inner).backoff(Backoff::constant(SECOND));
    system.supervise(patient("outer").child(inner)).await.unwrap();
    let began = Instant::now();
    a.tell(Tell::Panic("x")).await.unwrap();
    until(|| !a.is_alive()).await;
    until(|| a.is_alive()).await;
    assert_eq!(began.elapsed().as_millis() / 10, 100);
}

#[tokio::test(start_paused = true)]
async fn the_latest_restarts_of_a_child_are_remembered_with_their_reasons() {
    let (system, diary) = (System::new(), Diary::default());
    let ((first, a), (second, b)) = (child(&system, "a", &diary), child(&system, "b", &diary));
    let spec = patient("top").strategy(Strategy::RestForOne).child(first).child(second);
    let top = system.supervise(spec).await.unwrap();
    assert!(top.children().await.unwrap().iter().all(|child| child.history.is_empty()));
    a.tell(Tell::Fail).await.unwrap();
    flush(&b).await;
    for _ in 0..20 {
        b.tell(Tell::Panic("x")).await.unwrap();
        flush(&b).await;
    }
    let children = top.children().await.unwrap();
    let reasons = |history: &[RestartRecord]| {
        history.iter().map(|record| record.reason.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&children[0].history), ["error: told to fail"]);
    assert_eq!(children[1].restarts, 21);
    assert_eq!(children[1].history.len(), 16, "the latest");
    assert!(reasons(&children[1].history).iter().all(|reason| reason.starts_with("panic: x at ")));
    assert!(children[1].history.is_sorted_by_key(|record| record.at));
    let tree = &system.tree()[0].children;
    assert_eq!(reasons(&tree[1].history), reasons(&children[1].history));
}

#[tokio::test(start_paused = true)]
async fn a_start_by_a_call_is_no_restart_in_the_history() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, a) = child(&system, "a", &diary);
    let top = system.supervise(patient("top").child(spec.restart(Restart::Transient))).await.unwrap();
    top.terminate_child("a").await.unwrap();
    top.restart_child("a").await.unwrap();
    flush(&a).await;
    assert!(top.children().await.unwrap()[0].history.is_empty());
}
