//! What is to be run, and what came of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::sandbox::{Confinement, Requirement};

/// A program to be run: what, with what, where, and for how long. Nothing of the host reaches it unless it is said here: no
/// variable, no folder, no descriptor.
#[derive(Clone)]
#[must_use = "nothing runs until `Programs` runs it"]
pub struct Program {
    pub(super) path: String,
    pub(super) digest: Option<[u8; 32]>,
    pub(super) args: Vec<String>,
    pub(super) variables: Vec<(String, Value)>,
    pub(super) folder: Option<String>,
    pub(super) input: Vec<u8>,
    pub(super) limits: Limits,
    pub(super) confinement: Option<(Arc<Confinement>, Requirement)>,
}

/// Where the value of a variable comes from.
#[derive(Clone)]
pub(super) enum Value {
    Given(String),
    /// The host's variable of the same name, if it has one.
    Host,
}

/// How much a program may take. Each bound is hard, the number of processes where [`Means::processes`](crate::Means) says by
/// what: a program cannot lift it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run by the clock; then its whole tree is killed. A minute.
    pub timeout: Duration,
    /// Processor time of each of its processes, in seconds. A minute.
    pub cpu_seconds_max: u64,
    /// Address space of each of its processes, in bytes. 4 GiB.
    pub memory_bytes_max: u64,
    /// Largest file it may write, in bytes. 1 GiB.
    pub file_bytes_max: u64,
    /// Files and sockets that each of its processes may have open. 256.
    pub open_files_max: u64,
    /// Processes and threads of the whole tree. 64. [`Means::processes`] says by what this is held.
    pub processes_max: u64,
    /// Bytes that are kept of its output, and as many of what it says on the side, where these are collected. 1 MiB.
    pub output_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            cpu_seconds_max: 60,
            memory_bytes_max: 4 << 30,
            file_bytes_max: 1 << 30,
            open_files_max: 256,
            processes_max: 64,
            output_bytes_max: 1 << 20,
        }
    }
}

impl Program {
    /// A program by its absolute path, or by a bare name that is looked for in the folders of [`Programs`](crate::Programs) and
    /// nowhere else. Without arguments, variables and input; in `/`; with the default [`Limits`].
    pub fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            digest: None,
            args: Vec::new(),
            variables: Vec::new(),
            folder: None,
            input: Vec::new(),
            limits: Limits::default(),
            confinement: None,
        }
    }

    /// Only if its file has this BLAKE3 digest. What was digested is what runs, whatever becomes of the file meanwhile: a sealed
    /// copy of it. A program that looks for things beside its own file does not find them then.
    pub fn pinned(self, digest: [u8; 32]) -> Self {
        Self { digest: Some(digest), ..self }
    }

    /// One argument more.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// More arguments.
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// A variable with this value. One that decides what code programs load, such as `LD_PRELOAD`, `PATH` or `HOME`, takes `env`
    /// by a rule that writes its name.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), Value::Given(value.to_owned())));
        self
    }

    /// The host's variable of this name, if it has one. Takes `env`.
    pub fn host_variable(mut self, name: &str) -> Self {
        self.variables.push((name.to_owned(), Value::Host));
        self
    }

    /// Begins in this folder, `root:path`. Takes `list`, as a program sees what is in the folder that it stands in; what it can
    /// open there is up to the system.
    pub fn folder(self, path: &str) -> Self {
        Self { folder: Some(path.to_owned()), ..self }
    }

    /// What it reads from its standard input. Nothing otherwise: it finds the end at once.
    pub fn input(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { input: bytes.into(), ..self }
    }

    /// Within this second wall, put up in its process just before it begins. Where the kernel lacks a part of the wall that
    /// must be there, the program does not start. [`Confinement::report`] says what holds.
    pub fn confined_by(self, confinement: Arc<Confinement>, requirement: Requirement) -> Self {
        Self { confinement: Some((confinement, requirement)), ..self }
    }

    /// Other limits.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same limits with another time to run.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }
}

impl fmt::Debug for Program {
    /// Without values of variables and without input, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.variables.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Program")
            .field("path", &self.path)
            .field("args", &self.args)
            .field("variables", &names)
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status; 0 means success to most.
    Code(i32),
    /// By a signal of this number.
    Signal(i32),
}

/// A program that ended by itself, or as much of one as came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote to its standard output; nothing if that was streamed.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error; nothing if that was streamed.
    pub stderr: Vec<u8>,
    /// What held it.
    pub means: Means,
}

/// By which means a run was held, for whoever wants to know how strong that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Means {
    /// What makes its whole tree end.
    pub tree: Boundary,
    /// What bounds the number of its processes; `None` if nothing does, or nothing that it could not lift.
    pub processes: Option<Boundary>,
    /// It has user ids of its own, and no right over processes outside.
    pub has_own_users: bool,
    /// It sees the processes of the host in `/proc`, or may change there or in `/sys` what its user may. Otherwise both are its own
    /// or to be read alone.
    pub sees_host: bool,
}

/// A means to hold a tree of processes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Boundary {
    /// A namespace: nothing in it outlives its first process, and the system itself sees to that.
    Namespace,
    /// A control group; descendants that left it are looked for as well.
    Cgroup,
    /// Looking for descendants until there are none: one that left its session and whose parent ended first is not found.
    Search,
}

/// Which way a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What can be said to a running program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// End, please.
    Terminate,
    /// Stop what you are doing.
    Interrupt,
    /// Your other end is gone; by custom, read your configuration again.
    Hangup,
    /// What the program makes of it.
    User1,
    /// What the program makes of it.
    User2,
    /// End, all of the tree, at once.
    Kill,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit status {code}"),
            Exit::Signal(number) => write!(f, "signal {number}"),
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Stdout => "standard output",
            Stream::Stderr => "standard error",
        })
    }
}
