//! What somebody wants done with files, and why it was not done.

use crate::access::{Access, FilePath, FileVerb, Name, PathError};
use crate::fs::FsError;
use crate::gate::{Denied, Operation};

/// Something to be done with files, read and checked but not yet allowed.
#[derive(Debug)]
pub struct FileOperation {
    name: &'static str,
    accesses: Vec<Access>,
    pub(super) target: FilePath,
    /// Where it comes to lie, for what has two paths.
    second: Option<FilePath>,
    bytes_max: u64,
}

/// Why something was not done with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The path is none.
    #[error("use path {}: {source}", crate::document::quoted(.text))]
    Path {
        /// As it was given.
        text: String,
        /// Why.
        #[source]
        source: PathError,
    },
    /// It is not allowed.
    #[error(transparent)]
    Denied(Box<Denied<FileOperation>>),
    /// Something in a folder may not be removed, so none of it was. What it is, the log says.
    #[error("remove {path}: something in it may not be removed, so nothing was")]
    DeniedBelow {
        /// The folder.
        path: FilePath,
    },
    /// The policy allows it in a root that the program has not opened.
    #[error("use root {root}: the program has not opened one of this name")]
    NoRoot {
        /// The root's name.
        root: Name,
    },
    /// What has two paths has both in one root.
    #[error("use {from} and {to} together: a file is renamed or linked within one root; copy it")]
    TwoRoots {
        /// The root it is in.
        from: Name,
        /// The root it was to go to.
        to: Name,
    },
    /// The subject holds as much open as it may.
    #[error("open one more: {limit} are open, and that is the bound; finish one")]
    TooManyOpen {
        /// The bound.
        limit: u32,
    },
    /// It is allowed and did not work.
    #[error(transparent)]
    Failed(#[from] FsError),
}

impl From<Denied<FileOperation>> for FilesError {
    fn from(denied: Denied<FileOperation>) -> Self {
        FilesError::Denied(Box::new(denied))
    }
}

impl Operation for FileOperation {
    fn name(&self) -> &'static str {
        self.name
    }

    fn accesses(&self) -> &[Access] {
        &self.accesses
    }

    fn bytes_max(&self) -> u64 {
        self.bytes_max
    }
}

impl FileOperation {
    pub(super) fn new(name: &'static str, verbs: &[FileVerb], text: &str) -> Result<Self, FilesError> {
        let target =
            FilePath::parse(text).map_err(|source| FilesError::Path { text: text.to_owned(), source })?;
        Ok(Self::of(name, verbs, target))
    }

    pub(super) fn of(name: &'static str, verbs: &[FileVerb], target: FilePath) -> Self {
        let accesses = verbs.iter().map(|verb| Access::File { verb: *verb, path: target.clone() }).collect();
        Self { name, accesses, target, second: None, bytes_max: 0 }
    }

    pub(super) fn and(mut self, verbs: &[FileVerb], text: &str) -> Result<Self, FilesError> {
        let second = Self::new(self.name, verbs, text)?;
        self.accesses.extend(second.accesses);
        self.second = Some(second.target);
        Ok(self)
    }

    /// The same, known to move so many bytes at most.
    pub(super) fn of_bytes(self, bytes_max: u64) -> Self {
        Self { bytes_max, ..self }
    }

    pub(super) fn second(&self) -> &FilePath {
        self.second.as_ref().expect("an operation on two paths has a second")
    }

    pub(super) fn in_one_root(&self) -> Result<(), FilesError> {
        let (from, to) = (&self.target.root, &self.second().root);
        if from == to { Ok(()) } else { Err(FilesError::TwoRoots { from: from.clone(), to: to.clone() }) }
    }
}
