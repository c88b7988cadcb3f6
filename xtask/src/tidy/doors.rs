//! Only the doors to the operating system may lift the bans of clippy.toml, and each says why.
//!
//! clippy refuses files, sockets and processes everywhere. A crate-wide `allow` would undo that in silence, so this
//! lists where one may stand: airssys-osl, the edge of the command, tests, benchmarks and this tool.

use super::Finding;
use super::source::Source;
use super::tree::{Tree, is_test_path};

const DOORS: &[&str] = &[
    "crates/airssys-osl/",
    "crates/airssys-rt/examples/",
    "crates/airssys-wasm-cli/src/",
    "bench/",
    "xtask/",
];
const BANS: &[&str] =
    &["clippy::disallowed_methods", "clippy::disallowed_types", "clippy::disallowed_macros"];

pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    if tree.text("clippy.toml").is_none_or(|text| !text.contains("disallowed-methods")) {
        findings.push(Finding::error(
            "clippy.toml",
            "bans nothing",
            "restore the list of disallowed-methods",
        ));
    }
    for (path, text) in tree.texts() {
        if !path.ends_with(".rs")
            || !["crates/", "bench/", "xtask/"].iter().any(|folder| path.starts_with(folder))
        {
            continue;
        }
        let source = Source::new(path, text);
        for (index, attribute) in lifted(&source) {
            let place = format!("{path}:{}", index + 1);
            if !attribute.contains("reason = \"") {
                findings.push(Finding::error(
                    place.clone(),
                    "lifts a ban without a reason",
                    "add `reason = \"…\"`",
                ));
            }
            let is_door = DOORS.iter().any(|door| path.starts_with(door));
            if !is_door && !is_test_path(path) && !source.is_test(index) {
                findings.push(Finding::error(
                    place,
                    "lifts a ban of clippy.toml outside the doors",
                    "ask airssys-osl for the effect; a new door is a decision (DOORS in xtask/src/tidy/doors.rs)",
                ));
            }
        }
    }
    findings
}

/// Each attribute that lifts a ban, with the index of its first line.
fn lifted<'a>(source: &Source<'a>) -> Vec<(usize, String)> {
    let mut lifted = Vec::new();
    for (index, line) in source.lines().iter().enumerate() {
        if !line.trim_start().starts_with("#[") && !line.trim_start().starts_with("#![") {
            continue;
        }
        let rest = &source.lines()[index..];
        let length = rest.iter().position(|line| line.trim_end().ends_with(")]")).map_or(1, |last| last + 1);
        let attribute = rest[..length].join("\n");
        let lifts = attribute.contains("allow(") || attribute.contains("expect(");
        if lifts && BANS.iter().any(|ban| attribute.contains(ban)) {
            lifted.push((index, attribute));
        }
    }
    lifted
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFTED: &str = "#![allow(\n    clippy::disallowed_methods,\n    reason = \"why\"\n)]\n";

    fn problems(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[("clippy.toml", "disallowed-methods = []"), (path, text)]);
        findings(&tree).into_iter().map(|finding| finding.problem).collect()
    }

    #[test]
    fn a_door_and_a_test_may_lift_a_ban_with_a_reason() {
        assert!(problems("crates/airssys-osl/src/lib.rs", LIFTED).is_empty());
        assert!(problems("crates/airssys-wasm/tests/it/main.rs", LIFTED).is_empty());
        let unit = "#[cfg(test)]\n#[allow(clippy::disallowed_methods, reason = \"why\")]\nmod tests {\n}\n";
        assert!(problems("crates/airssys-wasm/src/kv.rs", unit).is_empty());
    }

    #[test]
    fn a_ban_lifted_elsewhere_or_without_a_reason_is_found() {
        let elsewhere = problems("crates/airssys-wasm/src/kv.rs", LIFTED);
        assert_eq!(elsewhere, ["lifts a ban of clippy.toml outside the doors"]);
        let silent = problems("crates/airssys-osl/src/lib.rs", "#![expect(clippy::disallowed_types)]\n");
        assert_eq!(silent, ["lifts a ban without a reason"]);
    }

    #[test]
    fn a_list_of_bans_that_is_gone_is_found() {
        assert_eq!(findings(&Tree::of(&[("clippy.toml", "")])).len(), 1);
    }
}
