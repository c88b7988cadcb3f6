//! What runs for an actor beside it and ends with it: timers, and streams that feed its mailbox.
//!
//! Each is a small task. It ends when it is done, when it is cancelled, and when its incarnation ends, whatever ended that.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use crate::actor::{Actor, Context};
use crate::address::{Address, TellError, deadline_after};
use crate::exit::ExitReason;
use crate::lifecycle::{contain, give_way};
use crate::observe::DeadLetterReason;
use crate::slot::AnySlot;

/// Items of a stream sent before the executor gets a turn.
const ITEMS_PER_TURN: u64 = 128;

/// The running tasks of one incarnation; dropping it ends them, in the order they were started.
#[derive(Default)]
pub(crate) struct Tasks(BTreeMap<u64, oneshot::Sender<()>>);

/// One timer of one actor; see [`Context::send_after`] and [`Context::send_interval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerRef(u64);

/// One stream that feeds one actor; see [`Context::attach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamRef(u64);

/// Timers and streams. A message from one of them waits for room as any sender's does where the mailbox lets senders wait;
/// where it refuses, the message is a dead letter. A panic in one of them is an exit signal to the actor, with the panic as
/// its reason.
impl<A: Actor> Context<A> {
    /// Sends this actor a message after a delay, unless the timer is cancelled or the actor ends before.
    pub fn send_after(&mut self, delay: Duration, message: A::Message) -> TimerRef {
        let address = self.address();
        TimerRef(self.run_beside(async move {
            sleep(delay).await;
            deliver(&address, message).await;
        }))
    }

    /// Sends this actor a message every `period`, first after one period, until the timer is cancelled or the actor ends.
    /// A tick that finds the one before still waiting for room is left out. A period of zero is read as one millisecond.
    pub fn send_interval(
        &mut self,
        period: Duration,
        mut make: impl FnMut() -> A::Message + Send + 'static,
    ) -> TimerRef {
        let address = self.address();
        let period = if period.is_zero() { Duration::from_millis(1) } else { period };
        TimerRef(self.run_beside(async move {
            let mut tick = deadline_after(period);
            loop {
                sleep_until(tick).await;
                deliver(&address, make()).await;
                tick = tick_after(tick, period);
            }
        }))
    }

    /// Stops a timer. False if it had sent its message or was stopped before. A message that is queued already stays, so that
    /// one may come even after this returned true.
    pub fn cancel(&mut self, timer: TimerRef) -> bool {
        self.end_beside(timer.0)
    }

    /// Feeds a stream into this actor's mailbox: `make` turns each item, and the end as `None`, into a message or nothing.
    /// The stream is polled for the next item when the one before is in the mailbox, and dropped when the actor ends.
    pub fn attach<S>(
        &mut self,
        stream: S,
        mut make: impl FnMut(Option<S::Item>) -> Option<A::Message> + Send + 'static,
    ) -> StreamRef
    where
        S: Stream + Send + 'static,
        S::Item: Send,
    {
        let address = self.address();
        StreamRef(self.run_beside(async move {
            let mut stream = pin!(stream);
            for n in 1_u64.. {
                let item = poll_fn(|cx| stream.as_mut().poll_next(cx)).await;
                let is_end = item.is_none();
                if let Some(message) = make(item) {
                    deliver(&address, message).await;
                }
                if is_end {
                    return;
                }
                // The stream may always be ready, and the mailbox may be one that nobody waits for.
                if n.is_multiple_of(ITEMS_PER_TURN) {
                    give_way().await;
                }
            }
        }))
    }

    /// Stops feeding a stream and drops it. False if it had ended.
    pub fn detach(&mut self, stream: StreamRef) -> bool {
        self.end_beside(stream.0)
    }

    fn run_beside(&mut self, work: impl Future<Output = ()> + Send + 'static) -> u64 {
        run_beside(&(self.slot.clone() as Arc<AnySlot>), work)
    }

    fn end_beside(&mut self, number: u64) -> bool {
        let mut control = self.slot.header.lock();
        control.existing_rare().is_some_and(|rare| rare.tasks.0.remove(&number).is_some())
    }
}

/// The first tick that is still to come, as many whole periods after this one as that takes.
fn tick_after(tick: Instant, period: Duration) -> Instant {
    let periods = tick.elapsed().as_nanos() / period.as_nanos() + 1;
    let later = u32::try_from(periods).ok().and_then(|periods| period.checked_mul(periods));
    later.and_then(|later| tick.checked_add(later)).unwrap_or_else(|| deadline_after(period))
}

/// Runs something for the slot's incarnation, to end with it.
pub(crate) fn run_beside(slot: &Arc<AnySlot>, work: impl Future<Output = ()> + Send + 'static) -> u64 {
    let number = slot.header.system.next_number();
    let (ends, ended) = oneshot::channel::<()>();
    slot.header.lock().rare_mut().tasks.0.insert(number, ends);
    let (header, slot) = (&slot.header, Arc::downgrade(slot));
    let work = async move {
        let mut work = pin!(work);
        poll_fn(|cx| match contain(|| work.as_mut().poll(cx)) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        })
        .await
    };
    header.start_task(async move {
        tokio::select! {
            biased;
            _ = ended => {}
            done = work => {
                let Some(slot) = slot.upgrade() else {
                    return;
                };
                let is_ours =
                    slot.header.lock().existing_rare().is_some_and(|rare| rare.tasks.0.remove(&number).is_some());
                if let Err(panic) = done && is_ours {
                    slot.header.exit(ExitReason::Panic(Arc::new(panic)));
                }
            }
        }
    });
    number
}

async fn deliver<M: Send + 'static>(address: &Address<M>, message: M) {
    match address.tell(message).await {
        Ok(()) => {}
        Err(TellError::Closed(message)) => lose(address, DeadLetterReason::Closed, message),
        Err(error) => lose(address, DeadLetterReason::Refused, error.into_message()),
    }
}

fn lose<M: Send + 'static>(address: &Address<M>, reason: DeadLetterReason, message: M) {
    let header = &address.0.header;
    header.system.lose(header, reason, [message]);
}
