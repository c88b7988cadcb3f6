//! One incarnation of an actor: a task from factory to exit.
//!
//! Signals are looked at before each message and before each poll, so a kill drops whatever the actor was doing. A panic is
//! caught once, around all of it. A guard reports the end, also when the executor drops the task, so there is exactly one
//! [`Exit`](crate::Exit) per incarnation, after the actor's state is gone.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::pin::pin;
use std::sync::{Arc, Once};
use std::task::{Poll, Waker};

use crate::actor::{Actor, Context};
use crate::exit::{ExitReason, PanicReport};
use crate::mailbox::Batch;
use crate::observe::{Event, NodeState};
use crate::slot::{AnySlot, EXIT, Header, KILL, STOP, TypedSlot};

/// Messages handled before the executor gets a turn.
const MESSAGES_PER_TURN: u32 = 128;

/// Starts an incarnation in a slot that was claimed with `begin`.
pub(crate) fn launch<A, F>(slot: Arc<TypedSlot<A::Message>>, factory: F)
where
    A: Actor,
    F: FnOnce() -> A + Send + 'static,
{
    // Made before the task, so that a task that is dropped before its first poll reports as well.
    let report = Report { slot: slot.clone(), reason: None };
    tokio::spawn(run(slot, factory, report));
}

async fn run<A, F>(slot: Arc<TypedSlot<A::Message>>, factory: F, mut report: Report)
where
    A: Actor,
    F: FnOnce() -> A + Send + 'static,
{
    let mut task: Option<Waker> = None;
    let reason = {
        let mut life = pin!(live(slot.clone(), factory));
        poll_fn(|cx| {
            if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                task = Some(cx.waker().clone());
                slot.header.set_task(cx.waker());
                slot.mailbox.set_receiver(Some(cx.waker().clone()));
            }
            match contain(|| life.as_mut().poll(cx)) {
                Ok(Poll::Pending) => {
                    slot.mailbox.relieve();
                    Poll::Pending
                }
                Ok(Poll::Ready(reason)) => Poll::Ready(reason),
                Err(report) => Poll::Ready(ExitReason::Panic(Arc::new(report))),
            }
        })
        .await
    };
    report.reason = Some(reason);
}

async fn live<A, F>(slot: Arc<TypedSlot<A::Message>>, factory: F) -> ExitReason
where
    A: Actor,
    F: FnOnce() -> A,
{
    let header = &slot.header;
    let mut ctx = Context::<A> { slot: slot.clone(), batch: Batch::new() };
    let mut actor = factory();
    let mut started = false;
    let reason = interruptible(header, KILL | EXIT, work(&mut actor, &mut ctx, &mut started)).await;
    if !started || matches!(reason, ExitReason::Killed) {
        return reason;
    }
    header.set_state(NodeState::Stopping);
    let stop = async {
        actor.stop(&reason, &mut ctx).await;
        reason.clone()
    };
    interruptible(header, KILL, stop).await
}

async fn work<A: Actor>(actor: &mut A, ctx: &mut Context<A>, started: &mut bool) -> ExitReason {
    if let Err(reason) = actor.start(ctx).await {
        return reason;
    }
    *started = true;
    let slot = ctx.slot.clone();
    let header = &slot.header;
    header.system.emit(|| Event::Started { id: header.id, name: header.name.clone() });
    header.started();
    let mut turn = 0;
    loop {
        let flags = slot.header.flags();
        if flags & (KILL | EXIT) != 0 {
            // Whoever polls us drops us for it.
            give_way().await;
        } else if flags & STOP != 0 {
            return slot.header.exit_reason();
        } else if flags != 0 {
            if let Some(signal) = slot.header.next_notice()
                && let Err(reason) = actor.signal(signal, ctx).await
            {
                return reason;
            }
        } else {
            let message = match ctx.batch.pop(&slot.mailbox) {
                Some(message) => Some(message),
                None => {
                    turn = 0;
                    poll_fn(|_| {
                        // A flag raised after this look wakes the task by itself.
                        if slot.header.flags() != 0 {
                            return Poll::Ready(None);
                        }
                        match ctx.batch.pop_or_park(&slot.mailbox) {
                            Some(message) => Poll::Ready(Some(message)),
                            None => Poll::Pending,
                        }
                    })
                    .await
                }
            };
            if let Some(message) = message
                && let Err(reason) = actor.handle(message, ctx).await
            {
                return reason;
            }
        }
        turn += 1;
        if turn == MESSAGES_PER_TURN {
            turn = 0;
            give_way().await;
        }
    }
}

/// Lets other tasks run, then goes on.
pub(crate) async fn give_way() {
    let mut gave = false;
    poll_fn(|cx| {
        if gave {
            return Poll::Ready(());
        }
        gave = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs a future until it is done or one of these flags is up, and drops it then.
async fn interruptible(header: &Header, mask: u8, future: impl Future<Output = ExitReason>) -> ExitReason {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let interrupted = || {
            let flags = header.flags() & mask;
            (flags != 0).then(|| if flags & KILL != 0 { ExitReason::Killed } else { header.exit_reason() })
        };
        if let Some(end) = interrupted() {
            return Poll::Ready(end);
        }
        match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(value),
            // Raised by the actor itself or from a thread while it ran: do not sleep on it.
            Poll::Pending => interrupted().map_or(Poll::Pending, Poll::Ready),
        }
    })
    .await
}

/// Reports the end of an incarnation when it is dropped: by the task when it is through, by the executor when it is not.
struct Report {
    slot: Arc<AnySlot>,
    reason: Option<ExitReason>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let slot = &self.slot;
        let header = &slot.header;
        let reason = self.reason.take().unwrap_or(ExitReason::Aborted);
        slot.mailbox.forget_receiver();
        let parent = header.parent();
        let ended =
            header.end(|had_started| if had_started { reason } else { ExitReason::Init(Arc::new(reason)) });
        let exit = ended.exit.clone();
        if let ExitReason::Panic(report) = root_of(&exit.reason) {
            tracing::error!(actor = %exit.name, id = exit.id.as_u64(), %report, "actor panicked");
        }
        header.system.emit(|| {
            if ended.had_started {
                Event::Exited { id: exit.id, name: exit.name, reason: exit.reason }
            } else {
                Event::StartFailed { id: exit.id, name: exit.name, reason: exit.reason }
            }
        });
        ended.tell_relations(header);
        // A supervisor stops its children itself; what it left behind would have nobody to answer to.
        ended.children.abandon(header);
        if !header.has_parent() {
            slot.close();
        }
        ended.tell_parent(parent.as_ref());
        header.settle();
    }
}

/// The reason under a failed start.
fn root_of(reason: &ExitReason) -> &ExitReason {
    match reason {
        ExitReason::Init(inner) => root_of(inner),
        reason => reason,
    }
}

thread_local! {
    static IN_ACTOR: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

/// Makes panics of actors reports instead of text on stderr. Other threads and other code keep the hook they had.
pub(crate) fn install_panic_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| if IN_ACTOR.get() { remember(info) } else { previous(info) }));
    });
}

fn remember(info: &PanicHookInfo<'_>) {
    let report = PanicReport {
        message: message_of(info.payload()),
        location: info.location().map(ToString::to_string),
    };
    LAST_PANIC.set(Some(report));
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else {
        payload.downcast_ref::<String>().cloned().unwrap_or_default()
    }
}

fn contain<T>(poll: impl FnOnce() -> T) -> Result<T, PanicReport> {
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            IN_ACTOR.set(self.0);
        }
    }
    let leave = Leave(IN_ACTOR.replace(true));
    let outcome = panic::catch_unwind(AssertUnwindSafe(poll));
    drop(leave);
    outcome.map_err(|payload| {
        LAST_PANIC
            .take()
            .unwrap_or_else(|| PanicReport { message: message_of(payload.as_ref()), location: None })
    })
}
