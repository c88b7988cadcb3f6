//! Files that stay open: read, written or lengthened piece by piece.
//!
//! A handle is one operation. Its outcome is recorded when it is finished, or when it is dropped: a [`FileReader`] that was dropped
//! before it met the end, and a [`FileWriter`] that changed a file in its place and was not finished, leave an unknown outcome; a
//! writer that was to replace a file leaves the old one, and the log says that it failed. A handle does what it was opened for
//! and nothing else: there is no way from it to the modes, owners, times or attributes of the file, and none to the descriptor.
//!
//! Reading and writing wait for the disk, and recording may. In tasks, use them within [`Files::from_task`](super::Files::from_task).

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::place::{Place, check, of};
use super::slots::Slot;
use crate::beneath;
use crate::fs::{self, FsError};
use crate::gate::Ticket;

/// A file to be read from its beginning, or anywhere in its first bytes.
#[derive(Debug)]
pub struct FileReader {
    file: File,
    at: u64,
    bytes_max: u64,
    bytes_read: u64,
    has_ended: bool,
    course: Course,
}

/// A file to be written. Nothing of it is longer than the bound that it was opened with.
#[derive(Debug)]
pub struct FileWriter {
    file: File,
    way: Way,
    at: u64,
    bytes_max: u64,
    bytes_written: u64,
    course: Course,
}

/// How what is written gets to its place.
#[derive(Debug)]
pub(super) enum Way {
    /// It is written beside, and put there when it is whole.
    Replacing(Draft),
    /// It is written over what is there.
    InPlace,
    /// It is written behind what is there.
    Appending,
}

/// A file that is to replace another, or to come into being whole.
#[derive(Debug)]
pub(super) struct Draft {
    folder: OwnedFd,
    /// None once it is in its place.
    temporary: Option<String>,
    name: String,
    mounts: beneath::Mounts,
}

/// What is said of a handle when it ends.
pub(super) struct Course {
    /// None once it is said.
    ticket: Option<Ticket>,
    /// The first thing that went wrong.
    failure: Option<Failure>,
    /// Bytes went where they stay, whatever goes wrong later.
    has_moved: bool,
    shown: PathBuf,
    _slot: Slot,
}

#[derive(Debug, Clone, Copy)]
enum Failure {
    TooLarge { limit: u64 },
    Os { action: &'static str, error: Option<Errno> },
}

impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ticket: _, failure, has_moved: _, shown, _slot: _ } = self;
        f.debug_struct("Course").field("failure", failure).field("shown", shown).finish_non_exhaustive()
    }
}

impl Course {
    pub(super) fn new(ticket: Ticket, shown: PathBuf, slot: Slot) -> Self {
        Self { ticket: Some(ticket), failure: None, has_moved: false, shown, _slot: slot }
    }

    fn error(&self, failure: Failure) -> FsError {
        let path = self.shown.clone();
        match failure {
            Failure::TooLarge { limit } => FsError::TooLarge { path, limit },
            Failure::Os { action, error } => {
                let source = error.map_or_else(|| io::Error::other("it failed before"), io::Error::from);
                of(action, path, source)
            }
        }
    }

    /// Whether all went well so far.
    fn stands(&self) -> Result<(), FsError> {
        self.failure.map_or(Ok(()), |failure| Err(self.error(failure)))
    }

    fn stands_io(&self) -> io::Result<()> {
        self.stands().map_err(io::Error::other)
    }

    fn too_large(&mut self, limit: u64) -> io::Error {
        let failure = *self.failure.get_or_insert(Failure::TooLarge { limit });
        io::Error::new(io::ErrorKind::FileTooLarge, self.error(failure))
    }

    fn note<T>(&mut self, action: &'static str, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome
            && error.kind() != io::ErrorKind::Interrupted
        {
            let error = error.raw_os_error().map(Errno::from_raw_os_error);
            self.failure.get_or_insert(Failure::Os { action, error });
        }
        outcome
    }

    pub(super) fn shown(&self) -> &Path {
        &self.shown
    }

    /// Says that it was done, or what went wrong.
    pub(super) fn end(&mut self) {
        let outcome = self.stands();
        self.say(outcome.err().as_ref());
    }

    fn say(&mut self, error: Option<&FsError>) {
        match (self.ticket.take(), error) {
            (Some(ticket), Some(error)) if self.has_moved => ticket.say_in_part(error),
            (Some(ticket), error) => ticket.say(error),
            (None, _) => {}
        }
    }
}

impl FileReader {
    pub(super) fn new(file: File, bytes_max: u64, course: Course) -> Self {
        Self { file, at: 0, bytes_max, bytes_read: 0, has_ended: false, course }
    }

    /// How many bytes it has now.
    pub fn bytes_len(&self) -> io::Result<u64> {
        self.file.metadata().map(|about| about.len())
    }

    /// Ends the operation as done, whether or not the end was met. How many bytes were read, those read again included.
    pub fn finish(mut self) -> Result<u64, FsError> {
        let outcome = self.course.stands();
        self.course.say(outcome.as_ref().err());
        outcome.map(|()| self.bytes_read)
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.course.stands_io()?;
        if buffer.is_empty() {
            return Ok(0);
        }
        let room = self.bytes_max.saturating_sub(self.at);
        if room == 0 {
            // It has grown over the bound since it was opened, or ends here.
            let more = self.file.read_at(&mut [0], self.at);
            return match self.course.note("read", more)? {
                0 => {
                    self.has_ended = true;
                    Ok(0)
                }
                _ => Err(self.course.too_large(self.bytes_max)),
            };
        }
        let len = usize::try_from(room).map_or(buffer.len(), |room| room.min(buffer.len()));
        let outcome = self.file.read_at(&mut buffer[..len], self.at);
        let got = self.course.note("read", outcome)?;
        self.at += got as u64;
        self.bytes_read += got as u64;
        self.course.has_moved |= got > 0;
        self.has_ended |= got == 0;
        Ok(got)
    }
}

impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = target(to, self.at, || self.bytes_len())?;
        Ok(self.at)
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        if self.has_ended || self.course.failure.is_some() {
            self.course.end();
        }
    }
}

impl FileWriter {
    pub(super) fn new(file: File, way: Way, bytes_max: u64, course: Course) -> Self {
        Self { file, way, at: 0, bytes_max, bytes_written: 0, course }
    }

    /// Cuts or lengthens it to `len` bytes; what is added is zero. Not for a file that is only appended to.
    pub fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.course.stands_io()?;
        match self.way {
            Way::Replacing(_) | Way::InPlace => {}
            Way::Appending => return Err(io::ErrorKind::Unsupported.into()),
        }
        if len > self.bytes_max {
            return Err(self.course.too_large(self.bytes_max));
        }
        let outcome = self.file.set_len(len);
        self.course.note("cut", outcome)
    }

    /// Sees what was written to the disk. What replaces a file is not in its place before [`FileWriter::finish`].
    pub fn sync(&mut self) -> io::Result<()> {
        self.course.stands_io()?;
        let outcome = self.file.sync_data();
        self.course.note("write", outcome)
    }

    /// Sees all to the disk, puts it in its place, and ends the operation. How many bytes were written, those written again
    /// included. After something went wrong on the way it puts nothing in place, and says what that was.
    pub fn finish(mut self) -> Result<u64, FsError> {
        let outcome = self.complete();
        self.course.say(outcome.as_ref().err());
        outcome.map(|()| self.bytes_written)
    }

    fn complete(&mut self) -> Result<(), FsError> {
        self.course.stands()?;
        let shown = &self.course.shown;
        match &mut self.way {
            Way::Replacing(draft) => draft.put(&self.file, || shown.clone()),
            Way::InPlace | Way::Appending => {
                self.file.sync_all().map_err(|source| of("write", shown.clone(), source))
            }
        }
    }
}

impl Write for FileWriter {
    /// Writes nothing if all of it would be over the bound.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.course.stands_io()?;
        let begin = match self.way {
            Way::Replacing(_) | Way::InPlace => self.at,
            Way::Appending => self.bytes_written,
        };
        if begin.checked_add(bytes.len() as u64).is_none_or(|end| end > self.bytes_max) {
            return Err(self.course.too_large(self.bytes_max));
        }
        let outcome = match self.way {
            Way::Replacing(_) | Way::InPlace => self.file.write_at(bytes, self.at),
            Way::Appending => self.file.write(bytes),
        };
        let put = self.course.note("write", outcome)?;
        self.at += put as u64;
        self.bytes_written += put as u64;
        self.course.has_moved |= put > 0 && !matches!(self.way, Way::Replacing(_));
        Ok(put)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Nothing is kept back.
        self.course.stands_io()
    }
}

impl Seek for FileWriter {
    /// Not for a file that is only appended to.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self.way {
            Way::Replacing(_) | Way::InPlace => {}
            Way::Appending => return Err(io::ErrorKind::Unsupported.into()),
        }
        self.at = target(to, self.at, || self.file.metadata().map(|about| about.len()))?;
        Ok(self.at)
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Err(error) = self.course.stands() {
            self.course.say(Some(&error));
        } else if let Way::Replacing(Draft { temporary: Some(_), .. }) = &self.way {
            let path = self.course.shown.clone();
            self.course.say(Some(&FsError::GivenUp { path }));
        }
    }
}

impl Draft {
    /// Begins a file beside the place, which only the owner may use.
    pub(super) fn begin(place: Place<'_>) -> Result<(Self, File), FsError> {
        place.replaceable()?;
        let (name, mounts, shown) = (place.name().to_owned(), place.mounts(), place.shown());
        let folder = place.into_folder()?;
        let (temporary, file) = fs::create_temporary(&folder).map_err(|source| of("write", shown, source))?;
        Ok((Self { folder, temporary: Some(temporary), name, mounts }, file))
    }

    /// A file that is there under a name that nobody was told.
    pub(super) fn of_temporary(place: Place<'_>, temporary: String) -> Result<Self, FsError> {
        let (name, mounts) = (place.name().to_owned(), place.mounts());
        Ok(Self { folder: place.into_folder()?, temporary: Some(temporary), name, mounts })
    }

    pub(super) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// Puts it in its place, on the disk.
    pub(super) fn put(&mut self, file: &File, shown: impl Fn() -> PathBuf) -> Result<(), FsError> {
        let Some(temporary) = &self.temporary else {
            return Ok(());
        };
        // Looked at once more: something else may have come to lie there while it was written.
        match beneath::look(&self.folder, &self.name) {
            Ok(seen) => {
                beneath::stays(&seen, self.mounts).map_err(|error| of("write", shown(), error.into()))?;
                check(&seen, &shown)?;
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(of("write", shown(), error.into())),
        }
        let put = (|| {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            file.sync_all()?;
            Ok(rustix::fs::renameat(&self.folder, &**temporary, &self.folder, &*self.name)?)
        })();
        put.map_err(|source| of("write", shown(), source))?;
        self.temporary = None;
        fs::sync_dir(&self.folder).map_err(|source| of("write", shown(), source))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            fs::remove_temporary(&self.folder, temporary);
        }
    }
}

/// Where a seek leads: anywhere but before the beginning.
pub(super) fn target(to: SeekFrom, at: u64, len: impl FnOnce() -> io::Result<u64>) -> io::Result<u64> {
    let target = match to {
        SeekFrom::Start(offset) => Some(offset),
        SeekFrom::Current(offset) => at.checked_add_signed(offset),
        SeekFrom::End(offset) => len()?.checked_add_signed(offset),
    };
    target.filter(|target| *target <= i64::MAX as u64).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
