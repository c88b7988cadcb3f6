//! Paths below a root, in one spelling.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::{Escaped, Name, NameError};

/// Longest path in bytes: one byte less than what Linux reads.
const PATH_BYTES_MAX: usize = 4095;
/// Longest part in bytes, as file systems have it.
const PART_BYTES_MAX: usize = 255;
/// Most parts of a path.
const PARTS_MAX: usize = 256;

/// A path below some root: its parts joined by single slashes, none of them empty, `.` or `..`. Empty for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(Arc<str>);

/// Why a text is no path below a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It has no character. The root itself is `.`.
    #[error("a path is not empty; the folder itself is `.`")]
    Empty,
    /// It begins at the root of the file system.
    #[error("a path is relative, without a slash at its beginning")]
    Absolute,
    /// It goes up.
    #[error("a path has no `..` in it")]
    Parent,
    /// It contains the character that ends texts for the system.
    #[error("a path has no NUL in it")]
    Nul,
    /// It is not UTF-8, so it cannot be shown, compared or written in a rule.
    #[error("a path is UTF-8")]
    NotUtf8,
    /// It or one of its parts is longer, or it has more of them, than a file system takes.
    #[error(
        "a path has at most {PATH_BYTES_MAX} bytes and {PARTS_MAX} parts of at most {PART_BYTES_MAX} bytes"
    )]
    TooLong,
    /// It names no root before a colon.
    #[error("a file is written as `root:path`")]
    NoRoot,
    /// The root's name is none.
    #[error("root: {0}")]
    Root(NameError),
}

impl RelPath {
    /// The root itself.
    pub fn root() -> Self {
        Self("".into())
    }

    /// Reads a path. Doubled slashes, `.` parts and a slash at the end mean nothing and are dropped; `..` is refused also where
    /// it would stay below the root, because what is before it may be a link.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if text.contains('\0') {
            return Err(PathError::Nul);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        let mut clean = String::with_capacity(text.len());
        let mut parts_len = 0;
        for part in text.split('/').filter(|part| !matches!(*part, "" | ".")) {
            if part == ".." {
                return Err(PathError::Parent);
            }
            parts_len += 1;
            if part.len() > PART_BYTES_MAX || parts_len > PARTS_MAX {
                return Err(PathError::TooLong);
            }
            if !clean.is_empty() {
                clean.push('/');
            }
            clean.push_str(part);
        }
        Ok(Self(clean.into()))
    }

    /// As [`RelPath::parse`], of a path of the system.
    pub fn from_path(path: &Path) -> Result<Self, PathError> {
        Self::parse(path.to_str().ok_or(PathError::NotUtf8)?)
    }

    /// The path below this one. `name` is one part.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        if name.contains('/') {
            return Err(PathError::Absolute);
        }
        if self.is_root() { Self::parse(name) } else { Self::parse(&format!("{}/{name}", self.0)) }
    }

    /// The folder it is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or("", |(parent, _)| parent).into()))
    }

    /// Whether it is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts joined by slashes; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For the system, which knows the root as `.`.
    pub fn as_path(&self) -> &Path {
        Path::new(if self.is_root() { "." } else { &self.0 })
    }
}

/// A file or folder: which root, and where below it. Written `root:path`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FilePath {
    /// The root's name in the policy.
    pub root: Name,
    /// Where below it.
    pub path: RelPath,
}

impl FilePath {
    /// Reads `root:path`.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let (root, path) = text.split_once(':').ok_or(PathError::NoRoot)?;
        Ok(Self { root: Name::parse(root).map_err(PathError::Root)?, path: RelPath::parse(path)? })
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_root() { "." } else { self.path.as_str() };
        write!(f, "{}:{}", self.root, Escaped(path))
    }
}
