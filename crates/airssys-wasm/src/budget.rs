//! What one instance may use: memory, tables, instances, guest time per message.
//!
//! The limiter sums over all memories and all tables of the store, so a component cannot get twice its limit by having
//! two. Guest time is counted in ticks of the epoch clock that found the guest running. Time spent waiting in a host
//! function of `airssys:core` is not charged; a wait inside WASI costs one tick, whatever its length.

use std::mem;

use airssys_rt::KillFlag;
use wasmtime::{ResourceLimiter, UpdateDeadline};

use crate::engine::TICK;
use crate::manifest::Limits;

/// Core instances, memories and tables of one component: generous for what toolchains emit, small against abuse.
const INSTANCES_MAX: usize = 64;
const MEMORIES_MAX: usize = 16;
const TABLES_MAX: usize = 64;

pub(crate) struct Budget {
    memory: Share,
    memory_refused: bool,
    tables: Share,
    ticks_per_call: u32,
    ticks_left: u32,
    waited: bool,
    kill: Option<KillFlag>,
    stopping: bool,
    yields: bool,
}

/// What is used of something, summed over all that the store has of it.
struct Share {
    used: usize,
    max: usize,
}

impl Share {
    /// False when it would be too much, or more than the guest itself declared.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        let sum = self.used.saturating_add(desired.saturating_sub(current));
        let fits = sum <= self.max && maximum.is_none_or(|maximum| desired <= maximum);
        if fits {
            self.used = sum;
        }
        fits
    }
}

/// Why the host interrupted a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Interrupted {
    #[error("used its guest time of {ms_max} ms for one message")]
    GuestTime { ms_max: u64 },
    #[error("its actor must end")]
    MustEnd,
}

impl Budget {
    /// `yields` says that the guest runs on a fibre, which can let others run at each tick.
    pub(crate) fn new(limits: &Limits, kill: KillFlag, yields: bool) -> Self {
        Budget { kill: Some(kill), yields, ..Budget::unhurried(limits) }
    }

    /// Bounds what is used, not how long it takes.
    pub(crate) fn unhurried(limits: &Limits) -> Self {
        let ticks = limits.cpu_max.min(limits.deadline).as_millis().div_ceil(TICK.as_millis()).max(1);
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        Budget {
            memory: Share { used: 0, max: usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX) },
            memory_refused: false,
            tables: Share { used: 0, max: usize::try_from(limits.table_elements_max).unwrap_or(usize::MAX) },
            ticks_per_call: ticks,
            ticks_left: ticks,
            waited: false,
            kill: None,
            stopping: false,
            yields: true,
        }
    }

    /// Refills guest time for the next call.
    pub(crate) fn arm(&mut self) {
        self.ticks_left = self.ticks_per_call;
    }

    /// Called at each tick that finds the guest running.
    pub(crate) fn tick(&mut self) -> Result<UpdateDeadline, Interrupted> {
        let ended = if self.stopping { KillFlag::is_raised } else { KillFlag::must_end };
        if self.kill.as_ref().is_some_and(ended) {
            return Err(Interrupted::MustEnd);
        }
        // The epoch went on while the guest waited in the host; that tick is not its own.
        if mem::take(&mut self.waited) {
            return Ok(self.resume());
        }
        if self.ticks_left == 0 {
            let ms_max = u64::from(self.ticks_per_call) * TICK.as_millis() as u64;
            return Err(Interrupted::GuestTime { ms_max });
        }
        self.ticks_left -= 1;
        Ok(self.resume())
    }

    /// A host function suspended the guest: the first tick after it is not charged.
    pub(crate) fn waited(&mut self) {
        self.waited = true;
    }

    fn resume(&self) -> UpdateDeadline {
        if self.yields { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) }
    }

    /// From now on only a kill interrupts: the guest is told to stop, and does.
    pub(crate) fn stopping(&mut self) {
        self.stopping = true;
    }

    /// The limit in bytes, when the guest asked for more. Most guests trap soon after.
    pub(crate) fn memory_refused(&self) -> Option<u64> {
        self.memory_refused.then_some(self.memory.max as u64)
    }

    /// Bytes of linear memory in use.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.used
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.memory.grow(current, desired, maximum);
        self.memory_refused |= !grown && maximum.is_none_or(|maximum| desired <= maximum);
        Ok(grown)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.tables.grow(current, desired, maximum))
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::Share;

    #[test]
    fn the_limit_is_on_the_sum_of_all_and_can_be_reached_exactly() {
        let mut share = Share { used: 0, max: 100 };
        assert!(share.grow(0, 60, None), "the first");
        assert!(!share.grow(0, 41, None), "a second, one past the limit");
        assert!(share.grow(0, 40, None), "a second, at the limit");
        assert!(!share.grow(40, 41, None));
        assert_eq!(share.used, 100, "what was refused is not charged");
    }

    #[test]
    fn what_the_guest_declared_holds_as_well() {
        let mut share = Share { used: 0, max: 100 };
        assert!(!share.grow(0, 11, Some(10)));
        assert!(share.grow(0, 10, Some(10)));
    }
}
