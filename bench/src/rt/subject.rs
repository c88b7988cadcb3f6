//! What a system must do to be measured: the few things that differ from one to the next.
//!
//! Everything that measures is written once, over this trait, and compiled anew for each subject: no boxed call stands
//! between a workload and what it measures.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::worker::{Broken, Gauge};
use super::workloads::Workload;
use crate::Outcome;

/// Messages that a mailbox holds, where a workload asks for nothing else.
pub(super) const CAPACITY: usize = 1024;

/// One configuration of one system of actors.
pub(super) trait Subject: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    /// Follows the names of the metrics, for configurations beside the one that counts.
    const VARIANT: &'static str = "";
    /// What this configuration is measured in. What idle actors keep is measured of those that take part in all.
    const WORKLOADS: &'static [Workload] = &Workload::ALL;
    /// Why nothing can be measured from a panic to the next answer.
    const NO_RESTART: Option<&'static str> = None;
    /// Why nothing can be measured from a kill to the end.
    const NO_KILL: Option<&'static str> = None;

    /// The right to send to one actor. Outlives what `end` stopped.
    type Address: Clone + Send + Sync + 'static;

    fn new() -> impl Future<Output = Outcome<Self>> + Send;

    /// Starts one actor: a [`Worker`](super::worker::Worker) with a mailbox.
    fn start(&self, plan: Plan) -> impl Future<Output = Outcome<Self::Address>> + Send;

    /// Returns when the message is in the mailbox; waits for room where the mailbox is bounded.
    fn count(address: &Self::Address, value: u64) -> impl Future<Output = Outcome<()>> + Send;

    fn ask(address: &Self::Address, value: u64) -> impl Future<Output = Outcome<u64>> + Send;

    /// Tells an actor to whom it passes tokens.
    fn next(address: &Self::Address, next: Self::Address) -> impl Future<Output = Outcome<()>> + Send;

    fn token(address: &Self::Address, hops_left: u64) -> impl Future<Output = Outcome<()>> + Send;

    /// Gives the actor a message that it works on until the gauge lets it go on.
    fn block(address: &Self::Address) -> impl Future<Output = Outcome<()>> + Send;

    /// Sets up a monitor of the actor. It tells when it saw the end.
    fn watch(
        &self,
        address: &Self::Address,
    ) -> impl Future<Output = Outcome<oneshot::Receiver<Instant>>> + Send {
        let _ = address;
        std::future::ready(Err(Broken::Refused.into()))
    }

    /// Ends the actor, whatever waits in its mailbox.
    fn kill(&self, address: &Self::Address) -> impl Future<Output = Outcome<()>> + Send {
        let _ = address;
        std::future::ready(Err(Broken::Refused.into()))
    }

    /// Makes the actor panic, and returns where the fresh incarnation can be asked.
    fn crash(&self, address: &Self::Address) -> impl Future<Output = Outcome<Self::Address>> + Send {
        let _ = address;
        std::future::ready(Err(Broken::Refused.into()))
    }

    /// The system's own account of its next restarts, from the end of the old incarnation to the fresh one's start.
    fn restarts(&self, count: u64) -> Option<JoinHandle<Outcome<Vec<Duration>>>> {
        let _ = count;
        None
    }

    /// Runs a sender or an asker where this system would have it: on a worker of the runtime.
    fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Outcome<T>> + Send + 'static,
    ) -> JoinHandle<Outcome<T>> {
        tokio::spawn(task)
    }

    /// Stops all actors and what stands around them.
    fn end(&self, addresses: Vec<Self::Address>) -> impl Future<Output = Outcome<()>> + Send;
}

/// What an actor is started with.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) gauge: Arc<Gauge>,
    /// Messages its mailbox holds, if it is bounded.
    pub(super) capacity: usize,
    pub(super) end: End,
}

/// What becomes of an actor that fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Whatever the system does by itself. Ours restarts it.
    AsUsual,
    /// It is restarted.
    Restart,
    /// It is gone.
    ForGood,
}

impl Plan {
    pub(super) fn new(gauge: &Arc<Gauge>) -> Self {
        Plan { gauge: gauge.clone(), capacity: CAPACITY, end: End::AsUsual }
    }
}

/// A task as a monitor, for systems whose monitor is a future. Returns when the task runs.
pub(super) async fn watch(
    end: impl Future<Output = ()> + Send + 'static,
) -> Outcome<oneshot::Receiver<Instant>> {
    let (running, runs) = oneshot::channel();
    let (seen, sees) = oneshot::channel();
    tokio::spawn(async move {
        running.send(()).map_err(|()| Broken::Refused)?;
        end.await;
        seen.send(Instant::now()).map_err(|_| Broken::Refused)
    });
    runs.await?;
    Ok(sees)
}
