//! The whole of a program's processes: how they are counted and how they all end.
//!
//! In a space of process ids of its own everything ends with the first process, by the system. A control group bounds how many
//! there are, and can end them too. Where there is neither, descendants are looked for until none is left.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

/// Bytes of a small file of the system that are read.
const PROC_BYTES_MAX: usize = 64 << 10;
/// Times that descendants are looked for.
const SEARCHES_MAX: u32 = 1000;
/// Times that a group is tried to be removed, as its last members may still be going, and the time between.
const REMOVALS_MAX: u32 = 500;
const REMOVAL_WAIT: Duration = Duration::from_millis(10);

/// Control groups made for one run, removed with this value.
#[derive(Debug)]
pub(super) struct Cgroup {
    places: Vec<Place>,
    pub(super) bounds: bool,
    kill: Option<OwnedFd>,
}

#[derive(Debug)]
struct Place {
    parent: OwnedFd,
    name: String,
    folder: OwnedFd,
}

/// The group in a group that the members are in. Who makes a space of control groups of its own sees that one as the first of all,
/// and can lift what is written there; the bound is written above it.
const MEMBERS: &str = "members";
/// Groups in groups that are removed with them.
const DEPTH_MAX: usize = 64;

/// How groups are called, before the number of the process that made them.
const PREFIX: &str = "airssys-";

/// Whether what killed processes left was removed once.
static HAS_SWEPT: AtomicBool = AtomicBool::new(false);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Cgroup {
    /// Groups below those that this process is in, if the system has them and lets us.
    pub(super) fn make(processes_max: u64) -> Option<Self> {
        let own = read(
            rustix::fs::open("/proc/self/cgroup", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?,
        )
        .ok()?;
        let is_first = !HAS_SWEPT.swap(true, Ordering::Relaxed);
        let mut made = Cgroup { places: Vec::new(), bounds: false, kill: None };
        for line in own.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let mounts: &[&str] = match controllers {
                "" => &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
                controllers if controllers.split(',').any(|name| name == "pids") => &["/sys/fs/cgroup/pids"],
                _ => continue,
            };
            let place = mounts
                .iter()
                .find_map(|mount| Place::make(mount, path.trim_start_matches('/'), is_first).ok());
            let Some(place) = place else { continue };
            made.bounds |= place.write("pids.max", &processes_max.to_string()).is_ok();
            if let Ok(kill) = place.open("cgroup.kill", OFlags::WRONLY) {
                made.kill = Some(kill);
            }
            made.places.push(place);
        }
        let is_useful = made.bounds || made.kill.is_some();
        is_useful.then_some(made)
    }

    /// Where a process that is to be a member writes so.
    pub(super) fn members(&self) -> Result<Vec<OwnedFd>, Errno> {
        self.places
            .iter()
            .map(|place| place.open(&format!("{MEMBERS}/cgroup.procs"), OFlags::WRONLY))
            .collect()
    }

    pub(super) fn can_kill(&self) -> bool {
        self.kill.is_some()
    }

    fn kill(&self) {
        if let Some(kill) = &self.kill
            && let Err(error) = rustix::io::write(kill, b"1")
        {
            tracing::error!(%error, "a control group could not be told to end");
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for place in &self.places {
            place.remove();
        }
    }
}

impl Place {
    fn make(mount: &str, path: &str, is_first: bool) -> Result<Self, Errno> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mount = rustix::fs::open(mount, FOLDER, Mode::empty())?;
        let parent =
            if path.is_empty() { mount } else { rustix::fs::openat(&mount, path, FOLDER, Mode::empty())? };
        // Only where there are control groups.
        rustix::fs::accessat(&parent, "cgroup.procs", rustix::fs::Access::WRITE_OK, AtFlags::empty())?;
        if is_first {
            sweep(&parent)?;
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{count}", rustix::process::getpid().as_raw_pid());
        match rustix::fs::mkdirat(&parent, &name, Mode::RWXU) {
            // Left by a process that had this number and was killed.
            Err(Errno::EXIST) => {
                remove(parent.as_fd(), &name, 0)?;
                rustix::fs::mkdirat(&parent, &name, Mode::RWXU)?;
            }
            made => made?,
        }
        let folder = rustix::fs::openat(&parent, &name, FOLDER, Mode::empty());
        let folder = folder.and_then(|folder| {
            rustix::fs::mkdirat(&folder, MEMBERS, Mode::RWXU)?;
            Ok(folder)
        });
        match folder {
            Ok(folder) => Ok(Self { parent, name, folder }),
            Err(error) => {
                rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR)?;
                Err(error)
            }
        }
    }

    fn open(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.folder, name, flags | OFlags::CLOEXEC, Mode::empty())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Errno> {
        rustix::io::write(&self.open(name, OFlags::WRONLY)?, text.as_bytes()).map(drop)
    }

    fn remove(&self) {
        for _ in 0..REMOVALS_MAX {
            match remove(self.parent.as_fd(), &self.name, 0) {
                Ok(()) | Err(Errno::NOENT) => return,
                Err(_) => std::thread::sleep(REMOVAL_WAIT),
            }
        }
        tracing::warn!(name = self.name, "a control group could not be removed");
    }
}

/// Removes a group, and those in it, which its members may have made.
fn remove(parent: BorrowedFd<'_>, name: &str, depth: usize) -> Result<(), Errno> {
    let removed = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
    if removed.is_ok() || depth == DEPTH_MAX {
        return removed;
    }
    let folder = rustix::fs::openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&folder)? {
        let entry = entry?;
        match entry.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(below) if entry.file_type() == FileType::Directory => {
                remove(folder.as_fd(), below, depth + 1)?
            }
            Ok(_) => {}
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Removes groups whose maker is gone. One that has members cannot be removed, whoever made it.
fn sweep(parent: &OwnedFd) -> Result<(), Errno> {
    for entry in rustix::fs::Dir::read_from(parent)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(maker) = maker.and_then(|maker| Pid::from_raw(maker.parse().ok()?)) else { continue };
        if rustix::process::test_kill_process(maker) == Err(Errno::SRCH)
            && let Err(error) = remove(parent.as_fd(), name, 0)
        {
            tracing::debug!(name, %error, "a control group of a process that is gone stays");
        }
    }
    Ok(())
}

/// Ends the first process of a tree and what else can be found of it by these means.
pub(super) fn kill(pid: Pid, pidfd: BorrowedFd<'_>, has_namespace: bool, cgroup: Option<&Cgroup>) {
    if !has_namespace {
        // It makes no more of them, and lives, as those that lose their parent become its own.
        say(pidfd, Signal::STOP);
        // The group is its user's, so what is in it may have left it.
        search(pid);
    }
    if let Some(cgroup) = cgroup {
        cgroup.kill();
    }
    say(pidfd, Signal::KILL);
}

/// Signals one process; that it has ended is as well.
fn say(pidfd: BorrowedFd<'_>, signal: Signal) {
    match rustix::process::pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => tracing::error!(%error, "a process could not be ended"),
    }
}

/// Ends descendants of a process, and members of the session that it began, until none is found. It must not have been waited for.
fn search(first: Pid) {
    for _ in 0..SEARCHES_MAX {
        let Ok(all) = processes() else { return };
        let mut tree = vec![first.as_raw_pid()];
        let mut found = Vec::new();
        loop {
            let is_in = |process: &&Process| {
                !tree.contains(&process.pid)
                    && (tree.contains(&process.parent) || process.session == first.as_raw_pid())
            };
            let more: Vec<i32> = all.iter().filter(is_in).map(|process| process.pid).collect();
            if more.is_empty() {
                break;
            }
            found.extend(all.iter().filter(|process| more.contains(&process.pid) && !process.is_over));
            tree.extend(more);
        }
        if found.is_empty() {
            return;
        }
        for process in found {
            let Some(pid) = Pid::from_raw(process.pid) else { continue };
            let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
            // The number may have gone to another meanwhile.
            if Process::read(process.pid).is_some_and(|now| now.began == process.began) {
                say(pidfd.as_fd(), Signal::KILL);
            }
        }
    }
    tracing::error!(pid = first.as_raw_pid(), "descendants of a program come faster than they are ended");
}

/// A process as the system shows it.
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
    /// With its number, who it is.
    began: u64,
    is_over: bool,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat =
            read(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?).ok()?;
        // The name stands in parentheses and may contain anything.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        let is_over = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        let began = fields.nth(15)?.parse().ok()?;
        Some(Self { pid, parent, session, began, is_over })
    }
}

fn processes() -> io::Result<Vec<Process>> {
    let folder = rustix::fs::open("/proc", FOLDER, Mode::empty())?;
    let entries = rustix::fs::Dir::read_from(&folder)?;
    let pid = |name: CString| name.to_str().ok()?.parse::<i32>().ok();
    let pids = entries.filter_map(|entry| pid(entry.ok()?.file_name().to_owned()));
    Ok(pids.filter_map(Process::read).collect())
}

/// Whether a process does what it does by itself at this signal, which is not the default.
pub(super) fn handles(pid: Pid, signal: Signal) -> bool {
    let path = format!("/proc/{}/status", pid.as_raw_pid());
    let status = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok();
    let Some(status) = status.and_then(|file| read(file).ok()) else {
        return true;
    };
    ["SigIgn:", "SigCgt:"].iter().any(|key| {
        let mask = status.lines().find_map(|line| line.strip_prefix(key));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & 1 << (signal.as_raw() - 1) != 0)
    })
}

fn read(file: OwnedFd) -> io::Result<String> {
    let (mut text, mut len) = (vec![0; PROC_BYTES_MAX], 0);
    loop {
        match rustix::io::read(&file, &mut text[len..])? {
            0 => break,
            more => len += more,
        }
    }
    text.truncate(len);
    // A process chooses its name, which stands there too.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn f12_without_a_namespace_and_a_group_descendants_are_found_one_by_one() {
        let script = "setsid sh -c 'sleep 60 & sleep 60' & sh -c 'sleep 60 & echo up; sleep 60'";
        let mut child = Command::new("/bin/sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
        let tree = |first: Pid| {
            let all = processes().unwrap();
            let mut tree = vec![first.as_raw_pid()];
            for _ in 0..8 {
                let more =
                    |process: &&Process| tree.contains(&process.parent) && !tree.contains(&process.pid);
                let more: Vec<i32> = all.iter().filter(more).map(|process| process.pid).collect();
                tree.extend(more);
            }
            tree.split_off(1)
        };
        let descendants = tree(pid);
        assert!(descendants.len() >= 3, "{descendants:?}");
        kill(pid, pidfd.as_fd(), false, None);
        child.wait().unwrap();
        // Whoever inherits them waits for them in its own time.
        let is_gone = |pid: &i32| Process::read(*pid).is_none_or(|process| process.is_over);
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while !descendants.iter().all(is_gone) {
            assert!(std::time::Instant::now() < end, "{descendants:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
