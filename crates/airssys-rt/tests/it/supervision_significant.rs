//! Significant children: when their end is the end of their supervisor, and where they are not allowed.

use std::time::Duration;

use airssys_rt::{
    Address, AutoShutdown, ChildError, ChildSpec, ExitReason, NodeState, Restart, StartError, Strategy,
    Supervisor, SupervisorError, SupervisorSpec, System,
};

use crate::probe::{Diary, Tell, child, flush, until};

struct Family {
    system: System,
    diary: Diary,
    top: Supervisor,
    /// Two significant ones and one that is not.
    children: [Address<Tell>; 3],
}

async fn family(auto_shutdown: AutoShutdown, restart: Restart, strategy: Strategy) -> Family {
    let (system, diary) = (System::new(), Diary::default());
    let mut spec = SupervisorSpec::new("top")
        .strategy(strategy)
        .intensity(5, Duration::from_secs(5))
        .auto_shutdown(auto_shutdown);
    let children = ["a", "b", "plain"].map(|name| {
        let (child, address) = child(&system, name, &diary);
        let child = child.restart(restart);
        spec.children.push(if name == "plain" { child } else { child.significant() });
        address
    });
    let top = system.supervise(spec).await.expect("a family");
    Family { system, diary, top, children }
}

impl Family {
    async fn end(&self, child: usize, reason: ExitReason) {
        self.children[child].tell(Tell::Stop(reason)).await.unwrap();
        let gone = format!("{}: gone", self.children[child].name());
        until(|| self.diary.lines().contains(&gone)).await;
    }

    async fn is_over(&self) -> bool {
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.system.tree().is_empty()
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_any_significant_child_can_be_the_end_of_its_supervisor() {
    for (restart, reason, ends) in [
        (Restart::Transient, ExitReason::Normal, true),
        (Restart::Transient, ExitReason::Shutdown, true),
        (Restart::Transient, ExitReason::Killed, false),
        (Restart::Temporary, ExitReason::Normal, true),
        (Restart::Temporary, ExitReason::Killed, true),
    ] {
        let family = family(AutoShutdown::AnySignificant, restart, Strategy::OneForOne).await;
        family.end(0, reason).await;
        assert_eq!(family.is_over().await, ends, "{restart:?}");
        if ends {
            assert!(matches!(family.top.wait().await.reason, ExitReason::Shutdown));
            let expected = ["plain: stop, shutdown", "plain: gone", "b: stop, shutdown", "b: gone"];
            assert!(family.diary.lines().ends_with(&expected.map(str::to_owned)));
        } else {
            flush(&family.children[0]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_last_significant_child_can_be_the_end_of_its_supervisor() {
    let family = family(AutoShutdown::AllSignificant, Restart::Transient, Strategy::OneForOne).await;
    family.end(1, ExitReason::Normal).await;
    assert!(!family.is_over().await);
    family.top.restart_child("b").await.unwrap();
    family.end(0, ExitReason::Normal).await;
    assert!(!family.is_over().await, "b is back");
    family.end(1, ExitReason::Normal).await;
    assert!(family.is_over().await);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_ordinary_child_is_not_the_end_of_its_supervisor() {
    for auto_shutdown in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        let family = family(auto_shutdown, Restart::Temporary, Strategy::OneForOne).await;
        family.end(2, ExitReason::Normal).await;
        assert!(!family.is_over().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_significant_child_that_its_supervisor_ended_does_not_end_it() {
    let by_call = family(AutoShutdown::AnySignificant, Restart::Transient, Strategy::OneForOne).await;
    by_call.top.terminate_child("a").await.unwrap();
    assert!(!by_call.is_over().await);
    let by_sibling = family(AutoShutdown::AnySignificant, Restart::Transient, Strategy::OneForAll).await;
    by_sibling.end(2, ExitReason::Killed).await;
    flush(&by_sibling.children[0]).await;
    assert!(!by_sibling.is_over().await);
}

#[tokio::test(start_paused = true)]
async fn a_significant_child_that_was_terminated_is_not_waited_for() {
    let family = family(AutoShutdown::AllSignificant, Restart::Transient, Strategy::OneForOne).await;
    family.top.terminate_child("a").await.unwrap();
    family.end(1, ExitReason::Normal).await;
    assert!(family.is_over().await);
}

#[tokio::test(start_paused = true)]
async fn a_transient_supervisor_that_shut_itself_down_stays_down_and_a_permanent_one_does_not() {
    for (restart, is_back) in [(Restart::Transient, false), (Restart::Permanent, true)] {
        let (system, diary) = (System::new(), Diary::default());
        let (leaf, a) = child(&system, "a", &diary);
        let inner = SupervisorSpec::new("inner")
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(leaf.restart(Restart::Transient).significant());
        let spec = SupervisorSpec::new("outer").child(ChildSpec::supervisor(inner).restart(restart));
        let outer = system.supervise(spec).await.unwrap();
        a.tell(Tell::Stop(ExitReason::Normal)).await.unwrap();
        if is_back {
            until(|| diary.lines().iter().filter(|line| *line == "a: start").count() == 2).await;
            flush(&a).await;
        } else {
            until(|| system.lookup::<Tell>("a").is_none()).await;
            assert_eq!(outer.children().await.unwrap()[0].state, NodeState::Down);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn significant_children_are_refused_where_otp_refuses_them_before_anything_starts() {
    let permanent = ChildError::SignificantPermanent { name: "b".into() };
    let to_nobody = ChildError::SignificantToNobody { name: "b".into() };
    for (auto_shutdown, restart, refused) in [
        (AutoShutdown::Never, Restart::Transient, Some(&to_nobody)),
        (AutoShutdown::Never, Restart::Permanent, Some(&to_nobody)),
        (AutoShutdown::AnySignificant, Restart::Permanent, Some(&permanent)),
        (AutoShutdown::AllSignificant, Restart::Permanent, Some(&permanent)),
        (AutoShutdown::AnySignificant, Restart::Transient, None),
        (AutoShutdown::AllSignificant, Restart::Temporary, None),
    ] {
        let (system, diary) = (System::new(), Diary::default());
        let significant = || child(&system, "b", &diary).0.restart(restart).significant();
        let top = SupervisorSpec::new("top").auto_shutdown(auto_shutdown);
        let with_both = top.clone().child(child(&system, "a", &diary).0).child(significant());
        let at_start = match system.supervise(with_both).await {
            Ok(top) => {
                top.stop().await;
                None
            }
            Err(StartError::Child { reason, .. }) => Some(reason),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(diary.take().is_empty(), refused.is_some());
        let top = system.supervise(top).await.unwrap();
        let at_run_time = match top.start_child(significant()).await {
            Ok(()) => None,
            Err(SupervisorError::Start { reason, .. }) => Some(reason),
            Err(error) => panic!("{error}"),
        };
        for reason in [at_start, at_run_time] {
            let error = reason.as_ref().and_then(|reason| reason.as_error()?.downcast_ref::<ChildError>());
            assert_eq!(error, refused);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_children_of_one_name_are_refused_before_anything_starts() {
    let (system, diary) = (System::new(), Diary::default());
    let spec =
        SupervisorSpec::new("top").child(child(&system, "a", &diary).0).child(child(&system, "a", &diary).0);
    let Err(StartError::Child { child, reason }) = system.supervise(spec).await else {
        panic!("it is refused")
    };
    let error = reason.as_error().and_then(|error| error.downcast_ref::<ChildError>());
    assert_eq!((&*child, error), ("a", Some(&ChildError::NameTaken { name: "a".into() })));
    assert!(diary.lines().is_empty());
}
