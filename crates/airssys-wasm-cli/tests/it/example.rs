//! The access log of the README, counted to the last line.

use std::os::unix::fs::PermissionsExt as _;

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

#[test]
fn what_a_node_did_with_files_is_on_record() {
    let example = repository().join("examples/access-log");
    let sample = example.join("sample.log");
    let home = Home::new();
    let ran = home.run_json(&["up", example.to_str().unwrap(), "--input", sample.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);

    assert_eq!(home.run_json(&["audit", "verify"]).code, Some(0));
    let found = home.run(&["-o", "json", "audit", "search", "--kind", "intent"]);
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    let beside = sample.canonicalize().unwrap();
    let input = format!("read input:{}", beside.to_str().unwrap().trim_start_matches('/'));
    for access in
        ["read application:airssys.toml", "read application:parse/Component.toml", "read cache:", &input]
    {
        assert!(found.stdout.contains(access), "{access} is not among {}", found.stdout);
    }
    let denied = home.run(&["-o", "json", "audit", "search", "--kind", "denial"]);
    assert!(!denied.stdout.contains("application:"), "{}", denied.stdout);

    // A log that cannot be kept: nothing is read, and nothing is started.
    home.write("open/file", "");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.path().join("open"), open).unwrap();
    let refused = home.run_json(&["up", example.to_str().unwrap(), "--audit", "open"]);
    assert_ne!(refused.code, Some(0), "{}", refused.stdout);
    assert!(refused.stdout.contains("--audit FOLDER"), "{}", refused.stdout);
}

/// The report holds the line with escapes, so its plain beginning is looked for.
fn names_a_line(crash: &Value, sample: &str) -> bool {
    let message = crash["message"].as_str().unwrap_or_default();
    let plain = message.split('\\').next().unwrap_or_default();
    !plain.is_empty() && sample.contains(plain)
}
