//! The primitives the mailbox is made of, in one place so that a model checker can put its own in their stead.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};
use std::sync::{PoisonError, TryLockError};

/// Looks at a lock that is taken, before the thread sleeps: a few microseconds.
const ROUNDS: u32 = 8;

/// Locks. Whoever finds the lock taken leaves it alone for a while, each time for longer, so that the other core keeps it and
/// the queue in its cache for many messages: two cores that take turns pay for the way between them with each message.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => lock_contended(mutex),
    }
}

#[cold]
fn lock_contended<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    for round in 0..ROUNDS {
        for _ in 0..1u32 << round {
            std::hint::spin_loop();
        }
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
