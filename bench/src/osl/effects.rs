//! Effects behind the gate beside the same effects without it: files, a program, a connection.
//!
//! Ours are decided by the policy of suite `osl` and recorded by an asynchronous log, two records each.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "each baseline is the same call without the door"
)]

use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use airssys_osl::{Exit, Files, Name, Network, Policy, Program, Programs, ProgramsOptions, Root, Subject};

use super::{Astray, OURS, gate, policy};
use crate::Outcome;
use crate::report::{Report, Series, interleave, ns_each};

const READS: u64 = 5_000;
const WRITES: u64 = 100;
const SPAWNS: u64 = 50;
const CONNECTS: u64 = 500;
const FILE_BYTES: usize = 4096;
const BYTES_MAX: u64 = 1 << 16;
const FILE: &str = "d:work/a.log";

/// A folder with a file of 4 KiB, and the door to it.
struct Place {
    folder: tempfile::TempDir,
    files: Files,
    subject: Subject,
}

impl Place {
    fn make() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let root = Root::open(folder.path())?;
        root.create_dir_private("work".as_ref())?.write_atomic("a.log".as_ref(), &[7; FILE_BYTES], 0o600)?;
        let files = Files::new(gate(folder.path(), policy(0)?)?, [(Name::parse("d")?, root)]);
        Ok(Self { folder, files, subject: Subject::parse("s0")? })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("work/a.log")
    }
}

/// Adds ours and its baseline, which were measured in turn.
fn add(
    report: &mut Report,
    workload: &'static str,
    metric: &str,
    theirs: &'static str,
    samples: [Vec<f64>; 2],
) {
    let [ours, baseline] = samples;
    let theirs = Series { subject: theirs, metric, unit: "ns", samples: baseline };
    report.add(workload, &theirs, None);
    report.add(workload, &Series { subject: OURS, metric, unit: "ns", samples: ours }, Some(&theirs));
}

/// Nanoseconds of each of so many effects, one after the other.
fn each(count: u64, mut effect: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let begin = Instant::now();
    for _ in 0..count {
        effect()?;
    }
    Ok(ns_each(begin.elapsed(), count))
}

/// As [`each`], in a task.
fn each_in(
    runtime: &tokio::runtime::Runtime,
    count: u64,
    mut effect: impl AsyncFnMut() -> Outcome<()>,
) -> Outcome<f64> {
    runtime.block_on(async {
        let begin = Instant::now();
        for _ in 0..count {
            effect().await?;
        }
        Ok(ns_each(begin.elapsed(), count))
    })
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

fn is_whole(bytes: &[u8]) -> Outcome<()> {
    if bytes.len() == FILE_BYTES { Ok(()) } else { Err(Astray.into()) }
}

pub(super) fn read(report: &mut Report, workload: &'static str) -> Outcome<()> {
    let place = Place::make()?;
    let path = place.file();
    let mut ours = || each(READS, || is_whole(&place.files.read(&place.subject, FILE, BYTES_MAX)?));
    let mut theirs = || each(READS, || is_whole(&std::fs::read(&path)?));
    let samples = interleave([&mut ours, &mut theirs])?;
    add(report, workload, "ns_per_read", "std-fs", samples);
    Ok(())
}

pub(super) fn read_from_task(report: &mut Report, workload: &'static str) -> Outcome<()> {
    let place = Place::make()?;
    let path = place.file();
    let runtime = runtime()?;
    let mut ours = || {
        each_in(&runtime, READS, async || {
            let subject = place.subject.clone();
            let read = place.files.from_task(move |files| files.read(&subject, FILE, BYTES_MAX));
            is_whole(&read.await?)
        })
    };
    let mut theirs = || each_in(&runtime, READS, async || is_whole(&tokio::fs::read(&path).await?));
    let samples = interleave([&mut ours, &mut theirs])?;
    add(report, workload, "ns_per_read", "tokio-fs", samples);
    report.note(format!("{workload}: the aim is a ratio of 1.1"));
    Ok(())
}

/// What [`Files::write`] promises, by hand: a new file in place of the old one, on the disk.
fn replace(folder: &Path, path: &Path) -> Outcome<()> {
    use std::io::Write as _;
    let new = folder.join("new");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&[7; FILE_BYTES])?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

pub(super) fn write(report: &mut Report, workload: &'static str) -> Outcome<()> {
    let place = Place::make()?;
    let (path, folder) = (place.file(), place.folder.path().join("work"));
    let mut ours = || each(WRITES, || Ok(place.files.write(&place.subject, FILE, &[7; FILE_BYTES])?));
    let mut theirs = || each(WRITES, || replace(&folder, &path));
    let samples = interleave([&mut ours, &mut theirs])?;
    add(report, workload, "ns_per_write", "std-fs", samples);
    report.note(format!(
        "{workload}: both write a new file, see it and its folder to the disk, and put it in place of the old one"
    ));
    Ok(())
}

pub(super) fn spawn(report: &mut Report, workload: &'static str) -> Outcome<()> {
    let program = std::fs::canonicalize("/bin/true")?;
    let program = program.to_str().ok_or(Astray)?;
    let rules = format!("version = 1\n[[subject]]\nname = \"s0\"\n[[subject.allow]]\nrun = \"{program}\"\n");
    let folder = tempfile::tempdir()?;
    let gate = gate(folder.path(), Policy::parse(&rules, "policy.toml")?)?;
    let programs = Programs::new(gate, [], ProgramsOptions::default());
    let subject = Subject::parse("s0")?;
    let runtime = runtime()?;
    let mut ours = || {
        each_in(&runtime, SPAWNS, async || {
            let output = programs.run(&subject, Program::new(program)).await?;
            if output.exit == Exit::Code(0) { Ok(()) } else { Err(Astray.into()) }
        })
    };
    let mut theirs = || {
        each(SPAWNS, || {
            let output = std::process::Command::new(program).env_clear().output()?;
            if output.status.success() { Ok(()) } else { Err(Astray.into()) }
        })
    };
    let samples = interleave([&mut ours, &mut theirs])?;
    add(report, workload, "ns_per_program", "std-process", samples);
    report.note(format!(
        "{workload}: to its end with what it said; ours has limits, no descriptors of the host, and takes its tree with it"
    ));
    Ok(())
}

pub(super) fn connect(report: &mut Report, workload: &'static str) -> Outcome<()> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let there = listener.local_addr()?;
    // Takes what comes until the process ends.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let rules = "version = 1\n[[subject]]\nname = \"s0\"\n[[subject.allow]]\nconnect = [\"127.0.0.1:*\"]\n";
    let folder = tempfile::tempdir()?;
    let network = Network::new(gate(folder.path(), Policy::parse(rules, "policy.toml")?)?);
    let subject = Subject::parse("s0")?;
    let runtime = runtime()?;
    let end = there.to_string();
    let mut ours = || {
        each_in(&runtime, CONNECTS, async || {
            drop(network.connect(&subject, &end).await?);
            Ok(())
        })
    };
    let mut theirs = || {
        each_in(&runtime, CONNECTS, async || {
            drop(tokio::net::TcpStream::connect(there).await?);
            Ok(())
        })
    };
    let samples = interleave([&mut ours, &mut theirs])?;
    add(report, workload, "ns_per_connection", "tokio-net", samples);
    report.note(format!("{workload}: from asking to an open stream that is closed again"));
    Ok(())
}
