//! A second process for laws about processes: this test binary again, in a role.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use airssys_osl::{ControlListener, FileLock, Input, Line, Lines, Root};

pub(crate) const ROLE: &str = "AIRSSYS_OSL_TEST_ROLE";
pub(crate) const PATH: &str = "AIRSSYS_OSL_TEST_PATH";

/// A user that is neither root nor, where tests run as root, this one.
pub(crate) const STRANGER: u32 = 65_534;

/// A process in a role, ended with its handle.
pub(crate) struct Other {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    /// Starts it and waits until it has said `ready`.
    pub(crate) fn start(role: &str, path: &Path, uid: Option<u32>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        if role == "full" {
            // A limit on files ends who does not ignore its signal, and what a shell ignores its successor does.
            command = Command::new("/bin/sh");
            command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
        }
        command.args(["--exact", "process::other", "--nocapture"]);
        if role == "observe" {
            for name in ["AIRSSYS_OBSERVE", "AIRSSYS_OSL_OBSERVE", "AIRSSYS_DRY_RUN", "OBSERVE", "DRY_RUN"] {
                command.env(name, "1");
            }
        }
        command.env(ROLE, role).env(PATH, path).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(uid) = uid {
            command.uid(uid);
        }
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut other = Other { child, stdout };
        assert!(other.says("ready"), "the other process ended early");
        other
    }

    /// Whether it says `word` before it ends.
    pub(crate) fn says(&mut self, word: &str) -> bool {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            if line.contains(word) {
                return true;
            }
            line.clear();
        }
        false
    }

    /// What it says next, without the end of the line.
    pub(crate) fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stdout.read_line(&mut line).unwrap();
            // What the test runner says of a role that takes its time is not the role's.
            if !line.starts_with("test process::other has been running") {
                return line.trim_end().to_owned();
            }
        }
    }

    /// Ends it with no chance to clean up.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// Whether this process may act as another user.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What other tests start in a process of its own; without a role it has nothing to do.
#[test]
fn other() {
    let (Ok(role), Some(path)) = (std::env::var(ROLE), std::env::var_os(PATH)) else { return };
    let path = Path::new(&path);
    match role.as_str() {
        "lock" => {
            let (root, name) = Root::of_file(path).unwrap();
            let _lock = FileLock::try_lock(&root, name.as_ref()).unwrap();
            ready_until_told();
        }
        "listen" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            let _entered = runtime.enter();
            let _listener = ControlListener::bind(path).unwrap();
            ready_until_told();
        }
        "connect" => {
            println!("ready");
            let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
        "long-line" => {
            let used = std::fs::read_to_string("/proc/self/statm").unwrap();
            let pages: u64 = used.split(' ').next().unwrap().parse().unwrap();
            let most = Some(pages * 4096 + (16 << 20));
            let limit = rustix::process::Rlimit { current: most, maximum: most };
            rustix::process::setrlimit(rustix::process::Resource::As, limit).unwrap();
            println!("ready");
            let mut lines = Lines::new(Input::open(path).unwrap(), 1024);
            while let Some(line) = lines.next_line().unwrap() {
                match line {
                    Line::TooLong { bytes } => println!("skipped {bytes};"),
                    Line::Whole(bytes) => println!("whole {};", bytes.len()),
                }
            }
        }
        "audit" => {
            let gate = crate::audit::gate(path, crate::audit::SMALL);
            println!("ready");
            loop {
                println!("{}", crate::audit::tell(&gate, 1));
            }
        }
        "full" => {
            println!("ready");
            let limit = |current| {
                let limit = rustix::process::Rlimit { current, maximum: None };
                rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
            };
            println!("{}", crate::audit::until_refused(path, || limit(Some(3000)), || limit(None)));
        }
        "locked-out" => {
            use std::os::unix::fs::PermissionsExt as _;
            println!("ready");
            let mode = |mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            println!("{}", crate::audit::until_refused(path, || mode(0o500), || mode(0o700)));
        }
        "peek" => {
            println!("ready");
            println!("{}", crate::signed::peek(path));
        }
        "observe" => {
            println!("ready");
            println!("{}", crate::observe::observe_by_variables(path));
        }
        "confine" => crate::sandbox::programs::confine(path),
        "attack" => crate::sandbox::programs::attack(path),
        role => crate::programs::play(role, path),
    }
}

#[allow(clippy::print_stdout, reason = "the process that started this one reads it")]
fn ready_until_told() {
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
