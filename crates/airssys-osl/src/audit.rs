//! What was wanted, what was decided and what came of it: an append-only log that shows what was done to it.
//!
//! A record is one line of JSON. Each carries a hash over itself and the hash of the one before, so a record that was changed,
//! removed, added or moved is found by [`verify`], and the first bad one is named. The hashes have no key: who can write the
//! folder can write a whole log anew, or remove its beginning or its end. That shows only beside a [`Head`] that was kept
//! elsewhere. Lines lie in segments, files of bounded size that are never written again once the next has begun.
//!
//! With a [`SecretKey`] the writer signs the newest record now and then, at the end of each segment, and when it closes; then
//! [`verify_signed`] finds whatever somebody without the key wrote anew, up to the last checkpoint that it sees.
//!
//! Denials that come in a storm are counted: of those that say the same within 10 seconds the first 100 are written in full,
//! and of one subject 1,000 that say something else; how many more there were is one record, of the kind `denials`, at the end
//! of that time, of the segment, or of the log. What is counted and not written when a process is killed is lost.
//!
//! One thread writes. Whoever records waits until the line is on the disk; a record that cannot be written is an error, and
//! then nothing may be done. With [`Durability::Async`] nobody waits as long as writing succeeds. Records that were lost when
//! nobody waited are counted in the next one that is written. A log has one writer: the folder is locked while it is open.

mod chain;
mod clock;
mod ocsf;
mod query;
mod reader;
mod sign;
mod storm;
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
pub(crate) use clock::uptime;
pub use ocsf::Export;
pub use query::{AccessLike, Query, QueryError};
pub use reader::{Reader, Record};
pub use sign::{KeyError, PublicKey, SecretKey};
pub use verify::{Broken, Flaw, Sound, verify, verify_signed};
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
    /// When it is in memory, as long as writing succeeds. A crash of the machine or the process loses what is not on the disk:
    /// the records of the last 2 ms, of which 1,000 or 1 MiB are gathered at most, and what the disk was being told
    /// meanwhile. When the disk is slower than those who record, that is up to 4 MiB that wait and as much on the way; then
    /// they wait. What is left is the log without its end. A process that drops its log before it ends loses nothing. A disk that
    /// does not take records loses the first of them, which are counted; from then on everybody waits, until one is written.
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
    /// The system gives no randomness to name this opening of the log by.
    #[error("begin to write the audit log")]
    Run(#[source] std::io::Error),
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
        policy: &'s str,
        fields: &'s Fields<'s>,
    },
    /// The policy denies it, and it is permitted because its subject is being observed.
    Observed {
        subject: &'s Subject,
        accesses: &'s [Access],
        denied: &'s dyn fmt::Display,
        rule: &'s dyn fmt::Display,
        operation: &'s str,
        policy: &'s str,
        fields: &'s Fields<'s>,
    },
    /// It is denied.
    Denial {
        subject: &'s Subject,
        accesses: &'s [Access],
        denied: &'s dyn fmt::Display,
        rule: &'s dyn fmt::Display,
        operation: &'s str,
        policy: &'s str,
        fields: &'s Fields<'s>,
    },
    /// What came of an intent.
    Outcome { of: Seq, outcome: Outcome<'s> },
    /// Something happened to the gate itself.
    Notice { kind: &'static str, fields: &'s [(&'static str, Value<'s>)] },
}

/// What a field of a record says.
#[derive(Clone, Copy)]
pub(crate) enum Value<'s> {
    Text(&'s dyn fmt::Display),
    Number(u64),
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
    /// Opens the log in a folder, which has to be private and should be used for nothing else, and continues it. A line that a
    /// crash cut short is removed, and a record says so.
    pub fn open(folder: &Root, options: AuditOptions) -> Result<Self, AuditError> {
        Self::open_with(folder, options, None)
    }

    /// As [`AuditLog::open`], and signs: at least every `every` records, 1 to 65,536, at the end of each segment, and when it
    /// is opened and closed.
    pub fn open_signed(
        folder: &Root,
        options: AuditOptions,
        key: SecretKey,
        every: u64,
    ) -> Result<Self, AuditError> {
        Self::open_with(folder, options, Some(sign::Signer::new(key, every)))
    }

    fn open_with(
        folder: &Root,
        options: AuditOptions,
        signer: Option<sign::Signer>,
    ) -> Result<Self, AuditError> {
        folder.check_private()?;
        let lock = FileLock::try_lock(folder, LOCK.as_ref())?;
        Writer::open(folder, lock, options, signer).map(|writer| Self(Arc::new(writer)))
    }

    /// The newest record on the disk, to be kept where whoever can write the log cannot: with it [`verify`] sees that the end
    /// is missing.
    pub fn head(&self) -> Head {
        self.0.head()
    }

    /// Whether who records now does not wait for the disk, because nobody does as long as it works, and it does.
    pub(crate) fn is_prompt(&self) -> bool {
        self.0.is_prompt()
    }

    /// Counts a record that could not be written and whose teller cannot undo what it is about.
    pub(crate) fn lose(&self) {
        self.0.lose();
    }

    /// Records, and returns when the record is written as the log's durability has it. A denial in a storm is counted; then
    /// the number is that of the latest one like it.
    pub(crate) fn record(&self, said: Said<'_>) -> Result<Seq, AuditError> {
        let draft = Draft::new(&said);
        match said {
            Said::Denial { subject, .. } => self.0.record_denial(subject, &draft),
            Said::Intent { .. } | Said::Observed { .. } | Said::Outcome { .. } | Said::Notice { .. } => {
                self.0.record(&draft)
            }
        }
    }
}
