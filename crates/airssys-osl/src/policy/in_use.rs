//! The policy that is decided by, with its generation. Replaced whole and at once: whoever decides sees one or the other.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::Policy;

/// Hex digits of the digest that stand in each record.
const DIGEST_CHARS: usize = 16;

/// The policy of a gate.
pub(crate) struct InUse {
    current: ArcSwap<Generation>,
    /// Held while one is replaced, so that numbers only go up.
    replacing: Mutex<()>,
}

/// One policy of a gate, and which one.
pub(crate) struct Generation {
    pub(crate) policy: Arc<Policy>,
    pub(crate) generation: u64,
    /// As records show it: the number, and the beginning of the digest, because numbers begin anew with each gate.
    pub(crate) label: Box<str>,
}

impl Generation {
    fn new(policy: Policy, generation: u64) -> Arc<Self> {
        let label = format!("{generation}:{}", &policy.digest()[..DIGEST_CHARS]);
        Arc::new(Self { policy: Arc::new(policy), generation, label: label.into() })
    }
}

impl InUse {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { current: ArcSwap::new(Generation::new(policy, 1)), replacing: Mutex::new(()) }
    }

    pub(crate) fn load(&self) -> Guard<Arc<Generation>> {
        self.current.load()
    }

    pub(crate) fn replace(&self, policy: Policy) -> Arc<Generation> {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Generation::new(policy, self.current.load().generation + 1);
        self.current.store(next.clone());
        next
    }
}
