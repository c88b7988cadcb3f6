//! From rules about files to rights to folders, which is all that Landlock knows.
//!
//! Around the policy: each rule gets the smallest folder that holds all it covers, and what else that folder holds is told as
//! a gap. Inside of it: a folder gets a right only if the policy allows it for everything that could ever be there; elsewhere
//! the walk goes on below, and files that are there get theirs one by one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use landlock::{AccessFs, BitFlags, make_bitflags};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::access::{FileVerb, Name, RelPath};
use crate::beneath;
use crate::fs::{FsError, Root};
use crate::policy::Behind;

use super::gap::{Gap, GapKind, Place, Side};
use super::ground::{Extent, Grounds};
use super::wall::Wall;
use super::{ConfinementError, Fit};

/// Folders and files that are granted or looked at for one wall.
pub(super) const ENTRIES_MAX: usize = 4096;
/// Folders on the way to one that is looked at.
const DEPTH_MAX: usize = 64;

type Rights = BitFlags<AccessFs>;

const READ: Rights = make_bitflags!(AccessFs::{ReadFile});
const WRITE: Rights = make_bitflags!(AccessFs::{WriteFile | Truncate});
const LIST: Rights = make_bitflags!(AccessFs::{ReadDir});
const MAKE: Rights = make_bitflags!(AccessFs::{MakeReg | MakeDir});
const REMOVE: Rights = make_bitflags!(AccessFs::{RemoveFile | RemoveDir});
const LINK: Rights = make_bitflags!(AccessFs::{MakeSym});
const MOVE: Rights = make_bitflags!(AccessFs::{Refer});
/// What concerns the content of files.
const CONTENT: Rights = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate});

/// The verbs that have to be allowed for a right.
const NEEDS: [(Rights, &[FileVerb]); 6] = [
    (READ, &[FileVerb::Read]),
    (WRITE, &[FileVerb::Write]),
    (LIST, &[FileVerb::List, FileVerb::Stat]),
    (MAKE, &[FileVerb::Create]),
    (REMOVE, &[FileVerb::Remove]),
    (LINK, &[FileVerb::Link]),
];

/// What a verb is to the kernel.
fn rights_of(verb: FileVerb) -> Rights {
    match verb {
        FileVerb::Read => READ,
        FileVerb::Write => WRITE,
        FileVerb::List => LIST,
        FileVerb::Create => MAKE,
        FileVerb::Remove => REMOVE,
        FileVerb::Link => LINK,
        FileVerb::Stat | FileVerb::Watch => Rights::EMPTY,
    }
}

fn verbs() -> impl Iterator<Item = FileVerb> {
    FileVerb::WORDS.iter().map(|(_, verb)| *verb)
}

/// Grants what the policy allows in a root, and tells where that is not the same.
pub(super) fn grant(
    wall: &mut Wall,
    grounds: &Grounds<'_>,
    (name, root): (&Name, &Root),
    fit: Fit,
) -> Result<(), ConfinementError> {
    let mut builder = Builder { wall, grounds, name, root, granted: BTreeMap::new() };
    match fit {
        Fit::Around => builder.around(),
        Fit::Inside => {
            let folder = builder.open(&RelPath::root())?.ok_or_else(|| {
                let source = std::io::ErrorKind::NotFound.into();
                ConfinementError::Folder(FsError::NotFound { path: root.label().to_owned(), source })
            })?;
            builder.inside(&folder, &RelPath::root(), Rights::EMPTY, 0)?;
            builder.granted.clone().into_iter().for_each(|(path, rights)| builder.tell_wider(&path, rights));
            builder.tell_moves();
            Ok(())
        }
    }
}

struct Builder<'b, 'p> {
    wall: &'b mut Wall,
    grounds: &'b Grounds<'p>,
    name: &'b Name,
    root: &'b Root,
    granted: BTreeMap<RelPath, Rights>,
}

impl Builder<'_, '_> {
    fn around(&mut self) -> Result<(), ConfinementError> {
        let grounds = self.grounds;
        let mut itself = Vec::new();
        for rule in grounds.allows(self.name) {
            let (beginning, behind) = rule.pattern.literal_beginning();
            let Ok(path) = RelPath::parse(&format!("./{}", beginning.join("/"))) else {
                // Longer than any path there is.
                continue;
            };
            let all = verbs().filter(|verb| rule.has(*verb));
            let all: Rights = all.fold(Rights::EMPTY, |rights, verb| rights | rights_of(verb));
            match behind {
                Behind::Everything | Behind::Some => {
                    self.add(&path, all, rule)?;
                    if behind == Behind::Everything && path != RelPath::root() {
                        itself.push((path, rule));
                    }
                }
                Behind::Nothing => {
                    let is_folder = self.open(&path)?.is_some();
                    if is_folder {
                        self.add(&path, all & LIST, rule)?;
                    } else if all.intersects(LIST) && self.stat(&path)?.is_none() {
                        self.tell(Side::Narrower, GapKind::Missing, &path, &[FileVerb::List], rule);
                    }
                    if let Some(parent) = path.parent() {
                        let content = if is_folder { Rights::EMPTY } else { all & CONTENT };
                        self.add(&parent, content | all & (MAKE | REMOVE | LINK), rule)?;
                    }
                }
            }
        }
        self.complete();
        for (path, rule) in itself {
            let above = path.parent().map_or(Rights::EMPTY, |parent| self.effective(&parent));
            let missing = |verb: &FileVerb| rule.has(*verb) && !above.contains(rights_of(*verb));
            let verbs: Vec<FileVerb> =
                [FileVerb::Create, FileVerb::Remove].into_iter().filter(missing).collect();
            if !verbs.is_empty() && self.granted.contains_key(&path) {
                self.tell(Side::Narrower, GapKind::Itself, &path, &verbs, rule);
            }
        }
        for (path, rights) in self.granted.clone() {
            let Some(folder) = self.open(&path)? else {
                continue;
            };
            self.wall.grant(folder, rights)?;
            self.tell_wider(&path, rights);
        }
        self.tell_moves();
        Ok(())
    }

    /// Rights to a folder, if it is there.
    fn add(
        &mut self,
        path: &RelPath,
        rights: Rights,
        rule: &super::ground::FileRule<'_>,
    ) -> Result<(), ConfinementError> {
        if rights.is_empty() {
            return Ok(());
        }
        if self.open(path)?.is_none() {
            let verbs: Vec<FileVerb> =
                verbs().filter(|verb| rule.has(*verb) && rights.intersects(rights_of(*verb))).collect();
            self.tell(Side::Narrower, GapKind::Missing, path, &verbs, rule);
            return Ok(());
        }
        *self.granted.entry(path.clone()).or_insert(Rights::EMPTY) |= rights;
        if self.granted.len() > ENTRIES_MAX {
            return Err(ConfinementError::TooManyFolders { limit: ENTRIES_MAX });
        }
        Ok(())
    }

    /// What the kernel takes in addition for what the policy allows.
    fn complete(&mut self) {
        let paths: Vec<RelPath> = self.granted.keys().cloned().collect();
        for path in paths {
            let effective = self.effective(&path);
            let mut more = Rights::EMPTY;
            // A new file takes the place of the old one by its name, and the folder is opened to be synced.
            if effective.contains(AccessFs::MakeReg | AccessFs::WriteFile) {
                more |= LIST | AccessFs::RemoveFile;
            }
            if effective.intersects(MAKE | REMOVE) {
                more |= MOVE;
            }
            if let Some(rights) = self.granted.get_mut(&path) {
                *rights |= more;
            }
        }
    }

    /// What the kernel allows at a path, by all folders above it.
    fn effective(&self, path: &RelPath) -> Rights {
        let (mut rights, mut at) = (Rights::EMPTY, Some(path.clone()));
        while let Some(path) = at {
            rights |= self.granted.get(&path).copied().unwrap_or(Rights::EMPTY);
            at = path.parent();
        }
        rights
    }

    fn inside(
        &mut self,
        folder: &OwnedFd,
        path: &RelPath,
        above: Rights,
        depth: usize,
    ) -> Result<(), ConfinementError> {
        let (grounds, name) = (self.grounds, self.name);
        let is_granted = |needs: &[FileVerb]| needs.iter().all(|verb| grounds.is_whole(name, *verb, path));
        let here = NEEDS.iter().filter(|(rights, needs)| !above.contains(*rights) && is_granted(needs));
        let mut here: Rights = here.fold(Rights::EMPTY, |here, (rights, _)| here | *rights);
        // What is moved away is read, and what is moved here is written.
        let (takes, puts) = ((above | here).intersects(REMOVE), (above | here).intersects(MAKE));
        if (takes || puts)
            && (!takes || is_granted(&[FileVerb::Read]))
            && (!puts || is_granted(&[FileVerb::Write]))
        {
            here |= MOVE & !above;
        }
        if !here.is_empty() {
            self.wall.grant(folder, here)?;
            self.granted.insert(path.clone(), here);
        }
        let all = above | here;
        for verb in [FileVerb::Create, FileVerb::Remove] {
            if *path != RelPath::root() && here.contains(rights_of(verb)) {
                self.merge(Side::Narrower, GapKind::Itself, path, verb, None, 0);
            }
        }
        let replaces = LIST | AccessFs::RemoveFile;
        if all.contains(AccessFs::MakeReg | AccessFs::WriteFile) && !all.contains(replaces) {
            let place = Place::Files { root: name.clone(), path: path.clone(), verbs: Vec::new() };
            self.wall.gaps.push(Gap::new(Side::Narrower, GapKind::Replacing, place));
        }
        // What is allowed for some of what is below, or could be.
        let mut left = Vec::new();
        for verb in verbs() {
            let rights = rights_of(verb);
            if rights.is_empty() || all.contains(rights) {
                continue;
            }
            let (extent, len) = grounds.extent(name, verb, path);
            let rule = match extent {
                // Listing takes that all names may be seen, too.
                Extent::Whole => None,
                Extent::AllBut(rule) | Extent::AllShown(rule) | Extent::Some(rule) => Some(rule),
                Extent::Nothing => continue,
            };
            left.push(verb);
            // Where all goes on through folders that are there, it is for them to say.
            let is_folder = |way: &str| {
                path.join(way).is_ok_and(|below| self.open(&below).is_ok_and(|folder| folder.is_some()))
            };
            if grounds.ways_below(name, verb, path).is_some_and(|ways| ways.into_iter().all(is_folder)) {
                continue;
            }
            self.merge(Side::Narrower, GapKind::Uncovered, path, verb, rule.map(|rule| rule.rule), len);
        }
        if left.is_empty() || depth == DEPTH_MAX {
            return Ok(());
        }
        for entry in self.entries(folder, path)? {
            let Ok(below) = path.join(&entry) else {
                continue;
            };
            self.wall.count()?;
            let Some(stat) = self.stat_at(folder, &entry, &below)? else {
                continue;
            };
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = || rustix::fs::openat(folder, entry.as_str(), flags, Mode::empty());
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    if let Ok(folder) = opened() {
                        self.inside(&folder, &below, all, depth + 1)?;
                    }
                }
                FileType::RegularFile if stat.st_nlink == 1 => {
                    let allowed = [FileVerb::Read, FileVerb::Write].into_iter();
                    let allowed =
                        allowed.filter(|verb| left.contains(verb) && grounds.decide(*verb, name, &below));
                    let rights = allowed.fold(Rights::EMPTY, |rights, verb| rights | rights_of(verb));
                    let Some(file) = opened().ok().filter(|_| !rights.is_empty()) else {
                        continue;
                    };
                    // It may be another by now; what was looked at is what is granted.
                    let is_same = rustix::fs::fstat(&file).is_ok_and(|now| {
                        (now.st_dev, now.st_ino, now.st_nlink, now.st_mode)
                            == (stat.st_dev, stat.st_ino, stat.st_nlink, stat.st_mode)
                    });
                    if is_same {
                        self.wall.grant_file(file, rights, folder)?;
                    }
                }
                FileType::RegularFile
                | FileType::Symlink
                | FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => {}
            }
        }
        Ok(())
    }

    /// Where the kernel allows more at a folder than the policy does.
    fn tell_wider(&mut self, path: &RelPath, rights: Rights) {
        let grounds = self.grounds;
        for verb in verbs() {
            let is_told = match verb {
                FileVerb::Link => rights.intersects(LINK | MAKE),
                FileVerb::Stat | FileVerb::Watch => false,
                verb => rights.intersects(rights_of(verb)),
            };
            if !is_told {
                continue;
            }
            // Names that may not be looked at are seen where others are.
            let asked = if verb == FileVerb::List { [verb, FileVerb::Stat] } else { [verb, verb] };
            for asked in asked {
                let (extent, len) = grounds.extent(self.name, asked, path);
                let (kind, rule) = match extent {
                    Extent::Whole => continue,
                    Extent::AllBut(rule) => (GapKind::Denied, Some(rule.rule)),
                    Extent::AllShown(rule) => (GapKind::Hidden, Some(rule.rule)),
                    Extent::Some(rule) => (GapKind::Pattern, Some(rule.rule)),
                    Extent::Nothing if verb == FileVerb::Link => (GapKind::HardLinks, None),
                    Extent::Nothing if asked == FileVerb::Stat => (GapKind::Pattern, None),
                    Extent::Nothing => (GapKind::Replacing, None),
                };
                self.merge(Side::Wider, kind, path, verb, rule, len);
            }
        }
        let moving = |kind| {
            let place = Place::Files { root: self.name.clone(), path: path.clone(), verbs: Vec::new() };
            Gap::new(Side::Wider, kind, place)
        };
        let effective = self.effective(path);
        let somewhere = |rights| self.granted.values().any(|granted| granted.intersects(rights));
        let moves = effective.contains(MOVE) && somewhere(MAKE) && somewhere(REMOVE);
        if moves || effective.intersects(MAKE) && effective.intersects(REMOVE) {
            self.wall.gaps.push(moving(GapKind::Renames));
        }
        if rights.intersects(READ | WRITE) {
            self.wall.gaps.push(moving(GapKind::OddFiles));
        }
    }

    /// Whether a file could be moved by the policy from one granted folder to another where the kernel allows more.
    fn tell_moves(&mut self) {
        let folders: Vec<(RelPath, Rights)> =
            self.granted.keys().map(|path| (path.clone(), self.effective(path))).collect();
        let is_from = |rights: Rights| rights.contains(READ | AccessFs::RemoveFile);
        let is_to = |rights: Rights| rights.contains(AccessFs::MakeReg | AccessFs::WriteFile);
        for (to, more) in folders.iter().filter(|(_, rights)| is_to(*rights)) {
            let is_refused = |(from, less): &(RelPath, Rights)| {
                is_from(*less) && from != to && !less.contains(*more & CONTENT | MOVE)
                    || is_from(*less) && !more.contains(MOVE)
            };
            if folders.iter().any(is_refused) {
                let place = Place::Files { root: self.name.clone(), path: to.clone(), verbs: Vec::new() };
                self.wall.gaps.push(Gap::new(Side::Narrower, GapKind::Moves, place));
            }
        }
    }

    fn tell(
        &mut self,
        side: Side,
        kind: GapKind,
        path: &RelPath,
        verbs: &[FileVerb],
        rule: &super::ground::FileRule<'_>,
    ) {
        verbs.iter().for_each(|verb| self.merge(side, kind, path, *verb, Some(rule.rule), 1));
    }

    /// One gap for all verbs at a place that differ for one reason.
    fn merge(
        &mut self,
        side: Side,
        kind: GapKind,
        at: &RelPath,
        verb: FileVerb,
        rule: Option<&crate::policy::Rule>,
        rules_len: usize,
    ) {
        let rule = rule.map(ToString::to_string);
        for gap in self.wall.gaps.iter_mut().rev() {
            let Place::Files { root, path, verbs } = &mut gap.place else {
                break;
            };
            if root != self.name {
                break;
            }
            if (gap.side, gap.kind, &*path, &gap.rule) == (side, kind, at, &rule) {
                if !verbs.contains(&verb) {
                    verbs.push(verb);
                }
                gap.more = gap.more.max(rules_len.saturating_sub(1));
                return;
            }
            if path != at {
                break;
            }
        }
        let place = Place::Files { root: self.name.clone(), path: at.clone(), verbs: vec![verb] };
        self.wall.gaps.push(Gap { side, kind, place, rule, more: rules_len.saturating_sub(1) });
    }

    /// A folder of the root; `None` if there is none of this name.
    fn open(&self, path: &RelPath) -> Result<Option<OwnedFd>, ConfinementError> {
        match beneath::open(self.root.dir(), path.as_str(), beneath::FOLDER, self.root.mounts()) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
                Some(_) | None => Err(self.failed("open", path, error)),
            },
        }
    }

    fn stat(&self, path: &RelPath) -> Result<Option<rustix::fs::Stat>, ConfinementError> {
        let (Some(parent), Some(last)) = (path.parent(), path.as_str().rsplit('/').next()) else {
            return Ok(None);
        };
        match self.open(&parent)? {
            Some(folder) => self.stat_at(&folder, last, path),
            None => Ok(None),
        }
    }

    fn stat_at(
        &self,
        folder: impl AsFd,
        entry: &str,
        path: &RelPath,
    ) -> Result<Option<rustix::fs::Stat>, ConfinementError> {
        match rustix::fs::statat(folder, entry, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(self.failed("look at", path, error.into())),
        }
    }

    /// The names in a folder that are text, sorted, so that a wall is the same each time.
    fn entries(&self, folder: &OwnedFd, path: &RelPath) -> Result<Vec<String>, ConfinementError> {
        let fail = |error: Errno| self.failed("list", path, error.into());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let readable = rustix::fs::openat(folder, ".", flags, Mode::empty()).map_err(fail)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&readable).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
            if names.len() > ENTRIES_MAX {
                return Err(ConfinementError::TooManyFolders { limit: ENTRIES_MAX });
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn failed(&self, action: &'static str, path: &RelPath, source: std::io::Error) -> ConfinementError {
        ConfinementError::Folder(FsError::of(action, self.root.path_of(path.as_path()), source))
    }
}
