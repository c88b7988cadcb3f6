//! Erlang/OTP, if it is installed: another process, which measures the same workloads itself and answers with figures.
//!
//! The process lives as long as the suite and has its turns between the others'. Its own clock takes the time. The script
//! is `bench/erlang/actors.escript`, read where this was built.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the benchmark starts the program that it compares with"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::Contestant;
use super::idle::Idle;
use super::workloads::{Round, Sample, Workload};
use crate::Outcome;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/erlang/actors.escript");
const NAME: &str = "erlang";

/// The release that would be measured. None if there is no Erlang on the path.
pub(super) fn release() -> Option<String> {
    let answer = Command::new("escript").arg(SCRIPT).stdin(Stdio::null()).output().ok()?;
    let release = String::from_utf8(answer.stdout).ok()?;
    answer.status.success().then(|| format!("Erlang/OTP {}", release.trim()))
}

/// gen_servers below a supervisor, and for messages also plain processes with their mailboxes off their heaps.
pub(super) fn contestants() -> [Contestant; 2] {
    let server = Arc::new(Mutex::new(None));
    [("", "otp", Workload::ALL.as_slice()), ("plain_process", "plain", &Workload::MESSAGES)].map(
        |(variant, kind, workloads)| {
            let server = server.clone();
            Contestant {
                name: NAME,
                variant,
                workloads,
                round: Box::new(move |_, workload| {
                    let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
                    round(&mut server, kind, workload)
                }),
                idle: Box::new(|_, actors| idle(actors)),
            }
        },
    )
}

fn round(server: &mut Option<Server>, kind: &'static str, workload: Workload) -> Outcome<Round> {
    let metrics: &[(&'static str, &'static str)] = match workload {
        Workload::Tell | Workload::FanIn4 | Workload::FanIn64 | Workload::FanOut => &[("ns_per_tell", "ns")],
        Workload::Ask => &[("ns_per_ask", "ns"), ("ns_p50", "ns"), ("ns_p99", "ns"), ("ns_p999", "ns")],
        Workload::Ring => &[("ns_per_hop", "ns"), ("ns_p50", "ns"), ("ns_p99", "ns"), ("ns_p999", "ns")],
        Workload::Spawn => &[("ns_per_spawn", "ns")],
        Workload::Restart => &[("us_from_panic_to_answer", "us")],
        Workload::Control => &[
            ("us_from_kill_to_down", "us"),
            ("us_p50_backlog_1k", "us"),
            ("us_p99_backlog_1k", "us"),
            ("us_p999_backlog_1k", "us"),
        ],
        Workload::Allocations => return Ok(Round::Missing("messages are copied to heaps of the processes")),
    };
    let server = match server {
        Some(server) => server,
        None => server.insert(Server::start()?),
    };
    let answer = server.ask(&format!("{kind} {}", workload.name()))?;
    let values = numbers(&answer)?;
    if values.len() != metrics.len() {
        return Err(Unexpected { answer }.into());
    }
    let samples = metrics.iter().zip(values);
    Ok(Round::Measured(samples.map(|(&(metric, unit), value)| Sample { metric, unit, value }).collect()))
}

/// In an Erlang of its own.
fn idle(actors: u64) -> Outcome<Idle> {
    let mut command = Command::new("escript");
    let output = command.args([SCRIPT, "idle", &actors.to_string()]).stderr(Stdio::inherit()).output()?;
    let answer = String::from_utf8(output.stdout)?;
    match numbers(&answer)?[..] {
        [heap, resident, heap_after_answer] => Ok(Idle { heap, resident, heap_after_answer }),
        _ => Err(Unexpected { answer }.into()),
    }
}

fn numbers(answer: &str) -> Outcome<Vec<f64>> {
    Ok(answer.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

struct Server {
    process: Child,
    /// Closed, it tells the process to end.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Server {
    fn start() -> Outcome<Self> {
        let mut process =
            Command::new("escript").arg(SCRIPT).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = process.stdout.take().ok_or(NoPipe)?;
        let mut server =
            Server { questions: process.stdin.take(), answers: BufReader::new(answers), process };
        // It begins with its release.
        server.line()?;
        Ok(server)
    }

    fn ask(&mut self, question: &str) -> Outcome<String> {
        writeln!(self.questions.as_mut().ok_or(NoPipe)?, "{question}")?;
        self.line()
    }

    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.questions = None;
        if let Err(error) = self.process.wait() {
            eprintln!("erlang did not end: {error}");
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the process has no pipe")]
struct NoPipe;

#[derive(Debug, thiserror::Error)]
#[error("Erlang answered `{answer}`")]
struct Unexpected {
    answer: String,
}
