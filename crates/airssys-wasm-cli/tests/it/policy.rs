//! `policy`, `can`, `explain` and `audit`: what a policy decides, and whether a log is whole.

use std::fmt::Write as _;

use crate::harness::Home;

const POLICY: &str = r#"version = 1

[[role]]
name = "reader"
[[role.allow]]
files = ["logs:**"]
verbs = ["read", "list", "stat"]
[[role.deny]]
files = ["logs:private/**"]

[[subject]]
name = "tool"
roles = ["reader"]
[[subject.allow]]
connect = ["*.example.com:443"]

[[subject]]
name = "other"
roles = ["reader"]

[[test]]
subject = "tool"
access = "read logs:today.log"
expect = "allow"
"#;

#[test]
fn a_policy_is_checked_with_the_tests_in_it() {
    let home = Home::new();
    home.write("policy.toml", POLICY);
    let data = home.run_json(&["policy", "check", "policy.toml"]).data();
    assert_eq!((&data["rules"], &data["tests"]), (&3.into(), &1.into()));
    assert_eq!(data["subjects"], serde_json::json!(["other", "tool"]));
    let told = home.run(&["policy", "check", "policy.toml"]);
    assert_eq!((told.code, told.stdout.trim()), (Some(0), "2 subjects, 3 rules, 1 tests passed"));

    home.write("failing.toml", POLICY.replace("expect = \"allow\"", "expect = \"deny\""));
    let error = home.run_json(&["policy", "check", "failing.toml"]).error("invalid", 4);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("failing.toml:21:") && message.contains("`read logs:today.log`"), "{message}");

    home.write("misspelt.toml", POLICY.replace("[[role.deny]]", "[[role.dney]]"));
    let error = home.run_json(&["policy", "check", "misspelt.toml"]).error("invalid", 4);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("misspelt.toml:8:") && message.contains("did you mean `deny`"), "{message}");
    home.run_json(&["policy", "check", "missing.toml"]).error("not-found", 3);
}

#[test]
fn who_may_do_what_is_answered_with_the_rule() {
    let home = Home::new();
    home.write("policy.toml", POLICY);
    let ask = |subject, access| home.run_json(&["can", subject, access, "--policy", "policy.toml"]);
    let data = ask("tool", "read logs:a/b.log").data();
    assert_eq!(data["rule"], "allow files logs:** read,stat,list (role reader, line 5)");
    let error = ask("tool", "read logs:private/key").error("refused", 6);
    assert!(error["message"].as_str().unwrap().contains("deny files logs:private/**"), "{error}");
    let error = ask("tool", "write logs:a").error("refused", 6);
    assert!(error["message"].as_str().unwrap().contains("no rule allows it"), "{error}");
    ask("nobody", "read logs:a").error("refused", 6);
    ask("tool", "connect api.example.com:443").data();
    ask("tool", "connect 127.1:443").error("usage", 2);
    ask("tool", "read logs:../a").error("usage", 2);
    ask("*", "read logs:a").error("usage", 2);

    let data = home.run_json(&["explain", "tool", "read logs:private/key", "--policy", "policy.toml"]).data();
    assert_eq!(data["allowed"], false);
    assert_eq!(data["rules"].as_array().unwrap().len(), 2, "{data}");
    assert_eq!(data["who_can"], serde_json::json!([]));
    let told = home.run(&["explain", "tool", "read logs:a", "--policy", "policy.toml"]).stdout;
    assert!(
        told.contains("because of  allow files logs:**") && told.contains("who can     other, tool"),
        "{told}"
    );
}

#[test]
fn a_log_is_verified_and_the_first_bad_record_named() {
    use airssys_node::airssys_osl::audit::{AuditLog, AuditOptions};
    use airssys_node::airssys_osl::{Files, Gate, Name, Policy, Root, Subject};

    let home = Home::new();
    home.write("logs/a", "text");
    let log =
        AuditLog::open(&Root::private(&home.path().join("audit")).unwrap(), AuditOptions::default()).unwrap();
    let gate = Gate::new(Policy::parse(POLICY, "policy.toml").unwrap(), log);
    let logs = Root::open(&home.path().join("logs")).unwrap();
    let files = Files::new(gate.clone(), [(Name::parse("logs").unwrap(), logs)]);
    let tool = Subject::parse("tool").unwrap();
    files.read(&tool, "logs:a", 10).unwrap();
    files.read(&tool, "logs:private/key", 10).unwrap_err();
    let head = gate.log().head().to_string();
    drop((gate, files));

    let data = home.run_json(&["audit", "verify", "audit", "--head", &head]).data();
    assert_eq!((&data["first"], &data["last"], &data["head"]), (&1.into(), &3.into(), &head.clone().into()));
    let segment = format!("audit/{:020}.jsonl", 1);
    let text = std::fs::read_to_string(home.path().join(&segment)).unwrap();
    let mut cut = String::new();
    text.lines().take(2).for_each(|line| writeln!(cut, "{line}").unwrap());
    home.write(&segment, &cut);
    assert_eq!(home.run_json(&["audit", "verify", "audit"]).data()["last"], 2);
    home.run_json(&["audit", "verify", "audit", "--head", &head]).error("invalid", 4);
    home.write(&segment, text.replace("logs:a", "logs:b"));
    let error = home.run_json(&["audit", "verify", "audit"]).error("invalid", 4);
    assert!(error["message"].as_str().unwrap().contains("record 1 is not as it was written"), "{error}");
    home.run_json(&["audit", "verify", "audit", "--head", "x"]).error("usage", 2);
    home.run_json(&["audit", "verify", "nowhere"]).error("not-found", 3);
}
