//! A circuit breaker: stops asking an actor that does not answer, and finds out when it does again.
//!
//! Closed, it lets calls through and counts failures in a row. At a threshold it opens: calls come back at once, unsent. After
//! a cool-down it is half open: one call is let through as a trial, and its outcome closes or opens it. The circuit is a
//! plain state machine; what is around it adds a lock, a clock, and an atomic that spares a healthy circuit both.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::address::{Address, AskError, TellError};
use crate::reply::{ReplyTo, reply};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// Failures in a row that open it; zero is read as one. A success in between starts the count again, time does not.
    pub failures_max: u32,
    /// From its opening to the trial.
    pub cool_down: Duration,
}

impl Default for BreakerOptions {
    /// 5 failures in a row, 10 s.
    fn default() -> Self {
        Self { failures_max: 5, cool_down: Duration::from_secs(10) }
    }
}

/// Asks an actor, as long as that is any use. Clones share one circuit; breakers made apart do not.
///
/// ```
/// # use std::time::Duration;
/// # use airssys_rt::{Address, Breaker, BreakerError, BreakerOptions, ReplyTo};
/// async fn price(shop: &Breaker<ReplyTo<u64>>) -> Option<u64> {
///     match shop.ask(Duration::from_secs(1), |reply| reply).await {
///         Ok(price) => Some(price),
///         // Not even asked: use the last price known, and do not come again before `retry_after`.
///         Err(BreakerError::Open { .. }) => None,
///         Err(BreakerError::Ask(_)) => None,
///     }
/// }
///
/// # fn open(shop: Address<ReplyTo<u64>>) -> Breaker<ReplyTo<u64>> {
/// Breaker::new(shop, BreakerOptions { failures_max: 3, cool_down: Duration::from_secs(5) })
/// # }
/// ```
pub struct Breaker<M> {
    address: Address<M>,
    circuit: Arc<SharedCircuit>,
}

impl<M: Send + 'static> Breaker<M> {
    /// A closed breaker for calls to this address.
    pub fn new(address: Address<M>, options: BreakerOptions) -> Self {
        Self { address, circuit: Arc::new(SharedCircuit::new(options)) }
    }

    /// The address, for what shall be sent whatever the circuit.
    pub fn address(&self) -> &Address<M> {
        &self.address
    }

    /// What a call would meet now.
    pub fn state(&self) -> BreakerState {
        self.circuit.lock().show(Instant::now())
    }

    /// As [`Address::ask`], unless the circuit is open; then the message comes back at once.
    ///
    /// Failures are: no answer in time, the death of the callee or of the request, a full or closed mailbox. Any answer is a
    /// success. A message that is too large or was late before it was sent says nothing of the callee and counts as neither.
    ///
    /// Cancel safe, as [`Address::ask`] is; a call that is dropped counts as neither, and if it was the trial the next call
    /// is.
    pub async fn ask<R: Send>(
        &self,
        timeout: Duration,
        make: impl FnOnce(ReplyTo<R>) -> M,
    ) -> Result<R, BreakerError<M>> {
        self.ask_unless(|_| false, timeout, make).await
    }

    /// As [`Breaker::ask`], and an answer of which `is_failure` is true counts as a failure. It is returned all the same.
    pub async fn ask_unless<R: Send>(
        &self,
        is_failure: impl FnOnce(&R) -> bool,
        timeout: Duration,
        make: impl FnOnce(ReplyTo<R>) -> M,
    ) -> Result<R, BreakerError<M>> {
        let call = match self.circuit.admit(Instant::now) {
            Ok(call) => call,
            Err(retry_after) => {
                let (reply_to, reply) = reply(None);
                // Whoever answers the message that comes back finds that nobody waits.
                reply.abandon(self.address.0.clone());
                return Err(BreakerError::Open { retry_after, message: make(reply_to) });
            }
        };
        let call = Call { breaker: self, call: Some(call) };
        let outcome = self.address.ask(timeout, make).await;
        call.end(match &outcome {
            Ok(answer) if is_failure(answer) => Outcome::Failure,
            Ok(_) => Outcome::Success,
            Err(error) => outcome_of(error),
        });
        outcome.map_err(BreakerError::Ask)
    }
}

fn outcome_of<M>(error: &AskError<M>) -> Outcome {
    match error {
        AskError::Timeout | AskError::Died => Outcome::Failure,
        AskError::NotSent(refused) => match refused {
            TellError::Full(_) | TellError::Closed(_) => Outcome::Failure,
            TellError::TooLarge(_) | TellError::Expired(_) => Outcome::Neither,
        },
    }
}

impl<M> Clone for Breaker<M> {
    fn clone(&self) -> Self {
        Self { address: self.address.clone(), circuit: self.circuit.clone() }
    }
}

impl<M> fmt::Debug for Breaker<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Breaker({:?})", self.address)
    }
}

/// What a breaker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed {
        /// Failures in a row so far.
        failures: u32,
    },
    /// Calls come back.
    Open {
        /// Until a trial is let through.
        retry_after: Duration,
    },
    /// The next call is a trial, or one is under way.
    HalfOpen,
}

/// Why a call through a breaker has no answer.
#[derive(thiserror::Error)]
pub enum BreakerError<M> {
    /// The callee has failed too often of late. Nothing was sent.
    #[error("circuit is open, try again in {retry_after:?}")]
    Open {
        /// Until a trial is let through; while one is under way, the whole cool-down that its failure would begin.
        retry_after: Duration,
        /// What was not sent.
        message: M,
    },
    /// The call was let through and failed.
    #[error("{0}")]
    Ask(AskError<M>),
}

impl<M> BreakerError<M> {
    /// The message, if it was not sent.
    pub fn into_message(self) -> Option<M> {
        match self {
            Self::Open { message, .. } => Some(message),
            Self::Ask(AskError::NotSent(refused)) => Some(refused.into_message()),
            Self::Ask(AskError::Timeout | AskError::Died) => None,
        }
    }
}

impl<M> fmt::Debug for BreakerError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { retry_after, .. } => {
                f.debug_struct("Open").field("retry_after", retry_after).finish_non_exhaustive()
            }
            Self::Ask(error) => f.debug_tuple("Ask").field(error).finish(),
        }
    }
}

/// A call that was let through; dropped without an end, it counts as neither success nor failure.
struct Call<'a, M: Send + 'static> {
    breaker: &'a Breaker<M>,
    call: Option<Admitted>,
}

impl<M: Send + 'static> Call<'_, M> {
    fn end(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        let Some(call) = self.call.take() else {
            return;
        };
        let callee = &self.breaker.address;
        match self.breaker.circuit.settle(call, outcome, Instant::now) {
            Some(Turn::Opened) => {
                tracing::warn!(actor = callee.name(), id = callee.id().as_u64(), "circuit opened");
            }
            Some(Turn::Closed) => {
                tracing::info!(actor = callee.name(), id = callee.id().as_u64(), "circuit closed");
            }
            None => {}
        }
    }
}

impl<M: Send + 'static> Drop for Call<'_, M> {
    fn drop(&mut self) {
        self.settle(Outcome::Neither);
    }
}

/// How a call ended, as far as the circuit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
    Neither,
}

/// A call the circuit let through. What it finds out counts only in the period in which it began: an answer that took its
/// time says nothing of a circuit that has opened or closed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Admitted {
    period: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Opened,
    Closed,
}

/// The state machine: no lock, no clock.
#[derive(Debug)]
struct Circuit {
    options: BreakerOptions,
    state: State,
    /// Begins anew whenever the state changes in kind. [`UNQUIET`] is never one.
    period: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    /// From `until` on, the next call is the trial.
    Open {
        until: Instant,
    },
    Trial,
}

impl Circuit {
    fn new(options: BreakerOptions) -> Self {
        Self { options, state: State::Closed { failures: 0 }, period: 0 }
    }

    /// Lets a call through, or says when to come again.
    fn admit(&mut self, now: Instant) -> Result<Admitted, Duration> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until } if now >= until => self.change(State::Trial),
            State::Open { until } => return Err(until - now),
            State::Trial => return Err(self.options.cool_down),
        }
        Ok(Admitted { period: self.period })
    }

    fn settle(&mut self, call: Admitted, outcome: Outcome, now: Instant) -> Option<Turn> {
        if call.period != self.period {
            return None;
        }
        match (self.state, outcome) {
            (State::Closed { .. }, Outcome::Success) => {
                self.state = State::Closed { failures: 0 };
                None
            }
            (State::Closed { failures }, Outcome::Failure) => {
                let failures = failures + 1;
                self.state = State::Closed { failures };
                (failures >= self.options.failures_max.max(1)).then(|| self.open(now))
            }
            (State::Trial, Outcome::Success) => {
                self.change(State::Closed { failures: 0 });
                Some(Turn::Closed)
            }
            (State::Trial, Outcome::Failure) => Some(self.open(now)),
            (State::Trial, Outcome::Neither) => {
                self.change(State::Open { until: now });
                None
            }
            // No call is let through in a period in which the circuit is open.
            (State::Closed { .. } | State::Open { .. }, Outcome::Neither)
            | (State::Open { .. }, Outcome::Success | Outcome::Failure) => None,
        }
    }

    fn show(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed { failures } => BreakerState::Closed { failures },
            State::Open { until } if now < until => BreakerState::Open { retry_after: until - now },
            State::Open { .. } | State::Trial => BreakerState::HalfOpen,
        }
    }

    fn open(&mut self, now: Instant) -> Turn {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        let until = now.checked_add(self.options.cool_down).unwrap_or_else(|| now + YEAR);
        self.change(State::Open { until });
        Turn::Opened
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.period += 1;
    }
}

/// Not a period: somebody has to look at the circuit.
const UNQUIET: u64 = u64::MAX;

/// A circuit for many callers.
struct SharedCircuit {
    circuit: Mutex<Circuit>,
    /// The period while the circuit is closed without a failure; otherwise [`UNQUIET`]. Calls and successes then change
    /// nothing, and one that reads it a moment too late is one that came a moment earlier.
    quiet: AtomicU64,
}

impl SharedCircuit {
    fn new(options: BreakerOptions) -> Self {
        let circuit = Circuit::new(options);
        Self { quiet: AtomicU64::new(circuit.period), circuit: Mutex::new(circuit) }
    }

    fn admit(&self, now: impl FnOnce() -> Instant) -> Result<Admitted, Duration> {
        let period = self.quiet.load(Ordering::Acquire);
        if period != UNQUIET {
            return Ok(Admitted { period });
        }
        self.lock().admit(now())
    }

    fn settle(&self, call: Admitted, outcome: Outcome, now: impl FnOnce() -> Instant) -> Option<Turn> {
        if outcome != Outcome::Failure && self.quiet.load(Ordering::Acquire) == call.period {
            return None;
        }
        let mut circuit = self.lock();
        let turn = circuit.settle(call, outcome, now());
        let quiet = match circuit.state {
            State::Closed { failures: 0 } => circuit.period,
            State::Closed { .. } | State::Open { .. } | State::Trial => UNQUIET,
        };
        self.quiet.store(quiet, Ordering::Release);
        turn
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
