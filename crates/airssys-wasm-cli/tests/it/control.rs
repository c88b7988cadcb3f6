//! The commands that talk to a running application.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::harness::{Home, PATIENT};

#[test]
fn components_and_their_tree_are_shown() {
    let home = Home::new();
    let _up = home.up(&[home.guests(PATIENT, "")]);
    let data = home.run_json(&["ps"]).data();
    let ids: Vec<_> =
        data["components"].as_array().unwrap().iter().map(|component| &component["id"]).collect();
    assert_eq!(ids, ["app/echo#0", "app/crasher#0"]);
    assert!(data["components"].as_array().unwrap().iter().all(|component| component["state"] == "running"));
    let text = home.run(&["ps"]).stdout;
    assert!(text.lines().count() == 3 && text.starts_with("component"), "{text}");

    assert_eq!(home.run_json(&["tree"]).data()["tree"][0]["name"], "app");
    let text = home.run(&["tree"]).stdout;
    assert!(text.contains("├─ app/echo#0 (worker) running\n└─ app/crasher#0 (worker) running"), "{text}");

    let mode = std::fs::metadata(home.path().join("airssys.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_call_brings_the_answer_and_a_send_only_delivers() {
    let home = Home::new();
    let _up = home.up(&[home.guests(PATIENT, "")]);
    assert_eq!(home.run(&["call", "echo", "hello"]).stdout, "hello\n");
    assert_eq!(home.run_json(&["call", "app/echo#0", "-v"]).data()["text"], "-v");
    let json = home.run_json(&["call", "echo", r#"{"a":1}"#, "--codec", "json"]).data();
    assert_eq!(json["json"]["a"], 1, "{json}");
    assert_eq!(home.run_json(&["send", "echo", "hello"]).data()["sent_to"], "app/echo#0");
}

#[test]
fn each_way_to_get_no_answer_has_its_kind() {
    let home = Home::new();
    let mut up = home.up(&[home.guests(PATIENT, "")]);
    let error = home.run_json(&["call", "echos", "hello"]).error("not-found", 3);
    assert!(error["hint"].as_str().unwrap().contains("echo"), "{error}");
    home.run_json(&["send", "nobody", "hello"]).error("not-found", 3);
    home.run_json(&["call", "crasher", "reject"]).error("rejected", 6);
    let error = home.run_json(&["call", "crasher", "panic"]).error("died", 6);
    assert!(error["hint"].as_str().unwrap().contains("airssys crashes"), "{error}");
    home.run_json(&["call", "crasher", "sleep:3000", "--timeout", "50"]).error("timeout", 6);
    up.wait_for("restart: app/crasher#0");
}

#[test]
fn silent_connections_lock_nobody_out_for_long() {
    let home = Home::new();
    let _up = home.up(&[home.guests(PATIENT, "")]);
    let connect = |_| UnixStream::connect(home.path().join("airssys.sock")).unwrap();
    // As many as are served at one time, and more; half of them have begun a request.
    let mut silent: Vec<_> = (0..140).map(connect).collect();
    for connection in silent.iter_mut().step_by(2) {
        // One that is not served yet takes it all the same.
        connection.write_all(b"{\"half").unwrap();
    }
    assert_eq!(home.run_json(&["call", "echo", "hello"]).data()["text"], "hello");
}

#[test]
fn what_is_no_request_is_answered_as_such_and_the_node_goes_on() {
    let home = Home::new();
    let _up = home.up(&[home.guests(PATIENT, "")]);
    let nonsense: [&[u8]; 5] = [
        b"\n",
        b"\xff\x00\xfe\n",
        b"{\"version\":1,\"verb\":\"dance\"}\n",
        b"{\"version\":2,\"verb\":\"ps\"}\n",
        b"[[[[[[[[[[[[[[[[\n",
    ];
    for request in nonsense {
        let mut connection = UnixStream::connect(home.path().join("airssys.sock")).unwrap();
        connection.write_all(request).unwrap();
        let mut answer = String::new();
        BufReader::new(&connection).read_line(&mut answer).unwrap();
        assert!(answer.contains("bad-request"), "{request:?}: {answer}");
    }
    assert_eq!(home.run_json(&["call", "echo", "hello"]).data()["text"], "hello");
}

#[test]
fn a_guest_that_misbehaves_is_restarted_and_the_host_goes_on() {
    let home = Home::new();
    let _up = home.up(&[home.guests(PATIENT, "")]);
    for misdeed in ["trap", "loop", "grow", "recurse", "fatal"] {
        home.run_json(&["call", "crasher", misdeed]).error("died", 6);
        assert_eq!(home.run_json(&["call", "crasher", "count"]).data()["text"], "1", "after {misdeed}");
        assert_eq!(home.run_json(&["call", "echo", misdeed]).data()["text"], misdeed);
    }
    let crashes = home.run_json(&["crashes"]).data()["crashes"].as_array().unwrap().clone();
    let messages: Vec<_> = crashes.iter().map(|crash| crash["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["trap", "loop", "grow", "recurse", "fatal"]);
}

#[test]
fn a_crash_on_purpose_is_answered_within_ten_milliseconds() {
    let home = Home::new();
    let _up = home.up(&[home.guests(PATIENT, "")]);
    // The machine may take the processor away at any moment, so the best of some counts.
    let crash = || home.run_json(&["crash", "echo"]).data();
    let best = (0..5).map(|_| crash()["took_us"].as_u64().unwrap()).min().unwrap();
    assert!(best < 10_000, "{best} µs");
    assert_eq!(home.run_json(&["ps"]).data()["components"][0]["restarts"], 5);
    assert_eq!(home.run_json(&["call", "echo", "still here"]).data()["text"], "still here");
    let text = home.run(&["crashes"]).stdout;
    assert!(text.contains("app/echo#0: crashed on purpose"), "{text}");
    home.run_json(&["crash", "nobody"]).error("not-found", 3);
}

#[test]
fn without_an_application_each_command_says_so() {
    let home = Home::new();
    for args in [
        &["ps"][..],
        &["tree"],
        &["call", "a", "b"],
        &["send", "a", "b"],
        &["crash", "a"],
        &["crashes"],
        &["stop"],
    ] {
        let error = home.run_json(args).error("not-running", 5);
        assert!(error["hint"].as_str().unwrap().contains("airssys up"), "{error}");
    }
}

#[test]
fn the_socket_can_be_named_in_the_environment() {
    let home = Home::new();
    let socket = home.path().join("named.sock");
    let _up = home.up(&[home.guests("", ""), "--socket", socket.to_str().unwrap()]);
    let output = home.command(&["ps"]).env("AIRSSYS_SOCKET", &socket).output().unwrap();
    assert!(output.status.success());
    home.run_json(&["ps"]).error("not-running", 5);
}
