//! Every guest is used by a test, and every guest a test uses exists.
//!
//! A guest is a folder of guests/ with something tracked in it, or a component in guests/prebuilt/. A test uses it by
//! a string that is its name, alone or as a file name: `guest("echo")`, `"echo.wasm"`, `"…/prebuilt/echo.wasm"`.

use super::Finding;
use super::tree::{Tree, is_test_path};
use std::collections::BTreeMap;

/// Folders of guests/ that hold no guest of their own.
const NOT_GUESTS: &[&str] = &["prebuilt", ".cargo"];

pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let guests = guests(tree);
    let tests: Vec<(&str, &str)> = tree.texts().filter(|(path, _)| is_guest_test(path)).collect();
    let mut findings = Vec::new();
    for (name, place) in &guests {
        if !tests.iter().any(|(_, text)| mentions(text, name)) {
            findings.push(Finding::error(
                *place,
                format!("no test uses the guest `{name}`"),
                format!(
                    "write a test with guest(\"{name}\") in crates/*/tests or bench, or delete the guest"
                ),
            ));
        }
    }
    for (path, text) in tests {
        for (line, name) in used(text).filter(|(_, name)| !guests.contains_key(name)) {
            findings.push(Finding::error(
                format!("{path}:{line}"),
                format!("uses the guest `{name}`, which does not exist"),
                "correct the name, or add the guest below guests/ and run `cargo xtask guests`",
            ));
        }
    }
    findings
}

/// The name of each guest, and where it is.
fn guests(tree: &Tree) -> BTreeMap<&str, &str> {
    let mut guests = BTreeMap::new();
    for path in tree.paths() {
        let Some(rest) = path.strip_prefix("guests/") else { continue };
        let Some((folder, file)) = rest.split_once('/') else { continue };
        if let Some(name) = file.strip_suffix(".wasm").filter(|_| folder == "prebuilt") {
            guests.insert(name, path);
        }
        if !NOT_GUESTS.contains(&folder) {
            guests.insert(folder, &path[.."guests/".len() + folder.len()]);
        }
    }
    guests
}

fn is_guest_test(path: &str) -> bool {
    path.ends_with(".rs") && (path.starts_with("bench/") || path.starts_with("crates/") && is_test_path(path))
}

fn mentions(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = &text[start + name.len()..];
        matches!(before, Some('"' | '/')) && (after.starts_with('"') || after.starts_with(".wasm\""))
    })
}

/// The names in calls of the form `guest("name")`, each with its line number.
fn used(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        line.match_indices("guest(\"").filter_map(move |(start, call)| {
            let is_whole_word = !line[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let (name, _) = line[start + call.len()..].split_once('"')?;
            is_whole_word.then_some((index + 1, name))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "crates/airssys-wasm/tests/it/slice.rs";

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        findings(&Tree::of(files)).into_iter().map(|finding| finding.problem).collect()
    }

    #[test]
    fn a_guest_that_a_test_uses_passes() {
        let test = "let wasm = guest(\"echo\");\nlet other = include_bytes!(\"../prebuilt/trap.wasm\");";
        let files = [
            ("guests/Cargo.toml", ""),
            ("guests/echo/src/lib.rs", ""),
            ("guests/prebuilt/echo.wasm", ""),
            ("guests/prebuilt/trap.wasm", ""),
            (TEST, test),
        ];
        assert_eq!(problems(&files), Vec::<String>::new());
    }

    #[test]
    fn a_guest_without_a_test_is_found() {
        let folder = problems(&[("guests/echo/src/lib.rs", ""), (TEST, "guest(\"echo-twice\"); // echo")]);
        let unknown = "uses the guest `echo-twice`, which does not exist";
        assert_eq!(folder, ["no test uses the guest `echo`", unknown]);
        assert_eq!(problems(&[("guests/prebuilt/trap.wasm", "")]), ["no test uses the guest `trap`"]);
    }

    #[test]
    fn shipped_code_is_not_a_test_of_a_guest() {
        let files = [("guests/echo/src/lib.rs", ""), ("crates/airssys-wasm/src/lib.rs", "guest(\"echo\")")];
        assert_eq!(problems(&files), ["no test uses the guest `echo`"]);
    }

    #[test]
    fn a_guest_that_does_not_exist_is_found() {
        assert_eq!(
            problems(&[(TEST, "\n guest(\"gone\")")]),
            ["uses the guest `gone`, which does not exist"]
        );
        assert!(problems(&[(TEST, "new_guest(\"gone\")")]).is_empty());
    }
}
