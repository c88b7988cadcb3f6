//! What a slot knows of who lives in it, under one short lock.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Weak};
use std::task::Waker;

use tokio::time::Instant;

use crate::actor::Signal;
use crate::exit::{Exit, ExitReason};
use crate::link::Relations;
use crate::observe::NodeState;
use crate::registry::Affiliations;
use crate::standin::StandIn;
use crate::supervisor::{Offspring, RestartLog};
use crate::sys::{Request, Tracing};
use crate::tasks::Tasks;

use super::AnySlot;

pub(crate) struct Control {
    pub(crate) state: NodeState,
    /// True once the end of the last incarnation is known to everyone, and before the first start.
    pub(super) settled: bool,
    /// The slot takes no more messages, and gives its name back as soon as nobody lives here. Whoever still lives below ends
    /// for good as well.
    pub(super) closed: bool,
    /// The start of the latest incarnation succeeded. Its exit reason does not say so: a link hands on any reason.
    pub(super) had_started: bool,
    pub(crate) trap_exits: bool,
    pub(crate) finish_message: bool,
    pub(crate) restart_follows: bool,
    pub(super) task: Option<Waker>,
    pub(crate) parent: Option<Weak<AnySlot>>,
    pub(super) rare: Option<Box<Rare>>,
}

/// What most actors never need.
#[derive(Default)]
pub(crate) struct Rare {
    /// Why it must end.
    pub(super) exit: Option<ExitReason>,
    /// How it ends.
    pub(super) end: Option<ExitReason>,
    pub(super) last_exit: Option<Exit>,
    pub(super) restarts: u32,
    pub(crate) ended_at: Option<Instant>,
    /// Who waits for the start or the end.
    pub(super) observers: Vec<Waker>,
    pub(crate) notices: VecDeque<Signal>,
    pub(super) requests: VecDeque<Request>,
    pub(crate) relations: Relations,
    pub(crate) affiliations: Affiliations,
    pub(crate) restart_log: Option<Box<RestartLog>>,
    pub(crate) children: Offspring,
    /// Timers and streams of this incarnation.
    pub(crate) tasks: Tasks,
    pub(crate) trace: Option<Tracing>,
    /// Who wakes the task on behalf of what was polled before there was one.
    pub(crate) stand_in: Option<Arc<StandIn>>,
}

impl Control {
    /// Of a slot that nobody has lived in.
    pub(super) fn new() -> Self {
        Self {
            state: NodeState::Down,
            settled: true,
            closed: false,
            had_started: false,
            trap_exits: false,
            finish_message: false,
            restart_follows: false,
            task: None,
            parent: None,
            rare: None,
        }
    }

    /// The first reason to end stands.
    pub(crate) fn request_exit(&mut self, reason: ExitReason) {
        self.rare_mut().exit.get_or_insert(reason);
    }

    pub(crate) fn last_exit(&self) -> Option<&Exit> {
        self.rare.as_ref()?.last_exit.as_ref()
    }

    /// Times it was started again after an end.
    pub(crate) fn restarts(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.restarts)
    }

    pub(crate) fn children(&self) -> Offspring {
        self.rare.as_ref().map_or_else(Offspring::default, |rare| rare.children.clone())
    }

    pub(crate) fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn existing_rare(&mut self) -> Option<&mut Rare> {
        self.rare.as_deref_mut()
    }

    pub(super) fn observe(&mut self, waker: &Waker) {
        let observers = &mut self.rare_mut().observers;
        if !observers.iter().any(|known| known.will_wake(waker)) {
            observers.push(waker.clone());
        }
    }

    pub(super) fn take_observers(&mut self) -> Vec<Waker> {
        self.rare.as_mut().map_or_else(Vec::new, |rare| mem::take(&mut rare.observers))
    }

    /// A signal can be delivered.
    pub(crate) fn is_alive(&self) -> bool {
        match self.state {
            NodeState::Starting | NodeState::Running | NodeState::Stopping => true,
            NodeState::Restarting | NodeState::Quarantined | NodeState::Down => false,
        }
    }
}
