//! Benchmarks beside their baselines: `airssys-bench SUITE [--compare] [--only WORKLOAD] [--json FILE]`.
//!
//! A suite measures ours and its baseline in one process and in turn, so that a noisy machine disturbs both alike, and
//! gives ratios. What each workload means and what is inside its measured region is in `bench/README.md`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints its result")]

mod heap;
mod machine;
mod osl;
mod report;
mod rt;
#[cfg(feature = "wasm")]
mod wasm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::report::Report;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

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
    /// Measures what idle actors keep, in this process alone: how the suite calls itself.
    #[arg(long, value_name = "SUBJECT:COUNT", hide = true)]
    idle: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Components as actors, beside bare Wasmtime.
    Wasm,
    /// Actors, beside raw tokio and, with `--compare`, other actor systems.
    Rt,
    /// The door to the operating system, beside the same without it.
    Osl,
}

/// What was asked for was left out when this was built.
#[derive(Debug, thiserror::Error)]
#[error("{what} was not built; build with `--features {feature}`")]
struct NotBuilt {
    what: &'static str,
    feature: &'static str,
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
    if let Some(idle) = &options.idle {
        return rt::idle(idle);
    }
    let load_before = machine::load()?;
    let only = options.only.as_deref();
    let (report, description) = match options.suite {
        Suite::Rt => {
            if options.compare && cfg!(not(feature = "compare")) {
                return Err(NotBuilt { what: "the comparison with other systems", feature: "compare" }.into());
            }
            (rt::measure(options.compare, only)?, machine::description(rt::PACKAGES)?)
        }
        Suite::Wasm => measure_wasm(options.compare, only)?,
        Suite::Osl => (osl::measure(only)?, machine::description(osl::PACKAGES)?),
    };
    println!("{description}\nload of the machine: {load_before} before, {} after\n", machine::load()?);
    println!("{}", report.table());
    for note in report.notes() {
        println!("- {note}");
    }
    if let Some(path) = &options.json {
        let (folder, name) = airssys_osl::Root::of_file(path)?;
        folder.write_atomic(name.as_ref(), report.json()?.as_bytes(), 0o644)?;
    }
    Ok(())
}

#[cfg(feature = "wasm")]
fn measure_wasm(compare: bool, only: Option<&str>) -> Outcome<(Report, String)> {
    if compare {
        eprintln!("suite `wasm` measures no other systems; bare Wasmtime is always measured");
    }
    Ok((wasm::measure(only)?, machine::description(wasm::PACKAGES)?))
}

#[cfg(not(feature = "wasm"))]
fn measure_wasm(_compare: bool, _only: Option<&str>) -> Outcome<(Report, String)> {
    Err(NotBuilt { what: "suite `wasm`", feature: "wasm" }.into())
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
