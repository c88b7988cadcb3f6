//! Further names: who may have one, who finds whom under it, and when it ends.

use std::time::Duration;

use airssys_rt::{
    Actor, Address, ChildSpec, Context, ExitReason, MailboxOptions, RegisterError, Signal, SpawnError,
    SupervisorSpec, System,
};

use crate::probe::{Diary, Probe, SOON, Tell, child, flush, spawn, until};

#[tokio::test(start_paused = true)]
async fn a_further_name_finds_its_actor_beside_its_own_name() {
    let system = System::new();
    let a = spawn(&system, "a", &Diary::default()).await;
    assert!(system.lookup::<Tell>("alias").is_none());
    system.register("alias", &a).unwrap();
    for name in ["a", "alias"] {
        let found = system.lookup::<Tell>(name).unwrap();
        assert_eq!(found.id(), a.id());
        flush(&found).await;
    }
    assert_eq!(a.name(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_further_name_finds_nobody_with_another_message_type() {
    let system = System::new();
    let a = spawn(&system, "a", &Diary::default()).await;
    system.register("alias", &a).unwrap();
    assert!(system.lookup::<String>("alias").is_none());
    assert!(system.supervisor("alias").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_name_has_one_holder() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn(&system, "a", &diary).await;
    let b = spawn(&system, "b", &diary).await;
    system.register("alias", &a).unwrap();
    for taken in ["a", "alias"] {
        let refused = system.register(taken, &b);
        assert_eq!(refused, Err(RegisterError::NameTaken { name: taken.into(), holder: a.id() }));
    }
    let second = system.spawn("alias", MailboxOptions::default(), move || Probe::new("alias", &diary)).await;
    assert!(matches!(second, Err(SpawnError::NameTaken { name }) if &*name == "alias"));
    assert_eq!(system.lookup::<Tell>("alias").unwrap().id(), a.id());
}

#[tokio::test(start_paused = true)]
async fn registering_again_is_the_same_as_once() {
    let system = System::new();
    let a = spawn(&system, "a", &Diary::default()).await;
    for name in ["alias", "alias", "a"] {
        system.register(name, &a).unwrap();
    }
    assert!(system.unregister("alias", &a));
    assert!(system.lookup::<Tell>("alias").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_taken_back_is_free() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn(&system, "a", &diary).await;
    let b = spawn(&system, "b", &diary).await;
    system.register("alias", &a).unwrap();
    assert!(system.unregister("alias", &a));
    assert!(!system.unregister("alias", &a), "it is not held any more");
    system.register("alias", &b).unwrap();
    assert_eq!(system.lookup::<Tell>("alias").unwrap().id(), b.id());
    a.exit(ExitReason::Killed);
    until(|| !a.is_alive()).await;
    assert!(system.lookup::<Tell>("alias").is_some(), "an end takes only what was held at it");
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_back_from_its_holder_only_and_the_own_name_never() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn(&system, "a", &diary).await;
    let b = spawn(&system, "b", &diary).await;
    system.register("alias", &a).unwrap();
    assert!(!system.unregister("alias", &b));
    assert!(!system.unregister("a", &a));
    assert!(!system.unregister("nobody", &a));
    assert!(system.lookup::<Tell>("alias").is_some());
    assert!(system.lookup::<Tell>("a").is_some());
}

/// Takes a name in its `start`, which takes a while, and ends when told to.
struct Leader;

impl Actor for Leader {
    type Message = &'static str;

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ctx.system().register("leader", &ctx.address())?;
        Ok(())
    }

    async fn handle(&mut self, text: &'static str, _: &mut Context<Self>) -> Result<(), ExitReason> {
        panic!("{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_actor_has_the_names_that_its_start_registers_and_no_other() {
    let system = System::new();
    let (spec, leader) = ChildSpec::worker(&system, "a", MailboxOptions::default(), || Leader);
    system.supervise(SupervisorSpec::new("top").child(spec)).await.unwrap();
    system.register("by hand", &leader).unwrap();
    let found = |name: &str| system.lookup::<&'static str>(name).map(|address| address.id());
    assert_eq!(found("leader"), Some(leader.id()));
    assert_eq!(found("by hand"), Some(leader.id()));
    leader.try_tell("x").unwrap();
    until(|| found("leader").is_none()).await;
    assert_eq!(found("by hand"), None);
    assert_eq!(found("a"), Some(leader.id()), "the own name belongs to the place");
    until(|| found("leader") == Some(leader.id())).await;
    assert_eq!(found("by hand"), None);
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_keeps_no_name() {
    struct Failing;
    impl Actor for Failing {
        type Message = ();
        async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
            ctx.system().register("alias", &ctx.address())?;
            Err(ExitReason::Normal)
        }
        async fn handle(&mut self, (): (), _: &mut Context<Self>) -> Result<(), ExitReason> {
            Ok(())
        }
    }
    let system = System::new();
    let failed = system.spawn("a", MailboxOptions::default(), || Failing).await;
    assert!(matches!(failed, Err(SpawnError::Start { .. })));
    assert!(system.lookup::<()>("alias").is_none());
    let b = spawn(&system, "b", &Diary::default()).await;
    system.register("alias", &b).unwrap();
}

/// Takes over a name when its holder ends.
struct Heir {
    of: Address<Tell>,
}

impl Actor for Heir {
    type Message = ();

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.monitor(self.of.id());
        Ok(())
    }

    async fn handle(&mut self, (): (), _: &mut Context<Self>) -> Result<(), ExitReason> {
        Ok(())
    }

    async fn signal(&mut self, _: Signal, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.system().register("alias", &ctx.address())?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_of_an_end_finds_the_name_free() {
    let system = System::new();
    for _ in 0..200 {
        let a = spawn(&system, "a", &Diary::default()).await;
        system.register("alias", &a).unwrap();
        let of = a.clone();
        let heir = system.spawn("heir", MailboxOptions::default(), move || Heir { of }).await.unwrap();
        a.exit(ExitReason::Killed);
        until(|| system.lookup::<()>("alias").is_some()).await;
        assert!(heir.exit(ExitReason::Killed));
        until(|| system.lookup::<()>("heir").is_none() && system.lookup::<Tell>("a").is_none()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_living_actor_of_the_system_gets_a_name() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn(&system, "a", &diary).await;
    a.exit(ExitReason::Killed);
    until(|| !a.is_alive()).await;
    assert_eq!(system.register("alias", &a), Err(RegisterError::NotAlive { id: a.id() }));
    let (_, unborn) = child(&system, "unborn", &diary);
    assert_eq!(system.register("alias", &unborn), Err(RegisterError::NotAlive { id: unborn.id() }));
    let stranger = spawn(&System::new(), "stranger", &diary).await;
    assert_eq!(system.register("alias", &stranger), Err(RegisterError::OtherSystem { id: stranger.id() }));
    assert!(system.lookup::<Tell>("alias").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_actor_holds_sixty_four_further_names_and_not_one_more() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn(&system, "a", &diary).await;
    let b = spawn(&system, "b", &diary).await;
    for n in 0..64 {
        system.register(format!("alias {n}"), &a).unwrap();
    }
    assert_eq!(system.register("more", &a), Err(RegisterError::TooMany { id: a.id(), max: 64 }));
    system.register("alias 63", &a).unwrap();
    system.register("more", &b).unwrap();
    assert!(system.unregister("alias 0", &a));
    system.register("alias 64", &a).unwrap();
    a.exit(ExitReason::Killed);
    until(|| !a.is_alive()).await;
    assert!((0..=64).all(|n| system.lookup::<Tell>(&format!("alias {n}")).is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_never_outlives_the_end_it_races_with() {
    let (system, diary) = (System::new(), Diary::default());
    for n in 0..300 {
        let a = spawn(&system, "a", &diary).await;
        let racing = tokio::spawn({
            let (system, a) = (system.clone(), a.clone());
            async move {
                for alias in ["x", "y", "z"] {
                    drop(system.register(alias, &a));
                    if n % 3 == 0 {
                        system.unregister(alias, &a);
                    }
                }
            }
        });
        a.exit(ExitReason::Killed);
        racing.await.unwrap();
        until(|| system.lookup::<Tell>("a").is_none()).await;
        let b = spawn(&system, "b", &diary).await;
        for alias in ["x", "y", "z"] {
            system.register(alias, &b).unwrap();
        }
        b.exit(ExitReason::Killed);
        until(|| system.lookup::<Tell>("b").is_none()).await;
    }
    assert!(system.shutdown(SOON).await.is_clean());
}
