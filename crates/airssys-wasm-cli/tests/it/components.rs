//! `run` and `check`: components without an application.

use std::io::Write;
use std::process::Stdio;

use crate::harness::{Home, repository};

/// A program that ends well (0) or not (1).
fn program(result: u8) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $m (func (export "run") (result i32) i32.const {result}))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $program (export "run" (func $run)))
            (export "wasi:cli/run@0.2.0" (instance $program)))"#
    );
    wat::parse_str(text).unwrap()
}

const NEEDS_MORE: &str = r#"(component
    (import "other:host/thing@1.0.0" (instance (export "do" (func)))))"#;

#[test]
fn the_exit_code_of_a_program_is_passed_on() {
    let home = Home::new();
    home.write("fine.wasm", program(0));
    home.write("fails.wasm", program(1));
    assert_eq!(home.run(&["run", "fine.wasm", "-o", "--flag"]).code, Some(0));
    assert_eq!(home.run(&["run", "fails.wasm"]).code, Some(1));
}

#[test]
fn a_program_that_is_none_is_refused_with_the_way_to_run_it() {
    let home = Home::new();
    let echo = repository().join("guests/prebuilt/echo.wasm");
    let error = home.run_json(&["run", echo.to_str().unwrap()]).error("invalid", 4);
    assert!(error["message"].as_str().unwrap().contains("airssys up"), "{error}");
    home.run_json(&["run", "no.wasm"]).error("not-found", 3);
}

#[test]
fn what_is_no_component_is_told_apart() {
    let home = Home::new();
    home.write("text.wasm", "hello");
    home.write("core.wasm", wat::parse_str("(module)").unwrap());
    home.write("broken.wasm", &program(0)[..40]);
    for command in ["check", "run"] {
        let error = |file| {
            home.run_json(&[command, file]).error("invalid", 4)["message"].as_str().unwrap().to_owned()
        };
        assert!(error("text.wasm").contains("not WebAssembly"));
        assert!(error("core.wasm").contains("core module"));
        assert!(error("broken.wasm").contains("not valid"));
    }
}

#[test]
fn a_component_is_described_with_what_satisfies_its_imports() {
    let home = Home::new();
    let echo = repository().join("guests/prebuilt/echo.wasm");
    let ran = home.run_json(&["check", echo.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0));
    let data = ran.data();
    assert_eq!((&data["kind"], &data["runnable"]), (&"actor".into(), &true.into()), "{data}");
    assert_eq!(data["bytes"], std::fs::metadata(&echo).unwrap().len());
    assert!(data["digest"].as_str().unwrap().starts_with("blake3:"));
    let imports = data["imports"].as_array().unwrap();
    assert!(!imports.is_empty() && imports.iter().all(|import| import["satisfied_by"].is_string()), "{data}");
    let text = home.run(&["check", echo.to_str().unwrap()]).stdout;
    assert!(
        text.contains("airssys:core/logging@1.0.0  satisfied by ") && text.contains("runnable"),
        "{text}"
    );
}

#[test]
fn a_missing_import_is_named_and_the_rest_still_shown() {
    let home = Home::new();
    home.write("more.wasm", wat::parse_str(NEEDS_MORE).unwrap());
    let ran = home.run_json(&["check", "more.wasm"]);
    let error = ran.error("invalid", 4);
    assert!(error["message"].as_str().unwrap().contains("other:host/thing@1.0.0"), "{error}");
    let data = &ran.envelope()["data"];
    assert_eq!((&data["runnable"], &data["imports"][0]["functions"][0]), (&false.into(), &"do".into()));
    let told = home.run(&["check", "more.wasm"]).stderr;
    assert!(told.contains("other:host/thing@1.0.0  MISSING"), "{told}");
}

#[test]
fn a_manifest_beside_it_is_held_against_the_imports() {
    let home = Home::new();
    home.guests("", "");
    assert_eq!(home.run_json(&["check", "app/echo/echo.wasm"]).data()["manifest"]["name"], "echo");
    let silent = "[component]\nname = \"echo\"\nversion = \"0.1.0\"\nwasm = \"echo.wasm\"\n";
    home.write("app/echo/Component.toml", silent);
    let error = home.run_json(&["check", "app/echo/echo.wasm"]).error("invalid", 4);
    assert!(error["message"].as_str().unwrap().contains("does not request `log`"), "{error}");
}

#[test]
fn a_program_that_nobody_here_wrote_runs_and_reads_no_file() {
    let program = repository().join("guests/prebuilt/pulldown-cmark.wasm");
    let home = Home::new();
    let file = home.write("secret.md", "secret");
    let run = |args: &[&str], input: &str| {
        let mut command = home.command(&[&["run", program.to_str().unwrap()], args].concat());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may end before it has read its input.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run(&[], "# Title\n"), (Some(0), "<h1>Title</h1>\n".to_owned()));
    let (code, output) = run(&[file.to_str().unwrap()], "");
    assert!(code != Some(0) && !output.contains("secret"), "it read a file: {code:?} {output:?}");
}
