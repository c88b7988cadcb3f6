//! The heap of the process, counted: what is allocated and how often, while somebody wants to know.
//!
//! It is the system's allocator. While nobody counts, an allocation costs one load more. Counting needs two shared
//! counters, whose price depends on how often a subject allocates, so nothing is timed while it goes on.

#![allow(unsafe_code, reason = "an allocator is unsafe by nature; each call hands its caller's promise on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// Allocated and given back since counting began.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    /// Calls that asked for memory, a larger piece in place of another one included.
    pub(crate) allocations: u64,
    /// Negative if more of what was there before has been given back.
    pub(crate) live_bytes: i64,
}

/// Counts from zero.
pub(crate) fn begin() {
    ALLOCATIONS.store(0, Ordering::SeqCst);
    LIVE_BYTES.store(0, Ordering::SeqCst);
    COUNTING.store(true, Ordering::SeqCst);
}

/// What was counted so far.
pub(crate) fn counts() -> Counts {
    Counts { allocations: ALLOCATIONS.load(Ordering::SeqCst), live_bytes: LIVE_BYTES.load(Ordering::SeqCst) }
}

/// Stops counting.
pub(crate) fn end() -> Counts {
    COUNTING.store(false, Ordering::SeqCst);
    counts()
}

fn count(allocations: u64, bytes: i64) {
    if COUNTING.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Ordering::Relaxed);
        LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

pub(crate) struct Counting;

// SAFETY: every method calls the same one of the system's allocator with what it was given.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: the caller keeps the contract of `realloc`, and what it has was made by the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: the caller keeps the contract of `dealloc`, and what it has was made by the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}
