//! Benchmarks beside their baselines: `airssys-bench SUITE [--compare] [--only WORKLOAD] [--json FILE]`.
//!
//! A suite measures ours and its baseline in one process and in turn, so that a noisy machine disturbs both alike, and
//! gives ratios. What each workload means and what is inside its measured region is in `bench/README.md`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints its result")]

mod report;
mod wasm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::report::Report;

/// What a benchmark may fail with: everything is set up by the benchmark itself, so each failure ends it.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures AirsSys beside its baselines.
#[derive(Parser)]
#[command(name = "airssys-bench")]
struct Options {
    /// What to measure.
    suite: Suite,
    /// Also measures other systems, in suites that know some.
    #[arg(long)]
    compare: bool,
    /// Measures this workload alone.
    #[arg(long, value_name = "WORKLOAD")]
    only: Option<String>,
    /// Writes the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Components as actors, beside bare Wasmtime.
    Wasm,
    /// Actors. Does not exist yet.
    Rt,
    /// The door to the operating system. Does not exist yet.
    Osl,
}

/// The suite is named in the interface and was not written.
#[derive(Debug, thiserror::Error)]
#[error("the suite `{suite}` does not exist yet; there is `wasm`")]
struct NoSuchSuite {
    suite: &'static str,
}

/// The suite has no such workload.
#[derive(Debug, thiserror::Error)]
#[error("no workload `{workload}`; the suite has {has}")]
struct NoSuchWorkload {
    workload: String,
    has: String,
}

fn main() -> ExitCode {
    if let Err(error) = without_backtraces().and_then(|()| run(&Options::parse())) {
        eprintln!("error: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            eprintln!("  because: {cause}");
            source = cause.source();
        }
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(options: &Options) -> Outcome<()> {
    let mut report = match options.suite {
        Suite::Wasm => Report::new("wasm"),
        Suite::Rt => return Err(NoSuchSuite { suite: "rt" }.into()),
        Suite::Osl => return Err(NoSuchSuite { suite: "osl" }.into()),
    };
    if options.compare {
        eprintln!("suite `wasm` measures no other systems; bare Wasmtime is always measured");
    }
    let load_before = load()?;
    wasm::measure(&mut report, options.only.as_deref())?;
    println!("{}", report.table());
    println!("load of the machine: {load_before} before, {} after", load()?);
    if let Some(path) = &options.json {
        let (folder, name) = airssys_osl::Root::of_file(path)?;
        folder.write_atomic(name.as_ref(), report.json()?.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// The average number of running threads over one minute.
fn load() -> Outcome<String> {
    let text = airssys_osl::Root::open(Path::new("/proc"))?.read_to_string(Path::new("loadavg"), 4096)?;
    Ok(text.split_whitespace().next().unwrap_or("unknown").to_owned())
}

/// Starts over with `RUST_BACKTRACE=0` where it says something else: each error of Wasmtime would capture a backtrace
/// of the host, which triples the price of a trap.
fn without_backtraces() -> Outcome<()> {
    use std::os::unix::process::CommandExt as _;
    if std::env::var_os("RUST_BACKTRACE").is_none_or(|value| value == "0") {
        return Ok(());
    }
    #[allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "the benchmark replaces itself, it starts no other program"
    )]
    let mut again = std::process::Command::new(std::env::current_exe()?);
    Err(again.args(std::env::args_os().skip(1)).env("RUST_BACKTRACE", "0").exec().into())
}
