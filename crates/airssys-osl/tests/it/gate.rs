//! What passes the gate, what the log says of it, and what happens when the log cannot speak.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use airssys_osl::audit::{AuditOptions, verify};
use airssys_osl::{
    Access, Denial, Gate, Layer, Operation, Policy, Quota, QuotaOptions, Refusal, Root, Subject,
};

use crate::audit::{gate_by, records};

/// An effect that counts how often it happens.
struct Counted<'c> {
    accesses: Vec<Access>,
    effects: &'c AtomicU32,
}

impl Operation for Counted<'_> {
    fn name(&self) -> &'static str {
        "test.count"
    }

    fn accesses(&self) -> &[Access] {
        &self.accesses
    }
}

struct World {
    folder: tempfile::TempDir,
    gate: Gate,
    effects: AtomicU32,
}

const POLICY: &str = r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
files = ["d:in/**"]
verbs = ["read", "remove"]
[[subject.allow]]
files = ["d:out/**"]
[[subject.deny]]
files = ["d:out/secret"]
"#;

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gate = gate_by(POLICY, &folder.path().join("log"), AuditOptions::default());
        Self { folder, gate, effects: AtomicU32::new(0) }
    }

    fn wants(&self, accesses: &[&str]) -> Counted<'_> {
        let accesses = accesses.iter().map(|access| Access::parse(access).unwrap()).collect();
        Counted { accesses, effects: &self.effects }
    }

    /// Asks and performs. True if it was done.
    fn does(&self, accesses: &[&str]) -> bool {
        let permit = self.gate.admit(&Subject::parse("tool").unwrap(), self.wants(accesses));
        permit.is_ok_and(|permit| permit.perform(count).is_ok())
    }

    /// The records as JSON, after the whole log was found sound.
    fn records(&self) -> Vec<serde_json::Value> {
        verify(&Root::open(&self.log()).unwrap(), None).unwrap();
        records(&self.log())
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }
}

fn count(operation: Counted<'_>) -> Result<(), std::fmt::Error> {
    operation.effects.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[test]
fn l6_all_accesses_of_an_operation_are_decided_and_one_that_is_denied_denies_it() {
    let world = World::new();
    assert!(world.does(&["read d:in/a", "remove d:in/a", "create d:out/a"]));
    for accesses in [
        &["read d:in/a", "write d:in/a"][..],
        &["write d:in/a", "read d:in/a"],
        &["read d:in/a", "create d:out/secret"],
        &["read e:in/a"],
        &[],
    ] {
        assert!(!world.does(accesses), "{accesses:?}");
    }
    assert_eq!(world.effects.load(Ordering::Relaxed), 1, "what is denied is not done");
}

#[test]
fn a20_an_operation_with_two_paths_needs_both_sides() {
    let world = World::new();
    for (accesses, is_done) in [
        (["remove d:in/a", "create d:out/b"], true),
        (["remove d:in/a", "create d:in/b"], false),
        (["remove d:other", "create d:out/b"], false),
    ] {
        assert_eq!(world.does(&accesses), is_done, "{accesses:?}");
    }
    assert_eq!(world.effects.load(Ordering::Relaxed), 1);
}

#[test]
fn a_denial_is_one_record_with_the_rule_and_a_deed_is_two() {
    let world = World::new();
    assert!(world.does(&["read d:in/a"]));
    assert!(!world.does(&["write d:out/secret"]));
    assert!(!world.does(&["write d:in/a"]));
    let tool = Subject::parse("tool").unwrap();
    let permit = world.gate.admit(&tool, world.wants(&["read d:in/b"])).unwrap();
    permit.perform(|_| Err::<(), _>("the disk\nis gone")).unwrap_err();
    drop(world.gate.admit(&tool, world.wants(&["read d:in/c"])).unwrap());
    let records = world.records();
    let told: Vec<_> =
        records.iter().map(|record| (record["kind"].as_str().unwrap(), record["of"].as_u64())).collect();
    assert_eq!(
        told,
        [
            ("intent", None),
            ("outcome", Some(1)),
            ("denial", None),
            ("denial", None),
            ("intent", None),
            ("outcome", Some(5)),
            ("intent", None),
            ("outcome", Some(7)),
        ]
    );
    assert_eq!(records[0]["subject"], "tool");
    assert_eq!(records[0]["operation"], "test.count");
    assert_eq!(records[0]["accesses"], serde_json::json!(["read d:in/a"]));
    assert_eq!(records[0]["rule"], "allow files d:in/** read,remove (subject tool, line 5)");
    assert!(records[2]["rule"].as_str().unwrap().starts_with("deny files d:out/secret"));
    assert_eq!(records[3]["rule"], "no rule allows it");
    assert_eq!(
        (&records[5]["outcome"], &records[5]["error"]),
        (&"failed".into(), &"the disk\nis gone".into())
    );
    assert_eq!(records[7]["outcome"], "unknown");
}

#[test]
fn m4_when_the_log_cannot_be_written_nothing_is_permitted_and_when_it_can_again_things_are() {
    let world = World::new();
    assert!(world.does(&["read d:in/a"]));
    // The next record begins a segment, for which there is no room under that name.
    let log = world.log();
    let small = AuditOptions { segment_bytes_max: 0, ..AuditOptions::default() };
    drop(world.gate);
    let gate = gate_by(POLICY, &log, small);
    let effects = AtomicU32::new(0);
    let tool = Subject::parse("tool").unwrap();
    let wants = || Counted { accesses: vec![Access::parse("read d:in/a").unwrap()], effects: &effects };
    let mut written = 0;
    let blocked = loop {
        let head = gate.log().head().seq;
        let planted = log.join(format!("{:020}.jsonl", head + 1));
        let is_planted = fs::create_dir(&planted).is_ok();
        match gate.admit(&tool, wants()) {
            Ok(permit) => {
                fs::remove_dir(&planted).unwrap();
                permit.perform(count).unwrap();
                written += 1;
                assert!(is_planted && written < 1_000, "a new segment is begun sooner");
            }
            Err(denied) => {
                assert!(matches!(denied.why, Refusal::Log(_)), "{:?}", denied.why);
                break planted;
            }
        }
    };
    let before = effects.load(Ordering::Relaxed);
    assert!(gate.admit(&tool, wants()).is_err());
    assert_eq!(effects.load(Ordering::Relaxed), before);
    fs::remove_dir(&blocked).unwrap();
    gate.admit(&tool, wants()).unwrap().perform(count).unwrap();
    drop(gate);
    verify(&Root::open(&log).unwrap(), None).unwrap();
}

#[test]
fn h12_a_policy_that_is_replaced_decides_from_the_next_operation_on() {
    let world = World::new();
    let tool = Subject::parse("tool").unwrap();
    let permit = world.gate.admit(&tool, world.wants(&["read d:in/a"])).unwrap();
    world.gate.replace_policy(Policy::empty());
    let denied = world.gate.admit(&tool, world.wants(&["read d:in/a"])).unwrap_err();
    assert!(matches!((denied.access, denied.why), (Denial::Access(_), Refusal::NoRule)));
    permit.perform(count).unwrap();
}

#[test]
fn a13_what_is_said_of_a_denial_does_not_depend_on_what_is_there() {
    let world = World::new();
    fs::create_dir_all(world.folder.path().join("in")).unwrap();
    fs::write(world.folder.path().join("there"), "x").unwrap();
    let say = |path: &Path| {
        let operation = world.wants(&[&format!("stat d:{}", path.display())]);
        let denied = world.gate.admit(&Subject::parse("tool").unwrap(), operation).unwrap_err();
        denied.to_string().replace(&path.display().to_string(), "_")
    };
    assert_eq!(say("there".as_ref()), say("not-there".as_ref()));
}

#[test]
fn an_error_that_uses_the_gate_while_it_is_shown_keeps_nobody_waiting() {
    struct Meddling(Gate);
    impl std::fmt::Display for Meddling {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "record {}", self.0.log().head().seq)
        }
    }
    let world = World::new();
    let permit = world.gate.admit(&Subject::parse("tool").unwrap(), world.wants(&["read d:in/a"])).unwrap();
    let outcome: Result<(), _> = permit.perform(|_| Err(Meddling(world.gate.clone())));
    assert!(outcome.is_err());
    assert_eq!(world.records()[1]["error"], "record 1");
}

#[test]
fn an_error_that_panics_while_it_is_shown_leaves_an_end_that_nobody_knows() {
    struct Exploding;
    impl std::fmt::Display for Exploding {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("it cannot be shown")
        }
    }
    let quota = Quota::new(QuotaOptions::default());
    let world = World::new();
    let gate = world.gate.with_layers([Layer::Quota(quota.clone())]);
    let subject = Subject::parse("tool").unwrap();
    for gate in [&world.gate, &gate] {
        let permit = gate.admit(&subject, world.wants(&["read d:in/a"])).unwrap();
        let performed = AssertUnwindSafe(|| permit.perform(|_| Err::<(), _>(Exploding)));
        assert!(catch_unwind(performed).is_err());
    }
    let records = world.records();
    let outcomes: Vec<_> = records.iter().filter(|record| record["kind"] == "outcome").collect();
    assert_eq!(outcomes.len(), 2, "{records:?}");
    assert!(outcomes.iter().all(|outcome| outcome["outcome"] == "unknown"), "{outcomes:?}");
    let usage = quota.usage(&subject);
    assert_eq!((usage.operations, usage.operations_reserved), (1, 0), "what may have been done counts");
}
