//! The laws of supervision in random trees, with random crashes, kills, stops and clients, each a seed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use airssys_rt::testing::{self, Fault, Faults, Fingerprint, Probe, Random, Seeded};
use airssys_rt::{
    Actor, ActorId, Address, AskError, Backoff, ChildSpec, Context, ExitReason, MailboxOptions, Overflow,
    ReplyTo, Restart, Shutdown, Signal, SpawnError, StartError, Strategy, SupervisorSpec, System,
    SystemOptions,
};

use crate::ledger::{Era, Ledger, Name, SupervisorBook};
use crate::probe::{ToldToFail, answer};

/// Longer than a run whose actors are busy, so that whoever waits for it waits for something that will never come.
const HOUR: Duration = Duration::from_secs(3600);

fn millis(random: &mut Random, below: u64) -> Duration {
    Duration::from_millis(random.below(below))
}

enum Job {
    /// Of this sender, with this number.
    Note(u64, u64),
    Ask(u64, ReplyTo<u64>),
    Work(Duration, ReplyTo<()>),
    /// Keeps the request until the incarnation ends.
    Hold(ReplyTo<()>),
    /// Asks another before it answers.
    Pass(usize, u64, ReplyTo<Option<u64>>),
    Link(ActorId, Name),
    Fail,
    Panic,
    Stop,
}

/// What a worker does beside what it is told, the same for all its incarnations.
#[derive(Clone)]
struct Habits {
    traps: bool,
    finishes: bool,
    takes_ms_max: u64,
    /// One start in so many fails.
    failing_starts: u64,
    panicking_stops: u64,
}

impl Habits {
    fn draw(random: &mut Random) -> Self {
        Self {
            traps: random.one_in(4),
            finishes: random.one_in(4),
            takes_ms_max: [0, 0, 5, 40][random.below(4) as usize],
            failing_starts: [0, 0, 0, 12][random.below(4) as usize],
            panicking_stops: [0, 0, 0, 6][random.below(4) as usize],
        }
    }
}

struct Worker {
    name: Name,
    town: Arc<Town>,
    habits: Habits,
    random: Random,
    held: Vec<ReplyTo<()>>,
}

/// All there is in one run. The addresses come when all are made.
struct Town {
    system: System,
    ledger: Arc<Ledger>,
    workers: std::sync::OnceLock<Vec<(Name, Address<Job>)>>,
}

impl Town {
    fn workers(&self) -> &[(Name, Address<Job>)] {
        self.workers.get().expect("nobody works before all are made")
    }

    fn make(self: &Arc<Self>, name: &Name, habits: &Habits) -> Worker {
        self.ledger.made(name);
        let mut random = testing::random(&self.system);
        assert!(habits.failing_starts == 0 || !random.one_in(50), "no worker today");
        self.ledger.instance(1);
        Worker { name: name.clone(), town: self.clone(), habits: habits.clone(), random, held: Vec::new() }
    }

    async fn ask<R: Send>(
        &self,
        worker: usize,
        timeout: Duration,
        make: impl FnOnce(ReplyTo<R>) -> Job,
    ) -> Result<R, AskError<Job>> {
        let (name, address) = &self.workers()[worker];
        self.ledger.sending(name);
        let answer = address.ask(timeout, make).await;
        self.ledger.sent(
            name,
            match &answer {
                Err(AskError::NotSent(error)) => Err(error),
                Ok(_) | Err(AskError::Died | AskError::Timeout) => Ok(()),
            },
        );
        if timeout == HOUR && matches!(answer, Err(AskError::Timeout)) {
            self.ledger.forgotten(name);
        }
        answer
    }

    async fn tell(&self, worker: usize, job: Job, waits: bool) {
        let (name, address) = &self.workers()[worker];
        self.ledger.sending(name);
        let told = if waits {
            let Ok(told) = tokio::time::timeout(HOUR, address.tell(job)).await else {
                return self.ledger.forgotten(name);
            };
            told
        } else {
            address.try_tell(job)
        };
        self.ledger.sent(name, told.as_ref().copied());
    }
}

impl Actor for Worker {
    type Message = Job;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.trap_exits(self.habits.traps);
        ctx.finish_message_on_stop(self.habits.finishes);
        tokio::time::sleep(millis(&mut self.random, self.habits.takes_ms_max)).await;
        if self.random.one_in(self.habits.failing_starts) {
            return Err(ToldToFail.into());
        }
        Ok(())
    }

    async fn handle(&mut self, job: Job, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        self.town.ledger.handled(&self.name);
        match job {
            Job::Note(sender, number) => self.town.ledger.handled_in_turn(&self.name, sender, number),
            Job::Ask(n, reply) => answer(reply, n),
            Job::Work(time, reply) => {
                tokio::time::sleep(time).await;
                answer(reply, ());
            }
            Job::Hold(reply) => self.held.push(reply),
            Job::Pass(to, n, reply) => {
                // The other may be stopped, to be started again once this one has stopped as well, after this message.
                let passed = self.town.ask(to, Duration::from_millis(200), |reply| Job::Ask(n, reply)).await;
                answer(reply, passed.ok());
            }
            Job::Link(other, name) => {
                self.town.ledger.link(&self.name);
                self.town.ledger.link(&name);
                ctx.link(other);
            }
            Job::Fail => return Err(ToldToFail.into()),
            Job::Panic => panic!("told to"),
            Job::Stop => return Err(ExitReason::Normal),
        }
        Ok(())
    }

    async fn signal(&mut self, signal: Signal, _: &mut Context<Self>) -> Result<(), ExitReason> {
        match signal {
            Signal::ExitRequested(reason) if self.random.one_in(2) => Err(reason),
            _ => Ok(()),
        }
    }

    async fn stop(&mut self, reason: &ExitReason, _: &mut Context<Self>) {
        if matches!(reason, ExitReason::Shutdown) {
            self.town.ledger.stopping(&self.name);
        }
        tokio::time::sleep(millis(&mut self.random, self.habits.takes_ms_max)).await;
        assert!(!self.random.one_in(self.habits.panicking_stops), "not in the mood to stop");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.town.ledger.instance(-1);
    }
}

/// Draws a tree, and enters it in the books as it is drawn.
struct Founder<'a> {
    town: &'a Arc<Town>,
    random: Random,
    workers: Vec<(Name, Address<Job>)>,
    supervisors: Vec<Name>,
    faults: Faults,
}

impl Founder<'_> {
    fn supervisor(&mut self, parent: Option<&Name>, depth: u32) -> SupervisorSpec {
        let random = &mut self.random;
        let name: Name = format!("s{}", self.supervisors.len()).into();
        self.supervisors.push(name.clone());
        let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
        let strategy = strategies[random.below(3) as usize];
        let intensity = random.below(6) as u32;
        let children_len = 1 + random.below(4);
        let mut spec = SupervisorSpec::new(name.clone()).strategy(strategy).intensity(intensity, 10 * HOUR);
        let mut children = Vec::new();
        for _ in 0..children_len {
            let restarts = [Restart::Permanent, Restart::Permanent, Restart::Transient, Restart::Temporary];
            let restart = restarts[self.random.below(4) as usize];
            let child = if depth < 2 && self.random.one_in(4) {
                ChildSpec::supervisor(self.supervisor(Some(&name), depth + 1))
            } else {
                self.worker()
            };
            children.push((child.id().clone(), restart));
            spec = spec.child(child.restart(restart));
        }
        let is_disturbed = self.random.one_in(20);
        if is_disturbed {
            let crashes = [Fault::Kill, Fault::Panic, Fault::Error];
            let crash = crashes[self.random.below(3) as usize];
            self.faults = std::mem::take(&mut self.faults).at(name.clone(), 1 + self.random.below(3), crash);
        }
        self.town.ledger.add_supervisor(
            &name,
            SupervisorBook {
                parent: parent.cloned(),
                strategy,
                intensity,
                children,
                is_disturbed: false,
                is_manual: false,
                era: Era::default(),
            },
        );
        if is_disturbed {
            self.town.ledger.disturb(&name);
        }
        spec
    }

    fn worker(&mut self) -> ChildSpec {
        let random = &mut self.random;
        let name: Name = format!("w{}", self.workers.len()).into();
        let overflows = [Overflow::Wait, Overflow::Reject, Overflow::DropOldest, Overflow::DropNewest];
        let mailbox = MailboxOptions::bounded(1 + random.below(4) as usize)
            .overflow(overflows[random.below(4) as usize]);
        let shutdowns = [Shutdown::Brutal, Shutdown::After(Duration::from_millis(20)), Shutdown::Infinity];
        let shutdown = shutdowns[random.below(3) as usize];
        let habits = Habits::draw(random);
        if random.one_in(6) {
            let faults = std::mem::take(&mut self.faults);
            let nth = 1 + random.below(6);
            let delay = Fault::Delay(Duration::from_millis(30));
            self.faults = match random.choose(&[Fault::Panic, Fault::Error, Fault::Kill, delay]) {
                Some(_) if random.one_in(6) => faults.fail_start(name.clone(), nth),
                Some(fault) if random.one_in(2) => {
                    self.town.ledger.fault(&name);
                    faults.at(name.clone(), nth, *fault)
                }
                Some(_) | None => faults.at(name.clone(), nth, Fault::Drop),
            };
        }
        let (town, id) = (self.town.clone(), name.clone());
        let (spec, address) =
            ChildSpec::worker(&self.town.system, name.clone(), mailbox, move || town.make(&id, &habits));
        self.workers.push((name, address));
        let spec = spec.shutdown(shutdown);
        if self.random.one_in(4) {
            let backoff = Backoff::exponential(Duration::from_millis(2)).jitter(0.5);
            return spec.backoff(backoff.cap(Duration::from_millis(40)));
        }
        spec
    }
}

/// How a run goes.
#[derive(Clone, Copy)]
struct Plan {
    /// The clients finish before anything is shut down.
    is_calm: bool,
    /// Clients also start and stop children by hand.
    is_manual: bool,
    kills_supervisors: bool,
}

struct Client {
    number: u64,
    notes: u64,
    town: Arc<Town>,
    supervisors: Vec<Name>,
    plan: Plan,
    random: Random,
}

impl Client {
    async fn live(mut self) {
        for _ in 0..2 + self.random.below(10) {
            let worker = self.random.below(self.town.workers().len() as u64) as usize;
            self.act(worker).await;
        }
    }

    async fn act(&mut self, worker: usize) {
        let random = &mut self.random;
        let waits = random.one_in(2);
        match random.below(23) {
            0..=2 => {
                self.notes += 1;
                self.town.tell(worker, Job::Note(self.number, self.notes), waits).await;
            }
            3..=5 => {
                if let Ok(answer) = self.town.ask(worker, HOUR, |reply| Job::Ask(7, reply)).await {
                    assert_eq!(answer, 7);
                }
            }
            6..=7 => {
                let time = millis(random, 50);
                drop(self.town.ask(worker, HOUR, |reply| Job::Work(time, reply)).await);
            }
            8 => {
                // Without an end in sight, nobody answers before the end of the holder.
                let timeout = if self.plan.is_calm { Duration::from_millis(30) } else { HOUR };
                drop(self.town.ask(worker, timeout, Job::Hold).await);
            }
            9 => {
                // Only to those after it, so that no two wait for each other.
                let rest = self.town.workers().len() - worker - 1;
                if rest > 0 {
                    let to = worker + 1 + random.below(rest as u64) as usize;
                    let passed = self.town.ask(worker, HOUR, |reply| Job::Pass(to, 8, reply)).await;
                    assert!(!matches!(passed, Ok(Some(other)) if other != 8));
                }
            }
            10 => self.town.tell(worker, Job::Fail, waits).await,
            11 => self.town.tell(worker, Job::Panic, waits).await,
            12 => self.town.tell(worker, Job::Stop, waits).await,
            13 => drop(self.town.workers()[worker].1.exit(ExitReason::Killed)),
            14 => drop(self.town.workers()[worker].1.exit(ExitReason::error(ToldToFail))),
            15 => {
                let (name, address) =
                    random.choose(self.town.workers()).expect("there is at least one").clone();
                self.town.tell(worker, Job::Link(address.id(), name), waits).await;
            }
            16 => self.found().await,
            17 => self.kill_supervisor(),
            18..=19 => self.manage().await,
            20 => self.wait_for_supervisor().await,
            _ => tokio::time::sleep(millis(random, 30)).await,
        }
    }

    /// Starts an actor that nobody supervises, under one of few names.
    async fn found(&mut self) {
        let name: Name = format!("x{}", self.random.below(2)).into();
        let (town, id, habits) = (self.town.clone(), name.clone(), Habits::draw(&mut self.random));
        let made = move || town.make(&id, &habits);
        let is_free = self.town.ledger.spawning(&name);
        let spawned = self.town.system.spawn(name.clone(), MailboxOptions::default(), made).await;
        self.town.ledger.spawned(&name);
        match spawned {
            Ok(address) if self.random.one_in(2) => {
                tokio::time::sleep(millis(&mut self.random, 10)).await;
                address.exit(ExitReason::Killed);
            }
            Err(SpawnError::NameTaken { .. }) => assert!(!is_free, "{name} is free"),
            Ok(_) | Err(SpawnError::Start { .. }) => {}
            Err(SpawnError::ShuttingDown) if !self.plan.is_calm => {}
            Err(error) => panic!("{error}"),
        }
    }

    async fn wait_for_supervisor(&mut self) {
        let name = self.random.choose(&self.supervisors).expect("there is at least one");
        let Some(supervisor) = self.town.system.supervisor(name) else {
            return;
        };
        let timeout = if self.plan.is_calm { Duration::from_millis(30) } else { HOUR };
        if tokio::time::timeout(timeout, supervisor.wait()).await.is_err() && !self.plan.is_calm {
            self.town.ledger.wrong(format!("nobody told who waits for {name}"));
        }
    }

    fn kill_supervisor(&mut self) {
        let name = self.random.choose(&self.supervisors).expect("there is at least one").clone();
        if self.plan.kills_supervisors
            && let Some(supervisor) = self.town.system.supervisor(&name)
        {
            self.town.ledger.disturb(&name);
            self.town.system.exit(supervisor.id(), ExitReason::Killed);
        }
    }

    async fn manage(&mut self) {
        let name = self.random.choose(&self.supervisors).expect("there is at least one").clone();
        let Some(supervisor) = self.town.system.supervisor(&name).filter(|_| self.plan.is_manual) else {
            return;
        };
        self.town.ledger.manage(&name);
        let Ok(children) = supervisor.children().await else {
            return;
        };
        let Some(child) = self.random.choose(&children).map(|child| child.name.clone()) else {
            return;
        };
        // What they answer depends on what others do meanwhile; that they answer is what counts.
        match self.random.below(4) {
            0 => drop(supervisor.terminate_child(child).await),
            1 => drop(supervisor.restart_child(child).await),
            2 => drop(supervisor.delete_child(child).await),
            _ => {
                let (town, habits) = (self.town.clone(), Habits::draw(&mut self.random));
                let id: Name = format!("d{}", self.random.below(3)).into();
                let made = id.clone();
                let (spec, _) =
                    ChildSpec::worker(&self.town.system, id, MailboxOptions::default(), move || {
                        town.make(&made, &habits)
                    });
                drop(supervisor.start_child(spec).await);
            }
        }
    }
}

async fn lives(system: System, ledger: Arc<Ledger>) {
    let mut random = testing::random(&system);
    let plan =
        Plan { is_calm: random.one_in(2), is_manual: random.one_in(3), kills_supervisors: random.one_in(2) };
    let town = Arc::new(Town { system: system.clone(), ledger, workers: Default::default() });
    let mut founder = Founder {
        town: &town,
        random: random.fork(),
        workers: Vec::new(),
        supervisors: Vec::new(),
        faults: Faults::new(),
    };
    let spec = founder.supervisor(None, 0);
    let Founder { workers, supervisors, faults, .. } = founder;
    assert!(town.workers.set(workers).is_ok());
    let ids: Vec<ActorId> = town.workers().iter().map(|(_, address)| address.id()).collect();
    faults.install(&system);
    let mut watcher = Probe::<()>::spawn(&system, "watcher").await;

    let clients: Vec<_> = (0..1 + random.below(4))
        .map(|n| {
            let client = Client {
                number: n,
                notes: 0,
                town: town.clone(),
                supervisors: supervisors.clone(),
                plan,
                random: random.fork(),
            };
            testing::spawn(&system, format!("client {n}"), client.live())
        })
        .collect();
    let top = system.supervise(spec).await;
    if let Err(StartError::Child { child, reason }) = &top {
        assert!(matches!(reason, ExitReason::Init(_)), "{child} started, and ended by {reason}");
    }
    let mut monitors = HashSet::new();
    for _ in 0..random.below(8) {
        let target = random.choose(&ids).expect("there is at least one");
        monitors.insert(watcher.monitor(*target));
        tokio::time::sleep(millis(&mut random, 20)).await;
    }
    if plan.is_calm {
        for client in clients {
            client.await;
        }
        tokio::time::sleep(HOUR).await;
        town.ledger.expect_settled(&system.tree());
        if let Ok(top) = top {
            top.stop().await;
        }
        tokio::time::sleep(HOUR).await;
        for signal in watcher.unread_signals() {
            let Signal::Down { monitor, .. } = signal else { panic!("{signal:?}") };
            assert!(monitors.remove(&monitor), "a monitor is answered once");
        }
        assert!(monitors.is_empty(), "every monitor is answered");
        end(&system, &town.ledger).await;
    } else {
        tokio::time::sleep(millis(&mut random, 300)).await;
        end(&system, &town.ledger).await;
        for client in clients {
            client.await;
        }
    }
    assert!(system.tree().is_empty());
    let mailboxes: Vec<_> =
        town.workers().iter().map(|(name, address)| (name.clone(), address.stats())).collect();
    town.ledger.expect_over(&mailboxes);
}

async fn end(system: &System, ledger: &Ledger) {
    let report = system.shutdown(HOUR).await;
    assert!(report.stuck.is_empty(), "{report:?}");
    assert!(ledger.is_disturbed() || report.killed.is_empty(), "{report:?}");
}

fn run(seed: u64) -> Fingerprint {
    let ledger = Arc::new(Ledger::default());
    let options = SystemOptions::default().metrics(ledger.clone());
    let outcome = Seeded::new(seed).options(options).run(|system| lives(system, ledger));
    outcome.fingerprint
}

#[test]
fn the_laws_of_supervision_hold_in_random_trees() {
    for seed in testing::seeds(5_000) {
        run(seed);
    }
}

#[test]
fn a_random_tree_lives_the_same_life_again() {
    let lives: HashSet<u64> = (0..50)
        .map(|seed| {
            let fingerprint = run(seed);
            assert_eq!(run(seed), fingerprint);
            fingerprint.hash
        })
        .collect();
    assert_eq!(lives.len(), 50);
}
