//! Files behind the gate: what may be done is done, and nothing else is, whatever lies in the folders.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use airssys_osl::audit::{AuditOptions, Durability};
use airssys_osl::{Entry, Files, FilesError, FsError, Kind, Name, Root, Subject};

use crate::audit::gate_by;

struct World {
    folder: tempfile::TempDir,
    files: Files,
    tool: Subject,
}

const POLICY: &str = r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
files = ["d:in/**"]
verbs = ["read", "stat", "list", "remove"]
[[subject.allow]]
files = ["d:out/**"]
[[subject.allow]]
files = ["d:."]
verbs = ["list"]
[[subject.allow]]
files = ["gone:**"]
[[subject.deny]]
files = ["d:in/secret/**", "d:out/secret/**"]
"#;

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["root/in/secret", "root/out/secret", "outside"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        fs::write(folder.path().join("root/in/a"), "alpha").unwrap();
        fs::write(folder.path().join("root/in/secret/key"), "key").unwrap();
        fs::write(folder.path().join("root/other"), "other").unwrap();
        fs::write(folder.path().join("outside/o"), "outside").unwrap();
        let options = AuditOptions { durability: Durability::Async, ..AuditOptions::default() };
        let gate = gate_by(POLICY, &folder.path().join("log"), options);
        let root = Root::open(&folder.path().join("root")).unwrap();
        let files = Files::new(gate, [(Name::parse("d").unwrap(), root)]);
        Self { folder, files, tool: Subject::parse("tool").unwrap() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn read(&self, path: &str) -> Result<String, FilesError> {
        self.files.read(&self.tool, path, 1024).map(|bytes| String::from_utf8(bytes).unwrap())
    }
}

#[track_caller]
fn is_denied<T: std::fmt::Debug>(outcome: Result<T, FilesError>) {
    assert!(matches!(outcome, Err(FilesError::Denied(_))), "{outcome:?}");
}

#[track_caller]
fn failed<T: std::fmt::Debug>(outcome: Result<T, FilesError>) -> FsError {
    match outcome {
        Err(FilesError::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_allowed_is_done() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    assert_eq!(world.read("d:in/a").unwrap(), "alpha");
    assert_eq!(world.read("d:in//./a").unwrap(), "alpha");
    files.write(tool, "d:out/b", b"beta").unwrap();
    let made = fs::metadata(world.at("root/out/b")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&made) & 0o777, 0o600);
    files.append(tool, "d:out/b", b"!").unwrap();
    files.copy(tool, "d:out/b", "d:out/c", 16).unwrap();
    files.rename(tool, "d:out/c", "d:out/d").unwrap();
    files.rename(tool, "d:in/a", "d:out/b").unwrap();
    assert_eq!(fs::read_to_string(world.at("root/out/b")).unwrap(), "alpha");
    assert_eq!(fs::read_to_string(world.at("root/out/d")).unwrap(), "beta!");
    assert!(!world.at("root/in/a").exists() && !world.at("root/out/c").exists());
    files.create_folder(tool, "d:out/folder").unwrap();
    assert_eq!(files.stat(tool, "d:out/folder").unwrap().kind, Kind::Folder);
    assert_eq!(files.stat(tool, "d:out/d").unwrap().len, 5);
    files.remove_folder(tool, "d:out/folder").unwrap();
    files.remove(tool, "d:out/d").unwrap();
    assert!(matches!(failed(files.stat(tool, "d:out/d")), FsError::NotFound { .. }));
}

#[test]
fn a9_a20_nothing_is_moved_copied_or_written_with_one_side_denied() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    fs::write(world.at("root/out/b"), "beta").unwrap();
    is_denied(files.rename(tool, "d:out/b", "d:in/b"));
    is_denied(files.rename(tool, "d:other", "d:out/b"));
    is_denied(files.rename(tool, "d:in/secret/key", "d:out/key"));
    is_denied(files.copy(tool, "d:in/secret/key", "d:out/key", 16));
    is_denied(files.copy(tool, "d:in/a", "d:in/b", 16));
    is_denied(files.write(tool, "d:in/a", b"x"));
    is_denied(files.append(tool, "d:in/a", b"x"));
    is_denied(files.create_folder(tool, "d:in/x"));
    is_denied(files.remove(tool, "d:in/secret/key"));
    for (path, text) in [("in/a", "alpha"), ("in/secret/key", "key"), ("out/b", "beta"), ("other", "other")] {
        assert_eq!(fs::read_to_string(world.at("root").join(path)).unwrap(), text);
    }
    // What is denied inside would come to lie where it is not.
    fs::create_dir(world.at("root/out/dir")).unwrap();
    assert!(matches!(
        failed(files.rename(tool, "d:out/dir", "d:out/elsewhere")),
        FsError::NotAFile { kind: "folder", .. }
    ));
}

#[test]
fn b5_no_link_is_followed_wherever_it_leads() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    symlink("../../outside/o", world.at("root/in/escapes")).unwrap();
    symlink(world.at("root/in/a"), world.at("root/in/absolute")).unwrap();
    symlink("secret/key", world.at("root/in/denied")).unwrap();
    symlink("secret", world.at("root/in/folder")).unwrap();
    symlink("self", world.at("root/in/self")).unwrap();
    symlink("/nowhere/at/all", world.at("root/out/dangling")).unwrap();
    for path in ["d:in/escapes", "d:in/absolute", "d:in/denied", "d:in/self", "d:in/folder/key"] {
        let error = failed(world.read(path).map(drop));
        assert!(
            matches!(error, FsError::NotAFile { kind: "link", .. } | FsError::Io { .. }),
            "{path}: {error:?}"
        );
    }
    assert!(matches!(
        failed(files.write(tool, "d:out/dangling", b"x")),
        FsError::NotAFile { kind: "link", .. }
    ));
    assert!(files.append(tool, "d:out/dangling", b"x").is_err());
    assert!(!world.at("nowhere").exists());
    assert_eq!(files.stat(tool, "d:in/escapes").unwrap().kind, Kind::Link, "the link itself is looked at");
    files.remove(tool, "d:in/escapes").unwrap();
    assert_eq!(fs::read_to_string(world.at("outside/o")).unwrap(), "outside");
}

#[test]
fn a8_a_file_with_another_name_somewhere_is_neither_read_nor_written() {
    let world = World::new();
    fs::hard_link(world.at("outside/o"), world.at("root/in/hard")).unwrap();
    fs::hard_link(world.at("outside/o"), world.at("root/out/hard")).unwrap();
    let (files, tool) = (&world.files, &world.tool);
    assert!(matches!(failed(world.read("d:in/hard").map(drop)), FsError::HardLinked { links: 3, .. }));
    for outcome in [
        files.append(tool, "d:out/hard", b"x"),
        files.write(tool, "d:out/hard", b"x"),
        files.rename(tool, "d:out/hard", "d:out/x"),
    ] {
        assert!(matches!(failed(outcome), FsError::HardLinked { .. }));
    }
    assert_eq!(fs::read_to_string(world.at("outside/o")).unwrap(), "outside");
}

#[test]
fn a15_what_is_no_file_is_refused_at_once() {
    let world = World::new();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        world.at("root/in/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.at("root/in/socket")).unwrap();
    for path in ["d:in/fifo", "d:in/socket", "d:in"] {
        assert!(matches!(failed(world.read(path).map(drop)), FsError::NotAFile { .. }), "{path}");
    }
    assert_eq!(world.files.stat(&world.tool, "d:in/fifo").unwrap().kind, Kind::Other);
}

#[test]
fn a14_a_folder_shows_only_what_may_be_looked_at() {
    let world = World::new();
    let names = |path: &str| -> Vec<String> {
        let entries = world.files.list(&world.tool, path, 100).unwrap();
        entries.into_iter().map(|entry: Entry| entry.name).collect()
    };
    assert_eq!(names("d:in"), ["a"]);
    assert_eq!(names("d:."), ["in", "out"]);
    is_denied(world.files.list(&world.tool, "d:in/secret", 100));
    fs::write(world.at("root/in/b"), "").unwrap();
    assert_eq!(
        world.files.list(&world.tool, "d:in", 2).unwrap().len(),
        2,
        "what is not shown does not count"
    );
    let error = failed(world.files.list(&world.tool, "d:in", 1));
    assert!(matches!(error, FsError::TooMany { limit: 1, .. }), "{error:?}");
}

#[test]
fn a13_what_is_denied_answers_alike_whether_it_is_there_or_not() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    let say = |path: &str| {
        let text = [
            world.read(path).map(drop).unwrap_err().to_string(),
            files.stat(tool, path).map(drop).unwrap_err().to_string(),
            files.write(tool, path, b"").unwrap_err().to_string(),
        ];
        text.concat().replace(path, "_")
    };
    assert_eq!(say("d:in/secret/key"), say("d:in/secret/nothing"));
    assert_eq!(say("d:other"), say("d:nothing"));
    is_denied(files.read(tool, "unknown:a", 1).map(drop));
    assert!(matches!(files.read(tool, "gone:a", 1), Err(FilesError::NoRoot { .. })));
}

#[test]
fn a1_a4_a_path_that_is_none_is_refused_before_anybody_decides() {
    let world = World::new();
    let long = format!("d:{}", "a/".repeat(4096));
    for path in ["d:../outside/o", "d:in/../other", "d:/etc/passwd", "d:", "in/a", "d:a\0b", &*long, "../d:a"]
    {
        assert!(matches!(world.read(path), Err(FilesError::Path { .. })), "{path:?}");
    }
}

#[test]
fn a_file_is_not_renamed_from_root_to_root() {
    let world = World::new();
    assert!(matches!(world.files.rename(&world.tool, "d:out/x", "gone:x"), Err(FilesError::TwoRoots { .. })));
}

#[test]
fn a_file_is_read_up_to_its_bound() {
    let world = World::new();
    assert_eq!(world.files.read(&world.tool, "d:in/a", 5).unwrap(), b"alpha");
    assert!(matches!(failed(world.files.read(&world.tool, "d:in/a", 4)), FsError::TooLarge { limit: 4, .. }));
}

#[test]
fn b1_a_file_that_is_swapped_for_a_link_shows_nothing_of_the_outside() {
    let world = World::new();
    let is_over = AtomicBool::new(false);
    let swaps = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0_u32;
            while !is_over.load(Ordering::Relaxed) {
                fs::rename(world.at("root/in/a"), world.at("root/in/kept")).unwrap();
                symlink("../../outside/o", world.at("root/in/a")).unwrap();
                fs::remove_file(world.at("root/in/a")).unwrap();
                fs::rename(world.at("root/in/kept"), world.at("root/in/a")).unwrap();
                swaps += 1;
            }
            swaps
        });
        let begin = std::time::Instant::now();
        let mut read = 0;
        while begin.elapsed() < std::time::Duration::from_secs(2) {
            if let Ok(text) = world.read("d:in/a") {
                assert_eq!(text, "alpha");
                read += 1;
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(read > 0, "it was there at times");
        swapper.join().unwrap()
    });
    assert!(swaps > 1_000, "{swaps} swaps");
}
