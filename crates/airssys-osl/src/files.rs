//! Files and folders behind the gate: who wants something names a root and a path below it, and what is allowed is done there.
//!
//! No link is followed, neither on the way nor at the end: a link inside a root could lead to what is denied there, and one
//! may be put in place between a look and a use. Only regular files with one name are read, written, renamed and copied;
//! folders are not renamed, because what is denied inside would come to lie where it is not. What a file is renamed from is
//! looked at just before: whoever can write the folder by other means can put something else there at that moment. Names that somebody may not
//! look at are not listed.

mod handle;
mod operation;
mod own;
mod place;
mod slots;
mod temporary;
mod transform;
mod tree;
mod watch;

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{AtFlags, OFlags};
use tokio::sync::Semaphore;

pub use handle::{FileReader, FileWriter};
pub use operation::{FileOperation, FilesError};
pub use own::OwnFiles;
pub use temporary::TemporaryFile;
pub use transform::TransformError;
pub use tree::TreeBounds;
pub use watch::{FileChange, Watch, WatchEvent};

use crate::access::{Access, FilePath, FileVerb, Name, RelPath, Subject};
use crate::fs::{self, FsError, Root};
use crate::gate::Gate;
use handle::{Course, Draft, Way};
use place::Place;
use slots::{Slot, Slots};
use tree::{Kept, Survey};

/// What one subject may hold open at once, unless the program says otherwise.
const OPEN_MAX: u32 = 128;
/// Threads that [`Files::from_task`] keeps waiting for disks at once.
const TASKS_MAX: usize = 64;

/// The roots of a program and the gate before them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Files {
    gate: Gate,
    roots: Arc<HashMap<Name, Opened>>,
    slots: Slots,
    open_max: u32,
    tasks: Arc<Semaphore>,
}

/// A root, and whether it is one.
#[derive(Debug)]
struct Opened {
    root: Root,
    /// The kernel speaks there of itself, so nothing there is a file to be granted.
    is_of_the_kernel: bool,
}

/// What something in a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A link, which leads nowhere here.
    Link,
    /// A device, FIFO or socket.
    Other,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What is known of a file or folder without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// What it is.
    pub kind: Kind,
    /// Bytes of a file.
    pub len: u64,
    /// When its content changed last.
    pub modified: Option<SystemTime>,
}

impl Files {
    /// These roots behind this gate. What a policy calls `name:path` is below the root of that name. In a root where the kernel
    /// speaks of itself, such as `/proc` and `/sys`, nothing is done. A subject holds at most 128 handles open.
    pub fn new(gate: Gate, roots: impl IntoIterator<Item = (Name, Root)>) -> Self {
        let open = |(name, root): (Name, Root)| {
            let is_of_the_kernel = fs::is_of_the_kernel(root.dir());
            (name, Opened { root, is_of_the_kernel })
        };
        Self {
            gate,
            roots: Arc::new(roots.into_iter().map(open).collect()),
            slots: Slots::default(),
            open_max: OPEN_MAX,
            tasks: Arc::new(Semaphore::new(TASKS_MAX)),
        }
    }

    /// The same files, of which a subject holds at most `open_max` handles at once.
    pub fn with_open_max(self, open_max: u32) -> Self {
        Self { open_max, ..self }
    }

    /// Does `work` where it may wait for the disk, for tasks that must not: the decision, the effect and its record in one go. At
    /// most 64 do so at once, so that a slow disk does not keep the threads of others. Dropped before it is done, the work is
    /// done nevertheless if it had begun.
    pub async fn from_task<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let turn = self.tasks.clone().acquire_owned().await;
        let turn = turn.expect("nobody closes the semaphore");
        let files = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&files)
        });
        done.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// The bytes of a file of at most `bytes_max`. Takes `read`.
    pub fn read(&self, subject: &Subject, path: &str, bytes_max: u64) -> Result<Vec<u8>, FilesError> {
        self.act(
            subject,
            self.wanted(subject, "fs.read", &[FileVerb::Read], path)?.of_bytes(bytes_max),
            |place, _| place.read(bytes_max),
        )
    }

    /// Puts `bytes` at a path as a file that only the owner may use. Whoever reads sees the old file or the new one, also after
    /// a crash. Takes `create` and `write`.
    pub fn write(&self, subject: &Subject, path: &str, bytes: &[u8]) -> Result<(), FilesError> {
        let verbs = [FileVerb::Create, FileVerb::Write];
        self.act(
            subject,
            self.wanted(subject, "fs.write", &verbs, path)?.of_bytes(bytes.len() as u64),
            |place, _| replace(place, bytes),
        )
    }

    /// Adds `bytes` at the end of a file that exists. Takes `write`.
    pub fn append(&self, subject: &Subject, path: &str, bytes: &[u8]) -> Result<(), FilesError> {
        self.act(
            subject,
            self.wanted(subject, "fs.append", &[FileVerb::Write], path)?.of_bytes(bytes.len() as u64),
            |place, _| {
                let (mut file, _) = place.open_regular(OFlags::WRONLY | OFlags::APPEND)?;
                file.write_all(bytes).map_err(|source| place.fail("append to", source))
            },
        )
    }

    /// A file of at most `bytes_max`, to be read piece by piece. Takes `read`.
    pub fn open_read(&self, subject: &Subject, path: &str, bytes_max: u64) -> Result<FileReader, FilesError> {
        let operation = self.wanted(subject, "fs.open-read", &[FileVerb::Read], path)?.of_bytes(bytes_max);
        self.open(subject, operation, |place, course| {
            let (file, seen) = place.open_regular(OFlags::RDONLY)?;
            if seen.stx_size > bytes_max {
                return Err(FsError::TooLarge { path: place.shown(), limit: bytes_max });
            }
            Ok(FileReader::new(file, bytes_max, course(&place)))
        })
    }

    /// A file of at most `bytes_max` that is put at a path when it is finished, as [`Files::write`] does. Dropped before, it is
    /// gone, and what was there stays. Takes `create` and `write`.
    pub fn open_replace(
        &self,
        subject: &Subject,
        path: &str,
        bytes_max: u64,
    ) -> Result<FileWriter, FilesError> {
        let verbs = [FileVerb::Create, FileVerb::Write];
        let operation = self.wanted(subject, "fs.open-replace", &verbs, path)?.of_bytes(bytes_max);
        self.open(subject, operation, |place, course| {
            let course = course(&place);
            let (draft, file) = Draft::begin(place)?;
            Ok(FileWriter::new(file, Way::Replacing(draft), bytes_max, course))
        })
    }

    /// A file that exists, to be changed where it is, from its beginning and up to `bytes_max`. Whoever reads meanwhile sees
    /// what is written so far. Takes `write`.
    pub fn open_write(
        &self,
        subject: &Subject,
        path: &str,
        bytes_max: u64,
    ) -> Result<FileWriter, FilesError> {
        let operation = self.wanted(subject, "fs.open-write", &[FileVerb::Write], path)?.of_bytes(bytes_max);
        self.open(subject, operation, |place, course| {
            let (file, _) = place.open_regular(OFlags::WRONLY)?;
            Ok(FileWriter::new(file, Way::InPlace, bytes_max, course(&place)))
        })
    }

    /// A file that exists, to be lengthened by at most `bytes_max`. Takes `write`.
    pub fn open_append(
        &self,
        subject: &Subject,
        path: &str,
        bytes_max: u64,
    ) -> Result<FileWriter, FilesError> {
        let operation = self.wanted(subject, "fs.open-append", &[FileVerb::Write], path)?.of_bytes(bytes_max);
        self.open(subject, operation, |place, course| {
            let (file, _) = place.open_regular(OFlags::WRONLY | OFlags::APPEND)?;
            Ok(FileWriter::new(file, Way::Appending, bytes_max, course(&place)))
        })
    }

    /// A file without a name on the disk of a folder, of at most `bytes_max`, gone when it is dropped. Takes `create`, `write` and
    /// `read` of the name `temporary` in the folder, which it does not get.
    pub fn temporary(
        &self,
        subject: &Subject,
        folder: &str,
        bytes_max: u64,
    ) -> Result<TemporaryFile, FilesError> {
        let verbs = [FileVerb::Create, FileVerb::Write, FileVerb::Read];
        let operation =
            self.wanted(subject, "fs.temporary", &verbs, &format!("{folder}/temporary"))?.of_bytes(bytes_max);
        self.gate.admit(subject, operation)?.perform(|operation| {
            let slot = self.slot(subject)?;
            let folder = operation.target.path.parent().expect("the name is below the folder");
            let path = FilePath { root: operation.target.root, path: folder };
            let place = self.place(&path)?;
            Ok(TemporaryFile::make(&place, path.root.clone(), bytes_max, slot)?)
        })
    }

    /// Puts a temporary file at a path of the root it was made in, as [`Files::write`] does. Takes `create` and `write`.
    pub fn keep(&self, subject: &Subject, file: TemporaryFile, path: &str) -> Result<(), FilesError> {
        let verbs = [FileVerb::Create, FileVerb::Write];
        let operation = self.wanted(subject, "fs.keep", &verbs, path)?;
        self.gate.admit(subject, operation)?.perform(|operation| {
            let FilePath { root, .. } = &operation.target;
            if *root != file.root {
                return Err(FilesError::TwoRoots { from: file.root.clone(), to: root.clone() });
            }
            Ok(file.put(self.place(&operation.target)?)?)
        })
    }

    /// What is known of a file, a folder or a link itself. Takes `stat`.
    pub fn stat(&self, subject: &Subject, path: &str) -> Result<About, FilesError> {
        self.act(subject, self.wanted(subject, "fs.stat", &[FileVerb::Stat], path)?, |place, _| {
            place.look().map(About::of)
        })
    }

    /// The names in a folder that the subject may look at, sorted; an error if they are more than `entries_max`. Takes
    /// `list` of the folder, and `stat` of each name.
    pub fn list(&self, subject: &Subject, path: &str, entries_max: usize) -> Result<Vec<Entry>, FilesError> {
        self.act(subject, self.wanted(subject, "fs.list", &[FileVerb::List], path)?, |place, operation| {
            let policy = self.gate.policy();
            place.entries(entries_max, |name| {
                operation.target.path.join(name).is_ok_and(|path| {
                    let path = FilePath { root: operation.target.root.clone(), path };
                    let looks = Access::File { verb: FileVerb::Stat, path };
                    policy.decide(subject, &looks).is_allowed()
                })
            })
        })
    }

    /// Makes a folder. Takes `create`.
    pub fn create_folder(&self, subject: &Subject, path: &str) -> Result<(), FilesError> {
        self.act(subject, self.wanted(subject, "fs.create-folder", &[FileVerb::Create], path)?, |place, _| {
            place.create_folder()
        })
    }

    /// Removes a file or a link. Takes `remove`.
    pub fn remove(&self, subject: &Subject, path: &str) -> Result<(), FilesError> {
        self.act(subject, self.wanted(subject, "fs.remove", &[FileVerb::Remove], path)?, |place, _| {
            place.unlink(AtFlags::empty())
        })
    }

    /// Removes an empty folder. Takes `remove`.
    pub fn remove_folder(&self, subject: &Subject, path: &str) -> Result<(), FilesError> {
        self.act(subject, self.wanted(subject, "fs.remove-folder", &[FileVerb::Remove], path)?, |place, _| {
            place.unlink(AtFlags::REMOVEDIR)
        })
    }

    /// Gives a file another name in its root, in place of a file that has it. Takes `read` and `remove` of the one, `create` and
    /// `write` of the other.
    pub fn rename(&self, subject: &Subject, from: &str, to: &str) -> Result<(), FilesError> {
        let verbs = [FileVerb::Create, FileVerb::Write];
        let operation = self.wanted_of_two(
            subject,
            "fs.rename",
            (&[FileVerb::Read, FileVerb::Remove], from),
            (&verbs, to),
        )?;
        self.gate.admit(subject, operation)?.perform(|operation| {
            operation.in_one_root()?;
            let (from, to) = self.both(&operation)?;
            from.regular()?;
            to.replaceable()?;
            Ok(from.rename(&to)?)
        })
    }

    /// Makes a link at `at` that leads to `to` in the same root, by the way between them. Takes `create` and `link` of the one,
    /// `link` of the other. Nothing here follows it: it is for programs that do, and what they may do decides who starts
    /// them. A second name for a file, a hard link, is never made.
    pub fn link(&self, subject: &Subject, at: &str, to: &str) -> Result<(), FilesError> {
        let verbs = [FileVerb::Create, FileVerb::Link];
        let operation = self.wanted_of_two(subject, "fs.link", (&verbs, at), (&[FileVerb::Link], to))?;
        self.gate.admit(subject, operation)?.perform(|operation| {
            operation.in_one_root()?;
            let (at, to) = self.both(&operation)?;
            // One that leads over another link, or to nothing, could lead elsewhere tomorrow.
            to.look_at_file_or_folder()?;
            Ok(at.link_to(&way(&operation.target.path, &operation.second().path))?)
        })
    }

    /// Where a link says that it leads, which is not followed. Takes `read`.
    pub fn read_link(&self, subject: &Subject, path: &str) -> Result<String, FilesError> {
        self.act(subject, self.wanted(subject, "fs.read-link", &[FileVerb::Read], path)?, |place, _| {
            place.read_link()
        })
    }

    /// Removes a folder with all that is in it, and says how many names are gone. Takes `remove` of the folder and of every name
    /// below it. With one that is denied nothing is removed; what fails on the way, as when something else comes to lie there
    /// meanwhile, leaves the rest.
    pub fn remove_tree(
        &self,
        subject: &Subject,
        path: &str,
        bounds: TreeBounds,
    ) -> Result<usize, FilesError> {
        let operation = self.wanted(subject, "fs.remove-tree", &[FileVerb::Remove], path)?;
        self.gate.admit(subject, operation)?.perform(|operation| {
            let target = operation.target;
            let place = self.place(&target)?;
            let policy = self.gate.policy();
            let below = |path: &RelPath| FilePath { root: target.root.clone(), path: path.clone() };
            let may_go = |path: &RelPath| {
                let goes = Access::File { verb: FileVerb::Remove, path: below(path) };
                policy.decide(subject, &goes).is_allowed()
            };
            match Survey::make(&place, &target.path, bounds, &may_go) {
                Ok(survey) => Ok(survey.prune(&place)?),
                Err(Kept::Failed(error)) => Err(error.into()),
                Err(Kept::Denied(path)) => {
                    // The log gets the name and the rule, and the subject does not.
                    let denied = FileOperation::of("fs.remove-tree", &[FileVerb::Remove], below(&path));
                    let error = FilesError::DeniedBelow { path: target.clone() };
                    match self.gate.admit(subject, denied) {
                        // By now it is allowed; but it was not when everything was decided.
                        Ok(permit) => permit.perform(|_| Err(error)),
                        Err(_) => Err(error),
                    }
                }
            }
        })
    }

    /// Copies a file of at most `bytes_max` bytes, in place of a file that has the name. Takes `read` of the one, `create` and
    /// `write` of the other.
    pub fn copy(&self, subject: &Subject, from: &str, to: &str, bytes_max: u64) -> Result<(), FilesError> {
        let verbs = [FileVerb::Create, FileVerb::Write];
        let operation = self
            .wanted_of_two(subject, "fs.copy", (&[FileVerb::Read], from), (&verbs, to))?
            .of_bytes(bytes_max);
        self.gate.admit(subject, operation)?.perform(|operation| {
            let (from, to) = self.both(&operation)?;
            to.replaceable()?;
            Ok(replace(to, &from.read(bytes_max)?)?)
        })
    }

    /// Tells what changes in a folder from now on. Takes `watch` of the folder, and `stat` of each name that is told.
    pub fn watch(&self, subject: &Subject, path: &str) -> Result<Watch, FilesError> {
        let operation = self.wanted(subject, "fs.watch", &[FileVerb::Watch], path)?;
        let folder = operation.target.clone();
        self.open(subject, operation, |place, course| {
            Watch::begin(&place, folder, self.gate.clone(), subject.clone(), || course(&place))
        })
    }

    /// The gate and the roots, for the wall that is built from both.
    pub(crate) fn grounds(&self) -> (&Gate, impl Iterator<Item = (&Name, &Root)>) {
        let granted = self.roots.iter().filter(|(_, opened)| !opened.is_of_the_kernel);
        (&self.gate, granted.map(|(name, opened)| (name, &opened.root)))
    }

    /// An operation on this path. A text that is none is on record like what is denied.
    fn wanted(
        &self,
        subject: &Subject,
        name: &'static str,
        verbs: &[FileVerb],
        text: &str,
    ) -> Result<FileOperation, FilesError> {
        FileOperation::new(name, verbs, text).inspect_err(|error| self.tell_refused(subject, name, error))
    }

    /// As [`Files::wanted`], on two paths.
    fn wanted_of_two(
        &self,
        subject: &Subject,
        name: &'static str,
        (verbs, text): (&[FileVerb], &str),
        (others, other): (&[FileVerb], &str),
    ) -> Result<FileOperation, FilesError> {
        FileOperation::new(name, verbs, text)
            .and_then(|operation| operation.and(others, other))
            .inspect_err(|error| self.tell_refused(subject, name, error))
    }

    fn tell_refused(&self, subject: &Subject, name: &'static str, error: &FilesError) {
        if let FilesError::Path { text, source } = error {
            self.gate.refuse_text(subject, name, text, source);
        }
    }

    fn act<T>(
        &self,
        subject: &Subject,
        operation: FileOperation,
        effect: impl FnOnce(Place<'_>, &FileOperation) -> Result<T, FsError>,
    ) -> Result<T, FilesError> {
        self.gate.admit(subject, operation)?.perform(|operation| {
            let place = self.place(&operation.target)?;
            Ok(effect(place, &operation)?)
        })
    }

    /// Opens what stays open: its outcome is said by the handle, or here if there is none.
    fn open<T>(
        &self,
        subject: &Subject,
        operation: FileOperation,
        open: impl FnOnce(Place<'_>, &mut dyn FnMut(&Place<'_>) -> Course) -> Result<T, FsError>,
    ) -> Result<T, FilesError> {
        let (operation, ticket) = self.gate.admit(subject, operation)?.begin();
        let mut ticket = Some(ticket);
        let opened = (|| {
            let mut slot = Some(self.slot(subject)?);
            let place = self.place(&operation.target)?;
            let mut course = |place: &Place<'_>| {
                let (ticket, slot) = (ticket.take(), slot.take());
                Course::new(
                    ticket.expect("a handle is made once"),
                    place.shown(),
                    slot.expect("a handle is made once"),
                )
            };
            Ok(open(place, &mut course)?)
        })();
        if let (Err(error), Some(ticket)) = (&opened, ticket) {
            ticket.say(Some(error));
        }
        opened
    }

    fn slot(&self, subject: &Subject) -> Result<Slot, FilesError> {
        let limit = self.open_max;
        self.slots.take(subject, limit).ok_or(FilesError::TooManyOpen { limit })
    }

    fn both<'w>(&'w self, operation: &'w FileOperation) -> Result<(Place<'w>, Place<'w>), FilesError> {
        Ok((self.place(&operation.target)?, self.place(operation.second())?))
    }

    fn place<'w>(&'w self, path: &'w FilePath) -> Result<Place<'w>, FilesError> {
        let opened =
            self.roots.get(&path.root).ok_or_else(|| FilesError::NoRoot { root: path.root.clone() })?;
        if opened.is_of_the_kernel {
            return Err(FsError::OfTheKernel { path: opened.root.label().to_owned() }.into());
        }
        Ok(Place::find(&opened.root, &path.path)?)
    }
}

/// Puts a file of the owner's own there, whole or not at all.
fn replace(place: Place<'_>, bytes: &[u8]) -> Result<(), FsError> {
    let shown = place.shown();
    let (mut draft, mut file) = Draft::begin(place)?;
    file.write_all(bytes).map_err(|source| place::of("write", shown.clone(), source))?;
    draft.put(&file, || shown.clone())
}

/// The way from a link to something in the same root.
fn way(at: &RelPath, to: &RelPath) -> String {
    let folder = at.parent().unwrap_or_else(RelPath::root);
    let parts = |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let (from, to): (Vec<String>, Vec<String>) = (parts(folder.as_str()), parts(to.as_str()));
    let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let mut way = vec!["..".to_owned(); from.len() - shared];
    way.extend_from_slice(&to[shared..]);
    if way.is_empty() { ".".to_owned() } else { way.join("/") }
}
