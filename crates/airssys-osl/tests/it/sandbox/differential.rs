//! One policy, two judges: what the gate says and what the kernel does, over a tree, with many small policies.
//!
//! The same operation is done by `Files` in one copy of the tree and by plain calls from a confined thread in another. Where
//! the two differ, a gap has to have said so before.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use airssys_osl::audit::{AuditOptions, Durability};
use airssys_osl::{
    Access, Files, FilesError, Fit, Gap, GapKind, Gate, Place, Policy, Requirement, Root, Side, Subject,
};

use super::{allow, compile, deny, name, policy_of, tool};
use crate::audit::gate_by;

const FOLDERS: [&str; 6] = ["", "a", "a/c", "b", ".h", "a/.s"];
const FILES: [&str; 3] = ["f.txt", "g.md", ".x"];
const PATTERNS: [&str; 20] = [
    "**", "*", "a/**", "a/*", "a/*.txt", "a", "a/f.txt", "a/c/**", "a/c", "b/**", "b/f.txt", "b/new",
    ".h/**", ".", "**/f.txt", "*/c/**", "*/*", "?/**", "gone/**", "a/.s/*",
];
const VERBS: [&str; 6] = ["read", "write", "create", "remove", "list", "link"];

/// Policies that are tried.
const POLICIES: u64 = 60;

/// A sequence of numbers that is the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn rules(&mut self) -> String {
        let mut rules = String::new();
        for _ in 0..1 + self.roll(4) {
            let verbs: Vec<&str> = VERBS.into_iter().filter(|_| self.roll(3) > 0).chain(["stat"]).collect();
            let pattern = PATTERNS[self.roll(PATTERNS.len())];
            let hidden = self.roll(3) > 0;
            rules += &allow(&format!("files = [\"d:{pattern}\"]\nverbs = {verbs:?}\nhidden = {hidden}"));
        }
        for _ in 0..self.roll(3) {
            let verbs: Vec<&str> = VERBS.into_iter().filter(|_| self.roll(2) > 0).collect();
            let pattern = PATTERNS[self.roll(PATTERNS.len())];
            let verbs = if verbs.is_empty() { vec!["read"] } else { verbs };
            rules += &deny(&format!("files = [\"d:{pattern}\"]\nverbs = {verbs:?}"));
        }
        rules
    }
}

/// What is done, with paths below the root.
#[derive(Debug, Clone)]
enum Act {
    Read(String),
    Append(String),
    Cut(String),
    List(String),
    MakeFile(String),
    MakeFolder(String),
    MakeLink(String),
    SecondName(String, String),
    Replace(String),
    Rename(String, String),
    Remove(String),
    RemoveFolder(String),
}

impl Act {
    /// What the policy is asked for.
    fn accesses(&self) -> Vec<(&'static str, &str)> {
        match self {
            Act::Read(path) => vec![("read", path)],
            Act::Append(path) | Act::Cut(path) => vec![("write", path)],
            Act::List(path) => vec![("list", path)],
            Act::MakeFile(path) | Act::Replace(path) => vec![("create", path), ("write", path)],
            Act::MakeFolder(path) => vec![("create", path)],
            Act::MakeLink(path) => vec![("link", path)],
            Act::SecondName(_, path) => vec![("link", path), ("create", path)],
            Act::Rename(from, to) => {
                vec![("read", from), ("remove", from), ("create", to), ("write", to)]
            }
            Act::Remove(path) | Act::RemoveFolder(path) => vec![("remove", path)],
        }
    }

    /// What may be otherwise after it.
    fn changes(&self) -> Vec<&str> {
        match self {
            Act::Read(_) | Act::Append(_) | Act::List(_) => Vec::new(),
            Act::Cut(path)
            | Act::MakeFile(path)
            | Act::MakeFolder(path)
            | Act::MakeLink(path)
            | Act::Remove(path)
            | Act::RemoveFolder(path)
            | Act::SecondName(_, path) => vec![path],
            Act::Replace(path) => {
                vec![path, ".tmp-x", "a/.tmp-x", "a/c/.tmp-x", "b/.tmp-x", ".h/.tmp-x", "a/.s/.tmp-x"]
            }
            Act::Rename(from, to) => vec![to, from],
        }
    }

    /// By plain calls.
    fn raw(&self, root: &Path) -> io::Result<Vec<String>> {
        let at = |path: &str| root.join(path);
        match self {
            Act::Read(path) => fs::read(at(path)).map(drop)?,
            Act::Append(path) => OpenOptions::new().append(true).open(at(path)).map(drop)?,
            Act::Cut(path) => OpenOptions::new().write(true).truncate(true).open(at(path)).map(drop)?,
            Act::List(path) => {
                let entries = fs::read_dir(at(path))?;
                return entries.map(|entry| Ok(entry?.file_name().into_string().unwrap())).collect();
            }
            Act::MakeFile(path) => {
                OpenOptions::new().write(true).create_new(true).open(at(path)).map(drop)?
            }
            Act::MakeFolder(path) => fs::create_dir(at(path))?,
            Act::MakeLink(path) => symlink("nowhere", at(path))?,
            Act::SecondName(from, to) => fs::hard_link(at(from), at(to))?,
            Act::Replace(path) => {
                let target = at(path);
                let temporary = target.with_file_name(".tmp-x");
                fs::write(&temporary, "new")?;
                fs::rename(&temporary, &target)?;
                File::open(target.parent().unwrap())?.sync_all()?;
            }
            Act::Rename(from, to) => fs::rename(at(from), at(to))?,
            Act::Remove(path) => fs::remove_file(at(path))?,
            Act::RemoveFolder(path) => fs::remove_dir(at(path))?,
        }
        Ok(Vec::new())
    }

    /// Through the gate, or only asked where there is no such operation.
    fn guarded(&self, files: &Files, gate: &Gate, who: &Subject) -> Option<Vec<String>> {
        let d = |path: &str| if path.is_empty() { "d:.".to_owned() } else { format!("d:{path}") };
        let done = match self {
            Act::Read(path) => files.read(who, &d(path), 1024).map(drop),
            Act::Append(path) => files.append(who, &d(path), b""),
            Act::List(path) => {
                return match files.list(who, &d(path), 100) {
                    Ok(entries) => Some(entries.into_iter().map(|entry| entry.name).collect()),
                    Err(error) => is_denied(&error),
                };
            }
            Act::MakeFile(path) | Act::Replace(path) => files.write(who, &d(path), b"new"),
            Act::MakeFolder(path) => files.create_folder(who, &d(path)),
            Act::Rename(from, to) => files.rename(who, &d(from), &d(to)),
            Act::Remove(path) => files.remove(who, &d(path)),
            Act::RemoveFolder(path) => files.remove_folder(who, &d(path)),
            Act::Cut(_) | Act::MakeLink(_) | Act::SecondName(..) => {
                let is_allowed = |(verb, path): (&str, &str)| {
                    let access = Access::parse(&format!("{verb} {}", d(path))).unwrap();
                    gate.policy().decide(who, &access).is_allowed()
                };
                return self.accesses().into_iter().all(is_allowed).then(Vec::new);
            }
        };
        match done {
            Ok(()) => Some(Vec::new()),
            Err(error) => is_denied(&error),
        }
    }
}

/// The policy denied; nothing else may have gone wrong.
fn is_denied(error: &FilesError) -> Option<Vec<String>> {
    assert!(matches!(error, FilesError::Denied(_)), "{error:?}");
    None
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

/// All there is to do, in an order in which one does not hinder the next.
fn acts(dice: &mut Dice) -> Vec<Act> {
    let mut acts = Vec::new();
    for folder in FOLDERS {
        acts.push(Act::List(folder.to_owned()));
        for file in FILES {
            let path = join(folder, file);
            acts.extend([Act::Read(path.clone()), Act::Append(path.clone()), Act::Cut(path)]);
        }
    }
    for folder in FOLDERS {
        for name in ["new", ".new"] {
            let path = join(folder, name);
            acts.extend([
                Act::MakeFile(path.clone()),
                Act::MakeFolder(path.clone()),
                Act::MakeLink(path.clone()),
            ]);
            acts.push(Act::SecondName(join(folder, "f.txt"), path.clone()));
            acts.push(Act::Rename(join(folder, "f.txt"), path));
        }
        let other = FOLDERS[dice.roll(FOLDERS.len())];
        acts.push(Act::Rename(join(folder, "g.md"), join(other, "moved")));
        acts.push(Act::Replace(join(folder, FILES[dice.roll(FILES.len())])));
    }
    for folder in FOLDERS {
        acts.extend([Act::Remove(join(folder, "f.txt")), Act::RemoveFolder(join(folder, "e"))]);
    }
    acts
}

/// Makes what is missing at a path and removes what is too much, and leaves alone what is as it was.
fn restore(root: &Path, path: &str) {
    let at = root.join(path);
    let name = path.rsplit('/').next().unwrap();
    let about = fs::symlink_metadata(&at);
    if FILES.contains(&name) {
        if !fs::read(&at).is_ok_and(|text| text == b"text") {
            fs::write(at, "text").unwrap();
        }
    } else if name == "e" {
        fs::create_dir_all(at).unwrap();
    } else if about.as_ref().is_ok_and(fs::Metadata::is_dir) {
        fs::remove_dir(at).unwrap();
    } else if about.is_ok() {
        fs::remove_file(at).unwrap();
    }
}

fn plant(root: &Path) {
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder)).unwrap();
        FILES.into_iter().chain(["e"]).for_each(|name| restore(root, &join(folder, name)));
    }
}

/// Two trees alike, and the files behind a gate in one of them.
struct Twins {
    folder: tempfile::TempDir,
}

impl Twins {
    fn new() -> Self {
        let twins = Self { folder: tempfile::tempdir().unwrap() };
        plant(&twins.guarded());
        plant(&twins.raw());
        twins
    }

    fn guarded(&self) -> PathBuf {
        self.folder.path().join("guarded")
    }

    fn raw(&self) -> PathBuf {
        self.folder.path().join("raw")
    }

    fn files(&self, rules: &str) -> (Files, Gate) {
        let options = AuditOptions { durability: Durability::Async, ..AuditOptions::default() };
        let log = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        fs::remove_dir(&log).unwrap();
        let text = format!("version = 1\n[[subject]]\nname = \"tool\"\n{rules}");
        let gate = gate_by(&text, &log, options);
        (Files::new(gate.clone(), [(name(), Root::open(&self.guarded()).unwrap())]), gate)
    }
}

fn access(verb: &str, path: &str) -> Access {
    let path = if path.is_empty() { "." } else { path };
    Access::parse(&format!("{verb} d:{path}")).unwrap()
}

fn is_said(gaps: &[Gap], side: Side, access: &Access) -> bool {
    gaps.iter().any(|gap| gap.side == side && gap.is_about(access))
}

/// Whether a gap of this kind is about moving and linking at a path.
fn is_moving(gaps: &[Gap], kind: GapKind, at: &str) -> bool {
    gaps.iter().any(|gap| match &gap.place {
        Place::Files { path, verbs, .. } => {
            gap.kind == kind && verbs.is_empty() && Path::new(at).starts_with(path.as_str())
        }
        _ => false,
    })
}

/// One operation before both judges. What was not said before, or nothing.
fn differs(
    act: &Act,
    allowed: Option<&Vec<String>>,
    done: &io::Result<Vec<String>>,
    policy: &Policy,
    gaps: &[Gap],
) -> Option<String> {
    let denied = |(verb, path): &(&str, &str)| !policy.decide(&tool(), &access(verb, path)).is_allowed();
    let same_folder = |from: &str, to: &str| Path::new(from).parent() == Path::new(to).parent();
    let is_said = match (allowed, done) {
        (Some(names), Ok(found)) if matches!(act, Act::List(_)) => {
            let (names, found): (BTreeSet<_>, BTreeSet<_>) = (names.iter().collect(), found.iter().collect());
            assert!(names.is_subset(&found), "{act:?}: {names:?} {found:?}");
            // A name that may not be looked at is seen by the kernel's leave.
            names == found
                || act.accesses().iter().any(|(verb, path)| is_said(gaps, Side::Wider, &access(verb, path)))
        }
        (Some(_), Ok(_)) | (None, Err(_)) => true,
        (None, Ok(_)) => {
            let moved = match act {
                Act::Rename(from, to) => {
                    [from, to].into_iter().all(|path| is_moving(gaps, GapKind::Renames, path))
                }
                _ => false,
            };
            let mut denied = act.accesses().into_iter().filter(denied).peekable();
            assert!(denied.peek().is_some(), "{act:?}");
            moved || denied.all(|(verb, path)| is_said(gaps, Side::Wider, &access(verb, path)))
        }
        (Some(_), Err(_)) => {
            let moved = match act {
                Act::Rename(from, to) => !same_folder(from, to) && is_moving(gaps, GapKind::Moves, to),
                Act::Replace(path) => is_moving(gaps, GapKind::Replacing, path),
                _ => false,
            };
            moved
                || act
                    .accesses()
                    .iter()
                    .any(|(verb, path)| is_said(gaps, Side::Narrower, &access(verb, path)))
        }
    };
    if let Err(error) = done {
        let is_refusal =
            matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::CrossesDevices);
        assert!(is_refusal, "{act:?}: {error}");
    }
    (!is_said).then(|| format!("{act:?}: the policy: {}, the kernel: {done:?}", allowed.is_some()))
}

#[test]
fn the_gate_and_the_kernel_differ_only_where_a_gap_says_so() {
    let twins = Twins::new();
    let (mut alike, mut wider, mut narrower, mut found) = (0_u32, 0_u32, 0_u32, Vec::new());
    for seed in 1..=POLICIES {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let rules = dice.rules();
        let acts = acts(&mut dice);
        let (files, gate) = twins.files(&rules);
        let policy = policy_of(&rules);
        for fit in [Fit::Around, Fit::Inside] {
            let confinement = compile(&policy, &twins.raw(), fit);
            let gaps = confinement.gaps();
            let (ask, asked) = mpsc::channel::<Act>();
            let (answer, answered) = mpsc::channel();
            let raw = twins.raw();
            let confined = std::thread::spawn(move || {
                confinement.apply_to_thread(Requirement::Must).unwrap();
                asked.into_iter().for_each(|act| answer.send(act.raw(&raw)).unwrap());
            });
            for act in &acts {
                let allowed = act.guarded(&files, &gate, &tool());
                ask.send(act.clone()).unwrap();
                let done = answered.recv().unwrap();
                match (&allowed, &done) {
                    (Some(_), Err(_)) => narrower += 1,
                    (None, Ok(_)) => wider += 1,
                    (Some(_), Ok(_)) | (None, Err(_)) => alike += 1,
                }
                if let Some(difference) = differs(act, allowed.as_ref(), &done, &policy, &gaps) {
                    let gaps: Vec<String> = gaps.iter().map(Gap::to_string).collect();
                    found.push(format!("{difference}\n{fit:?} {rules}\n{}\n", gaps.join("\n")));
                }
                for path in act.changes() {
                    restore(&twins.raw(), path);
                    restore(&twins.guarded(), path);
                }
            }
            drop(ask);
            confined.join().unwrap();
        }
    }
    found.sort_by_key(|text| text.len());
    assert!(found.is_empty(), "{} differences; the first: {}", found.len(), found[0]);
    // The two were compared in earnest.
    assert!(alike > 10_000 && wider > 100 && narrower > 100, "{alike} {wider} {narrower}");
}
