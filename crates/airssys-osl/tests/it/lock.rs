//! One holder at a time.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use airssys_osl::{FileLock, FsError, LockError, Root};

use crate::process::Other;

#[test]
fn a_held_lock_is_refused_until_it_is_dropped() {
    let holder = tempfile::tempdir().unwrap();
    let root = Root::open(holder.path()).unwrap();
    let rel = Path::new("lock");
    let held = FileLock::try_lock(&root, rel).unwrap();
    assert!(matches!(FileLock::try_lock(&root, rel), Err(LockError::Held { .. })));
    FileLock::try_lock(&root, Path::new("other")).unwrap();
    drop(held);
    FileLock::try_lock(&root, rel).unwrap();
    assert_eq!(fs::metadata(holder.path().join(rel)).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn the_lock_of_a_killed_process_is_free() {
    let holder = tempfile::tempdir().unwrap();
    let root = Root::open(holder.path()).unwrap();
    let other = Other::start("lock", &holder.path().join("lock"), None);
    assert!(matches!(FileLock::try_lock(&root, Path::new("lock")), Err(LockError::Held { .. })));
    other.kill();
    FileLock::try_lock(&root, Path::new("lock")).unwrap();
}

#[test]
fn a_lock_file_that_was_planted_is_refused() {
    let holder = tempfile::tempdir().unwrap();
    let root = Root::open(holder.path()).unwrap();
    fs::write(holder.path().join("file"), "kept").unwrap();
    symlink("file", holder.path().join("link")).unwrap();
    symlink("made", holder.path().join("dangling")).unwrap();
    fs::hard_link(holder.path().join("file"), holder.path().join("hard")).unwrap();
    let fifo = holder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for name in ["link", "dangling", "hard", "fifo", ".", "../lock"] {
        let error = FileLock::try_lock(&root, Path::new(name)).unwrap_err();
        assert!(matches!(error, LockError::Fs(_)), "{name}: {error:?}");
    }
    assert!(matches!(root.read(Path::new("made"), 1), Err(FsError::NotFound { .. })));
}

#[test]
fn a_lock_that_is_dropped_is_free_though_programs_are_being_started() {
    let holder = tempfile::tempdir().unwrap();
    let root = Root::open(holder.path()).unwrap();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                // What is done before the program starts keeps the descriptors of this process open for a moment.
                std::process::Command::new("/bin/true").current_dir("/").status().unwrap();
            }
        });
        for _ in 0..2000 {
            let held = FileLock::try_lock(&root, Path::new("lock"));
            is_over.store(held.is_err(), std::sync::atomic::Ordering::Relaxed);
            drop(held.unwrap());
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
