//! Reading below a root: what is inside, what is a file, and how much of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use airssys_osl::{FsError, Input, Root};
use tempfile::TempDir;

/// A folder `root` with a file in it, and a secret beside the folder.
struct Tree {
    _holder: TempDir,
    root: Root,
    path: std::path::PathBuf,
}

fn tree() -> Tree {
    let holder = tempfile::tempdir().unwrap();
    let path = holder.path().join("root");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("file"), "inside").unwrap();
    fs::write(holder.path().join("secret"), "outside").unwrap();
    let root = Root::open(&path).unwrap();
    Tree { _holder: holder, root, path }
}

fn read(root: &Root, rel: &str) -> Result<Vec<u8>, FsError> {
    root.read(Path::new(rel), 100)
}

#[test]
fn a_file_inside_is_read_by_any_plain_path_to_it() {
    let tree = tree();
    fs::create_dir(tree.path.join("folder")).unwrap();
    symlink("../file", tree.path.join("folder/link")).unwrap();
    for rel in ["file", "./file", "folder/link"] {
        assert_eq!(read(&tree.root, rel).unwrap(), b"inside", "{rel}");
    }
    let folder = tree.root.folder(Path::new("folder")).unwrap();
    assert!(matches!(read(&folder, "link"), Err(FsError::Outside { .. })), "a root ends at its own folder");
}

#[test]
fn a_path_that_leads_outside_is_refused() {
    let tree = tree();
    let secret = tree.path.parent().unwrap().join("secret");
    symlink("../secret", tree.path.join("relative")).unwrap();
    symlink(&secret, tree.path.join("absolute")).unwrap();
    symlink("..", tree.path.join("up")).unwrap();
    symlink("/proc/self/root", tree.path.join("proc")).unwrap();
    let absolute = secret.to_str().unwrap();
    for rel in ["../secret", "folder/../../secret", "..", "", "/", absolute, "//etc/passwd"] {
        assert!(
            matches!(read(&tree.root, rel), Err(FsError::Outside { .. })),
            "{rel}: {:?}",
            read(&tree.root, rel)
        );
    }
    for rel in ["relative", "absolute", "up/secret", "proc/etc/passwd"] {
        assert!(
            matches!(read(&tree.root, rel), Err(FsError::Outside { .. })),
            "{rel}: {:?}",
            read(&tree.root, rel)
        );
    }
}

#[test]
fn a_missing_file_and_a_strange_path_are_errors_not_panics() {
    let tree = tree();
    assert!(matches!(read(&tree.root, "none"), Err(FsError::NotFound { .. })));
    symlink("loop", tree.path.join("loop")).unwrap();
    for rel in ["a\0b", &"x".repeat(5000), &"x/".repeat(4096), "file/", "file/.", "loop"] {
        assert!(read(&tree.root, rel).is_err(), "{rel:.20}");
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let tree = tree();
    let fifo = tree.path.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.path.join("socket")).unwrap();
    fs::create_dir(tree.path.join("folder")).unwrap();
    for (rel, expected) in [("fifo", "FIFO"), ("socket", "socket"), ("folder", "folder"), (".", "folder")] {
        let error = read(&tree.root, rel).unwrap_err();
        assert!(matches!(error, FsError::NotAFile { kind, .. } if kind == expected), "{rel}: {error}");
    }
    let devices = Root::open(Path::new("/dev")).unwrap();
    assert!(matches!(read(&devices, "zero"), Err(FsError::NotAFile { kind: "device", .. })));
}

#[test]
fn a_fifo_that_the_user_names_is_read() {
    let tree = tree();
    let fifo = tree.path.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || fs::write(fifo, "one\n").unwrap()
    });
    let mut lines = airssys_osl::Lines::new(Input::open(&fifo).unwrap(), 100);
    assert_eq!(lines.next_line().unwrap(), Some(airssys_osl::Line::Whole(b"one".to_vec())));
    assert_eq!(lines.bytes_total(), None);
    writer.join().unwrap();
    assert!(matches!(Input::open(&tree.path), Err(FsError::NotAFile { kind: "folder", .. })));
}

#[test]
fn a_file_at_the_bound_is_read_and_one_past_it_is_not() {
    let tree = tree();
    assert_eq!(tree.root.read(Path::new("file"), 6).unwrap(), b"inside");
    assert!(matches!(tree.root.read(Path::new("file"), 5), Err(FsError::TooLarge { limit: 5, .. })));
    // Files of the system tell no size, so only reading shows it.
    let system = Root::open(Path::new("/proc/self")).unwrap();
    assert!(matches!(system.read(Path::new("status"), 5), Err(FsError::TooLarge { limit: 5, .. })));
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    let tree = tree();
    assert_eq!(tree.root.read_to_string(Path::new("file"), 100).unwrap(), "inside");
    fs::write(tree.path.join("bad"), b"ok\xff").unwrap();
    let error = tree.root.read_to_string(Path::new("bad"), 100).unwrap_err();
    assert!(matches!(error, FsError::NotUtf8 { valid_bytes: 2, .. }));
}

#[test]
fn a_file_with_another_name_is_refused_unless_the_owner_wants_it() {
    let tree = tree();
    fs::hard_link(tree.path.parent().unwrap().join("secret"), tree.path.join("planted")).unwrap();
    assert!(matches!(read(&tree.root, "planted"), Err(FsError::HardLinked { links: 2, .. })));
    let wanted = Root::open(&tree.path).unwrap().with_hard_links();
    assert_eq!(read(&wanted, "planted").unwrap(), b"outside");
}

#[test]
fn a_link_swapped_in_during_the_open_never_shows_the_outside() {
    let tree = tree();
    let (file, link) = (tree.path.join("spare"), tree.path.join("link"));
    fs::write(&file, "inside").unwrap();
    symlink("../secret", &link).unwrap();
    let stop = AtomicBool::new(false);
    let mut read_ok = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // Each rename takes the place of `file` with one step.
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &file, rustix::fs::CWD, &link, exchange).unwrap();
            }
        });
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            match read(&tree.root, "spare") {
                Ok(bytes) => {
                    assert_eq!(bytes, b"inside");
                    read_ok += 1;
                }
                Err(error) => assert!(matches!(error, FsError::Outside { .. }), "{error:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(read_ok > 0, "the file was never there");
}

#[test]
fn the_folder_of_a_named_file_is_its_root() {
    let tree = tree();
    let (root, name) = Root::of_file(&tree.path.join("file")).unwrap();
    assert_eq!(root.read(name.as_ref(), 100).unwrap(), b"inside");
    let (here, name) = Root::of_file(Path::new("Cargo.toml")).unwrap();
    assert!(here.read(name.as_ref(), 1 << 20).is_ok(), "a bare name is in the current folder");
    assert!(matches!(Root::of_file(Path::new("/")), Err(FsError::NotAFile { .. })));
    assert!(matches!(Root::of_file(Path::new("a/..")), Err(FsError::NotAFile { .. })));
}
