//! Workload `idle_heap_bytes`: what one more actor that has started and waits keeps, of the heap and resident.
//!
//! Each figure comes from a process of its own, which this program starts with itself: memory that one subject gave back
//! would else be what the next one lives in.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the benchmark starts itself, it starts no other program"
)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::subject::{Plan, Subject};
use super::worker::{Broken, Gauge};
use super::workloads::Sample;
use crate::machine::{available_bytes, resident_bytes};
use crate::{Outcome, heap};

/// Actors that are there before, so that what the first one makes for all is not counted.
const ACTORS_BEFORE: u64 = 100;
/// Until everything that was started has come to rest.
const REST: Duration = Duration::from_millis(100);
/// A subject may take this part of what the machine could give.
const MEMORY_SHARE: f64 = 0.25;

/// How many actors, in how many processes.
pub(super) struct Size {
    pub(super) actors: u64,
    pub(super) runs: usize,
    heap: &'static str,
    resident: &'static str,
}

/// Smallest first, as one tells whether the next would fit.
pub(super) const SIZES: [Size; 3] = [
    Size {
        actors: 10_000,
        runs: 2,
        heap: "heap_bytes_per_actor_of_10k",
        resident: "resident_bytes_per_actor_of_10k",
    },
    Size { actors: 100_000, runs: 2, heap: "heap_bytes_per_actor", resident: "resident_bytes_per_actor" },
    Size {
        actors: 1_000_000,
        runs: 1,
        heap: "heap_bytes_per_actor_of_1m",
        resident: "resident_bytes_per_actor_of_1m",
    },
];
const HEADLINE_ACTORS: u64 = 100_000;

/// Bytes per actor.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Idle {
    pub(super) heap: f64,
    pub(super) resident: f64,
    /// Of the heap, when each has answered one message and waits again.
    pub(super) heap_after_answer: f64,
}

impl Idle {
    pub(super) fn samples(&self, size: &Size) -> Vec<Sample> {
        let bytes = |metric, value| Sample { metric, unit: "B", value };
        let mut samples = vec![bytes(size.heap, self.heap), bytes(size.resident, self.resident)];
        if size.actors == HEADLINE_ACTORS {
            samples.push(bytes("heap_bytes_per_actor_that_answered", self.heap_after_answer));
        }
        samples
    }

    /// Whether so many actors have room.
    pub(super) fn fits(&self, size: &Size) -> Outcome<bool> {
        Ok(self.resident * size.actors as f64 <= MEMORY_SHARE * available_bytes()?)
    }
}

/// Measures in a process of its own. `subject` is as [`super::idle()`] reads it.
pub(super) fn in_a_process(subject: &str, size: &Size) -> Outcome<Idle> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["rt", "--idle", &format!("{subject}:{}", size.actors)]).output()?;
    if !output.status.success() {
        return Err(NotMeasured { said: String::from_utf8_lossy(&output.stderr).into_owned() }.into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Measures in this process. What was started is left to the end of the process.
pub(super) async fn here<S: Subject>(actors: u64) -> Outcome<Idle> {
    let subject = Arc::new(S::new().await?);
    let addresses = Vec::with_capacity((ACTORS_BEFORE + actors) as usize);
    let addresses = start(&subject, addresses, ACTORS_BEFORE).await?;
    tokio::time::sleep(REST).await;
    let resident_before = resident_bytes()?;
    heap::begin();
    let addresses = start(&subject, addresses, actors).await?;
    tokio::time::sleep(REST).await;
    let live = heap::counts().live_bytes;
    let resident = resident_bytes()?;
    for address in &addresses {
        if S::ask(address, 1).await? != 2 {
            return Err(Broken::Astray.into());
        }
    }
    tokio::time::sleep(REST).await;
    let live_after_answer = heap::end().live_bytes;
    // To stop them all is nobody's figure, and may take long.
    std::mem::forget((subject, addresses));
    let each = |bytes: f64| bytes / actors as f64;
    Ok(Idle {
        heap: each(live as f64),
        resident: each(resident - resident_before),
        heap_after_answer: each(live_after_answer as f64),
    })
}

/// Adds so many actors.
async fn start<S: Subject>(
    subject: &Arc<S>,
    mut addresses: Vec<S::Address>,
    actors: u64,
) -> Outcome<Vec<S::Address>> {
    let starter = subject.clone();
    let started = subject.run(async move {
        let plan = Plan::new(&Gauge::new());
        for _ in 0..actors {
            addresses.push(starter.start(plan.clone()).await?);
        }
        Ok(addresses)
    });
    started.await?
}

#[derive(Debug, thiserror::Error)]
#[error("the process that measures idle actors failed: {said}")]
struct NotMeasured {
    said: String,
}
