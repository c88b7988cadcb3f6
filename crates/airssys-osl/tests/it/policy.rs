//! Who may do what: every rule of precedence, patterns and their edges, roles, and how a bad policy is refused.

use airssys_osl::{Access, Decision, Policy, Subject};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::{collection, sample};

fn policy(text: &str) -> Policy {
    Policy::parse(&format!("version = 1\n{text}"), "policy.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// A policy whose subject `tool` has these rules.
fn tool(rules: &str) -> Policy {
    policy(&format!("[[subject]]\nname = \"tool\"\n{rules}"))
}

fn decide(policy: &Policy, subject: &str, access: &str) -> Decision {
    policy.decide(
        &Subject::parse(subject).unwrap(),
        &Access::parse(access).unwrap_or_else(|e| panic!("{access}: {e}")),
    )
}

#[track_caller]
fn check(policy: &Policy, allowed: &[&str], denied: &[&str]) {
    for access in allowed {
        assert!(matches!(decide(policy, "tool", access), Decision::Allowed(_)), "{access} is denied");
    }
    for access in denied {
        assert!(matches!(decide(policy, "tool", access), Decision::Denied(_)), "{access} is allowed");
    }
}

#[track_caller]
fn refused(text: &str, line: u32, said: &str) {
    let error = Policy::parse(&format!("version = 1\n{text}"), "policy.toml").expect_err("it is refused");
    assert!(error.to_string().contains(said), "{error}");
    assert_eq!(error.problems[0].at.line, line, "{error}");
}

#[test]
fn l1_what_an_access_lacks_allows_nothing_and_denies_all_the_same() {
    use airssys_osl::{Host, NetVerb};
    let without_port = |verb| Access::Net { verb, host: Host::parse("example.com").unwrap(), port: None };
    let subject = Subject::parse("tool").unwrap();
    let allows = tool("[[subject.allow]]\nconnect = [\"*:*\"]\nbroad = true");
    assert_eq!(allows.decide(&subject, &without_port(NetVerb::Connect)), Decision::Denied(None));
    let denies = tool(
        "[[subject.allow]]\nconnect = [\"*:*\"]\nbroad = true\n[[subject.deny]]\nconnect = [\"example.com:80\"]",
    );
    assert!(matches!(denies.decide(&subject, &without_port(NetVerb::Connect)), Decision::Denied(Some(_))));
    // A rule that denies and cannot be read takes the whole policy with it, so none is skipped.
    for bad in [
        "files = [\"d:[\"]",
        "connect = [\"example.com\"]",
        "run = \"git\"",
        "files = []",
        "files = [\"d:a\"]\nverbs = []",
    ] {
        let text = format!(
            "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:**\"]\n[[subject.deny]]\n{bad}"
        );
        assert!(Policy::parse(&text, "policy.toml").is_err(), "{bad}");
    }
}

#[test]
fn l2_without_a_policy_or_a_rule_nobody_may_do_anything() {
    for policy in [Policy::empty(), policy(""), tool("")] {
        for access in
            ["read data:a", "connect a.example:1", "run /bin/x", "env A", "secret a", "host clock", "own a b"]
        {
            assert_eq!(decide(&policy, "tool", access), Decision::Denied(None), "{access}");
        }
    }
    let policy = tool("[[subject.allow]]\nfiles = [\"data:**\"]");
    assert_eq!(decide(&policy, "other", "read data:a"), Decision::Denied(None), "whoever is not in it");
}

#[test]
fn a3_a_name_that_begins_alike_is_another_name() {
    let policy = tool("[[subject.allow]]\nfiles = [\"data:logs/**\", \"data:one/*\"]");
    check(
        &policy,
        &["read data:logs/x", "read data:logs/x/y", "read data:one/x"],
        &[
            "read data:logs-evil/x",
            "read data:logsx",
            "read data:one-evil/x",
            "read data2:logs/x",
            "read data:one/x/y",
        ],
    );
}

#[test]
fn c1_a_star_stays_within_its_part() {
    let policy = tool("[[subject.allow]]\nfiles = [\"d:a/*/c\", \"d:x*z\", \"d:p?q\"]");
    check(
        &policy,
        &["read d:a/b/c", "read d:xz", "read d:xyyz", "read d:paq"],
        &[
            "read d:a/b/b/c",
            "read d:a/c",
            "read d:x/z",
            "read d:x/y/z",
            "read d:p/q",
            "read d:pq",
            "read d:paaq",
        ],
    );
}

#[test]
fn c2_a_bad_pattern_in_a_deny_rule_refuses_the_whole_policy() {
    let allow = "[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:**\"]\n";
    for pattern in [
        "d:{a,b}", "d:[ab]", "d:a**", "d:**a", "d:/a", "d:a//b", "d:../a", "d:a/.", "d:", "a", "d:a\\\\",
        "d:***",
    ] {
        refused(&format!("{allow}[[subject.deny]]\nfiles = [\"{pattern}\"]"), 7, "files");
    }
}

#[test]
fn c3_alternatives_in_braces_are_refused_with_what_to_write() {
    refused(
        "[[subject]]\nname = \"t\"\n[[subject.allow]]\nfiles = [\"d:{a,b}\"]",
        5,
        "one pattern for each alternative",
    );
}

#[test]
fn c4_two_stars_cover_the_folder_itself_and_everything_below() {
    let policy = tool(
        "[[subject.allow]]\nfiles = [\"d:a/**\", \"d:b/**/z\", \"d:**/end\"]\n[[subject.allow]]\nfiles = [\"e:.\"]\n[[subject.allow]]\nfiles = [\"f:**\"]",
    );
    check(
        &policy,
        &[
            "list d:a",
            "read d:a/b",
            "read d:a/b/c",
            "read d:b/z",
            "read d:b/c/z",
            "read d:b/c/d/z",
            "read d:end",
            "read d:x/y/end",
            "list e:.",
            "list f:.",
            "read f:x/y",
        ],
        &["read d:b", "read d:b/z/c", "read d:ended", "read e:a", "list d:.", "read d:ab"],
    );
}

#[test]
fn c5_a_star_that_allows_matches_no_hidden_name_and_one_that_denies_does() {
    let policy = tool(
        "[[subject.allow]]\nfiles = [\"d:**\", \"d:.config/*\"]\n[[subject.allow]]\nfiles = [\"e:**\"]\nhidden = true\n[[subject.deny]]\nfiles = [\"e:keys/**\"]",
    );
    check(
        &policy,
        &["read d:a", "read d:.config/x", "read e:.ssh/id", "read e:a/.b"],
        &["read d:.ssh", "read d:a/.git/config", "read d:.config/.x", "read e:keys/.id", "read e:keys"],
    );
}

#[test]
fn c6_characters_of_patterns_can_be_meant_as_they_are() {
    let policy = tool(
        r#"[[subject.allow]]
files = ['d:a\*b', 'd:\[x\]', 'd:with, comma: and space', 'd:\{\}', 'd:\?']"#,
    );
    check(
        &policy,
        &["read d:a*b", "read d:[x]", "read d:with, comma: and space", "read d:{}", "read d:?"],
        &["read d:axb", "read d:x", "read d:a"],
    );
}

#[test]
fn c7_patterns_that_go_back_and_forth_end_in_bounded_time() {
    let stars = "a*".repeat(120);
    let deep = format!("d:{}z", "**/".repeat(60));
    let policy = tool(&format!("[[subject.allow]]\nfiles = [\"d:{stars}b\", \"{deep}\"]"));
    let begin = std::time::Instant::now();
    check(
        &policy,
        &[],
        &[&format!("read d:{}", "a".repeat(255)), &format!("read d:{}", vec!["a"; 256].join("/"))],
    );
    assert!(begin.elapsed() < std::time::Duration::from_secs(10), "{:?}", begin.elapsed());
    refused(
        &format!("[[subject]]\nname = \"t\"\n[[subject.allow]]\nfiles = [\"d:{}\"]", "a".repeat(1025)),
        5,
        "at most 1024 bytes",
    );
    refused(
        &format!("[[subject]]\nname = \"t\"\n[[subject.allow]]\nfiles = [\"d:{}\"]", vec!["a"; 65].join("/")),
        5,
        "64 parts",
    );
}

#[test]
fn g19_texts_that_whoever_asks_chooses_are_matched_in_bounded_time() {
    let hard = "a*a*a*a*a*a*a*a*b";
    let policy = tool(&format!(
        "[[subject.allow]]\nrun = \"/bin/x\"\nargs = [\"{hard}\"]\n[[subject.allow]]\nown = \"act\"\nnames = [\"{hard}\"]"
    ));
    let begin = std::time::Instant::now();
    let long = "a".repeat(100_000);
    check(
        &policy,
        &["run /bin/x aaaaaaaab"],
        &[&format!("run /bin/x {long}"), &format!("own act {}", "a".repeat(256))],
    );
    assert!(begin.elapsed() < std::time::Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn c8_what_denies_wins_whatever_the_order_and_however_often_it_is_said() {
    let allow = "[[subject.allow]]\nfiles = [\"d:**\"]\n";
    let deny = "[[subject.deny]]\nfiles = [\"d:a/**\"]\n";
    let narrow = "[[subject.allow]]\nfiles = [\"d:a/b\"]\n";
    for rules in [[allow, deny, narrow], [narrow, deny, allow], [deny, allow, narrow], [deny, deny, allow]] {
        check(&tool(&rules.concat()), &["read d:b"], &["read d:a", "read d:a/b"]);
    }
}

#[test]
fn c9_a_star_before_a_name_stands_for_whole_labels() {
    let policy = tool("[[subject.allow]]\nconnect = [\"*.example.com:443\", \"one.test:80-82\"]");
    check(
        &policy,
        &[
            "connect a.example.com:443",
            "connect a.b.example.com:443",
            "connect A.EXAMPLE.com.:443",
            "connect one.test:81",
        ],
        &[
            "connect example.com:443",
            "connect evilexample.com:443",
            "connect a.example.com:80",
            "connect a.example.com.evil:443",
            "connect one.test:83",
            "connect one.test:79",
            "connect x.one.test:80",
            "resolve a.example.com",
        ],
    );
    for host in ["*com:443", "a*.example.com:443", "*.*.com:1", "*.1.2.3.4:1", "a.*:1"] {
        refused(
            &format!("[[subject]]\nname = \"t\"\n[[subject.allow]]\nconnect = [\"{host}\"]"),
            5,
            "connect",
        );
    }
}

#[test]
fn c10_nothing_in_a_pattern_is_expanded() {
    let policy = tool("[[subject.allow]]\nfiles = [\"d:$HOME/*\", \"d:~/*\", \"d:%h\"]");
    check(&policy, &["read d:$HOME/a", "read d:~/a", "read d:%h"], &["read d:root/a", "read d:a"]);
}

#[test]
fn c11_names_of_own_operations_are_compared_part_by_part() {
    let policy = tool("[[subject.allow]]\nown = \"storage.read\"\nnames = [\"org/a/*\"]");
    check(
        &policy,
        &["own storage.read org/a/x"],
        &[
            "own storage.read org/ab/x",
            "own storage.read org/a/x/y",
            "own storage.write org/a/x",
            "own storage.read org/a",
        ],
    );
    assert!(
        Access::parse("own storage.read org/a//x").is_err()
            && Access::parse("own storage.read org/a/../b").is_err()
    );
}

#[test]
fn d1_a_name_in_another_form_of_unicode_is_another_name() {
    let policy = tool("[[subject.allow]]\nfiles = [\"d:straße\", \"d:caf\u{e9}\", \"d:ﬁle\", \"d:Ａ\"]");
    check(
        &policy,
        &["read d:straße", "read d:caf\u{e9}", "read d:ﬁle", "read d:Ａ"],
        &["read d:strasse", "read d:cafe\u{301}", "read d:file", "read d:A"],
    );
    let denies =
        tool("[[subject.allow]]\nfiles = [\"d:in/**\"]\n[[subject.deny]]\nfiles = [\"d:in/caf\u{e9}\"]");
    // Two names to the file system as well, unless it folds them: then the form it was denied in is not the only one.
    check(&denies, &["read d:in/cafe\u{301}"], &["read d:in/caf\u{e9}"]);
}

#[test]
fn d2_case_makes_another_name_where_it_does_to_the_system() {
    let policy = tool(
        "[[subject.allow]]\nfiles = [\"d:Data/*\"]\n[[subject.allow]]\nenv = [\"Path\"]\n[[subject.allow]]\nconnect = [\"API.Example.com:443\"]",
    );
    check(
        &policy,
        &["read d:Data/x", "env Path", "connect api.example.com:443", "connect API.EXAMPLE.COM.:443"],
        &["read d:data/x", "read d:DATA/x", "env PATH", "env path"],
    );
}

#[test]
fn e4_a_rule_for_names_or_for_all_reaches_public_addresses_only() {
    let policy = tool(
        "[[subject.allow]]\nconnect = [\"*:443\"]\nbroad = true\n[[subject.allow]]\nconnect = [\"10.1.0.0/16:80\", \"127.0.0.1:5432\", \"[::1]:5432\"]",
    );
    check(
        &policy,
        &[
            "connect 1.1.1.1:443",
            "connect a.example:443",
            "connect 10.1.2.3:80",
            "connect 127.0.0.1:5432",
            "connect [::1]:5432",
        ],
        &[
            "connect 127.0.0.1:443",
            "connect 169.254.169.254:443",
            "connect [fd00:ec2::254]:443",
            "connect 10.1.2.3:443",
            "connect 10.2.0.1:80",
            "connect [::ffff:127.0.0.1]:443",
            "connect [64:ff9b::7f00:1]:443",
            "connect 127.0.0.2:5432",
        ],
    );
    let private = tool(
        "[[subject.allow]]\nconnect = [\"*:443\"]\nbroad = true\nprivate = true\n[[subject.deny]]\nconnect = [\"169.254.0.0/16:*\"]",
    );
    check(&private, &["connect 127.0.0.1:443"], &["connect 169.254.169.254:443"]);
}

#[test]
fn e16_a_rule_for_one_version_of_the_protocol_says_nothing_of_the_other() {
    let policy = tool("[[subject.allow]]\nconnect = [\"1.1.1.1:443\", \"1.0.0.0/8:53\"]");
    check(
        &policy,
        &["connect [::ffff:1.1.1.1]:443"],
        &["connect [2606:4700::1111]:443", "connect [2606:4700::1111]:53"],
    );
}

#[test]
fn f1_an_option_is_allowed_only_where_it_is_written_as_one() {
    let policy = tool(
        "[[subject.allow]]\nrun = \"/usr/bin/git\"\nargs = [\"status\", \"--short\"]\n[[subject.allow]]\nrun = \"/usr/bin/git\"\nargs = [\"show\", \"*\", \"**\"]\n[[subject.allow]]\nrun = \"/bin/date\"",
    );
    check(
        &policy,
        &[
            "run /usr/bin/git status --short",
            "run /usr/bin/git show main",
            "run /usr/bin/git show main a b/c",
            "run /bin/date",
        ],
        &[
            "run /usr/bin/git",
            "run /usr/bin/git status",
            "run /usr/bin/git status --short -x",
            "run /usr/bin/git show --ext-diff",
            "run /usr/bin/git show main --output=/x",
            "run /usr/bin/git -c core.pager=x show main",
            "run /bin/date -s 0",
            "run /bin/date x",
            "run /usr/bin/gitx status --short",
            "run /tmp/git status --short",
        ],
    );
    let denies = tool(
        "[[subject.allow]]\nrun = \"/usr/bin/git\"\nargs = [\"*\", \"**\"]\n[[subject.deny]]\nrun = \"/usr/bin/git\"\nargs = [\"push\"]",
    );
    check(
        &denies,
        &["run /usr/bin/git pull a"],
        &["run /usr/bin/git push", "run /usr/bin/git push --force x"],
    );
}

#[test]
fn f4_a_program_that_runs_its_arguments_needs_more_than_a_word() {
    for program in ["/bin/sh", "/usr/bin/env", "/usr/bin/python3.12", "/usr/bin/xargs", "/bin/busybox"] {
        let rule =
            format!("[[subject]]\nname = \"tool\"\n[[subject.allow]]\nrun = \"{program}\"\nargs = [\"**\"]");
        refused(&rule, 4, "broad = true");
        policy(&format!("{rule}\nbroad = true"));
    }
    for program in ["git", "./git", "/usr/../bin/git", "/usr//bin/git", ""] {
        refused(
            &format!("[[subject]]\nname = \"t\"\n[[subject.allow]]\nrun = \"{program}\""),
            5,
            "absolute path",
        );
    }
}

#[test]
fn h1_an_unknown_word_is_an_error_with_the_nearest_right_one() {
    refused("[[subjekt]]\nname = \"a\"", 2, "did you mean `subject`");
    refused("[[subject]]\nname = \"a\"\n[[subject.alow]]\nfiles = []", 4, "did you mean `allow`");
    refused("[[subject]]\nname = \"a\"\n[[subject.allow]]\nfile = [\"d:a\"]", 4, "one of `files`");
    refused(
        "[[subject]]\nname = \"a\"\n[[subject.deny]]\nfiles = [\"d:a\"]\nverbs = [\"raed\"]",
        6,
        "write any of read",
    );
    refused(
        "[[subject]]\nname = \"a\"\n[[subject.deny]]\nfiles = [\"d:a\"]\nenv = [\"A\"]",
        4,
        "about one thing",
    );
    refused(
        "[[subject]]\nname = \"a\"\nroles = [\"reder\"]\n[[role]]\nname = \"reader\"",
        4,
        "did you mean `reader`",
    );
    refused("[[subject]]\nname = \"a\"\n[[subject]]\nname = \"a\"", 5, "there already, in line 2");
    let error = Policy::parse("[[subject]]\nname = \"a\"", "p.toml").expect_err("the version is missing");
    assert!(error.to_string().contains("version"), "{error}");
    assert!(Policy::parse("version = 2", "p.toml").is_err());
}

#[test]
fn h5_to_allow_everything_of_a_kind_takes_a_word_more() {
    for rule in [
        "connect = [\"*:443\"]",
        "connect = [\"0.0.0.0/0:*\"]",
        "connect = [\"[::]/0:*\"]",
        "env = [\"*\"]",
        "secrets = [\"**\"]",
        "own = \"a\"\nnames = [\"**\"]",
        "resolve = [\"*\"]",
    ] {
        let text = format!("[[subject]]\nname = \"tool\"\n[[subject.allow]]\n{rule}");
        refused(&text, 4, "broad = true");
        policy(&format!("{text}\nbroad = true"));
        policy(&text.replace("allow", "deny"));
    }
}

#[test]
fn l13_a_subject_is_its_name_and_nothing_else() {
    let policy = policy("[[subject]]\nname = \"admin\"\n[[subject.allow]]\nfiles = [\"d:**\"]");
    for name in ["Admin", "admin2", "admi", "admin/x"] {
        assert_eq!(decide(&policy, name, "read d:a"), Decision::Denied(None), "{name}");
    }
    for name in ["", "*", "ad*", "аdmin", "admin\u{200b}", " admin"] {
        assert!(Subject::parse(name).is_err(), "{name:?}");
    }
    refused("[[subject]]\nname = \"*\"", 3, "name");
}

#[test]
fn l14_roles_may_share_roles_and_none_may_have_itself() {
    let diamond = "[[role]]\nname = \"top\"\ninherits = [\"left\", \"right\"]\n[[role]]\nname = \"left\"\ninherits = [\"base\"]\n[[role]]\nname = \"right\"\ninherits = [\"base\"]\n[[role.deny]]\nfiles = [\"d:x\"]\n[[role]]\nname = \"base\"\n[[role.allow]]\nfiles = [\"d:**\"]\n[[subject]]\nname = \"tool\"\nroles = [\"top\"]";
    let diamond = policy(diamond);
    check(&diamond, &["read d:a"], &["read d:x"]);
    assert_eq!(
        diamond.grants(&Subject::parse("tool").unwrap()).len(),
        2,
        "what comes by two ways counts once"
    );
    refused(
        "[[role]]\nname = \"a\"\ninherits = [\"b\"]\n[[role]]\nname = \"b\"\ninherits = [\"a\"]",
        4,
        "inherits from itself",
    );
    refused("[[role]]\nname = \"a\"\ninherits = [\"a\"]", 4, "inherits from itself");
    let chain: String =
        (0..9_999).map(|n| format!("[[role]]\nname = \"r{n}\"\ninherits = [\"r{}\"]\n", n + 1)).collect();
    let long = policy(&format!(
        "{chain}[[role]]\nname = \"r9999\"\n[[role.allow]]\nfiles = [\"d:**\"]\n[[subject]]\nname = \"tool\"\nroles = [\"r0\"]"
    ));
    check(&long, &["read d:a"], &[]);
}

#[test]
fn a_decision_names_the_rule_that_made_it_and_can_be_asked_for_all_others() {
    let policy = policy(
        "[[role]]\nname = \"reader\"\n[[role.allow]]\nfiles = [\"d:**\"]\nverbs = [\"read\"]\n[[subject]]\nname = \"tool\"\nroles = [\"reader\"]\n[[subject.deny]]\nfiles = [\"d:x/**\"]\n[[subject.allow]]\nfiles = [\"d:x/*\"]\n[[subject]]\nname = \"other\"\nroles = [\"reader\"]",
    );
    let tool = Subject::parse("tool").unwrap();
    let access = Access::parse("read d:x/y").unwrap();
    let Decision::Denied(Some(rule)) = policy.decide(&tool, &access) else {
        panic!("it is denied by a rule")
    };
    assert_eq!(
        policy.rule(rule).to_string(),
        "deny files d:x/** read,write,create,remove,stat,list,link,watch (subject tool, line 10)"
    );
    let all = policy.explain(&tool, &access);
    assert_eq!(all.iter().map(|rule| policy.rule(*rule).at().line).collect::<Vec<_>>(), [10, 4, 12]);
    assert_eq!(policy.who_can(&access), [&Subject::parse("other").unwrap()]);
}

#[test]
fn a_policy_tests_itself() {
    let test = |expect: &str| {
        format!(
            "[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:a\"]\n[[test]]\nsubject = \"tool\"\naccess = \"read d:a\"\nexpect = \"{expect}\""
        )
    };
    assert!(policy(&test("allow")).disappointments().is_empty());
    let disappointed = policy(&test("deny")).disappointments();
    assert_eq!(disappointed.len(), 1);
    assert_eq!(disappointed[0].at.line, 6);
    refused(&test("maybe"), 9, "`allow`, `deny`");
    refused("[[test]]\nsubject = \"a\"\naccess = \"fly\"\nexpect = \"deny\"", 4, "access");
}

/// Patterns and paths over few letters, so that they meet often.
fn patterns() -> impl Strategy<Value = String> {
    let part = prop_oneof![sample::select(vec!["a", "b", "*", "**", "a*", "?", "*b", ".a"])];
    collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

fn paths() -> impl Strategy<Value = String> {
    collection::vec(sample::select(vec!["a", "b", "ab", ".a", "abb"]), 1..6).prop_map(|parts| parts.join("/"))
}

/// The same by the plainest means.
fn matches(pattern: &[&str], path: &[&str]) -> bool {
    fn word(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) if word(rest, text) => true,
            (Some((b'*', _)), Some((_, rest))) => word(pattern, rest),
            (Some((b'?', rest)), Some((_, text))) => word(rest, text),
            (Some((p, rest)), Some((t, text))) => p == t && word(rest, text),
            (None | Some(_), _) => false,
        }
    }
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) if matches(rest, path) => true,
        (Some((&"**", _)), Some((part, rest))) => !part.starts_with('.') && matches(pattern, rest),
        (Some((p, rest)), Some((part, path))) => {
            (p.starts_with('.') || !part.starts_with('.'))
                && word(p.as_bytes(), part.as_bytes())
                && matches(rest, path)
        }
        (None | Some(_), _) => false,
    }
}

proptest! {
    #[test]
    fn a_pattern_matches_what_the_plainest_reading_of_it_matches(pattern in patterns(), path in paths()) {
        let policy = tool(&format!("[[subject.allow]]\nfiles = [\"d:{pattern}\"]"));
        let allowed = matches!(decide(&policy, "tool", &format!("read d:{path}")), Decision::Allowed(_));
        let expected = matches(&pattern.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>());
        prop_assert_eq!(allowed, expected, "{} on {}", pattern, path);
    }

    #[test]
    fn one_more_rule_that_denies_allows_nothing_more_and_order_is_nothing(
        rules in collection::vec((any::<bool>(), patterns()), 0..6), more in patterns(), path in paths(), turn in 0..6usize,
    ) {
        let write = |rules: &[(bool, String)]| {
            let rule = |(allows, pattern): &(bool, String)| {
                format!("[[subject.{}]]\nfiles = [\"d:{pattern}\"]\n", if *allows { "allow" } else { "deny" })
            };
            tool(&rules.iter().map(rule).collect::<String>())
        };
        let access = format!("read d:{path}");
        let is_allowed = |rules: &[(bool, String)]| matches!(decide(&write(rules), "tool", &access), Decision::Allowed(_));
        let before = is_allowed(&rules);
        let mut turned = rules.clone();
        let by = turn.min(turned.len());
        turned.rotate_left(by);
        prop_assert_eq!(is_allowed(&turned), before);
        let mut denied = rules;
        denied.push((false, more));
        prop_assert!(before || !is_allowed(&denied));
    }

    #[test]
    fn no_text_makes_the_reader_of_policies_panic(text in "(version = 1|\\[\\[(subject|role|test|subject\\.allow)\\]\\]|name = \"[a*]\"|files = \\[\"[d:*/a]{0,6}\"\\]|connect = \\[\".{0,8}\"\\]|\n){0,12}") {
        let _policy = Policy::parse(&text, "p.toml");
    }
}

#[test]
fn a_rule_that_names_nothing_is_an_error_and_no_rule() {
    for rule in [
        "files = []",
        "files = [\"d:p\"]\nverbs = []",
        "connect = []",
        "env = []",
        "secrets = []",
        "host = []",
        "own = \"a\"\nnames = []",
    ] {
        for effect in ["allow", "deny"] {
            refused(
                &format!("[[subject]]\nname = \"tool\"\n[[subject.{effect}]]\n{rule}"),
                4,
                "names nothing",
            );
        }
    }
}

#[test]
fn who_may_not_have_a_folder_may_not_have_what_is_in_it() {
    let policy =
        tool("[[subject.allow]]\nfiles = [\"d:**\"]\n[[subject.deny]]\nfiles = [\"d:p\", \"d:*.d\"]");
    check(
        &policy,
        &["read d:px", "read d:a/p"],
        &["read d:p", "read d:p/k", "read d:p/k/l", "list d:x.d", "read d:x.d/y"],
    );
}

#[test]
fn f4_no_pattern_lets_an_interpreter_run_what_it_is_given() {
    for args in ["\"-c\", \"*\"", "\"-c\", \"**\"", "\"*\"", "\"?*\", \"**\"", "\"a*\""] {
        for program in ["/bin/sh", "/usr/bin/find", "/usr/bin/make"] {
            let rule =
                format!("[[subject]]\nname = \"t\"\n[[subject.allow]]\nrun = \"{program}\"\nargs = [{args}]");
            refused(&rule, 4, "broad = true");
        }
    }
    policy("[[subject]]\nname = \"t\"\n[[subject.allow]]\nrun = \"/bin/sh\"\nargs = [\"-c\", \"true\"]");
}

#[test]
fn e3_networks_of_ipv6_can_be_named_and_what_a_translator_carries_is_denied_too() {
    let policy = tool(
        "[[subject.allow]]\nconnect = [\"*:*\"]\nbroad = true\nprivate = true\n[[subject.deny]]\nconnect = [\"[fc00::/7]:*\", \"[fe80::]/10:*\", \"169.254.0.0/16:*\"]",
    );
    check(
        &policy,
        &["connect [2606:4700::1]:443", "connect 127.0.0.1:1"],
        &[
            "connect [fd00:ec2::254]:80",
            "connect [fe80::1]:80",
            "connect 169.254.169.254:80",
            "connect [64:ff9b::a9fe:a9fe]:80",
            "connect [::a9fe:a9fe]:80",
            "connect [2002:a9fe:a9fe::]:80",
            "connect [::ffff:169.254.169.254]:80",
        ],
    );
    let ula = tool("[[subject.allow]]\nconnect = [\"[fd00::/8]:443\"]");
    check(&ula, &["connect [fd12::1]:443"], &["connect [fe80::1]:443", "connect [fd12::1]:80"]);
    assert_eq!(
        ula.rule(ula.grants(&Subject::parse("tool").unwrap())[0]).to_string(),
        "allow connect [fd00::/8]:443 (subject tool, line 4)"
    );
}

#[test]
fn h5_a_great_part_of_everything_is_as_broad_as_everything() {
    for net in ["0.0.0.0/1:443", "128.0.0.0/1:*", "10.0.0.0/7:1", "[2000::/3]:443", "[::/0]:1"] {
        let rule = format!("[[subject]]\nname = \"tool\"\n[[subject.allow]]\nconnect = [\"{net}\"]");
        refused(&rule, 4, "broad = true");
        check(&policy(&format!("{rule}\nbroad = true")), &[], &["connect 127.0.0.1:443", "connect [::1]:1"]);
    }
    refused("[[subject]]\nname = \"t\"\n[[subject.allow]]\nenv = [\"?*\"]", 4, "broad = true");
}

#[test]
fn g19_many_subjects_with_many_roles_are_refused_before_they_are_counted() {
    let chain: String =
        (0..2_000).map(|n| format!("[[role]]\nname = \"{n}\"\ninherits = [\"{}\"]\n", n + 1)).collect();
    let subjects: String =
        (0..5_000).map(|n| format!("[[subject]]\nname = \"s{n}\"\nroles = [\"0\"]\n")).collect();
    let text = format!("version = 1\n{chain}[[role]]\nname = \"2000\"\n{subjects}");
    let error = Policy::parse(&text, "p.toml").expect_err("it is too much");
    assert!(error.to_string().contains("roles and rules"), "{error}");
}
