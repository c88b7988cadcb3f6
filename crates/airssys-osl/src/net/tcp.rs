//! Streams: what connects, what listens, and the bytes in between.
//!
//! A connection goes to an address that was decided about, and to no other. A listener binds the address it was given and
//! nothing wider: one of IPv6 takes no IPv4, and no port is shared with another socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::access::{Access, Host, NetVerb, Subject};

use super::unix::SocketFile;
use super::{End, NetError, Network, after, one_machine};

/// Connections that wait to be accepted.
pub(super) const BACKLOG: u32 = 128;

/// An open stream of bytes. What it may cost is given back when it is dropped.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    peer: Option<SocketAddr>,
    _open: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Something that streams can be opened to.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    accepted: Arc<Semaphore>,
    _open: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(SocketFile),
}

impl Network {
    /// Opens a stream to `host:port`. Takes `connect`, and of a name also the addresses that it is looked up as.
    ///
    /// Dropped half-way, what was opened is closed, and the log says that nobody knows what came of it.
    pub async fn connect(&self, subject: &Subject, end: &str) -> Result<Connection, NetError> {
        let end = self.read(subject, "net.connect", End::parse(end)).await?;
        let what = (NetVerb::Connect, "net.connect", 0);
        let max = self.limits.addresses_max;
        let (permit, there) = self.reach(subject, what, &end, |_| true, max).await?;
        permit
            .perform_from_task(async |_| {
                let open = self.open()?;
                let (stream, peer) = self.dial(&end, &there, self.connect_deadline()).await?;
                Ok(Connection { stream: Stream::Tcp(stream), peer: Some(peer), _open: open })
            })
            .await
    }

    /// Listens at `address:port`; port 0 is one that the system picks. Takes `listen`, of all ports of the address for port 0.
    pub async fn listen(&self, subject: &Subject, end: &str) -> Result<Listener, NetError> {
        let (address, port) = self.read(subject, "net.listen", End::parse_own(end)).await?;
        let access = Access::Net { verb: NetVerb::Listen, host: Host::of_address(address), port };
        let permit = self.admit(subject, "net.listen", vec![access]).await?;
        permit
            .perform_from_task(async |_| {
                let open = self.open()?;
                let address = SocketAddr::new(address, port.map_or(0, std::num::NonZero::get));
                let socket = listen(address).map_err(|source| NetError::Io {
                    action: "listen at",
                    end: address.to_string(),
                    source,
                })?;
                Ok(self.listener(Socket::Tcp(socket), open))
            })
            .await
    }

    fn listener(&self, socket: Socket, open: OwnedSemaphorePermit) -> Listener {
        let max = self.limits.accepted_max.min(Semaphore::MAX_PERMITS);
        Listener { socket, accepted: Arc::new(Semaphore::new(max)), _open: open }
    }

    pub(super) fn listener_of_file(&self, socket: SocketFile, open: OwnedSemaphorePermit) -> Listener {
        self.listener(Socket::Unix(socket), open)
    }

    pub(super) fn connect_deadline(&self) -> Instant {
        after(self.limits.connect_timeout)
    }

    /// Connects to the first of these addresses that answers. Each gets its share of the time that is left.
    pub(super) async fn dial(
        &self,
        end: &End,
        there: &[SocketAddr],
        deadline: Instant,
    ) -> Result<(TcpStream, SocketAddr), NetError> {
        let mut failure = NetError::TimedOut {
            action: "connect to",
            end: end.to_string(),
            after: self.limits.connect_timeout,
        };
        for (index, address) in there.iter().enumerate() {
            if let Err(error) = one_machine(address.ip()) {
                failure = error;
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let waits = u32::try_from(there.len() - index).unwrap_or(u32::MAX);
            match timeout_at(Instant::now() + left / waits, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok((stream, *address)),
                Ok(Err(source)) => {
                    failure = NetError::Io { action: "connect to", end: end.to_string(), source };
                }
                Err(_) => {}
            }
        }
        Err(failure)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    // Lets a new listener follow an old one; two that listen at once are refused all the same.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Listener {
    /// The next stream. Waits while as many are open as may be. An error concerns one stream; the listener goes on.
    ///
    /// Cancel safe: a stream that was not returned is still waiting.
    pub async fn accept(&self) -> Result<Connection, NetError> {
        let open = self.accepted.clone().acquire_owned().await;
        let open = open.map_err(|error| self.fail(io::Error::other(error)))?;
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await.map_err(|source| self.fail(source))?;
                Ok(Connection { stream: Stream::Tcp(stream), peer: Some(peer), _open: open })
            }
            Socket::Unix(socket) => {
                let stream = socket.accept().await.map_err(|source| self.fail(source))?;
                Ok(Connection { stream: Stream::Unix(stream), peer: None, _open: open })
            }
        }
    }

    /// Where it listens, unless that is a file.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    fn fail(&self, source: io::Error) -> NetError {
        let end = match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().map_or_else(|_| String::new(), |at| at.to_string()),
            Socket::Unix(socket) => socket.path().to_string(),
        };
        NetError::Io { action: "accept at", end, source }
    }
}

impl Connection {
    /// The address of the other side, unless the socket is a file.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    pub(super) fn of_file(stream: UnixStream, open: OwnedSemaphorePermit) -> Self {
        Self { stream: Stream::Unix(stream), peer: None, _open: open }
    }

    #[cfg(feature = "tls")]
    pub(super) fn of_tls(
        stream: tokio_rustls::client::TlsStream<TcpStream>,
        peer: SocketAddr,
        open: OwnedSemaphorePermit,
    ) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), peer: Some(peer), _open: open }
    }

    #[cfg(feature = "http")]
    pub(super) fn of_tcp(stream: TcpStream, peer: SocketAddr, open: OwnedSemaphorePermit) -> Self {
        Self { stream: Stream::Tcp(stream), peer: Some(peer), _open: open }
    }
}

macro_rules! on_stream {
    ($self:ident, $poll:ident $(, $argument:expr)*) => {
        match &mut $self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).$poll($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$poll($($argument),*),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Pin::new(stream.as_mut()).$poll($($argument),*),
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self, poll_read, cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, poll_write, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_shutdown, cx)
    }
}
