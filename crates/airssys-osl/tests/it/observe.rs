//! Observing: what would be denied is permitted for a while and on record, and nobody gets there alone.

use std::sync::atomic::Ordering;
use std::time::Duration;

use airssys_osl::audit::{AuditOptions, Durability};
use airssys_osl::{Access, Gate, Lenience, ObserveError, Operation, Policy, Refusal, Subject};

use crate::audit::{gate_by, records};
use crate::process::Other;
use crate::reload::until;

/// An operation that makes these accesses.
#[derive(Debug)]
pub(crate) struct Wants(Vec<Access>);

impl Wants {
    pub(crate) fn one(access: &str) -> Self {
        Self::all(&[access])
    }

    pub(crate) fn all(accesses: &[&str]) -> Self {
        Self(accesses.iter().map(|access| Access::parse(access).unwrap()).collect())
    }
}

impl Operation for Wants {
    fn name(&self) -> &'static str {
        "test.wants"
    }

    fn accesses(&self) -> &[Access] {
        &self.0
    }
}

const POLICY: &str = r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
files = ["d:in/**"]
[[subject.deny]]
files = ["d:secret"]
[[subject]]
name = "other"
"#;
const HOUR: Duration = Duration::from_secs(3600);

/// A gate whose log is read while it is open.
fn world() -> (tempfile::TempDir, Gate) {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate_by(POLICY, &folder.path().join("log"), AuditOptions::default());
    (folder, gate)
}

fn subject(name: &str) -> Subject {
    Subject::parse(name).unwrap()
}

/// Whether the effect happened.
pub(crate) fn does(gate: &Gate, who: &str, accesses: &[&str]) -> bool {
    let effects = std::sync::atomic::AtomicU32::new(0);
    if let Ok(permit) = gate.admit(&subject(who), Wants::all(accesses)) {
        let effect = |_| {
            effects.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::fmt::Error>(())
        };
        permit.perform(effect).unwrap();
    }
    effects.load(Ordering::Relaxed) == 1
}

#[test]
fn l15_what_is_observed_is_permitted_recorded_and_counted_and_only_for_that_subject() {
    let (folder, gate) = world();
    let log = folder.path().join("log");
    assert!(!does(&gate, "tool", &["write d:new"]));
    gate.observe(&subject("tool"), Lenience::Unruled, HOUR).unwrap();
    assert!(does(&gate, "tool", &["read d:in/a", "write d:new"]));
    assert!(does(&gate, "tool", &["read d:in/a"]));
    assert!(!does(&gate, "other", &["write d:new"]), "nobody else is meant");
    // What a rule denies was thought of, in whatever place it stands.
    assert!(!does(&gate, "tool", &["read d:secret"]));
    assert!(!does(&gate, "tool", &["write d:new", "read d:secret"]));
    assert!(!does(&gate, "tool", &[]));
    let observed = gate.observed();
    assert_eq!((observed.len(), observed[0].permitted, gate.observed_len()), (1, 1, 1));
    assert_eq!((&observed[0].subject, observed[0].lenience), (&subject("tool"), Lenience::Unruled));
    assert!(observed[0].left <= HOUR && observed[0].left > HOUR / 2);
    assert!(gate.enforce(&subject("tool")) && !gate.enforce(&subject("tool")));
    assert!(!does(&gate, "tool", &["write d:new"]));
    assert_eq!((gate.observed(), gate.observed_len()), (Vec::new(), 1));
    let records = records(&log);
    let kinds: Vec<&str> = records.iter().map(|record| record["kind"].as_str().unwrap()).collect();
    let expected = [
        "denial", "observe", "observed", "outcome", "intent", "outcome", "denial", "denial", "denial",
        "denial", "enforce", "denial",
    ];
    assert_eq!(kinds, expected);
    assert_eq!((&records[1]["subject"], &records[1]["for_ms"]), (&"tool".into(), &3_600_000.into()));
    assert_eq!(records[2]["denied"], "`write d:new`");
    assert_eq!(records[2]["rule"], "no rule allows it");
    assert_eq!(records[2]["accesses"], serde_json::json!(["read d:in/a", "write d:new"]));
    assert!(records[7]["rule"].as_str().unwrap().starts_with("deny files d:secret"));
}

#[test]
fn l15_rules_that_deny_are_observed_only_if_that_is_said() {
    let (folder, gate) = world();
    gate.observe(&subject("tool"), Lenience::Everything, HOUR).unwrap();
    assert!(does(&gate, "tool", &["read d:secret"]));
    let observed = records(&folder.path().join("log")).remove(1);
    assert_eq!((&observed["kind"], &observed["denied"]), (&"observed".into(), &"`read d:secret`".into()));
    assert!(observed["rule"].as_str().unwrap().starts_with("deny files d:secret"));
}

#[test]
fn l15_observing_ends_by_itself_and_has_bounds() {
    let (_folder, gate) = world();
    for time in [Duration::ZERO, 24 * HOUR + Duration::from_millis(1), Duration::MAX] {
        let refused = gate.observe(&subject("tool"), Lenience::Unruled, time);
        assert!(matches!(refused, Err(ObserveError::Time { .. })));
    }
    gate.observe(&subject("tool"), Lenience::Unruled, 24 * HOUR).unwrap();
    assert!(does(&gate, "tool", &["write d:new"]));
    // Anew, and shorter.
    gate.observe(&subject("tool"), Lenience::Unruled, Duration::from_millis(50)).unwrap();
    until("observing ends", || gate.observed().is_empty());
    assert!(!does(&gate, "tool", &["write d:new"]));
    for number in 0..64 {
        gate.observe(&subject(&format!("s{number}")), Lenience::Unruled, HOUR).unwrap();
    }
    let refused = gate.observe(&subject("tool"), Lenience::Unruled, HOUR);
    assert!(matches!(refused, Err(ObserveError::Subjects)));
    assert!(!does(&gate, "tool", &["write d:new"]));
}

#[test]
fn l15_neither_a_policy_nor_a_variable_nor_a_new_policy_switches_it_on() {
    for (line, key) in [
        ("name = \"tool\"", "observe = true"),
        ("name = \"tool\"", "mode = \"observe\""),
        ("version = 1", "observe = [\"tool\"]"),
    ] {
        let text = POLICY.replacen(line, &format!("{line}\n{key}"), 1);
        assert!(Policy::parse(&text, "policy.toml").is_err(), "{key}");
    }
    let text = POLICY.replacen("files = [\"d:in/**\"]", "files = [\"d:in/**\"]\nobserve = true", 1);
    assert!(Policy::parse(&text, "policy.toml").is_err());
    // Variables that this and other programs might know.
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start("observe", &folder.path().join("log"), None);
    assert_eq!(other.line(), "denied");
    drop(other);
    // A subject that is observed stays so under a new policy, and nobody else comes to be.
    let (_folder, gate) = world();
    gate.observe(&subject("tool"), Lenience::Unruled, HOUR).unwrap();
    gate.replace_policy(Policy::parse(POLICY, "policy.toml").unwrap());
    assert_eq!(gate.observed().len(), 1);
    assert!(!does(&gate, "other", &["write d:new"]));
}

#[test]
fn l15_what_the_log_does_not_take_is_denied_also_while_observing() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate_by(POLICY, &log, AuditOptions { durability: Durability::Strict, segment_bytes_max: 1 });
    gate.observe(&subject("tool"), Lenience::Everything, HOUR).unwrap();
    while does(&gate, "tool", &["write d:new"]) {
        for seq in gate.log().head().seq + 1..gate.log().head().seq + 8 {
            let planted = log.join(format!("{seq:020}.jsonl"));
            if !planted.exists() {
                std::fs::create_dir(planted).unwrap();
            }
        }
    }
    let before = gate.observed_len();
    let denied = gate.admit(&subject("tool"), Wants::one("write d:new")).unwrap_err();
    assert!(matches!(denied.why, Refusal::Log(_)), "{denied:?}");
    assert_eq!(gate.observed_len(), before);
    assert!(matches!(gate.observe(&subject("other"), Lenience::Unruled, HOUR), Err(ObserveError::Log(_))));
    assert_eq!(gate.observed().len(), 1, "what is not on record is not switched on");
}

/// In a process of its own, with variables that might mean it.
pub(crate) fn observe_by_variables(log: &std::path::Path) -> &'static str {
    let gate = gate_by(POLICY, log, AuditOptions::default());
    if does(&gate, "tool", &["write d:new"]) || !gate.observed().is_empty() { "permitted" } else { "denied" }
}

/// What the program says of itself in its log while something runs, on this thread.
pub(crate) fn told<T>(run: impl FnOnce() -> T) -> (T, Vec<(tracing::Level, String)>) {
    use std::sync::{Arc, Mutex};
    use tracing::field::{Field, Visit};

    #[derive(Clone, Default)]
    struct Listener(Arc<Mutex<Vec<(tracing::Level, String)>>>);
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0.push_str(&format!("{field}={value:?} "));
        }
    }
    impl tracing::Subscriber for Listener {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let mut message = Message(String::new());
            event.record(&mut message);
            self.0.lock().unwrap().push((*event.metadata().level(), message.0));
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let listener = Listener::default();
    // With one dispatcher, what another thread meets first is asked of that thread's, which is none, and stays unheard.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let outcome = tracing::subscriber::with_default(listener.clone(), run);
    let told = listener.0.lock().unwrap().clone();
    (outcome, told)
}

#[test]
fn l15_whoever_reads_the_programs_log_sees_that_somebody_is_observed() {
    let (_folder, gate) = world();
    let ((), said) = told(|| {
        gate.observe(&subject("tool"), Lenience::Unruled, HOUR).unwrap();
        assert!(does(&gate, "tool", &["write d:new"]));
        assert!(gate.enforce(&subject("tool")));
    });
    let warnings: Vec<&String> =
        said.iter().filter(|(level, _)| *level == tracing::Level::WARN).map(|(_, text)| text).collect();
    assert_eq!(warnings.len(), 2, "{said:?}");
    assert!(warnings[0].contains("not enforced") && warnings[0].contains("subject=tool"), "{warnings:?}");
    assert!(warnings[1].contains("enforced again"), "{warnings:?}");
}
