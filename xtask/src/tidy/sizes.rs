//! Files stay small enough to read: a Rust file is one subject, and the repository holds no large blobs by accident.
//!
//! Tests and benchmarks may be long. A large file that must be here is listed with its reason.

use super::Finding;
use super::tree::{Tree, is_test_path};

const LINES_WARN: usize = 600;
const LINES_MAX: usize = 900;
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Larger files that must be here, each with the reason.
const LARGE_FILES: &[(&str, &str)] = &[];

pub(crate) fn findings(tree: &Tree) -> Vec<Finding> {
    let long = tree.texts().filter(|(path, _)| path.ends_with(".rs") && !is_test_path(path));
    let long = long.filter_map(|(path, text)| long_file(path, text.lines().count()));
    let large = tree.files().filter(|(path, bytes)| {
        bytes.len() > FILE_BYTES_MAX && !LARGE_FILES.iter().any(|(listed, _)| listed == path)
    });
    let large = large.map(|(path, bytes)| {
        Finding::error(
            path,
            format!("is {} KiB, more than {} KiB", bytes.len() / 1024, FILE_BYTES_MAX / 1024),
            "build or fetch it instead; if it must be tracked, list it with its reason in xtask/src/tidy/sizes.rs",
        )
    });
    long.chain(large).collect()
}

fn long_file(path: &str, lines: usize) -> Option<Finding> {
    let problem = format!("has {lines} lines");
    let remedy = "two subjects may be living together: give the second one its own file";
    if lines > LINES_MAX {
        Some(Finding::error(path, format!("{problem}, more than {LINES_MAX}"), remedy))
    } else if lines > LINES_WARN {
        Some(Finding::warning(path, format!("{problem}, more than {LINES_WARN}"), remedy))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::Weight;
    use super::*;

    fn weights(path: &str, lines: usize) -> Vec<Weight> {
        let text = "\n".repeat(lines);
        findings(&Tree::of(&[(path, &text)])).into_iter().map(|finding| finding.weight).collect()
    }

    #[test]
    fn a_file_at_a_limit_passes_and_one_line_more_does_not() {
        assert_eq!(weights("crates/a/src/lib.rs", LINES_WARN), []);
        assert_eq!(weights("crates/a/src/lib.rs", LINES_WARN + 1), [Weight::Warning]);
        assert_eq!(weights("crates/a/src/lib.rs", LINES_MAX), [Weight::Warning]);
        assert_eq!(weights("crates/a/src/lib.rs", LINES_MAX + 1), [Weight::Error]);
    }

    #[test]
    fn a_test_may_be_long() {
        assert_eq!(weights("crates/a/tests/it/main.rs", LINES_MAX + 1), []);
    }

    #[test]
    fn a_blob_at_the_limit_passes_and_one_byte_more_does_not() {
        let full = "x".repeat(FILE_BYTES_MAX);
        assert!(findings(&Tree::of(&[("guests/prebuilt/a.wasm", &full)])).is_empty());
        assert_eq!(findings(&Tree::of(&[("guests/prebuilt/a.wasm", &(full + "x"))])).len(), 1);
    }
}
