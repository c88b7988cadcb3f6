//! A policy learned from what was seen allows that, and nothing else.

use airssys_osl::audit::{AuditOptions, Reader};
use airssys_osl::{Access, AddressKind, LearnError, Learned, Learner, Lenience, Policy, Root, Subject};
use proptest::prelude::*;

use crate::audit::gate_by;
use crate::observe::does;

fn tool() -> Subject {
    Subject::parse("tool").unwrap()
}

fn learn<'a>(learner: Learner, accesses: impl IntoIterator<Item = &'a Access>) -> Learned {
    let mut learner = learner;
    accesses.into_iter().for_each(|access| learner.add(access).unwrap());
    learner.finish().unwrap()
}

fn of(texts: &[&str]) -> Vec<Access> {
    texts.iter().map(|text| Access::parse(text).unwrap()).collect()
}

/// The rules that come out, without the subject.
fn check(learner: Learner, accesses: &[&str], rules: &str) -> Policy {
    let learned = learn(learner, &of(accesses));
    assert_eq!(learned.text, format!("version = 1\n\n[[subject]]\nname = \"tool\"\n{rules}"));
    let policy = Policy::parse(&learned.text, "learned.toml").unwrap();
    for access in of(accesses) {
        assert!(policy.decide(&tool(), &access).is_allowed(), "{access}");
    }
    policy
}

#[test]
fn what_is_learned_is_said_shortly_and_in_an_order() {
    check(
        Learner::new(tool()),
        &[
            "secret db/key",
            "write d:out/b",
            "read d:in/a",
            "read d:out/b",
            "read e:in/[a]",
            "env LANG",
            "connect 127.0.0.1:8080",
            "connect example.com:443",
            "connect example.com:8001",
            "connect example.com:8000",
            "listen [::1]:80",
            "resolve example.com",
            "run /usr/bin/git status -s \"*\"",
            "run /usr/bin/git",
            "host clock",
            "own notes.add a/b",
            "stat d:.",
            "read d:in/a",
        ],
        r#"
[[subject.allow]]
files = ["d:in/a", "e:in/\\[a\\]"]
verbs = ["read"]

[[subject.allow]]
files = ["d:out/b"]
verbs = ["read", "write"]

[[subject.allow]]
files = ["d:."]
verbs = ["stat"]

[[subject.allow]]
connect = ["127.0.0.1:8080", "example.com:443", "example.com:8000-8001"]

[[subject.allow]]
listen = ["[::1]:80"]

[[subject.allow]]
resolve = ["example.com"]

[[subject.allow]]
run = "/usr/bin/git"
args = []

[[subject.allow]]
run = "/usr/bin/git"
args = ["status", "-s", "\\*"]

[[subject.allow]]
env = ["LANG"]

[[subject.allow]]
secrets = ["db/key"]

[[subject.allow]]
host = ["clock"]

[[subject.allow]]
own = "notes.add"
names = ["a/b"]
"#,
    );
    check(Learner::new(tool()), &[], "");
}

#[test]
fn names_at_addresses_sockets_and_ends_without_a_port_are_learned() {
    let policy = check(
        Learner::new(tool()),
        &[
            "connect a.example:443 at 8.8.8.8",
            "connect b.example:80 at 10.0.0.1",
            "send c.example:53 at ::1",
            "listen 127.0.0.1:*",
            "bind [::1]:*",
            "unix-connect d:run/.hidden/s",
            "unix-listen d:it's \"a*\"\n\u{202e} ",
        ],
        r#"
[[subject.allow]]
connect = ["a.example:443"]

[[subject.allow]]
connect = ["b.example:80"]
private = true

[[subject.allow]]
send = ["c.example:53"]
private = true

[[subject.allow]]
listen = ["127.0.0.1:*"]

[[subject.allow]]
bind = ["[::1]:*"]

[[subject.allow]]
unix = ["d:run/.hidden/s"]
verbs = ["connect"]

[[subject.allow]]
unix = ["d:it's \"a\\*\"\U0000000A\U0000202E "]
verbs = ["listen"]
"#
        .replace("it's \"a\\*\"", "it's \\\"a\\\\*\\\"")
        .as_str(),
    );
    let may = |text: &str| policy.decide(&tool(), &Access::parse(text).unwrap()).is_allowed();
    // A name that was seen to lead outside may not lead inside, and no other name or port is meant.
    for beyond in [
        "connect a.example:443 at 10.0.0.1",
        "connect a.example:443 at 127.0.0.1",
        "connect a.example:444 at 8.8.8.8",
        "connect 8.8.8.8:443",
        "connect 10.0.0.1:80",
        "connect b.example:80 at 224.0.0.1",
        "send a.example:443 at 8.8.8.8",
        "listen 0.0.0.0:*",
        "unix-listen d:run/.hidden/s",
        "unix-connect d:run/s",
        "unix-connect e:run/.hidden/s",
        "read d:run/.hidden/s",
    ] {
        assert!(!may(beyond), "{beyond}");
    }
    let special = learn(Learner::new(tool()), &of(&["connect a.example:80 at 224.0.0.1"]));
    assert_eq!((special.unlearned_len, special.text.contains("allow")), (1, false), "no rule allows it");
}

#[test]
fn files_of_one_folder_are_drawn_together_only_when_they_are_many_and_the_same_was_done() {
    let read: Vec<String> = (0..3).map(|number| format!("read d:in/{number}")).collect();
    let mut accesses: Vec<&str> = read.iter().map(String::as_str).collect();
    accesses.extend(["read d:in/.hidden", "write d:in/w", "read d:in/below/a"]);
    let rules = "\n[[subject.allow]]\nfiles = [\"d:in/*\", \"d:in/.hidden\", \"d:in/below/a\"]\nverbs = [\"read\"]\n\n[[subject.allow]]\nfiles = [\"d:in/w\"]\nverbs = [\"write\"]\n";
    let policy = check(Learner::new(tool()).drawing_together(2), &accesses, rules);
    let may = |text: &str| policy.decide(&tool(), &Access::parse(text).unwrap()).is_allowed();
    assert!(
        may("read d:in/new") && !may("write d:in/new") && !may("read d:in/.new") && !may("read d:in/below/b")
    );
    assert!(!may("read d:in") && !may("read d:new"));
    // As many as may be named are named.
    let learned = learn(Learner::new(tool()).drawing_together(3), &of(&accesses));
    assert!(!learned.text.contains('*'), "{}", learned.text);
}

#[test]
fn what_was_observed_is_learned_and_then_enforced() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let policy = "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:in/a\"]";
    let gate = gate_by(policy, &log, AuditOptions::default());
    assert!(!does(&gate, "tool", &["read d:denied"]));
    gate.observe(&tool(), Lenience::Unruled, std::time::Duration::from_secs(60)).unwrap();
    let needed =
        ["read d:in/a", "write d:it's \"here\"\\", "connect example.com:443", "run /bin/x -a \"b 'c\""];
    needed.iter().for_each(|access| assert!(does(&gate, "tool", &[access])));
    assert!(does(&gate, "tool", &["create d:x", "env HOME"]));
    assert!(gate.enforce(&tool()));
    let learned = |denials: bool| {
        let mut learner = Learner::new(tool());
        for record in Reader::new(Root::open(&log).unwrap()) {
            learner.add_record(&record.unwrap(), denials).unwrap();
        }
        learner.finish().unwrap()
    };
    let enough = learned(false);
    assert_eq!((enough.accesses, enough.unlearned_len), (6, 0));
    gate.replace_policy(Policy::parse(&enough.text, "learned.toml").unwrap());
    needed.iter().for_each(|access| assert!(does(&gate, "tool", &[access]), "{access}"));
    assert!(!does(&gate, "tool", &["read d:denied"]) && !does(&gate, "tool", &["write d:in/a"]));
    assert!(!does(&gate, "other", &["read d:in/a"]));
    let with_denials = Policy::parse(&learned(true).text, "learned.toml").unwrap();
    assert!(with_denials.decide(&tool(), &Access::parse("read d:denied").unwrap()).is_allowed());
}

#[test]
fn what_no_rule_can_say_is_named_and_bounds_hold() {
    let long = format!("read d:{}", vec!["x".repeat(200); 10].join("/"));
    let many = format!("run /bin/x {}", vec!["y"; 1_025].join(" "));
    let learned = learn(Learner::new(tool()), &of(&[&long, &many, "run /bin/../x", "read d:a"]));
    assert_eq!((learned.accesses, learned.unlearned_len, learned.unlearned.len()), (4, 3, 3));
    Policy::parse(&learned.text, "learned.toml").unwrap();
    let mut learner = Learner::new(tool());
    for number in 0..100_000 {
        learner.add(&Access::parse(&format!("read d:{number}")).unwrap()).unwrap();
    }
    learner.add(&Access::parse("read d:1").unwrap()).unwrap();
    assert_eq!(learner.add(&Access::parse("read d:x").unwrap()), Err(LearnError::TooMany));
    let together = learner.drawing_together(1_000).finish().unwrap();
    assert!(together.text.len() < 1_000);
    let mut learner = Learner::new(tool());
    for number in 0..10_000 {
        learner.add(&Access::parse(&format!("read d:{}/{number}", "z".repeat(200))).unwrap()).unwrap();
    }
    assert!(matches!(learner.finish(), Err(LearnError::TooLarge { .. })));
    // More patterns than one rule has.
    let many: Vec<Access> =
        (0..3_000).map(|number| Access::parse(&format!("read d:{number}")).unwrap()).collect();
    let policy = Policy::parse(&learn(Learner::new(tool()), &many).text, "learned.toml").unwrap();
    assert_eq!(policy.rules_len(), 3_000);
}

/// Accesses that are near each other, with characters that mean something in patterns and in TOML.
fn accesses() -> impl Strategy<Value = Access> {
    let name = "[a.*?\\[\\]{}\\\\\"'\n\u{202e}-]{1,3}";
    let path = prop::collection::vec(name, 1..3).prop_map(|parts| parts.join("/"));
    let file = ("read|write|list", "d|e", path).prop_filter_map("no path", |(verb, root, path)| {
        Access::parse(&format!("{verb} {root}:{path}")).ok()
    });
    let net = (
        "connect|listen|send",
        "a\\.example|b\\.a\\.example|10\\.0\\.0\\.1|\\[::1\\]|8\\.8\\.8\\.8",
        1..6u16,
    )
        .prop_filter_map("an own end by a name", |(verb, host, port)| {
            Access::parse(&format!("{verb} {host}:{port}")).ok()
        });
    let run = ("/bin/(sh|x)", prop::collection::vec("[-a*?\\\\\" \n\\[]{0,3}", 0..3)).prop_map(
        |(program, args)| Access::Run {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
        },
    );
    let unix = ("unix-(connect|listen)", "d|e", "[a.*?'\"\\\\\n\u{202e} -]{1,4}")
        .prop_filter_map("no path", |(verb, root, path)| {
            Access::parse(&format!("{verb} {root}:{path}")).ok()
        });
    let named = "(env|secret|own v|own w|resolve) [ab]{1,2}".prop_map(|text| Access::parse(&text).unwrap());
    prop_oneof![4 => file, 2 => net, 2 => run, 2 => named, 2 => unix]
}

/// By names, with and without the address that was found, and own ends whose port the system picks.
fn ends() -> impl Strategy<Value = Access> {
    let at =
        "( at (8\\.8\\.8\\.8|10\\.0\\.0\\.1|127\\.0\\.0\\.1|\\[::1\\]|\\[2606:4700::1\\]|224\\.0\\.0\\.1))?";
    let other =
        ("connect|send", "(a|b)\\.example:[1-4]", at).prop_map(|(verb, end, at)| format!("{verb} {end}{at}"));
    let own = "(listen|bind) (127\\.0\\.0\\.1|\\[::\\]):([1-4]|\\*)";
    prop_oneof![other, own.prop_map(|own| own)].prop_map(|text| Access::parse(&text).unwrap())
}

/// Whether learning the one may allow the other: the same name and port at another address of the same kind, or less
/// guarded; the same own end at any port, if it had none.
fn follows(seen: &Access, other: &Access) -> bool {
    let kind = |address: &std::net::IpAddr| AddressKind::of(*address) == AddressKind::Public;
    match (seen, other) {
        _ if seen == other => true,
        (
            Access::NetAt { verb, name, port, address },
            Access::NetAt { verb: its, name: named, port: at, address: there },
        ) => {
            (verb, name, port) == (its, named, at)
                && AddressKind::of(*there) != AddressKind::Special
                && AddressKind::of(*address) != AddressKind::Special
                && (!kind(address) || kind(there))
        }
        (Access::NetAt { verb, name, port, address }, Access::Net { verb: its, host, port: Some(at) }) => {
            (verb, port) == (its, at)
                && AddressKind::of(*address) != AddressKind::Special
                && host.to_string() == name.as_str()
        }
        (
            Access::Net { verb, host, port: Some(port) },
            Access::NetAt { verb: its, name, port: at, address },
        ) => (verb, port) == (its, at) && host.to_string() == name.as_str() && kind(address),
        (Access::Net { verb, host, port: None }, Access::Net { verb: its, host: end, .. }) => {
            (verb, host) == (its, end)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn of_the_network_no_more_is_learned_than_rules_cannot_tell_apart(
        seen in prop::collection::vec(ends(), 0..6),
        others in prop::collection::vec(ends(), 0..60),
    ) {
        let learned = learn(Learner::new(tool()), &seen);
        let policy = Policy::parse(&learned.text, "learned.toml").unwrap();
        let is_special = |access: &&Access| {
            matches!(access, Access::NetAt { address, .. } if AddressKind::of(*address) == AddressKind::Special)
        };
        for access in seen.iter().filter(|access| !is_special(access)) {
            prop_assert!(policy.decide(&tool(), access).is_allowed(), "{} by {}", access, learned.text);
        }
        for access in others.iter().filter(|other| is_special(other) || !seen.iter().any(|seen| follows(seen, other))) {
            prop_assert!(!policy.decide(&tool(), access).is_allowed(), "{} by {}", access, learned.text);
        }
    }

    #[test]
    fn all_that_was_learned_is_allowed_and_all_else_is_denied(
        seen in prop::collection::vec(accesses(), 0..12),
        others in prop::collection::vec(accesses(), 0..60),
    ) {
        let learned = learn(Learner::new(tool()), &seen);
        let mut backwards = seen.clone();
        backwards.reverse();
        prop_assert_eq!(&learned, &learn(Learner::new(tool()), &backwards));
        prop_assert_eq!(learned.unlearned_len, 0);
        let policy = Policy::parse(&learned.text, "learned.toml").unwrap();
        for access in &seen {
            prop_assert!(policy.decide(&tool(), access).is_allowed(), "{} by {}", access, learned.text);
        }
        for access in others.iter().filter(|access| !seen.contains(access)) {
            prop_assert!(!policy.decide(&tool(), access).is_allowed(), "{} by {}", access, learned.text);
        }
    }

    #[test]
    fn drawn_together_it_allows_no_more_than_names_in_those_folders(
        seen in prop::collection::vec(accesses(), 0..12),
        others in prop::collection::vec(accesses(), 0..60),
    ) {
        let learned = learn(Learner::new(tool()).drawing_together(1), &seen);
        let policy = Policy::parse(&learned.text, "learned.toml").unwrap();
        for access in &seen {
            prop_assert!(policy.decide(&tool(), access).is_allowed(), "{} by {}", access, learned.text);
        }
        let folder_of = |access: &Access| match access {
            Access::File { verb, path } => Some((*verb, path.root.clone(), path.path.parent())),
            _ => None,
        };
        for access in others.iter().filter(|access| !seen.contains(access)) {
            if policy.decide(&tool(), access).is_allowed() {
                let folder = folder_of(access);
                prop_assert!(folder.is_some(), "{}", access);
                let siblings = seen.iter().filter(|seen| folder_of(seen) == folder).count();
                prop_assert!(siblings > 1, "{} by {}", access, learned.text);
            }
        }
    }
}
