//! Sockets that are files. Reaching one is a right of its own: what may be read and written is not thereby spoken to.
//!
//! The folder is found without following a link, the name in it is opened without following one, and what was opened is what
//! is connected to. A listener's socket is for its own user, is never put in the place of something, and goes with the listener.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener as StdUnixListener;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::access::{Access, FilePath, RelPath, Subject, UnixVerb};
use crate::beneath;
use crate::fs::{FsError, Root};

use super::tcp::BACKLOG;
use super::{Connection, Listener, NetError, Network};

/// A listening socket and the file that it is; the file is removed on drop.
#[derive(Debug)]
pub(super) struct SocketFile {
    socket: UnixListener,
    folder: OwnedFd,
    name: String,
    /// Which file the socket is, so that a later one of the same name is left alone.
    identity: (u64, u64),
    path: FilePath,
}

impl Network {
    /// Opens a stream to the socket at `root:path`. Takes `unix-connect`; what may be done with files says nothing of it.
    ///
    /// Dropped half-way, what was opened is closed, and the log says that nobody knows what came of it.
    pub async fn connect_unix(&self, subject: &Subject, path: &str) -> Result<Connection, NetError> {
        let what = "net.unix-connect";
        let (path, access) = self.read(subject, what, read(path, UnixVerb::Connect)).await?;
        let permit = self.admit(subject, what, vec![access]).await?;
        permit
            .perform_from_task(async |_| {
                let open = self.open()?;
                let (folder, name) = place(self.root(&path)?, &path.path)?;
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let socket = rustix::fs::openat(&folder, name, flags, Mode::empty())
                    .map_err(|error| self.failed("open", &path, error.into()))?;
                let fail = |error: Errno| self.failed("open", &path, error.into());
                let seen = beneath::look(&socket, "").map_err(fail)?;
                if beneath::kind(&seen) != FileType::Socket {
                    return Err(NetError::NotASocket { path: path.clone() });
                }
                // One that lies elsewhere too, or was mounted here, is not what a rule for this folder is about.
                let root = self.root(&path)?;
                if seen.stx_nlink > 1 {
                    let path = root.path_of(path.path.as_path());
                    return Err(FsError::HardLinked { path, links: seen.stx_nlink.into() }.into());
                }
                if beneath::stays(&seen, root.mounts()).is_err() {
                    return Err(FsError::Mounted { path: root.path_of(path.path.as_path()) }.into());
                }
                // By the descriptor: whatever has the name by now is not looked at.
                let limit = self.limits.connect_timeout;
                let by_fd = format!("/proc/self/fd/{}", socket.as_raw_fd());
                match timeout(limit, UnixStream::connect(by_fd)).await {
                    Ok(Ok(stream)) => Ok(Connection::of_file(stream, open)),
                    Ok(Err(source)) => {
                        Err(NetError::Io { action: "connect to", end: path.to_string(), source })
                    }
                    Err(_) => {
                        let end = path.to_string();
                        Err(NetError::TimedOut { action: "connect to", end, after: limit })
                    }
                }
            })
            .await
    }

    /// Listens at `root:path`, where nothing is yet, for processes of the same user. Takes `unix-listen`.
    pub async fn listen_unix(&self, subject: &Subject, path: &str) -> Result<Listener, NetError> {
        let what = "net.unix-listen";
        let (path, access) = self.read(subject, what, read(path, UnixVerb::Listen)).await?;
        let permit = self.admit(subject, what, vec![access]).await?;
        permit
            .perform_from_task(async |_| {
                let open = self.open()?;
                let (folder, name) = place(self.root(&path)?, &path.path)?;
                let name = name.to_owned();
                let fail = |source| NetError::Io { action: "listen at", end: path.to_string(), source };
                let socket = listen(&folder, &name).map_err(fail)?;
                let stat = stat(&folder, &name).map_err(fail)?;
                let identity = identity(&stat);
                let file = SocketFile { socket, folder, name, identity, path: path.clone() };
                Ok(self.listener_of_file(file, open))
            })
            .await
    }

    fn failed(&self, action: &'static str, path: &FilePath, source: io::Error) -> NetError {
        match self.root(path) {
            Ok(root) => FsError::of(action, root.path_of(path.path.as_path()), source).into(),
            Err(error) => error,
        }
    }
}

fn read(text: &str, verb: UnixVerb) -> Result<(FilePath, Access), NetError> {
    let path = FilePath::parse(text).map_err(|source| NetError::Path { text: text.to_owned(), source })?;
    Ok((path.clone(), Access::Unix { verb, path }))
}

/// The folder of a path, and the name in it.
fn place<'p>(root: &Root, path: &'p RelPath) -> Result<(OwnedFd, &'p str), FsError> {
    let (folder, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
    let folder = beneath::open(root.dir(), folder, beneath::FOLDER, root.mounts())
        .map_err(|source| FsError::of("open", root.path_of(path.as_path()), source))?;
    Ok((folder, if name.is_empty() { "." } else { name }))
}

fn listen(folder: &OwnedFd, name: &str) -> io::Result<UnixListener> {
    // The name alone is looked for by the kernel, in the folder that was opened; a bind follows no link at the end.
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The file takes its mode from the socket at bind, so there is no moment at which others could connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    UnixListener::from_std(StdUnixListener::from(socket))
}

fn stat(folder: &OwnedFd, name: &str) -> io::Result<Stat> {
    Ok(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl SocketFile {
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.socket.accept().await?.0)
    }

    pub(super) fn path(&self) -> &FilePath {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = stat(&self.folder, &self.name).is_ok_and(|stat| identity(&stat) == self.identity);
        if is_ours
            && let Err(error) = rustix::fs::unlinkat(&self.folder, self.name.as_str(), AtFlags::empty())
        {
            tracing::warn!(path = %self.path, %error, "a socket that nobody listens at any more stays behind");
        }
    }
}
