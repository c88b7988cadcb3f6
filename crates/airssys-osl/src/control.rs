//! The control socket of a node: one listener at a path, for its own user and for root.
//!
//! The socket has mode 0600 from the moment it exists. A lock file beside it, `PATH.lock`, says whether a listener
//! lives, so that a second one is refused and the socket left by a killed one is replaced. Both sides ask the kernel
//! who the other is: at a path in a shared folder anybody may have put a socket.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};

use cap_std::fs::{FileTypeExt, Metadata, MetadataExt};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};

use crate::fs::{FsError, Root};
use crate::lock::{FileLock, LockError};

/// Longest path of a socket in bytes: what the system's address has room for.
const PATH_BYTES_MAX: usize = 107;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A listening control socket; removed on drop.
#[derive(Debug)]
pub struct ControlListener {
    listener: UnixListener,
    path: PathBuf,
    folder: Root,
    name: OsString,
    /// Which file the socket is, so that a later one of the same name is left alone.
    identity: (u64, u64),
    /// Released last: until then nobody else may bind.
    _lock: FileLock,
}

/// Why a control socket cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Another listener lives at this path.
    #[error("listen at {path:?}: another process listens there")]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Nobody listens at this path.
    #[error("connect to {path:?}: nothing listens there")]
    NotRunning {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The system's address has no room for this path.
    #[error(
        "use {path:?} as a socket: the path has {bytes} bytes, and at most {PATH_BYTES_MAX} are possible"
    )]
    PathTooLong {
        /// Where.
        path: PathBuf,
        /// How long it is.
        bytes: usize,
    },
    /// Something that is not a socket is at this path.
    #[error("listen at {path:?}: something that is not a socket is there")]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// The other side is another user.
    #[error("talk over {path:?}: the other side is user {uid}")]
    Stranger {
        /// Where.
        path: PathBuf,
        /// Who.
        uid: u32,
    },
    /// The system does not allow it.
    #[error("connect to {path:?}")]
    Denied {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The folder or the lock file cannot be used.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Something else went wrong.
    #[error("{action} {path:?}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl ControlListener {
    /// Listens at `path`, whose folder exists. Replaces a socket whose listener no longer lives.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let address = address(path)?;
        let (folder, name) = Root::of_file(path)?;
        let lock = lock(&folder, &name, path)?;
        remove_stale(&folder, &name, path)?;

        let fail =
            |source: io::Error| ControlError::Io { action: "listen at", path: path.to_owned(), source };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|errno| fail(errno.into()))?;
        // The file takes its mode from the socket at bind, so there is no moment at which others could connect.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|errno| fail(errno.into()))?;
        rustix::net::bind(&socket, &address).map_err(|errno| fail(errno.into()))?;
        rustix::net::listen(&socket, BACKLOG).map_err(|errno| fail(errno.into()))?;
        let identity =
            folder.dir().symlink_metadata(&name).map(|metadata| identity(&metadata)).map_err(fail)?;
        let listener = UnixListener::from_std(StdUnixListener::from(socket)).map_err(fail)?;
        Ok(ControlListener { listener, path: path.to_owned(), folder, name, identity, _lock: lock })
    }

    /// The next connection of this user or of root. An error concerns one connection; the listener goes on.
    ///
    /// Cancel safe: a connection that was not returned is still waiting.
    pub async fn accept(&self) -> Result<UnixStream, ControlError> {
        let fail = |source| ControlError::Io { action: "accept at", path: self.path.clone(), source };
        let (stream, _) = self.listener.accept().await.map_err(fail)?;
        known_peer(stream, &self.path)
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        let ours = |metadata: &Metadata| identity(metadata) == self.identity;
        if self.folder.dir().symlink_metadata(&self.name).is_ok_and(|metadata| ours(&metadata)) {
            // What cannot be removed is replaced by the next listener, like the socket of a killed one.
            drop(self.folder.remove(Path::new(&self.name)));
        }
    }
}

/// Connects to the listener at `path`, if it is of this user or of root.
///
/// Cancel safe: a connection half made is closed.
pub async fn connect(path: &Path) -> Result<UnixStream, ControlError> {
    address(path)?;
    match UnixStream::connect(path).await {
        Ok(stream) => known_peer(stream, path),
        Err(source) => Err(match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ControlError::NotRunning { path: path.to_owned(), source }
            }
            io::ErrorKind::PermissionDenied => ControlError::Denied { path: path.to_owned(), source },
            _ => ControlError::Io { action: "connect to", path: path.to_owned(), source },
        }),
    }
}

fn address(path: &Path) -> Result<SocketAddrUnix, ControlError> {
    let bytes = path.as_os_str().len();
    if bytes > PATH_BYTES_MAX {
        return Err(ControlError::PathTooLong { path: path.to_owned(), bytes });
    }
    SocketAddrUnix::new(path).map_err(|errno| ControlError::Io {
        action: "use as a socket",
        path: path.to_owned(),
        source: errno.into(),
    })
}

fn lock(folder: &Root, name: &OsString, path: &Path) -> Result<FileLock, ControlError> {
    let mut lock_name = name.clone();
    lock_name.push(".lock");
    FileLock::try_lock(folder, Path::new(&lock_name)).map_err(|error| match error {
        LockError::Held { .. } => ControlError::InUse { path: path.to_owned() },
        LockError::Fs(error) => ControlError::Fs(error),
    })
}

/// Removes the socket of a listener that no longer lives. The lock is held, so nobody listens there.
fn remove_stale(folder: &Root, name: &OsString, path: &Path) -> Result<(), ControlError> {
    match folder.dir().symlink_metadata(name) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(folder.remove(Path::new(name))?),
        Ok(_) => Err(ControlError::NotASocket { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(folder.fail("open", Path::new(name), source).into()),
    }
}

fn known_peer(stream: UnixStream, path: &Path) -> Result<UnixStream, ControlError> {
    let peer = stream.peer_cred();
    let uid = peer.map(|peer| peer.uid()).map_err(|source| ControlError::Io {
        action: "identify the peer at",
        path: path.to_owned(),
        source,
    })?;
    match uid == 0 || uid == rustix::process::geteuid().as_raw() {
        true => Ok(stream),
        false => Err(ControlError::Stranger { path: path.to_owned(), uid }),
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
