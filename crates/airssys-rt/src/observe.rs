//! What can be seen from outside: events as they happen, the tree as it stands, what was lost.
//!
//! Nothing here asks an actor, so it answers also when an actor does not.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};

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
    /// An actor has run for too long without awaiting, see
    /// [`SystemOptions::stuck_after`](crate::SystemOptions::stuck_after), or has not noticed for too long that it was killed.
    /// Said once. It holds its place until it is gone.
    Stuck {
        /// Who.
        id: ActorId,
        /// Its name.
        name: Arc<str>,
        /// For how long at least.
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
#[repr(usize)]
pub enum DeadLetterReason {
    /// Its receiver ended for good before it was handled.
    Closed,
    /// It was the oldest in a full mailbox with [`Overflow::DropOldest`](crate::Overflow::DropOldest), or new and of lower
    /// priority than what fills it.
    DroppedOldest,
    /// It came to a full mailbox with [`Overflow::DropNewest`](crate::Overflow::DropNewest).
    DroppedNewest,
    /// Its time was up before it was handled.
    Expired,
    /// It came from a timer or a stream of the receiver, whose full mailbox refused it.
    Refused,
    /// It was an answer, and the asker had given up.
    LateReply,
    /// A test ordered it; see the feature `testing`.
    Injected,
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
    /// [`DeadLetterReason::Expired`].
    pub expired: u64,
    /// [`DeadLetterReason::Refused`].
    pub refused: u64,
    /// [`DeadLetterReason::LateReply`].
    pub late_replies: u64,
    /// [`DeadLetterReason::Injected`].
    pub injected: u64,
}

/// One message that was lost on purpose.
pub struct DeadLetter {
    /// Whose mailbox it was for.
    pub id: ActorId,
    /// Its name.
    pub name: Arc<str>,
    /// Why it was lost.
    pub reason: DeadLetterReason,
    /// The message, of the receiver's message type.
    pub message: Box<dyn Any + Send>,
}

impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeadLetter({} {}: {:?})", self.id, self.name, self.reason)
    }
}

/// The one reader of a system's dead letters; see [`System::read_dead_letters`](crate::System::read_dead_letters). Late
/// replies are counted but not read: they go back to who gave them.
pub struct DeadLetters(mpsc::Receiver<DeadLetter>);

impl DeadLetters {
    /// The next one; `None` when another reader has taken over or the system is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<DeadLetter> {
        self.0.recv().await
    }

    /// As [`DeadLetters::next`] without waiting; `None` also when none was lost since.
    pub fn try_next(&mut self) -> Option<DeadLetter> {
        self.0.try_recv().ok()
    }
}

/// Where a system's figures go, as they arise; see [`SystemOptions::metrics`](crate::SystemOptions::metrics). Called on the
/// actors' own threads, so it must be quick and must not block.
pub trait Metrics: Send + Sync + 'static {
    /// An actor was given `messages` messages to handle since it was last counted, and now waits, lets others run or ends.
    fn turn(&self, id: ActorId, name: &str, messages: u32) {
        let _ = (id, name, messages);
    }

    /// Something happened.
    fn event(&self, event: &Event) {
        let _ = event;
    }
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
    metrics: Option<Arc<dyn Metrics>>,
    dead_letter_counts: [AtomicU64; DEAD_LETTER_REASONS],
    has_dead_letter_reader: AtomicBool,
    dead_letters: Mutex<Option<mpsc::Sender<DeadLetter>>>,
}

const DEAD_LETTER_REASONS: usize = DeadLetterReason::Injected as usize + 1;

impl Observatory {
    pub(crate) fn new(metrics: Option<Arc<dyn Metrics>>) -> Self {
        Self {
            events: broadcast::Sender::new(EVENTS_MAX),
            metrics,
            dead_letter_counts: Default::default(),
            has_dead_letter_reader: AtomicBool::new(false),
            dead_letters: Mutex::new(None),
        }
    }

    pub(crate) fn events(&self) -> Events {
        Events(self.events.subscribe())
    }

    #[inline]
    pub(crate) fn metrics(&self) -> Option<&dyn Metrics> {
        self.metrics.as_deref()
    }

    /// Makes the event only if somebody listens.
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        let has_readers = self.events.receiver_count() > 0;
        if !has_readers && self.metrics.is_none() {
            return;
        }
        let event = event();
        if let Some(metrics) = &self.metrics {
            metrics.event(&event);
        }
        if has_readers {
            // The last listener may have left since; then there is nobody to tell.
            drop(self.events.send(event));
        }
    }

    pub(crate) fn count(&self, reason: DeadLetterReason, count: u64) {
        self.dead_letter_counts[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn dead_letters(&self) -> DeadLetterCounts {
        let count =
            |reason: DeadLetterReason| self.dead_letter_counts[reason as usize].load(Ordering::Relaxed);
        DeadLetterCounts {
            closed: count(DeadLetterReason::Closed),
            dropped_oldest: count(DeadLetterReason::DroppedOldest),
            dropped_newest: count(DeadLetterReason::DroppedNewest),
            expired: count(DeadLetterReason::Expired),
            refused: count(DeadLetterReason::Refused),
            late_replies: count(DeadLetterReason::LateReply),
            injected: count(DeadLetterReason::Injected),
        }
    }

    pub(crate) fn read_dead_letters(&self, capacity: usize) -> DeadLetters {
        let (letters, reader) = mpsc::channel(capacity.max(1));
        let mut slot = self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Some(letters);
        self.has_dead_letter_reader.store(true, Ordering::Release);
        DeadLetters(reader)
    }

    pub(crate) fn has_dead_letter_reader(&self) -> bool {
        self.has_dead_letter_reader.load(Ordering::Acquire)
    }

    /// Shows a letter to the reader; one that comes to a reader who is too slow is only counted.
    pub(crate) fn show(&self, letter: DeadLetter) {
        let mut slot = self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = slot.as_ref().map(|letters| letters.try_send(letter));
        if let Some(Err(mpsc::error::TrySendError::Closed(_))) = refused {
            *slot = None;
            self.has_dead_letter_reader.store(false, Ordering::Release);
        }
        // The end of a message runs other people's code, which may lead to the next dead letter.
        drop(slot);
        drop(refused);
    }
}
