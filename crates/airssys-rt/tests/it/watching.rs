//! What is told of actors without asking them: stuck ones, figures, dead letters; and what they are told of themselves:
//! their end, and that they are idle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_rt::{
    Actor, ActorId, ChildSpec, Context, DeadLetterCounts, DeadLetterReason, Event, Exit, ExitReason,
    MailboxOptions, Metrics, Overflow, SupervisorSpec, System, SystemOptions,
};
use tokio::time::sleep;

use crate::probe::{Diary, SOON, Tell, spawn_bounded, until};
use crate::puppet::{Order, Puppet, occupy, on, puppet, release, run};

const SECOND: Duration = Duration::from_secs(1);
/// Well above what a busy machine keeps a thread waiting.
const LIMIT: Duration = Duration::from_millis(150);

fn awaits(time: Duration) -> Order {
    run(move |_, _| {
        Box::pin(async move {
            sleep(time).await;
            Ok(())
        })
    })
}

fn blocks(time: Duration) -> Order {
    run(move |_, _| {
        std::thread::sleep(time);
        Box::pin(async { Ok(()) })
    })
}

/// Real time, because a thread that is blocked is the point.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_is_reported_once_and_one_that_awaits_is_not() {
    let system = System::with(SystemOptions::default().stuck_after(LIMIT));
    let mut events = system.events();
    let diary = Diary::default();
    let a = puppet(&system, &diary, MailboxOptions::default()).await;
    on(&a, |_, _| ()).await;
    for order in [awaits(2 * LIMIT), blocks(3 * LIMIT), awaits(2 * LIMIT), blocks(3 * LIMIT)] {
        a.tell(order).await.unwrap();
    }
    on(&a, |_, _| ()).await;
    let mut stuck = Vec::new();
    while let Some(Ok(event)) = events.try_next() {
        if let Event::Stuck { id, name, since } = event {
            assert_eq!((id, &*name), (a.id(), "puppet"));
            stuck.push(since);
        }
    }
    assert_eq!(stuck.len(), 2, "one per handler: {stuck:?}");
    assert!(stuck.iter().all(|since| *since >= LIMIT), "{stuck:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_reported_as_stuck_unless_asked_for() {
    let system = System::new();
    let mut events = system.events();
    let a = puppet(&system, &Diary::default(), MailboxOptions::default()).await;
    a.tell(blocks(2 * LIMIT)).await.unwrap();
    on(&a, |_, _| ()).await;
    assert!(matches!(events.try_next(), Some(Ok(Event::Started { .. }))));
    assert!(events.try_next().is_none());
}

#[derive(Default)]
struct Figures {
    turns: Mutex<HashMap<String, u64>>,
    events: Mutex<Vec<&'static str>>,
}

impl Metrics for Figures {
    fn turn(&self, _: ActorId, name: &str, messages: u32) {
        assert!(messages > 0);
        *self.turns.lock().unwrap().entry(name.to_owned()).or_default() += u64::from(messages);
    }

    fn event(&self, event: &Event) {
        self.events.lock().unwrap().push(match event {
            Event::Started { .. } => "started",
            Event::StartFailed { .. } => "start failed",
            Event::Exited { .. } => "exited",
            Event::Restarted { .. } => "restarted",
            Event::GaveUp { .. } => "gave up",
            Event::Stuck { .. } => "stuck",
            Event::DeadLetter { .. } => "dead letter",
            _ => "unknown",
        });
    }
}

/// Messages only: no requests, no signals, nothing that expired; and also those before an end, whatever ended the actor.
#[tokio::test(start_paused = true)]
async fn the_turns_of_an_actor_sum_up_to_the_messages_it_handled() {
    let figures = Arc::new(Figures::default());
    let system = System::with(SystemOptions::default().metrics(figures.clone()));
    let diary = Diary::default();
    let notes = diary.clone();
    let (child, a) = ChildSpec::worker(&system, "a", MailboxOptions::default(), move || Puppet::new(&notes));
    system.supervise(SupervisorSpec::new("top").intensity(9, SECOND).child(child)).await.unwrap();
    let turns = || figures.turns.lock().unwrap().get("a").copied().unwrap_or(0);

    for n in 0..1000 {
        a.tell(Order::Note(n)).await.unwrap();
    }
    on(&a, |_, _| ()).await;
    assert_eq!(turns(), 1001);
    assert_eq!(a.stats().handled, 1001);

    a.sys().suspend(SOON).await.unwrap();
    a.try_tell_until(Order::Note(0), tokio::time::Instant::now() + SECOND).unwrap();
    sleep(2 * SECOND).await;
    a.sys().resume(SOON).await.unwrap();
    on(&a, |_, ctx| ctx.trap_exits(true)).await;
    a.exit(ExitReason::Shutdown);
    on(&a, |_, _| ()).await;
    assert_eq!(turns(), 1003);

    let ends: [fn() -> Order; 3] = [
        || run(|_, _| panic!("told to")),
        || run(|_, _| Box::pin(async { Err(ExitReason::Normal) })),
        || {
            run(|_, ctx| {
                ctx.address().exit(ExitReason::Killed);
                Box::pin(std::future::pending())
            })
        },
    ];
    for (n, end) in (1..).zip(ends) {
        a.try_tell(Order::Note(1)).unwrap();
        a.try_tell(end()).unwrap();
        until(|| a.sys().node().restarts == n).await;
        assert_eq!(turns(), 1003 + 2 * n);
    }
    assert_eq!(turns(), a.stats().handled);
    assert_eq!(figures.turns.lock().unwrap().len(), 1, "supervisors handle signals");
}

#[tokio::test(start_paused = true)]
async fn the_metrics_hook_hears_of_every_event_without_a_reader() {
    let figures = Arc::new(Figures::default());
    let system = System::with(SystemOptions::default().metrics(figures.clone()));
    let diary = Diary::default();
    let a = puppet(&system, &diary, MailboxOptions::default()).await;
    let gate = occupy(&a).await;
    a.try_tell(Order::Note(1)).unwrap();
    a.exit(ExitReason::Killed);
    until(|| !a.is_alive()).await;
    drop(gate);
    until(|| figures.events.lock().unwrap().len() == 3).await;
    assert_eq!(*figures.events.lock().unwrap(), ["started", "exited", "dead letter"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_comes_with_its_message_and_its_type() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn_bounded(&system, "a", &diary, 1, Overflow::DropOldest).await;
    let gate = crate::probe::occupy(&a).await;
    // Nobody reads yet.
    a.try_tell(Tell::Note(1)).unwrap();
    a.try_tell(Tell::Note(2)).unwrap();
    let mut letters = system.read_dead_letters(8);
    a.try_tell(Tell::Note(3)).unwrap();
    a.exit(ExitReason::Killed);
    until(|| !a.is_alive()).await;
    for (n, reason) in [(2, DeadLetterReason::DroppedOldest), (3, DeadLetterReason::Closed)] {
        let letter = letters.next().await.unwrap();
        assert_eq!((letter.id, &*letter.name, letter.reason), (a.id(), "a", reason));
        assert!(!letter.message.is::<Order>());
        assert!(matches!(*letter.message.downcast::<Tell>().unwrap(), Tell::Note(lost) if lost == n));
    }
    assert!(letters.try_next().is_none());
    drop(gate);
}

#[tokio::test(start_paused = true)]
async fn a_full_reader_of_dead_letters_misses_what_comes_and_the_count_does_not() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn_bounded(&system, "a", &diary, 1, Overflow::DropNewest).await;
    let _gate = crate::probe::occupy(&a).await;
    let mut letters = system.read_dead_letters(2);
    for n in 0..6 {
        a.try_tell(Tell::Note(n)).unwrap();
    }
    for n in 1..=2 {
        let letter = letters.try_next().unwrap();
        assert!(matches!(*letter.message.downcast::<Tell>().unwrap(), Tell::Note(lost) if lost == n));
    }
    assert!(letters.try_next().is_none());
    assert_eq!(system.dead_letters(), DeadLetterCounts { dropped_newest: 5, ..Default::default() });
}

#[tokio::test(start_paused = true)]
async fn a_second_reader_of_dead_letters_takes_over() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn_bounded(&system, "a", &diary, 1, Overflow::DropNewest).await;
    let _gate = crate::probe::occupy(&a).await;
    let mut first = system.read_dead_letters(8);
    a.try_tell(Tell::Note(0)).unwrap();
    a.try_tell(Tell::Note(1)).unwrap();
    let mut second = system.read_dead_letters(8);
    a.try_tell(Tell::Note(2)).unwrap();
    assert!(first.next().await.is_some(), "what it was shown it keeps");
    assert!(first.next().await.is_none());
    assert!(matches!(*second.next().await.unwrap().message.downcast::<Tell>().unwrap(), Tell::Note(2)));
    // A reader that leaves costs nothing.
    drop(second);
    a.try_tell(Tell::Note(3)).unwrap();
    assert_eq!(system.dead_letters().dropped_newest, 3);
}

/// A message whose end sends another, to a mailbox that drops it.
struct Chain(Option<airssys_rt::Address<Chain>>);

impl Drop for Chain {
    fn drop(&mut self) {
        if let Some(next) = self.0.take() {
            drop(next.try_tell(Chain(None)));
        }
    }
}

struct Busy;

impl Actor for Busy {
    type Message = Chain;

    async fn handle(&mut self, _: Chain, _: &mut Context<Self>) -> Result<(), ExitReason> {
        std::future::pending().await
    }
}

#[test]
fn a_dead_letter_that_nobody_has_room_for_may_lead_to_another() {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let system = System::new();
            let mailbox = MailboxOptions::bounded(1).overflow(Overflow::DropNewest);
            let a = system.spawn("busy", mailbox, || Busy).await.unwrap();
            for _ in 0..2 {
                a.try_tell(Chain(None)).unwrap();
                tokio::task::yield_now().await;
            }
            let _letters = system.read_dead_letters(1);
            a.try_tell(Chain(None)).unwrap();
            a.try_tell(Chain(Some(a.clone()))).unwrap();
            done.send(system.dead_letters().dropped_newest).unwrap();
        });
    });
    assert_eq!(is_done.recv_timeout(SOON), Ok(3));
}

/// Ends of all actors of this type, by name.
static ENDS: Mutex<Vec<(Arc<str>, String)>> = Mutex::new(Vec::new());

struct Mortal {
    fails_to_start: bool,
}

/// How it is to end.
type End = fn() -> Result<(), ExitReason>;

impl Actor for Mortal {
    type Message = End;

    async fn start(&mut self, _: &mut Context<Self>) -> Result<(), ExitReason> {
        if self.fails_to_start { Err(std::fmt::Error.into()) } else { Ok(()) }
    }

    async fn handle(&mut self, end: End, _: &mut Context<Self>) -> Result<(), ExitReason> {
        end()
    }

    fn on_exit(exit: &Exit) {
        ENDS.lock().unwrap().push((exit.name.clone(), exit.reason.to_string()));
        assert!(!exit.name.starts_with("clumsy"), "clumsy to the end");
    }
}

fn ends_of(name: &str) -> Vec<String> {
    let ends = ENDS.lock().unwrap();
    ends.iter().filter(|(who, _)| **who == *name).map(|(_, reason)| reason.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn on_exit_runs_once_after_every_kind_of_end() {
    let system = System::new();
    let spawn = |name: &'static str, fails_to_start| {
        system.spawn(name, MailboxOptions::default(), move || Mortal { fails_to_start })
    };
    let handlers: [(&str, End, &str); 4] = [
        ("returns", || Err(ExitReason::Normal), "normal"),
        ("fails", || Err(std::fmt::Error.into()), "error: an error occurred when formatting an argument"),
        ("panics", || panic!("told to"), "panic: told to"),
        ("clumsy", || Err(ExitReason::Normal), "normal"),
    ];
    for (name, end, reason) in handlers {
        let mortal = spawn(name, false).await.unwrap();
        assert_eq!(ends_of(name), Vec::<String>::new());
        mortal.try_tell(end).unwrap();
        until(|| !mortal.is_alive()).await;
        let ends = ends_of(name);
        assert!(ends.len() == 1 && ends[0].starts_with(reason), "{name}: {ends:?}");
        // A panic in it keeps nobody from hearing of the end: the name is free.
        until(|| system.lookup::<End>(name).is_none()).await;
    }
    let killed = spawn("killed", false).await.unwrap();
    killed.exit(ExitReason::Killed);
    until(|| !killed.is_alive()).await;
    assert_eq!(ends_of("killed"), ["killed"]);
    assert!(spawn("unstarted", true).await.is_err());
    assert!(ends_of("unstarted")[0].starts_with("start failed: error"));
    let factory = || -> Mortal { panic!("nobody today") };
    assert!(system.spawn("unmade", MailboxOptions::default(), factory).await.is_err());
    assert!(ends_of("unmade")[0].starts_with("start failed: panic: nobody today"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_is_raised_again_is_reported_with_what_it_says() {
    let system = System::new();
    let a = puppet(&system, &Diary::default(), MailboxOptions::default()).await;
    let mut events = system.events();
    a.try_tell(run(|_, _| {
        // One that is caught, and says nothing of how the actor ends.
        assert!(std::panic::catch_unwind(|| panic!("caught")).is_err());
        std::panic::resume_unwind(Box::new("raised again"))
    }))
    .unwrap();
    let Some(Ok(Event::Exited { reason: ExitReason::Panic(report), .. })) = events.next().await else {
        panic!("it panicked")
    };
    assert_eq!(report.message, "raised again");
}

#[tokio::test(start_paused = true)]
async fn an_actor_hibernates_once_whenever_it_is_idle_for_long() {
    let system = System::new();
    let diary = Diary::default();
    let a = puppet(&system, &diary, MailboxOptions::default()).await;
    on(&a, |_, ctx| ctx.hibernate_after(Some(SECOND))).await;
    sleep(Duration::from_millis(500)).await;
    a.tell(Order::Tick(1)).await.unwrap();
    sleep(10 * SECOND).await;
    a.tell(Order::Tick(2)).await.unwrap();
    sleep(10 * SECOND).await;
    let lines = diary.take();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(&lines[0], "1 at 500");
    assert!(["hibernates at 1500", "hibernates at 1501"].contains(&&*lines[1]), "{lines:?}");
    assert!(lines[3].starts_with("hibernates at 11"), "{lines:?}");
    on(&a, |_, ctx| ctx.hibernate_after(None)).await;
    sleep(10 * SECOND).await;
    assert!(diary.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_busy_or_suspended_actor_does_not_hibernate() {
    let system = System::new();
    let diary = Diary::default();
    let a = puppet(&system, &diary, MailboxOptions::default()).await;
    on(&a, |_, ctx| ctx.hibernate_after(Some(SECOND))).await;
    let gate = occupy(&a).await;
    sleep(10 * SECOND).await;
    release(&a, &gate).await;
    a.sys().suspend(SOON).await.unwrap();
    sleep(10 * SECOND).await;
    assert!(diary.lines().is_empty());
    for _ in 0..10 {
        a.sys().resume(SOON).await.unwrap();
        sleep(SECOND / 2).await;
    }
    assert!(diary.lines().is_empty(), "a request ends an idle time as well");
}
