//! Who is supervised from a slot, for those who do not ask its supervisor: the tree, and whoever ends what is left behind.

use std::mem;
use std::sync::Arc;

use crate::actor::ActorId;
use crate::slot::AnySlot;

#[derive(Clone)]
pub(crate) enum Offspring {
    /// What a supervisor published, in start order. Empty for an actor.
    Listed(Vec<Arc<AnySlot>>),
}

impl Default for Offspring {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Offspring {
    /// The slots in start order. Not under the lock of a control.
    pub(crate) fn slots(&self) -> Vec<Arc<AnySlot>> {
        match self {
            Self::Listed(slots) => slots.clone(),
        }
    }

    /// As [`Offspring::slots`], and there are none from now on.
    pub(crate) fn take(&mut self) -> Self {
        match self {
            Self::Listed(slots) => Self::Listed(mem::take(slots)),
        }
    }

    /// Shows one more.
    pub(crate) fn add(&mut self, slot: Arc<AnySlot>) {
        match self {
            Self::Listed(slots) => slots.push(slot),
        }
    }

    pub(crate) fn remove(&mut self, id: ActorId) {
        match self {
            Self::Listed(slots) => slots.retain(|slot| slot.header.id != id),
        }
    }

    /// Shows these from now on. Returns what was shown.
    pub(crate) fn replace(&mut self, by: Vec<Arc<AnySlot>>) -> Vec<Arc<AnySlot>> {
        match self {
            Self::Listed(slots) => mem::replace(slots, by),
        }
    }
}
