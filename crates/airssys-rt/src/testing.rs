//! For tests: whole systems that run on one thread in an order that a seed decides.
//!
//! Which task runs next, how many messages an actor handles before others get a turn, and when a ready task is put aside
//! for a while: the seed says. The clock is paused and jumps to the next timer when nothing is ready, so an hour takes no
//! time. A seed that fails fails again; [`check`] tries many and names the one. A scenario that can go on no more is a
//! deadlock and fails with the tree of the system instead of hanging.
//!
//! ```
//! use std::time::Duration;
//! use airssys_rt::testing;
//! use airssys_rt::{Actor, Context, ExitReason, MailboxOptions, ReplyTo};
//!
//! struct Counter(u64);
//!
//! impl Actor for Counter {
//!     type Message = Option<ReplyTo<u64>>;
//!
//!     async fn handle(&mut self, message: Self::Message, _: &mut Context<Self>) -> Result<(), ExitReason> {
//!         match message {
//!             None => self.0 += 1,
//!             Some(reply) => drop(reply.send(self.0)),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! testing::check(100, |system| async move {
//!     let counter = system.spawn("counter", MailboxOptions::default(), || Counter(0)).await.expect("it starts");
//!     let clients: Vec<_> = (0..3)
//!         .map(|n| {
//!             let counter = counter.clone();
//!             testing::spawn(&system, format!("client {n}"), async move { counter.tell(None).await.is_ok() })
//!         })
//!         .collect();
//!     for client in clients {
//!         assert!(client.await);
//!     }
//!     assert_eq!(counter.ask(Duration::from_secs(1), Some).await.expect("an answer"), 3);
//!     assert!(system.shutdown(Duration::from_secs(1)).await.is_clean());
//! });
//! ```
//!
//! # What a seed cannot decide
//! Threads, `spawn_blocking`, real input and output, `tokio::select!` without `biased`, the order of a `HashMap`, and
//! [`std::time`]. What an actor starts with `tokio::spawn` runs, in tokio's order and not in the seed's.

mod driver;
mod faults;
mod probe;
mod random;
mod report;
mod scheduler;
mod seeded;

use std::env;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use crate::executor::Executor;
use crate::reply::{Reply, reply};
use crate::system::System;

pub use faults::{Fault, Faults, InjectedFault, Installed};
pub(crate) use faults::{FaultTable, before_start, next_fault, strike};
pub use probe::Probe;
pub use random::Random;
pub use report::Fingerprint;
pub(crate) use scheduler::Scheduler;
pub use seeded::{Outcome, Seeded};

/// The variable that says how many seeds [`check`] tries.
const SEEDS: &str = "AIRSSYS_SEEDS";
/// The variable that names the only seed [`check`] tries.
const SEED: &str = "AIRSSYS_SEED";

/// Runs a scenario in a new system, in the order that this seed decides, and drops what is left of the system.
///
/// ```
/// # use airssys_rt::testing;
/// let hour = std::time::Duration::from_secs(3600);
/// let began = std::time::Instant::now();
/// testing::run(1, |system| async move {
///     tokio::time::sleep(hour).await;
///     assert!(system.tree().is_empty());
/// });
/// assert!(began.elapsed() < hour);
/// ```
///
/// # Panics
/// As [`Seeded::run`].
pub fn run<T, F>(seed: u64, scenario: impl FnOnce(System) -> F) -> T
where
    F: Future<Output = T>,
{
    Seeded::new(seed).run(scenario).value
}

/// Runs a scenario once with each of [`seeds`], each in a new system.
///
/// # Panics
/// With the first seed that fails, why, and how to run it again; see [`Seeded::run`].
pub fn check<F>(seeds: u64, scenario: impl Fn(System) -> F)
where
    F: Future<Output = ()>,
{
    check_each(self::seeds(seeds), scenario);
}

/// The seeds to try: so many from 0 on, unless the environment asks for more or fewer with `AIRSSYS_SEEDS=100000`, or for a
/// single one with `AIRSSYS_SEED=42`.
///
/// # Panics
/// When a variable is set and is not a number.
pub fn seeds(seeds: u64) -> Range<u64> {
    seeds_to_try(number_from(SEED), number_from(SEEDS).unwrap_or(seeds))
}

fn check_each<F>(seeds: Range<u64>, scenario: impl Fn(System) -> F)
where
    F: Future<Output = ()>,
{
    for seed in seeds {
        if let Err(failure) = Seeded::new(seed).try_run(&scenario) {
            let test = thread::current().name().unwrap_or("NAME").to_owned();
            panic!("seed {seed}: {failure}\nto run it again: {SEED}={seed} cargo test {test}");
        }
    }
}

/// Somebody wants to see this one seed.
fn runs_alone() -> bool {
    env::var_os(SEED).is_some()
}

fn seeds_to_try(only: Option<u64>, seeds: u64) -> Range<u64> {
    match only {
        Some(seed) => seed..seed.saturating_add(1),
        None => 0..seeds,
    }
}

fn number_from(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{variable} is {text:?}, and must be a number"),
    }
}

/// Runs a future beside the scenario, as a task of its own. It goes on when the [`Task`] is dropped.
pub fn spawn<T: Send + 'static>(
    system: &System,
    name: impl Into<Arc<str>>,
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let (result, task) = reply(None);
    system.executor().spawn(Some(&name.into()), async move {
        // Nobody may care for the result.
        drop(result.send(future.await));
    });
    Task(task)
}

/// A task of a test. Its result is there to be awaited.
#[must_use = "await it, or nobody sees the result"]
pub struct Task<T>(Reply<T>);

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.0
            .poll(cx)
            .map(|result| result.expect("a task ends with a result unless it panics, which fails the run"))
    }
}

/// Random numbers from the seed of a run. Each call gives others, and none changes the order of the run.
///
/// # Panics
/// For a system that is not seeded.
pub fn random(system: &System) -> Random {
    match system.executor() {
        Executor::Seeded(scheduler) => scheduler.fork_random(),
        Executor::Tokio => panic!("a system that tokio runs has no seed"),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn the_first_seed_that_fails_ends_a_check_which_says_how_to_run_it_again() {
        let runs = AtomicU64::new(0);
        let checked = catch_unwind(AssertUnwindSafe(|| {
            check_each(0..10, |_| async {
                assert!(runs.fetch_add(1, Ordering::Relaxed) < 4, "the fifth");
            });
        }));
        assert_eq!(runs.load(Ordering::Relaxed), 5);
        let complaint = checked.expect_err("it fails").downcast::<String>().expect("a message");
        assert!(complaint.starts_with("seed 4: the scenario panicked: the fifth"), "{complaint}");
        assert!(complaint.contains("AIRSSYS_SEED=4 cargo test"), "{complaint}");
    }

    #[test]
    fn one_seed_that_is_asked_for_is_the_only_one_tried() {
        assert_eq!(seeds_to_try(None, 3), 0..3);
        assert_eq!(seeds_to_try(Some(42), 3), 42..43);
    }
}
