//! The first moments of an actor, some of which whoever starts it lives through on its own thread.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use airssys_rt::{
    Actor, Context, DynamicSpec, Event, Exit, ExitReason, MailboxOptions, SpawnError, System, SystemOptions,
    TraceContext,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::probe::{Diary, SOON, until};
use crate::puppet::{Outcome, on, puppet, run};

type Start = Box<dyn for<'a> FnOnce(&'a mut Context<Starter>) -> Outcome<'a> + Send>;

/// An actor whose start is what a test makes it.
struct Starter(Option<Start>);

impl Starter {
    fn new(start: impl for<'a> FnOnce(&'a mut Context<Self>) -> Outcome<'a> + Send + 'static) -> Self {
        Self(Some(Box::new(start)))
    }
}

impl Actor for Starter {
    type Message = ();

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        let start = self.0.take().expect("it starts once");
        start(ctx).await
    }

    async fn handle(&mut self, (): (), _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        Ok(())
    }
}

/// Ready when it was told so often, with an eye for nobody but who looked first.
#[derive(Default)]
struct Forgetful {
    first: Mutex<Option<Waker>>,
    told: AtomicU32,
}

impl Forgetful {
    async fn wait(&self, times: u32) {
        poll_fn(|cx| {
            self.first.lock().unwrap().get_or_insert_with(|| cx.waker().clone());
            if self.told.load(Ordering::SeqCst) >= times { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn tell(&self) {
        self.told.fetch_add(1, Ordering::SeqCst);
        let first = self.first.lock().unwrap().clone();
        first.expect("somebody looked").wake();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_is_woken_by_the_first_waker_it_was_given() {
    let system = System::new();
    let forgetful = Arc::new(Forgetful::default());
    let waits = forgetful.clone();
    let start = async {
        let start = Starter::new(move |_| {
            Box::pin(async move {
                waits.wait(1).await;
                waits.wait(2).await;
                Ok(())
            })
        });
        system.spawn("forgetful", MailboxOptions::default(), move || start).await
    };
    let tell = async {
        until(|| forgetful.first.lock().unwrap().is_some()).await;
        for _ in 0..2 {
            // By then it sleeps on its own task.
            sleep(Duration::from_millis(20)).await;
            forgetful.tell();
        }
    };
    let (started, ()) = timeout(SOON, async { tokio::join!(start, tell) }).await.expect("it is woken");
    assert!(started.is_ok());
}

#[tokio::test]
async fn actors_that_start_each_other_in_their_starts_do_not_pile_up_on_one_stack() {
    const LINKS: u32 = 20_000;
    fn link(system: System, nth: u32) -> Pin<Box<dyn Future<Output = Result<(), SpawnError>> + Send>> {
        Box::pin(async move {
            let next = system.clone();
            let start = Starter::new(move |_| {
                Box::pin(async move {
                    if nth < LINKS {
                        link(next, nth + 1).await.map_err(ExitReason::error)?;
                    }
                    Ok(())
                })
            });
            system.spawn(format!("link-{nth}"), MailboxOptions::default(), move || start).await.map(drop)
        })
    }
    let system = System::new();
    link(system.clone(), 1).await.expect("the last one starts, and then all others");
    assert!(system.lookup::<()>(&format!("link-{LINKS}")).is_some());
    assert!(system.shutdown(SOON).await.is_clean());
}

#[tokio::test]
async fn a_start_inherits_neither_deadline_nor_trace_from_the_handling_it_was_asked_for_in() {
    let system = System::new();
    let a = puppet(&system, &Diary::default(), MailboxOptions::default()).await;
    let saw = Arc::new(Mutex::new(Vec::new()));
    let sees = saw.clone();
    let order = run(move |_, ctx| {
        let system = ctx.system().clone();
        assert!(ctx.deadline().is_some() && TraceContext::current().is_some());
        Box::pin(async move {
            let start = Starter::new(move |ctx| {
                let now = (ctx.deadline(), TraceContext::current());
                Box::pin(async move {
                    sees.lock().unwrap().push(now);
                    Ok(())
                })
            });
            drop(system.spawn("b", MailboxOptions::default(), move || start).await);
            assert!(TraceContext::current().is_some(), "and takes nothing away");
            Ok(())
        })
    });
    let sent = async { a.try_tell_until(order, Instant::now() + SOON) };
    TraceContext::root(false).scope(sent).await.unwrap();
    on(&a, |_, _| ()).await;
    assert_eq!(*saw.lock().unwrap(), [(None, None)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_blocks_a_thread_is_told_apart_from_who_started_it() {
    const LIMIT: Duration = Duration::from_millis(150);
    let system = System::with(SystemOptions::default().stuck_after(LIMIT));
    let mut events = system.events();
    let a = puppet(&system, &Diary::default(), MailboxOptions::default()).await;
    let order = run(move |_, ctx| {
        let system = ctx.system().clone();
        Box::pin(async move {
            let start = Starter::new(|_| {
                std::thread::sleep(3 * LIMIT);
                Box::pin(async { Ok(()) })
            });
            drop(system.spawn("b", MailboxOptions::default(), move || start).await);
            std::thread::sleep(3 * LIMIT);
            Ok(())
        })
    });
    a.tell(order).await.unwrap();
    on(&a, |_, _| ()).await;
    let mut stuck = Vec::new();
    while let Some(Ok(event)) = events.try_next() {
        if let Event::Stuck { name, .. } = event {
            stuck.push(name.to_string());
        }
    }
    assert_eq!(stuck, ["b", "puppet"]);
}

#[tokio::test]
async fn a_start_that_panics_at_once_is_a_failed_start_of_its_own_and_harms_nobody_else() {
    let system = System::new();
    let top = system.supervise_dynamic(DynamicSpec::new("top")).await.unwrap();
    for name in ["a", "a"] {
        let spawned = top.spawn(name, MailboxOptions::default(), || Starter::new(|_| panic!("not today")));
        let failed = spawned.await.expect_err("it failed").to_string();
        assert!(failed.contains("not today"), "{failed}");
    }
    assert_eq!(top.count_children().specs, 0);
    assert!(
        top.spawn("a", MailboxOptions::default(), || Starter::new(|_| Box::pin(async { Ok(()) })))
            .await
            .is_ok()
    );
    assert_eq!(top.count_children().specs, 1);
}

#[tokio::test]
async fn an_end_in_the_first_poll_inherits_nothing_either() {
    static SAW: Mutex<Option<Option<TraceContext>>> = Mutex::new(None);
    struct Fails;
    impl Actor for Fails {
        type Message = ();
        async fn start(&mut self, _: &mut Context<Self>) -> Result<(), ExitReason> {
            Err(ExitReason::Normal)
        }
        async fn handle(&mut self, (): (), _: &mut Context<Self>) -> Result<(), ExitReason> {
            Ok(())
        }
        fn on_exit(_: &Exit) {
            *SAW.lock().unwrap() = Some(TraceContext::current());
        }
    }
    let system = System::new();
    let spawned = system.spawn("b", MailboxOptions::default(), || Fails);
    assert!(TraceContext::root(false).scope(spawned).await.is_err());
    assert_eq!(*SAW.lock().unwrap(), Some(None));
}

#[tokio::test]
async fn who_starts_one_actor_after_the_other_lets_others_run() {
    let (system, ran) = (System::new(), Arc::new(AtomicBool::new(false)));
    let top = system.supervise_dynamic(DynamicSpec::new("top")).await.unwrap();
    for is_supervised in [false, true] {
        ran.store(false, Ordering::SeqCst);
        let runs = ran.clone();
        tokio::spawn(async move { runs.store(true, Ordering::SeqCst) });
        for n in 0.. {
            let name = format!("{is_supervised}-{n}");
            let quick = || Starter::new(|_| Box::pin(async { Ok(()) }));
            let started = if is_supervised {
                top.spawn(name, MailboxOptions::default(), quick).await.is_ok()
            } else {
                system.spawn(name, MailboxOptions::default(), quick).await.is_ok()
            };
            assert!(started && n < 1_000, "nobody else had a turn");
            if ran.load(Ordering::SeqCst) {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_actor_tells_itself_in_its_start_does_not_keep_its_spawner() {
    struct Later(Option<(std::sync::mpsc::Receiver<()>, oneshot::Sender<bool>)>);
    impl Actor for Later {
        type Message = ();
        async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
            ctx.address().try_tell(()).expect("room");
            Ok(())
        }
        async fn handle(&mut self, (): (), _: &mut Context<Self>) -> Result<(), ExitReason> {
            let (waits, saw) = self.0.take().expect("one message");
            saw.send(waits.recv_timeout(Duration::from_secs(2)).is_ok()).expect("the test waits");
            Ok(())
        }
    }
    let (go, waits) = std::sync::mpsc::channel();
    let (saw, sees) = oneshot::channel();
    let later = Later(Some((waits, saw)));
    let system = System::new();
    let address = system.spawn("later", MailboxOptions::default(), move || later).await.unwrap();
    go.send(()).expect("its handler waits, or did");
    assert!(sees.await.unwrap(), "the handler ran before `spawn` returned");
    drop(address);
}

#[test]
fn a_child_asked_for_outside_of_a_runtime_is_not_there_afterwards() {
    let (runtime, system) = (tokio::runtime::Runtime::new().unwrap(), System::new());
    let top = runtime.block_on(system.supervise_dynamic(DynamicSpec::new("top"))).unwrap();
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let make = || Starter::new(|_| Box::pin(async { Ok(()) }));
        let mut spawned = std::pin::pin!(top.spawn("a", MailboxOptions::default(), make));
        spawned.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())).is_ready()
    }));
    assert!(asked.is_err());
    runtime.block_on(until(|| top.count_children().specs == 0));
}
