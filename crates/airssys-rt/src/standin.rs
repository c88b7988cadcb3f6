//! A first poll without a task: the waker that stands in for the task that comes.
//!
//! What is polled before its task exists may keep a clone of the waker it was given and never ask for another. So that waker
//! wakes the task as soon as there is one. A task that comes polls at once, so nothing is lost until then.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use crate::clock::NEVER;
use crate::envelope::{InheritedDeadline, InheritedTrace};
use crate::slot::Header;

#[derive(Default)]
pub(crate) struct StandIn(Mutex<Option<Waker>>);

thread_local! {
    /// Nearly nobody keeps a clone, so one does for all polls of a thread. Missing while it is in use.
    static SPARE: Cell<Option<Arc<StandIn>>> = Cell::new(Some(Arc::default()));
}

/// Polls what is to become the task of an actor, on the thread of whoever starts it, without the deadline and the trace of the
/// message that is handled there. Gives it back unless that was all; unpolled where this is itself within such a poll, because
/// actors that start actors in their starts would pile up on one stack.
pub(crate) fn poll<T>(
    header: &Header,
    task: T,
    poll: impl FnOnce(T, &mut Context<'_>) -> Option<T>,
) -> Option<T> {
    let Some(stand_in) = SPARE.take() else {
        return Some(task);
    };
    let left = {
        let _nothing = (InheritedDeadline::enter(NEVER), InheritedTrace::enter(None));
        let waker = Waker::from(stand_in.clone());
        poll(task, &mut Context::from_waker(&waker))
    };
    if Arc::strong_count(&stand_in) == 1 {
        SPARE.set(Some(stand_in));
        return left;
    }
    SPARE.set(Some(Arc::default()));
    if left.is_some() {
        header.lock().rare_mut().stand_in = Some(stand_in);
    }
    left
}

impl StandIn {
    pub(crate) fn wakes(&self, task: &Waker) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
    }
}

impl Wake for StandIn {
    fn wake(self: Arc<Self>) {
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}
