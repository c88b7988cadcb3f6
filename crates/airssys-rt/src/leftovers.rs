//! Messages that nobody will handle: counted already, to be dropped without keeping anybody waiting.

use std::collections::VecDeque;
use std::mem;

use crate::envelope::Envelope;
use crate::lifecycle::give_way;
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
    pub(crate) fn new<M: Send + 'static>(system: &System, queues: Vec<VecDeque<Envelope<M>>>) -> Self {
        let is_long = queues.iter().map(VecDeque::len).sum::<usize>() > AT_ONCE_MAX;
        let mut left = queues.into_iter().flatten();
        let drop_some = move || left.by_ref().take(AT_ONCE_MAX).count() == AT_ONCE_MAX;
        Self { system: system.clone(), drop_some: Box::new(drop_some), is_long }
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
