//! Signed checkpoints: who does not have the key cannot write a log that passes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use airssys_osl::audit::{
    AuditError, AuditLog, AuditOptions, Broken, Durability, Flaw, Head, KeyError, PublicKey, SecretKey,
    Sound, verify, verify_signed,
};
use airssys_osl::{FsError, Gate, Policy, Root};

use crate::audit::{POLICY, SMALL, records, segments, tell};

struct Home {
    folder: tempfile::TempDir,
    key: PublicKey,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = SecretKey::create(&Root::open(folder.path()).unwrap(), "key".as_ref()).unwrap().public();
        Self { folder, key }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn gate(&self, options: AuditOptions) -> Gate {
        let key = SecretKey::read(&Root::open(self.folder.path()).unwrap(), "key".as_ref()).unwrap();
        let log = AuditLog::open_signed(&Root::private(&self.log()).unwrap(), options, key, 8).unwrap();
        Gate::new(Policy::parse(POLICY, "policy.toml").unwrap(), log)
    }

    fn check(&self, known: Option<Head>) -> Result<Sound, (u64, Flaw)> {
        flaw(verify_signed(&Root::open(&self.log()).unwrap(), known, &self.key))
    }

    /// Changes the lines of a log in one segment.
    fn change(&self, change: impl FnOnce(&mut Vec<String>)) {
        let path = &segments(&self.log())[0];
        let mut lines: Vec<String> = fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
        change(&mut lines);
        fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
}

fn flaw(found: Result<Sound, AuditError>) -> Result<Sound, (u64, Flaw)> {
    match found {
        Ok(sound) => Ok(sound),
        Err(AuditError::Broken(Broken { seq, flaw, .. })) => Err((seq, flaw)),
        Err(error) => panic!("{error}"),
    }
}

/// What somebody does who knows how a log is made and has no key: all records anew, numbered and chained.
pub(crate) fn rechain(lines: &mut [String]) {
    let mut prev = "0".repeat(64);
    for (index, line) in lines.iter_mut().enumerate() {
        let (body, _) = line.rsplit_once(",\"hash\":\"").unwrap();
        let at = body.find("\"prev\":\"").unwrap() + 8;
        let mut body = format!("{}{prev}{}", &body[..at], &body[at + 64..]);
        let seq_end = body.find(',').unwrap();
        body.replace_range(..seq_end, &format!("{{\"seq\":{}", index + 1));
        prev = blake3::hash(body.as_bytes()).to_hex().to_string();
        *line = format!("{body},\"hash\":\"{prev}\"}}");
    }
}

#[test]
fn m2_a_log_that_was_written_anew_passes_without_the_key_and_not_with_it() {
    let home = Home::new();
    let gate = home.gate(AuditOptions::default());
    tell(&gate, 20);
    drop(gate);
    let sound = home.check(None).unwrap();
    assert_eq!(sound.signed, Some(sound.head.seq - 1), "closing signs, and no checkpoint vouches for itself");
    let before = fs::read(&segments(&home.log())[0]).unwrap();
    let forged = |change: &dyn Fn(&mut Vec<String>)| {
        fs::write(&segments(&home.log())[0], &before).unwrap();
        home.change(|lines| {
            change(lines);
            rechain(lines);
        });
        verify(&Root::open(&home.log()).unwrap(), None)
            .expect("a chain without a key can be made by anybody");
        home.check(None).unwrap_err()
    };
    assert_eq!(
        forged(&|lines| lines[3] = lines[3].replace("\"tool\"", "\"else\"").replace("done", "dona")).1,
        Flaw::Forged
    );
    assert_eq!(forged(&|lines| drop(lines.remove(3))).1, Flaw::Forged);
    assert_eq!(forged(&|lines| lines.retain(|line| !line.contains("\"checkpoint\""))), (1, Flaw::Unsigned));
    // The first checkpoint is left, because it vouches for nothing.
    let one_left = forged(&|lines| {
        let first = lines.remove(0);
        lines.retain(|line| !line.contains("\"checkpoint\""));
        lines.insert(0, first);
    });
    assert_eq!(one_left, (10, Flaw::Unsigned), "eight may come before the next");
    // The newest checkpoint itself can be written anew around its signature; it says no more of itself than that.
    fs::write(&segments(&home.log())[0], &before).unwrap();
    home.change(|lines| {
        let last = lines.last_mut().unwrap();
        *last = last.replacen(",\"kind\"", ",\"subject\":\"else\",\"kind\"", 1);
        rechain(lines);
    });
    let rewritten = home.check(None).unwrap();
    assert!(rewritten.signed < Some(rewritten.head.seq), "{rewritten:?}");
    // Another key's, in the right places.
    let other = Home::new();
    fs::write(&segments(&home.log())[0], &before).unwrap();
    assert_eq!(
        flaw(verify_signed(&Root::open(&home.log()).unwrap(), None, &other.key)),
        Err((1, Flaw::Forged))
    );
}

#[test]
fn m2_a_log_cut_off_behind_a_checkpoint_shows_beside_the_head_that_was_kept() {
    let home = Home::new();
    let gate = home.gate(AuditOptions::default());
    tell(&gate, 20);
    drop(gate);
    let kept = home.check(None).unwrap().head;
    home.change(|lines| {
        let at = lines.iter().rposition(|line| line.contains("\"outcome\":\"done\"")).unwrap();
        lines.truncate(at);
    });
    assert!(home.check(None).unwrap().signed.is_some());
    assert_eq!(home.check(Some(kept)).unwrap_err(), (kept.seq, Flaw::Missing));
}

#[test]
fn m8_of_two_copies_of_a_log_that_went_on_apart_one_is_not_that_of_the_head_that_was_kept() {
    let home = Home::new();
    tell(&home.gate(AuditOptions::default()), 5);
    // As a snapshot of the machine has it: everything twice, the key as well.
    let copy = Home { folder: tempfile::tempdir().unwrap(), key: home.key };
    fs::copy(home.folder.path().join("key"), copy.folder.path().join("key")).unwrap();
    Root::private(&copy.log()).unwrap();
    for path in segments(&home.log()) {
        fs::copy(&path, copy.log().join(path.file_name().unwrap())).unwrap();
    }
    tell(&home.gate(AuditOptions::default()), 3);
    tell(&copy.gate(AuditOptions::default()), 3);
    let (kept, other) = (home.check(None).unwrap().head, copy.check(None).unwrap().head);
    assert_eq!(kept.seq, other.seq, "each is sound and as long as the other");
    assert_eq!(home.check(Some(kept)).unwrap().head, kept);
    assert_eq!(copy.check(Some(kept)).unwrap_err(), (kept.seq, Flaw::Missing));
}

#[test]
fn a_log_is_signed_over_segments_and_restarts_and_what_was_before_as_well() {
    let home = Home::new();
    // Not signed at first.
    tell(&crate::audit::gate(&home.log(), SMALL), 30);
    assert_eq!(home.check(None).unwrap_err(), (1, Flaw::Unsigned));
    for _ in 0..3 {
        tell(&home.gate(SMALL), 10);
    }
    let sound = home.check(None).unwrap();
    assert_eq!(sound.signed, Some(sound.head.seq - 1));
    let files = segments(&home.log());
    assert!(files.len() > 3);
    // A segment ends with a checkpoint once it is signed, and is sealed.
    let middle = fs::read_to_string(&files[files.len() - 2]).unwrap();
    assert!(middle.lines().last().unwrap().contains("\"kind\":\"checkpoint\""));
    // Old ones can be removed.
    fs::remove_file(&files[0]).unwrap();
    fs::remove_file(&files[1]).unwrap();
    assert!(home.check(None).unwrap().first > 1);
}

#[test]
fn records_of_many_threads_are_one_signed_chain_in_every_durability() {
    for durability in [Durability::Strict, Durability::Group, Durability::Async] {
        let home = Home::new();
        let gate = home.gate(AuditOptions { durability, segment_bytes_max: 16 << 10 });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| tell(&gate, 25));
            }
        });
        drop(gate);
        let sound = home.check(None).unwrap();
        let signed =
            records(&home.log()).iter().filter(|record| record["kind"] == "checkpoint").count() as u64;
        // One for every eight at least, and every record is there.
        assert!(signed >= 200 / 8, "{signed} checkpoints");
        assert_eq!(sound.head.seq, 200 + signed, "{durability:?}");
    }
}

#[test]
fn keys_are_secret_made_once_and_none_that_anybody_can_sign_for() {
    let home = Home::new();
    let root = Root::open(home.folder.path()).unwrap();
    let mode = |name: &str| fs::metadata(home.folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("key"), mode("key.pub")), (0o600, 0o644));
    assert_eq!(PublicKey::read(&root, "key.pub".as_ref()).unwrap(), home.key);
    assert!(matches!(SecretKey::create(&root, "key".as_ref()), Err(KeyError::Exists { .. })));
    fs::remove_file(home.folder.path().join("key")).unwrap();
    assert!(
        matches!(SecretKey::create(&root, "key".as_ref()), Err(KeyError::Exists { .. })),
        "its public half is"
    );
    let other = SecretKey::create(&root, "other".as_ref()).unwrap();
    assert_ne!(other.public(), home.key);
    let shown = format!("{other:?}");
    assert!(!shown.contains(fs::read_to_string(home.folder.path().join("other")).unwrap().trim()), "{shown}");
    fs::set_permissions(home.folder.path().join("other"), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(SecretKey::read(&root, "other".as_ref()), Err(KeyError::Exposed { mode: 0o640, .. })));
    assert!(matches!(PublicKey::parse("x"), Err(KeyError::Shape)));
    // The neutral element: a signature of zeros is right for it.
    assert!(matches!(PublicKey::parse(&format!("01{}", "0".repeat(62))), Err(KeyError::Weak)));
}

#[test]
fn m10_a_log_is_kept_where_nobody_else_can_read_or_write() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    tell(&crate::audit::gate(&log, SMALL), 40);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&log), 0o700);
    assert_eq!(mode(&log.join("lock")), 0o600);
    let files = segments(&log);
    let (newest, sealed) = files.split_last().unwrap();
    assert_eq!(mode(newest), 0o600);
    assert!(sealed.len() > 2 && sealed.iter().all(|path| mode(path) == 0o400), "what is complete is sealed");
    for open in [0o755, 0o750, 0o770, 0o701] {
        fs::set_permissions(&log, fs::Permissions::from_mode(open)).unwrap();
        let opened = AuditLog::open(&Root::open(&log).unwrap(), SMALL);
        assert!(matches!(opened, Err(AuditError::Folder(FsError::Exposed { .. }))), "{open:o}");
    }
    fs::set_permissions(&log, fs::Permissions::from_mode(0o700)).unwrap();
    tell(&crate::audit::gate(&log, SMALL), 1);
    if crate::process::is_root() {
        // Another user, in a process of its own, gets nothing.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut stranger = crate::process::Other::start("peek", &log, Some(crate::process::STRANGER));
        assert_eq!(stranger.line(), "refused refused");
    }
}

/// In a process of another user.
pub(crate) fn peek(log: &Path) -> String {
    let word = |is_refused: bool| if is_refused { "refused" } else { "got in" };
    let read = fs::read(log.join(format!("{:020}.jsonl", 1)));
    let written = fs::write(log.join(format!("{:020}.jsonl", 5_000)), "x");
    format!("{} {}", word(read.is_err()), word(written.is_err()))
}
