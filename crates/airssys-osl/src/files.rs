//! Files and folders behind the gate: who wants something names a root and a path below it, and what is allowed is done there.
//!
//! No link is followed, neither on the way nor at the end: a link inside a root could lead to what is denied there, and one
//! may be put in place between a look and a use. Only regular files with one name are read, written, renamed and copied;
//! folders are not renamed, because what is denied inside would come to lie where it is not. What a file is renamed from is
//! looked at just before: whoever can write the folder by other means can put something else there at that moment. Names that somebody may not
//! look at are not listed.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::access::{Access, FilePath, FileVerb, Name, PathError, RelPath, Subject};
use crate::beneath::{self, Means};
use crate::fs::{FsError, Root, read_up_to};
use crate::gate::{Denied, Gate, Operation};

/// The roots of a program and the gate before them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Files {
    gate: Gate,
    roots: Arc<HashMap<Name, Root>>,
}

/// Something to be done with files, read and checked but not yet allowed.
#[derive(Debug)]
pub struct FileOperation {
    name: &'static str,
    accesses: Vec<Access>,
    target: FilePath,
    /// Where it comes to lie, for what has two paths.
    second: Option<FilePath>,
}

/// Why something was not done with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The path is none.
    #[error("use path {}: {source}", crate::document::quoted(.text))]
    Path {
        /// As it was given.
        text: String,
        /// Why.
        #[source]
        source: PathError,
    },
    /// It is not allowed.
    #[error(transparent)]
    Denied(Box<Denied<FileOperation>>),
    /// The policy allows it in a root that the program has not opened.
    #[error("use root {root}: the program has not opened one of this name")]
    NoRoot {
        /// The root's name.
        root: Name,
    },
    /// A file is not renamed from one root into another.
    #[error("rename from root {from} to root {to}: copy the file and remove it")]
    TwoRoots {
        /// The root it is in.
        from: Name,
        /// The root it was to go to.
        to: Name,
    },
    /// It is allowed and did not work.
    #[error(transparent)]
    Failed(#[from] FsError),
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

impl From<Denied<FileOperation>> for FilesError {
    fn from(denied: Denied<FileOperation>) -> Self {
        FilesError::Denied(Box::new(denied))
    }
}

impl Operation for FileOperation {
    fn name(&self) -> &'static str {
        self.name
    }

    fn accesses(&self) -> &[Access] {
        &self.accesses
    }
}

impl FileOperation {
    fn new(name: &'static str, verbs: &[FileVerb], text: &str) -> Result<Self, FilesError> {
        let target =
            FilePath::parse(text).map_err(|source| FilesError::Path { text: text.to_owned(), source })?;
        let accesses = verbs.iter().map(|verb| Access::File { verb: *verb, path: target.clone() }).collect();
        Ok(Self { name, accesses, target, second: None })
    }

    fn and(mut self, verbs: &[FileVerb], text: &str) -> Result<Self, FilesError> {
        let second = Self::new(self.name, verbs, text)?;
        self.accesses.extend(second.accesses);
        self.second = Some(second.target);
        Ok(self)
    }

    fn second(&self) -> &FilePath {
        self.second.as_ref().expect("an operation on two paths has a second")
    }

    fn in_one_root(&self) -> Result<(), FilesError> {
        let (from, to) = (&self.target.root, &self.second().root);
        if from == to { Ok(()) } else { Err(FilesError::TwoRoots { from: from.clone(), to: to.clone() }) }
    }
}

impl Files {
    /// These roots behind this gate. What a policy calls `name:path` is below the root of that name.
    pub fn new(gate: Gate, roots: impl IntoIterator<Item = (Name, Root)>) -> Self {
        Self { gate, roots: Arc::new(roots.into_iter().collect()) }
    }

    /// The bytes of a file of at most `bytes_max`. Takes `read`.
    pub fn read(&self, subject: &Subject, path: &str, bytes_max: u64) -> Result<Vec<u8>, FilesError> {
        self.act(subject, FileOperation::new("fs.read", &[FileVerb::Read], path)?, |place, _| {
            place.read(bytes_max)
        })
    }

    /// Puts `bytes` at a path as a file that only the owner may use. Whoever reads sees the old file or the new one, also after
    /// a crash. Takes `create` and `write`.
    pub fn write(&self, subject: &Subject, path: &str, bytes: &[u8]) -> Result<(), FilesError> {
        self.act(
            subject,
            FileOperation::new("fs.write", &[FileVerb::Create, FileVerb::Write], path)?,
            |place, _| {
                place.replaceable()?;
                place.replace(bytes)
            },
        )
    }

    /// Adds `bytes` at the end of a file that exists. Takes `write`.
    pub fn append(&self, subject: &Subject, path: &str, bytes: &[u8]) -> Result<(), FilesError> {
        self.act(subject, FileOperation::new("fs.append", &[FileVerb::Write], path)?, |place, _| {
            let (mut file, _) = place.open_regular(OFlags::WRONLY | OFlags::APPEND)?;
            file.write_all(bytes).map_err(|source| place.fail("append to", source))
        })
    }

    /// What is known of a file, a folder or a link itself. Takes `stat`.
    pub fn stat(&self, subject: &Subject, path: &str) -> Result<About, FilesError> {
        self.act(subject, FileOperation::new("fs.stat", &[FileVerb::Stat], path)?, |place, _| {
            place.stat().map(About::of)
        })
    }

    /// The names in a folder that the subject may look at, sorted; an error if they are more than `entries_max`. Takes
    /// `list` of the folder, and `stat` of each name.
    pub fn list(&self, subject: &Subject, path: &str, entries_max: usize) -> Result<Vec<Entry>, FilesError> {
        self.act(subject, FileOperation::new("fs.list", &[FileVerb::List], path)?, |place, operation| {
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
        self.act(subject, FileOperation::new("fs.create-folder", &[FileVerb::Create], path)?, |place, _| {
            rustix::fs::mkdirat(&place.folder, place.name.as_str(), Mode::RWXU)
                .map_err(|error| place.fail("create", error.into()))
        })
    }

    /// Removes a file or a link. Takes `remove`.
    pub fn remove(&self, subject: &Subject, path: &str) -> Result<(), FilesError> {
        self.act(subject, FileOperation::new("fs.remove", &[FileVerb::Remove], path)?, |place, _| {
            place.unlink(AtFlags::empty())
        })
    }

    /// Removes an empty folder. Takes `remove`.
    pub fn remove_folder(&self, subject: &Subject, path: &str) -> Result<(), FilesError> {
        self.act(subject, FileOperation::new("fs.remove-folder", &[FileVerb::Remove], path)?, |place, _| {
            place.unlink(AtFlags::REMOVEDIR)
        })
    }

    /// Gives a file another name in its root, in place of a file that has it. Takes `read` and `remove` of the one, `create` and
    /// `write` of the other.
    pub fn rename(&self, subject: &Subject, from: &str, to: &str) -> Result<(), FilesError> {
        let verbs = [FileVerb::Create, FileVerb::Write];
        let operation =
            FileOperation::new("fs.rename", &[FileVerb::Read, FileVerb::Remove], from)?.and(&verbs, to)?;
        self.gate.admit(subject, operation)?.perform(|operation| {
            operation.in_one_root()?;
            let (from, to) = self.both(&operation)?;
            from.regular()?;
            to.replaceable()?;
            let renamed =
                rustix::fs::renameat(&from.folder, from.name.as_str(), &to.folder, to.name.as_str());
            Ok(renamed.map_err(|error| from.fail("rename", error.into()))?)
        })
    }

    /// Copies a file of at most `bytes_max` bytes, in place of a file that has the name. Takes `read` of the one, `create` and
    /// `write` of the other.
    pub fn copy(&self, subject: &Subject, from: &str, to: &str, bytes_max: u64) -> Result<(), FilesError> {
        let verbs = [FileVerb::Create, FileVerb::Write];
        let operation = FileOperation::new("fs.copy", &[FileVerb::Read], from)?.and(&verbs, to)?;
        self.gate.admit(subject, operation)?.perform(|operation| {
            let (from, to) = self.both(&operation)?;
            to.replaceable()?;
            Ok(to.replace(&from.read(bytes_max)?)?)
        })
    }

    /// The gate and the roots, for the wall that is built from both.
    pub(crate) fn grounds(&self) -> (&Gate, &HashMap<Name, Root>) {
        (&self.gate, &self.roots)
    }

    fn act<T>(
        &self,
        subject: &Subject,
        operation: FileOperation,
        effect: impl FnOnce(Place, &FileOperation) -> Result<T, FsError>,
    ) -> Result<T, FilesError> {
        self.gate.admit(subject, operation)?.perform(|operation| {
            let place = self.place(&operation.target)?;
            Ok(effect(place, &operation)?)
        })
    }

    fn both(&self, operation: &FileOperation) -> Result<(Place, Place), FilesError> {
        Ok((self.place(&operation.target)?, self.place(operation.second())?))
    }

    fn place(&self, path: &FilePath) -> Result<Place, FilesError> {
        let root =
            self.roots.get(&path.root).ok_or_else(|| FilesError::NoRoot { root: path.root.clone() })?;
        Ok(Place::find(root, &path.path)?)
    }
}

/// A name in a folder that was opened: what was decided is what is used.
struct Place {
    folder: OwnedFd,
    name: String,
    /// For messages only.
    shown: PathBuf,
}

impl Place {
    fn find(root: &Root, path: &RelPath) -> Result<Self, FsError> {
        let shown = root.path_of(path.as_path());
        let folder = path.parent().unwrap_or_else(RelPath::root);
        let folder = beneath::open_folder(root.dir(), &folder, Means::Best)
            .map_err(|source| of("open", shown.clone(), source))?;
        let name = path.as_str().rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(".").to_owned();
        Ok(Self { folder, name, shown })
    }

    fn fail(&self, action: &'static str, source: io::Error) -> FsError {
        of(action, self.shown.clone(), source)
    }

    fn stat(&self) -> Result<Stat, FsError> {
        rustix::fs::statat(&self.folder, self.name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| self.fail("open", error.into()))
    }

    /// A regular file with one name is there.
    fn regular(&self) -> Result<(), FsError> {
        self.check(&self.stat()?)
    }

    /// Nothing is there, or a regular file.
    fn replaceable(&self) -> Result<(), FsError> {
        match self.stat() {
            Ok(stat) => self.check(&stat),
            Err(FsError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn check(&self, stat: &Stat) -> Result<(), FsError> {
        let kind = match Kind::of(stat) {
            Kind::File if stat.st_nlink > 1 => {
                return Err(FsError::HardLinked { path: self.shown.clone(), links: widen(stat.st_nlink) });
            }
            Kind::File => return Ok(()),
            Kind::Folder => "folder",
            Kind::Link => "link",
            Kind::Other => "device, FIFO or socket",
        };
        Err(FsError::NotAFile { path: self.shown.clone(), kind })
    }

    /// Looks before it opens, as opening a device can have effects, and looks at what it opened, as that may be another.
    fn open_regular(&self, flags: OFlags) -> Result<(std::fs::File, Stat), FsError> {
        self.regular()?;
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, self.name.as_str(), flags, Mode::empty())
            .map_err(|error| self.fail("open", error.into()))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| self.fail("open", error.into()))?;
        self.check(&stat)?;
        Ok((file.into(), stat))
    }

    fn read(&self, bytes_max: u64) -> Result<Vec<u8>, FsError> {
        let (file, stat) = self.open_regular(OFlags::RDONLY)?;
        read_up_to(bytes_max, file, About::of(stat).len, || self.shown.clone())
    }

    /// Puts a file of the owner's own there, whole or not at all.
    fn replace(self, bytes: &[u8]) -> Result<(), FsError> {
        let label = self.shown.parent().map(PathBuf::from).unwrap_or_default();
        Root::of_folder(self.folder, label).write_atomic(self.name.as_ref(), bytes, 0o600)
    }

    fn unlink(&self, flags: AtFlags) -> Result<(), FsError> {
        rustix::fs::unlinkat(&self.folder, self.name.as_str(), flags)
            .map_err(|error| self.fail("remove", error.into()))
    }

    fn entries(&self, entries_max: usize, shows: impl Fn(&str) -> bool) -> Result<Vec<Entry>, FsError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fail = |error: Errno| self.fail("list", error.into());
        let folder =
            rustix::fs::openat(&self.folder, self.name.as_str(), flags, Mode::empty()).map_err(fail)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            // One that is not text cannot be asked for.
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") || !shows(name) {
                continue;
            }
            if entries.len() == entries_max {
                return Err(FsError::TooMany { path: self.shown.clone(), limit: entries_max });
            }
            // One that went meanwhile is not there.
            if let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                entries.push(Entry { name: name.to_owned(), kind: Kind::of(&stat) });
            }
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }
}

impl Kind {
    fn of(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Kind::Other,
        }
    }
}

impl About {
    fn of(stat: Stat) -> Self {
        let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        let since = u64::try_from(stat.st_mtime).map(|seconds| std::time::Duration::new(seconds, nanos));
        let modified = since.ok().and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
        Self { kind: Kind::of(&stat), len: u64::try_from(stat.st_size).unwrap_or(0), modified }
    }
}

/// A count whose width differs from machine to machine.
fn widen(count: impl Into<u64>) -> u64 {
    count.into()
}

fn of(action: &'static str, path: PathBuf, source: io::Error) -> FsError {
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::LOOP) => FsError::NotAFile { path, kind: "link" },
        Some(Errno::XDEV) => FsError::Outside { path },
        Some(_) | None => FsError::of(action, path, source),
    }
}
