//! One answer to one request: a [`ReplyTo`] travels in the message, the asker awaits its other end.
//!
//! The two share one allocation. Whichever end goes first, the other learns of it.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The right to answer one request. Dropped unanswered, the asker sees that the request died.
#[must_use = "dropped unanswered, the asker sees the request die"]
pub struct ReplyTo<R>(Arc<Cell<R>>);

impl<R> ReplyTo<R> {
    /// Answers. The answer comes back if nobody waits for it any more.
    pub fn send(self, answer: R) -> Result<(), R> {
        let mut state = self.0.lock();
        match mem::replace(&mut *state, State::Over) {
            State::Waiting(asker) => {
                *state = State::Answered(answer);
                drop(state);
                if let Some(asker) = asker {
                    asker.wake();
                }
                Ok(())
            }
            State::Answered(_) | State::Over => Err(answer),
        }
    }

    /// Nobody waits for the answer any more.
    pub fn is_closed(&self) -> bool {
        matches!(*self.0.lock(), State::Over)
    }
}

impl<R> Drop for ReplyTo<R> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if let State::Waiting(asker) = &mut *state {
            let asker = asker.take();
            *state = State::Over;
            drop(state);
            if let Some(asker) = asker {
                asker.wake();
            }
        }
    }
}

impl<R> fmt::Debug for ReplyTo<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyTo(..)")
    }
}

/// The asker's end: the answer, or `None` when it can come no more.
pub(crate) struct Reply<R>(Arc<Cell<R>>);

/// Both ends of one answer.
pub(crate) fn reply<R>() -> (ReplyTo<R>, Reply<R>) {
    let cell = Arc::new(Cell(Mutex::new(State::Waiting(None))));
    (ReplyTo(cell.clone()), Reply(cell))
}

impl<R> Future for Reply<R> {
    type Output = Option<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<R>> {
        let mut state = self.0.lock();
        if let State::Waiting(asker) = &mut *state {
            if !asker.as_ref().is_some_and(|asker| asker.will_wake(cx.waker())) {
                *asker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        match mem::replace(&mut *state, State::Over) {
            State::Answered(answer) => Poll::Ready(Some(answer)),
            State::Waiting(_) | State::Over => Poll::Ready(None),
        }
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        let state = mem::replace(&mut *self.0.lock(), State::Over);
        drop(state);
    }
}

struct Cell<R>(Mutex<State<R>>);

enum State<R> {
    Waiting(Option<Waker>),
    Answered(R),
    Over,
}

impl<R> Cell<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
