//! What another policy would have decided about what is on record.

use std::num::NonZeroU32;

use airssys_osl::audit::{AuditOptions, Reader};
use airssys_osl::{
    AnswerChange, Effect, GrantChange, Layer, Learner, Lenience, Policy, RateLimit, Redaction, Replay, Root,
    Subject,
};

use crate::audit::gate_by;
use crate::observe::does;

const OLD: &str = r#"
version = 1
[[role]]
name = "reader"
[[role.allow]]
files = ["d:in/**"]
verbs = ["read"]
[[subject]]
name = "tool"
roles = ["reader"]
[[subject.deny]]
files = ["d:in/secret"]
[[subject]]
name = "other"
roles = ["reader"]
"#;

const NEW: &str = r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
files = ["d:in/**"]
verbs = ["read"]
[[subject.allow]]
files = ["d:out/*"]
[[subject]]
name = "third"
"#;

fn replay(log: &std::path::Path, candidate: &str) -> (Vec<AnswerChange>, u64, u64) {
    let policy = Policy::parse(candidate, "candidate.toml").unwrap();
    let mut replay = Replay::new(&policy);
    Reader::new(Root::open(log).unwrap()).for_each(|record| replay.add(&record.unwrap()));
    assert_eq!(replay.unlisted(), 0);
    (replay.changes().cloned().collect(), replay.compared(), replay.unknown())
}

#[test]
fn a_replay_lists_what_would_be_decided_otherwise_with_both_rules() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate_by(OLD, &log, AuditOptions::default());
    for _ in 0..3 {
        assert!(does(&gate, "other", &["read d:in/a"]));
    }
    assert!(does(&gate, "tool", &["read d:in/a"]));
    assert!(!does(&gate, "tool", &["read d:in/a", "read d:in/secret"]));
    assert!(!does(&gate, "tool", &["read d:in/a", "write d:out/x", "write d:elsewhere"]));
    assert!(!does(&gate, "other", &["read d:out/x"]));
    gate.observe(&Subject::parse("tool").unwrap(), Lenience::Unruled, std::time::Duration::from_secs(60))
        .unwrap();
    assert!(does(&gate, "tool", &["write d:out/x"]));
    drop(gate);
    let (changes, compared, unknown) = replay(&log, NEW);
    assert_eq!((changes.len(), compared, unknown), (3, 8, 0));
    let told: Vec<(&str, &str, bool, bool, u64)> = changes
        .iter()
        .map(|change| {
            (&*change.subject, &*change.access, change.was.allowed, change.now.allowed, change.count)
        })
        .collect();
    let expected = [
        ("other", "read d:in/a", true, false, 3),
        ("tool", "read d:in/secret", false, true, 1),
        ("tool", "write d:out/x", false, true, 1),
    ];
    assert_eq!(told, expected);
    assert_eq!((changes[0].first, changes[0].last), (1, 5));
    let rule = |rule: &Option<String>| rule.clone().unwrap_or_default();
    assert!(rule(&changes[0].was.rule).contains("(role reader, line 5)"));
    assert_eq!(changes[0].now.rule, None);
    assert!(rule(&changes[1].was.rule).starts_with("deny files d:in/secret"));
    assert!(rule(&changes[1].now.rule).starts_with("allow files d:in/**"));
    assert_eq!(changes[2].was.rule, None);
    // By the policy that made the log, only what was observed would be otherwise, and that was a denial to it.
    assert_eq!(replay(&log, OLD).0, []);
}

#[test]
fn a_storm_weighs_as_much_as_it_had_denials_and_what_is_not_on_record_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate_by(
        OLD,
        &log,
        AuditOptions { durability: airssys_osl::audit::Durability::Async, ..AuditOptions::default() },
    );
    (0..500).for_each(|_| assert!(!does(&gate, "tool", &["write d:out/x"])));
    (0..2_000).for_each(|number| assert!(!does(&gate, "other", &[&format!("read d:{number}")])));
    drop(gate);
    let (changes, compared, unknown) = replay(&log, NEW);
    assert_eq!((changes.len(), changes[0].count), (1, 500));
    assert_eq!(compared + unknown, 2_500);
    assert!(unknown > 0);
}

#[test]
fn two_policies_are_told_apart_by_what_each_subject_has() {
    let (old, new) = (Policy::parse(OLD, "old").unwrap(), Policy::parse(NEW, "new").unwrap());
    let changes = old.grant_changes(&new);
    let told: Vec<(&str, bool, bool, &str)> = changes
        .iter()
        .map(|change: &GrantChange| {
            (change.subject.as_str(), change.appears, change.widens(), &*change.about)
        })
        .collect();
    let all = "read,write,create,remove,stat,list,link,watch";
    let expected = [
        ("other", false, false, "files d:in/** read".to_owned()),
        ("tool", false, true, format!("files d:in/secret {all}")),
        ("tool", true, true, format!("files d:out/* {all}")),
    ];
    assert_eq!(
        told,
        expected
            .iter()
            .map(|(who, appears, widens, about)| (*who, *appears, *widens, &**about))
            .collect::<Vec<_>>()
    );
    assert_eq!(changes[1].effect, Effect::Deny);
    // A role written out is the same, and so is another order.
    assert_eq!(old.grant_changes(&old), []);
    assert_eq!(new.grant_changes(&old).len(), 3);
}

const NET: &str = r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
connect = ["a.example:443"]
[[subject.allow]]
unix = ["d:run/*"]
verbs = ["connect"]
"#;

#[test]
fn names_at_addresses_and_sockets_that_are_files_are_decided_anew() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate_by(NET, &log, AuditOptions::default());
    assert!(does(&gate, "tool", &["connect a.example:443 at 8.8.8.8"]));
    assert!(!does(&gate, "tool", &["connect a.example:443 at 10.0.0.1"]));
    for path in ["d:run/s", "d:run/it's \"a\"\n\u{202e}\\ ä "] {
        assert!(does(&gate, "tool", &[&format!("unix-connect {path}")]));
    }
    assert!(!does(&gate, "tool", &["unix-listen d:run/s"]));
    drop(gate);
    assert_eq!(replay(&log, NET), (Vec::new(), 5, 0));
    let candidate = NET
        .replace("connect = [\"a.example:443\"]", "connect = [\"a.example:443\"]\nprivate = true")
        .replace("verbs = [\"connect\"]", "verbs = [\"listen\"]");
    let (changes, compared, unknown) = replay(&log, &candidate);
    assert_eq!((compared, unknown), (5, 0));
    let told: Vec<(&str, bool)> =
        changes.iter().map(|change| (&*change.access, change.now.allowed)).collect();
    let expected = [
        ("connect a.example:443 at 10.0.0.1", true),
        ("unix-connect d:run/it\\'s \\\"a\\\"\\n\\u{202e}\\\\ ä ", false),
        ("unix-connect d:run/s", false),
        ("unix-listen d:run/s", true),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_no_policy_denied_is_not_said_to_be_allowed_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate_by(NEW, &log, AuditOptions::default());
    let limited = gate
        .with_layers([Layer::Limit(RateLimit::new(NonZeroU32::MIN, std::time::Duration::from_secs(3_600)))]);
    assert!(does(&limited, "tool", &["read d:in/a"]));
    assert!(!does(&limited, "tool", &["read d:in/a"]), "too often");
    let many: Vec<String> = (0..1_025).map(|number| format!("read d:in/{number}")).collect();
    assert!(!does(&gate, "tool", &many.iter().map(String::as_str).collect::<Vec<_>>()), "too many");
    drop((gate, limited));
    // By the policy that made the log nothing is otherwise.
    assert_eq!(replay(&log, NEW), (Vec::new(), 1, 2));
}

#[test]
fn what_was_hidden_is_not_decided_anew() {
    let policy = "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nrun = \"/bin/x\"\nargs = [\"--token\", \"abc\"]";
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate_by(policy, &log, AuditOptions::default());
    let hiding = gate.with_layers([Layer::Redact(Redaction::of(["token"]))]);
    assert!(does(&hiding, "tool", &["run /bin/x --token abc"]));
    drop((gate, hiding));
    assert_eq!(replay(&log, policy), (Vec::new(), 0, 1));
    let mut learner = Learner::new(Subject::parse("tool").unwrap());
    Reader::new(Root::open(&log).unwrap())
        .for_each(|record| learner.add_record(&record.unwrap(), true).unwrap());
    let learned = learner.finish().unwrap();
    assert_eq!((learned.accesses, learned.unlearned_len), (0, 1), "{}", learned.text);
}
