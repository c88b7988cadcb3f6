//! The example of the README, run to its end with the development build: with its own sample, and with a generated log
//! whose malformed lines are known.
//!
//! The figures it reports must account for every line that it read: a line is accepted or rejected, never lost. Every
//! accepted line is counted under a route, and every crash is followed by one restart.

use crate::log::{self, Malformed};
use crate::program;
use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const EXAMPLE: &str = "examples/access-log";
const SAMPLE: &str = "examples/access-log/sample.log";
const GENERATED: log::Options = log::Options { lines: 200_000, malformed: 0.001, seed: 1 };
/// Far more than the generated log takes, even on a busy machine with two processors.
const RUN_MAX: Duration = Duration::from_secs(300);

pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    // With `--tests` the features of shared dependencies are those of `cargo test --workspace`, so little is rebuilt.
    program::run(program::cargo(root).args(["build", "--workspace", "--bin", "airssys", "--tests"]))?;
    run(root, Path::new(SAMPLE))?.add_up()?;

    let generated = program::target_dir(root).join("examples.log");
    let malformed = log::write_file(&generated, &GENERATED)?;
    let figures = run(root, &generated)?;
    figures.add_up()?;
    figures.are_of(GENERATED.lines, malformed)
}

fn run(root: &Path, input: &Path) -> anyhow::Result<Figures> {
    let airssys =
        program::target_dir(root).join("debug").join(format!("airssys{}", std::env::consts::EXE_SUFFIX));
    // A socket of its own, so that an application of the user's does not stand in the way. Relative where it can be: a
    // socket's path has to be short.
    let socket = program::target_dir(root).join("examples.sock");
    let socket = socket.strip_prefix(root).unwrap_or(&socket);
    let output = within(
        RUN_MAX,
        Command::new(airssys)
            .current_dir(root)
            .args(["-o", "json", "up", EXAMPLE, "--input"])
            .arg(input)
            .arg("--socket")
            .arg(socket),
    )?;
    let figures = figures(&output)?;
    let Figures { read, accepted, refused, crashed, .. } = figures;
    println!("{EXAMPLE}: {read} read, {accepted} accepted, {refused} refused, {crashed} crashed on");
    Ok(figures)
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
    /// Of the rejected lines, those that `parse` refused.
    refused: u64,
    /// Of the rejected lines, those on which `parse` crashed.
    crashed: u64,
    restarts: u64,
    /// What all routes counted.
    counted: u64,
}

impl Figures {
    fn add_up(self) -> anyhow::Result<()> {
        let Self { read, accepted, rejected, refused: _, crashed, restarts, counted } = self;
        ensure!(read > 0, "the example read nothing");
        ensure!(
            accepted.checked_add(rejected) == Some(read),
            "{accepted} accepted and {rejected} rejected do not make the {read} lines read"
        );
        ensure!(counted == accepted, "{accepted} lines were accepted and the routes count {counted}");
        ensure!(restarts == crashed, "{crashed} crashes were followed by {restarts} restarts");
        Ok(())
    }

    /// Whether they are those of a log of so many lines, of which so many are malformed.
    fn are_of(self, lines: u64, malformed: Malformed) -> anyhow::Result<()> {
        let Malformed { panics, rejects } = malformed;
        let Self { read, rejected, refused, crashed, .. } = self;
        ensure!(read == lines, "{lines} lines were written and {read} were read");
        ensure!(crashed == panics, "{panics} lines make parse panic and it crashed on {crashed}");
        ensure!(refused == rejects, "{rejects} lines are to be refused and {refused} were");
        ensure!(rejected == panics + rejects, "{rejected} rejected lines are more than were malformed");
        Ok(())
    }
}

/// Those of the envelope that is the whole output.
fn figures(output: &str) -> anyhow::Result<Figures> {
    let envelope: Value = serde_json::from_str(output)
        .with_context(|| format!("read the example's output as JSON: {output}"))?;
    let number = |path: &str| {
        let value = envelope.pointer(path).and_then(Value::as_u64);
        value.with_context(|| format!("no number at {path} in: {output}"))
    };
    let Some(routes) = envelope.pointer("/data/routes").and_then(Value::as_array) else {
        bail!("no list at /data/routes in: {output}");
    };
    let counts = routes.iter().map(|route| route.get("count").and_then(Value::as_u64));
    Ok(Figures {
        read: number("/data/read")?,
        accepted: number("/data/accepted")?,
        rejected: number("/data/rejected")?,
        refused: number("/data/rejected_by/refused")?,
        crashed: number("/data/rejected_by/crashed")?,
        restarts: number("/data/restarts")?,
        counted: counts.sum::<Option<u64>>().context("a route has no count")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIGURES: Figures =
        Figures { read: 9, accepted: 6, rejected: 3, refused: 1, crashed: 2, restarts: 2, counted: 6 };
    const MALFORMED: Malformed = Malformed { panics: 2, rejects: 1 };

    #[test]
    fn the_figures_are_found_in_the_envelope() {
        let output = "{\"ok\":true,\"data\":{\"read\":9,\"accepted\":6,\"rejected\":3,\
            \"rejected_by\":{\"refused\":1,\"crashed\":2},\"restarts\":2,\
            \"routes\":[{\"count\":4},{\"count\":2}]}}\n";
        let figures = figures(output).unwrap();
        assert_eq!(figures, FIGURES);
        figures.add_up().unwrap();
        figures.are_of(9, MALFORMED).unwrap();
    }

    #[test]
    fn figures_that_lose_a_line_or_count_nothing_are_refused() {
        for wrong in [
            Figures { rejected: 2, ..FIGURES },
            Figures { counted: 5, ..FIGURES },
            Figures { restarts: 1, ..FIGURES },
            Figures { read: 0, accepted: 0, rejected: 0, counted: 0, ..FIGURES },
            Figures { read: 0, accepted: u64::MAX, rejected: 1, ..FIGURES },
        ] {
            assert!(wrong.add_up().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn figures_of_another_log_are_refused() {
        assert!(FIGURES.are_of(10, MALFORMED).is_err());
        assert!(FIGURES.are_of(9, Malformed { panics: 3, ..MALFORMED }).is_err());
        assert!(FIGURES.are_of(9, Malformed { rejects: 2, ..MALFORMED }).is_err());
        let timed_out = Figures { accepted: 5, rejected: 4, counted: 5, ..FIGURES };
        timed_out.add_up().unwrap();
        assert!(timed_out.are_of(9, MALFORMED).is_err());
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
