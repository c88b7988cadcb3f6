//! Programs behind the gate: what is run is exactly what was allowed, with nothing of the host but what was said, and all of it
//! ends.
//!
//! A program is resolved to the path that the policy sees, opened there and started by that descriptor. It gets no variable,
//! descriptor, terminal or right of the host, has hard limits, and ends with its whole tree when its first process does, when its
//! time is over, when it says too much, and when nobody waits for it any more. When the host is killed its first process ends, unless
//! it asked the system not to, which a confinement refuses; its descendants end with it in a name space, see [`Boundary`]. A child is signalled by its
//! handle alone; nothing takes a process's number. What it may open by itself is not up to the policy: that is for the walls that
//! the system has.

mod executable;
mod keeper;
mod program;
mod spawn;
mod tree;

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::access::variable::chooses_code;
use crate::access::{Access, FilePath, FileVerb, Name, NameError, PathError, Subject};
use crate::beneath;
use crate::fs::{FsError, Root};
use crate::gate::{Denied, Gate, Operation, Permit, Ticket};

use executable::Resolved;
use keeper::{Begun, Streams, Wish};
use program::Value;
pub use program::{Boundary, Exit, Limits, Means, Output, Program, Signal, Stream};

/// Arguments of a program, and variables. A record of the audit log shows all of them.
const TEXTS_MAX: usize = 512;
/// Bytes of all of them together.
const TEXT_BYTES_MAX: usize = 32 << 10;
/// What running a program is called in records.
const PROCESS_RUN: &str = "process.run";
/// Programs at a time, unless the embedding program says otherwise.
const CHILDREN_MAX: usize = 64;
/// Stack of a keeper.
const KEEPER_STACK_BYTES: usize = 512 << 10;

/// The right to run programs, as far as a gate allows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Programs {
    gate: Gate,
    setting: Arc<Setting>,
}

/// What an embedding program decides about the programs that it lets run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramsOptions {
    /// Absolute folders in which bare names are looked for, in this order. None by default. Those that the environment names, and
    /// the folder that this process is in, count for nothing.
    pub folders: Vec<PathBuf>,
    /// Programs that may run at a time. 64.
    pub children_max: usize,
}

impl Default for ProgramsOptions {
    fn default() -> Self {
        Self { folders: Vec::new(), children_max: CHILDREN_MAX }
    }
}

#[derive(Debug)]
struct Setting {
    roots: HashMap<Name, Root>,
    options: ProgramsOptions,
    children_len: AtomicUsize,
}

/// A program to be run, read and resolved but not yet allowed.
#[derive(Debug)]
pub struct ProgramOperation {
    accesses: Vec<Access>,
    resolved: Resolved,
    program: Program,
    folder: Option<FilePath>,
}

/// Why a program was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramsError {
    /// The path of the program or of its folder is none.
    #[error("use path {}: {source}", crate::document::quoted(.text))]
    Path {
        /// As it was given.
        text: String,
        /// Why.
        #[source]
        source: PathError,
    },
    /// The program is neither an absolute path nor a bare name.
    #[error("find program {}: write an absolute path or a bare name", crate::document::quoted(.text))]
    Relative {
        /// As it was given.
        text: String,
    },
    /// The embedding program named no folder in which bare names are looked for.
    #[error("find program {}: there are no folders to look in", crate::document::quoted(.name))]
    NoFolders {
        /// As it was given.
        name: String,
    },
    /// The program leads to a path that is no text.
    #[error("find program {}: its path is not UTF-8", crate::document::quoted(.text))]
    NotUtf8 {
        /// As it was given.
        text: String,
    },
    /// An argument or the value of a variable contains the character that ends texts for the system.
    #[error("run a program with a NUL in an argument or a variable")]
    Nul,
    /// The name of a variable is none.
    #[error("set variable {}: {source}", crate::document::quoted(.name))]
    Variable {
        /// As it was given.
        name: String,
        /// Why.
        #[source]
        source: NameError,
    },
    /// A variable is given twice.
    #[error("set variable {name}: it is given twice")]
    Twice {
        /// Which.
        name: Name,
    },
    /// There are too many arguments and variables, or too long ones.
    #[error(
        "run a program with {len} arguments and variables of {bytes} bytes: at most {TEXTS_MAX} of {TEXT_BYTES_MAX} bytes are taken"
    )]
    TooLarge {
        /// How many.
        len: usize,
        /// How long.
        bytes: usize,
    },
    /// It is not allowed.
    #[error("run {}: it is not allowed", crate::document::quoted(.program))]
    Denied {
        /// As it was given.
        program: String,
        /// For whoever runs the system; who asked learns no more than that it is denied.
        #[source]
        source: Box<Denied<ProgramOperation>>,
    },
    /// The policy allows a folder in a root that the program has not opened.
    #[error("use root {root}: the program has not opened one of this name")]
    NoRoot {
        /// The root's name.
        root: Name,
    },
    /// Its folder cannot be entered.
    #[error(transparent)]
    Folder(#[from] FsError),
    /// Its file cannot be opened.
    #[error("open program {program:?}")]
    Open {
        /// Its path.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Its file is no program.
    #[error("run {program:?}: {why}")]
    Unfit {
        /// Its path.
        program: String,
        /// What it is.
        why: &'static str,
    },
    /// Its file is not the one that was pinned.
    #[error("run {program:?}: its digest is another than the pinned one")]
    Digest {
        /// Its path.
        program: String,
    },
    /// So many run that one more may not.
    #[error("run one more program: {max} run already")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The system did not start it.
    #[error("run {program:?}: {step}")]
    Start {
        /// Its path.
        program: String,
        /// What did not work.
        step: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It ran for too long, and was killed with its tree.
    #[error("run {program:?}: it was killed after {timeout:?}")]
    TimedOut {
        /// Its path.
        program: String,
        /// How long it had.
        timeout: Duration,
        /// What came of it.
        output: Box<Output>,
    },
    /// It said too much, and was killed with its tree.
    #[error("run {program:?}: it was killed after {bytes_max} bytes of {stream}")]
    TooMuch {
        /// Its path.
        program: String,
        /// Where.
        stream: Stream,
        /// The bound.
        bytes_max: usize,
        /// What came of it up to there.
        output: Box<Output>,
    },
    /// Nobody waited for it any more, so it was killed with its tree.
    #[error("run {program:?}: it was killed, as its handle was dropped")]
    Forgotten {
        /// Its path.
        program: String,
    },
    /// Somebody else in this process waited for it, so how it ended is unknown.
    #[error("run {program:?}: how it ended is unknown")]
    Lost {
        /// Its path.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It has ended already, or what was to be done with it cannot be.
    #[error("signal a program")]
    Signal {
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl Operation for ProgramOperation {
    fn name(&self) -> &'static str {
        PROCESS_RUN
    }

    fn accesses(&self) -> &[Access] {
        &self.accesses
    }
}

impl ProgramOperation {
    fn read(program: Program, folders: &[PathBuf]) -> Result<Self, ProgramsError> {
        let values = program.variables.iter().map(|(name, value)| match value {
            Value::Given(value) => name.len() + value.len(),
            Value::Host => name.len(),
        });
        let len = program.args.len() + program.variables.len();
        let bytes = program.args.iter().map(String::len).chain(values).sum();
        if len > TEXTS_MAX || bytes > TEXT_BYTES_MAX {
            return Err(ProgramsError::TooLarge { len, bytes });
        }
        let given = program.variables.iter().filter_map(|(_, value)| match value {
            Value::Given(value) => Some(value),
            Value::Host => None,
        });
        if program.args.iter().chain(given).any(|text| text.contains('\0')) {
            return Err(ProgramsError::Nul);
        }
        let resolved = executable::resolve(&program.path, folders)?;
        let args = program.args.iter().map(|arg| arg.as_str().into()).collect();
        let mut accesses = vec![Access::Run { program: resolved.path.as_str().into(), args }];
        let mut names = Vec::with_capacity(program.variables.len());
        for (text, value) in &program.variables {
            let name =
                Name::parse(text).map_err(|source| ProgramsError::Variable { name: text.clone(), source })?;
            if names.contains(&name) {
                return Err(ProgramsError::Twice { name });
            }
            names.push(name.clone());
            match value {
                Value::Given(_) if !chooses_code(text) => {}
                Value::Given(_) | Value::Host => accesses.push(Access::Env { name }),
            }
        }
        let folder = match &program.folder {
            None => None,
            Some(text) => {
                let fail = |source| ProgramsError::Path { text: text.clone(), source };
                let path = FilePath::parse(text).map_err(fail)?;
                accesses.push(Access::File { verb: FileVerb::List, path: path.clone() });
                Some(path)
            }
        };
        Ok(Self { accesses, resolved, program, folder })
    }
}

impl Programs {
    /// Programs behind this gate, with folders of these roots to begin in.
    pub fn new(gate: Gate, roots: impl IntoIterator<Item = (Name, Root)>, options: ProgramsOptions) -> Self {
        let roots = roots.into_iter().collect();
        Self { gate, setting: Arc::new(Setting { roots, options, children_len: AtomicUsize::new(0) }) }
    }

    /// Runs a program to its end and collects what it says. Takes `run` of the path that the program's name leads to, with its
    /// arguments, and what [`Program`] says of variables and the folder. Dropped before it is done, the program is killed with its
    /// tree, and the record says so.
    pub async fn run(&self, subject: &Subject, program: Program) -> Result<Output, ProgramsError> {
        let permit = self.admit_from_task(subject, program).await?;
        let (tell, told) = oneshot::channel();
        let wish = Arc::new(Wish::new().map_err(unable)?);
        let _forget = Forget(wish.clone());
        self.begin(permit, wish, Streams::Collected, drop, |ended| {
            // Nobody may want to know any more.
            drop(tell.send(ended));
        })?;
        told.await.expect("a keeper tells how it ended, whatever happens")
    }

    /// [`Programs::run`] for programs that are not asynchronous: waits here.
    pub fn run_blocking(&self, subject: &Subject, program: Program) -> Result<Output, ProgramsError> {
        let name = program.path.clone();
        let operation = self.read(subject, program)?;
        let permit =
            self.gate.admit(subject, operation).map_err(|denied| ProgramsError::denied(name, denied))?;
        let (tell, told) = mpsc::channel();
        let wish = Arc::new(Wish::new().map_err(unable)?);
        self.begin(permit, wish, Streams::Collected, drop, move |ended| drop(tell.send(ended)))?;
        told.recv().expect("a keeper tells how it ended, whatever happens")
    }

    /// Starts a program and hands out its streams. Takes what [`Programs::run`] takes. Dropped before it is done, the program is
    /// killed with its tree.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O.
    pub async fn start(&self, subject: &Subject, program: Program) -> Result<Running, ProgramsError> {
        let permit = self.admit_from_task(subject, program).await?;
        let (tell_begun, begun) = oneshot::channel();
        let (tell_ended, mut ended) = oneshot::channel();
        let wish = Arc::new(Wish::new().map_err(unable)?);
        let forget = Forget(wish.clone());
        let tell_begun = move |begun| drop(tell_begun.send(begun));
        self.begin(permit, wish, Streams::Handed, tell_begun, |ended| drop(tell_ended.send(ended)))?;
        let Ok(begun) = begun.await else {
            let ended = (&mut ended).await.expect("a keeper tells how it ended, whatever happens");
            return Err(ended.expect_err("what has not begun has not ended well"));
        };
        Ok(Running {
            stdin: begun
                .stdin
                .map(pipe::Sender::from_owned_fd)
                .transpose()
                .map_err(|error| unable(errno(&error)))?,
            stdout: begun
                .stdout
                .map(pipe::Receiver::from_owned_fd)
                .transpose()
                .map_err(|error| unable(errno(&error)))?,
            stderr: begun
                .stderr
                .map(pipe::Receiver::from_owned_fd)
                .transpose()
                .map_err(|error| unable(errno(&error)))?,
            means: begun.means,
            pid: begun.pid,
            pidfd: begun.pidfd,
            ended,
            forget,
        })
    }

    /// What a program takes. One whose texts are none is on record like what is denied.
    fn read(&self, subject: &Subject, program: Program) -> Result<ProgramOperation, ProgramsError> {
        let name = program.path.clone();
        ProgramOperation::read(program, &self.setting.options.folders).inspect_err(|error| {
            let text = match error {
                ProgramsError::Path { text, .. } => text,
                _ => &name,
            };
            self.gate.refuse_text(subject, PROCESS_RUN, text, error);
        })
    }

    async fn admit_from_task(
        &self,
        subject: &Subject,
        program: Program,
    ) -> Result<Permit<ProgramOperation>, ProgramsError> {
        let name = program.path.clone();
        let (programs, who) = (self.clone(), subject.clone());
        // Where a name leads is read from the disk, and what is refused is recorded there.
        let read = move || programs.read(&who, program);
        let operation = tokio::task::spawn_blocking(read).await;
        let operation = operation.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        let admitted = self.gate.admit_from_task(subject, operation).await;
        admitted.map_err(|denied| ProgramsError::denied(name, denied))
    }

    /// Gives a permitted program to a keeper, who tells how it ended in every case but that of an error here.
    fn begin(
        &self,
        permit: Permit<ProgramOperation>,
        wish: Arc<Wish>,
        streams: Streams,
        begun: impl FnOnce(Begun) + Send + 'static,
        ended: impl FnOnce(Result<Output, ProgramsError>) + Send + 'static,
    ) -> Result<(), ProgramsError> {
        let (operation, ticket) = permit.begin();
        let Some(place) = Place::take(&self.setting) else {
            let error = ProgramsError::TooMany { max: self.setting.options.children_max };
            return Err(said(ticket, error));
        };
        let (give, given) = mpsc::channel::<(Job, Ticket)>();
        let keeper = move || {
            let Ok((job, ticket)) = given.recv() else {
                return;
            };
            spawn::block_signals();
            let result = keeper::keep(job, &wish, streams, begun);
            ticket.say(result.as_ref().err());
            // Free before anybody is told, who may come with the next one.
            drop(place);
            ended(result);
        };
        let thread =
            std::thread::Builder::new().name("airssys-osl keeper".into()).stack_size(KEEPER_STACK_BYTES);
        if let Err(source) = thread.spawn(keeper) {
            let program = operation.resolved.path;
            return Err(said(ticket, ProgramsError::Start { program, step: "start its keeper", source }));
        }
        let job = Job { setting: self.setting.clone(), operation };
        give.send((job, ticket)).expect("a keeper takes its job before anything else");
        Ok(())
    }
}

impl ProgramsError {
    fn denied(program: String, denied: Denied<ProgramOperation>) -> Self {
        ProgramsError::Denied { program, source: Box::new(denied) }
    }
}

fn said(ticket: Ticket, error: ProgramsError) -> ProgramsError {
    ticket.say(Some(&error));
    error
}

fn unable(errno: Errno) -> ProgramsError {
    ProgramsError::Start { program: String::new(), step: "make its handle", source: errno.into() }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

/// A place among the programs that may run at a time.
struct Place(Arc<Setting>);

impl Place {
    fn take(setting: &Arc<Setting>) -> Option<Self> {
        let max = setting.options.children_max;
        let more = |len| (len < max).then_some(len + 1);
        setting.children_len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(setting.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.children_len.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the keeper, when dropped, that nobody waits any more.
#[derive(Debug)]
struct Forget(Arc<Wish>);

impl Drop for Forget {
    fn drop(&mut self) {
        self.0.forget();
    }
}

/// What a keeper runs.
struct Job {
    setting: Arc<Setting>,
    operation: ProgramOperation,
}

impl Job {
    fn path(&self) -> &str {
        &self.operation.resolved.path
    }

    fn open_folder(&self) -> Result<OwnedFd, ProgramsError> {
        let Some(FilePath { root: name, path }) = &self.operation.folder else {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fail = |source: Errno| FsError::of("open", "/".into(), source.into());
            return Ok(rustix::fs::open("/", flags, Mode::empty()).map_err(fail)?);
        };
        let root =
            self.setting.roots.get(name).ok_or_else(|| ProgramsError::NoRoot { root: name.clone() })?;
        let fail = |source| FsError::of("open", root.path_of(path.as_path()), source);
        let folder =
            beneath::open(root.dir(), path.as_str(), beneath::FOLDER, root.mounts()).map_err(fail)?;
        let stat = rustix::fs::fstat(&folder).map_err(|error| fail(error.into()))?;
        // One that was removed meanwhile has no name that anything could lead to.
        if stat.st_nlink == 0 { Err(fail(Errno::NOENT.into()).into()) } else { Ok(folder) }
    }

    /// The name that a program knows itself by is where it is: one that does different things by different names does what the
    /// policy was asked about.
    fn args(&self) -> Result<Vec<CString>, ProgramsError> {
        let args = [self.path()].into_iter().chain(self.operation.program.args.iter().map(String::as_str));
        args.map(|arg| CString::new(arg).map_err(|_| ProgramsError::Nul)).collect()
    }

    fn variables(&self) -> Result<Vec<CString>, ProgramsError> {
        let text = |(name, value): &(String, Value)| {
            let value = match value {
                Value::Given(value) => value.clone().into_bytes(),
                Value::Host => std::env::var_os(name)?.into_encoded_bytes(),
            };
            let text = [name.as_bytes(), b"=", &value].concat();
            Some(CString::new(text).map_err(|_| ProgramsError::Nul))
        };
        self.operation.program.variables.iter().filter_map(text).collect()
    }
}

/// A program that runs. Dropped, the program is killed with its tree.
#[derive(Debug)]
#[must_use = "dropped, the program is killed"]
pub struct Running {
    /// Where it reads; none if it was given its input. Dropped, the program finds the end.
    pub stdin: Option<pipe::Sender>,
    /// What it writes. A program that nobody listens to waits when the system's buffer is full.
    pub stdout: Option<pipe::Receiver>,
    /// What it writes to the side.
    pub stderr: Option<pipe::Receiver>,
    means: Means,
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    ended: oneshot::Receiver<Result<Output, ProgramsError>>,
    forget: Forget,
}

impl Running {
    /// By which means it is held.
    pub fn means(&self) -> Means {
        self.means
    }

    /// Says something to the program itself; [`Signal::Kill`] ends its whole tree. A program that does nothing of its own at a
    /// signal is killed by it, as signals do by default, and then seen to have ended by the signal of killing.
    pub fn signal(&self, signal: Signal) -> Result<(), ProgramsError> {
        let wanted = match signal {
            Signal::Kill => {
                self.forget.0.end();
                return Ok(());
            }
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Hangup => rustix::process::Signal::HUP,
            Signal::User1 => rustix::process::Signal::USR1,
            Signal::User2 => rustix::process::Signal::USR2,
        };
        // The system keeps the first process of a namespace from what it has no answer to.
        let is_kept = self.means.tree == Boundary::Namespace && !tree::handles(self.pid, wanted);
        let wanted = if is_kept { rustix::process::Signal::KILL } else { wanted };
        let sent = rustix::process::pidfd_send_signal(&*self.pidfd, wanted);
        sent.map_err(|error| ProgramsError::Signal { source: error.into() })
    }

    /// Waits until the program has ended and its tree is gone. Streams that were not taken are closed first, so that a program
    /// that reads finds the end; what it writes then goes nowhere. Dropped before it is done, the program is killed with its tree.
    pub async fn wait(mut self) -> Result<Output, ProgramsError> {
        (self.stdin, self.stdout, self.stderr) = (None, None, None);
        (&mut self.ended).await.expect("a keeper tells how it ended, whatever happens")
    }
}
