//! The network behind the gate: streams, datagrams, sockets that are files, and with features TLS and HTTP.
//!
//! An end is named as `host:port`. A name is looked up only after the policy allowed it, and once; what it was looked up as is
//! decided again, and what was decided is what is connected to, so a name cannot lead elsewhere between the check and the use. A
//! rule for a name reaches public addresses only, unless it says `private = true`; addresses of the answer that may not be
//! reached are left out, and none are left is a denial on record. Nothing is taken from the environment: no proxy, no
//! certificates.
//!
//! What was opened stays open when the policy changes, as permits that were handed out stay good; whatever is done next is
//! decided anew.

#[cfg(feature = "http")]
pub(crate) mod http;
mod resolver;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod udp;
mod unix;
#[cfg(feature = "http")]
mod url;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::access::net;
use crate::access::{Access, FilePath, Host, HostError, HostName, Name, NetVerb, PathError, Port, Subject};
use crate::fs::{FsError, Root};
use crate::gate::{Denied, Gate, Operation, Permit};
use crate::policy::Decision;

pub use resolver::Resolver;
pub use tcp::{Connection, Listener};
#[cfg(feature = "tls")]
pub use tls::{Trust, TrustError};
pub use udp::Datagrams;
#[cfg(feature = "http")]
pub use {
    http::{Http, HttpError, HttpLimits, HttpMethod, HttpRequest, HttpResponse, Redirects},
    url::{HttpUrl, UrlError},
};

/// The network of a program and the gate before it. Cheap to clone; clones share their limits. What it does is done within a
/// tokio runtime with I/O and time.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use airssys_osl::audit::{AuditLog, AuditOptions};
/// # use airssys_osl::{Gate, NetError, Network, Policy, Root, Subject};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// # let folder = tempfile::tempdir()?;
/// # let policy = r#"
/// #     version = 1
/// #     [[subject]]
/// #     name = "tool"
/// #     [[subject.allow]]
/// #     listen = ["127.0.0.1:*"]
/// #     [[subject.allow]]
/// #     connect = ["127.0.0.1:*"]
/// # "#;
/// # let log = AuditLog::open(&Root::private(&folder.path().join("audit"))?, AuditOptions::default())?;
/// # let gate = Gate::new(Policy::parse(policy, "policy.toml")?, log);
/// # let tool = Subject::parse("tool")?;
/// let network = Network::new(gate);
/// let listener = network.listen(&tool, "127.0.0.1:0").await?;
/// let end = listener.address().expect("it is no file").to_string();
/// let mut client = network.connect(&tool, &end).await?;
/// client.write_all(b"hello").await?;
/// client.shutdown().await?;
/// let mut heard = String::new();
/// listener.accept().await?.read_to_string(&mut heard).await?;
/// assert_eq!(heard, "hello");
/// assert!(matches!(network.connect(&tool, "example.com:80").await, Err(NetError::Denied(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Network {
    gate: Gate,
    resolver: Resolver,
    limits: NetLimits,
    roots: Arc<HashMap<Name, Root>>,
    open: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
    #[cfg(feature = "tls")]
    tls: tls::Configs,
}

/// What may grow, and how long things may take.
#[derive(Debug, Clone, Copy)]
pub struct NetLimits {
    /// Connections, listeners and sockets for datagrams that are open at once, what listeners accepted aside.
    pub open_max: usize,
    /// Accepted connections of one listener that are open at once. Further ones wait with the system.
    pub accepted_max: usize,
    /// Addresses of one answer that are looked at. Whoever owns the name chooses how many there are.
    pub addresses_max: usize,
    /// Names that are looked up at once; the system's way takes a thread each.
    pub lookups_max: usize,
    /// How long looking up one name may take.
    pub lookup_timeout: Duration,
    /// How long connecting may take, all addresses and encryption together.
    pub connect_timeout: Duration,
    /// Bytes of one datagram, sent or received.
    pub datagram_bytes_max: usize,
}

impl Default for NetLimits {
    /// 1,024 open, 256 accepted by a listener, 8 addresses of an answer, 8 look-ups at once of 5 seconds each, 10 seconds to
    /// connect, datagrams as large as there are.
    fn default() -> Self {
        Self {
            open_max: 1024,
            accepted_max: 256,
            addresses_max: 8,
            lookups_max: 8,
            lookup_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(10),
            datagram_bytes_max: 65_507,
        }
    }
}

/// Something to be done with the network, read and checked but not yet allowed.
#[derive(Debug)]
pub struct NetOperation {
    name: &'static str,
    accesses: Vec<Access>,
    /// None are known of a stream that the caller reads and writes.
    bytes_max: u64,
}

/// Why something was not done with the network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// The text names no end of the network.
    #[error("use {} as an end of the network", crate::document::quoted(.text))]
    End {
        /// As it was given.
        text: String,
        /// Why.
        #[source]
        source: EndError,
    },
    /// The path is none.
    #[error("use path {}", crate::document::quoted(.text))]
    Path {
        /// As it was given.
        text: String,
        /// Why.
        #[source]
        source: PathError,
    },
    /// It is not allowed. Nothing was looked up or sent, except that a name was looked up whose addresses may not be reached.
    #[error(transparent)]
    Denied(Box<Denied<NetOperation>>),
    /// The name could not be looked up.
    #[error("look up {name}")]
    LookUp {
        /// Which.
        name: HostName,
        /// What came back.
        #[source]
        source: io::Error,
    },
    /// The name has no address, or none that fits.
    #[error("look up {name}: it has no address")]
    NoAddress {
        /// Which.
        name: HostName,
    },
    /// It is allowed, and nobody's address: unspecified, of many, or of all.
    #[error("reach {address}: it is no machine's own address")]
    Nowhere {
        /// Which.
        address: IpAddr,
    },
    /// As much is open as may be.
    #[error("open another end: {open_max} are open, and that is all there may be")]
    Full {
        /// The bound.
        open_max: usize,
    },
    /// It took too long.
    #[error("{action} {end}: it took longer than {after:?}")]
    TimedOut {
        /// What was being done.
        action: &'static str,
        /// With whom.
        end: String,
        /// The bound.
        after: Duration,
    },
    /// A datagram has more bytes than may be.
    #[error("take a datagram of {len} bytes or more: at most {max} may be")]
    TooLarge {
        /// Bytes of the datagram, or how many of them were looked at.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The other side did not show who it is, or is not who it has to be.
    #[error("agree on encryption with {end}")]
    Tls {
        /// With whom.
        end: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// The policy allows it in a root that the program has not opened.
    #[error("use root {root}: the program has not opened one of this name")]
    NoRoot {
        /// The root's name.
        root: Name,
    },
    /// Something that is not a socket is at this path.
    #[error("connect to {path}: it is no socket")]
    NotASocket {
        /// Where.
        path: FilePath,
    },
    /// The folder of a socket cannot be used.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// It is allowed and did not work.
    #[error("{action} {end}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// With whom.
        end: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Why a text is no end of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndError {
    /// There is no port, or it is none.
    #[error("write a port of 1 to 65535 after a colon: `example.com:443`, `[::1]:443`")]
    Port,
    /// The host is none.
    #[error(transparent)]
    Host(#[from] HostError),
    /// An own end is named.
    #[error("an end of this machine is an address: `127.0.0.1:8080`, `[::]:8080`")]
    Named,
}

impl From<Denied<NetOperation>> for NetError {
    fn from(denied: Denied<NetOperation>) -> Self {
        NetError::Denied(Box::new(denied))
    }
}

impl Operation for NetOperation {
    fn name(&self) -> &'static str {
        self.name
    }

    fn accesses(&self) -> &[Access] {
        &self.accesses
    }

    fn bytes_max(&self) -> u64 {
        self.bytes_max
    }
}

/// An end of the network, read once. What is decided is what is used.
#[derive(Debug, Clone)]
pub(crate) struct End {
    host: Host,
    port: Port,
}

impl End {
    fn parse(text: &str) -> Result<Self, NetError> {
        let (host, port) = Self::parts(text)?;
        let port = net::port(port).ok_or_else(|| Self::fail(text, EndError::Port))?;
        Ok(Self { host, port })
    }

    /// An end of this machine. Port 0 is one that the system picks.
    fn parse_own(text: &str) -> Result<(IpAddr, Option<Port>), NetError> {
        let (host, port) = Self::parts(text)?;
        let port = match port {
            "0" => None,
            port => Some(net::port(port).ok_or_else(|| Self::fail(text, EndError::Port))?),
        };
        match host {
            Host::Address(address) => Ok((address, port)),
            Host::Named(_) => Err(Self::fail(text, EndError::Named)),
        }
    }

    fn parts(text: &str) -> Result<(Host, &str), NetError> {
        let (host, port) = text.rsplit_once(':').ok_or_else(|| Self::fail(text, EndError::Port))?;
        // `::1` without brackets would lose its end to the port.
        if host.contains(':') && !host.starts_with('[') {
            return Err(Self::fail(text, EndError::Port));
        }
        Ok((Host::parse(host).map_err(|error| Self::fail(text, error.into()))?, port))
    }

    fn fail(text: &str, source: EndError) -> NetError {
        NetError::End { text: text.to_owned(), source }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Network {
    /// The network behind this gate: names are looked up as the system does, no roots for sockets that are files, the limits
    /// of [`NetLimits::default`], which all subjects share, and, with TLS, the trust of `Trust::web`.
    pub fn new(gate: Gate) -> Self {
        Self {
            gate,
            resolver: Resolver::system(),
            limits: NetLimits::default(),
            roots: Arc::default(),
            open: Arc::new(Semaphore::new(NetLimits::default().open_max)),
            lookups: Arc::new(Semaphore::new(NetLimits::default().lookups_max)),
            #[cfg(feature = "tls")]
            tls: tls::Configs::new(Trust::web()),
        }
    }

    /// The same with names looked up in this way.
    pub fn with_resolver(self, resolver: Resolver) -> Self {
        Self { resolver, ..self }
    }

    /// The same with these limits, counted from none open.
    pub fn with_limits(self, limits: NetLimits) -> Self {
        let permits = |max: usize| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        Self { open: permits(limits.open_max), lookups: permits(limits.lookups_max), limits, ..self }
    }

    /// The same with these roots for sockets that are files.
    pub fn with_roots(self, roots: impl IntoIterator<Item = (Name, Root)>) -> Self {
        Self { roots: Arc::new(roots.into_iter().collect()), ..self }
    }

    /// The same, believing these authorities about who the other side of TLS is.
    #[cfg(feature = "tls")]
    pub fn with_trust(self, trust: Trust) -> Self {
        Self { tls: tls::Configs::new(trust), ..self }
    }

    /// The addresses of a name, as many of them as the limits say. Takes `resolve`.
    ///
    /// Dropped half-way, the look-up may still end on its thread; nobody hears of it.
    pub async fn resolve(&self, subject: &Subject, name: &str) -> Result<Vec<IpAddr>, NetError> {
        let host = Host::parse(name).map_err(|error| End::fail(name, error.into()));
        let host = self.read(subject, "net.resolve", host).await?;
        let access = Access::Net { verb: NetVerb::Resolve, host: host.clone(), port: None };
        let permit = self.admit(subject, "net.resolve", vec![access]).await?;
        match host {
            Host::Address(address) => {
                permit.perform_from_task(async |_| Ok::<_, NetError>(vec![address])).await
            }
            Host::Named(name) => permit.perform_from_task(async |_| self.answers(&name).await).await,
        }
    }

    async fn admit(
        &self,
        subject: &Subject,
        name: &'static str,
        accesses: Vec<Access>,
    ) -> Result<Permit<NetOperation>, NetError> {
        self.admit_bytes(subject, name, accesses, 0).await
    }

    async fn admit_bytes(
        &self,
        subject: &Subject,
        name: &'static str,
        accesses: Vec<Access>,
        bytes_max: u64,
    ) -> Result<Permit<NetOperation>, NetError> {
        Ok(self.gate.admit_from_task(subject, NetOperation { name, accesses, bytes_max }).await?)
    }

    /// What was read of a text. One that names nothing is on record like what is denied.
    async fn read<T>(
        &self,
        subject: &Subject,
        operation: &'static str,
        read: Result<T, NetError>,
    ) -> Result<T, NetError> {
        let (text, why) = match &read {
            Err(NetError::End { text, source }) => (without_credentials(text), source.to_string()),
            Err(NetError::Path { text, source }) => (text.clone(), source.to_string()),
            Ok(_) | Err(_) => return read,
        };
        self.gate.refuse_text_from_task(subject, operation, &text, why).await;
        read
    }

    /// The permit for something done with an end that lies elsewhere, and where that is: the addresses that were decided
    /// about, at most `max` of those that `fit`.
    async fn reach(
        &self,
        subject: &Subject,
        (verb, operation, bytes_max): (NetVerb, &'static str, u64),
        end: &End,
        fits: impl Fn(IpAddr) -> bool + Send,
        max: usize,
    ) -> Result<(Permit<NetOperation>, Vec<SocketAddr>), NetError> {
        let by_name = Access::Net { verb, host: end.host.clone(), port: Some(end.port) };
        let name = match &end.host {
            Host::Address(address) => {
                let permit = self.admit_bytes(subject, operation, vec![by_name], bytes_max).await?;
                return Ok((permit, vec![SocketAddr::new(*address, end.port.get())]));
            }
            Host::Named(name) => name,
        };
        // Who may connect to a name may look that name up, unless a rule says otherwise.
        let looks = Access::Net { verb: NetVerb::Resolve, host: end.host.clone(), port: None };
        let accesses = match self.gate.policy().decide(subject, &looks) {
            Decision::Denied(None) => vec![by_name],
            Decision::Denied(Some(_)) | Decision::Allowed(_) => vec![by_name, looks],
        };
        let permit = self.admit(subject, "net.look-up", accesses).await?;
        let mut answers = permit.perform_from_task(async |_| self.answers(name).await).await?;
        answers.retain(|address| fits(*address));
        if answers.is_empty() {
            return Err(NetError::NoAddress { name: name.clone() });
        }
        let at =
            |address: &IpAddr| Access::NetAt { verb, name: name.clone(), port: end.port, address: *address };
        let policy = self.gate.policy();
        let may_reach = |address: &&IpAddr| policy.decide(subject, &at(address)).is_allowed();
        let mut reachable: Vec<IpAddr> = answers.iter().filter(may_reach).take(max).copied().collect();
        if reachable.is_empty() {
            // To be denied, with the rule on record.
            reachable = answers;
        }
        let accesses = reachable.iter().map(at).collect();
        let permit = self.admit_bytes(subject, operation, accesses, bytes_max).await?;
        let there = reachable.into_iter().map(|address| SocketAddr::new(address, end.port.get()));
        Ok((permit, there.collect()))
    }

    /// What a name is looked up as, each address once.
    async fn answers(&self, name: &HostName) -> Result<Vec<IpAddr>, NetError> {
        let limit = self.limits.lookup_timeout;
        let answers = tokio::time::timeout(limit, self.resolver.look_up(name, &self.lookups)).await;
        let answers = match answers {
            Ok(answers) => answers.map_err(|source| NetError::LookUp { name: name.clone(), source })?,
            Err(_) => {
                let end = name.to_string();
                return Err(NetError::TimedOut { action: "look up", end, after: limit });
            }
        };
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in answers.into_iter().map(|address| address.to_canonical()) {
            if addresses.len() < self.limits.addresses_max && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(NetError::NoAddress { name: name.clone() });
        }
        Ok(addresses)
    }

    fn root(&self, path: &FilePath) -> Result<&Root, NetError> {
        self.roots.get(&path.root).ok_or_else(|| NetError::NoRoot { root: path.root.clone() })
    }

    /// The right to one more open end.
    fn open(&self) -> Result<tokio::sync::OwnedSemaphorePermit, NetError> {
        let open = self.open.clone().try_acquire_owned();
        open.map_err(|_| NetError::Full { open_max: self.limits.open_max })
    }
}

/// After this long. What is further away than a clock can say is far enough.
fn after(time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    Instant::now() + time.min(FAR)
}

/// An end or an address of the web for a record: the scheme and the host with its port, and no name, password, path or token.
fn without_credentials(text: &str) -> String {
    let (scheme, rest) = text.split_at(text.find("://").map_or(0, |at| at + 3));
    let (authority, beyond) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or(authority);
    // Programs do not agree on where a host ends: with an `@` further on this may be a password with a slash in it.
    let host = if beyond.contains('@') && HostName::parse(host).is_err() { "" } else { host };
    let before = if host.len() < authority.len() { "…@" } else { "" };
    let after = if beyond.len() > 1 { "/…" } else { beyond };
    format!("{scheme}{before}{host}{after}")
}

/// Refuses what the system would read as something else than one machine: it takes `0.0.0.0` for this one.
fn one_machine(address: IpAddr) -> Result<(), NetError> {
    let v4 = match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => net::embedded_v4(address),
    };
    let is_no_one = v4.is_some_and(|v4| v4.octets()[0] == 0 || v4.octets()[0] >= 224)
        || address.is_unspecified()
        || address.is_multicast();
    if is_no_one { Err(NetError::Nowhere { address }) } else { Ok(()) }
}
