//! The part of a seeded run that owns the tasks and polls them: one at a time, each chosen by the seed.
//!
//! It is one future in a tokio runtime whose clock is paused, so time stands still while a task is ready and jumps to the
//! next timer when none is. When nothing is ready and no timer runs, nothing will ever happen: that is a deadlock.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::lifecycle::message_of;
use crate::observe::Events;
use crate::system::System;

use super::random::Random;
use super::report::{Failure, Fingerprint, Record, What, Why};
use super::scheduler::{Job, SCENARIO, Scheduler, Started, TaskWaker};

/// Longer than the longest wait of this crate, a year, and than the longest sane one of anybody.
const PATIENCE: Duration = Duration::from_secs(400 * 24 * 60 * 60);

pub(super) struct Driver<F: Future> {
    system: System,
    scheduler: Arc<Scheduler>,
    random: Random,
    limits: Limits,
    scenario: Pin<Box<F>>,
    scenario_name: Arc<str>,
    system_name: Arc<str>,
    scenario_waker: TaskWakers,
    tasks: BTreeMap<u64, Task>,
    /// Ready tasks that were put aside, and until when.
    delayed: BTreeSet<(Instant, u64)>,
    /// One ready task in so many is delayed; 0 for none.
    delay_one_in: u64,
    alarm: Pin<Box<Sleep>>,
    /// When doing nothing becomes a deadlock. Absent while something is done.
    patient_until: Option<Instant>,
    events: Events,
    record: Record,
}

/// What one run may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) delay_max: Duration,
    pub(super) steps_max: u64,
}

struct Task {
    name: Option<Arc<str>>,
    job: Job,
    waker: TaskWakers,
}

/// One waker, as what it is and as what a future takes.
struct TaskWakers {
    own: Arc<TaskWaker>,
    given: Waker,
}

impl TaskWakers {
    fn new(number: u64, scheduler: &Arc<Scheduler>) -> Self {
        let own = TaskWaker::new(number, scheduler);
        Self { given: own.clone().into(), own }
    }
}

impl<F: Future> Driver<F> {
    /// Must be made in the runtime that runs it.
    pub(super) fn new(
        system: System,
        scheduler: Arc<Scheduler>,
        mut random: Random,
        limits: Limits,
        scenario: F,
    ) -> Self {
        Self {
            // Runs without any delay keep the clock exact, runs with many meet timers that are over before their time.
            delay_one_in: [0, 64, 16, 4][random.index_below(4)],
            scenario: Box::pin(scenario),
            scenario_name: "the scenario".into(),
            system_name: "the system".into(),
            scenario_waker: TaskWakers::new(SCENARIO, &scheduler),
            tasks: BTreeMap::new(),
            delayed: BTreeSet::new(),
            alarm: Box::pin(sleep(Duration::ZERO)),
            patient_until: None,
            events: system.events(),
            record: Record::new(),
            system,
            scheduler,
            random,
            limits,
        }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.record.fingerprint()
    }

    /// Drops what has not ended, one by one, so that a panic in one does not keep the others from it.
    pub(super) fn abandon(mut self) {
        // First what may wait for the others.
        drop(self.scenario);
        while let Some((_, task)) = self.tasks.pop_first() {
            // It is the actor's own affair, as when it panics while it runs.
            drop(panic::catch_unwind(AssertUnwindSafe(|| drop(task))));
        }
    }

    /// The names of the tasks that have not ended, in the order they were started, but not the system's own.
    pub(super) fn left(&self) -> Vec<Arc<str>> {
        self.tasks.values().filter_map(|task| task.name.clone()).collect()
    }

    /// The result of the scenario, as soon as there is one; other tasks stay as they are then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<F::Output, Box<Failure>>> {
        self.end_delays();
        loop {
            let (started, ready) = self.scheduler.next(&mut self.random, cx.waker());
            for Started { number, name, job } in started {
                let waker = TaskWakers::new(number, &self.scheduler);
                self.tasks.insert(number, Task { name, job, waker });
            }
            let Some(number) = ready else {
                return self.rest(cx).map(Err);
            };
            self.patient_until = None;
            if self.record.steps() == self.limits.steps_max {
                return Poll::Ready(Err(self.failure(Why::Endless)));
            }
            if self.delays(number) {
                continue;
            }
            self.record.note(What::Polled(number, self.name_of(number)));
            let polled = if number == SCENARIO {
                self.poll_scenario()
            } else {
                match self.poll_task(number) {
                    Ok(()) => Poll::Pending,
                    Err(failure) => Poll::Ready(Err(failure)),
                }
            };
            while let Some(Ok(event)) = self.events.try_next() {
                self.record.note(What::Saw(event));
            }
            if polled.is_ready() {
                return polled;
            }
            // What waits for a turn of tokio's own, as `yield_now` does, gets one.
            if self.random.one_in(4) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    fn poll_scenario(&mut self) -> Poll<Result<F::Output, Box<Failure>>> {
        let waker = &self.scenario_waker;
        waker.own.reset();
        let poll = || self.scenario.as_mut().poll(&mut Context::from_waker(&waker.given));
        match panic::catch_unwind(AssertUnwindSafe(poll)) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(self.panicked(SCENARIO, payload.as_ref()))),
        }
    }

    fn poll_task(&mut self, number: u64) -> Result<(), Box<Failure>> {
        let Some(Task { job, waker, .. }) = self.tasks.get_mut(&number) else {
            return Ok(());
        };
        waker.own.reset();
        let poll = || job.as_mut().poll(&mut Context::from_waker(&waker.given));
        match panic::catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => Ok(()),
            Ok(Poll::Ready(())) => {
                waker.own.retire();
                self.tasks.remove(&number);
                Ok(())
            }
            Err(payload) => Err(self.panicked(number, payload.as_ref())),
        }
    }

    /// Puts a ready task aside for a while, as a busy machine does; timers may come first then.
    fn delays(&mut self, number: u64) -> bool {
        let delay_ms_max = u64::try_from(self.limits.delay_max.as_millis()).unwrap_or(u64::MAX);
        if delay_ms_max == 0 || !self.random.one_in(self.delay_one_in) {
            return false;
        }
        let delay = Duration::from_millis(1 + self.random.below(delay_ms_max));
        self.delayed.insert((Instant::now() + delay, number));
        self.record.note(What::Delayed(number, self.name_of(number), delay));
        true
    }

    fn end_delays(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.delayed.first().copied().filter(|(until, _)| *until <= now) {
            self.delayed.remove(&entry);
            self.scheduler.set_ready(entry.1);
        }
    }

    /// Sleeps until a task is woken or a delay is over.
    fn rest(&mut self, cx: &mut Context<'_>) -> Poll<Box<Failure>> {
        let now = Instant::now();
        let patient_until = *self.patient_until.get_or_insert(now + PATIENCE);
        if now >= patient_until {
            return Poll::Ready(self.failure(Why::Deadlock));
        }
        let first = self.delayed.first().map_or(patient_until, |(until, _)| *until);
        self.alarm.as_mut().reset(first);
        if self.alarm.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn name_of(&self, number: u64) -> Arc<str> {
        match self.tasks.get(&number) {
            Some(Task { name, .. }) => name.as_ref().unwrap_or(&self.system_name).clone(),
            None => self.scenario_name.clone(),
        }
    }

    fn panicked(&mut self, number: u64, payload: &(dyn Any + Send)) -> Box<Failure> {
        let why = Why::Panicked { task: self.name_of(number), message: message_of(payload) };
        self.failure(why)
    }

    fn failure(&mut self, why: Why) -> Box<Failure> {
        Box::new(self.record.failure(why, self.system.tree()))
    }
}
