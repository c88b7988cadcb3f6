//! Segments of an audit log: bytes that nobody wrote are never a sound log, and a sound log in which anything was changed is
//! found out beside its head.
//!
//! The first byte of an input says which of the two is tried. Changes are read as pairs of a place and what is put there.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use airssys_osl::audit::{AuditLog, AuditOptions, Durability, Head, verify};
use airssys_osl::{Access, Gate, Operation, Policy, Root, Subject};
use libfuzzer_sys::fuzz_target;

struct World {
    folder: tempfile::TempDir,
    segment: PathBuf,
    bytes: Vec<u8>,
    head: Head,
}

struct Reads([Access; 1]);

impl Operation for Reads {
    fn name(&self) -> &'static str {
        "fuzz.read"
    }

    fn accesses(&self) -> &[Access] {
        &self.0
    }
}

/// A log that was written by a gate, of some ten records.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = "version = 1\n[[subject]]\nname = \"s\"\n[[subject.allow]]\nfiles = [\"d:in/**\"]\n";
    let policy = Policy::parse(text, "policy.toml").expect("a policy");
    let root = Root::private(&folder.path().join("log")).expect("a folder");
    let options = AuditOptions { durability: Durability::Async, ..AuditOptions::default() };
    let log = AuditLog::open(&root, options).expect("a log");
    let (gate, subject) = (Gate::new(policy, log), Subject::parse("s").expect("a subject"));
    for path in ["in/a", "out", "in/b", "in/c\u{7}"] {
        let access = Access::parse(&format!("read d:{path}")).expect("an access");
        if let Ok(permit) = gate.admit(&subject, Reads([access])) {
            permit.perform(|_| if path == "in/b" { Err("no") } else { Ok(()) }).ok();
        }
    }
    drop(gate);
    let head = verify(&root, None).expect("a sound log").head;
    let segment = fs::read_dir(folder.path().join("log"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .expect("a segment");
    let bytes = fs::read(&segment).expect("a segment");
    World { folder, segment, bytes, head }
});

fuzz_target!(|input: &[u8]| {
    let world = &*WORLD;
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let bytes = if kind % 2 == 0 {
        rest.to_vec()
    } else {
        let mut bytes = world.bytes.clone();
        for change in rest.chunks_exact(4) {
            let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % bytes.len().max(1);
            match change[2] % 4 {
                0 if at < bytes.len() => bytes[at] = change[3],
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.insert(at.min(bytes.len()), change[3]),
                _ => bytes.truncate(bytes.len() - at.min(bytes.len()).min(usize::from(change[3]))),
            }
        }
        bytes
    };
    fs::write(&world.segment, &bytes).expect("a segment can be written");
    let root = Root::open(&world.folder.path().join("log")).expect("the folder is there");
    let is_sound = verify(&root, Some(world.head)).is_ok();
    assert_eq!(is_sound, bytes == world.bytes, "{}", String::from_utf8_lossy(&bytes));
});
