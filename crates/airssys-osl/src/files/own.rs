//! A program's own folder, used through the gate like anybody else's.
//!
//! Where [`Files`](super::Files) serves subjects that are not trusted, and so follows no link, this serves the program itself:
//! what its [`Root`] finds, it finds, such as links that stay inside and, if the root says so, files with several names. The
//! policy decides about the path that was asked for, and the log says what that was.

use std::path::Path;

use crate::access::{FileVerb, Name, Subject};
use crate::fs::{FsError, Root};
use crate::gate::Gate;
use crate::input::Input;

use super::{FileOperation, FilesError};

impl Input {
    /// [`Input::open`] through the gate. A policy calls the file `name:path`, with the path it really has from the top of the
    /// machine. Takes `read`.
    pub fn open_by(gate: &Gate, subject: &Subject, name: &Name, path: &Path) -> Result<Self, FilesError> {
        // What has no path of its own, such as a pipe below `/proc`, is called as it was named.
        let real = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
        let real = real.map_err(|source| FsError::of("open", path.to_owned(), source))?;
        let Some(below) = real.strip_prefix("/").unwrap_or(&real).to_str() else {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidFilename, "its path is not UTF-8");
            return Err(FsError::of("open", path.to_owned(), source).into());
        };
        let called = format!("{name}:{below}");
        let operation = FileOperation::new("fs.open-input", &[FileVerb::Read], &called)?;
        // By the path that was decided about; a link put there since leads elsewhere, as for whoever named the file.
        gate.admit(subject, operation)?.perform(|_| Ok(Input::open_as(&real, path)?))
    }
}

/// A root behind a gate, for the program that opened it. What a policy calls `name:path` is below it.
#[derive(Debug)]
pub struct OwnFiles {
    gate: Gate,
    subject: Subject,
    name: Name,
    root: Root,
}

impl OwnFiles {
    /// This root behind this gate, used as this subject and under this name.
    pub fn new(gate: Gate, subject: Subject, name: Name, root: Root) -> Self {
        Self { gate, subject, name, root }
    }

    /// The bytes of a file of at most `bytes_max`. Takes `read`.
    pub fn read(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, FilesError> {
        let path = format!("{}:{path}", self.name);
        let operation = FileOperation::new("fs.read", &[FileVerb::Read], &path)?;
        self.gate
            .admit(&self.subject, operation)?
            .perform(|operation| Ok(self.root.read(operation.target.path.as_path(), bytes_max)?))
    }

    /// Puts `bytes` at a path as a file that only the owner may use. Whoever reads sees the old file or the new one. Takes
    /// `create` and `write`.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), FilesError> {
        let path = format!("{}:{path}", self.name);
        let operation = FileOperation::new("fs.write", &[FileVerb::Create, FileVerb::Write], &path)?;
        self.gate.admit(&self.subject, operation)?.perform(|operation| {
            let path: &Path = operation.target.path.as_path();
            Ok(self.root.write_atomic(path, bytes, 0o600)?)
        })
    }
}
