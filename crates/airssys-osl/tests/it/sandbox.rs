//! The second wall: what the kernel stops of a thread or a program that passes the gate by, beside what the policy says.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc;

use airssys_osl::audit::AuditOptions;
use airssys_osl::{
    Access, Confinement, ConfinementError, Files, FilesError, Fit, Gap, GapKind, Name, Policy, Reach, Report,
    Requirement, Root, Seen, Side, Subject, Whose,
};

use crate::audit::gate_by;
use crate::process::is_root;
use crate::raw;

mod differential;
mod gaps;
pub(crate) mod programs;

fn tool() -> Subject {
    Subject::parse("tool").unwrap()
}

fn name() -> Name {
    Name::parse("d").unwrap()
}

/// A policy of one subject with these rules.
fn policy_of(rules: &str) -> Policy {
    Policy::parse(&format!("version = 1\n[[subject]]\nname = \"tool\"\n{rules}"), "policy.toml").unwrap()
}

fn allow(rule: &str) -> String {
    format!("[[subject.allow]]\n{rule}\n")
}

fn deny(rule: &str) -> String {
    format!("[[subject.deny]]\n{rule}\n")
}

fn compile(policy: &Policy, root: &Path, fit: Fit) -> Confinement {
    let root = Root::open(root).unwrap();
    Confinement::new(policy, Whose::Subject(&tool()), [(&name(), &root)], fit).unwrap()
}

/// Does something on a thread that is confined first.
fn confined<T: Send>(confinement: &Confinement, act: impl FnOnce(Report) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let confined = || act(confinement.apply_to_thread(Requirement::Must).unwrap());
        scope.spawn(confined).join().unwrap()
    })
}

fn world() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for path in ["root/in/secret", "root/out", "root/.hidden", "outside"] {
        fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    for path in ["root/in/a", "root/in/secret/key", "root/out/b", "root/.hidden/h", "outside/o"] {
        fs::write(folder.path().join(path), path).unwrap();
    }
    folder
}

#[track_caller]
fn is_stopped<T: std::fmt::Debug>(outcome: io::Result<T>) {
    let error = outcome.expect_err("the kernel stops it");
    assert!(
        matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::CrossesDevices),
        "{error}"
    );
}

#[test]
fn a_confined_thread_does_what_the_policy_allows_and_the_others_do_as_before() {
    let world = world();
    let at = |path: &str| world.path().join(path);
    let policy = policy_of(
        &(allow("files = [\"d:in/**\"]\nverbs = [\"read\", \"list\", \"stat\"]\nhidden = true")
            + &allow("files = [\"d:out/**\"]\nhidden = true")),
    );
    // Containers begin with a filter.
    let confined_so_far = || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let lines =
            status.lines().filter(|line| line.starts_with("Seccomp") || line.starts_with("NoNewPrivs"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = confined_so_far();
    for fit in [Fit::Around, Fit::Inside] {
        let confinement = compile(&policy, &at("root"), fit);
        let report = confined(&confinement, |report| {
            assert_eq!(fs::read_to_string(at("root/in/a")).unwrap(), "root/in/a");
            assert_eq!(fs::read_dir(at("root/in")).unwrap().count(), 2);
            fs::write(at("root/out/new"), "new").unwrap();
            fs::rename(at("root/out/new"), at("root/out/other")).unwrap();
            fs::remove_file(at("root/out/other")).unwrap();
            is_stopped(fs::write(at("root/in/a"), "x"));
            is_stopped(OpenOptions::new().write(true).truncate(true).open(at("root/in/a")));
            is_stopped(File::create(at("root/in/new")));
            is_stopped(fs::remove_file(at("root/in/a")));
            is_stopped(fs::read(at("root/.hidden/h")));
            is_stopped(fs::read(at("outside/o")));
            is_stopped(fs::read_dir("/"));
            is_stopped(fs::read("/proc/self/environ"));
            is_stopped(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
            is_stopped(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
            report
        });
        assert!(report.landlock_abi.is_some_and(|abi| abi >= 6), "{report}");
        for (part, seen) in report.parts() {
            let is_signal_to_nobody = part == "signals" && seen == Seen::Untried;
            assert!(seen == Seen::Holds || is_signal_to_nobody, "{part}: {report}");
        }
        assert!(report.calls_filtered && report.no_new_privileges && !report.whole_process, "{report}");
        // This thread was not confined, by more than it was before.
        assert!(fs::read_dir("/").is_ok() && fs::read(at("outside/o")).is_ok());
        assert_eq!(confined_so_far(), before);
    }
}

#[test]
fn a_link_does_not_lead_a_confined_thread_out() {
    let world = world();
    let at = |path: &str| world.path().join(path);
    symlink("../../outside/o", at("root/in/escapes")).unwrap();
    symlink(at("outside"), at("root/in/folder")).unwrap();
    let policy = policy_of(&allow("files = [\"d:in/**\"]\nhidden = true"));
    for fit in [Fit::Around, Fit::Inside] {
        confined(&compile(&policy, &at("root"), fit), |_| {
            is_stopped(fs::read(at("root/in/escapes")));
            is_stopped(fs::read(at("root/in/folder/o")));
            is_stopped(fs::write(at("root/in/folder/new"), ""));
        });
    }
}
