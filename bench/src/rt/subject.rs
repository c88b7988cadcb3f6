//! What a system must do to be measured: the few things that differ from one to the next.
//!
//! Everything that measures is written once, over this trait, and compiled anew for each subject: no boxed call stands
//! between a workload and what it measures.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::worker::{Broken, Gauge};
use crate::Outcome;

/// Messages that a mailbox holds, where a workload asks for nothing else.
pub(super) const CAPACITY: usize = 1024;

/// One configuration of one system of actors.
pub(super) trait Subject: Sized + Send + Sync + 'static {
    const NAME: &'static str;
    /// Follows the names of the metrics, for configurations beside the one that counts.
    const VARIANT: &'static str = "";
    /// Why nothing can be measured from a panic to the next answer.
    const NO_RESTART: Option<&'static str> = None;
    /// Why nothing can be measured from a kill to the end.
    const NO_KILL: Option<&'static str> = None;

    /// The right to send to one actor. Outlives what `end` stopped.
    type Address: Clone + Send + Sync + 'static;

    fn new() -> impl Future<Output = Outcome<Self>> + Send;

    /// Starts one actor: a [`Worker`](super::worker::Worker) with a mailbox, started anew when it panics if it is
    /// `permanent` and the system restarts at all.
    fn start(&self, plan: Plan) -> impl Future<Output = Outcome<Self::Address>> + Send;

    /// Returns when the message is in the mailbox; waits for room where the mailbox is bounded.
    fn count(address: &Self::Address, value: u64) -> impl Future<Output = Outcome<()>> + Send;

    fn ask(address: &Self::Address, value: u64) -> impl Future<Output = Outcome<u64>> + Send;

    /// Tells an actor to whom it passes tokens.
    fn next(address: &Self::Address, next: Self::Address) -> impl Future<Output = Outcome<()>> + Send;

    fn token(address: &Self::Address, hops_left: u64) -> impl Future<Output = Outcome<()>> + Send;

    /// Gives the actor a message that it is never through with.
    fn block(address: &Self::Address) -> impl Future<Output = Outcome<()>> + Send;

    /// From the call that ends the actor, whatever waits in its mailbox, to when a monitor of it has seen the end.
    fn kill(&self, address: &Self::Address) -> impl Future<Output = Outcome<Duration>> + Send {
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
    pub(super) permanent: bool,
}

impl Plan {
    pub(super) fn new(gauge: &Arc<Gauge>) -> Self {
        Plan { gauge: gauge.clone(), capacity: CAPACITY, permanent: true }
    }
}
