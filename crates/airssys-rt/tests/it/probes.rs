//! Probes of the test kit: what they show, and what they say when it is not what was expected.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use airssys_rt::testing::{self, Probe};
use airssys_rt::{ExitReason, MailboxOptions, Signal, SupervisorSpec, TellError};

use crate::probe::{Diary, SOON, Tell, spawn};

#[test]
fn a_probe_shows_messages_in_the_order_of_each_sender() {
    testing::check(50, |system| async move {
        let mut probe = Probe::spawn(&system, "probe").await;
        let senders: Vec<_> = (0..3)
            .map(|sender| {
                let address = probe.address().clone();
                testing::spawn(&system, format!("sender {sender}"), async move {
                    for n in 0..10 {
                        address.tell((sender, n)).await.unwrap();
                    }
                })
            })
            .collect();
        let mut next = [0; 3];
        for _ in 0..30 {
            let (sender, n) = probe.expect_message(SOON).await;
            assert_eq!(n, next[sender]);
            next[sender] += 1;
        }
        for sender in senders {
            sender.await;
        }
        probe.expect_no_message(SOON).await;
        assert_eq!(probe.unread_messages(), []);
    });
}

#[test]
fn a_probe_shows_signals_apart_from_messages() {
    testing::check(50, |system| async move {
        let mut probe = Probe::<u32>::spawn(&system, "probe").await;
        let a = spawn(&system, "a", &Diary::default()).await;
        probe.link(a.id());
        let monitor = probe.monitor(a.id());
        probe.address().tell(1).await.unwrap();
        a.exit(ExitReason::Shutdown);
        let [one, other] = [probe.expect_signal(SOON).await, probe.expect_signal(SOON).await];
        assert!(matches!(one, Signal::Exit(exit) if exit.id == a.id()));
        assert!(matches!(other, Signal::Down { monitor: of, .. } if of == monitor));
        probe.monitor(a.id());
        assert!(matches!(probe.expect_exit(SOON).await.reason, ExitReason::NoProc));
        probe.address().exit(ExitReason::Shutdown);
        assert!(matches!(probe.expect_signal(SOON).await, Signal::ExitRequested(ExitReason::Shutdown)));
        probe.expect_no_signal(SOON).await;
        assert_eq!(probe.expect_message(SOON).await, 1);
    });
}

#[test]
fn a_supervised_probe_shows_what_reaches_each_incarnation() {
    testing::check(50, |system| async move {
        let (child, mut probe) = Probe::child(&system, "probe");
        system.supervise(SupervisorSpec::new("top").child(child)).await.unwrap();
        probe.address().tell(1).await.unwrap();
        assert_eq!(probe.expect_message(SOON).await, 1);
        probe.address().exit(ExitReason::Killed);
        probe.address().tell(2).await.unwrap();
        assert_eq!(probe.expect_message(SOON).await, 2);
        assert!(system.shutdown(SOON).await.is_clean());
        assert!(matches!(probe.address().try_tell(3), Err(TellError::Closed(3))));
    });
}

#[test]
fn a_probe_that_is_not_read_holds_its_senders_back() {
    testing::run(0, |system| async move {
        let probe = Probe::spawn(&system, "probe").await;
        let capacity = MailboxOptions::default().capacity;
        let mut sent = 0;
        while tokio::time::timeout(SOON, probe.address().tell(())).await.is_ok() {
            sent += 1;
        }
        assert!((capacity..=3 * capacity).contains(&sent), "{sent}");
    });
}

/// What is said when this expectation is not met.
async fn complaint<T>(expect: impl Future<Output = T>) -> String {
    let mut expect = std::pin::pin!(expect);
    std::future::poll_fn(|cx| match std::panic::catch_unwind(AssertUnwindSafe(|| expect.as_mut().poll(cx))) {
        Ok(polled) => polled.map(|_| panic!("it is content")),
        Err(payload) => std::task::Poll::Ready(*payload.downcast::<String>().expect("a message")),
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_disappointed_says_by_what_and_where() {
    let system = airssys_rt::System::new();
    let mut probe = Probe::<u32>::spawn(&system, "p").await;
    let second = Duration::from_secs(1);
    let said = complaint(probe.expect_message(second)).await;
    assert!(
        said.starts_with("probe p got no message within 1s, at ") && said.contains("probes.rs"),
        "{said}"
    );
    let said = complaint(probe.expect_exit(second)).await;
    assert!(said.starts_with("probe p saw no end within 1s"), "{said}");
    probe.address().tell(1).await.unwrap();
    let said = complaint(probe.expect_no_message(second)).await;
    assert!(said.starts_with("probe p got a message"), "{said}");
    for _ in 0..3 {
        probe.address().exit(ExitReason::Shutdown);
    }
    let said = complaint(probe.expect_exit(second)).await;
    assert!(said.starts_with("probe p got ExitRequested(Shutdown)"), "{said}");
    let said = complaint(probe.expect_no_signal(second)).await;
    assert!(said.starts_with("probe p got ExitRequested(Shutdown)"), "{said}");
    assert_eq!(probe.unread_signals().len(), 1);
    probe.address().exit(ExitReason::Killed);
    let said = complaint(probe.expect_message(second)).await;
    assert!(said.starts_with("probe p has ended"), "{said}");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a probe does not start: name a is taken")]
async fn a_probe_needs_a_name_of_its_own() {
    let system = airssys_rt::System::new();
    let _a = spawn(&system, "a", &Diary::default()).await;
    Probe::<Tell>::spawn(&system, "a").await;
}
