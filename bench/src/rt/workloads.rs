//! The workloads, each written once for every subject. One call is one round; what it starts, it stops.
//!
//! A region ends when the last message was handled, by the clock of the worker that handled it, and what was handled is
//! compared with what was sent. Senders and askers are tasks on the workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::subject::{End, Plan, Subject};
use super::worker::{Broken, Gauge, STALLED, latencies};
use crate::report::ns_each;
use crate::{Outcome, heap};

/// Each sender and each receiver of every workload has the same whole share of them.
const MESSAGES: u64 = 320_000;
const MESSAGES_WARM: u64 = 32_000;
const FAN_OUT: usize = 100;
const ASKS: u64 = 30_000;
const ASKS_WARM: u64 = 2_000;
const RING: usize = 100;
const HOPS: u64 = 100_000;
const HOPS_WARM: u64 = 2_000;
const SPAWNS: u64 = 5_000;
const RESTARTS: u64 = 500;
/// Their events fit where events wait for who reads them, so that none is missed.
const RESTARTS_SEEN: u64 = 200;
const BACKLOG: u64 = 1_000_000;
const KILLS: u64 = 500;
const KILLS_BACKLOG: u64 = 1_000;

/// In the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Workload {
    Tell,
    FanIn4,
    FanIn64,
    FanOut,
    Ask,
    Ring,
    Spawn,
    Restart,
    Control,
    Allocations,
}

impl Workload {
    pub(super) const ALL: [Self; 10] = [
        Self::Tell,
        Self::FanIn4,
        Self::FanIn64,
        Self::FanOut,
        Self::Ask,
        Self::Ring,
        Self::Spawn,
        Self::Restart,
        Self::Control,
        Self::Allocations,
    ];

    /// Fewer where a round takes long or comes out the same.
    pub(super) fn runs(self) -> usize {
        match self {
            Self::Tell
            | Self::FanIn4
            | Self::FanIn64
            | Self::FanOut
            | Self::Ask
            | Self::Ring
            | Self::Spawn
            | Self::Restart => 7,
            Self::Control => 5,
            Self::Allocations => 2,
        }
    }

    /// Many messages that nobody waits for.
    #[cfg(feature = "compare")]
    pub(super) const THROUGHPUT: [Self; 4] = [Self::Tell, Self::FanIn4, Self::FanIn64, Self::FanOut];
    /// Those and the messages that somebody waits for.
    #[cfg(feature = "compare")]
    pub(super) const MESSAGES: [Self; 6] =
        [Self::Tell, Self::FanIn4, Self::FanIn64, Self::FanOut, Self::Ask, Self::Ring];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tell => "tell_1_1",
            Self::FanIn4 => "fan_in_4_1",
            Self::FanIn64 => "fan_in_64_1",
            Self::FanOut => "fan_out_1_100",
            Self::Ask => "ask",
            Self::Ring => "ring",
            Self::Spawn => "spawn_first_answer",
            Self::Restart => "restart_after_panic",
            Self::Control => "control_under_backlog",
            Self::Allocations => "allocations",
        }
    }
}

/// One figure of one round.
pub(super) struct Sample {
    pub(super) metric: &'static str,
    pub(super) unit: &'static str,
    pub(super) value: f64,
}

/// One round of one subject.
pub(super) enum Round {
    Measured(Vec<Sample>),
    /// The subject cannot do that, for this reason.
    Missing(&'static str),
}

pub(super) async fn round<S: Subject>(workload: Workload) -> Outcome<Round> {
    Ok(Round::Measured(match workload {
        Workload::Tell => throughput::<S>(1, 1).await?,
        Workload::FanIn4 => throughput::<S>(4, 1).await?,
        Workload::FanIn64 => throughput::<S>(64, 1).await?,
        Workload::FanOut => throughput::<S>(1, FAN_OUT).await?,
        Workload::Ask => ask::<S>().await?,
        Workload::Ring => ring::<S>().await?,
        Workload::Spawn => spawn::<S>().await?,
        Workload::Restart => match S::NO_RESTART {
            Some(reason) => return Ok(Round::Missing(reason)),
            None => restart::<S>().await?,
        },
        Workload::Control => match S::NO_KILL {
            Some(reason) => return Ok(Round::Missing(reason)),
            None => control::<S>().await?,
        },
        Workload::Allocations => allocations::<S>().await?,
    }))
}

async fn throughput<S: Subject>(senders: u64, receivers: usize) -> Outcome<Vec<Sample>> {
    let stage = Stage::<S>::new(Gauge::new(), receivers).await?;
    stage.flow(senders, MESSAGES_WARM).await?;
    let ns = stage.flow(senders, MESSAGES).await?;
    stage.end().await?;
    Ok(vec![nanoseconds("ns_per_tell", ns)])
}

async fn ask<S: Subject>() -> Outcome<Vec<Sample>> {
    let stage = Stage::<S>::new(Gauge::new(), 1).await?;
    stage.questions(ASKS_WARM).await?;
    let ns = stage.questions(ASKS).await?;
    let address = stage.addresses[0].clone();
    let timed = stage.subject.run(async move {
        let mut ns = latencies();
        for value in 0..ASKS {
            let begin = Instant::now();
            let answer = S::ask(&address, value).await?;
            ns.saturating_record(begin.elapsed().as_nanos() as u64);
            expect(answer == value + 1)?;
        }
        Ok(ns)
    });
    let [p50, p99, p999] = percentiles(&timed.await??);
    stage.end().await?;
    Ok(vec![
        nanoseconds("ns_per_ask", ns),
        nanoseconds("ns_p50", p50),
        nanoseconds("ns_p99", p99),
        nanoseconds("ns_p999", p999),
    ])
}

async fn ring<S: Subject>() -> Outcome<Vec<Sample>> {
    let stage = Stage::<S>::new(Gauge::new(), RING).await?;
    stage.link().await?;
    stage.laps(HOPS_WARM, 0).await?;
    let ns = stage.laps(HOPS, HOPS_WARM).await?;
    stage.end().await?;
    let stage = Stage::<S>::new(Gauge::timing_hops(), RING).await?;
    stage.link().await?;
    stage.laps(HOPS, 0).await?;
    let [p50, p99, p999] = percentiles(&stage.gauge.hops().ok_or(Broken::Astray)?);
    stage.end().await?;
    Ok(vec![
        nanoseconds("ns_per_hop", ns),
        nanoseconds("ns_p50", p50),
        nanoseconds("ns_p99", p99),
        nanoseconds("ns_p999", p999),
    ])
}

/// The actors stay until the end: to stop them is not inside.
async fn spawn<S: Subject>() -> Outcome<Vec<Sample>> {
    let subject = Arc::new(S::new().await?);
    let spawner = subject.clone();
    let spawned = subject.run(async move {
        let mut addresses = Vec::with_capacity(SPAWNS as usize);
        let plan = Plan::new(&Gauge::new());
        let begin = Instant::now();
        for value in 0..SPAWNS {
            let address = spawner.start(plan.clone()).await?;
            expect(S::ask(&address, value).await? == value + 1)?;
            addresses.push(address);
        }
        Ok((ns_each(begin.elapsed(), SPAWNS), addresses))
    });
    let (ns, addresses) = spawned.await??;
    subject.end(addresses).await?;
    Ok(vec![nanoseconds("ns_per_spawn", ns)])
}

async fn restart<S: Subject>() -> Outcome<Vec<Sample>> {
    let (subject, gauge) = (Arc::new(S::new().await?), Gauge::new());
    let address = subject.start(Plan { end: End::Restart, ..Plan::new(&gauge) }).await?;
    let mut stage = Stage { subject, gauge, addresses: vec![address] };
    stage.crash(RESTARTS / 10).await?;
    let took = stage.crash(RESTARTS).await?;
    let mut samples = vec![microseconds("us_from_panic_to_answer", took)];
    // A second pass: who listens to events slows down what it listens to.
    if let Some(restarts) = stage.subject.restarts(RESTARTS_SEEN) {
        stage.crash(RESTARTS_SEEN).await?;
        let times = tokio::time::timeout(STALLED, restarts).await.map_err(|_| Broken::Stalled)???;
        let took = times.iter().sum::<Duration>() / RESTARTS_SEEN as u32;
        samples.push(microseconds("us_from_end_to_ready", took));
    }
    stage.end().await?;
    Ok(samples)
}

async fn control<S: Subject>() -> Outcome<Vec<Sample>> {
    let subject = Arc::new(S::new().await?);
    let took = kill(&subject, BACKLOG).await?;
    let mut ns = latencies();
    for _ in 0..KILLS {
        ns.saturating_record(kill(&subject, KILLS_BACKLOG).await?.as_nanos() as u64);
    }
    subject.end(Vec::new()).await?;
    let [p50, p99, p999] = percentiles(&ns).map(|ns| Duration::from_nanos(ns as u64));
    Ok(vec![
        microseconds("us_from_kill_to_down", took),
        microseconds("us_p50_backlog_1k", p50),
        microseconds("us_p99_backlog_1k", p99),
        microseconds("us_p999_backlog_1k", p999),
    ])
}

/// Kills an actor that has just been let go on to its next message while many wait.
async fn kill<S: Subject>(subject: &Arc<S>, backlog: u64) -> Outcome<Duration> {
    let gauge = Gauge::new();
    // It is not to come back and work on what is left.
    let plan = Plan { capacity: backlog as usize + 1, end: End::ForGood, ..Plan::new(&gauge) };
    let address = subject.start(plan).await?;
    gauge.expect(1, 1);
    S::block(&address).await?;
    gauge.handled().await?;
    let sender = address.clone();
    let sent = subject.run(async move {
        for value in 0..backlog {
            S::count(&sender, value).await?;
        }
        Ok(())
    });
    sent.await??;
    let watch = subject.watch(&address).await?;
    gauge.go_on();
    let begin = Instant::now();
    subject.kill(&address).await?;
    let seen = tokio::time::timeout(STALLED, watch).await.map_err(|_| Broken::Stalled)??;
    Ok(seen - begin)
}

/// Allocations by everyone, in steady state: senders, receivers and what runs between them.
async fn allocations<S: Subject>() -> Outcome<Vec<Sample>> {
    let stage = Stage::<S>::new(Gauge::new(), 1).await?;
    stage.flow(1, MESSAGES_WARM).await?;
    heap::begin();
    let flowed = stage.flow(1, MESSAGES).await;
    let tells = heap::end();
    flowed?;
    stage.questions(ASKS_WARM).await?;
    heap::begin();
    let answered = stage.questions(ASKS).await;
    let asks = heap::end();
    answered?;
    stage.end().await?;
    let each = |metric, counts: heap::Counts, count| Sample {
        metric,
        unit: "1",
        value: counts.allocations as f64 / count as f64,
    };
    Ok(vec![each("allocations_per_tell", tells, MESSAGES), each("allocations_per_ask", asks, ASKS)])
}

/// A subject with its actors.
struct Stage<S: Subject> {
    subject: Arc<S>,
    gauge: Arc<Gauge>,
    addresses: Vec<S::Address>,
}

impl<S: Subject> Stage<S> {
    async fn new(gauge: Arc<Gauge>, actors: usize) -> Outcome<Self> {
        let subject = Arc::new(S::new().await?);
        let mut addresses = Vec::with_capacity(actors);
        for _ in 0..actors {
            addresses.push(subject.start(Plan::new(&gauge)).await?);
        }
        Ok(Stage { subject, gauge, addresses })
    }

    /// Nanoseconds per message, from before the first sender runs to when the last message was handled.
    async fn flow(&self, senders: u64, messages: u64) -> Outcome<f64> {
        let receivers = self.addresses.len() as u64;
        let each = messages / senders;
        self.gauge.expect(self.addresses.len(), messages / receivers);
        let addresses: Vec<Vec<S::Address>> = (0..senders).map(|_| self.addresses.clone()).collect();
        let begin = Instant::now();
        let senders_run: Vec<_> = addresses
            .into_iter()
            .map(|addresses| {
                self.subject.run(async move {
                    for (address, value) in addresses.iter().cycle().zip(0..each) {
                        S::count(address, value).await?;
                    }
                    Ok(())
                })
            })
            .collect();
        for sender in senders_run {
            sender.await??;
        }
        let handled = self.gauge.handled().await?;
        expect(handled.count == messages && handled.sum == senders * (each * (each - 1) / 2))?;
        Ok(ns_each(handled.at - begin, messages))
    }

    /// Nanoseconds per answered question of one asker.
    async fn questions(&self, count: u64) -> Outcome<f64> {
        let address = self.addresses[0].clone();
        let asked = self.subject.run(async move {
            let begin = Instant::now();
            for value in 0..count {
                expect(S::ask(&address, value).await? == value + 1)?;
            }
            Ok(ns_each(begin.elapsed(), count))
        });
        asked.await?
    }

    /// Makes a ring of the actors.
    async fn link(&self) -> Outcome<()> {
        for (address, next) in self.addresses.iter().zip(self.addresses.iter().cycle().skip(1)) {
            S::next(address, next.clone()).await?;
        }
        Ok(())
    }

    /// Nanoseconds per hop of one token that goes round. `before` are the hops that the actors have seen.
    async fn laps(&self, hops: u64, before: u64) -> Outcome<f64> {
        self.gauge.expect(1, 0);
        let begin = Instant::now();
        S::token(&self.addresses[0], hops - 1).await?;
        let handled = self.gauge.handled().await?;
        // Of the last actor; it has its share only if every other one passed on every token.
        expect(handled.count == (before + hops) / self.addresses.len() as u64)?;
        Ok(ns_each(handled.at - begin, hops))
    }

    /// From the panic to the answer of the fresh incarnation, on average.
    async fn crash(&mut self, times: u64) -> Outcome<Duration> {
        let (subject, gauge) = (self.subject.clone(), self.gauge.clone());
        let mut address = self.addresses[0].clone();
        let crashed = self.subject.run(async move {
            let mut took = Duration::ZERO;
            for value in 0..times {
                address = subject.crash(&address).await?;
                let answer = S::ask(&address, value).await?;
                took += gauge.crashed_at()?.elapsed();
                expect(answer == value + 1)?;
            }
            Ok((took / times as u32, address))
        });
        let (took, address) = crashed.await??;
        self.addresses[0] = address;
        Ok(took)
    }

    async fn end(self) -> Outcome<()> {
        self.subject.end(self.addresses).await
    }
}

fn expect(holds: bool) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken::Astray) }
}

fn percentiles(ns: &Histogram<u64>) -> [f64; 3] {
    [50.0, 99.0, 99.9].map(|percent| ns.value_at_percentile(percent) as f64)
}

fn nanoseconds(metric: &'static str, value: f64) -> Sample {
    Sample { metric, unit: "ns", value }
}

fn microseconds(metric: &'static str, took: Duration) -> Sample {
    Sample { metric, unit: "us", value: took.as_nanos() as f64 / 1e3 }
}
