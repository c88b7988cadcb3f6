//! Denials in a storm are counted, and no denial is missing from the sum.

use std::path::Path;
use std::time::{Duration, Instant};

use airssys_osl::audit::{AuditOptions, Durability, Reader, verify};
use airssys_osl::{Gate, Root, Subject};

use crate::audit::{gate_by, records};
use crate::observe::{Wants, does};
use crate::reload::until;

const POLICY: &str = "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:in/**\"]\n[[subject.deny]]\nfiles = [\"d:secret\"]";

fn world(segment_bytes_max: u64) -> (tempfile::TempDir, Gate) {
    let folder = tempfile::tempdir().unwrap();
    let options = AuditOptions { durability: Durability::Async, segment_bytes_max };
    let gate = gate_by(POLICY, &folder.path().join("log"), options);
    (folder, gate)
}

fn deny(gate: &Gate, who: &str, access: &str, times: usize) {
    for _ in 0..times {
        assert!(gate.admit(&Subject::parse(who).unwrap(), Wants::one(access)).is_err());
    }
}

/// How many windows a test may have met, the next to begin included.
fn windows(began: Instant) -> usize {
    usize::try_from(began.elapsed().as_secs() / 10).unwrap() + 2
}

/// Records of a log that say this, of the kinds `denial` and `denials`, and how many denials they stand for.
fn sum(log: &Path, says: &str) -> (usize, u64) {
    verify(&Root::open(log).unwrap(), None).unwrap();
    let records = Reader::new(Root::open(log).unwrap()).map(Result::unwrap);
    let about = records.filter(|record| record.denials() > 0 && record.line().contains(says));
    about.fold((0, 0), |(len, sum), record| (len + 1, sum + record.denials()))
}

#[test]
fn m9_a_storm_is_its_first_denials_and_an_exact_count() {
    let (folder, gate) = world(64 << 20);
    let (log, began) = (folder.path().join("log"), Instant::now());
    deny(&gate, "tool", "read d:secret", 2_500);
    deny(&gate, "tool", "write d:other", 1);
    deny(&gate, "other", "read d:secret", 100);
    assert!(does(&gate, "tool", &["read d:in/a"]), "what is allowed is not held up");
    drop(gate);
    let (written, denials) = sum(&log, "\"subject\":\"tool\"");
    assert_eq!(denials, 2_501);
    assert!(written <= 1 + 101 * windows(began), "{written}");
    assert_eq!(sum(&log, "\"subject\":\"other\""), (100, 100), "as many as are written in full are no storm");
    assert_eq!(sum(&log, "write d:other"), (1, 1), "a denial of its own is a record of its own");
    let records = records(&log);
    assert_eq!(
        (&records[0]["kind"], &records[0]["seq"]),
        (&"denial".into(), &1.into()),
        "the first is there"
    );
    let count = records.last().unwrap();
    assert_eq!(
        (&count["kind"], &count["count"], &count["of"]),
        (&"denials".into(), &2_400.into(), &100.into())
    );
    for same in ["subject", "operation", "accesses", "denied", "rule", "policy"] {
        assert_eq!(count[same], records[0][same], "{same}");
    }
}

#[test]
fn m9_the_count_is_written_when_its_time_is_over_also_if_nothing_else_happens() {
    let (folder, gate) = world(64 << 20);
    let log = folder.path().join("log");
    deny(&gate, "tool", "read d:secret", 150);
    let before = sum(&log, "secret");
    assert!(before.1 < 150, "it is not written at once: {before:?}");
    until("the count is written", || sum(&log, "secret").1 == 150);
    let after = sum(&log, "secret");
    assert!(after.0 < 150, "{after:?}");
    // The next storm is another one.
    deny(&gate, "tool", "read d:secret", 150);
    drop(gate);
    assert_eq!(sum(&log, "secret").1, 300);
    assert!(sum(&log, "secret").0 >= after.0 + 100, "its first are written in full");
}

#[test]
fn m9_denials_of_many_threads_add_up_over_segments_and_a_change_of_policy() {
    let (folder, gate) = world(16 << 10);
    let (log, began) = (folder.path().join("log"), Instant::now());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let gate = &gate;
            scope.spawn(move || {
                for round in 0..500 {
                    deny(gate, "tool", &format!("read d:{}", round % 3), 1);
                    deny(gate, &format!("t{thread}"), "read d:x", 1);
                    if thread == 0 && round % 100 == 50 {
                        gate.replace_policy(airssys_osl::Policy::parse(POLICY, "").unwrap());
                    }
                }
            });
        }
    });
    drop(gate);
    let (records, denials) = sum(&log, "\"subject\":\"tool\"");
    assert_eq!(denials, 4_000);
    // Three accesses under six policies, and a count of each in each segment.
    assert!(records < 2_500 || windows(began) > 2, "{records}");
    for thread in 0..8 {
        assert_eq!(sum(&log, &format!("\"subject\":\"t{thread}\"")).1, 500);
    }
}

#[test]
fn g9_a_subject_that_is_denied_something_new_each_time_fills_no_disk() {
    let (folder, gate) = world(64 << 20);
    let (log, began) = (folder.path().join("log"), Instant::now());
    for number in 0..6_000 {
        deny(&gate, "tool", &format!("read d:no/{number}"), 1);
    }
    deny(&gate, "other", "read d:no", 1);
    drop(gate);
    let (records, denials) = sum(&log, "\"subject\":\"tool\"");
    assert_eq!(denials, 6_000);
    // Each window has 1,000 and a count.
    assert!((1_001..=1_001 * windows(began)).contains(&records), "{records}");
    assert_eq!(sum(&log, "\"subject\":\"other\""), (1, 1), "somebody else's is there");
    assert_eq!(sum(&log, "read d:no/0\"").0, 1, "the first is there");
}

#[test]
fn m9_counted_denials_that_the_disk_does_not_take_are_confessed() {
    let (folder, gate) = world(4096);
    let log = folder.path().join("log");
    deny(&gate, "tool", "read d:secret", 1_000);
    let planted: Vec<_> = (1..2_000).map(|seq| log.join(format!("{seq:020}.jsonl"))).collect();
    let planted: Vec<_> = planted.into_iter().filter(|path| std::fs::create_dir(path).is_ok()).collect();
    // Until somebody is told that the log does not work.
    until("the log fails", || {
        gate.admit(&Subject::parse("tool").unwrap(), Wants::one("read d:in/a")).is_err()
    });
    planted.iter().for_each(|path| std::fs::remove_dir(path).unwrap());
    std::thread::sleep(Duration::from_millis(20));
    assert!(does(&gate, "tool", &["read d:in/a"]));
    drop(gate);
    let lost: u64 = records(&log).iter().filter_map(|record| record["lost"].as_u64()).sum();
    let denials = sum(&log, "secret").1;
    assert!(denials + lost >= 1_000, "{denials} there, {lost} lost");
}
