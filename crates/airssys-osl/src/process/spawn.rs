//! Making the process of a program: the only place of this room with `unsafe`.
//!
//! Between its making and its program a process has a copy of this one's memory and one thread of it, so it may do nothing that
//! takes a lock or memory: everything is prepared before, and what is left are calls of the system. It waits for a word from the
//! keeper before it goes on, and tells it what did not work by a pipe that the program's start closes.

#![allow(unsafe_code, reason = "no safe interface makes a process in namespaces and executes a descriptor")]

use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Pid, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use crate::sandbox::{Confinement, Requirement};

/// Largest number of a signal.
const SIGNAL_MAX: libc::c_int = 64;
/// Tries to start a file that another process of this program has open for writing, which ends when that starts its own.
const BUSY_TRIES_MAX: u32 = 200;
const BUSY_WAIT: Duration = Duration::from_millis(10);

/// Everything that a new process needs.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) program: OwnedFd,
    pub(super) args: Vec<CString>,
    pub(super) variables: Vec<CString>,
    pub(super) folder: OwnedFd,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) limits: Vec<(Resource, Rlimit)>,
    /// Processes that the user may have; counted for this tree alone where that has users of its own, and nowhere else of use.
    pub(super) own_users_limit: Rlimit,
    /// Lists of members, to which it adds itself.
    pub(super) cgroups: Vec<OwnedFd>,
    /// Readable when it may go on.
    pub(super) go: OwnedFd,
    /// This process, readable when it is gone.
    pub(super) host: OwnedFd,
    /// Where it says what did not work.
    pub(super) report: OwnedFd,
    /// The wall that it puts up around itself last.
    pub(super) confinement: Option<(Arc<Confinement>, Requirement)>,
}

/// What a process is made in, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spaces {
    /// A space of process ids of its own: takes a privilege.
    Pids,
    /// The same, and a space of user ids, for which nobody needs a privilege.
    UsersAndPids,
    /// Those of this process.
    Shared,
}

/// What a new process says: the step, and the number of the error.
pub(super) type Report = [u8; 5];

/// What a new process did when something did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    Wait,
    Session,
    Streams,
    Cgroup,
    Folder,
    View,
    Limits,
    Rights,
    Descriptors,
    Confine,
    Execute,
}

impl Step {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Wait, "wait for its keeper"),
        (Self::Session, "begin a session"),
        (Self::Streams, "take its streams"),
        (Self::Cgroup, "join its control group"),
        (Self::Folder, "enter its folder"),
        (Self::View, "hide the host"),
        (Self::Limits, "take its limits"),
        (Self::Rights, "give up its rights"),
        (Self::Descriptors, "close descriptors"),
        (Self::Confine, "be confined"),
        (Self::Execute, "execute its file"),
    ];

    /// What a report of this process says.
    pub(super) fn of_report(report: Report) -> (&'static str, Errno) {
        let [step, errno @ ..] = report;
        let known = Self::ALL.iter().find(|(known, _)| *known as u8 == step);
        (known.map_or("start", |(_, words)| words), Errno::from_raw_os_error(i32::from_ne_bytes(errno)))
    }

    /// Whether a report is about something that a program can do without.
    pub(super) fn is_remark(report: Report) -> bool {
        report[0] == Self::View as u8
    }

    fn report(self, errno: Errno) -> Report {
        let [a, b, c, d] = errno.raw_os_error().to_ne_bytes();
        [self as u8, a, b, c, d]
    }
}

/// Makes the process. It ends when the calling thread does.
pub(super) fn spawn(image: &Image, spaces: Spaces) -> Result<(Pid, OwnedFd), Errno> {
    let pointers = |texts: &[CString]| -> Vec<*const c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (args, variables) = (pointers(&image.args), pointers(&image.variables));
    let flags = match spaces {
        Spaces::Pids => libc::CLONE_NEWPID,
        Spaces::UsersAndPids => libc::CLONE_NEWPID | libc::CLONE_NEWUSER,
        Spaces::Shared => 0,
    };
    if let Some(made) = clone(flags)? {
        return Ok(made);
    }
    let (step, errno) = become_program(image, spaces, &args, &variables);
    let is_heard = rustix::io::write(&image.report, &step.report(errno)).is_ok();
    // SAFETY: it ends the process without running anything of the one that it is a copy of.
    unsafe { libc::_exit(if is_heard { 127 } else { 126 }) }
}

/// A copy of this process: `None` in the copy.
fn clone(flags: libc::c_int) -> Result<Option<(Pid, OwnedFd)>, Errno> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all fields are numbers, for which zero is a value.
    let mut wanted: libc::clone_args = unsafe { std::mem::zeroed() };
    wanted.flags = u64::from((flags | libc::CLONE_PIDFD).cast_unsigned());
    wanted.pidfd = ptr::from_mut(&mut pidfd) as u64;
    wanted.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: `wanted` is what the call reads, of the size given, and `pidfd` what it writes; both outlive it. Memory is not shared
    // with the copy, which goes on with a copy of this stack. Its caller does nothing there that takes a lock or memory.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut wanted), size_of::<libc::clone_args>()) };
    match pid {
        0 => Ok(None),
        ..0 => match last_errno() {
            // A filter that cannot look into the arguments; without them it is the old call.
            Errno::NOSYS if flags == 0 => fork(),
            errno => Err(errno),
        },
        pid => {
            // SAFETY: the call succeeded, so this is a new descriptor that nobody else has.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            Ok(Some((pid.expect("the system counts processes from one"), pidfd)))
        }
    }
}

fn fork() -> Result<Option<(Pid, OwnedFd)>, Errno> {
    // SAFETY: as for `clone`.
    match unsafe { libc::fork() } {
        0 => Ok(None),
        ..0 => Err(last_errno()),
        pid => {
            let pid = Pid::from_raw(pid).expect("the system counts processes from one");
            // It is this process's own and nobody has waited for it, so the number is still its own.
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
                .map(|pidfd| Some((pid, pidfd)))
        }
    }
}

/// What the new process does. Returns only if it cannot become the program.
fn become_program(
    image: &Image,
    spaces: Spaces,
    args: &[*const c_char],
    variables: &[*const c_char],
) -> (Step, Errno) {
    let prepared = prepare(image, spaces);
    let Err(failed) = prepared else {
        for _ in 0..BUSY_TRIES_MAX {
            // SAFETY: both lists end with a null and hold pointers to texts that end with NUL, which `image` keeps.
            unsafe {
                libc::syscall(
                    libc::SYS_execveat,
                    image.program.as_raw_fd(),
                    c"".as_ptr(),
                    args.as_ptr(),
                    variables.as_ptr(),
                    libc::AT_EMPTY_PATH,
                );
            }
            if last_errno() != Errno::TXTBSY {
                break;
            }
            sleep(BUSY_WAIT);
        }
        return (Step::Execute, last_errno());
    };
    failed
}

fn prepare(image: &Image, spaces: Spaces) -> Result<(), (Step, Errno)> {
    let at = |step| move |errno| (step, errno);
    // Whoever makes it is the one to die with.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(at(Step::Wait))?;
    hear(image).map_err(at(Step::Wait))?;
    rustix::process::setsid().map_err(at(Step::Session))?;
    rustix::stdio::dup2_stdin(&image.stdin).map_err(at(Step::Streams))?;
    rustix::stdio::dup2_stdout(&image.stdout).map_err(at(Step::Streams))?;
    rustix::stdio::dup2_stderr(&image.stderr).map_err(at(Step::Streams))?;
    for members in &image.cgroups {
        rustix::io::write(members, b"0").map_err(at(Step::Cgroup))?;
    }
    rustix::process::fchdir(&image.folder).map_err(at(Step::Folder))?;
    // In the folder already, so that its path stays one that the program can ask for.
    if spaces != Spaces::Shared
        && let Err(errno) = hide_host()
    {
        rustix::io::write(&image.report, &Step::View.report(errno)).map_err(at(Step::View))?;
    }
    if spaces == Spaces::Shared {
        // What loses its parent becomes its own, to be found by that as long as it lives.
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).map_err(at(Step::Session))?;
    }
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    give_up_rights().map_err(at(Step::Rights))?;
    close_descriptors().map_err(at(Step::Descriptors))?;
    forget_signals();
    if let Some((confinement, requirement)) = &image.confinement {
        confinement.enter(*requirement).map_err(at(Step::Confine))?;
    }
    // Last, as what is still open of the host's counts among this process's files until then.
    for (resource, limit) in &image.limits {
        rustix::process::setrlimit(*resource, *limit).map_err(at(Step::Limits))?;
    }
    if spaces == Spaces::UsersAndPids {
        rustix::process::setrlimit(Resource::Nproc, image.own_users_limit).map_err(at(Step::Limits))?;
    }
    Ok(())
}

/// Waits for the keeper's word. A host that was killed before this process was to die with it would never give one, and the pipe
/// would not end, as this process has a copy of its other end, and others may have.
fn hear(image: &Image) -> Result<(), Errno> {
    let mut fds = [PollFd::new(&image.go, PollFlags::IN), PollFd::new(&image.host, PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))?;
    if fds[0].revents().is_empty() {
        return Err(Errno::PIPE);
    }
    match rustix::io::retry_on_intr(|| rustix::io::read(&image.go, &mut [0]))? {
        1 => Ok(()),
        _ => Err(Errno::PIPE),
    }
}

/// Shows the processes of its own space and no others, and the settings of the machine to be read alone: most of them are open to
/// the superuser by user id, whatever rights are given up. Not possible where the system lets nobody mount, as within another sandbox.
fn hide_host() -> Result<(), Errno> {
    // SAFETY: no descriptor is concerned, and nobody else is in this process.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS)? };
    // Nothing that is mounted from here on is seen outside.
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let settings = keep_as_they_are(c"/sys");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    rustix::mount::mount(c"proc", c"/proc", c"proc", flags, None)?;
    settings
}

/// What is mounted at a path and below is only read from here on.
fn keep_as_they_are(path: &CStr) -> Result<(), Errno> {
    let wanted =
        libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: `path` ends with NUL, and `wanted` is what the call reads, of the size given; both outlive it.
    let changed = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            ptr::from_ref(&wanted),
            size_of::<libc::mount_attr>(),
        )
    };
    match changed {
        0 => Ok(()),
        _ => match last_errno() {
            Errno::NOENT => Ok(()),
            errno => Err(errno),
        },
    }
}

/// No right of the superuser is left, and none can be had: not by a file's mode, nor by its capabilities.
fn give_up_rights() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)?;
    let has_any = rustix::thread::capabilities(None)?;
    if has_any.effective.contains(CapabilitySet::SETPCAP) {
        for bit in 0..u64::BITS {
            match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
                1 << bit,
            )) {
                // More than this system has.
                Err(Errno::INVAL) => break,
                dropped => dropped?,
            }
        }
    } else if rustix::process::geteuid().is_root() {
        // Its program would get back what cannot be taken away here, unless that is nothing.
        let mut left = (0..u64::BITS).map(|bit| {
            rustix::thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << bit))
        });
        if left.any(|is_left| is_left == Ok(true)) {
            return Err(Errno::PERM);
        }
    }
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    // A change of rights may have made the system forget it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
}

/// All but the streams, when the program starts.
fn close_descriptors() -> Result<(), Errno> {
    // SAFETY: it closes nothing now, so whoever owns a descriptor here still does; the program knows of none.
    let closed =
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if closed == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Signals do what they do by default, and none is blocked.
fn forget_signals() {
    for number in 1..=SIGNAL_MAX {
        // SAFETY: the default is no function of this program. Numbers that cannot be set are refused, which is as well.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // SAFETY: the set is initialised before it is read, and lives until the call is over.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

fn sleep(time: Duration) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
    // SAFETY: it reads `time` and writes nothing.
    unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
}

fn last_errno() -> Errno {
    // SAFETY: it is this thread's own number, and lives as long as the thread.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

/// Keeps every signal from this thread, so that no handler of the host runs in a process that it makes.
pub(super) fn block_signals() {
    // SAFETY: the set is initialised before it is read, and lives until the call is over.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
    }
}

/// Gives a process in a space of user ids of its own the one id that it has outside.
pub(super) fn map_users(pid: Pid) -> Result<(), Errno> {
    let write = |file: &str, text: String| -> Result<(), Errno> {
        let path = format!("/proc/{}/{file}", pid.as_raw_pid());
        let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, text.as_bytes()).map(drop)
    };
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{user} {user} 1\n"))?;
    write("gid_map", format!("{group} {group} 1\n"))
}

/// A descriptor that is not one of the three streams, which the program gets others for.
pub(super) fn above_streams(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() > 2 { Ok(fd) } else { rustix::io::fcntl_dupfd_cloexec(&fd, 3) }
}
