//! Names and paths that a file may contain, checked once.
//!
//! A name is safe in a terminal, a path, a topic and a command line. A path is safe to join to the folder of the file
//! that names it; whether a link on the way leads elsewhere is for the opened directory to refuse.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A name of a component, a supervisor or an application: 1 to 64 of `a-z`, `0-9` and `-`, not beginning with `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentName(Arc<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 64 of a-z, 0-9 and `-`, beginning with a letter or a digit")]
#[non_exhaustive]
pub struct InvalidName {}

impl ComponentName {
    /// Longest name in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        // A leading `-` would be read as an option where the name is given to a command.
        let well_formed = (1..=Self::BYTES_MAX).contains(&text.len())
            && !text.starts_with('-')
            && text.bytes().all(allowed);
        match well_formed {
            true => Ok(ComponentName(text.into())),
            false => Err(InvalidName {}),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path below the folder of the file that names it: plain parts joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelativePath(String);

/// Why a text is not a plain relative path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path here is relative, at most 1024 bytes, of plain parts joined by `/`: no `..`, `.`, `\\` or control characters"
)]
#[non_exhaustive]
pub struct InvalidPath {}

impl RelativePath {
    /// Longest path in bytes.
    pub const BYTES_MAX: usize = 1024;

    /// Checks the path of a file.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        let printable = |character: char| !character.is_control() && character != '\\';
        let well_formed =
            text.len() <= Self::BYTES_MAX && text.split('/').all(plain) && text.chars().all(printable);
        match well_formed {
            true => Ok(RelativePath(text.to_owned())),
            false => Err(InvalidPath {}),
        }
    }

    /// Checks the path of a folder, which may be `.`: the folder of the naming file itself.
    pub fn parse_folder(text: &str) -> Result<Self, InvalidPath> {
        match text {
            "." => Ok(RelativePath(text.to_owned())),
            other => Self::parse(other),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
