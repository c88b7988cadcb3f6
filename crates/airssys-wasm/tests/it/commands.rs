//! Programs: `wasi:cli` components, and the cache of compiled code.

use std::path::Path;

use airssys_osl::audit::{AuditLog, AuditOptions};
use airssys_osl::{Gate, Name, OwnFiles, Policy, Root, Subject};
use airssys_wasm::{Command, CommandError, Component, EngineOptions, Engines, Kind};

use crate::world::{engines, guest};

#[test]
fn an_actor_is_not_a_program() {
    assert!(matches!(
        Command::load(&engines(), &guest("echo")),
        Err(CommandError::NotACommand { hint }) if hint.contains("airssys up")
    ));
}

/// A private folder, used as the subject `test` through a gate that allows it.
fn own_files(log: &Path, private: &Path) -> OwnFiles {
    let text = "version = 1\n[[subject]]\nname = \"test\"\n[[subject.allow]]\nfiles = [\"cache:*\"]\n";
    let policy = Policy::parse(text, "policy.toml").expect("a policy");
    let log = Root::private(log).expect("a private folder");
    let log = AuditLog::open(&log, AuditOptions::default()).expect("a log");
    let (subject, name) = (Subject::parse("test").expect("a name"), Name::parse("cache").expect("a name"));
    OwnFiles::new(Gate::new(policy, log), subject, name, Root::private(private).expect("a private folder"))
}

#[test]
fn compiled_code_is_kept_and_a_changed_entry_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let private = folder.path().join("cache");
    let start = || {
        let cache = own_files(&folder.path().join("log"), &private);
        Engines::new(EngineOptions { pool_instances: Some(4), cache: Some(cache) }).expect("engines")
    };
    let entries = || {
        let mut entries: Vec<_> = std::fs::read_dir(&private)
            .expect("the cache")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"))
            .collect();
        entries.sort();
        entries
    };
    let load = |engines: &Engines| Component::load(engines, &guest("echo"), false).expect("it loads");
    assert_eq!(load(&start()).description().kind, Kind::Actor);
    let kept = entries();
    assert_eq!(kept.len(), 1);
    let written = std::fs::read(&kept[0]).expect("the entry");

    // A second start takes it from there: the entry is not written again.
    let before = std::fs::metadata(&kept[0]).expect("metadata").modified().expect("a time");
    load(&start());
    assert_eq!(std::fs::metadata(&kept[0]).expect("metadata").modified().expect("a time"), before);

    // One changed byte anywhere, and the code is compiled again instead of run.
    for position in [0, written.len() / 2, written.len() - 1] {
        let mut changed = written.clone();
        changed[position] ^= 1;
        std::fs::write(&kept[0], &changed).expect("write");
        load(&start());
        assert_eq!(std::fs::read(&kept[0]).expect("the entry"), written, "made anew after byte {position}");
    }
    // So is an entry that was cut short, or moved here from another component.
    std::fs::write(&kept[0], &written[..16]).expect("write");
    load(&start());
    Component::load(&start(), &guest("crasher"), false).expect("it loads");
    let other = entries().into_iter().find(|path| *path != kept[0]).expect("the other entry");
    std::fs::copy(&other, &kept[0]).expect("copy");
    load(&start());
    assert_eq!(std::fs::read(&kept[0]).expect("the entry"), written);
}
