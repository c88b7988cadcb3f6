//! How much each subject may have: operations and bytes, counted before anything is done.
//!
//! What is wanted is reserved first, in one step with the question whether there is room, so many who ask at once get no more
//! than one after the other. A reservation is committed by what succeeded and refunded by what did not; dropped, it is
//! refunded. A reservation cannot be copied and each end takes it by value, so nothing is counted or refunded twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::Subject;

/// What each subject may have until [`Quota::renew`].
#[derive(Debug, Clone, Copy)]
pub struct QuotaOptions {
    /// Operations that are done.
    pub operations_max: u64,
    /// Bytes that are moved.
    pub bytes_max: u64,
    /// Subjects that are counted at a time; one more is refused.
    pub subjects_max: usize,
}

impl Default for QuotaOptions {
    /// 1,000,000 operations and 16 GiB each, for 10,000 subjects.
    fn default() -> Self {
        Self { operations_max: 1_000_000, bytes_max: 16 << 30, subjects_max: 10_000 }
    }
}

/// Counts of many subjects. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Quota(Arc<Shared>);

struct Shared {
    options: QuotaOptions,
    usage: Mutex<HashMap<Subject, Usage>>,
}

/// What a subject has had and what is held for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Operations that were done.
    pub operations: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Operations under way.
    pub operations_reserved: u64,
    /// Bytes that they may move.
    pub bytes_reserved: u64,
}

/// Why nothing was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuotaError {
    /// Too many operations.
    #[error("over the quota of {max} operations")]
    Operations {
        /// The bound.
        max: u64,
    },
    /// Too many bytes.
    #[error("over the quota of {max} bytes")]
    Bytes {
        /// The bound.
        max: u64,
    },
    /// Too many subjects are counted already.
    #[error("no room to count for one more than {max} subjects")]
    Subjects {
        /// The bound.
        max: usize,
    },
}

/// Room that is held for one subject. Dropped, it is given back.
#[must_use = "dropped, what was reserved is given back"]
pub struct Reservation {
    quota: Quota,
    subject: Subject,
    operations: u64,
    bytes: u64,
}

impl Quota {
    /// Counts from nothing.
    pub fn new(options: QuotaOptions) -> Self {
        Self(Arc::new(Shared { options, usage: Mutex::default() }))
    }

    /// Holds room for all of it, or is an error.
    pub fn reserve(&self, subject: &Subject, operations: u64, bytes: u64) -> Result<Reservation, QuotaError> {
        let QuotaOptions { operations_max, bytes_max, subjects_max } = self.0.options;
        let fits = |used: u64, reserved: u64, wanted: u64, max: u64| {
            used.checked_add(reserved).and_then(|sum| sum.checked_add(wanted)).is_some_and(|sum| sum <= max)
        };
        let mut all = self.lock();
        let known = all.get(subject).copied().unwrap_or_default();
        if !fits(known.operations, known.operations_reserved, operations, operations_max) {
            return Err(QuotaError::Operations { max: operations_max });
        }
        if !fits(known.bytes, known.bytes_reserved, bytes, bytes_max) {
            return Err(QuotaError::Bytes { max: bytes_max });
        }
        let reservation = || Reservation { quota: self.clone(), subject: subject.clone(), operations, bytes };
        if (operations, bytes) == (0, 0) {
            return Ok(reservation());
        }
        let len = all.len();
        let usage = match all.entry(subject.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if len >= subjects_max => {
                return Err(QuotaError::Subjects { max: subjects_max });
            }
            Entry::Vacant(entry) => entry.insert(Usage::default()),
        };
        usage.operations_reserved += operations;
        usage.bytes_reserved += bytes;
        Ok(reservation())
    }

    /// What a subject has had.
    pub fn usage(&self, subject: &Subject) -> Usage {
        self.lock().get(subject).copied().unwrap_or_default()
    }

    /// Everybody has had nothing. What is reserved stays so.
    pub fn renew(&self) {
        self.lock().retain(|_, usage| {
            (usage.operations, usage.bytes) = (0, 0);
            *usage != Usage::default()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subject, Usage>> {
        self.0.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// It was done and moved so many bytes, of those reserved.
    pub fn commit(mut self, bytes: u64) {
        let (operations, bytes) = (self.operations, bytes.min(self.bytes));
        self.settle(operations, bytes);
    }

    /// It was done, with all that was reserved.
    pub fn commit_all(self) {
        let bytes = self.bytes;
        self.commit(bytes);
    }

    /// Ends the reservation, which is for nothing from then on.
    fn settle(&mut self, operations: u64, bytes: u64) {
        if (self.operations, self.bytes) == (0, 0) {
            return;
        }
        let reserved = (std::mem::take(&mut self.operations), std::mem::take(&mut self.bytes));
        let mut all = self.quota.lock();
        let usage = all.get_mut(&self.subject).expect("a subject is counted while something is reserved");
        usage.operations_reserved -= reserved.0;
        usage.bytes_reserved -= reserved.1;
        usage.operations += operations;
        usage.bytes += bytes;
        // A subject that nothing is known of needs no room.
        if *usage == Usage::default() {
            all.remove(&self.subject);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle(0, 0);
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quota").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, operations, bytes, .. } = self;
        write!(f, "Reservation({subject}: {operations} operations, {bytes} bytes)")
    }
}
