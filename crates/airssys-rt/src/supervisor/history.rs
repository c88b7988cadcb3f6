//! What happened to a child: its latest restarts, kept with its place, so that they outlast it and its supervisor.
//!
//! A child that was never restarted has no history and pays for one pointer.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::actor::ActorId;
use crate::exit::ExitReason;
use crate::observe::NodeState;
use crate::slot::{Control, Header};

/// Restarts remembered of each child.
const RECORDS_MAX: usize = 16;

/// One restart that succeeded.
#[derive(Clone, Debug)]
pub struct RestartRecord {
    /// When the new incarnation had started.
    pub at: Instant,
    /// The end that caused it, of this child or of a sibling.
    pub reason: ExitReason,
    /// From the end of the old incarnation to the new one's successful start, delays included.
    pub took: Duration,
}

#[derive(Default)]
pub(crate) struct RestartLog {
    /// Why, and by whom, the next start is a restart.
    pub(crate) due: Option<(ActorId, ExitReason)>,
    records: VecDeque<RestartRecord>,
}

impl RestartLog {
    pub(crate) fn add(&mut self, record: RestartRecord) {
        if self.records.len() == RECORDS_MAX {
            self.records.pop_front();
        }
        self.records.push_back(record);
    }

    /// Oldest first.
    pub(crate) fn records(&self) -> Vec<RestartRecord> {
        self.records.iter().cloned().collect()
    }
}

impl Control {
    /// A start succeeded. If it was a restart, writes it down.
    pub(crate) fn log_restart(&mut self) -> Option<(ActorId, RestartRecord)> {
        let rare = self.existing_rare()?;
        let log = rare.restart_log.as_mut()?;
        let (supervisor, reason) = log.due.take()?;
        let at = Instant::now();
        let took = rare.ended_at.map_or(Duration::ZERO, |ended_at| at.duration_since(ended_at));
        let record = RestartRecord { at, reason, took };
        log.add(record.clone());
        Some((supervisor, record))
    }

    /// The latest restarts, oldest first.
    pub(crate) fn history(&self) -> Vec<RestartRecord> {
        let log = self.rare().and_then(|rare| rare.restart_log.as_ref());
        log.map_or_else(Vec::new, |log| log.records())
    }
}

impl Header {
    /// Shows that a start will follow, by whom and after which end. An incarnation that is still there shows its own state.
    pub(crate) fn set_restarting(&self, supervisor: ActorId, reason: ExitReason) {
        let mut control = self.lock();
        control.restart_follows = true;
        control.rare_mut().restart_log.get_or_insert_default().due = Some((supervisor, reason));
        if control.state == NodeState::Down {
            control.state = NodeState::Restarting;
        }
    }

    /// No start will follow. An incarnation that is still there shows its own state.
    pub(crate) fn set_down(&self) {
        let mut control = self.lock();
        control.restart_follows = false;
        if let Some(log) = control.existing_rare().and_then(|rare| rare.restart_log.as_mut()) {
            log.due = None;
        }
        if matches!(control.state, NodeState::Restarting | NodeState::Quarantined) {
            control.state = NodeState::Down;
        }
    }
}
