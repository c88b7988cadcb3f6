//! Finding a program and opening it, so that what was decided and checked is what runs.
//!
//! A name is resolved once, through links, to the path that the policy sees. That path is then opened without following a link, and
//! the program is started by the descriptor. Only programs of the machine are started: a script is a file that its interpreter
//! reads, so the interpreter is what has to be allowed. A pinned program is copied to sealed memory and digested there.

use std::ffi::CString;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;

use crate::access::RelPath;
use crate::beneath::{self, Mounts};

use super::ProgramsError;

/// Largest program that is copied.
const PINNED_BYTES_MAX: u64 = 256 << 20;

/// The absolute path that a program's name stands for.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) path: String,
}

/// A path or a name, read.
pub(super) enum Wanted {
    Path(RelPath),
    Bare(RelPath),
}

impl Wanted {
    pub(super) fn parse(text: &str) -> Result<Self, ProgramsError> {
        let fail = |source| ProgramsError::Path { text: text.to_owned(), source };
        if let Some(below) = text.strip_prefix('/') {
            return RelPath::parse(below).map(Wanted::Path).map_err(fail);
        }
        let name = RelPath::parse(text).map_err(fail)?;
        match text.contains('/') || name.as_str().is_empty() {
            true => Err(ProgramsError::Relative { text: text.to_owned() }),
            false => Ok(Wanted::Bare(name)),
        }
    }
}

/// Where the program is. One that is not there is asked for by the path it would have, so that a denial does not tell.
pub(super) fn resolve(text: &str, folders: &[PathBuf]) -> Result<Resolved, ProgramsError> {
    let candidates: Vec<PathBuf> = match Wanted::parse(text)? {
        Wanted::Path(path) => vec![Path::new("/").join(path.as_path())],
        Wanted::Bare(name) => {
            let folders = folders.iter().filter(|folder| folder.is_absolute());
            folders.map(|folder| folder.join(name.as_path())).collect()
        }
    };
    let first = candidates.first().ok_or_else(|| ProgramsError::NoFolders { name: text.to_owned() })?;
    let found = candidates.iter().find_map(|path| std::fs::canonicalize(path).ok());
    let path = found.unwrap_or_else(|| first.clone());
    let path = path.into_os_string().into_string();
    path.map(|path| Resolved { path }).map_err(|_| ProgramsError::NotUtf8 { text: text.to_owned() })
}

/// Opens a resolved program to be executed.
pub(super) fn open(resolved: &Resolved, digest: Option<[u8; 32]>) -> Result<OwnedFd, ProgramsError> {
    let fail = |source: io::Error| ProgramsError::Open { program: resolved.path.clone(), source };
    let unfit = |why| ProgramsError::Unfit { program: resolved.path.clone(), why };
    let path = resolved.path.strip_prefix('/').and_then(|below| RelPath::parse(below).ok());
    let path = path.ok_or_else(|| fail(Errno::INVAL.into()))?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| fail(error.into()))?;
    let (folder, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
    // Programs lie on all file systems of the machine.
    let folder = beneath::open(&root, folder, beneath::FOLDER, Mounts::Allowed).map_err(fail)?;
    // Looks before it opens, as opening a device can have effects, and looks at what it opened, as that may be another.
    let seen =
        rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| fail(error.into()))?;
    if FileType::from_raw_mode(seen.st_mode) != FileType::RegularFile {
        return Err(unfit("it is no regular file"));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&folder, name, flags, Mode::empty()).map_err(|error| fail(error.into()))?;
    let stat = rustix::fs::fstat(&file).map_err(|error| fail(error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(unfit("it is no regular file"));
    }
    if stat.st_mode & 0o111 == 0 {
        return Err(unfit("it is not executable"));
    }
    let file = match digest {
        None => file,
        Some(digest) => {
            let (copy, found) = sealed_copy(file).map_err(fail)?;
            if found != digest {
                return Err(ProgramsError::Digest { program: resolved.path.clone() });
            }
            copy
        }
    };
    let mut magic = [0; 4];
    let len = rustix::io::pread(&file, &mut magic, 0).map_err(|error| fail(error.into()))?;
    match &magic[..len] {
        [0x7f, b'E', b'L', b'F'] => Ok(file),
        [b'#', b'!', ..] => Err(unfit("it is a script: run its interpreter with the script as an argument")),
        _ => Err(unfit("it is no program of this machine")),
    }
}

/// The file in memory that nobody can change any more, and the digest of exactly that.
fn sealed_copy(file: OwnedFd) -> io::Result<(OwnedFd, [u8; 32])> {
    let name = CString::from(c"program");
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match rustix::fs::memfd_create(&name, flags | MemfdFlags::EXEC) {
        // Older than the flag, when all of these were executable.
        Err(Errno::INVAL) => rustix::fs::memfd_create(&name, flags)?,
        made => made?,
    };
    let mut copy = std::fs::File::from(copy);
    let mut file = std::fs::File::from(file).take(PINNED_BYTES_MAX + 1);
    if io::copy(&mut file, &mut copy)? > PINNED_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a pinned program has at most 256 MiB"));
    }
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    // What is open for writing is not executed, so it is opened again.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    let copy = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // Digested after the seal: what is read now is what will run.
    let mut hasher = blake3::Hasher::new();
    let (mut at, mut buffer) = (0, vec![0; 1 << 16]);
    loop {
        match rustix::io::pread(&copy, &mut buffer, at)? {
            0 => return Ok((copy, *hasher.finalize().as_bytes())),
            len => {
                hasher.update(&buffer[..len]);
                at += len as u64;
            }
        }
    }
}
