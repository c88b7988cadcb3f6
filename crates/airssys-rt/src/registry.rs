//! Who lives: slots by id, and ids by name.
//!
//! An actor's own name belongs to its place: it is held from before the first start to the end for good. Further names
//! belong to an incarnation, as registered names in OTP do, and end with it before anybody is told of the end.
//! The tables may be locked before a control, never after one.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::actor::ActorId;
use crate::address::Address;
use crate::group::{AnyGroup, GROUPS_PER_ACTOR_MAX};
use crate::slot::{AnySlot, Entry, Header};
use crate::system::System;

/// Further names one actor may hold: it chooses them, perhaps from what it is told.
const NAMES_MAX: usize = 64;

impl System {
    /// Gives a living actor a further name for [`System::lookup`] to find it under; again is the same as once.
    ///
    /// The name ends with the actor, also when a supervisor restarts it: what it stood for may have ended too, so the next
    /// incarnation registers again in its `start`. An actor holds at most 64 names beside its own.
    pub fn register<M: Send + 'static>(
        &self,
        name: impl Into<Arc<str>>,
        address: &Address<M>,
    ) -> Result<(), RegisterError> {
        self.registry().register(name.into(), self, &address.0.header)
    }

    /// Takes a further name back from this actor, whoever asks. False if the actor does not hold it, or if it is the
    /// actor's own name, which it cannot lose.
    pub fn unregister<M: Send + 'static>(&self, name: &str, address: &Address<M>) -> bool {
        self.registry().unregister(name, &address.0.header)
    }
}

/// Why an actor did not get a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another actor has this name.
    #[error("name {name} is taken by {holder}")]
    NameTaken {
        /// The name.
        name: Arc<str>,
        /// Who has it.
        holder: ActorId,
    },
    /// The actor has ended, or its supervisor has not started it again yet.
    #[error("actor {id} is not alive")]
    NotAlive {
        /// Whose address it was.
        id: ActorId,
    },
    /// The actor lives in another system.
    #[error("actor {id} belongs to another system")]
    OtherSystem {
        /// Its id there.
        id: ActorId,
    },
    /// The actor holds as many names as it may.
    #[error("actor {id} holds {max} names")]
    TooMany {
        /// Whose address it was.
        id: ActorId,
        /// Names it may hold beside its own.
        max: usize,
    },
}

/// What an incarnation is known under beside its own name. Most are known under nothing else, and pay for one pointer.
#[derive(Default)]
pub(crate) struct Affiliations(Option<Box<Held>>);

#[derive(Default)]
struct Held {
    names: Vec<Arc<str>>,
    groups: Vec<Arc<dyn AnyGroup>>,
}

impl Affiliations {
    fn held(&mut self) -> &mut Held {
        self.0.get_or_insert_default()
    }

    /// False if there are as many as there may be.
    pub(crate) fn add_group(&mut self, group: Arc<dyn AnyGroup>) -> bool {
        let groups = &mut self.held().groups;
        let has_room = groups.len() < GROUPS_PER_ACTOR_MAX;
        if has_room {
            groups.push(group);
        }
        has_room
    }

    pub(crate) fn remove_group<G>(&mut self, group: &Arc<G>) {
        if let Some(held) = &mut self.0 {
            held.groups.retain(|held| !std::ptr::addr_eq(Arc::as_ptr(held), Arc::as_ptr(group)));
        }
    }
}

impl Header {
    /// Ends what the incarnation was known under. Whoever is told of its end afterwards finds it gone.
    pub(crate) fn end_affiliations(&self) {
        let held = self.lock().existing_rare().and_then(|rare| rare.affiliations.0.take());
        if let Some(held) = held {
            self.system.registry().release(self.id, &held.names);
            held.groups.iter().for_each(|group| group.end(self.id));
        }
    }
}

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
        let header = entry.header();
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

    fn register(&self, name: Arc<str>, system: &System, header: &Header) -> Result<(), RegisterError> {
        let id = header.id;
        if !header.system.is(system) {
            return Err(RegisterError::OtherSystem { id });
        }
        match self.lock().names.entry(name) {
            MapEntry::Occupied(holder) if *holder.get() == id => Ok(()),
            MapEntry::Occupied(holder) => {
                Err(RegisterError::NameTaken { name: holder.key().clone(), holder: *holder.get() })
            }
            MapEntry::Vacant(place) => {
                let mut control = header.lock();
                if !control.is_alive() {
                    return Err(RegisterError::NotAlive { id });
                }
                let names = &mut control.rare_mut().affiliations.held().names;
                if names.len() == NAMES_MAX {
                    return Err(RegisterError::TooMany { id, max: NAMES_MAX });
                }
                names.push(place.key().clone());
                place.insert(id);
                Ok(())
            }
        }
    }

    fn unregister(&self, name: &str, header: &Header) -> bool {
        let mut tables = self.lock();
        let is_held = tables.names.get(name) == Some(&header.id) && *name != *header.name;
        if is_held {
            tables.names.remove(name);
            // Gone already if the actor is just ending.
            let mut control = header.lock();
            let held = control.existing_rare().and_then(|rare| rare.affiliations.0.as_mut());
            if let Some(held) = held {
                held.names.retain(|held| **held != *name);
            }
        }
        is_held
    }

    fn release(&self, id: ActorId, names: &[Arc<str>]) {
        let mut tables = self.lock();
        for name in names {
            // Unregistered since the list was taken, it may have another holder.
            if tables.names.get(name) == Some(&id) {
                tables.names.remove(name);
            }
        }
    }

    pub(crate) fn slot(&self, id: ActorId) -> Option<Arc<AnySlot>> {
        self.lock().slots.get(&id).map(|entry| entry.slot())
    }

    pub(crate) fn named(&self, name: &str) -> Option<Entry> {
        let tables = self.lock();
        tables.slots.get(tables.names.get(name)?).cloned()
    }

    /// All slots in the order they were made.
    pub(crate) fn slots(&self) -> Vec<Arc<AnySlot>> {
        let mut slots: Vec<_> = self.lock().slots.values().map(|entry| entry.slot()).collect();
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
