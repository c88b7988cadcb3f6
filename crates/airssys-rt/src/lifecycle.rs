//! One incarnation of an actor: a task from factory to exit.
//!
//! Signals are looked at before each message and before each poll, so a kill drops whatever the actor was doing. A panic is
//! caught once, around all of it. A guard reports the end, also when the executor drops the task, so there is exactly one
//! [`Exit`](crate::Exit) per incarnation, after the actor's state is gone.

mod panics;

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::mem;
use std::num::{NonZeroI64, NonZeroU32};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use tracing::Instrument;

use crate::actor::{Actor, Context};
use crate::clock::{self, NEVER};
use crate::envelope::{Envelope, InheritedDeadline, InheritedTrace};
use crate::exit::{Exit, ExitReason};
use crate::mailbox::Batch;
use crate::observe::{DeadLetterReason, Event, NodeState};
use crate::slot::{AnySlot, EXIT, Header, KILL, OBSERVED, REQUEST, STOP, SUSPENDED, TypedSlot};
use crate::standin;
use crate::sys::{Request, SysError, Tracing};
#[cfg(feature = "testing")]
use crate::testing;
use crate::trace::TraceContext;

#[cfg(feature = "testing")]
pub(crate) use panics::message_of;
pub(crate) use panics::{contain, install_panic_hook};

/// Who polls a new incarnation first.
#[derive(Clone, Copy)]
pub(crate) enum FirstPoll {
    /// Its own task, like all others.
    Task,
    /// Whoever starts it, there and then, because nothing else is done before it has started: most actors have by the end of
    /// that poll, and two switches between tasks are saved.
    Caller,
}

/// Starts an incarnation in a slot that was claimed with `begin`.
pub(crate) fn launch<A, F>(slot: Arc<TypedSlot<A::Message>>, factory: F, first: FirstPoll)
where
    A: Actor,
    F: FnOnce() -> A + Send + 'static,
{
    // Made before the task, so that a task that is dropped before its first poll reports as well.
    let report = Report::<A>(slot.clone());
    let place = slot.clone();
    // In a box of its own: the executor rounds up the sizes of tasks.
    let incarnation = Box::pin(Incarnation { life: live(slot, factory), report });
    let left = match first {
        FirstPoll::Caller if place.header.system.executor().lets_callers_poll() => {
            standin::poll(&place.header, incarnation, |mut incarnation, cx| {
                incarnation.as_mut().poll_life(cx).is_pending().then_some(incarnation)
            })
        }
        FirstPoll::Caller | FirstPoll::Task => Some(incarnation),
    };
    if let Some(incarnation) = left {
        place.header.start_task(incarnation);
    }
}

/// To be awaited by whoever starts an actor by [`FirstPoll::Caller`] and may start many: others want their turn, and who awaits
/// here may have been told to end.
pub(crate) async fn others_turn() {
    tokio::task::coop::consume_budget().await;
}

pin_project_lite::pin_project! {
    /// The task: polls a life, contains its panics, ends with its report.
    struct Incarnation<A: Actor, F> {
        #[pin]
        life: F,
        report: Report<A>,
    }
}

impl<A: Actor, F: Future<Output = ExitReason>> Incarnation<A, F> {
    fn poll_life(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let this = self.project();
        let slot = &this.report.0;
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
            Ok(Poll::Ready(reason)) => slot.header.set_end(reason),
            Err(panic) => slot.header.set_end(ExitReason::Panic(Arc::new(panic))),
        }
        // Who polled us drops us: first the life and with it the actor, then the report.
        Poll::Ready(())
    }
}

impl<A: Actor, F: Future<Output = ExitReason>> Future for Incarnation<A, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let slot = &self.as_mut().project().report.0;
        if !slot.header.is_task_known() {
            slot.header.set_task(cx.waker());
            slot.mailbox.set_receiver(Some(cx.waker().clone()));
        }
        self.poll_life(cx)
    }
}

/// From the factory to the end. Every idle actor carries the state of this future: whatever is rare is boxed, and blocks are
/// used instead of functions.
#[expect(clippy::manual_async_fn, reason = "an async function holds its arguments twice")]
fn live<A, F>(slot: Arc<TypedSlot<A::Message>>, factory: F) -> impl Future<Output = ExitReason> + Send
where
    A: Actor,
    F: FnOnce() -> A + Send,
{
    async move {
        let mut ctx = Context::<A> { slot: slot.clone(), batch: Batch::new(), idle_ms: None, uncounted: 0 };
        let mut actor = factory();
        let work = work(&mut actor, &mut ctx);
        let reason = UnlessEnded { header: &slot.header, future: work }.await;
        if matches!(reason, ExitReason::Killed) || !slot.header.had_started() {
            return reason;
        }
        slot.header.set_state(NodeState::Stopping);
        let (actor, ctx) = (&mut actor, &mut ctx);
        let stop = async move {
            actor.stop(&reason, ctx).await;
            reason
        };
        Box::pin(unless_killed(&slot.header, stop)).await
    }
}

/// What ends an actor whatever it does, if one of these flags is up.
fn interruption(header: &Header, mask: u8) -> Poll<ExitReason> {
    let flags = header.flags() & mask;
    if flags == 0 {
        return Poll::Pending;
    }
    Poll::Ready(if flags & KILL != 0 { ExitReason::Killed } else { header.exit_reason() })
}

pin_project_lite::pin_project! {
    /// Polls until the actor must end, for the reason it then gives; whoever awaits it drops what was polled.
    struct UnlessEnded<'a, F> {
        header: &'a Header,
        #[pin]
        future: F,
    }
}

impl<F: Future<Output = ExitReason>> Future for UnlessEnded<'_, F> {
    type Output = ExitReason;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<ExitReason> {
        let this = self.project();
        poll_unless(this.header, KILL | EXIT, this.future, cx)
    }
}

/// As [`UnlessEnded`], for what only a kill cuts short.
async fn unless_killed(header: &Header, future: impl Future<Output = ExitReason>) -> ExitReason {
    let mut future = pin!(future);
    poll_fn(|cx| poll_unless(header, KILL, future.as_mut(), cx)).await
}

#[inline]
fn poll_unless(
    header: &Header,
    mask: u8,
    future: Pin<&mut impl Future<Output = ExitReason>>,
    cx: &mut task::Context<'_>,
) -> Poll<ExitReason> {
    if let Poll::Ready(end) = interruption(header, mask) {
        return Poll::Ready(end);
    }
    match future.poll(cx) {
        Poll::Ready(reason) => Poll::Ready(reason),
        // Raised by the actor itself or from a thread while it ran: do not sleep on it.
        Poll::Pending => interruption(header, mask),
    }
}

#[expect(clippy::manual_async_fn, reason = "an async function holds its arguments twice")]
fn work<A: Actor>(actor: &mut A, ctx: &mut Context<A>) -> impl Future<Output = ExitReason> + Send {
    async move {
        #[cfg(feature = "testing")]
        if let Err(reason) = testing::before_start(&ctx.slot.header) {
            return reason;
        }
        if let Err(reason) = actor.start(ctx).await {
            return reason;
        }
        {
            let header = &ctx.slot.header;
            header.system.emit(|| Event::Started { id: header.id, name: header.name.clone() });
            header.started();
        }
        // Whoever polled the start in our stead waits for nothing more.
        if !ctx.slot.header.is_task_known() {
            give_way().await;
        }
        let mut turn = 0;
        loop {
            let did_something = match next(actor, ctx).await {
                Ok(did_something) => did_something,
                Err(reason) => return reason,
            };
            if !did_something {
                ctx.count_turn();
                turn = 0;
                let mut sleep = ctx.idle_ms.map(|ms| Box::pin(sleep_ms(ms)));
                let mut has_parked = true;
                poll_fn(|cx| {
                    // A flag raised after this look wakes the task by itself, and so does a message after the queue
                    // was found empty.
                    if ctx.slot.header.flags() & !OBSERVED != 0 {
                        return Poll::Ready(());
                    }
                    let is_woken = !mem::take(&mut has_parked);
                    if is_woken && (sleep.is_none() || ctx.batch.has_more_or_parks(&ctx.slot.mailbox)) {
                        return Poll::Ready(());
                    }
                    hibernate(actor, ctx, &mut sleep, cx);
                    Poll::Pending
                })
                .await;
            }
            turn += 1;
            if ctx.slot.header.system.executor().ends_turn(turn) {
                ctx.count_turn();
                turn = 0;
                give_way().await;
            }
        }
    }
}

pin_project_lite::pin_project! {
    /// What an actor does next. Ready with `false` when there is nothing to do.
    #[project = NextProjection]
    enum Next<'a, F> {
        Message {
            #[pin]
            handling: F,
            // Not a plain number, so that the kind of step fits into it: every idle actor has room for one of these.
            deadline: NonZeroI64,
        },
        Other { other: Other<'a> },
    }
}

enum Other<'a> {
    /// Boxed, so that actors nobody looks at do not carry its state.
    Rare(Pin<Box<dyn Future<Output = Result<(), ExitReason>> + Send + 'a>>),
    Expired,
    Nothing,
}

impl<'a, F> Next<'a, F> {
    fn message(handling: F, deadline: i64) -> Self {
        // The clock began at 0: a deadline then is over like any before.
        Self::Message { handling, deadline: NonZeroI64::new(deadline).unwrap_or(NonZeroI64::MIN) }
    }

    fn rare(work: impl Future<Output = Result<(), ExitReason>> + Send + 'a) -> Self {
        Self::Other { other: Other::Rare(Box::pin(work)) }
    }
}

impl<F: Future<Output = Result<(), ExitReason>>> Future for Next<'_, F> {
    type Output = Result<bool, ExitReason>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let handled = match self.project() {
            NextProjection::Message { handling, deadline } if deadline.get() == NEVER => handling.poll(cx),
            NextProjection::Message { handling, deadline } => {
                let _inherited = InheritedDeadline::enter(deadline.get());
                handling.poll(cx)
            }
            NextProjection::Other { other: Other::Rare(work) } => work.as_mut().poll(cx),
            NextProjection::Other { other: Other::Expired } => Poll::Ready(Ok(())),
            NextProjection::Other { other: Other::Nothing } => return Poll::Ready(Ok(false)),
        };
        handled.map_ok(|()| true)
    }
}

/// Signals first, then one message.
fn next<'a, A: Actor>(
    actor: &'a mut A,
    ctx: &'a mut Context<A>,
) -> impl Future<Output = Result<bool, ExitReason>> + Send + 'a {
    let flags = ctx.slot.header.flags();
    if flags & !OBSERVED != 0 {
        return Next::rare(attend(flags, actor, ctx));
    }
    let Some(envelope) = ctx.batch.pop(&ctx.slot.mailbox) else {
        return Next::Other { other: Other::Nothing };
    };
    #[cfg(feature = "testing")]
    if let Some(fault) = testing::next_fault(&ctx.slot.header) {
        return Next::rare(handle_faulty(fault, actor, ctx, envelope));
    }
    if flags & OBSERVED != 0 || envelope.is_traced() {
        return Next::rare(handle_observed(actor, ctx, envelope));
    }
    match open(ctx, envelope) {
        Some((message, NEVER)) => Next::message(actor.handle(message, ctx), NEVER),
        Some((message, deadline)) => {
            // A handler that is no async function begins here.
            let _inherited = InheritedDeadline::enter(deadline);
            Next::message(actor.handle(message, ctx), deadline)
        }
        None => Next::Other { other: Other::Expired },
    }
}

/// Once the idle time is over.
fn hibernate<A: Actor>(
    actor: &mut A,
    ctx: &mut Context<A>,
    sleep: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut task::Context<'_>,
) {
    if sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready()) {
        *sleep = None;
        actor.hibernate();
        ctx.batch.shrink(&ctx.slot.mailbox);
    }
}

fn sleep_ms(ms: NonZeroU32) -> Sleep {
    tokio::time::sleep(Duration::from_millis(ms.get().into()))
}

/// Takes a message out of its envelope; `None` if its time was up.
#[inline]
fn open<A: Actor>(ctx: &mut Context<A>, envelope: Envelope<A::Message>) -> Option<(A::Message, i64)> {
    let slot = &ctx.slot;
    if envelope.is_sampled() {
        slot.mailbox.record_wait();
    }
    let deadline = envelope.deadline();
    if deadline != NEVER && clock::now() >= deadline {
        expire(slot, envelope.message);
        return None;
    }
    ctx.uncounted += 1;
    Some((envelope.message, deadline))
}

/// Does what a flag asks for.
async fn attend<A: Actor>(flags: u8, actor: &mut A, ctx: &mut Context<A>) -> Result<(), ExitReason> {
    let slot = ctx.slot.clone();
    let header = &slot.header;
    if flags & (KILL | EXIT) != 0 {
        // Whoever polls us drops us for it.
        give_way().await;
    } else if flags & STOP != 0 {
        return Err(header.exit_reason());
    } else if flags & REQUEST != 0 {
        if let Some(request) = header.next_request() {
            serve(request, actor, ctx).await;
        }
    } else if flags & SUSPENDED != 0 {
        header.changed_from(flags).await;
    } else if let Some(signal) = header.next_notice() {
        return actor.signal(signal, ctx).await;
    }
    Ok(())
}

/// The time of a message was up before it was handled.
#[cold]
fn expire<M: Send + 'static>(slot: &TypedSlot<M>, message: M) {
    slot.mailbox.count_dropped();
    slot.header.system.lose(&slot.header, DeadLetterReason::Expired, [message]);
}

async fn handle_observed<A: Actor>(
    actor: &mut A,
    ctx: &mut Context<A>,
    envelope: Envelope<A::Message>,
) -> Result<(), ExitReason> {
    let slot = ctx.slot.clone();
    let header = &slot.header;
    let parent = envelope.trace();
    let Some((message, deadline)) = open(ctx, envelope) else {
        return Ok(());
    };
    let mut observation = Observation::begin::<A>(header, &message);
    let trace = parent.map(TraceContext::child);
    let span = match (trace, parent) {
        (Some(trace), Some(parent)) if trace.is_sampled() => {
            tracing::info_span!("handle", actor = %header.name, id = header.id.as_u64(), %trace, %parent)
        }
        (Some(_) | None, Some(_) | None) => tracing::Span::none(),
    };
    let inherit = || (InheritedDeadline::enter(deadline), InheritedTrace::enter(trace));
    let handling = {
        let _inherited = inherit();
        span.in_scope(|| actor.handle(message, ctx))
    };
    let mut handling = pin!(handling.instrument(span));
    let handled = poll_fn(|cx| {
        let _inherited = inherit();
        handling.as_mut().poll(cx)
    })
    .await;
    observation.took = Some(observation.at.elapsed());
    handled
}

#[cfg(feature = "testing")]
async fn handle_faulty<A: Actor>(
    fault: testing::Fault,
    actor: &mut A,
    ctx: &mut Context<A>,
    envelope: Envelope<A::Message>,
) -> Result<(), ExitReason> {
    let slot = ctx.slot.clone();
    match testing::strike(fault, &slot, envelope).await? {
        Some(envelope) => handle_observed(actor, ctx, envelope).await,
        None => Ok(()),
    }
}

/// One message of a traced actor; says how it went also when a panic cut it short.
struct Observation<'a> {
    header: &'a Header,
    /// In which trace, and as what.
    shown: Option<(u64, Cow<'static, str>)>,
    at: Instant,
    took: Option<Duration>,
}

impl<'a> Observation<'a> {
    fn begin<A: Actor>(header: &'a Header, message: &A::Message) -> Self {
        let mut control = header.lock();
        let trace = control.existing_rare().and_then(|rare| rare.trace.as_ref());
        let shown_in = trace.filter(|trace| trace.takes_more()).map(Tracing::number);
        let mut over = None;
        if shown_in.is_none() {
            header.set_flag(OBSERVED, false);
            over = control.existing_rare().and_then(|rare| rare.trace.take());
        }
        drop(control);
        drop(over);
        let shown = shown_in.map(|trace| (trace, A::describe(message)));
        Self { header, shown, at: Instant::now(), took: None }
    }
}

impl Drop for Observation<'_> {
    fn drop(&mut self) {
        let Some((number, message)) = self.shown.take() else {
            return;
        };
        let mut control = self.header.lock();
        let mut over = None;
        if let Some(rare) = control.existing_rare()
            && let Some(trace) = &mut rare.trace
            && trace.number() == number
        {
            trace.record(message, self.at, self.took);
            if !trace.takes_more() {
                self.header.set_flag(OBSERVED, false);
                over = rare.trace.take();
            }
        }
        drop(control);
        drop(over);
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

/// Reports the end of an incarnation when it is dropped: by the task when it is through, by the executor when it is not.
struct Report<A: Actor>(Arc<TypedSlot<A::Message>>);

impl<A: Actor> Drop for Report<A> {
    fn drop(&mut self) {
        let slot: &AnySlot = &*self.0;
        slot.report_end(A::on_exit);
    }
}

impl AnySlot {
    fn report_end(&self, on_exit: fn(&Exit)) {
        let slot = self;
        let header = &slot.header;
        slot.mailbox.forget_receiver();
        let parent = header.parent();
        let ended = header.end();
        header.end_affiliations();
        let exit = ended.exit.clone();
        if let ExitReason::Panic(report) = root_of(&exit.reason) {
            tracing::error!(actor = %exit.name, id = exit.id.as_u64(), %report, "actor panicked");
        }
        if let Err(report) = contain(|| on_exit(&exit)) {
            tracing::error!(actor = %exit.name, id = exit.id.as_u64(), %report, "on_exit panicked");
        }
        header.system.emit(|| {
            if ended.had_started {
                Event::Exited { id: exit.id, name: exit.name, reason: exit.reason }
            } else {
                Event::StartFailed { id: exit.id, name: exit.name, reason: exit.reason }
            }
        });
        let is_over = parent.as_ref().is_none_or(|parent| parent.header.is_closed());
        let left = is_over.then(|| {
            // Nobody finds the name of an actor whose end is known.
            header.system.registry().remove(header);
            slot.close()
        });
        ended.tell_relations(header);
        // A supervisor stops its children itself; what it left behind would have nobody to answer to.
        ended.children.abandon(header);
        ended.tell_parent(parent.as_ref());
        header.settle();
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
