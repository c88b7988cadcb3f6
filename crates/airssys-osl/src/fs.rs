//! Folders as capabilities. A [`Root`] is opened once; everything else is relative to it.
//!
//! A path that is absolute, contains `..` or leads through a link to the outside is refused. Only regular files are
//! read, up to a bound, and opening never waits: a FIFO or a device in the place of a file is an error, not a hang.
//! A file with several hard links is refused, because another of its names may be outside; the owner of a folder can
//! say that this is wanted. What is not guaranteed: that a file does not change while it is read.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use cap_std::fs::{Dir, File, FileTypeExt, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::beneath::Mounts;
use crate::input::{Input, Lines};

/// Names that are tried for a temporary file: each was already there, which chance alone does not bring about.
const NAMES_MAX: u32 = 16;

/// The right to a folder and to what is below it.
#[derive(Debug)]
pub struct Root {
    dir: Dir,
    /// For messages only; nothing is opened by it.
    label: PathBuf,
    hard_links: HardLinks,
    mounts: Mounts,
}

#[derive(Debug, Clone, Copy)]
enum HardLinks {
    Refused,
    Allowed,
}

/// Why a file or a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsError {
    /// It does not exist.
    #[error("open {path:?}")]
    NotFound {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It is something else than a regular file.
    #[error("open {path:?}: it is a {kind}, not a file")]
    NotAFile {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// It has more bytes than the caller reads.
    #[error("read {path:?}: it has more than {limit} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// The bound in bytes.
        limit: u64,
    },
    /// It has more entries than the caller reads.
    #[error("list {path:?}: it has more than {limit} entries")]
    TooMany {
        /// Which.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// The path is absolute, has `..` in it, or leads through a link out of the root.
    #[error("open {path:?}: it leads out of its folder")]
    Outside {
        /// Which.
        path: PathBuf,
    },
    /// It has other names, which may be outside of the root.
    #[error("open {path:?}: it has {links} hard links, and another may be outside of its folder; use a copy")]
    HardLinked {
        /// Which.
        path: PathBuf,
        /// How many names it has.
        links: u64,
    },
    /// It has more folders within one another than the caller takes.
    #[error("list {path:?}: it has more than {limit} folders within one another")]
    TooDeep {
        /// Which.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// It was to be written, and whoever wrote it did not come to the end.
    #[error("write {path:?}: it was given up before it was finished, and what was there before stays")]
    GivenUp {
        /// Which.
        path: PathBuf,
    },
    /// Something is mounted there, and the root is without what is mounted in it.
    #[error("open {path:?}: another file system is mounted there")]
    Mounted {
        /// Which.
        path: PathBuf,
    },
    /// The kernel speaks there of itself, of processes and of devices.
    #[error("use {path:?} as a folder of files: what is there is the kernel's own")]
    OfTheKernel {
        /// Which.
        path: PathBuf,
    },
    /// A folder that has to be private is not.
    #[error("use {path:?} as a private folder: {exposure}")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// In what way.
        exposure: Exposure,
    },
    /// It is not text.
    #[error("read {path:?}: it is not UTF-8 from byte {valid_bytes} on")]
    NotUtf8 {
        /// Which.
        path: PathBuf,
        /// How many bytes are.
        valid_bytes: usize,
    },
    /// The system does not allow it.
    #[error("open {path:?}")]
    Denied {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Something else went wrong.
    #[error("{action} {path:?}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// In what way a folder is not private, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Exposure {
    /// Another user owns it.
    #[error("it belongs to user {owner}; choose another folder")]
    OwnedBy {
        /// The owner's user id.
        owner: u32,
    },
    /// Group or others may enter.
    #[error("its mode {mode:04o} lets other users in; change it to 0700 or choose another folder")]
    Open {
        /// The permission bits.
        mode: u32,
    },
    /// It is a link or a file, planted or by mistake.
    #[error("it is not a folder itself, but a link or a file; choose another path")]
    NotAFolder,
}

impl Root {
    /// Opens the folder at `path`, which the user or the operator chose. A link is followed.
    pub fn open(path: &Path) -> Result<Self, FsError> {
        let path = or_here(path);
        let dir = Dir::open_ambient_dir(path, cap_std::ambient_authority())
            .map_err(|source| FsError::of("open", path.to_owned(), source))?;
        Ok(Root { dir, label: path.to_owned(), hard_links: HardLinks::Refused, mounts: Mounts::Refused })
    }

    /// The same root, in which [`Files`](crate::Files) also uses what is mounted below: for folders whose owner mounts on
    /// purpose; so do sockets, folders of programs and walls. Who can mount there decides what a rule for the folder is about,
    /// and where the kernel's own folders are mounted below, as below `/`, they are part of it.
    pub fn with_mounts(self) -> Self {
        Root { mounts: Mounts::Allowed, ..self }
    }

    /// The same root, in which files with several hard links are read: for folders whose owner links on purpose, as
    /// build tools and package stores do.
    pub fn with_hard_links(self) -> Self {
        Root { hard_links: HardLinks::Allowed, ..self }
    }

    /// The folder of the file at `path`, which the user named, and the file's name in it.
    pub fn of_file(path: &Path) -> Result<(Self, OsString), FsError> {
        let Some(name) = path.file_name() else {
            return Err(FsError::NotAFile { path: path.to_owned(), kind: "folder" });
        };
        Ok((Root::open(path.parent().unwrap_or(Path::new("")))?, name.to_owned()))
    }

    /// Opens the folder at `path` as one that only this user may enter; makes it, and what is missing above it, with
    /// mode 0700. Refuses one that another user owns or may enter, and a link in its place.
    pub fn private(path: &Path) -> Result<Self, FsError> {
        use std::os::unix::fs::DirBuilderExt as _;
        // Without a trailing slash, which would let a link pass.
        let path: PathBuf = or_here(path).components().collect();
        let fail = |action, source| FsError::of(action, path.clone(), source);
        match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path) {
            Ok(()) => {}
            // A dangling link or a file; opening says which.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fail("create folder", error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => Root::checked_private(Dir::from_std_file(fd.into()), path),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                Err(FsError::Exposed { path, exposure: Exposure::NotAFolder })
            }
            Err(errno) => Err(fail("open", errno.into())),
        }
    }

    /// The folder `rel` as a root of its own: what is opened there cannot even reach the rest of this one.
    pub fn folder(&self, rel: &Path) -> Result<Self, FsError> {
        let dir = self.dir.open_dir(self.inside(rel)?).map_err(|source| self.fail("open", rel, source))?;
        Ok(Root { dir, label: self.path_of(rel), hard_links: self.hard_links, mounts: self.mounts })
    }

    /// Opens the folder `rel` as a private one; makes it with mode 0700 if it is missing.
    pub fn create_dir_private(&self, rel: &Path) -> Result<Self, FsError> {
        use cap_std::fs::{DirBuilder, DirBuilderExt as _};
        let rel = self.inside(rel)?;
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        match self.dir.create_dir_with(rel, &builder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(self.fail("create folder", rel, error)),
        }
        let is_folder =
            self.dir.symlink_metadata(rel).map_err(|source| self.fail("open", rel, source))?.is_dir();
        if !is_folder {
            return Err(FsError::Exposed { path: self.path_of(rel), exposure: Exposure::NotAFolder });
        }
        let dir = self.dir.open_dir(rel).map_err(|source| self.fail("open", rel, source))?;
        Root::checked_private(dir, self.path_of(rel))
    }

    /// Where the root was opened, for messages.
    pub fn label(&self) -> &Path {
        &self.label
    }

    /// The bytes of the regular file `rel`, which has at most `bytes_max`.
    pub fn read(&self, rel: &Path, bytes_max: u64) -> Result<Vec<u8>, FsError> {
        let (file, metadata) = self.open_file(rel)?;
        read_up_to(bytes_max, file, metadata.len(), || self.path_of(rel))
    }

    /// The text of the regular file `rel`, which has at most `bytes_max` bytes.
    pub fn read_to_string(&self, rel: &Path, bytes_max: u64) -> Result<String, FsError> {
        String::from_utf8(self.read(rel, bytes_max)?).map_err(|error| FsError::NotUtf8 {
            path: self.path_of(rel),
            valid_bytes: error.utf8_error().valid_up_to(),
        })
    }

    /// The lines of the regular file `rel`, each of at most `line_bytes_max` bytes.
    pub fn open_lines(&self, rel: &Path, line_bytes_max: usize) -> Result<Lines, FsError> {
        let (file, metadata) = self.open_file(rel)?;
        Ok(Lines::new(Input::of_regular(file.into_std(), self.path_of(rel), metadata.len()), line_bytes_max))
    }

    /// The regular file `rel`, to be read from its beginning.
    pub(crate) fn open_regular(&self, rel: &Path) -> Result<File, FsError> {
        self.open_file(rel).map(|(file, _)| file)
    }

    /// Puts `bytes` at `rel` with exactly the permission bits `mode`. Whoever reads sees the old file or the new one,
    /// also after a crash; a link at `rel` is replaced, not followed. After a kill half-way a file whose name begins
    /// with `.tmp-` may remain in the folder.
    pub fn write_atomic(&self, rel: &Path, bytes: &[u8], mode: u32) -> Result<(), FsError> {
        let rel = self.inside(rel)?;
        let Some(name) = rel.file_name() else {
            return Err(FsError::NotAFile { path: self.path_of(rel), kind: "folder" });
        };
        let fail = |source| self.fail("write", rel, source);
        let parent = or_here(rel.parent().unwrap_or(Path::new("")));
        let dir = self.dir.open_dir(parent).map_err(fail)?;
        let (temporary, mut file) = create_temporary(&dir).map_err(fail)?;
        let written = (|| {
            file.write_all(bytes)?;
            file.set_permissions(std::fs::Permissions::from_mode(mode & 0o7777))?;
            file.sync_all()?;
            dir.rename(&temporary, &dir, name)?;
            sync_dir(&dir)
        })();
        written.map_err(|error| {
            remove_temporary(&dir, &temporary);
            fail(error)
        })
    }

    /// Removes the file or link `rel`.
    pub fn remove(&self, rel: &Path) -> Result<(), FsError> {
        self.dir.remove_file(self.inside(rel)?).map_err(|source| self.fail("remove", rel, source))
    }

    /// The names in the folder `rel`, sorted; at most `entries_max`.
    pub fn list(&self, rel: &Path, entries_max: usize) -> Result<Vec<OsString>, FsError> {
        let fail = |source| self.fail("list", rel, source);
        let mut names = Vec::new();
        for entry in self.dir.read_dir(self.inside(rel)?).map_err(fail)? {
            if names.len() == entries_max {
                return Err(FsError::TooMany { path: self.path_of(rel), limit: entries_max });
            }
            names.push(entry.map_err(fail)?.file_name());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether what is mounted below belongs to it.
    pub(crate) fn mounts(&self) -> Mounts {
        self.mounts
    }

    /// The folder itself, for the other rooms of this crate.
    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    pub(crate) fn path_of(&self, rel: &Path) -> PathBuf {
        self.label.join(rel)
    }

    /// `rel` as a path below the root by its letters; that no link leads out is for the open itself to see to.
    pub(crate) fn inside<'p>(&self, rel: &'p Path) -> Result<&'p Path, FsError> {
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        match rel.components().all(plain) && !rel.as_os_str().is_empty() {
            true => Ok(rel),
            false => Err(FsError::Outside { path: self.path_of(rel) }),
        }
    }

    pub(crate) fn fail(&self, action: &'static str, rel: &Path, source: io::Error) -> FsError {
        FsError::of(action, self.path_of(rel), source)
    }

    fn open_file(&self, rel: &Path) -> Result<(File, Metadata), FsError> {
        let rel = self.inside(rel)?;
        let fail = |source| self.fail("open", rel, source);
        // Opening a device or a FIFO can have effects, so look first. What is opened is looked at again, and without
        // waiting, because it may have been swapped in between.
        self.regular(rel, &self.dir.metadata(rel).map_err(fail)?)?;
        let waitless = OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(waitless.bits().cast_signed());
        let file = self.dir.open_with(rel, &options).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        self.regular(rel, &metadata)?;
        Ok((file, metadata))
    }

    pub(crate) fn regular(&self, rel: &Path, metadata: &Metadata) -> Result<(), FsError> {
        if let Some(kind) = other_kind(metadata) {
            return Err(FsError::NotAFile { path: self.path_of(rel), kind });
        }
        match self.hard_links {
            HardLinks::Refused if metadata.nlink() > 1 => {
                Err(FsError::HardLinked { path: self.path_of(rel), links: metadata.nlink() })
            }
            HardLinks::Refused | HardLinks::Allowed => Ok(()),
        }
    }

    fn checked_private(dir: Dir, label: PathBuf) -> Result<Self, FsError> {
        let root = Root { dir, label, hard_links: HardLinks::Refused, mounts: Mounts::Refused };
        root.check_private()?;
        Ok(root)
    }

    /// Whether only this user may enter.
    pub(crate) fn check_private(&self) -> Result<(), FsError> {
        let metadata = self.dir.dir_metadata().map_err(|source| self.fail("open", ".".as_ref(), source))?;
        let mode = metadata.mode() & 0o777;
        let exposure = if metadata.uid() != rustix::process::geteuid().as_raw() {
            Exposure::OwnedBy { owner: metadata.uid() }
        } else if mode & 0o077 != 0 {
            Exposure::Open { mode }
        } else {
            return Ok(());
        };
        Err(FsError::Exposed { path: self.label.clone(), exposure })
    }
}

impl FsError {
    /// The variant for the system's answer to `action` on `path`.
    pub(crate) fn of(action: &'static str, path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => FsError::NotFound { path, source },
            // cap-std refuses an escape itself, so the system's error number is missing.
            io::ErrorKind::PermissionDenied if source.raw_os_error().is_none() => FsError::Outside { path },
            io::ErrorKind::PermissionDenied => FsError::Denied { path, source },
            _ => FsError::Io { action, path, source },
        }
    }
}

/// Whether what is in a folder is no files but the kernel itself, its processes and devices. What does not answer counts as that.
pub(crate) fn is_of_the_kernel(folder: impl AsFd) -> bool {
    /// proc, sysfs, debugfs, tracefs, securityfs, selinuxfs, smackfs, cgroup, cgroup2, bpf, configfs, efivarfs, pstore, binfmt_misc,
    /// fusectl, devpts, mqueue, nsfs, pidfd.
    const OWN: &[u32] = &[
        0x9fa0,
        0x6265_6572,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xf97c_ff8c,
        0x4341_5d53,
        0x0027_e0eb,
        0x6367_7270,
        0xcafe_4a11,
        0x6265_6570,
        0xde5e_81e4,
        0x6165_676c,
        0x4249_4e4d,
        0x6573_5543,
        0x1cd1,
        0x1980_0202,
        0x6e73_6673,
        0x5049_4446,
    ];
    // The width and the sign of the number differ from machine to machine.
    rustix::fs::fstatfs(folder).map_or(true, |about| OWN.contains(&(about.f_type as u32)))
}

/// The bytes of a file that has `len` as far as the system tells, and at most `bytes_max`.
pub(crate) fn read_up_to(
    bytes_max: u64,
    file: impl Read,
    len: u64,
    path: impl Fn() -> PathBuf,
) -> Result<Vec<u8>, FsError> {
    let too_large = || FsError::TooLarge { path: path(), limit: bytes_max };
    if len > bytes_max {
        return Err(too_large());
    }
    // The file may grow while it is read, or be one whose size the system does not tell.
    let mut bytes = Vec::new();
    // Its owner says how long it is, and a hole costs nothing.
    if bytes.try_reserve_exact(usize::try_from(len).unwrap_or(0)).is_err() {
        return Err(FsError::of("read", path(), io::ErrorKind::OutOfMemory.into()));
    }
    match file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes) {
        Ok(len) if len as u64 > bytes_max => Err(too_large()),
        Ok(_) => Ok(bytes),
        Err(source) => Err(FsError::of("read", path(), source)),
    }
}

/// What a thing is, if it is no regular file.
fn other_kind(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("folder")
    } else if kind.is_symlink() {
        Some("link")
    } else if kind.is_fifo() {
        Some("FIFO")
    } else if kind.is_socket() {
        Some("socket")
    } else {
        Some("device")
    }
}

fn or_here(path: &Path) -> &Path {
    match path.as_os_str() == OsStr::new("") {
        true => Path::new("."),
        false => path,
    }
}

/// A new file that nobody else can have planted or opened, to be read and written by its owner.
pub(crate) fn create_temporary(folder: impl AsFd) -> io::Result<(String, std::fs::File)> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..NAMES_MAX {
        // Nobody can put something in the place of a name that cannot be guessed.
        let mut random = [0; 8];
        crate::host::random_bytes(&mut random)?;
        let name = format!(".tmp-{:016x}", u64::from_ne_bytes(random));
        match rustix::fs::openat(&folder, &*name, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((name, file.into())),
            Err(Errno::EXIST | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EXIST.into())
}

pub(crate) fn remove_temporary(folder: impl AsFd, name: &str) {
    // Whatever went wrong before is the error to tell.
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => tracing::warn!(name, %error, "a temporary file stays behind"),
    }
}

pub(crate) fn sync_dir(folder: impl AsFd) -> io::Result<()> {
    // The handle that is held is for paths only and cannot be synced.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(folder, ".", flags, Mode::empty())?;
    Ok(rustix::fs::fsync(readable)?)
}
