//! Sockets that are files: a right of their own, and what is connected to is what was named.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use airssys_osl::audit::{AuditOptions, Durability};
use airssys_osl::{FileVerb, Files, FilesError, FsError, Name, NetError, Network, Root};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::audit::gate_by;
use crate::net::{World, is_denied, policy};
use crate::races::with_own_mounts;

/// A root with a socket in it that counts who comes.
fn sockets(world: &World) -> (std::path::PathBuf, std::os::unix::net::UnixListener, Network, Files) {
    let base = world.folder.path().join("root");
    std::fs::create_dir_all(base.join("in")).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(base.join("in/docker.sock")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let root = || [(Name::parse("d").unwrap(), Root::open(&base).unwrap())];
    let network = world.network.clone().with_roots(root());
    let files = Files::new(world.gate.clone(), root());
    (base, listener, network, files)
}

#[tokio::test]
async fn a16_who_may_do_anything_with_files_does_not_thereby_reach_a_socket() {
    let world = World::new("[[subject.allow]]\nfiles = [\"d:**\"]\nhidden = true", &[]);
    let (_, listener, network, files) = sockets(&world);
    let mut seen = 0;
    is_denied(network.connect_unix(&world.tool, "d:in/docker.sock").await);
    assert_eq!(world.one_denial(&mut seen), "no rule allows it");
    is_denied(network.listen_unix(&world.tool, "d:in/other.sock").await);
    assert_eq!(world.one_denial(&mut seen), "no rule allows it");
    let path = "d:in/docker.sock";
    for outcome in [
        files.read(&world.tool, path, 16).map(drop),
        files.write(&world.tool, path, b"x"),
        files.append(&world.tool, path, b"x"),
    ] {
        assert!(matches!(outcome, Err(FilesError::Failed(FsError::NotAFile { .. }))), "{outcome:?}");
    }
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(FileVerb::WORDS.len(), 8, "a new verb for files is no way to a socket: try it here");
}

#[tokio::test]
async fn a16_a_socket_is_reached_by_its_own_right_and_by_no_link() {
    let world = World::new(
        "[[subject.allow]]\nunix = [\"d:in/*\"]\nverbs = [\"connect\"]\n[[subject.allow]]\nunix = [\"d:new/*\"]\n[[subject.deny]]\nunix = [\"d:in/private\"]",
        &[],
    );
    let (base, listener, network, _) = sockets(&world);
    let tool = &world.tool;
    let mut connection = network.connect_unix(tool, "d:in/docker.sock").await.unwrap();
    let (mut served, _) = listener.accept().unwrap();
    connection.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    served.set_nonblocking(false).unwrap();
    io::Read::read_exact(&mut served, &mut bytes).unwrap();
    io::Write::write_all(&mut served, b"pong").unwrap();
    connection.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"pong");

    // Links, at the end and on the way; what is no socket; what the rules leave out.
    std::os::unix::fs::symlink("docker.sock", base.join("in/link")).unwrap();
    std::os::unix::fs::symlink("in", base.join("new")).unwrap();
    std::fs::write(base.join("in/file"), "").unwrap();
    let linked = network.connect_unix(tool, "d:in/link").await.unwrap_err();
    assert!(matches!(linked, NetError::NotASocket { .. }), "{linked:?}");
    assert!(matches!(network.connect_unix(tool, "d:in/file").await, Err(NetError::NotASocket { .. })));
    assert!(matches!(network.connect_unix(tool, "d:new/docker.sock").await, Err(NetError::Fs(_))));
    assert!(matches!(
        network.connect_unix(tool, "d:in/gone").await,
        Err(NetError::Fs(FsError::NotFound { .. }))
    ));
    assert!(matches!(network.connect_unix(tool, "d:../in/docker.sock").await, Err(NetError::Path { .. })));
    is_denied(network.connect_unix(tool, "d:in/private").await);
    is_denied(network.listen_unix(tool, "d:in/mine").await);
    is_denied(network.connect_unix(tool, "e:in/docker.sock").await);
    is_denied(network.connect_unix(tool, "d:in/.hidden").await);
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a8_a_socket_with_another_name_somewhere_is_not_reached() {
    let world = World::new("[[subject.allow]]\nunix = [\"d:in/*\"]", &[]);
    let (base, listener, network, _) = sockets(&world);
    std::fs::rename(base.join("in/docker.sock"), world.folder.path().join("docker.sock")).unwrap();
    std::fs::hard_link(world.folder.path().join("docker.sock"), base.join("in/mine")).unwrap();
    let outcome = network.connect_unix(&world.tool, "d:in/mine").await;
    assert!(matches!(outcome, Err(NetError::Fs(FsError::HardLinked { links: 2, .. }))), "{outcome:?}");
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn b8_a_socket_that_was_mounted_into_a_root_is_reached_only_if_that_was_said() {
    with_own_mounts(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new("[[subject.allow]]\nunix = [\"d:in/*\"]", &[]);
            let (base, listener, network, _) = sockets(&world);
            std::fs::rename(base.join("in/docker.sock"), world.folder.path().join("docker.sock")).unwrap();
            std::fs::write(base.join("in/mine"), "").unwrap();
            rustix::mount::mount_bind(world.folder.path().join("docker.sock"), base.join("in/mine")).unwrap();
            let outcome = network.connect_unix(&world.tool, "d:in/mine").await;
            assert!(matches!(outcome, Err(NetError::Fs(FsError::Mounted { .. }))), "{outcome:?}");
            assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let root = Root::open(&base).unwrap().with_mounts();
            let network = network.with_roots([(Name::parse("d").unwrap(), root)]);
            network.connect_unix(&world.tool, "d:in/mine").await.unwrap();
            rustix::mount::unmount(base.join("in/mine"), rustix::mount::UnmountFlags::DETACH).unwrap();
        });
    });
}

#[tokio::test]
async fn a_listening_file_is_for_its_user_takes_nobodys_place_and_goes_with_its_listener() {
    use std::os::unix::fs::MetadataExt as _;
    let world = World::new("[[subject.allow]]\nunix = [\"d:in/*\"]", &[]);
    let (base, _taken, network, _) = sockets(&world);
    let tool = &world.tool;
    let listener = network.listen_unix(tool, "d:in/mine").await.unwrap();
    assert_eq!(std::fs::metadata(base.join("in/mine")).unwrap().mode() & 0o7777, 0o600);
    let (served, client) = tokio::join!(listener.accept(), network.connect_unix(tool, "d:in/mine"));
    client.unwrap().write_all(b"hello").await.unwrap();
    let mut heard = String::new();
    served.unwrap().read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "hello");
    std::os::unix::fs::symlink("nowhere", base.join("in/dangling")).unwrap();
    for path in ["d:in/mine", "d:in/docker.sock", "d:in/dangling"] {
        assert!(matches!(network.listen_unix(tool, path).await, Err(NetError::Io { .. })), "{path}");
    }
    assert!(!base.join("in/nowhere").exists());
    let long = format!("d:in/{}", "n".repeat(120));
    assert!(matches!(network.listen_unix(tool, &long).await, Err(NetError::Io { .. })));
    drop(listener);
    assert!(!base.join("in/mine").exists());
    let nobody = network.connect_unix(tool, "d:in/mine").await.unwrap_err();
    assert!(matches!(nobody, NetError::Fs(FsError::NotFound { .. })), "{nobody:?}");
}

#[tokio::test]
async fn a16_a_socket_that_is_swapped_for_a_link_to_another_is_not_reached() {
    const LOOKS: u32 = 5_000;
    let world = World::new("[[subject.allow]]\nunix = [\"d:in/*\"]", &[]);
    let (base, granted, ..) = sockets(&world);
    let outside = std::os::unix::net::UnixListener::bind(world.folder.path().join("outside.sock")).unwrap();
    outside.set_nonblocking(true).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (is_over, base) = (is_over.clone(), base.clone());
        move || {
            let (name, kept) = (base.join("in/docker.sock"), base.join("kept"));
            while !is_over.load(Ordering::Relaxed) {
                std::fs::rename(&name, &kept).unwrap();
                std::os::unix::fs::symlink("../../outside.sock", &name).unwrap();
                std::fs::remove_file(&name).unwrap();
                std::fs::rename(&kept, &name).unwrap();
            }
        }
    });
    let log = gate_by(
        &policy("[[subject.allow]]\nunix = [\"d:in/*\"]"),
        &world.folder.path().join("fast"),
        AuditOptions { durability: Durability::Async, ..AuditOptions::default() },
    );
    let network = Network::new(log).with_roots([(Name::parse("d").unwrap(), Root::open(&base).unwrap())]);
    let mut reached = 0;
    for _ in 0..LOOKS {
        if network.connect_unix(&world.tool, "d:in/docker.sock").await.is_ok() {
            reached += 1;
            assert!(granted.accept().is_ok());
        }
        assert_eq!(outside.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
    is_over.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(reached > 0, "it was there at times");
}
