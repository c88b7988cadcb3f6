//! A policy in a file, read again when the file changes. What cannot be read changes nothing, and says so loudly.
//!
//! The policy in use is replaced only by one that was read whole from a file that did not change meanwhile. Everything else,
//! a file that is gone, empty, cut short, wrong, or open to others, keeps the policy that was there and alarms: a typed error,
//! a record of the kind `alarm`, a line of the log, and a count. A file that is written in place may be cut where what is left
//! makes sense and denies less, so put a new policy there by renaming; a watched file has to rest for one interval before it
//! is read, which helps and is no proof.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cap_std::fs::MetadataExt as _;

use crate::audit::{AuditLog, Value};
use crate::document::{DocumentError, TEXT_BYTES_MAX};
use crate::fs::{FsError, Root};
use crate::gate::Gate;

use super::Policy;

/// Shortest interval of looking at the file.
const INTERVAL_MIN: Duration = Duration::from_millis(5);

/// A gate and the file that its policy comes from.
#[derive(Debug)]
pub struct PolicyFile {
    gate: Gate,
    folder: Root,
    name: OsString,
    seen: Mutex<Seen>,
    alarms: AtomicU64,
}

/// What became of looking at the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// It has the policy that is in use.
    Unchanged,
    /// Its policy is in use from now on.
    Replaced {
        /// The generation of it.
        generation: u64,
    },
}

/// Why the policy in a file is not used. The one before is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFileError {
    /// It is not there, or cannot be read.
    #[error("read the policy")]
    Read(#[from] FsError),
    /// Somebody wrote to it, or replaced it, while it was read.
    #[error("read the policy {path:?}: it changed meanwhile")]
    Changing {
        /// The file.
        path: PathBuf,
    },
    /// Others than this user and root can change it.
    #[error("read the policy {path:?}: user {owner} with mode {mode:04o} can let others change it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no policy.
    #[error("understand the policy")]
    Invalid(#[from] DocumentError),
}

/// What was in the folder when somebody looked.
#[derive(Debug, Default)]
struct Seen {
    /// Of the newest look.
    stamp: Option<Stamp>,
    /// Of the file that was read, or tried.
    read: Option<Option<Stamp>>,
    /// It is read once more: a change within one tick of the clock shows in no stamp.
    is_checked: bool,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A thread that looks at the file; it ends when this is dropped.
#[derive(Debug)]
pub struct PolicyWatch {
    file: Arc<PolicyFile>,
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl PolicyFile {
    /// A gate that decides by the policy in a file and writes to this log. If the file cannot be used, the alarm is given and
    /// nobody may do anything until it can.
    pub fn open(folder: Root, name: &OsStr, log: AuditLog) -> Self {
        let gate = Gate::new(Policy::empty(), log);
        let (seen, alarms) = (Mutex::default(), AtomicU64::new(0));
        let file = Self { gate, folder, name: name.to_owned(), seen, alarms };
        // What went wrong was said by the alarm, and shows in `alarms_len`.
        drop(file.reload());
        file
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// How often a policy could not be used.
    pub fn alarms_len(&self) -> u64 {
        self.alarms.load(Ordering::Relaxed)
    }

    /// Reads the file now and uses its policy, or keeps the one in use and alarms.
    pub fn reload(&self) -> Result<Reloaded, PolicyFileError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp().ok();
        *seen = Seen { stamp, read: Some(stamp), is_checked: false };
        self.take()
    }

    /// Reads the file if it changed since it was read, and has rested since the look before.
    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.stamp().ok();
        let is_at_rest = seen.stamp == stamp;
        let is_known = seen.read == Some(stamp);
        seen.stamp = stamp;
        if !is_at_rest || is_known && seen.is_checked {
            return;
        }
        // A file that was bad and is the same was told already.
        let is_again = is_known;
        seen.is_checked = is_again;
        seen.read = Some(stamp);
        if is_again && self.read().is_err() {
            return;
        }
        drop(self.take());
    }

    fn take(&self) -> Result<Reloaded, PolicyFileError> {
        match self.read() {
            Ok(policy) if policy.digest() == self.gate.policy().digest() => Ok(Reloaded::Unchanged),
            Ok(policy) => {
                let generation = self.gate.replace_policy(policy);
                tracing::info!(path = ?self.path(), generation, "a policy was replaced");
                Ok(Reloaded::Replaced { generation })
            }
            Err(error) => {
                self.alarms.fetch_add(1, Ordering::Relaxed);
                let generation = self.gate.generation();
                tracing::error!(path = ?self.path(), %error, generation, "a policy cannot be used; the one before is kept");
                let path = self.path();
                let why = Chain(&error);
                let fields: [(&'static str, Value<'_>); 4] = [
                    ("about", Value::Text(&"policy")),
                    ("path", Value::Text(&path.display())),
                    ("generation", Value::Number(generation)),
                    ("error", Value::Text(&why)),
                ];
                self.gate.tell("alarm", &fields);
                Err(error)
            }
        }
    }

    fn read(&self) -> Result<Policy, PolicyFileError> {
        let name = Path::new(&self.name);
        let before = self.stamp()?;
        let text = self.folder.read_to_string(name, TEXT_BYTES_MAX as u64)?;
        let path = self.path();
        if self.stamp()? != before {
            return Err(PolicyFileError::Changing { path });
        }
        Ok(Policy::parse(&text, &path.display().to_string())?)
    }

    /// What shows whether it changed, of a file that only this user and root can change.
    fn stamp(&self) -> Result<Stamp, PolicyFileError> {
        let name = self.folder.inside(self.name.as_ref())?;
        let metadata =
            self.folder.dir().metadata(name).map_err(|source| self.folder.fail("open", name, source))?;
        let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        let is_ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
        if !is_ours || mode & 0o022 != 0 {
            return Err(PolicyFileError::Exposed { path: self.path(), owner, mode });
        }
        Ok(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.path_of(self.name.as_ref())
    }

    /// Looks at the file every `interval`, of at least 5 ms, until the watch is dropped.
    pub fn watch(self, interval: Duration) -> Result<PolicyWatch, std::io::Error> {
        let file = Arc::new(self);
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (looks, stopped) = (file.clone(), stop.clone());
        let interval = interval.max(INTERVAL_MIN);
        let thread = std::thread::Builder::new().name("airssys-osl policy".into()).spawn(move || {
            let (is_over, told) = &*stopped;
            let mut over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
            while !*over {
                (over, _) = told.wait_timeout(over, interval).unwrap_or_else(PoisonError::into_inner);
                if !*over {
                    looks.look();
                }
            }
        })?;
        Ok(PolicyWatch { file, stop, thread: Some(thread) })
    }
}

impl PolicyWatch {
    /// The file that is watched.
    pub fn file(&self) -> &PolicyFile {
        &self.file
    }
}

impl Drop for PolicyWatch {
    fn drop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, and if it panicked that was said.
            drop(thread.join());
        }
    }
}

/// An error with what lies behind it, on one line.
struct Chain<'e>(&'e dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
