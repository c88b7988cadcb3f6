//! What was wanted, what was decided and what came of it: an append-only log that shows what was done to it.
//!
//! A record is one line of JSON. Each carries a hash over itself and the hash of the one before, so a record that was changed,
//! removed, added or moved is found by [`verify`], and the first bad one is named. The hashes have no key: who can write the
//! folder can write a whole log anew, or remove its beginning or its end. That shows only beside a [`Head`] that was kept
//! elsewhere. Lines lie in segments, files of bounded size that are never written again once the next has begun.
//!
//! One thread writes. Whoever records waits until the line is on the disk; a record that cannot be written is an error, and
//! then nothing may be done. With [`Durability::Async`] nobody waits as long as writing succeeds. Records that were lost when
//! nobody waited are counted in the next one that is written. A log has one writer: the folder is locked while it is open.

mod chain;
mod verify;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::access::{Access, Subject};
use crate::fields::Fields;
use crate::fs::{FsError, Root};
use crate::lock::{FileLock, LockError};

use chain::Draft;
pub use chain::Head;
pub use verify::{Broken, Flaw, Sound, verify};
use writer::Writer;

/// The file that says who writes.
const LOCK: &str = "lock";

/// When a record counts as written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk; those that come together go together.
    #[default]
    Strict,
    /// The same, but the writer waits up to 5 ms, or for 100 records, so that more go together.
    Group,
    /// When it is in memory, as long as writing succeeds. A crash of the machine or the process loses the last moments, and so
    /// do the first records that a disk does not take; from then on everybody waits, until one is written.
    Async,
}

/// How a log is kept.
#[derive(Debug, Clone, Copy)]
pub struct AuditOptions {
    /// When a record counts as written.
    pub durability: Durability,
    /// A segment that is larger is closed, and the next begun. At least 4 KiB.
    pub segment_bytes_max: u64,
}

impl Default for AuditOptions {
    /// Strict, in segments of 64 MiB.
    fn default() -> Self {
        Self { durability: Durability::Strict, segment_bytes_max: 64 << 20 }
    }
}

/// An open log. Cheap to clone; the last one to be dropped writes what is waiting and closes it.
#[derive(Debug, Clone)]
pub struct AuditLog(Arc<Writer>);

/// The number of a record: 1 for the first of a log, one more for each.
pub type Seq = u64;

/// Why a log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The folder or a file in it cannot be used.
    #[error(transparent)]
    Folder(#[from] FsError),
    /// Another process, or another log of this one, writes there.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// What is there is no sound log, so it is not continued.
    #[error("continue the audit log: {0}")]
    Broken(#[source] Broken),
    /// A record is larger than may be.
    #[error("write an audit record of {len} bytes: at most {max} are taken")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The disk did not take it. The next record is tried anew.
    #[error("write audit record {seq} to {path:?}")]
    Write {
        /// Which record.
        seq: Seq,
        /// The segment.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The thread that writes could not be started or has ended.
    #[error("the audit log's writer is gone")]
    WriterGone,
}

/// What a record says.
#[derive(Clone, Copy)]
pub(crate) enum Said<'s> {
    /// It is permitted, and about to be done.
    Intent {
        subject: &'s Subject,
        accesses: &'s [Access],
        rules: &'s dyn fmt::Display,
        operation: &'s str,
        fields: &'s Fields<'s>,
    },
    /// It is denied.
    Denial {
        subject: &'s Subject,
        accesses: &'s [Access],
        denied: &'s dyn fmt::Display,
        rule: &'s dyn fmt::Display,
        operation: &'s str,
        fields: &'s Fields<'s>,
    },
    /// What came of an intent.
    Outcome { of: Seq, outcome: Outcome<'s> },
}

/// How an operation ended.
#[derive(Clone, Copy)]
pub(crate) enum Outcome<'s> {
    Done,
    Failed(&'s dyn fmt::Display),
    /// Nobody said: it was cancelled, or its task is gone.
    Unknown,
}

impl AuditLog {
    /// Opens the log in a folder, which should be private and used for nothing else, and continues it. A line that a crash
    /// cut short is removed, and a record says so.
    pub fn open(folder: &Root, options: AuditOptions) -> Result<Self, AuditError> {
        let lock = FileLock::try_lock(folder, LOCK.as_ref())?;
        Writer::open(folder, lock, options).map(|writer| Self(Arc::new(writer)))
    }

    /// The newest record on the disk, to be kept where whoever can write the log cannot: with it [`verify`] sees that the end
    /// is missing.
    pub fn head(&self) -> Head {
        self.0.head()
    }

    /// Whether those who record do not wait for the disk, as long as it works.
    pub(crate) fn is_prompt(&self) -> bool {
        self.0.durability() == Durability::Async
    }

    /// Counts a record that could not be written and whose teller cannot undo what it is about.
    pub(crate) fn lose(&self) {
        self.0.lose();
    }

    /// Records, and returns when the record is written as the log's durability has it.
    pub(crate) fn record(&self, said: Said<'_>) -> Result<Seq, AuditError> {
        self.0.record(&Draft::new(&said))
    }
}
