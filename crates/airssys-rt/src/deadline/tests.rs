//! The wheel against the clock: who waits is woken at its time, and who left is not.

use std::time::Duration;

use std::sync::atomic::AtomicU32;
use std::task::Wake;

use proptest::prelude::*;
use tokio::runtime::Runtime;
use tokio::time::{advance, sleep};

use super::*;
use crate::{Actor, Context, ExitReason, MailboxOptions, ReplyTo};

/// A millisecond, and what a tick of the wheel is longer than one.
const LATE_MAX: i64 = 1_050_000;

/// Notes when it is woken first, and how often.
#[derive(Default)]
struct Waiter {
    woken_at: AtomicI64,
    wakes: AtomicU32,
}

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        if self.wakes.fetch_add(1, Ordering::Relaxed) == 0 {
            self.woken_at.store(clock::now(), Ordering::Relaxed);
        }
    }
}

impl Waiter {
    /// Enters a wait that ends `after` from now.
    fn enter(system: &System, after: Duration) -> (Arc<Self>, i64, Registration) {
        let waiter = Arc::new(Self::default());
        let at = clock::add(clock::now(), after);
        let entry = system.deadlines().insert(system, at, &Waker::from(waiter.clone()));
        (waiter, at, entry)
    }

    fn wakes(&self) -> u32 {
        self.wakes.load(Ordering::Relaxed)
    }

    fn late(&self, at: i64) -> i64 {
        self.woken_at.load(Ordering::Relaxed) - at
    }
}

fn paused() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

/// Microseconds: much is near, some beyond a turn of the wheel, which is 268 ms, and some beyond several.
fn after_us() -> impl Strategy<Value = u64> {
    prop_oneof![1..20_000_u64, 1..600_000_u64, 1..3_000_000_u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn who_waits_is_woken_once_at_its_time_and_who_left_is_not(
        waits in prop::collection::vec((after_us(), 0..40_000_u64, prop::option::of(after_us())), 1..60),
    ) {
        paused().block_on(async {
            let system = System::new();
            let mut entered = Vec::new();
            for (after, pause, leaves) in waits {
                let after = Duration::from_micros(after);
                let (waiter, at, entry) = Waiter::enter(&system, after);
                let leaving = leaves.map(|leaves| {
                    let system = system.clone();
                    let leaves = Duration::from_micros(leaves);
                    tokio::spawn(async move {
                        sleep(leaves).await;
                        system.deadlines().remove(&entry);
                        clock::now()
                    })
                });
                entered.push((waiter, at, leaving));
                sleep(Duration::from_micros(pause)).await;
            }
            sleep(Duration::from_secs(4)).await;
            for (waiter, at, leaving) in entered {
                let left_at = match leaving {
                    Some(leaving) => leaving.await.unwrap(),
                    None => NEVER,
                };
                if left_at < at {
                    assert_eq!(waiter.wakes(), 0, "it left");
                } else if left_at > at + LATE_MAX {
                    assert_eq!(waiter.wakes(), 1);
                    assert!((0..=LATE_MAX).contains(&waiter.late(at)), "{} ns late", waiter.late(at));
                }
            }
            assert_eq!(entries_len(&system), 0);
        });
    }
}

fn entries_len(system: &System) -> usize {
    (0..SHARDS_LEN).map(|index| system.deadlines().shard(index).len).sum()
}

struct Echo;

impl Actor for Echo {
    type Message = ReplyTo<()>;

    async fn handle(&mut self, reply: ReplyTo<()>, _: &mut Context<Self>) -> Result<(), ExitReason> {
        reply.send(()).map_err(|()| std::fmt::Error.into())
    }
}

#[test]
fn a_request_that_is_answered_or_given_up_leaves_nothing_behind() {
    paused().block_on(async {
        let system = System::new();
        let echo = system.spawn("echo", MailboxOptions::default(), || Echo).await.unwrap();
        let long = Duration::from_secs(3600);
        for _ in 0..100 {
            echo.ask(long, |reply| reply).await.unwrap();
        }
        assert_eq!(entries_len(&system), 0);
        echo.sys().suspend(long).await.unwrap();
        let asking = tokio::spawn(async move { echo.ask(long, |reply| reply).await });
        sleep(Duration::from_secs(1)).await;
        assert_eq!(entries_len(&system), 1);
        asking.abort();
        assert!(asking.await.is_err());
        assert_eq!(entries_len(&system), 0);
    });
}

#[test]
fn waits_from_many_threads_end_at_their_time() {
    let runtime = paused();
    let system = System::new();
    let handle = runtime.handle().clone();
    let mut entered = Vec::new();
    for thread in 0..2 * SHARDS_LEN as u64 {
        let (system, handle) = (system.clone(), handle.clone());
        let entering = std::thread::spawn(move || {
            let _entered = handle.enter();
            (0..50)
                .map(|n| Waiter::enter(&system, Duration::from_micros(n * 17_000 + thread)))
                .collect::<Vec<_>>()
        });
        entered.extend(entering.join().unwrap());
    }
    runtime.block_on(async { sleep(Duration::from_secs(2)).await });
    for (waiter, at, _) in entered {
        assert_eq!(waiter.wakes(), 1);
        assert!((0..=LATE_MAX).contains(&waiter.late(at)), "{} ns late", waiter.late(at));
    }
}

#[test]
fn an_entry_that_was_woken_is_not_taken_for_the_one_in_its_place() {
    paused().block_on(async {
        let system = System::new();
        let (first, _, entry) = Waiter::enter(&system, Duration::from_millis(1));
        sleep(Duration::from_millis(300)).await;
        assert_eq!(first.wakes(), 1);
        let mut others = Vec::new();
        for ms in 1..400 {
            others.push(Waiter::enter(&system, Duration::from_millis(ms)));
        }
        system.deadlines().remove(&entry);
        sleep(Duration::from_millis(500)).await;
        assert!(others.iter().all(|(other, ..)| other.wakes() == 1));
    });
}

/// As when a system is used in one test with a paused clock after another, or the clock stands still from before its first use.
#[test]
fn a_clock_that_is_behind_the_last_one_seen_keeps_its_time() {
    let system = System::new();
    let ahead = paused();
    let early = ahead.block_on(async {
        advance(Duration::from_secs(3600)).await;
        let entered = Waiter::enter(&system, Duration::from_millis(5));
        sleep(Duration::from_millis(10)).await;
        entered
    });
    assert_eq!(early.0.wakes(), 1);
    drop(ahead);
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        paused().block_on(async {
            for ms in [1, 5, 50, 500] {
                let began = tokio::time::Instant::now();
                wait(&system, Duration::from_millis(ms)).await;
                done.send((ms, began.elapsed())).unwrap();
            }
        });
    });
    for ms in [1, 5, 50, 500] {
        let ended = is_done.recv_timeout(Duration::from_secs(10)).expect("it ends");
        assert_eq!(ended.0, ms);
        assert!(ended.1 <= Duration::from_millis(ms + 2), "{ended:?}");
    }
}

/// Waits as a request does: whoever is woken too early enters again.
async fn wait(system: &System, time: Duration) {
    let deadline = clock::add(clock::now(), time);
    let mut entry: Option<Registration> = None;
    std::future::poll_fn(|cx| {
        if let Some(entry) = entry.take() {
            system.deadlines().remove(&entry);
            if clock::now() >= deadline {
                return std::task::Poll::Ready(());
            }
        }
        entry = Some(system.deadlines().insert(system, deadline, cx.waker()));
        std::task::Poll::Pending
    })
    .await;
}

#[test]
fn who_waits_when_the_keeper_of_the_time_is_gone_is_woken_to_find_another() {
    let (first, second) = (paused(), paused());
    let system = System::new();
    first.block_on(async {
        let (waiter, ..) = Waiter::enter(&system, Duration::from_millis(5));
        sleep(Duration::from_millis(10)).await;
        assert_eq!(waiter.wakes(), 1);
    });
    let long = Duration::from_secs(60);
    second.block_on(async {
        let waiting = tokio::spawn({
            let system = system.clone();
            async move { wait(&system, long).await }
        });
        let (woken, ..) = Waiter::enter(&system, long);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(woken.wakes(), 0);
        std::thread::spawn(move || drop(first)).join().unwrap();
        assert_eq!(woken.wakes(), 1, "though its time has not come");
        assert!(!waiting.is_finished());
        sleep(long).await;
        assert!(waiting.is_finished());
    });
}

#[test]
fn the_keeper_ends_with_its_system() {
    paused().block_on(async {
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let system = System::new();
        let (_, _, entry) = Waiter::enter(&system, Duration::from_millis(5));
        system.deadlines().remove(&entry);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(tasks(), 1);
        drop(system);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(tasks(), 0);
    });
}
