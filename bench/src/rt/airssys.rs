//! Ours: actors with a name, a bounded mailbox that makes senders wait, and a dynamic supervisor that restarts them.
//!
//! Nothing but the public API of airssys-rt. Requests have five seconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use airssys_rt::{
    Actor, ActorId, Address, ChildSpec, Context, DynamicSpec, DynamicSupervisor, Event, ExitReason,
    MailboxOptions, Overflow, ReplyTo, Restart, Signal, System,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::subject::{End, Plan, Subject};
use super::worker::{Broken, STALLED, Worker};
use crate::Outcome;

const TIMEOUT: Duration = Duration::from_secs(5);
const ACTORS_MAX: usize = 2_000_000;

pub(super) struct Airssys {
    system: System,
    supervisor: DynamicSupervisor,
    names: AtomicU64,
}

impl Subject for Airssys {
    const NAME: &'static str = "airssys-rt";
    type Address = Address<Message>;

    async fn new() -> Outcome<Self> {
        let system = System::new();
        // As many restarts as it takes.
        let spec = DynamicSpec::new("top").intensity(u32::MAX, Duration::from_millis(1));
        let supervisor = system.supervise_dynamic(spec.children_max(ACTORS_MAX)).await?;
        Ok(Airssys { system, supervisor, names: AtomicU64::new(0) })
    }

    async fn start(&self, plan: Plan) -> Outcome<Self::Address> {
        let Plan { gauge, capacity, end } = plan;
        let name = format!("worker-{}", self.names.fetch_add(1, Ordering::Relaxed));
        let mailbox = MailboxOptions::bounded(capacity).overflow(Overflow::Wait);
        let factory = move || Counting { worker: Worker::new(gauge.clone()), next: None };
        match end {
            End::AsUsual | End::Restart => Ok(self.supervisor.spawn(name, mailbox, factory).await?),
            End::ForGood => {
                let (child, address) = ChildSpec::worker(&self.system, name, mailbox, factory);
                self.supervisor.start_child(child.restart(Restart::Temporary)).await?;
                Ok(address)
            }
        }
    }

    async fn count(address: &Self::Address, value: u64) -> Outcome<()> {
        Ok(address.tell(Message::Count(value)).await.map_err(|_| Broken::Refused)?)
    }

    async fn ask(address: &Self::Address, value: u64) -> Outcome<u64> {
        let answer = address.ask(TIMEOUT, |reply| Message::Ask(value, reply)).await;
        Ok(answer.map_err(|_| Broken::Refused)?)
    }

    async fn next(address: &Self::Address, next: Self::Address) -> Outcome<()> {
        Ok(address.tell(Message::Next(next)).await.map_err(|_| Broken::Refused)?)
    }

    async fn token(address: &Self::Address, hops_left: u64) -> Outcome<()> {
        Ok(address.tell(Message::Token(hops_left)).await.map_err(|_| Broken::Refused)?)
    }

    async fn block(address: &Self::Address) -> Outcome<()> {
        Ok(address.tell(Message::Block).await.map_err(|_| Broken::Refused)?)
    }

    async fn watch(&self, address: &Self::Address) -> Outcome<oneshot::Receiver<Instant>> {
        let (seen, sees) = oneshot::channel();
        let target = address.id();
        let watcher = Watcher { target, seen: Some(seen) };
        let name = format!("watcher-{target}");
        self.system.spawn(name, MailboxOptions::default(), move || watcher).await?;
        Ok(sees)
    }

    async fn kill(&self, address: &Self::Address) -> Outcome<()> {
        address.exit(ExitReason::Killed);
        Ok(())
    }

    async fn crash(&self, address: &Self::Address) -> Outcome<Self::Address> {
        address.tell(Message::Crash).await.map_err(|_| Broken::Refused)?;
        // The mailbox outlives the incarnation, so what follows the crash meets the fresh one.
        Ok(address.clone())
    }

    fn restarts(&self, count: u64) -> Option<JoinHandle<Outcome<Vec<Duration>>>> {
        let mut events = self.system.events();
        Some(tokio::spawn(async move {
            let mut times = Vec::with_capacity(count as usize);
            while times.len() < count as usize {
                if let Event::Restarted { took, .. } = events.next().await.ok_or(Broken::Stalled)?? {
                    times.push(took);
                }
            }
            Ok(times)
        }))
    }

    async fn end(&self, addresses: Vec<Self::Address>) -> Outcome<()> {
        drop(addresses);
        if !self.system.shutdown(STALLED).await.is_clean() {
            return Err(Broken::Stalled.into());
        }
        Ok(())
    }
}

pub(super) enum Message {
    Count(u64),
    Ask(u64, ReplyTo<u64>),
    Next(Address<Message>),
    Token(u64),
    Block,
    Crash,
}

struct Counting {
    worker: Worker,
    next: Option<Address<Message>>,
}

impl Actor for Counting {
    type Message = Message;

    async fn handle(&mut self, message: Message, _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        match message {
            Message::Count(value) => self.worker.count(value),
            Message::Ask(value, reply) => drop(reply.send(self.worker.answer(value))),
            Message::Next(next) => self.next = Some(next),
            Message::Token(hops_left) => {
                if let (Some(hops_left), Some(next)) = (self.worker.token(hops_left), &self.next) {
                    next.try_tell(Message::Token(hops_left)).map_err(|_| Broken::Refused)?;
                }
            }
            Message::Block => self.worker.block().await,
            Message::Crash => self.worker.crash(),
        }
        Ok(())
    }
}

/// Sees another actor's end.
struct Watcher {
    target: ActorId,
    seen: Option<oneshot::Sender<Instant>>,
}

impl Actor for Watcher {
    type Message = ();

    async fn start(&mut self, ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        ctx.monitor(self.target);
        Ok(())
    }

    async fn handle(&mut self, (): (), _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        Ok(())
    }

    async fn signal(&mut self, signal: Signal, _ctx: &mut Context<Self>) -> Result<(), ExitReason> {
        if let (Signal::Down { .. }, Some(seen)) = (signal, self.seen.take()) {
            seen.send(Instant::now()).map_err(|_| Broken::Refused)?;
        }
        Err(ExitReason::Normal)
    }
}
