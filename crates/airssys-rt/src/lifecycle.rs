//! One incarnation of an actor: a task from factory to exit.
//!
//! Signals are looked at before each message and before each poll, so a kill drops whatever the actor was doing. A panic is
//! caught once, around all of it. A guard reports the end, also when the executor drops the task, so there is exactly one
//! [`Exit`](crate::Exit) per incarnation, after the actor's state is gone.

use std::any::Any;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::pin::{Pin, pin};
use std::sync::{Arc, Once};
use std::task::{self, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument;

use crate::actor::{Actor, Context};
use crate::clock::{self, NEVER};
use crate::envelope::{Envelope, InheritedDeadline, InheritedTrace};
use crate::exit::{Exit, ExitReason, PanicReport};
use crate::mailbox::Batch;
use crate::observe::{DeadLetterReason, Event, NodeState};
use crate::slot::{AnySlot, EXIT, Header, KILL, OBSERVED, REQUEST, STOP, SUSPENDED, TypedSlot};
use crate::sys::{Request, SysError};

/// Messages handled before the executor gets a turn.
const MESSAGES_PER_TURN: u32 = 128;

/// Starts an incarnation in a slot that was claimed with `begin`.
pub(crate) fn launch<A, F>(slot: Arc<TypedSlot<A::Message>>, factory: F)
where
    A: Actor,
    F: FnOnce() -> A + Send + 'static,
{
    // Made before the task, so that a task that is dropped before its first poll reports as well.
    let report = Report { slot: slot.clone(), on_exit: A::on_exit, reason: None };
    let system = slot.header.system.clone();
    system.start_task(Incarnation { life: live(slot, factory), report, task: None });
}

pin_project_lite::pin_project! {
    /// The task: polls a life, contains its panics, ends with its report.
    struct Incarnation<F> {
        #[pin]
        life: F,
        report: Report,
        task: Option<Waker>,
    }
}

impl<F: Future<Output = ExitReason>> Future for Incarnation<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = self.project();
        let slot = &this.report.slot;
        if !this.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *this.task = Some(cx.waker().clone());
            slot.header.set_task(cx.waker());
            slot.mailbox.set_receiver(cx.waker());
        }
        let life = this.life;
        let polled = {
            let _watched = slot.header.system.watch(slot.header.id);
            contain(|| life.poll(cx))
        };
        match polled {
            Ok(Poll::Pending) => {
                slot.mailbox.relieve();
                return Poll::Pending;
            }
            Ok(Poll::Ready(reason)) => this.report.reason = Some(reason),
            Err(panic) => this.report.reason = Some(ExitReason::Panic(Arc::new(panic))),
        }
        Poll::Ready(())
    }
}

async fn live<A, F>(slot: Arc<TypedSlot<A::Message>>, factory: F) -> ExitReason
where
    A: Actor,
    F: FnOnce() -> A,
{
    let mut ctx = Context::<A> { slot, batch: Batch::new(), idle: None };
    let mut actor = factory();
    let mut started = false;
    let reason = {
        let slot = ctx.slot.clone();
        let work = pin!(work(&mut actor, &mut ctx, &mut started));
        match interruptible(&slot.header, KILL | EXIT, work).await {
            Interrupted::Done(reason) | Interrupted::By(reason) => reason,
        }
    };
    if !started || matches!(reason, ExitReason::Killed) {
        return reason;
    }
    ctx.slot.header.set_state(NodeState::Stopping);
    let stopped = {
        let slot = ctx.slot.clone();
        let stop = pin!(actor.stop(&reason, &mut ctx));
        interruptible(&slot.header, KILL, stop).await
    };
    match stopped {
        Interrupted::Done(()) => reason,
        Interrupted::By(killed) => killed,
    }
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
        let flags = header.flags();
        if flags & !OBSERVED != 0 {
            if flags & (KILL | EXIT) != 0 {
                // Whoever polls us drops us for it.
                give_way().await;
            } else if flags & STOP != 0 {
                return header.exit_reason();
            } else if flags & REQUEST != 0 {
                if let Some(request) = header.next_request() {
                    // Boxed, so that actors nobody asks do not carry its state.
                    Box::pin(serve(request, actor, ctx)).await;
                }
            } else if flags & SUSPENDED != 0 {
                header.changed_from(flags).await;
            } else if let Some(signal) = header.next_notice()
                && let Err(reason) = actor.signal(signal, ctx).await
            {
                return reason;
            }
        } else {
            let envelope = match ctx.batch.pop(&slot.mailbox) {
                Some(envelope) => Some(envelope),
                None => {
                    header.system.count_turn(header, turn);
                    turn = 0;
                    idle(actor, ctx).await
                }
            };
            if let Some(envelope) = envelope {
                let handled = if envelope.is_plain() && flags & OBSERVED == 0 {
                    actor.handle(envelope.message, ctx).await
                } else {
                    handle_special(actor, ctx, envelope, flags).await
                };
                if let Err(reason) = handled {
                    return reason;
                }
            }
        }
        turn += 1;
        if turn == MESSAGES_PER_TURN {
            header.system.count_turn(header, turn);
            turn = 0;
            give_way().await;
        }
    }
}

/// Waits for a message; `None` when there is something else to look at.
async fn idle<A: Actor>(actor: &mut A, ctx: &mut Context<A>) -> Option<Envelope<A::Message>> {
    let mut sleep = ctx.idle.map(|after| Box::pin(tokio::time::sleep(after)));
    poll_fn(|cx| {
        // A flag raised after this look wakes the task by itself.
        if ctx.slot.header.flags() & !OBSERVED != 0 {
            return Poll::Ready(None);
        }
        if let Some(envelope) = ctx.batch.pop_or_park(&ctx.slot.mailbox) {
            return Poll::Ready(Some(envelope));
        }
        let is_long = sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready());
        if is_long {
            sleep = None;
            actor.hibernate();
            ctx.batch.shrink(&ctx.slot.mailbox);
        }
        Poll::Pending
    })
    .await
}

/// A message that expires, or is sampled, traced or observed.
async fn handle_special<A: Actor>(
    actor: &mut A,
    ctx: &mut Context<A>,
    envelope: Envelope<A::Message>,
    flags: u8,
) -> Result<(), ExitReason> {
    if envelope.is_sampled() {
        ctx.slot.mailbox.record_wait();
    }
    let deadline = envelope.deadline();
    if deadline != NEVER && clock::now() >= deadline {
        let slot = &ctx.slot;
        slot.mailbox.count_dropped();
        slot.header.system.lose(&slot.header, DeadLetterReason::Expired, [envelope.message]);
        return Ok(());
    }
    if flags & OBSERVED != 0 || envelope.trace.is_some() {
        // Boxed, so that actors nobody looks at do not carry its state.
        return Box::pin(handle_observed(actor, ctx, envelope)).await;
    }
    let mut handling = pin!(actor.handle(envelope.message, ctx));
    poll_fn(|cx| {
        let _inherited = InheritedDeadline::enter(deadline);
        handling.as_mut().poll(cx)
    })
    .await
}

async fn handle_observed<A: Actor>(
    actor: &mut A,
    ctx: &mut Context<A>,
    envelope: Envelope<A::Message>,
) -> Result<(), ExitReason> {
    let slot = ctx.slot.clone();
    let header = &slot.header;
    let deadline = envelope.deadline();
    let mut observation = Observation::begin::<A>(header, &envelope.message);
    let trace = envelope.trace.as_ref().map(|trace| trace.child());
    let span = trace.filter(|trace| trace.is_sampled()).map_or_else(tracing::Span::none, |trace| {
        tracing::info_span!("handle", actor = %header.name, id = header.id.as_u64(), %trace, parent_span = ?envelope.trace)
    });
    let mut handling = pin!(actor.handle(envelope.message, ctx).instrument(span));
    let handled = poll_fn(|cx| {
        let _deadline = InheritedDeadline::enter(deadline);
        let _trace = InheritedTrace::enter(trace);
        handling.as_mut().poll(cx)
    })
    .await;
    observation.took = Some(observation.at.elapsed());
    handled
}

/// One message of a traced actor; says how it went also when a panic cut it short.
struct Observation<'a> {
    header: &'a Header,
    message: Option<Cow<'static, str>>,
    at: Instant,
    took: Option<Duration>,
}

impl<'a> Observation<'a> {
    fn begin<A: Actor>(header: &'a Header, message: &A::Message) -> Self {
        let mut control = header.lock();
        let trace = control.existing_rare().and_then(|rare| rare.trace.as_ref());
        let is_shown = trace.is_some_and(crate::sys::Tracing::takes_more);
        let mut over = None;
        if !is_shown {
            header.set_flag(OBSERVED, false);
            over = control.existing_rare().and_then(|rare| rare.trace.take());
        }
        drop(control);
        drop(over);
        let message = is_shown.then(|| A::describe(message));
        Self { header, message, at: Instant::now(), took: None }
    }
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        let Some(message) = self.message.take() else {
            return;
        };
        if let Some(trace) = self.header.lock().existing_rare().and_then(|rare| rare.trace.as_mut()) {
            trace.record(message, self.at, self.took);
        }
    }
}

async fn serve<A: Actor>(request: Request, actor: &mut A, ctx: &mut Context<A>) {
    let header = &ctx.slot.header;
    match request {
        Request::Suspend(reply_to) => {
            header.set_flag(SUSPENDED, true);
            answer(reply_to, ());
        }
        Request::Resume(reply_to) => {
            header.set_flag(SUSPENDED, false);
            answer(reply_to, ());
        }
        Request::State(look) => look(actor.state()),
        Request::ChangeCode(extra, reply_to) => {
            let changed = if header.flags() & SUSPENDED == 0 {
                Err(SysError::NotSuspended)
            } else {
                actor.code_change(extra, ctx).await.map_err(SysError::Refused)
            };
            answer(reply_to, changed);
        }
    }
}

/// Whoever asked may have left; then there is nobody to tell.
fn answer<R>(reply_to: crate::reply::ReplyTo<R>, answer: R) {
    drop(reply_to.send(answer));
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

/// How an interruptible future came to its end.
enum Interrupted<T> {
    Done(T),
    By(ExitReason),
}

/// Runs a future until it is done or one of these flags is up; the caller drops it then.
async fn interruptible<T>(
    header: &Header,
    mask: u8,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> Interrupted<T> {
    poll_fn(|cx| {
        let interrupted = || {
            let flags = header.flags() & mask;
            (flags != 0).then(|| if flags & KILL != 0 { ExitReason::Killed } else { header.exit_reason() })
        };
        if let Some(end) = interrupted() {
            return Poll::Ready(Interrupted::By(end));
        }
        match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Interrupted::Done(value)),
            // Raised by the actor itself or from a thread while it ran: do not sleep on it.
            Poll::Pending => interrupted().map_or(Poll::Pending, |end| Poll::Ready(Interrupted::By(end))),
        }
    })
    .await
}

/// Reports the end of an incarnation when it is dropped: by the task when it is through, by the executor when it is not.
struct Report {
    slot: Arc<AnySlot>,
    on_exit: fn(&Exit),
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
        if let Err(report) = contain(|| (self.on_exit)(&exit)) {
            tracing::error!(actor = %exit.name, id = exit.id.as_u64(), %report, "on_exit panicked");
        }
        header.system.emit(|| {
            if ended.had_started {
                Event::Exited { id: exit.id, name: exit.name, reason: exit.reason }
            } else {
                Event::StartFailed { id: exit.id, name: exit.name, reason: exit.reason }
            }
        });
        // Nobody finds the name of an actor whose end is known.
        let left = (!header.has_parent()).then(|| slot.close());
        ended.tell_relations(header);
        // A supervisor stops its children itself; what it left behind would have nobody to answer to.
        for child in ended.children.iter().filter(|child| child.header.is_adopted_by(header)) {
            child.header.exit(ExitReason::Killed);
        }
        ended.tell_parent(parent.as_ref());
        header.settle();
        // The backlog of an ended actor may take its time.
        drop(left);
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
