//! Suite `rt`: actors beside a raw tokio channel and, with `--compare`, beside other systems of actors.
//!
//! Everything runs in one process on one tokio runtime with two workers, in turn: each subject has its round of a workload
//! before any has the next.

#[cfg(feature = "compare")]
mod actix;
mod airssys;
#[cfg(feature = "compare")]
mod erlang;
mod idle;
#[cfg(feature = "compare")]
mod kameo;
#[cfg(feature = "compare")]
mod ractor;
mod subject;
#[cfg(feature = "compare")]
mod tokio_actors;
mod tokio_mpsc;
mod worker;
mod workloads;
#[cfg(feature = "compare")]
mod xtra;

use std::panic;

use tokio::runtime::{Builder, Runtime};

use self::airssys::Airssys;
use self::idle::{Idle, SIZES};
use self::subject::Subject;
use self::tokio_mpsc::TokioMpsc;
use self::worker::CRASH;
use self::workloads::{Round, Sample, Workload};
use crate::report::{Goal, Report, Series, take_turns};
use crate::{NoSuchWorkload, Outcome};

/// What a result names the versions of.
pub(crate) const PACKAGES: &[&str] = &["tokio", "ractor", "kameo", "actix", "xtra", "tokio-actors"];

const WORKERS: usize = 2;
const IDLE: &str = "idle_heap_bytes";

const GOALS: &[Goal] = &[
    Goal { workload: "tell_1_1", metric: "ns_per_tell", at_most: 40.0 },
    Goal { workload: "fan_in_4_1", metric: "ns_per_tell", at_most: 60.0 },
    Goal { workload: "fan_out_1_100", metric: "ns_per_tell", at_most: 45.0 },
    Goal { workload: "ask", metric: "ns_per_ask", at_most: 350.0 },
    Goal { workload: "spawn_first_answer", metric: "ns_per_spawn", at_most: 900.0 },
    Goal { workload: IDLE, metric: "heap_bytes_per_actor", at_most: 800.0 },
    Goal { workload: "allocations", metric: "allocations_per_tell", at_most: 0.0 },
    Goal { workload: "allocations", metric: "allocations_per_ask", at_most: 1.0 },
    Goal { workload: "restart_after_panic", metric: "us_from_panic_to_answer", at_most: 6.0 },
    Goal { workload: "control_under_backlog", metric: "us_from_kill_to_down", at_most: 50.0 },
];

/// One configuration of one subject, ready to be measured.
struct Contestant {
    name: &'static str,
    /// Follows the names of its metrics.
    variant: &'static str,
    workloads: &'static [Workload],
    round: MeasureRound,
    idle: MeasureIdle,
}

type MeasureRound = Box<dyn Fn(&Runtime, Workload) -> Outcome<Round>>;
/// Of so many actors.
type MeasureIdle = Box<dyn Fn(&Runtime, u64) -> Outcome<Idle>>;

impl Contestant {
    fn of<S: Subject>() -> Self {
        Contestant {
            name: S::NAME,
            variant: S::VARIANT,
            workloads: S::WORKLOADS,
            round: Box::new(|runtime, workload| {
                runtime.block_on(runtime.spawn(workloads::round::<S>(workload)))?
            }),
            idle: Box::new(|runtime, actors| runtime.block_on(runtime.spawn(idle::here::<S>(actors)))?),
        }
    }

    /// As the table has it.
    fn metric(&self, metric: &str) -> String {
        if self.variant.is_empty() { metric.to_owned() } else { format!("{metric}_{}", self.variant) }
    }

    fn title(&self) -> String {
        if self.variant.is_empty() { self.name.to_owned() } else { format!("{} {}", self.name, self.variant) }
    }
}

/// The baseline comes first.
fn contestants(compare: bool, report: &mut Report) -> Vec<Contestant> {
    let mut contestants = vec![Contestant::of::<TokioMpsc>(), Contestant::of::<Airssys>()];
    if compare {
        contestants.extend(others(report));
    }
    contestants
}

#[cfg(feature = "compare")]
fn others(report: &mut Report) -> Vec<Contestant> {
    let mut others = vec![
        Contestant::of::<ractor::Ractor>(),
        Contestant::of::<kameo::Kameo<false>>(),
        Contestant::of::<kameo::Kameo<true>>(),
        Contestant::of::<actix::Actix<false>>(),
        Contestant::of::<actix::Actix<true>>(),
        Contestant::of::<xtra::Xtra>(),
        Contestant::of::<tokio_actors::TokioActors<false>>(),
        Contestant::of::<tokio_actors::TokioActors<true>>(),
    ];
    match erlang::release() {
        Some(release) => {
            report.note(format!("erlang is {release}"));
            others.extend(erlang::contestants());
        }
        None => report.note("erlang was not measured: there is no working `escript` on the path".to_owned()),
    }
    others
}

/// Refused before, where the suite is asked to compare.
#[cfg(not(feature = "compare"))]
fn others(_report: &mut Report) -> Vec<Contestant> {
    Vec::new()
}

pub(crate) fn measure(compare: bool, only: Option<&str>) -> Outcome<Report> {
    let names = || Workload::ALL.map(Workload::name).into_iter().chain([IDLE]);
    if let Some(workload) = only.filter(|only| names().all(|name| name != *only)) {
        let has = names().collect::<Vec<_>>().join(", ");
        return Err(NoSuchWorkload { workload: workload.to_owned(), has }.into());
    }
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    let mut report = Report::new("rt", Airssys::NAME, GOALS);
    let contestants = contestants(compare, &mut report);
    let runtime = runtime()?;
    for workload in Workload::ALL.into_iter().filter(|workload| wanted(workload.name())) {
        let contestants: Vec<&Contestant> =
            contestants.iter().filter(|contestant| contestant.workloads.contains(&workload)).collect();
        let runs = workload.runs();
        let mut collected = Collected::new(&contestants);
        take_turns(contestants.len(), runs, |index, run| {
            let contestant = contestants[index];
            if collected.missing[index].is_some() {
                return Ok(());
            }
            eprintln!("{}: run {run} of {runs}: {}", workload.name(), contestant.title());
            match (contestant.round)(&runtime, workload) {
                Ok(Round::Measured(samples)) if run > 0 => collected.add(index, samples),
                Ok(Round::Measured(_)) => {}
                Ok(Round::Missing(reason)) => {
                    collected.missing[index] = Some(format!("not applicable: {reason}"));
                }
                Err(error) => collected.failed(index, error)?,
            }
            Ok(())
        })?;
        collected.report(&mut report, workload.name());
    }
    if wanted(IDLE) {
        measure_idle(&mut report, &contestants)?;
    }
    Ok(report)
}

fn measure_idle(report: &mut Report, contestants: &[Contestant]) -> Outcome<()> {
    let contestants: Vec<&Contestant> =
        contestants.iter().filter(|contestant| contestant.workloads.len() == Workload::ALL.len()).collect();
    let mut collected = Collected::new(&contestants);
    let mut last: Vec<Option<Idle>> = contestants.iter().map(|_| None).collect();
    for size in &SIZES {
        take_turns(contestants.len(), size.runs, |index, run| {
            let contestant = contestants[index];
            // Every process is cold, and to warm up another one would not help it.
            if run == 0 || collected.missing[index].is_some() {
                return Ok(());
            }
            if let Some(last) = &last[index]
                && !last.fits(size)?
            {
                report.note(format!(
                    "{IDLE}: {} not measured with {} actors: they would not fit in memory",
                    contestant.title(),
                    size.actors,
                ));
                return Ok(());
            }
            eprintln!("{IDLE}: run {run} of {}: {}, {} actors", size.runs, contestant.title(), size.actors);
            match idle::in_a_process(&contestant.title(), size) {
                Ok(idle) => {
                    collected.add(index, idle.samples(size));
                    last[index] = Some(idle);
                    Ok(())
                }
                Err(error) => collected.failed(index, error),
            }
        })?;
    }
    collected.report(report, IDLE);
    Ok(())
}

/// Measures `SUBJECT:COUNT` in this process and prints the result for the process that asked.
pub(crate) fn idle(what: &str) -> Outcome<()> {
    let mut report = Report::new("rt", Airssys::NAME, GOALS);
    let (title, actors) = what.split_once(':').ok_or(NoSuchSubject)?;
    let contestants = contestants(true, &mut report);
    let contestant =
        contestants.iter().find(|contestant| contestant.title() == title).ok_or(NoSuchSubject)?;
    let runtime = runtime()?;
    let idle = (contestant.idle)(&runtime, actors.parse()?)?;
    println!("{}", serde_json::to_string(&idle)?);
    runtime.shutdown_background();
    Ok(())
}

fn runtime() -> Outcome<Runtime> {
    // Panics that a workload asked for are no news.
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(CRASH) {
            previous(info);
        }
    }));
    Ok(Builder::new_multi_thread().worker_threads(WORKERS).enable_time().build()?)
}

/// The samples of one workload.
struct Collected<'a> {
    contestants: &'a [&'a Contestant],
    /// Of each contestant, in the order of its metrics.
    series: Vec<Vec<Collecting>>,
    /// Why there is nothing of a contestant, or nothing more.
    missing: Vec<Option<String>>,
}

struct Collecting {
    metric: &'static str,
    unit: &'static str,
    samples: Vec<f64>,
}

impl<'a> Collected<'a> {
    fn new(contestants: &'a [&'a Contestant]) -> Self {
        Collected {
            contestants,
            series: contestants.iter().map(|_| Vec::new()).collect(),
            missing: contestants.iter().map(|_| None).collect(),
        }
    }

    fn add(&mut self, contestant: usize, samples: Vec<Sample>) {
        let series = &mut self.series[contestant];
        for Sample { metric, unit, value } in samples {
            match series.iter_mut().find(|collecting| collecting.metric == metric) {
                Some(collecting) => collecting.samples.push(value),
                None => series.push(Collecting { metric, unit, samples: vec![value] }),
            }
        }
    }

    /// What another system fails in is said and not measured. What we or the baseline fail in ends the suite.
    fn failed(&mut self, contestant: usize, source: Box<dyn std::error::Error + Send + Sync>) -> Outcome<()> {
        let subject = self.contestants[contestant].title();
        if [TokioMpsc::NAME, Airssys::NAME].contains(&self.contestants[contestant].name) {
            return Err(Failed { subject, source }.into());
        }
        self.missing[contestant] = Some(format!("failed: {source}"));
        Ok(())
    }

    /// Metric by metric; the ratios are to the first contestant, where it has the metric.
    fn report(&self, report: &mut Report, workload: &'static str) {
        let mut metrics: Vec<&'static str> = Vec::new();
        for collecting in self.series.iter().flatten() {
            if !metrics.contains(&collecting.metric) {
                metrics.push(collecting.metric);
            }
        }
        for metric in metrics {
            let of = |index: usize| self.series[index].iter().find(|series| series.metric == metric);
            let baseline = of(0).map(|collecting| Series {
                subject: self.contestants[0].name,
                metric,
                unit: collecting.unit,
                samples: collecting.samples.clone(),
            });
            for (index, contestant) in self.contestants.iter().enumerate() {
                let Some(Collecting { unit, samples, .. }) = of(index) else { continue };
                let metric = contestant.metric(metric);
                let series =
                    Series { subject: contestant.name, metric: &metric, unit, samples: samples.clone() };
                report.add(workload, &series, baseline.as_ref().filter(|_| index > 0));
            }
        }
        for (contestant, missing) in self.contestants.iter().zip(&self.missing) {
            if let Some(reason) = missing {
                report.note(format!("{workload}: {} {reason}", contestant.title()));
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("measure {subject}")]
struct Failed {
    subject: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

#[derive(Debug, thiserror::Error)]
#[error("this is for the suite itself: SUBJECT:COUNT")]
struct NoSuchSubject;
