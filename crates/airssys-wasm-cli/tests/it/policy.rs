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

/// A log of a tool that was denied, observed and permitted, and a key that signed it.
fn logged(home: &Home) {
    use airssys_node::airssys_osl::audit::{AuditLog, AuditOptions, SecretKey};
    use airssys_node::airssys_osl::{Files, Gate, Lenience, Name, Policy, Root, Subject};

    home.write("logs/a", "text");
    home.write("logs/b", "text");
    home.write("policy.toml", POLICY);
    home.run_json(&["audit", "key", "key"]).data();
    let key = SecretKey::read(&Root::open(home.path()).unwrap(), "key".as_ref()).unwrap();
    let folder = Root::private(&home.path().join("audit")).unwrap();
    let log = AuditLog::open_signed(&folder, AuditOptions::default(), key, 100).unwrap();
    let gate = Gate::new(Policy::parse(POLICY, "policy.toml").unwrap(), log);
    let logs = Root::open(&home.path().join("logs")).unwrap();
    let files = Files::new(gate.clone(), [(Name::parse("logs").unwrap(), logs)]);
    let tool = Subject::parse("tool").unwrap();
    files.read(&tool, "logs:a", 10).unwrap();
    files.read(&tool, "logs:a", 10).unwrap();
    files.read(&tool, "logs:private/key", 10).unwrap_err();
    files.write(&tool, "logs:c", b"x").unwrap_err();
    gate.observe(&tool, Lenience::Unruled, std::time::Duration::from_secs(60)).unwrap();
    files.write(&tool, "logs:c", b"x").unwrap();
}

#[test]
fn the_tests_in_a_policy_are_run_and_a_policy_without_any_fails() {
    let home = Home::new();
    home.write("policy.toml", POLICY);
    assert_eq!(home.run_json(&["policy", "test", "policy.toml"]).data()["passed"], 1);
    let (rules, _) = POLICY.split_once("[[test]]").unwrap();
    home.write("untested.toml", rules);
    home.run_json(&["policy", "test", "untested.toml"]).error("invalid", 4);
    home.write("failing.toml", POLICY.replace("expect = \"allow\"", "expect = \"deny\""));
    let ran = home.run_json(&["policy", "test", "failing.toml"]);
    ran.error("invalid", 4);
    let data = &ran.envelope()["data"];
    assert_eq!((&data["passed"], &data["failed"][0]["line"]), (&0.into(), &21.into()), "{data}");
    assert_eq!(home.run(&["policy", "test", "failing.toml"]).code, Some(4));
}

#[test]
fn what_another_policy_changes_is_shown_by_its_rules_and_on_a_log() {
    let home = Home::new();
    logged(&home);
    let new = POLICY.replace("[[role.deny]]\nfiles = [\"logs:private/**\"]\n", "").replace("\"read\", ", "");
    home.write("new.toml", new);
    let data = home.run_json(&["policy", "diff", "policy.toml", "new.toml"]).data();
    let widening =
        data["changes"].as_array().unwrap().iter().filter(|change| change["widens"] == true).count();
    assert!(widening >= 2, "{data}");
    let same = home.run(&["policy", "diff", "policy.toml", "policy.toml"]);
    assert_eq!(same.stdout.trim(), "every subject has the same rules");

    let data = home.run_json(&["policy", "diff", "--log", "audit", "new.toml"]).data();
    let change = &data["changes"][0];
    assert_eq!((&change["access"], &change["count"]), (&"read logs:a".into(), &2.into()), "{data}");
    assert_eq!((&change["was"]["allowed"], &change["now"]["allowed"]), (&true.into(), &false.into()));
    let told = home.run(&["policy", "diff", "--log", "audit", "new.toml"]).stdout;
    assert!(told.contains("tool `read logs:a`: allowed -> denied, 2 times"), "{told}");
    home.run_json(&["policy", "diff", "policy.toml"]).error("usage", 2);
    home.run_json(&["policy", "diff", "--log", "nowhere", "policy.toml"]).error("not-found", 3);
}

#[test]
fn a_policy_is_learned_from_a_log_and_can_be_used() {
    let home = Home::new();
    logged(&home);
    let learned = home.run(&["policy", "learn", "audit", "--subject", "tool"]);
    assert_eq!(learned.code, Some(0), "{}", learned.stderr);
    home.write("learned.toml", &learned.stdout);
    home.run_json(&["policy", "check", "learned.toml"]).data();
    let can = |access| home.run(&["can", "tool", access, "--policy", "learned.toml"]).code;
    assert_eq!((can("read logs:a"), can("write logs:c")), (Some(0), Some(0)));
    assert_eq!((can("read logs:b"), can("read logs:private/key")), (Some(6), Some(6)));
    let data = home.run_json(&["policy", "learn", "audit", "--subject", "tool", "--denials"]).data();
    assert!(data["policy"].as_str().unwrap().contains("logs:private/key"), "{data}");
    home.run_json(&["policy", "learn", "audit", "--subject", "*"]).error("usage", 2);
}

#[test]
fn a_signed_log_is_verified_with_the_public_key() {
    let home = Home::new();
    logged(&home);
    let data = home.run_json(&["audit", "verify", "audit", "--key", "key.pub"]).data();
    // The last record is the checkpoint, which vouches for all before it.
    assert_eq!(data["signed"].as_u64(), data["last"].as_u64().map(|last| last - 1), "{data}");
    assert_eq!(data["clock_steps"], 0, "{data}");
    home.run_json(&["audit", "key", "other"]).data();
    let error = home.run_json(&["audit", "verify", "audit", "--key", "other.pub"]).error("invalid", 4);
    assert!(error["message"].as_str().unwrap().contains("the key did not make"), "{error}");
    home.run_json(&["audit", "verify", "audit", "--key", "none.pub"]).error("not-found", 3);
    home.run_json(&["audit", "verify", "audit", "--key", "policy.toml"]).error("unreadable", 3);
    home.run_json(&["audit", "key", "key"]).error("refused", 6);
}

#[test]
fn records_are_shown_searched_and_exported_also_beside_broken_ones() {
    let home = Home::new();
    logged(&home);
    let data = home.run_json(&["audit", "tail", "audit", "-n", "3"]).data();
    let kinds = |data: &serde_json::Value| -> Vec<String> {
        let records = data["records"].as_array().unwrap().iter();
        records.map(|record| record["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(&data), ["observed", "outcome", "checkpoint"]);
    let search = |args: &[&str]| home.run_json(&[&["audit", "search", "audit"], args].concat()).data();
    assert_eq!(kinds(&search(&["--kind", "denial"])), ["denial", "denial"]);
    assert_eq!(kinds(&search(&["--access", "read logs:private/*"])), ["denial"]);
    assert_eq!(kinds(&search(&["--rule", "deny files", "--subject", "tool"])), ["denial"]);
    assert_eq!(kinds(&search(&["--from", "1", "--to", "2"])), ["checkpoint", "intent"]);
    assert_eq!(kinds(&search(&["--until", "2000-01-01T00:00:00Z"])), Vec::<String>::new());
    let limited = search(&["--limit", "1"]);
    assert_eq!((kinds(&limited).len(), &limited["all"]), (1, &false.into()));
    home.run_json(&["audit", "search", "audit", "--since", "yesterday"]).error("usage", 2);
    let told = home.run(&["audit", "search", "audit", "--kind", "denial"]).stdout;
    assert!(told.lines().count() == 2 && told.contains("rule=\"deny files logs:private/**"), "{told}");

    let exported = home.run(&["audit", "export", "audit"]);
    let events: Vec<serde_json::Value> =
        exported.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["class_uid"] == 1001 && event["action_id"] == 2), "{events:?}");

    // One record changed, and the last cut short.
    let segment = format!("audit/{:020}.jsonl", 1);
    let text = std::fs::read_to_string(home.path().join(&segment)).unwrap();
    home.write(&segment, &text.replacen("outcome", "outcame", 1)[..text.len() - 30]);
    let ran = home.run_json(&["audit", "tail", "audit", "-n", "100"]);
    let data = ran.data();
    assert_eq!(data["broken_len"], 2, "{data}");
    assert!(kinds(&data).len() >= 6 && ran.stderr.contains("is no whole record"), "{}", ran.stderr);
    assert_eq!(home.run(&["audit", "export", "audit"]).code, Some(4));
}

#[test]
fn a_log_is_followed_while_it_is_written() {
    use airssys_node::airssys_osl::audit::{AuditLog, AuditOptions};
    use airssys_node::airssys_osl::{Files, Gate, Name, Policy, Root, Subject};
    use std::io::{BufRead as _, BufReader};

    let home = Home::new();
    home.write("logs/a", "text");
    let options = AuditOptions { segment_bytes_max: 4096, ..AuditOptions::default() };
    let log = AuditLog::open(&Root::private(&home.path().join("audit")).unwrap(), options).unwrap();
    let gate = Gate::new(Policy::parse(POLICY, "policy.toml").unwrap(), log);
    let logs = Root::open(&home.path().join("logs")).unwrap();
    let files = Files::new(gate, [(Name::parse("logs").unwrap(), logs)]);
    let tool = Subject::parse("tool").unwrap();
    files.read(&tool, "logs:a", 10).unwrap();
    let mut command = home.command(&["-o", "json", "audit", "tail", "audit", "-n", "1", "--follow"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["seq"], 2);
    for seq in 2..=30 {
        files.read(&tool, "logs:a", 10).unwrap();
        assert_eq!((&next()["seq"], &next()["seq"]), (&(seq * 2 - 1).into(), &(seq * 2).into()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
