//! Looking into an actor from outside: suspend, resume, state, code change, trace.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use airssys_rt::{
    Actor, Address, ChildSpec, Context, ExitReason, MailboxOptions, NodeState, ReplyTo, Signal,
    SupervisorSpec, Sys, SysError, System, Trace,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::probe::{Diary, SOON, answer, until};

const SECOND: Duration = Duration::from_secs(1);

/// Adds up what it is told, times a factor that a code change sets.
struct Scale {
    total: u64,
    factor: u64,
    shows: bool,
    diary: Diary,
}

enum Weigh {
    Add(u64),
    Total(ReplyTo<u64>),
    Wait(Arc<Notify>),
    Panic,
    /// Counts how often it is described.
    Counted(Arc<AtomicU32>),
}

#[derive(Debug, thiserror::Error)]
#[error("nothing weighs nothing")]
struct FactorIsZero;

impl Actor for Scale {
    type Message = Weigh;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.trap_exits(true);
        Ok(())
    }

    async fn handle(&mut self, message: Weigh, _: &mut Context<Self>) -> Result<(), ExitReason> {
        match message {
            Weigh::Add(n) => self.total += n * self.factor,
            Weigh::Total(reply) => answer(reply, self.total),
            Weigh::Wait(gate) => gate.notified().await,
            Weigh::Panic => panic!("told to"),
            Weigh::Counted(_) => {}
        }
        Ok(())
    }

    async fn signal(&mut self, signal: Signal, _: &mut Context<Self>) -> Result<(), ExitReason> {
        if let Signal::ExitRequested(reason) = signal {
            self.diary.note(format!("asked to exit: {reason}"));
        }
        Ok(())
    }

    fn state(&mut self) -> Option<&mut dyn Any> {
        self.shows.then_some(&mut self.total)
    }

    async fn code_change(
        &mut self,
        extra: Box<dyn Any + Send>,
        _: &mut Context<Self>,
    ) -> Result<(), ExitReason> {
        let factor = *extra.downcast::<u64>().map_err(|_| std::fmt::Error)?;
        if factor == 0 {
            return Err(FactorIsZero.into());
        }
        self.factor = factor;
        Ok(())
    }

    fn describe(message: &Weigh) -> Cow<'static, str> {
        match message {
            Weigh::Add(n) => format!("add {n}").into(),
            Weigh::Total(_) => "total".into(),
            Weigh::Wait(_) => "wait".into(),
            Weigh::Panic => "panic".into(),
            Weigh::Counted(count) => {
                count.fetch_add(1, Ordering::Relaxed);
                "counted".into()
            }
        }
    }
}

/// One that does not say anything of itself.
struct Closed;

impl Actor for Closed {
    type Message = ();

    async fn handle(&mut self, (): (), _: &mut Context<Self>) -> Result<(), ExitReason> {
        Ok(())
    }
}

async fn supervised(system: &System) -> (Address<Weigh>, Diary) {
    let diary = Diary::default();
    let notes = diary.clone();
    let (child, scale) = ChildSpec::worker(system, "scale", MailboxOptions::default(), move || Scale {
        total: 0,
        factor: 1,
        shows: true,
        diary: notes.clone(),
    });
    system.supervise(SupervisorSpec::new("top").intensity(99, SECOND).child(child)).await.unwrap();
    (scale, diary)
}

async fn total(scale: &Address<Weigh>) -> u64 {
    scale.ask(SOON, Weigh::Total).await.unwrap()
}

async fn shown_total(sys: &Sys) -> u64 {
    sys.state(SOON, |total: &mut u64| *total).await.unwrap()
}

/// Keeps the scale in a handler that awaits.
async fn occupy(scale: &Address<Weigh>) -> Arc<Notify> {
    let gate = Arc::new(Notify::new());
    scale.tell(Weigh::Wait(gate.clone())).await.unwrap();
    until(|| scale.stats().depth == 0).await;
    gate
}

#[tokio::test(start_paused = true)]
async fn a_suspended_actor_handles_neither_messages_nor_signals_until_it_is_resumed() {
    let (scale, diary) = supervised(&System::new()).await;
    let sys = scale.sys();
    // Twice is once.
    sys.suspend(SOON).await.unwrap();
    sys.suspend(SOON).await.unwrap();
    scale.tell(Weigh::Add(1)).await.unwrap();
    scale.exit(ExitReason::Shutdown);
    sleep(60 * SECOND).await;
    assert_eq!(scale.stats().depth, 1);
    assert!(diary.lines().is_empty());
    assert_eq!(shown_total(&sys).await, 0, "requests are served meanwhile");
    sys.resume(SOON).await.unwrap();
    assert_eq!(total(&scale).await, 1);
    assert_eq!(diary.lines(), ["asked to exit: shutdown"]);
    // What is not suspended can be resumed all the same.
    sys.resume(SOON).await.unwrap();
    assert_eq!(total(&scale).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_actor_can_be_killed_and_the_next_incarnation_is_not_suspended() {
    let (scale, _) = supervised(&System::new()).await;
    scale.sys().suspend(SOON).await.unwrap();
    scale.tell(Weigh::Add(1)).await.unwrap();
    assert!(scale.exit(ExitReason::Killed));
    assert_eq!(total(&scale).await, 1, "what waited is handled by the next one");
    assert_eq!(scale.sys().node().restarts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_wait_for_a_busy_actor_and_one_more_is_refused() {
    const MAX: usize = 1024;
    let (scale, diary) = supervised(&System::new()).await;
    let gate = Arc::new(Notify::new());
    scale.tell(Weigh::Wait(gate.clone())).await.unwrap();
    until(|| scale.stats().depth == 0).await;
    for _ in 0..MAX {
        assert!(matches!(scale.sys().resume(Duration::ZERO).await, Err(SysError::Timeout)), "it waits");
    }
    let refused = scale.sys().resume(SOON).await;
    assert!(matches!(refused, Err(SysError::TooMany { max: MAX })), "{refused:?}");
    for _ in 0..=MAX {
        assert!(scale.exit(ExitReason::Shutdown));
    }
    gate.notify_one();
    scale.sys().resume(SOON).await.expect_err("all that were in line are served first");
    assert_eq!(total(&scale).await, 0);
    scale.sys().resume(SOON).await.expect("there is room again");
    let asked = diary.lines().iter().filter(|line| line.contains("asked to exit")).count();
    assert_eq!(asked, MAX);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_actor_stops_when_it_is_told_to() {
    let system = System::new();
    let (scale, _) = supervised(&system).await;
    scale.sys().suspend(SOON).await.unwrap();
    let began = Instant::now();
    assert!(system.shutdown(SOON).await.is_clean());
    assert!(began.elapsed() < SECOND);
}

/// Of an actor that does not trap them.
#[tokio::test(start_paused = true)]
async fn an_exit_signal_ends_a_suspended_actor() {
    let system = System::new();
    let closed = system.spawn("closed", MailboxOptions::default(), || Closed).await.unwrap();
    closed.sys().suspend(SOON).await.unwrap();
    closed.exit(ExitReason::Shutdown);
    until(|| !closed.is_alive()).await;
}

#[tokio::test(start_paused = true)]
async fn requests_come_after_the_message_in_work_and_before_those_that_wait() {
    let (scale, _) = supervised(&System::new()).await;
    let gate = occupy(&scale).await;
    scale.tell(Weigh::Add(1)).await.unwrap();
    let sys = scale.sys();
    let looking = tokio::spawn(async move { shown_total(&sys).await });
    sleep(SECOND).await;
    assert!(!looking.is_finished());
    gate.notify_one();
    assert_eq!(looking.await.unwrap(), 0);
    assert_eq!(total(&scale).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_look_at_the_state_sees_it_and_may_change_it() {
    let (scale, _) = supervised(&System::new()).await;
    scale.tell(Weigh::Add(3)).await.unwrap();
    let sys = scale.sys();
    let doubled = sys.state(SOON, |total: &mut u64| {
        *total *= 2;
        *total
    });
    // Before the message that was sent first: it waits in the mailbox, and a request does not.
    assert_eq!(doubled.await.unwrap(), 0);
    assert_eq!(total(&scale).await, 3);
    sys.state(SOON, |total: &mut u64| *total *= 2).await.unwrap();
    assert_eq!(total(&scale).await, 6);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_not_offered_or_of_another_type_is_not_shown() {
    let system = System::new();
    let (scale, _) = supervised(&system).await;
    let other = scale.sys().state(SOON, |_: &mut String| ()).await;
    assert!(matches!(other, Err(SysError::OtherType)));
    let closed = system.spawn("closed", MailboxOptions::default(), || Closed).await.unwrap();
    let shut = closed.sys().state(SOON, |_: &mut Closed| ()).await;
    assert!(matches!(shut, Err(SysError::NotOffered)));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_there_answers_no_request() {
    let system = System::new();
    let closed = system.spawn("closed", MailboxOptions::default(), || Closed).await.unwrap();
    let sys = system.sys(closed.id()).unwrap();
    sys.suspend(SOON).await.unwrap();
    closed.exit(ExitReason::Killed);
    assert!(matches!(sys.suspend(SOON).await, Err(SysError::NoProc)), "it ends before it can answer");
    until(|| !closed.is_alive()).await;
    assert!(matches!(sys.resume(SOON).await, Err(SysError::NoProc)));
    assert!(matches!(sys.state(SOON, |_: &mut u64| ()).await, Err(SysError::NoProc)));
    assert!(matches!(sys.change_code(SOON, ()).await, Err(SysError::NoProc)));
    assert!(system.sys(closed.id()).is_none());
    assert_eq!(sys.node().state, NodeState::Down);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_busy_actor_does_not_serve_in_time_stands() {
    let (scale, _) = supervised(&System::new()).await;
    let gate = occupy(&scale).await;
    let began = Instant::now();
    assert!(matches!(scale.sys().suspend(SECOND).await, Err(SysError::Timeout)));
    assert_eq!(began.elapsed().as_secs(), 1);
    gate.notify_one();
    scale.tell(Weigh::Add(1)).await.unwrap();
    sleep(SECOND).await;
    assert_eq!(scale.stats().depth, 1, "it is suspended all the same");
    scale.sys().resume(SOON).await.unwrap();
    assert_eq!(total(&scale).await, 1);
}

#[tokio::test(start_paused = true)]
async fn code_is_changed_only_while_the_actor_is_suspended() {
    let (scale, _) = supervised(&System::new()).await;
    let sys = scale.sys();
    assert!(matches!(sys.change_code(SOON, 10_u64).await, Err(SysError::NotSuspended)));
    sys.suspend(SOON).await.unwrap();
    scale.tell(Weigh::Add(1)).await.unwrap();
    sys.change_code(SOON, 10_u64).await.unwrap();
    sys.resume(SOON).await.unwrap();
    assert_eq!(total(&scale).await, 10);
    assert!(matches!(sys.change_code(SOON, 1_u64).await, Err(SysError::NotSuspended)));
}

#[tokio::test(start_paused = true)]
async fn a_code_change_that_is_refused_leaves_the_actor_as_it_was() {
    let system = System::new();
    let (scale, _) = supervised(&system).await;
    let sys = scale.sys();
    sys.suspend(SOON).await.unwrap();
    let refused = sys.change_code(SOON, 0_u64).await.unwrap_err();
    assert!(matches!(&refused, SysError::Refused(why) if why.as_error().unwrap().is::<FactorIsZero>()));
    assert_eq!(refused.to_string(), "change code: error: nothing weighs nothing");
    assert!(matches!(sys.change_code(SOON, "of another type").await, Err(SysError::Refused(_))));
    sys.resume(SOON).await.unwrap();
    scale.tell(Weigh::Add(1)).await.unwrap();
    assert_eq!((total(&scale).await, sys.node().restarts), (1, 0));

    let closed = system.spawn("closed", MailboxOptions::default(), || Closed).await.unwrap();
    closed.sys().suspend(SOON).await.unwrap();
    let refused = closed.sys().change_code(SOON, ()).await;
    assert!(matches!(refused, Err(SysError::Refused(_))), "unless an actor says otherwise");
}

#[tokio::test(start_paused = true)]
async fn what_panics_while_it_looks_at_an_actor_ends_the_actor() {
    let (scale, _) = supervised(&System::new()).await;
    let looked = scale.sys().state(SOON, |_: &mut u64| panic!("what a state")).await;
    assert!(matches!(looked, Err::<(), _>(SysError::NoProc)));
    assert_eq!(total(&scale).await, 0);
    assert_eq!(scale.sys().node().restarts, 1);
}

/// What a trace shows, up to now.
async fn shown(trace: &mut Trace) -> Vec<String> {
    let mut shown = Vec::new();
    while let Ok(Some(entry)) = tokio::time::timeout(Duration::from_millis(10), trace.next()).await {
        shown.push(entry.message.into_owned());
    }
    shown
}

/// Whether a trace ends without waiting for its time.
async fn is_over(trace: &mut Trace) -> bool {
    matches!(tokio::time::timeout(Duration::from_millis(10), trace.next()).await, Ok(None))
}

#[tokio::test(start_paused = true)]
async fn a_trace_shows_what_is_handled_and_how_long_it_took() {
    let (scale, _) = supervised(&System::new()).await;
    scale.tell(Weigh::Add(1)).await.unwrap();
    total(&scale).await;
    let mut trace = scale.sys().trace(99, SOON);
    let gate = occupy(&scale).await;
    scale.tell(Weigh::Add(2)).await.unwrap();
    let began = Instant::now();
    sleep(SECOND).await;
    gate.notify_one();
    let first = trace.next().await.unwrap();
    assert_eq!((&*first.message, first.missed), ("wait", 0));
    assert!(first.at <= began && first.took.unwrap() >= SECOND && first.took.unwrap() < 2 * SECOND);
    let second = trace.next().await.unwrap();
    assert_eq!((&*second.message, second.took), ("add 2", Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_trace_shows_as_many_messages_as_it_was_told_and_is_over_with_the_last() {
    let (scale, _) = supervised(&System::new()).await;
    let mut trace = scale.sys().trace(2, SOON);
    for n in 1..=2 {
        scale.tell(Weigh::Add(n)).await.unwrap();
    }
    assert_eq!(shown(&mut trace).await, ["add 1", "add 2"]);
    assert!(is_over(&mut trace).await, "without another message");
    scale.tell(Weigh::Add(3)).await.unwrap();
    assert_eq!(total(&scale).await, 6);
    assert!(is_over(&mut trace).await);
}

#[tokio::test(start_paused = true)]
async fn a_trace_ends_when_its_time_is_over() {
    let (scale, _) = supervised(&System::new()).await;
    let mut trace = scale.sys().trace(99, SECOND);
    let began = Instant::now();
    assert!(trace.next().await.is_none());
    assert_eq!(began.elapsed().as_secs(), 1);
    scale.tell(Weigh::Add(1)).await.unwrap();
    total(&scale).await;
    assert!(trace.next().await.is_none());
    // In time, though read later.
    let mut trace = scale.sys().trace(99, SECOND);
    scale.tell(Weigh::Add(1)).await.unwrap();
    sleep(2 * SECOND).await;
    assert_eq!(shown(&mut trace).await, ["add 1"]);
    assert!(is_over(&mut trace).await);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_ended_the_actor_has_no_end_in_the_trace_and_the_trace_ends_with_it() {
    let (scale, _) = supervised(&System::new()).await;
    let mut trace = scale.sys().trace(99, SOON);
    scale.tell(Weigh::Add(1)).await.unwrap();
    scale.tell(Weigh::Panic).await.unwrap();
    scale.tell(Weigh::Add(2)).await.unwrap();
    assert_eq!(total(&scale).await, 2);
    assert!(trace.next().await.unwrap().took.is_some());
    let last = trace.next().await.unwrap();
    assert_eq!((&*last.message, last.took), ("panic", None));
    assert!(is_over(&mut trace).await, "the next incarnation is not traced");
}

#[tokio::test(start_paused = true)]
async fn a_second_trace_ends_the_first() {
    let (scale, _) = supervised(&System::new()).await;
    let mut first = scale.sys().trace(99, SOON);
    let gate = occupy(&scale).await;
    let mut second = scale.sys().trace(99, SOON);
    assert!(is_over(&mut first).await);
    gate.notify_one();
    scale.tell(Weigh::Add(1)).await.unwrap();
    total(&scale).await;
    assert_eq!(shown(&mut second).await, ["add 1", "total"], "what was in work is not among the next");
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_trace_is_told_what_it_missed() {
    const BUFFER_LEN: u64 = 1024;
    let (scale, _) = supervised(&System::new()).await;
    let mut trace = scale.sys().trace(u64::MAX, SOON);
    for n in 0..BUFFER_LEN + 10 {
        scale.tell(Weigh::Add(n)).await.unwrap();
    }
    until(|| scale.stats().depth == 0).await;
    for n in 0..BUFFER_LEN {
        let entry = trace.next().await.unwrap();
        assert_eq!((entry.message.into_owned(), entry.missed), (format!("add {n}"), 0));
    }
    for missed in [10, 0] {
        scale.tell(Weigh::Add(0)).await.unwrap();
        assert_eq!(trace.next().await.unwrap().missed, missed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_of_nobody_is_over_at_once() {
    let system = System::new();
    let closed = system.spawn("closed", MailboxOptions::default(), || Closed).await.unwrap();
    closed.exit(ExitReason::Killed);
    until(|| !closed.is_alive()).await;
    assert!(is_over(&mut closed.sys().trace(9, SOON)).await);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_described_only_while_somebody_reads_the_trace() {
    let (scale, _) = supervised(&System::new()).await;
    let described = Arc::new(AtomicU32::new(0));
    let told = async || {
        scale.tell(Weigh::Counted(described.clone())).await.unwrap();
        total(&scale).await;
        described.load(Ordering::Relaxed)
    };
    assert_eq!(told().await, 0);
    let trace = scale.sys().trace(99, SOON);
    assert_eq!(told().await, 1);
    drop(trace);
    assert_eq!(told().await, 1);
}
