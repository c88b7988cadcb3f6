//! Opening what is below a folder without following a link, so that where a path leads was decided when it was read.
//!
//! The kernel does it in one step where it can. Elsewhere each part is opened from the one before, which comes to the same:
//! nothing on the way may be a link, nothing goes up, and unless mounts are allowed nothing leaves the file system that the
//! folder is on. What the kernel calls unsteady is tried again for a while, and then it is an error: there is no other way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;

/// Times that the kernel may say that something moved while it looked.
const TRIES_MAX: u32 = 32;

/// A folder to be used in paths only.
pub(crate) const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Whether what is mounted below a folder belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounts {
    /// It does not. Asks for a kernel of 5.8 or later.
    Refused,
    /// It does.
    Allowed,
}

/// Opens what is at `path` below `base`: parts joined by slashes, none of them `..`; empty for the folder itself.
pub(crate) fn open(base: impl AsFd, path: &str, flags: OFlags, mounts: Mounts) -> io::Result<OwnedFd> {
    let base = base.as_fd();
    let path = if path.is_empty() { "." } else { path };
    // Without `NOFOLLOW`, which would say of a link at the end what it is not instead of what it is.
    let flags = flags | OFlags::CLOEXEC;
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    if mounts == Mounts::Refused {
        resolve |= ResolveFlags::NO_XDEV;
    }
    let mut unsteady = Errno::AGAIN;
    for _ in 0..TRIES_MAX {
        match rustix::fs::openat2(base, path, flags, Mode::empty(), resolve) {
            Ok(opened) => return Ok(opened),
            // What was found was elsewhere a moment later, or something is mounted there, and that stays so.
            Err(error @ (Errno::AGAIN | Errno::INTR | Errno::XDEV)) => unsteady = error,
            // Too old a kernel, or a filter that knows no better.
            Err(Errno::NOSYS | Errno::PERM) => return step_by_step(base, path, flags, mounts),
            Err(error) => return Err(error.into()),
        }
    }
    Err(unsteady.into())
}

/// What is at a name in a folder, or the folder itself for an empty name. A link is looked at itself.
pub(crate) fn look(folder: impl AsFd, name: &str) -> Result<Statx, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    rustix::fs::statx(folder, name, flags, StatxFlags::BASIC_STATS)
}

/// That what was looked at is not the top of something that is mounted.
pub(crate) fn stays(seen: &Statx, mounts: Mounts) -> Result<(), Errno> {
    if mounts == Mounts::Allowed {
        return Ok(());
    }
    let top = StatxAttributes::MOUNT_ROOT;
    if !seen.stx_attributes_mask.contains(top) {
        return Err(Errno::NOSYS);
    }
    if seen.stx_attributes.contains(top) { Err(Errno::XDEV) } else { Ok(()) }
}

fn step_by_step(base: BorrowedFd<'_>, path: &str, flags: OFlags, mounts: Mounts) -> io::Result<OwnedFd> {
    let open = |from: BorrowedFd<'_>, part: &str, flags: OFlags| {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(from, part, flags, Mode::empty()).map_err(|error| match error {
            // A link is no folder, and the kernel's one step says what it is.
            Errno::NOTDIR if is_link(from, part) => Errno::LOOP,
            error => error,
        })
    };
    if path == "." {
        return Ok(open(base, ".", flags)?);
    }
    let (folders, last) = path.rsplit_once('/').unwrap_or(("", path));
    let mut folder = open(base, ".", FOLDER)?;
    for part in folders.split('/').filter(|part| !part.is_empty()) {
        folder = open(folder.as_fd(), part, FOLDER)?;
        stays(&look(&folder, "")?, mounts)?;
    }
    // Looked at before, as a device may do something when it is opened, and after, as that may be another.
    stays(&look(&folder, last)?, mounts)?;
    let opened = open(folder.as_fd(), last, flags)?;
    stays(&look(&opened, "")?, mounts)?;
    Ok(opened)
}

fn is_link(folder: BorrowedFd<'_>, name: &str) -> bool {
    look(folder, name).is_ok_and(|seen| kind(&seen) == FileType::Symlink)
}

/// What was looked at.
pub(crate) fn kind(seen: &Statx) -> FileType {
    FileType::from_raw_mode(seen.stx_mode.into())
}
