//! What somebody wants of the operating system, parsed once at the border and normalised.
//!
//! An [`Access`] is compared with rules and shown in records; what it names is what the effect uses, so there is no second
//! reading of a text that could come to another result. Texts that can be read in two ways are refused, not repaired: a path
//! with `..`, a host written as a strange number.

pub(crate) mod net;
mod path;
mod shown;
pub(crate) mod variable;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use net::{AddressKind, Host, HostError, HostName, Port};
pub use path::{FilePath, PathError, RelPath};

/// Longest name of a subject, a root, a variable, a secret or an operation of the user, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Who wants something. Made by the host from what it knows, never from what a request says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

/// A word that stands for something: letters, digits and `. _ - / @ #`, no empty part between slashes, no part of dots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why a text is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no character.
    #[error("a name is not empty")]
    Empty,
    /// It is too long.
    #[error("a name has at most {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// It has a character that is not for names.
    #[error("a name has letters a to z, digits and `. _ - / @ #`, not {found:?}")]
    Character {
        /// The first such character.
        found: char,
    },
    /// A part between slashes is empty or consists of dots.
    #[error("no part of a name is empty or made of dots")]
    Part,
}

impl Name {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let is_for_names =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '@' | '#');
        if let Some(found) = text.chars().find(|c| !is_for_names(*c)) {
            return Err(NameError::Character { found });
        }
        if text.split('/').any(|part| part.chars().all(|c| c == '.')) {
            return Err(NameError::Part);
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Subject {
    /// A subject of this name.
    pub fn new(name: Name) -> Self {
        Self(name.0)
    }

    /// As [`Subject::new`], from a text.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Name::parse(text).map(Self::new)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing that somebody wants. An operation may need several, and is admitted only with all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Something with a file or folder.
    File {
        /// What.
        verb: FileVerb,
        /// Of which.
        path: FilePath,
    },
    /// Something with the network.
    Net {
        /// What.
        verb: NetVerb,
        /// The other end, or for [`NetVerb::Listen`] and [`NetVerb::Bind`] the own one.
        host: Host,
        /// The port there. None for [`NetVerb::Resolve`], and for an own end whose port the system picks.
        port: Option<Port>,
    },
    /// Something with the network by a name, at the address that the name was looked up as.
    NetAt {
        /// What: [`NetVerb::Connect`] or [`NetVerb::Send`].
        verb: NetVerb,
        /// The other end, as it was named.
        name: HostName,
        /// The port there.
        port: Port,
        /// Where the name leads.
        address: IpAddr,
    },
    /// Something with a socket that is a file.
    Unix {
        /// What.
        verb: UnixVerb,
        /// Which.
        path: FilePath,
    },
    /// To start a program.
    Run {
        /// The program, as an absolute path that was resolved.
        program: Arc<str>,
        /// Its arguments without its name.
        args: Vec<Arc<str>>,
    },
    /// To read a variable of the environment.
    Env {
        /// Its name.
        name: Name,
    },
    /// To read a secret.
    Secret {
        /// Its name.
        name: Name,
    },
    /// To use something of the host that has no name.
    Host {
        /// What.
        what: HostFacility,
    },
    /// Something that an operation of the user's own does.
    Own {
        /// What, as the operation calls it.
        verb: Name,
        /// To what.
        name: Name,
    },
}

/// Why a text is no access.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Its first word is no verb.
    #[error(
        "an access begins with a verb such as `read`, `connect`, `unix-connect`, `run`, `env`, `secret`, `host` or `own`"
    )]
    Verb,
    /// There is nothing after the verb, or too much.
    #[error(
        "write `read root:path`, `connect host:port`, `connect name:port at address`, `unix-connect root:path`, `run /program args`, `env NAME`, `secret NAME`, `host clock` or `own VERB NAME`"
    )]
    Shape,
    /// The path is none.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The host is none.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Access {
    /// Reads an access as people write it: the verb and what it is done to. Arguments of a program are separated by spaces; one
    /// with spaces stands in double quotes, with `\` before a quote or backslash that is meant.
    pub fn parse(text: &str) -> Result<Self, AccessError> {
        let (word, rest) = text.trim_start().split_once(' ').ok_or(AccessError::Shape)?;
        // A name may end with a space.
        if let Some(verb) = FileVerb::of_word(word) {
            return Ok(Access::File { verb, path: FilePath::parse(rest.trim_start())? });
        }
        if let Some(verb) = UnixVerb::of_word(word) {
            return Ok(Access::Unix { verb, path: FilePath::parse(rest.trim_start())? });
        }
        let rest = rest.trim();
        if let Some(verb) = NetVerb::of_word(word) {
            return Self::parse_net(verb, rest);
        }
        match word {
            "run" => {
                let mut words = arguments(rest).ok_or(AccessError::Shape)?.into_iter();
                let program =
                    words.next().filter(|program| program.starts_with('/')).ok_or(AccessError::Shape)?;
                Ok(Access::Run { program, args: words.collect() })
            }
            "env" => Ok(Access::Env { name: Name::parse(rest)? }),
            "secret" => Ok(Access::Secret { name: Name::parse(rest)? }),
            "host" => Ok(Access::Host { what: HostFacility::of_word(rest).ok_or(AccessError::Shape)? }),
            "own" => {
                let (verb, name) = rest.split_once(' ').ok_or(AccessError::Shape)?;
                Ok(Access::Own { verb: Name::parse(verb)?, name: Name::parse(name.trim())? })
            }
            _ => Err(AccessError::Verb),
        }
    }

    fn parse_net(verb: NetVerb, rest: &str) -> Result<Self, AccessError> {
        let (end, at) = match rest.split_once(" at ") {
            Some((end, at)) => (end, Some(at)),
            None => (rest, None),
        };
        let (host, port) = match verb {
            NetVerb::Resolve => (end, None),
            NetVerb::Connect | NetVerb::Listen | NetVerb::Send | NetVerb::Bind => {
                let (host, port) = end.rsplit_once(':').ok_or(AccessError::Shape)?;
                // `::1` without brackets would lose its end to the port.
                if host.contains(':') && !host.starts_with('[') {
                    return Err(AccessError::Shape);
                }
                match port {
                    "*" if verb.is_of_own_end() => (host, None),
                    port => (host, Some(net::port(port).ok_or(AccessError::Shape)?)),
                }
            }
        };
        match (Host::parse(host)?, at, port) {
            // An own end is an address.
            (Host::Named(_), ..) if verb.is_of_own_end() => Err(AccessError::Shape),
            (host, None, port) => Ok(Access::Net { verb, host, port }),
            (Host::Named(name), Some(at), Some(port)) if !verb.is_of_own_end() => match Host::parse(at)? {
                Host::Address(address) => Ok(Access::NetAt { verb, name, port, address }),
                Host::Named(_) => Err(AccessError::Shape),
            },
            (_, Some(_), _) => Err(AccessError::Shape),
        }
    }
}

/// Words between spaces; `None` if a quote is not closed.
fn arguments(text: &str) -> Option<Vec<Arc<str>>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' if quoted => word.get_or_insert_default().push(chars.next()?),
            ' ' if !quoted => words.extend(word.take().map(Arc::from)),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word.map(Arc::from));
    (!quoted).then_some(words)
}

macro_rules! words {
    ($(#[$of:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, with the word that policies and records have for each.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant),)+];

            /// What this word stands for.
            pub fn of_word(text: &str) -> Option<Self> {
                Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant)
            }

            /// The word for it.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// What is done with a file or folder.
    FileVerb {
        /// Its content is read.
        Read = "read",
        /// Content of an existing file is changed, lengthened or cut.
        Write = "write",
        /// It comes into being.
        Create = "create",
        /// It goes.
        Remove = "remove",
        /// Whether it exists, its size and its times are read.
        Stat = "stat",
        /// The names in a folder are read.
        List = "list",
        /// Another name is made for it, or it is made as a link.
        Link = "link",
        /// Changes are told.
        Watch = "watch",
    }
}

words! {
    /// What is done with the network.
    NetVerb {
        /// A stream is opened.
        Connect = "connect",
        /// Streams are accepted.
        Listen = "listen",
        /// Datagrams are sent.
        Send = "send",
        /// Datagrams are received.
        Bind = "bind",
        /// A name is looked up.
        Resolve = "resolve",
    }
}

impl NetVerb {
    /// Whether it is done with an end of this machine.
    pub(crate) fn is_of_own_end(self) -> bool {
        match self {
            NetVerb::Listen | NetVerb::Bind => true,
            NetVerb::Connect | NetVerb::Send | NetVerb::Resolve => false,
        }
    }
}

words! {
    /// What is done with a socket that is a file.
    UnixVerb {
        /// A stream is opened.
        Connect = "unix-connect",
        /// The socket comes into being, and streams are accepted.
        Listen = "unix-listen",
    }
}

words! {
    /// What of the host is used.
    HostFacility {
        /// The time of day and the monotonic clock.
        Clock = "clock",
        /// Random bytes.
        Random = "random",
        /// Which machine this is: system, memory, processors, name.
        Info = "info",
    }
}

impl fmt::Display for Access {
    /// One line that shows everything, with control and invisible characters escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Access::File { verb, path } => write!(f, "{} {path}", verb.word()),
            Access::Net { verb, host, port: Some(port) } => write!(f, "{} {host}:{port}", verb.word()),
            Access::Net { verb, host, port: None } => {
                let any = if verb.is_of_own_end() { ":*" } else { "" };
                write!(f, "{} {host}{any}", verb.word())
            }
            Access::NetAt { verb, name, port, address } => {
                let at = Host::of_address(*address);
                write!(f, "{} {}:{port} at {at}", verb.word(), name.as_str())
            }
            Access::Unix { verb, path } => write!(f, "{} {path}", verb.word()),
            Access::Run { program, args } => {
                write!(f, "run {}", program.escape_debug())?;
                args.iter().try_for_each(|arg| write!(f, " \"{}\"", Quoted(arg)))
            }
            Access::Env { name } => write!(f, "env {name}"),
            Access::Secret { name } => write!(f, "secret {name}"),
            Access::Host { what } => write!(f, "host {}", what.word()),
            Access::Own { verb, name } => write!(f, "own {verb} {name}"),
        }
    }
}

/// A text on one line; what `escape_debug` escapes is escaped.
pub(crate) struct Escaped<'t>(pub(crate) &'t str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
        // Most have nothing to escape, and are shown much faster in one piece.
        match self.0.bytes().all(is_plain) {
            true => f.write_str(self.0),
            false => write!(f, "{}", self.0.escape_debug()),
        }
    }
}

/// A text in quotes, on one line; what cannot be seen is escaped.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|c| match c {
            '"' | '\\' => write!(f, "\\{c}"),
            '\'' => f.write_char(c),
            c => write!(f, "{}", c.escape_debug()),
        })
    }
}
