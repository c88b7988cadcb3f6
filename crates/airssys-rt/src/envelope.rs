//! What travels with a message: the moment it expires, and the trace it belongs to.
//!
//! A handler's sends inherit both from the message it handles, through two thread-local cells that are set around each poll of
//! that handler. A message without either costs one comparison.

use std::cell::Cell;

use crate::clock::NEVER;
use crate::trace::TraceContext;

/// The stamp of a message that does not expire and is not sampled.
const PLAIN: i64 = NEVER & !SAMPLED;
const SAMPLED: i64 = 1;

pub(crate) struct Envelope<M> {
    pub(crate) message: M,
    trace: Option<Box<TraceContext>>,
    /// The deadline in even nanoseconds; the lowest bit says that this message's wait is measured.
    stamp: i64,
}

impl<M> Envelope<M> {
    /// With the trace of the message in work, if there is one.
    pub(crate) fn new(message: M, deadline: i64) -> Self {
        Self { message, trace: inherited_trace(), stamp: deadline & !SAMPLED }
    }

    pub(crate) fn is_traced(&self) -> bool {
        self.trace.is_some()
    }

    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.trace.as_deref().copied()
    }

    pub(crate) fn deadline(&self) -> i64 {
        let deadline = self.stamp & !SAMPLED;
        if deadline == PLAIN { NEVER } else { deadline }
    }

    pub(crate) fn is_sampled(&self) -> bool {
        self.stamp & SAMPLED != 0
    }

    pub(crate) fn set_sampled(&mut self) {
        self.stamp |= SAMPLED;
    }
}

thread_local! {
    static DEADLINE: Cell<i64> = const { Cell::new(NEVER) };
    static TRACE: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// The deadline of the message in work on this thread.
#[inline]
pub(crate) fn inherited_deadline() -> i64 {
    DEADLINE.get()
}

/// The trace of the message in work on this thread, or the one a caller put in scope.
pub(crate) fn current_trace() -> Option<TraceContext> {
    TRACE.get()
}

#[inline]
fn inherited_trace() -> Option<Box<TraceContext>> {
    TRACE.get().map(Box::new)
}

/// Until this is dropped, requests inherit this deadline. Not to be held across an await.
pub(crate) struct InheritedDeadline(i64);

impl InheritedDeadline {
    #[inline]
    pub(crate) fn enter(deadline: i64) -> Self {
        Self(DEADLINE.replace(deadline))
    }
}

impl Drop for InheritedDeadline {
    #[inline]
    fn drop(&mut self) {
        DEADLINE.set(self.0);
    }
}

/// Until this is dropped, what is sent belongs to this trace. Not to be held across an await.
pub(crate) struct InheritedTrace(Option<TraceContext>);

impl InheritedTrace {
    pub(crate) fn enter(trace: Option<TraceContext>) -> Self {
        Self(TRACE.replace(trace))
    }
}

impl Drop for InheritedTrace {
    fn drop(&mut self) {
        TRACE.set(self.0);
    }
}
