//! What one rule is about.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use crate::access::{
    Access, AddressKind, FileVerb, Host, HostError, HostFacility, Name, NetVerb, Port, UnixVerb,
};
use crate::access::{net, variable};

use super::Effect;
use super::pattern::{Hidden, Pattern, Word};

/// Kinds of scopes that are not files.
pub(super) const OTHERS: usize = 7;

/// The accesses that a rule covers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Files { root: Name, pattern: Pattern, verbs: Verbs, hidden: bool },
    Net { verb: NetVerb, hosts: Hosts, ports: RangeInclusive<u16>, private: bool },
    Unix { root: Name, pattern: Pattern, verb: Option<UnixVerb>, hidden: bool },
    Run { program: Arc<str>, args: Args },
    Env(Word),
    Secret(Pattern),
    Host(HostFacility),
    Own { verb: Name, names: Pattern },
}

/// What rules and accesses are kept and looked for by.
pub(super) enum Matter<'r> {
    /// Files, by their root.
    Files(&'r Name),
    /// Anything else, by a number below [`OTHERS`].
    Other(usize),
}

/// What a wall outside of this program can know of a rule.
pub(crate) enum Ground<'r> {
    /// Files, in this root.
    Files { root: &'r Name, pattern: &'r Pattern, verbs: Verbs, hidden: bool },
    /// Ports of the network, at every host there is or at some.
    Net { verb: NetVerb, ports: RangeInclusive<u16>, every_host: bool },
    /// A program, whatever its arguments or not.
    Run { program: &'r str, any_arguments: bool },
    /// What only this program knows of.
    Own,
}

/// A set of verbs for files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verbs(u16);

/// Hosts by name or by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hosts {
    /// Every name and every address.
    All,
    One(Host),
    /// Names with labels before this one, which begins with a dot.
    Below(Box<str>),
    Network(IpNet),
}

/// What may follow a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Args {
    first: Box<[Word]>,
    /// Whatever follows is covered too, if it is no option.
    rest: bool,
}

/// Why a text is no part of a rule about the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// It has no port.
    #[error("write a port, a range of ports or `*` after a colon: `example.com:443`")]
    NoPort,
    /// The port is none.
    #[error("a port is 1 to 65535, a range like `8000-8099`, or `*`")]
    Port,
    /// The host is none.
    #[error("{0}")]
    Host(#[from] HostError),
    /// A `*` that is not a whole first label.
    #[error("`*` stands alone, or before a dot and a name: `*.example.com`")]
    Star,
    /// An own end by a name.
    #[error("an own end is an address of this machine, a network or `*`, and no name")]
    OwnEnd,
    /// A network whose address has bits beside its mask.
    #[error("a network is written by its first address: `10.0.0.0/8`")]
    Network,
}

impl Scope {
    /// How a path begins that a rule about files can cover, if the rule says so.
    pub(super) fn first_part(&self) -> Option<&str> {
        if let Scope::Files { pattern, .. } = self { pattern.first_part() } else { None }
    }

    pub(super) fn ground(&self, effect: Effect) -> Ground<'_> {
        match self {
            Scope::Files { root, pattern, verbs, hidden } => {
                Ground::Files { root, pattern, verbs: *verbs, hidden: *hidden || effect == Effect::Deny }
            }
            Scope::Net { verb, hosts, ports, private } => Ground::Net {
                verb: *verb,
                ports: ports.clone(),
                every_host: *hosts == Hosts::All && (*private || effect == Effect::Deny),
            },
            Scope::Run { program, args } => {
                Ground::Run { program, any_arguments: args.first.is_empty() && effect == Effect::Deny }
            }
            Scope::Unix { .. } | Scope::Env(_) | Scope::Secret(_) | Scope::Host(_) | Scope::Own { .. } => {
                Ground::Own
            }
        }
    }

    pub(super) fn matter(&self) -> Matter<'_> {
        match self {
            Scope::Files { root, .. } => Matter::Files(root),
            Scope::Net { .. } => Matter::Other(0),
            Scope::Run { .. } => Matter::Other(1),
            Scope::Env(_) => Matter::Other(2),
            Scope::Secret(_) => Matter::Other(3),
            Scope::Host(_) => Matter::Other(4),
            Scope::Own { .. } => Matter::Other(5),
            Scope::Unix { .. } => Matter::Other(6),
        }
    }

    /// Whether an access is covered. What denies covers hidden names and private addresses without saying so.
    pub(super) fn covers(&self, access: &Access, effect: Effect) -> bool {
        let denies = effect == Effect::Deny;
        match (self, access) {
            // Rules of other roots are kept elsewhere.
            (Scope::Files { root: _, pattern, verbs, hidden }, Access::File { verb, path }) => {
                let hidden = if *hidden || denies { Hidden::Matched } else { Hidden::Named };
                verbs.has(*verb) && pattern.matches(path.path.as_str(), hidden)
            }
            (Scope::Net { verb, hosts, ports, private }, Access::Net { verb: wanted, host, port }) => {
                let fits = match port {
                    Some(port) => ports.contains(&port.get()),
                    None if wanted.is_of_own_end() => denies || *ports == (1..=u16::MAX),
                    None => denies || *wanted == NetVerb::Resolve,
                };
                verb == wanted
                    && fits
                    && match effect {
                        Effect::Deny => {
                            hosts.cover(host) || carried(host).is_some_and(|inside| hosts.cover(&inside))
                        }
                        Effect::Allow => {
                            hosts.cover(host) && (*private || hosts.names_its_network() || is_reachable(host))
                        }
                    }
            }
            (
                Scope::Net { verb, hosts, ports, private },
                Access::NetAt { verb: wanted, name, port, address },
            ) => {
                let (named, there) = (Host::Named(name.clone()), Host::of_address(*address));
                verb == wanted
                    && ports.contains(&port.get())
                    && match effect {
                        Effect::Deny => {
                            hosts.cover(&named)
                                || hosts.cover(&there)
                                || carried(&there).is_some_and(|inside| hosts.cover(&inside))
                        }
                        // A rule about addresses says nothing of names: whoever owns one could point it there.
                        Effect::Allow => {
                            hosts.cover(&named)
                                && match AddressKind::of(*address) {
                                    AddressKind::Public => true,
                                    AddressKind::Loopback | AddressKind::Private => *private,
                                    AddressKind::Special => false,
                                }
                        }
                    }
            }
            (Scope::Unix { root, pattern, verb, hidden }, Access::Unix { verb: wanted, path }) => {
                let hidden = if *hidden || denies { Hidden::Matched } else { Hidden::Named };
                verb.is_none_or(|verb| verb == *wanted)
                    && *root == path.root
                    && pattern.matches(path.path.as_str(), hidden)
            }
            (Scope::Run { program, args }, Access::Run { program: wanted, args: given }) => {
                program == wanted && args.cover(given, effect)
            }
            (Scope::Env(names), Access::Env { name }) => {
                let is_plain = denies || !names.is_open() || !variable::chooses_code(name.as_str());
                is_plain && names.matches(name.as_str())
            }
            (Scope::Secret(names), Access::Secret { name }) => names.matches(name.as_str(), Hidden::Matched),
            (Scope::Host(facility), Access::Host { what }) => facility == what,
            (Scope::Own { verb, names }, Access::Own { verb: wanted, name }) => {
                verb == wanted && names.matches(name.as_str(), Hidden::Matched)
            }
            (
                Scope::Files { .. }
                | Scope::Net { .. }
                | Scope::Unix { .. }
                | Scope::Run { .. }
                | Scope::Env(_)
                | Scope::Secret(_)
                | Scope::Host(_)
                | Scope::Own { .. },
                _,
            ) => false,
        }
    }
}

impl<'r> Matter<'r> {
    /// Of the rules that an access concerns.
    pub(super) fn of(access: &'r Access) -> Self {
        match access {
            Access::File { path, .. } => Matter::Files(&path.root),
            Access::Net { .. } | Access::NetAt { .. } => Matter::Other(0),
            Access::Run { .. } => Matter::Other(1),
            Access::Env { .. } => Matter::Other(2),
            Access::Secret { .. } => Matter::Other(3),
            Access::Host { .. } => Matter::Other(4),
            Access::Own { .. } => Matter::Other(5),
            Access::Unix { .. } => Matter::Other(6),
        }
    }
}

/// The host that a translator would lead to.
fn carried(host: &Host) -> Option<Host> {
    match host {
        Host::Address(IpAddr::V6(address)) => {
            net::embedded_v4(*address).map(|inside| Host::of_address(inside.into()))
        }
        Host::Address(IpAddr::V4(_)) | Host::Named(_) => None,
    }
}

/// A name is looked at again when its addresses are known.
fn is_reachable(host: &Host) -> bool {
    match host {
        Host::Named(_) => true,
        Host::Address(address) => AddressKind::of(*address) == AddressKind::Public,
    }
}

impl Verbs {
    pub(super) const ALL: Self = Self((1 << FileVerb::WORDS.len()) - 1);

    pub(super) fn of(verbs: impl IntoIterator<Item = FileVerb>) -> Self {
        Self(verbs.into_iter().fold(0, |set, verb| set | 1 << verb as u16))
    }

    pub(crate) fn has(self, verb: FileVerb) -> bool {
        self.0 & 1 << verb as u16 != 0
    }
}

impl Hosts {
    pub(super) fn parse(text: &str) -> Result<Self, RuleError> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(name) = text.strip_prefix("*.") {
            return match Host::parse(name)? {
                Host::Named(name) => Ok(Self::Below(format!(".{}", name.as_str()).into())),
                Host::Address(_) => Err(RuleError::Star),
            };
        }
        if text.contains('*') {
            return Err(RuleError::Star);
        }
        if text.contains('/') {
            // `[fc00::/7]` or `[fc00::]/7`: the brackets keep the port apart.
            let bare: String = text.chars().filter(|c| !matches!(c, '[' | ']')).collect();
            let network: IpNet = bare.parse().map_err(|_| RuleError::Network)?;
            let is_canonical =
                network.addr() == network.network() && network.addr().to_canonical() == network.addr();
            return if is_canonical { Ok(Self::Network(network)) } else { Err(RuleError::Network) };
        }
        Ok(Self::One(Host::parse(text)?))
    }

    fn cover(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::One(one), host) => one == host,
            (Self::Below(suffix), Host::Named(name)) => {
                name.as_str().ends_with(&**suffix) && name.as_str().len() > suffix.len()
            }
            (Self::Network(network), Host::Address(address)) => network.contains(address),
            (Self::Below(_), Host::Address(_)) | (Self::Network(_), Host::Named(_)) => false,
        }
    }

    /// Whoever writes an address means it, wherever it is.
    fn names_its_network(&self) -> bool {
        match self {
            Self::One(Host::Address(_)) => true,
            // One network of its own, and not a part of everything.
            Self::Network(network) => {
                let kind = AddressKind::of(network.network());
                kind != AddressKind::Public
                    && kind == AddressKind::of(network.broadcast())
                    && network.prefix_len() > 6
            }
            Self::All | Self::Below(_) | Self::One(Host::Named(_)) => false,
        }
    }

    /// What an own end can be: no name is one.
    pub(super) fn of_own_end(self) -> Result<Self, RuleError> {
        match self {
            Self::All | Self::One(Host::Address(_)) | Self::Network(_) => Ok(self),
            Self::One(Host::Named(_)) | Self::Below(_) => Err(RuleError::OwnEnd),
        }
    }

    pub(super) fn is_broad(&self) -> bool {
        match self {
            Self::All => true,
            Self::Network(IpNet::V4(network)) => network.prefix_len() < 8,
            Self::Network(IpNet::V6(network)) => network.prefix_len() < 16 && !self.names_its_network(),
            Self::One(_) | Self::Below(_) => false,
        }
    }
}

/// `host:ports`.
pub(super) fn hosts_and_ports(text: &str) -> Result<(Hosts, RangeInclusive<u16>), RuleError> {
    let (hosts, ports) = text.rsplit_once(':').ok_or(RuleError::NoPort)?;
    // `::1` without brackets would lose its end to the port.
    if hosts.contains(':') && !hosts.starts_with('[') {
        return Err(RuleError::NoPort);
    }
    let port = |text: &str| net::port(text).map(Port::get).ok_or(RuleError::Port);
    let ports = match ports.split_once('-') {
        _ if ports == "*" => 1..=u16::MAX,
        Some((first, last)) => port(first)?..=port(last)?,
        None => port(ports)?..=port(ports)?,
    };
    if ports.is_empty() {
        return Err(RuleError::Port);
    }
    Ok((Hosts::parse(hosts)?, ports))
}

impl Args {
    /// `**` at the end stands for any further arguments.
    pub(super) fn new(mut words: Vec<Word>, rest: bool) -> Self {
        words.shrink_to_fit();
        Self { first: words.into(), rest }
    }

    /// What allows has to cover every argument, and an option only where it is written as one. What denies is enough with its
    /// own arguments at the beginning.
    fn cover(&self, args: &[Arc<str>], effect: Effect) -> bool {
        let Some((first, rest)) = args.split_at_checked(self.first.len()) else {
            return false;
        };
        let mut pairs = self.first.iter().zip(first);
        match effect {
            Effect::Deny => pairs.all(|(word, arg)| word.matches(arg)),
            Effect::Allow => {
                pairs.all(|(word, arg)| word.matches_argument(arg))
                    && (rest.is_empty() || self.rest && rest.iter().all(|arg| !arg.starts_with('-')))
            }
        }
    }

    /// Some argument is not written out.
    pub(super) fn is_open(&self) -> bool {
        self.rest || self.first.iter().any(Word::is_open)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Files { root, pattern, verbs, hidden } => {
                write!(f, "files {root}:{pattern} {verbs}{}", if *hidden { " hidden" } else { "" })
            }
            Scope::Net { verb, hosts, ports, private } => {
                write!(f, "{} {hosts}", verb.word())?;
                if *verb != NetVerb::Resolve {
                    match (ports.start(), ports.end()) {
                        (1, &u16::MAX) => f.write_str(":*")?,
                        (first, last) if first == last => write!(f, ":{first}")?,
                        (first, last) => write!(f, ":{first}-{last}")?,
                    }
                }
                f.write_str(if *private { " private" } else { "" })
            }
            Scope::Unix { root, pattern, verb, hidden } => {
                let word = verb.map_or("unix", UnixVerb::word);
                write!(f, "{word} {root}:{pattern}{}", if *hidden { " hidden" } else { "" })
            }
            Scope::Run { program, args } => {
                write!(f, "run {}", program.escape_debug())?;
                args.first.iter().try_for_each(|word| write!(f, " {word}"))?;
                f.write_str(if args.rest { " **" } else { "" })
            }
            Scope::Env(names) => write!(f, "env {names}"),
            Scope::Secret(names) => write!(f, "secret {names}"),
            Scope::Host(facility) => write!(f, "host {}", facility.word()),
            Scope::Own { verb, names } => write!(f, "own {verb} {names}"),
        }
    }
}

impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (word, verb) in FileVerb::WORDS.iter().filter(|(_, verb)| self.has(*verb)) {
            debug_assert_eq!(verb.word(), *word);
            write!(f, "{separator}{word}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::One(host) => write!(f, "{host}"),
            Self::Below(suffix) => write!(f, "*{suffix}"),
            Self::Network(network @ IpNet::V4(_)) => write!(f, "{network}"),
            Self::Network(network @ IpNet::V6(_)) => write!(f, "[{network}]"),
        }
    }
}
