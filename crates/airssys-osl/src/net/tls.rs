//! Encryption: a stream to an end that has shown that it is who it was named as.
//!
//! The name that the other side has to show, and the one it is asked for by, are the host that was decided about; nobody gives
//! another. Versions are 1.2 and 1.3. Nothing is resumed: a session of one subject would be known to the next. Who is believed
//! is the list of authorities in the program, or what the program says; the environment and the system's files say nothing.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::access::{Host, NetVerb, Subject};

use super::{Connection, End, NetError, Network};

/// Who is believed about who somebody is.
#[derive(Clone)]
pub struct Trust(RootCertStore);

/// A certificate that cannot be believed in.
#[derive(Debug, thiserror::Error)]
#[error("believe in a certificate")]
pub struct TrustError(#[source] rustls::Error);

/// What is said at the beginning: of any stream, and of one for HTTP.
#[derive(Clone)]
pub(super) struct Configs {
    any: Arc<ClientConfig>,
    #[cfg(feature = "http")]
    http: Arc<ClientConfig>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Anything,
    #[cfg(feature = "http")]
    Http,
}

impl Trust {
    /// The authorities of the public web, as they were when the program was built.
    pub fn web() -> Self {
        Self(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// Nobody.
    pub fn nobody() -> Self {
        Self(RootCertStore::empty())
    }

    /// The same and one authority more, by its certificate in DER.
    pub fn and(mut self, certificate: &[u8]) -> Result<Self, TrustError> {
        self.0.add(CertificateDer::from(certificate.to_vec())).map_err(TrustError)?;
        Ok(self)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} authorities)", self.0.roots.len())
    }
}

impl fmt::Debug for Configs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configs").finish_non_exhaustive()
    }
}

impl Configs {
    pub(super) fn new(trust: Trust) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for the default versions")
            .with_root_certificates(trust.0)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        #[cfg(feature = "http")]
        let http = {
            let mut config = config.clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Arc::new(config)
        };
        Self {
            any: Arc::new(config),
            #[cfg(feature = "http")]
            http,
        }
    }
}

impl Network {
    /// Opens an encrypted stream to `host:port`, which has to show that it is that host. Takes what [`Network::connect`] takes.
    ///
    /// Dropped half-way, what was opened is closed, and the log says that nobody knows what came of it.
    pub async fn connect_tls(&self, subject: &Subject, end: &str) -> Result<Connection, NetError> {
        let end = self.read(subject, "net.connect-tls", End::parse(end)).await?;
        let what = (NetVerb::Connect, "net.connect-tls", 0);
        let max = self.limits.addresses_max;
        let (permit, there) = self.reach(subject, what, &end, |_| true, max).await?;
        permit
            .perform_from_task(async |_| {
                let open = self.open()?;
                let deadline = self.connect_deadline();
                let dialled = self.dial(&end, &there, deadline).await?;
                self.encrypt(&end, dialled, open, deadline, Speaks::Anything).await
            })
            .await
    }

    pub(super) async fn encrypt(
        &self,
        end: &End,
        (stream, peer): (TcpStream, SocketAddr),
        open: OwnedSemaphorePermit,
        deadline: Instant,
        speaks: Speaks,
    ) -> Result<Connection, NetError> {
        let config = match speaks {
            Speaks::Anything => &self.tls.any,
            #[cfg(feature = "http")]
            Speaks::Http => &self.tls.http,
        };
        let name = match &end.host {
            Host::Named(name) => ServerName::try_from(name.as_str().to_owned()).map_err(|error| {
                NetError::Tls { end: end.to_string(), source: std::io::Error::other(error) }
            })?,
            Host::Address(address) => ServerName::IpAddress((*address).into()),
        };
        match timeout_at(deadline, TlsConnector::from(config.clone()).connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(Connection::of_tls(stream, peer, open)),
            Ok(Err(source)) => Err(NetError::Tls { end: end.to_string(), source }),
            Err(_) => Err(NetError::TimedOut {
                action: "agree on encryption with",
                end: end.to_string(),
                after: self.limits.connect_timeout,
            }),
        }
    }
}
