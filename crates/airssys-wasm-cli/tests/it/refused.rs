//! What `up` refuses, what it says then, and that nothing was started.

use std::os::unix::fs::PermissionsExt;

use crate::harness::{Home, INPUT, PATIENT, assert_adds_up};

#[test]
fn a_missing_input_is_refused_before_anything_starts() {
    let home = Home::new();
    let app = home.guests("", INPUT);
    let error = home.run_json(&["up", app, "--input", "no.log"]).error("not-found", 3);
    assert!(error["message"].as_str().unwrap().contains("no.log"), "{error}");
    assert!(!home.path().join("airssys.sock.lock").exists(), "the socket was bound");

    let told = home.run(&["up", app, "--input", "no.log"]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(3), ""));
    assert!(told.stderr.starts_with("error: open \"no.log\""), "{}", told.stderr);
}

#[test]
fn a_folder_as_input_is_refused() {
    let home = Home::new();
    let app = home.guests("", INPUT);
    home.run_json(&["up", app, "--input", "app"]).error("unreadable", 3);
}

#[test]
fn an_empty_input_ends_with_zeros() {
    let home = Home::new();
    let app = home.guests("", INPUT);
    home.write("empty.log", "");
    let ran = home.run_json(&["up", app, "--input", "empty.log"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let data = ran.data();
    assert_adds_up(&data);
    assert_eq!((&data["read"], &data["restarts"]), (&0.into(), &0.into()));
    assert!(data["startup_ms"].is_null(), "no line was handled: {data}");
}

#[test]
fn an_input_for_an_application_that_takes_none_is_refused() {
    let home = Home::new();
    let app = home.guests("", "");
    home.write("lines.log", "a\n");
    let error = home.run_json(&["up", app, "--input", "lines.log"]).error("invalid", 4);
    assert!(error["hint"].as_str().unwrap().contains("[input]"), "{error}");
}

#[test]
fn a_folder_without_an_application_is_refused() {
    let home = Home::new();
    home.write("empty/readme", "");
    let error = home.run_json(&["up", "empty"]).error("not-found", 3);
    assert!(error["causes"][0].as_str().unwrap().contains("airssys.toml"), "{error}");
    home.run_json(&["up", "nowhere"]).error("not-found", 3);
}

#[test]
fn a_typing_error_is_told_with_its_line_and_the_nearest_key() {
    let home = Home::new();
    let app = home.guests("[root]\nintensty = 3\n", INPUT);
    let error = home.run_json(&["up", app]).error("invalid", 4);
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("airssys.toml:4:1: "), "{message}");
    assert!(message.contains("intensty") && message.contains("did you mean `intensity`?"), "{message}");

    let home = Home::new();
    let app = home.guests("", INPUT);
    home.write(
        "app/echo/Component.toml",
        "[component]\nname = \"echo\"\nverson = \"0.1.0\"\nwasm = \"echo.wasm\"\n",
    );
    let error = home.run_json(&["up", app]).error("invalid", 4);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("echo/Component.toml:3:1: ") && message.contains("`version`"), "{message}");
}

#[test]
fn a_component_that_is_none_is_named() {
    let home = Home::new();
    let app = home.guests("", INPUT);
    home.write("app/echo/echo.wasm", "not a component");
    let error = home.run_json(&["up", app]).error("invalid", 4);
    assert!(error["message"].as_str().unwrap().contains("echo/echo.wasm"), "{error}");
    assert!(error["causes"][0].as_str().unwrap().contains("not WebAssembly"), "{error}");
}

#[test]
fn a_second_application_on_one_socket_is_refused_and_the_first_goes_on() {
    let home = Home::new();
    let app = home.guests("", INPUT);
    let first = home.up(&[app]);
    let error = home.run_json(&["up", app]).error("refused", 6);
    assert!(error["hint"].as_str().unwrap().contains("--socket"), "{error}");
    assert_eq!(home.run_json(&["ps"]).data()["application"], "app");

    let other = home.path().join("other.sock");
    let second = home.up(&[app, "--socket", other.to_str().unwrap()]);
    home.run_json(&["--socket", other.to_str().unwrap(), "stop"]).data();
    assert_eq!(second.end().code, Some(0));
    home.run_json(&["stop"]).data();
    assert_eq!(first.end().code, Some(0));
}

#[test]
fn a_cache_that_others_may_enter_is_not_used_and_the_application_runs() {
    let home = Home::new();
    let app = home.guests("", INPUT);
    home.write("caches/airssys/file", "");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.path().join("caches/airssys"), open).unwrap();
    home.write("lines.log", "a\n");
    let args = ["-o", "json", "up", app, "--input", "lines.log"];
    let output = home.command(&args).env("XDG_CACHE_HOME", home.path().join("caches")).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("warning: ") && stderr.contains("0755"), "{stderr}");
    assert_eq!(
        std::fs::read_dir(home.path().join("caches/airssys")).unwrap().count(),
        1,
        "it was written to"
    );
}

#[test]
fn a_line_over_the_bound_is_rejected_in_bounded_memory() {
    const LINE_BYTES: usize = 100 << 20;
    let home = Home::new();
    let app = home.guests(PATIENT, INPUT);
    let mut up = home.up(&[app, "--input", "-"]);
    up.feed(b"before\n");
    let before = up.peak_bytes();
    let part = vec![b'x'; 1 << 20];
    for _ in 0..LINE_BYTES / part.len() {
        up.feed(&part);
    }
    up.feed(b"\nafter\n");
    let grown = up.peak_bytes().saturating_sub(before);
    up.end_input();
    let data = up.end().data();
    assert_adds_up(&data);
    assert_eq!((&data["read"], &data["rejected_by"]["too_long"]), (&3.into(), &1.into()), "{data}");
    assert!(grown < 48 << 20, "memory grew by {grown} bytes over a line of {LINE_BYTES}");
}

#[test]
fn a_line_at_the_bound_is_taken() {
    let home = Home::new();
    let app = home.guests(PATIENT, "[input]\nto = \"crasher\"\nline_bytes_max = 8\n");
    home.write("lines.log", "12345678\n123456789\n");
    let data = home.run_json(&["up", app, "--input", "lines.log"]).data();
    assert_eq!((&data["accepted"], &data["rejected_by"]["too_long"]), (&1.into(), &1.into()), "{data}");
}

#[test]
fn an_application_that_gives_up_fails_and_says_what_it_had_done() {
    let home = Home::new();
    let app = home.guests("[root]\nintensity = 0\n", INPUT);
    home.write("lines.log", "fine\npanic\nfine\nfine\n");
    let ran = home.run_json(&["up", app, "--input", "lines.log"]);
    let error = ran.error("failed", 1);
    assert!(error["message"].as_str().unwrap().contains("ended by itself"), "{error}");
    assert!(ran.stderr.contains("gave up"), "{}", ran.stderr);
    assert_adds_up(&ran.envelope()["data"]);
}
