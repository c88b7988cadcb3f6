//! Reading a log record by record: near its end, while it is written, and where it is broken.

use std::fs;
use std::time::Duration;

use airssys_osl::audit::{
    AccessLike, AuditError, AuditOptions, Durability, Export, Flaw, Query, Reader, Record, verify,
};
use airssys_osl::{Access, Gate, Operation, Root, Subject};

use crate::audit::{SMALL, gate, gate_by, records, segments, tell};
use crate::observe::{Wants, does};
use crate::reload::until;
use crate::signed::rechain;

fn open(log: &std::path::Path) -> Root {
    Root::open(log).unwrap()
}

fn numbers(reader: Reader) -> Vec<u64> {
    reader.map(|record| record.unwrap().seq()).collect()
}

#[test]
fn the_newest_records_are_found_over_segments() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    tell(&gate(&log, SMALL), 40);
    assert!(segments(&log).len() > 3);
    assert_eq!(numbers(Reader::new(open(&log))), (1..=80).collect::<Vec<_>>());
    for len in [0, 1, 7, 33, 80, 1_000] {
        let expected: Vec<u64> = (81 - u64::min(len, 80)..=80).collect();
        assert_eq!(numbers(Reader::last(open(&log), len).unwrap()), expected, "{len}");
    }
    // None there yet.
    let empty = Root::private(&folder.path().join("empty")).unwrap();
    assert_eq!(numbers(Reader::last(empty, 5).unwrap()), Vec::<u64>::new());
}

#[test]
fn a_reader_follows_a_log_that_is_written_over_its_segments() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let writer = gate(&log, AuditOptions { durability: Durability::Async, segment_bytes_max: 4096 });
    let mut reader = Reader::new(open(&log));
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..60 {
                tell(&writer, 5);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        until("all records come", || {
            seen.extend(reader.by_ref().map(|record| record.unwrap().seq()));
            seen.len() == 600
        });
    });
    assert_eq!(seen, (1..=600).collect::<Vec<_>>());
    assert!(reader.next().is_none() && reader.torn().unwrap().is_none());
    // What is removed behind it does not matter to it.
    segments(&log).iter().for_each(|path| fs::remove_file(path).unwrap());
    assert!(reader.next().is_none());
}

#[test]
fn a_line_without_an_end_is_waited_for_and_told_of_and_a_bad_one_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    tell(&gate(&log, AuditOptions::default()), 5);
    let path = segments(&log).remove(0);
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let (half, rest) = lines[9].split_at(100);
    fs::write(&path, format!("{}\n{half}", lines[..9].join("\n"))).unwrap();
    let mut reader = Reader::new(open(&log));
    assert_eq!(reader.by_ref().filter(|record| record.is_ok()).count(), 9);
    assert_eq!(reader.torn().unwrap().map(|torn| (torn.line, torn.flaw)), Some((10, Flaw::CutShort)));
    // The rest comes, and it is a record.
    fs::write(&path, format!("{}\n{half}{rest}\n", lines[..9].join("\n"))).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().seq(), 10);
    assert!(reader.next().is_none() && reader.torn().unwrap().is_none());
    for (bad, at) in [("{}".to_owned(), 4), (lines[3].replace("done", "dona"), 4), ("x".repeat(3 << 20), 4)] {
        let text = [&lines[..3], &[bad.as_str()], &lines[4..]].concat().join("\n");
        fs::write(&path, format!("{text}\n")).unwrap();
        let mut seen = Vec::new();
        for record in Reader::new(open(&log)) {
            match record {
                Ok(record) => seen.push(record.seq()),
                Err(AuditError::Broken(broken)) => {
                    assert_eq!((broken.line, broken.flaw), (at, Flaw::Changed));
                    seen.push(0);
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(seen, [1, 2, 3, 0, 5, 6, 7, 8, 9, 10], "{}", bad.len());
    }
    fs::write(&path, [&lines[..9].join("\n").into_bytes()[..], b"\n\xff\xfe\n"].concat()).unwrap();
    assert_eq!(Reader::new(open(&log)).filter(Result::is_err).count(), 1);
}

const POLICY: &str = "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:in/**\"]\n[[subject.deny]]\nfiles = [\"d:secret\"]";

/// A log of some of everything.
fn mixed() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate: Gate = gate_by(POLICY, &log, AuditOptions::default());
    assert!(does(&gate, "tool", &["read d:in/a", "write d:in/b"]));
    assert!(!does(&gate, "tool", &["read d:secret"]));
    assert!(!does(&gate, "other", &["connect [2001:db8::1]:443"]));
    assert!(!does(&gate, "other", &["run /bin/x \"a b\" -c"]));
    assert!(!does(&gate, "tool", &["resolve example.com"]));
    assert!(!does(&gate, "tool", &["env HOME"]));
    let permit = gate.admit(&Subject::parse("tool").unwrap(), Wants::one("remove d:in/a")).unwrap();
    permit.perform(|_| Err::<(), _>("it is busy")).unwrap_err();
    (folder, log)
}

#[test]
fn records_are_searched_by_what_they_say() {
    let (_folder, log) = mixed();
    let found = |query: Query| -> Vec<u64> {
        let records = Reader::new(open(&log)).map(Result::unwrap);
        records.filter(|record| query.matches(record)).map(|record| record.seq()).collect()
    };
    let all = Query::default;
    let like = |text: &str| Query { access: Some(AccessLike::parse(text).unwrap()), ..all() };
    assert_eq!(found(all()), (1..=9).collect::<Vec<_>>());
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found(Query { subject: text("other"), ..all() }), [4, 5]);
    assert_eq!(found(Query { kind: text("intent"), ..all() }), [1, 8]);
    assert_eq!(
        found(Query { operation: text("test.wants"), kind: text("denial"), ..all() }),
        [3, 4, 5, 6, 7]
    );
    assert_eq!(found(Query { operation: text("test"), ..all() }), Vec::<u64>::new());
    assert_eq!(found(Query { rule: text("deny files"), ..all() }), [3]);
    assert_eq!(found(Query { seq: Some(3..=4), ..all() }), [3, 4]);
    assert_eq!(found(like("d:in/b")), [1]);
    assert_eq!(found(like("read d:*")), [1, 3]);
    assert_eq!(found(like("d:*")), Vec::<u64>::new(), "the whole is compared");
    assert_eq!(found(like("* d:in/?")), [1, 8]);
    assert!(AccessLike::parse("read **").is_err());
    let first = Reader::new(open(&log)).next().unwrap().unwrap().time_ms();
    assert_eq!(found(Query { time_ms: Some(0..=first - 1), ..all() }), Vec::<u64>::new());
    assert_eq!(found(Query { time_ms: Some(first..=u64::MAX), ..all() }).len(), 9);
}

#[test]
fn events_have_the_shape_that_other_tools_read() {
    let (_folder, log) = mixed();
    let events = || -> Vec<serde_json::Value> {
        let mut export = Export::default();
        Reader::new(open(&log)).flat_map(|record| export.events(&record.unwrap())).collect()
    };
    let events_once = events();
    assert_eq!(events_once, events(), "the same log is the same text");
    let kinds: Vec<(u64, u64, u64)> = events_once
        .iter()
        .map(|event| {
            let number = |key: &str| event[key].as_u64().unwrap();
            assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
            assert_eq!(number("category_uid"), number("class_uid") / 1000);
            assert!(number("time") > 0 && event["metadata"]["product"]["name"] == "airssys-osl");
            (number("class_uid"), number("activity_id"), number("status_id"))
        })
        .collect();
    let expected = [
        (1001, 2, 0),
        (1001, 3, 0),
        (1001, 2, 1),
        (1001, 3, 1),
        (1001, 2, 2),
        (4001, 1, 2),
        (1007, 1, 2),
        (4003, 1, 2),
        (6003, 2, 2),
        (1001, 4, 0),
        (1001, 4, 2),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(events_once[0]["metadata"]["uid"], "1/0");
    assert_eq!(events_once[2]["metadata"]["correlation_uid"], "1");
    assert_eq!((&events_once[4]["action_id"], &events_once[4]["disposition_id"]), (&2.into(), &2.into()));
    assert_eq!(events_once[5]["dst_endpoint"], serde_json::json!({ "ip": "2001:db8::1", "port": 443 }));
    assert_eq!(events_once[6]["process"]["file"]["path"], "/bin/x");
    assert_eq!(events_once[10]["status_detail"], "it is busy");
    assert_eq!(events_once[10]["actor"]["user"]["name"], "tool", "an outcome is told with whose it is");
}

struct Own([Access; 1]);

impl Operation for Own {
    fn name(&self) -> &'static str {
        "a\",\"kind\":\"intent\n\u{1b}[2J"
    }

    fn accesses(&self) -> &[Access] {
        &self.0
    }
}

#[test]
fn m1_what_is_read_again_is_what_was_said_and_forges_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate_by(POLICY, &log, AuditOptions::default());
    let access = Access::parse("read d:a\n{\"seq\":9}\u{1b}[2J\u{202e}'\"\\").unwrap();
    gate.admit(&Subject::parse("tool").unwrap(), Own([access.clone()])).err().unwrap();
    drop(gate);
    let records: Vec<Record> = Reader::new(open(&log)).map(Result::unwrap).collect();
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert!(record.line().chars().all(|c| !c.is_control() && c != '\u{202e}'));
    assert_eq!(
        (record.kind(), record.text("operation")),
        ("denial", Some("a\",\"kind\":\"intent\n\u{1b}[2J"))
    );
    assert_eq!(record.denied(), Some(access.clone()));
    assert_eq!(record.accesses().map(Access::of_record).collect::<Vec<_>>(), [Some(access)]);
    let event = Export::default().events(record).remove(0).to_string();
    assert!(!event.chars().any(char::is_control), "{event}");
}

#[test]
fn m6_numbers_and_a_clock_that_only_goes_forward_stand_beside_the_time_of_day() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    for _ in 0..2 {
        tell(&gate(&log, AuditOptions::default()), 5);
        std::thread::sleep(Duration::from_millis(20));
    }
    let written = records(&log);
    let number = |record: &serde_json::Value, key: &str| record[key].as_u64().unwrap();
    for pair in written.windows(2) {
        assert_eq!(number(&pair[1], "seq"), number(&pair[0], "seq") + 1);
        if pair[0]["run"] == pair[1]["run"] {
            assert!(number(&pair[1], "mono_ms") >= number(&pair[0], "mono_ms"));
        }
    }
    let runs: std::collections::BTreeSet<&str> =
        written.iter().map(|record| record["run"].as_str().unwrap()).collect();
    assert_eq!(runs.len(), 2, "each opening of the log is told apart");
    assert_eq!(verify(&open(&log), None).unwrap().clock_steps, 0);
    // The same as if somebody had set the clock back an hour for three records, as no test may.
    let path = segments(&log).remove(0);
    let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    for (line, record) in lines.iter_mut().zip(&written).skip(2).take(3) {
        let time = number(record, "time_ms");
        *line = line.replace(&format!("\"time_ms\":{time}"), &format!("\"time_ms\":{}", time - 3_600_000));
    }
    rechain(&mut lines);
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let sound = verify(&open(&log), None).unwrap();
    assert_eq!((sound.clock_steps, sound.head.seq), (2, 20), "back, and forward again");
    assert_eq!(
        numbers(Reader::new(open(&log))),
        (1..=20).collect::<Vec<_>>(),
        "the order is that of the numbers"
    );
}

#[test]
fn an_export_of_large_records_needs_no_more_memory_than_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let options = AuditOptions { durability: Durability::Async, ..AuditOptions::default() };
    let gate = gate_by(
        "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:**\"]",
        &log,
        options,
    );
    let tool = Subject::parse("tool").unwrap();
    let large = |number: usize| {
        let long = [format!("{number}"), "x".repeat(200), "x".repeat(200), "x".repeat(200)].join("/");
        let all: Vec<String> = (0..1_000).map(|part| format!("read d:{long}/{part}")).collect();
        Wants::all(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut permits: Vec<_> = (0..60).map(|number| gate.admit(&tool, large(number)).unwrap()).collect();
    let (newest, oldest) = (permits.pop().unwrap(), permits.remove(0));
    permits.into_iter().for_each(|permit| drop(permit.withdraw()));
    newest.perform(|_| Ok::<_, std::fmt::Error>(())).unwrap();
    oldest.perform(|_| Ok::<_, std::fmt::Error>(())).unwrap();
    drop(gate);
    let mut export = Export::default();
    let mut outcomes = Vec::new();
    for record in Reader::new(open(&log)).map(Result::unwrap) {
        let events = export.events(&record).len();
        if record.kind() == "outcome" {
            outcomes.push(events);
        }
    }
    assert_eq!(outcomes.len(), 60);
    assert_eq!(outcomes[58], 1_000, "what is recent is known");
    assert_eq!(outcomes[59], 1, "what is older than may be held is not");
}

#[test]
fn a_record_that_somebody_made_up_is_not_multiplied_by_an_export() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    tell(&gate(&log, AuditOptions::default()), 1);
    let path = &segments(&log)[0];
    let text = fs::read_to_string(path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let accesses = vec!["\"x\""; 2_000].join(",");
    lines[0] = lines[0].replace("\"host clock\"", &accesses);
    lines[0] = lines[0].replacen("\"rule\":", &format!("\"more\":\"{}\",\"rule\":", "y".repeat(100_000)), 1);
    rechain(&mut lines);
    fs::write(path, lines.join("\n") + "\n").unwrap();
    let record = Reader::new(open(&log)).next().unwrap().unwrap();
    let events = Export::default().events(&record);
    let bytes: usize = events.iter().map(|event| event.to_string().len()).sum();
    assert!(bytes < 4 << 20, "{bytes}");
    assert!(events[0]["unmapped"]["more"].as_str().is_some_and(|more| more.len() == 100_000));
}
