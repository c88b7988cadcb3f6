//! The laws of dynamic supervisors in random lives: children that are started, ended and restarted from all sides at once,
//! each life a seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use airssys_rt::testing::{self, Random};
use airssys_rt::{
    Actor, Address, AskError, Backoff, ChildError, ChildSpec, Context, DynamicSpec, DynamicSupervisor,
    ExitReason, HealthCheck, MailboxOptions, NodeState, ReplyTo, Restart, Shutdown, SupervisorError,
    SupervisorSpec, System,
};

use crate::probe::{ToldToFail, answer};

const HOUR: Duration = Duration::from_secs(3600);
/// Longer than anything here takes, and not too many health checks.
const REST: Duration = Duration::from_secs(1);
const CHILDREN_MAX: usize = 4;

fn millis(random: &mut Random, below: u64) -> Duration {
    Duration::from_millis(random.below(below))
}

enum Job {
    Ask(ReplyTo<()>),
    Sleep(Duration),
    Fail,
    Stop,
    Hang,
}

/// How many live by each name. More than one at a time must not.
#[derive(Clone, Default)]
struct Census(Arc<Mutex<BTreeMap<&'static str, u32>>>);

impl Census {
    fn change(&self, name: &'static str, by: i64) -> u32 {
        let mut counts = self.0.lock().expect("no panic");
        let count = counts.entry(name).or_default();
        *count = count.checked_add_signed(by as i32).expect("who leaves has come");
        *count
    }

    fn total(&self) -> u32 {
        self.0.lock().expect("no panic").values().sum()
    }
}

struct Child {
    name: &'static str,
    census: Census,
    random: Random,
}

impl Child {
    fn new(name: &'static str, census: &Census, system: &System) -> Self {
        assert_eq!(census.change(name, 1), 1, "{name} lives twice");
        Self { name, census: census.clone(), random: testing::random(system) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.census.change(self.name, -1);
    }
}

impl Actor for Child {
    type Message = Job;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.trap_exits(self.random.one_in(3));
        tokio::time::sleep(millis(&mut self.random, 4)).await;
        if self.random.one_in(6) { Err(ToldToFail.into()) } else { Ok(()) }
    }

    async fn handle(&mut self, job: Job, _: &mut Context<Self>) -> Result<(), ExitReason> {
        match job {
            Job::Ask(reply) => answer(reply, ()),
            Job::Sleep(time) => tokio::time::sleep(time).await,
            Job::Fail => return Err(ToldToFail.into()),
            Job::Stop => return Err(ExitReason::Normal),
            Job::Hang => std::future::pending().await,
        }
        Ok(())
    }

    async fn stop(&mut self, _: &ExitReason, _: &mut Context<Self>) {
        tokio::time::sleep(millis(&mut self.random, 30)).await;
    }
}

/// One who starts and ends children, some by specifications that are used again and again.
struct Parent {
    system: System,
    top: DynamicSupervisor,
    census: Census,
    specs: Vec<(ChildSpec, Address<Job>)>,
    /// A supervisor may be killed, and its children with it.
    is_rough: bool,
    random: Random,
}

const NAMES: [&str; 3] = ["x", "y", "z"];

impl Parent {
    async fn live(mut self) {
        for _ in 0..5 + self.random.below(15) {
            self.act().await;
            assert!(self.top.count_children().specs <= CHILDREN_MAX);
        }
    }

    async fn act(&mut self) {
        match self.random.below(14) {
            0..=2 => self.spawn().await,
            3..=4 => {
                let (spec, _) = self.random.choose(&self.specs).expect("there is one").clone();
                self.expect_refusal(self.top.start_child(spec).await);
            }
            5..=6 => self.terminate().await,
            7 => {
                let name = self.name();
                match self.top.release_child(name).await {
                    Ok(())
                    | Err(
                        SupervisorError::NotQuarantined { .. }
                        | SupervisorError::NoSuchChild { .. }
                        | SupervisorError::Start { .. }
                        | SupervisorError::Gone,
                    ) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            8..=11 => self.tell(),
            12 if self.is_rough => drop(self.system.exit(self.top.id(), ExitReason::Killed)),
            _ => tokio::time::sleep(millis(&mut self.random, 40)).await,
        }
    }

    fn name(&mut self) -> Arc<str> {
        let known = self.specs.iter().map(|(spec, _)| spec.id().clone());
        let names: Vec<Arc<str>> = NAMES.iter().map(|name| (*name).into()).chain(known).collect();
        self.random.choose(&names).expect("there are some").clone()
    }

    async fn spawn(&mut self) {
        let name = *self.random.choose(&NAMES).expect("there are some");
        let (census, system) = (self.census.clone(), self.system.clone());
        let made = move || Child::new(name, &census, &system);
        match self.top.spawn(name, MailboxOptions::default(), made).await {
            Ok(address) => match address.ask(HOUR, Job::Ask).await {
                Ok(()) | Err(AskError::Died | AskError::NotSent(_)) => {}
                Err(AskError::Timeout) => panic!("{name} keeps nobody waiting for an hour"),
            },
            Err(error) => self.expect_refusal(Err(error)),
        }
    }

    fn expect_refusal(&self, outcome: Result<(), SupervisorError>) {
        match outcome {
            Ok(()) | Err(SupervisorError::Exists { .. } | SupervisorError::Gone) => {}
            Err(SupervisorError::Full { children_max }) => assert_eq!(children_max, CHILDREN_MAX),
            Err(SupervisorError::Start { reason, .. }) => {
                let error = reason.as_error().and_then(|error| error.downcast_ref::<ChildError>());
                match error {
                    None | Some(ChildError::NameTaken { .. } | ChildError::ShuttingDown) => {}
                    // Whom a killed supervisor left behind is gone at once.
                    Some(error) => panic!("{error}"),
                }
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn terminate(&mut self) {
        let name = self.name();
        let before = self.top.children().into_iter().find(|child| child.name == name);
        match self.top.terminate_child(name.clone()).await {
            Ok(()) => {
                let after = self.top.children().into_iter().find(|child| child.name == name);
                let same = |a: &airssys_rt::ChildInfo| before.as_ref().is_some_and(|b| a.id == b.id);
                // The same specification may have been started again since, which a new actor could not be.
                if NAMES.contains(&&*name) {
                    assert!(!after.as_ref().is_some_and(same), "{name} is still there");
                }
            }
            Err(SupervisorError::NoSuchChild { .. } | SupervisorError::Gone) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn tell(&mut self) {
        let name = self.name();
        let job = match self.random.below(6) {
            0 => Job::Stop,
            1 => Job::Sleep(millis(&mut self.random, 50)),
            2 if self.specs.iter().any(|(spec, _)| *spec.id() == name) => Job::Hang,
            3 => {
                if let Some(address) = self.system.lookup::<Job>(&name) {
                    address.exit(ExitReason::Killed);
                }
                return;
            }
            _ => Job::Fail,
        };
        if let Some(address) = self.system.lookup::<Job>(&name) {
            drop(address.try_tell(job));
        }
    }
}

fn specs(system: &System, census: &Census, random: &mut Random) -> Vec<(ChildSpec, Address<Job>)> {
    ["p", "q"]
        .into_iter()
        .map(|name| {
            let (census, system_of) = (census.clone(), system.clone());
            let made = move || Child::new(name, &census, &system_of);
            let (mut spec, address) = ChildSpec::worker(system, name, MailboxOptions::default(), made);
            let restarts = [Restart::Permanent, Restart::Transient, Restart::Temporary];
            let shutdowns =
                [Shutdown::Brutal, Shutdown::After(Duration::from_millis(15)), Shutdown::Infinity];
            spec = spec.restart(restarts[random.below(3) as usize]);
            spec = spec.shutdown(shutdowns[random.below(3) as usize]);
            if random.one_in(2) {
                let backoff = Backoff::exponential(Duration::from_millis(3)).jitter(0.5);
                spec = spec.backoff(backoff.cap(Duration::from_millis(100)));
            }
            if random.one_in(2) {
                spec = spec.allowance(random.below(3) as u32, Duration::from_millis(200));
            }
            // Who hangs is found by this and by nothing else.
            let check = HealthCheck::new(&address, Job::Ask);
            (
                spec.health(check.interval(Duration::from_millis(20)).timeout(Duration::from_millis(70))),
                address,
            )
        })
        .collect()
}

async fn life(system: System) {
    let mut random = testing::random(&system);
    let census = Census::default();
    let intensity = if random.one_in(3) { random.below(4) as u32 } else { u32::MAX };
    let restarts = [Restart::Permanent, Restart::Transient, Restart::Temporary];
    let spec = DynamicSpec::new("top")
        .intensity(intensity, HOUR)
        .children_max(CHILDREN_MAX)
        .restart(restarts[random.below(3) as usize])
        .shutdown(Shutdown::After(Duration::from_millis(20)));
    let (child, top) = ChildSpec::dynamic(&system, spec);
    let above = SupervisorSpec::new("above").intensity(u32::MAX, HOUR).child(child);
    let above = system.supervise(above).await.expect("it starts");
    let specs = specs(&system, &census, &mut random);
    let is_rough = random.one_in(3);
    let parents: Vec<_> = (0..1 + random.below(4))
        .map(|n| {
            let parent = Parent {
                system: system.clone(),
                top: top.clone(),
                census: census.clone(),
                specs: specs.clone(),
                is_rough,
                random: random.fork(),
            };
            testing::spawn(&system, format!("parent {n}"), parent.live())
        })
        .collect();
    if random.one_in(2) {
        for parent in parents {
            parent.await;
        }
        tokio::time::sleep(REST).await;
        for child in top.children() {
            let is_at_rest = matches!(child.state, NodeState::Running | NodeState::Quarantined);
            assert!(is_at_rest, "{} is {:?}", child.name, child.state);
        }
        assert_eq!(top.count_children().active as u32, census.total());
        above.stop().await;
    } else {
        tokio::time::sleep(millis(&mut random, 200)).await;
        let report = system.shutdown(HOUR).await;
        assert!(report.stuck.is_empty(), "{report:?}");
        for parent in parents {
            parent.await;
        }
    }
    if is_rough {
        // What was below a killed supervisor notices in its own time.
        tokio::time::sleep(REST).await;
    }
    assert_eq!(census.total(), 0);
    assert!(top.children().is_empty() && system.tree().is_empty());
    for name in NAMES.into_iter().chain(["p", "q", "top", "above"]) {
        assert!(system.lookup::<Job>(name).is_none(), "{name} is taken");
    }
    assert!(system.dynamic_supervisor("top").is_none());
}

#[test]
fn the_laws_of_dynamic_supervision_hold_in_random_lives() {
    testing::check(1_500, life);
}
