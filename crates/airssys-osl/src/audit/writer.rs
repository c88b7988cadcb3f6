//! The thread that writes, and those who wait for it.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cap_std::fs::{File, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;

use crate::fs::Root;
use crate::lock::FileLock;

use super::chain::{Head, Line, RECORD_BYTES_MAX};
use super::verify::{Segment, Tail, read, segments};
use super::{AuditError, AuditOptions, Durability, Seq};

/// Bytes that may wait to be written: who records more waits for the disk.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// How long a group is waited for, and how many are enough.
const GROUP_WAIT: Duration = Duration::from_millis(5);
const GROUP_LEN: u64 = 100;
/// Smallest bound on a segment.
const SEGMENT_BYTES_MIN: u64 = 4096;

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    durability: Durability,
    thread: Option<JoinHandle<()>>,
    /// Nobody else writes while this is held.
    _lock: FileLock,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing more will come.
    work: Condvar,
    /// Something was written, or could not be.
    done: Condvar,
}

#[derive(Debug)]
struct State {
    /// The newest record that was taken.
    taken: Head,
    /// The newest record that is on the disk.
    written: Head,
    waiting: Vec<u8>,
    /// Records that nobody waits for among the waiting.
    unattended: u64,
    /// Those that were given up and are to be confessed.
    lost: u64,
    /// Grows when what was waiting is given up.
    epoch: u64,
    failure: Option<(PathBuf, Arc<std::io::Error>)>,
    is_closing: bool,
    is_over: bool,
}

/// The file being written.
struct Current {
    folder: Root,
    file: Option<(File, PathBuf)>,
    bytes: u64,
    bytes_max: u64,
}

impl Writer {
    pub(super) fn open(folder: &Root, lock: FileLock, options: AuditOptions) -> Result<Self, AuditError> {
        let mut current = Current {
            folder: folder.folder(".".as_ref())?,
            file: None,
            bytes: 0,
            bytes_max: options.segment_bytes_max.max(SEGMENT_BYTES_MIN),
        };
        let (head, cut) = current.resume()?;
        let mut state = State {
            taken: head,
            written: head,
            waiting: Vec::new(),
            unattended: 0,
            lost: 0,
            epoch: 0,
            failure: None,
            is_closing: false,
            is_over: false,
        };
        if cut > 0 {
            state.take(Line::cut(head.seq + 1, &head.hash, cut).seal())?;
        }
        let shared =
            Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), done: Condvar::new() });
        let writes = shared.clone();
        let is_patient = options.durability == Durability::Group;
        let thread = thread::Builder::new()
            .name("airssys-osl audit".into())
            .spawn(move || writes.write_all(current, is_patient))
            .map_err(|_| AuditError::WriterGone)?;
        Ok(Self { shared, durability: options.durability, thread: Some(thread), _lock: lock })
    }

    pub(super) fn head(&self) -> Head {
        self.shared.lock().written
    }

    pub(super) fn record(&self, make: impl FnOnce(Seq, &blake3::Hash) -> Line) -> Result<Seq, AuditError> {
        let mut state = self.shared.lock();
        while state.waiting.len() > WAITING_BYTES_MAX && !state.is_over {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_over {
            return Err(AuditError::WriterGone);
        }
        if state.lost > 0 {
            let lost = std::mem::take(&mut state.lost);
            let line = Line::gap(state.taken.seq + 1, &state.taken.hash, lost);
            state.take(line.seal())?;
        }
        let line = make(state.taken.seq + 1, &state.taken.hash);
        state.take(line.seal())?;
        let (seq, epoch) = (state.taken.seq, state.epoch);
        self.shared.work.notify_one();
        if self.durability == Durability::Async {
            state.unattended += 1;
            return Ok(seq);
        }
        loop {
            if state.epoch != epoch {
                return Err(state.failure(seq));
            }
            if state.written.seq >= seq {
                return Ok(seq);
            }
            if state.is_over {
                return Err(AuditError::WriterGone);
            }
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does not panic, and has nothing to say if it did.
            drop(thread.join());
        }
    }
}

impl State {
    fn take(&mut self, (line, hash): (String, blake3::Hash)) -> Result<(), AuditError> {
        if line.len() > RECORD_BYTES_MAX {
            return Err(AuditError::TooLarge { len: line.len(), max: RECORD_BYTES_MAX });
        }
        self.waiting.extend_from_slice(line.as_bytes());
        self.taken = Head { seq: self.taken.seq + 1, hash };
        Ok(())
    }

    fn failure(&self, seq: Seq) -> AuditError {
        match &self.failure {
            Some((path, source)) => AuditError::Write { seq, path: path.clone(), source: source.clone() },
            None => AuditError::WriterGone,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut current: Current, is_patient: bool) {
        let mut batch = Vec::new();
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() {
                if state.is_closing {
                    state.is_over = true;
                    drop(state);
                    self.done.notify_all();
                    return;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if is_patient && !state.is_closing {
                let is_small =
                    |state: &mut State| !state.is_closing && state.taken.seq - state.written.seq < GROUP_LEN;
                let waited = self.work.wait_timeout_while(state, GROUP_WAIT, is_small);
                (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut batch, &mut state.waiting);
            let (first, upto) = (state.written.seq + 1, state.taken);
            let unattended = std::mem::take(&mut state.unattended);
            drop(state);
            let outcome = current.write(first, &batch);
            batch.clear();
            state = self.lock();
            match outcome {
                Ok(()) => {
                    state.written = upto;
                    state.failure = None;
                }
                // Whatever was taken since follows from what is not there.
                Err((path, error)) => {
                    tracing::error!(?path, %error, "audit records were not written");
                    state.lost += unattended + std::mem::take(&mut state.unattended);
                    state.waiting.clear();
                    state.taken = state.written;
                    state.failure = Some((path, Arc::new(error)));
                    state.epoch += 1;
                }
            }
            self.done.notify_all();
        }
    }
}

impl Current {
    /// Finds the end of what is there, and removes a line that was cut short: how many bytes of it.
    fn resume(&mut self) -> Result<(Head, u64), AuditError> {
        let segments = segments(&self.folder)?;
        let mut tail = Tail { head: Head::none(), first: 1 };
        let mut cut_bytes = 0;
        // The newest is read, and one more if the newest was begun and not written.
        let begin = segments.len().saturating_sub(2);
        for (index, segment) in segments.iter().enumerate().skip(begin) {
            let cut = read(&self.folder, segment, index == begin, &mut tail, |_| {})?;
            let file = self.append_to(segment)?;
            let mut bytes = file
                .metadata()
                .map_err(|source| self.folder.fail("open", segment.name.as_ref(), source))?
                .len();
            if let Some(cut) = cut {
                if index + 1 < segments.len() {
                    return Err(AuditError::Broken(cut.broken));
                }
                let trimmed = file.set_len(cut.sound_bytes).and_then(|()| file.sync_all());
                trimmed.map_err(|source| self.folder.fail("trim", segment.name.as_ref(), source))?;
                (bytes, cut_bytes) = (cut.sound_bytes, cut.cut_bytes);
            }
            self.bytes = bytes;
            self.file = Some((file, self.folder.path_of(segment.name.as_ref())));
        }
        Ok((tail.head, cut_bytes))
    }

    fn append_to(&self, segment: &Segment) -> Result<File, AuditError> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.append(true).custom_flags(flags.bits().cast_signed());
        let name = segment.name.as_ref();
        let file = self
            .folder
            .dir()
            .open_with(name, &options)
            .map_err(|source| self.folder.fail("open", name, source))?;
        let metadata = file.metadata().map_err(|source| self.folder.fail("open", name, source))?;
        self.folder.regular(name, &metadata)?;
        Ok(file)
    }

    /// Writes whole lines, the first of them with this number, and sees them to the disk; or leaves the file as it was.
    fn write(&mut self, first: Seq, lines: &[u8]) -> Result<(), (PathBuf, std::io::Error)> {
        if self.bytes >= self.bytes_max {
            self.file = None;
        }
        let bytes = self.bytes;
        let (file, path) = match &mut self.file {
            Some(open) => open,
            None => {
                let name = Segment::beginning_with(first).name;
                let path = self.folder.path_of(name.as_ref());
                let mut options = OpenOptions::new();
                options.append(true).create_new(true).mode(0o600);
                let made = self.folder.dir().open_with(&name, &options).and_then(|file| {
                    let synced = crate::fs::sync_dir(self.folder.dir());
                    if synced.is_err() {
                        // The next attempt makes it anew. The first error is the one to tell.
                        drop(self.folder.dir().remove_file(&name));
                    }
                    synced.map(|()| file)
                });
                match made {
                    Ok(file) => {
                        self.bytes = 0;
                        self.file.insert((file, path))
                    }
                    Err(error) => return Err((path, error)),
                }
            }
        };
        let bytes = if self.bytes == 0 { 0 } else { bytes };
        match file.write_all(lines).and_then(|()| file.sync_data()) {
            Ok(()) => {
                self.bytes = bytes + lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                let path = path.clone();
                // Half a line must not stay. If that fails as well, nothing more is written behind it.
                if file.set_len(bytes).is_err() {
                    self.file = None;
                    self.bytes = self.bytes_max;
                }
                Err((path, error))
            }
        }
    }
}
