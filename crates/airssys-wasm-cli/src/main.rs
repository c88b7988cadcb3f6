//! The `airssys` command: arguments in, an exit code out.
//!
//! A verb per file in [`commands`]; [`ui`] is the one place that prints, [`error`] the one that turns failures into
//! exit codes, and [`paths`] the one that knows where things lie by default.

mod commands;
mod error;
mod paths;
mod signals;
mod ui;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::commands::Cli;
use crate::error::{CommandError, Kind};
use crate::ui::{Format, Ui};

/// A guest that may not wait is called on a worker of the runtime and holds it until its guest time is used up. Fewer
/// than this, and a guest or two that loop would keep the control socket from answering.
const WORKERS_MIN: usize = 4;

fn main() -> ExitCode {
    let started = Instant::now();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error),
    };
    let ui = Ui::new(cli.global.output);
    log_to(&ui);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return ui.fail(&CommandError::of(Kind::Failed, "start the runtime", &error)),
    };
    let outcome = runtime.block_on(commands::run(cli, &ui, started));
    // Neither a guest that still runs nor a thread that waits for a terminal may hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => ui.fail(&error),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).max(WORKERS_MIN);
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()
}

/// What the program itself logs goes to standard error, past a progress bar. What guests log is shown by `up`.
fn log_to(ui: &Ui) {
    let filter = EnvFilter::try_from_env("AIRSSYS_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let filter = match "guest=off".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let ui = ui.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(move || ui.log_writer())
        .init();
}

fn refuse_usage(error: &clap::Error) -> ExitCode {
    let asked_for_text = !error.use_stderr();
    if asked_for_text || !asks_for_json(std::env::args()) {
        return Ui::clap(error);
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let hint = "`airssys help` lists the commands, `airssys COMMAND --help` the options of one";
    Ui::new(Format::Json).fail(&CommandError::new(Kind::Usage, message).hint(hint))
}

/// Arguments that did not parse can still say how to answer.
fn asks_for_json(args: impl Iterator<Item = String>) -> bool {
    let mut takes_value = false;
    for arg in args.skip(1) {
        if takes_value && arg == "json" || arg == "-ojson" || arg == "-o=json" || arg == "--output=json" {
            return true;
        }
        takes_value = arg == "-o" || arg == "--output";
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(args: &[&str]) -> bool {
        asks_for_json(args.iter().map(|arg| (*arg).to_owned()))
    }

    #[test]
    fn arguments_that_do_not_parse_still_choose_the_format() {
        assert!(asked(&["airssys", "-o", "json", "pss"]));
        assert!(asked(&["airssys", "pss", "--output=json"]));
        assert!(!asked(&["airssys", "pss", "json"]));
        assert!(!asked(&["airssys", "-o", "text", "json"]));
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
