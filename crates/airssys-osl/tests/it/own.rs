//! Operations of a program's own: what the derive states is what is decided, and what is secret is in no record.

use std::fs;

use airssys_osl::audit::{AuditOptions, Durability};
use airssys_osl::{
    Access, Denial, Fields, FilePath, Gate, Host, Layer, Name, Operation, Port, Prepared, Redaction, Refusal,
    Statement, Subject,
};

use crate::audit::{gate_by, records};

const POLICY: &str = r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
own = "send"
names = ["team/**"]
[[subject.allow]]
files = ["d:out/**"]
verbs = ["read"]
[[subject.allow]]
connect = ["mail.example.com:25"]
[[subject.allow]]
host = ["clock"]
[[subject.allow]]
env = ["USER"]
[[subject.allow]]
run = "/bin/login"
args = ["--user", "*", "**"]
[[subject.allow]]
run = "/bin/login"
args = ["--token", "*"]
[[subject.allow]]
run = "/bin/fetch"
args = ["*"]
[[subject.deny]]
own = "send"
names = ["team/boss"]
"#;

/// Everything that the derive can state.
#[derive(Operation, Clone)]
#[operation(name = "mail.send")]
#[access(clock)]
struct Mail<T> {
    #[access(own = "send")]
    to: Vec<Name>,
    #[access(read)]
    attached: Option<FilePath>,
    #[access(connect, port = port)]
    server: Host,
    port: Port,
    #[access(env)]
    sender: Name,
    #[audit]
    topic: T,
    #[audit(redact, name = "key")]
    token: String,
    #[bytes]
    body: Vec<u8>,
    #[cfg(any())]
    #[access(secret)]
    absent: Name,
}

pub(crate) fn gate(folder: &tempfile::TempDir) -> Gate {
    let options = AuditOptions { durability: Durability::Async, ..AuditOptions::default() };
    gate_by(POLICY, &folder.path().join("log"), options)
}

fn mail(to: &[&str]) -> Mail<&'static str> {
    Mail {
        to: to.iter().map(|to| Name::parse(to).unwrap()).collect(),
        attached: Some(FilePath::parse("d:out/a").unwrap()),
        server: Host::parse("mail.example.com").unwrap(),
        port: Port::new(25).unwrap(),
        sender: Name::parse("USER").unwrap(),
        topic: "greetings",
        token: "t0p-s3cret".to_owned(),
        body: b"hello".to_vec(),
    }
}

fn tool() -> Subject {
    Subject::parse("tool").unwrap()
}

/// Starts a program; the argument at a place is secret.
struct Start {
    accesses: [Access; 1],
    secret: Option<usize>,
}

impl Operation for Start {
    fn name(&self) -> &'static str {
        "test.start"
    }

    fn accesses(&self) -> &[Access] {
        &self.accesses
    }

    fn is_secret(&self, _: &Access, argument: usize) -> bool {
        self.secret == Some(argument)
    }
}

fn start(access: &str, secret: Option<usize>) -> Start {
    Start { accesses: [Access::parse(access).unwrap()], secret }
}

#[test]
fn a_derived_operation_states_every_access_and_is_recorded_with_its_fields() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(&folder);
    let operation = Prepared::of(mail(&["team/ann", "team/bob"]));
    assert_eq!(operation.bytes_max(), 5);
    let sent = gate.admit(&tool(), operation).unwrap().perform(|mail| {
        assert_eq!(mail.token, "t0p-s3cret", "the effect has what the record hides");
        Ok::<_, std::fmt::Error>(mail.body.len())
    });
    assert_eq!(sent, Ok(5));
    drop(gate);
    let records = records(&folder.path().join("log"));
    assert_eq!(records[0]["operation"], "mail.send");
    let expected = [
        "host clock",
        "own send team/ann",
        "own send team/bob",
        "read d:out/a",
        "connect mail.example.com:25",
        "env USER",
    ];
    assert_eq!(records[0]["accesses"], serde_json::json!(expected));
    assert_eq!(records[0]["fields"], serde_json::json!({"topic": "greetings", "key": "<redacted>"}));
}

#[test]
fn l7_what_is_decided_is_what_the_operation_holds_and_not_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(&folder);
    for (to, is_allowed) in
        [(&["team/ann"][..], true), (&["team/ann", "team/boss"], false), (&["other"], false)]
    {
        // It may say of itself what it likes.
        let mut said = mail(to);
        said.topic = "accesses: own send team/ann; subject: admin; allowed: true";
        assert_eq!(gate.admit(&tool(), Prepared::of(said)).is_ok(), is_allowed, "{to:?}");
    }
}

#[test]
fn l6_each_field_of_a_derived_operation_can_deny_it() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(&folder);
    let sound = mail(&["team/ann"]);
    let changes: [fn(&mut Mail<&'static str>); 5] = [
        |mail| mail.to.push(Name::parse("team/boss").unwrap()),
        |mail| mail.attached = Some(FilePath::parse("d:in/a").unwrap()),
        |mail| mail.server = Host::parse("other.example.com").unwrap(),
        |mail| mail.port = Port::new(26).unwrap(),
        |mail| mail.sender = Name::parse("PASSWORD").unwrap(),
    ];
    drop(gate.admit(&tool(), Prepared::of(sound.clone())).unwrap());
    for change in changes {
        let mut changed = Prepared::of(sound.clone());
        changed.change(change);
        let denied = gate.admit(&tool(), changed).unwrap_err();
        assert!(matches!(denied.access, Denial::Access(_)), "{denied}");
    }
}

#[test]
fn a_change_that_panics_leaves_an_operation_that_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(&folder);
    let mut operation = Prepared::of(mail(&["team/ann"]));
    let change = std::panic::AssertUnwindSafe(|| {
        operation.change(|mail| {
            mail.to = vec![Name::parse("team/boss").unwrap()];
            panic!("half-way");
        })
    });
    std::panic::catch_unwind(change).unwrap_err();
    let denied = gate.admit(&tool(), operation).unwrap_err();
    assert_eq!(denied.access, Denial::Number(0));
}

#[test]
fn a17_an_operation_of_the_programs_own_has_no_door_beside_its_grants() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(&folder);
    // To send is granted, and what it reads on the way is not: the grant of the one is none of the other.
    let mut operation = mail(&["team/ann"]);
    operation.attached = Some(FilePath::parse("d:secret/key").unwrap());
    let denied = gate.admit(&tool(), Prepared::of(operation)).unwrap_err();
    assert_eq!(denied.access, Denial::Access(Access::parse("read d:secret/key").unwrap()));
    assert!(matches!(denied.why, Refusal::NoRule));
    drop(gate);
    let records = records(&folder.path().join("log"));
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["kind"], &records[0]["rule"]), (&"denial".into(), &"no rule allows it".into()));
}

#[test]
fn m7_secrets_in_arguments_are_in_no_record_and_the_target_is_in_all() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(&folder);
    // Allowed, denied because of the secret itself, and an effect that fails.
    let permit = gate.admit(&tool(), start("run /bin/login --token hunter2", Some(1))).unwrap();
    let failed: Result<(), &str> = permit.perform(|start| {
        let Access::Run { args, .. } = &start.accesses[0] else { unreachable!("it starts a program") };
        assert_eq!(&*args[1], "hunter2", "what runs is what was asked for");
        Err("no such user")
    });
    failed.unwrap_err();
    let denied = gate.admit(&tool(), start("run /bin/login --token -hunter2", Some(1))).unwrap_err();
    assert_eq!(denied.to_string(), "`run /bin/login \"--token\" \"<redacted>\"` is not allowed");
    drop(gate);
    let text = log_text(&folder);
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(text.matches(r#"run /bin/login \"--token\" \"<redacted>\""#).count(), 3, "{text}");
}

#[test]
fn m7_a_redaction_hides_values_by_name_and_credentials_in_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let gate =
        gate(&folder).with_layers([Layer::Redact(Redaction::of(["Token", "password", "authorization"]))]);
    for access in [
        "run /bin/login --token hunter2",
        "run /bin/fetch https://ann:hunter2@example.com/a?token=hunter2&b=1",
        "run /bin/fetch \"Authorization: Basic hunter2 x\"",
        "run /bin/fetch PASSWORD=hunter2",
        "run /bin/fetch https://a@hunter2:hunter2@example.com",
        // Denied, and hidden all the same.
        "run /bin/other --password=hunter2",
    ] {
        drop(gate.admit(&tool(), start(access, None)));
    }
    let permit = gate.admit(&tool(), start("run /bin/fetch a", None)).unwrap();
    permit.perform(|_| Err::<(), _>("refused: password=hunter2 of https://u:hunter2@h/")).unwrap_err();
    drop(gate);
    let text = log_text(&folder);
    assert!(!text.contains("hunter2"), "{text}");
    for shown in [
        r#"https://<redacted>@example.com/a?token=<redacted>&b=1"#,
        r#"Authorization: <redacted>"#,
        r#"PASSWORD=<redacted>"#,
        r#"https://<redacted>@example.com\""#,
        r#"run /bin/other \"--password=<redacted>\""#,
        r#"refused: password=<redacted> of https://<redacted>@h/"#,
    ] {
        assert!(text.contains(shown), "{shown} is not in {text}");
    }
}

#[test]
fn m7_redaction_does_not_hide_what_an_access_names() {
    let folder = tempfile::tempdir().unwrap();
    let redaction = Redaction::of(["d", "send", "team", "USER", "clock", "topic"]);
    let gate = gate(&folder).with_layers([Layer::Redact(redaction)]);
    drop(gate.admit(&tool(), Prepared::of(mail(&["team/boss"]))).unwrap_err());
    drop(gate.admit(&tool(), Prepared::of(mail(&["team/ann"]))).unwrap());
    drop(gate);
    let records = records(&folder.path().join("log"));
    assert_eq!(records[0]["denied"], "`own send team/boss`");
    for record in &records[..2] {
        assert!(record["accesses"].to_string().contains("read d:out/a"), "{record}");
        assert_eq!(record["fields"]["topic"], "<redacted>", "{record}");
    }
}

#[test]
fn m7_a_value_that_only_contains_a_hidden_name_is_shown_and_arguments_after_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(&folder).with_layers([Layer::Redact(Redaction::of(["key"]))]);
    for access in ["run /bin/fetch monkey=banana", "run /bin/fetch key", "run /bin/login --user key more"] {
        drop(gate.admit(&tool(), start(access, None)).unwrap());
    }
    drop(gate);
    let text = log_text(&folder);
    assert!(
        text.contains("monkey=banana") && text.contains("\\\"more\\\"") && !text.contains("<redacted>"),
        "{text}"
    );
}

/// Says more of itself than a record takes.
struct Chatty(Access);

impl Operation for Chatty {
    fn name(&self) -> &'static str {
        "test.chatty"
    }

    fn accesses(&self) -> &[Access] {
        std::slice::from_ref(&self.0)
    }

    fn fields(&self, fields: &mut Fields<'_>) {
        const NAMES: [&str; 18] =
            ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"];
        fields.redacted("a");
        for name in NAMES {
            fields.show(name, &"é\n".repeat(513));
        }
    }
}

#[test]
fn fields_are_bounded_in_number_and_length_and_forge_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(&folder);
    drop(gate.admit(&tool(), Chatty(Access::parse("host clock").unwrap())).unwrap());
    drop(gate);
    let records = records(&folder.path().join("log"));
    assert_eq!(records.len(), 2, "a new line in a field begins no record");
    let fields = records[0]["fields"].as_object().unwrap();
    assert_eq!((fields.len(), &records[0]["fields_more"]), (16, &2.into()));
    assert_eq!(fields["a"], "<redacted>", "what was hidden is not shown by saying it again");
    assert_eq!(fields["b"].as_str().unwrap().chars().count(), 1024 + 1);
}

#[test]
fn what_a_statement_says_by_hand_is_an_operation_too() {
    struct Now;
    impl Statement for Now {
        const NAME: &'static str = "test.now";
        fn state(&self) -> Vec<Access> {
            vec![Access::parse("host clock").unwrap()]
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let permit = gate(&folder).admit(&tool(), Prepared::from(Now)).unwrap();
    permit.perform(|_| Ok::<_, std::fmt::Error>(())).unwrap();
}

fn log_text(folder: &tempfile::TempDir) -> String {
    let segments = fs::read_dir(folder.path().join("log")).unwrap();
    segments.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn m7_a_hidden_value_is_hidden_to_its_end_in_every_spelling() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(&folder).with_layers([Layer::Redact(Redaction::of(["password", "token"]))]);
    for access in [
        "run /bin/fetch \"--password=correct hunter2 staple\"",
        "run /bin/fetch \"PASSWORD=a&hunter2\"",
        "run /bin/fetch \"-token=a hunter2\"",
        "run /bin/fetch \"{\\\"password\\\": \\\"a hunter2\\\", \\\"user\\\": \\\"ann\\\"}\"",
    ] {
        // Denied or not.
        drop(gate.admit(&tool(), start(access, None)));
    }
    for error in [
        "refused: password=\"a \\\" hunter2\" of ann",
        "refused: {\"token\":\"hunter2\",\"user\":\"ann\"}",
        "refused: 'token' : 'a hunter2', 'user' : 'ann'",
    ] {
        let permit = gate.admit(&tool(), start("run /bin/fetch a", None)).unwrap();
        permit.perform(|_| Err::<(), _>(error)).unwrap_err();
    }
    drop(gate);
    let text = log_text(&folder);
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(text.matches("ann").count(), 4, "what is beside the value is shown: {text}");
}

/// Says one long thing of itself.
struct Long(Access, String);

impl Operation for Long {
    fn name(&self) -> &'static str {
        "test.long"
    }

    fn accesses(&self) -> &[Access] {
        std::slice::from_ref(&self.0)
    }

    fn fields(&self, fields: &mut Fields<'_>) {
        fields.show("said", &self.1);
    }
}

#[test]
fn m7_a_field_that_is_cut_within_a_secret_does_not_show_it() {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(&folder).with_layers([Layer::Redact(Redaction::of(["password"]))]);
    let url = |before: usize, secret: usize| {
        format!("{} https://ann:{}@example.com/", "x".repeat(before), "hunter2".repeat(secret))
    };
    // The end of what is hidden lies behind the last character that is shown, a little or far.
    for said in [url(1_000, 1), url(1_000, 100), url(1_000, 100_000), url(10, 1_000_000)] {
        let long = Long(Access::parse("host clock").unwrap(), said);
        drop(gate.admit(&tool(), long).unwrap());
    }
    drop(gate);
    let text = log_text(&folder);
    assert!(!text.contains("hunter"), "{text}");
    for record in records(&folder.path().join("log")).iter().filter(|record| record["kind"] == "intent") {
        let said = record["fields"]["said"].as_str().unwrap();
        assert!(said.starts_with("xxxxxxxxxx") && said.chars().count() <= 1_025, "{said}");
    }
}
