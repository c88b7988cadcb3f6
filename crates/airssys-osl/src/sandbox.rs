//! The second wall: what a policy allows, compiled for the kernel, which then stops a program that passes the gate by.
//!
//! A [`Confinement`] is built from the policy, a subject and the opened roots. It confines a thread, and with it the programs
//! that are started from there, by Landlock and a filter of system calls; or this whole process, by Landlock. The kernel knows
//! less than the policy: each difference is a [`Gap`], and a [`Report`] says what was seen to hold. A confinement is never
//! taken off again.

mod calls;
mod folders;
mod gap;
mod ground;
mod ports;
mod report;
mod wall;

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible as _, LandlockStatus, RestrictSelfAttr as _,
    RestrictSelfError, RestrictionStatus, RulesetError, make_bitflags,
};
use rustix::fs::OFlags;
use rustix::io::Errno;
use seccompiler::BpfProgram;

use crate::access::{FileVerb, Name, NetVerb, Subject};
use crate::files::Files;
use crate::fs::{FsError, Root};
use crate::policy::{Effect, Ground, Policy};

use calls::Sockets;
pub use gap::{Gap, GapKind, Place, Side};
use ground::Grounds;
use ports::Ports;
use report::{Found, Probe};
pub use report::{Report, Seen};
use wall::{Known, Wall, all_above, number};

/// The newest version of Landlock whose rights are asked for.
const ABI_MAX: ABI = ABI::V9;
/// What a program gets of a folder that it may read.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
/// What it gets of one that it may change.
const CHANGE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | MakeSym | RemoveFile | RemoveDir | Refer
});
/// What programs read to start, beside themselves. None of it is a secret of somebody.
const LIBRARIES: [&str; 9] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
];
/// What starts programs that are not whole in themselves.
const LOADERS: [&str; 4] = [
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];
const NULL: &str = "/dev/null";

/// What a policy allows, as the kernel can be told. Built once, it confines as many threads as are needed.
pub struct Confinement {
    wall: Wall,
    programs: Vec<BpfProgram>,
    sockets: Sockets,
    /// The policy has rules about datagrams.
    has_datagrams: bool,
    connect: Ports,
    bind: Ports,
}

/// Whose rules a confinement is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'s> {
    /// Those of one subject: for what runs on its behalf.
    Subject(&'s Subject),
    /// Those of all together: for a process that works for them all.
    Everyone,
}

/// On which side the kernel errs where it cannot know what the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It allows more: nothing that the policy allows is stopped, but for what a [`Gap`] says. For a wall behind the gate.
    Around,
    /// It allows less: nothing that the policy denies passes, but for what a [`Gap`] says. For a wall that stands alone, before
    /// a program that was not written for the gate.
    Inside,
}

/// What happens where the kernel cannot confine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// It is an error, and what was to run does not. Needs Landlock of version 6, which Linux has from 6.12 on.
    Must,
    /// It goes on with what there is. The report says what that is.
    BestEffort,
}

/// What may be done with a folder that is granted beside the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Files are read and folders listed.
    Read,
    /// And changed, made, removed and moved there.
    Change,
}

/// Why something is not confined.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfinementError {
    /// A folder that is granted cannot be looked at.
    #[error("confine to a folder")]
    Folder(#[from] FsError),
    /// The rules are too many to build a wall of.
    #[error("confine by more than {limit} rules")]
    TooManyRules {
        /// The bound.
        limit: usize,
    },
    /// The folders and files are too many to be granted one by one.
    #[error("confine to more than {limit} folders and files; allow whole folders")]
    TooManyFolders {
        /// The bound.
        limit: usize,
    },
    /// The kernel did not take the wall.
    #[error("{action} by landlock")]
    Landlock {
        /// What was being done.
        action: &'static str,
        /// Its answer.
        #[source]
        source: RulesetError,
    },
    /// A thread cannot be made, counted, or given the wall.
    #[error("confine a thread")]
    Thread(#[source] std::io::Error),
    /// The filter of system calls cannot be compiled, or the kernel did not take it.
    #[error("filter system calls")]
    Calls(#[from] seccompiler::Error),
    /// The kernel does not know a part that must be there.
    #[error("confine {part}: this kernel does not know how")]
    Absent {
        /// Which.
        part: &'static str,
    },
    /// A part was taken and does not hold.
    #[error("confine {part}: the kernel took it and it does not hold")]
    Fails {
        /// Which.
        part: &'static str,
    },
    /// The process has other threads, which this kernel cannot confine.
    #[error(
        "confine the process: it has {len} threads, and this kernel confines one; do it before others are started"
    )]
    Threads {
        /// How many it has.
        len: usize,
    },
    /// A folder that must stay out of reach does not.
    #[error("confine away from {path:?}: it is granted, or something below or above it is")]
    Reaches {
        /// Which.
        path: PathBuf,
    },
}

impl Confinement {
    /// Compiles what a policy allows in these roots. What it allows elsewhere is of no use to anybody. With [`Fit::Inside`] the
    /// folders are looked through once, and what comes into being later beside files that are granted one by one is not granted.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use airssys_osl::{Confinement, Fit, Name, Policy, Requirement, Root, Subject, Whose};
    /// # let folder = tempfile::tempdir()?;
    /// # std::fs::write(folder.path().join("a"), "alpha")?;
    /// let policy = Policy::parse(
    ///     r#"
    ///     version = 1
    ///     [[subject]]
    ///     name = "tool"
    ///     [[subject.allow]]
    ///     files = ["work:**"]
    ///     hidden = true
    ///     "#,
    ///     "policy.toml",
    /// )?;
    /// let (tool, work, root) = (Subject::parse("tool")?, Name::parse("work")?, Root::open(folder.path())?);
    /// let confinement = Confinement::new(&policy, Whose::Subject(&tool), [(&work, &root)], Fit::Inside)?;
    /// let inside = folder.path().join("a");
    /// std::thread::spawn(move || {
    ///     let report = confinement.apply_to_thread(Requirement::BestEffort).expect("the kernel takes it");
    ///     assert!(std::fs::read(inside).is_ok());
    ///     assert!(report.landlock_abi.is_none() || std::fs::read("/etc/passwd").is_err());
    /// })
    /// .join()
    /// .expect("the thread ends well");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new<'r>(
        policy: &Policy,
        whose: Whose<'_>,
        roots: impl IntoIterator<Item = (&'r Name, &'r Root)>,
        fit: Fit,
    ) -> Result<Self, ConfinementError> {
        Self::up_to(ABI_MAX, policy, whose, roots, fit)
    }

    /// [`Confinement::new`] of the policy and the roots of these files, as they are now.
    pub fn of_files(files: &Files, whose: Whose<'_>, fit: Fit) -> Result<Self, ConfinementError> {
        let (gate, roots) = files.grounds();
        Self::new(&gate.policy(), whose, roots, fit)
    }

    fn up_to<'r>(
        abi: ABI,
        policy: &Policy,
        whose: Whose<'_>,
        roots: impl IntoIterator<Item = (&'r Name, &'r Root)>,
        fit: Fit,
    ) -> Result<Self, ConfinementError> {
        let grounds = Grounds::of(policy, whose)?;
        let mut gaps = Vec::new();
        let connect = Ports::of(&grounds, NetVerb::Connect, fit, &mut gaps);
        let bind = Ports::of(&grounds, NetVerb::Listen, fit, &mut gaps);
        let mut wall = Wall::new(abi, &connect, &bind, gaps)?;
        for root in roots {
            folders::grant(&mut wall, &grounds, root, fit)?;
        }
        wall.run(&grounds)?;
        let is_about = |rule: &&crate::policy::Rule, verbs: &[NetVerb]| {
            rule.effect() == Effect::Allow
                && matches!(rule.ground(), Ground::Net { verb, .. } if verbs.contains(&verb))
        };
        let has = |verbs: &[NetVerb]| grounds.others.iter().flatten().any(|rule| is_about(rule, verbs));
        let has_datagrams = has(&[NetVerb::Send, NetVerb::Bind]);
        let sockets = Sockets {
            tcp: !connect.is_empty() || !bind.is_empty(),
            listen: !bind.is_empty(),
            // To look a name up takes datagrams.
            udp: fit == Fit::Around && (has_datagrams || has(&[NetVerb::Resolve])),
            unix: false,
        };
        let programs = calls::programs(sockets)?;
        Ok(Self { wall, programs, sockets, has_datagrams, connect, bind })
    }

    /// Grants what programs need to start: libraries, the loader, shared data of programs, `/dev/null` and `/dev/urandom`.
    /// The loader runs any program that it can read, so with it all that may be read may be run.
    pub fn with_libraries(mut self) -> Result<Self, ConfinementError> {
        for (paths, rights) in [
            (&LIBRARIES[..], READ),
            (&LOADERS[..], AccessFs::Execute | AccessFs::ReadFile),
            (&[NULL][..], AccessFs::ReadFile | AccessFs::WriteFile),
        ] {
            for path in paths {
                if self.wall.grant_path(path, rights, OFlags::empty())?.is_some() {
                    self.wall.tell_beside(Path::new(path));
                }
            }
        }
        Ok(self)
    }

    /// Grants a folder beside the policy, such as that of the log to a process that writes it.
    pub fn with_folder(mut self, root: &Root, reach: Reach) -> Result<Self, ConfinementError> {
        let rights = match reach {
            Reach::Read => READ,
            Reach::Change => CHANGE,
        };
        self.wall.grant(root.dir(), rights)?;
        self.wall.tell_beside(root.label());
        Ok(self)
    }

    /// Grants sockets of this machine, to whatever listens by a path: that can be more than the rest of the wall is worth.
    pub fn with_unix_sockets(mut self) -> Result<Self, ConfinementError> {
        self.sockets.unix = true;
        self.programs = calls::programs(self.sockets)?;
        Ok(self)
    }

    /// An error if a folder, such as that of the log, is granted, or one above it, or something in it.
    pub fn must_not_reach(&self, root: &Root) -> Result<(), ConfinementError> {
        let failed = |error: Errno| FsError::of("open", root.label().to_owned(), error.into());
        let folder = number(root.dir()).map_err(failed)?;
        let above = all_above(root.dir()).map_err(failed)?;
        let is_above = above.iter().chain([&folder]).any(|folder| self.wall.granted.contains(folder));
        let is_below = self.wall.above.contains(&folder);
        if is_above || is_below {
            Err(ConfinementError::Reaches { path: root.label().to_owned() })
        } else {
            Ok(())
        }
    }

    /// Where the kernel and the policy will differ for a thread that is confined, as far as this kernel knows. What holds
    /// then is for the [`Report`] to say.
    pub fn gaps(&self) -> Vec<Gap> {
        self.gaps_with(true)
    }

    /// What will hold: seen on a thread that is confined for this alone and then ends.
    pub fn report(&self, requirement: Requirement) -> Result<Report, ConfinementError> {
        let try_on = || self.apply_to_thread(requirement);
        std::thread::scope(|scope| match std::thread::Builder::new().spawn_scoped(scope, try_on) {
            Ok(tried) => tried.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(source) => Err(ConfinementError::Thread(source)),
        })
    }

    /// Confines the calling thread, the threads and the programs that it starts from now on, by Landlock and the filter of
    /// system calls. After an error it may be confined in part: let it end.
    pub fn apply_to_thread(&self, requirement: Requirement) -> Result<Report, ConfinementError> {
        let (found, probe, status) = self.restrict(requirement, false)?;
        for program in &self.programs {
            seccompiler::apply_filter(program)?;
        }
        self.seen(requirement, found, probe, &status, Applied::Thread)
    }

    /// Confines a process that is about to become a program, and may take no lock and no memory any more: what is done here are
    /// calls of the system.
    pub(crate) fn enter(&self, requirement: Requirement) -> Result<(), Errno> {
        if requirement == Requirement::Must && self.absent().is_some() {
            return Err(Errno::NOSYS);
        }
        let errno = |source: Option<&std::io::Error>| {
            source.and_then(std::io::Error::raw_os_error).map_or(Errno::PERM, Errno::from_raw_os_error)
        };
        let ruleset = self.wall.ruleset.try_clone().map_err(|error| errno(Some(&error)))?;
        ruleset.restrict_self().map_err(|error| match error {
            RulesetError::RestrictSelf(RestrictSelfError::RestrictSelfCall { source, .. }) => {
                errno(Some(&source))
            }
            _ => errno(None),
        })?;
        for program in &self.programs {
            seccompiler::apply_filter(program).map_err(|error| match error {
                seccompiler::Error::Prctl(source) | seccompiler::Error::Seccomp(source) => {
                    errno(Some(&source))
                }
                _ => errno(None),
            })?;
        }
        Ok(())
    }

    /// Confines this process by Landlock, and all that it starts. The process has to have this one thread only, unless the
    /// kernel can confine all at once, which it can from version 8 of Landlock on. Calls are not filtered.
    pub fn apply_to_process(&self, requirement: Requirement) -> Result<Report, ConfinementError> {
        let len = threads_len().map_err(ConfinementError::Thread)?;
        let is_alone = len == 1;
        if !is_alone && !can_sync(&self.wall)? {
            return Err(ConfinementError::Threads { len });
        }
        let (found, probe, status) = self.restrict(requirement, !is_alone)?;
        self.seen(requirement, found, probe, &status, Applied::Process)
    }

    fn restrict(
        &self,
        requirement: Requirement,
        all_threads: bool,
    ) -> Result<(Found, Probe, RestrictionStatus), ConfinementError> {
        if requirement == Requirement::Must
            && let Some(part) = self.absent()
        {
            return Err(ConfinementError::Absent { part });
        }
        let failed = |source| ConfinementError::Landlock { action: "confine", source };
        let probe = Probe::prepare();
        let ruleset = self.wall.ruleset.try_clone().map_err(ConfinementError::Thread)?;
        let ruleset = ruleset.all_threads(all_threads).map_err(failed)?;
        let status = ruleset.restrict_self().map_err(failed)?;
        Ok((probe.observe(), probe, status))
    }

    fn seen(
        &self,
        requirement: Requirement,
        found: Found,
        mut probe: Probe,
        status: &RestrictionStatus,
        applied: Applied,
    ) -> Result<Report, ConfinementError> {
        let known = self.wall.known;
        let landlock_abi = match status.landlock {
            LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
            LandlockStatus::Available { effective_abi, kernel_abi } => {
                u32::try_from(kernel_abi.unwrap_or(effective_abi as i32)).ok()
            }
        };
        // The account may be of a filter that somebody else put up, so it counts for a thread alone, which got this one.
        let (is_filtered, no_new_privileges) = probe.account();
        let calls_filtered = is_filtered && applied == Applied::Thread;
        let report = Report {
            landlock_abi,
            files: Seen::of(true, known.files, found.files),
            connect: Seen::of(!self.connect.is_open(), known.ports, found.connect),
            bind: Seen::of(!self.bind.is_open(), known.ports, found.bind),
            abstract_sockets: Seen::of(true, known.scopes, found.abstract_sockets),
            signals: Seen::of(true, known.scopes, found.signals),
            calls_filtered,
            no_new_privileges,
            whole_process: applied == Applied::Process && known.files,
            gaps: self.gaps_with(calls_filtered),
        };
        if requirement == Requirement::Must {
            if let Some((part, _)) = report.parts().into_iter().find(|(_, seen)| *seen == Seen::Fails) {
                return Err(ConfinementError::Fails { part });
            }
            if applied == Applied::Thread && !calls_filtered {
                return Err(ConfinementError::Fails { part: "system calls" });
            }
        }
        Ok(report)
    }

    /// The first part of the wall that this kernel lacks.
    fn absent(&self) -> Option<&'static str> {
        let known = self.wall.known;
        let parts = [
            (known.files, "files"),
            (known.truncate, "the cutting of files"),
            (known.ports, "ports"),
            (known.scopes, "signals and abstract sockets"),
        ];
        parts.into_iter().find(|(is_known, _)| !is_known).map(|(_, part)| part)
    }

    /// What differs, with the filter of calls or without it.
    fn gaps_with(&self, is_filtered: bool) -> Vec<Gap> {
        let Known { files, truncate, moves, ports, scopes: _, paths } = self.wall.known;
        let all = (1, u16::MAX);
        let verbs = FileVerb::WORDS.iter().map(|(_, verb)| *verb);
        let wider = |kind, place| Gap::new(Side::Wider, kind, place);
        let net = |verb| Place::Net { verb, ports: all };
        let old = |verbs: Vec<FileVerb>| wider(GapKind::OldKernel, Place::Everywhere(verbs));
        let mut gaps = Vec::new();
        if files {
            gaps.extend(
                self.wall.gaps.iter().filter(|gap| ports || !matches!(gap.place, Place::Net { .. })).cloned(),
            );
            gaps.push(wider(GapKind::Unhandled, Place::Everywhere(vec![FileVerb::Stat, FileVerb::Watch])));
            if !truncate {
                gaps.push(old(vec![FileVerb::Write]));
            }
            if !moves {
                let place = Place::Everywhere(Vec::new());
                gaps.push(Gap::new(Side::Narrower, GapKind::OldKernel, place));
            }
        } else {
            gaps.push(old(verbs.collect()));
        }
        // Without the right sockets there is nothing to connect by.
        for (verb, is_usable) in
            [(NetVerb::Connect, self.sockets.tcp), (NetVerb::Listen, self.sockets.listen)]
        {
            if !ports && (is_usable || !is_filtered) {
                gaps.push(wider(GapKind::OldKernel, net(Some(verb))));
            }
        }
        if (!is_filtered || self.sockets.listen) && !self.bind.is_open() {
            gaps.push(wider(GapKind::FreePorts, net(Some(NetVerb::Listen))));
        }
        for verb in [NetVerb::Send, NetVerb::Bind] {
            if !is_filtered || self.sockets.udp {
                gaps.push(wider(GapKind::Datagrams, net(Some(verb))));
            } else if self.has_datagrams {
                gaps.push(Gap::new(Side::Narrower, GapKind::Datagrams, net(Some(verb))));
            }
        }
        if !is_filtered {
            gaps.push(wider(GapKind::OtherSockets, net(None)));
        }
        if (!is_filtered || self.sockets.unix) && !paths {
            gaps.push(wider(GapKind::UnixSockets, net(None)));
        }
        gaps
    }
}

/// What was confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applied {
    Thread,
    Process,
}

impl fmt::Debug for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confinement").field("gaps", &self.gaps()).finish_non_exhaustive()
    }
}

/// Whether the kernel can confine all threads of a process at once.
fn can_sync(wall: &Wall) -> Result<bool, ConfinementError> {
    let ruleset = wall.ruleset.try_clone().map_err(ConfinementError::Thread)?;
    Ok(ruleset.set_compatibility(CompatLevel::HardRequirement).all_threads(true).is_ok())
}

fn threads_len() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// What an older kernel would do, by asking this one for less.
    #[test]
    fn what_an_older_kernel_does_not_know_is_told_and_passes() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a"), "alpha").expect("a file");
        let text = "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:**\"]\n\
             verbs = [\"read\"]\nhidden = true\n[[subject.allow]]\nlisten = [\"127.0.0.1:9\"]\n";
        let policy = Policy::parse(text, "policy.toml").expect("a policy");
        let root = Root::open(folder.path()).expect("a root");
        let (name, tool) = (Name::parse("d").expect("a name"), Subject::parse("tool").expect("a name"));
        for (abi, cuts, binds) in [(ABI::V2, true, true), (ABI::V3, false, true), (ABI::V6, false, false)] {
            let whose = Whose::Subject(&tool);
            let confinement =
                Confinement::up_to(abi, &policy, whose, [(&name, &root)], Fit::Around).expect("it compiles");
            let file = folder.path().join("a");
            std::thread::scope(|scope| {
                let act = || {
                    assert_eq!(confinement.apply_to_thread(Requirement::Must).is_ok(), abi == ABI::V6);
                    let report = confinement.apply_to_thread(Requirement::BestEffort).expect("it goes on");
                    let says = |about: &dyn Fn(&Place) -> bool| {
                        report.gaps.iter().any(|gap| gap.kind == GapKind::OldKernel && about(&gap.place))
                    };
                    let writes =
                        |place: &Place| matches!(place, Place::Everywhere(verbs) if !verbs.is_empty());
                    let listens =
                        |place: &Place| matches!(place, Place::Net { verb: Some(NetVerb::Listen), .. });
                    assert_eq!((says(&writes), says(&listens)), (cuts, binds), "{abi:?}: {report}");
                    assert_eq!(report.bind == Seen::Absent, binds, "{abi:?}: {report}");
                    // Opened to be read, and cut by that.
                    let cut =
                        rustix::fs::open(&file, OFlags::RDONLY | OFlags::TRUNC, rustix::fs::Mode::empty());
                    assert_eq!(cut.is_ok(), cuts, "{abi:?}: {cut:?}");
                    assert!(fs::write(&file, "x").is_err() && fs::read(&file).is_ok());
                    assert_eq!(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).is_ok(), binds, "{abi:?}");
                };
                scope.spawn(act).join().expect("the thread ends well");
            });
        }
    }
}
