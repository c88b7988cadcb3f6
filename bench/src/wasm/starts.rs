//! Workloads `spawn` and `restart_after_trap`: how long until a component is ready, for the first time and again.

use std::time::{Duration, Instant};

use airssys_rt::{Event, Events, Overflow};
use airssys_wasm::{ComponentHandle, Payload};

use super::bare::{self, Message};
use super::ours::{self, Node};
use super::{BARE, Guest, OURS, Sides};
use crate::Outcome;
use crate::report::{Report, Series, interleave, ns_each};

const SPAWNS: u64 = 500;
const RESTARTS: u64 = 100;
const STALLED: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("restart_after_trap: the guest did not trap, or was not fresh after it")]
    NotRestarted,
    #[error("restart_after_trap: the actor system ended")]
    NoMoreEvents,
}

pub(super) fn spawn(report: &mut Report, sides: &Sides, guest: &Guest) -> Outcome<()> {
    let (one, two) = (Node::new(&sides.engines, 1)?, Node::new(&sides.engines, 2)?);
    let [ours_one, ours_two, bare] =
        interleave([&mut || spawned(&one, guest), &mut || spawned(&two, guest), &mut || {
            let mut guests: Vec<bare::Guest<&'static Message>> = Vec::with_capacity(SPAWNS as usize);
            let begin = Instant::now();
            for _ in 0..SPAWNS {
                guests.push(guest.bare.start(&[])?);
            }
            Ok(ns_each(begin.elapsed(), SPAWNS))
        }])?;
    let ns = |subject, metric, samples| Series { subject, metric, unit: "ns", samples };
    let bare = ns(BARE, "ns_per_spawn", bare);
    report.add("spawn", &ns(OURS, "ns_per_spawn", ours_one), Some(&bare));
    report.add("spawn", &ns(OURS, "ns_per_spawn_2_workers", ours_two), Some(&bare));
    report.add("spawn", &bare, None);
    Ok(())
}

/// One after another, each asked for when the one before it is ready.
fn spawned(node: &Node, guest: &Guest) -> Outcome<f64> {
    let specs: Outcome<Vec<_>> = (0..SPAWNS)
        .map(|index| ours::spec(&format!("spawned-{index}"), &guest.ours, &[], Overflow::Reject))
        .collect();
    let specs = specs?;
    let mut tree = node.supervise("spawned", Vec::new())?;
    let (runtime, supervisor) = (node.runtime.clone(), tree.supervisor.clone());
    let (handles, ns) = node.run(async move {
        let mut handles = Vec::with_capacity(specs.len());
        let begin = Instant::now();
        for spec in specs {
            let (child, handle) = runtime.child(spec)?;
            supervisor.start_child(child).await?;
            handles.push(handle);
        }
        Ok((handles, ns_each(begin.elapsed(), SPAWNS)))
    })?;
    tree.components = handles;
    node.stop(tree);
    Ok(ns)
}

pub(super) fn restart_after_trap(report: &mut Report, sides: &Sides, guest: &Guest) -> Outcome<()> {
    let node = Node::new(&sides.engines, 1)?;
    let crasher = ours::spec("crasher", &guest.ours, &[], Overflow::Wait)?;
    let tree = node.supervise("crashes", vec![crasher])?;
    let component = tree.components[0].clone();
    let (crash, count) = (bare::message_for_good(b"panic"), bare::message_for_good(b"count"));
    let [ours_answer, ours_took, bare_answer, bare_spawn] = interleave([
        &mut || Ok(restarts(&node, &component)?.until_answer_ns),
        &mut || Ok(restarts(&node, &component)?.until_ready_ns),
        &mut || {
            let mut instance: bare::Guest<&'static Message> = guest.bare.start(&[])?;
            let begin = Instant::now();
            for _ in 0..RESTARTS {
                if instance.handle(crash).is_ok() {
                    return Err(Broken::NotRestarted.into());
                }
                drop(instance);
                instance = guest.bare.start(&[])?;
                if instance.handle(count)?.is_none_or(|count| count.bytes != b"1") {
                    return Err(Broken::NotRestarted.into());
                }
            }
            Ok(ns_each(begin.elapsed(), RESTARTS))
        },
        &mut || {
            let mut elapsed = Duration::ZERO;
            for _ in 0..RESTARTS {
                let begin = Instant::now();
                let instance: bare::Guest<&'static Message> = guest.bare.start(&[])?;
                elapsed += begin.elapsed();
                drop(instance);
            }
            Ok(ns_each(elapsed, RESTARTS))
        },
    ])?;
    node.stop(tree);
    let ns = |subject, metric, samples| Series { subject, metric, unit: "ns", samples };
    let spawn = ns(BARE, "ns_per_spawn", bare_spawn);
    let bare = ns(BARE, "ns_from_panic_to_answer", bare_answer);
    let ours = ns(OURS, "ns_from_panic_to_answer", ours_answer);
    report.add("restart_after_trap", &ours, Some(&bare));
    report.add("restart_after_trap", &ns(OURS, "ns_from_end_to_ready", ours_took), Some(&spawn));
    report.add("restart_after_trap", &bare, Some(&spawn));
    report.add("restart_after_trap", &spawn, None);
    Ok(())
}

/// Means over [`RESTARTS`].
struct Restarts {
    until_answer_ns: f64,
    until_ready_ns: f64,
}

fn restarts(node: &Node, component: &ComponentHandle) -> Outcome<Restarts> {
    let (component, mut events) = (component.clone(), node.runtime.system().events());
    node.run(async move {
        let (mut until_answer, mut until_ready) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..RESTARTS {
            let begin = Instant::now();
            component.send(Payload::raw(b"panic".as_slice())).await?;
            let count = component.call(Payload::raw(b"count".as_slice()), Some(STALLED)).await?;
            until_answer += begin.elapsed();
            if *count.bytes != *b"1" {
                return Err(Broken::NotRestarted.into());
            }
            // The component may answer before its supervisor has told of the restart.
            until_ready += tokio::time::timeout(STALLED, next_restart(&mut events)).await??;
        }
        Ok(Restarts {
            until_answer_ns: ns_each(until_answer, RESTARTS),
            until_ready_ns: ns_each(until_ready, RESTARTS),
        })
    })
}

async fn next_restart(events: &mut Events) -> Outcome<Duration> {
    loop {
        if let Event::Restarted { took, .. } = events.next().await.ok_or(Broken::NoMoreEvents)?? {
            return Ok(took);
        }
    }
}
