//! One answer to one request: a [`ReplyTo`] travels in the message, the asker awaits its other end.
//!
//! The two share one allocation. Whichever end goes first, the other learns of it; an answer that nobody waits for any more
//! comes back to who gave it and is counted.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::observe::DeadLetterReason;
use crate::slot::AnySlot;

/// The right to answer one request. Dropped unanswered, the asker sees that the request died. It is spent by the answer:
///
/// ```compile_fail,E0382
/// fn twice(reply: airssys_rt::ReplyTo<u32>) -> Result<(), u32> {
///     reply.send(1)?;
///     reply.send(2)
/// }
/// ```
#[must_use = "dropped unanswered, the asker sees the request die"]
pub struct ReplyTo<R>(Option<Arc<Cell<R>>>);

impl<R> ReplyTo<R> {
    /// Answers. The answer comes back if nobody waits for it any more; it is then counted as a dead letter, and so is one
    /// whose asker leaves before it has looked.
    pub fn send(mut self, answer: R) -> Result<(), R> {
        let Some(cell) = self.0.take() else {
            return Err(answer);
        };
        let mut state = cell.lock();
        match mem::replace(&mut *state, State::Over) {
            State::Waiting(asker) => {
                *state = State::Answered(answer);
                drop(state);
                if let Some(asker) = asker {
                    asker.wake();
                }
                Ok(())
            }
            State::Abandoned(callee) => {
                drop(state);
                callee.header.system.dead_letters_add(&callee.header, DeadLetterReason::LateReply, 1);
                Err(answer)
            }
            State::Answered(_) | State::Over => Err(answer),
        }
    }

    /// Nobody waits for the answer any more.
    pub fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(|cell| match *cell.lock() {
            State::Abandoned(_) | State::Over => true,
            State::Waiting(_) | State::Answered(_) => false,
        })
    }
}

impl<R> Drop for ReplyTo<R> {
    fn drop(&mut self) {
        let Some(cell) = self.0.take() else {
            return;
        };
        let mut state = cell.lock();
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

/// Both ends of one answer. With a waker it can come before the asker has polled.
pub(crate) fn reply<R>(asker: Option<Waker>) -> (ReplyTo<R>, Reply<R>) {
    let cell = Arc::new(Cell(Mutex::new(State::Waiting(asker))));
    (ReplyTo(Some(cell.clone())), Reply(cell))
}

impl<R> Reply<R> {
    /// After `Ready` there is nothing to come.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<R>> {
        let mut state = self.0.lock();
        if let State::Waiting(asker) = &mut *state {
            if !asker.as_ref().is_some_and(|asker| asker.will_wake(cx.waker())) {
                *asker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        match mem::replace(&mut *state, State::Over) {
            State::Answered(answer) => Poll::Ready(Some(answer)),
            State::Waiting(_) | State::Abandoned(_) | State::Over => Poll::Ready(None),
        }
    }

    /// The asker gives up. A later answer, or one that it has not looked at, counts as a dead letter of the callee.
    pub(crate) fn abandon(&self, callee: Arc<AnySlot>) {
        let mut state = self.0.lock();
        let next =
            if let State::Waiting(_) = *state { State::Abandoned(callee.clone()) } else { State::Over };
        let previous = mem::replace(&mut *state, next);
        drop(state);
        if let State::Answered(_) = previous {
            callee.header.system.dead_letters_add(&callee.header, DeadLetterReason::LateReply, 1);
        }
    }
}

impl<R> Future for Reply<R> {
    type Output = Option<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<R>> {
        Self::poll(&mut self, cx)
    }
}

struct Cell<R>(Mutex<State<R>>);

enum State<R> {
    Waiting(Option<Waker>),
    Answered(R),
    Abandoned(Arc<AnySlot>),
    Over,
}

impl<R> Cell<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
