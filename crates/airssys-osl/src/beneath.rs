//! Finding a folder below another without following a link, so that where a path leads was decided when it was read.
//!
//! The kernel does it in one step where it can. Elsewhere each part is opened from the one before, which comes to the same:
//! nothing on the way may be a link, and nothing goes up.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::access::RelPath;

/// Times that the kernel may say that something moved while it looked.
const TRIES_MAX: u32 = 32;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How folders are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// By the kernel, or part by part where it cannot.
    Best,
    /// Part by part.
    #[cfg(test)]
    Steps,
}

/// Opens the folder `path` below `root`, for use in paths only.
pub(crate) fn open_folder(root: impl AsFd, path: &RelPath, means: Means) -> io::Result<OwnedFd> {
    let root = root.as_fd();
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES_MAX {
        if means != Means::Best {
            return step_by_step(root, path);
        }
        match rustix::fs::openat2(root, path.as_path(), FOLDER, Mode::empty(), resolve) {
            Ok(folder) => return Ok(folder),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Too old a kernel, or a filter that knows no better.
            Err(Errno::NOSYS | Errno::PERM) => return step_by_step(root, path),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::AGAIN.into())
}

fn step_by_step(root: BorrowedFd<'_>, path: &RelPath) -> io::Result<OwnedFd> {
    let step = |from: BorrowedFd<'_>, part: &Path| rustix::fs::openat(from, part, FOLDER, Mode::empty());
    let mut folder = step(root, ".".as_ref())?;
    for part in path.as_str().split('/').filter(|part| !part.is_empty()) {
        folder = step(folder.as_fd(), part.as_ref())?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn world() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(folder.path().join("outside/b")).unwrap();
        fs::write(folder.path().join("outside/marker"), "").unwrap();
        let root = rustix::fs::open(&root, FOLDER, Mode::empty()).unwrap();
        (folder, root)
    }

    fn rel(text: &str) -> RelPath {
        RelPath::parse(text).unwrap()
    }

    #[test]
    fn b5_b9_no_link_is_followed_by_either_means() {
        let (folder, root) = world();
        let base = folder.path().join("root");
        std::os::unix::fs::symlink("../outside", base.join("out")).unwrap();
        std::os::unix::fs::symlink("a", base.join("in")).unwrap();
        std::os::unix::fs::symlink(base.join("a"), base.join("absolute")).unwrap();
        std::os::unix::fs::symlink("loop", base.join("loop")).unwrap();
        fs::write(base.join("file"), "").unwrap();
        for means in [Means::Best, Means::Steps] {
            for path in [".", "a", "a/b"] {
                open_folder(&root, &rel(path), means).unwrap();
            }
            for path in
                ["out", "out/b", "in", "in/b", "absolute/b", "loop", "loop/x", "file", "file/x", "missing"]
            {
                assert!(open_folder(&root, &rel(path), means).is_err(), "{path} by {means:?}");
            }
        }
    }

    #[test]
    fn b2_a_folder_that_is_swapped_for_a_link_leads_nowhere() {
        const LOOKS: u32 = 20_000;
        let (folder, root) = world();
        let base = folder.path().join("root");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The name is now the folder, now a link to the outside.
                while !is_over.load(Ordering::Relaxed) {
                    fs::rename(base.join("a"), base.join("kept")).unwrap();
                    std::os::unix::fs::symlink("../outside", base.join("a")).unwrap();
                    fs::remove_file(base.join("a")).unwrap();
                    fs::rename(base.join("kept"), base.join("a")).unwrap();
                }
            });
            for means in [Means::Best, Means::Steps] {
                let mut found = 0;
                for _ in 0..LOOKS {
                    if let Ok(folder) = open_folder(&root, &rel("a"), means) {
                        found += 1;
                        let escaped =
                            rustix::fs::statat(&folder, "marker", rustix::fs::AtFlags::empty()).is_ok();
                        assert!(!escaped, "outside by {means:?}");
                    }
                }
                assert!(found > 0, "it was there at times");
            }
            is_over.store(true, Ordering::Relaxed);
        });
    }
}
