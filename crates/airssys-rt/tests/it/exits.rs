//! How actors end, and who learns of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use airssys_rt::{
    Actor, ActorId, Context, DynamicSpec, Event, Exit, ExitReason, MailboxOptions, Restart, Signal,
    SpawnError, System,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::probe::{Diary, Habits, Probe, SOON, Tell, flush, occupy, spawn, spawn_with, until};

async fn end_of(system: &System, name: &str) -> ExitReason {
    let mut events = system.events();
    tokio::time::timeout(SOON, async {
        loop {
            match events.next().await {
                Some(Ok(Event::Exited { name: who, reason, .. })) if *who == *name => return reason,
                Some(_) => {}
                None => panic!("the system is there"),
            }
        }
    })
    .await
    .expect("an end")
}

/// Ends `a` in some way and returns the reason everyone saw.
async fn ended_by(end: impl FnOnce(&airssys_rt::Address<Tell>)) -> (ExitReason, Vec<String>) {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn(&system, "a", &diary).await;
    let (reason, ()) = tokio::join!(end_of(&system, "a"), async { end(&a) });
    (reason, diary.lines())
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_is_done_stops_and_exits_normal() {
    let (reason, diary) = ended_by(|a| a.try_tell(Tell::Stop(ExitReason::Normal)).unwrap()).await;
    assert!(matches!(reason, ExitReason::Normal));
    assert_eq!(diary, ["a: start", "a: stop, normal", "a: gone"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_the_exit_reason() {
    let (reason, diary) = ended_by(|a| a.try_tell(Tell::Fail).unwrap()).await;
    assert!(reason.as_error().is_some_and(|error| error.is::<crate::probe::ToldToFail>()));
    assert_eq!(diary, ["a: start", "a: stop, error: told to fail", "a: gone"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_exit_reason_that_says_what_and_where() {
    let (reason, diary) = ended_by(|a| a.try_tell(Tell::Panic("of my own")).unwrap()).await;
    let ExitReason::Panic(report) = reason else { panic!("{reason}") };
    assert_eq!(report.message, "of my own");
    assert!(report.location.as_ref().is_some_and(|at| at.contains("probe.rs")), "{report}");
    assert_eq!(diary, ["a: start", "a: gone"], "stop does not run after a panic");
}

#[tokio::test(start_paused = true)]
async fn a_panic_outside_an_actor_is_not_taken_for_one() {
    let system = System::new();
    let thread = std::thread::spawn(|| std::panic::resume_unwind(Box::new("not an actor's")));
    assert!(thread.join().is_err());
    let a = spawn(&system, "a", &Diary::default()).await;
    let (reason, ()) = tokio::join!(end_of(&system, "a"), async { drop(a.try_tell(Tell::Panic("own"))) });
    assert!(matches!(reason, ExitReason::Panic(report) if report.message == "own"));
}

#[tokio::test(start_paused = true)]
async fn an_exit_signal_interrupts_a_handler_at_its_next_await() {
    let began = Instant::now();
    let (reason, diary) = ended_by(|a| {
        a.try_tell(Tell::Sleep(Duration::from_secs(3600))).unwrap();
        assert!(a.exit(ExitReason::Shutdown));
    })
    .await;
    assert!(matches!(reason, ExitReason::Shutdown));
    assert_eq!(diary, ["a: start", "a: stop, shutdown", "a: gone"]);
    assert!(began.elapsed() < SOON);
}

#[tokio::test(start_paused = true)]
async fn a_normal_exit_signal_is_ignored() {
    let diary = Diary::default();
    let a = spawn(&System::new(), "a", &diary).await;
    assert!(a.exit(ExitReason::Normal));
    flush(&a).await;
    assert!(a.is_alive());
}

#[tokio::test(start_paused = true)]
async fn a_trapped_exit_signal_is_handled_and_a_kill_cannot_be_trapped() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn_with(&system, "a", &diary, Habits { traps: true, ..Habits::default() }).await;
    a.exit(ExitReason::Shutdown);
    flush(&a).await;
    assert_eq!(diary.take(), ["a: start", "a: asked to exit: shutdown"]);
    a.exit(ExitReason::Killed);
    until(|| !a.is_alive()).await;
    assert_eq!(diary.take(), ["a: gone"], "stop does not run after a kill");
}

#[tokio::test(start_paused = true)]
async fn signals_do_not_wait_behind_messages() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn_with(&system, "a", &diary, Habits { traps: true, ..Habits::default() }).await;
    let gate = occupy(&a).await;
    for n in 0..1000 {
        a.try_tell(Tell::Note(n)).unwrap();
    }
    a.exit(ExitReason::Shutdown);
    gate.notify_one();
    flush(&a).await;
    assert_eq!(diary.lines()[1], "a: asked to exit: shutdown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_never_awaits_can_see_that_it_was_killed() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn(&system, "a", &diary).await;
    a.try_tell(Tell::SpinUntilKilled).unwrap();
    until(|| a.stats().handled == 1).await;
    assert!(system.exit(a.id(), ExitReason::Killed));
    until(|| !a.is_alive()).await;
    assert_eq!(diary.lines(), ["a: start", "a: saw the kill", "a: gone"]);
}

#[tokio::test(start_paused = true)]
async fn an_end_is_seen_once_by_each_link_and_each_monitor() {
    let (system, diary) = (System::new(), Diary::default());
    let trapping = Habits { traps: true, ..Habits::default() };
    let a = spawn(&system, "a", &Diary::default()).await;
    let b = spawn_with(&system, "b", &diary, trapping).await;
    // Links are idempotent, monitors stack.
    for _ in 0..2 {
        b.ask(SOON, |reply| Tell::Link(a.id(), reply)).await.unwrap();
        b.ask(SOON, |reply| Tell::Monitor(a.id(), reply)).await.unwrap();
    }
    a.tell(Tell::Panic("x")).await.unwrap();
    until(|| diary.lines().len() >= 4).await;
    flush(&b).await;
    let mut lines = diary.take();
    lines.sort();
    let beginnings = ["b: down \"a\": panic", "b: down \"a\": panic", "b: exit of \"a\": panic", "b: start"];
    assert_eq!(lines.len(), beginnings.len());
    for (line, beginning) in lines.iter().zip(beginnings) {
        assert!(line.starts_with(beginning), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_abnormal_end_takes_a_linked_actor_along_and_a_normal_one_does_not() {
    let (system, diary) = (System::new(), Diary::default());
    for (name, reason, survives) in [
        ("a", ExitReason::Normal, true),
        ("b", ExitReason::Shutdown, false),
        ("c", ExitReason::Killed, false),
    ] {
        let one = spawn(&system, name, &diary).await;
        let other = spawn(&system, "other", &diary).await;
        other.ask(SOON, |reply| Tell::Link(one.id(), reply)).await.unwrap();
        one.tell(Tell::Stop(reason)).await.unwrap();
        until(|| !one.is_alive()).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(other.is_alive(), survives, "{name}");
        other.exit(ExitReason::Killed);
        until(|| system.lookup::<Tell>("other").is_none()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_unlinked_or_demonitored_is_not_told() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn(&system, "a", &Diary::default()).await;
    let b = spawn_with(&system, "b", &diary, Habits { traps: true, ..Habits::default() }).await;
    b.ask(SOON, |reply| Tell::Link(a.id(), reply)).await.unwrap();
    let monitor = b.ask(SOON, |reply| Tell::Monitor(a.id(), reply)).await.unwrap();
    b.ask(SOON, |reply| Tell::Unlink(a.id(), reply)).await.unwrap();
    b.ask(SOON, |reply| Tell::Demonitor(monitor, reply)).await.unwrap();
    a.exit(ExitReason::Killed);
    until(|| !a.is_alive()).await;
    flush(&b).await;
    assert_eq!(diary.lines(), ["b: start"]);
}

#[tokio::test(start_paused = true)]
async fn linking_or_monitoring_nobody_answers_at_once() {
    let (system, diary) = (System::new(), Diary::default());
    let gone = spawn(&system, "gone", &Diary::default()).await;
    gone.exit(ExitReason::Killed);
    until(|| !gone.is_alive()).await;
    let b = spawn_with(&system, "b", &diary, Habits { traps: true, ..Habits::default() }).await;
    b.ask(SOON, |reply| Tell::Link(gone.id(), reply)).await.unwrap();
    b.ask(SOON, |reply| Tell::Monitor(gone.id(), reply)).await.unwrap();
    flush(&b).await;
    assert_eq!(diary.lines(), ["b: start", "b: exit of \"\": no such actor", "b: down \"\": no such actor"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_leaves_nothing_behind() {
    let (system, diary) = (System::new(), Diary::default());
    let habits = Habits { failing_starts: std::sync::Arc::new(1.into()), ..Habits::default() };
    let spawn_it = |habits: Habits| {
        let diary = diary.clone();
        system.spawn("a", MailboxOptions::default(), move || Probe::with("a", &diary, habits))
    };
    let failed = spawn_it(habits.clone()).await;
    assert!(matches!(failed, Err(SpawnError::Start { reason: ExitReason::Init(_), .. })));
    assert_eq!(diary.take(), ["a: start fails", "a: gone"], "stop does not run for what never started");
    assert!(system.lookup::<Tell>("a").is_none());
    assert!(system.tree().is_empty());
    spawn_it(habits).await.expect("the name is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_failed_is_never_taken_for_one_that_succeeded() {
    struct Slow;
    impl Actor for Slow {
        type Message = ();
        async fn start(&mut self, _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
            Err(std::fmt::Error.into())
        }
        async fn handle(&mut self, (): (), _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
            Ok(())
        }
        fn on_exit(_exit: &Exit) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let system = System::new();
    let mut spawned = std::pin::pin!(system.spawn("slow", MailboxOptions::default(), || Slow));
    // Looks all the time, also while the end is being told.
    let spawned = std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        spawned.as_mut().poll(cx)
    });
    let outcome = tokio::time::timeout(SOON, spawned).await.expect("an outcome");
    assert!(matches!(outcome, Err(SpawnError::Start { reason: ExitReason::Init(_), .. })), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_factory_is_a_failed_start() {
    let system = System::new();
    let failed = system.spawn("a", MailboxOptions::default(), || -> Probe { panic!("no actor today") }).await;
    let Err(SpawnError::Start { reason: ExitReason::Init(inner), .. }) = failed else { panic!("it failed") };
    assert!(matches!(&*inner, ExitReason::Panic(report) if report.message == "no actor today"));
}

#[test]
fn an_aborted_task_still_reports_its_end() {
    let system = System::new();
    let mut events = system.events();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let a = runtime.block_on(spawn(&system, "a", &Diary::default()));
    drop(runtime);
    assert!(!a.is_alive());
    let mut ends = 0;
    while let Some(Ok(event)) = events.try_next() {
        ends += u32::from(matches!(event, Event::Exited { reason: ExitReason::Aborted, .. }));
    }
    assert_eq!(ends, 1);
    assert!(system.tree().is_empty());
}

#[tokio::test]
async fn who_was_not_asked_to_exit_yet_is_asked_whatever_else_waits() {
    let (system, diary) = (System::new(), Diary::default());
    let habits = Habits { traps: true, ..Habits::default() };
    let a = spawn_with(&system, "a", &diary, habits).await;
    let mut others = Vec::new();
    for n in 0..1024 {
        let diary = Diary::default();
        let other = move || Probe::new("other", &diary);
        let other = system.spawn(format!("other-{n}"), MailboxOptions::default(), other).await.unwrap();
        a.ask(SOON, |reply| Tell::Monitor(other.id(), reply)).await.unwrap();
        others.push(other);
    }
    let gate = occupy(&a).await;
    others.iter().for_each(|other| assert!(other.exit(ExitReason::Killed)));
    until(|| others.iter().all(|other| !other.is_alive())).await;
    until(|| system.tree().len() == 1).await;
    assert!(a.exit(ExitReason::Shutdown));
    gate.notify_one();
    flush(&a).await;
    assert_eq!(
        diary.lines().iter().filter(|line| line.contains("asked")).count(),
        1,
        "{:?}",
        diary.lines().last()
    );
}

#[tokio::test]
async fn nobody_waits_for_the_backlog_of_who_has_ended_to_be_dropped() {
    const BACKLOG: usize = 50_000;
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    struct Sleeper;
    impl Actor for Sleeper {
        type Message = Counted;
        async fn handle(&mut self, _message: Counted, _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
            std::future::pending().await
        }
    }
    struct Watcher {
        target: ActorId,
        dropped: Arc<AtomicUsize>,
        seen: Option<oneshot::Sender<usize>>,
    }
    impl Actor for Watcher {
        type Message = ();
        async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
            ctx.monitor(self.target);
            Ok(())
        }
        async fn handle(&mut self, (): (), _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
            Ok(())
        }
        async fn signal(&mut self, _signal: Signal, _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
            let seen = self.seen.take().expect("one end");
            seen.send(self.dropped.load(Ordering::Relaxed)).expect("the test waits");
            Err(ExitReason::Normal)
        }
    }
    let system = System::new();
    let top = system.supervise_dynamic(DynamicSpec::new("top").restart(Restart::Temporary)).await.unwrap();
    for is_supervised in [false, true] {
        let mailbox = MailboxOptions::bounded(BACKLOG + 1);
        let a = if is_supervised {
            top.spawn("a", mailbox, || Sleeper).await.unwrap()
        } else {
            system.spawn("a", mailbox, || Sleeper).await.unwrap()
        };
        let dropped = Arc::new(AtomicUsize::new(0));
        (0..=BACKLOG).for_each(|_| a.try_tell(Counted(dropped.clone())).expect("room"));
        until(|| a.stats().depth == BACKLOG).await;
        let (seen, sees) = oneshot::channel();
        let watcher = Watcher { target: a.id(), dropped: dropped.clone(), seen: Some(seen) };
        system.spawn("watcher", MailboxOptions::default(), move || watcher).await.unwrap();
        a.exit(ExitReason::Killed);
        let dropped_by_then = sees.await.unwrap();
        assert!(dropped_by_then < BACKLOG / 2, "{dropped_by_then} were dropped first");
        assert_eq!(system.dead_letters().closed, BACKLOG as u64 * (1 + u64::from(is_supervised)));
        until(|| dropped.load(Ordering::Relaxed) == BACKLOG + 1).await;
        until(|| system.lookup::<()>("watcher").is_none() && system.lookup::<Counted>("a").is_none()).await;
    }
}
