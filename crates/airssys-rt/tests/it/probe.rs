//! An actor that does what it is told and writes down what happens to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_rt::{
    Actor, ActorId, Address, ChildSpec, Context, ExitReason, MailboxOptions, MonitorRef, Overflow, ReplyTo,
    Signal, System,
};

/// Long enough that only a defect reaches it.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What happened, in order, over all actors that share it.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

pub(crate) enum Tell {
    Note(u32),
    Ask(u32, ReplyTo<u32>),
    /// Answers after others had a turn, so that a kill can come between.
    AskAfterYield(u32, ReplyTo<u32>),
    /// Keeps the request unanswered for as long as the incarnation lives.
    Hold(ReplyTo<()>),
    Sleep(Duration),
    /// Handles nothing else until the gate is opened.
    Wait(Arc<tokio::sync::Notify>),
    Panic(&'static str),
    Fail,
    Stop(ExitReason),
    Link(ActorId, ReplyTo<()>),
    Unlink(ActorId, ReplyTo<()>),
    Monitor(ActorId, ReplyTo<MonitorRef>),
    Demonitor(MonitorRef, ReplyTo<()>),
    Block(std::sync::mpsc::Receiver<()>),
    /// Runs without awaiting until the kill flag is up.
    SpinUntilKilled,
    WhoAmI(ReplyTo<(ActorId, u64)>),
}

#[derive(Debug, thiserror::Error)]
#[error("told to fail")]
pub(crate) struct ToldToFail;

/// What a probe does beside what it is told.
#[derive(Clone, Default)]
pub(crate) struct Habits {
    pub(crate) traps: bool,
    pub(crate) start_takes: Duration,
    pub(crate) stop_takes: Duration,
    /// Starts that fail, counted down over all incarnations.
    pub(crate) failing_starts: Arc<std::sync::atomic::AtomicU32>,
}

pub(crate) struct Probe {
    pub(crate) name: &'static str,
    pub(crate) diary: Diary,
    pub(crate) habits: Habits,
    incarnation: u64,
    held: Vec<ReplyTo<()>>,
}

impl Probe {
    pub(crate) fn new(name: &'static str, diary: &Diary) -> Self {
        Self::with(name, diary, Habits::default())
    }

    pub(crate) fn with(name: &'static str, diary: &Diary, habits: Habits) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static INCARNATIONS: AtomicU64 = AtomicU64::new(1);
        let incarnation = INCARNATIONS.fetch_add(1, Ordering::Relaxed);
        Self { name, diary: diary.clone(), habits, incarnation, held: Vec::new() }
    }

    fn note(&self, line: impl std::fmt::Display) {
        self.diary.note(format!("{}: {line}", self.name));
    }
}

impl Actor for Probe {
    type Message = Tell;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        use std::sync::atomic::Ordering;
        ctx.trap_exits(self.habits.traps);
        if !self.habits.start_takes.is_zero() {
            tokio::time::sleep(self.habits.start_takes).await;
        }
        let fails = &self.habits.failing_starts;
        if fails.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            self.note("start fails");
            return Err(ToldToFail.into());
        }
        self.note("start");
        Ok(())
    }

    async fn handle(&mut self, message: Tell, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        match message {
            Tell::Note(n) => self.note(n),
            Tell::Ask(n, reply) => answer(reply, n),
            Tell::AskAfterYield(n, reply) => {
                tokio::task::yield_now().await;
                answer(reply, n);
            }
            Tell::Hold(reply) => self.held.push(reply),
            Tell::Sleep(time) => {
                tokio::time::sleep(time).await;
                self.note("slept");
            }
            Tell::Wait(gate) => gate.notified().await,
            Tell::Panic(text) => panic!("{text}"),
            Tell::Fail => return Err(ToldToFail.into()),
            Tell::Stop(reason) => return Err(reason),
            Tell::Link(id, reply) => {
                ctx.link(id);
                answer(reply, ());
            }
            Tell::Unlink(id, reply) => {
                ctx.unlink(id);
                answer(reply, ());
            }
            Tell::Monitor(id, reply) => answer(reply, ctx.monitor(id)),
            Tell::Demonitor(monitor, reply) => {
                ctx.demonitor(monitor);
                answer(reply, ());
            }
            Tell::Block(until) => drop(until.recv()),
            Tell::SpinUntilKilled => {
                let flag = ctx.kill_flag();
                while !flag.is_raised() {
                    std::thread::yield_now();
                }
                self.note("saw the kill");
            }
            Tell::WhoAmI(reply) => answer(reply, (ctx.id(), self.incarnation)),
        }
        Ok(())
    }

    async fn signal(&mut self, signal: Signal, _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        match signal {
            Signal::Exit(exit) => self.note(format!("exit of {:?}: {}", &*exit.name, exit.reason)),
            Signal::ExitRequested(reason) => self.note(format!("asked to exit: {reason}")),
            Signal::Down { exit, .. } => self.note(format!("down {:?}: {}", &*exit.name, exit.reason)),
            _ => self.note("unknown signal"),
        }
        Ok(())
    }

    async fn stop(&mut self, reason: &ExitReason, _ctx: &mut Context<Self>) {
        if !self.habits.stop_takes.is_zero() {
            tokio::time::sleep(self.habits.stop_takes).await;
        }
        self.note(format!("stop, {reason}"));
    }
}

/// Who asked may have left; then there is nobody to tell.
pub(crate) fn answer<T>(reply: ReplyTo<T>, value: T) {
    drop(reply.send(value));
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.note("gone");
    }
}

pub(crate) async fn spawn(system: &System, name: &'static str, diary: &Diary) -> Address<Tell> {
    spawn_with(system, name, diary, Habits::default()).await
}

pub(crate) async fn spawn_with(
    system: &System,
    name: &'static str,
    diary: &Diary,
    habits: Habits,
) -> Address<Tell> {
    let diary = diary.clone();
    system
        .spawn(name, MailboxOptions::default(), move || Probe::with(name, &diary, habits))
        .await
        .expect("a probe starts")
}

pub(crate) async fn spawn_bounded(
    system: &System,
    name: &'static str,
    diary: &Diary,
    capacity: usize,
    overflow: Overflow,
) -> Address<Tell> {
    let diary = diary.clone();
    system
        .spawn(name, MailboxOptions::bounded(capacity).overflow(overflow), move || Probe::new(name, &diary))
        .await
        .expect("a probe starts")
}

pub(crate) fn child(system: &System, name: &'static str, diary: &Diary) -> (ChildSpec, Address<Tell>) {
    child_with(system, name, diary, Habits::default())
}

pub(crate) fn child_with(
    system: &System,
    name: &'static str,
    diary: &Diary,
    habits: Habits,
) -> (ChildSpec, Address<Tell>) {
    let diary = diary.clone();
    ChildSpec::worker(system, name, MailboxOptions::default(), move || {
        Probe::with(name, &diary, habits.clone())
    })
}

/// Returns once everything sent before it was handled.
pub(crate) async fn flush(address: &Address<Tell>) {
    assert_eq!(address.ask(SOON, |reply| Tell::Ask(7, reply)).await.expect("an answer"), 7);
}

/// Keeps the actor in a handler that awaits; the next message stays in the mailbox. Opened by the gate.
pub(crate) async fn occupy(address: &Address<Tell>) -> Arc<tokio::sync::Notify> {
    let gate = Arc::new(tokio::sync::Notify::new());
    address.tell(Tell::Wait(gate.clone())).await.expect("room");
    until(|| address.stats().depth == 0).await;
    gate
}

/// Lets the others run until something holds.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    tokio::time::timeout(SOON, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("it comes to hold");
}
