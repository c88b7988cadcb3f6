//! The thread that writes, and those who wait for it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cap_std::fs::{
    File, MetadataExt as _, OpenOptions, OpenOptionsExt as _, Permissions, PermissionsExt as _,
};
use rustix::fs::OFlags;

use crate::access::Subject;
use crate::fs::Root;
use crate::lock::FileLock;

use super::chain::{Draft, Head, Lines};
use super::clock::{Run, uptime};
use super::sign::{Checkpoints, Signer};
use super::storm::{Fate, Storms};
use super::verify::{Segment, Tail, read, segments};
use super::{AuditError, AuditOptions, Durability, Seq};

/// Bytes that may wait to be written: who records more waits for the disk.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// How long more records are waited for where somebody waits for them to be written, and how many are enough.
const GROUP: Gathering = Gathering { time: Duration::from_millis(5), len: 100 };
/// The same where nobody does.
const ASYNC: Gathering = Gathering { time: Duration::from_millis(2), len: 1_000 };
/// Bytes that are enough however few records they are.
const GATHERED_BYTES: usize = 1 << 20;
/// How much later than necessary counted denials are looked for, so that several ends are one.
const STORM_PAUSE: Duration = Duration::from_millis(20);
/// Mode of a segment that is complete: nobody writes there any more.
const SEALED: u32 = 0o400;
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
    /// The newest record that was taken. Its hash is made by the thread that writes.
    taken: Seq,
    /// The newest record that is on the disk.
    written: Head,
    waiting: Lines,
    /// What becomes of what is waiting.
    batch: Arc<Batch>,
    /// Records that nobody waits for among the waiting, and lost ones that are confessed there: to be counted as lost again
    /// if they are not written.
    unattended: u64,
    /// Those that were given up and are to be confessed.
    lost: u64,
    run: Run,
    storms: Storms,
    checkpoints: Option<Checkpoints>,
    /// The newest checkpoint that was taken, and the newest that is on the disk.
    signed: Seq,
    signed_written: Seq,
    /// The last attempt failed, so until one succeeds everybody waits.
    is_failing: bool,
    is_closing: bool,
    is_over: bool,
    sleep: Sleep,
}

/// What the thread that writes waits for; waking one that does not sleep costs as much as waking one that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    /// It works, and looks before it sleeps.
    No,
    /// Anything to do.
    Idle,
    /// The same, or the end of a storm.
    Storm,
    /// So many records, or the end of its patience.
    Gathering(u64),
}

/// How records come to be written together.
#[derive(Debug, Clone, Copy)]
struct Gathering {
    time: Duration,
    len: u64,
}

/// Records that are written together, or not at all.
#[derive(Debug, Default)]
struct Batch(OnceLock<Result<(), Failure>>);

#[derive(Debug, Clone)]
struct Failure {
    path: PathBuf,
    source: Arc<std::io::Error>,
}

/// The file being written.
struct Current {
    folder: Root,
    file: Option<(File, PathBuf)>,
    bytes: u64,
    bytes_max: u64,
    /// What is behind these bytes was not written whole and could not be removed yet.
    is_torn: bool,
}

impl Writer {
    /// Whether who records now does not wait for the disk.
    pub(super) fn is_prompt(&self) -> bool {
        if self.durability != Durability::Async {
            return false;
        }
        let state = self.shared.lock();
        !state.is_failing && state.waiting.len() <= WAITING_BYTES_MAX
    }

    pub(super) fn open(
        folder: &Root,
        lock: FileLock,
        options: AuditOptions,
        signer: Option<Signer>,
    ) -> Result<Self, AuditError> {
        let mut current = Current {
            folder: folder.folder(".".as_ref())?,
            file: None,
            bytes: 0,
            bytes_max: options.segment_bytes_max.max(SEGMENT_BYTES_MIN),
            is_torn: false,
        };
        let (head, cut) = current.resume()?;
        let mut state = State {
            taken: head.seq,
            written: head,
            waiting: Lines::default(),
            batch: Arc::default(),
            unattended: 0,
            lost: 0,
            run: Run::begin().map_err(AuditError::Run)?,
            storms: Storms::default(),
            checkpoints: signer.as_ref().map(Signer::checkpoints),
            signed: head.seq,
            signed_written: head.seq,
            is_failing: false,
            is_closing: false,
            is_over: false,
            sleep: Sleep::No,
        };
        if cut > 0 {
            state.take(&Draft::cut(cut))?;
            state.unattended += 1;
        }
        // The log begins to be signed here, also what was not before.
        state.sign()?;
        let shared =
            Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), done: Condvar::new() });
        let writes = shared.clone();
        let gathering = match options.durability {
            Durability::Strict => None,
            Durability::Group => Some(GROUP),
            Durability::Async => Some(ASYNC),
        };
        let thread = thread::Builder::new()
            .name("airssys-osl audit".into())
            .spawn(move || writes.write_all(current, gathering, signer.as_ref()))
            .map_err(|_| AuditError::WriterGone)?;
        Ok(Self { shared, durability: options.durability, thread: Some(thread), _lock: lock })
    }

    pub(super) fn head(&self) -> Head {
        self.shared.lock().written
    }

    /// Records a denial, or counts it if there were many.
    pub(super) fn record_denial(&self, subject: &Subject, draft: &Draft) -> Result<Seq, AuditError> {
        let mut state = self.room(self.shared.lock())?;
        // What cannot be written soon is not counted either: whoever asks learns that the log does not work.
        if !state.is_failing && !state.is_over && !state.is_closing {
            let now = uptime();
            state.finish_storms(Some(now));
            // Before the denial has its number, which others of the kind will name.
            state.confess()?;
            let newest = state.taken;
            if let Fate::Counted(of) = state.storms.meet(subject, draft, newest, now) {
                // Who sleeps to the end of a storm knows when that is; others end later.
                if state.sleep == Sleep::Idle {
                    self.shared.wake(&mut state);
                }
                return Ok(of);
            }
        }
        self.record_in(state, draft)
    }

    pub(super) fn record(&self, draft: &Draft) -> Result<Seq, AuditError> {
        self.record_in(self.shared.lock(), draft)
    }

    /// Waits until there is room for one record more.
    fn room<'s>(&self, mut state: MutexGuard<'s, State>) -> Result<MutexGuard<'s, State>, AuditError> {
        while state.waiting.len() > WAITING_BYTES_MAX && !state.is_over {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_over { Err(AuditError::WriterGone) } else { Ok(state) }
    }

    fn record_in<'s>(&'s self, state: MutexGuard<'s, State>, draft: &Draft) -> Result<Seq, AuditError> {
        let mut state = self.room(state)?;
        state.confess()?;
        state.take(draft)?;
        let seq = state.taken;
        if state.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.is_due(seq, state.signed)) {
            state.sign()?;
        }
        self.shared.wake(&mut state);
        if self.durability == Durability::Async && !state.is_failing {
            state.unattended += 1;
            return Ok(seq);
        }
        let batch = state.batch.clone();
        loop {
            match batch.0.get() {
                Some(Ok(())) => return Ok(seq),
                Some(Err(Failure { path, source })) => {
                    return Err(AuditError::Write { seq, path: path.clone(), source: source.clone() });
                }
                None if state.is_over => return Err(AuditError::WriterGone),
                None => state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Counts a record whose loss its teller cannot undo: the next one that is written says so.
    pub(super) fn lose(&self) {
        self.shared.lock().lost += 1;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closing = true;
        self.shared.wake(&mut state);
        drop(state);
        if let Some(thread) = self.thread.take() {
            // It does not panic, and has nothing to say if it did.
            drop(thread.join());
        }
    }
}

impl State {
    fn take(&mut self, draft: &Draft) -> Result<(), AuditError> {
        self.waiting.push(self.taken + 1, draft, &self.run)?;
        self.taken += 1;
        Ok(())
    }

    /// Signs the newest record, if there is a key.
    fn sign(&mut self) -> Result<(), AuditError> {
        if let Some(checkpoints) = &self.checkpoints {
            self.waiting.push(self.taken + 1, &checkpoints.draft, &self.run)?;
            self.taken += 1;
            self.unattended += 1;
            self.signed = self.taken;
        }
        Ok(())
    }

    /// Takes the records of counted denials whose time is over, or of all.
    fn finish_storms(&mut self, upto: Option<Duration>) {
        for (draft, count) in self.storms.finish(upto) {
            match self.take(&draft) {
                Ok(()) => self.unattended += count,
                // It is not longer than a record that was written, and says less.
                Err(_) => self.lost += count,
            }
        }
    }

    /// What belongs at the end of a segment or of the log.
    fn close(&mut self) {
        self.finish_storms(None);
        if self.checkpoints.is_some() && self.signed < self.taken {
            self.sign().expect("a checkpoint is no long record");
        }
    }

    /// Whether as many wait as are written together.
    fn is_gathered(&self, len: u64) -> bool {
        self.taken - self.written.seq >= len || self.waiting.len() >= GATHERED_BYTES
    }

    /// Says how many records are missing, if any are.
    fn confess(&mut self) -> Result<(), AuditError> {
        if self.lost > 0 {
            self.take(&Draft::gap(self.lost))?;
            self.unattended += std::mem::take(&mut self.lost);
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread that writes if it sleeps and there is what it waits for. Called after every change that concerns it.
    fn wake(&self, state: &mut State) {
        let is_awaited = match state.sleep {
            Sleep::No => false,
            Sleep::Idle | Sleep::Storm => true,
            Sleep::Gathering(len) => state.is_closing || state.is_gathered(len),
        };
        if is_awaited {
            state.sleep = Sleep::No;
            self.work.notify_one();
        }
    }

    /// Sleeps until woken, or for so long.
    fn sleep<'s>(
        &self,
        mut state: MutexGuard<'s, State>,
        sleep: Sleep,
        time: Option<Duration>,
    ) -> MutexGuard<'s, State> {
        state.sleep = sleep;
        let is_asleep = |state: &mut State| state.sleep != Sleep::No;
        let mut state = match time {
            None => self.work.wait_while(state, is_asleep).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.work.wait_timeout_while(state, time, is_asleep);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.sleep = Sleep::No;
        state
    }

    fn write_all(&self, mut current: Current, gathering: Option<Gathering>, signer: Option<&Signer>) {
        // Also if this thread panics, nobody waits for it.
        let _over = Over(self);
        let mut lines = Lines::default();
        let mut has_tried_to_close = false;
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() {
                if state.is_closing {
                    if has_tried_to_close || state.lost > 0 && state.confess().is_err() {
                        return;
                    }
                    has_tried_to_close = true;
                    state.close();
                    continue;
                }
                let ends = state.storms.due_in(uptime()).map(|time| time + STORM_PAUSE);
                let sleep = if ends.is_none() { Sleep::Idle } else { Sleep::Storm };
                state = self.sleep(state, sleep, ends);
                if ends.is_some() {
                    state.finish_storms(Some(uptime()));
                }
            }
            // After a failure everybody waits, and learns soon whether the disk takes records again.
            if let Some(Gathering { time, len }) = gathering
                && !(state.is_closing || state.is_failing || state.is_gathered(len))
            {
                state = self.sleep(state, Sleep::Gathering(len), Some(time));
            }
            if current.is_full_with(state.waiting.len()) {
                state.close();
            }
            std::mem::swap(&mut lines, &mut state.waiting);
            let (written, taken, signed) = (state.written, state.taken, state.signed);
            let batch = std::mem::take(&mut state.batch);
            let unattended = std::mem::take(&mut state.unattended);
            drop(state);
            let upto = lines.seal(written, signer);
            debug_assert_eq!(upto.seq, taken, "whatever was taken waits, behind what is written");
            let outcome = current.write(written.seq + 1, lines.as_bytes());
            lines.clear();
            if let Err(failure) = &outcome {
                tracing::error!(path = ?failure.path, error = %failure.source, "audit records were not written");
            }
            state = self.lock();
            match &outcome {
                Ok(()) => {
                    state.written = upto;
                    state.signed_written = signed;
                    state.is_failing = false;
                }
                // Whatever was taken since follows from what is not there.
                Err(failure) => {
                    state.lost += unattended + std::mem::take(&mut state.unattended);
                    state.waiting.clear();
                    state.taken = state.written.seq;
                    state.signed = state.signed_written;
                    let written = state.written.seq;
                    state.storms.forget_after(written);
                    state.is_failing = true;
                    std::mem::take(&mut state.batch).end(Err(failure.clone()));
                }
            }
            batch.end(outcome);
            self.done.notify_all();
        }
    }
}

impl Batch {
    fn end(&self, outcome: Result<(), Failure>) {
        let is_first = self.0.set(outcome).is_ok();
        debug_assert!(is_first, "a batch ends once");
    }
}

struct Over<'s>(&'s Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.done.notify_all();
    }
}

impl Current {
    /// Whether the segment ends with these bytes.
    fn is_full_with(&self, bytes: usize) -> bool {
        let bytes_now = match &self.file {
            Some(_) if self.bytes < self.bytes_max || self.is_torn => self.bytes,
            Some(_) | None => 0,
        };
        bytes_now + bytes as u64 >= self.bytes_max
    }

    /// Finds the end of what is there, and removes a line that was cut short: how many bytes of it.
    fn resume(&mut self) -> Result<(Head, u64), AuditError> {
        let segments = segments(&self.folder)?;
        let mut tail = Tail { head: Head::none(), first: 1 };
        let mut cut_bytes = 0;
        // The newest is read, and one more if the newest was begun and not written.
        let begin = segments.len().saturating_sub(2);
        for (index, segment) in segments.iter().enumerate().skip(begin) {
            segment.follows(&self.folder, index == begin, &tail)?;
            let cut = read(&self.folder, segment, index == begin, &mut tail, |_, _| None)?;
            let name: &Path = segment.name.as_ref();
            let is_newest = index + 1 == segments.len();
            let metadata = self
                .folder
                .dir()
                .symlink_metadata(name)
                .map_err(|source| self.folder.fail("open", name, source))?;
            // A complete segment is not opened to be written, and has no torn end.
            let is_sealed = metadata.mode() & 0o200 == 0;
            if !is_newest || is_sealed {
                match cut {
                    Some(cut) => return Err(AuditError::Broken(cut.broken)),
                    None => continue,
                }
            }
            let file = self.append_to(name)?;
            let mut bytes = file.metadata().map_err(|source| self.folder.fail("open", name, source))?.len();
            if let Some(cut) = cut {
                let trimmed = file.set_len(cut.sound_bytes).and_then(|()| file.sync_all());
                trimmed.map_err(|source| self.folder.fail("trim", name, source))?;
                (bytes, cut_bytes) = (cut.sound_bytes, cut.cut_bytes);
            }
            self.bytes = bytes;
            self.file = Some((file, self.folder.path_of(name)));
        }
        Ok((tail.head, cut_bytes))
    }

    fn append_to(&self, name: &Path) -> Result<File, AuditError> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.append(true).custom_flags(flags.bits().cast_signed());
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
    fn write(&mut self, first: Seq, lines: &[u8]) -> Result<(), Failure> {
        if self.bytes >= self.bytes_max && !self.is_torn {
            self.file = None;
        }
        let (file, path) = match &mut self.file {
            Some(open) => open,
            None => {
                let name = Segment::beginning_with(first).name;
                let path = self.folder.path_of(name.as_ref());
                let file = self
                    .create(&name)
                    .map_err(|error| Failure { path: path.clone(), source: Arc::new(error) })?;
                self.bytes = 0;
                self.is_torn = false;
                self.file.insert((file, path))
            }
        };
        let fail = |source| Failure { path: path.clone(), source: Arc::new(source) };
        if self.is_torn {
            file.set_len(self.bytes).map_err(fail)?;
            self.is_torn = false;
        }
        match file.write_all(lines).and_then(|()| file.sync_data()).and_then(|()| file.metadata()) {
            // Somebody removed the file, and what is written goes nowhere.
            Ok(metadata) if metadata.nlink() == 0 => {
                let failure = fail(rustix::io::Errno::NOENT.into());
                self.file = None;
                Err(failure)
            }
            Ok(_) => {
                self.bytes += lines.len() as u64;
                if self.bytes >= self.bytes_max {
                    // What is written is written; that the file stays open to be changed is worth a line and no more.
                    if let Err(error) = file.set_permissions(Permissions::from_mode(SEALED)) {
                        tracing::warn!(?path, %error, "a complete audit segment stays writable");
                    }
                    self.file = None;
                }
                Ok(())
            }
            Err(error) => {
                // Half a line must not stay, and nothing is written behind it.
                self.is_torn = file.set_len(self.bytes).is_err();
                Err(fail(error))
            }
        }
    }

    fn create(&self, name: &str) -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600);
        let file = match self.folder.dir().open_with(name, &options) {
            Ok(file) => file,
            // Made by an attempt that then failed, or planted: only what is empty and ours alone is used.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let file = self.append_to(name.as_ref()).map_err(std::io::Error::other)?;
                if file.metadata()?.len() > 0 {
                    return Err(error);
                }
                file
            }
            Err(error) => return Err(error),
        };
        crate::fs::sync_dir(self.folder.dir())?;
        Ok(file)
    }
}
