//! Files without a name, which are gone when they are dropped unless they are given one.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::handle::Draft;
use super::place::{Place, of};
use super::slots::Slot;
use crate::access::Name;
use crate::beneath::FOLDER;
use crate::fs::{self, FsError};

/// A file of the owner's own that nobody else can open by a name. It is gone when it is dropped, also by kill -9 where the file
/// system can do without names; elsewhere it has one that cannot be guessed, begins with `.tmp-` and is removed on drop.
#[derive(Debug)]
pub struct TemporaryFile {
    file: File,
    pub(super) root: Name,
    named: Option<Named>,
    bytes_max: u64,
    at: u64,
    _slot: Slot,
}

/// Where it lies if it could not do without a name.
#[derive(Debug)]
struct Named {
    folder: OwnedFd,
    name: String,
}

impl Drop for Named {
    fn drop(&mut self) {
        fs::remove_temporary(&self.folder, &self.name);
    }
}

impl TemporaryFile {
    /// A new one in the folder at a place, of at most `bytes_max`.
    pub(super) fn make(place: &Place<'_>, root: Name, bytes_max: u64, slot: Slot) -> Result<Self, FsError> {
        place.look()?;
        let folder = place.open_for(FOLDER)?;
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let (file, named) = match rustix::fs::openat(&folder, ".", flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => (file.into(), None),
            // A file system, or a kernel, that cannot.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let (name, file) =
                    fs::create_temporary(&folder).map_err(|error| place.fail("create", error))?;
                (file, Some(Named { folder, name }))
            }
            Err(error) => return Err(place.fail("create", error)),
        };
        Ok(Self { file, root, named, bytes_max, at: 0, _slot: slot })
    }

    /// Gives it the name of a place, instead of a file that has it.
    pub(super) fn put(self, place: Place<'_>) -> Result<(), FsError> {
        place.replaceable()?;
        let shown = place.shown();
        let fail = |error: Errno| of("write", shown.clone(), error.into());
        // It is linked beside the place under a name nobody can guess, as a link never replaces.
        let mut random = [0; 8];
        crate::host::random_bytes(&mut random).map_err(|source| of("write", shown.clone(), source))?;
        let temporary = format!(".tmp-{:016x}", u64::from_ne_bytes(random));
        let mut draft = Draft::of_temporary(place, temporary.clone())?;
        match &self.named {
            None => {
                let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(rustix::fs::CWD, own, draft.folder(), &*temporary, AtFlags::SYMLINK_FOLLOW)
            }
            Some(named) => rustix::fs::renameat(&named.folder, &*named.name, draft.folder(), &*temporary),
        }
        .map_err(fail)?;
        draft.put(&self.file, || shown.clone())
    }
}

impl Read for TemporaryFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = std::os::unix::fs::FileExt::read_at(&self.file, buffer, self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

impl Write for TemporaryFile {
    /// Writes nothing if all of it would be over the bound.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.at.checked_add(bytes.len() as u64).is_none_or(|end| end > self.bytes_max) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let put = std::os::unix::fs::FileExt::write_at(&self.file, bytes, self.at)?;
        self.at += put as u64;
        Ok(put)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for TemporaryFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = super::handle::target(to, self.at, || self.file.metadata().map(|about| about.len()))?;
        Ok(self.at)
    }
}
