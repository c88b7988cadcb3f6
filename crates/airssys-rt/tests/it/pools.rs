//! Worker pools: one queue, whoever is free, and a number of workers that can change.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_rt::{
    Actor, AskError, Busy, ChildSpec, Context, DeadLetterCounts, ExitReason, Job, MailboxOptions, NodeState,
    Overflow, Pool, PoolSpec, ReplyTo, ResizeError, Shutdown, Supervisor, SupervisorError, SupervisorSpec,
    System, TellError,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::probe::{SOON, until};

/// What the workers of a pool share with the test.
#[derive(Clone, Default)]
struct Shop {
    done: Arc<Mutex<Vec<u32>>>,
    /// Starts of workers that are to take a second, and to fail.
    slow_starts: Arc<AtomicU32>,
    failing_starts: Arc<AtomicU32>,
}

impl Shop {
    fn done(&self) -> Vec<u32> {
        self.done.lock().unwrap().clone()
    }
}

struct Worker {
    shop: Shop,
    kept: Option<Busy>,
}

enum Work {
    Do(u32),
    WhoAmI(ReplyTo<String>),
    /// Takes until the gate is opened.
    Wait(Arc<Notify>),
    Panic(ReplyTo<()>),
    /// Answers, and stays busy until the gate is opened.
    Linger(Arc<Notify>, ReplyTo<()>),
    KeepBusy,
    Deadline(ReplyTo<bool>),
}

fn counted(starts: &AtomicU32) -> bool {
    starts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

impl Actor for Worker {
    type Message = Job<Work>;

    async fn start(&mut self, _: &mut Context<Self>) -> Result<(), ExitReason> {
        if counted(&self.shop.slow_starts) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if counted(&self.shop.failing_starts) { Err(ExitReason::Killed) } else { Ok(()) }
    }

    async fn handle(&mut self, job: Job<Work>, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        match job.message {
            Work::Do(number) => self.shop.done.lock().unwrap().push(number),
            Work::WhoAmI(reply) => drop(reply.send(ctx.name().to_owned())),
            Work::Wait(gate) => gate.notified().await,
            Work::Panic(_reply) => panic!("as told"),
            Work::Linger(gate, reply) => {
                reply.send(()).unwrap();
                let busy = job.busy;
                tokio::spawn(async move {
                    gate.notified().await;
                    drop(busy);
                });
            }
            Work::KeepBusy => self.kept = Some(job.busy),
            Work::Deadline(reply) => drop(reply.send(ctx.deadline().is_some())),
        }
        Ok(())
    }
}

fn spec(shop: &Shop, workers: usize) -> PoolSpec<Worker> {
    let shop = shop.clone();
    PoolSpec::new("pool", workers, move || Worker { shop: shop.clone(), kept: None })
}

async fn start(system: &System, spec: PoolSpec<Worker>) -> (Supervisor, Pool<Work>) {
    let (spec, pool) = spec.build(system);
    (system.supervise(spec.intensity(1_000_000, SOON)).await.unwrap(), pool)
}

async fn pool(workers: usize, queue: MailboxOptions) -> (System, Pool<Work>, Shop) {
    let (system, shop) = (System::new(), Shop::default());
    let (_, pool) = start(&system, spec(&shop, workers).queue(queue)).await;
    (system, pool, shop)
}

/// Keeps that many workers busy until the gate is opened.
async fn occupy(pool: &Pool<Work>, workers: usize) -> Arc<Notify> {
    let gate = Arc::new(Notify::new());
    let busy = pool.stats().busy + workers;
    for _ in 0..workers {
        pool.try_tell(Work::Wait(gate.clone())).map_err(drop).unwrap();
    }
    until(|| pool.stats().busy == busy).await;
    gate
}

async fn who(pool: &Pool<Work>) -> String {
    pool.ask(SOON, Work::WhoAmI).await.unwrap()
}

fn numbers(stats: airssys_rt::PoolStats) -> (usize, usize, usize, usize) {
    (stats.queued, stats.busy, stats.workers, stats.leaving)
}

#[tokio::test(start_paused = true)]
async fn a_slow_worker_delays_nobody() {
    let (_system, pool, shop) = pool(2, MailboxOptions::default()).await;
    let gate = occupy(&pool, 1).await;
    for n in 0..100 {
        pool.try_tell(Work::Do(n)).map_err(drop).unwrap();
    }
    until(|| shop.done().len() == 100).await;
    assert_eq!(numbers(pool.stats()), (0, 1, 2, 0));
    assert_eq!(shop.done(), (0..100).collect::<Vec<_>>(), "one worker does them in the order sent");
    gate.notify_one();
    until(|| pool.stats().busy == 0).await;
}

#[tokio::test(start_paused = true)]
async fn jobs_wait_while_all_are_busy_and_no_longer() {
    let (_system, pool, shop) = pool(2, MailboxOptions::default()).await;
    let gate = occupy(&pool, 2).await;
    pool.try_tell(Work::Do(1)).map_err(drop).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(numbers(pool.stats()), (1, 2, 2, 0));
    assert!(shop.done().is_empty());
    gate.notify_one();
    until(|| shop.done() == [1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_is_done_once() {
    const SENDERS: u32 = 4;
    const JOBS: u32 = 2_000;
    let (_system, pool, shop) = pool(3, MailboxOptions::bounded(16)).await;
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for n in 0..JOBS {
                    pool.tell(Work::Do(sender * JOBS + n)).await.map_err(drop).unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    until(|| shop.done().len() == (SENDERS * JOBS) as usize).await;
    let done: BTreeSet<u32> = shop.done().into_iter().collect();
    assert_eq!(done.len(), (SENDERS * JOBS) as usize);
    assert_eq!(numbers(pool.stats()), (0, 0, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn the_queue_holds_as_many_jobs_as_it_says_and_the_next_comes_back() {
    let queue = MailboxOptions::bounded(2).overflow(Overflow::Reject);
    let (_system, pool, shop) = pool(1, queue).await;
    let gate = occupy(&pool, 1).await;
    for n in 0..2 {
        pool.try_tell(Work::Do(n)).map_err(drop).unwrap();
    }
    assert!(matches!(pool.try_tell(Work::Do(2)), Err(TellError::Full(Work::Do(2)))));
    assert!(matches!(pool.tell(Work::Do(3)).await, Err(TellError::Full(Work::Do(3)))));
    let refused = pool.ask(SOON, Work::WhoAmI).await;
    assert!(matches!(refused, Err(AskError::NotSent(TellError::Full(Work::WhoAmI(_))))));
    assert_eq!(pool.stats().queued, 2);
    gate.notify_one();
    until(|| shop.done() == [0, 1]).await;
    pool.try_tell(Work::Do(4)).map_err(drop).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_queue_with_room_to_come_lets_senders_wait() {
    let (_system, pool, shop) = pool(1, MailboxOptions::bounded(1)).await;
    let gate = occupy(&pool, 1).await;
    pool.tell(Work::Do(0)).await.map_err(drop).unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.tell(Work::Do(1)).await.is_ok() }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    gate.notify_one();
    assert!(waiting.await.unwrap());
    until(|| shop.done() == [0, 1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_may_drop_its_oldest_job_or_the_newest() {
    for (overflow, kept, lost) in [
        (Overflow::DropOldest, [2, 3], DeadLetterCounts { dropped_oldest: 2, ..Default::default() }),
        (Overflow::DropNewest, [0, 1], DeadLetterCounts { dropped_newest: 2, ..Default::default() }),
    ] {
        let (system, pool, shop) = pool(1, MailboxOptions::bounded(2).overflow(overflow)).await;
        let gate = occupy(&pool, 1).await;
        for n in 0..4 {
            pool.tell(Work::Do(n)).await.map_err(drop).unwrap();
        }
        gate.notify_one();
        until(|| shop.done() == kept).await;
        assert_eq!(system.dead_letters(), lost);
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_the_job_in_work_and_no_other() {
    let (system, pool, shop) = pool(1, MailboxOptions::default()).await;
    let began = Instant::now();
    let crashing = pool.ask(SOON, Work::Panic);
    let others = async {
        for n in 0..10 {
            pool.tell(Work::Do(n)).await.map_err(drop).unwrap();
        }
        who(&pool).await
    };
    let (crashed, answered) = tokio::join!(crashing, others);
    assert!(matches!(crashed, Err(AskError::Died)));
    assert!(began.elapsed() < SOON);
    assert_eq!(answered, "pool/1");
    assert_eq!(shop.done(), (0..10).collect::<Vec<_>>());
    assert_eq!(system.dead_letters(), DeadLetterCounts::default());
}

#[tokio::test(start_paused = true)]
async fn no_job_waits_for_a_worker_that_is_being_restarted_while_another_is_free() {
    let (system, pool, shop) = pool(2, MailboxOptions::default()).await;
    for crash in [true, false] {
        shop.slow_starts.store(1, Ordering::Relaxed);
        let first = who(&pool).await;
        if crash {
            assert!(matches!(pool.ask(SOON, Work::Panic).await, Err(AskError::Died)));
        } else {
            system.exit(system.lookup::<Job<Work>>(&first).unwrap().id(), ExitReason::Killed);
        }
        let began = Instant::now();
        for _ in 0..3 {
            assert_ne!(who(&pool).await, first);
        }
        assert!(began.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        // Back again, it takes jobs.
        let gate = occupy(&pool, 2).await;
        gate.notify_waiters();
        until(|| pool.stats().busy == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_wait_for_the_restart_of_the_only_worker() {
    let (_system, pool, shop) = pool(1, MailboxOptions::bounded(4)).await;
    shop.slow_starts.store(1, Ordering::Relaxed);
    assert!(pool.ask(SOON, Work::Panic).await.is_err());
    let began = Instant::now();
    assert_eq!(who(&pool).await, "pool/1");
    assert!(began.elapsed() >= Duration::from_millis(900));
}

#[tokio::test(start_paused = true)]
async fn a_job_handed_to_a_worker_that_ends_before_it_begins_is_done_by_its_next_incarnation() {
    let (system, pool, shop) = pool(1, MailboxOptions::default()).await;
    let worker = system.lookup::<Job<Work>>("pool/1").unwrap();
    worker.sys().suspend(SOON).await.unwrap();
    pool.try_tell(Work::Do(1)).map_err(drop).unwrap();
    until(|| worker.stats().depth == 1).await;
    assert_eq!(pool.stats().busy, 1);
    worker.exit(ExitReason::Killed);
    until(|| shop.done() == [1]).await;
    assert_eq!(who(&pool).await, "pool/1");
}

#[tokio::test(start_paused = true)]
async fn while_no_worker_is_up_the_dispatcher_holds_one_job_beside_the_queue_and_loses_it_with_its_life() {
    let (system, pool, shop) = pool(1, MailboxOptions::bounded(1).overflow(Overflow::Reject)).await;
    shop.slow_starts.store(1, Ordering::Relaxed);
    let worker = system.lookup::<Job<Work>>("pool/1").unwrap();
    worker.exit(ExitReason::Killed);
    let asking = tokio::spawn({
        let pool = pool.clone();
        async move { pool.ask(SOON, Work::WhoAmI).await.map_err(|error| matches!(error, AskError::Died)) }
    });
    until(|| pool.stats().queued == 1 && pool.address().stats().depth == 0).await;
    pool.try_tell(Work::Do(1)).map_err(drop).unwrap();
    assert!(matches!(pool.try_tell(Work::Do(2)), Err(TellError::Full(_))));
    assert_eq!(pool.stats().queued, 2);
    assert!(system.exit(pool.id(), ExitReason::Killed));
    assert_eq!(asking.await.unwrap(), Err(true));
    until(|| shop.done() == [1]).await;
    assert_eq!(pool.stats().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_busy_until_its_busy_is_dropped() {
    let (_system, pool, _) = pool(1, MailboxOptions::default()).await;
    let gate = Arc::new(Notify::new());
    pool.ask(SOON, |reply| Work::Linger(gate.clone(), reply)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pool.stats().busy, 1);
    let late = pool.ask(Duration::from_secs(1), Work::WhoAmI).await;
    assert!(matches!(late, Err(AskError::Timeout)));
    gate.notify_one();
    assert_eq!(who(&pool).await, "pool/1");
    assert_eq!(pool.stats().busy, 0);
}

#[tokio::test(start_paused = true)]
async fn what_keeps_a_worker_busy_ends_with_the_worker() {
    let (system, pool, _) = pool(1, MailboxOptions::default()).await;
    pool.try_tell(Work::KeepBusy).map_err(drop).unwrap();
    until(|| pool.stats().busy == 1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pool.stats().busy, 1);
    let worker = system.lookup::<Job<Work>>("pool/1").unwrap();
    worker.exit(ExitReason::Killed);
    assert_eq!(who(&pool).await, "pool/1");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_goes_with_the_job_and_an_expired_job_is_not_done() {
    let (system, pool, shop) = pool(1, MailboxOptions::default()).await;
    assert!(pool.ask(SOON, Work::Deadline).await.unwrap());
    let gate = occupy(&pool, 1).await;
    assert!(matches!(pool.ask(Duration::from_secs(1), Work::WhoAmI).await, Err(AskError::Timeout)));
    pool.try_tell(Work::Do(1)).map_err(drop).unwrap();
    gate.notify_one();
    until(|| shop.done() == [1]).await;
    assert_eq!(system.dead_letters(), DeadLetterCounts { expired: 1, ..Default::default() });
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_grows_gives_waiting_jobs_to_the_new_workers() {
    let (system, pool, shop) = pool(1, MailboxOptions::default()).await;
    let _gate = occupy(&pool, 1).await;
    for n in 0..4 {
        pool.try_tell(Work::Do(n)).map_err(drop).unwrap();
    }
    pool.resize(3, SOON).await.unwrap();
    until(|| shop.done().len() == 4).await;
    assert_eq!(numbers(pool.stats()), (0, 1, 3, 0));
    assert!(system.lookup::<Job<Work>>("pool/3").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_shrinks_stops_idle_workers_first_and_interrupts_nobody() {
    let (system, pool, _) = pool(4, MailboxOptions::default()).await;
    let gate = occupy(&pool, 2).await;
    pool.resize(2, SOON).await.unwrap();
    assert_eq!(numbers(pool.stats()), (0, 2, 2, 0));
    pool.resize(1, SOON).await.unwrap();
    assert_eq!(numbers(pool.stats()), (0, 2, 1, 1), "both are busy, so one is still to leave");
    gate.notify_waiters();
    until(|| numbers(pool.stats()) == (0, 0, 1, 0)).await;
    until(|| workers(&system).len() == 1).await;
    assert_eq!(who(&pool).await, workers(&system)[0]);
    assert_eq!(system.dead_letters(), DeadLetterCounts::default());
}

/// The workers in the tree.
fn workers(system: &System) -> Vec<String> {
    let is_worker = |name: &str| name.rsplit('/').next().is_some_and(|end| end.parse::<u64>().is_ok());
    let tree = system.tree();
    let children = tree.iter().find(|node| &*node.name == "pool").map(|node| node.children.clone());
    let running = children.into_iter().flatten().filter(|node| node.state == NodeState::Running);
    running.map(|node| node.name.to_string()).filter(|name| is_worker(name)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_grows_again_keeps_the_busy_workers_that_were_to_leave() {
    let (system, pool, _) = pool(3, MailboxOptions::default()).await;
    let gate = occupy(&pool, 3).await;
    pool.resize(1, SOON).await.unwrap();
    assert_eq!(numbers(pool.stats()), (0, 3, 1, 2));
    pool.resize(4, SOON).await.unwrap();
    assert_eq!(numbers(pool.stats()), (0, 3, 4, 0));
    gate.notify_waiters();
    until(|| pool.stats().busy == 0).await;
    assert_eq!(workers(&system), ["pool/1", "pool/2", "pool/3", "pool/4"]);
    let _gate = occupy(&pool, 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_has_at_most_as_many_workers_as_it_may_and_at_least_one() {
    let (system, shop) = (System::new(), Shop::default());
    let (_top, pool) = start(&system, spec(&shop, 0).workers_max(3)).await;
    assert_eq!(pool.stats().workers, 1);
    pool.resize(3, SOON).await.unwrap();
    assert!(matches!(pool.resize(4, SOON).await, Err(ResizeError::TooMany { max: 3 })));
    assert_eq!(pool.stats().workers, 3);
    pool.resize(0, SOON).await.unwrap();
    assert_eq!(pool.stats().workers, 1);
    assert_eq!(workers(&system).len(), 1);
    let other = System::new();
    let (_top, pool) = start(&other, spec(&shop, 1)).await;
    assert!(matches!(pool.resize(1025, SOON).await, Err(ResizeError::TooMany { max: 1024 })));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_start_leaves_the_pool_as_large_as_it_was() {
    let (_system, pool, shop) = pool(2, MailboxOptions::default()).await;
    shop.failing_starts.store(1, Ordering::Relaxed);
    let failed = pool.resize(4, SOON).await.unwrap_err();
    assert!(matches!(failed, ResizeError::Start { worker, source: SupervisorError::Start { .. } }
        if &*worker == "pool/3"));
    assert_eq!(numbers(pool.stats()), (0, 0, 2, 0));
    pool.resize(4, SOON).await.unwrap();
    assert_eq!(numbers(pool.stats()), (0, 0, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_pool_has_its_queue_and_the_size_it_had() {
    for size in [1, 4] {
        let (system, shop) = (System::new(), Shop::default());
        let (spec, pool) = spec(&shop, 2).build(&system);
        let top = SupervisorSpec::new("top").child(ChildSpec::supervisor(spec.intensity(0, SOON)));
        system.supervise(top).await.unwrap();
        pool.resize(size, SOON).await.unwrap();
        let _gate = occupy(&pool, size).await;
        for n in 0..3 {
            pool.try_tell(Work::Do(n)).map_err(drop).unwrap();
        }
        // One crash is one too many; it takes the others along.
        let worker = system.lookup::<Job<Work>>("pool/2").or_else(|| system.lookup("pool/1")).unwrap();
        worker.exit(ExitReason::Killed);
        until(|| shop.done() == [0, 1, 2]).await;
        assert_eq!(system.tree()[0].children[0].restarts, 1, "of the whole pool");
        until(|| numbers(pool.stats()) == (0, 0, size, 0)).await;
        let gate = occupy(&pool, size).await;
        gate.notify_waiters();
        until(|| pool.stats().busy == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_survives_the_end_of_its_dispatcher_and_of_the_foreman() {
    let (system, pool, shop) = pool(2, MailboxOptions::default()).await;
    pool.resize(3, SOON).await.unwrap();
    let gate = occupy(&pool, 3).await;
    for n in 0..5 {
        pool.try_tell(Work::Do(n)).map_err(drop).unwrap();
    }
    pool.resize(2, SOON).await.unwrap();
    for name in ["pool/queue", "pool/foreman"] {
        let id = system.tree()[0].children.iter().find(|node| &*node.name == name).unwrap().id;
        assert!(system.exit(id, ExitReason::Killed));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(numbers(pool.stats()), (5, 3, 2, 1), "busy workers are not disturbed");
    gate.notify_waiters();
    until(|| shop.done().len() == 5).await;
    until(|| numbers(pool.stats()) == (0, 0, 2, 0)).await;
    until(|| workers(&system).len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn jobs_sent_before_the_pool_starts_wait_for_it() {
    let (system, shop) = (System::new(), Shop::default());
    let (spec, pool) = spec(&shop, 2).build(&system);
    pool.try_tell(Work::Do(1)).map_err(drop).unwrap();
    assert!(matches!(pool.resize(3, Duration::from_secs(1)).await, Err(ResizeError::Timeout)));
    assert_eq!(pool.stats().queued, 1);
    system.supervise(spec).await.unwrap();
    until(|| shop.done() == [1]).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_when_a_pool_ends_is_lost_and_counted_and_its_askers_know() {
    let (system, shop) = (System::new(), Shop::default());
    let (top, pool) = start(&system, spec(&shop, 1)).await;
    let _gate = occupy(&pool, 1).await;
    pool.try_tell(Work::Do(1)).map_err(drop).unwrap();
    let asking = tokio::spawn({
        let pool = pool.clone();
        async move { pool.ask(SOON, Work::WhoAmI).await.map_err(|error| matches!(error, AskError::Died)) }
    });
    until(|| pool.stats().queued == 2).await;
    top.stop().await;
    assert_eq!(asking.await.unwrap(), Err(true));
    assert!(shop.done().is_empty());
    assert_eq!(system.dead_letters(), DeadLetterCounts { closed: 2, ..Default::default() });
    assert!(matches!(pool.try_tell(Work::Do(2)), Err(TellError::Closed(Work::Do(2)))));
    assert!(matches!(pool.resize(2, SOON).await, Err(ResizeError::Gone)));
}

#[tokio::test(start_paused = true)]
async fn workers_can_be_specified_further() {
    let (system, shop) = (System::new(), Shop::default());
    let spec = spec(&shop, 1).worker(|child| child.shutdown(Shutdown::Brutal));
    let (_top, pool) = start(&system, spec).await;
    let _gate = occupy(&pool, 1).await;
    let began = Instant::now();
    assert!(system.shutdown(SOON).await.is_clean());
    assert!(began.elapsed() < SOON);
}

/// Takes jobs and other messages.
struct Mixed;

enum Message {
    Job(Job<Work>),
    Name(ReplyTo<String>),
}

impl From<Job<Work>> for Message {
    fn from(job: Job<Work>) -> Self {
        Self::Job(job)
    }
}

impl Actor for Mixed {
    type Message = Message;

    async fn handle(&mut self, message: Message, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        match message {
            Message::Job(Job { message: Work::WhoAmI(reply), .. }) | Message::Name(reply) => {
                drop(reply.send(ctx.name().to_owned()));
            }
            Message::Job(job) => drop(job),
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_may_take_other_messages_beside_its_jobs() {
    let system = System::new();
    let (spec, pool) = PoolSpec::new("mixed", 1, || Mixed).build::<Work>(&system);
    system.supervise(spec).await.unwrap();
    let worker = system.lookup::<Message>("mixed/1").unwrap();
    assert_eq!(worker.ask(SOON, Message::Name).await.unwrap(), "mixed/1");
    assert_eq!(who(&pool).await, "mixed/1");
    worker.try_tell(Message::Job(Job::new(Work::Do(1)))).map_err(drop).unwrap();
    assert_eq!(worker.ask(SOON, Message::Name).await.unwrap(), "mixed/1");
    assert_eq!(pool.stats().busy, 0);
}

/// Whatever ends and changes meanwhile, every job has one outcome and the pool comes to rest at its size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_resolves_once_through_crashes_kills_and_resizes() {
    const ASKERS: u64 = 4;
    const ASKS: u32 = 400;
    let (system, pool, _) = pool(3, MailboxOptions::bounded(8)).await;
    let askers: Vec<_> = (0..ASKERS)
        .map(|asker| {
            let (system, pool) = (system.clone(), pool.clone());
            tokio::spawn(async move {
                let mut random = asker + 1;
                let (mut answered, mut died) = (0, 0);
                for _ in 0..ASKS {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    match random >> 59 {
                        0..=1 => assert!(matches!(pool.ask(SOON, Work::Panic).await, Err(AskError::Died))),
                        2 => {
                            let workers = system.tree()[0].children.clone();
                            let victim = &workers[(random >> 30) as usize % workers.len()];
                            if !victim.name.ends_with("queue") {
                                system.exit(victim.id, ExitReason::Killed);
                            }
                        }
                        3 if asker == 0 => {
                            pool.resize(1 + (random >> 30) as usize % 6, SOON).await.unwrap_or(());
                        }
                        _ => {}
                    }
                    match pool.ask(SOON, Work::WhoAmI).await {
                        Ok(_) => answered += 1,
                        Err(AskError::Died) => died += 1,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                (answered, died)
            })
        })
        .collect();
    let mut answered = 0;
    for asker in askers {
        let (this, died) = asker.await.unwrap();
        assert_eq!(this + died, ASKS);
        answered += this;
    }
    assert!(answered > 0);
    pool.resize(5, SOON).await.unwrap();
    until(|| numbers(pool.stats()) == (0, 0, 5, 0)).await;
    until(|| workers(&system).len() == 5).await;
    let gate = occupy(&pool, 5).await;
    gate.notify_waiters();
    until(|| pool.stats().busy == 0).await;
}
