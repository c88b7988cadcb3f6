//! Who is supervised from a slot, for those who do not ask its supervisor: the tree, and whoever ends what is left behind.

use std::mem;
use std::sync::Arc;

use crate::actor::ActorId;
use crate::exit::ExitReason;
use crate::slot::{AnySlot, Header};

use super::dynamic::Table;

#[derive(Clone)]
pub(crate) enum Offspring {
    /// What a supervisor published, in start order. Empty for an actor.
    Listed(Vec<Arc<AnySlot>>),
    /// The children of a dynamic supervisor, whether it runs or not.
    Shared(Arc<Table>),
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
            Self::Shared(table) => table.slots(),
        }
    }

    /// Those whose supervisor has ended without ending them are killed. Not under the lock of a control.
    pub(crate) fn abandon(&self, supervisor: &Header) {
        match self {
            Self::Listed(slots) => {
                for slot in slots.iter().filter(|slot| slot.header.is_adopted_by(supervisor)) {
                    slot.header.exit(ExitReason::Killed);
                    // Whoever starts it again does not go on with a restart of this supervisor.
                    slot.header.set_down();
                }
            }
            Self::Shared(table) => table.abandon(),
        }
    }

    /// Those that end for good with their supervisor's place.
    pub(crate) fn listed(&self) -> Vec<Arc<AnySlot>> {
        match self {
            Self::Listed(slots) => slots.clone(),
            // Empty: a dynamic supervisor's children leave it at its end, and it stays ready for the next start.
            Self::Shared(_) => Vec::new(),
        }
    }

    pub(crate) fn table(&self) -> Option<Arc<Table>> {
        match self {
            Self::Listed(_) => None,
            Self::Shared(table) => Some(table.clone()),
        }
    }

    /// Lists one more.
    pub(crate) fn add(&mut self, slot: Arc<AnySlot>) {
        match self {
            Self::Listed(slots) => slots.push(slot),
            Self::Shared(_) => {}
        }
    }

    pub(crate) fn remove(&mut self, id: ActorId) {
        match self {
            Self::Listed(slots) => slots.retain(|slot| slot.header.id != id),
            Self::Shared(_) => {}
        }
    }

    /// Lists these from now on. Returns what was listed.
    pub(crate) fn replace(&mut self, by: Vec<Arc<AnySlot>>) -> Vec<Arc<AnySlot>> {
        match self {
            Self::Listed(slots) => mem::replace(slots, by),
            Self::Shared(_) => Vec::new(),
        }
    }
}

impl Header {
    /// Puts the slot under a supervisor. False if it is under another one that lives.
    pub(crate) fn adopt(&self, parent: &Arc<AnySlot>) -> bool {
        {
            let mut control = self.lock();
            if control.parent.is_none() {
                control.parent = Some(Arc::downgrade(parent));
                return true;
            }
        }
        let current = self.parent();
        if current.is_some_and(|current| !Arc::ptr_eq(&current, parent) && current.header.lock().is_alive()) {
            return false;
        }
        self.lock().parent = Some(Arc::downgrade(parent));
        true
    }

    /// Takes the slot from under its supervisor, so that another may have it.
    pub(crate) fn disown(&self) {
        self.lock().parent = None;
    }

    pub(crate) fn is_adopted_by(&self, supervisor: &Header) -> bool {
        self.parent().is_some_and(|parent| std::ptr::eq(&parent.header, supervisor))
    }

    pub(crate) fn has_parent(&self) -> bool {
        self.lock().parent.is_some()
    }

    pub(crate) fn parent(&self) -> Option<Arc<AnySlot>> {
        self.lock().parent.as_ref()?.upgrade()
    }
}
