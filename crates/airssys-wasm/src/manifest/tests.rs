//! The laws of `Component.toml`: what is read, what is refused, and how the refusal reads.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const LEAST: &str = "[component]\nname = \"parse\"\nversion = \"0.1.0\"\nwasm = \"parse.wasm\"\n";

fn least() -> ComponentManifest {
    ComponentManifest::parse(LEAST, "Component.toml").unwrap()
}

/// The manifest of the least text with `more` after it.
fn with(more: &str) -> ComponentManifest {
    ComponentManifest::parse(&format!("{LEAST}{more}"), "Component.toml").unwrap()
}

/// The lines of the error of `text`, without the file's name.
fn refusal(text: &str) -> Vec<String> {
    let error = ComponentManifest::parse(text, "C").expect_err(text);
    let strip = |line: &str| line.strip_prefix("C:").expect("each line names the file").to_owned();
    error.to_string().lines().map(strip).collect()
}

/// Refuses the least text with `more` on lines 5 and following, with exactly these problems.
fn refuses(more: &str, expected: &[&str]) {
    assert_eq!(refusal(&format!("{LEAST}{more}")), expected, "{more}");
}

#[test]
fn the_least_manifest_has_the_documented_defaults() {
    let manifest = least();
    assert_eq!(manifest.version, Version::new(0, 1, 0));
    assert_eq!(manifest.description, "");
    assert_eq!(manifest.accepts, Accepts::All);
    assert_eq!(manifest.capabilities, Capabilities::default());
    let limits = Limits {
        memory_bytes_max: 16 * 1024 * 1024,
        table_elements_max: 10_000,
        cpu_max: Duration::from_secs(1),
        deadline: Duration::from_secs(30),
        fuel_max: None,
        payload_bytes_max: 1024 * 1024,
    };
    assert_eq!(manifest.limits, limits);
}

#[test]
fn a_full_manifest_is_read_in_every_key() {
    let manifest = with(
        r#"description = "splits lines"
        [messages]
        accepts = ["raw", "json", 0x51, 513, 0x300000]
        [limits]
        memory_bytes_max = "32MiB"
        table_elements_max = 1
        cpu_ms_max = 2
        deadline_ms = 3
        fuel_max = 1_000_000
        payload_bytes_max = 64
        [capabilities]
        send = ["enrich", "ns/tally", "*", "ns/*"]
        publish = ["alert.*"]
        subscribe = ["log.#"]
        log = true
        clock = true
        random = false
        wasi = true"#,
    );
    assert_eq!(manifest.description, "splits lines");
    let codecs = vec![Codec::RAW, Codec::JSON, Codec::CBOR, Codec::MESSAGEPACK, Codec(0x30_0000)];
    assert_eq!(manifest.accepts, Accepts::Only(codecs));
    assert!(manifest.accepts.reads(Codec::JSON) && !manifest.accepts.reads(Codec::PROTOBUF));
    let limits = Limits {
        memory_bytes_max: 32 << 20,
        table_elements_max: 1,
        cpu_max: Duration::from_millis(2),
        deadline: Duration::from_millis(3),
        fuel_max: Some(1_000_000),
        payload_bytes_max: 64,
    };
    assert_eq!(manifest.limits, limits);
    let capabilities = &manifest.capabilities;
    assert_eq!(
        capabilities.send.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["enrich", "ns/tally", "*", "ns/*"]
    );
    assert_eq!(capabilities.publish, [TopicPattern::parse("alert.*").unwrap()]);
    assert_eq!(capabilities.subscribe, [TopicPattern::parse("log.#").unwrap()]);
    assert_eq!(capabilities.services, BTreeSet::from([Service::Log, Service::Clock, Service::Wasi]));
}

#[test]
fn a_misspelt_word_is_refused_with_the_nearest_right_one() {
    refuses(
        "[capabilites]\nlog = true\n",
        &["5:2: unknown section `capabilites`; did you mean `capabilities`?"],
    );
    refuses(
        "[limits]\nmemory_byte_max = 1\n",
        &["6:1: unknown key `memory_byte_max` in [limits]; did you mean `memory_bytes_max`?"],
    );
    refuses("Wasm = \"x\"\n", &["5:1: unknown key `Wasm` in [component]; did you mean `wasm`?"]);
    refuses("[filesystem]\n", &["5:2: unknown section `filesystem`"]);
    refuses("[limits]\nx.y = 1\n", &["6:1: unknown key `x` in [limits]"]);
}

#[test]
fn a_missing_key_is_told_at_its_section_and_a_misspelt_one_only_once() {
    assert_eq!(refusal(""), ["1:1: section [component] is missing"]);
    assert_eq!(
        refusal("\n[component]\nname = \"a\"\n"),
        ["2:1: key `version` is missing in [component]", "2:1: key `wasm` is missing in [component]"]
    );
    assert_eq!(
        refusal("[component]\nname = \"a\"\nverson = \"1.0.0\"\nwasm = \"a\"\n"),
        ["3:1: unknown key `verson` in [component]; did you mean `version`?"]
    );
}

#[test]
fn several_problems_are_told_together_in_the_order_of_the_text() {
    let text =
        "[component]\nname = \"A\"\nversion = 1\nwasm = \"../x\"\ncolour = 1\n[limits]\nfuel_max = 0\n";
    assert_eq!(
        refusal(text),
        [
            "2:8: `name` is `A`: a name is 1 to 64 of a-z, 0-9 and `-`, beginning with a letter or a digit",
            "3:11: `version` is a whole number, not a text",
            "4:8: `wasm` is `../x`: a path here is relative, at most 1024 bytes, of plain parts joined by `/`: \
             no `..`, `.`, `\\` or control characters",
            "5:1: unknown key `colour` in [component]",
            "7:12: `fuel_max` is 0, not within 1 to 1000000000000000",
        ]
    );
}

#[test]
fn what_toml_refuses_has_a_place_too() {
    refuses("name = \"again\"\n", &["5:1: duplicate key at `name`"]);
    refuses("[component]\n", &["5:2: duplicate key at `component`"]);
    refuses("[[component]]\n", &["5:3: duplicate key at `component`"]);
    refuses("name.x = 1\n", &["5:1: cannot extend value of type string with a dotted key at `name`"]);
    assert!(refusal(&format!("{LEAST}x = \n"))[0].starts_with("5:"));
    assert!(refusal("[component\n")[0].starts_with("1:"));
}

#[test]
fn a_wrong_type_is_told_for_every_kind_of_key() {
    let number = "is a whole number, not";
    refuses("[messages]\naccepts = 1\n", &[&format!("6:11: `accepts` {number} a list")]);
    refuses("[messages]\naccepts = [1.5]\n", &["6:12: `accepts` is a number with a fraction, not a text"]);
    refuses("[capabilities]\nlog = 1\n", &[&format!("6:7: `log` {number} true or false")]);
    refuses("[capabilities]\nsend = [1]\n", &[&format!("6:9: `send` {number} a text")]);
    refuses("[limits]\ncpu_ms_max = \"1\"\n", &["6:14: `cpu_ms_max` is a text, not a whole number"]);
    refuses(
        "[limits]\nmemory_bytes_max = true\n",
        &["6:20: `memory_bytes_max` is true or false, not a size such as \"16MiB\""],
    );
    assert_eq!(refusal("component = 1\n")[0], "1:13: `component` is a whole number, not a table");
    assert_eq!(refusal("component = []\n")[0], "1:13: `component` is a list, not a table");
}

#[test]
fn a_size_at_the_bound_is_read_and_one_past_it_is_refused() {
    let key = "payload_bytes_max";
    for (text, bytes) in [
        ("1", 1),
        ("\"1KiB\"", 1024),
        ("\"2 MiB\"", 2 << 20),
        ("\"64MiB\"", 64 << 20),
        ("67108864", 64 << 20),
    ] {
        assert_eq!(with(&format!("[limits]\n{key} = {text}\n")).limits.payload_bytes_max, bytes, "{text}");
    }
    for (text, found) in [("67108865", "67108865"), ("0", "0"), ("-1", "-1"), ("\"65MiB\"", "68157440")] {
        let expected = format!("6:21: `{key}` is {found}, not within 1B to 64MiB");
        refuses(&format!("[limits]\n{key} = {text}\n"), &[&expected]);
    }
    for text in ["16MB", "MiB", "1.5MiB", "-1", "1TiB", "", "99999999999999999999", "18446744073709551615KiB"]
    {
        let refused = refusal(&format!("{LEAST}[limits]\n{key} = \"{text}\"\n"));
        assert!(refused[0].contains("which is not a size; write a whole number of bytes"), "{refused:?}");
    }
}

#[test]
fn every_limit_has_a_hard_maximum() {
    let limits = [
        ("memory_bytes_max", 64 << 10, 4 << 30),
        ("table_elements_max", 1, 100_000),
        ("cpu_ms_max", 1, 600_000),
        ("deadline_ms", 1, 3_600_000),
        ("fuel_max", 1, 1_000_000_000_000_000),
        ("payload_bytes_max", 1, 64 << 20),
    ];
    for (key, least, most) in limits {
        let text = |value: u64| format!("{LEAST}[limits]\n{key} = {value}\n");
        for value in [least, most] {
            assert!(ComponentManifest::parse(&text(value), "C").is_ok(), "{key} = {value}");
        }
        for value in [least - 1, most + 1] {
            assert!(refusal(&text(value))[0].contains("not within"), "{key} = {value}");
        }
    }
}

#[test]
fn a_number_too_large_to_read_is_refused() {
    let digits = "9".repeat(50);
    refuses(
        &format!("[limits]\nfuel_max = {digits}\n"),
        &["6:12: `fuel_max` is too large to read, not within 1 to 1000000000000000"],
    );
}

#[test]
fn a_name_is_safe_wherever_it_is_shown_or_typed() {
    for good in ["a", "0", "a-b", "a-", &"x".repeat(64)] {
        assert_eq!(ComponentName::parse(good).unwrap().as_str(), good);
    }
    for bad in
        ["", "-a", "A", "a_b", "a b", "a/b", "a.b", "a\n", "é", "..", &"x".repeat(65), "a\u{202e}", "а"]
    {
        assert!(ComponentName::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_path_stays_below_its_file() {
    for good in ["a", "a/b.wasm", "a b", "...", ".hidden", &"x".repeat(1024)] {
        assert_eq!(RelativePath::parse(good).unwrap().as_str(), good);
    }
    for bad in
        ["", "/a", "a/", "a//b", "..", "a/../b", ".", "./a", "a/.", "a\\b", "a\0b", "a\nb", &"x".repeat(1025)]
    {
        assert!(RelativePath::parse(bad).is_err(), "{bad:?}");
        assert_eq!(RelativePath::parse_folder(bad).is_ok(), bad == ".", "{bad:?}");
    }
}

#[test]
fn a_codec_that_nobody_registered_is_refused() {
    for bad in ["\"yaml\"", "\"\"", "0", "-1", "0x2fffff", "0x400000", "4294967296", "\"RAW\""] {
        let refused = refusal(&format!("{LEAST}[messages]\naccepts = [{bad}]\n"));
        assert!(refused[0].contains("a codec is raw, cbor,"), "{refused:?}");
    }
    assert!(refusal(&format!("{LEAST}[messages]\naccepts = []\n"))[0].contains("receives nothing"));
}

#[test]
fn a_description_and_a_version_have_bounds() {
    let description = |text: &str| format!("{LEAST}description = \"{text}\"\n");
    assert!(ComponentManifest::parse(&description(&"é".repeat(128)), "C").is_ok());
    assert_eq!(refusal(&description(&"x".repeat(257))).len(), 1);
    assert_eq!(refusal(&description("red \\u001b[31m")).len(), 1);
    for bad in ["1", "1.0", "1.0.0.0", "01.0.0", "v1.0.0", "", "1.0.0-99999999999999999999999"] {
        let text = LEAST.replace("0.1.0", bad);
        assert_eq!(ComponentManifest::parse(&text, "C").is_ok(), bad.starts_with("1.0.0-"), "{bad}");
    }
    let long = format!("1.0.0-{}", "a".repeat(59));
    assert_eq!(refusal(&LEAST.replace("0.1.0", &long)).len(), 1);
}

#[test]
fn a_byte_order_mark_and_crlf_change_neither_the_value_nor_a_place() {
    let dressed = |text: &str| format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(ComponentManifest::parse(&dressed(LEAST), "C").unwrap(), least());
    let wrong = format!("colour = 1\n{LEAST}");
    assert_eq!(refusal(&dressed(&wrong)), refusal(&wrong));
    assert_eq!(refusal(&wrong), ["1:1: unknown section `colour`"]);
}

#[test]
fn columns_count_characters() {
    refuses("\"é\" = 1 # é\n'é' = 1\n", &["6:1: duplicate key at `'é'`"]);
    let text = format!("{LEAST}[messages]\naccepts = [\"é\", 1]\n");
    assert!(refusal(&text)[1].starts_with("6:17: "), "{:?}", refusal(&text));
}

#[test]
fn foreign_text_cannot_reach_the_terminal_raw_or_at_length() {
    let refused = refusal(&format!("{LEAST}\"\\u001b[2J\\u202e{}\" = 1\n", "x".repeat(1000)));
    assert!(refused[0].contains("`\\u{1b}[2J\\u{202e}xxx"), "{refused:?}");
    assert!(refused[0].chars().count() < 150 && !refused[0].contains('\u{1b}'), "{refused:?}");
}

#[test]
fn very_many_problems_are_counted_and_not_all_told() {
    let unknown: String = (0..60).map(|number| format!("x{number} = 1\n")).collect();
    let refused = refusal(&format!("{LEAST}{unknown}"));
    assert_eq!((refused.len(), refused[50].as_str()), (51, " and 10 more problems"));
}

#[test]
fn a_hostile_text_is_refused_and_not_suffered() {
    let nested = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let dotted = format!("{}x = 1", "a.".repeat(100_000));
    let header = format!("[{}x]", "a.".repeat(100_000));
    let tables = format!("x = {}", "{a = ".repeat(100_000));
    let patterns = format!("{LEAST}[capabilities]\nsend = [{}]\n", "\"a\",".repeat(PATTERNS_MAX + 1));
    for text in [nested, dotted, header, tables, patterns, "x".repeat(document::TEXT_BYTES_MAX + 1)] {
        assert!(!refusal(&text).is_empty());
    }
    let longest = format!("{LEAST}#{}", "x".repeat(document::TEXT_BYTES_MAX - LEAST.len() - 1));
    assert!(ComponentManifest::parse(&longest, "C").is_ok(), "a text at the bound is read");
}

#[test]
fn a_target_pattern_is_matched_part_by_part() {
    let matches = |pattern: &str, namespace: &str, name: &str| {
        TargetPattern::parse(pattern).unwrap().matches("shop", namespace, name)
    };
    for (pattern, namespace, name, expected) in [
        ("tally", "shop", "tally", true),
        ("tally", "other", "tally", false),
        ("tally", "shop", "tally-2", false),
        ("*", "shop", "tally", true),
        ("*", "other", "tally", false),
        ("other/*", "other", "tally", true),
        ("other/*", "others", "tally", false),
        ("*/tally", "other", "tally", true),
        ("*/tally", "other", "parse", false),
        ("*/*", "other", "parse", true),
        ("shop/tally", "shop", "tally", true),
    ] {
        assert_eq!(matches(pattern, namespace, name), expected, "{pattern} {namespace}/{name}");
    }
    for bad in ["", "/", "a/", "/a", "a/b/c", "a*", "**", "#", "a.b", "A", "a#0", "-a", "*/-a", " a"] {
        assert!(TargetPattern::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_topic_pattern_is_matched_word_by_word() {
    let matches = |pattern: &str, topic: &str| TopicPattern::parse(pattern).unwrap().matches(topic);
    for (pattern, topic, expected) in [
        ("alert", "alert", true),
        ("alert", "alerts", false),
        ("alert", "alert.high", false),
        ("alert.*", "alert.high", true),
        ("alert.*", "alert", false),
        ("alert.*", "alert.high.now", false),
        ("*.high", "alert.high", true),
        ("alert.#", "alert", true),
        ("alert.#", "alert.high.now", true),
        ("alert.#", "alerts.high", false),
        ("#", "alert.high", true),
        ("*.#", "alert", true),
        ("#", "", false),
        ("#", "a..b", false),
        ("#", ".a", false),
        ("#", "a.", false),
        ("*", "*", false),
        ("a.#", "a.#", false),
    ] {
        assert_eq!(matches(pattern, topic), expected, "{pattern} {topic}");
    }
    for bad in ["", ".", "a.", ".a", "a..b", "#.a", "a#", "a.#.b", "a*", "**", "a b", "é", "a/b"] {
        assert!(TopicPattern::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_topic_at_the_bound_is_one_and_one_past_it_is_not() {
    let words = |count: usize| vec!["a"; count].join(".");
    assert!(Topic::parse(&words(16)).is_ok() && Topic::parse(&words(17)).is_err());
    assert!(TopicPattern::parse(&words(16)).is_ok() && TopicPattern::parse(&words(17)).is_err());
    assert!(TopicPattern::parse("#").unwrap().matches(&words(16)));
    assert!(!TopicPattern::parse("#").unwrap().matches(&words(17)));
    assert!(Topic::parse(&"a".repeat(255)).is_ok() && Topic::parse(&"a".repeat(256)).is_err());
    assert!(TopicPattern::parse(&"a".repeat(256)).is_err());
    for bad in ["*", "a.*", "a.#", "", "a b"] {
        assert!(Topic::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn nothing_is_permitted_by_default_and_only_what_is_listed_otherwise() {
    let nothing = Capabilities::default();
    assert!(!nothing.may_send("shop", "shop", "tally") && !nothing.may_publish("alert"));
    assert!(Service::ALL.into_iter().all(|service| !nothing.may_use(service)));
    let some = with(
        "[capabilities]\nsend = [\"tally\"]\npublish = [\"alert.*\"]\nsubscribe = [\"log.#\"]\nclock = true\n",
    );
    let some = some.capabilities;
    assert!(some.may_send("shop", "shop", "tally") && !some.may_send("shop", "shop", "parse"));
    assert!(some.may_publish("alert.high") && !some.may_publish("alert"));
    let subscribe = |pattern: &str| some.may_subscribe(&TopicPattern::parse(pattern).unwrap());
    assert!(subscribe("log.a") && subscribe("log.*") && subscribe("log.#"));
    assert!(!subscribe("#") && !subscribe("*.a") && !subscribe("logs.a"));
    let used: Vec<Service> = Service::ALL.into_iter().filter(|service| some.may_use(*service)).collect();
    assert_eq!(used, [Service::Clock]);
}

#[test]
fn a_service_that_was_not_requested_cannot_be_named_by_another_key() {
    for service in Service::ALL {
        let manifest = with(&format!("[capabilities]\n{} = true\n", service.key()));
        assert_eq!(manifest.capabilities.services, BTreeSet::from([service]));
    }
}

/// Texts that look like the real thing often enough to reach every reader.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[\\[\\]{}=,.\"'#\n\r \\\\]{1,4}",
        "\\PC{0,8}",
        any::<char>().prop_map(String::from),
        proptest::sample::select(vec![
            "[component]\n",
            "[limits]\n",
            "[capabilities]\n",
            "[messages]\n",
            "[[component]]\n",
            "name",
            "version",
            "wasm",
            "send",
            "log",
            "accepts",
            "fuel_max",
            "memory_bytes_max",
            " = ",
            "\"a\"",
            "[\"a\"]",
            "true",
            "1",
            "-1",
            "1.5",
            "nan",
            "1979-05-27",
            "\"16MiB\"",
            "{ a = 1 }",
            "\n",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn any_topic_pattern() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec!["a", "b", "*"]);
    (proptest::collection::vec(word, 1..4), any::<bool>())
        .prop_map(|(words, rest)| format!("{}{}", words.join("."), if rest { ".#" } else { "" }))
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any_text()) {
        for text in [text.clone(), format!("{LEAST}{text}"), format!("{LEAST}[limits]\n{text}")] {
            if let Err(error) = ComponentManifest::parse(&text, "C") {
                let lines = text.lines().count().max(1) + 1;
                prop_assert!(!error.problems.is_empty());
                prop_assert!(error.problems.iter().all(|problem| problem.at.line as usize <= lines));
                prop_assert!(!error.to_string().chars().any(|c| c.is_control() && c != '\n'));
            }
        }
    }

    #[test]
    fn a_pattern_that_covers_another_matches_all_that_it_matches(
        wide in any_topic_pattern(),
        narrow in any_topic_pattern(),
        topic in "[ab](\\.[ab]){0,4}",
    ) {
        let (wide, narrow) = (TopicPattern::parse(&wide).unwrap(), TopicPattern::parse(&narrow).unwrap());
        prop_assert!(wide.covers(&wide));
        if wide.covers(&narrow) && narrow.matches(&topic) {
            prop_assert!(wide.matches(&topic));
        }
    }

    #[test]
    fn a_pattern_reads_back_as_it_is_shown(text in any_topic_pattern(), target in "([ab*]/)?[ab*]") {
        prop_assert_eq!(TopicPattern::parse(&text).unwrap().to_string(), text);
        prop_assert_eq!(TargetPattern::parse(&target).unwrap().to_string(), target);
    }

    #[test]
    fn a_target_that_covers_another_matches_all_that_it_matches(
        wide in "([ab*]/)?[ab*]",
        narrow in "([ab*]/)?[ab*]",
        namespace in "[ab]",
        name in "[ab]",
    ) {
        let (wide, narrow) = (TargetPattern::parse(&wide).unwrap(), TargetPattern::parse(&narrow).unwrap());
        if wide.covers("a", &narrow) && narrow.matches("a", &namespace, &name) {
            prop_assert!(wide.matches("a", &namespace, &name));
        }
        // With two names and two namespaces to choose from, covering what is never matched shows too.
        let all = ["a", "b", "c"].iter().flat_map(|namespace| ["a", "b", "c"].map(|name| (*namespace, name)));
        let every = all.into_iter().all(|(namespace, name)| {
            !narrow.matches("a", namespace, name) || wide.matches("a", namespace, name)
        });
        prop_assert_eq!(wide.covers("a", &narrow), every);
    }
}
