//! One copy of the guest contract: only wit/ may define the package `airssys:core`.
//!
//! A second copy drifts, and guests built against it fail at install. Bindings that a build generates are ignored by
//! git and are not looked at.

use super::Finding;
use super::tree::Tree;

pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let copies = tree.texts().filter(|(path, text)| {
        path.ends_with(".wit") && !path.starts_with("wit/") && text.lines().any(declares_the_contract)
    });
    copies
        .map(|(path, _)| {
            Finding::error(
                path,
                "is a second copy of the package airssys:core",
                "delete it and point the build at wit/ (wit-bindgen takes a relative `path`)",
            )
        })
        .collect()
}

fn declares_the_contract(line: &str) -> bool {
    let Some(name) = line.trim_start().strip_prefix("package ") else { return false };
    name.trim_start()
        .strip_prefix("airssys:core")
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_in_its_own_folder_and_other_packages_are_allowed() {
        let tree = Tree::of(&[
            ("wit/world.wit", "package airssys:core@1.0.0;"),
            ("guests/echo/wit/own.wit", "package airssys:core-tests;\nworld w {}"),
        ]);
        assert!(findings(&tree).is_empty());
    }

    #[test]
    fn a_copy_anywhere_else_is_found() {
        let tree =
            Tree::of(&[("guests/echo/wit/deps/core.wit", "// copied\n  package airssys:core@1.0.0;\n")]);
        assert_eq!(findings(&tree).len(), 1);
    }
}
