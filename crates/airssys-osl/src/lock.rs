//! One holder at a time, across processes. The lock ends with its holder, also by kill -9: the kernel releases it.
//!
//! The lock file stays behind on purpose. Removing it would let two holders lock two files of one name.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::fs::{File, OpenOptions, OpenOptionsExt};
use rustix::fs::{FlockOperation, OFlags};

use crate::fs::{FsError, Root};

/// A held lock; released on drop.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is about to start another program shares the open file for a moment.
        if let Err(error) = rustix::fs::flock(&self.file, FlockOperation::NonBlockingUnlock) {
            tracing::warn!(%error, "a lock is released only when its file is closed everywhere");
        }
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process, or another part of this one, holds it.
    #[error("lock {path:?}: another process holds it")]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl FileLock {
    /// Takes the lock on the file `rel` below `root`, made with mode 0600 if it is missing. Does not wait.
    pub fn try_lock(root: &Root, rel: &Path) -> Result<Self, LockError> {
        let rel = root.inside(rel)?;
        let fail = |source: io::Error| root.fail("lock", rel, source);
        // A link or a FIFO in its place was planted.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(flags.bits().cast_signed());
        let file = root.dir().open_with(rel, &options).map_err(fail)?;
        root.regular(rel, &file.metadata().map_err(fail)?)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(FileLock { file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held { path: root.path_of(rel) }),
            Err(errno) => Err(fail(errno.into()).into()),
        }
    }
}
