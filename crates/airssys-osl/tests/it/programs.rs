//! Programs behind the gate: what runs is what was allowed, it gets nothing that was not said, and all of it ends.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use airssys_osl::audit::{AuditOptions, Durability};
use airssys_osl::{
    Boundary, Exit, FsError, Limits, Name, Output, Program, Programs, ProgramsError, ProgramsOptions, Root,
    Signal, Stream, Subject,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::audit::{gate_by, records};
use crate::process::{Other, STRANGER, is_root};

mod bounds;

/// How long something may take that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a program of the system really is.
fn real(path: &str) -> String {
    fs::canonicalize(path).unwrap().into_os_string().into_string().unwrap()
}

pub(crate) struct World {
    folder: tempfile::TempDir,
    programs: Programs,
    tool: Subject,
}

impl World {
    /// With these rules besides those for a few programs of the system.
    fn with(rules: &str, options: ProgramsOptions) -> Self {
        Self::at(tempfile::tempdir().unwrap(), rules, options)
    }

    fn at(folder: tempfile::TempDir, rules: &str, options: ProgramsOptions) -> Self {
        fs::create_dir_all(folder.path().join("root/in")).unwrap();
        fs::create_dir_all(folder.path().join("root/secret")).unwrap();
        let programs = programs(&folder.path().join("log"), folder.path(), rules, options);
        Self { folder, programs, tool: Subject::parse("tool").unwrap() }
    }

    fn new() -> Self {
        Self::with("", ProgramsOptions::default())
    }

    fn at_path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn run(&self, program: Program) -> Result<Output, ProgramsError> {
        self.programs.run_blocking(&self.tool, program)
    }

    fn says(&self, program: Program) -> String {
        let output = self.run(program).unwrap();
        assert_eq!(output.exit, Exit::Code(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The kind of every record and what came of it.
    fn told(&self) -> Vec<(String, String)> {
        let word =
            |record: &serde_json::Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let records = records(&self.at_path("log"));
        records.iter().map(|record| (word(record, "kind"), word(record, "outcome"))).collect()
    }

    #[track_caller]
    fn is_denied_once(&self, program: Program) {
        let before = self.told().len();
        let outcome = self.run(program);
        assert!(matches!(outcome, Err(ProgramsError::Denied { .. })), "{outcome:?}");
        let told = self.told().split_off(before);
        assert_eq!(told.len(), 1, "one record: {told:?}");
        assert_eq!(told[0].0, "denial");
    }
}

pub(crate) fn programs(log: &Path, folder: &Path, rules: &str, options: ProgramsOptions) -> Programs {
    let (sh, sleep, cat, sort, env) =
        (real("/bin/sh"), real("/bin/sleep"), real("/bin/cat"), real("/usr/bin/sort"), real("/usr/bin/env"));
    let policy = format!(
        r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
run = "{sh}"
args = ["-c", "*", "**"]
broad = true
[[subject.allow]]
run = "{sleep}"
args = ["*"]
[[subject.allow]]
run = "{cat}"
args = ["**"]
[[subject.allow]]
run = "{sort}"
args = ["**"]
[[subject.allow]]
run = "{env}"
[[subject.allow]]
files = ["d:in/**"]
[[subject.allow]]
files = ["closed:**"]
{rules}
"#
    );
    let options_log = AuditOptions { durability: Durability::Strict, ..AuditOptions::default() };
    let gate = gate_by(&policy, log, options_log);
    let root = Root::open(&folder.join("root")).unwrap();
    Programs::new(gate, [(Name::parse("d").unwrap(), root)], options)
}

fn sh(script: &str) -> Program {
    Program::new("/bin/sh").args(["-c", script])
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits { timeout: PATIENCE, ..Limits::default() };
    change(&mut limits);
    limits
}

/// Processes of the machine whose command line contains this word.
fn alive(word: &str) -> usize {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids = pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let lines = pids.filter_map(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok());
    lines.filter(|line| line.windows(word.len()).any(|part| part == word.as_bytes())).count()
}

/// A number of seconds that nobody else sleeps.
fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("3{:09}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed) + 1000)
}

#[track_caller]
fn comes(what: &str, is_there: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_there() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn what_is_allowed_runs_and_its_output_and_exit_come_back() {
    let world = World::new();
    assert_eq!(world.says(Program::new("/usr/bin/sort").input("b\na\n")), "a\nb\n");
    let output = world.run(sh("echo out; echo err >&2; exit 3")).unwrap();
    assert_eq!(
        (output.exit, &*output.stdout, &*output.stderr),
        (Exit::Code(3), &b"out\n"[..], &b"err\n"[..])
    );
    let told = world.told();
    let told: Vec<_> = told.iter().map(|(kind, outcome)| (kind.as_str(), outcome.as_str())).collect();
    assert_eq!(
        told,
        [("intent", ""), ("outcome", "done")].repeat(2),
        "a program that ran was run, whatever it says"
    );
}

#[test]
fn a_task_may_run_programs_and_stream_to_and_from_them() {
    let world = World::new();
    runtime().block_on(async {
        let (programs, tool) = (&world.programs, &world.tool);
        let output = programs.run(tool, Program::new("/usr/bin/sort").input("b\na\n")).await.unwrap();
        assert_eq!(output.stdout, b"a\nb\n");
        let mut running = programs.start(tool, Program::new("/bin/cat")).await.unwrap();
        let (mut stdin, mut stdout) = (running.stdin.take().unwrap(), running.stdout.take().unwrap());
        for word in ["one", "two"] {
            stdin.write_all(word.as_bytes()).await.unwrap();
            let mut back = [0; 3];
            stdout.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, word.as_bytes());
        }
        drop(stdin);
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        assert_eq!(running.wait().await.unwrap().exit, Exit::Code(0));
    });
    assert!(world.programs.run_blocking(&world.tool, Program::new("/bin/cat")).is_ok());
}

#[test]
fn a_signal_reaches_the_program_and_what_has_no_answer_to_it_ends() {
    let world = World::new();
    runtime().block_on(async {
        let (programs, tool) = (&world.programs, &world.tool);
        let script = "trap 'echo got; exit 7' TERM; echo up; while :; do sleep 0.05; done";
        let path = Program::new("/bin/sh").args(["-c", script]);
        let mut running = programs.start(tool, path).await.unwrap();
        let mut stdout = running.stdout.take().unwrap();
        let mut up = [0; 3];
        stdout.read_exact(&mut up).await.unwrap();
        running.signal(Signal::Terminate).unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "got\n");
        assert_eq!(running.wait().await.unwrap().exit, Exit::Code(7));
        for signal in
            [Signal::Terminate, Signal::Interrupt, Signal::Hangup, Signal::User1, Signal::User2, Signal::Kill]
        {
            let running = programs.start(tool, Program::new("/bin/sleep").arg(&unique())).await.unwrap();
            running.signal(signal).unwrap();
            let exit = running.wait().await.unwrap().exit;
            assert!(matches!(exit, Exit::Signal(_)), "{signal:?}: {exit:?}");
        }
    });
}

#[test]
fn f1_an_option_that_no_rule_writes_does_not_reach_the_program() {
    let world = World::new();
    fs::write(world.at_path("root/in/a"), "b\na\n").unwrap();
    let made = world.at_path("root/in/made");
    let option = format!("--output={}", made.display());
    for args in
        [&[&*option][..], &["-o", made.to_str().unwrap()], &["a", "--compress-program=/bin/sh"], &["-"]]
    {
        world.is_denied_once(Program::new("/usr/bin/sort").folder("d:in").args(args.iter().copied()));
    }
    assert!(!made.exists());
    assert_eq!(world.says(Program::new("/usr/bin/sort").folder("d:in").arg("a")), "a\nb\n");
}

#[test]
fn f2_a_bare_name_is_found_in_the_folders_of_the_embedding_program_alone() {
    let folder = tempfile::tempdir().unwrap();
    let planted = folder.path().join("bin");
    fs::create_dir(&planted).unwrap();
    fs::copy(real("/bin/cat"), planted.join("sort")).unwrap();
    symlink(real("/bin/cat"), planted.join("link")).unwrap();
    let bin = PathBuf::from(real("/usr/bin/sort")).parent().unwrap().to_owned();
    let look_in = |folders: &[&Path]| {
        let folders = folders.iter().map(|folder| (*folder).to_owned()).collect();
        World::with("", ProgramsOptions { folders, ..ProgramsOptions::default() })
    };
    // The planted one comes first, so it is what the policy is asked about.
    look_in(&[&planted, &bin]).is_denied_once(Program::new("sort"));
    assert_eq!(look_in(&[&bin, &planted]).says(Program::new("sort").input("b\na\n")), "a\nb\n");
    // A link counts as what it leads to.
    assert_eq!(look_in(&[&planted]).says(Program::new("link").input("b\na\n")), "b\na\n");
    for name in ["./sort", "bin/sort", "../bin/sort", "sort/", "."] {
        let outcome = look_in(&[&bin]).run(Program::new(name));
        assert!(
            matches!(outcome, Err(ProgramsError::Relative { .. } | ProgramsError::Path { .. })),
            "{name}: {outcome:?}"
        );
    }
    let nowhere =
        World::with("", ProgramsOptions { folders: vec!["bin".into(), ".".into()], ..Default::default() });
    assert!(matches!(nowhere.run(Program::new("sort")), Err(ProgramsError::NoFolders { .. })));
    assert!(matches!(nowhere.run(Program::new("/usr/../usr/bin/sort")), Err(ProgramsError::Path { .. })));
}

#[test]
fn f2_what_is_not_there_is_denied_like_what_is() {
    let world = World::new();
    let says = |path: &str| world.run(Program::new(path)).unwrap_err().to_string().replace(path, "_");
    assert_eq!(says("/usr/bin/id"), says("/usr/bin/no-such-program"));
    let link = world.at_path("link");
    symlink("/usr/bin/id", &link).unwrap();
    assert_eq!(says(link.to_str().unwrap()), says("/usr/bin/id"));
}

#[test]
fn f3_a_pinned_program_that_was_overwritten_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("prog");
    let program = path.to_str().unwrap().to_owned();
    fs::copy(real("/bin/cat"), &path).unwrap();
    let digest = *blake3_of(&path).as_bytes();
    let rule = format!("[[subject.allow]]\nrun = \"{}\"\nargs = [\"**\"]", real(&program));
    let world = World::at(folder, &rule, ProgramsOptions::default());
    let pinned = || Program::new(&program).pinned(digest).input("x");
    assert_eq!(world.says(pinned()), "x");
    fs::copy(real("/usr/bin/env"), &path).unwrap();
    assert!(matches!(world.run(pinned()), Err(ProgramsError::Digest { .. })));
    // Another file under the name.
    fs::remove_file(&path).unwrap();
    fs::copy(real("/bin/sh"), &path).unwrap();
    assert!(matches!(world.run(pinned()), Err(ProgramsError::Digest { .. })));
    fs::remove_file(&path).unwrap();
    symlink(real("/bin/sh"), &path).unwrap();
    world.is_denied_once(pinned());
    let told = world.told();
    assert_eq!(told[3], ("outcome".to_owned(), "failed".to_owned()));
}

fn blake3_of(path: &Path) -> blake3::Hash {
    blake3::hash(&fs::read(path).unwrap())
}

#[test]
fn f4_a_script_is_not_run_and_a_program_is_called_by_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let marker = at("marker");
    for (name, text) in
        [("shebang", format!("#!/bin/sh\ntouch {marker}\n")), ("text", format!("touch {marker}\n"))]
    {
        fs::write(at(name), text).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::copy(real("/bin/cat"), at("plain")).unwrap();
    fs::set_permissions(at("plain"), fs::Permissions::from_mode(0o644)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), 0o755.into()).unwrap();
    symlink(real("/bin/sh"), at("other-name")).unwrap();
    let (other_name, base) = (at("other-name"), real(folder.path().to_str().unwrap()));
    let names = ["shebang", "text", "plain", "fifo", "root"];
    let rules: String = names
        .iter()
        .map(|name| format!("[[subject.allow]]\nrun = \"{base}/{name}\"\nargs = [\"**\"]\n"))
        .collect();
    let paths: Vec<String> = names.iter().map(|name| at(name)).collect();
    let world = World::at(folder, &rules, ProgramsOptions::default());
    for path in paths {
        let outcome = world.run(Program::new(&path));
        assert!(matches!(outcome, Err(ProgramsError::Unfit { .. })), "{path}: {outcome:?}");
    }
    assert!(!Path::new(&marker).exists());
    let called = world.says(Program::new(&other_name).args(["-c", "echo $0"]));
    assert_eq!(called.trim(), real("/bin/sh"));
    world.is_denied_once(Program::new("/bin/sh"));
    world.is_denied_once(Program::new("/bin/sh").args(["-s", "x"]));
    world.is_denied_once(Program::new("/usr/bin/env").args(["sh", "x"]));
}

#[test]
fn f5_nothing_of_the_hosts_environment_reaches_a_program_unless_it_is_asked_for_and_allowed() {
    let world = World::with("[[subject.allow]]\nenv = [\"CARGO_PKG_*\"]", ProgramsOptions::default());
    let env = || Program::new("/usr/bin/env");
    assert!(std::env::var_os("CARGO_PKG_NAME").is_some() && std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert_eq!(world.says(env()), "");
    let said = world
        .says(env().host_variable("CARGO_PKG_NAME").host_variable("CARGO_PKG_NOT_SET").variable("A", "b"));
    assert_eq!(said, "CARGO_PKG_NAME=airssys-osl\nA=b\n");
    world.is_denied_once(env().host_variable("CARGO_MANIFEST_DIR"));
    assert!(!format!("{:?}", env().variable("A", "a secret").input("another secret")).contains("secret"));
    assert!(
        !fs::read_dir(world.at_path("log"))
            .unwrap()
            .any(|file| { fs::read_to_string(file.unwrap().path()).unwrap_or_default().contains("A=b") })
    );
}

#[test]
fn f6_a_variable_that_chooses_code_takes_a_rule_that_writes_its_name() {
    let rules =
        "[[subject.allow]]\nenv = [\"*\"]\nbroad = true\n[[subject.allow]]\nenv = [\"LD_*\", \"GIT_DIR\"]";
    let world = World::with(rules, ProgramsOptions::default());
    let env = || Program::new("/usr/bin/env");
    for name in [
        "LD_PRELOAD",
        "LD_AUDIT",
        "LD_LIBRARY_PATH",
        "DYLD_INSERT_LIBRARIES",
        "BASH_ENV",
        "ENV",
        "GIT_SSH_COMMAND",
        "GIT_EXTERNAL_DIFF",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PERL5LIB",
        "PERL5OPT",
        "RUBYOPT",
        "IFS",
        "PATH",
        "HOME",
        "GLIBC_TUNABLES",
        "JAVA_TOOL_OPTIONS",
        "BASH_FUNC_x",
    ] {
        world.is_denied_once(env().variable(name, "x"));
        world.is_denied_once(env().host_variable(name));
    }
    assert_eq!(world.says(env().variable("GIT_DIR", "x").variable("PLAIN", "y")), "GIT_DIR=x\nPLAIN=y\n");
    for name in ["", "A=B", "A\0B", "A B", "BASH_FUNC_x%%"] {
        assert!(
            matches!(world.run(env().variable(name, "x")), Err(ProgramsError::Variable { .. })),
            "{name:?}"
        );
    }
    let twice = env().variable("A", "x").variable("A", "y");
    assert!(matches!(world.run(twice), Err(ProgramsError::Twice { .. })));
}

#[test]
fn f7_inherited_descriptors_do_not_reach_the_child() {
    let world = World::with(
        &format!("[[subject.allow]]\nrun = \"{}\"\nargs = [\"**\"]", real("/bin/ls")),
        ProgramsOptions::default(),
    );
    // One that a library in another language would leave open over a start.
    let leaked = fs::File::open(world.folder.path()).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let high = rustix::io::dup(&leaked).unwrap();
    let listed = world.says(Program::new("/bin/ls").arg("/proc/self/fd"));
    let mut numbers: Vec<u32> = listed.lines().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    // The last is the folder that it lists.
    assert_eq!(numbers, [0, 1, 2, 3]);
    drop((leaked, high));
}

#[test]
fn f8_a_program_begins_in_a_folder_that_was_allowed_and_makes_files_for_its_user_alone() {
    let world = World::new();
    let pwd = || sh("pwd -P");
    assert_eq!(world.says(pwd()), "/\n");
    let inside = real(world.at_path("root/in").to_str().unwrap());
    assert_eq!(world.says(pwd().folder("d:in")).trim(), inside);
    world.is_denied_once(pwd().folder("d:secret"));
    world.is_denied_once(pwd().folder("d:."));
    world.is_denied_once(pwd().folder("other:in"));
    for path in ["d:../x", "in", "d:in/../secret", "/", "d:/in"] {
        assert!(matches!(world.run(pwd().folder(path)), Err(ProgramsError::Path { .. })), "{path}");
    }
    assert!(matches!(world.run(pwd().folder("closed:x")), Err(ProgramsError::NoRoot { .. })));
    symlink("../secret", world.at_path("root/in/link")).unwrap();
    fs::write(world.at_path("root/in/file"), "").unwrap();
    for path in ["d:in/link", "d:in/file", "d:in/gone"] {
        let outcome = world.run(pwd().folder(path));
        assert!(matches!(outcome, Err(ProgramsError::Folder(_))), "{path}: {outcome:?}");
    }
    let gone = world.run(pwd().folder("d:in/gone"));
    assert!(matches!(gone, Err(ProgramsError::Folder(FsError::NotFound { .. }))));
    assert_eq!(world.says(sh("umask; > made").folder("d:in")).trim(), "0077");
    assert_eq!(fs::metadata(world.at_path("root/in/made")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn f9_input_and_output_flow_at_the_same_time_whoever_does_not_read() {
    const BYTES: usize = 8 << 20;
    let world = World::new();
    let much = limits(|limits| limits.output_bytes_max = BYTES);
    let output = world.run(Program::new("/bin/cat").input(vec![b'x'; BYTES]).limits(much)).unwrap();
    assert_eq!(output.stdout.len(), BYTES, "at the bound all of it comes");
    let ignored = world.run(sh("exit 0").input(vec![b'x'; BYTES]).limits(limits(|_| ()))).unwrap();
    assert_eq!(ignored.exit, Exit::Code(0));
    let closed = world.run(sh("exec 0<&-; echo x; sleep 0.2").input(vec![b'x'; BYTES])).unwrap();
    assert_eq!(closed.stdout, b"x\n");
}

#[test]
fn f9_there_is_no_terminal() {
    let world = World::new();
    let output = world
        .run(sh("if (: < /dev/tty) 2> /dev/null; then echo terminal; fi; test -t 0 || echo none"))
        .unwrap();
    assert_eq!(output.stdout, b"none\n");
    // A session of its own, of which it is the first.
    let status = world.says(sh("cat /proc/self/stat"));
    let fields: Vec<&str> = status.rsplit(')').next().unwrap().split_whitespace().collect();
    assert_eq!(fields[4], "0", "it has no terminal");
}

#[test]
fn f11_a_program_has_no_rights_and_gets_none_from_its_file() {
    let world = World::new();
    let status = world.says(Program::new("/bin/cat").arg("/proc/self/status"));
    let field = |key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_else(|| panic!("{key} in {status}"))
            .trim()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    for key in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(key), "0000000000000000", "{key}");
    }
    if is_root() {
        assert_eq!(field("CapBnd:"), "0000000000000000");
    }
}

/// A program that would become the superuser, run by somebody who is not.
#[test]
fn f11_a_file_that_lends_its_owners_rights_lends_none() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.path().join("lends");
    fs::copy(real("/bin/cat"), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    let mut other = Other::start("suid", folder.path(), Some(STRANGER));
    assert_eq!(other.line(), format!("uid {STRANGER} {STRANGER}"));
}

#[test]
fn what_runs_says_by_which_means_it_is_held() {
    let world = World::new();
    let means = world.run(sh("exit 0")).unwrap().means;
    if is_root() {
        assert!(!means.has_own_users);
    }
    let own = fs::read_link("/proc/self/ns/pid").unwrap();
    let its = world.says(sh("readlink /proc/self/ns/pid"));
    assert_eq!(means.tree == Boundary::Namespace, its.trim() != own.to_str().unwrap());
}

/// What a program does that wants to lift the bound of its control group: in namespaces of its own it has every right over its group.
#[allow(clippy::print_stdout, reason = "the process that started this one reads it")]
fn lift(at: &Path) {
    let spaces = libc::CLONE_NEWUSER | libc::CLONE_NEWCGROUP | libc::CLONE_NEWNS;
    // Refused to who has more than one thread, so by a copy.
    let has_tried = crate::raw::alone(|| {
        let at_text = std::ffi::CString::new(at.to_str().unwrap()).unwrap();
        crate::raw::call(libc::SYS_unshare, [u64::from(spaces.unsigned_abs()), 0, 0, 0]).unwrap();
        for (kind, options) in [(c"cgroup", c"pids"), (c"cgroup2", c"")] {
            let Ok(()) = crate::raw::mount(kind, &at_text, options) else { continue };
            let lifted = fs::write(at.join("pids.max"), "max");
            let made = fs::create_dir(at.join("own"));
            println!("tried {kind:?}: {lifted:?} {made:?}");
        }
    });
    println!("tried: {has_tried}");
    let script = "i=0; while [ $i -lt 100 ]; do sleep 30 & i=$((i+1)); done; echo all of them";
    std::process::Command::new("/bin/sh").args(["-c", script]).status().unwrap();
}

/// A program that begins a hundred others.
pub(crate) fn bomb() -> Program {
    let script = "i=0; while [ $i -lt 100 ]; do sleep 30 & i=$((i+1)); done; echo all";
    sh(script).limits(limits(|limits| limits.processes_max = 20))
}

/// What a second process does for these tests.
#[allow(clippy::print_stdout, reason = "the process that started this one reads it")]
pub(crate) fn play(role: &str, path: &Path) {
    let tool = Subject::parse("tool").unwrap();
    fs::create_dir_all(path.join("root")).unwrap();
    let lends = path.join("lends");
    let rules = format!("[[subject.allow]]\nrun = \"{}\"\nargs = [\"**\"]", lends.display());
    let programs = programs(&path.join("log"), path, &rules, ProgramsOptions::default());
    match role {
        "suid" => {
            println!("ready");
            let status = Program::new(lends.to_str().unwrap()).arg("/proc/self/status");
            let output = programs.run_blocking(&tool, status).unwrap();
            let status = String::from_utf8(output.stdout).unwrap();
            let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
            let uids: Vec<&str> = uids.split_whitespace().collect();
            println!("uid {} {}", uids[0], uids[1]);
        }
        "run-one" => {
            println!("ready");
            programs.run_blocking(&tool, sh("exit 0")).unwrap();
            println!("done");
        }
        "lift" => lift(&path.join("root/in")),
        "fork-bomb" => {
            println!("ready");
            let output = programs.run_blocking(&tool, bomb()).unwrap();
            let is_bounded = output.stdout != b"all\n";
            let is_true = is_bounded || output.means.processes.is_none();
            println!("{}", if is_true { "the report is true" } else { "the report is wrong" });
        }
        "run-program" => {
            println!("ready");
            let token = unique();
            println!("{token}");
            let script = format!("(setsid sh -c 'sleep {token} & sleep {token}' &) ; sleep {token}");
            programs.run_blocking(&tool, sh(&script).limits(limits(|limits| limits.timeout *= 10))).unwrap();
        }
        "drop-programs" => {
            println!("ready");
            let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
            // The log opens its file with the first record, and the runtime what all runtimes share, such as for signals.
            programs.run_blocking(&tool, sh("exit 0")).unwrap();
            runtime().block_on(programs.run(&tool, sh("exit 0"))).unwrap();
            let before = descriptors();
            runtime().block_on(async {
                for _ in 0..40 {
                    drop(programs.start(&tool, Program::new("/bin/cat")).await.unwrap());
                    programs.run(&tool, sh("exit 0")).await.unwrap();
                }
            });
            let end = Instant::now() + PATIENCE;
            while own_children() > 0 || descriptors() > before {
                if Instant::now() > end {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let left = descriptors().saturating_sub(before);
            let open = fs::read_dir("/proc/self/fd").unwrap();
            let open: Vec<_> = open
                .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
                .filter(|_| left > 0)
                .collect();
            println!("left {} {left} {open:?}", own_children());
        }
        other => panic!("no role {other}"),
    }
}

/// Processes that this one has made and not waited for.
fn own_children() -> usize {
    let own = std::process::id().to_string();
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let stats = pids.filter_map(|pid| fs::read(format!("/proc/{pid}/stat")).ok());
    let parents = stats.filter_map(|stat| {
        let stat = String::from_utf8_lossy(&stat).into_owned();
        Some(stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(1)?.to_owned())
    });
    parents.filter(|parent| *parent == own).count()
}
