//! The slice: two real guests, a call from one to the other, a trap, a restart, a reply.

use airssys_rt::Event;
use airssys_wasm::{CallError, CrashCause, CrashReport};

use crate::world::{Part, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_calls_a_guest_that_traps_is_restarted_and_answers_again() {
    let world =
        World::start(vec![Part::new("target", "crasher"), Part::new("caller", "relay").to("target")]).await;
    let mut events = world.system.events();

    assert_eq!(world.answer("caller", "call:hello").await, "hello");
    assert_eq!(world.answer("target", "count").await, "2");

    let answer = world.answer("caller", "call:panic").await;
    assert!(answer.starts_with("died"), "the caller learns at once that its callee died: {answer}");

    // The same address reaches the fresh instance, whose state begins anew.
    assert_eq!(world.answer("caller", "call:again").await, "again");
    assert_eq!(world.answer("target", "count").await, "2");
    world.restarted("target", 1).await;
    assert_eq!(world.restarts("caller"), 0);

    let reason = loop {
        let event = events.next().await.expect("the system lives").expect("few events");
        if let Event::Exited { reason, .. } = event {
            break reason;
        }
    };
    let report: &CrashReport =
        reason.as_error().and_then(|error| error.downcast_ref()).expect("a crash report");
    assert!(matches!(report.cause, CrashCause::Trap(_)), "{report}");
    assert_eq!(report.message.as_ref().expect("the message it crashed on").bytes.as_ref(), b"panic");
    let functions: Vec<_> = report.backtrace.iter().map(|frame| frame.function.as_str()).collect();
    assert!(functions.iter().any(|name| name.contains("handle_message")), "symbolised: {functions:?}");
    assert!(
        report.to_string().contains("in <crasher::Crasher as"),
        "the guest's own frame is named: {report}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_wait_while_a_guest_traps_are_handled_by_the_next_instance_in_order() {
    let world = World::start(vec![Part::new("target", "crasher")]).await;
    let asked: Vec<_> = ["panic", "one", "two", "count"].map(|text| world.ask("target", text)).into();
    let answers = futures_util::future::join_all(asked).await;
    assert_eq!(answers[0], Err(CallError::Died));
    assert_eq!(answers[1].as_deref(), Ok("one"));
    assert_eq!(answers[2].as_deref(), Ok("two"));
    assert_eq!(answers[3].as_deref(), Ok("3"), "the fresh instance has handled one, two and this");
    world.restarted("target", 1).await;
    world.stop().await;
}
