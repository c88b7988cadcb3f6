//! `airssys:core/timers`: messages to oneself, later. A timer ends with the instance that set it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::wire::{Payload, SendError, TimerError};
use super::{HostLinker, HostState};
use crate::envelope::Envelope;

/// Timers that one component may have set.
const TIMERS_MAX: u32 = 1024;
/// Bytes that the timers of one component may hold, in messages of the largest size that it takes.
const LARGEST_MESSAGES_HELD: u64 = 16;
/// The longest delay and period: ten years.
const DELAY_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
/// The shortest period; a shorter one is lengthened to it.
const PERIOD_MIN: Duration = Duration::from_millis(1);

static TIMER_NEXT: AtomicU64 = AtomicU64::new(1);

/// What one instance has set.
#[derive(Default)]
pub(crate) struct Timers {
    tasks: HashMap<u64, Timer>,
}

struct Timer {
    task: tokio::task::AbortHandle,
    bytes: u64,
}

impl Drop for Timers {
    fn drop(&mut self) {
        for timer in self.tasks.values() {
            timer.task.abort();
        }
    }
}

pub(super) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    let mut timers = host.interface("timers")?;
    timers.function("send-after", |mut store, (ms, payload): (u64, Payload)| {
        Ok((store.data_mut().set_timer(ms, None, payload),))
    })?;
    timers.function("interval", |mut store, (ms, payload): (u64, Payload)| {
        let period = Duration::from_millis(ms).max(PERIOD_MIN);
        Ok((store.data_mut().set_timer(ms, Some(period), payload),))
    })?;
    timers.function("cancel", |mut store, (timer,): (u64,)| {
        let timer = store.data_mut().timers.tasks.remove(&timer);
        // A task that ended has sent its message, so there was nothing to take back.
        Ok((timer.is_some_and(|Timer { task, .. }| {
            let pending = !task.is_finished();
            task.abort();
            pending
        }),))
    })
}

impl HostState {
    fn set_timer(&mut self, ms: u64, period: Option<Duration>, payload: Payload) -> Result<u64, TimerError> {
        let delay = Duration::from_millis(ms);
        if delay > DELAY_MAX {
            return Err(TimerError::TooLong);
        }
        let identity = Arc::clone(&self.identity);
        let payload = crate::envelope::Payload::from(payload);
        identity.target.admit(&payload).map_err(|refused| TimerError::Refused(refused.into()))?;
        let bytes = payload.bytes.len() as u64;
        let tasks = &mut self.timers.tasks;
        let bytes_max = identity.target.payload_bytes_max.saturating_mul(LARGEST_MESSAGES_HELD);
        let full = |tasks: &HashMap<u64, Timer>| {
            let held: u64 = tasks.values().map(|timer| timer.bytes).sum();
            (tasks.len() >= TIMERS_MAX as usize, held + bytes > bytes_max)
        };
        if full(tasks) != (false, false) {
            tasks.retain(|_, timer| !timer.task.is_finished());
        }
        match full(tasks) {
            (true, _) => return Err(TimerError::TooMany(TIMERS_MAX)),
            (false, true) => return Err(TimerError::Refused(SendError::MailboxFull)),
            (false, false) => {}
        }
        let mut next = Instant::now() + delay.max(period.unwrap_or_default());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep_until(next).await;
                let target = &identity.target;
                let envelope = Envelope { from: Some(target.actor), ..Envelope::from_host(payload.clone()) };
                if target.deliver(envelope).is_err() {
                    // A full mailbox misses this one; the next comes at its own time.
                    identity.router.count_unheard();
                }
                match period {
                    Some(period) => next = (next + period).max(Instant::now()),
                    None => return,
                }
            }
        });
        let timer = TIMER_NEXT.fetch_add(1, Ordering::Relaxed);
        tasks.insert(timer, Timer { task: task.abort_handle(), bytes });
        Ok(timer)
    }
}
