//! Effects that take their time: how long one attempt may take, and whether there is another.
//!
//! An effect that has begun goes on to its end, also when nobody waits for it any more, so no operation is left half done
//! because its caller lost patience, and the log learns how it ended. How many are under way is bounded. Each attempt is an
//! operation of its own, which passes the layers and the gate anew and has its own records.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::LayerRefusal;
use crate::access::Subject;
use crate::gate::{Denied, Gate, Operation, Refusal};

/// Attempts at one operation.
const ATTEMPTS_MAX: u32 = 100;

/// What holds for each attempt.
#[derive(Debug, Clone, Copy)]
pub struct PipelineOptions {
    /// How long the caller waits for an attempt, from asking the gate to the end of the effect.
    pub within: Duration,
    /// Effects that are under way at a time, those nobody waits for included; one more is refused.
    pub effects_max: usize,
}

impl Default for PipelineOptions {
    /// 30 seconds, and 256 effects.
    fn default() -> Self {
        Self { within: Duration::from_secs(30), effects_max: 256 }
    }
}

/// When to try again, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts in all, 1 to 100.
    pub attempts_max: u32,
    /// What is waited before the second attempt, and twice as long before each further one, with up to as much again at random.
    pub delay: Duration,
    /// The longest that is waited between two attempts.
    pub delay_max: Duration,
    /// No attempt begins later than this after the first.
    pub within: Duration,
}

impl Default for Retry {
    /// 3 attempts, after 100 ms and more, up to 10 seconds apart, within a minute.
    fn default() -> Self {
        Self {
            attempts_max: 3,
            delay: Duration::from_millis(100),
            delay_max: Duration::from_secs(10),
            within: Duration::from_secs(60),
        }
    }
}

/// A gate for effects that take their time. Cheap to clone; clones count their effects together.
#[derive(Debug, Clone)]
pub struct Pipeline {
    gate: Gate,
    options: PipelineOptions,
    room: Arc<Semaphore>,
}

/// What became of an operation that was not done in time and well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError<O, E> {
    /// It is not allowed.
    #[error(transparent)]
    Denied(Box<Denied<O>>),
    /// It was tried and did not work. This is the error of the last attempt.
    #[error(transparent)]
    Failed(E),
    /// It is not waited for any longer. If it has begun it goes on, and the log will say how it ended.
    #[error("not done within {within:?}")]
    TimedOut {
        /// The bound.
        within: Duration,
    },
    /// The effect panicked. The log says that nobody knows what came of it.
    #[error("the effect panicked")]
    Panicked,
    /// The runtime ends, and the effect with it. The log says that nobody knows what came of it.
    #[error("the runtime ends")]
    Stopped,
}

impl Pipeline {
    /// Effects behind this gate, and its layers.
    pub fn new(gate: Gate, options: PipelineOptions) -> Self {
        let room = options.effects_max.min(Semaphore::MAX_PERMITS);
        Self { gate, options, room: Arc::new(Semaphore::new(room)) }
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Admits an operation and performs it by `effect`, in a task of its own. Runs in tokio with time. Dropped before the
    /// operation is admitted, nothing is done; dropped later, it goes on without anybody to tell.
    pub async fn run<O, T, E, F>(
        &self,
        subject: &Subject,
        operation: O,
        effect: impl FnOnce(O) -> F + Send + 'static,
    ) -> Result<T, PipelineError<O, E>>
    where
        O: Operation + 'static,
        T: Send + 'static,
        E: fmt::Display + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let PipelineOptions { within, effects_max } = self.options;
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            let full = Refusal::from(LayerRefusal::Full { max: effects_max });
            let denied = self.gate.refuse_from_task(subject, operation, full).await;
            return Err(PipelineError::Denied(Box::new(denied)));
        };
        let attempt = async {
            let admitted = self.gate.admit_from_task(subject, operation).await;
            let permit = admitted.map_err(|denied| PipelineError::Denied(Box::new(denied)))?;
            let performed = tokio::spawn(async move {
                let result = permit.perform_from_task(async |operation| effect(operation).await).await;
                drop(place);
                result
            });
            match performed.await {
                Ok(result) => result.map_err(PipelineError::Failed),
                Err(error) if error.is_panic() => Err(PipelineError::Panicked),
                Err(_) => Err(PipelineError::Stopped),
            }
        };
        match tokio::time::timeout(within, attempt).await {
            Ok(result) => result,
            Err(_) => Err(PipelineError::TimedOut { within }),
        }
    }

    /// As [`Pipeline::run`], and again as long as the error is one that passes by itself. What was denied is not tried again,
    /// and neither is what timed out, as that may still be under way.
    pub async fn run_again<O, T, E, F>(
        &self,
        subject: &Subject,
        operation: &O,
        retry: Retry,
        effect: impl Fn(O) -> F + Clone + Send + 'static,
        passes: impl Fn(&E) -> bool,
    ) -> Result<T, PipelineError<O, E>>
    where
        O: Operation + Clone + 'static,
        T: Send + 'static,
        E: fmt::Display + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let began = Instant::now();
        let mut delays = retry.delays();
        loop {
            let error = match self.run(subject, operation.clone(), effect.clone()).await {
                Err(PipelineError::Failed(error)) if passes(&error) => error,
                ended => return ended,
            };
            match delays.next() {
                Some(delay) if began.elapsed().saturating_add(delay) <= retry.within => {
                    tokio::time::sleep(delay).await;
                }
                Some(_) | None => return Err(PipelineError::Failed(error)),
            }
        }
    }
}

impl Retry {
    fn delays(&self) -> impl Iterator<Item = Duration> {
        let more = self.attempts_max.clamp(1, ATTEMPTS_MAX) - 1;
        let backoff = ExponentialBuilder::new().with_min_delay(self.delay).with_max_delay(self.delay_max);
        let backoff = backoff.with_max_times(usize::try_from(more).unwrap_or(0)).with_jitter();
        let delay_max = self.delay_max;
        backoff.build().map(move |delay| delay.min(delay_max))
    }
}
