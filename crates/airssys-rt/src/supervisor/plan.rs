//! What a supervisor does about an event: a function from its state and the event to a list of actions.
//!
//! No task, no clock, no mailbox: time comes in with the event, and the shell in `shell.rs` performs the actions in order.
//! Children are kept in start order, and every list here follows from that: stops run against it, starts along it. Every
//! restart has two halves, so that a delay fits between them: what is in the way is stopped, and when it is due, all that
//! the first half left down is started.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::budget::Budget;
use super::spec::{AutoShutdown, Restart, Strategy};

/// A child within one supervisor. Greater keys start later, and no key is used again by a later incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It was started, and nothing was heard of its end.
    Up(IfStartFails),
    /// It is being ended by a call, and stays down.
    Ending,
    /// It was killed for a sibling's restart and is still there.
    Occupied,
    Down,
    /// Its restart waits for its delay, or as `is_due` for siblings that are still there.
    Waiting {
        is_due: bool,
    },
    /// Its start failed, and it is tried again when its turn comes.
    Retrying,
    /// It used up its own allowance.
    Quarantined,
}

/// What the failure of a start means for the child depends on who wanted the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfStartFails {
    Forget,
    StayDown,
    Quarantine,
    TryAgain,
}

#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) restart: Restart,
    pub(crate) is_significant: bool,
    /// Restarts the child has to itself, if that is limited.
    pub(crate) allowance: Option<Budget>,
    pub(crate) phase: Phase,
    /// A restart under way starts it.
    pub(crate) is_owed: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) strategy: Strategy,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) budget: Budget,
    pub(crate) children: BTreeMap<Key, Child>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A child that had started ended.
    Exited { key: Key, is_abnormal: bool, at: Instant },
    /// A child ended before it had started. What came after its start in the list was not performed.
    StartFailed { key: Key },
    /// The turn of a child came whose start had failed.
    TryAgain { key: Key, at: Instant },
    /// The delay of a child's restart is over.
    Due { key: Key },
    /// A child that was stopped is still there.
    Stuck { key: Key },
    /// The supervisor itself is to end.
    Stop,
}

/// What a handle asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Terminate,
    Restart,
    Delete,
    Release,
}

/// Why a call does not fit the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Running,
    Restarting,
    Quarantined,
    NotQuarantined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// End a running child and wait for it.
    Stop(Key),
    /// End a running child. Its exit is the next that is heard of it.
    End(Key),
    /// Start a child.
    Start(Key),
    /// Report the child as due once its delay is over.
    Wait(Key),
    /// Come back to the child when all that is waiting already had its turn.
    TryAgain(Key),
    /// The child stays down: nothing is delivered to it any more.
    Close(Key),
    /// As `Close`, until somebody releases it.
    Quarantine(Key),
    /// As `Close`, and the supervisor does not know it any more.
    Forget(Key),
    /// End the supervisor with `shutdown`: this child ended once too often.
    GiveUp(Key),
    /// End the supervisor with `shutdown`: its significant children are through.
    ShutDown,
}

/// Decides, and marks what it decided: stopped children are down at once, started ones are up when the shell says so.
pub(crate) fn plan(state: &mut State, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    match event {
        Event::Exited { key, is_abnormal, at } => exited(state, key, is_abnormal, at, &mut actions),
        Event::StartFailed { key } => start_failed(state, key, &mut actions),
        Event::TryAgain { key, at } => {
            if state.phase(key) == Some(Phase::Retrying) {
                restart(state, key, at, &mut actions);
            }
        }
        Event::Due { key } => due(state, key, &mut actions),
        Event::Stuck { key } => {
            if let Some(child) = state.children.get_mut(&key) {
                child.phase = Phase::Occupied;
            }
        }
        Event::Stop => {
            for (key, child) in state.children.iter_mut().rev() {
                match child.phase {
                    Phase::Up(_) | Phase::Ending => {
                        child.phase = Phase::Down;
                        actions.push(Action::Stop(*key));
                    }
                    Phase::Occupied
                    | Phase::Down
                    | Phase::Waiting { .. }
                    | Phase::Retrying
                    | Phase::Quarantined => {}
                }
            }
        }
    }
    actions
}

/// Decides what a handle asks for one child. A child that is to be ended is answered for when it has.
pub(crate) fn call(state: &mut State, key: Key, call: Call) -> Result<Vec<Action>, Refusal> {
    let mut actions = Vec::new();
    match (call, state.children[&key].phase) {
        (Call::Terminate, Phase::Up(_)) => {
            state.set(key, Phase::Ending);
            actions.push(Action::End(key));
        }
        (Call::Terminate, Phase::Ending) => {}
        (Call::Terminate, Phase::Occupied) => {
            // It stays down once it is gone, and whoever waited for it need not any more.
            state.set(key, Phase::Ending);
            resume(state, &mut actions);
        }
        (Call::Terminate, Phase::Waiting { .. }) => {
            let affected = state.affected(key);
            stays_down(state, key, &mut actions);
            start_owed(state, affected, &mut actions);
        }
        (Call::Terminate, Phase::Retrying) => {
            let affected = state.affected(key);
            stays_down(state, key, &mut actions);
            // As in OTP: nobody tries again, so what was to start with it stays down as well.
            for key in affected {
                if state.children.get(&key).is_some_and(|child| child.is_owed) {
                    stays_down(state, key, &mut actions);
                }
            }
        }
        (Call::Terminate, Phase::Down | Phase::Quarantined) => stays_down(state, key, &mut actions),
        (Call::Restart, Phase::Down) | (Call::Release, Phase::Quarantined) => {
            // Whoever starts it by hand has seen what it did.
            if let Some(allowance) = state.children.get_mut(&key).and_then(|child| child.allowance.as_mut()) {
                allowance.reset();
            }
            actions.push(Action::Start(key));
        }
        (Call::Delete, Phase::Down | Phase::Quarantined) => {
            state.children.remove(&key);
            actions.push(Action::Forget(key));
        }
        (Call::Restart, Phase::Quarantined) => return Err(Refusal::Quarantined),
        (Call::Restart | Call::Delete, Phase::Up(_) | Phase::Ending | Phase::Occupied) => {
            return Err(Refusal::Running);
        }
        (Call::Restart | Call::Delete, Phase::Waiting { .. } | Phase::Retrying) => {
            return Err(Refusal::Restarting);
        }
        (
            Call::Release,
            Phase::Up(_)
            | Phase::Ending
            | Phase::Occupied
            | Phase::Down
            | Phase::Waiting { .. }
            | Phase::Retrying,
        ) => return Err(Refusal::NotQuarantined),
    }
    Ok(actions)
}

impl State {
    /// The shell starts this child.
    pub(crate) fn up(&mut self, key: Key, if_start_fails: IfStartFails) {
        if let Some(child) = self.children.get_mut(&key) {
            child.phase = Phase::Up(if_start_fails);
            child.is_owed = false;
        }
    }

    /// The children that a restart under way will start.
    pub(crate) fn restarting(&self) -> impl Iterator<Item = Key> {
        self.children
            .iter()
            .filter(|(_, child)| child.is_owed || matches!(child.phase, Phase::Waiting { .. }))
            .map(|(key, _)| *key)
    }

    fn phase(&self, key: Key) -> Option<Phase> {
        self.children.get(&key).map(|child| child.phase)
    }

    fn set(&mut self, key: Key, phase: Phase) {
        if let Some(child) = self.children.get_mut(&key) {
            child.phase = phase;
            child.is_owed = false;
        }
    }

    /// Whom a failure of this child concerns, in start order, itself included.
    fn affected(&self, key: Key) -> Vec<Key> {
        match self.strategy {
            Strategy::OneForOne => vec![key],
            Strategy::OneForAll => self.children.keys().copied().collect(),
            Strategy::RestForOne => self.children.range(key..).map(|(key, _)| *key).collect(),
        }
    }
}

fn exited(state: &mut State, key: Key, is_abnormal: bool, at: Instant, actions: &mut Vec<Action>) {
    let Some(child) = state.children.get(&key) else {
        return;
    };
    match child.phase {
        Phase::Up(_) if child.restart.follows(is_abnormal) => restart(state, key, at, actions),
        Phase::Up(_) => {
            let is_significant = child.is_significant;
            stays_down(state, key, actions);
            if is_significant && is_through(state) {
                actions.push(Action::ShutDown);
            }
        }
        Phase::Ending => stays_down(state, key, actions),
        Phase::Occupied => {
            let is_owed = child.is_owed;
            state.set(key, Phase::Down);
            if let Some(child) = state.children.get_mut(&key) {
                child.is_owed = is_owed;
            }
            resume(state, actions);
        }
        // Its end was seen already.
        Phase::Down | Phase::Waiting { .. } | Phase::Retrying | Phase::Quarantined => {}
    }
}

fn start_failed(state: &mut State, key: Key, actions: &mut Vec<Action>) {
    match state.phase(key) {
        Some(Phase::Up(IfStartFails::TryAgain)) => {
            state.set(key, Phase::Retrying);
            actions.push(Action::TryAgain(key));
        }
        Some(Phase::Up(IfStartFails::Forget)) => {
            state.children.remove(&key);
            actions.push(Action::Forget(key));
        }
        Some(Phase::Up(IfStartFails::Quarantine)) => {
            state.set(key, Phase::Quarantined);
            actions.push(Action::Quarantine(key));
        }
        Some(Phase::Up(IfStartFails::StayDown) | Phase::Ending) => stays_down(state, key, actions),
        Some(Phase::Occupied) => {
            state.set(key, Phase::Down);
            if let Some(child) = state.children.get_mut(&key) {
                child.is_owed = true;
            }
            resume(state, actions);
        }
        Some(Phase::Down | Phase::Waiting { .. } | Phase::Retrying | Phase::Quarantined) | None => {}
    }
}

/// A child that is not restarted: kept as it is, or dropped if it is temporary.
fn stays_down(state: &mut State, key: Key, actions: &mut Vec<Action>) {
    if state.children[&key].restart == Restart::Temporary {
        state.children.remove(&key);
        actions.push(Action::Forget(key));
    } else {
        state.set(key, Phase::Down);
        actions.push(Action::Close(key));
    }
}

/// The significant children have ended as far as the supervisor waits for.
fn is_through(state: &State) -> bool {
    match state.auto_shutdown {
        AutoShutdown::Never => false,
        AutoShutdown::AnySignificant => true,
        AutoShutdown::AllSignificant => {
            state.children.values().filter(|child| child.is_significant).all(|child| match child.phase {
                Phase::Down | Phase::Ending => true,
                Phase::Up(_)
                | Phase::Occupied
                | Phase::Waiting { .. }
                | Phase::Retrying
                | Phase::Quarantined => false,
            })
        }
    }
}

/// The first half of a restart, if it is allowed.
fn restart(state: &mut State, key: Key, at: Instant, actions: &mut Vec<Action>) {
    let affected = state.affected(key);
    if let Some(child) = state.children.get_mut(&key)
        && let Some(allowance) = &mut child.allowance
        && !allowance.charge(at)
    {
        state.set(key, Phase::Quarantined);
        actions.push(Action::Quarantine(key));
        start_owed(state, affected, actions);
        return;
    }
    if !state.budget.charge(at) {
        state.set(key, Phase::Down);
        actions.push(Action::GiveUp(key));
        return;
    }
    take_along(state, key, &affected, actions);
    state.set(key, Phase::Waiting { is_due: false });
    actions.push(Action::Wait(key));
}

/// Stops what runs beside a child that is restarted, drops temporary siblings, owes the others their start.
fn take_along(state: &mut State, failed: Key, affected: &[Key], actions: &mut Vec<Action>) {
    let siblings = || affected.iter().copied().filter(|key| *key != failed);
    let runs = |key: &Key| matches!(state.children[key].phase, Phase::Up(_) | Phase::Ending);
    actions.extend(siblings().filter(runs).rev().map(Action::Stop));
    for key in siblings() {
        let Some(child) = state.children.get_mut(&key) else { continue };
        if child.restart == Restart::Temporary {
            state.children.remove(&key);
            actions.push(Action::Forget(key));
            continue;
        }
        match child.phase {
            Phase::Up(_) | Phase::Ending | Phase::Down | Phase::Waiting { .. } | Phase::Retrying => {
                child.phase = Phase::Down;
                child.is_owed = true;
            }
            Phase::Occupied => child.is_owed = true,
            Phase::Quarantined => {}
        }
    }
}

/// The second half of a restart, unless a place it needs is still taken.
fn due(state: &mut State, key: Key, actions: &mut Vec<Action>) {
    if !matches!(state.phase(key), Some(Phase::Waiting { .. })) {
        return;
    }
    let affected = state.affected(key);
    if affected.iter().any(|key| state.children[key].phase == Phase::Occupied) {
        state.set(key, Phase::Waiting { is_due: true });
        return;
    }
    if let Some(child) = state.children.get_mut(&key) {
        child.phase = Phase::Down;
        child.is_owed = true;
    }
    start_owed(state, affected, actions);
}

fn start_owed(state: &State, affected: Vec<Key>, actions: &mut Vec<Action>) {
    let is_owed = |key: &Key| state.children.get(key).is_some_and(|child| child.is_owed);
    actions.extend(affected.into_iter().filter(is_owed).map(Action::Start));
}

/// A place became free, or is not waited for any more: what was due may go on.
fn resume(state: &mut State, actions: &mut Vec<Action>) {
    let due_keys: Vec<Key> = state
        .children
        .iter()
        .filter(|(_, child)| child.phase == Phase::Waiting { is_due: true })
        .map(|(key, _)| *key)
        .collect();
    for key in due_keys {
        due(state, key, actions);
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod otp;
