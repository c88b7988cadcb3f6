//! The control socket: one listener, its own user, and nothing left in the way.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use airssys_osl::{ControlError, ControlListener, connect};
use tempfile::TempDir;

use crate::process::{Other, STRANGER, is_root};

fn place() -> (TempDir, PathBuf) {
    let holder = tempfile::tempdir().unwrap();
    let path = holder.path().join("control");
    (holder, path)
}

#[tokio::test]
async fn both_sides_meet_and_the_socket_ends_with_its_listener() {
    let (_holder, path) = place();
    let listener = ControlListener::bind(&path).unwrap();
    let (served, client) = tokio::join!(listener.accept(), connect(&path));
    client.unwrap().try_write(b"hello").unwrap();
    let served = served.unwrap();
    served.readable().await.unwrap();
    let mut bytes = [0; 5];
    assert_eq!(served.try_read(&mut bytes).unwrap(), 5);
    drop(listener);
    assert!(!path.exists());
    assert!(matches!(connect(&path).await, Err(ControlError::NotRunning { .. })));
}

#[tokio::test]
async fn only_its_user_may_enter_the_socket() {
    let (_holder, path) = place();
    let _listener = ControlListener::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
}

#[tokio::test]
async fn a_second_listener_is_refused_while_the_first_lives() {
    let (_holder, path) = place();
    let first = ControlListener::bind(&path).unwrap();
    assert!(matches!(ControlListener::bind(&path), Err(ControlError::InUse { .. })));
    connect(&path).await.unwrap();
    drop(first);
    ControlListener::bind(&path).unwrap();
}

#[tokio::test]
async fn the_socket_of_a_killed_listener_is_replaced() {
    let (_holder, path) = place();
    let other = Other::start("listen", &path, None);
    assert!(matches!(ControlListener::bind(&path), Err(ControlError::InUse { .. })));
    connect(&path).await.unwrap();
    other.kill();
    assert!(fs::metadata(&path).unwrap().file_type().is_socket(), "the stale socket is there");
    assert!(matches!(connect(&path).await, Err(ControlError::NotRunning { .. })));
    let _listener = ControlListener::bind(&path).unwrap();
    connect(&path).await.unwrap();
}

#[tokio::test]
async fn what_is_no_socket_is_not_replaced() {
    let (holder, path) = place();
    fs::write(&path, "kept").unwrap();
    assert!(matches!(ControlListener::bind(&path), Err(ControlError::NotASocket { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"kept");
    let link = holder.path().join("link");
    std::os::unix::fs::symlink("control", &link).unwrap();
    assert!(matches!(ControlListener::bind(&link), Err(ControlError::NotASocket { .. })));
}

#[tokio::test]
async fn a_dropped_listener_leaves_a_socket_that_is_not_its_own() {
    let (_holder, path) = place();
    let listener = ControlListener::bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(listener);
    assert!(path.exists());
}

#[tokio::test]
async fn a_path_at_the_bound_is_used_and_one_past_it_is_refused() {
    let holder = tempfile::tempdir().unwrap();
    let fill = 107 - holder.path().as_os_str().len() - 1;
    let listener = ControlListener::bind(&holder.path().join("x".repeat(fill))).unwrap();
    connect(listener.path()).await.unwrap();
    let path = holder.path().join("x".repeat(fill + 1));
    assert!(matches!(ControlListener::bind(&path), Err(ControlError::PathTooLong { bytes: 108, .. })));
    assert!(matches!(connect(&path).await, Err(ControlError::PathTooLong { bytes: 108, .. })));
}

#[tokio::test]
async fn a_missing_folder_is_an_error() {
    let holder = tempfile::tempdir().unwrap();
    let path = holder.path().join("none/control");
    assert!(matches!(ControlListener::bind(&path), Err(ControlError::Fs(_))));
    assert!(matches!(connect(&path).await, Err(ControlError::NotRunning { .. })));
}

#[tokio::test]
async fn another_user_is_refused_on_either_side() {
    // Only root can take the part of another user.
    if !is_root() {
        return;
    }
    let (holder, path) = place();
    fs::set_permissions(holder.path(), fs::Permissions::from_mode(0o777)).unwrap();

    let other = Other::start("listen", &path, Some(STRANGER));
    assert!(matches!(connect(&path).await, Err(ControlError::Stranger { uid: STRANGER, .. })));
    other.kill();

    let path = holder.path().join("ours");
    let listener = ControlListener::bind(&path).unwrap();
    // Even if somebody opened the file to all.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let _other = Other::start("connect", &path, Some(STRANGER));
    assert!(matches!(listener.accept().await, Err(ControlError::Stranger { uid: STRANGER, .. })));
    let (served, client) = tokio::join!(listener.accept(), connect(&path));
    assert!(served.is_ok() && client.is_ok(), "the listener goes on");
}
