//! When `alert` speaks.

use airssys_wasm_component::testing::Host;
use airssys_wasm_component::{Component, Config, Message, Payload};
use alert::Alert;

// A component is a cdylib, which no other crate can use.
#[path = "../src/lib.rs"]
mod alert;

/// Gives the notices in order and returns the texts that were published.
fn published(config: &Config, notices: &[(u64, u64)]) -> Vec<String> {
    let host = Host::install();
    let mut alert = Alert::init(config).unwrap();
    for (count, errors) in notices {
        let notice = format!(r#"{{"route":"/a","count":{count},"errors":{errors}}}"#);
        let payload = Payload { codec: airssys_wasm_component::codec::JSON, bytes: notice.into_bytes() };
        assert_eq!(alert.handle_message(Message::new(payload)), Ok(None));
    }
    let published = host.take_published();
    assert!(published.iter().all(|(topic, _)| topic == "alert.raised"));
    published.iter().map(|(_, payload)| payload.text().unwrap().to_owned()).collect()
}

#[test]
fn a_route_above_the_threshold_is_reported_once() {
    let raised = r#"{"route":"/a","error_rate":0.06,"count":1000}"#;
    assert_eq!(published(&Config::default(), &[(1000, 60), (2000, 130)]), [raised]);
}

#[test]
fn a_route_at_the_threshold_is_not_reported() {
    assert!(published(&Config::default(), &[(1000, 50)]).is_empty());
}

#[test]
fn a_route_that_came_back_is_reported_again() {
    assert_eq!(published(&Config::default(), &[(1000, 60), (2000, 60), (3000, 300)]).len(), 2);
}

#[test]
fn too_few_requests_are_not_reported() {
    let config = Config::from([("minimum", "2000"), ("threshold", "0.01")]);
    assert!(published(&config, &[(1999, 1999)]).is_empty());
    assert_eq!(published(&config, &[(1999, 1999), (2000, 1999)]).len(), 1);
}

#[test]
fn a_threshold_outside_its_range_fails_the_start() {
    for threshold in ["1.1", "-0.1", "NaN", "much"] {
        assert!(Alert::init(&Config::from([("threshold", threshold)])).is_err(), "{threshold}");
    }
}
