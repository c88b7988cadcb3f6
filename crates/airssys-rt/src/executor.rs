//! Who runs the tasks of a system: tokio, or the scheduler of a seeded test.
//!
//! Whatever starts a task for a system starts it here and nowhere else, so that a seed can decide the order in which a
//! whole system runs. Without the feature `testing` there is one executor and nothing to ask.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::Arc;

#[cfg(feature = "testing")]
use crate::testing::Scheduler;

/// Messages an actor handles before others get a turn.
const MESSAGES_PER_TURN: u32 = 128;

#[derive(Clone)]
pub(crate) enum Executor {
    Tokio,
    #[cfg(feature = "testing")]
    Seeded(Arc<Scheduler>),
}

impl Executor {
    /// Starts a task, under the name of the actor that it works for if it works for one. It must come to an end by itself:
    /// nobody holds a handle of it. An executor that takes no more drops it unpolled.
    #[cfg_attr(not(feature = "testing"), expect(unused_variables, reason = "tokio shows no names of tasks"))]
    pub(crate) fn spawn(&self, name: Option<&Arc<str>>, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tokio => drop(tokio::spawn(task)),
            #[cfg(feature = "testing")]
            Self::Seeded(scheduler) => scheduler.spawn(name.cloned(), Box::pin(task)),
        }
    }

    /// A number by chance, or by the seed that decides the run.
    pub(crate) fn random_u64(&self) -> u64 {
        match self {
            // Each of these has keys of its own.
            Self::Tokio => RandomState::new().hash_one(()),
            #[cfg(feature = "testing")]
            Self::Seeded(scheduler) => scheduler.fork_random().next_u64(),
        }
    }

    /// Whether an actor that has handled so many messages lets others run.
    pub(crate) fn ends_turn(&self, messages: u32) -> bool {
        match self {
            Self::Tokio => messages >= MESSAGES_PER_TURN,
            #[cfg(feature = "testing")]
            Self::Seeded(scheduler) => messages >= MESSAGES_PER_TURN || scheduler.ends_turn(),
        }
    }
}
