//! What every subject's actor does with its messages, and how a workload learns that all of them were handled.
//!
//! A [`Worker`] is the state of one actor, the same in each subject. It counts for itself; only the last message of its
//! share touches the [`Gauge`] that it has in common with the others.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use crate::Outcome;

/// A workload that takes this long stands still.
pub(super) const STALLED: Duration = Duration::from_secs(60);

/// What a worker says when it is told to panic. The panic hook keeps quiet about it.
pub(super) const CRASH: &str = "the benchmark crashes this worker";

/// The state of one actor.
pub(super) struct Worker {
    handled: u64,
    sum: u64,
    gauge: Arc<Gauge>,
}

impl Worker {
    pub(super) fn new(gauge: Arc<Gauge>) -> Self {
        Worker { handled: 0, sum: 0, gauge }
    }

    /// A message that nobody waits for.
    pub(super) fn count(&mut self, value: u64) {
        self.handled += 1;
        self.sum += value;
        if self.handled == self.gauge.goal.load(Ordering::Relaxed) {
            self.gauge.reached(self.handled, self.sum);
            (self.handled, self.sum) = (0, 0);
        }
    }

    /// A message whose sender waits for the answer.
    pub(super) fn answer(&mut self, value: u64) -> u64 {
        self.handled += 1;
        value + 1
    }

    /// A message that goes round: what to send to the next worker, if it has not gone far enough.
    pub(super) fn token(&mut self, hops_left: u64) -> Option<u64> {
        self.handled += 1;
        if let Some(hops) = &self.gauge.hops {
            lock(hops).hop();
        }
        if hops_left == 0 {
            self.gauge.reached(self.handled, 0);
            return None;
        }
        Some(hops_left - 1)
    }

    /// A message that nobody survives.
    pub(super) fn crash(&self) -> ! {
        *lock(&self.gauge.at) = Some(Instant::now());
        panic!("{CRASH}")
    }

    /// A message that takes until [`Gauge::go_on`]. Boxed, so that idle actors do not carry what they await once.
    pub(super) fn block(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let gauge = self.gauge.clone();
        Box::pin(async move {
            gauge.reached(1, 0);
            gauge.gate.notified().await;
        })
    }
}

/// What the workers of one workload have in common with the task that measures.
pub(super) struct Gauge {
    /// Messages after which a worker reports.
    goal: AtomicU64,
    /// Workers that have not reported yet.
    waiting_for: AtomicUsize,
    handled: AtomicU64,
    sum: AtomicU64,
    at: Mutex<Option<Instant>>,
    done: Notify,
    gate: Notify,
    hops: Option<Mutex<Hops>>,
}

/// What was handled, and when the last of it.
pub(super) struct Handled {
    pub(super) at: Instant,
    pub(super) count: u64,
    pub(super) sum: u64,
}

impl Gauge {
    pub(super) fn new() -> Arc<Self> {
        Self::with_hops(None)
    }

    /// One that takes the time of each hop of a token.
    pub(super) fn timing_hops() -> Arc<Self> {
        Self::with_hops(Some(Mutex::new(Hops { last: Instant::now(), ns: latencies() })))
    }

    fn with_hops(hops: Option<Mutex<Hops>>) -> Arc<Self> {
        Arc::new(Gauge {
            goal: AtomicU64::new(0),
            waiting_for: AtomicUsize::new(0),
            handled: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            at: Mutex::new(None),
            done: Notify::new(),
            gate: Notify::new(),
            hops,
        })
    }

    /// To be said before anything is sent: so many workers handle so many messages each.
    pub(super) fn expect(&self, workers: usize, messages_each: u64) {
        self.goal.store(messages_each, Ordering::SeqCst);
        self.waiting_for.store(workers, Ordering::SeqCst);
        self.handled.store(0, Ordering::SeqCst);
        self.sum.store(0, Ordering::SeqCst);
    }

    /// Waits until all of them have.
    pub(super) async fn handled(&self) -> Outcome<Handled> {
        tokio::time::timeout(STALLED, self.done.notified()).await.map_err(|_| Broken::Stalled)?;
        Ok(Handled {
            at: lock(&self.at).take().ok_or(Broken::Stalled)?,
            count: self.handled.load(Ordering::SeqCst),
            sum: self.sum.load(Ordering::SeqCst),
        })
    }

    /// Lets the worker go on that was told to block.
    pub(super) fn go_on(&self) {
        self.gate.notify_one();
    }

    /// When the worker that was told to panic did.
    pub(super) fn crashed_at(&self) -> Outcome<Instant> {
        Ok(lock(&self.at).take().ok_or(Broken::Astray)?)
    }

    /// Nanoseconds of each hop so far.
    pub(super) fn hops(&self) -> Option<Histogram<u64>> {
        self.hops.as_ref().map(|hops| lock(hops).ns.clone())
    }

    fn reached(&self, handled: u64, sum: u64) {
        self.handled.fetch_add(handled, Ordering::SeqCst);
        self.sum.fetch_add(sum, Ordering::SeqCst);
        if self.waiting_for.fetch_sub(1, Ordering::SeqCst) == 1 {
            *lock(&self.at) = Some(Instant::now());
            self.done.notify_one();
        }
    }
}

struct Hops {
    last: Instant,
    ns: Histogram<u64>,
}

impl Hops {
    fn hop(&mut self) {
        let now = Instant::now();
        self.ns.saturating_record(now.duration_since(self.last).as_nanos() as u64);
        self.last = now;
    }
}

/// Of nanoseconds up to ten seconds, three digits of each.
pub(super) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 3)
        .expect("the bounds are in order and three digits are few")
}

/// What the measured program did wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("messages stopped arriving")]
    Stalled,
    #[error("something else was handled than what was sent")]
    Astray,
    #[error("an actor was gone or refused its message")]
    Refused,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
