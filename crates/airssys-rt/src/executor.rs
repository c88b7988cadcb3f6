//! Who runs the tasks of a system.
//!
//! Whatever starts a task for a system starts it here and nowhere else, so that a whole system can be run by something
//! other than tokio's own scheduler.

use std::future::Future;
use std::sync::Arc;

/// Messages an actor handles before others get a turn.
const MESSAGES_PER_TURN: u32 = 128;

#[derive(Clone)]
pub(crate) enum Executor {
    Tokio,
}

impl Executor {
    /// Starts a task, under the name of the actor that it works for if it works for one. It must come to an end by itself:
    /// nobody holds a handle of it.
    #[expect(unused_variables, reason = "tokio shows no names of tasks")]
    pub(crate) fn spawn(&self, name: Option<&Arc<str>>, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tokio => drop(tokio::spawn(task)),
        }
    }

    /// Whether an actor that has handled so many messages lets others run.
    pub(crate) fn ends_turn(&self, messages: u32) -> bool {
        match self {
            Self::Tokio => messages >= MESSAGES_PER_TURN,
        }
    }
}
