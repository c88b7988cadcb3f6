//! actix: each actor on one thread of actix's own, an arbiter; built without macros.
//!
//! In its best configuration senders and askers are tasks on the same arbiter, so that no message crosses threads and
//! one core does all the work; `across_threads` has them on a second one. A bounded tell that waits is not among its ways
//! to send. On the same thread a sender whose message does not fit gives way and tries again, which is quicker than not to
//! have a bound; across threads it would spin, so there the bound is passed by.

use std::thread;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Arbiter, ArbiterHandle, Context, Handler, Message, System};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::subject::{Plan, Subject};
use super::worker::{Broken, Worker};
use super::workloads::Workload;
use crate::Outcome;

pub(super) struct Actix<const ACROSS: bool> {
    system: System,
    actors: ArbiterHandle,
    senders: ArbiterHandle,
}

impl<const ACROSS: bool> Subject for Actix<ACROSS> {
    const NAME: &'static str = "actix";
    const VARIANT: &'static str = if ACROSS { "across_threads" } else { "" };
    const WORKLOADS: &'static [Workload] = if ACROSS { &Workload::MESSAGES } else { &Workload::ALL };
    const NO_RESTART: Option<&'static str> = Some("a panic ends the thread with all its actors");
    const NO_KILL: Option<&'static str> = Some("an actor is stopped by itself, with what its mailbox holds");
    type Address = Addr<Counting>;

    async fn new() -> Outcome<Self> {
        let (ready, readied) = oneshot::channel();
        thread::Builder::new().name("actix".to_owned()).spawn(move || {
            let runner = System::new();
            let actors = Arbiter::new();
            let senders = if ACROSS { Arbiter::new().handle() } else { actors.handle() };
            let subject = Actix { system: System::current(), actors: actors.handle(), senders };
            if ready.send(subject).is_ok()
                && let Err(error) = runner.run()
            {
                eprintln!("actix: {error}");
            }
        })?;
        Ok(readied.await?)
    }

    async fn start(&self, plan: Plan) -> Outcome<Self::Address> {
        let create = move |ctx: &mut Context<Counting>| {
            ctx.set_mailbox_capacity(plan.capacity);
            Counting { worker: Worker::new(plan.gauge), next: None }
        };
        // There it is made in place.
        if !ACROSS && Arbiter::try_current().is_some() {
            return Ok(Counting::create(create));
        }
        Ok(Counting::start_in_arbiter(&self.actors, create))
    }

    async fn count(address: &Self::Address, value: u64) -> Outcome<()> {
        tell::<ACROSS, _>(address, Count(value)).await
    }

    async fn ask(address: &Self::Address, value: u64) -> Outcome<u64> {
        Ok(address.send(Ask(value)).await?)
    }

    async fn next(address: &Self::Address, next: Self::Address) -> Outcome<()> {
        Ok(address.send(Next(Some(next))).await?)
    }

    async fn token(address: &Self::Address, hops_left: u64) -> Outcome<()> {
        tell::<ACROSS, _>(address, Token(hops_left)).await
    }

    async fn block(_: &Self::Address) -> Outcome<()> {
        Err(Broken::Refused.into())
    }

    fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Outcome<T>> + Send + 'static,
    ) -> JoinHandle<Outcome<T>> {
        let (ended, ends) = oneshot::channel();
        // Refused only when the arbiter is gone, and then the channel says so.
        self.senders.spawn(async move { drop(ended.send(task.await)) });
        tokio::spawn(async move { ends.await? })
    }

    async fn end(&self, addresses: Vec<Self::Address>) -> Outcome<()> {
        for address in &addresses {
            address.send(Next(None)).await?;
        }
        drop(addresses);
        self.system.stop();
        Ok(())
    }
}

/// Sends as soon as there is room, or whatever the room.
async fn tell<const ANYHOW: bool, M>(address: &Addr<Counting>, message: M) -> Outcome<()>
where
    Counting: Handler<M>,
    Context<Counting>: ToEnvelope<Counting, M>,
    M: Message<Result = ()> + Send + 'static,
{
    if ANYHOW {
        address.do_send(message);
        return Ok(());
    }
    let mut message = message;
    loop {
        message = match address.try_send(message) {
            Ok(()) => return Ok(()),
            Err(actix::dev::SendError::Full(message)) => message,
            Err(actix::dev::SendError::Closed(_)) => return Err(Broken::Refused.into()),
        };
        tokio::task::yield_now().await;
    }
}

pub(super) struct Counting {
    worker: Worker,
    next: Option<Addr<Counting>>,
}

impl Actor for Counting {
    type Context = Context<Self>;
}

pub(super) struct Count(u64);
struct Ask(u64);
struct Next(Option<Addr<Counting>>);
pub(super) struct Token(u64);

impl Message for Count {
    type Result = ();
}

impl Message for Ask {
    type Result = u64;
}

impl Message for Next {
    type Result = ();
}

impl Message for Token {
    type Result = ();
}

impl Handler<Count> for Counting {
    type Result = ();

    fn handle(&mut self, Count(value): Count, _: &mut Context<Self>) {
        self.worker.count(value);
    }
}

impl Handler<Ask> for Counting {
    type Result = u64;

    fn handle(&mut self, Ask(value): Ask, _: &mut Context<Self>) -> u64 {
        self.worker.answer(value)
    }
}

impl Handler<Next> for Counting {
    type Result = ();

    fn handle(&mut self, Next(next): Next, _: &mut Context<Self>) {
        self.next = next;
    }
}

impl Handler<Token> for Counting {
    type Result = ();

    fn handle(&mut self, Token(hops_left): Token, _: &mut Context<Self>) {
        if let (Some(hops_left), Some(next)) = (self.worker.token(hops_left), &self.next) {
            next.do_send(Token(hops_left));
        }
    }
}
