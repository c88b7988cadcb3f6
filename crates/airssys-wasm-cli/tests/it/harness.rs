//! A home for one test: a folder with its own socket, cache and applications, and the command run in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a slow machine; what does not end until then hangs.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Home {
    dir: TempDir,
}

/// What a command left behind.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the command writes UTF-8");
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The envelope: the whole of standard output.
    pub(crate) fn envelope(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{error}: {:?}, and on standard error: {}", self.stdout, self.stderr)
        })
    }

    pub(crate) fn data(&self) -> Value {
        let envelope = self.envelope();
        assert_eq!(envelope["ok"], true, "{envelope}");
        envelope["data"].clone()
    }

    /// The failure, checked against the exit code that belongs to its kind.
    pub(crate) fn error(&self, kind: &str, code: i32) -> Value {
        let envelope = self.envelope();
        assert_eq!(envelope["ok"], false, "{envelope}");
        assert_eq!(envelope["error"]["kind"], kind, "{envelope}");
        assert_eq!(self.code, Some(code), "{envelope}");
        envelope["error"].clone()
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Home { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, file: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_airssys"));
        command
            .args(args)
            .current_dir(self.path())
            .env_remove("AIRSSYS_SOCKET")
            .env_remove("AIRSSYS_LOG")
            .env("XDG_RUNTIME_DIR", self.path())
            .env("XDG_STATE_HOME", self.path())
            .env("XDG_CACHE_HOME", shared_cache());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).stdin(Stdio::null()).output().unwrap())
    }

    pub(crate) fn run_json(&self, args: &[&str]) -> Ran {
        self.run(&[&["-o", "json"], args].concat())
    }

    /// Starts `up` and waits until it is up.
    pub(crate) fn up(&self, args: &[&str]) -> Up {
        Up::start(self.command(&[&["-o", "json", "up"], args].concat()))
    }

    /// An application of the test guests `echo` and `crasher`, with lines going to `crasher`.
    pub(crate) fn guests(&self, root: &str, input: &str) -> &'static str {
        let grants = "log = true\nsleep = true\n";
        let component = |name: &str, requests: &str| {
            format!("[[component]]\nname = \"{name}\"\npath = \"{name}\"\n[component.grants]\n{requests}")
        };
        for name in ["echo", "crasher"] {
            let manifest = format!(
                "[component]\nname = \"{name}\"\nversion = \"0.1.0\"\nwasm = \"{name}.wasm\"\n[capabilities]\n{grants}"
            );
            self.write(&format!("app/{name}/Component.toml"), manifest);
            let wasm = repository().join(format!("guests/prebuilt/{name}.wasm"));
            self.write(&format!("app/{name}/{name}.wasm"), std::fs::read(wasm).unwrap());
        }
        let (echo, crasher) = (component("echo", grants), component("crasher", grants));
        self.write(
            "app/airssys.toml",
            format!("[application]\nname = \"app\"\n{root}\n{echo}{crasher}{input}"),
        );
        "app"
    }
}

/// Lines go to `crasher`, which echoes what it does not know.
pub(crate) const INPUT: &str = "[input]\nto = \"crasher\"\n";
/// Any number of crashes is fine.
pub(crate) const PATIENT: &str = "[root]\nintensity = 1000\n";

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Compiled code is the same for all tests, and compiling takes longest. Private, as the command demands.
fn shared_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-tests-cache")
}

/// A running `airssys up`. Killed when dropped.
pub(crate) struct Up {
    pub(crate) child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    stdout: JoinHandle<String>,
    stderr: Arc<Mutex<String>>,
    ended: bool,
}

impl Up {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn({
            let stderr = Arc::clone(&stderr);
            move || {
                for line in lines {
                    let mut stderr = stderr.lock().unwrap();
                    stderr.push_str(&line.unwrap());
                    stderr.push('\n');
                }
            }
        });
        let stdin = child.stdin.take();
        let mut up = Up { child, stdin, stdout, stderr, ended: false };
        up.wait_for(" is up after ");
        up
    }

    /// What is on standard error until now.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until standard error has `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let began = Instant::now();
        while !self.stderr().contains(text) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?} before saying {text:?}: {}", self.stderr());
            assert!(began.elapsed() < PATIENCE, "did not say {text:?}: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn feed(&mut self, text: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(text).unwrap();
    }

    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Peak resident memory so far.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        self.stdin = None;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "did not end: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        };
        self.ended = true;
        let stdout = std::mem::replace(&mut self.stdout, std::thread::spawn(String::new));
        Ran { code: status.code(), stdout: stdout.join().unwrap(), stderr: self.stderr() }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if !self.ended {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Lines that were read ended one way each.
pub(crate) fn assert_adds_up(data: &Value) {
    let number = |key: &str| data[key].as_u64().unwrap_or_else(|| panic!("no {key} in {data}"));
    assert_eq!(number("read"), number("accepted") + number("rejected"), "{data}");
    let reasons: u64 =
        data["rejected_by"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(number("rejected"), reasons, "{data}");
}
