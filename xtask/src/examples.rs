//! The example of the README, run to its end with the development build.
//!
//! The figures it reports must account for every line that it read: a line is accepted or rejected, never lost.

use crate::program;
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const EXAMPLE: &str = "examples/access-log";
const SAMPLE: &str = "examples/access-log/sample.log";
const RUN_MAX: Duration = Duration::from_secs(180);

pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    // With `--tests` the features of shared dependencies are those of `cargo test --workspace`, so little is rebuilt.
    program::run(program::cargo(root).args(["build", "--workspace", "--bin", "airssys", "--tests"]))?;
    let airssys =
        program::target_dir(root).join("debug").join(format!("airssys{}", std::env::consts::EXE_SUFFIX));
    let output = within(
        RUN_MAX,
        Command::new(airssys).current_dir(root).args(["up", EXAMPLE, "--input", SAMPLE, "-o", "json"]),
    )?;
    let figures = figures(&output)?;
    let Figures { read, accepted, rejected } = figures;
    println!("{EXAMPLE}: {read} read, {accepted} accepted, {rejected} rejected");
    figures.add_up()
}

/// Runs a program and returns its standard output; one that takes longer is killed.
fn within(limit: Duration, command: &mut Command) -> anyhow::Result<String> {
    println!("$ {}", program::describe(command));
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start the example")?;
    let mut pipe = child.stdout.take().context("take the example's output")?;
    // Read beside it: a full pipe would stop the example.
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).map(|_| text)
    });
    let status = end(limit, &mut child)?;
    let text =
        reader.join().expect("reading into a string does not panic").context("read the example's output")?;
    if !status.success() {
        bail!("the example ended with {status} after writing: {text}");
    }
    Ok(text)
}

fn end(limit: Duration, child: &mut Child) -> anyhow::Result<ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("wait for the example")? {
            return Ok(status);
        }
        if began.elapsed() > limit {
            child.kill().context("kill the example")?;
            child.wait().context("wait for the killed example")?;
            bail!("the example did not end within {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    read: u64,
    accepted: u64,
    rejected: u64,
}

impl Figures {
    fn add_up(self) -> anyhow::Result<()> {
        let Self { read, accepted, rejected } = self;
        if read == 0 {
            bail!("the example read nothing");
        }
        if accepted.checked_add(rejected) != Some(read) {
            bail!("{accepted} accepted and {rejected} rejected do not make the {read} lines read");
        }
        Ok(())
    }
}

/// The last JSON object in the output that has the three figures: progress may come before the result.
fn figures(output: &str) -> anyhow::Result<Figures> {
    let mut last = None;
    for value in serde_json::Deserializer::from_str(output).into_iter::<Value>() {
        let value = value.with_context(|| format!("read the example's output as JSON: {output}"))?;
        last = figures_in(&value).or(last);
    }
    last.with_context(|| format!("no object with numbers `read`, `accepted` and `rejected` in: {output}"))
}

fn figures_in(value: &Value) -> Option<Figures> {
    let number = |name| value.get(name).and_then(Value::as_u64);
    if let (Some(read), Some(accepted), Some(rejected)) =
        (number("read"), number("accepted"), number("rejected"))
    {
        return Some(Figures { read, accepted, rejected });
    }
    match value {
        Value::Object(fields) => fields.values().find_map(figures_in),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_figures_count_wherever_they_stand() {
        let output = "{\"read\":1,\"accepted\":1,\"rejected\":0}\n{\"result\":{\"read\":5,\"accepted\":3,\"rejected\":2}}\n";
        let figures = figures(output).unwrap();
        assert_eq!(figures, Figures { read: 5, accepted: 3, rejected: 2 });
        figures.add_up().unwrap();
    }

    #[test]
    fn figures_that_lose_a_line_or_count_nothing_are_refused() {
        assert!(Figures { read: 5, accepted: 3, rejected: 1 }.add_up().is_err());
        assert!(Figures { read: 0, accepted: 0, rejected: 0 }.add_up().is_err());
        assert!(Figures { read: 0, accepted: u64::MAX, rejected: 1 }.add_up().is_err());
    }

    #[test]
    fn output_without_figures_is_refused() {
        assert!(figures("").is_err());
        assert!(figures("{\"read\":5}").is_err());
        assert!(figures("5 read").is_err());
    }

    #[test]
    fn an_example_that_hangs_is_ended() {
        let error = within(Duration::from_millis(100), Command::new("sleep").arg("60")).unwrap_err();
        assert!(format!("{error:#}").contains("did not end"));
    }

    #[test]
    fn an_example_that_fails_is_an_error_even_with_output() {
        assert_eq!(within(RUN_MAX, Command::new("echo").arg("1")).unwrap(), "1\n");
        assert!(within(RUN_MAX, Command::new("sh").args(["-c", "echo 1; exit 3"])).is_err());
    }
}
