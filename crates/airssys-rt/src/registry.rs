//! Who lives: slots by id, and ids by name. A name is held from before the first start to the end for good.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::actor::ActorId;
use crate::slot::{AnySlot, Entry, Header};

#[derive(Default)]
pub(crate) struct Registry(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    closed: bool,
    names: HashMap<Arc<str>, ActorId>,
    slots: HashMap<ActorId, Entry>,
}

/// Why a slot was not entered.
pub(crate) enum NotEntered {
    NameTaken,
    Closed,
}

impl Registry {
    /// Enters a slot; again is the same as once.
    pub(crate) fn enter(&self, entry: &Entry) -> Result<(), NotEntered> {
        let header = &entry.slot.header;
        let mut tables = self.lock();
        if tables.closed && !tables.slots.contains_key(&header.id) {
            return Err(NotEntered::Closed);
        }
        match tables.names.entry(header.name.clone()) {
            MapEntry::Occupied(holder) if *holder.get() == header.id => return Ok(()),
            MapEntry::Occupied(_) => return Err(NotEntered::NameTaken),
            MapEntry::Vacant(name) => {
                name.insert(header.id);
            }
        }
        tables.slots.insert(header.id, entry.clone());
        Ok(())
    }

    pub(crate) fn remove(&self, header: &Header) {
        let mut tables = self.lock();
        let removed = tables.slots.remove(&header.id);
        if removed.is_some() {
            tables.names.remove(&header.name);
        }
        drop(tables);
        drop(removed);
    }

    pub(crate) fn slot(&self, id: ActorId) -> Option<Arc<AnySlot>> {
        self.lock().slots.get(&id).map(|entry| entry.slot.clone())
    }

    pub(crate) fn named(&self, name: &str) -> Option<Entry> {
        let tables = self.lock();
        tables.slots.get(tables.names.get(name)?).cloned()
    }

    /// All slots in the order they were made.
    pub(crate) fn slots(&self) -> Vec<Arc<AnySlot>> {
        let mut slots: Vec<_> = self.lock().slots.values().map(|entry| entry.slot.clone()).collect();
        slots.sort_unstable_by_key(|slot| slot.header.id);
        slots
    }

    /// Lets nobody new in.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
