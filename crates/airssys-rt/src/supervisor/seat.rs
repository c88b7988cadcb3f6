//! A seat: a place in the tree together with what puts an actor into it, in one allocation.

use std::sync::Arc;

use crate::actor::Actor;
use crate::lifecycle::{self, FirstPoll};
use crate::slot::{AnySlot, Entry, TypedSlot};

pub(crate) trait Seat: Send + Sync {
    fn slot(&self) -> &AnySlot;
    fn entry(&self) -> Entry;
    /// Starts an incarnation in the slot, which must have been claimed with `begin`.
    fn launch(self: Arc<Self>, first: FirstPoll);
}

/// A seat whose actors come from a factory: a worker's from the user, a supervisor's from its specification.
pub(crate) struct Made<A: Actor, F> {
    pub(crate) slot: Arc<TypedSlot<A::Message>>,
    pub(crate) factory: F,
}

/// Nobody can start anything here any more: who has the address of an actor that never came is told so.
impl<A: Actor, F> Drop for Made<A, F> {
    fn drop(&mut self) {
        if self.slot.header.is_settled() {
            let slot: &AnySlot = &*self.slot;
            drop(slot.shut());
        }
    }
}

impl<A, F> Seat for Made<A, F>
where
    A: Actor,
    F: Fn() -> A + Send + Sync + 'static,
{
    fn slot(&self) -> &AnySlot {
        &*self.slot
    }

    fn entry(&self) -> Entry {
        Entry::from(&self.slot)
    }

    fn launch(self: Arc<Self>, first: FirstPoll) {
        lifecycle::launch(self.slot.clone(), move || (self.factory)(), first);
    }
}
