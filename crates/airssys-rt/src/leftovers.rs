//! Messages that nobody will handle: counted at once, and dropped without keeping anybody waiting.

use std::collections::VecDeque;
use std::mem;

use crate::envelope::Envelope;
use crate::lifecycle::give_way;
use crate::observe::DeadLetterReason;
use crate::slot::Header;
use crate::system::System;

/// So many are dropped on the spot, and between two turns of others: well under a millisecond.
const AT_ONCE_MAX: usize = 1024;

/// What a mailbox held when it closed. Dropped, a long backlog goes bit by bit on a task of its own, so that whoever waits for
/// the end of its actor does not wait for that.
pub(crate) struct Leftovers {
    system: System,
    /// Drops some of them, and says whether there may be more.
    drop_some: Box<dyn FnMut() -> bool + Send>,
    is_long: bool,
}

impl Leftovers {
    /// Counts messages of a closed mailbox as dead letters, and shows them if somebody reads those. Nothing is left then, and
    /// nothing of no messages.
    pub(crate) fn of<M: Send + 'static>(header: &Header, queues: Vec<VecDeque<Envelope<M>>>) -> Option<Self> {
        let len: usize = queues.iter().map(VecDeque::len).sum();
        if len == 0 {
            return None;
        }
        let system = &header.system;
        let mut left = queues.into_iter().flatten();
        if system.has_dead_letter_reader() {
            system.lose(header, DeadLetterReason::Closed, left.map(|envelope| envelope.message));
            return None;
        }
        system.dead_letters_add(header, DeadLetterReason::Closed, len as u64);
        let drop_some = move || left.by_ref().take(AT_ONCE_MAX).count() == AT_ONCE_MAX;
        Some(Self { system: system.clone(), drop_some: Box::new(drop_some), is_long: len > AT_ONCE_MAX })
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if self.is_long {
            let mut drop_some = mem::replace(&mut self.drop_some, Box::new(|| false));
            self.system.start_late_task(async move {
                give_way().await;
                while drop_some() {
                    give_way().await;
                }
            });
        }
    }
}
