//! One run of one seed, and what is told of it.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;

use crate::clock::OwnEpoch;
use crate::executor::Executor;
use crate::system::{System, SystemOptions};

use super::driver::{Driver, Limits};
use super::random::Random;
use super::report::{Failure, Fingerprint};
use super::scheduler::Scheduler;

/// A seeded run, for those who want more of it than [`run`](super::run) gives.
///
/// ```
/// use airssys_rt::testing::Seeded;
///
/// let outcome = |seed| Seeded::new(seed).run(|system| async move {
///     system.shutdown(std::time::Duration::from_secs(1)).await.is_clean()
/// });
/// assert!(outcome(7).value);
/// assert_eq!(outcome(7).fingerprint, outcome(7).fingerprint);
/// ```
#[derive(Clone, Debug)]
pub struct Seeded {
    seed: u64,
    options: SystemOptions,
    limits: Limits,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome<T> {
    /// What the scenario returned.
    pub value: T,
    /// What tells this run from others.
    pub fingerprint: Fingerprint,
    /// The names of actors and other tasks that had not ended when the scenario had, in the order they were started. They
    /// were dropped.
    pub left: Vec<Arc<str>>,
}

impl Seeded {
    /// Delays of at most 16 ms, and at most a million steps.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            options: SystemOptions::default(),
            limits: Limits { delay_max: Duration::from_millis(16), steps_max: 1_000_000 },
        }
    }

    /// What the system is told when it is made.
    pub fn options(self, options: SystemOptions) -> Self {
        Self { options, ..self }
    }

    /// How long a ready task is put aside at most, in whole milliseconds of the paused clock. With zero the clock stands
    /// still while anything is ready.
    pub fn delay_max(mut self, delay_max: Duration) -> Self {
        self.limits.delay_max = delay_max;
        self
    }

    /// After how many polls and delays a scenario is called endless.
    pub fn steps_max(mut self, steps_max: u64) -> Self {
        self.limits.steps_max = steps_max;
        self
    }

    /// Runs the scenario to its end and drops what is left.
    ///
    /// # Panics
    /// When the scenario or another task that is no actor panics, is in a deadlock, or does not end. The message has the
    /// seed, the tree of the system and the latest steps. Also when called within a tokio runtime.
    pub fn run<T, F>(self, scenario: impl FnOnce(System) -> F) -> Outcome<T>
    where
        F: Future<Output = T>,
    {
        let seed = self.seed;
        match self.try_run(scenario) {
            Ok(outcome) => outcome,
            Err(failure) => panic!("seed {seed}: {failure}"),
        }
    }

    pub(super) fn try_run<T, F>(self, scenario: impl FnOnce(System) -> F) -> Result<Outcome<T>, Box<Failure>>
    where
        F: Future<Output = T>,
    {
        let mut random = Random::new(self.seed);
        let scheduler = Scheduler::new(&mut random);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without input and output needs nothing of the operating system");
        // Tokio would interrupt the driver, which is one task to it, for the sake of others.
        runtime.block_on(tokio::task::unconstrained(async {
            let _own_epoch = OwnEpoch::begin();
            let system = System::on(Executor::Seeded(scheduler.clone()), self.options);
            let scenario = scenario(system.clone());
            let mut driver = Driver::new(system, scheduler.clone(), random, self.limits, scenario);
            let result = poll_fn(|cx| driver.poll(cx)).await;
            let not_begun = scheduler.close();
            let mut left = driver.left();
            left.extend(not_begun.iter().filter_map(|started| started.name.clone()));
            let fingerprint = driver.fingerprint();
            // Here, where the clock of the run is, since what is dropped may report its end.
            driver.abandon();
            drop(not_begun);
            Ok(Outcome { value: result?, fingerprint, left })
        }))
    }
}
