//! ractor: an unbounded mailbox, the only one it has; built without the feature that hands tracing spans on.
//!
//! It restarts nothing by itself. Where an actor is to be restarted, a supervisor written here does what its example of
//! one suggests: on the failure of a linked actor it spawns the next. Requests have no timeout.

use std::sync::Arc;
use std::time::Instant;

use ractor::{Actor, ActorProcessingErr, ActorRef, MessagingErr, RpcReplyPort, SupervisionEvent};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::subject::{End, Plan, Subject, watch};
use super::worker::{Broken, Gauge, Worker};
use crate::Outcome;

pub(super) struct Ractor {
    supervisor: ActorRef<Restarting>,
    fresh: Mutex<mpsc::UnboundedReceiver<ActorRef<Message>>>,
}

impl Subject for Ractor {
    const NAME: &'static str = "ractor";
    type Address = ActorRef<Message>;

    async fn new() -> Outcome<Self> {
        let (starts, fresh) = mpsc::unbounded_channel();
        let (supervisor, _) = Actor::spawn(None, Supervisor { starts }, ()).await?;
        Ok(Ractor { supervisor, fresh: Mutex::new(fresh) })
    }

    async fn start(&self, plan: Plan) -> Outcome<Self::Address> {
        match plan.end {
            End::Restart => {
                self.supervisor.cast(Restarting(plan.gauge)).map_err(|_| Broken::Refused)?;
                Ok(self.fresh.lock().await.recv().await.ok_or(Broken::Refused)?)
            }
            End::AsUsual | End::ForGood => Ok(Actor::spawn(None, Counting, plan.gauge).await?.0),
        }
    }

    async fn count(address: &Self::Address, value: u64) -> Outcome<()> {
        Ok(address.cast(Message::Count(value)).map_err(|_| Broken::Refused)?)
    }

    async fn ask(address: &Self::Address, value: u64) -> Outcome<u64> {
        let answer = address.call(|reply| Message::Ask(value, reply), None).await;
        Ok(answer.map_err(|_| Broken::Refused)?.success_or(Broken::Refused)?)
    }

    async fn next(address: &Self::Address, next: Self::Address) -> Outcome<()> {
        Ok(address.cast(Message::Next(next)).map_err(|_| Broken::Refused)?)
    }

    async fn token(address: &Self::Address, hops_left: u64) -> Outcome<()> {
        Ok(address.cast(Message::Token(hops_left)).map_err(|_| Broken::Refused)?)
    }

    async fn block(address: &Self::Address) -> Outcome<()> {
        Ok(address.cast(Message::Block).map_err(|_| Broken::Refused)?)
    }

    async fn watch(&self, address: &Self::Address) -> Outcome<oneshot::Receiver<Instant>> {
        let address = address.clone();
        // Without a timeout there is no error.
        watch(async move { drop(address.wait(None).await) }).await
    }

    async fn kill(&self, address: &Self::Address) -> Outcome<()> {
        address.kill();
        Ok(())
    }

    async fn crash(&self, address: &Self::Address) -> Outcome<Self::Address> {
        address.cast(Message::Crash).map_err(|_| Broken::Refused)?;
        Ok(self.fresh.lock().await.recv().await.ok_or(Broken::Refused)?)
    }

    async fn end(&self, addresses: Vec<Self::Address>) -> Outcome<()> {
        self.supervisor.kill_and_wait(None).await?;
        for address in addresses {
            address.kill_and_wait(None).await?;
        }
        Ok(())
    }
}

pub(super) enum Message {
    Count(u64),
    Ask(u64, RpcReplyPort<u64>),
    Next(ActorRef<Message>),
    Token(u64),
    Block,
    Crash,
}

struct Counting;

struct State {
    worker: Worker,
    next: Option<ActorRef<Message>>,
}

impl Actor for Counting {
    type Msg = Message;
    type State = State;
    type Arguments = Arc<Gauge>;

    async fn pre_start(&self, _: ActorRef<Message>, gauge: Arc<Gauge>) -> Result<State, ActorProcessingErr> {
        Ok(State { worker: Worker::new(gauge), next: None })
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Count(value) => state.worker.count(value),
            Message::Ask(value, reply) => reply.send(state.worker.answer(value))?,
            Message::Next(next) => state.next = Some(next),
            Message::Token(hops_left) => {
                if let (Some(hops_left), Some(next)) = (state.worker.token(hops_left), &state.next) {
                    next.cast(Message::Token(hops_left)).map_err(|_| Broken::Refused)?;
                }
            }
            Message::Block => state.worker.block().await,
            Message::Crash => state.worker.crash(),
        }
        Ok(())
    }
}

/// Tells of each incarnation.
struct Supervisor {
    starts: mpsc::UnboundedSender<ActorRef<Message>>,
}

/// Starts an actor with this gauge, now and whenever it fails.
pub(super) struct Restarting(Arc<Gauge>);

impl Supervisor {
    async fn start(&self, myself: ActorRef<Restarting>, gauge: Arc<Gauge>) -> Result<(), ActorProcessingErr> {
        let (address, _) = Actor::spawn_linked(None, Counting, gauge, myself.get_cell()).await?;
        Ok(self.starts.send(address).map_err(|_| MessagingErr::<()>::ChannelClosed)?)
    }
}

impl Actor for Supervisor {
    type Msg = Restarting;
    type State = Option<Arc<Gauge>>;
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ActorRef<Restarting>,
        (): (),
    ) -> Result<Option<Arc<Gauge>>, ActorProcessingErr> {
        Ok(None)
    }

    async fn handle(
        &self,
        myself: ActorRef<Restarting>,
        Restarting(gauge): Restarting,
        state: &mut Option<Arc<Gauge>>,
    ) -> Result<(), ActorProcessingErr> {
        *state = Some(gauge.clone());
        self.start(myself, gauge).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Restarting>,
        event: SupervisionEvent,
        state: &mut Option<Arc<Gauge>>,
    ) -> Result<(), ActorProcessingErr> {
        if let (SupervisionEvent::ActorFailed(..), Some(gauge)) = (event, state.clone()) {
            self.start(myself, gauge).await?;
        }
        Ok(())
    }
}
