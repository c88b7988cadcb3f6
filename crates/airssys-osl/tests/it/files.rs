//! Files behind the gate: what may be done is done, and nothing else is, whatever lies in the folders.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use airssys_osl::audit::{AuditOptions, Durability};
use airssys_osl::{
    Entry, Files, FilesError, FsError, Gate, Kind, Layer, Name, Quota, QuotaOptions, Root, Subject,
    TransformError, TreeBounds,
};

use crate::audit::{gate_by, records};

/// A root `d` of which the tool may read `in` and do everything in `out`, and a folder beside it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) gate: Gate,
    pub(crate) files: Files,
    pub(crate) tool: Subject,
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
    /// With a log that is on the disk before anything is done.
    pub(crate) fn new() -> Self {
        Self::with(Durability::Strict, |root| root)
    }

    /// With a log that nobody waits for.
    pub(crate) fn prompt() -> Self {
        Self::with(Durability::Async, |root| root)
    }

    pub(crate) fn with(durability: Durability, change: impl FnOnce(Root) -> Root) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for path in ["root/in/secret", "root/out/secret", "outside"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        fs::write(folder.path().join("root/in/a"), "alpha").unwrap();
        fs::write(folder.path().join("root/in/secret/key"), "key").unwrap();
        fs::write(folder.path().join("root/other"), "other").unwrap();
        fs::write(folder.path().join("outside/o"), "outside").unwrap();
        let options = AuditOptions { durability, ..AuditOptions::default() };
        let gate = gate_by(POLICY, &folder.path().join("log"), options);
        let root = change(Root::open(&folder.path().join("root")).unwrap());
        let files = Files::new(gate.clone(), [(Name::parse("d").unwrap(), root)]);
        Self { folder, gate, files, tool: Subject::parse("tool").unwrap() }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn read(&self, path: &str) -> Result<String, FilesError> {
        self.files.read(&self.tool, path, 1024).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }

    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        records(&self.at("log"))
    }

    /// That this is denied, with one record that names a rule or says that there is none.
    #[track_caller]
    pub(crate) fn denies<T: std::fmt::Debug>(&self, ask: impl FnOnce(&Self) -> Result<T, FilesError>) {
        let before = self.records().len();
        is_denied(ask(self));
        let records = self.records();
        assert_eq!(records.len(), before + 1, "one record");
        assert_eq!(records[before]["kind"], "denial");
        let rule = records[before]["rule"].as_str().unwrap();
        assert!(rule.starts_with("deny ") || rule == "no rule allows it", "{rule}");
    }

    /// That this is allowed and does not work, with an intent and what came of it.
    #[track_caller]
    pub(crate) fn fails<T: std::fmt::Debug>(
        &self,
        ask: impl FnOnce(&Self) -> Result<T, FilesError>,
    ) -> FsError {
        let before = self.records().len();
        let error = failed(ask(self));
        let records = self.records();
        assert_eq!(records.len(), before + 2, "an intent and its outcome");
        assert_eq!(records[before + 1]["outcome"], "failed");
        assert_eq!(records[before + 1]["error"], error.to_string());
        error
    }
}

#[track_caller]
pub(crate) fn is_denied<T: std::fmt::Debug>(outcome: Result<T, FilesError>) {
    assert!(matches!(outcome, Err(FilesError::Denied(_))), "{outcome:?}");
}

#[track_caller]
pub(crate) fn failed<T: std::fmt::Debug>(outcome: Result<T, FilesError>) -> FsError {
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
fn a9_nothing_that_may_only_be_read_gets_a_name_where_writing_is_allowed() {
    let world = World::new();
    // Renaming takes what may be removed; `in` may be read and removed, but `other` and `in/secret` may not.
    world.denies(|world| world.files.rename(&world.tool, "d:other", "d:out/b"));
    world.denies(|world| world.files.rename(&world.tool, "d:in/secret/key", "d:out/key"));
    // A link needs to be allowed at both ends, and `in` is no end of any.
    world.denies(|world| world.files.link(&world.tool, "d:out/b", "d:in/a"));
    world.denies(|world| world.files.link(&world.tool, "d:in/b", "d:out/b"));
    // What is denied inside a folder would come to lie where it is not.
    fs::create_dir(world.at("root/out/dir")).unwrap();
    let error = world.fails(|world| world.files.rename(&world.tool, "d:out/dir", "d:out/elsewhere"));
    assert!(matches!(error, FsError::NotAFile { kind: "folder", .. }));
    assert_eq!((world.text("root/other"), world.text("root/in/secret/key")), ("other".into(), "key".into()));
    assert!(!world.at("root/out/b").is_symlink() && !world.at("root/out/key").exists());
}

#[test]
fn a20_nothing_is_moved_copied_or_linked_with_one_side_denied() {
    let world = World::new();
    fs::write(world.at("root/out/b"), "beta").unwrap();
    world.denies(|world| world.files.rename(&world.tool, "d:out/b", "d:in/b"));
    world.denies(|world| world.files.rename(&world.tool, "d:other", "d:out/b"));
    world.denies(|world| world.files.copy(&world.tool, "d:in/secret/key", "d:out/key", 16));
    world.denies(|world| world.files.copy(&world.tool, "d:in/a", "d:in/b", 16));
    world.denies(|world| world.files.link(&world.tool, "d:out/l", "d:out/secret"));
    world.denies(|world| world.files.link(&world.tool, "d:out/secret/l", "d:out/b"));
    for (path, text) in [("in/a", "alpha"), ("in/secret/key", "key"), ("out/b", "beta"), ("other", "other")] {
        assert_eq!(world.text(&format!("root/{path}")), text);
    }
    for path in ["in/b", "out/key", "out/l", "out/secret/l"] {
        assert!(fs::symlink_metadata(world.at("root").join(path)).is_err(), "{path}");
    }
}

#[test]
fn a10_what_may_only_be_read_is_neither_cut_nor_overwritten() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    world.denies(|world| world.files.write(&world.tool, "d:in/a", b""));
    world.denies(|world| world.files.append(&world.tool, "d:in/a", b"x"));
    world.denies(|world| world.files.open_replace(&world.tool, "d:in/a", 16));
    world.denies(|world| world.files.open_write(&world.tool, "d:in/a", 16));
    world.denies(|world| world.files.open_append(&world.tool, "d:in/a", 16));
    world.denies(|world| world.files.remove_folder(&world.tool, "d:."));
    files.open_read(tool, "d:in/a", 16).unwrap().finish().unwrap();
    assert_eq!(world.text("root/in/a"), "alpha");
}

#[test]
fn a11_to_read_creates_nothing_and_what_is_created_is_allowed_to_be() {
    let world = World::new();
    assert!(matches!(world.fails(|world| world.read("d:in/new")), FsError::NotFound { .. }));
    let error = world.fails(|world| world.files.open_read(&world.tool, "d:in/new", 16).map(drop));
    assert!(matches!(error, FsError::NotFound { .. }));
    // Only what replaces comes into being.
    let error = world.fails(|world| world.files.open_write(&world.tool, "d:out/new", 16).map(drop));
    assert!(matches!(error, FsError::NotFound { .. }));
    let error = world.fails(|world| world.files.open_append(&world.tool, "d:out/new", 16).map(drop));
    assert!(matches!(error, FsError::NotFound { .. }));
    let error = world.fails(|world| world.files.append(&world.tool, "d:out/new", b"x"));
    assert!(matches!(error, FsError::NotFound { .. }));
    world.denies(|world| world.files.create_folder(&world.tool, "d:in/x"));
    world.denies(|world| world.files.temporary(&world.tool, "d:in", 16));
    assert!(!world.at("root/in/new").exists() && !world.at("root/out/new").exists());
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
        assert!(matches!(error, FsError::NotAFile { kind: "link", .. }), "{path}: {error:?}");
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

/// That none of these is a path, that nothing is done, and that each attempt is one record.
#[track_caller]
fn are_no_paths(paths: &[&str]) {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    for path in paths {
        for outcome in [
            world.read(path).map(drop),
            files.write(tool, path, b"x"),
            files.stat(tool, path).map(drop),
            files.list(tool, path, 1).map(drop),
            files.remove(tool, path),
            files.remove_tree(tool, path, TreeBounds::default()).map(drop),
            files.open_read(tool, path, 1).map(drop),
            files.open_replace(tool, path, 1).map(drop),
            files.rename(tool, "d:out/b", path),
            files.link(tool, "d:out/b", path),
            files.temporary(tool, &format!("{path}/.."), 1).map(drop),
            files.transform(tool, "d:in/a", path, 8, Ok::<_, std::fmt::Error>).map_err(|error| match error {
                TransformError::Refused(error) => error,
                other => panic!("{other:?}"),
            }),
        ] {
            assert!(matches!(outcome, Err(FilesError::Path { .. })), "{path:?}: {outcome:?}");
        }
    }
    let records = world.records();
    assert_eq!(records.len(), paths.len() * 12, "one record each");
    for (record, path) in records.iter().zip(paths.iter().flat_map(|path| [path; 12])) {
        assert_eq!((&record["kind"], &record["subject"]), (&"denial".into(), &"tool".into()), "{record}");
        assert_eq!(record["accesses"], serde_json::json!([]));
        let shown: String = path.chars().take(40).flat_map(char::escape_debug).collect();
        assert!(record["denied"].as_str().unwrap().contains(&shown), "{record}");
        assert!(record["denied"].as_str().unwrap().chars().count() < 300, "{record}");
        assert!(!record["rule"].as_str().unwrap().is_empty());
    }
    assert_eq!(records[0]["operation"], "fs.read");
    assert!(fs::read_dir(world.at("root/out")).unwrap().count() == 1, "nothing came to be");
}

#[test]
fn a1_a_path_that_goes_up_is_refused_before_anybody_decides() {
    are_no_paths(&["d:../outside/o", "d:in/../other", "d:in/..", "d:./../outside/o", "../d:a", "..:a"]);
}

#[test]
fn a2_an_absolute_path_is_refused_before_anybody_decides() {
    are_no_paths(&["d:/etc/passwd", "d://etc/passwd", "/etc/passwd", "/d:in/a", "d:/in/a"]);
    let world = World::new();
    assert_eq!(world.read("d:in//./a").unwrap(), "alpha", "doubled slashes mean nothing");
    world.denies(|world| world.read("d:in//secret/key"));
}

#[test]
fn a3_a_name_that_begins_like_a_granted_one_is_another() {
    let world = World::new();
    for name in ["root/in-evil", "root/input"] {
        fs::create_dir(world.at(name)).unwrap();
        fs::write(world.at(name).join("a"), "evil").unwrap();
    }
    for path in ["d:in-evil/a", "d:input/a", "d:i/a", "d:inside"] {
        world.denies(|world| world.read(path));
    }
}

#[test]
fn a4_a_path_with_nul_an_empty_and_an_endless_one_are_refused_before_anybody_decides() {
    let long = format!("d:{}", "a/".repeat(4096));
    let wide = format!("d:{}", "a".repeat(256));
    are_no_paths(&["d:", "in/a", "d:a\0b", "", ":", ":a", &long, &wide]);
    let world = World::new();
    for path in ["d:in/a/", "d:in/a/.", "d:./in/a"] {
        assert_eq!(world.read(path).unwrap(), "alpha", "{path}");
    }
    assert!(matches!(world.fails(|world| world.read("d:in")), FsError::NotAFile { kind: "folder", .. }));
}

/// Files of a root opened anywhere, all of them granted.
fn everywhere(root: &str) -> (tempfile::TempDir, Files, Subject) {
    let folder = tempfile::tempdir().unwrap();
    let policy =
        "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"top:**\"]\nhidden = true";
    let gate = gate_by(policy, &folder.path().join("log"), AuditOptions::default());
    let files = Files::new(gate, [(Name::parse("top").unwrap(), Root::open(Path::new(root)).unwrap())]);
    (folder, files, Subject::parse("tool").unwrap())
}

#[test]
fn a5_no_way_through_proc_leads_out() {
    let world = World::new();
    let held = fs::File::open(world.at("outside/o")).unwrap();
    let own = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held));
    for (name, to) in [
        ("root_link", "/proc/self/root"),
        ("cwd", "/proc/self/cwd"),
        ("fds", "/proc/self/fd"),
        ("dev", "/dev/fd"),
        ("held", &own),
    ] {
        symlink(to, world.at("root/in").join(name)).unwrap();
    }
    for path in ["d:in/root_link/etc/passwd", "d:in/cwd/Cargo.toml", "d:in/fds/0", "d:in/dev/0", "d:in/held"]
    {
        let error = world.fails(|world| world.read(path));
        assert!(matches!(error, FsError::NotAFile { kind: "link", .. }), "{path}: {error:?}");
    }
    let (_folder, files, tool) = everywhere("/");
    for path in ["top:proc/self/root/etc/passwd", "top:proc/self/cwd/Cargo.toml", "top:proc/self/fd/0"] {
        let error = failed(files.read(&tool, path, 1 << 20));
        assert!(matches!(error, FsError::Mounted { .. }), "{path}: {error:?}");
    }
}

#[test]
fn a6_what_the_kernel_says_of_processes_is_no_file() {
    let pid = std::process::id();
    for root in ["/proc", "/proc/self", &format!("/proc/{pid}"), "/proc/sys"] {
        let (_folder, files, tool) = everywhere(root);
        for path in
            ["top:environ", "top:self/environ", "top:self/mem", "top:sysrq-trigger", "top:kernel/hostname"]
        {
            for outcome in [
                files.read(&tool, path, 1 << 20).map(drop),
                files.append(&tool, path, b"x"),
                files.write(&tool, path, b"x"),
                files.stat(&tool, path).map(drop),
                files.open_write(&tool, path, 1).map(drop),
            ] {
                assert!(matches!(failed(outcome), FsError::OfTheKernel { .. }), "{root} {path}");
            }
        }
        assert!(matches!(failed(files.list(&tool, "top:.", 10)), FsError::OfTheKernel { .. }));
    }
}

#[test]
fn a7_devices_and_what_the_kernel_says_of_them_are_no_files() {
    let (_folder, files, tool) = everywhere("/sys");
    assert!(matches!(failed(files.read(&tool, "top:kernel/uevent_seqnum", 64)), FsError::OfTheKernel { .. }));
    let (_folder, files, tool) = everywhere("/dev");
    for path in ["top:null", "top:zero", "top:full", "top:tty", "top:random"] {
        for outcome in [
            files.read(&tool, path, 64).map(drop),
            files.append(&tool, path, b"x"),
            files.open_write(&tool, path, 64).map(drop),
            files.write(&tool, path, b"x"),
            files.copy(&tool, path, "top:none", 64),
        ] {
            // Some are not there, and where they are mounted one by one that is the reason.
            let error = failed(outcome);
            assert!(
                matches!(
                    error,
                    FsError::NotAFile { .. } | FsError::NotFound { .. } | FsError::Mounted { .. }
                ),
                "{path}: {error:?}"
            );
        }
    }
    // A link there leads to /proc.
    let error = failed(files.read(&tool, "top:fd/0", 64));
    assert!(matches!(error, FsError::NotAFile { kind: "link", .. } | FsError::NotFound { .. }), "{error:?}");
}

/// What the bits and attributes of a file are.
fn looks(path: &Path) -> (u32, u32, u32, i64) {
    use std::os::unix::fs::MetadataExt as _;
    let about = fs::metadata(path).unwrap();
    (about.mode(), about.uid(), about.gid(), about.mtime_nsec())
}

#[test]
fn a12_an_open_handle_changes_nothing_but_what_it_was_opened_for() {
    let world = World::new();
    let path = world.at("root/in/a");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let before = looks(&path);
    let reader = world.files.open_read(&world.tool, "d:in/a", 16).unwrap();
    // The system itself would refuse: the descriptor is for reading only.
    let mut modes = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|to| to == fs::canonicalize(&path).unwrap()) {
            let info =
                fs::read_to_string(format!("/proc/self/fdinfo/{}", entry.file_name().display())).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            modes.push(u32::from_str_radix(flags.trim(), 8).unwrap() & 0o3);
        }
    }
    assert_eq!(modes, [0], "one descriptor, read only");
    reader.finish().unwrap();
    assert_eq!(looks(&path), before);
    // Writing keeps the mode, and no handle has a way to modes, owners, times and attributes: `doors.rs` lists what they have.
    fs::write(world.at("root/out/b"), "beta").unwrap();
    fs::set_permissions(world.at("root/out/b"), fs::Permissions::from_mode(0o640)).unwrap();
    let mut writer = world.files.open_write(&world.tool, "d:out/b", 16).unwrap();
    std::io::Write::write_all(&mut writer, b"B").unwrap();
    writer.finish().unwrap();
    assert_eq!(looks(&world.at("root/out/b")).0 & 0o7777, 0o640);
    assert_eq!(world.text("root/out/b"), "Beta");
}

#[test]
fn a18_a_subject_is_never_a_part_of_a_path() {
    let world = World::new();
    for name in ["tool/../x", "../tool", "..", "/tool"] {
        assert!(Subject::parse(name).is_err(), "{name}");
    }
    let other = Subject::parse("tool/x").unwrap();
    world.denies(|world| world.files.read(&other, "d:in/a", 16));
    assert_eq!(fs::read_dir(world.at("log")).unwrap().count(), 2, "a lock and a segment, whoever asks");
}

#[test]
fn a_file_is_not_renamed_from_root_to_root() {
    let world = World::new();
    assert!(matches!(world.files.rename(&world.tool, "d:out/x", "gone:x"), Err(FilesError::TwoRoots { .. })));
}

#[test]
fn g5_a_file_that_says_it_is_huge_takes_no_room_beyond_the_bound() {
    let world = World::new();
    // A hole of 8 TiB, or as much as this file system has names for: room for its length cannot be had.
    let sparse = fs::File::create(world.at("root/in/sparse")).unwrap();
    let len = [8_u64 << 40, 8 << 30].into_iter().find(|len| sparse.set_len(*len).is_ok()).unwrap();
    assert!(matches!(
        failed(world.files.read(&world.tool, "d:in/sparse", 1 << 20)),
        FsError::TooLarge { limit: 1_048_576, .. }
    ));
    assert!(matches!(
        failed(world.files.read(&world.tool, "d:in/sparse", len - 1)),
        FsError::TooLarge { .. }
    ));
}

#[test]
fn a_file_is_read_up_to_its_bound() {
    let world = World::new();
    assert_eq!(world.files.read(&world.tool, "d:in/a", 5).unwrap(), b"alpha");
    assert!(matches!(failed(world.files.read(&world.tool, "d:in/a", 4)), FsError::TooLarge { limit: 4, .. }));
}

#[test]
fn b5_a_link_is_made_where_both_ends_allow_it_and_nothing_here_follows_it() {
    let world = World::new();
    let (files, tool) = (&world.files, &world.tool);
    files.write(tool, "d:out/b", b"beta").unwrap();
    files.create_folder(tool, "d:out/deep").unwrap();
    files.link(tool, "d:out/deep/l", "d:out/b").unwrap();
    assert_eq!(fs::read_link(world.at("root/out/deep/l")).unwrap(), Path::new("../b"));
    assert_eq!(world.text("root/out/deep/l"), "beta", "others follow it");
    assert_eq!(files.read_link(tool, "d:out/deep/l").unwrap(), "../b");
    assert_eq!(files.stat(tool, "d:out/deep/l").unwrap().kind, Kind::Link);
    for outcome in [
        world.read("d:out/deep/l").map(drop),
        files.write(tool, "d:out/deep/l", b"x"),
        files.append(tool, "d:out/deep/l", b"x"),
        files.rename(tool, "d:out/deep/l", "d:out/x"),
        files.link(tool, "d:out/x", "d:out/deep/l"),
    ] {
        assert!(matches!(failed(outcome), FsError::NotAFile { kind: "link", .. }));
    }
    assert!(matches!(failed(files.link(tool, "d:out/x", "d:out/none")), FsError::NotFound { .. }));
    assert!(matches!(failed(files.read_link(tool, "d:out/b")), FsError::NotAFile { .. }));
    assert!(files.link(tool, "d:out/b", "d:out/deep").is_err(), "what is there stays");
    assert!(matches!(files.link(tool, "d:out/x", "gone:x"), Err(FilesError::TwoRoots { .. })));
    let names: Vec<_> = (0..42).map(|number| format!("chain{number}")).collect();
    for pair in names.windows(2) {
        symlink(&pair[1], world.at("root/in").join(&pair[0])).unwrap();
    }
    assert!(matches!(failed(world.read("d:in/chain0/x")), FsError::NotAFile { kind: "link", .. }));
    world.denies(|world| world.files.read_link(&world.tool, "d:in/secret/l"));
}

#[test]
fn a_storm_of_texts_that_are_no_paths_is_counted() {
    let world = World::prompt();
    for _ in 0..150 {
        assert!(matches!(world.read("d:../x"), Err(FilesError::Path { .. })));
    }
    let World { folder, gate, files, tool: _ } = world;
    drop((gate, files));
    let records = records(&folder.path().join("log"));
    let full = records.iter().filter(|record| record["kind"] == "denial").count();
    let counted: u64 = records.iter().filter_map(|record| record["count"].as_u64()).sum();
    assert_eq!((full, counted), (100, 50));
}

#[test]
fn a_file_of_holes_that_no_memory_holds_is_an_error() {
    // A file system without a bound on files below that of the system's numbers.
    let folder = match tempfile::tempdir_in("/dev/shm") {
        Ok(folder) => folder,
        Err(error) => return println!("NOT TESTED HERE: there is no file system in memory: {error}"),
    };
    fs::File::create(folder.path().join("holes")).unwrap().set_len(1 << 62).unwrap();
    let log = tempfile::tempdir().unwrap();
    let gate = gate_by(POLICY, &log.path().join("log"), AuditOptions::default());
    let policy = "version = 1\n[[subject]]\nname = \"tool\"\n[[subject.allow]]\nfiles = [\"d:**\"]";
    gate.replace_policy(airssys_osl::Policy::parse(policy, "policy.toml").unwrap());
    let root = Root::open(folder.path()).unwrap();
    assert!(matches!(root.read("holes".as_ref(), u64::MAX), Err(FsError::Io { action: "read", .. })));
    let files = Files::new(gate, [(Name::parse("d").unwrap(), root)]);
    let outcome = failed(files.read(&Subject::parse("tool").unwrap(), "d:holes", u64::MAX));
    assert!(matches!(outcome, FsError::Io { action: "read", .. }), "{outcome:?}");
}

/// What a subject has had of a quota of so many bytes.
fn counted(world: &World, bytes_max: u64) -> (Files, Quota) {
    let quota = Quota::new(QuotaOptions { bytes_max, ..QuotaOptions::default() });
    let gate = world.gate.with_layers([Layer::Quota(quota.clone())]);
    let root = Root::open(&world.at("root")).unwrap();
    (Files::new(gate, [(Name::parse("d").unwrap(), root)]), quota)
}

#[test]
fn g18_every_way_to_move_bytes_counts_those_it_may_move_before_it_moves_any() {
    let world = World::new();
    fs::write(world.at("root/out/b"), "beta").unwrap();
    type Way = fn(&Files, &Subject, u64) -> Result<(), FilesError>;
    let ways: [(&str, u64, Way); 10] = [
        ("read", 1, |files, tool, max| files.read(tool, "d:in/a", max).map(drop)),
        ("write", 1, |files, tool, max| files.write(tool, "d:out/c", &vec![b'x'; max as usize])),
        ("append", 1, |files, tool, max| files.append(tool, "d:out/b", &vec![b'x'; max as usize])),
        ("copy", 1, |files, tool, max| files.copy(tool, "d:in/a", "d:out/copy", max)),
        ("open-read", 1, |files, tool, max| {
            files.open_read(tool, "d:in/a", max)?.finish().map(drop).map_err(Into::into)
        }),
        ("open-replace", 1, |files, tool, max| {
            files.open_replace(tool, "d:out/new", max)?.finish().map(drop).map_err(Into::into)
        }),
        ("open-write", 1, |files, tool, max| {
            files.open_write(tool, "d:out/b", max)?.finish().map(drop).map_err(Into::into)
        }),
        ("open-append", 1, |files, tool, max| {
            files.open_append(tool, "d:out/b", max)?.finish().map(drop).map_err(Into::into)
        }),
        ("temporary", 1, |files, tool, max| files.temporary(tool, "d:out", max).map(drop)),
        ("transform", 2, |files, tool, max| {
            files.transform(tool, "d:in/a", "d:out/made", max, Ok::<_, std::fmt::Error>).map_err(|error| {
                match error {
                    TransformError::Refused(error) => error,
                    other => panic!("{other:?}"),
                }
            })
        }),
    ];
    for (name, times, way) in ways {
        let (files, quota) = counted(&world, 100);
        is_denied(way(&files, &world.tool, 100 / times + 1));
        assert_eq!(quota.usage(&world.tool).bytes, 0, "{name}: nothing was moved");
        way(&files, &world.tool, 100 / times).unwrap();
        assert_eq!(quota.usage(&world.tool).bytes, 100, "{name}");
        is_denied(files.read(&world.tool, "d:in/a", 1));
    }
}

#[test]
fn g18_what_was_written_before_a_failure_is_not_refunded() {
    use std::io::Write as _;
    let world = World::new();
    fs::write(world.at("root/out/b"), "").unwrap();
    let (files, quota) = counted(&world, 30);
    for _ in 0..3 {
        let mut file = files.open_append(&world.tool, "d:out/b", 10).unwrap();
        file.write_all(&[b'x'; 10]).unwrap();
        file.write_all(b"x").unwrap_err();
        drop(file);
    }
    is_denied(files.open_append(&world.tool, "d:out/b", 10));
    assert_eq!((world.text("root/out/b").len(), quota.usage(&world.tool).bytes), (30, 30));
    assert_eq!(world.records().iter().filter(|record| record["outcome"] == "failed").count(), 3);
    // What replaces a file leaves nothing when it fails, and costs nothing.
    let (files, quota) = counted(&world, 10);
    let mut file = files.open_replace(&world.tool, "d:out/b", 10).unwrap();
    file.write_all(&[b'y'; 10]).unwrap();
    file.write_all(b"y").unwrap_err();
    drop(file);
    assert_eq!((world.text("root/out/b").len(), quota.usage(&world.tool).bytes), (30, 0));
}

#[test]
fn what_is_made_of_a_file_is_no_longer_than_was_counted() {
    let world = World::new();
    let make = |len| {
        world
            .files
            .transform(&world.tool, "d:in/a", "d:out/made", 8, |_| Ok::<_, std::fmt::Error>(vec![b'x'; len]))
    };
    let outcome = make(9);
    assert!(
        matches!(
            &outcome,
            Err(TransformError::Write(FilesError::Failed(FsError::TooLarge { limit: 8, .. })))
        ),
        "{outcome:?}"
    );
    assert!(!world.at("root/out/made").exists());
    make(8).unwrap();
    assert_eq!(world.text("root/out/made").len(), 8);
}
