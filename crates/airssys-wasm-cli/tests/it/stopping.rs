//! The ways out of `up`: the end of the input, Ctrl-C once and twice, SIGTERM, `airssys stop`, kill -9.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Home, INPUT, PATIENT, Up, assert_adds_up};

#[test]
fn standard_input_is_fed_to_its_end() {
    let home = Home::new();
    let app = home.guests(PATIENT, INPUT);
    let mut up = home.up(&[app, "--input", "-"]);
    up.feed(b"one\npanic\nreject\ntwo");
    up.end_input();
    let ran = up.end();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let data = ran.data();
    assert_adds_up(&data);
    assert_eq!(
        (&data["read"], &data["accepted"], &data["restarts"]),
        (&4.into(), &2.into(), &1.into()),
        "{data}"
    );
    assert_eq!(data["rejected_by"]["refused"], 1);
    assert_eq!(data["crashes"][0]["message"], "panic");
    // As a restart, or as a crash where the end came before the news of the restart.
    assert!(ran.stderr.contains("while handling 5 bytes of raw: \"panic\""), "{}", ran.stderr);
}

#[test]
fn ctrl_c_answers_for_what_was_read_and_stops_in_order() {
    let home = Home::new();
    let app = home.guests(PATIENT, INPUT);
    let mut up = home.up(&[app, "--input", "-"]);
    up.feed(b"one\nsleep:300\n");
    handled(&home, "app/crasher#0", 1);
    up.signal(Signal::INT);
    // Nobody closes the input: the command does not wait for more of it.
    let stdin = up.stdin.take();
    let ran = up.end();
    drop(stdin);
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    let data = ran.data();
    assert_adds_up(&data);
    assert_eq!((&data["interrupted"], &data["accepted"]), (&true.into(), &data["read"]), "{data}");
    assert_eq!(data["stop"]["killed"], serde_json::json!([]), "{data}");
    assert!(!home.path().join("airssys.sock").exists(), "the socket is left");
}

#[test]
fn an_input_that_was_left_before_its_end_is_interrupted_whoever_asked() {
    let home = Home::new();
    let app = home.guests(PATIENT, INPUT);
    let ask_over_the_socket = |_: &Up| drop(home.run_json(&["stop"]).data());
    for ask in [&ask_over_the_socket as &dyn Fn(&Up), &|up: &Up| up.signal(Signal::TERM)] {
        let mut up = home.up(&[app, "--input", "-"]);
        up.feed(b"one\n");
        handled(&home, "app/crasher#0", 1);
        ask(&up);
        let stdin = up.stdin.take();
        let ran = up.end();
        drop(stdin);
        assert_eq!(ran.code, Some(130), "{}", ran.stderr);
        assert_eq!((&ran.data()["interrupted"], &ran.data()["accepted"]), (&true.into(), &1.into()));
    }
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let home = Home::new();
    let app = home.guests(PATIENT, INPUT);
    let mut up = home.up(&[app, "--input", "-"]);
    up.feed(b"one\nsleep:8000\n");
    handled(&home, "app/crasher#0", 1);
    up.signal(Signal::INT);
    up.wait_for("Ctrl-C again");
    let asked = Instant::now();
    up.signal(Signal::INT);
    let ran = up.end();
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(130), ""));
    assert!(asked.elapsed() < Duration::from_secs(4), "it waited for the line");
}

#[test]
fn without_an_input_it_runs_until_it_is_asked_to_stop() {
    let home = Home::new();
    let app = home.guests("", "");
    let up = home.up(&[app]);
    assert_eq!(home.run_json(&["stop"]).data()["stopping"], "app");
    let ran = up.end();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.data()["read"].is_null());
    home.run_json(&["ps"]).error("not-running", 5);

    let up = home.up(&[app]);
    up.signal(Signal::TERM);
    assert_eq!(up.end().code, Some(0));

    let up = home.up(&[app]);
    up.signal(Signal::INT);
    assert_eq!(up.end().code, Some(130));
}

#[test]
fn after_kill_9_it_starts_again_on_the_same_socket() {
    let home = Home::new();
    let app = home.guests("", "");
    let killed = home.up(&[app]);
    killed.signal(Signal::KILL);
    assert_eq!(killed.end().code, None);
    home.run_json(&["ps"]).error("not-running", 5);

    let up = home.up(&[app]);
    assert_eq!(home.run_json(&["call", "echo", "again"]).data()["text"], "again");
    home.run_json(&["stop"]).data();
    assert_eq!(up.end().code, Some(0));
}

/// Waits until a component has handled `count` messages.
fn handled(home: &Home, id: &str, count: u64) {
    let began = Instant::now();
    loop {
        let data = home.run_json(&["ps"]).data();
        let component = data["components"].as_array().unwrap().iter().find(|component| component["id"] == id);
        if component.unwrap()["handled"].as_u64().unwrap() >= count {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{data}");
    }
}
