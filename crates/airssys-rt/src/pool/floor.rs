//! The floor: who works in a pool, who is free, and who is on the way out.
//!
//! One short lock, taken by the dispatcher twice and by the worker once per job. It may be held when a control is locked,
//! never the other way round; nobody is woken under it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use crate::address::WeakAddress;
use crate::slot::AnySlot;

use super::foreman::Order;
use super::{Job, Occupied, PoolStats};

pub(super) struct Floor<M> {
    plan: Mutex<Plan<M>>,
    workers_max: usize,
}

struct Plan<M> {
    /// Numbers are not used again.
    seats: BTreeMap<u64, Seat<M>>,
    /// Those with [`Condition::Idle`], the last one free last.
    idle: Vec<u64>,
    next_number: u64,
    target: usize,
    was_resized: bool,
    /// The dispatcher has a job that it can give to nobody.
    is_holding: bool,
    dispatcher: Option<Waker>,
    foreman: Option<WeakAddress<Order>>,
}

struct Seat<M> {
    station: Arc<Station<M>>,
    condition: Condition,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Idle,
    Busy,
    /// Busy, and to be stopped afterwards.
    Retiring,
    /// Free, and the foreman has been told to stop it.
    Leaving,
}

/// What the foreman is to do next to reach the target.
pub(super) enum Step<M> {
    Start(u64),
    Stop(Arc<Station<M>>),
    Done,
}

impl<M> Floor<M> {
    pub(super) fn new(target: usize, workers_max: usize) -> Self {
        let plan = Plan {
            seats: BTreeMap::new(),
            idle: Vec::new(),
            next_number: target as u64 + 1,
            target,
            was_resized: false,
            is_holding: false,
            dispatcher: None,
            foreman: None,
        };
        Self { plan: Mutex::new(plan), workers_max }
    }

    pub(super) fn workers_max(&self) -> usize {
        self.workers_max
    }

    pub(super) fn set_foreman(&self, foreman: WeakAddress<Order>) {
        self.lock().foreman = Some(foreman);
    }

    /// A worker more, idle.
    pub(super) fn seat(&self, station: Arc<Station<M>>) {
        let mut plan = self.lock();
        let number = station.number;
        plan.seats.insert(number, Seat { station, condition: Condition::Idle });
        plan.idle.push(number);
        let dispatcher = plan.dispatcher.take();
        drop(plan);
        if let Some(dispatcher) = dispatcher {
            dispatcher.wake();
        }
    }

    /// Takes a worker that is free and runs, and waits for one. It is busy from here on.
    pub(super) fn poll_take(&self, cx: &Context<'_>) -> Poll<Arc<Station<M>>> {
        let mut plan = self.lock();
        if plan.bring_up_idle(cx)
            && let Some(station) = plan.take()
        {
            return Poll::Ready(station);
        }
        Self::park(plan, cx);
        Poll::Pending
    }

    /// Ready when a worker is free and runs.
    pub(super) fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        let mut plan = self.lock();
        if plan.bring_up_idle(cx) {
            return Poll::Ready(());
        }
        Self::park(plan, cx);
        Poll::Pending
    }

    fn park(mut plan: MutexGuard<'_, Plan<M>>, cx: &Context<'_>) {
        let previous = plan.dispatcher.replace(cx.waker().clone());
        drop(plan);
        drop(previous);
    }

    /// Counts a job as queued for as long as the guard lives.
    pub(super) fn hold(&self) -> Held<'_, M> {
        self.lock().is_holding = true;
        Held(self)
    }

    pub(super) fn stats(&self) -> PoolStats {
        let plan = self.lock();
        let mut stats = PoolStats { queued: usize::from(plan.is_holding), ..PoolStats::default() };
        for seat in plan.seats.values() {
            match seat.condition {
                Condition::Idle => stats.workers += 1,
                Condition::Busy => {
                    stats.workers += 1;
                    stats.busy += 1;
                }
                Condition::Retiring => {
                    stats.leaving += 1;
                    stats.busy += 1;
                }
                Condition::Leaving => stats.leaving += 1,
            }
        }
        stats
    }

    pub(super) fn set_target(&self, target: usize) {
        let mut plan = self.lock();
        plan.target = target;
        plan.was_resized = true;
    }

    pub(super) fn was_resized(&self) -> bool {
        self.lock().was_resized
    }

    /// The pool keeps the workers it has.
    pub(super) fn give_up_growing(&self) {
        let mut plan = self.lock();
        plan.target = plan.staying();
    }

    pub(super) fn next_step(&self) -> Step<M> {
        let mut plan = self.lock();
        while plan.staying() < plan.target {
            if !plan.keep_one() {
                let number = plan.next_number;
                plan.next_number += 1;
                return Step::Start(number);
            }
        }
        let woken = if plan.idle.is_empty() { None } else { plan.dispatcher.take() };
        let mut step = Step::Done;
        while plan.staying() > plan.target {
            if plan.idle.is_empty() {
                plan.retire_one();
            } else {
                let number = plan.idle.remove(0);
                if let Some(seat) = plan.seats.remove(&number) {
                    step = Step::Stop(seat.station);
                    break;
                }
            }
        }
        drop(plan);
        if let Some(dispatcher) = woken {
            dispatcher.wake();
        }
        step
    }

    /// The worker, if it is still to leave.
    pub(super) fn take_leaving(&self, number: u64) -> Option<Arc<Station<M>>> {
        let mut plan = self.lock();
        plan.seats.get(&number).filter(|seat| seat.condition == Condition::Leaving)?;
        plan.seats.remove(&number).map(|seat| seat.station)
    }

    /// Makes the floor what the supervisor has, after a restart: forgets workers that are not its children, and seats those
    /// of the specification that are again. Returns the names of the supervisor's workers that nobody knows.
    pub(super) fn review(&self, original: &[Arc<Station<M>>], children: &[Arc<str>]) -> Vec<Arc<str>> {
        let is_child = |station: &Station<M>| children.iter().any(|name| **name == *station.name());
        let mut plan = self.lock();
        let gone: Vec<_> = plan.seats.extract_if(.., |_, seat| !is_child(&seat.station)).collect();
        let known = std::mem::take(&mut plan.idle);
        plan.idle = known.into_iter().filter(|number| plan.seats.contains_key(number)).collect();
        let missing: Vec<_> = original
            .iter()
            .filter(|station| is_child(station) && !plan.seats.contains_key(&station.number))
            .cloned()
            .collect();
        let seated = |name: &str| {
            plan.seats.values().any(|seat| seat.station.name() == name)
                || missing.iter().any(|station| station.name() == name)
        };
        let unknown = children.iter().filter(|name| !seated(name)).cloned().collect();
        drop(plan);
        drop(gone);
        missing.into_iter().for_each(|station| self.seat(station));
        unknown
    }

    fn free(&self, number: u64) {
        let mut plan = self.lock();
        let Some(seat) = plan.seats.get_mut(&number) else {
            return;
        };
        match seat.condition {
            Condition::Busy => {
                seat.condition = Condition::Idle;
                plan.idle.push(number);
                let dispatcher = plan.dispatcher.take();
                drop(plan);
                if let Some(dispatcher) = dispatcher {
                    dispatcher.wake();
                }
            }
            Condition::Retiring => {
                seat.condition = Condition::Leaving;
                let foreman = plan.foreman.as_ref().and_then(WeakAddress::upgrade);
                drop(plan);
                // Without a foreman the pool has ended, and its workers with it. Each worker leaves once, so there are as
                // many of these as workers.
                drop(foreman.map(|foreman| foreman.tell_beyond_capacity(Order::Freed(number))));
            }
            Condition::Idle | Condition::Leaving => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Plan<M>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Plan<M> {
    /// Brings a worker that is free and runs to the end of `idle`. Those that do not run wake the dispatcher when they do.
    fn bring_up_idle(&mut self, cx: &Context<'_>) -> bool {
        for index in (0..self.idle.len()).rev() {
            let runs = |seat: &Seat<M>| seat.station.slot.header.poll_running(cx).is_ready();
            if self.seats.get(&self.idle[index]).is_some_and(runs) {
                let last = self.idle.len() - 1;
                self.idle.swap(index, last);
                return true;
            }
        }
        false
    }

    fn take(&mut self) -> Option<Arc<Station<M>>> {
        let seat = self.seats.get_mut(&self.idle.pop()?)?;
        seat.condition = Condition::Busy;
        Some(seat.station.clone())
    }

    /// Workers that will not leave.
    fn staying(&self) -> usize {
        self.seats.values().filter(|seat| matches!(seat.condition, Condition::Idle | Condition::Busy)).count()
    }

    /// Keeps a worker that was to leave. False if there is none.
    fn keep_one(&mut self) -> bool {
        for (number, seat) in &mut self.seats {
            match seat.condition {
                Condition::Retiring => seat.condition = Condition::Busy,
                Condition::Leaving => {
                    seat.condition = Condition::Idle;
                    self.idle.push(*number);
                }
                Condition::Idle | Condition::Busy => continue,
            }
            return true;
        }
        false
    }

    fn retire_one(&mut self) {
        let last_busy = self.seats.values_mut().rev().find(|seat| seat.condition == Condition::Busy);
        if let Some(seat) = last_busy {
            seat.condition = Condition::Retiring;
        }
    }
}

/// A job is held by the dispatcher.
pub(super) struct Held<'a, M>(&'a Floor<M>);

impl<M> Drop for Held<'_, M> {
    fn drop(&mut self) {
        self.0.lock().is_holding = false;
    }
}

type Give<M> = Box<dyn Fn(Job<M>) + Send + Sync>;

/// One worker's place.
pub(super) struct Station<M> {
    number: u64,
    slot: Arc<AnySlot>,
    give: Give<M>,
    floor: Weak<Floor<M>>,
}

impl<M> Station<M> {
    pub(super) fn new(number: u64, slot: Arc<AnySlot>, give: Give<M>, floor: Weak<Floor<M>>) -> Self {
        Self { number, slot, give, floor }
    }

    pub(super) fn name(&self) -> &str {
        &self.slot.header.name
    }

    pub(super) fn give(&self, job: Job<M>) {
        (self.give)(job);
    }
}

impl<M> Occupied for Station<M> {
    fn free(&self) {
        if let Some(floor) = self.floor.upgrade() {
            floor.free(self.number);
        }
    }
}
