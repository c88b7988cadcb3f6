//! Names, events, the tree, and shutdown.

use std::time::Duration;

use airssys_rt::{
    ActorId, ChildSpec, DeadLetterReason, Event, ExitReason, MailboxOptions, NodeKind, NodeState, SpawnError,
    StartError, SupervisorSpec, System,
};
use tokio::time::Instant;

use crate::probe::{Diary, Habits, Probe, SOON, Tell, child, flush, occupy, spawn, spawn_with, until};

#[tokio::test(start_paused = true)]
async fn a_name_belongs_to_one_living_actor() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn(&system, "a", &diary).await;
    let probe = diary.clone();
    let second = system.spawn("a", MailboxOptions::default(), move || Probe::new("a", &probe)).await;
    assert!(matches!(second, Err(SpawnError::NameTaken { name }) if &*name == "a"));
    let top = system.supervise(SupervisorSpec::new("a")).await;
    assert!(matches!(top, Err(StartError::NameTaken { .. })));
    a.exit(ExitReason::Killed);
    until(|| system.lookup::<Tell>("a").is_none()).await;
    let again = spawn(&system, "a", &diary).await;
    assert_ne!(again.id(), a.id());
}

#[tokio::test(start_paused = true)]
async fn lookup_finds_a_name_with_its_message_type_only() {
    let (system, diary) = (System::new(), Diary::default());
    let a = spawn(&system, "a", &diary).await;
    assert_eq!(system.lookup::<Tell>("a").unwrap().id(), a.id());
    assert!(system.lookup::<String>("a").is_none());
    assert!(system.lookup::<Tell>("b").is_none());
    assert!(system.supervisor("a").is_none());
}

#[tokio::test(start_paused = true)]
async fn ids_begin_at_one_and_are_not_used_again() {
    let (system, diary) = (System::new(), Diary::default());
    let mut ids: Vec<ActorId> = Vec::new();
    for _ in 0..3 {
        let a = spawn(&system, "a", &diary).await;
        ids.push(a.id());
        a.exit(ExitReason::Killed);
        until(|| system.lookup::<Tell>("a").is_none()).await;
    }
    assert_eq!(ids.iter().map(|id| id.as_u64()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(!system.exit(ids[0], ExitReason::Killed));
}

#[tokio::test(start_paused = true)]
async fn the_tree_shows_who_is_where_in_start_order() {
    let (system, diary) = (System::new(), Diary::default());
    let solo = spawn(&system, "solo", &diary).await;
    let (a_spec, a) = child(&system, "a", &diary);
    let (b_spec, b) = child(&system, "b", &diary);
    let inner = SupervisorSpec::new("inner").child(b_spec);
    let spec = SupervisorSpec::new("top").child(a_spec).child(ChildSpec::supervisor(inner));
    system.supervise(spec).await.unwrap();
    a.tell(Tell::Panic("x")).await.unwrap();
    flush(&a).await;
    let _gate = occupy(&b).await;
    b.try_tell(Tell::Note(1)).unwrap();

    let tree = system.tree();
    assert_eq!(tree.len(), 2);
    assert_eq!((tree[0].id, tree[0].kind), (solo.id(), NodeKind::Worker));
    let top = &tree[1];
    assert_eq!((&*top.name, top.kind, top.state), ("top", NodeKind::Supervisor, NodeState::Running));
    let names: Vec<_> = top.children.iter().map(|node| &*node.name).collect();
    assert_eq!(names, ["a", "inner"]);
    assert_eq!(top.children[0].restarts, 1);
    assert!(matches!(top.children[0].last_exit, Some(ExitReason::Panic(_))));
    let b_node = &top.children[1].children[0];
    assert_eq!((b_node.id, b_node.state), (b.id(), NodeState::Running));
    assert_eq!(b_node.mailbox.unwrap().depth, 1, "seen while the actor is busy");
}

#[tokio::test(start_paused = true)]
async fn events_tell_a_life_in_order() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, a) = child(&system, "a", &diary);
    let mut events = system.events();
    system.supervise(SupervisorSpec::new("top").child(spec)).await.unwrap();
    a.tell(Tell::Panic("x")).await.unwrap();
    flush(&a).await;
    let _gate = occupy(&a).await;
    a.try_tell(Tell::Note(1)).unwrap();
    system.shutdown(SOON).await;
    let told: Vec<String> = std::iter::from_fn(|| events.try_next())
        .map(|event| match event.unwrap() {
            Event::Started { name, .. } => format!("{name} started"),
            Event::Exited { name, reason: ExitReason::Panic(_), .. } => format!("{name} panicked"),
            Event::Exited { name, reason, .. } => format!("{name} exited {reason}"),
            Event::Restarted { name, restarts, .. } => format!("{name} restarted {restarts}"),
            Event::DeadLetter { name, reason: DeadLetterReason::Closed, count, .. } => {
                format!("{name} lost {count}")
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            "a started",
            "top started",
            "a panicked",
            "a started",
            "a restarted 1",
            "a exited shutdown",
            "a lost 1",
            "top exited shutdown",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_events_is_told_how_many_it_missed() {
    let (system, diary) = (System::new(), Diary::default());
    let mut events = system.events();
    for _ in 0..1000 {
        let a = spawn(&system, "a", &diary).await;
        a.exit(ExitReason::Killed);
        until(|| system.lookup::<Tell>("a").is_none()).await;
    }
    let lagged = events.try_next().unwrap().unwrap_err();
    let mut seen = 0;
    while let Some(Ok(_)) = events.try_next() {
        seen += 1;
    }
    assert_eq!(lagged.missed + seen, 2000);
}

#[tokio::test(start_paused = true)]
async fn shutdown_stops_everything_last_started_first() {
    let (system, diary) = (System::new(), Diary::default());
    let _a = spawn(&system, "a", &diary).await;
    let (spec, _) = child(&system, "b", &diary);
    system.supervise(SupervisorSpec::new("top").child(spec)).await.unwrap();
    let _c = spawn_with(&system, "c", &diary, Habits { traps: true, ..Habits::default() }).await;
    diary.take();
    let report = system.shutdown(SOON).await;
    assert!(report.is_clean());
    assert_eq!(report.stopped, ["c", "top", "a"].map(Into::into));
    let stops: Vec<_> = diary.take().into_iter().filter(|line| line.contains("stop")).collect();
    assert_eq!(stops, ["c: stop, shutdown", "b: stop, shutdown", "a: stop, shutdown"]);
    assert!(system.tree().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_after_a_shutdown() {
    let (system, diary) = (System::new(), Diary::default());
    system.shutdown(SOON).await;
    let late = system.spawn("a", MailboxOptions::default(), move || Probe::new("a", &diary)).await;
    assert!(matches!(late, Err(SpawnError::ShuttingDown)));
    assert!(matches!(system.supervise(SupervisorSpec::new("b")).await, Err(StartError::ShuttingDown)));
}

#[tokio::test(start_paused = true)]
async fn shutdown_kills_what_takes_longer_than_the_timeout() {
    let (system, diary) = (System::new(), Diary::default());
    let slow = Habits { stop_takes: Duration::from_secs(3600), ..Habits::default() };
    spawn_with(&system, "slow", &diary, slow).await;
    let began = Instant::now();
    let report = system.shutdown(Duration::from_secs(3)).await;
    assert_eq!(report.killed, ["slow".into()]);
    assert!(report.stuck.is_empty());
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_and_reports_a_handler_that_never_awaits() {
    let (system, diary) = (System::new(), Diary::default());
    let (spec, stuck) = child(&system, "stuck", &diary);
    system.supervise(SupervisorSpec::new("top").child(spec)).await.unwrap();
    let (release, blocked) = std::sync::mpsc::channel();
    stuck.tell(Tell::Block(blocked)).await.unwrap();
    until(|| stuck.stats().handled == 1).await;
    let report = system.shutdown(Duration::from_millis(50)).await;
    assert_eq!(report.stuck, ["stuck".into()]);
    assert_eq!(report.killed, ["top".into()]);
    release.send(()).unwrap();
    until(|| !stuck.is_alive()).await;
}
