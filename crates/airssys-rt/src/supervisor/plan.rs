//! What a supervisor does about an event: a function from its state and the event to a list of actions.
//!
//! No task, no clock, no mailbox: time comes in with the event, and the shell in `supervisor.rs` performs the actions in
//! order. Children are kept in start order, and every list here follows from that: stops run against it, starts along it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::spec::{Restart, Strategy};

/// A child within one supervisor. Greater keys start later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    Down,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Child {
    pub(crate) restart: Restart,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) strategy: Strategy,
    pub(crate) budget: Budget,
    pub(crate) children: BTreeMap<Key, Child>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A running child ended by itself.
    Exited { key: Key, is_abnormal: bool, at: Instant },
    /// A child started by a restart did not start. What came after it in the list was not performed.
    StartFailed { key: Key, at: Instant },
    /// The supervisor itself is to end.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// End a running child and wait for it.
    Stop(Key),
    /// Start a child and wait for it.
    Start(Key),
    /// The child stays down: nothing is delivered to it any more.
    Close(Key),
    /// As `Close`, and the supervisor does not know it any more.
    Forget(Key),
    /// End the supervisor with `shutdown`.
    GiveUp,
}

/// Decides, and marks what it decided: stopped children are down at once, started ones run when the shell says so.
pub(crate) fn plan(state: &mut State, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    match event {
        Event::Stop => stop_from(state, None, &mut actions),
        Event::Exited { key, is_abnormal, at } => {
            let Some(child) = state.children.get_mut(&key) else {
                return actions;
            };
            if child.phase == Phase::Down {
                return actions;
            }
            child.phase = Phase::Down;
            let restarts = match child.restart {
                Restart::Permanent => true,
                Restart::Transient => is_abnormal,
                Restart::Temporary => {
                    state.children.remove(&key);
                    return vec![Action::Forget(key)];
                }
            };
            if restarts {
                restart(state, key, at, &mut actions);
            } else {
                actions.push(Action::Close(key));
            }
        }
        Event::StartFailed { key, at } => {
            if let Some(child) = state.children.get_mut(&key) {
                child.phase = Phase::Down;
                restart(state, key, at, &mut actions);
            }
        }
    }
    actions
}

fn restart(state: &mut State, key: Key, at: Instant, actions: &mut Vec<Action>) {
    if !state.budget.charge(at) {
        stop_from(state, None, actions);
        actions.push(Action::GiveUp);
        return;
    }
    match state.strategy {
        Strategy::OneForOne => actions.push(Action::Start(key)),
        Strategy::OneForAll => restart_from(state, None, key, actions),
        Strategy::RestForOne => restart_from(state, Some(key), key, actions),
    }
}

/// Stops what runs from `first` on, drops temporary siblings, starts the rest.
fn restart_from(state: &mut State, first: Option<Key>, failed: Key, actions: &mut Vec<Action>) {
    stop_from(state, first, actions);
    let affected: Vec<Key> = range(state, first);
    for key in affected {
        match state.children[&key].restart {
            Restart::Temporary if key != failed => {
                state.children.remove(&key);
                actions.push(Action::Forget(key));
            }
            Restart::Permanent | Restart::Transient | Restart::Temporary => {}
        }
    }
    actions.extend(range(state, first).into_iter().map(Action::Start));
}

fn stop_from(state: &mut State, first: Option<Key>, actions: &mut Vec<Action>) {
    for key in range(state, first).into_iter().rev() {
        if let Some(child) = state.children.get_mut(&key)
            && child.phase == Phase::Running
        {
            child.phase = Phase::Down;
            actions.push(Action::Stop(key));
        }
    }
}

fn range(state: &State, first: Option<Key>) -> Vec<Key> {
    match first {
        Some(first) => state.children.range(first..).map(|(key, _)| *key).collect(),
        None => state.children.keys().copied().collect(),
    }
}

/// Restarts within a sliding period, at most one more than is allowed: what is older cannot matter.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    intensity: u32,
    period: Duration,
    charges: VecDeque<Instant>,
}

impl Budget {
    pub(crate) fn new(intensity: u32, period: Duration) -> Self {
        Self { intensity, period, charges: VecDeque::new() }
    }

    /// Charges one restart. False if it is more than `intensity` within `period`; a restart exactly a period old counts.
    pub(crate) fn charge(&mut self, at: Instant) -> bool {
        while self.charges.front().is_some_and(|oldest| at.duration_since(*oldest) > self.period) {
            self.charges.pop_front();
        }
        self.charges.push_back(at);
        self.charges.len() as u64 <= u64::from(self.intensity)
    }
}

#[cfg(test)]
mod tests;
