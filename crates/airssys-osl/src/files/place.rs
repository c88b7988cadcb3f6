//! A name in a folder that was opened: what was decided is what is used.
//!
//! The folder is found without following a link, and what is done is done to a name in it. What is opened is looked at
//! before, as opening a device or a FIFO can have effects, and after, as that may be another.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx};
use rustix::io::Errno;

use super::{About, Entry, Kind};
use crate::access::RelPath;
use crate::beneath::{self, Mounts};
use crate::fs::{FsError, Root};

/// Without waiting for another end, and without becoming anybody's terminal.
const WAITLESS: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);
/// A folder whose names are read.
pub(super) const LISTED: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Where something is done.
pub(super) struct Place<'w> {
    root: &'w Root,
    path: &'w RelPath,
    folder: Folder<'w>,
}

enum Folder<'w> {
    Root(BorrowedFd<'w>),
    Below(OwnedFd),
}

impl AsFd for Folder<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Folder::Root(root) => *root,
            Folder::Below(folder) => folder.as_fd(),
        }
    }
}

impl<'w> Place<'w> {
    pub(super) fn find(root: &'w Root, path: &'w RelPath) -> Result<Self, FsError> {
        let folder = match path.as_str().rsplit_once('/') {
            None => Folder::Root(root.dir().as_fd()),
            Some((folder, _)) => Folder::Below(
                beneath::open(root.dir(), folder, beneath::FOLDER, root.mounts())
                    .map_err(|source| of("open", root.path_of(path.as_path()), source))?,
            ),
        };
        Ok(Self { root, path, folder })
    }

    /// The last part; `.` for the root itself.
    pub(super) fn name(&self) -> &'w str {
        let name = self.path.as_str().rsplit('/').next().unwrap_or_default();
        if name.is_empty() { "." } else { name }
    }

    pub(super) fn mounts(&self) -> Mounts {
        self.root.mounts()
    }

    /// For messages only.
    pub(super) fn shown(&self) -> PathBuf {
        self.root.path_of(self.path.as_path())
    }

    pub(super) fn fail(&self, action: &'static str, source: impl Into<io::Error>) -> FsError {
        of(action, self.shown(), source.into())
    }

    /// The folder, to be kept.
    pub(super) fn into_folder(self) -> Result<OwnedFd, FsError> {
        match self.folder {
            Folder::Below(folder) => Ok(folder),
            Folder::Root(root) => root.try_clone_to_owned().map_err(|source| self.fail("open", source)),
        }
    }

    pub(super) fn look(&self) -> Result<Statx, FsError> {
        let seen = beneath::look(&self.folder, self.name()).map_err(|error| self.fail("open", error))?;
        if !self.path.is_root() {
            beneath::stays(&seen, self.mounts()).map_err(|error| self.fail("open", error))?;
        }
        Ok(seen)
    }

    /// A regular file with one name is there.
    pub(super) fn regular(&self) -> Result<(), FsError> {
        check(&self.look()?, || self.shown())
    }

    /// A file with one name or a folder is there.
    pub(super) fn look_at_file_or_folder(&self) -> Result<(), FsError> {
        let seen = self.look()?;
        match beneath::kind(&seen) {
            FileType::Directory => Ok(()),
            _ => check(&seen, || self.shown()),
        }
    }

    /// Nothing is there, or a regular file.
    pub(super) fn replaceable(&self) -> Result<(), FsError> {
        match self.regular() {
            Err(FsError::NotFound { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    pub(super) fn open_regular(&self, flags: OFlags) -> Result<(File, Statx), FsError> {
        self.regular()?;
        let file = beneath::open(&self.folder, self.name(), flags | WAITLESS, self.mounts())
            .map_err(|source| self.fail("open", source))?;
        let seen = beneath::look(&file, "").map_err(|error| self.fail("open", error))?;
        check(&seen, || self.shown())?;
        Ok((file.into(), seen))
    }

    /// The folder at the place, to read its names.
    pub(super) fn open_folder(&self) -> Result<OwnedFd, FsError> {
        self.open_for(LISTED)
    }

    pub(super) fn open_for(&self, flags: OFlags) -> Result<OwnedFd, FsError> {
        beneath::open(&self.folder, self.name(), flags, self.mounts())
            .map_err(|source| self.fail("open", source))
    }

    pub(super) fn read(&self, bytes_max: u64) -> Result<Vec<u8>, FsError> {
        let (file, seen) = self.open_regular(OFlags::RDONLY)?;
        let too_large = || FsError::TooLarge { path: self.shown(), limit: bytes_max };
        if seen.stx_size > bytes_max {
            return Err(too_large());
        }
        let len = usize::try_from(seen.stx_size).map_err(|_| too_large())?;
        // With room for a byte more, so that a read that leaves it empty has met the end.
        let mut bytes = Vec::new();
        // The file's owner says how long it is, and a hole costs nothing.
        let no_room = |_| self.fail("read", io::ErrorKind::OutOfMemory);
        bytes.try_reserve_exact(len.saturating_add(1)).map_err(no_room)?;
        loop {
            let room = bytes.capacity() - bytes.len();
            match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes)) {
                Ok(_) if bytes.len() as u64 > bytes_max => return Err(too_large()),
                Ok(0) => return Ok(bytes),
                Ok(got) if got < room && bytes.len() >= len => return Ok(bytes),
                // It grows while it is read, or comes in pieces.
                Ok(_) => bytes.try_reserve(1).map_err(no_room)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.fail("read", error)),
            }
        }
    }

    pub(super) fn create_folder(&self) -> Result<(), FsError> {
        rustix::fs::mkdirat(&self.folder, self.name(), Mode::RWXU).map_err(|error| self.fail("create", error))
    }

    pub(super) fn link_to(&self, text: &str) -> Result<(), FsError> {
        rustix::fs::symlinkat(text, &self.folder, self.name()).map_err(|error| self.fail("link", error))
    }

    pub(super) fn read_link(&self) -> Result<String, FsError> {
        let text = rustix::fs::readlinkat(&self.folder, self.name(), Vec::new()).map_err(|error| {
            // What is there and is no link.
            if error == Errno::INVAL {
                return FsError::NotAFile { path: self.shown(), kind: "file or folder and no link" };
            }
            self.fail("read", error)
        })?;
        text.into_string().map_err(|error| FsError::NotUtf8 {
            path: self.shown(),
            valid_bytes: error.utf8_error().valid_up_to(),
        })
    }

    pub(super) fn unlink(&self, flags: AtFlags) -> Result<(), FsError> {
        rustix::fs::unlinkat(&self.folder, self.name(), flags).map_err(|error| self.fail("remove", error))
    }

    pub(super) fn rename(&self, to: &Place<'_>) -> Result<(), FsError> {
        rustix::fs::renameat(&self.folder, self.name(), &to.folder, to.name())
            .map_err(|error| self.fail("rename", error))
    }

    pub(super) fn entries(
        &self,
        entries_max: usize,
        shows: impl Fn(&str) -> bool,
    ) -> Result<Vec<Entry>, FsError> {
        let folder = self.open_folder()?;
        let fail = |error: Errno| self.fail("list", error);
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            // One that is not text cannot be asked for.
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") || !shows(name) {
                continue;
            }
            if entries.len() == entries_max {
                return Err(FsError::TooMany { path: self.shown(), limit: entries_max });
            }
            let kind = match entry.file_type() {
                // Not every file system tells it with the name. One that went meanwhile is not there.
                FileType::Unknown => match beneath::look(&folder, name) {
                    Ok(seen) => beneath::kind(&seen),
                    Err(_) => continue,
                },
                kind => kind,
            };
            entries.push(Entry { name: name.to_owned(), kind: Kind::of(kind) });
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }
}

/// That what was looked at is a regular file with one name, or none any more.
pub(super) fn check(seen: &Statx, shown: impl Fn() -> PathBuf) -> Result<(), FsError> {
    let kind = match Kind::of(beneath::kind(seen)) {
        Kind::File if seen.stx_nlink > 1 => {
            return Err(FsError::HardLinked { path: shown(), links: seen.stx_nlink.into() });
        }
        Kind::File => return Ok(()),
        Kind::Folder => "folder",
        Kind::Link => "link",
        Kind::Other => "device, FIFO or socket",
    };
    Err(FsError::NotAFile { path: shown(), kind })
}

impl Kind {
    pub(super) fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Kind::Other,
        }
    }
}

impl About {
    pub(super) fn of(seen: Statx) -> Self {
        use std::time::{Duration, SystemTime};
        let since = u64::try_from(seen.stx_mtime.tv_sec)
            .map(|seconds| Duration::new(seconds, seen.stx_mtime.tv_nsec));
        let modified = since.ok().and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        Self { kind: Kind::of(beneath::kind(&seen)), len: seen.stx_size, modified }
    }
}

pub(super) fn of(action: &'static str, path: PathBuf, source: io::Error) -> FsError {
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::LOOP) => FsError::NotAFile { path, kind: "link" },
        Some(Errno::XDEV) => FsError::Mounted { path },
        Some(_) | None => FsError::of(action, path, source),
    }
}
