//! How names become addresses.
//!
//! The system's way is `getaddrinfo`, which keeps to what the owner of the machine configured: its files, its servers and its
//! list of suffixes. A program that brings its own names says so with a list or a function. Whatever the way, an answer is
//! decided about before anything is sent there, so a resolver that lies gains nothing.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::access::HostName;

/// How names are looked up. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Way);

#[derive(Clone)]
enum Way {
    System,
    Fixed(Arc<HashMap<HostName, Vec<IpAddr>>>),
    Custom(Arc<Ask>),
}

type Ask = dyn Fn(&HostName) -> io::Result<Vec<IpAddr>> + Send + Sync;

impl Resolver {
    /// As the system does it.
    pub fn system() -> Self {
        Self(Way::System)
    }

    /// These names and no others.
    pub fn fixed(names: impl IntoIterator<Item = (HostName, Vec<IpAddr>)>) -> Self {
        Self(Way::Fixed(Arc::new(names.into_iter().collect())))
    }

    /// By a function, which may block: it is called on a thread for that.
    pub fn custom(ask: impl Fn(&HostName) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self(Way::Custom(Arc::new(ask)))
    }

    /// Asks once. The right to ask goes with the thread, so that those who gave up waiting leave no more threads than `lookups`
    /// has rights.
    pub(super) async fn look_up(&self, name: &HostName, lookups: &Arc<Semaphore>) -> io::Result<Vec<IpAddr>> {
        let ask: Arc<Ask> = match &self.0 {
            Way::System => Arc::new(|name| {
                Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
            }),
            Way::Fixed(names) => {
                return names.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into());
            }
            Way::Custom(ask) => ask.clone(),
        };
        let right = lookups.clone().acquire_owned().await.map_err(io::Error::other)?;
        let name = name.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let _right = right;
            ask(&name)
        });
        asked.await.map_err(io::Error::other)?
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Way::System => "Resolver(system)",
            Way::Fixed(_) => "Resolver(fixed)",
            Way::Custom(_) => "Resolver(custom)",
        })
    }
}
