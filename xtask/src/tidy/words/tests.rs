//! Each banned word beside a line that only looks like it.

use super::*;

const LIBRARY: &str = "crates/x/src/lib.rs";

/// A rule without a twin is not tested, so neither side may be empty.
fn check(path: &str, wrong: &[&str], right: &[&str]) {
    assert!(!wrong.is_empty() && !right.is_empty());
    for text in wrong {
        let found = findings(&Tree::of(&[(path, text)]));
        assert_eq!(found.len(), 1, "in {path}: {text}: {found:?}");
    }
    for text in right {
        let found = findings(&Tree::of(&[(path, text)]));
        assert!(found.is_empty(), "in {path}: {text}: {found:?}");
    }
}

#[test]
fn a_registry_is_not_named_by_its_host() {
    for host in REGISTRIES {
        let text = format!("source = \"https://{host}/x\"");
        check("guests/Cargo.toml", &[&text], &["source = \"registry\""]);
        check("README.md", &[&text], &["crates in the registry"]);
        assert!(findings(&Tree::of(&[("guests/Cargo.lock", &text)])).is_empty());
    }
}

#[test]
fn a_path_of_one_machine_is_not_named() {
    check(
        "docs/guide.md",
        &[
            concat!("cd /", "work/main"),
            concat!("(/", "root/.cargo)"),
            concat!("see /", "home/ann/x"),
            concat!("\"/", "root/\""),
        ],
        &[
            "see docs/work/main",
            "$HOME/work/main",
            "https://a.example/work/x",
            concat!("all of /", "home/"),
            "target/root/x",
        ],
    );
}

#[test]
fn a_stub_is_found_in_code_only() {
    let stub = format!("fn a() {{ {}) }}", STUBS[0]);
    check(LIBRARY, &[&stub, &format!("{}\"later\")", STUBS[1])], &["fn todos() {}", "// nothing to do!"]);
    check("docs/style.md", &[concat!("FIX", "ME later")], &[&stub]);
}

#[test]
fn an_unwrap_belongs_to_tests() {
    let unwrap = concat!("    a.unwrap", "();");
    let module = format!("#[cfg(test)]\nmod tests {{\n{unwrap}\n}}\n");
    check(LIBRARY, &[unwrap], &[&module, "a.unwrap_or(1)", &format!("/// {unwrap}")]);
    check(LIBRARY, &[&format!("{module}fn b() {{\n{unwrap}\n}}\n")], &[""]);
    for path in ["crates/x/tests/it/main.rs", "bench/src/main.rs"] {
        assert!(findings(&Tree::of(&[(path, unwrap)])).is_empty());
    }
}

#[test]
fn the_result_of_an_effect_is_not_thrown_away() {
    let throw = concat!("let _", " = ");
    check(
        LIBRARY,
        &[
            &format!("{throw}address.tell(message).await;"),
            &format!("{throw}sender.try_send(1);"),
            &format!("{throw}self\n    .log\n    .append(&record);"),
            &format!("{throw}write!(text, \"x\");"),
        ],
        &[
            &format!("{throw}resender.take();"),
            &format!("{throw}sender.len();"),
            &format!("{throw}guard;\nsender.send(1)?;"),
            "let sent = sender.send(1);",
        ],
    );
}

#[test]
fn an_emoji_is_found_and_plain_signs_are_not() {
    check(
        "README.md",
        &["fast \u{1f680}", "done \u{2705}", "note \u{26a0}"],
        &["a \u{2192} b", "\u{2713} done", "n\u{e9}"],
    );
}

#[test]
fn a_ruler_is_found_in_comments_only() {
    let long = "-".repeat(20);
    check(
        LIBRARY,
        &[
            &format!("// {long}"),
            &format!("//! {} mailbox", "=".repeat(4)),
            &format!("/// mailbox {}", "\u{2500}".repeat(8)),
            &"/".repeat(40),
        ],
        &["// a -- b", "// ---", "/// |------|------|", &format!("let line = \"{long}\";"), "/// ```text"],
    );
    check(
        ".ci/run",
        &[&format!("# {long}"), &"#".repeat(40)],
        &["#!/usr/bin/env bash", "# text", &format!("echo {long}")],
    );
    check("docs/guide.md", &[concat!("FIX", "ME")], &[&long, "#### Deep heading"]);
}

#[test]
fn a_test_or_an_example_is_not_switched_off() {
    let fence = "```";
    check(
        LIBRARY,
        &[
            concat!("    #[", "ignore]"),
            concat!("#[", "ignore = \"slow\"]"),
            &format!("/// {fence}{}", "ignore"),
        ],
        &[&format!("/// {fence}text"), &format!("/// {fence}compile_fail"), "// tests that ignore errors"],
    );
    check("docs/guide.md", &[&format!("{fence}rust,{}", concat!("no", "_run"))], &[&format!("{fence}rust")]);
}

#[test]
fn unfinished_work_names_its_issue() {
    let mark = concat!("TO", "DO");
    check(
        LIBRARY,
        &[&format!("// {mark}: later")],
        &[&format!("// {mark}(#12): later"), &format!("struct {mark};")],
    );
}

#[test]
fn plans_are_not_named() {
    check(
        LIBRARY,
        &[concat!("// Phase", " 2 of the plan"), concat!("// see task", " #4")],
        &["// the second phase", "// multiphase 2", "// a tokio task"],
    );
}
