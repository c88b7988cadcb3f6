//! The laws of `airssys.toml`: what is read, what is refused, and what becomes of it with its manifests.

use airssys_wasm::manifest::{Capabilities, ComponentManifest, Limits, Service};
use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy as AnyOf;

use super::*;

const LEAST: &str = "[application]\nname = \"shop\"\n[[component]]\nname = \"parse\"\npath = \"parse\"\n";

fn parse(text: &str) -> Application {
    Application::parse(text, "airssys.toml").unwrap()
}

/// A manifest with `more` after its first section.
fn manifest(more: &str) -> ComponentManifest {
    let text = format!("[component]\nname = \"any\"\nversion = \"0.1.0\"\nwasm = \"any.wasm\"\n{more}");
    ComponentManifest::parse(&text, "Component.toml").unwrap()
}

/// The plan of the text whose components all have a manifest of `more`.
fn plan_of(text: &str, more: &str) -> Result<Plan, DocumentError> {
    let application = parse(text);
    let manifests = application.folders().map(|_| manifest(more)).collect();
    resolve(application, manifests)
}

fn lines(error: &DocumentError) -> Vec<String> {
    let strip = |line: &str| line.strip_prefix("airssys.toml:").expect("each line names the file").to_owned();
    error.to_string().lines().map(strip).collect()
}

fn refusal(text: &str) -> Vec<String> {
    lines(&Application::parse(text, "airssys.toml").expect_err(text))
}

/// Refuses the least text with `more` on lines 6 and following, with exactly these problems.
fn refuses(more: &str, expected: &[&str]) {
    assert_eq!(refusal(&format!("{LEAST}{more}")), expected, "{more}");
}

/// The only component of a plan.
fn only(plan: &Plan) -> &ComponentPlan {
    match plan.children.as_slice() {
        [Child::Component(component)] => component,
        other => panic!("not one component: {other:?}"),
    }
}

/// The tree as text: `name(children)`.
fn tree(children: &[Child]) -> String {
    let show = |child: &Child| match child {
        Child::Supervisor(supervisor) => format!("{}({})", supervisor.name, tree(&supervisor.children)),
        Child::Component(component) => component.name.to_string(),
    };
    children.iter().map(show).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_least_application_has_the_documented_defaults() {
    let plan = plan_of(LEAST, "").unwrap();
    assert_eq!(plan.name.as_str(), "shop");
    let five_in_a_minute =
        Supervision { strategy: Strategy::OneForOne, intensity: 5, period: Duration::from_secs(60) };
    assert_eq!(plan.root, five_in_a_minute);
    assert!(plan.input.is_none() && plan.report.is_none() && plan.show.is_empty());
    let component = only(&plan);
    assert_eq!(component.restart, Restart::Permanent);
    assert_eq!(component.shutdown, Shutdown::After(Duration::from_secs(5)));
    assert_eq!(component.instances, 1);
    assert_eq!(component.mailbox, Mailbox { capacity: 1024, overflow: Overflow::Reject });
    assert_eq!(component.grants, Capabilities::default());
    assert_eq!(component.limits, component.manifest.limits);
}

#[test]
fn a_full_application_is_read_in_every_key() {
    let text = r##"
        [application]
        name = "shop"
        [root]
        strategy = "rest-for-one"
        intensity = 0
        period_s = 1
        [[supervisor]]
        name = "inner"
        parent = "outer"
        strategy = "one-for-all"
        intensity = 3
        period_s = 10
        restart = "transient"
        shutdown_ms = 100
        [[supervisor]]
        name = "outer"
        [[component]]
        name = "parse"
        path = "."
        supervisor = "inner"
        restart = "temporary"
        shutdown_ms = "brutal"
        instances = 3
        mailbox = { capacity = 2, overflow = "drop-oldest" }
        limits = { cpu_ms_max = 7, fuel_max = 9 }
        grants = { send = ["parse"], publish = ["alert.high"], subscribe = ["log.*"], log = true, clock = false }
        config = { zone = "UTC", "a b" = 1, flag = true }
        [input]
        to = "parse"
        line_bytes_max = "1KiB"
        in_flight = 2
        timeout_ms = 3
        [report]
        call = "parse"
        payload = "report"
        [show]
        topics = ["alert.#"]"##;
    let requested =
        "[capabilities]\nsend = [\"*\"]\npublish = [\"#\"]\nsubscribe = [\"log.#\"]\nlog = true\n";
    let plan = plan_of(text, requested).unwrap();
    assert_eq!(tree(&plan.children), "outer(inner(parse))");
    assert_eq!((plan.root.strategy, plan.root.intensity), (Strategy::RestForOne, 0));
    let [Child::Supervisor(outer)] = plan.children.as_slice() else { panic!("{plan:?}") };
    assert_eq!((outer.restart, outer.shutdown), (Restart::Permanent, Shutdown::Infinity));
    let [Child::Supervisor(inner)] = outer.children.as_slice() else { panic!("{outer:?}") };
    let supervision =
        Supervision { strategy: Strategy::OneForAll, intensity: 3, period: Duration::from_secs(10) };
    assert_eq!(inner.supervision, supervision);
    assert_eq!(
        (inner.restart, inner.shutdown),
        (Restart::Transient, Shutdown::After(Duration::from_millis(100)))
    );
    let [Child::Component(parse)] = inner.children.as_slice() else { panic!("{inner:?}") };
    assert_eq!((parse.restart, parse.shutdown, parse.instances), (Restart::Temporary, Shutdown::Brutal, 3));
    assert_eq!(parse.mailbox, Mailbox { capacity: 2, overflow: Overflow::DropOldest });
    assert_eq!((parse.limits.cpu_max, parse.limits.fuel_max), (Duration::from_millis(7), Some(9)));
    assert!(parse.grants.may_send("shop", "shop", "parse") && !parse.grants.may_send("shop", "shop", "x"));
    assert!(parse.grants.may_use(Service::Log) && !parse.grants.may_use(Service::Clock));
    let config = [("zone", "UTC"), ("a b", "1"), ("flag", "true")];
    assert_eq!(parse.config, config.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let input = plan.input.unwrap();
    assert_eq!((input.line_bytes_max, input.in_flight, input.timeout), (1024, 2, Duration::from_millis(3)));
    assert_eq!(plan.report.unwrap().payload, "report");
    assert_eq!(plan.show, [TopicPattern::parse("alert.#").unwrap()]);
}

#[test]
fn every_word_of_a_choice_is_read_and_no_other() {
    for (key, words) in [
        ("restart", vec!["permanent", "transient", "temporary"]),
        ("shutdown_ms", vec!["brutal", "infinity"]),
    ] {
        for word in words {
            parse(&format!("{LEAST}{key} = \"{word}\"\n"));
        }
    }
    for word in ["wait", "reject", "drop-oldest", "drop-newest"] {
        parse(&format!("{LEAST}mailbox.overflow = \"{word}\"\n"));
    }
    for word in ["one-for-one", "one-for-all", "rest-for-one"] {
        parse(&format!("{LEAST}[root]\nstrategy = \"{word}\"\n"));
    }
    refuses(
        "restart = \"permanant\"\n",
        &["6:11: `restart` is `permanant`, which is none of `permanent`, `transient`, `temporary`; \
           did you mean `permanent`?"],
    );
    refuses(
        "shutdown_ms = \"5s\"\n",
        &["6:15: `shutdown_ms` is `5s`, which is none of `brutal`, `infinity`"],
    );
    refuses("shutdown_ms = 0\n", &["6:15: `shutdown_ms` is 0, not within 1 to 3600000"]);
}

#[test]
fn children_start_in_the_order_of_the_file() {
    let text = r#"
        [[component]]
        name = "first"
        path = "a"
        [[supervisor]]
        name = "inner"
        parent = "outer"
        [[supervisor]]
        name = "outer"
        [[component]]
        name = "in-outer"
        path = "a"
        supervisor = "outer"
        [[component]]
        name = "in-inner"
        path = "a"
        supervisor = "inner"
        [[component]]
        name = "last"
        path = "a"
        supervisor = "shop"
        [application]
        name = "shop""#;
    assert_eq!(tree(&plan_of(text, "").unwrap().children), "first outer(inner(in-inner) in-outer) last");
}

#[test]
fn a_misspelt_word_is_refused_with_the_nearest_right_one() {
    refuses(
        "[[supervisor]]\nname = \"a\"\nstratgy = \"one-for-one\"\n",
        &["8:1: unknown key `stratgy` in [[supervisor]]; did you mean `strategy`?"],
    );
    refuses(
        "grant = { log = true }\n",
        &["6:1: unknown key `grant` in [[component]]; did you mean `grants`?"],
    );
    refuses(
        "grants = { logs = true }\n",
        &["6:12: unknown key `logs` in `grants` of [[component]]; did you mean `log`?"],
    );
    refuses("[inptu]\n", &["6:2: unknown section `inptu`; did you mean `input`?"]);
    refuses(
        "[supervisor]\nname = \"a\"\n",
        &["6:1: `supervisor` is a table, but there may be several; write `[[supervisor]]`"],
    );
    refuses("[[input]]\n", &["6:1: `input` is a list, not a table"]);
}

#[test]
fn what_is_missing_is_told_where_it_is_missing() {
    assert_eq!(refusal(""), ["1:1: section [application] is missing", "1:1: section [component] is missing"]);
    assert_eq!(
        refusal(&format!("{LEAST}[[component]]\n")),
        ["6:1: key `name` is missing in [[component]]", "6:1: key `path` is missing in [[component]]",]
    );
    refuses("[input]\n", &["6:1: key `to` is missing in [input]"]);
    refuses("[report]\npayload = \"x\"\n", &["6:1: key `call` is missing in [report]"]);
    refuses("[[supervisor]]\n", &["6:1: key `name` is missing in [[supervisor]]"]);
}

#[test]
fn a_name_that_nobody_has_is_refused_with_the_nearest() {
    refuses("supervisor = \"shp\"\n", &["6:14: unknown supervisor `shp`; did you mean `shop`?"]);
    refuses("[[supervisor]]\nname = \"a\"\nparent = \"bcd\"\n", &["8:10: unknown supervisor `bcd`"]);
    refuses(
        "grants = { send = [\"pars\", \"shop/pasre\"] }\n",
        &[
            "6:20: unknown component `pars`; did you mean `parse`?",
            "6:28: unknown component `pasre`; did you mean `parse`?",
        ],
    );
    refuses("[input]\nto = \"parser\"\n", &["7:6: unknown component `parser`; did you mean `parse`?"]);
    refuses("[report]\ncall = \"x\"\n", &["7:8: unknown component `x`"]);
    // Another application's names, and patterns, are not for this file to know.
    parse(&format!("{LEAST}grants = {{ send = [\"other/x\", \"*\", \"*/x\"] }}\n"));
}

#[test]
fn a_name_is_given_once_among_all_children() {
    refuses(
        "[[component]]\nname = \"parse\"\npath = \"b\"\n",
        &["7:8: `parse` is the name of another child, on line 4"],
    );
    refuses("[[supervisor]]\nname = \"parse\"\n", &["7:8: `parse` is the name of another child, on line 4"]);
    refuses("[[supervisor]]\nname = \"shop\"\n", &["7:8: `shop` is the name of the root supervisor"]);
    parse(&LEAST.replace("\"parse\"\npath", "\"shop\"\npath"));
}

#[test]
fn a_circle_of_supervisors_is_refused_once() {
    let supervisors = |parents: &[(&str, &str)]| -> String {
        let entry = |(name, parent): &(&str, &str)| {
            format!("[[supervisor]]\nname = \"{name}\"\nparent = \"{parent}\"\n")
        };
        parents.iter().map(entry).collect()
    };
    refuses(&supervisors(&[("a", "a")]), &["8:10: supervisor `a` is below itself: a under a"]);
    refuses(
        &supervisors(&[("a", "b"), ("b", "c"), ("c", "a")]),
        &["8:10: supervisor `a` is below itself: a under b under c under a"],
    );
    refuses(
        &supervisors(&[("out", "a"), ("a", "b"), ("b", "a")]),
        &["11:10: supervisor `a` is below itself: a under b under a"],
    );
    parse(&format!("{LEAST}{}", supervisors(&[("a", "b"), ("b", "c"), ("c", "shop")])));
}

#[test]
fn a_number_at_the_bound_is_read_and_one_past_it_is_refused() {
    let component = |key: &str, value: u64| format!("{LEAST}{key} = {value}\n");
    let section =
        |head: &'static str| move |key: &str, value: u64| format!("{LEAST}{head}\n{key} = {value}\n");
    let (root, input) = (section("[root]"), section("[input]\nto = \"parse\""));
    type Text<'t> = &'t dyn Fn(&str, u64) -> String;
    let bounds: [(Text<'_>, &str, u64, u64); 8] = [
        (&component, "instances", 1, 1000),
        (&component, "shutdown_ms", 1, 3_600_000),
        (&component, "mailbox.capacity", 1, 100_000),
        (&root, "intensity", 0, 100_000),
        (&root, "period_s", 1, 86_400),
        (&input, "line_bytes_max", 1, 16 << 20),
        (&input, "in_flight", 1, 65_536),
        (&input, "timeout_ms", 1, 3_600_000),
    ];
    for (text, key, least, most) in bounds {
        parse(&text(key, least));
        parse(&text(key, most));
        for value in [least.checked_sub(1), Some(most + 1)].into_iter().flatten() {
            assert!(refusal(&text(key, value))[0].contains("not within"), "{key} = {value}");
        }
    }
}

#[test]
fn tables_and_instances_are_bounded_in_number() {
    let components = |count: usize, more: &str| -> String {
        let entry = |number| format!("[[component]]\nname = \"c{number}\"\npath = \"c\"\n{more}");
        let entries: String = (0..count).map(entry).collect();
        format!("[application]\nname = \"shop\"\n{entries}")
    };
    parse(&components(COMPONENTS_MAX, ""));
    assert!(refusal(&components(COMPONENTS_MAX + 1, ""))[0].contains("`component` has 1001 entries"));
    parse(&components(100, "instances = 1000\n"));
    assert!(refusal(&components(101, "instances = 1000\n"))[0].contains("more than 100000 instances"));
}

#[test]
fn config_takes_plain_values_and_is_bounded() {
    for (value, kind) in [("1.5", "a number with a fraction"), ("[1]", "a list"), ("{}", "a table")] {
        refuses(
            &format!("config = {{ a = {value} }}\n"),
            &[&format!("6:16: `a` is {kind}, not a text, a whole number, true or false")],
        );
    }
    let entries =
        |count: usize| -> String { (0..count).map(|number| format!("config.k{number} = 1\n")).collect() };
    parse(&format!("{LEAST}{}", entries(256)));
    assert!(refusal(&format!("{LEAST}{}", entries(257)))[0].contains("257 entries"));
    parse(&format!("{LEAST}config.{} = 1\n", "k".repeat(64)));
    assert!(refusal(&format!("{LEAST}config.{} = 1\n", "k".repeat(65)))[0].contains("is not 1 to 64 bytes"));
    refuses("config.\"\" = 1\n", &["6:8: config key `` is not 1 to 64 bytes"]);
    parse(&format!("{LEAST}config.k = \"{}\"\n", "v".repeat(65_536)));
    assert!(
        refusal(&format!("{LEAST}config.k = \"{}\"\n", "v".repeat(65_537)))[0].contains("is longer than")
    );
}

#[test]
fn a_grant_beyond_the_request_is_refused_where_it_is_written() {
    let grants = "grants = { send = [\"parse\"], publish = [\"a.b\"], subscribe = [\"c.#\"], log = true, wasi = true }\n";
    let text = format!("{LEAST}{grants}");
    let beyond = |what: &str| format!("{what} is granted, but Component.toml does not request it");
    let error = plan_of(&text, "").unwrap_err();
    assert_eq!(
        lines(&error),
        [
            beyond("6:20: sending to `parse`"),
            beyond("6:41: publishing to `a.b`"),
            beyond("6:62: subscribing to `c.#`"),
            beyond("6:76: `log`"),
            beyond("6:89: `wasi`"),
        ]
    );
    let requested = "[capabilities]\nsend = [\"shop/parse\"]\npublish = [\"a.*\"]\nsubscribe = [\"#\"]\nlog = true\nwasi = true\n";
    let plan = plan_of(&text, requested).unwrap();
    let granted = &only(&plan).grants;
    assert!(
        granted.may_publish("a.b") && !granted.may_publish("a.c"),
        "the grant is narrower than the request"
    );
    // One pattern of the request has to cover the grant: a star is not covered by a name.
    let star = format!("{LEAST}grants = {{ send = [\"*\"] }}\n");
    assert_eq!(lines(&plan_of(&star, requested).unwrap_err()), [beyond("6:20: sending to `*`")]);
}

#[test]
fn what_is_requested_and_not_granted_is_not_there() {
    let plan = plan_of(LEAST, "[capabilities]\nsend = [\"*\"]\nlog = true\n").unwrap();
    assert_eq!(only(&plan).grants, Capabilities::default());
}

#[test]
fn a_limit_is_tightened_and_never_widened() {
    let limits = "limits = { memory_bytes_max = \"1MiB\", table_elements_max = 10, cpu_ms_max = 10, deadline_ms = 10, \
                  fuel_max = 10, payload_bytes_max = 10 }\n";
    let text = format!("{LEAST}{limits}");
    let chosen = |more: u64, memory: &str| {
        format!(
            "[limits]\nmemory_bytes_max = \"{memory}\"\ntable_elements_max = {more}\ncpu_ms_max = {more}\n\
             deadline_ms = {more}\nfuel_max = {more}\npayload_bytes_max = {more}\n"
        )
    };
    let limits = Limits {
        memory_bytes_max: 1 << 20,
        table_elements_max: 10,
        cpu_max: Duration::from_millis(10),
        deadline: Duration::from_millis(10),
        fuel_max: Some(10),
        payload_bytes_max: 10,
    };
    for more in ["", &chosen(10, "1MiB"), &chosen(11, "2MiB")] {
        assert_eq!(only(&plan_of(&text, more).unwrap()).limits, limits, "{more}");
    }
    let refused = lines(&plan_of(&text, &chosen(9, "960KiB")).unwrap_err());
    assert_eq!(refused.len(), 6, "{refused:?}");
    assert_eq!(
        refused[0],
        "6:31: `memory_bytes_max` is 1MiB, but Component.toml has 960KiB: an application may only tighten a limit"
    );
}

#[test]
fn a_line_that_is_let_in_fits_the_component_that_gets_it() {
    let text = |line: u64| format!("{LEAST}[input]\nto = \"parse\"\nline_bytes_max = {line}\n");
    let manifest = "[limits]\npayload_bytes_max = 100\n";
    assert!(plan_of(&text(100), manifest).is_ok());
    assert_eq!(
        lines(&plan_of(&text(101), manifest).unwrap_err()),
        [
            "7:6: lines of 101 bytes are let in, but `parse` takes payloads of at most 100; lower `line_bytes_max` of [input]",
        ]
    );
}

#[test]
fn a_folder_stays_below_the_file() {
    for bad in ["..", "/a", "a/../..", "", "a//b"] {
        let text = LEAST.replace("path = \"parse\"", &format!("path = \"{bad}\""));
        assert!(refusal(&text)[0].starts_with("5:8: `path` is"), "{bad}");
    }
}

#[test]
fn the_example_grants_all_that_its_components_request_and_no_more() {
    macro_rules! example {
        ($file:literal) => {
            include_str!(concat!("../../../../examples/access-log/", $file))
        };
    }
    let application = parse(example!("airssys.toml"));
    let folders: Vec<&str> = application.folders().map(RelativePath::as_str).collect();
    assert_eq!(folders, ["alert", "tally", "enrich", "parse"]);
    let manifests = [
        example!("alert/Component.toml"),
        example!("tally/Component.toml"),
        example!("enrich/Component.toml"),
        example!("parse/Component.toml"),
    ];
    let manifests = manifests.map(|text| ComponentManifest::parse(text, "Component.toml").unwrap());
    let plan = resolve(application, manifests.to_vec()).unwrap();
    assert_eq!(tree(&plan.children), "counting(alert tally) reading(enrich parse)");
    for child in &plan.children {
        let Child::Supervisor(supervisor) = child else { panic!("{child:?}") };
        for child in &supervisor.children {
            let Child::Component(component) = child else { panic!("{child:?}") };
            assert_eq!(component.grants, component.manifest.capabilities, "{}", component.name);
        }
    }
}

#[test]
fn the_files_that_the_manual_shows_are_read() {
    let manual = include_str!("../../../../docs/manifest.md");
    let shown = |block: &'static str| block.split_once("```").map(|(text, _)| text);
    let shown: Vec<&str> = manual.split("```toml\n").skip(1).filter_map(shown).collect();
    let [component, application] = shown.as_slice() else { panic!("two files: {shown:?}") };
    let manifest = ComponentManifest::parse(component, "Component.toml").unwrap();
    let application = parse(application);
    let manifests = application.folders().map(|_| manifest.clone()).collect();
    resolve(application, manifests).unwrap();
}

fn any_text() -> impl AnyOf<Value = String> {
    let words = vec![
        "[application]\n",
        "[root]\n",
        "[[supervisor]]\n",
        "[[component]]\n",
        "[input]\n",
        "[report]\n",
        "[show]\n",
        "name = \"a\"\n",
        "name = \"b\"\n",
        "path = \"a\"\n",
        "parent = \"a\"\n",
        "parent = \"b\"\n",
        "supervisor = \"b\"\n",
        "mailbox = {}\n",
        "mailbox.capacity = 1\n",
        "limits.fuel_max = 1\n",
        "grants.send = [\"a\"]\n",
        "grants.log = true\n",
        "config.a = 1\n",
        "config = 1\n",
        "to = \"a\"\n",
        "call = \"b\"\n",
        "topics = [\"#\"]\n",
        "shutdown_ms = 1\n",
        "instances = 1000\n",
        "strategy = \"x\"\n",
        "= ",
    ];
    let piece = prop_oneof![
        8 => proptest::sample::select(words).prop_map(str::to_owned),
        1 => "\\PC{0,8}",
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in any_text()) {
        for text in [text.clone(), format!("{LEAST}{text}")] {
            match Application::parse(&text, "A") {
                Err(error) => prop_assert!(!error.problems.is_empty()),
                Ok(application) => {
                    let count = application.folders().count();
                    let supervisors = application.supervisors.len();
                    let manifests = vec![manifest("[capabilities]\nsend = [\"*/*\"]\nlog = true\n"); count];
                    let plan = resolve(application, manifests).expect("all is requested");
                    let (in_tree, below) = size(&plan.children);
                    prop_assert_eq!((in_tree, below), (count, supervisors), "nobody is left out of the tree");
                }
            }
        }
    }
}

/// How many components and supervisors there are.
fn size(children: &[Child]) -> (usize, usize) {
    children.iter().fold((0, 0), |(components, supervisors), child| match child {
        Child::Component(_) => (components + 1, supervisors),
        Child::Supervisor(supervisor) => {
            let below = size(&supervisor.children);
            (components + below.0, supervisors + below.1 + 1)
        }
    })
}
