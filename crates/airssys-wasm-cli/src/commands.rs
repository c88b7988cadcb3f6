//! The verbs, one per file, and the command line that chooses among them.

mod audit;
mod call;
mod can;
mod check;
mod completions;
mod crash;
mod crashes;
mod new;
mod policy;
mod ps;
mod run;
mod send;
mod stop;
mod tree;
mod up;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use airssys_node::control::{self, Verb};
use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::error::{CommandError, Kind};
use crate::paths;
use crate::ui::{Format, Ui};

/// Runs WebAssembly components as supervised actors.
#[derive(Debug, Parser)]
#[command(name = "airssys", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// How to write the result.
    #[arg(short, long, value_enum, default_value_t, global = true, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// The control socket [default: airssys.sock in $XDG_RUNTIME_DIR, or in airssys-UID in the temporary folder].
    #[arg(long, env = "AIRSSYS_SOCKET", global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Up),
    Run(run::Run),
    Check(check::Check),
    New(new::New),
    Ps(ps::Ps),
    Tree(tree::Tree),
    Call(call::Call),
    Send(send::Send),
    Crash(crash::Crash),
    Crashes(crashes::Crashes),
    Stop(stop::Stop),
    Policy(policy::PolicyCommand),
    Can(can::Can),
    Explain(can::Explain),
    Audit(audit::Audit),
    Completions(completions::Completions),
}

/// Does what the command line says. `started` is when the process began.
pub(crate) async fn run(cli: Cli, ui: &Ui, started: Instant) -> Result<ExitCode, CommandError> {
    let Global { output: _, socket } = cli.global;
    let socket = socket.as_deref();
    match cli.command {
        Command::Up(up) => up.run(ui, socket, started).await,
        Command::Run(run) => run.run().await,
        Command::Check(check) => check.run(ui),
        Command::New(new) => new.run(ui),
        Command::Ps(ps) => ps.run(ui, socket).await,
        Command::Tree(tree) => tree.run(ui, socket).await,
        Command::Call(call) => call.run(ui, socket).await,
        Command::Send(send) => send.run(ui, socket).await,
        Command::Crash(crash) => crash.run(ui, socket).await,
        Command::Crashes(crashes) => crashes.run(ui, socket).await,
        Command::Stop(stop) => stop.run(ui, socket).await,
        Command::Policy(policy) => policy.run(ui),
        Command::Can(can) => can.run(ui),
        Command::Explain(explain) => explain.run(ui),
        Command::Audit(audit) => audit.run(ui, socket),
        Command::Completions(completions) => completions.run(ui),
    }
}

/// A node answers at once what needs no component.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks the node at the socket one thing and waits for its answer for `timeout`.
async fn ask(socket: Option<&Path>, verb: Verb, timeout: Duration) -> Result<Value, CommandError> {
    let socket = paths::socket(socket);
    match tokio::time::timeout(timeout, control::ask(&socket, verb)).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            let message =
                format!("the node at {} did not answer within {} s", socket.display(), timeout.as_secs());
            Err(CommandError::new(Kind::Timeout, message))
        }
    }
}

/// The fields of an object as text, for a table or a line.
fn text_of<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A duration as people read it.
fn shown(time: Duration) -> String {
    match time.as_micros() {
        0 => "less than 1 ms".to_owned(),
        micros @ 1..1000 => format!("{micros} µs"),
        1000..10_000 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{} ms", time.as_millis()),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn durations_have_the_unit_that_fits() {
        let shown = [250, 1500, 25_000, 2_500_000].map(|micros| shown(Duration::from_micros(micros)));
        assert_eq!(shown, ["250 µs", "1.5 ms", "25 ms", "2.5 s"]);
    }
}
