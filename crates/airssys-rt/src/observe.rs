//! What can be seen from outside: events as they happen, the tree as it stands, what was lost.
//!
//! Nothing here asks an actor, so it answers also when an actor does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::actor::ActorId;
use crate::exit::ExitReason;
use crate::mailbox::MailboxStats;
use crate::supervisor::RestartRecord;

/// Events a slow reader may be behind before it loses the oldest.
const EVENTS_MAX: usize = 1024;

/// Something that happened in a system.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An actor's `start` succeeded.
    Started {
        /// Whose.
        id: ActorId,
        /// Its name.
        name: Arc<str>,
    },
    /// An actor ended before its `start` succeeded.
    StartFailed {
        /// Whose.
        id: ActorId,
        /// Its name.
        name: Arc<str>,
        /// Always [`ExitReason::Init`].
        reason: ExitReason,
    },
    /// An actor that had started ended.
    Exited {
        /// Who.
        id: ActorId,
        /// Its name.
        name: Arc<str>,
        /// Why.
        reason: ExitReason,
    },
    /// A supervisor replaced a child, because it ended or because a sibling did.
    Restarted {
        /// Who restarted it.
        supervisor: ActorId,
        /// Which child.
        id: ActorId,
        /// Its name.
        name: Arc<str>,
        /// How the end that caused the restart came about.
        reason: ExitReason,
        /// Restarts of this child so far, this one included.
        restarts: u64,
        /// From the end of the old incarnation to the new one's successful start.
        took: Duration,
    },
    /// A supervisor had to restart too often, stops its children and exits with [`ExitReason::Shutdown`].
    GaveUp {
        /// Which supervisor.
        supervisor: ActorId,
        /// Its name.
        name: Arc<str>,
        /// The child whose end was one too many.
        child: ActorId,
        /// That end.
        reason: ExitReason,
    },
    /// A child used up its own allowance of restarts; it stays down until it is released.
    Quarantined {
        /// Its supervisor.
        supervisor: ActorId,
        /// Which child.
        id: ActorId,
        /// Its name.
        name: Arc<str>,
        /// The end that was one too many.
        reason: ExitReason,
    },
    /// A killed actor has not noticed the kill, because it does not await. It holds its place until it is gone.
    Stuck {
        /// Who.
        id: ActorId,
        /// Its name.
        name: Arc<str>,
        /// How long it has been waited for since the kill.
        since: Duration,
    },
    /// Messages were lost on purpose.
    DeadLetter {
        /// Whose mailbox they were for.
        id: ActorId,
        /// Its name.
        name: Arc<str>,
        /// Why they were lost.
        reason: DeadLetterReason,
        /// How many.
        count: u64,
    },
}

/// A reader of events. Events from before it was made are not seen.
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event; how many were missed, when the reader was too slow; `None` when the system is gone.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Event, Lagged>> {
        match self.0.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Err(Lagged { missed })),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// As [`Events::next`] without waiting; `None` also when nothing has happened since.
    pub fn try_next(&mut self) -> Option<Result<Event, Lagged>> {
        match self.0.try_recv() {
            Ok(event) => Some(Ok(event)),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Err(Lagged { missed })),
            Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => None,
        }
    }
}

/// The reader was too slow for this many events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("missed {missed} events")]
pub struct Lagged {
    /// Events that will not be seen.
    pub missed: u64,
}

/// Why a message was lost on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// Its receiver ended for good before it was handled.
    Closed,
    /// It was the oldest in a full mailbox with [`Overflow::DropOldest`](crate::Overflow::DropOldest).
    DroppedOldest,
    /// It came to a full mailbox with [`Overflow::DropNewest`](crate::Overflow::DropNewest).
    DroppedNewest,
}

/// How many messages were lost on purpose, by reason, since the system began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterCounts {
    /// [`DeadLetterReason::Closed`].
    pub closed: u64,
    /// [`DeadLetterReason::DroppedOldest`].
    pub dropped_oldest: u64,
    /// [`DeadLetterReason::DroppedNewest`].
    pub dropped_newest: u64,
}

/// One actor or supervisor, with those below it in start order.
#[derive(Clone, Debug)]
pub struct TreeNode {
    /// Its slot.
    pub id: ActorId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: NodeKind,
    /// What it is at.
    pub state: NodeState,
    /// How often its supervisor restarted it.
    pub restarts: u64,
    /// How its last incarnation ended, if one did.
    pub last_exit: Option<ExitReason>,
    /// Its latest restarts, oldest first, at most 16.
    pub history: Vec<RestartRecord>,
    /// Its mailbox; a supervisor's carries requests of its handles.
    pub mailbox: Option<MailboxStats>,
    /// What it supervises.
    pub children: Vec<TreeNode>,
}

/// What stands at a place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// An actor.
    Worker,
    /// A supervisor.
    Supervisor,
}

/// What an actor is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// In its factory or `start`.
    Starting,
    /// Handling messages.
    Running,
    /// Ended, and about to be started again.
    Restarting,
    /// In its `stop`.
    Stopping,
    /// Ended too often by its own allowance, and not started again until it is released.
    Quarantined,
    /// Not there.
    Down,
}

/// The system's side of all of it.
pub(crate) struct Observatory {
    events: broadcast::Sender<Event>,
    closed: AtomicU64,
    dropped_oldest: AtomicU64,
    dropped_newest: AtomicU64,
}

impl Observatory {
    pub(crate) fn new() -> Self {
        Self {
            events: broadcast::Sender::new(EVENTS_MAX),
            closed: AtomicU64::new(0),
            dropped_oldest: AtomicU64::new(0),
            dropped_newest: AtomicU64::new(0),
        }
    }

    pub(crate) fn events(&self) -> Events {
        Events(self.events.subscribe())
    }

    /// Makes the event only if somebody listens.
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        if self.events.receiver_count() > 0 {
            // The last listener may have left since; then there is nobody to tell.
            drop(self.events.send(event()));
        }
    }

    pub(crate) fn count(&self, reason: DeadLetterReason, count: u64) {
        let counter = match reason {
            DeadLetterReason::Closed => &self.closed,
            DeadLetterReason::DroppedOldest => &self.dropped_oldest,
            DeadLetterReason::DroppedNewest => &self.dropped_newest,
        };
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn dead_letters(&self) -> DeadLetterCounts {
        DeadLetterCounts {
            closed: self.closed.load(Ordering::Relaxed),
            dropped_oldest: self.dropped_oldest.load(Ordering::Relaxed),
            dropped_newest: self.dropped_newest.load(Ordering::Relaxed),
        }
    }
}
