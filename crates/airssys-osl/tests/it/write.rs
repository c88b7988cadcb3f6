//! Writing below a root, and folders that only their user may enter.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use airssys_osl::{Exposure, FsError, Root};

use crate::process::{STRANGER, is_root};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_written_file_has_its_bytes_and_exactly_its_mode() {
    let holder = tempfile::tempdir().unwrap();
    let root = Root::open(holder.path()).unwrap();
    let rel = Path::new("file");
    for (bytes, bits) in [("one", 0o600), ("two", 0o666)] {
        root.write_atomic(rel, bytes.as_bytes(), bits).unwrap();
        assert_eq!(root.read(rel, 100).unwrap(), bytes.as_bytes());
        assert_eq!(mode(&holder.path().join(rel)), bits);
    }
    assert_eq!(root.list(Path::new("."), 10).unwrap(), ["file"], "no temporary file remains");
}

#[test]
fn a_link_is_replaced_and_what_it_points_to_is_left_alone() {
    let holder = tempfile::tempdir().unwrap();
    let inside = holder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(holder.path().join("outside"), "kept").unwrap();
    symlink("../outside", inside.join("file")).unwrap();
    let root = Root::open(&inside).unwrap();
    root.write_atomic(Path::new("file"), b"new", 0o600).unwrap();
    assert_eq!(root.read(Path::new("file"), 100).unwrap(), b"new");
    assert_eq!(fs::read(holder.path().join("outside")).unwrap(), b"kept");
    assert!(matches!(
        root.write_atomic(Path::new("../outside"), b"new", 0o600),
        Err(FsError::Outside { .. })
    ));
}

#[test]
fn a_write_that_fails_leaves_the_folder_as_it_was() {
    let holder = tempfile::tempdir().unwrap();
    fs::create_dir(holder.path().join("folder")).unwrap();
    let root = Root::open(holder.path()).unwrap();
    assert!(root.write_atomic(Path::new("folder"), b"new", 0o600).is_err());
    assert!(root.write_atomic(Path::new("none/file"), b"new", 0o600).is_err());
    assert!(root.write_atomic(Path::new("."), b"new", 0o600).is_err());
    assert_eq!(root.list(Path::new("."), 10).unwrap(), ["folder"]);
}

#[test]
fn a_list_at_the_bound_is_given_and_one_past_it_is_refused() {
    let holder = tempfile::tempdir().unwrap();
    let root = Root::open(holder.path()).unwrap();
    for name in ["b", "a"] {
        root.write_atomic(Path::new(name), b"", 0o600).unwrap();
    }
    assert_eq!(root.list(Path::new("."), 2).unwrap(), ["a", "b"]);
    assert!(matches!(root.list(Path::new("."), 1), Err(FsError::TooMany { limit: 1, .. })));
    root.remove(Path::new("a")).unwrap();
    assert_eq!(root.list(Path::new("."), 1).unwrap(), ["b"]);
    assert!(matches!(root.remove(Path::new("a")), Err(FsError::NotFound { .. })));
}

#[test]
fn a_private_folder_is_made_with_what_is_missing_above_it_and_found_again() {
    let holder = tempfile::tempdir().unwrap();
    let path = holder.path().join("above/private/");
    for _ in 0..2 {
        Root::private(&path).unwrap();
        assert_eq!((mode(&path), mode(&holder.path().join("above"))), (0o700, 0o700));
    }
    let root = Root::open(holder.path()).unwrap();
    for _ in 0..2 {
        root.create_dir_private(Path::new("below")).unwrap();
        assert_eq!(mode(&holder.path().join("below")), 0o700);
    }
}

fn exposure(result: Result<Root, FsError>) -> Exposure {
    match result {
        Err(FsError::Exposed { exposure, .. }) => exposure,
        other => panic!("not exposed: {other:?}"),
    }
}

#[test]
fn a_private_folder_that_others_may_enter_is_refused() {
    let holder = tempfile::tempdir().unwrap();
    let root = Root::open(holder.path()).unwrap();
    let path = holder.path().join("shared");
    fs::create_dir(&path).unwrap();
    for bits in [0o755, 0o770, 0o701, 0o710, 0o777] {
        set_mode(&path, bits);
        assert_eq!(exposure(Root::private(&path)), Exposure::Open { mode: bits });
        assert_eq!(exposure(root.create_dir_private(Path::new("shared"))), Exposure::Open { mode: bits });
    }
    let text = Root::private(&path).unwrap_err().to_string();
    assert!(text.contains("0777") && text.contains("change it to 0700"), "{text}");
}

#[test]
fn a_private_folder_of_another_user_is_refused() {
    let holder = tempfile::tempdir().unwrap();
    let theirs = holder.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    set_mode(&theirs, 0o700);
    let (path, owner) = match is_root() {
        true => {
            std::os::unix::fs::chown(&theirs, Some(STRANGER), None).unwrap();
            (theirs.as_path(), STRANGER)
        }
        false => (Path::new("/"), 0),
    };
    assert_eq!(exposure(Root::private(path)), Exposure::OwnedBy { owner });
}

#[test]
fn a_link_in_the_place_of_a_private_folder_is_refused() {
    let holder = tempfile::tempdir().unwrap();
    let root = Root::open(holder.path()).unwrap();
    fs::create_dir(holder.path().join("real")).unwrap();
    set_mode(&holder.path().join("real"), 0o700);
    fs::write(holder.path().join("file"), "").unwrap();
    symlink("real", holder.path().join("link")).unwrap();
    symlink("none", holder.path().join("dangling")).unwrap();
    for name in ["link", "link/", "dangling", "file"] {
        assert_eq!(exposure(Root::private(&holder.path().join(name))), Exposure::NotAFolder, "{name}");
    }
    for name in ["link", "dangling", "file"] {
        assert_eq!(exposure(root.create_dir_private(Path::new(name))), Exposure::NotAFolder, "{name}");
    }
}
