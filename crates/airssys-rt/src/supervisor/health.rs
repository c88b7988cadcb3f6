//! Whether a child still answers: a question from time to time, and an end when it was not answered too often in a row.
//!
//! Each incarnation is watched by a task of its own, which ends with it. A child that is found unhealthy ends like one that
//! failed by itself, so its supervisor restarts it as its terms say.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::address::Address;
use crate::exit::ExitReason;
use crate::reply::ReplyTo;
use crate::slot::{AnySlot, SUSPENDED};
use crate::tasks::run_beside;

use super::ending;
use super::spec::Shutdown;

/// Asks a child whether it is well. For [`ChildSpec::health`](super::ChildSpec::health).
///
/// A question waits in the mailbox behind other messages, so a timeout has to be longer than a full mailbox may take. One
/// that finds no room in time is not answered either. A suspended actor is not asked.
///
/// ```
/// # use airssys_rt::{Actor, ChildSpec, Context, ExitReason, HealthCheck, MailboxOptions, ReplyTo, System};
/// # use std::time::Duration;
/// enum Message {
///     Ping(ReplyTo<()>),
/// }
/// # struct Worker;
/// # impl Actor for Worker {
/// #     type Message = Message;
/// #     async fn handle(&mut self, message: Message, _: &mut Context<Self>) -> Result<(), ExitReason> {
/// #         let Message::Ping(reply) = message;
/// #         drop(reply.send(()));
/// #         Ok(())
/// #     }
/// # }
/// # fn child(system: &System) -> ChildSpec {
/// let (child, address) = ChildSpec::worker(system, "worker", MailboxOptions::default(), || Worker);
/// child.health(HealthCheck::new(&address, Message::Ping).interval(Duration::from_secs(1)))
/// # }
/// ```
#[derive(Clone)]
pub struct HealthCheck {
    interval: Duration,
    timeout: Duration,
    failures_max: u32,
    probe: Arc<Probe>,
}

/// Whether it was answered in this time.
type Probe = dyn Fn(Duration) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync;

impl HealthCheck {
    /// Sends this request to this address, commonly the child's own: every 10 s, with 1 s to answer, at most 2 unanswered in
    /// a row.
    pub fn new<M: Send + 'static>(
        address: &Address<M>,
        request: impl Fn(ReplyTo<()>) -> M + Send + Sync + 'static,
    ) -> Self {
        let (address, request) = (address.clone(), Arc::new(request));
        let probe = move |timeout| -> Pin<Box<dyn Future<Output = bool> + Send>> {
            let (address, request) = (address.clone(), request.clone());
            Box::pin(async move { address.ask(timeout, |reply| request(reply)).await.is_ok() })
        };
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            failures_max: 2,
            probe: Arc::new(probe),
        }
    }

    /// How long after its start, and after each answer or failure, the child is asked.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// How long it has to answer.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How many questions in a row may be unanswered; one more and the child is ended.
    pub fn failures_max(self, failures_max: u32) -> Self {
        Self { failures_max, ..self }
    }
}

impl fmt::Debug for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthCheck")
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .field("failures_max", &self.failures_max)
            .finish_non_exhaustive()
    }
}

/// The end of a child that did not answer its health checks. Found behind [`ExitReason::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("did not answer {failures} health checks in a row")]
pub struct Unhealthy {
    /// Checks it did not answer, one more than it may.
    pub failures: u32,
}

/// Watches the incarnation that has begun in this slot, for as long as it lives.
pub(crate) fn watch(slot: &Arc<AnySlot>, incarnation: u32, check: HealthCheck, shutdown: Shutdown) {
    let watched = slot.clone();
    run_beside(slot, async move {
        let header = &watched.header;
        if header.start_outcome().await.is_err() {
            return;
        }
        let failures = find_unhealthy(&watched, &check).await;
        let reason = ExitReason::error(Unhealthy { failures });
        tracing::warn!(actor = %header.name, id = header.id.as_u64(), %reason, "child is unhealthy");
        let asked = ending::expel(header, incarnation, reason);
        // Like any child that is to end. Who is stuck is reported, and ends this task when it is gone.
        drop(ending::ended(header, shutdown, asked).await);
    });
}

/// Returns when too many questions in a row were not answered, with their number.
async fn find_unhealthy(slot: &AnySlot, check: &HealthCheck) -> u32 {
    let mut failures = 0;
    loop {
        sleep(check.interval).await;
        if slot.header.flags() & SUSPENDED != 0 || (check.probe)(check.timeout).await {
            failures = 0;
            continue;
        }
        // Suspended while it was asked: it could not answer.
        if slot.header.flags() & SUSPENDED == 0 {
            failures += 1;
        }
        if failures > check.failures_max {
            return failures;
        }
    }
}
