//! The README's two commands, and that what CI runs is what the README says.
//!
//! A visitor tries exactly two things: to see it run and to see it tested. Both lines must be there, word for word.

use super::Finding;
use super::tree::Tree;

const RUN: &str = "cargo run --release -- up examples/access-log";
const TEST: &str = "cargo xtask ci";

pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let promises = [("README.md", RUN), ("README.md", TEST), (".ci/run", TEST)];
    let broken = promises.into_iter().filter(|(path, command)| !says(tree, path, command));
    broken
        .map(|(path, command)| {
            Finding::error(
                path,
                format!("does not say `{command}`"),
                "write the command there, word for word",
            )
        })
        .collect()
}

fn says(tree: &Tree, path: &str, command: &str) -> bool {
    let is_comment = |line: &str| path == ".ci/run" && line.trim_start().starts_with('#');
    tree.text(path).is_some_and(|text| text.lines().any(|line| line.contains(command) && !is_comment(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_commands_and_the_call_from_ci_pass() {
        let readme = format!("```sh\n{RUN}\n{TEST}\n```\n");
        let script = format!("#!/usr/bin/env bash\nexec {TEST}\n");
        assert!(findings(&Tree::of(&[("README.md", &readme), (".ci/run", &script)])).is_empty());
    }

    #[test]
    fn each_missing_promise_is_found() {
        assert_eq!(findings(&Tree::of(&[])).len(), 3);
        let script = format!("# {TEST}\ncargo test\n");
        let found = findings(&Tree::of(&[("README.md", RUN), (".ci/run", &script)]));
        let places: Vec<_> = found.iter().map(|finding| finding.place.as_str()).collect();
        assert_eq!(places, ["README.md", ".ci/run"]);
    }
}
