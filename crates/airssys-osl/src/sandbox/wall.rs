//! The part of a confinement that is Landlock's: a ruleset, what was granted by it, and where that is not the policy.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};

use crate::fs::FsError;
use crate::policy::{Effect, Ground, Rule};

use super::ConfinementError;
use super::folders;
use super::gap::{Gap, GapKind, Place, Side};
use super::ground::Grounds;
use super::ports::Ports;

/// The part that is Landlock's.
pub(super) struct Wall {
    pub(super) ruleset: RulesetCreated,
    handled: BitFlags<AccessFs>,
    /// What the kernel knows, of what was asked for.
    pub(super) known: Known,
    /// Each thing granted, as the file system numbers it.
    pub(super) granted: HashSet<Numbered>,
    /// And each folder above one.
    pub(super) above: HashSet<Numbered>,
    counted: usize,
    pub(super) gaps: Vec<Gap>,
}

/// A file or folder, as the file system numbers it.
pub(super) type Numbered = (u64, u64);

/// What a kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) files: bool,
    pub(super) truncate: bool,
    pub(super) moves: bool,
    pub(super) ports: bool,
    pub(super) scopes: bool,
    /// Sockets by their path.
    pub(super) paths: bool,
}

impl Known {
    /// What this kernel knows, up to a version.
    fn up_to(abi: ABI) -> Self {
        let fs = |right| asked(abi).contains(right) && hard().handle_access(right).is_ok();
        Self {
            files: fs(AccessFs::ReadFile),
            truncate: fs(AccessFs::Truncate),
            moves: fs(AccessFs::Refer),
            ports: abi >= ABI::V4 && hard().handle_access(AccessNet::ConnectTcp).is_ok(),
            scopes: abi >= ABI::V6 && hard().scope(Scope::Signal).is_ok(),
            paths: fs(AccessFs::ResolveUnix),
        }
    }
}

/// A ruleset for asking what the kernel knows.
fn hard() -> Ruleset {
    Ruleset::default().set_compatibility(CompatLevel::HardRequirement)
}

fn asked(abi: ABI) -> BitFlags<AccessFs> {
    AccessFs::from_all(abi)
}

impl Wall {
    pub(super) fn new(
        abi: ABI,
        connect: &Ports,
        bind: &Ports,
        gaps: Vec<Gap>,
    ) -> Result<Self, ConfinementError> {
        let failed = |source| ConfinementError::Landlock { action: "compile a policy", source };
        let handled = asked(abi);
        let mut ruleset = Ruleset::default().handle_access(handled).map_err(failed)?;
        let nets = [(connect, AccessNet::ConnectTcp), (bind, AccessNet::BindTcp)];
        let nets = nets.into_iter().filter(|(ports, _)| abi >= ABI::V4 && !ports.is_open());
        for (_, access) in nets.clone() {
            ruleset = ruleset.handle_access(access).map_err(failed)?;
        }
        if abi >= ABI::V6 {
            ruleset = ruleset.scope(Scope::from_all(abi)).map_err(failed)?;
        }
        let mut ruleset = ruleset.create().map_err(failed)?;
        for (ports, access) in nets {
            for port in ports.listed() {
                ruleset = ruleset.add_rule(NetPort::new(port, access)).map_err(failed)?;
            }
        }
        let known = Known::up_to(abi);
        Ok(Self { ruleset, handled, known, granted: HashSet::new(), above: HashSet::new(), counted: 0, gaps })
    }

    /// Rights to a folder and all below, or to a file.
    pub(super) fn grant(
        &mut self,
        at: impl AsFd,
        rights: BitFlags<AccessFs>,
    ) -> Result<(), ConfinementError> {
        let failed = |source| ConfinementError::Landlock { action: "grant a folder", source };
        let rights = rights & self.handled;
        if rights.is_empty() {
            return Ok(());
        }
        let fail = |error: rustix::io::Errno| FsError::of("look at", PathBuf::new(), error.into());
        let this = number(&at).map_err(fail)?;
        if self.granted.insert(this) && is_folder(&at).map_err(fail)? {
            self.above.extend(all_above(&at).map_err(fail)?);
        }
        (&mut self.ruleset).add_rule(PathBeneath::new(at, rights)).map_err(failed)?;
        Ok(())
    }

    /// Rights to a file in a folder.
    pub(super) fn grant_file(
        &mut self,
        file: impl AsFd,
        rights: BitFlags<AccessFs>,
        folder: impl AsFd,
    ) -> Result<(), ConfinementError> {
        let fail = |error: rustix::io::Errno| FsError::of("look at", PathBuf::new(), error.into());
        self.above.insert(number(&folder).map_err(fail)?);
        self.above.extend(all_above(&folder).map_err(fail)?);
        self.grant(file, rights)
    }

    /// Rights to something of the system; `None` if it is not there or not what was looked for.
    pub(super) fn grant_path(
        &mut self,
        path: &str,
        rights: BitFlags<AccessFs>,
        flags: OFlags,
    ) -> Result<Option<()>, ConfinementError> {
        let path = Path::new(path);
        match (open(path, flags)?, path.parent()) {
            (Some((file, FileType::Symlink)), _) => {
                drop(file);
                Ok(None)
            }
            (Some((folder, FileType::Directory)), _) => self.grant(folder, rights).map(Some),
            (Some((file, _)), Some(parent)) => match open(parent, OFlags::DIRECTORY)? {
                Some((folder, _)) => self.grant_file(file, rights, folder).map(Some),
                None => Ok(None),
            },
            (Some(_), None) | (None, _) => Ok(None),
        }
    }

    /// One more thing is looked at.
    pub(super) fn count(&mut self) -> Result<(), ConfinementError> {
        self.counted += 1;
        if self.counted > folders::ENTRIES_MAX {
            return Err(ConfinementError::TooManyFolders { limit: folders::ENTRIES_MAX });
        }
        Ok(())
    }

    pub(super) fn tell_beside(&mut self, path: &Path) {
        let place = Place::System(path.to_string_lossy().into_owned());
        self.gaps.push(Gap::new(Side::Wider, GapKind::Beside, place));
    }

    /// Programs that may be started with some arguments are granted with all.
    pub(super) fn run(&mut self, grounds: &Grounds<'_>) -> Result<(), ConfinementError> {
        for rules in &grounds.others {
            for rule in rules {
                let Ground::Run { program, .. } = rule.ground() else { continue };
                let denies = |rule: &&Rule| {
                    rule.effect() == Effect::Deny
                        && matches!(rule.ground(), Ground::Run { program: denied, any_arguments: true } if denied == program)
                };
                if rule.effect() == Effect::Deny || rules.iter().any(denies) {
                    continue;
                }
                let place = Place::System(program.to_owned());
                // Below a folder everything would run.
                let is_file =
                    matches!(open(Path::new(program), OFlags::NOFOLLOW)?, Some((_, FileType::RegularFile)));
                let rights = AccessFs::Execute | AccessFs::ReadFile;
                let granted =
                    if is_file { self.grant_path(program, rights, OFlags::NOFOLLOW)? } else { None };
                let (side, kind) = match granted {
                    Some(()) => (Side::Wider, GapKind::Arguments),
                    None => (Side::Narrower, GapKind::Missing),
                };
                self.gaps.push(Gap::new(side, kind, place).of_rule(rule));
            }
        }
        Ok(())
    }
}

/// Something of the system, for use in paths only, and what it is; `None` if there is nothing.
fn open(path: &Path, flags: OFlags) -> Result<Option<(OwnedFd, FileType)>, ConfinementError> {
    use rustix::io::Errno;
    let failed = |error: Errno| FsError::of("open", path.to_owned(), error.into());
    match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty()) {
        Ok(file) => {
            let stat = rustix::fs::fstat(&file).map_err(failed)?;
            Ok(Some((file, FileType::from_raw_mode(stat.st_mode))))
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(failed(error).into()),
    }
}

pub(super) fn number(at: impl AsFd) -> rustix::io::Result<Numbered> {
    let stat = rustix::fs::fstat(at)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn is_folder(at: impl AsFd) -> rustix::io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(at)?.st_mode) == FileType::Directory)
}

/// The folders above one, up to the root of the system.
pub(super) fn all_above(folder: impl AsFd) -> rustix::io::Result<Vec<Numbered>> {
    let up = |from: BorrowedFd<'_>| {
        rustix::fs::openat(from, "..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let mut at = number(&folder)?;
    let mut parent = up(folder.as_fd())?;
    let mut above = Vec::new();
    loop {
        let numbered = number(&parent)?;
        if numbered == at {
            return Ok(above);
        }
        above.push(numbered);
        at = numbered;
        parent = up(parent.as_fd())?;
    }
}
