//! What the machine gives, to whom, and what the log says of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, SystemTime};

use airssys_osl::audit::AuditOptions;
use airssys_osl::{FsError, Machine, MachineError, Name, Root, Secret, SecretError, Secrets, Subject};

use crate::audit::{gate_by, records};

const POLICY: &str = r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
host = ["clock", "random", "info"]
[[subject.allow]]
env = ["CARGO_*", "NOT_SET"]
[[subject.allow]]
secrets = ["mail/*"]
[[subject.deny]]
env = ["CARGO_PKG_NAME"]
[[subject.deny]]
secrets = ["mail/root"]
[[subject]]
name = "nobody"
"#;

struct World {
    folder: tempfile::TempDir,
    machine: Machine,
}

fn who(name: &str) -> Subject {
    Subject::parse(name).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text.into()).unwrap()
}

impl World {
    fn with(secrets: Secrets) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gate = gate_by(POLICY, &folder.path().join("log"), AuditOptions::default());
        Self { folder, machine: Machine::new(gate, secrets) }
    }

    fn new() -> Self {
        let name = |name| Name::parse(name).unwrap();
        Self::with(
            Secrets::of([(name("mail/ann"), secret("hunter2")), (name("mail/root"), secret("t0p"))]).unwrap(),
        )
    }

    fn records(self) -> Vec<serde_json::Value> {
        drop(self.machine);
        records(&self.folder.path().join("log"))
    }
}

fn is_denied<T>(result: Result<T, MachineError>) -> bool {
    matches!(result, Err(MachineError::Denied(_)))
}

#[test]
fn each_service_is_given_to_whom_it_is_granted_and_to_nobody_else() {
    let world = World::new();
    let (tool, nobody, machine) = (who("tool"), who("nobody"), &world.machine);
    let drift = SystemTime::now().duration_since(machine.time(&tool).unwrap());
    assert!(drift.unwrap_or_default() < Duration::from_secs(3600));
    let first = machine.instant(&tool).unwrap();
    assert!(machine.instant(&tool).unwrap() >= first);
    assert_ne!(machine.random(&tool, 32).unwrap(), machine.random(&tool, 32).unwrap());
    let info = machine.info(&tool).unwrap();
    assert!(info.processors >= 1 && !info.system.is_empty() && info.memory_bytes > Some(1 << 20), "{info:?}");
    let version = machine.variable(&tool, "CARGO_PKG_VERSION").unwrap();
    assert_eq!(version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(machine.variable(&tool, "NOT_SET").unwrap(), None);
    assert_eq!(machine.secret(&tool, "mail/ann").unwrap().reveal_text(), Some("hunter2"));
    assert!(is_denied(machine.variable(&tool, "CARGO_PKG_NAME")));
    assert!(is_denied(machine.variable(&tool, "PATH")));
    assert!(is_denied(machine.secret(&tool, "mail/root")));
    assert!(is_denied(machine.secret(&tool, "other")));
    assert!(is_denied(machine.time(&nobody)));
    assert!(is_denied(machine.instant(&nobody)));
    assert!(is_denied(machine.random(&nobody, 1)));
    assert!(is_denied(machine.info(&nobody)));
    assert!(is_denied(machine.variable(&nobody, "NOT_SET")));
    assert!(is_denied(machine.secret(&nobody, "mail/ann")));
    let denials = world.records().iter().filter(|record| record["kind"] == "denial").count();
    assert_eq!(denials, 10, "one record for each");
}

#[test]
fn m7_what_is_given_out_is_in_no_record_and_no_error() {
    let world = World::new();
    let (tool, machine) = (who("tool"), &world.machine);
    let secret = machine.secret(&tool, "mail/ann").unwrap();
    let shown = format!("{secret} {secret:?} {machine:?} {:?}", Some(&secret));
    assert!(!shown.contains("hunter2"), "{shown}");
    let given = machine.variable(&tool, "CARGO_MANIFEST_DIR").unwrap().unwrap();
    let error = machine.secret(&tool, "mail/root").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("t0p"));
    let records = world.records();
    let text = serde_json::to_string(&records).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("t0p") && !text.contains(&given), "{text}");
    assert!(text.contains("secret mail/ann") && text.contains("env CARGO_MANIFEST_DIR"), "{text}");
}

#[test]
fn random_bytes_are_bounded_and_a_denied_subject_does_not_learn_the_bound() {
    let world = World::new();
    let (tool, machine) = (who("tool"), &world.machine);
    assert_eq!(machine.random(&tool, 64 * 1024).unwrap().len(), 64 * 1024);
    for len in [64 * 1024 + 1, usize::MAX] {
        let refused = machine.random(&tool, len);
        assert!(matches!(refused, Err(MachineError::TooLarge { max: 65_536, .. })), "{refused:?}");
    }
    assert!(is_denied(machine.random(&who("nobody"), usize::MAX)));
    let records = world.records();
    assert_eq!(records[0]["fields"]["bytes"], "65536");
    assert_eq!(records[3]["outcome"], "failed");
}

#[test]
fn names_that_are_none_are_refused_before_anything_is_asked() {
    let world = World::new();
    for name in ["", "../key", "mail/../root", "/mail/ann", "A=B", "A\0B", "mail//ann"] {
        let refused = [
            world.machine.secret(&who("tool"), name).map(|_| ()),
            world.machine.variable(&who("tool"), name).map(|_| ()),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(MachineError::Name { .. })), "{name}: {refused:?}");
        }
    }
    let records = world.records();
    assert_eq!(records.len(), 14, "each attempt is one record");
    for (index, record) in records.iter().enumerate() {
        let operation = ["host.secret", "host.variable"][index % 2];
        assert_eq!((&record["kind"], &record["operation"]), (&"denial".into(), &operation.into()));
    }
    assert_eq!(records[2]["denied"], "the text `../key`");
}

#[test]
fn secrets_in_a_private_folder_are_read_whole_each_time_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    Root::private(&path.join("mail")).unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).unwrap();
    put("mail/ann", b"first\n");
    put("mail/long", &[7; 64 * 1024]);
    put("mail/longer", &[7; 64 * 1024 + 1]);
    fs::create_dir(path.join("mail/folder")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", path.join("mail/outside")).unwrap();
    let world = World::with(Secrets::in_folder(&path).unwrap());
    let read = |name: &str| world.machine.secret(&who("tool"), name);
    assert_eq!(read("mail/ann").unwrap().reveal(), b"first\n");
    put("mail/ann", b"second");
    assert_eq!(read("mail/ann").unwrap().reveal(), b"second");
    assert_eq!(read("mail/long").unwrap().reveal().len(), 64 * 1024);
    let secret_error = |name: &str| match read(name) {
        Err(MachineError::Secret(error)) => error,
        other => panic!("{name}: {other:?}"),
    };
    assert!(matches!(secret_error("mail/longer"), SecretError::TooLong { max: 65_536 }));
    assert!(matches!(secret_error("mail/none"), SecretError::NoSecret { .. }));
    assert!(matches!(secret_error("mail/folder"), SecretError::File(FsError::NotAFile { .. })));
    assert!(matches!(secret_error("mail/outside"), SecretError::File(FsError::Outside { .. })));
}

#[test]
fn a_folder_of_secrets_that_others_may_enter_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let refused = Secrets::in_folder(folder.path());
    assert!(matches!(refused, Err(SecretError::File(FsError::Exposed { .. }))), "{refused:?}");
}

#[test]
fn secrets_in_memory_are_bounded_in_length_and_number() {
    assert!(Secret::new(vec![0; 64 * 1024]).is_ok());
    assert!(matches!(Secret::new(vec![0; 64 * 1024 + 1]), Err(SecretError::TooLong { .. })));
    let some = |len: usize| {
        Secrets::of(
            (0..len).map(|n| (Name::parse(&format!("n{n}")).unwrap(), Secret::new(Vec::new()).unwrap())),
        )
    };
    assert!(some(10_000).is_ok());
    assert!(matches!(some(10_001), Err(SecretError::TooMany { max: 10_000 })));
}
