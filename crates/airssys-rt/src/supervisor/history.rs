//! What happened to a child: its latest restarts, kept with its place, so that they outlast it and its supervisor.
//!
//! A child that was never restarted has no history and pays for one pointer.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::actor::ActorId;
use crate::exit::ExitReason;

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
