//! Datagrams: one socket, and a decision about every datagram that leaves it.
//!
//! A socket is never connected, so there is no destination that was decided about once and used for others. Groups and
//! broadcasts are nobody's own address and are never sent to. What arrives is what was sent to the bound address.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;

use crate::access::{Access, Host, NetVerb, Subject};

use super::{End, NetError, Network, one_machine};

/// A bound socket for datagrams, of the subject that bound it.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    address: SocketAddr,
    network: Network,
    subject: Subject,
    _open: OwnedSemaphorePermit,
}

impl Network {
    /// Binds a socket for datagrams to `address:port`; port 0 is one that the system picks. Takes `bind`, of all ports of the
    /// address for port 0. What is sent takes `send` each time.
    pub async fn bind(&self, subject: &Subject, end: &str) -> Result<Datagrams, NetError> {
        let (address, port) = self.read(subject, "net.bind", End::parse_own(end)).await?;
        let access = Access::Net { verb: NetVerb::Bind, host: Host::of_address(address), port };
        let permit = self.admit(subject, "net.bind", vec![access]).await?;
        permit
            .perform_from_task(async |_| {
                let open = self.open()?;
                let address = SocketAddr::new(address, port.map_or(0, std::num::NonZero::get));
                let fail = |source| NetError::Io { action: "bind", end: address.to_string(), source };
                let socket = bind(address).map_err(fail)?;
                Ok(Datagrams {
                    address: socket.local_addr().map_err(fail)?,
                    socket,
                    network: self.clone(),
                    subject: subject.clone(),
                    _open: open,
                })
            })
            .await
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = match address.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    UdpSocket::from_std(socket.into())
}

impl Datagrams {
    /// Where it is bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends one datagram to `host:port`. Takes `send`, and of a name also the address that it is looked up as.
    ///
    /// Dropped half-way, the datagram may have been sent; the log says that nobody knows.
    pub async fn send(&self, to: &str, bytes: &[u8]) -> Result<(), NetError> {
        let end = self.network.read(&self.subject, "net.send", End::parse(to)).await?;
        let max = self.network.limits.datagram_bytes_max;
        if bytes.len() > max {
            return Err(NetError::TooLarge { len: bytes.len(), max });
        }
        let what = (NetVerb::Send, "net.send", bytes.len() as u64);
        let is_v6 = self.address.is_ipv6();
        let fits = move |address: IpAddr| address.is_ipv6() == is_v6;
        let (permit, there) = self.network.reach(&self.subject, what, &end, fits, 1).await?;
        permit
            .perform_from_task(async |_| {
                let there = there.first().expect("what is reached has an address");
                one_machine(there.ip())?;
                let sent = self.socket.send_to(bytes, there).await;
                sent.map(drop).map_err(|source| NetError::Io {
                    action: "send to",
                    end: end.to_string(),
                    source,
                })
            })
            .await
    }

    /// The next datagram and who says that they sent it. One that is larger than may be is an error, and is gone.
    ///
    /// Cancel safe: a datagram that was not returned is still waiting.
    pub async fn receive(&self) -> Result<(Vec<u8>, SocketAddr), NetError> {
        let max = self.network.limits.datagram_bytes_max;
        let mut bytes = vec![0; max.saturating_add(1).min(1 << 16)];
        let received = self.socket.recv_from(&mut bytes).await;
        let (len, from) = received.map_err(|source| NetError::Io {
            action: "receive at",
            end: self.address.to_string(),
            source,
        })?;
        if len > max {
            return Err(NetError::TooLarge { len, max });
        }
        bytes.truncate(len);
        Ok((bytes, from))
    }
}
