//! xtra: a bounded mailbox of boxed messages, one `Handler` implementation per kind.
//!
//! Nothing watches over an actor: no supervisor, no restart, no kill. A tell is a send that is detached once the message is
//! in the mailbox.

use xtra::{Actor, Address, Context, Handler, Mailbox};

use super::subject::{Plan, Subject};
use super::worker::{Broken, Worker};
use crate::Outcome;

pub(super) struct Xtra;

impl Subject for Xtra {
    const NAME: &'static str = "xtra";
    const NO_RESTART: Option<&'static str> = Some("it has no supervision");
    const NO_KILL: Option<&'static str> = Some("an actor is stopped by itself or by dropping its addresses");
    type Address = Address<Counting>;

    async fn new() -> Outcome<Self> {
        Ok(Xtra)
    }

    async fn start(&self, plan: Plan) -> Outcome<Self::Address> {
        let counting = Counting { worker: Worker::new(plan.gauge), next: None };
        Ok(xtra::spawn_tokio(counting, Mailbox::bounded(plan.capacity)))
    }

    async fn count(address: &Self::Address, value: u64) -> Outcome<()> {
        // What would give the answer is of no use.
        drop(address.send(Count(value)).detach().await?);
        Ok(())
    }

    async fn ask(address: &Self::Address, value: u64) -> Outcome<u64> {
        Ok(address.send(Ask(value)).await?)
    }

    async fn next(address: &Self::Address, next: Self::Address) -> Outcome<()> {
        Ok(address.send(Next(Some(next))).await?)
    }

    async fn token(address: &Self::Address, hops_left: u64) -> Outcome<()> {
        drop(address.send(Token(hops_left)).detach().await?);
        Ok(())
    }

    async fn block(_: &Self::Address) -> Outcome<()> {
        Err(Broken::Refused.into())
    }

    async fn end(&self, addresses: Vec<Self::Address>) -> Outcome<()> {
        for address in &addresses {
            address.send(Next(None)).await?;
        }
        for address in addresses {
            let ended = address.join();
            drop(address);
            ended.await;
        }
        Ok(())
    }
}

pub(super) struct Counting {
    worker: Worker,
    next: Option<Address<Counting>>,
}

struct Count(u64);
struct Ask(u64);
struct Next(Option<Address<Counting>>);
struct Token(u64);

impl Actor for Counting {
    type Stop = ();

    async fn stopped(self) {}
}

impl Handler<Count> for Counting {
    type Return = ();

    async fn handle(&mut self, Count(value): Count, _: &mut Context<Self>) {
        self.worker.count(value);
    }
}

impl Handler<Ask> for Counting {
    type Return = u64;

    async fn handle(&mut self, Ask(value): Ask, _: &mut Context<Self>) -> u64 {
        self.worker.answer(value)
    }
}

impl Handler<Next> for Counting {
    type Return = ();

    async fn handle(&mut self, Next(next): Next, _: &mut Context<Self>) {
        self.next = next;
    }
}

impl Handler<Token> for Counting {
    type Return = ();

    async fn handle(&mut self, Token(hops_left): Token, ctx: &mut Context<Self>) {
        if let (Some(hops_left), Some(next)) = (self.worker.token(hops_left), &self.next)
            && next.send(Token(hops_left)).detach().await.is_err()
        {
            ctx.stop_self();
        }
    }
}
