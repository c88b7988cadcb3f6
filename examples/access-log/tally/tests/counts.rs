//! What `tally` counts, reports and hands over, beside a host that plays `alert`.

use airssys_wasm_component::testing::Host;
use airssys_wasm_component::{Config, Failure, Message, Payload, StatefulComponent, codec};
use tally::Tally;

// A component is a cdylib, which no other crate can use.
#[path = "../src/lib.rs"]
mod tally;

fn start(host: &Host, config: &Config) -> Tally {
    host.sink("alert");
    Tally::init(config).unwrap()
}

fn record(tally: &mut Tally, text: &str) -> Result<Option<Payload>, Failure> {
    tally.handle_message(Message::new(Payload::raw(text)))
}

fn report(tally: &mut Tally) -> String {
    let report = record(tally, "report").unwrap().unwrap();
    assert_eq!(report.codec, codec::JSON);
    report.text().unwrap().to_owned()
}

#[test]
fn a_report_has_the_routes_in_order() {
    let host = Host::install();
    let mut tally = start(&host, &Config::default());
    for text in ["/b\nbot\n500 10 4", "/a\nbrowser\n200 100 1.5", "/b\nbot\n499 20 4"] {
        assert_eq!(record(&mut tally, text), Ok(None));
    }
    let a = r#"{"route":"/a","count":1,"bytes":100,"p50_ms":1.4875,"p99_ms":1.4875,"errors":0}"#;
    let b = r#"{"route":"/b","count":2,"bytes":30,"p50_ms":3.9995,"p99_ms":3.9995,"errors":1}"#;
    let agents = r#"{"bot":2,"browser":1}"#;
    assert_eq!(report(&mut tally), format!(r#"{{"counted":3,"agents":{agents},"routes":[{a},{b}]}}"#));
}

#[test]
fn a_text_that_is_no_record_is_rejected_uncounted() {
    let host = Host::install();
    let mut tally = start(&host, &Config::default());
    for text in ["", "/a\nbot\n200 1", "/a\nbot\nok 1 1", "/a\nbot\n200 1 NaN", "/a\nbot\n200 1 -1"] {
        assert_eq!(record(&mut tally, text), Err(Failure::rejected("not a record")), "{text}");
    }
    assert_eq!(report(&mut tally), r#"{"counted":0,"agents":{},"routes":[]}"#);
}

#[test]
fn routes_beyond_the_bound_are_counted_together() {
    let host = Host::install();
    let mut tally = start(&host, &Config::default());
    for number in 0..1000 {
        record(&mut tally, &format!("/{number}\nbot\n200 1 1")).unwrap();
    }
    assert!(!report(&mut tally).contains("(other)"));
    for number in 1000..1005 {
        record(&mut tally, &format!("/{number}\nbot\n200 1 1")).unwrap();
    }
    record(&mut tally, "/7\nbot\n200 1 1").unwrap();
    let report = report(&mut tally);
    assert!(report.contains(r#"{"route":"(other)","count":5,"#), "{report}");
    assert!(report.contains(r#"{"route":"/7","count":2,"#), "{report}");
}

#[test]
fn alert_is_told_at_every_nth_record_of_a_route() {
    let host = Host::install();
    let mut tally = start(&host, &Config::from([("notify_every", "2")]));
    for text in ["/a\nbot\n200 1 1", "/b\nbot\n200 1 1"] {
        record(&mut tally, text).unwrap();
    }
    assert!(host.take_sent().is_empty());
    record(&mut tally, "/a\nbot\n503 1 1").unwrap();
    assert_eq!(host.take_sent()[0].payload.text(), Ok(r#"{"route":"/a","count":2,"errors":1}"#));
}

#[test]
fn a_notice_that_does_not_arrive_is_logged_and_the_record_stays_counted() {
    let host = Host::install();
    let mut tally = start(&host, &Config::from([("notify_every", "1")]));
    host.remove("alert");
    assert_eq!(record(&mut tally, "/a\nbot\n200 1 1"), Ok(None));
    assert_eq!(host.take_logged()[0].1, "alert was not told of /a: gone");
    assert!(report(&mut tally).starts_with(r#"{"counted":1,"#));
}

#[test]
fn what_one_version_saves_the_next_restores() {
    let host = Host::install();
    let mut old = start(&host, &Config::default());
    record(&mut old, "/a\nbrowser\n200 100 1.5").unwrap();
    let mut new = start(&host, &Config::default());
    new.restore(old.save().unwrap()).unwrap();
    assert_eq!(report(&mut new), report(&mut old));
}

#[test]
fn a_state_that_is_not_one_is_refused_and_the_counts_stay() {
    let host = Host::install();
    let mut tally = start(&host, &Config::default());
    record(&mut tally, "/a\nbrowser\n200 100 1.5").unwrap();
    assert!(tally.restore(Payload::raw("{}")).is_err());
    assert!(report(&mut tally).starts_with(r#"{"counted":1,"#));
}

#[test]
fn a_period_of_no_records_fails_the_start() {
    let host = Host::install();
    host.sink("alert");
    assert!(Tally::init(&Config::from([("notify_every", "0")])).is_err());
}
