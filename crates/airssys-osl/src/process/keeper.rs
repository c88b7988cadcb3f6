//! Who keeps a running program: one thread that starts it, feeds it, listens to it, ends it and waits for it.
//!
//! A second thread makes the process and lives exactly as long, because the system ends a process with the thread that made it:
//! when the host is killed, so is the program. The keeper returns only when the whole tree is gone, and nothing else waits for
//! the process, so none is left behind. What is asked of it comes by an event: an end, or that nobody wants to know any more.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, WaitId, WaitIdOptions};

use super::program::{Boundary, Exit, Limits, Means, Output, Stream};
use super::spawn::{self, Image, Report, Spaces, Step};
use super::tree::{self, Cgroup};
use super::{Job, ProgramsError};

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// Stack of a thread that only makes a process.
const STACK_BYTES: usize = 256 << 10;

/// What its holder says to a keeper.
#[derive(Debug)]
pub(super) struct Wish {
    event: OwnedFd,
    said: AtomicU8,
}

impl Wish {
    const NOTHING: u8 = 0;
    const END: u8 = 1;
    const FORGET: u8 = 2;

    pub(super) fn new() -> Result<Self, Errno> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event, said: AtomicU8::new(Self::NOTHING) })
    }

    /// End the tree.
    pub(super) fn end(&self) {
        self.say(Self::END);
    }

    /// End the tree; nobody waits for it any more.
    pub(super) fn forget(&self) {
        self.say(Self::FORGET);
    }

    fn say(&self, what: u8) {
        self.said.fetch_max(what, Ordering::Relaxed);
        if let Err(error) = rustix::io::write(&self.event, &1u64.to_ne_bytes()) {
            tracing::error!(%error, "a keeper could not be told to end a program");
        }
    }
}

/// Why a tree was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    TimedOut,
    TooMuch(Stream),
    Asked,
    Forgotten,
}

/// Who reads and writes the program's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    /// The keeper.
    Collected,
    /// The holder; the keeper writes the input if there is one.
    Handed,
}

/// A program that runs, for its holder.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) pid: Pid,
    pub(super) pidfd: Arc<OwnedFd>,
    pub(super) means: Means,
    /// The other ends of its streams, where they are handed out.
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// Runs a program to its end, and returns when its tree is gone.
pub(super) fn keep(
    job: Job,
    wish: &Wish,
    streams: Streams,
    begun: impl FnOnce(Begun),
) -> Result<Output, ProgramsError> {
    let deadline = Instant::now().checked_add(job.operation.program.limits.timeout);
    let limits = job.operation.program.limits;
    let path = job.path().to_owned();
    let fail = |step: &'static str| {
        let program = path.clone();
        move |source: Errno| ProgramsError::Start { program, step, source: source.into() }
    };
    let program = super::executable::open(&job.operation.resolved, job.operation.program.digest)?;
    let folder = job.open_folder()?;
    let pipe = || {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        Ok((spawn::above_streams(read)?, spawn::above_streams(write)?))
    };
    let pipe = || pipe().map_err(fail("make a pipe"));
    let ((stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr)) = (pipe()?, pipe()?, pipe()?);
    let ((go, say_go), (from_report, report)) = (pipe()?, pipe()?);
    let cgroup = Cgroup::make(limits.processes_max);
    let members =
        cgroup.as_ref().map_or(Ok(Vec::new()), Cgroup::members).map_err(fail("open a control group"))?;
    let image = Image {
        program: spawn::above_streams(program).map_err(fail("prepare"))?,
        args: job.args()?,
        variables: job.variables()?,
        folder: spawn::above_streams(folder).map_err(fail("prepare"))?,
        stdin,
        stdout,
        stderr,
        limits: bounds(&limits),
        own_users_limit: within(Resource::Nproc, limits.processes_max),
        cgroups: members
            .into_iter()
            .map(spawn::above_streams)
            .collect::<Result<_, _>>()
            .map_err(fail("prepare"))?,
        go,
        host: rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(fail("prepare"))?,
        report,
        confinement: job.operation.program.confinement.clone(),
    };
    // In this order, as the maker's end kills the process and what came of that has to be found before.
    let (_maker, mut process) = make(image).map_err(fail("make a process"))?;
    process.cgroup = cgroup;
    rustix::io::write(&say_go, b"!").map_err(fail("start"))?;
    drop(say_go);
    let mut cause = None;
    if let Some(report) = process
        .listen(waitless(from_report).map_err(fail("prepare"))?, wish, deadline, &mut cause)
        .map_err(fail("listen to"))?
    {
        process.end().map_err(fail("wait for"))?;
        let (step, source) = Step::of_report(report);
        return Err(fail(step)(source));
    }
    let means = process.means();
    let mut pumps = Pumps::default();
    let input = job.operation.program.input;
    let has_input = !input.is_empty();
    let mut handed = Begun {
        pid: process.pid,
        pidfd: process.pidfd.clone(),
        means,
        stdin: None,
        stdout: None,
        stderr: None,
    };
    match streams {
        Streams::Handed if !has_input => handed.stdin = Some(to_stdin),
        _ if has_input => pumps.input = Some((waitless(to_stdin).map_err(fail("prepare"))?, input, 0)),
        // Nobody writes, so the program finds the end.
        _ => drop(to_stdin),
    }
    match streams {
        Streams::Handed => (handed.stdout, handed.stderr) = (Some(from_stdout), Some(from_stderr)),
        Streams::Collected => {
            pumps.stdout = Some(waitless(from_stdout).map_err(fail("prepare"))?);
            pumps.stderr = Some(waitless(from_stderr).map_err(fail("prepare"))?);
        }
    }
    begun(handed);
    pumps.bytes_max = limits.output_bytes_max;
    let cause = match cause {
        Some(cause) => Some(cause),
        None => pumps.run(&process, wish, deadline).map_err(fail("listen to"))?,
    };
    let exit = process
        .end()
        .map_err(|source| ProgramsError::Lost { program: path.clone(), source: source.into() })?;
    let cause = cause.or_else(|| pumps.drain());
    let output = Output { exit, stdout: pumps.out, stderr: pumps.err, means };
    let program = path;
    match cause {
        None | Some(Cause::Asked) => Ok(output),
        Some(Cause::TimedOut) => {
            Err(ProgramsError::TimedOut { program, timeout: limits.timeout, output: Box::new(output) })
        }
        Some(Cause::TooMuch(stream)) => {
            let bytes_max = limits.output_bytes_max;
            Err(ProgramsError::TooMuch { program, stream, bytes_max, output: Box::new(output) })
        }
        Some(Cause::Forgotten) => Err(ProgramsError::Forgotten { program }),
    }
}

/// The process that was made, by the strongest means there are, and the thread that made it, which ends with this value.
fn make(image: Image) -> Result<(Maker, Process), Errno> {
    let (orders, taken) = mpsc::channel::<Option<Spaces>>();
    let (tell, told) = mpsc::channel();
    let thread = std::thread::Builder::new().name("airssys-osl child".into()).stack_size(STACK_BYTES);
    let thread = thread.spawn(move || {
        spawn::block_signals();
        let mut image = Some(image);
        // As long as the keeper lives, and so does what was made here.
        for order in taken {
            match (order, &image) {
                (None, _) => image = None,
                (Some(spaces), Some(image)) => drop(tell.send(spawn::spawn(image, spaces))),
                (Some(_), None) => drop(tell.send(Err(Errno::INVAL))),
            }
        }
    });
    let thread =
        thread.map_err(|error| error.raw_os_error().map_or(Errno::AGAIN, Errno::from_raw_os_error))?;
    let maker = Maker { orders: Some(orders), thread: Some(thread) };
    let order = |spaces| {
        let orders = maker.orders.as_ref().expect("a maker has them until it is dropped");
        orders.send(Some(spaces)).ok().and_then(|()| told.recv().ok()).unwrap_or(Err(Errno::CHILD))
    };
    let mut last = Errno::PERM;
    for spaces in [Spaces::Pids, Spaces::UsersAndPids, Spaces::Shared] {
        match order(spaces) {
            Ok((pid, pidfd)) => {
                let process = Process {
                    pid,
                    pidfd: Arc::new(pidfd),
                    spaces,
                    cgroup: None,
                    sees_host: spaces == Spaces::Shared,
                    is_over: false,
                };
                if spaces == Spaces::UsersAndPids && spawn::map_users(pid).is_err() {
                    // Drops it, and with it the process.
                    last = Errno::PERM;
                    continue;
                }
                let orders = maker.orders.as_ref().expect("a maker has them until it is dropped");
                return match orders.send(None) {
                    Ok(()) => Ok((maker, process)),
                    Err(_) => Err(Errno::CHILD),
                };
            }
            Err(errno) => last = errno,
        }
    }
    Err(last)
}

/// The thread that a process was made by.
struct Maker {
    orders: Option<mpsc::Sender<Option<Spaces>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Maker {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic, and has nothing to say if it did.
            drop(thread.join());
        }
    }
}

/// A process and all that came of it; gone with this value.
struct Process {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    spaces: Spaces,
    cgroup: Option<Cgroup>,
    sees_host: bool,
    is_over: bool,
}

impl Process {
    fn has_namespace(&self) -> bool {
        self.spaces != Spaces::Shared
    }

    fn means(&self) -> Means {
        let tree = match &self.cgroup {
            _ if self.has_namespace() => Boundary::Namespace,
            Some(cgroup) if cgroup.can_kill() => Boundary::Cgroup,
            Some(_) | None => Boundary::Search,
        };
        let has_own_users = self.spaces == Spaces::UsersAndPids;
        let processes = match &self.cgroup {
            // Who sees it can lift the bound, as the group is its user's.
            Some(cgroup) if cgroup.bounds && !self.sees_host => Some(Boundary::Cgroup),
            // The system bounds processes of everybody but the superuser.
            Some(_) | None if has_own_users && !rustix::process::geteuid().is_root() => {
                Some(Boundary::Namespace)
            }
            Some(_) | None => None,
        };
        Means { tree, processes, has_own_users, sees_host: self.sees_host }
    }

    /// What it says of its start that kept it from it; nothing means that the program runs.
    fn listen(
        &mut self,
        report: OwnedFd,
        wish: &Wish,
        deadline: Option<Instant>,
        cause: &mut Option<Cause>,
    ) -> Result<Option<Report>, Errno> {
        loop {
            let mut fds = [
                PollFd::new(&report, PollFlags::IN),
                PollFd::new(&wish.event, PollFlags::IN),
                PollFd::new(&self.pidfd, PollFlags::IN),
            ];
            poll(&mut fds, deadline)?;
            if fds[0].revents().is_empty() && fds[2].revents().is_empty() {
                *cause = wished(wish).or_else(|| is_late(deadline).then_some(Cause::TimedOut));
                if cause.is_some() {
                    return Ok(None);
                }
                continue;
            }
            let mut said: Report = [0; 5];
            match rustix::io::retry_on_intr(|| rustix::io::read(&report, &mut said)) {
                // It is over, and some other new process still has a copy of the pipe.
                Ok(0) | Err(Errno::AGAIN) => return Ok(None),
                Ok(_) if Step::is_remark(said) => self.sees_host = true,
                Ok(_) => return Ok(Some(said)),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Ends the tree and waits until it is gone.
    fn end(&mut self) -> Result<Exit, Errno> {
        self.is_over = true;
        tree::kill(self.pid, self.pidfd.as_fd(), self.has_namespace(), self.cgroup.as_ref());
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        });
        let status = status?.ok_or(Errno::CHILD)?;
        Ok(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, signal) => Exit::Signal(signal.unwrap_or(0)),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_over
            && let Err(error) = self.end()
        {
            tracing::error!(%error, "a process could not be waited for");
        }
    }
}

/// What goes to a program and comes from it, at the same time.
#[derive(Default)]
struct Pumps {
    input: Option<(OwnedFd, Vec<u8>, usize)>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    out: Vec<u8>,
    err: Vec<u8>,
    bytes_max: usize,
}

impl Pumps {
    /// Until the first process has ended, or the tree has to.
    fn run(
        &mut self,
        process: &Process,
        wish: &Wish,
        deadline: Option<Instant>,
    ) -> Result<Option<Cause>, Errno> {
        loop {
            let mut fds =
                vec![PollFd::new(&process.pidfd, PollFlags::IN), PollFd::new(&wish.event, PollFlags::IN)];
            fds.extend(self.stdout.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            fds.extend(self.stderr.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
            fds.extend(self.input.as_ref().map(|(fd, ..)| PollFd::new(fd, PollFlags::OUT)));
            poll(&mut fds, deadline)?;
            let is_over = !fds[0].revents().is_empty();
            let cause = wished(wish).or_else(|| is_late(deadline).then_some(Cause::TimedOut));
            if cause.is_some() || is_over {
                // What ended by itself was in time.
                return Ok(cause.filter(|cause| !is_over || *cause == Cause::Forgotten));
            }
            self.feed();
            if let Some(cause) = self.collect(1) {
                return Ok(Some(cause));
            }
        }
    }

    /// What is left when nobody writes any more.
    fn drain(&mut self) -> Option<Cause> {
        self.collect(usize::MAX)
    }

    fn feed(&mut self) {
        if let Some((fd, bytes, at)) = &mut self.input {
            match rustix::io::write(&*fd, &bytes[*at..]) {
                Ok(len) => *at += len,
                Err(Errno::AGAIN | Errno::INTR) => {}
                // It does not want to read more.
                Err(_) => *at = bytes.len(),
            }
            if *at == bytes.len() {
                self.input = None;
            }
        }
    }

    fn collect(&mut self, reads_max: usize) -> Option<Cause> {
        let bytes_max = self.bytes_max;
        let streams = [
            (Stream::Stdout, &mut self.stdout, &mut self.out),
            (Stream::Stderr, &mut self.stderr, &mut self.err),
        ];
        for (stream, from, kept) in streams {
            for _ in 0..reads_max {
                let Some(fd) = from else { break };
                let mut buffer = [0; READ_BYTES];
                match rustix::io::read(&*fd, &mut buffer) {
                    Ok(0) => *from = None,
                    Ok(len) => {
                        let fits = len.min(bytes_max - kept.len());
                        kept.extend_from_slice(&buffer[..fits]);
                        if fits < len {
                            return Some(Cause::TooMuch(stream));
                        }
                    }
                    Err(Errno::AGAIN) => break,
                    Err(Errno::INTR) => {}
                    Err(_) => *from = None,
                }
            }
        }
        None
    }
}

fn wished(wish: &Wish) -> Option<Cause> {
    match wish.said.load(Ordering::Relaxed) {
        Wish::NOTHING => None,
        Wish::END => Some(Cause::Asked),
        _ => Some(Cause::Forgotten),
    }
}

fn is_late(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

fn poll(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<(), Errno> {
    /// Longest wait at once, so that it is never more than the system can count.
    const WAIT_MAX: Duration = Duration::from_secs(3600);
    let left = deadline
        .map_or(WAIT_MAX, |deadline| deadline.saturating_duration_since(Instant::now()).min(WAIT_MAX));
    let left = rustix::event::Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    };
    match rustix::event::poll(fds, Some(&left)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn waitless(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::fs::fcntl_setfl(&fd, OFlags::NONBLOCK)?;
    Ok(fd)
}

fn bounds(limits: &Limits) -> Vec<(Resource, Rlimit)> {
    [
        (Resource::Cpu, limits.cpu_seconds_max),
        (Resource::As, limits.memory_bytes_max),
        (Resource::Fsize, limits.file_bytes_max),
        (Resource::Nofile, limits.open_files_max),
        (Resource::Core, 0),
    ]
    .map(|(resource, most)| (resource, within(resource, most)))
    .into()
}

/// This much, or what the host has if that is less.
fn within(resource: Resource, most: u64) -> Rlimit {
    let host = rustix::process::getrlimit(resource).maximum;
    let most = Some(host.map_or(most, |host| host.min(most)));
    Rlimit { current: most, maximum: most }
}
