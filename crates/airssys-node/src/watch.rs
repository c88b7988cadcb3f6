//! What happens in a node, as one stream: exits, restarts, refusals, log lines, published messages.
//!
//! The stream is bounded. A watcher that falls behind loses the oldest events and is told how many; counters are in the
//! status, not here.

use std::time::Duration;

use airssys_rt::{Event, Events, ExitReason, Lagged};
use airssys_wasm::{Published, RouterEvent};
use tokio::sync::{broadcast, mpsc};

use crate::node::Node;

/// One thing that happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A component or supervisor ended.
    Exited {
        /// Its name.
        name: String,
        /// How. The source of an error is a [`airssys_wasm::CrashReport`] when a component crashed.
        reason: ExitReason,
    },
    /// A supervisor has started a child again.
    Restarted {
        /// The child.
        name: String,
        /// How the end came about that caused the restart.
        reason: ExitReason,
        /// From the exit until the new one was ready.
        took: Duration,
    },
    /// A supervisor stopped its children and itself: too many restarts in its period.
    GaveUp {
        /// The supervisor.
        supervisor: String,
        /// The end of a child that was one too many.
        reason: ExitReason,
    },
    /// A refusal or a line of a component's log.
    Router(RouterEvent),
    /// A message on one of the topics that the application shows.
    Published(Published),
    /// Events that the watcher was too slow for.
    Missed(u64),
}

/// A stream of [`NodeEvent`]s from the moment it was made.
pub struct Watch {
    actors: Events,
    router: broadcast::Receiver<RouterEvent>,
    shown: mpsc::Receiver<Published>,
}

impl Node {
    /// Watches from now on; published messages are those of the topics that the application shows.
    pub fn watch(&self) -> Watch {
        Watch {
            actors: self.system().events(),
            router: self.router().events(),
            shown: self.router().listen(self.plan().show.iter().cloned()),
        }
    }
}

impl Watch {
    /// The next event; None once the node is gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        loop {
            let event = tokio::select! {
                event = self.actors.next() => match event {
                    Some(Ok(event)) => of_actor(event),
                    Some(Err(Lagged { missed })) => Some(NodeEvent::Missed(missed)),
                    None => return None,
                },
                event = self.router.recv() => match event {
                    Ok(event) => Some(NodeEvent::Router(event)),
                    Err(broadcast::error::RecvError::Lagged(missed)) => Some(NodeEvent::Missed(missed)),
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                Some(published) = self.shown.recv() => Some(NodeEvent::Published(published)),
            };
            if event.is_some() {
                return event;
            }
        }
    }
}

/// None for what only the actor library itself is interested in.
fn of_actor(event: Event) -> Option<NodeEvent> {
    match event {
        Event::Exited { name, reason, .. } => Some(NodeEvent::Exited { name: name.to_string(), reason }),
        Event::Restarted { name, reason, took, .. } => {
            Some(NodeEvent::Restarted { name: name.to_string(), reason, took })
        }
        Event::GaveUp { name, child: _, reason, .. } => {
            Some(NodeEvent::GaveUp { supervisor: name.to_string(), reason })
        }
        _ => None,
    }
}
