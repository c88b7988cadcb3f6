//! What changes in a folder.
//!
//! The folder that was opened is watched, whatever comes to have its name later; what is below its folders is not. The kernel
//! keeps the events that nobody has taken, up to a bound of its own; what is over it is lost, and one event says that. Names that
//! the subject may not look at when their event is taken are not told, and when it may no longer watch, the watch ends.

use std::collections::VecDeque;
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::net::unix::pipe::Receiver;

use super::handle::Course;
use super::place::{Place, of};
use crate::access::{Access, FilePath, FileVerb, Subject};
use crate::beneath::FOLDER;
use crate::fs::FsError;
use crate::gate::Gate;

/// Bytes of events that are taken from the kernel at once: some ten of them with long names, some hundred with short ones.
const BUFFER_BYTES: usize = 4096;

/// One folder that is watched, until it is dropped.
pub struct Watch {
    inotify: OwnedFd,
    gate: Gate,
    subject: Subject,
    folder: FilePath,
    /// Taken from the kernel at once, and not yet told.
    taken: VecDeque<WatchEvent>,
    has_ended: bool,
    course: Course,
}

/// Something that happened in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// With this name.
    Name {
        /// Which.
        name: String,
        /// What.
        change: FileChange,
    },
    /// More than was kept. Whoever wants to know what is there now lists the folder.
    Missed,
    /// The last: the folder is gone or was moved, or watching it is no longer allowed.
    Ended,
}

/// What happened with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileChange {
    /// It is new, or something else has it now.
    Appeared,
    /// The content of a file with it is another.
    Changed,
    /// Nothing has it any more.
    Gone,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Watch {
    pub(super) fn begin(
        place: &Place<'_>,
        folder: FilePath,
        gate: Gate,
        subject: Subject,
        course: impl FnOnce() -> Course,
    ) -> Result<Self, FsError> {
        place.look()?;
        let opened = place.open_for(FOLDER)?;
        let fail = |error: Errno| place.fail("watch", error);
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(fail)?;
        let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MODIFY | WatchFlags::MOVE;
        let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let flags = names | itself | WatchFlags::ONLYDIR | WatchFlags::EXCL_UNLINK;
        // By the descriptor, so that what was checked is what is watched.
        let own = format!("/proc/self/fd/{}", opened.as_raw_fd());
        inotify::add_watch(&inotify, own, flags).map_err(fail)?;
        let taken = VecDeque::new();
        Ok(Self { inotify, gate, subject, folder, taken, has_ended: false, course: course() })
    }

    /// The next event; none within `wait`.
    pub fn next(&mut self, wait: Duration) -> Result<Option<WatchEvent>, FsError> {
        let until = std::time::Instant::now() + wait.min(Duration::from_secs(u32::MAX.into()));
        loop {
            if let Some(event) = self.take()? {
                return Ok(Some(event));
            }
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let left = Timespec::try_from(left).expect("it is less than the longest time there is");
            match rustix::event::poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(self.fail(error)),
            }
        }
    }

    /// [`Watch::next`] for tasks that must not block, without a bound on the time. Dropped before it is done, no event is lost.
    pub async fn next_from_task(&mut self) -> Result<WatchEvent, FsError> {
        loop {
            if let Some(event) = self.take()? {
                return Ok(event);
            }
            let waited = async {
                // Made for pipes, and the only one that waits for any descriptor without unsafe code. It only waits.
                let inotify = Receiver::from_owned_fd_unchecked(self.inotify.try_clone()?)?;
                inotify.readable().await
            };
            waited.await.map_err(|source| of("watch", self.course.shown().to_owned(), source))?;
        }
    }

    fn fail(&self, error: Errno) -> FsError {
        of("watch", self.course.shown().to_owned(), error.into())
    }

    /// What has happened already, if anything has that may be told.
    fn take(&mut self) -> Result<Option<WatchEvent>, FsError> {
        loop {
            if self.has_ended {
                return Ok(Some(WatchEvent::Ended));
            }
            while let Some(event) = self.taken.pop_front() {
                if event == WatchEvent::Ended || !self.may(FileVerb::Watch, None) {
                    self.has_ended = true;
                    return Ok(Some(WatchEvent::Ended));
                }
                match &event {
                    WatchEvent::Name { name, .. } if !self.may(FileVerb::Stat, Some(name)) => {}
                    _ => return Ok(Some(event)),
                }
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// Takes what the kernel has. Whether it had anything.
    fn read(&mut self) -> Result<bool, FsError> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut failure = None;
        loop {
            match reader.next() {
                Ok(event) => self.taken.extend(told(&event)),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => failure = Some(error),
            }
            if let Some(error) = failure {
                return Err(self.fail(error));
            }
            if reader.is_buffer_empty() {
                return Ok(true);
            }
        }
    }

    fn may(&self, verb: FileVerb, name: Option<&str>) -> bool {
        let path = match name {
            Some(name) => self.folder.path.join(name),
            None => Ok(self.folder.path.clone()),
        };
        path.is_ok_and(|path| {
            let path = FilePath { root: self.folder.root.clone(), path };
            self.gate.policy().decide(&self.subject, &Access::File { verb, path }).is_allowed()
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.course.end();
    }
}

/// What the kernel's event is to those who watch, if anything.
fn told(event: &inotify::Event<'_>) -> Option<WatchEvent> {
    let flags = event.events();
    if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(WatchEvent::Missed);
    }
    let last = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT;
    if flags.intersects(last) {
        return Some(WatchEvent::Ended);
    }
    // One that is not text cannot be asked for.
    let name = event.file_name()?.to_str().ok()?.to_owned();
    let change = if flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
        FileChange::Appeared
    } else if flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
        FileChange::Gone
    } else {
        FileChange::Changed
    };
    Some(WatchEvent::Name { name, change })
}
