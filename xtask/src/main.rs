//! The checks and chores of this repository, run as `cargo xtask COMMAND`.
//!
//! `cargo xtask ci` is the whole truth about a commit; every other command is one part of it, or a chore that writes
//! files for a person to look at and commit. A command that cannot do its work exits with 1 and says what to do.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a developer's tool: it prints, reads the working tree and runs programs"
)]

mod ci;
mod deny;
mod examples;
mod fuzz;
mod guests;
mod log;
mod program;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci [--only STEP,..] [--skip STEP,..]   every check, in order, stopping at the first failure
  tidy                                   the rules that no compiler knows
  deny [--advisories]                    licences, bans and sources of the dependencies
  fuzz [TARGET..] [--seconds N]          the fuzz targets, 60 seconds each unless said otherwise
  guests [--check] [NAME..]              build the prebuilt guests, or compare them with their sources
  polyglot                               build the guests that are not Rust
  log --lines N [--malformed PART]       write an access log for the example
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> anyhow::Result<()> {
    let Some((command, rest)) = arguments.split_first() else {
        anyhow::bail!("name a command\n\n{USAGE}");
    };
    let root = program::workspace_root()?;
    match command.as_str() {
        "ci" => ci::main(&root, rest),
        "tidy" => tidy::main(&root, rest),
        "deny" => deny::main(&root, rest),
        "fuzz" => fuzz::main(&root, rest),
        "guests" => guests::main(&root, rest),
        "log" => log::main(rest),
        "polyglot" => guests::polyglot(&root, rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        unknown => anyhow::bail!("there is no command `{unknown}`\n\n{USAGE}"),
    }
}
