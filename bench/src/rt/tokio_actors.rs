//! tokio-actors: a bounded mailbox of one message type; built without tracing.
//!
//! Spawned without a supervisor, except where it is to be restarted. A restart makes a new handle, so each incarnation
//! sends its own when it has started. Requests have no timeout.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_actors::actor::context::ActorContext;
use tokio_actors::{
    Actor, ActorConfig, ActorError, ActorExt, ActorHandle, ActorResult, RestartType, StopReason,
    SupervisionConfig,
};

use super::subject::{End, Plan, Subject, watch};
use super::worker::{Broken, Gauge, Worker};
use super::workloads::Workload;
use crate::Outcome;

/// With `DEFAULT`, the mailbox is the one of its default configuration, of 64 messages.
pub(super) struct TokioActors<const DEFAULT: bool> {
    supervisor: ActorHandle<Supervisor>,
    fresh: Mutex<mpsc::UnboundedReceiver<ActorHandle<Counting>>>,
}

impl<const DEFAULT: bool> Subject for TokioActors<DEFAULT> {
    const NAME: &'static str = "tokio-actors";
    const VARIANT: &'static str = if DEFAULT { "default_mailbox" } else { "" };
    const WORKLOADS: &'static [Workload] = if DEFAULT { &Workload::THROUGHPUT } else { &Workload::ALL };
    type Address = ActorHandle<Counting>;

    async fn new() -> Outcome<Self> {
        let (starts, fresh) = mpsc::unbounded_channel();
        let restarts = SupervisionConfig::one_for_one().max_restarts(u32::MAX, Duration::from_millis(1));
        let supervisor = Supervisor { starts }.spawn().with_supervision(restarts).await?;
        Ok(TokioActors { supervisor, fresh: Mutex::new(fresh) })
    }

    async fn start(&self, plan: Plan) -> Outcome<Self::Address> {
        let config = ActorConfig::default();
        let config = if DEFAULT { config } else { config.with_mailbox_capacity(plan.capacity) };
        match plan.end {
            End::Restart => {
                self.supervisor.notify(Restarting { gauge: plan.gauge, config }).await?;
                Ok(self.fresh.lock().await.recv().await.ok_or(Broken::Refused)?)
            }
            End::AsUsual | End::ForGood => {
                let worker = Worker::new(plan.gauge);
                Ok(Counting { worker, next: None, starts: None }.spawn().with_config(config).await?)
            }
        }
    }

    async fn count(address: &Self::Address, value: u64) -> Outcome<()> {
        Ok(address.notify(Message::Count(value)).await?)
    }

    async fn ask(address: &Self::Address, value: u64) -> Outcome<u64> {
        Ok(address.send(Message::Ask(value)).await?)
    }

    async fn next(address: &Self::Address, next: Self::Address) -> Outcome<()> {
        Ok(address.notify(Message::Next(next)).await?)
    }

    async fn token(address: &Self::Address, hops_left: u64) -> Outcome<()> {
        Ok(address.notify(Message::Token(hops_left)).await?)
    }

    async fn block(address: &Self::Address) -> Outcome<()> {
        Ok(address.notify(Message::Block).await?)
    }

    async fn watch(&self, address: &Self::Address) -> Outcome<oneshot::Receiver<Instant>> {
        let address = address.clone();
        watch(async move { drop(address.wait_stopped().await) }).await
    }

    async fn kill(&self, address: &Self::Address) -> Outcome<()> {
        Ok(address.stop(StopReason::Kill).await?)
    }

    async fn crash(&self, address: &Self::Address) -> Outcome<Self::Address> {
        address.notify(Message::Crash).await?;
        Ok(self.fresh.lock().await.recv().await.ok_or(Broken::Refused)?)
    }

    async fn end(&self, addresses: Vec<Self::Address>) -> Outcome<()> {
        // The supervisor ends its own children, so one of them may have ended before it is told to.
        self.supervisor.stop(StopReason::Graceful).await?;
        self.supervisor.wait_stopped().await;
        for address in addresses {
            drop(address.stop(StopReason::Kill).await);
            address.wait_stopped().await;
        }
        Ok(())
    }
}

pub(super) enum Message {
    Count(u64),
    Ask(u64),
    Next(ActorHandle<Counting>),
    Token(u64),
    Block,
    Crash,
}

pub(super) struct Counting {
    worker: Worker,
    next: Option<ActorHandle<Counting>>,
    /// Where a restarted incarnation sends its handle.
    starts: Option<mpsc::UnboundedSender<ActorHandle<Counting>>>,
}

impl Actor for Counting {
    type Message = Message;
    type Response = u64;

    async fn on_started(&mut self, ctx: &mut ActorContext<Self>) -> ActorResult<()> {
        match self.starts.take() {
            Some(starts) => starts.send(ctx.self_handle()).map_err(|_| failed(Broken::Refused)),
            None => Ok(()),
        }
    }

    async fn handle(&mut self, message: Message, _: &mut ActorContext<Self>) -> ActorResult<u64> {
        match message {
            Message::Count(value) => self.worker.count(value),
            Message::Ask(value) => return Ok(self.worker.answer(value)),
            Message::Next(next) => self.next = Some(next),
            Message::Token(hops_left) => {
                if let (Some(hops_left), Some(next)) = (self.worker.token(hops_left), &self.next) {
                    next.try_notify(Message::Token(hops_left)).map_err(failed)?;
                }
            }
            Message::Block => self.worker.block().await,
            Message::Crash => self.worker.crash(),
        }
        Ok(0)
    }
}

pub(super) struct Supervisor {
    starts: mpsc::UnboundedSender<ActorHandle<Counting>>,
}

/// Starts an actor with this gauge, now and whenever it fails.
pub(super) struct Restarting {
    gauge: Arc<Gauge>,
    config: ActorConfig,
}

impl Actor for Supervisor {
    type Message = Restarting;
    type Response = ();

    async fn handle(&mut self, restarting: Restarting, ctx: &mut ActorContext<Self>) -> ActorResult<()> {
        let Restarting { gauge, config } = restarting;
        let starts = self.starts.clone();
        ctx.spawn_child(move || Counting {
            worker: Worker::new(gauge.clone()),
            next: None,
            starts: Some(starts.clone()),
        })
        .restart_type(RestartType::Permanent)
        .with_config(config)
        .await
        .map_err(failed)?;
        Ok(())
    }
}

/// Its own error holds a text and no more.
fn failed(error: impl std::error::Error) -> ActorError {
    ActorError::user(error.to_string())
}
