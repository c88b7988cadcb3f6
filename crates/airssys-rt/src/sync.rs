//! The primitives the mailbox is made of, in one place so that a model checker can put its own in their stead.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};
