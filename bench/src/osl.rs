//! Suite `osl`: what the gate costs, and a file behind it beside the same file without.

mod effects;

use std::hint::black_box;
use std::time::Instant;

use airssys_osl::audit::{AuditLog, AuditOptions, Durability};
use airssys_osl::{Access, Gate, Operation, Policy, Root, Subject};
use hdrhistogram::Histogram;

use crate::report::{Goal, RUNS, Report, Series, ns_each};
use crate::{NoSuchWorkload, Outcome, heap};

/// What a result names the versions of.
pub(crate) const PACKAGES: &[&str] = &["cap-std", "rustix", "tokio"];

const OURS: &str = "airssys-osl";
const DECISIONS: u64 = 100_000;
const ADMISSIONS: u64 = 20_000;

const DECISION: &str = "decision_100_rules";
const DECISION_10K: &str = "decision_10k_rules";
const PIPELINE: &str = "pipeline_async_audit";
const READ: &str = "read_4k";
const READ_TASK: &str = "read_4k_from_task";
const WRITE: &str = "write_4k";
const SPAWN: &str = "spawn_true";
const CONNECT: &str = "connect_loopback";

const GOALS: &[Goal] = &[
    Goal { workload: DECISION, metric: "ns_p50", at_most: 500.0 },
    Goal { workload: DECISION, metric: "ns_p99", at_most: 5_000.0 },
    Goal { workload: DECISION, metric: "allocations_per_decision", at_most: 0.0 },
    Goal { workload: DECISION_10K, metric: "ns_p50", at_most: 500.0 },
    Goal { workload: PIPELINE, metric: "ns_per_operation", at_most: 2_500.0 },
];

/// The effect did not happen, or was not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("the benchmark's own operation was denied or came out otherwise")]
struct Astray;

struct Nothing([Access; 1]);

impl Operation for Nothing {
    fn name(&self) -> &'static str {
        "bench.nothing"
    }

    fn accesses(&self) -> &[Access] {
        &self.0
    }
}

pub(crate) fn measure(only: Option<&str>) -> Outcome<Report> {
    let all = [DECISION, DECISION_10K, PIPELINE, READ, READ_TASK, WRITE, SPAWN, CONNECT];
    if let Some(workload) = only.filter(|only| !all.contains(only)) {
        return Err(NoSuchWorkload { workload: workload.to_owned(), has: all.join(", ") }.into());
    }
    let wants = |workload| only.is_none_or(|only| only == workload);
    let mut report = Report::new("osl", OURS, GOALS);
    if wants(DECISION) {
        decisions(&mut report, DECISION, 0)?;
    }
    if wants(DECISION_10K) {
        decisions(&mut report, DECISION_10K, 99)?;
    }
    if wants(PIPELINE) {
        pipeline(&mut report)?;
    }
    if wants(READ) {
        effects::read(&mut report, READ)?;
    }
    if wants(READ_TASK) {
        effects::read_from_task(&mut report, READ_TASK)?;
    }
    if wants(WRITE) {
        effects::write(&mut report, WRITE)?;
    }
    if wants(SPAWN) {
        effects::spawn(&mut report, SPAWN)?;
    }
    if wants(CONNECT) {
        effects::connect(&mut report, CONNECT)?;
    }
    Ok(report)
}

/// A subject with 100 rules, of which the last allows, and as many for each of the `others`.
fn policy(others: usize) -> Outcome<Policy> {
    let mut text = "version = 1\n".to_owned();
    for subject in 0..=others {
        text.push_str(&format!("[[subject]]\nname = \"s{subject}\"\n"));
        for rule in 0..49 {
            text.push_str(&format!("[[subject.deny]]\nfiles = [\"d:denied-{rule}/**/*.key\"]\n"));
            text.push_str(&format!("[[subject.allow]]\nfiles = [\"d:a{rule}/**\"]\nverbs = [\"read\"]\n"));
        }
        text.push_str(
            "[[subject.deny]]\nfiles = [\"d:**/*.key\"]\n[[subject.allow]]\nfiles = [\"d:work/**/*.log\"]\n",
        );
    }
    Ok(Policy::parse(&text, "policy.toml")?)
}

fn decisions(report: &mut Report, workload: &'static str, others: usize) -> Outcome<()> {
    let policy = policy(others)?;
    let subject = Subject::parse("s0")?;
    let access = Access::parse("read d:work/a/b/today.log")?;
    let decide = || policy.decide(black_box(&subject), black_box(&access)).is_allowed();
    if !decide() {
        return Err(Astray.into());
    }
    let (mut mean, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let begin = Instant::now();
        let allowed = (0..DECISIONS).filter(|_| decide()).count() as u64;
        let ns = ns_each(begin.elapsed(), DECISIONS);
        let mut times = Histogram::<u64>::new(3)?;
        for _ in 0..DECISIONS {
            let begin = Instant::now();
            black_box(decide());
            times.saturating_record(begin.elapsed().as_nanos() as u64);
        }
        if allowed != DECISIONS {
            return Err(Astray.into());
        }
        if run > 0 {
            mean.push(ns);
            p50.push(times.value_at_quantile(0.5) as f64);
            p99.push(times.value_at_quantile(0.99) as f64);
        }
    }
    heap::begin();
    let all_allowed = (0..1_000).all(|_| decide());
    let allocations = heap::end().allocations as f64 / 1e3;
    if !all_allowed {
        return Err(Astray.into());
    }
    for (metric, unit, samples) in [
        ("ns_per_decision", "ns", mean),
        ("ns_p50", "ns", p50),
        ("ns_p99", "ns", p99),
        ("allocations_per_decision", "1", vec![allocations]),
    ] {
        report.add(workload, &Series { subject: OURS, metric, unit, samples }, None);
    }
    Ok(())
}

fn gate(folder: &std::path::Path, policy: Policy) -> Outcome<Gate> {
    let options = AuditOptions { durability: Durability::Async, ..AuditOptions::default() };
    let log = AuditLog::open(&Root::private(&folder.join("log"))?, options)?;
    Ok(Gate::new(policy, log))
}

fn pipeline(report: &mut Report) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let gate = gate(folder.path(), policy(0)?)?;
    let subject = Subject::parse("s0")?;
    let access = Access::parse("read d:work/a/b/today.log")?;
    let mut samples = Vec::new();
    for run in 0..=RUNS {
        let begin = Instant::now();
        for _ in 0..ADMISSIONS {
            let permit = gate.admit(&subject, Nothing([access.clone()])).map_err(|_| Astray)?;
            permit.perform(|operation| {
                black_box(operation);
                Ok::<_, std::fmt::Error>(())
            })?;
        }
        let ns = ns_each(begin.elapsed(), ADMISSIONS);
        if run > 0 {
            samples.push(ns);
        }
    }
    report.add(PIPELINE, &Series { subject: OURS, metric: "ns_per_operation", unit: "ns", samples }, None);
    report.note(format!(
        "{PIPELINE}: with 100 rules; two records of about 300 bytes, hashed, for each operation"
    ));
    Ok(())
}
