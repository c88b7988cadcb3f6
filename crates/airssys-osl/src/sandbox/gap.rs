//! Where the kernel's wall and the policy differ, said one by one.
//!
//! Landlock knows folders and ports, and rights that are allowed. It knows no rule that denies, no pattern, no host and no
//! argument. Every place where that makes a difference is a [`Gap`]; what no gap is about, the kernel and the policy decide
//! alike.

use std::fmt;

use crate::access::{Access, FilePath, FileVerb, Name, NetVerb, RelPath};

/// One difference between a wall and the policy it was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Which of the two allows more.
    pub side: Side,
    /// Why they differ.
    pub kind: GapKind,
    /// What this is about.
    pub place: Place,
    /// The rule that the kernel cannot know as it is, if it is one; the first, if several are.
    pub rule: Option<String>,
    /// How many more rules there are like it.
    pub more: usize,
}

/// Which of the two allows more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The kernel lets pass what the policy denies.
    Wider,
    /// The kernel stops what the policy allows.
    Narrower,
}

/// What a gap is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Some verbs at a path and below; without verbs, moving and linking what is there.
    Files {
        /// The root.
        root: Name,
        /// The folder or file in it.
        path: RelPath,
        /// What is done there.
        verbs: Vec<FileVerb>,
    },
    /// Some ports; without a verb, sockets that have none.
    Net {
        /// What is done.
        verb: Option<NetVerb>,
        /// The first and the last port.
        ports: (u16, u16),
    },
    /// A program or a folder of the system, by its path.
    System(String),
    /// Everything there is.
    Everywhere(Vec<FileVerb>),
}

macro_rules! kinds {
    ($(#[$of:meta])* $name:ident { $($(#[$doc:meta])* $kind:ident = $text:literal,)+ }) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $kind,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// In a few words.
            pub fn text(self) -> &'static str {
                match self { $(Self::$kind => $text,)+ }
            }
        }
    };
}

kinds! {
    /// Why the kernel and the policy differ.
    GapKind {
        /// A rule denies something inside of a folder that is allowed.
        Denied = "what is denied inside is not denied",
        /// A rule covers some names of a folder, and the kernel knows whole folders only.
        Pattern = "all names there are taken, not only some",
        /// A rule does not cover names that begin with a dot.
        Hidden = "hidden names are taken too",
        /// To put a whole new file in the place of an old one takes, for the kernel, the right to list and to remove.
        Replacing = "replacing files takes the right to list and remove",
        /// Who may create files may give those there a second name in their folder.
        HardLinks = "files get second names in their folder",
        /// Who may create and remove may rename without more, folders too.
        Renames = "files and folders are renamed",
        /// Files with several names, FIFOs and devices are files like others.
        OddFiles = "files with several names, FIFOs and devices are opened",
        /// The kernel's wall does not know this: looking whether something is there, modes, owners, times, watching.
        Unhandled = "not known to the wall, as are modes, owners and times",
        /// What is allowed lies in a folder that was not there when the wall was built.
        Missing = "it was not there when the wall was built",
        /// A folder that is granted whole is itself neither made nor removed.
        Itself = "the folder itself is neither made nor removed",
        /// Files are not moved into a folder where more is allowed.
        Moves = "files are not moved to where more is allowed",
        /// A rule covers what cannot be granted without granting more; what is there was granted one by one, and what comes later
        /// is not.
        Uncovered = "only what was there is granted, and no more than files",
        /// A port is open to every host.
        Hosts = "every host is reached by this port",
        /// More ports than are listed one by one.
        Ports = "ports are not told apart",
        /// Datagrams are not looked at.
        Datagrams = "datagrams are not told apart",
        /// Sockets of other kinds than TCP and UDP, and ways to connect that the wall does not see.
        OtherSockets = "sockets of other kinds are not stopped",
        /// Sockets of this machine that have a path.
        UnixSockets = "sockets that have a path are reached",
        /// A socket that listens without a port of its choice is given one.
        FreePorts = "a socket listens at a port that it is given",
        /// A program is allowed with any arguments.
        Arguments = "it runs with any arguments",
        /// Something was granted beside the policy.
        Beside = "granted beside the policy",
        /// This kernel is too old to know it.
        OldKernel = "this kernel does not know it",
    }
}

impl Gap {
    pub(super) fn new(side: Side, kind: GapKind, place: Place) -> Self {
        Self { side, kind, place, rule: None, more: 0 }
    }

    pub(super) fn of_rule(mut self, rule: impl fmt::Display) -> Self {
        self.rule = Some(rule.to_string());
        self
    }

    /// Whether this is about such an access.
    pub fn is_about(&self, access: &Access) -> bool {
        match (&self.place, access) {
            (
                Place::Files { root, path, verbs },
                Access::File { verb, path: FilePath { root: asked, path: below } },
            ) => root == asked && verbs.contains(verb) && is_at_or_below(below.as_str(), path.as_str()),
            (Place::Everywhere(verbs), Access::File { verb, .. }) => verbs.contains(verb),
            (Place::Net { verb, ports }, Access::Net { verb: asked, port, .. }) => {
                verb.is_none_or(|verb| verb == *asked)
                    && port.is_none_or(|port| (ports.0..=ports.1).contains(&port.get()))
            }
            (Place::System(path), Access::Run { program, .. }) => **path == **program,
            (Place::Files { .. } | Place::Net { .. } | Place::System(_) | Place::Everywhere(_), _) => false,
        }
    }
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    folder.is_empty()
        || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Side::Wider => "the kernel allows more",
            Side::Narrower => "the kernel allows less",
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.side.word(), self.place, self.kind.text())?;
        match (&self.rule, self.more) {
            (None, _) => Ok(()),
            (Some(rule), 0) => write!(f, ": {rule}"),
            (Some(rule), more) => write!(f, ": {rule}, and {more} more"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |verbs: &[FileVerb]| verbs.iter().map(|verb| verb.word()).collect::<Vec<_>>().join(",");
        match self {
            Place::Files { root, path, verbs } => {
                write!(f, "{}", FilePath { root: root.clone(), path: path.clone() })?;
                if verbs.is_empty() { Ok(()) } else { write!(f, " {}", words(verbs)) }
            }
            Place::Net { verb, ports } => {
                f.write_str(verb.map_or("sockets", NetVerb::word))?;
                match ports {
                    (1, u16::MAX) => Ok(()),
                    (first, last) if first == last => write!(f, " port {first}"),
                    (first, last) => write!(f, " ports {first}-{last}"),
                }
            }
            Place::System(path) => write!(f, "{}", path.escape_debug()),
            Place::Everywhere(verbs) => write!(f, "everywhere {}", words(verbs)),
        }
    }
}
