//! What a guest may do to itself, its host may survive: each end is a typed exit and a fresh instance.

use std::time::{Duration, Instant};

use airssys_rt::{Event, MailboxOptions, Overflow};
use airssys_wasm::manifest::Limits;
use airssys_wasm::{CallError, CrashCause, CrashReport, Payload, Refused};

use crate::world::{Part, World, component, engines, guest};

/// Crashes a fresh crasher with a command and returns how the report names the cause.
async fn crash_of(limits: Limits, command: &str) -> String {
    let metered = limits.fuel_max.is_some();
    let component = airssys_wasm::Component::load(&engines(), &guest("crasher"), metered).expect("it loads");
    let world = World::start(vec![Part { limits, component, ..Part::new("victim", "crasher") }]).await;
    let mut events = world.system.events();
    assert_eq!(world.ask("victim", command).await, Err(CallError::Died), "{command}");
    let report = loop {
        if let Event::Exited { reason, .. } =
            events.next().await.expect("the system lives").expect("few events")
        {
            let report: &CrashReport =
                reason.as_error().and_then(|error| error.downcast_ref()).expect("a report");
            break report.cause.to_string();
        }
    };
    assert_eq!(world.answer("victim", "count").await, "1", "a fresh instance answers after {command}");
    world.restarted("victim", 1).await;
    world.stop().await;
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g3_a_guest_that_loops_for_ever_is_ended_when_its_guest_time_is_used() {
    let limits = Limits { cpu_max: Duration::from_millis(50), ..Limits::default() };
    let started = Instant::now();
    let cause = crash_of(limits, "loop").await;
    assert_eq!(cause, CrashCause::GuestTime { ms_max: 50 }.to_string());
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_with_fuel_ends_when_it_is_burnt() {
    let limits = Limits { fuel_max: Some(1_000_000), ..Limits::default() };
    let cause = crash_of(limits, "loop").await;
    assert!(cause.contains("fuel"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_a_guest_that_grows_without_end_is_stopped_at_its_memory_limit() {
    let limits = Limits { memory_bytes_max: 4 << 20, ..Limits::default() };
    let cause = crash_of(limits, "grow").await;
    assert!(cause.contains("beyond its limit of 4194304 bytes"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g4_a_guest_that_recurses_without_end_overflows_its_own_stack_only() {
    let cause = crash_of(Limits::default(), "recurse").await;
    assert!(cause.contains("stack") || cause.contains("memory"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_gives_up_says_why() {
    let cause = crash_of(Limits::default(), "fatal").await;
    assert!(cause.contains("told to fail"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_is_answered_and_ends_nothing() {
    let world = World::start(vec![Part::new("victim", "crasher")]).await;
    let Err(CallError::Rejected(rejected)) = world.ask("victim", "reject").await else { panic!("rejected") };
    assert!(rejected.reason.contains("told to refuse"));
    assert_eq!(world.answer("victim", "count").await, "2");
    assert_eq!(world.restarts("victim"), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_in_the_host_costs_no_guest_time_but_counts_for_the_deadline() {
    let limits = Limits { cpu_max: Duration::from_millis(20), ..Limits::default() };
    let world = World::start(vec![Part { limits, ..Part::new("sleeper", "crasher") }]).await;
    assert_eq!(world.answer("sleeper", "sleep:200").await, "sleep:200");
    // Each nap is longer than a tick of the clock, and all of them together many times the guest's own time.
    assert_eq!(world.answer("sleeper", "naps:40:7").await, "naps:40:7");
    world.stop().await;

    let limits = Limits { deadline: Duration::from_millis(100), ..Limits::default() };
    let world = World::start(vec![Part { limits, ..Part::new("sleeper", "crasher") }]).await;
    // The sleep itself ends at the deadline, so either the guest answers just before it or the host ends the guest.
    let answer = world.ask("sleeper", "sleep:60000").await;
    assert!(matches!(answer, Err(CallError::Died) | Ok(_)), "{answer:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_looping_guest_is_ended_by_an_exit_signal_at_its_next_tick() {
    let limits = Limits { cpu_max: Duration::from_secs(60), ..Limits::default() };
    let world = World::start(vec![Part { limits, ..Part::new("victim", "crasher") }]).await;
    let handle = world.get("victim").clone();
    handle.send(Payload::raw("loop")).await.expect("it is taken");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let asked = Instant::now();
    handle.crash();
    assert_eq!(world.answer("victim", "count").await, "1");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    world.restarted("victim", 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_looping_guest_still_stops() {
    let limits = Limits { cpu_max: Duration::from_secs(600), ..Limits::default() };
    let world = World::start(vec![Part { limits, ..Part::new("victim", "crasher") }]).await;
    world.get("victim").send(Payload::raw("loop")).await.expect("it is taken");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let asked = Instant::now();
    world.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_the_message_in_work_come_to_its_end() {
    let world = World::start(vec![Part::new("slow", "crasher")]).await;
    let slow = world.get("slow").clone();
    let asked = tokio::spawn(async move { slow.call(Payload::raw("sleep:300"), None).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.stop().await;
    assert_eq!(asked.await.expect("no panic"), Ok(Payload::raw("sleep:300")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_at_the_limit_passes_and_one_byte_more_comes_back() {
    let limits = Limits { payload_bytes_max: 1000, ..Limits::default() };
    let world = World::start(vec![Part { limits, ..Part::new("echo", "echo") }]).await;
    let echo = world.get("echo");
    let reply = echo.call(Payload::raw(vec![7; 1000]), None).await.expect("it fits");
    assert_eq!(reply.bytes.len(), 1000);
    let error = echo.send(Payload::raw(vec![7; 1001])).await.expect_err("it does not fit");
    assert_eq!(error.refused, Refused::TooLarge { bytes_max: 1000 });
    assert_eq!(error.payload.bytes.len(), 1001, "the message comes back whole");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_over_the_limit_of_either_side_becomes_a_refusal_and_hurts_nobody() {
    let small = Limits { payload_bytes_max: 1000, ..Limits::default() };
    let world = World::start(vec![
        Part::new("big", "relay"),
        Part { limits: small.clone(), ..Part::new("asker", "relay").to("big") },
        Part { limits: small, ..Part::new("modest", "relay") },
    ])
    .await;
    assert_eq!(world.answer("asker", "call:bytes:1000").await.len(), 1000);
    let answer = world.answer("asker", "call:bytes:1001").await;
    assert!(answer.starts_with("rejected") && answer.contains("the asker takes 1000"), "{answer}");
    assert_eq!(world.answer("modest", "bytes:1000").await.len(), 1000);
    let Err(CallError::Rejected(rejected)) = world.ask("modest", "bytes:1001").await else {
        panic!("rejected")
    };
    assert!(rejected.reason.contains("may send 1000"), "{}", rejected.reason);
    for name in ["big", "asker", "modest"] {
        assert_eq!(world.restarts(name), 0, "{name}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_is_refused_what_its_component_would_not_take() {
    let limits = Limits { payload_bytes_max: 100, ..Limits::default() };
    let world = World::start(vec![Part { limits, ..Part::new("clock", "relay") }]).await;
    let fits = "x".repeat(70);
    assert!(world.answer("clock", &format!("after:60000:{fits}")).await.parse::<u64>().is_ok());
    // The text is sent back with `tick:` before it: five bytes more than the command carries beside `after:1:`.
    let text = "y".repeat(91);
    let answer = world.answer("clock", &format!("after:1:{text}")).await;
    assert!(answer.parse::<u64>().is_ok(), "96 of 100 bytes: {answer}");
    let mut answer = String::new();
    for _ in 0..40 {
        answer = world.answer("clock", &format!("after:60000:{fits}")).await;
    }
    assert!(
        answer.starts_with("mailbox-full"),
        "its timers hold no more than sixteen messages of 100 bytes: {answer}"
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_full_mailbox_returns_the_message_and_says_so_to_a_guest() {
    let mailbox = MailboxOptions::bounded(2).overflow(Overflow::Reject);
    let slow = Part { mailbox, ..Part::new("slow", "crasher") };
    let world = World::start(vec![slow, Part::new("sender", "relay").to("slow")]).await;
    let target = world.get("slow").clone();
    target.send(Payload::raw("sleep:2000")).await.expect("it is taken");
    tokio::time::sleep(Duration::from_millis(100)).await;
    target.send(Payload::raw("one")).await.expect("the first place");
    target.send(Payload::raw("two")).await.expect("the second place");
    let error = target.send(Payload::raw("three")).await.expect_err("no third place");
    assert_eq!((error.refused, error.payload), (Refused::MailboxFull, Payload::raw("three")));
    let answer = world.answer("sender", "send:four").await;
    assert!(answer.starts_with("mailbox-full"), "{answer}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_full_overflows_to_memory_on_demand() {
    // The engines of the tests have a pool of 64 instances.
    let names: Vec<&'static str> = (0..80).map(|n| &*format!("echo{n}").leak()).collect();
    let shared = component("echo");
    let parts =
        names.iter().map(|name| Part { component: shared.clone(), ..Part::new(name, "echo") }).collect();
    let world = World::start(parts).await;
    for name in &names {
        assert_eq!(world.answer(name, "here").await, "here", "{name}");
    }
    world.stop().await;
}
