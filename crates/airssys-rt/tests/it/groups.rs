//! Process groups: who is in, who is sent to, what a monitor sees, and where it ends.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use airssys_rt::{
    Actor, ActorId, Address, ChildSpec, Context, ExitReason, Group, GroupError, GroupEvent, GroupMonitor,
    JoinError, MailboxOptions, Overflow, Scope, ScopeExists, ScopeOptions, Signal, SupervisorSpec, System,
    TellError,
};

use crate::probe::{Diary, SOON, Tell, child, occupy, spawn, until};

/// Ends when told something.
struct Member;

impl Actor for Member {
    type Message = u32;

    async fn handle(&mut self, _: u32, _: &mut Context<Self>) -> Result<(), ExitReason> {
        Err(ExitReason::Normal)
    }
}

/// Keeps what it is told where the test sees it.
struct Listener(Arc<std::sync::Mutex<Vec<u32>>>);

impl Actor for Listener {
    type Message = u32;

    async fn handle(&mut self, number: u32, _: &mut Context<Self>) -> Result<(), ExitReason> {
        self.0.lock().unwrap().push(number);
        Ok(())
    }
}

async fn member(system: &System, name: impl Into<Arc<str>>) -> Address<u32> {
    system.spawn(name, MailboxOptions::default(), || Member).await.unwrap()
}

async fn members(system: &System, count: u32) -> Vec<Address<u32>> {
    let mut all = Vec::new();
    for n in 0..count {
        all.push(member(system, format!("m{n}")).await);
    }
    all
}

fn ids(group: &Group<u32>) -> Vec<ActorId> {
    group.members().iter().map(Address::id).collect()
}

async fn end(address: &Address<u32>) {
    address.exit(ExitReason::Killed);
    until(|| !address.is_alive()).await;
}

#[tokio::test(start_paused = true)]
async fn who_joined_is_a_member_and_who_left_is_not() {
    let system = System::new();
    let group = system.scope("chat").group("room").unwrap();
    let all = members(&system, 3).await;
    for address in all.iter().rev() {
        group.join(address).unwrap();
    }
    assert_eq!(ids(&group), all.iter().map(Address::id).collect::<Vec<_>>());
    assert!(group.leave(&all[1]));
    assert!(!group.leave(&all[1]), "it is not in any more");
    assert_eq!(ids(&group), [all[0].id(), all[2].id()]);
    group.join(&all[1]).unwrap();
    assert_eq!(group.members().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn joining_again_is_the_same_as_once() {
    let system = System::new();
    let group = system.scope("chat").group("room").unwrap();
    let a = member(&system, "a").await;
    let mut monitor = group.monitor();
    assert_eq!(told(&mut monitor), ["members "]);
    group.join(&a).unwrap();
    group.join(&a).unwrap();
    assert_eq!(group.tell_all(1).sent, 1);
    assert!(group.leave(&a));
    assert!(group.members().is_empty());
    assert_eq!(told(&mut monitor), ["joined a", "left a"]);
}

/// Joins in its `start`, which takes a while.
struct Joining(Group<u32>);

impl Actor for Joining {
    type Message = u32;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.0.join(&ctx.address())?;
        Ok(())
    }

    async fn handle(&mut self, number: u32, _: &mut Context<Self>) -> Result<(), ExitReason> {
        panic!("{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_actor_is_in_the_groups_that_its_start_joins_and_no_other() {
    let system = System::new();
    let scope = system.scope("chat");
    let (own, by_hand) = (scope.group("own").unwrap(), scope.group("by hand").unwrap());
    let joined = own.clone();
    let (spec, a) =
        ChildSpec::worker(&system, "a", MailboxOptions::default(), move || Joining(joined.clone()));
    system.supervise(SupervisorSpec::new("top").child(spec)).await.unwrap();
    by_hand.join(&a).unwrap();
    let mut monitor = own.monitor();
    assert_eq!(told(&mut monitor), ["members a"]);
    a.try_tell(1).unwrap();
    until(|| own.members().is_empty()).await;
    assert!(by_hand.members().is_empty());
    until(|| !own.members().is_empty()).await;
    assert_eq!(ids(&own), [a.id()]);
    assert!(by_hand.members().is_empty());
    assert_eq!(told(&mut monitor), ["left a", "joined a"]);
}

/// Notes how many are in the group when it is told of an end.
struct Watcher {
    of: ActorId,
    group: Group<u32>,
    seen: Arc<std::sync::Mutex<Option<usize>>>,
}

impl Actor for Watcher {
    type Message = ();

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.monitor(self.of);
        Ok(())
    }

    async fn handle(&mut self, (): (), _: &mut Context<Self>) -> Result<(), ExitReason> {
        Ok(())
    }

    async fn signal(&mut self, _: Signal, _: &mut Context<Self>) -> Result<(), ExitReason> {
        *self.seen.lock().unwrap() = Some(self.group.members().len());
        Err(ExitReason::Normal)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_of_an_end_finds_the_actor_out_of_its_groups() {
    let system = System::new();
    let group = system.scope("chat").group("room").unwrap();
    for n in 0..100 {
        let a = member(&system, format!("a{n}")).await;
        group.join(&a).unwrap();
        let seen = Arc::default();
        let watcher = Watcher { of: a.id(), group: group.clone(), seen: Arc::clone(&seen) };
        system.spawn(format!("w{n}"), MailboxOptions::default(), || watcher).await.unwrap();
        a.exit(ExitReason::Killed);
        until(|| seen.lock().unwrap().is_some()).await;
        assert_eq!(*seen.lock().unwrap(), Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_living_actor_of_the_system_joins() {
    let (system, diary) = (System::new(), Diary::default());
    let group = system.scope("chat").group("room").unwrap();
    let a = member(&system, "a").await;
    end(&a).await;
    assert_eq!(group.join(&a), Err(JoinError::NotAlive { id: a.id() }));
    let stranger = member(&System::new(), "stranger").await;
    assert_eq!(group.join(&stranger), Err(JoinError::OtherSystem { id: stranger.id() }));
    assert!(group.members().is_empty());
    let probes = system.scope("chat").group("probes").unwrap();
    let (_, unborn) = child(&system, "unborn", &diary);
    assert_eq!(probes.join(&unborn), Err(JoinError::NotAlive { id: unborn.id() }));
}

#[tokio::test(start_paused = true)]
async fn a_group_has_one_message_type_and_belongs_to_one_scope() {
    let system = System::new();
    let chat = system.scope("chat");
    let room = chat.group::<u32>("room").unwrap();
    let refused = chat.group::<String>("room").map(drop);
    assert_eq!(refused, Err(GroupError::OtherType { name: "room".into() }));
    let elsewhere = system.scope("news").group::<String>("room").unwrap();
    room.join(&member(&system, "a").await).unwrap();
    assert!(elsewhere.members().is_empty());
    assert_eq!(system.scope("chat").group::<u32>("room").unwrap().members().len(), 1);
    assert!(System::new().scope("chat").group::<u32>("room").unwrap().members().is_empty());
}

#[tokio::test(start_paused = true)]
async fn tell_all_reaches_each_member_once_and_nobody_else() {
    let system = System::new();
    let group = system.scope("chat").group("room").unwrap();
    let heard: Vec<Arc<std::sync::Mutex<Vec<u32>>>> = (0..4).map(|_| Arc::default()).collect();
    let mut all = Vec::new();
    for (n, heard) in heard.iter().enumerate() {
        let heard = heard.clone();
        let options = MailboxOptions::default();
        all.push(system.spawn(format!("m{n}"), options, move || Listener(heard)).await.unwrap());
    }
    for address in &all[..3] {
        group.join(address).unwrap();
    }
    for n in 0..3 {
        let outcome = group.tell_all(n);
        assert_eq!((outcome.sent, outcome.refused.len()), (3, 0));
    }
    until(|| all.iter().map(|address| address.stats().handled).sum::<u64>() == 9).await;
    let heard: Vec<Vec<u32>> = heard.iter().map(|heard| heard.lock().unwrap().clone()).collect();
    assert_eq!(heard, [vec![0, 1, 2], vec![0, 1, 2], vec![0, 1, 2], vec![]]);
}

#[derive(Clone)]
struct Gate(Option<Arc<tokio::sync::Notify>>, u32);

/// Waits at the gates it is told of.
struct Waiting;

impl Actor for Waiting {
    type Message = Gate;

    async fn handle(&mut self, gate: Gate, _: &mut Context<Self>) -> Result<(), ExitReason> {
        if let Some(gate) = gate.0 {
            gate.notified().await;
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn tell_all_waits_for_nobody_and_returns_what_was_refused() {
    let system = System::new();
    let group = system.scope("chat").group("room").unwrap();
    let mut all = Vec::new();
    for (name, overflow) in [("a", Overflow::Wait), ("b", Overflow::Reject), ("c", Overflow::DropNewest)] {
        let options = MailboxOptions { capacity: 1, overflow, ..MailboxOptions::default() };
        all.push(system.spawn(name, options, || Waiting).await.unwrap());
        group.join(all.last().unwrap()).unwrap();
    }
    let gate = Arc::new(tokio::sync::Notify::new());
    let outcome = group.tell_all(Gate(Some(gate.clone()), 0));
    assert_eq!(outcome.sent, 3);
    until(|| all.iter().all(|address| address.stats().depth == 0)).await;
    assert_eq!(group.tell_all(Gate(None, 1)).sent, 3);
    let outcome = group.tell_all(Gate(None, 2));
    assert_eq!(outcome.sent, 1, "a policy that drops counts as sent");
    let refused: Vec<_> = outcome.refused.iter().map(|(address, error)| (address.name(), error)).collect();
    assert!(matches!(
        refused[..],
        [("a", TellError::Full(Gate(None, 2))), ("b", TellError::Full(Gate(None, 2))),]
    ));
    gate.notify_waiters();
    until(|| all.iter().all(|address| address.stats().depth == 0)).await;
    let outcome = group.tell_all(Gate(None, 3));
    assert_eq!((outcome.sent, outcome.refused.len()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn to_an_empty_group_nothing_is_sent() {
    let group = System::new().scope("chat").group::<u32>("room").unwrap();
    let outcome = group.tell_all(1);
    assert_eq!((outcome.sent, outcome.refused.len()), (0, 0));
    assert!(group.round_robin().is_none());
    assert!(group.least_loaded().is_none());
    assert!(group.for_key("x").is_none());
}

#[tokio::test(start_paused = true)]
async fn round_robin_takes_the_members_in_turn() {
    let system = System::new();
    let group = system.scope("chat").group("room").unwrap();
    let all = members(&system, 3).await;
    for address in &all {
        group.join(address).unwrap();
    }
    let taken: Vec<_> = (0..9).map(|_| group.round_robin().unwrap().id()).collect();
    assert_eq!(taken[..3].iter().collect::<HashSet<_>>().len(), 3);
    assert_eq!(taken[..3], taken[3..6]);
    assert_eq!(taken[..3], taken[6..]);
    end(&all[0]).await;
    let taken: HashSet<_> = (0..2).map(|_| group.round_robin().unwrap().id()).collect();
    assert_eq!(taken, HashSet::from([all[1].id(), all[2].id()]));
}

#[tokio::test(start_paused = true)]
async fn least_loaded_takes_who_has_the_fewest_waiting_and_equals_in_turn() {
    let (system, diary) = (System::new(), Diary::default());
    let group = system.scope("chat").group("room").unwrap();
    let mut gates = Vec::new();
    let mut all = Vec::new();
    for name in ["a", "b", "c"] {
        let address = spawn(&system, name, &diary).await;
        gates.push(occupy(&address).await);
        group.join(&address).unwrap();
        all.push(address);
    }
    for (address, waiting) in all.iter().zip([3, 1, 2]) {
        for n in 0..waiting {
            address.try_tell(Tell::Note(n)).unwrap();
        }
    }
    for _ in 0..3 {
        assert_eq!(group.least_loaded().unwrap().name(), "b");
    }
    gates.iter().for_each(|gate| gate.notify_one());
    until(|| all.iter().all(|address| address.stats().depth == 0)).await;
    let equals: HashSet<_> = (0..3).map(|_| group.least_loaded().unwrap().id()).collect();
    assert_eq!(equals.len(), 3);
}

fn owners(group: &Group<u32>) -> HashMap<u32, ActorId> {
    (0..2_000).map(|key| (key, group.for_key(&key).unwrap().id())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_key_changes_its_member_only_for_one_that_joins_or_when_its_own_leaves() {
    let system = System::new();
    let group = system.scope("cache").group("shards").unwrap();
    let all = members(&system, 16).await;
    for address in &all[..15] {
        group.join(address).unwrap();
    }
    let before = owners(&group);
    assert_eq!(before, owners(&group));
    group.join(&all[15]).unwrap();
    let grown = owners(&group);
    let moved: Vec<_> = before.iter().filter(|(key, owner)| grown[key] != **owner).collect();
    assert!(moved.iter().all(|(key, _)| grown[key] == all[15].id()));
    assert!((50..250).contains(&moved.len()), "{} of 2000 keys for one of 16", moved.len());
    group.leave(&all[3]);
    let shrunk = owners(&group);
    for (key, owner) in &grown {
        assert_eq!(shrunk[key] == *owner, *owner != all[3].id(), "key {key}");
    }
    group.join(&all[3]).unwrap();
    assert_eq!(owners(&group), grown, "who comes back has its keys again");
}

#[tokio::test(start_paused = true)]
async fn keys_spread_over_the_members_and_do_not_depend_on_the_order_of_joining() {
    let (here, there) = (System::new(), System::new());
    let (one, two) = (here.scope("s").group("g").unwrap(), there.scope("s").group("g").unwrap());
    let mut all = members(&here, 8).await;
    for address in &all {
        one.join(address).unwrap();
    }
    all = members(&there, 8).await;
    for address in all.iter().rev() {
        two.join(address).unwrap();
    }
    let mut shares: HashMap<Arc<str>, u32> = HashMap::new();
    for key in 0..4_000_u32 {
        let owner = one.for_key(&key).unwrap();
        assert_eq!(owner.name(), two.for_key(&key).unwrap().name());
        *shares.entry(owner.name().into()).or_default() += 1;
    }
    assert_eq!(shares.len(), 8);
    assert!(shares.values().all(|share| (350..650).contains(share)), "{shares:?}");
}

fn line(event: GroupEvent<u32>) -> String {
    match event {
        GroupEvent::Members(members) => {
            let names: Vec<_> = members.iter().map(Address::name).collect();
            format!("members {}", names.join(" "))
        }
        GroupEvent::Joined(address) => format!("joined {}", address.name()),
        GroupEvent::Left(address) => format!("left {}", address.name()),
        _ => "unknown".to_owned(),
    }
}

fn told(monitor: &mut GroupMonitor<u32>) -> Vec<String> {
    std::iter::from_fn(|| monitor.try_next()).map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn a_monitor_begins_with_the_members_and_then_tells_each_change() {
    let system = System::new();
    let group = system.scope("chat").group("room").unwrap();
    let (a, b) = (member(&system, "a").await, member(&system, "b").await);
    group.join(&a).unwrap();
    let mut monitor = group.monitor();
    assert_eq!(line(monitor.next().await), "members a");
    group.join(&b).unwrap();
    assert_eq!(line(monitor.next().await), "joined b");
    assert!(tokio::time::timeout(Duration::from_secs(1), monitor.next()).await.is_err());
    let waiting = tokio::spawn(async move { (line(monitor.next().await), monitor) });
    end(&a).await;
    let (ended, mut monitor) = tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!(ended, "left a");
    group.leave(&b);
    assert_eq!(told(&mut monitor), ["left b"]);
    assert_eq!(told(&mut group.monitor()), ["members "]);
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_is_too_far_behind_is_given_the_members_anew() {
    let system = System::new();
    let group = system.scope("chat").group("room").unwrap();
    let a = member(&system, "a").await;
    let mut monitor = group.monitor();
    assert_eq!(told(&mut monitor), ["members "]);
    let change = |times: u32| {
        for _ in 0..times / 2 {
            group.join(&a).unwrap();
            group.leave(&a);
        }
    };
    change(256);
    assert_eq!(told(&mut monitor).len(), 256, "at the limit nothing is missed");
    change(256);
    group.join(&a).unwrap();
    assert_eq!(told(&mut monitor), ["members a"], "one past it");
    group.leave(&a);
    assert_eq!(told(&mut monitor), ["left a"]);
}

/// Keeps a count of who is in a group.
struct Counter {
    of: Group<u32>,
    count: Arc<std::sync::Mutex<usize>>,
}

impl Actor for Counter {
    type Message = GroupEvent<u32>;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.attach(self.of.monitor(), |event| event);
        Ok(())
    }

    async fn handle(&mut self, event: GroupEvent<u32>, _: &mut Context<Self>) -> Result<(), ExitReason> {
        let mut count = self.count.lock().unwrap();
        match event {
            GroupEvent::Members(members) => *count = members.len(),
            GroupEvent::Joined(_) => *count += 1,
            GroupEvent::Left(_) => *count -= 1,
            _ => {}
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_actor_can_follow_a_group_as_a_stream() {
    let system = System::new();
    let group = system.scope("chat").group("room").unwrap();
    let all = members(&system, 2).await;
    group.join(&all[0]).unwrap();
    let (of, count) = (group.clone(), Arc::default());
    let counter = Counter { of, count: Arc::clone(&count) };
    system.spawn("counter", MailboxOptions::default(), || counter).await.unwrap();
    until(|| *count.lock().unwrap() == 1).await;
    group.join(&all[1]).unwrap();
    until(|| *count.lock().unwrap() == 2).await;
    end(&all[0]).await;
    until(|| *count.lock().unwrap() == 1).await;
}

/// What a reader of events believes.
fn follow(believed: &mut BTreeSet<ActorId>, event: GroupEvent<u32>) {
    match event {
        GroupEvent::Members(members) => *believed = members.iter().map(Address::id).collect(),
        GroupEvent::Joined(address) => assert!(believed.insert(address.id()), "told twice"),
        GroupEvent::Left(address) => assert!(believed.remove(&address.id()), "never told that it joined"),
        _ => panic!("unknown event"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_the_changes_knows_the_members() {
    let system = System::new();
    let group = system.scope("chat").group("room").unwrap();
    let changing: Vec<_> = (0..4_u64)
        .map(|who| {
            let (system, group) = (system.clone(), group.clone());
            tokio::spawn(async move {
                let mut random = who + 1;
                let mut all = Vec::new();
                for n in 0..40 {
                    all.push(member(&system, format!("{who}-{n}")).await);
                }
                let mut killed = Vec::new();
                for n in 0..1_500 {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let address = &all[(random >> 33) as usize % all.len()];
                    match random >> 61 {
                        0..=3 => drop(group.join(address)),
                        4..=6 => drop(group.leave(address)),
                        _ if n % 4 == 0 => {
                            address.exit(ExitReason::Killed);
                            killed.push(address.clone());
                        }
                        _ => tokio::task::yield_now().await,
                    }
                }
                for address in killed {
                    // Its own name goes last.
                    until(|| system.lookup::<u32>(address.name()).is_none()).await;
                }
            })
        })
        .collect();
    let last = member(&system, "last").await;
    let following: Vec<_> = (0..3)
        .map(|_| {
            let (mut monitor, last) = (group.monitor(), last.id());
            tokio::spawn(async move {
                let mut believed = BTreeSet::new();
                while !believed.contains(&last) {
                    follow(&mut believed, monitor.next().await);
                }
                believed
            })
        })
        .collect();
    for task in changing {
        task.await.unwrap();
    }
    group.join(&last).unwrap();
    for task in following {
        let believed = tokio::time::timeout(SOON, task).await.unwrap().unwrap();
        assert_eq!(believed, ids(&group).into_iter().collect());
    }
    assert!(group.members().iter().all(Address::is_alive));
}

fn small(system: &System) -> Scope {
    system.scope_with("small", ScopeOptions { groups_max: 2, members_max: 3 }).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_group_takes_as_many_members_as_its_scope_says_and_not_one_more() {
    let system = System::new();
    let group = small(&system).group("g").unwrap();
    let all = members(&system, 4).await;
    for address in &all[..3] {
        group.join(address).unwrap();
    }
    assert_eq!(group.join(&all[3]), Err(JoinError::Full { group: "g".into(), max: 3 }));
    group.join(&all[2]).unwrap();
    end(&all[0]).await;
    group.join(&all[3]).unwrap();
    assert_eq!(group.members().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_scope_holds_as_many_groups_as_it_says_and_not_one_more() {
    let system = System::new();
    let scope = small(&system);
    let a = member(&system, "a").await;
    let held = scope.group::<u32>("held").unwrap();
    scope.group("joined").unwrap().join(&a).unwrap();
    let refused = scope.group::<u32>("more").map(drop);
    assert_eq!(refused, Err(GroupError::TooMany { scope: "small".into(), max: 2 }));
    scope.group::<u32>("joined").unwrap();
    drop(held);
    scope.group::<u32>("more").unwrap();
    end(&a).await;
    let _two = [scope.group::<u32>("x").unwrap(), scope.group::<u32>("y").unwrap()];
}

#[tokio::test(start_paused = true)]
async fn an_actor_is_in_as_many_groups_as_it_may_and_not_one_more() {
    let system = System::new();
    let scope = system.scope("chat");
    let (a, b) = (member(&system, "a").await, member(&system, "b").await);
    for n in 0..1024 {
        scope.group(format!("g{n}")).unwrap().join(&a).unwrap();
    }
    let more = scope.group("more").unwrap();
    assert_eq!(more.join(&a), Err(JoinError::TooMany { id: a.id(), max: 1024 }));
    more.join(&b).unwrap();
    assert!(scope.group("g7").unwrap().leave(&a));
    more.join(&a).unwrap();
    end(&a).await;
    assert_eq!(scope.groups(), ["more".into()]);
}

#[tokio::test(start_paused = true)]
async fn a_group_exists_while_it_has_members_or_is_held() {
    let system = System::new();
    let scope = system.scope("chat");
    let a = member(&system, "a").await;
    scope.group("room").unwrap().join(&a).unwrap();
    assert_eq!(scope.groups(), ["room".into()]);
    assert_eq!(scope.group::<u32>("room").unwrap().members().len(), 1);
    let held = scope.group::<u32>("room").unwrap();
    end(&a).await;
    assert!(scope.groups().is_empty());
    assert!(scope.group::<String>("room").is_err(), "held, it keeps its type");
    drop(held);
    scope.group::<String>("room").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_scope_keeps_its_options_while_it_exists() {
    let system = System::new();
    let other = ScopeOptions { groups_max: 1, members_max: 1 };
    let scope = small(&system);
    let refused = system.scope_with("small", other).map(drop);
    assert_eq!(refused, Err(ScopeExists { name: "small".into(), options: scope.options() }));
    assert_eq!(system.scope("small").options(), scope.options());
    let a = member(&system, "a").await;
    scope.group("g").unwrap().join(&a).unwrap();
    drop(scope);
    assert!(system.scope_with("small", other).is_err(), "a membership keeps it");
    end(&a).await;
    system.scope_with("small", other).unwrap();
    let defaults = ScopeOptions { groups_max: 4096, members_max: 16_384 };
    assert_eq!(system.scope("new").options(), defaults);
}
