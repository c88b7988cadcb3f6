//! How many things a subject holds open at once.
//!
//! Descriptors and watches belong to the whole process, so one subject that keeps all it opens could stop every other. Each has
//! a number of its own, given back when a handle is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::access::Subject;

/// Open handles of each subject. One that has none takes no room.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots(Arc<Mutex<HashMap<Subject, u32>>>);

/// One of them, given back on drop.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    subject: Subject,
}

impl Slots {
    /// One more for a subject that has fewer than `max`.
    pub(super) fn take(&self, subject: &Subject, max: u32) -> Option<Slot> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = taken.get(subject).copied().unwrap_or_default();
        if held >= max {
            return None;
        }
        taken.insert(subject.clone(), held + 1);
        Some(Slot { slots: self.clone(), subject: subject.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(&self.subject) {
            Some(held) if *held > 1 => *held -= 1,
            Some(_) | None => drop(taken.remove(&self.subject)),
        }
    }
}
