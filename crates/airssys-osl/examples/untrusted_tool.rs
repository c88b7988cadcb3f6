//! Runs a tool that nobody trusts on what one host sends: with one folder, no variables, no network of its own, hard limits,
//! and five seconds.
//!
//! `cargo run -p airssys-osl --example untrusted_tool FOLDER HOST:PORT` sorts the lines that the host sends into the file
//! `sorted` of the folder. The system could open ports for a tool and no single host, so the tool gets what the host sends
//! as its input.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use airssys_osl::audit::{AuditLog, AuditOptions};
use airssys_osl::{
    Confinement, Fit, Gate, Name, Network, Policy, Program, Programs, ProgramsOptions, Requirement, Root,
    Subject, Whose,
};
use tokio::io::AsyncReadExt as _;

const LINES_BYTES_MAX: u64 = 1 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, host] = &*arguments else { return Err("say which folder, and which HOST:PORT".into()) };
    let text = format!(
        "version = 1\n[[subject]]\nname = \"tool\"\n\
         [[subject.allow]]\nrun = \"/usr/bin/sort\"\nargs = [\"-o\", \"sorted\"]\n\
         [[subject.allow]]\nfiles = [\"work:**\"]\nhidden = true\n\
         [[subject.allow]]\nconnect = [{host:?}]\nprivate = true\n"
    );
    let policy = Policy::parse(&text, "policy.toml")?;
    let (tool, work, root) = (Subject::parse("tool")?, Name::parse("work")?, Root::open(Path::new(folder))?);
    let wall = Confinement::new(&policy, Whose::Subject(&tool), [(&work, &root)], Fit::Inside)?;
    let wall = Arc::new(wall.with_libraries()?);
    let beside = Root::private(&Path::new(folder).with_extension("audit"))?;
    wall.must_not_reach(&beside)?;
    let log = AuditLog::open(&beside, AuditOptions::default())?;
    let gate = Gate::new(policy, log);

    let mut lines = Vec::new();
    let connection = Network::new(gate.clone()).connect(&tool, host).await?;
    let mut bounded = connection.take(LINES_BYTES_MAX + 1);
    tokio::time::timeout(Duration::from_secs(5), bounded.read_to_end(&mut lines)).await??;
    if lines.len() as u64 > LINES_BYTES_MAX {
        return Err("the host sends more than 1 MiB".into());
    }
    let sort = Program::new("/usr/bin/sort").args(["-o", "sorted"]).folder("work:.").input(lines);
    let sort = sort.timeout(Duration::from_secs(5)).confined_by(wall, Requirement::Must);
    let programs = Programs::new(gate, [(work, root)], ProgramsOptions::default());
    let output = programs.run(&tool, sort).await?;
    print(&format!(
        "{}, held by {:?}\n{}",
        output.exit,
        output.means,
        String::from_utf8_lossy(&output.stderr)
    ));
    Ok(())
}

#[allow(clippy::print_stdout, reason = "this is what the example is for")]
fn print(text: &str) {
    print!("{text}");
}
