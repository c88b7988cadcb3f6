//! The part of a seeded run that tasks and wakers reach: which tasks are ready, and which have just been started.
//!
//! A task is in the ready list at most once, and one that is being polled enters it when it is woken meanwhile. The tasks
//! themselves belong to the driver of the run, so nothing here keeps one alive.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use super::random::Random;

pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The scenario's own number; those of other tasks are greater and are not used again.
pub(super) const SCENARIO: u64 = 0;

pub(crate) struct Scheduler(Mutex<State>);

struct State {
    ready: Vec<u64>,
    started: Vec<Started>,
    next_task: u64,
    /// Set while the driver sleeps.
    driver: Option<Waker>,
    is_open: bool,
    /// The mean length of a turn; 0 for as long as the executor lets it be.
    turn_len: u64,
    turns: Random,
    /// Where scenarios get their numbers from, so that what they draw does not change what is picked.
    scenarios: Random,
}

/// A task the driver has not taken over yet.
pub(super) struct Started {
    pub(super) number: u64,
    /// The system's own tasks have none.
    pub(super) name: Option<Arc<str>>,
    pub(super) job: Job,
}

impl Scheduler {
    pub(super) fn new(random: &mut Random) -> Arc<Self> {
        // Long turns hide races between turns, short ones hide those that need a backlog.
        let turn_len = [1, 2, 8, 0][random.index_below(4)];
        Arc::new(Self(Mutex::new(State {
            ready: vec![SCENARIO],
            started: Vec::new(),
            next_task: SCENARIO + 1,
            driver: None,
            is_open: true,
            turn_len,
            turns: random.fork(),
            scenarios: random.fork(),
        })))
    }

    pub(crate) fn spawn(&self, name: Option<Arc<str>>, job: Job) {
        let mut state = self.lock();
        if !state.is_open {
            drop(state);
            // Outside the lock: what is dropped may report its end and wake others.
            drop(job);
            return;
        }
        let number = state.next_task;
        state.next_task += 1;
        state.started.push(Started { number, name, job });
        state.ready.push(number);
        Self::wake_driver(state);
    }

    /// Whether an actor lets others run after a message.
    pub(crate) fn ends_turn(&self) -> bool {
        let mut state = self.lock();
        let turn_len = state.turn_len;
        state.turns.one_in(turn_len)
    }

    pub(crate) fn fork_random(&self) -> Random {
        self.lock().scenarios.fork()
    }

    /// What was started since the last look, and one of the ready tasks. Without one, a wake of any task wakes `driver`.
    pub(super) fn next(&self, random: &mut Random, driver: &Waker) -> (Vec<Started>, Option<u64>) {
        let mut state = self.lock();
        let started = mem::take(&mut state.started);
        if state.ready.is_empty() {
            state.driver = Some(driver.clone());
            return (started, None);
        }
        let index = random.index_below(state.ready.len());
        (started, Some(state.ready.swap_remove(index)))
    }

    /// Takes no more tasks, and returns those that the driver has not seen.
    pub(super) fn close(&self) -> Vec<Started> {
        let mut state = self.lock();
        state.is_open = false;
        mem::take(&mut state.started)
    }

    pub(super) fn set_ready(&self, number: u64) {
        let mut state = self.lock();
        state.ready.push(number);
        Self::wake_driver(state);
    }

    fn wake_driver(mut state: MutexGuard<'_, State>) {
        let driver = state.driver.take();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes one task. The same for the task's whole life, so that comparing wakers tells tasks apart.
pub(super) struct TaskWaker {
    number: u64,
    /// In the ready list, put aside by the driver, or at its end.
    is_ready: AtomicBool,
    scheduler: Arc<Scheduler>,
}

impl TaskWaker {
    /// Of a task that is in the ready list.
    pub(super) fn new(number: u64, scheduler: &Arc<Scheduler>) -> Arc<Self> {
        Arc::new(Self { number, is_ready: AtomicBool::new(true), scheduler: scheduler.clone() })
    }

    /// The task is about to be polled: wakes count again.
    pub(super) fn reset(&self) {
        self.is_ready.store(false, Ordering::Release);
    }

    /// The task is at its end: wakes count no more.
    pub(super) fn retire(&self) {
        self.is_ready.store(true, Ordering::Release);
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_ready.swap(true, Ordering::AcqRel) {
            self.scheduler.set_ready(self.number);
        }
    }
}
