//! Rules that look into messages: a bound on bytes, and priorities.

use std::collections::VecDeque;

use crate::envelope::Envelope;

use super::Priority;

/// How an actor's messages are looked at.
pub(crate) struct Rules<M> {
    pub(crate) bytes_of: fn(&M) -> usize,
    pub(crate) priority: fn(&M) -> Priority,
}

/// Bytes queued. A message must say the same size whenever it is asked.
pub(crate) struct Books<M> {
    bytes: usize,
    bytes_max: usize,
    bytes_of: fn(&M) -> usize,
}

impl<M> Books<M> {
    pub(crate) fn new(bytes_max: usize, bytes_of: fn(&M) -> usize) -> Self {
        Self { bytes: 0, bytes_max, bytes_of }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn fits(&self, envelope: &Envelope<M>) -> bool {
        self.bytes.saturating_add((self.bytes_of)(&envelope.message)) <= self.bytes_max
    }

    pub(crate) fn could_ever_fit(&self, envelope: &Envelope<M>) -> bool {
        (self.bytes_of)(&envelope.message) <= self.bytes_max
    }

    /// Whether a message fits if there is nothing but these.
    pub(crate) fn fits_beside<'a>(
        &self,
        others: impl Iterator<Item = &'a Envelope<M>>,
        envelope: &'a Envelope<M>,
    ) -> bool
    where
        M: 'a,
    {
        let bytes = others.chain([envelope]).map(|envelope| (self.bytes_of)(&envelope.message));
        bytes.fold(0, usize::saturating_add) <= self.bytes_max
    }

    pub(crate) fn add(&mut self, envelope: &Envelope<M>) {
        self.bytes = self.bytes.saturating_add((self.bytes_of)(&envelope.message));
    }

    pub(crate) fn remove(&mut self, envelope: &Envelope<M>) {
        self.bytes = self.bytes.saturating_sub((self.bytes_of)(&envelope.message));
    }

    pub(crate) fn clear(&mut self) {
        self.bytes = 0;
    }
}

/// The lanes beside the normal one, which is the mailbox's own queue.
pub(crate) struct Lanes<M> {
    priority: fn(&M) -> Priority,
    high: VecDeque<Envelope<M>>,
    low: VecDeque<Envelope<M>>,
}

impl<M> Lanes<M> {
    pub(crate) fn new(priority: fn(&M) -> Priority) -> Self {
        Self { priority, high: VecDeque::new(), low: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.high.len() + self.low.len()
    }

    pub(crate) fn push(&mut self, normal: &mut VecDeque<Envelope<M>>, envelope: Envelope<M>) {
        match (self.priority)(&envelope.message) {
            Priority::High => self.high.push_back(envelope),
            Priority::Normal => normal.push_back(envelope),
            Priority::Low => self.low.push_back(envelope),
        }
    }

    pub(crate) fn pop(&mut self, normal: &mut VecDeque<Envelope<M>>) -> Option<Envelope<M>> {
        self.high.pop_front().or_else(|| normal.pop_front()).or_else(|| self.low.pop_front())
    }

    /// Those of higher priority than the newcomer.
    pub(crate) fn above<'a>(
        &'a self,
        normal: &'a VecDeque<Envelope<M>>,
        newcomer: &Envelope<M>,
    ) -> impl Iterator<Item = &'a Envelope<M>> {
        let priority = (self.priority)(&newcomer.message);
        let high = (priority < Priority::High).then_some(&self.high);
        let normal = (priority < Priority::Normal).then_some(normal);
        high.into_iter().chain(normal).flatten()
    }

    /// The oldest of the lowest priority.
    pub(crate) fn evict(&mut self, normal: &mut VecDeque<Envelope<M>>) -> Option<Envelope<M>> {
        self.low.pop_front().or_else(|| normal.pop_front()).or_else(|| self.high.pop_front())
    }

    pub(crate) fn take(&mut self) -> [VecDeque<Envelope<M>>; 2] {
        [std::mem::take(&mut self.high), std::mem::take(&mut self.low)]
    }
}
