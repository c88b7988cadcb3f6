//! The files that git tracks, read once.
//!
//! What git ignores (the target folder, generated bindings) is nobody's promise and is never looked at. A tracked file
//! that is missing on disk is being deleted, so it counts as gone; a symbolic link counts as an empty file.

use crate::program;
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Tracked files by their path from the root, with `/` between folders.
pub(crate) struct Tree {
    files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    pub(crate) fn tracked(root: &Path) -> anyhow::Result<Self> {
        let listing = program::read(Command::new("git").current_dir(root).args(["ls-files", "-z"]))
            .context("list the tracked files")?;
        let mut files = BTreeMap::new();
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            let on_disk = root.join(path);
            let Ok(metadata) = on_disk.symlink_metadata() else { continue };
            let bytes = if metadata.is_file() {
                std::fs::read(&on_disk).with_context(|| format!("read {path}"))?
            } else {
                Vec::new()
            };
            files.insert(path.to_owned(), bytes);
        }
        Ok(Self { files })
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let owned = |(path, text): &(&str, &str)| (path.to_string(), text.as_bytes().to_vec());
        Self { files: files.iter().map(owned).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Every file with its content.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Every file that is text, with its content.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter_map(|(path, bytes)| Some((path, std::str::from_utf8(bytes).ok()?)))
    }

    /// The content of one file, if it is tracked and is text.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        std::str::from_utf8(self.files.get(path)?).ok()
    }
}

/// Whether a Rust file holds tests and benchmarks rather than what ships.
pub(crate) fn is_test_path(path: &str) -> bool {
    let folders = ["tests/", "benches/"];
    folders.iter().any(|folder| path.starts_with(folder) || path.contains(&format!("/{folder}")))
        || path.ends_with("/tests.rs")
}
