//! kameo: a bounded mailbox of boxed messages, one `Message` implementation per kind; built without tracing.
//!
//! Spawned without a supervisor, except where it is to be restarted: then below its own supervision. `tell` and `ask` are
//! sent with `send`, which spares the box that awaiting the request itself would cost. Requests have no timeout.

use std::time::{Duration, Instant};

use kameo::actor::{ActorRef, Spawn};
use kameo::error::{Infallible, SendError};
use kameo::message::{Context, Message};
use kameo::supervision::RestartPolicy;
use kameo::{Actor, mailbox};
use tokio::sync::oneshot;

use super::subject::{End, Plan, Subject, watch};
use super::worker::{Broken, Worker};
use super::workloads::Workload;
use crate::Outcome;

/// With `DEFAULT`, the mailbox is the one that `spawn` makes, of 64 messages.
pub(super) struct Kameo<const DEFAULT: bool> {
    supervisor: ActorRef<Supervisor>,
}

impl<const DEFAULT: bool> Subject for Kameo<DEFAULT> {
    const NAME: &'static str = "kameo";
    const VARIANT: &'static str = if DEFAULT { "default_mailbox" } else { "" };
    const WORKLOADS: &'static [Workload] = if DEFAULT { &Workload::THROUGHPUT } else { &Workload::ALL };
    type Address = ActorRef<Counting>;

    async fn new() -> Outcome<Self> {
        Ok(Kameo { supervisor: Supervisor::spawn(()) })
    }

    async fn start(&self, plan: Plan) -> Outcome<Self::Address> {
        let Plan { gauge, capacity, end } = plan;
        let worker = move || Worker::new(gauge.clone());
        Ok(match end {
            End::Restart => {
                Counting::supervise_with(&self.supervisor, worker)
                    .restart_policy(RestartPolicy::Permanent)
                    .restart_limit(u32::MAX, Duration::from_millis(1))
                    .spawn_with_mailbox(mailbox::bounded(capacity))
                    .await
            }
            End::AsUsual if DEFAULT => Counting::spawn(worker()),
            End::AsUsual | End::ForGood => Counting::spawn_with_mailbox(worker(), mailbox::bounded(capacity)),
        })
    }

    async fn count(address: &Self::Address, value: u64) -> Outcome<()> {
        Ok(address.tell(Count(value)).send().await.map_err(|_| Broken::Refused)?)
    }

    async fn ask(address: &Self::Address, value: u64) -> Outcome<u64> {
        loop {
            match address.ask(Ask(value)).send().await {
                Ok(answer) => return Ok(answer),
                // A request that came between two incarnations comes back, or its answer does not.
                Err(SendError::ActorRestarting(_) | SendError::ActorStopped) => {
                    tokio::task::yield_now().await;
                }
                Err(_) => return Err(Broken::Refused.into()),
            }
        }
    }

    async fn next(address: &Self::Address, next: Self::Address) -> Outcome<()> {
        Ok(address.tell(Next(next)).send().await.map_err(|_| Broken::Refused)?)
    }

    async fn token(address: &Self::Address, hops_left: u64) -> Outcome<()> {
        Ok(address.tell(Token(hops_left)).send().await.map_err(|_| Broken::Refused)?)
    }

    async fn block(address: &Self::Address) -> Outcome<()> {
        Ok(address.tell(Block).send().await.map_err(|_| Broken::Refused)?)
    }

    async fn watch(&self, address: &Self::Address) -> Outcome<oneshot::Receiver<Instant>> {
        let address = address.clone();
        watch(async move { address.wait_for_shutdown().await }).await
    }

    async fn kill(&self, address: &Self::Address) -> Outcome<()> {
        address.kill();
        Ok(())
    }

    async fn crash(&self, address: &Self::Address) -> Outcome<Self::Address> {
        address.tell(Crash).send().await.map_err(|_| Broken::Refused)?;
        // The address and the mailbox outlive the incarnation.
        Ok(address.clone())
    }

    async fn end(&self, addresses: Vec<Self::Address>) -> Outcome<()> {
        // First the supervisor, or it would restart what is killed.
        self.supervisor.kill();
        self.supervisor.wait_for_shutdown().await;
        for address in addresses {
            address.kill();
            address.wait_for_shutdown().await;
        }
        Ok(())
    }
}

pub(super) struct Supervisor;

impl Actor for Supervisor {
    type Args = ();
    type Error = Infallible;

    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Supervisor)
    }
}

pub(super) struct Counting {
    worker: Worker,
    next: Option<ActorRef<Counting>>,
}

struct Count(u64);
struct Ask(u64);
struct Next(ActorRef<Counting>);
struct Token(u64);
struct Block;
struct Crash;

impl Actor for Counting {
    type Args = Worker;
    type Error = Infallible;

    async fn on_start(worker: Worker, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Counting { worker, next: None })
    }
}

impl Message<Count> for Counting {
    type Reply = ();

    async fn handle(&mut self, Count(value): Count, _: &mut Context<Self, ()>) {
        self.worker.count(value);
    }
}

impl Message<Ask> for Counting {
    type Reply = u64;

    async fn handle(&mut self, Ask(value): Ask, _: &mut Context<Self, u64>) -> u64 {
        self.worker.answer(value)
    }
}

impl Message<Next> for Counting {
    type Reply = ();

    async fn handle(&mut self, Next(next): Next, _: &mut Context<Self, ()>) {
        self.next = Some(next);
    }
}

impl Message<Token> for Counting {
    type Reply = ();

    async fn handle(&mut self, Token(hops_left): Token, ctx: &mut Context<Self, ()>) {
        if let (Some(hops_left), Some(next)) = (self.worker.token(hops_left), &self.next)
            && next.tell(Token(hops_left)).try_send().is_err()
        {
            ctx.stop();
        }
    }
}

impl Message<Block> for Counting {
    type Reply = ();

    async fn handle(&mut self, Block: Block, _: &mut Context<Self, ()>) {
        self.worker.block().await;
    }
}

impl Message<Crash> for Counting {
    type Reply = ();

    async fn handle(&mut self, Crash: Crash, _: &mut Context<Self, ()>) {
        self.worker.crash()
    }
}
