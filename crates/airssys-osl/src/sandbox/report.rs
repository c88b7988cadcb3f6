//! What is in force after a thread or the process was confined: seen, not meant.
//!
//! Before the wall goes up, things are prepared that it must stop, and after it they are tried. What cannot be tried is said
//! to be unseen. The state of the filter of calls is read from the kernel's own account of the thread.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};

use super::gap::Gap;

/// What a thread, or the process, is confined by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The version of Landlock that the kernel has, or none.
    pub landlock_abi: Option<u32>,
    /// Reading, writing, making and removing files, and running programs.
    pub files: Seen,
    /// Connecting by TCP.
    pub connect: Seen,
    /// Binding to ports of TCP.
    pub bind: Seen,
    /// Connecting to sockets of this machine that have an abstract name.
    pub abstract_sockets: Seen,
    /// Signals to processes that are not confined by the same.
    pub signals: Seen,
    /// The wall's filter of system calls holds.
    pub calls_filtered: bool,
    /// Programs that are started get no more rights than their starter has.
    pub no_new_privileges: bool,
    /// All threads of the process are confined, and not only the one that asked.
    pub whole_process: bool,
    /// Where the kernel's wall and the policy differ.
    pub gaps: Vec<Gap>,
}

/// What was seen of one part of the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Something that it must stop was stopped.
    Holds,
    /// The kernel took it, and there was nothing to try it by.
    Untried,
    /// The kernel took it, and what it must stop was not stopped.
    Fails,
    /// The kernel does not know it.
    Absent,
    /// It was not asked for, because the policy allows all of it.
    NotAsked,
}

/// What the wall must stop, made ready before.
pub(super) struct Probe {
    status: Option<File>,
    lists_root: bool,
    stream: Option<OwnedFd>,
    other_stream: Option<OwnedFd>,
    listener: Option<(UnixListener, SocketAddr)>,
    signals: Option<rustix::process::Pid>,
}

/// What the probe found.
pub(super) struct Found {
    pub(super) files: Seen,
    pub(super) connect: Seen,
    pub(super) bind: Seen,
    pub(super) abstract_sockets: Seen,
    pub(super) signals: Seen,
}

impl Probe {
    pub(super) fn prepare() -> Self {
        let stream = || rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).ok();
        let listener = || {
            let mut name = [0; 16];
            crate::host::random_bytes(&mut name).ok()?;
            let address = SocketAddr::from_abstract_name(name).ok()?;
            Some((UnixListener::bind_addr(&address).ok()?, address))
        };
        Self {
            status: File::open("/proc/thread-self/status").ok(),
            lists_root: lists_root().is_ok(),
            stream: stream(),
            other_stream: stream(),
            listener: listener(),
            signals: rustix::process::getppid()
                .filter(|parent| rustix::process::test_kill_process(*parent).is_ok()),
        }
    }

    /// Tries what the wall must stop.
    pub(super) fn observe(&self) -> Found {
        let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let seen = |outcome: Result<(), Errno>, stopped: Errno| match outcome {
            Err(error) if error == stopped => Seen::Holds,
            Ok(()) | Err(_) => Seen::Fails,
        };
        let files = if self.lists_root { seen(lists_root(), Errno::ACCESS) } else { Seen::Untried };
        let bind =
            self.stream.as_ref().map(|stream| seen(rustix::net::bind(stream, &nowhere), Errno::ACCESS));
        let connect = self
            .other_stream
            .as_ref()
            .map(|stream| seen(rustix::net::connect(stream, &nowhere), Errno::ACCESS));
        let abstract_sockets =
            self.listener.as_ref().map(|(_, address)| match UnixStream::connect_addr(address) {
                Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => Seen::Holds,
                Ok(_) | Err(_) => Seen::Fails,
            });
        let signals =
            self.signals.map(|parent| seen(rustix::process::test_kill_process(parent), Errno::PERM));
        Found {
            files,
            connect: connect.unwrap_or(Seen::Untried),
            bind: bind.unwrap_or(Seen::Untried),
            abstract_sockets: abstract_sockets.unwrap_or(Seen::Untried),
            signals: signals.unwrap_or(Seen::Untried),
        }
    }

    /// Whether calls are filtered and new rights refused, as the kernel says of this thread.
    pub(super) fn account(&mut self) -> (bool, bool) {
        let mut text = String::new();
        let is_read = self.status.as_mut().is_some_and(|status| status.read_to_string(&mut text).is_ok());
        let says = |key: &str, value: &str| {
            is_read
                && text.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.trim() == value))
        };
        (says("Seccomp:", "2"), says("NoNewPrivs:", "1"))
    }
}

fn lists_root() -> Result<(), Errno> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(drop)
}

impl Seen {
    /// What is true of a part that was asked for or not, and that the kernel knows or not.
    pub(super) fn of(is_asked: bool, is_known: bool, found: Self) -> Self {
        match (is_asked, is_known) {
            (false, _) => Seen::NotAsked,
            (true, false) => Seen::Absent,
            (true, true) => found,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Seen::Holds => "holds",
            Seen::Untried => "taken by the kernel, not tried",
            Seen::Fails => "does not hold",
            Seen::Absent => "absent",
            Seen::NotAsked => "not asked for",
        }
    }
}

impl Report {
    /// The parts of the wall, with what was seen of each.
    pub fn parts(&self) -> [(&'static str, Seen); 5] {
        [
            ("files", self.files),
            ("connect", self.connect),
            ("bind", self.bind),
            ("abstract sockets", self.abstract_sockets),
            ("signals", self.signals),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |is: bool| if is { "yes" } else { "no" };
        match self.landlock_abi {
            Some(abi) => writeln!(f, "landlock: version {abi}")?,
            None => writeln!(f, "landlock: absent")?,
        }
        for (part, seen) in self.parts() {
            writeln!(f, "{part}: {}", seen.text())?;
        }
        writeln!(f, "system calls filtered: {}", yes(self.calls_filtered))?;
        writeln!(f, "no new privileges: {}", yes(self.no_new_privileges))?;
        writeln!(f, "whole process: {}", yes(self.whole_process))?;
        self.gaps.iter().try_for_each(|gap| writeln!(f, "{gap}"))
    }
}
