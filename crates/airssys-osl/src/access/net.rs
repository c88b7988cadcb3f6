//! Hosts and ports, in one spelling.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

/// Longest host name in bytes, without a dot at its end.
const HOST_BYTES_MAX: usize = 253;
/// Longest label of a host name in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A port. Zero is none.
pub type Port = NonZeroU16;

/// A port in decimal, without a sign or leading zeros.
pub(crate) fn port(text: &str) -> Option<Port> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

/// One end of a connection, as it was named.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// By a name.
    Named(HostName),
    /// By an address. One of IPv4 within IPv6 is one of IPv4.
    Address(IpAddr),
}

/// A host's name in lower-case ASCII, without a dot at its end, and no address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

impl HostName {
    /// Reads a name; an address is none.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        match Host::parse(text)? {
            Host::Named(name) => Ok(name),
            Host::Address(_) => Err(HostError::Label),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// It has no character.
    #[error("a host is not empty")]
    Empty,
    /// It or one of its labels is too long.
    #[error("a host has at most {HOST_BYTES_MAX} bytes in labels of at most {LABEL_BYTES_MAX}")]
    TooLong,
    /// A label is empty, has other characters than letters, digits and `-`, or begins or ends with `-`.
    #[error("a host has labels of letters, digits and `-`; write other scripts as `xn--` names")]
    Label,
    /// It looks like an address, but one that programs read differently.
    #[error("an address is written in full: four decimal numbers without leading zeros, or IPv6")]
    StrangeNumber,
    /// An address with a zone, which means another network on each machine.
    #[error("an address has no zone")]
    Zone,
}

impl Host {
    /// Reads a host name or an address; IPv6 with or without brackets.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        if let Some(inner) = bare.or_else(|| text.contains(':').then_some(text)) {
            if inner.contains('%') {
                return Err(HostError::Zone);
            }
            let address: Ipv6Addr = inner.parse().map_err(|_| HostError::StrangeNumber)?;
            return Ok(Self::of_address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::of_address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > HOST_BYTES_MAX {
            return Err(HostError::TooLong);
        }
        for label in name.split('.') {
            if label.len() > LABEL_BYTES_MAX {
                return Err(HostError::TooLong);
            }
            let is_plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if label.is_empty() || !is_plain || label.starts_with('-') || label.ends_with('-') {
                return Err(HostError::Label);
            }
        }
        // `127.1`, `0x7f.1`, `2130706433`: resolvers read these as addresses. No name ends in such a label.
        let last = name.rsplit('.').next().unwrap_or(name);
        let is_hex = last.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("0x"))
            && last[2..].bytes().all(|b| b.is_ascii_hexdigit());
        if is_hex || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(HostError::StrangeNumber);
        }
        Ok(Self::Named(HostName(name.to_ascii_lowercase().into())))
    }

    /// The host at this address.
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Named(name) => f.write_str(&name.0),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// What kind of network an address belongs to. A rule for a name reaches public addresses only, so that whoever owns the name
/// cannot point it inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressKind {
    /// Anywhere on the internet.
    Public,
    /// This machine.
    Loopback,
    /// The own network: private, link-local and shared ranges, and those of machines' metadata services.
    Private,
    /// Nothing one connects to: unspecified, multicast, broadcast, documentation, reserved.
    Special,
}

impl AddressKind {
    /// The kind of an address; of one that carries an IPv4 address for a translator, the kind of that.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [a, b, c, _] = address.octets();
        match (a, b, c) {
            (127, ..) => Self::Loopback,
            // A cloud's services for its machines, in a public range.
            (168, 63, 129) => Self::Private,
            (10, ..) | (172, 16..=31, _) | (192, 168, _) | (169, 254, _) | (100, 64..=127, _) => {
                Self::Private
            }
            (0, ..) | (224..=255, ..) => Self::Special,
            (192, 0, 0 | 2) | (192, 88, 99) | (198, 18..=19, _) | (198, 51, 100) | (203, 0, 113) => {
                Self::Special
            }
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        if let Some(inside) = embedded_v4(address) {
            return Self::of_v4(inside);
        }
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Special,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // NAT64 of a local network, Teredo, documentation, discard: translated or nowhere.
            [0x64, 0xff9b, 1, ..] | [0xfc00..=0xfdff, ..] | [0xfe80..=0xfeff, ..] => Self::Private,
            [0x2001, 0 | 0x10..=0x2f, ..]
            | [0x2001, 2, 0, ..]
            | [0x2001, 0xdb8, ..]
            | [0x3fff, 0..=0x0fff, ..]
            | [0x100, 0, 0, 0, ..] => Self::Special,
            [0xff00..=0xffff, ..] => Self::Special,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Special,
        }
    }
}

/// The address of IPv4 that one of IPv6 leads to: mapped, compatible, by NAT64 or by 6to4.
pub(crate) fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}
