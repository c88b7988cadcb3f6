//! Monitors of a group: the members, then each change, for whoever must know who is in.
//!
//! Changes wait for their reader up to a bound; beyond it they are forgotten and the reader is given the members anew, so
//! what it believes is always what was true at some moment. A feed may be locked after its group's table, never before it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use crate::address::Address;

use super::{Group, Members};

/// Changes that wait for a slow reader.
const CHANGES_MAX: usize = 256;

/// What a monitor of a group sees.
#[derive(Debug)]
#[non_exhaustive]
pub enum GroupEvent<M> {
    /// All members as of now. Comes first, and again in place of the changes that a slow reader missed.
    Members(Members<M>),
    /// A member more.
    Joined(Address<M>),
    /// A member less. Its address may have a next incarnation, which joins for itself.
    Left(Address<M>),
}

/// A reader of a group's changes, and a stream of them that does not end. Up to 256 wait for it; one that is further behind
/// is given the members anew.
pub struct GroupMonitor<M> {
    group: Group<M>,
    feed: Arc<Feed<M>>,
}

impl<M: Send + 'static> GroupMonitor<M> {
    pub(super) fn new(group: Group<M>, feed: Arc<Feed<M>>) -> Self {
        Self { group, feed }
    }

    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> GroupEvent<M> {
        poll_fn(|cx| self.poll(Some(cx.waker()))).await
    }

    /// As [`GroupMonitor::next`] without waiting.
    pub fn try_next(&mut self) -> Option<GroupEvent<M>> {
        match self.poll(None) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        }
    }

    fn poll(&mut self, reader: Option<&Waker>) -> Poll<GroupEvent<M>> {
        let mut waiting = self.feed.lock();
        if waiting.is_behind {
            drop(waiting);
            return Poll::Ready(GroupEvent::Members(self.group.0.catch_up(&self.feed)));
        }
        match waiting.changes.pop_front() {
            Some(Change::Joined(address)) => Poll::Ready(GroupEvent::Joined(address)),
            Some(Change::Left(address)) => Poll::Ready(GroupEvent::Left(address)),
            None => {
                let previous = mem::replace(&mut waiting.reader, reader.cloned());
                drop(waiting);
                drop(previous);
                Poll::Pending
            }
        }
    }
}

impl<M: Send + 'static> Stream for GroupMonitor<M> {
    type Item = GroupEvent<M>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<GroupEvent<M>>> {
        self.poll(Some(cx.waker())).map(Some)
    }
}

pub(super) enum Change<M> {
    Joined(Address<M>),
    Left(Address<M>),
}

/// What waits for one reader.
pub(super) struct Feed<M>(Mutex<Waiting<M>>);

struct Waiting<M> {
    changes: VecDeque<Change<M>>,
    /// The reader needs the members before any change.
    is_behind: bool,
    reader: Option<Waker>,
}

impl<M> Feed<M> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Waiting { changes: VecDeque::new(), is_behind: true, reader: None }))
    }

    /// Adds a change, while the group's table is locked. Returns what is to be dropped, and who is to be woken, after that.
    pub(super) fn add(&self, change: &Change<M>) -> (VecDeque<Change<M>>, Option<Waker>) {
        let mut waiting = self.lock();
        let mut forgotten = VecDeque::new();
        if waiting.changes.len() == CHANGES_MAX {
            waiting.is_behind = true;
            forgotten = mem::take(&mut waiting.changes);
        }
        if !waiting.is_behind {
            waiting.changes.push_back(change.clone());
        }
        (forgotten, waiting.reader.take())
    }

    /// The reader is given the members, while the group's table is locked.
    pub(super) fn caught_up(&self) {
        self.lock().is_behind = false;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Clone for Change<M> {
    fn clone(&self) -> Self {
        match self {
            Self::Joined(address) => Self::Joined(address.clone()),
            Self::Left(address) => Self::Left(address.clone()),
        }
    }
}
