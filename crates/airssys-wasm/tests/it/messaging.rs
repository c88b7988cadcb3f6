//! What components promise each other: send, call, request, publish, reply later, and exactly one end of each.

use std::time::Duration;

use airssys_rt::Strategy;
use airssys_wasm::manifest::TopicPattern;
use airssys_wasm::{CallError, Payload};

use crate::world::{Part, SOON, World};

async fn pair() -> World {
    World::start(vec![Part::new("target", "crasher"), Part::new("relay", "relay").to("target")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_sends_the_other_handles() {
    let world = pair().await;
    for _ in 0..3 {
        assert_eq!(world.answer("relay", "send:hello").await, "ok");
    }
    world.until("target", "count", |count| count.parse::<u64>().is_ok_and(|count| count >= 4)).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_stamps_the_sender_whatever_the_payload_says() {
    let world = World::start(vec![Part::new("b", "relay"), Part::new("a", "relay").to("b")]).await;
    assert_eq!(world.answer("a", "call:who").await, "test/a#0");
    assert_eq!(world.answer("b", "who").await, "host");
    assert_eq!(world.answer("b", "self").await, "test/b#0");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_not_answered_in_time_says_timeout() {
    let world = pair().await;
    let answer = world.answer("relay", "call-in:50:sleep:1000").await;
    assert!(answer.starts_with("timeout"), "{answer}");
    // The target was not hurt by a caller that stopped waiting.
    assert_eq!(world.answer("relay", "call:still there").await, "still there");
    assert_eq!(world.restarts("target"), 0);
    world.stop().await;
}

/// The target's sleep ends with its caller's deadline, so its answer and the timeout fall into one instant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_the_instant_in_which_the_time_ran_out_is_too_late() {
    let world = pair().await;
    for round in 0..200 {
        let answer = world.answer("relay", "call-in:2:sleep:1000").await;
        assert!(answer.starts_with("timeout"), "round {round}: {answer}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_beyond_the_clock_is_cut_to_what_it_can_count() {
    let world = pair().await;
    let answer = world.get("target").call(Payload::raw("hello"), Some(Duration::MAX)).await;
    assert_eq!(answer, Ok(Payload::raw("hello")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_callee_reaches_the_caller_as_text() {
    let world = pair().await;
    let answer = world.answer("relay", "call:reject").await;
    assert!(answer.starts_with("rejected") && answer.contains("told to refuse"), "{answer}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_ends_exactly_once_at_the_callback() {
    let world = pair().await;
    let id = world.answer("relay", "request:hello").await;
    let outcomes = world.until("relay", "outcomes", |outcomes| outcomes.contains("hello")).await;
    assert_eq!(outcomes, format!(r#"[[{id},"ok","hello"]]"#));

    let died = world.answer("relay", "request:panic").await;
    let outcomes = world.until("relay", "outcomes", |outcomes| outcomes.contains("died")).await;
    assert_eq!(outcomes.matches(&format!("[{died},")).count(), 1, "{outcomes}");

    let none = world.answer("relay", "request-in:0:hello").await;
    let outcomes = world.until("relay", "outcomes", |outcomes| outcomes.contains(&format!("[{none},"))).await;
    assert!(outcomes.contains(&format!(r#"[{none},"error","timeout"#)), "no time at all: {outcomes}");

    let late = world.answer("relay", "request-in:30:sleep:300").await;
    world.until("relay", "outcomes", |outcomes| outcomes.contains("timeout")).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let outcomes = world.answer("relay", "outcomes").await;
    assert_eq!(outcomes.matches(&format!("[{late},")).count(), 1, "the late answer is dropped: {outcomes}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_request_says_so_once_and_an_ended_one_cannot_be_cancelled() {
    let world = pair().await;
    let id = world.answer("relay", "request:sleep:300").await;
    assert_eq!(world.answer("relay", &format!("cancel:{id}")).await, "true");
    assert_eq!(world.answer("relay", &format!("cancel:{id}")).await, "false");
    world.until("relay", "outcomes", |outcomes| outcomes.contains("cancelled")).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let outcomes = world.answer("relay", "outcomes").await;
    assert_eq!(outcomes.matches(&format!("[{id},")).count(), 1, "{outcomes}");
    assert_eq!(world.answer("relay", "cancel:999999999").await, "false");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_to_an_instance_that_ended_reach_nobody() {
    let world =
        World::start(vec![Part::new("target", "crasher"), Part::new("relay", "relay").to("target")]).await;
    world.answer("relay", "request:sleep:200").await;
    world.get("relay").crash();
    world.until("relay", "outcomes", |outcomes| outcomes == "[]").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.answer("relay", "outcomes").await, "[]");
    world.restarted("relay", 1).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_would_close_a_circle_is_refused_with_the_circle() {
    let world = World::start(vec![
        Part::new("a", "relay").to("b"),
        Part::new("b", "relay").to("c"),
        Part::new("c", "relay").to("a"),
    ])
    .await;
    let answer = world.answer("a", "call:call:call:self").await;
    assert!(answer.starts_with("cycle"), "{answer}");
    for id in ["test/c#0", "test/a#0", "test/b#0"] {
        assert!(answer.contains(id), "{answer} names {id}");
    }
    // Without the closing call the chain answers.
    assert_eq!(world.answer("a", "call:call:self").await, "test/c#0");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_to_oneself_is_a_circle() {
    let world = World::start(vec![Part::new("a", "relay").to("a")]).await;
    let answer = world.answer("a", "call:self").await;
    assert!(answer.starts_with("cycle"), "{answer}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_flows_down_a_chain_of_calls() {
    let world = World::start(vec![Part::new("c", "relay"), Part::new("b", "relay").to("c")]).await;
    let reply = world.get("b").call(Payload::raw("call:deadline"), Some(Duration::from_millis(2000))).await;
    let left: u64 = String::from_utf8_lossy(&reply.expect("it answers").bytes).parse().expect("a number");
    assert!(left <= 2000, "{left}: c may not take longer than b's asker waits");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_sender_stopped_waiting_is_not_handled() {
    let world = World::start(vec![Part::new("slow", "crasher")]).await;
    let slow = world.get("slow").clone();
    slow.send(Payload::raw("sleep:300")).await.expect("it is taken");
    let expired = slow.call(Payload::raw("late"), Some(Duration::from_millis(50))).await;
    assert_eq!(expired, Err(CallError::Timeout));
    assert_eq!(world.answer("slow", "count").await, "2", "the sleep and this, not the late one");
    // The mailbox sees it first; on the way into the guest the router would.
    let expired = world.system.dead_letters().expired + world.runtime.router().counts().expired;
    assert_eq!(expired, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_message_reaches_those_who_listen_and_nobody_else() {
    let listener = |name| Part::new(name, "relay").may_subscribe("news.#").config("subscribe", "news.*");
    let world = World::start(vec![
        listener("one"),
        listener("two"),
        Part::new("other", "relay").may_subscribe("weather").config("subscribe", "weather"),
        Part::new("press", "relay").may_publish("news.#"),
    ])
    .await;
    let mut host = world.runtime.router().listen([TopicPattern::parse("news.#").expect("a pattern")]);
    assert_eq!(world.answer("press", "publish:news.today:hello").await, "3");
    for name in ["one", "two"] {
        world.until(name, "received", |received| received == r#"[["news.today","hello"]]"#).await;
    }
    let heard = tokio::time::timeout(SOON, host.recv()).await.expect("in time").expect("a message");
    assert_eq!((heard.topic.as_ref(), heard.payload.bytes.as_ref()), ("news.today", b"hello".as_ref()));
    assert_eq!(heard.from.expect("a component").name(), "press");
    assert_eq!(world.answer("other", "received").await, "[]");

    assert_eq!(world.answer("one", "unsubscribe:news.*").await, "true");
    assert_eq!(world.answer("one", "unsubscribe:news.*").await, "false");
    assert_eq!(world.answer("press", "publish:news.today:again").await, "2");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_ends_with_the_instance_and_comes_back_with_the_next() {
    let world = World::start(vec![
        Part::new("one", "relay").may_subscribe("news").config("subscribe", "news"),
        Part::new("press", "relay").may_publish("news"),
    ])
    .await;
    world.get("one").crash();
    world.until("one", "self", |_| true).await;
    assert_eq!(world.answer("press", "publish:news:hello").await, "1", "one subscription, not two");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_can_be_given_later_and_once() {
    let world = World::start(vec![Part::new("b", "relay"), Part::new("a", "relay").to("b")]).await;
    let a = world.get("a").clone();
    let asked = tokio::spawn(async move { a.call(Payload::raw("call:defer"), Some(SOON)).await });
    world.until("b", "answer:at last", |answer| answer == "ok").await;
    let reply = asked.await.expect("no panic").expect("it is answered");
    assert_eq!(reply.bytes.as_ref(), b"at last");
    assert_eq!(world.answer("b", "answer:again").await, "none");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_come_back_to_their_component_and_end_with_it() {
    let world = World::start(vec![Part::new("clock", "relay")]).await;
    world.answer("clock", "after:20:once").await;
    let interval = world.answer("clock", "every:10:beat").await;
    world.until("clock", "ticks", |ticks| ticks.matches("beat").count() >= 3 && ticks.contains("once")).await;
    assert_eq!(world.answer("clock", &format!("stop-timer:{interval}")).await, "true");
    world.answer("clock", "every:5:ghost").await;
    world.get("clock").crash();
    world.until("clock", "ticks", |ticks| ticks == "[]").await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(world.answer("clock", "ticks").await, "[]", "no timer of the earlier instance");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_for_all_gives_each_a_fresh_instance_when_one_traps() {
    let parts = || vec![Part::new("a", "crasher"), Part::new("b", "crasher")];
    let world = World::supervised(parts(), Strategy::OneForAll, 5).await;
    assert_eq!(world.answer("a", "one").await, "one");
    assert_eq!(world.ask("b", "panic").await, Err(CallError::Died));
    world.until("a", "count", |count| count == "1").await;
    world.stop().await;

    let world = World::start(parts()).await;
    assert_eq!(world.answer("a", "one").await, "one");
    assert_eq!(world.ask("b", "panic").await, Err(CallError::Died));
    assert_eq!(world.answer("b", "count").await, "1");
    assert_eq!(world.answer("a", "count").await, "2", "one for one leaves the sibling alone");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_async_component_awaits_its_calls_on_the_same_node() {
    let world =
        World::start(vec![Part::new("target", "echo"), Part::new("async", "async-echo").may_send("target")])
            .await;
    assert_eq!(world.answer("async", "hello").await, "hello");
    assert_eq!(world.answer("async", "sleep:20").await, "sleep:20");
    assert_eq!(world.answer("async", "call:target:over there").await, "over there");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_goes_round_a_ring_of_guests() {
    let world = World::start(vec![
        Part::new("one", "ring").to("two"),
        Part::new("two", "ring").to("three"),
        Part::new("three", "ring").to("one"),
    ])
    .await;
    world.get("one").send(Payload::raw(30_u64.to_le_bytes().to_vec())).await.expect("it is taken");
    let handled = |name: &str| world.get(name).mailbox().handled;
    let all = async {
        while handled("one") + handled("two") + handled("three") < 31 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, all).await.expect("the token is handed on thirty times");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bench_guest_hands_on_what_it_gets() {
    let world = World::start(vec![Part::new("sink", "hop"), Part::new("source", "hop").to("sink")]).await;
    for _ in 0..10 {
        world.get("source").send(Payload::raw("x")).await.expect("it is taken");
    }
    world.until("sink", "count?", |count| count.parse::<u64>().is_ok_and(|count| count >= 10)).await;
    world.stop().await;
}
