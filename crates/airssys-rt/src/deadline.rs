//! Deadlines of those who wait: one task per system wakes them, so that a wait costs an entry and no timer of its own.
//!
//! Entries lie in a wheel of coarse ticks, in shards by thread. A wait that ends in time takes its entry out again; what is
//! left when its time has come is woken, up to a millisecond late as tokio's timers are. The waiter looks at the clock itself.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use slab::Slab;
use tokio::sync::Notify;

use crate::clock::{self, NEVER};
use crate::system::System;

const SHARDS_LEN: usize = 8;
/// 2^20 ns, about a millisecond.
const TICK_BITS: u32 = 20;
const BUCKETS_LEN: usize = 256;

#[derive(Default)]
pub(crate) struct Deadlines {
    shards: [Mutex<Shard>; SHARDS_LEN],
    keeper: Arc<Keeper>,
}

#[derive(Default)]
struct Keeper {
    is_running: AtomicBool,
    /// When the task looks again; those who need it earlier tell it.
    wakes_at: AtomicI64,
    earlier: Notify,
}

struct Shard {
    /// Empty until the first entry.
    buckets: Vec<Slab<Entry>>,
    len: usize,
    next_number: u64,
    /// The last tick the task has looked at; before all ticks, of which some are negative, until it has.
    seen: i64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { buckets: Vec::new(), len: 0, next_number: 0, seen: i64::MIN }
    }
}

struct Entry {
    number: u64,
    at: i64,
    waiter: Waker,
}

/// A place in the wheel; to be given back with [`Deadlines::remove`].
pub(crate) struct Registration {
    shard: u8,
    bucket: u8,
    number: u64,
    index: usize,
}

impl Deadlines {
    /// Wakes `waiter` soon after `at`.
    pub(crate) fn insert(&self, system: &System, at: i64, waiter: &Waker) -> Registration {
        let shard_index = shard_of_thread();
        let mut shard = self.shard(shard_index);
        let tick = (at >> TICK_BITS).max(shard.seen);
        let bucket = bucket_index(tick);
        if shard.buckets.is_empty() {
            shard.buckets.resize_with(BUCKETS_LEN, Slab::new);
        }
        shard.len += 1;
        shard.next_number += 1;
        let number = shard.next_number;
        let index = shard.buckets[bucket].insert(Entry { number, at, waiter: waiter.clone() });
        drop(shard);
        if !self.keeper.is_running.load(Ordering::Acquire) {
            self.start(system);
        }
        // The task writes this before it looks at the shards, so either it finds our entry or we find that it may sleep on.
        if at < self.keeper.wakes_at.load(Ordering::SeqCst) {
            self.keeper.earlier.notify_one();
        }
        Registration { shard: shard_index as u8, bucket: bucket as u8, number, index }
    }

    pub(crate) fn remove(&self, registration: &Registration) {
        let mut shard = self.shard(usize::from(registration.shard));
        let Some(bucket) = shard.buckets.get_mut(usize::from(registration.bucket)) else {
            return;
        };
        let is_ours = bucket.get(registration.index).is_some_and(|entry| entry.number == registration.number);
        if is_ours {
            let entry = bucket.remove(registration.index);
            shard.len -= 1;
            drop(shard);
            drop(entry);
        }
    }

    fn shard(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn start(&self, system: &System) {
        if self.keeper.is_running.swap(true, Ordering::AcqRel) {
            return;
        }
        self.keeper.wakes_at.store(i64::MIN, Ordering::SeqCst);
        let running = Running { system: system.downgrade(), keeper: self.keeper.clone() };
        system.start_task(running.keep());
    }

    /// Wakes what is due, and says when the next may be.
    fn wake_due(&self) -> i64 {
        let now = clock::now();
        let tick = now >> TICK_BITS;
        let mut due = Vec::new();
        let mut next = NEVER;
        for index in 0..SHARDS_LEN {
            let mut shard = self.shard(index);
            if tick < shard.seen {
                // This clock is behind the last one, as that of a second runtime may be: entries may lie in buckets that it
                // comes to too late. Who waits enters again.
                shard.seen = tick;
                shard.len = 0;
                due.extend(shard.buckets.iter_mut().flat_map(Slab::drain).map(|entry| entry.waiter));
                continue;
            }
            let passed = tick.saturating_sub(shard.seen).clamp(0, BUCKETS_LEN as i64 - 1);
            shard.seen = tick;
            if shard.len == 0 {
                continue;
            }
            for back in 0..=passed {
                let bucket = bucket_index(tick - back);
                let woken: Vec<usize> = shard.buckets[bucket]
                    .iter()
                    .filter(|(_, entry)| entry.at <= now)
                    .map(|(index, _)| index)
                    .collect();
                for index in woken {
                    due.push(shard.buckets[bucket].remove(index).waiter);
                    shard.len -= 1;
                }
            }
            // Those in a bucket may be due rounds later than those in buckets after it, but none of these before its tick.
            for tick in tick..tick + BUCKETS_LEN as i64 {
                if next <= tick << TICK_BITS {
                    break;
                }
                let bucket = &shard.buckets[bucket_index(tick)];
                next = bucket.iter().map(|(_, entry)| entry.at).fold(next, i64::min);
            }
        }
        due.into_iter().for_each(Waker::wake);
        next
    }

    /// Wakes everyone, due or not: they enter again where a task can be started.
    fn wake_all(&self) {
        for index in 0..SHARDS_LEN {
            let mut shard = self.shard(index);
            let buckets = std::mem::take(&mut shard.buckets);
            shard.len = 0;
            drop(shard);
            buckets.into_iter().flatten().for_each(|(_, entry)| entry.waiter.wake());
        }
    }
}

impl Drop for Deadlines {
    /// The task finds its system gone.
    fn drop(&mut self) {
        self.keeper.earlier.notify_one();
    }
}

fn bucket_index(tick: i64) -> usize {
    usize::try_from(tick.rem_euclid(BUCKETS_LEN as i64)).unwrap_or(0)
}

fn shard_of_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let shard = SHARD.get();
    if shard != usize::MAX {
        return shard;
    }
    let shard = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS_LEN;
    SHARD.set(shard);
    shard
}

/// The task; when the executor drops it, waiters find another.
struct Running {
    system: crate::system::WeakSystem,
    keeper: Arc<Keeper>,
}

impl Running {
    async fn keep(self) {
        loop {
            let earlier = self.keeper.earlier.notified();
            // Whoever enters from here on tells us, until we know when to wake.
            self.keeper.wakes_at.store(i64::MAX, Ordering::SeqCst);
            let Some(system) = self.system.upgrade() else {
                return;
            };
            let next = system.deadlines().wake_due();
            drop(system);
            self.keeper.wakes_at.store(next, Ordering::SeqCst);
            match clock::instant(next) {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = earlier => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => earlier.await,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.keeper.is_running.store(false, Ordering::Release);
        if let Some(system) = self.system.upgrade() {
            system.deadlines().wake_all();
        }
    }
}

#[cfg(test)]
mod tests;
