//! The access log of the README, counted to the last line.

use serde_json::Value;

use crate::harness::{Home, assert_adds_up, repository};

#[test]
fn every_line_of_the_example_is_counted_exactly_once() {
    let example = repository().join("examples/access-log");
    let sample = example.join("sample.log");
    let lines = std::fs::read(&sample).unwrap().iter().filter(|byte| **byte == b'\n').count() as u64;

    let home = Home::new();
    let ran = home.run_json(&["up", example.to_str().unwrap(), "--input", sample.to_str().unwrap()]);

    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let data = ran.data();
    assert_adds_up(&data);
    assert_eq!(data["read"], lines);
    let routes = data["routes"].as_array().unwrap();
    let counted: u64 = routes.iter().map(|route| route["count"].as_u64().unwrap()).sum();
    assert_eq!(data["accepted"], counted, "{data}");
    for key in ["route", "count", "bytes", "p50_ms", "p99_ms", "errors"] {
        assert!(routes.iter().all(|route| !route[key].is_null()), "no {key} in {routes:?}");
    }

    let crashed = data["rejected_by"]["crashed"].as_u64().unwrap();
    assert!(crashed > 0, "the sample has lines that end parse: {data}");
    assert_eq!(data["restarts"], crashed, "{data}");
    let crashes = data["crashes"].as_array().unwrap();
    assert_eq!(crashes.len() as u64, crashed.min(10));
    let text = String::from_utf8_lossy(&std::fs::read(&sample).unwrap()).into_owned();
    for crash in crashes {
        assert!(names_a_line(crash, &text), "the crash report has no line of the sample: {crash}");
    }
    assert_eq!(data["stop"]["stuck"], serde_json::json!([]));
    assert!(data["startup_ms"].is_u64() && data["interrupted"] == false, "{data}");
}

/// The report holds the line with escapes, so its plain beginning is looked for.
fn names_a_line(crash: &Value, sample: &str) -> bool {
    let message = crash["message"].as_str().unwrap_or_default();
    let plain = message.split('\\').next().unwrap_or_default();
    !plain.is_empty() && sample.contains(plain)
}
