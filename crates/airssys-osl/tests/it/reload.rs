//! A policy in a file: what replaces the one in use, and what does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use airssys_osl::audit::{AuditLog, AuditOptions, Durability, verify};
use airssys_osl::{Gate, Policy, PolicyFile, PolicyFileError, Refusal, Reloaded, Root, Subject};

use crate::audit::records;
use crate::observe::{Wants, told};

/// A folder with a log and a policy.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// In place, as an editor may do it.
    fn write(&self, text: &str) {
        fs::write(self.path().join("policy.toml"), text).unwrap();
        self.mode(0o600);
    }

    fn mode(&self, mode: u32) {
        fs::set_permissions(self.path().join("policy.toml"), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// As it should be done.
    fn put(&self, text: &str) {
        Root::open(self.path())
            .unwrap()
            .write_atomic("policy.toml".as_ref(), text.as_bytes(), 0o600)
            .unwrap();
    }

    fn open(&self) -> PolicyFile {
        let options = AuditOptions { durability: Durability::Async, ..AuditOptions::default() };
        let log = AuditLog::open(&Root::private(&self.log()).unwrap(), options).unwrap();
        PolicyFile::open(Root::open(self.path()).unwrap(), "policy.toml".as_ref(), log)
    }

    /// The records of a kind, when the log is closed.
    fn told(&self, kind: &str) -> Vec<serde_json::Value> {
        verify(&Root::open(&self.log()).unwrap(), None).unwrap();
        records(&self.log()).into_iter().filter(|record| record["kind"] == kind).collect()
    }
}

fn allowing(what: &str) -> String {
    format!("version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:{what}\"]\n")
}

fn may(gate: &Gate, access: &str) -> bool {
    let permit = gate.admit(&Subject::parse("tool").unwrap(), Wants::one(access));
    permit.is_ok_and(|permit| permit.perform(|_| Ok::<_, std::fmt::Error>(())).is_ok())
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_policy_that_is_read_again_has_the_next_generation_and_a_record() {
    let home = Home::new();
    home.write(&allowing("a"));
    let file = home.open();
    let first = file.gate().generation();
    assert!(may(file.gate(), "read d:a") && !may(file.gate(), "read d:b"));
    assert_eq!(file.reload().unwrap(), Reloaded::Unchanged);
    home.put(&allowing("b"));
    assert_eq!(file.reload().unwrap(), Reloaded::Replaced { generation: first + 1 });
    assert!(!may(file.gate(), "read d:a") && may(file.gate(), "read d:b"));
    let digest = Policy::parse(&allowing("b"), "b").unwrap().digest();
    drop(file);
    let told = home.told("policy");
    let last = told.last().unwrap();
    assert_eq!((&last["digest"], &last["rules"]), (&digest.as_str().into(), &1.into()));
    assert_eq!(last["policy"], format!("{}:{}", first + 1, &digest[..16]));
    // Every decision says which policy made it.
    assert!(home.told("intent").iter().any(|record| record["policy"] == last["policy"]));
    assert!(home.told("denial").iter().all(|record| record["policy"].is_string()));
    assert_eq!(home.told("alarm").len(), 0);
}

#[test]
fn h12_what_cannot_be_read_keeps_the_policy_in_use_and_alarms() {
    let home = Home::new();
    home.put(&allowing("a"));
    let file = home.open();
    let generation = file.gate().generation();
    let mut alarms = 0;
    let mut refused = |error: PolicyFileError, is_expected: fn(&PolicyFileError) -> bool| {
        assert!(is_expected(&error), "{error:?}");
        alarms += 1;
        assert_eq!((file.alarms_len(), file.gate().generation()), (alarms, generation));
        assert!(may(file.gate(), "read d:a") && !may(file.gate(), "read d:b"));
    };
    for broken in [
        "",
        "version = 1\n[[subject]",
        "version = 2",
        "not a policy",
        "version = 1\n[[subject]]\nname = \"*\"",
    ] {
        home.put(broken);
        refused(file.reload().unwrap_err(), |error| matches!(error, PolicyFileError::Invalid(_)));
    }
    home.put(&format!("{}{}", allowing("b"), "#".repeat(2 << 20)));
    refused(file.reload().unwrap_err(), |error| matches!(error, PolicyFileError::Read(_)));
    fs::write(home.path().join("policy.toml"), b"version = 1 # \xff").unwrap();
    refused(file.reload().unwrap_err(), |error| matches!(error, PolicyFileError::Read(_)));
    // Whoever may write to it may do everything that the program may.
    home.put(&allowing("b"));
    home.mode(0o666);
    refused(file.reload().unwrap_err(), |error| {
        matches!(error, PolicyFileError::Exposed { mode: 0o666, .. })
    });
    fs::remove_file(home.path().join("policy.toml")).unwrap();
    refused(file.reload().unwrap_err(), |error| matches!(error, PolicyFileError::Read(_)));
    fs::create_dir(home.path().join("policy.toml")).unwrap();
    refused(file.reload().unwrap_err(), |error| matches!(error, PolicyFileError::Read(_)));
    fs::remove_dir(home.path().join("policy.toml")).unwrap();
    home.put(&allowing("b"));
    assert_eq!(file.reload().unwrap(), Reloaded::Replaced { generation: generation + 1 });
    assert!(!may(file.gate(), "read d:a") && may(file.gate(), "read d:b"));
    drop(file);
    let told = home.told("alarm");
    assert_eq!(told.len() as u64, alarms);
    assert!(told[0]["error"].as_str().unwrap().contains("version"), "{}", told[0]);
}

#[test]
fn l2_a_program_that_starts_without_a_readable_policy_denies_everything_and_alarms() {
    for broken in [None, Some(""), Some("version = 1\n[[subject]]\nname = \"to")] {
        let home = Home::new();
        if let Some(text) = broken {
            home.write(text);
        }
        let (file, said) = told(|| home.open());
        let errors = said.iter().filter(|(level, _)| *level == tracing::Level::ERROR);
        assert_eq!((file.alarms_len(), errors.count()), (1, 1), "{said:?}");
        let denied = file.gate().admit(&Subject::parse("tool").unwrap(), Wants::one("read d:a")).unwrap_err();
        assert!(matches!(denied.why, Refusal::NoRule));
        home.put(&allowing("a"));
        file.reload().unwrap();
        assert!(may(file.gate(), "read d:a"));
        drop(file);
        assert_eq!((home.told("alarm").len(), home.told("denial").len()), (1, 1));
    }
}

#[test]
fn l2_a_watched_file_that_is_written_piece_by_piece_is_used_when_it_is_whole() {
    let home = Home::new();
    home.write(&allowing("a"));
    let watch = home.open().watch(Duration::from_millis(20)).unwrap();
    let (gate, began) = (watch.file().gate().clone(), watch.file().gate().generation());
    // All that is before the rule that denies would be a policy that allows more.
    let whole = format!("{}[[subject.deny]]\nfiles = [\"d:secret\"]\n", allowing("**"));
    home.write("");
    until("an empty file alarms", || watch.file().alarms_len() == 1);
    assert_eq!(gate.generation(), began);
    home.write(&whole);
    until("the whole file is used", || gate.generation() > began);
    assert!(may(&gate, "read d:b") && !may(&gate, "read d:secret"));
    let (alarms, generation) = (watch.file().alarms_len(), gate.generation());
    assert_eq!(generation, began + 1, "nothing but the whole was ever used");
    // A bad file alarms once, however often it is looked at.
    home.put("version = 1\n[[");
    until("a broken file alarms", || watch.file().alarms_len() > alarms);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((watch.file().alarms_len(), gate.generation()), (alarms + 1, generation));
    fs::remove_file(home.path().join("policy.toml")).unwrap();
    until("a file that is gone alarms", || watch.file().alarms_len() > alarms + 1);
    home.put(&allowing("c"));
    until("one that comes back is used", || gate.generation() > generation);
    assert!(may(&gate, "read d:c") && !may(&gate, "read d:b"));
    drop((watch, gate));
    assert_eq!(home.told("alarm").len(), 3);
}

#[test]
fn l12_every_decision_is_that_of_the_policy_that_its_record_names_and_none_is_kept() {
    let home = Home::new();
    home.put(&allowing("a"));
    let file = home.open();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    may(file.gate(), "read d:a");
                    may(file.gate(), "read d:b");
                }
            });
        }
        for round in 0..60 {
            let (yes, no) = if round % 2 == 0 { ("b", "a") } else { ("a", "b") };
            home.put(&allowing(yes));
            assert!(matches!(file.reload().unwrap(), Reloaded::Replaced { .. }));
            // The very next operation is decided by it.
            assert!(may(file.gate(), &format!("read d:{yes}")) && !may(file.gate(), &format!("read d:{no}")));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    drop(file);
    let digest = |what: &str| Policy::parse(&allowing(what), "").unwrap().digest()[..16].to_owned();
    let (a, b) = (digest("a"), digest("b"));
    for record in home.told("intent") {
        let by = record["policy"].as_str().unwrap().split_once(':').unwrap().1;
        let allowed = if by == a { "read d:a" } else { "read d:b" };
        assert!([&a, &b].contains(&&by.to_owned()) && record["accesses"][0] == allowed, "{record}");
    }
}

#[test]
fn h12_what_was_taken_away_stays_away_after_a_restart() {
    let home = Home::new();
    home.put(&allowing("a"));
    let file = home.open();
    assert!(may(file.gate(), "read d:a"));
    home.put(&allowing("b"));
    file.reload().unwrap();
    drop(file);
    let file = home.open();
    assert!(!may(file.gate(), "read d:a"));
    drop(file);
    home.put("broken");
    let file = home.open();
    assert!(
        !may(file.gate(), "read d:a") && !may(file.gate(), "read d:b"),
        "nothing is left of the policy before"
    );
}
