//! What `parse` makes of a line, beside a host that plays `enrich` and `tally`.

use airssys_wasm_component::testing::Host;
use airssys_wasm_component::{CallError, Component, Config, Failure, Message, Payload};
use parse::Parse;

// A component is a cdylib, which no other crate can use.
#[path = "../src/lib.rs"]
mod parse;

const LINE: &str = r#"203.0.113.7 - - [21/Nov/2026:10:00:00 +0000] "GET /products/17 HTTP/1.1" 200 5120 "-" "Mozilla/5.0 (X11)" 12.5"#;

fn handle(host: &Host, line: &str) -> Result<Option<Payload>, Failure> {
    host.component("enrich", |_| Ok(Payload::raw("/products/:id\nbrowser")));
    host.sink("tally");
    Parse::init(&Config::default())?.handle_message(Message::new(Payload::raw(line)))
}

#[test]
fn a_line_becomes_a_record_and_is_accepted() {
    let host = Host::install();
    assert_eq!(handle(&host, LINE), Ok(Some(Payload::empty())));
    assert_eq!(host.take_asked()[0].payload, Payload::raw("/products/17\nMozilla/5.0 (X11)"));
    assert_eq!(host.take_sent()[0].payload, Payload::raw("/products/:id\nbrowser\n200 5120 12.5"));
}

#[test]
fn a_dash_stands_for_no_bytes() {
    let host = Host::install();
    assert!(handle(&host, &LINE.replace(" 200 5120 ", " 304 - ")).is_ok());
    assert_eq!(host.take_sent()[0].payload, Payload::raw("/products/:id\nbrowser\n304 0 12.5"));
}

#[test]
fn a_malformed_line_is_rejected_and_nothing_is_sent() {
    let host = Host::install();
    let no_path = LINE.replace("GET /products/17 HTTP/1.1", "GET");
    let no_bytes = LINE.replace(" 5120 ", " many ");
    let no_time = LINE.replace("12.5", "slow");
    for line in ["", "hello", &no_path, &no_bytes, &no_time] {
        assert_eq!(handle(&host, line), Err(Failure::rejected("malformed")), "{line}");
    }
    assert!(host.take_sent().is_empty());
    assert!(host.take_asked().is_empty());
}

#[test]
fn a_broken_status_and_an_unfinished_quote_panic_before_anything_is_sent() {
    let host = Host::install();
    for line in [LINE.replace(" 200 ", " 2xx "), LINE.replace("(X11)\" 12.5", "(X1")] {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle(&host, &line)));
        assert!(panicked.is_err(), "{line}");
    }
    assert!(host.take_sent().is_empty());
    assert!(host.take_asked().is_empty());
}

#[test]
fn without_an_answer_of_enrich_the_line_is_refused_uncounted() {
    let host = Host::install();
    host.component("enrich", |_| Err(CallError::Died));
    host.sink("tally");
    let mut parse = Parse::init(&Config::default()).unwrap();
    assert_eq!(parse.handle_message(Message::new(Payload::raw(LINE))), Err(Failure::rejected("died")));
    assert!(host.take_sent().is_empty());
}

#[test]
fn the_sample_holds_lines_of_every_kind() {
    let host = Host::install();
    let (mut accepted, mut rejected, mut panicked) = (0, 0, 0);
    for line in include_str!("../../sample.log").lines() {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle(&host, line))) {
            Ok(Ok(_)) => accepted += 1,
            Ok(Err(_)) => rejected += 1,
            Err(_) => panicked += 1,
        }
    }
    assert_eq!((accepted, rejected, panicked), (1986, 7, 7));
    assert_eq!(host.take_sent().len(), accepted);
}
