//! Runs a tool that nobody trusts: with one folder to begin in, no variable, hard limits, and five seconds.
//!
//! Nothing here opens the network for the tool, and no rule could open one host of it: a process connects by itself, and the
//! system knows addresses and ports at most. A tool that needs a host gets what it needs from there as input.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use airssys_osl::audit::{AuditLog, AuditOptions};
use airssys_osl::{Gate, Name, Policy, Program, Programs, ProgramsOptions, Root, Subject};

const POLICY: &str = r#"
version = 1
[[subject]]
name = "tool"
[[subject.allow]]
run = "/usr/bin/sort"
args = ["*"]
[[subject.allow]]
files = ["work:."]
verbs = ["list"]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let work =
        std::env::args().nth(1).ok_or("say which folder the tool works in, and which file of it to sort")?;
    let file = std::env::args().nth(2).ok_or("say which file of the folder is to be sorted")?;
    let log = AuditLog::open(&Root::private(&Path::new(&work).join(".audit"))?, AuditOptions::default())?;
    let gate = Gate::new(Policy::parse(POLICY, "policy.toml")?, log);
    let programs = Programs::new(
        gate,
        [(Name::parse("work")?, Root::open(Path::new(&work))?)],
        ProgramsOptions::default(),
    );

    let sort = Program::new("/usr/bin/sort").arg(&file).folder("work:.").timeout(Duration::from_secs(5));
    let output = programs.run_blocking(&Subject::parse("tool")?, sort)?;
    print(&format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)));
    print(&format!("{}, held by {:?}\n", output.exit, output.means));
    Ok(())
}

#[allow(clippy::print_stdout, reason = "this is what the example is for")]
fn print(text: &str) {
    print!("{text}");
}
