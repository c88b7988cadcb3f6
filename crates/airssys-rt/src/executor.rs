//! Who runs the tasks of a system: tokio, or the scheduler of a seeded test.
//!
//! Whatever starts a task for a system starts it here and nowhere else, so that a seed can decide the order in which a
//! whole system runs. Without the feature `testing` there is one executor and nothing to ask.

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

#[cfg(feature = "testing")]
use crate::testing::Scheduler;

/// Messages an actor handles between two looks at the clock.
const MESSAGES_PER_LOOK: u32 = 64;
/// How long an actor that always finds messages goes on before others get a turn. To give way wakes another worker, which
/// then takes the actor to its own core: not worth it for a few messages.
const TURN: Duration = Duration::from_micros(50);

thread_local! {
    /// The first look of the turn on this thread. One that an earlier turn left behind ends a turn early, which does no harm.
    static TURN_BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

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

    /// Starts a task where an executor is at hand, and else drops it: an actor's end may come when its runtime is gone.
    pub(crate) fn spawn_late(&self, task: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tokio => drop(Handle::try_current().map(|executor| executor.spawn(task))),
            #[cfg(feature = "testing")]
            Self::Seeded(scheduler) => scheduler.spawn(None, Box::pin(task)),
        }
    }

    /// Whether a task may be polled before it is started, by whoever starts it. Not where it could not be started then, and not
    /// where a seed is to decide about every poll.
    pub(crate) fn lets_callers_poll(&self) -> bool {
        match self {
            Self::Tokio => Handle::try_current().is_ok(),
            #[cfg(feature = "testing")]
            Self::Seeded(_) => false,
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
    #[inline]
    pub(crate) fn ends_turn(&self, messages: u32) -> bool {
        match self {
            Self::Tokio => messages.is_multiple_of(MESSAGES_PER_LOOK) && is_turn_over(messages),
            #[cfg(feature = "testing")]
            Self::Seeded(scheduler) => messages >= 2 * MESSAGES_PER_LOOK || scheduler.ends_turn(),
        }
    }
}

#[cold]
fn is_turn_over(messages: u32) -> bool {
    let now = Instant::now();
    if messages == MESSAGES_PER_LOOK {
        TURN_BEGAN.set(Some(now));
        return false;
    }
    TURN_BEGAN.get().is_none_or(|began| now.duration_since(began) >= TURN)
}
