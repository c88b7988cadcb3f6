//! The recorded host: what it answers, and that it forgets.

use std::time::Duration;

use airssys_wasm_component::testing::{Host, Timer, block_on};
use airssys_wasm_component::{
    Address, CallError, Callback, ComponentId, Message, Payload, SendError, cancel_request, clock, config,
    identify, log, random, reachable, replies, sleep, storage, timers, topics,
};

fn address(host: &Host) -> Address {
    host.component("double", |payload| Ok(Payload::raw([&payload.bytes[..], &payload.bytes].concat())));
    Address::lookup("double").expect("it was named above")
}

fn outcomes(callbacks: Vec<Callback>) -> Vec<(u64, Result<Payload, CallError>)> {
    callbacks.into_iter().map(|Callback { request, outcome }| (request, outcome)).collect()
}

#[test]
fn only_components_that_a_test_names_can_be_found() {
    let host = Host::install();
    host.sink("tally");
    let tally = Address::lookup("tally").unwrap();
    assert_eq!(tally.component().name, "tally");
    assert_eq!(reachable().len(), 1);
    assert_eq!(identify(1).map(|ComponentId { name, .. }| name), Some("tally".to_owned()));
    assert_eq!(identify(0), None);
    assert_eq!(Address::lookup("alert").unwrap_err(), SendError::Denied);
}

#[test]
fn a_component_that_was_removed_is_gone() {
    let host = Host::install();
    let double = address(&host);
    double.send(&Payload::raw("a")).unwrap();
    host.remove("double");
    assert_eq!(double.send(&Payload::raw("b")), Err(SendError::Gone));
    assert_eq!(double.call(&Payload::raw("b"), None), Err(CallError::NotSent(SendError::Gone)));
    assert_eq!(Address::broadcast(&[&double], &Payload::raw("b")), [Err(SendError::Gone)]);
    assert_eq!(host.take_sent().len(), 1);
}

#[test]
fn a_call_is_answered_and_one_to_a_sink_times_out() {
    let host = Host::install();
    let double = address(&host);
    assert_eq!(double.call(&Payload::raw("ab"), None), Ok(Payload::raw("abab")));
    assert_eq!(block_on(double.call_async(Payload::raw("c"), None)), Ok(Payload::raw("cc")));
    host.sink("tally");
    let tally = Address::lookup("tally").unwrap();
    assert_eq!(tally.call(&Payload::raw("ab"), Some(Duration::ZERO)), Err(CallError::Timeout));
    assert_eq!(host.take_asked().len(), 3);
}

#[test]
fn a_request_ends_once_with_its_answer_or_cancelled() {
    let host = Host::install();
    let double = address(&host);
    let answered = double.request(&Payload::raw("a"), None).unwrap();
    let cancelled = double.request(&Payload::raw("b"), None).unwrap();
    assert!(cancel_request(cancelled));
    let expected = [(answered, Ok(Payload::raw("aa"))), (cancelled, Err(CallError::Cancelled))];
    assert_eq!(outcomes(host.take_callbacks()), expected);
    assert!(!cancel_request(answered));
    assert!(host.take_callbacks().is_empty());
}

#[test]
fn an_answer_can_be_deferred_once_and_only_where_one_is_expected() {
    let host = Host::install();
    let asked = Message { correlation: Some(7), ..Message::new(Payload::empty()) };
    assert!(replies::defer(&Message::new(Payload::empty())).is_none());
    let token = replies::defer(&asked).unwrap();
    assert!(replies::defer(&asked).is_none());
    assert!(host.take_replies().is_empty());
    token.reply(Err("no".to_owned())).unwrap();
    assert_eq!(host.take_replies(), [(7, Err("no".to_owned()))]);
}

#[test]
fn what_is_published_subscribed_logged_and_timed_is_recorded() {
    let host = Host::install();
    topics::subscribe("a.*").unwrap();
    topics::subscribe("a.*").unwrap();
    assert_eq!(host.subscriptions(), ["a.*"]);
    assert_eq!(topics::unsubscribe("a.*"), Ok(true));
    assert_eq!(topics::unsubscribe("a.*"), Ok(false));
    topics::publish("a.b", &Payload::raw("x")).unwrap();
    assert_eq!(host.take_published(), [("a.b".to_owned(), Payload::raw("x"))]);

    log::warn("careful");
    assert_eq!(host.take_logged(), [(log::LogLevel::Warn, "careful".to_owned())]);
    assert!(host.take_logged().is_empty());

    let timer = timers::interval(Duration::from_micros(1500), &Payload::raw("t")).unwrap();
    let set = Timer { after: Duration::from_millis(2), repeats: true, payload: Payload::raw("t") };
    assert_eq!(host.timers(), [set], "a wait is never shorter than asked for");
    assert!(timers::cancel(timer));
    assert!(!timers::cancel(timer));
}

#[test]
fn time_moves_only_when_a_test_or_a_sleep_moves_it() {
    let host = Host::install();
    assert_eq!(clock::monotonic(), Duration::ZERO);
    host.advance(Duration::from_secs(1));
    sleep::sleep(Duration::from_secs(2));
    block_on(sleep::sleep_async(Duration::from_secs(3)));
    assert_eq!(clock::now(), Duration::from_secs(6));
}

#[test]
fn keys_are_listed_in_order_from_a_place_on_up_to_a_limit() {
    let _host = Host::install();
    for key in ["b", "a/2", "a/1", "a/3"] {
        storage::set(key, b"1").unwrap();
    }
    assert_eq!(storage::list_keys("a/", None, 9).unwrap(), ["a/1", "a/2", "a/3"]);
    assert_eq!(storage::list_keys("a/", Some("a/1"), 1).unwrap(), ["a/2"]);
    assert_eq!(storage::usage().unwrap().keys, 4);
    assert_eq!(storage::delete("b"), Ok(true));
    assert_eq!(storage::exists("b"), Ok(false));
}

#[test]
fn a_swap_happens_only_from_the_expected_value() {
    let _host = Host::install();
    assert_eq!(storage::compare_and_swap("k", Some(b"1"), Some(b"2")), Ok(false));
    assert_eq!(storage::compare_and_swap("k", None, Some(b"1")), Ok(true));
    assert_eq!(storage::compare_and_swap("k", Some(b"1"), None), Ok(true));
    assert_eq!(storage::get("k"), Ok(None));
}

#[test]
fn randomness_is_the_same_in_every_test() {
    let _host = Host::install();
    let first = (random::number(), random::bytes(4));
    let _host = Host::install();
    assert_eq!((random::number(), random::bytes(4)), first);
    assert_eq!(random::bytes(u32::MAX).len(), 65_536);
}

#[test]
fn a_new_host_has_forgotten_the_old_one() {
    let old = Host::install();
    old.sink("tally");
    old.set_config("key", "value");
    assert_eq!(config::entry("key"), Some("value".to_owned()));
    assert_eq!(config::entries().entry("key"), Some("value"));
    let _new = Host::install();
    assert!(Address::lookup("tally").is_err());
    assert_eq!(config::entry("key"), None);
}
