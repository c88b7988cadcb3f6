//! The log keeps what it was told, and shows what somebody did to it.

use std::fs;
use std::path::{Path, PathBuf};

use airssys_osl::audit::{AuditError, AuditLog, AuditOptions, Durability, Flaw, Head, verify};
use airssys_osl::{Access, Gate, Operation, Policy, Root, Subject};

struct Clock([Access; 1]);

impl Operation for Clock {
    fn name(&self) -> &'static str {
        "host.clock"
    }

    fn accesses(&self) -> &[Access] {
        &self.0
    }
}

pub(crate) const POLICY: &str =
    "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nhost = [\"clock\"]";

/// So small that many segments come about.
pub(crate) const SMALL: AuditOptions =
    AuditOptions { durability: Durability::Strict, segment_bytes_max: 4096 };

pub(crate) fn gate(folder: &Path, options: AuditOptions) -> Gate {
    gate_by(POLICY, folder, options)
}

/// A gate that decides by this policy and writes its log to this folder.
pub(crate) fn gate_by(policy: &str, folder: &Path, options: AuditOptions) -> Gate {
    let log = AuditLog::open(&Root::private(folder).unwrap(), options).unwrap();
    Gate::new(Policy::parse(policy, "policy.toml").unwrap(), log)
}

/// All records of a log as JSON, in order.
pub(crate) fn records(folder: &Path) -> Vec<serde_json::Value> {
    let text: String = segments(folder).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Does something so often, and returns the number of the last intent.
pub(crate) fn tell(gate: &Gate, times: usize) -> u64 {
    let mut last = 0;
    for _ in 0..times {
        let operation = Clock([Access::parse("host clock").unwrap()]);
        let permit = gate.admit(&Subject::parse("tool").unwrap(), operation).unwrap();
        let (_, ticket) = permit.begin();
        last = ticket.seq();
        ticket.say::<std::fmt::Error>(None);
    }
    last
}

pub(crate) fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    found.sort();
    found
}

fn check(folder: &Path, known: Option<Head>) -> Result<u64, (u64, Flaw)> {
    match verify(&Root::open(folder).unwrap(), known) {
        Ok(sound) => Ok(sound.head.seq),
        Err(AuditError::Broken(broken)) => Err((broken.seq, broken.flaw)),
        Err(error) => panic!("{error}"),
    }
}

/// A log of ten records, and its head.
fn ten() -> (tempfile::TempDir, Head) {
    let folder = tempfile::tempdir().unwrap();
    let gate = gate(folder.path().join("log").as_path(), AuditOptions::default());
    tell(&gate, 5);
    let head = gate.log().head();
    (folder, head)
}

/// The number of the newest record, or of the first bad one and its flaw.
type Found = Result<u64, (u64, Flaw)>;

/// Changes the lines of the only segment, and reads the log without and with its head.
fn after(change: impl FnOnce(&mut Vec<String>)) -> (Found, Found) {
    let (folder, head) = ten();
    let log = folder.path().join("log");
    let path = &segments(&log)[0];
    let mut lines: Vec<String> = fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    (check(&log, None), check(&log, Some(head)))
}

#[test]
fn m2_a_digit_of_a_hash_in_upper_case_is_a_change() {
    let world = tempfile::tempdir().unwrap();
    let log = world.path().join("log");
    let gate = gate(&log, AuditOptions::default());
    tell(&gate, 1);
    drop(gate);
    verify(&Root::open(&log).unwrap(), None).unwrap();
    let path = segments(&log).remove(0);
    let text = fs::read_to_string(&path).unwrap();
    let at = text.rfind("\"hash\":\"").unwrap() + 8;
    let digit = at + text[at..].find(|c: char| c.is_ascii_lowercase()).unwrap();
    let mut bytes = text.into_bytes();
    bytes[digit].make_ascii_uppercase();
    fs::write(&path, bytes).unwrap();
    assert!(verify(&Root::open(&log).unwrap(), None).is_err());
}

#[test]
fn m2_whatever_is_done_to_a_record_the_first_bad_one_is_named() {
    assert_eq!(after(|_| {}), (Ok(10), Ok(10)));
    let (changed, _) = after(|lines| lines[3] = lines[3].replace("done", "dome"));
    assert_eq!(changed, Err((4, Flaw::Changed)));
    let (removed, _) = after(|lines| drop(lines.remove(3)));
    assert_eq!(removed, Err((4, Flaw::OutOfPlace)));
    let (swapped, _) = after(|lines| lines.swap(3, 4));
    assert_eq!(swapped, Err((4, Flaw::OutOfPlace)));
    let (doubled, _) = after(|lines| lines.insert(3, lines[3].clone()));
    assert_eq!(doubled, Err((5, Flaw::OutOfPlace)));
    let (beheaded, _) = after(|lines| drop(lines.remove(0)));
    assert_eq!(beheaded, Err((1, Flaw::OutOfPlace)));
    let (spoilt, _) = after(|lines| lines[9].push(' '));
    assert_eq!(spoilt, Err((10, Flaw::Changed)));
    let (foreign, _) = after(|lines| lines[0] = "{}".to_owned());
    assert_eq!(foreign, Err((1, Flaw::Changed)));
}

#[test]
fn m2_what_is_missing_at_the_end_shows_beside_a_head_kept_elsewhere() {
    let (alone, beside) = after(|lines| lines.truncate(7));
    assert_eq!((alone, beside), (Ok(7), Err((10, Flaw::Missing))));
    // A whole other log, in itself sound.
    let (folder, _) = ten();
    let (_other, other_head) = ten();
    assert_eq!(check(&folder.path().join("log"), Some(other_head)), Err((10, Flaw::Missing)));
    let (folder, head) = ten();
    let again = gate(&folder.path().join("log"), AuditOptions::default());
    tell(&again, 1);
    assert_eq!(check(&folder.path().join("log"), Some(head)), Ok(12), "one that went on is sound");
    assert_eq!(Head::parse(&head.to_string()), Some(head));
}

#[test]
fn segments_are_bounded_and_one_chain() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let options = AuditOptions { segment_bytes_max: 4096, ..AuditOptions::default() };
    let small = gate(&log, options);
    tell(&small, 40);
    drop(small);
    tell(&gate(&log, options), 10);
    let files = segments(&log);
    assert!(files.len() > 3, "{files:?}");
    let largest = files.iter().map(|path| fs::metadata(path).unwrap().len()).max().unwrap();
    assert!(largest < 4096 + 1024, "at most one record more: {largest}");
    assert_eq!(check(&log, None), Ok(100));
    let removed = &files[1];
    fs::remove_file(removed).unwrap();
    assert!(matches!(check(&log, None), Err((_, Flaw::OutOfPlace))));
}

#[test]
fn old_segments_can_be_removed_and_the_rest_is_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let small = gate(&log, AuditOptions { segment_bytes_max: 4096, ..AuditOptions::default() });
    tell(&small, 40);
    drop(small);
    fs::remove_file(&segments(&log)[0]).unwrap();
    let sound = verify(&Root::open(&log).unwrap(), None).unwrap();
    assert!(sound.first > 1 && sound.head.seq == 80, "{sound:?}");
}

#[test]
fn a_line_that_a_crash_cut_short_is_removed_and_said() {
    let (folder, _) = ten();
    let log = folder.path().join("log");
    let path = &segments(&log)[0];
    let text = fs::read(path).unwrap();
    fs::write(path, &text[..text.len() - 20]).unwrap();
    assert_eq!(check(&log, None), Err((10, Flaw::CutShort)));
    let again = gate(&log, AuditOptions::default());
    tell(&again, 1);
    drop(again);
    assert_eq!(check(&log, None), Ok(12));
    let lines = fs::read_to_string(path).unwrap();
    assert!(lines.lines().nth(9).unwrap().contains("\"kind\":\"cut\""), "{lines}");
}

#[test]
fn a_log_that_was_tampered_with_is_not_continued() {
    let (folder, _) = ten();
    let log = folder.path().join("log");
    let path = &segments(&log)[0];
    fs::write(path, fs::read_to_string(path).unwrap().replacen("intent", "intend", 1)).unwrap();
    let opened = AuditLog::open(&Root::private(&log).unwrap(), AuditOptions::default());
    assert!(matches!(opened, Err(AuditError::Broken(broken)) if broken.seq == 1));
}

#[test]
fn m8_a_log_has_one_writer() {
    let (folder, _) = ten();
    let log = Root::private(&folder.path().join("log")).unwrap();
    let first = AuditLog::open(&log, AuditOptions::default()).unwrap();
    assert!(matches!(AuditLog::open(&log, AuditOptions::default()), Err(AuditError::Locked(_))));
    drop(first);
    AuditLog::open(&log, AuditOptions::default()).unwrap();
}

#[test]
fn m8_another_process_that_writes_keeps_this_one_out() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut writer = crate::process::Other::start("audit", &log, None);
    assert!(!writer.line().is_empty());
    let refused = AuditLog::open(&Root::private(&log).unwrap(), SMALL);
    assert!(matches!(refused, Err(AuditError::Locked(_))));
    writer.kill();
    drop(AuditLog::open(&Root::private(&log).unwrap(), SMALL).unwrap());
    check(&log, None).unwrap();
}

#[test]
fn m4_a_disk_that_is_full_refuses_and_when_there_is_room_again_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut writer = crate::process::Other::start("full", &log, None);
    let line = writer.line();
    assert!(line.starts_with("refused as 'FileTooLarge'") && line.ends_with("and then done"), "{line}");
    drop(writer);
    let head = check(&log, None).unwrap();
    let kinds = records(&log).iter().filter(|record| record["kind"] == "intent").count();
    assert!(head > 4 && kinds > 2, "{head}, {kinds}");
}

#[test]
fn m4_a_folder_that_cannot_be_written_any_more_refuses_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let (place, uid) =
        (folder.path().join("place"), crate::process::is_root().then_some(crate::process::STRANGER));
    fs::create_dir(&place).unwrap();
    if uid.is_some() {
        // Root could write all the same, so somebody else is needed.
        std::os::unix::fs::chown(&place, uid, uid).unwrap();
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let log = place.join("log");
    let mut writer = crate::process::Other::start("locked-out", &log, uid);
    let line = writer.line();
    assert!(line.starts_with("refused as 'PermissionDenied'") && line.ends_with("and then done"), "{line}");
    drop(writer);
    check(&log, None).unwrap();
}

/// In a process of its own: does things until the log refuses, lets `mend` help, and says what came of it.
pub(crate) fn until_refused(log: &Path, spoil: impl FnOnce(), mend: impl FnOnce()) -> String {
    let gate = gate(log, SMALL);
    tell(&gate, 2);
    spoil();
    let wants = || Clock([Access::parse("host clock").unwrap()]);
    let tool = Subject::parse("tool").unwrap();
    let mut effects = 0;
    let why = loop {
        match gate.admit(&tool, wants()) {
            Ok(permit) => {
                permit.perform(|_| Ok::<_, std::fmt::Error>(())).unwrap();
                effects += 1;
            }
            Err(denied) => break denied.why,
        }
    };
    let before = effects;
    let kind = match why {
        airssys_osl::Refusal::Log(AuditError::Write { source, .. }) => format!("{:?}", source.kind()),
        why => format!("{why:?}"),
    };
    // It stays so.
    assert!(gate.admit(&tool, wants()).is_err());
    mend();
    tell(&gate, 1);
    assert_eq!(effects, before);
    format!("refused as '{kind}' after {before} and then done")
}

#[test]
fn m5_who_records_faster_than_the_disk_takes_waits_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate(&log, AuditOptions { durability: Durability::Async, segment_bytes_max: 64 << 20 });
    // Denials of different things, together several times more than may wait.
    let long = "x".repeat(100_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (gate, long) = (&gate, &long);
            scope.spawn(move || {
                for number in 0..50 {
                    let access = Access::parse(&format!("run /bin/x {thread} {number} {long}")).unwrap();
                    assert!(gate.admit(&Subject::parse("tool").unwrap(), Clock([access])).is_err());
                }
            });
        }
    });
    drop(gate);
    assert_eq!(told(&log), (200, 0));
    check(&log, None).unwrap();
}

#[test]
fn m5_what_was_lost_while_the_disk_failed_is_a_record_with_the_number() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate(&log, AuditOptions { durability: Durability::Async, segment_bytes_max: 4096 });
    let planted = block(&log);
    let mut done = 0;
    let tool = Subject::parse("tool").unwrap();
    while let Ok(permit) = gate.admit(&tool, Clock([Access::parse("host clock").unwrap()])) {
        permit.perform(|_| Ok::<_, std::fmt::Error>(())).unwrap();
        done += 1;
    }
    unblock(planted);
    tell(&gate, 1);
    drop(gate);
    let (there, lost) = told(&log);
    assert_eq!(there + lost, 2 * (done + 1));
    assert_eq!(records(&log).iter().filter(|record| record["kind"] == "gap").count(), usize::from(lost > 0));
}

#[test]
fn m4_a_link_planted_in_place_of_a_segment_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let outside = folder.path().join("outside");
    fs::write(&outside, "").unwrap();
    let root = Root::private(&log).unwrap();
    std::os::unix::fs::symlink(&outside, log.join(format!("{:020}.jsonl", 1))).unwrap();
    assert!(AuditLog::open(&root, AuditOptions::default()).is_err());
    assert_eq!(fs::read(&outside).unwrap(), b"");
}

#[test]
fn records_of_many_threads_are_one_chain_in_every_durability() {
    for durability in [Durability::Strict, Durability::Group, Durability::Async] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let shared = gate(&log, AuditOptions { durability, segment_bytes_max: 1 << 14 });
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    tell(&shared, 25);
                });
            }
        });
        drop(shared);
        assert_eq!(check(&log, None), Ok(400), "{durability:?}");
    }
}

#[test]
fn what_nobody_waits_for_comes_to_the_disk_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate(&log, AuditOptions { durability: Durability::Async, ..AuditOptions::default() });
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    for times in 1..=20 {
        tell(&gate, 1);
        // Nothing else is said meanwhile, and the log stays open.
        while gate.log().head().seq < 2 * times {
            assert!(std::time::Instant::now() < deadline, "record {} is not written", 2 * times);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    assert_eq!(check(&log, Some(gate.log().head())), Ok(40));
}

#[test]
fn m1_a_record_is_one_line_of_what_can_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate(&log, AuditOptions::default());
    let hostile = "read d:a\",\"kind\":\"intent\n\u{1b}[2J\u{202e}\r\u{85}";
    let operation = Clock([Access::parse(hostile).unwrap()]);
    assert!(gate.admit(&Subject::parse("tool").unwrap(), operation).is_err());
    let text = fs::read_to_string(&segments(&log)[0]).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(!text.trim_end().chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    let record: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(record["kind"], "denial");
}

/// A folder in the place of each segment that may come next, so that none can begin.
fn block(log: &Path) -> Vec<PathBuf> {
    let planted = (1..500).map(|seq| log.join(format!("{seq:020}.jsonl")));
    planted.filter(|path| fs::create_dir(path).is_ok()).collect()
}

fn unblock(planted: Vec<PathBuf>) {
    planted.iter().for_each(|path| fs::remove_dir(path).unwrap());
}

/// Intents and outcomes that are there, and those that gaps say are not.
fn told(log: &Path) -> (u64, u64) {
    records(log).iter().fold((0, 0), |(there, lost), record| match record["kind"].as_str() {
        Some("gap") => (there, lost + record["lost"].as_u64().unwrap()),
        _ => (there + 1, lost),
    })
}

#[test]
fn m4_an_asynchronous_log_that_cannot_write_refuses_soon_and_counts_what_it_lost() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let options = AuditOptions { durability: Durability::Async, segment_bytes_max: 4096 };
    let gate = gate(&log, options);
    let planted = block(&log);
    let (mut done, mut refused) = (0, 0);
    for _ in 0..200 {
        let operation = Clock([Access::parse("host clock").unwrap()]);
        match gate.admit(&Subject::parse("tool").unwrap(), operation) {
            Ok(permit) => {
                permit.perform(|_| Ok::<_, std::fmt::Error>(())).unwrap();
                done += 1;
            }
            Err(_) => refused += 1,
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(refused > 100, "{done} done, {refused} refused");
    unblock(planted);
    tell(&gate, 1);
    drop(gate);
    let (there, lost) = told(&log);
    assert_eq!(there + lost, 2 * (done + 1), "{there} there, {lost} lost");
    assert!(lost > 0);
    check(&log, None).unwrap();
}

#[test]
fn m3_an_outcome_that_could_not_be_written_is_counted_in_the_next_record() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate(&log, AuditOptions { segment_bytes_max: 4096, ..AuditOptions::default() });
    for _ in 0..40 {
        let operation = Clock([Access::parse("host clock").unwrap()]);
        let permit = gate.admit(&Subject::parse("tool").unwrap(), operation).unwrap();
        let planted = block(&log);
        permit.perform(|_| Ok::<_, std::fmt::Error>(())).unwrap();
        unblock(planted);
    }
    tell(&gate, 1);
    drop(gate);
    let (there, lost) = told(&log);
    assert_eq!(there + lost, 82);
    assert!(lost > 0, "some outcome had to begin a segment");
    check(&log, None).unwrap();
}

#[test]
fn m4_a_segment_that_was_removed_is_not_written_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate(&log, AuditOptions::default());
    tell(&gate, 3);
    fs::remove_file(&segments(&log)[0]).unwrap();
    let operation = Clock([Access::parse("host clock").unwrap()]);
    assert!(gate.admit(&Subject::parse("tool").unwrap(), operation).is_err());
    tell(&gate, 1);
    let head = gate.log().head();
    drop(gate);
    let sound = verify(&Root::open(&log).unwrap(), Some(head)).unwrap();
    assert_eq!(sound.first, 7, "what was removed is missing and seen to be");
}

#[test]
fn a_log_whose_end_is_rubbish_after_a_loss_of_power_goes_on() {
    let (folder, _) = ten();
    let log = folder.path().join("log");
    let path = &segments(&log)[0];
    let mut bytes = fs::read(path).unwrap();
    bytes.resize(bytes.len() + (2 << 20), 0);
    fs::write(path, bytes).unwrap();
    assert_eq!(check(&log, None), Err((11, Flaw::CutShort)));
    tell(&gate(&log, AuditOptions::default()), 1);
    assert_eq!(check(&log, None), Ok(13));
    let text = fs::read_to_string(path).unwrap();
    assert!(text.lines().nth(10).unwrap().contains("\"bytes\":2097152"), "{text}");
}

#[test]
fn a_segment_planted_with_a_later_number_is_not_taken_for_the_log() {
    let (folder, _) = ten();
    let log = folder.path().join("log");
    fs::write(log.join("18446744073709551615.jsonl"), "").unwrap();
    assert_eq!(check(&log, None), Ok(10), "no log is that long");
    fs::write(log.join(format!("{:020}.jsonl", 50)), "").unwrap();
    assert_eq!(check(&log, None), Err((11, Flaw::OutOfPlace)));
    assert!(AuditLog::open(&Root::private(&log).unwrap(), AuditOptions::default()).is_err());
}

#[test]
fn what_was_permitted_is_recorded_in_full_however_long_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gate = gate(&log, AuditOptions::default());
    let path = format!("{}/SECRET", vec!["x".repeat(200); 19].join("/"));
    let operation = Clock([Access::parse(&format!("read d:{path}")).unwrap()]);
    assert!(gate.admit(&Subject::parse("tool").unwrap(), operation).is_err());
    assert!(fs::read_to_string(&segments(&log)[0]).unwrap().contains(&path));
    // More than a record holds: it is denied, and that it was is there.
    let long = format!("run /bin/x {}", "y".repeat(2 << 20));
    let operation = Clock([Access::parse(&long).unwrap()]);
    assert!(gate.admit(&Subject::parse("tool").unwrap(), operation).is_err());
    assert_eq!(check(&log, None), Ok(2));
}

#[test]
fn m3_a_writer_that_is_killed_loses_nothing_that_was_said_to_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut last = 0;
    for round in 0..25 {
        let mut writer = crate::process::Other::start("audit", &log, None);
        for _ in 0..=(round * 7) % 40 {
            last = writer.line().parse::<u64>().unwrap();
        }
        writer.kill();
        // Opening mends what the kill cut short.
        drop(gate(&log, SMALL));
        let head = check(&log, None).unwrap();
        assert!(head >= last, "round {round}: record {last} was written and the log ends at {head}");
    }
    assert!(segments(&log).len() > 10, "segments came about");
}
