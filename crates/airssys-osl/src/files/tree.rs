//! Removing a folder with all that is in it.
//!
//! First everything is looked at and decided, and one name that may not be removed, is no text or has something mounted on it
//! keeps all of them. Then what was seen is removed, each in the folder it was seen in, from the bottom up and without following a
//! link. What came to be in between was not decided, so it stays, and so do the folders it is in.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use super::place::{LISTED, Place, of};
use crate::access::RelPath;
use crate::beneath::{self, Mounts};
use crate::fs::FsError;

/// How large a tree may be that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeBounds {
    /// Files, links and folders, the one at the top included.
    pub entries_max: usize,
    /// Folders within one another, the one at the top included. Each takes a descriptor.
    pub depth_max: usize,
}

impl Default for TreeBounds {
    /// 100,000 entries, 64 folders deep.
    fn default() -> Self {
        Self { entries_max: 100_000, depth_max: 64 }
    }
}

/// What is in a folder, as it was seen.
struct Branch {
    name: String,
    /// None for what is no folder.
    branches: Option<Vec<Branch>>,
}

/// A tree of which everything may be removed.
pub(super) struct Survey {
    branches: Vec<Branch>,
}

/// Why a tree is not removed.
pub(super) enum Kept {
    /// This may not be.
    Denied(RelPath),
    Failed(FsError),
}

struct Surveyor<'s> {
    bounds: TreeBounds,
    entries: usize,
    mounts: Mounts,
    shown: PathBuf,
    may_go: &'s dyn Fn(&RelPath) -> bool,
}

impl From<FsError> for Kept {
    fn from(error: FsError) -> Self {
        Kept::Failed(error)
    }
}

impl Survey {
    /// Looks at everything in the folder at a place, whose path is `path`.
    pub(super) fn make(
        place: &Place<'_>,
        path: &RelPath,
        bounds: TreeBounds,
        may_go: &dyn Fn(&RelPath) -> bool,
    ) -> Result<Self, Kept> {
        // The root is held open and stays.
        if path.is_root() {
            return Err(place.fail("remove", Errno::BUSY).into());
        }
        place.look()?;
        let (mounts, shown) = (place.mounts(), place.shown());
        let mut surveyor = Surveyor { bounds, entries: 0, mounts, shown, may_go };
        surveyor.count()?;
        let branches = surveyor.branches(place.open_folder()?, path, 1)?;
        Ok(Self { branches })
    }

    /// Removes what was seen. How many names are gone.
    pub(super) fn prune(&self, place: &Place<'_>) -> Result<usize, FsError> {
        let gone = prune(&place.open_folder()?, &self.branches, place.mounts())
            .map_err(|error| place.fail("remove", error))?;
        place.unlink(AtFlags::REMOVEDIR)?;
        Ok(gone + 1)
    }
}

impl Surveyor<'_> {
    fn count(&mut self) -> Result<(), FsError> {
        self.entries += 1;
        if self.entries > self.bounds.entries_max {
            return Err(FsError::TooMany { path: self.shown.clone(), limit: self.bounds.entries_max });
        }
        Ok(())
    }

    fn branches(&mut self, folder: OwnedFd, path: &RelPath, depth: usize) -> Result<Vec<Branch>, Kept> {
        if depth > self.bounds.depth_max {
            return Err(FsError::TooDeep { path: self.shown.clone(), limit: self.bounds.depth_max }.into());
        }
        let shown = self.shown.clone();
        let fail = |error: Errno| of("list", shown.clone(), error.into());
        let mut branches = Vec::new();
        for entry in Dir::read_from(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.count()?;
            // One that is not text cannot be decided.
            let name = std::str::from_utf8(name).map_err(|error| FsError::NotUtf8 {
                path: shown.clone(),
                valid_bytes: error.valid_up_to(),
            })?;
            branches.push(Branch { name: name.to_owned(), branches: None });
        }
        for branch in &mut branches {
            // Too long a path is none that a rule could allow.
            let path = path.join(&branch.name).map_err(|_| Kept::Denied(path.clone()))?;
            if !(self.may_go)(&path) {
                return Err(Kept::Denied(path));
            }
            let seen = match beneath::look(&folder, &branch.name) {
                Ok(seen) => seen,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(fail(error).into()),
            };
            beneath::stays(&seen, self.mounts).map_err(fail)?;
            if beneath::kind(&seen) == FileType::Directory {
                let below = beneath::open(&folder, &branch.name, LISTED, self.mounts)
                    .map_err(|error| of("list", shown.clone(), error))?;
                branch.branches = Some(self.branches(below, &path, depth + 1)?);
            }
        }
        Ok(branches)
    }
}

fn prune(folder: impl AsFd, branches: &[Branch], mounts: Mounts) -> std::io::Result<usize> {
    let mut gone = 0;
    for branch in branches {
        let removed = match &branch.branches {
            None => rustix::fs::unlinkat(&folder, &*branch.name, AtFlags::empty()),
            Some(below) => {
                match beneath::open(&folder, &branch.name, LISTED, mounts) {
                    Ok(opened) => gone += prune(opened, below, mounts)?,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                rustix::fs::unlinkat(&folder, &*branch.name, AtFlags::REMOVEDIR)
            }
        };
        match removed {
            Ok(()) => gone += 1,
            // Somebody else was faster.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(gone)
}
